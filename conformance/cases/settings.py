"""Weight decay, betas, and learning rates that change."""

import math
from functools import partial
from typing import Any

import numpy as np

from lion_ports.config import LionConfig
from lion_ports.conformance.cases.streams import f32, normal, normal_stream, steps, vector_steps
from lion_ports.conformance.trial import Case, Trial

_SHAPES = {"weight": (8, 6), "bias": (6,)}


def _decay_alone() -> Trial:
    config = LionConfig(lr=2.0**-4, weight_decay=0.3)
    zero = np.zeros(5, np.float32)
    return Trial({"x": f32(1, -2, 0.3, 1e3, 0)}, vector_steps([zero] * 10, 2.0**-4), config)


def _decay_random(lr: float, weight_decay: float) -> Trial:
    config = LionConfig(lr=lr, weight_decay=weight_decay)
    return Trial(normal(10, _SHAPES), steps(normal_stream(10, _SHAPES, 10), lr), config)


def _decay_scheduled() -> Trial:
    rates = [2.0**-4 / (i + 1) for i in range(12)]
    config = LionConfig(lr=2.0**-4, weight_decay=0.5)
    return Trial(normal(11, _SHAPES), steps(normal_stream(11, _SHAPES, 12), rates), config)


def _no_term() -> Trial:
    # 0*inf would be NaN: a term that is absent cannot do that.
    x = f32(math.inf, -math.inf, 1, -0.0)
    return Trial({"x": x}, vector_steps([f32(1, -1, 0, 0)] * 3, 2.0**-4), LionConfig(lr=2.0**-4))


def _masked(seed: int, decaying: str, dtype: str = "float32") -> Trial:
    config = LionConfig(lr=2.0**-4, weight_decay=0.5)
    stream = normal_stream(seed, _SHAPES, 6, dtype)
    mask = {name: name == decaying for name in _SHAPES}
    return Trial(normal(seed, _SHAPES, dtype), steps(stream, 2.0**-4), config, mask=mask)


def _betas(b1: float, b2: float) -> Trial:
    config = LionConfig(lr=2.0**-6, betas=(b1, b2))
    return Trial(normal(13, _SHAPES), steps(normal_stream(13, _SHAPES, 12), 2.0**-6), config)


def _rates(rates: list[float], weight_decay: float = 0.25) -> Trial:
    config = LionConfig(lr=max(rates), weight_decay=weight_decay)
    stream = normal_stream(14, _SHAPES, len(rates))
    return Trial(normal(14, _SHAPES), steps(stream, rates), config)


def _schedule(count: Any) -> Any:
    """A line of powers of two, the same in Python's numbers and in any framework's float32."""
    return 2.0**-8 * (count + 1)


def _function() -> Trial:
    config = LionConfig(lr=_schedule, weight_decay=0.25)
    stream = normal_stream(14, _SHAPES, 8)
    return Trial(normal(14, _SHAPES), steps(stream, [_schedule(i) for i in range(8)]), config)


def _warm_up_from_zero() -> Trial:
    trial = _rates([0.0, 2.0**-8, 2.0**-7, 2.0**-6])
    return Trial(trial.params, trial.steps, LionConfig(lr=0.0, weight_decay=0.25))


def _defaults() -> Trial:
    config = LionConfig(lr=2.0**-3)
    grads = [f32(1, -1, 1), f32(-0.105, 0.105, -0.5), f32(0.02, -0.02, 0.5), f32(0, 0, 0)]
    return Trial({"x": f32(4, -4, 4)}, vector_steps(grads, 2.0**-3), config, defaults=True)


def _default_decay() -> Trial:
    zero = np.zeros(4, np.float32)
    x = f32(1024, -1024, 1, 0)
    config = LionConfig(lr=0.5)
    return Trial({"x": x}, vector_steps([zero] * 3, 0.5), config, defaults=True, exact=True)


def _cosine(count: int) -> list[float]:
    return [2.0**-6 * 0.5 * (1 + math.cos(math.pi * i / count)) for i in range(count)]


CASES = [
    Case(
        "decay-alone",
        "L-001",
        "Zero gradients: only the decay acts, by lr*wd of the parameter before the step.",
        _decay_alone,
        ("decay-missing", "decay-without-lr", "decay-lr-twice", "decay-skips-zero-gradient"),
    ),
    Case(
        "decay-random",
        "L-001",
        "Decay and update together, on a matrix and a bias.",
        lambda: _decay_random(2.0**-6, 0.5),
        ("decay-coupled", "decay-skips-vectors", "decay-coupled-if-small", "decay-grows"),
    ),
    Case(
        "decay-strong",
        "L-001",
        "lr*wd = 1/4: the decay is that of the old parameter, not of the moved one.",
        lambda: _decay_random(2.0**-1, 0.5),
        ("decay-after",),
    ),
    Case(
        "decay-more-than-one",
        "L-001",
        "lr*wd = 3/2: the parameter changes its sign, and nothing is clipped.",
        lambda: _decay_random(0.5, 3.0),
        ("decay-after", "decay-coupled"),
    ),
    Case(
        "decay-scheduled",
        "L-001",
        "The learning rate falls, and the coupled decay with it.",
        _decay_scheduled,
        ("decay-absolute", "decay-by-peak", "lr-stale"),
    ),
    Case(
        "decay-absent",
        "L-009",
        "Without weight decay an infinite parameter stays infinite: no 0*x is added.",
        _no_term,
    ),
    Case(
        "decay-mask",
        "L-017",
        "A mask exempts the bias from decay, and nothing else.",
        lambda: _masked(12, "weight"),
        ("mask-ignored",),
    ),
    Case(
        "decay-mask-bfloat16",
        "L-017",
        "The other way round, in bfloat16: the bias alone decays.",
        lambda: _masked(15, "bias", "bfloat16"),
        ("mask-ignored",),
    ),
    Case(
        "decay-default",
        "L-004",
        "Constructed with a learning rate alone, and given zero gradients: nothing decays.",
        _default_decay,
        ("decay-by-default",),
    ),
    *(
        Case(f"betas-{name}", "L-001", reason, partial(_betas, b1, b2), catches)
        for name, b1, b2, reason, catches in (
            ("zero", 0.0, 0.0, "b1 = b2 = 0: signSGD.", ("divided-by-first-beta",)),
            (
                "first-zero",
                0.0,
                0.9,
                "b1 = 0: the gradient alone decides.",
                ("betas-swapped", "divided-by-first-beta"),
            ),
            ("second-zero", 0.9, 0.0, "b2 = 0: the momentum is the last gradient.", ()),
            (
                "equal",
                0.9,
                0.9,
                "b1 = b2: the paper's ablation, Signum, Tiger.",
                ("bias-correction",),
            ),
            ("reversed", 0.99, 0.9, "b1 > b2 is legal.", ("betas-swapped", "momentum-first")),
            ("language", 0.95, 0.98, "The paper's betas for language models.", ("nesterov-twice",)),
            ("near-one", 0.999, 1 - 2.0**-20, "Betas close to 1.", ("momentum-from-gradient",)),
        )
    ),
    Case(
        "schedule-every-step",
        "L-015",
        "Another learning rate at every step.",
        lambda: _rates([2.0**-6, 2.0**-5, 2.0**-8, 2.0**-4, 2.0**-9, 2.0**-6]),
        ("lr-stale", "lr-of-first-step", "decay-absolute", "decay-by-peak"),
    ),
    Case(
        "schedule-cosine",
        "L-015",
        "A cosine: rates that no short dtype holds exactly.",
        lambda: _rates(_cosine(16)),
        ("lr-bfloat16", "lr-of-first-step"),
    ),
    Case(
        "schedule-zero",
        "L-015",
        "At lr = 0 the parameter stays and the momentum moves on.",
        lambda: _rates([2.0**-6, 0.0, 0.0, 2.0**-6]),
        ("lr-zero-freezes",),
    ),
    Case(
        "schedule-from-zero",
        "L-015",
        "A warm-up that begins at lr = 0 is legal.",
        _warm_up_from_zero,
        ("lr-zero-freezes",),
    ),
    Case(
        "schedule-function",
        "L-015",
        "A schedule is a function of the count of updates done before, first of 0.",
        _function,
        ("lr-stale",),
    ),
    Case(
        "schedule-restart",
        "L-015",
        "The learning rate falls and jumps back.",
        lambda: _rates([2.0**-6, 2.0**-7, 2.0**-8, 2.0**-6, 2.0**-7, 2.0**-8]),
        ("lr-stale",),
    ),
    Case(
        "betas-defaults",
        "L-004",
        "Constructed with a learning rate alone: betas (0.9, 0.99) and no weight decay.",
        _defaults,
        ("decay-by-default", "betas-of-adam"),
    ),
]
