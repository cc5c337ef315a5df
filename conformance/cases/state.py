"""Going on from a saved state."""

from dataclasses import replace
from functools import partial
from typing import Any

from lion_ports.config import LionConfig
from lion_ports.conformance.cases.streams import (
    OPTION_LR,
    Shapes,
    normal,
    normal_stream,
    option_trial,
    steps,
)
from lion_ports.conformance.trial import Case, Trial

_LR = 2.0**-6
_PAIR: Shapes = {"weight": (6, 5), "bias": (5,)}


def _restart(dtype: str, momentum_dtype: str | None = None) -> Trial:
    config = LionConfig(lr=_LR, weight_decay=0.1, momentum_dtype=momentum_dtype)  # type: ignore[arg-type]
    stream = normal_stream(32, _PAIR, 10, dtype)
    return Trial(normal(32, _PAIR, dtype), steps(stream, _LR), config, restart_at=5)


def _restart_independent() -> Trial:
    """The learning rate has moved away from its peak when the state is saved."""
    rates = [_LR * (1 + i) / 10 for i in range(10)]
    config = LionConfig(lr=_LR, weight_decay=0.1, decay="independent", lr_peak=_LR)
    return Trial(
        normal(34, _PAIR), steps(normal_stream(34, _PAIR, 10), rates), config, restart_at=5
    )


def _portable(dtype: str, restart_at: int = 4, **options: Any) -> Trial:
    trial = option_trial(dtype, **options)
    return replace(trial, restart_at=restart_at, portable=True)


CASES = [
    *(
        Case(
            f"state-restart-{name}",
            "L-021",
            f"Saved after five steps of {words}, and gone on with in a fresh optimizer: the same.",
            partial(_restart, dtype, momentum),
            catches,
        )
        for name, words, dtype, momentum, catches in (
            ("float32", "float32", "float32", None, ("reset-on-load",)),
            ("bfloat16", "bfloat16", "bfloat16", None, ("reset-on-load",)),
            (
                "float32-momentum",
                "bfloat16 with a float32 momentum",
                "bfloat16",
                "float32",
                ("reset-on-load", "momentum-cast-on-load"),
            ),
        )
    ),
    Case(
        "state-restart-independent",
        "L-021",
        "The peak of independent decay is gone on with, not the rate at which it was saved.",
        _restart_independent,
        ("peak-forgotten", "reset-on-load"),
    ),
    *(
        Case(
            f"state-portable-{name}",
            "L-030",
            f"Written to one file in the form of all backends, and gone on with: {words}.",
            build,
            ("reset-on-load",),
        )
        for name, words, build in (
            ("float32", "float32", partial(_portable, "float32")),
            (
                "bfloat16",
                "bfloat16 with a float32 momentum",
                partial(_portable, "bfloat16", momentum_dtype="float32"),
            ),
            (
                "options",
                "independent decay, an average, and a sum of gradients with one still to come",
                partial(
                    _portable,
                    "float32",
                    restart_at=5,
                    decay="independent",
                    lr_peak=OPTION_LR,
                    ema_decay=0.9,
                    gradient_accumulation_steps=2,
                    loss_scale="dynamic",
                    loss_scale_growth_interval=3,
                ),
            ),
        )
    ),
]
