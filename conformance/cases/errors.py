"""Settings and parameters that must be refused."""

import math
from functools import partial
from typing import Any

import numpy as np

from lion_ports.config import LionConfig
from lion_ports.conformance.cases.streams import f32
from lion_ports.conformance.trial import Case, Trial


def _refuse(**settings: Any) -> Trial:
    return Trial({"x": f32(1, 2)}, [], LionConfig(), refuse=settings)


def _refuse_integers() -> Trial:
    return Trial({"x": np.arange(3)}, [], LionConfig(), refuse={})


CASES = [
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
            ("two-clips", "L-020", "Clipping in two ways", {"clipnorm": 1.0, "clipvalue": 1.0}),
            ("ema-decay-one", "L-020", "ema_decay = 1", {"ema_decay": 1.0}),
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
