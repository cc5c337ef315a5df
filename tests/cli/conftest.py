"""A small text, a small model, and the real command line."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

SMALL = """\
layers = 1
width = 16
heads = 2
hidden = 32
sequence = 16
batch_size = 4
steps = 6
warmup = 1
eval_batches = 1
eval_every = 2
save_every = 2
sample_bytes = 4
"""

COMMAND = (sys.executable, "-c", "from lion_ports.cli import train; train()")


class Result(NamedTuple):
    code: int
    out: str
    err: str


Train = Callable[..., Result]


class Run:
    """What is in the folder of a run."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        lines = (self.folder / "metrics.jsonl").read_text().splitlines()
        return [one for line in lines if (one := json.loads(line))["event"] == kind or not kind]

    def losses(self) -> dict[int, float]:
        return {event["step"]: event["loss"] for event in self.events("train")}

    def newest(self) -> Path:
        return max((self.folder / "checkpoints").iterdir())

    def tensors(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.newest().glob("*.safetensors")}


@pytest.fixture
def a_run(folder: Path) -> type[Run]:
    """``a_run("name")`` looks into that folder."""
    return Run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a test, with ``text.txt`` and ``small.toml``."""
    lines = (f"line {i}: {i * i} is the square of {i}.\n" for i in range(800))
    (tmp_path / "text.txt").write_text("".join(lines))
    (tmp_path / "small.toml").write_text(SMALL + 'data = "text.txt"\n')
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("LION_TRAIN_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def rendered() -> None:
    """For tests that look at pictures."""


@pytest.fixture
def lion_train(
    folder: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Train:
    """``lion-train`` in this process; anything but a clean exit is an error of the test.

    Its pictures are drawn, but not rendered: that would take longer than the run.
    """
    if "rendered" not in request.fixturenames:
        name = "matplotlib.figure.Figure.savefig"
        monkeypatch.setattr(name, lambda self, file, **options: file.write(b""))

    def call(*arguments: str) -> Result:
        from lion_ports.cli.train import main

        capfd.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main(list(arguments))
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        assert isinstance(exit_.value.code, int)
        return Result(exit_.value.code, out, err)

    return call


@pytest.fixture
def small(lion_train: Train) -> Train:
    """``lion-train --config small.toml --backend torch ...``."""

    def call(*arguments: str, backend: str = "torch") -> Result:
        return lion_train("--config", "small.toml", "--backend", backend, *arguments)

    return call


@pytest.fixture
def process(folder: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """``lion-train`` in a process of its own."""

    def start(*arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*COMMAND, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
        )

    return start
