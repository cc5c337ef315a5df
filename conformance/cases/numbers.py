"""Storage dtypes, NaN and infinity, subnormal numbers."""

import math
from functools import partial

import numpy as np

from lion_ports.config import LionConfig
from lion_ports.conformance.bits import DTYPES
from lion_ports.conformance.cases.streams import (
    f32,
    heavy_tailed,
    normal,
    normal_stream,
    steps,
    vector_steps,
)
from lion_ports.conformance.trial import Case, Trial, generator

_SHAPES = {"weight": (16, 9), "bias": (9,)}
_NAN, _INF = math.nan, math.inf


def mixed_dtypes(
    dtype: str, grad: str | None = None, momentum: str | None = None, seed: int = 20
) -> Trial:
    """Twelve steps of a matrix and a bias, with gradients and momenta of perhaps other dtypes."""
    config = LionConfig(lr=2.0**-6, weight_decay=0.1, momentum_dtype=momentum)  # type: ignore[arg-type]
    stream = normal_stream(seed, _SHAPES, 12, grad or dtype)
    rates = [2.0**-6 * (1 + i / 7) for i in range(12)]
    return Trial(normal(seed, _SHAPES, dtype), steps(stream, rates), config)


def _heavy(dtype: str) -> Trial:
    rng = generator(21)
    x, *gs = (heavy_tailed(rng, (257,)).astype(DTYPES[dtype]) for _ in range(9))
    return Trial({"x": x}, vector_steps(gs, 2.0**-5), LionConfig(lr=2.0**-5, weight_decay=0.1))


def _stall() -> Trial:
    # Half an ulp of a bfloat16 in [1, 2) is 2^-8: steps of 1e-4 never move it, and 1.5e-3 with
    # decay moves it only where both terms are added before the one rounding.
    x = np.array([1, 1.5, 1, -1, 0.001], DTYPES["bfloat16"])
    g = np.array([1, 1, -1, 1, 1], DTYPES["bfloat16"])
    rates = [1e-4, 1e-4, 1.5e-3, 2e-3, 1e-4, 2e-3]
    return Trial({"x": x}, vector_steps([g] * 6, rates), LionConfig(lr=1e-4, weight_decay=1.0))


def _half_gradient() -> Trial:
    # (1-b1)*g and (1-b2)*g are too small for a float16, and not for the compute dtype.
    x = np.ones(4, np.float16)
    g = np.array([1e-7, -1e-7, 6e-8, 3e-5], np.float16)
    return Trial({"x": x}, vector_steps([g] * 3, 2.0**-6), LionConfig(lr=2.0**-6))


def _complex() -> Trial:
    real, imag = normal(22, _SHAPES), normal(23, _SHAPES)
    params = {n: (real[n] + 1j * imag[n]).astype(np.complex64) for n in _SHAPES}
    stream = [
        {n: (a[n] + 1j * b[n]).astype(np.complex64) for n in _SHAPES}
        for a, b in zip(
            normal_stream(24, _SHAPES, 5), normal_stream(25, _SHAPES, 5, scale=3.0), strict=True
        )
    ]
    return Trial(params, steps(stream, 2.0**-6), LionConfig(lr=2.0**-6, weight_decay=0.1))


def _nonfinite(first: list[float], then: list[float], weight_decay: float = 0.1) -> Trial:
    x = f32(*([1.0] * len(first)))
    grads = [f32(*first), f32(*then), f32(*then), f32(*[0.0] * len(first))]
    config = LionConfig(lr=2.0**-6, weight_decay=weight_decay)
    return Trial({"x": x}, vector_steps(grads, 2.0**-6), config)


def _infinite_parameter() -> Trial:
    x, g = f32(_INF, -_INF, _NAN, 1), f32(1, 1, 1, 1)
    return Trial({"x": x}, vector_steps([g] * 3, 2.0**-6), LionConfig(lr=2.0**-6, weight_decay=0.1))


def _subnormal(weight_decay: float) -> Trial:
    rng = generator(26)
    tiny = np.float32(2.0**-149) * rng.integers(-(2**23), 2**23, 64).astype(np.float32)
    small = (rng.uniform(-4, 4, 64) * 2.0**-126).astype(np.float32)
    # Against a parameter of their own size the steps would be far too large: lr is tiny as well.
    config = LionConfig(lr=2.0**-30, weight_decay=weight_decay)
    return Trial(
        {"x": normal(27, {"x": (64,)}, scale=2.0**-20)["x"], "small": small},
        steps([{"x": tiny, "small": small}, {"x": -small, "small": tiny}] * 3, 2.0**-30),
        config,
    )


CASES = [
    *(
        Case(
            f"dtype-{dtype}",
            "L-005",
            f"{dtype} parameters, gradients and momentum; computed in {compute}, rounded once.",
            partial(mixed_dtypes, dtype),
            catches,
        )
        for dtype, compute, catches in (
            ("float32", "float32", ("lr-bfloat16", "momentum-through-float16")),
            ("float64", "float64", ("computed-in-float32",)),
            (
                "bfloat16",
                "float32",
                (
                    "per-operation-rounding",
                    "rounded-between",
                    "momentum-widens",
                    "difference-in-storage-dtype",
                ),
            ),
            ("float16", "float32", ("rounded-between", "momentum-widens")),
        )
    ),
    *(
        Case(
            f"dtype-{dtype}-heavy-tailed",
            "L-008",
            f"{dtype} numbers of all magnitudes, and zeros of both signs.",
            partial(_heavy, dtype),
            ("zero-gradient-left-alone",),
        )
        for dtype in ("float32", "float64", "bfloat16", "float16")
    ),
    Case(
        "dtype-bfloat16-stall",
        "L-008",
        "Steps below half an ulp of a bfloat16 do not move it; step and decay are rounded once.",
        _stall,
        ("per-operation-rounding", "rounded-between"),
    ),
    Case(
        "dtype-float16-small-gradient",
        "L-005",
        "Products too small for float16 still decide the sign.",
        _half_gradient,
        ("per-operation-rounding", "rounded-between"),
    ),
    Case(
        "dtype-bfloat16-gradient-float32",
        "L-005",
        "A float32 gradient leaves a bfloat16 parameter and its momentum bfloat16.",
        lambda: mixed_dtypes("bfloat16", grad="float32"),
        ("parameter-like-gradient", "betas-in-parameter-dtype", "bfloat16-truncated"),
    ),
    Case(
        "dtype-float32-gradient-bfloat16",
        "L-005",
        "A bfloat16 gradient leaves a float32 parameter and its momentum float32.",
        lambda: mixed_dtypes("float32", grad="bfloat16"),
        ("momentum-like-gradient", "lr-in-gradient-dtype"),
    ),
    Case(
        "dtype-float64-gradient-float32",
        "L-005",
        "A float32 gradient of a float64 parameter is widened.",
        lambda: mixed_dtypes("float64", grad="float32"),
        ("momentum-like-gradient",),
    ),
    Case(
        "dtype-complex64",
        "L-014",
        "A complex parameter is a pair of reals, each with its own sign.",
        _complex,
        ("complex-phase",),
    ),
    Case(
        "nonfinite-nan",
        "L-010",
        "A NaN gradient makes its parameter NaN at once, and no other.",
        lambda: _nonfinite([_NAN, 1, -1, -_NAN], [1, 1, -1, -1]),
        ("nan-swallowed", "nan-counts-as-negative"),
    ),
    Case(
        "nonfinite-infinity",
        "L-011",
        "An infinite gradient steps by lr, and its momentum is infinite.",
        lambda: _nonfinite([_INF, -_INF, 1, -1], [1, 1, 1, 1]),
        ("infinity-freezes",),
    ),
    Case(
        "nonfinite-opposite-infinities",
        "L-011",
        "Infinities of both signs in turn make NaN, which shows in the parameter.",
        lambda: _nonfinite([_INF, -_INF, 1, 0], [-_INF, _INF, -1, 0]),
        ("nan-swallowed",),
    ),
    Case(
        "nonfinite-parameter",
        "L-011",
        "Parameters that are infinite or NaN follow IEEE 754 and harm no neighbour.",
        _infinite_parameter,
    ),
    Case(
        "subnormal-gradient",
        "L-012",
        "Subnormal gradients and momenta: kept, or flushed where the implementation says so.",
        lambda: _subnormal(0.0),
    ),
    Case(
        "subnormal-decay",
        "L-012",
        "The same with weight decay on subnormal parameters.",
        lambda: _subnormal(0.5),
    ),
]
