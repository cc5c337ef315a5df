"""What a run writes besides its checkpoints: events, words, the names of its folders."""

import datetime
import math
from pathlib import Path

import pytest

from lion_ports.trainers import metrics, runs
from lion_ports.trainers.errors import DataError
from lion_ports.trainers.progress import Bar, Progress


def test_a_torn_last_line_is_dropped_and_nan_is_null(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = metrics.Metrics(path)
    log.write("train", 0, loss=math.nan, lr=0.1)
    log.close()
    path.write_text(path.read_text() + '{"event": "tra')
    assert metrics.read(path) == [{"event": "train", "step": 0, "loss": None, "lr": 0.1}]
    path.write_text('{"event": "tra\n' + '{"event": "train", "step": 0}\n')
    with pytest.raises(DataError, match="line 1"):
        metrics.read(path)


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "5",
        "[]",
        '{"event": "train"}',
        '{"event": 1, "step": 1}',
        '{"event": "train", "step": "1", "loss": 1.0}',
        '{"event": "eval", "step": 1}',
        '{"event": "eval", "step": 1, "loss": "low"}',
        '{"event": "start", "step": 1}',
    ],
)
def test_a_line_that_is_no_event_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"event": "train", "step": 0, "loss": 1}\n' + line + "\n")
    with pytest.raises(DataError, match="line 2"):
        metrics.read(path)


def test_a_default_name_that_is_taken_gets_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Noon(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> "Noon":
            return cls(2026, 1, 1, 12)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datetime, "datetime", Noon)
    names = [runs.create(None, "torch", 7).name for _ in range(3)]
    first = "20260101-120000-torch-7"
    assert names == [first, f"{first}-2", f"{first}-3"]
    # Two that start in the same moment see the same free name.
    free = iter([Path("runs", first), Path("runs", "free")])
    monkeypatch.setattr(runs, "default_folder", lambda backend, seed: next(free))
    assert runs.create(None, "torch", 7).name == "free"


def test_the_bar_warns_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    bar = Bar(steps=2)
    bar.step(Progress(1, 2, 1.0, 1e-3, 1.0, 1.0, 1.0))
    bar.warn("careful")
    bar.step(Progress(2, 2, 1.0, 1e-3, 1.0, 1.0, 1.0))
    bar.close()
    out, err = capfd.readouterr()
    assert err == "lion-train: careful\n"
    assert "careful" not in out
