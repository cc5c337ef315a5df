"""Options of the specification, and settings that must be refused."""

import math
from functools import partial
from typing import Any

import numpy as np

from lion_ports.config import LionConfig
from lion_ports.conformance.cases.streams import Shapes, f32, normal, normal_stream, steps
from lion_ports.conformance.trial import Case, Trial

_SHAPES: Shapes = {"weight": (6, 5), "bias": (5,)}
_LR = 2.0**-6


def _option(dtype: str = "float32", rates: list[float] | None = None, **options: Any) -> Trial:
    rates = rates or [_LR * (1 + i / 7) for i in range(8)]
    config = LionConfig(**{"lr": rates[0], "weight_decay": 0.1, **options})
    stream = normal_stream(40, _SHAPES, len(rates), dtype)
    return Trial(normal(40, _SHAPES, dtype), steps(stream, rates), config)


def _skip() -> Trial:
    trial = _option(nonfinite="skip")
    stream = list(trial.steps)
    for i, value in ((2, math.nan), (5, math.inf)):
        bad = {n: np.array(g) for n, g in stream[i].grads.items()}
        bad["bias"][1] = value
        stream[i] = stream[i]._replace(grads=bad)
    return Trial(trial.params, stream, trial.config)


def _refuse(**settings: Any) -> Trial:
    return Trial({"x": f32(1, 2)}, [], LionConfig(), refuse=settings)


def _refuse_integers() -> Trial:
    return Trial({"x": np.arange(3)}, [], LionConfig(), refuse={})


CASES = [
    *(
        Case(
            f"option-momentum-{momentum}-of-{dtype}",
            "L-016",
            f"The momentum of {dtype} parameters is stored in {momentum}.",
            partial(_option, dtype, momentum_dtype=momentum),
            ("momentum-in-parameter-dtype",),
        )
        for dtype, momentum in (
            ("bfloat16", "float32"),
            ("float16", "float32"),
            ("float32", "bfloat16"),
            ("float64", "bfloat16"),
        )
    ),
    Case(
        "option-maximize",
        "L-018",
        "Ascends; the decay still pulls towards zero.",
        lambda: _option(maximize=True),
        ("maximize-ignored",),
    ),
    Case(
        "option-decay-independent",
        "L-017",
        "Decays by wd*lr/lr_peak: at the peak by the whole of wd, whatever the learning rate.",
        lambda: _option(
            rates=[2.0**-8, 2.0**-7, 2.0**-6, 2.0**-7, 0.0],
            decay="independent",
            lr_peak=2.0**-6,
            weight_decay=0.05,
        ),
        ("independent-ignored",),
    ),
    Case(
        "option-nonfinite-skip",
        "L-019",
        "A step with a NaN or infinite gradient is left out for every parameter.",
        _skip,
        ("skip-ignored",),
    ),
    *(
        Case(
            f"errors-{name}",
            rule,
            f"{words} is refused before anything moves.",
            partial(_refuse, **settings),
        )
        for name, rule, words, settings in (
            ("negative-lr", "L-020", "lr = -1", {"lr": -1.0}),
            ("nan-lr", "L-020", "lr = NaN", {"lr": math.nan}),
            ("first-beta-one", "L-020", "b1 = 1", {"betas": (1.0, 0.99)}),
            ("second-beta-one", "L-020", "b2 = 1", {"betas": (0.9, 1.0)}),
            ("negative-beta", "L-020", "b1 = -0.1", {"betas": (-0.1, 0.99)}),
            ("negative-decay", "L-020", "weight_decay = -0.1", {"weight_decay": -0.1}),
            ("infinite-decay", "L-020", "weight_decay = inf", {"weight_decay": math.inf}),
            ("unknown-setting", "L-020", "A setting of no known name", {"weight_decy": 0.1}),
        )
    ),
    Case(
        "errors-integer-parameter",
        "L-005",
        "An integer parameter is refused before anything moves.",
        _refuse_integers,
    ),
]
