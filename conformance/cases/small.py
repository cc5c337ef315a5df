"""Small state: momentum in 8 bits, and bfloat16 parameters with the bits that they lack."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from lion_ports.config import LionConfig
from lion_ports.conformance.bits import DTYPES
from lion_ports.conformance.cases.streams import (
    OPTION_LR,
    Shapes,
    f32,
    normal,
    normal_stream,
    option_trial,
    spoiled,
    steps,
    vector_steps,
)
from lion_ports.conformance.trial import Case, Trial, generator

# No block, a part of one, whole ones, and blocks that rows do not end with.
_SHAPES: Shapes = {"none": (0, 3), "bias": (7,), "scale": (), "two": (256,), "weight": (5, 77)}
_SMALL = ("int8-ignored", "int8-nearest", "int8-same-dither")


def _blocks(dtype: str, lr: float = OPTION_LR, **options: Any) -> Trial:
    config = LionConfig(lr=lr, weight_decay=0.1, **options)
    stream = normal_stream(61, _SHAPES, 6, dtype)
    return Trial(normal(61, _SHAPES, dtype), steps(stream, lr), config)


def _small_signs() -> Trial:
    """One gradient beside which all others are tiny, and then none: the sign is the momentum's."""
    first = generator(62).standard_normal(128).astype(np.float32) * np.float32(2.0**-30)
    first[5] = 2.0**10
    still = [np.zeros(128, np.float32)] * 3
    config = LionConfig(lr=OPTION_LR, momentum_dtype="int8")
    return Trial({"x": np.zeros(128, np.float32)}, vector_steps([first, *still], OPTION_LR), config)


def _creeping() -> Trial:
    """A momentum that each step changes by less than a code apart."""
    stream = [f32(*np.linspace(-2, 2, 64))] + [np.full(64, 2.0**-7, np.float32)] * 120
    config = LionConfig(lr=OPTION_LR, momentum_dtype="int8")
    return Trial({"x": np.ones(64, np.float32)}, vector_steps(stream, OPTION_LR), config)


def _magnitudes() -> Trial:
    """From subnormal to nearly infinite in one block."""
    powers = np.linspace(-140, 126, 100)
    first = (np.exp2(powers) * np.where(np.arange(100) % 3, 1, -1)).astype(np.float32)
    stream = [first, np.zeros(100, np.float32), -first[::-1]]
    config = LionConfig(lr=OPTION_LR, momentum_dtype="int8", betas=(0.5, 0.75))
    return Trial({"x": np.ones(100, np.float32)}, vector_steps(stream, OPTION_LR), config)


def _paused() -> Trial:
    """Gradients that are missing and steps that are left out, so that counts are told apart."""
    trial = option_trial(momentum_dtype="int8", nonfinite="skip")
    trial = spoiled(trial, {1: math.nan})
    stream = list(trial.steps)
    stream[4] = stream[4]._replace(grads={**stream[4].grads, "weight": None})
    return replace(trial, steps=stream)


def _near_one(
    bits: int, count: int = 40, lr: float = 5e-4, wd: float = 0.1, **options: Any
) -> Trial:
    """Weights that no step of this size moves in bfloat16."""
    shapes: Shapes = {"weight": (6, 5), "bias": (5,)}
    params = {n: (1 + abs(x) / 8).astype(x.dtype) for n, x in normal(64, shapes).items()}
    params = {n: x.astype(DTYPES["bfloat16"]) for n, x in params.items()}
    stream = normal_stream(64, shapes, count, "bfloat16")
    config = LionConfig(lr=lr, weight_decay=wd, correction_bits=bits, **options)  # type: ignore[arg-type]
    return Trial(params, steps(stream, lr), config)


def _decay_alone(bits: int) -> Trial:
    """No gradient pulls, and a step's decay is a small part of a bfloat16's last place."""
    trial = _near_one(bits, lr=2.0**-9, wd=0.25)
    still = [
        step._replace(grads={n: np.zeros_like(g) for n, g in step.grads.items() if g is not None})
        for step in trial.steps
    ]
    return replace(trial, steps=still)


CASES = [
    *(
        Case(
            f"option-int8-{dtype}",
            "L-031",
            f"The momentum of {dtype} parameters in 8 bits, in blocks of 128 and parts of one.",
            partial(_blocks, dtype, momentum_dtype="int8"),
            _SMALL,
        )
        for dtype in ("float32", "bfloat16", "float16", "float64")
    ),
    Case(
        "option-int8-small-signs",
        "L-031",
        "One large momentum in a block, and the small ones beside it keep their signs.",
        _small_signs,
        ("int8-ignored", "int8-sign-lost", "int8-even-steps"),
    ),
    Case(
        "option-int8-creeping",
        "L-031",
        "A momentum that changes by less than a step of its code changes on average all the same.",
        _creeping,
        _SMALL,
    ),
    Case(
        "option-int8-magnitudes",
        "L-031",
        "From subnormal numbers to the largest in one block: no scale underflows or overflows.",
        _magnitudes,
        ("int8-ignored", "int8-sign-lost", "int8-even-steps"),
    ),
    Case(
        "option-int8-nonfinite",
        "L-031",
        "A momentum that is not finite is kept as NaN, and no other in its block is touched.",
        lambda: spoiled(option_trial(momentum_dtype="int8"), {1: math.nan, 3: math.inf}),
        ("int8-ignored",),
    ),
    Case(
        "option-int8-paused",
        "L-031",
        "The rounding goes by the count of updates, not of calls and not by parameter.",
        _paused,
        (*_SMALL, "int8-dither-by-calls"),
    ),
    *(
        Case(
            f"option-correction-{bits}",
            "L-032",
            f"bfloat16 parameters near 1 with {bits} bits more: no step of 5e-4 is lost.",
            partial(_near_one, bits),
            ("correction-ignored",),
        )
        for bits in (8, 16)
    ),
    *(
        Case(
            f"option-correction-{bits}-decay",
            "L-032",
            f"Decay alone with {bits} bits more, a step of which is a part of the last place.",
            partial(_decay_alone, bits),
            ("correction-ignored", "correction-without-decay"),
        )
        for bits in (8, 16)
    ),
    Case(
        "option-correction-average",
        "L-032",
        "With an int8 momentum and an average, which follows and overwrites the whole parameter.",
        partial(
            _near_one, 8, 12, 2.0**-9, momentum_dtype="int8", ema_decay=0.75, ema_overwrite_every=4
        ),
        ("correction-ignored", "int8-ignored"),
    ),
    Case(
        "option-correction-others",
        "L-032",
        "Parameters of other dtypes have no correction.",
        partial(_blocks, "float16", correction_bits=16),
    ),
    Case(
        "state-portable-correction",
        "L-030",
        "A correction of 8 bits goes through the file, beside a momentum in bfloat16.",
        lambda: replace(_near_one(8, 8, 2.0**-9), restart_at=4, portable=True),
        ("reset-on-load", "correction-lost-on-load"),
    ),
    Case(
        "state-portable-small",
        "L-030",
        "Codes, scales and corrections go through the file.",
        lambda: replace(
            _near_one(16, 8, 2.0**-9, momentum_dtype="int8"), restart_at=4, portable=True
        ),
        ("reset-on-load", "correction-lost-on-load"),
    ),
]
