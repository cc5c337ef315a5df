"""``lion-train``: what is left of a run that was damaged."""

from pathlib import Path
from typing import Any

import pytest

BACKENDS = ("torch", "jax", "mlx")


def test_a_flipped_byte_is_found_wherever_it_is(small: Any, lion_train: Any, a_run: Any) -> None:
    assert small("--out", "run", "--quiet").code == 0
    for file in sorted(a_run("run").newest().iterdir()):
        whole = file.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 1):
            if whole[place] == ord("\n"):
                continue
            flipped = bytes([whole[place] ^ 1])
            file.write_bytes(whole[:place] + flipped + whole[place + 1 :])
            for command in ("resume", "sample", "eval"):
                code, _, err = lion_train(command, "run")
                assert (code, len(err.splitlines())) == (5, 1), (file.name, place)
                assert "step-00000006" in err
        file.write_bytes(whole)
    assert lion_train("eval", "run").code == 0


@pytest.mark.parametrize("damage", ["cut", "missing", "a list", "no number"])
def test_a_damaged_checkpoint_that_is_not_needed_stops_nothing(
    small: Any, lion_train: Any, damage: str
) -> None:
    assert small("--out", "run", "--steps", "4", "--quiet").code == 0
    old = Path("run/checkpoints/step-00000002/state.json")
    if damage == "missing":
        old.unlink()
    else:
        whole = old.read_bytes()
        wrong = {"cut": whole[:99], "a list": b"[]", "no number": b'{"eval_loss": "low"}'}
        old.write_bytes(wrong[damage])
    assert lion_train("resume", "run", "--steps", "10", "--quiet") == (0, "", "")
    assert not old.parent.exists()


@pytest.mark.parametrize("line", ["{}", "5", "[]", "null", '{"event": "train", "step": 9}'])
def test_a_line_that_is_no_event_is_named(small: Any, lion_train: Any, line: str) -> None:
    assert small("--out", "run", "--quiet").code == 0
    metrics = Path("run/metrics.jsonl")
    number = len(metrics.read_text().splitlines()) + 1
    metrics.write_text(metrics.read_text() + line + "\n")
    for command in ("resume", "plot"):
        code, _, err = lion_train(command, "run")
        assert (code, len(err.splitlines())) == (5, 1)
        assert f"metrics.jsonl, line {number}" in err
