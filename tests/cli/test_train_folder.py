"""``lion-train``: which folders it takes, in a run and in a dry run alike."""

from pathlib import Path
from typing import Any

import pytest

BOTH = pytest.mark.parametrize("dry", [("--dry-run",), ()], ids=["dry run", "run"])


def test_dry_run_checks_everything_and_writes_nothing(small: Any, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    code, out, _ = small("--dry-run", "--out", "run")
    assert code == 0
    assert "embedding.weight" in out
    assert sorted(folder.rglob("*")) == before
    assert small("--dry-run", "--data", "nowhere").code == 5


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ((), 12),
        (("--optimizer", "adamw"), 16),
        (("--dtype", "bfloat16"), 6),
        (
            ("--dtype", "bfloat16", "--momentum-dtype", "int8", "--correction-bits", "8"),
            2 + 2 + 1 + 1 + 2 / 128,
        ),
    ],
)
def test_a_dry_run_says_what_will_be_held(
    small: Any, settings: tuple[str, ...], expected: float
) -> None:
    result = small("--dry-run", "--set", "width=256", "--set", "hidden=1024", *settings)
    assert result.code == 0
    parameters = 256 * 256 + 4 * 256 * 256 + 3 * 1024 * 256 + 3 * 256
    assert f"{parameters:,} parameters" in result.out
    assert f"memory     {parameters * expected / 1e6:.1f} MB for weights" in result.out


def test_a_dry_run_takes_the_steps_that_the_help_says(
    small: Any, lion_train: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lion_ports.trainers.torch.engine import TorchEngine

    steps = []
    train_step = TorchEngine.train_step

    def counted(*arguments: Any) -> Any:
        steps.append(arguments)
        return train_step(*arguments)

    monkeypatch.setattr(TorchEngine, "train_step", counted)
    assert small("--dry-run").code == 0
    assert len(steps) == 3
    assert "take three steps" in " ".join(lion_train("--help").out.split())


@BOTH
def test_a_folder_is_refused_before_anything_is_read(small: Any, folder: Path, dry: Any) -> None:
    (folder / "full run").mkdir()
    (folder / "full run" / "notes.txt").touch()
    for out, said in {
        "full run": "not empty; choose another, or go on with it: lion-train resume 'full run'",
        "text.txt": "cannot be written",
        "text.txt/run": "cannot be written",
        "/proc/run": "cannot be written",
        "new/" + "x" * 300: "cannot be written",
    }.items():
        before = sorted(folder.rglob("*"))
        code, _, err = small("--out", out, "--data", "nowhere", *dry)
        assert (code, len(err.splitlines())) == (2, 1)
        assert said in err
        assert sorted(folder.rglob("*")) == before


@BOTH
def test_what_an_ended_start_leaves_is_an_empty_folder(small: Any, folder: Path, dry: Any) -> None:
    (folder / "run").mkdir()
    (folder / "run" / ".lock").touch()
    (folder / "run" / ".tmp-config.toml").touch()
    assert small("--out", "run", "--quiet", *dry).code == 0
