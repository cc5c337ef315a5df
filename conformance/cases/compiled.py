"""The step that a framework's compiler makes: the same numbers, and compiled no more than needed.

The first steps may be compiled anew, for a state that was not there, or a number that has changed
for the first time; from the fourth on nothing is (``observation.py``).
"""

from dataclasses import replace
from typing import Any, Literal

from lion_ports.config import LionConfig
from lion_ports.conformance.cases.streams import normal, normal_stream, steps
from lion_ports.conformance.trial import Case, Group, Trial

_SHAPES = {"weight": (6, 5), "bias": (5,)}
_RATES = [2.0**-6, 2.0**-7, 2.0**-5, 2.0**-8, 2.0**-6, 3 * 2.0**-8]


def _rates(weight_decay: Any = 0.25, compiled: Literal["captured", "whole"] = "whole") -> Trial:
    config = LionConfig(lr=_RATES[0], weight_decay=weight_decay)
    stream = normal_stream(52, _SHAPES, len(_RATES))
    return Trial(normal(52, _SHAPES), steps(stream, _RATES), config, compiled=compiled)


def _groups(setting: str) -> Trial:
    """One setting of the second group is another one at every step."""
    own = {"lr": 2.0**-7, "weight_decay": 0.5}
    changes = {i: {setting: own[setting] * (1 + i / 8)} for i in range(1, len(_RATES))}
    return replace(_rates(), groups=(Group(("weight",)), Group(("bias",), own, changes)))


CASES = [
    Case(
        "compiled-once",
        "L-015",
        "Another learning rate at every step, captured by the compiler: no rate does so again.",
        lambda: _rates(compiled="captured"),
        ("compiled-again", "compiled-second-rate", "lr-of-first-step", "lr-stale"),
    ),
    Case(
        "compiled-rates",
        "L-015",
        "Another learning rate at every step, compiled: none is baked in, none compiles again.",
        _rates,
        ("compiled-again", "compiled-second-rate", "lr-of-first-step", "lr-stale"),
    ),
    Case(
        "compiled-decay-schedule",
        "L-017",
        "Another weight decay at every step, compiled: none is baked in, none compiles again.",
        lambda: _rates(weight_decay=lambda count: 0.25 * (count + 1)),
        ("compiled-again", "decay-of-first-step", "decay-schedule-late"),
    ),
    Case(
        "compiled-groups-lr",
        "L-015",
        "Two groups, compiled; the learning rate of the second is another one at every step.",
        lambda: _groups("lr"),
        ("compiled-again", "group-lr-of-first", "group-change-ignored", "group-change-of-all"),
    ),
    Case(
        "compiled-groups-decay",
        "L-017",
        "Two groups, compiled; the weight decay of the second is another one at every step.",
        lambda: _groups("weight_decay"),
        ("compiled-again", "group-decay-of-first", "group-change-ignored", "group-change-of-all"),
    ),
]
