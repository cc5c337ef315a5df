"""lion-bench through its command line, on tensors so small that nothing here is about time."""

import json
import os

import pytest

from lion_ports.cli.bench import machine, main, processes

MINE = """
import os
from mlx.optimizers import SGD

class Raises(SGD):
    def update(self, model, gradients):
        raise ArithmeticError("mine cannot do this\\nand says more")

class RaisesLater(SGD):
    calls = 0

    def update(self, model, gradients):
        self.calls += 1
        if self.calls > 3:
            raise ArithmeticError("mine is tired")
        super().update(model, gradients)

class Crashes(SGD):
    def update(self, model, gradients):
        os.abort()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def bench(folder, capfd, monkeypatch):
    """``lion-bench`` in this process, on a machine at rest: exit code, stdout, stderr."""
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(machine, "processor_ticks", dict)
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # its command line would name it

    def call(*arguments):
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main(list(arguments))
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return exit_.value.code, out, err

    return call


@pytest.fixture(scope="session")
def measured():
    """What workers have answered, by what they were asked."""
    return {}


@pytest.fixture
def measured_once(measured, monkeypatch):
    """For tests of how figures are shown: what was asked for before is not measured again."""
    run = processes.run

    def remembered(request, watch):
        asked = json.dumps(request)
        if asked not in measured:
            measured[asked] = json.dumps(run(request, watch))
        return json.loads(measured[asked])

    monkeypatch.setattr(processes, "run", remembered)


@pytest.fixture
def takes(monkeypatch):
    """Call it with milliseconds by name: what these contenders take, whatever they took."""

    def call(**ms):
        run = processes.run

        def changed(*arguments):
            result, crashed = run(*arguments)
            for case in result.get("cases", []):  # the first looks at imports
                for entry in case["contenders"]:
                    if entry["name"] in ms:
                        now = ms[entry["name"]]
                        entry["ms"] |= {"median": now, "q1": now, "q3": now, "least": now}
            return result, crashed

        monkeypatch.setattr(processes, "run", changed)

    return call
