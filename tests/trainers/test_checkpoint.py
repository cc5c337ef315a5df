"""Checkpoints: there in full or not at all, and read with suspicion."""

import hashlib
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save as to_safetensors

from lion_ports.trainers import checkpoint
from lion_ports.trainers.errors import DataError
from lion_ports.trainers.settings import resolve

CONFIG = resolve({}, ("layers=1", "width=4", "heads=2", "hidden=3", "sequence=2")).config
TENSORS = {
    name: np.linspace(-1, 1, num=int(np.prod(shape))).reshape(shape).astype(dtype)
    for (name, shape), dtype in zip(
        CONFIG.architecture().shapes().items(), [np.float32, ml_dtypes.bfloat16] * 9, strict=False
    )
}


def state(step: int, loss: float | None = None) -> checkpoint.State:
    config = CONFIG.model_dump(mode="json")
    return checkpoint.State(step, step, config, "1.0", "i", "d", loss, [])


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "c", state(7, 1.5), TENSORS, TENSORS)
    found = checkpoint.load(path)
    assert (found.state.step, found.state.eval_loss, found.config) == (7, 1.5, CONFIG)
    for tensors in (found.parameters, found.optimizer_state):
        for name, tensor in TENSORS.items():
            assert tensors[name].dtype == tensor.dtype
            np.testing.assert_array_equal(tensors[name], tensor)


def test_the_last_and_the_best_are_kept(tmp_path: Path) -> None:
    for step, loss in enumerate([3.0, 1.0, 2.0, 2.5, None, 2.2]):
        checkpoint.save(tmp_path, state(step, loss), TENSORS, TENSORS)
        checkpoint.prune(tmp_path, keep=2)
    assert [path.name[-1] for path in checkpoint.find(tmp_path)] == ["1", "4", "5"]


class Stopped(BaseException):
    """Stands for the end of the process: nothing of ours catches it."""


def test_a_save_that_stops_anywhere_leaves_no_half_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(tmp_path, state(0), TENSORS, TENSORS)
    for last in range(99):
        done = 0

        def stop_at_last(function: Any, *arguments: Any, last: int = last) -> Any:
            nonlocal done
            if done == last:
                raise Stopped
            done += 1
            return function(*arguments)

        with monkeypatch.context() as patch:
            for name in ("fsync", "rename"):
                patch.setattr(os, name, partial(stop_at_last, getattr(os, name)))
            try:
                checkpoint.save(tmp_path, state(1), TENSORS, TENSORS)
            except Stopped:
                ended = False
            else:
                ended = True
        found = [checkpoint.load(path).state.step for path in checkpoint.find(tmp_path)]
        if found == [0, 1]:
            break
        assert found == [0]
    assert last > 4
    assert not ended, "the rename comes before the last flush"
    checkpoint.clean(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000000", "step-00000001"]


def test_there_is_no_pickle(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, state(0), TENSORS, TENSORS)
    for file in path.glob("*.safetensors"):
        size = int.from_bytes(file.read_bytes()[:8], "little")
        json.loads(file.read_bytes()[8 : 8 + size])


def foreign(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Write another ``state.json``, as a program would that knows about ``COMPLETE``."""
    record = json.loads((path / "state.json").read_bytes())
    content = json.dumps(change(record)).encode()
    (path / "state.json").write_bytes(content)
    (path / "COMPLETE").write_text(hashlib.sha256(content).hexdigest() + "\n")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record | {"extra": 1}, "extra"),
        (lambda record: {k: v for k, v in record.items() if k != "lineage"}, "lineage"),
        (lambda record: [record], "schema"),
        (lambda record: 5, "schema"),
        (lambda record: record | {"schema": 2}, "its schema is 2"),
        (lambda record: record | {"step": "7"}, "step"),
        (lambda record: record | {"updates": -1}, "updates"),
        (lambda record: record | {"lineage": [1]}, "lineage.0"),
        (lambda record: record | {"config": {}}, "configuration"),
        (lambda record: record | {"config": record["config"] | {"more": 1}}, "more"),
        (lambda record: record | {"files": []}, "files"),
        (lambda record: record | {"files": {}}, "should list params.safetensors"),
    ],
)
def test_a_foreign_record_is_one_sentence(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    path = checkpoint.save(tmp_path, state(0), TENSORS, TENSORS)
    foreign(path, change)
    with pytest.raises(DataError, match=f"step-00000000 cannot be used: .*{said}"):
        checkpoint.load(path)


F16 = {name: tensor.astype(np.float16) for name, tensor in TENSORS.items()}


@pytest.mark.parametrize("file", ["params.safetensors", "lion.safetensors"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read"),
        (to_safetensors(F16), "dtype F16"),
        (to_safetensors(dict(list(TENSORS.items())[:-1])), "missing"),
        (to_safetensors(TENSORS | {"more": TENSORS["norm.weight"]}), "'more'"),
        (to_safetensors(TENSORS | {"norm.weight": np.ones(5, np.float32)}), "shape"),
    ],
)
def test_foreign_tensors_are_one_sentence(
    tmp_path: Path, file: str, content: bytes, said: str
) -> None:
    path = checkpoint.save(tmp_path, state(0), TENSORS, TENSORS)
    (path / file).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    foreign(path, lambda record: record | {"files": record["files"] | {file: digest}})
    with pytest.raises(DataError, match=f"step-00000000 cannot be used: .*{said}"):
        checkpoint.load(path)
