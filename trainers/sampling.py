"""Text from a model, one byte at a time."""

import numpy as np
from numpy.typing import NDArray

from lion_ports.trainers.engine import Engine
from lion_ports.trainers.errors import TrainingNonFiniteError

_STREAM = 2**63


def generate(
    engine: Engine, prompt: bytes, *, count: int, sequence: int, temperature: float, seed: int
) -> bytes:
    """``count`` bytes that follow ``prompt``.

    The same window shape ``[1, sequence]`` is used throughout, so that a compiled model is
    compiled once: what lies right of the last byte cannot be seen by it.

    Args:
        engine: the model.
        prompt: if empty, the text starts after a newline.
        count: bytes to draw.
        sequence: T of the model; only the last T bytes are seen.
        temperature: divides the logits; 0 takes the likeliest byte.
        seed: of the Philox stream that the draws come from.

    Raises:
        TrainingNonFiniteError: if the logits are not finite, as after weights that overflowed.
    """
    text = list(prompt or b"\n")
    start = len(text)
    stream = np.random.Philox(key=np.array([seed, _STREAM], np.uint64))
    draws = (stream.random_raw(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    for draw in draws:
        seen = text[-sequence:]
        window = np.zeros((1, sequence), np.int32)
        window[0, : len(seen)] = seen
        text.append(_pick(engine.logits(window)[0, len(seen) - 1], temperature, draw))
    return bytes(text[start:])


def printable(text: bytes) -> str:
    """``text`` for a terminal: what is not UTF-8 and what would steer the terminal is replaced."""
    decoded = text.decode("utf-8", "replace")
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in decoded
    )


def _pick(logits: NDArray[np.float32], temperature: float, draw: float) -> int:
    if not np.isfinite(logits).all():
        raise TrainingNonFiniteError(
            "nothing can be sampled, because the model's logits are not finite: its weights have "
            "overflowed; train with a lower --lr or --weight-decay"
        )
    if temperature == 0:
        return int(np.argmax(logits))
    scaled = logits.astype(np.float64) / temperature
    cumulative = np.cumsum(np.exp(scaled - scaled.max()))
    drawn = np.searchsorted(cumulative, draw * cumulative[-1], side="right")
    return min(int(drawn), len(logits) - 1)
