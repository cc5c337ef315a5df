"""Seeded streams of gradients, and the arrays they start from."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lion_ports.config import LionConfig
from lion_ports.conformance.bits import DTYPES
from lion_ports.conformance.trial import Step, Trial, generator

Array = NDArray[Any]
Shapes = dict[str, tuple[int, ...]]

# Lengths on both sides of the widths that vector code is written for.
VECTOR_LENGTHS = (1, 2, 3, 5, 8, 17, 33, 1023, 4097)


def f32(*values: float) -> Array:
    """A float32 vector."""
    return np.array(values, np.float32)


def steps(grads: Iterable[Mapping[str, Array | None]], lr: float | Iterable[float]) -> list[Step]:
    """A stream from gradients and one learning rate for all steps, or one for each."""
    grads = list(grads)
    lrs = [lr] * len(grads) if isinstance(lr, float) else list(lr)
    return [Step(g, rate) for g, rate in zip(grads, lrs, strict=True)]


def vector_steps(grads: Iterable[Array | None], lr: float | Iterable[float]) -> list[Step]:
    """A stream for the single parameter ``x``."""
    return steps([{"x": g} for g in grads], lr)


def normal(seed: int, shapes: Shapes, dtype: str = "float32", scale: float = 1.0) -> dict[str, Any]:
    """Normal numbers of one dtype in named shapes."""
    rng = generator(seed)

    def draw(shape: tuple[int, ...]) -> Any:
        values = scale * rng.standard_normal(shape)
        if DTYPES[dtype].kind == "c":
            values = values + 1j * scale * rng.standard_normal(shape)
        return np.asarray(values).astype(DTYPES[dtype])

    return {name: draw(shape) for name, shape in shapes.items()}


def normal_stream(
    seed: int, shapes: Shapes, count: int, dtype: str = "float32", scale: float = 1.0
) -> list[dict[str, Any]]:
    """``count`` sets of normal gradients."""
    return [normal(seed + 1000 * (i + 1), shapes, dtype, scale) for i in range(count)]


def heavy_tailed(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Numbers of all magnitudes from 2^-20 to 2^12, some of them zero of either sign."""
    values = rng.standard_normal(shape) * np.exp2(rng.integers(-20, 12, shape))
    values = np.where(rng.random(shape) < 0.05, 0.0, values)
    return np.where(rng.random(shape) < 0.03, -0.0, values)


OPTION_SHAPES: Shapes = {"weight": (6, 5), "bias": (5,)}
OPTION_LR = 2.0**-6


def option_trial(
    dtype: str = "float32", rates: list[float] | None = None, scale: float = 1.0, **options: Any
) -> Trial:
    """Eight steps, or one for each rate, of a matrix and a bias under some options."""
    rates = rates or [OPTION_LR * (1 + i / 7) for i in range(8)]
    config = LionConfig(**{"lr": rates[0], "weight_decay": 0.1, **options})
    stream = normal_stream(40, OPTION_SHAPES, len(rates), dtype, scale)
    return Trial(normal(40, OPTION_SHAPES, dtype), steps(stream, rates), config)


def spoiled(trial: Trial, bad: dict[int, float]) -> Trial:
    """The trial with one element of the bias replaced in some of its steps."""
    stream = list(trial.steps)
    for i, value in bad.items():
        bias = np.array(stream[i].grads["bias"])
        bias[1] = value
        stream[i] = stream[i]._replace(grads={**stream[i].grads, "bias": bias})
    return replace(trial, steps=stream)
