"""Exact arithmetic, the coefficients, and the sign at, near and far from zero."""

from functools import partial

import numpy as np

from lion_ports.config import LionConfig
from lion_ports.conformance.cases.streams import (
    VECTOR_LENGTHS,
    f32,
    normal,
    normal_stream,
    steps,
    vector_steps,
)
from lion_ports.conformance.trial import Case, Trial, generator

# Betas and rates that are sums of few powers of two: products of small integers stay exact.
_DYADIC = LionConfig(lr=0.25, betas=(0.5, 0.75))


def _first_step() -> Trial:
    return Trial(
        {"x": f32(1, 1, 1, 1)}, vector_steps([f32(2, -2, 0.5, -8)], 0.25), _DYADIC, exact=True
    )


def _two_betas() -> Trial:
    grads = [f32(4, -4, 4, -4), f32(-1, 1, -8, 8), f32(-1, -1, 4, 4), f32(2, 2, -2, -2)]
    return Trial({"x": f32(1, -1, 2, -2)}, vector_steps(grads, 0.25), _DYADIC, exact=True)


def _dyadic_decay() -> Trial:
    config = LionConfig(lr=0.25, betas=(0.5, 0.75), weight_decay=0.5)
    grads = [f32(1, -1, 0, 2), f32(-2, 2, 0, -1), f32(1, 1, 0, 1)]
    return Trial({"x": f32(8, -8, 8, -8)}, vector_steps(grads, 0.25), config, exact=True)


def _dyadic_vector() -> Trial:
    rng = generator(1)
    shapes = {"matrix": (5, 7), "vector": (33,), "scalar": ()}
    params = {n: rng.integers(-8, 9, s).astype(np.float32) for n, s in shapes.items()}
    grads = [
        {n: rng.integers(-4, 5, s).astype(np.float32) for n, s in shapes.items()} for _ in range(4)
    ]
    config = LionConfig(lr=0.5, betas=(0.5, 0.75), weight_decay=0.25)
    return Trial(
        {n: np.asarray(p) for n, p in params.items()},
        steps([{n: np.asarray(g) for n, g in step.items()} for step in grads], 0.5),
        config,
        exact=True,
    )


def _coefficient(betas: tuple[float, float]) -> Trial:
    config = LionConfig(lr=2.0**-10, betas=betas)
    grads = [f32(1, -1, 3, -7), f32(0, 0, 0, 0), f32(-0.5, 0.25, 1e-3, 1e3)]
    return Trial({"x": f32(1, 1, 1, 1)}, vector_steps(grads, 2.0**-10), config)


def _silence() -> Trial:
    x = f32(1, -1, 0, 0.5, 1e-20, 3e20, -0.0)
    zero, negative = np.zeros(7, np.float32), np.full(7, -0.0, np.float32)
    grads = [zero if i % 2 == 0 else negative for i in range(1000)]
    return Trial({"x": x}, vector_steps(grads, 0.25), LionConfig(lr=0.25), exact=True)


def _cancel() -> Trial:
    # m = g/4 after the first step, so that b1*m + (1-b1)*g' = 0 exactly for g' = -m.
    grads = [f32(4, -4, 8, -8), f32(-1, 1, -2, 2), f32(1, -1, 1, -1)]
    return Trial({"x": f32(1, 1, -1, -1)}, vector_steps(grads, 0.25), _DYADIC, exact=True)


def _unused_row() -> Trial:
    rng = generator(2)
    grads = []
    for _ in range(50):
        g = rng.integers(-3, 4, (6, 4)).astype(np.float32)
        g[[1, 4]] = 0
        grads.append({"embedding": g})
    return Trial({"embedding": np.ones((6, 4), np.float32)}, steps(grads, 2.0**-6), _DYADIC)


def _critical(offset: int) -> Trial:
    rng = generator(3)
    start = rng.uniform(0.5, 2, 4096).astype(np.float32)
    # With m = 0.01*start, b1*m + (1-b1)*g vanishes at g = -9*m; the gradient lies beside it.
    tie = (-9 * (np.float32(0.01) * start)).astype(np.float32)
    for _ in range(abs(offset)):
        tie = np.nextafter(tie, np.float32(np.sign(offset) * np.inf))
    x = rng.standard_normal(4096).astype(np.float32)
    return Trial({"x": x}, vector_steps([start, tie], 2.0**-8), LionConfig(lr=2.0**-8))


def _safe(shapes: dict[str, tuple[int, ...]], seed: int, weight_decay: float) -> Trial:
    """Random streams whose |c| stays far outside the band: gradients keep a third of their size."""
    rng = generator(seed)
    params, config = normal(seed, shapes), LionConfig(lr=2.0**-7, weight_decay=weight_decay)
    momentum = {n: np.zeros(s) for n, s in shapes.items()}
    stream = []
    for _ in range(6):
        grads = {}
        for name, shape in shapes.items():
            g = rng.standard_normal(shape)
            c = 0.9 * momentum[name] + 0.1 * g
            away = np.abs(c) < 0.01 * (np.abs(momentum[name]) + np.abs(g))
            g = np.asarray(np.where(away, -2 * g, g)).astype(np.float32)
            momentum[name] = 0.99 * momentum[name] + 0.01 * g
            grads[name] = g
        stream.append(grads)
    return Trial(params, steps(stream, 2.0**-7), config)


def _plain(seed: int, lr: float) -> Trial:
    shapes = {"weight": (32, 16), "bias": (16,)}
    return Trial(
        normal(seed, shapes), steps(normal_stream(seed, shapes, 20), lr), LionConfig(lr=lr)
    )


CASES = [
    Case(
        "basic-first-step",
        "L-001",
        "One step by hand: the direction is the sign of the gradient, whatever its size.",
        _first_step,
        ("no-op", "maximize", "step-added", "clipped", "adamw", "stepping-twice"),
    ),
    Case(
        "basic-two-betas",
        "L-001",
        "Four steps by hand in which the old momentum decides, with b1 and then b2.",
        _two_betas,
        ("betas-swapped", "momentum-first", "sign-of-gradient", "sign-of-momentum"),
    ),
    Case(
        "basic-decay",
        "L-001",
        "Three steps by hand with weight decay: x - lr*(u + wd*x).",
        _dyadic_decay,
        ("decay-coupled", "decay-lr-twice", "decay-missing"),
    ),
    Case(
        "basic-tensors",
        "L-001",
        "Small integers in a matrix, a vector and a scalar, exact in every rewriting.",
        _dyadic_vector,
        ("last-block-missing",),
    ),
    Case(
        "basic-normal",
        "L-001",
        "Twenty steps of normal gradients, as a training run would give.",
        lambda: _plain(4, 2.0**-8),
        ("betas-swapped", "epsilon", "direction-kept", "momentum-in-eight-bits", "signsgd"),
    ),
    Case(
        "coefficients-default",
        "L-006",
        "1-b at (0.9, 0.99): from float32 betas it is 3 and 10 ulp off.",
        lambda: _coefficient((0.9, 0.99)),
        ("bias-correction", "complement-missing", "momentum-reset-by-zero"),
    ),
    Case(
        "coefficients-language",
        "L-006",
        "1-b at the paper's (0.95, 0.98) for language models.",
        lambda: _coefficient((0.95, 0.98)),
        ("complement-missing", "momentum-reset-by-zero"),
    ),
    Case(
        "coefficients-near-one",
        "L-006",
        "1-b for betas within 2^-12 of 1, where a rounded beta is visible at once.",
        lambda: _coefficient((1 - 2.0**-12 - 2.0**-30, 1 - 2.0**-13 - 2.0**-31)),
    ),
    Case(
        "sign-zero-silence",
        "L-010",
        "A thousand zero gradients of either sign on a zero momentum move nothing.",
        _silence,
        ("sign-zero-plus", "sign-zero-minus", "sign-copysign"),
    ),
    Case(
        "sign-zero-cancel",
        "L-010",
        "Momentum and gradient cancel exactly: the parameter stays, the momentum moves on.",
        _cancel,
        ("sign-zero-plus", "sign-zero-minus", "sign-of-gradient"),
    ),
    Case(
        "sign-zero-unused-rows",
        "L-010",
        "Rows of an embedding that no batch uses do not drift.",
        _unused_row,
        ("sign-zero-plus", "sign-zero-minus", "sign-copysign"),
    ),
    *(
        Case(
            f"sign-critical-{name}",
            "L-007",
            f"4,096 gradients {words} the tie of momentum and gradient: the sign is that of the "
            "strict order of operations.",
            partial(_critical, offset),
        )
        for name, words, offset in (
            ("tie", "at", 0),
            ("above", "one ulp above", 1),
            ("below", "one ulp below", -1),
        )
    ),
    Case(
        "sign-safe-lengths",
        "L-007",
        "Every |c| far outside the band, at the lengths where vector code has its tails.",
        lambda: _safe({f"x{n}": (n,) for n in VECTOR_LENGTHS}, 5, 0.0),
        ("last-block-missing", "sign-of-gradient", "nesterov-twice"),
    ),
    Case(
        "sign-safe-decay",
        "L-007",
        "The same with weight decay.",
        lambda: _safe({f"x{n}": (n,) for n in VECTOR_LENGTHS}, 6, 0.5),
        ("last-block-missing", "decay-missing", "decay-lr-twice"),
    ),
    Case(
        "sign-safe-matrix",
        "L-007",
        "The same for matrices and a stack of them.",
        lambda: _safe({"matrix": (31, 17), "stack": (3, 5, 7)}, 7, 0.1),
        ("sign-of-momentum",),
    ),
]
