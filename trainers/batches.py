"""Batches as pure functions of (seed, step): no iterator, so nothing to save or to lose."""

import numpy as np
from numpy.typing import NDArray


def training_batch(
    text: NDArray[np.uint8], *, seed: int, step: int, batch_size: int, sequence: int
) -> NDArray[np.int32]:
    """The windows of one step: int32 ``[batch_size, sequence + 1]``.

    Window starts are drawn with replacement from the Philox stream with key ``(seed, step)``.
    Only the raw 64-bit words are used, which every NumPy version produces alike; the bias of
    the remainder is below ``len(text) / 2**64``.

    Args:
        text: at least ``sequence + 1`` bytes.
        seed: 0 to 2**63 - 1.
        step: updates done.
        batch_size: windows a batch.
        sequence: tokens that are predicted in each window.
    """
    key = np.array([seed, step], np.uint64)
    words = np.random.Philox(key=key).random_raw(batch_size)
    starts = (words % np.uint64(len(text) - sequence)).astype(np.int64)
    return _windows(text, starts, sequence)


def evaluation_batches(
    text: NDArray[np.uint8], *, batches: int, batch_size: int, sequence: int
) -> list[NDArray[np.int32]]:
    """``batches`` fixed batches whose windows are spread evenly over ``text``."""
    count = batches * batch_size
    starts = np.arange(count, dtype=np.int64) * (len(text) - sequence) // count
    return [
        _windows(text, starts[i : i + batch_size], sequence) for i in range(0, count, batch_size)
    ]


def _windows(
    text: NDArray[np.uint8], starts: NDArray[np.int64], sequence: int
) -> NDArray[np.int32]:
    offsets = np.arange(sequence + 1, dtype=np.int64)
    windows: NDArray[np.int32] = text[starts[:, None] + offsets].astype(np.int32)
    return windows
