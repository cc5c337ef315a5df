"""What ``lion-bench`` says beside its figures: of the machine, and of a missing Numba."""

import os
import sys

import pytest
from bench_results import QUICK, document, words
from usual import slow

from lion_ports.cli.bench import machine

QUIET = {0: (0, 30), 1: (3, 30)}
UNTOLD = {}


@pytest.mark.parametrize(
    ("ticks", "load", "busy_cores", "words"),
    [
        (QUIET, 9.0, 0.1, None),  # the load average still has our last run in it
        ({0: (30, 30), 1: (24, 30)}, 3.14, 1.8, "other programs kept 1.8 of 4 cores busy when this "
         "began: the figures are not to be trusted; run it again on a machine at rest"),
        (UNTOLD, 2.0, None, None),
        (UNTOLD, 3.14, None, "the load average was 3.1 on 4 cores when this began: unless that was "
         "a run just before, the figures are not to be trusted; run it again on a machine at rest"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("measured_once")
def test_a_busy_machine_is_noted(ticks, load, busy_cores, words, bench, folder, monkeypatch):
    before = {core: (7, 11) for core in ticks}
    after = {core: (7 + busy, 11 + total) for core, (busy, total) in ticks.items()}
    readings = iter([before, after])
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(machine, "processor_ticks", lambda: next(readings))
    monkeypatch.setattr(machine, "cores", lambda: 4)
    code, out, _ = bench(
        "step", "--backend", "mlx", "--shapes", "2x10", "--only", "lion-ports", *QUICK,
        "--json", "all.json", "--markdown", "new.md",
    )  # fmt: skip
    assert code == 0
    found = document(folder)["machine"]
    assert (found["load_average"], found.get("busy_cores")) == (load, busy_cores)
    page = (folder / "new.md").read_text()
    if words is None:
        assert "load average" not in out + page
        assert "trusted" not in out + page
    else:
        assert words in out
        assert f"\n\n{words[0].upper()}{words[1:]}.\n\n" in page
        for text in (out, page):
            assert ", load average 3.1; " in text


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/stat is Linux' own")
def test_the_clocks_of_the_processor_are_read():
    read = machine.processor_ticks()
    assert set(read) == os.sched_getaffinity(0)
    assert all(0 < busy < total for busy, total in read.values())


# In the folder of the command: what python reads when it starts, or what comes before the package.
NO_NUMBA = {
    "missing": ("sitecustomize.py", "import sys; sys.modules['numba'] = None"),
    "broken": ("numba.py", "raise ImportError('too old')"),
}
NUMBA_NOTE = (
    "umba is missing or broken, so that lion-ports makes its steps by torch's own operations, "
    "several times slower: pip install '.[torch]' in a checkout of lion-ports"
)


@pytest.mark.parametrize(
    ("matter", "only", "noted"),
    [
        ("missing", "lion-ports", True),
        slow("broken", "lion-ports", True),
        slow("missing", "torch SGD*", False),  # none of ours
    ],
)
def test_steps_without_numba_are_noted(matter, only, noted, bench, folder, monkeypatch):
    file, content = NO_NUMBA[matter]
    (folder / file).write_text(content)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    code, out, _ = bench(
        "step", "--backend", "torch", "--shapes", "2x10", "--only", only, *QUICK,
        "--json", "all.json", "--markdown", "new.md", "--plot", "all.svg",
    )  # fmt: skip
    assert code == 0
    assert [f"n{NUMBA_NOTE}"] * noted == document(folder)["backends"][0]["notes"]
    assert (f"n{NUMBA_NOTE}" in " ".join(out.split())) is noted
    assert (f"\n\nN{NUMBA_NOTE}.\n" in (folder / "new.md").read_text()) is noted
    drawn = " ".join(words(folder))
    assert ("torch: numba is missing or broken, so that lion-ports" in drawn) is noted


@pytest.mark.parametrize(
    "command",
    # A step has none in test_step.py either, every time.
    [slow("step --shapes 2x10 --only lion-ports"), slow("train")],
)
def test_with_numba_there_is_no_note(command, bench, folder):
    pytest.importorskip("numba", reason="needs numba, which is not installed")
    code, out, _ = bench(*command.split(), "--backend", "torch", *QUICK, "--json", "all.json")
    assert code == 0
    assert document(folder)["backends"][0]["notes"] == []
    assert "numba is" not in out
