"""What the three engines share: weights, batches, schedule, data, metrics, checkpoints."""

import math
from pathlib import Path

import numpy as np
import pytest

from lion_ports.trainers.architecture import Architecture
from lion_ports.trainers.batches import evaluation_batches, training_batch
from lion_ports.trainers.data import load_text
from lion_ports.trainers.errors import DataError
from lion_ports.trainers.init import digest, initial_parameters
from lion_ports.trainers.schedule import learning_rate

TEXT = np.frombuffer(bytes(range(256)) * 8, np.uint8)

# Initial weights.


def test_initial_weights_are_pinned() -> None:
    """Another digest here means that runs of an earlier release cannot be repeated."""
    weights = initial_parameters(Architecture(1, 8, 2, 16, 4), seed=0)
    assert digest(weights) == "3e0a65b86949a186a664f2b451cd24fd7973e933216706c6457b888384135f7e"


def test_a_new_tensor_shifts_no_other() -> None:
    small = initial_parameters(Architecture(1, 8, 2, 16, 4), seed=0)
    deeper = initial_parameters(Architecture(2, 8, 2, 16, 4), seed=0)
    for name in ("embedding.weight", "blocks.0.attention.qkv.weight"):
        np.testing.assert_array_equal(small[name], deeper[name])
    other = initial_parameters(Architecture(1, 8, 2, 16, 4), seed=1)
    assert (small["embedding.weight"] != other["embedding.weight"]).any()


def test_initial_weights_have_the_documented_spread() -> None:
    weights = initial_parameters(Architecture(2, 128, 4, 256, 8), seed=0)
    for name, columns, shrink in (
        ("embedding.weight", 128, 1.0),
        ("blocks.1.feedforward.up.weight", 128, 1.0),
        ("blocks.1.feedforward.down.weight", 256, 2.0),
    ):
        std = 1 / math.sqrt(columns) / shrink
        assert weights[name].std() == pytest.approx(std, rel=0.02)
        assert abs(weights[name]).max() <= math.sqrt(3) * std * 1.0001


def test_the_digest_covers_names_dtypes_shapes_and_values() -> None:
    base = {"a": np.zeros((2, 3), np.float32)}
    digests = {
        digest(tensors)
        for tensors in (
            base,
            {"b": base["a"]},
            {"a": base["a"].view(np.int32)},
            {"a": base["a"].reshape(3, 2)},
            {"a": base["a"] + 1},
        )
    }
    assert len(digests) == 5


# Batches.


def test_batches_are_pinned() -> None:
    """The order of the data is part of what a seed promises."""
    batch = training_batch(TEXT, seed=3, step=5, batch_size=4, sequence=6)
    assert batch.dtype == np.int32
    assert batch.shape == (4, 7)
    assert batch[:, 0].tolist() == [127, 221, 232, 219]
    np.testing.assert_array_equal((batch[:, 1:] - batch[:, :-1]) % 256, 1)


def test_batches_depend_on_seed_and_step_only() -> None:
    def batch(seed: int, step: int) -> list[int]:
        return training_batch(TEXT, seed=seed, step=step, batch_size=8, sequence=4)[:, 0].tolist()

    assert batch(1, 7) == batch(1, 7)
    assert len({tuple(batch(*key)) for key in ((1, 7), (7, 1), (1, 8), (2, 7))}) == 4


def test_windows_reach_both_ends_of_the_text() -> None:
    text = np.arange(10, dtype=np.uint8)
    starts = set()
    for step in range(50):
        starts |= set(training_batch(text, seed=0, step=step, batch_size=4, sequence=6)[:, 0])
    assert starts == {0, 1, 2, 3}


def test_evaluation_windows_are_fixed_and_spread() -> None:
    text = np.arange(200, dtype=np.uint8)
    batches = evaluation_batches(text, batches=2, batch_size=5, sequence=9)
    assert [batch.shape for batch in batches] == [(5, 10), (5, 10)]
    starts = [int(row[0]) for batch in batches for row in batch]
    assert starts[0] == 0
    assert np.diff(starts).min() >= 19


# The schedule at its seams.


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_schedules_at_their_seams(schedule: str) -> None:
    def lr(step: int) -> float:
        return learning_rate(step, peak=2.0, steps=11, warmup=4, schedule=schedule, floor=0.1)

    assert [lr(step) for step in range(4)] == pytest.approx([0.4, 0.8, 1.2, 1.6])
    assert lr(4) == 2.0
    last = 2.0 if schedule == "constant" else 0.2
    assert lr(10) == pytest.approx(last, rel=1e-15)
    assert lr(1000) == lr(10)
    falling = [lr(step) for step in range(4, 11)]
    assert falling == sorted(falling, reverse=True)
    if schedule != "constant":
        assert lr(7) == pytest.approx((2.0 + 0.2) / 2)


def test_schedules_of_one_step() -> None:
    for schedule in ("cosine", "linear", "constant"):
        rate = learning_rate(0, peak=1.0, steps=1, warmup=0, schedule=schedule, floor=0.1)
        assert rate == 1.0


# Data.


def test_stdlib_is_python() -> None:
    text = load_text("stdlib", sequence=64, held_out=0.1)
    assert text.files > 300
    assert len(text.validation) == pytest.approx(len(text.train) / 9, rel=1e-3)
    assert b"import " in text.train.tobytes()


def test_a_folder_is_read_in_order_without_hidden_and_binary_files(tmp_path: Path) -> None:
    for name, content in {
        "b.txt": b"second" * 20,
        "a/z.txt": b"first\n" * 20,
        ".hidden": b"no",
        ".git/config": b"no",
        "c.bin": b"\x00\x01",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    text = load_text(str(tmp_path), sequence=8, held_out=0.25)
    whole = np.concatenate([text.train, text.validation]).tobytes()
    assert whole == b"first\n" * 20 + b"second" * 20 + b"\n"
    assert (text.files, text.skipped) == (2, 1)


def test_a_file_is_taken_byte_for_byte(tmp_path: Path) -> None:
    content = ("caf\xe9 " * 40).encode()
    (tmp_path / "text").write_bytes(content)
    text = load_text(str(tmp_path / "text"), sequence=8, held_out=0.5)
    assert np.concatenate([text.train, text.validation]).tobytes() == content


def test_the_shortest_text_that_will_do(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"x" * 18)
    text = load_text(str(tmp_path / "text"), sequence=8, held_out=0.5)
    assert training_batch(text.train, seed=0, step=0, batch_size=2, sequence=8).shape == (2, 9)
    (tmp_path / "text").write_bytes(b"x" * 17)
    with pytest.raises(DataError, match="too short"):
        load_text(str(tmp_path / "text"), sequence=8, held_out=0.5)
