"""Loss scale, gradient accumulation, clipping."""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from lion_ports.config import LionConfig
from lion_ports.conformance.cases.streams import OPTION_LR, f32, option_trial, spoiled, vector_steps
from lion_ports.conformance.trial import Case, Step, Trial


def _scaled(trial: Trial, factors: list[float]) -> Trial:
    """The trial with the gradients of each step multiplied, as those of a scaled loss are."""
    stream = [
        Step({n: _times(g, factor) for n, g in step.grads.items()}, step.lr)
        for step, factor in zip(trial.steps, factors, strict=True)
    ]
    return replace(trial, steps=stream)


def _times(g: Any, factor: float) -> Any:
    with np.errstate(over="ignore"):
        return None if g is None else g * g.dtype.type(factor)


def _dynamic(bad: dict[int, float], count: int, **options: Any) -> Trial:
    """``count`` steps under a dynamic scale; those in ``bad`` have one such element."""
    trial = option_trial(rates=[OPTION_LR] * count, loss_scale="dynamic", **options)
    trial = _scaled(trial, [2.0**12] * count)
    return spoiled(trial, bad)


def _accumulated(steps: int, count: int, dtype: str = "float32", **options: Any) -> Trial:
    rates = [OPTION_LR * (1 + i / 7) for i in range(count)]
    return option_trial(dtype, rates, gradient_accumulation_steps=steps, **options)


def _scheduled_skips() -> Trial:
    """The scale doubles at every step, up to its limit, and two steps are left out on the way."""
    decay: Any = lambda count: 0.25 * (count + 1)  # noqa: E731
    return _dynamic(
        {1: math.inf, 4: math.nan}, 16, loss_scale_growth_interval=1, weight_decay=decay
    )


def _missing() -> Trial:
    """The bias has a gradient in the first micro-steps, then in the last ones, then in none."""
    trial = _accumulated(3, 12)
    absent = {2, 3, 4, 6, 7, 8}
    stream = [
        Step({n: None if n == "bias" and i in absent else g for n, g in s.grads.items()}, s.lr)
        for i, s in enumerate(trial.steps)
    ]
    return replace(trial, steps=stream)


def _norms(**options: Any) -> Trial:
    # Norms of 5 and 10 against bounds of 5: factors of 1 and 1/2, and a small one that stays.
    grads = [f32(3, -4), f32(-6, 8), f32(0.75, -1), f32(0, 0)]
    config = LionConfig(lr=2.0**-3, betas=(0.5, 0.75), **options)
    return Trial({"x": f32(1, -1)}, vector_steps(grads, 2.0**-3), config, exact=True)


def _global_norms() -> Trial:
    # Together 3 and 4 have the norm 5, and 2.5 is half of it.
    trial = _norms(global_clipnorm=2.5)
    stream = [
        Step({"x": g, "y": np.array(h, np.float32)}, 2.0**-3)
        for g, h in ((f32(3, 0), 4), (f32(0, -3), -4), (f32(0.5, 0), 0.25), (f32(0, 0), 0))
    ]
    return replace(trial, params={"x": f32(1, -1), "y": np.array(2, np.float32)}, steps=stream)


CASES = [
    Case(
        "option-loss-scale",
        "L-024",
        "Gradients of a loss that was multiplied by 1000 are multiplied by 1/1000 first.",
        lambda: _scaled(option_trial(loss_scale=1000.0), [1000.0] * 8),
        ("loss-scale-ignored", "loss-scale-twice"),
    ),
    Case(
        "option-loss-scale-float16",
        "L-024",
        "Gradients that float16 cannot hold unscaled are unscaled in float32.",
        lambda: _scaled(
            option_trial("float16", scale=2.0**-8, loss_scale=2.0**14, momentum_dtype="float32"),
            [1.0] * 8,
        ),
        ("loss-scale-ignored", "loss-scale-in-float16"),
    ),
    Case(
        "option-loss-scale-bfloat16",
        "L-024",
        "Gradients in bfloat16 are unscaled by 1/1000 in float32, and not rounded again.",
        lambda: _scaled(
            option_trial("bfloat16", loss_scale=1000.0, momentum_dtype="float32"), [1000.0] * 8
        ),
        ("loss-scale-in-float16", "loss-scale-twice"),
    ),
    Case(
        "option-loss-scale-schedule",
        "L-024",
        "Steps that are left out do not count for schedules; a scale that doubles stops at 2^24.",
        _scheduled_skips,
        ("schedule-counts-micro-steps", "loss-scale-unbounded"),
    ),
    Case(
        "option-loss-scale-dynamic",
        "L-024",
        "Steps with an infinity or a NaN are left out, and halve the scale for those after them.",
        lambda: _dynamic({2: math.inf, 3: math.nan, 6: -math.inf}, 9),
        ("loss-scale-static", "loss-scale-ignored"),
    ),
    Case(
        "option-loss-scale-grows",
        "L-024",
        "Two finite steps double the scale, up to 2^24; one that is not begins the count anew.",
        lambda: _dynamic({3: math.nan}, 26, loss_scale_growth_interval=2),
        ("loss-scale-static", "loss-scale-unbounded"),
    ),
    Case(
        "option-accumulate",
        "L-025",
        "Three micro-steps make one update by the mean of their gradients.",
        lambda: _accumulated(3, 11),
        ("accumulate-ignored", "accumulate-sum", "accumulate-last"),
    ),
    Case(
        "option-accumulate-bfloat16",
        "L-025",
        "Gradients in bfloat16 are added up in float32.",
        lambda: _accumulated(4, 12, "bfloat16"),
        ("accumulate-sum", "accumulate-in-parameter-dtype"),
    ),
    Case(
        "option-accumulate-missing",
        "L-025",
        "A gradient missing in some micro-steps adds nothing; in all of them, nothing moves.",
        _missing,
        ("accumulate-last", "moved-without-gradient"),
    ),
    Case(
        "option-accumulate-decay-schedule",
        "L-025",
        "Schedules count updates, not micro-steps.",
        lambda: _accumulated(2, 8, weight_decay=lambda count: 0.25 * (count + 1)),
        ("schedule-counts-micro-steps", "decay-schedule-late"),
    ),
    Case(
        "option-accumulate-skip",
        "L-025",
        "A micro-step with a NaN is left out, and another one takes its place.",
        lambda: spoiled(_accumulated(2, 9, nonfinite="skip"), {1: math.nan, 4: math.inf}),
        ("skip-ignored", "skip-one-parameter", "accumulate-sum"),
    ),
    Case(
        "option-clipvalue",
        "L-026",
        "No element of a gradient is larger than 0.7.",
        lambda: option_trial(scale=2.0, clipvalue=0.7),
        ("clip-ignored",),
    ),
    Case(
        "option-clipvalue-nan",
        "L-026",
        "A gradient of NaN stays NaN, and an infinite one becomes the bound.",
        lambda: spoiled(option_trial(clipvalue=0.7), {3: math.inf, 5: math.nan}),
        ("clip-ignored", "nan-swallowed"),
    ),
    Case(
        "option-clipvalue-accumulated",
        "L-026",
        "The mean over the micro-steps is clipped, not each of their gradients.",
        lambda: _accumulated(2, 8, clipvalue=0.5),
        ("clip-ignored", "clip-before-mean"),
    ),
    Case(
        "option-clipnorm",
        "L-027",
        "Each gradient is brought within a norm of 2, by its own norm.",
        lambda: option_trial(clipnorm=2.0),
        ("clip-ignored", "clipnorm-global"),
    ),
    Case(
        "option-clipnorm-exact",
        "L-027",
        "The same where the factors are 1 and 1/2.",
        lambda: _norms(clipnorm=5.0),
        ("clip-ignored", "clip-normalises"),
    ),
    Case(
        "option-clipnorm-accumulated",
        "L-027",
        "The mean over the micro-steps is clipped, not each of their gradients.",
        lambda: _accumulated(2, 8, clipnorm=1.0),
        ("clip-ignored", "clip-before-mean"),
    ),
    Case(
        "option-global-clipnorm",
        "L-027",
        "All gradients are brought within a norm of 3 together.",
        lambda: option_trial(global_clipnorm=3.0),
        ("clip-ignored", "global-clipnorm-each"),
    ),
    Case(
        "option-global-clipnorm-exact",
        "L-027",
        "The same where the factors are 1 and 1/2.",
        _global_norms,
        ("clip-ignored", "clip-normalises", "global-clipnorm-each"),
    ),
]
