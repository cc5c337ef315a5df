"""Shapes, strides and missing gradients."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lion_ports.config import LionConfig
from lion_ports.conformance.cases.streams import (
    Shapes,
    f32,
    normal,
    normal_stream,
    steps,
)
from lion_ports.conformance.trial import Case, Step, Trial, generator

_LR = 2.0**-6
_CONFIG = LionConfig(lr=_LR, weight_decay=0.1)
_PAIR: Shapes = {"weight": (6, 5), "bias": (5,)}


def _shapes(shapes: Shapes, count: int = 4) -> Trial:
    return Trial(normal(30, shapes), steps(normal_stream(30, shapes, count), _LR), _CONFIG)


def _strided() -> Trial:
    """Transposed and every-other-element arrays, in every mixture of parameter and gradient."""
    rng = generator(31)
    layouts: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
        "contiguous": lambda a: np.ascontiguousarray(a),
        "transposed": lambda a: np.ascontiguousarray(a.T).T,
        "skipping": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    }
    pairs = {f"{p}_{g}": (layouts[p], layouts[g]) for p in layouts for g in layouts}

    def draw() -> NDArray[Any]:
        return rng.standard_normal((7, 4)).astype(np.float32)

    params = {name: of_param(draw()) for name, (of_param, _) in pairs.items()}
    stream = [{name: of_grad(draw()) for name, (_, of_grad) in pairs.items()} for _ in range(4)]
    return Trial(params, steps(stream, _LR), _CONFIG)


def _without(name: str, absent: range, count: int = 6) -> Trial:
    """``name`` has no gradient at the steps of ``absent``."""
    trial = _shapes(_PAIR, count)
    stream = [
        Step({n: None if n == name and i in absent else g for n, g in step.grads.items()}, step.lr)
        for i, step in enumerate(trial.steps)
    ]
    return Trial(trial.params, stream, LionConfig(lr=_LR, weight_decay=0.5))


def _first_gradient() -> Trial:
    # The momentum starts at zero: after one small gradient, a larger one of the other sign wins.
    grads = [f32(1, -1, 4), f32(-0.2, 0.2, -1), f32(-2, 2, -8)]
    return Trial({"x": f32(1, 1, 1)}, steps([{"x": g} for g in grads], _LR), LionConfig(lr=_LR))


def _no_gradients() -> Trial:
    """A step in which there is nothing to do, between two in which there is."""
    trial = _shapes(_PAIR, 3)
    nothing = Step(dict.fromkeys(_PAIR), _LR)
    return Trial(trial.params, [trial.steps[0], nothing, trial.steps[2]], _CONFIG)


def _channels_last() -> Trial:
    """Gradients whose memory has the second axis last, as those of convolutions do."""
    shapes: Shapes = {"kernel": (2, 5, 3, 4)}
    stream = [
        {n: np.moveaxis(np.ascontiguousarray(np.moveaxis(g, 1, -1)), -1, 1) for n, g in s.items()}
        for s in normal_stream(33, shapes, 4)
    ]
    return Trial(normal(33, shapes), steps(stream, _LR), _CONFIG)


CASES = [
    Case(
        "structure-scalar",
        "L-013",
        "A parameter without dimensions.",
        lambda: _shapes({"scale": ()}),
    ),
    Case(
        "structure-empty",
        "L-013",
        "Parameters without elements, beside one that has some.",
        lambda: _shapes({"none": (0,), "no_rows": (0, 3), "weight": (3, 2)}),
    ),
    Case(
        "structure-primes",
        "L-013",
        "Shapes that no block size divides.",
        lambda: _shapes({"vector": (1009,), "matrix": (53, 37), "stack": (7, 11, 13)}),
        ("last-block-missing",),
    ),
    Case(
        "structure-strides",
        "L-013",
        "Transposed and strided parameters and gradients: the layout does not change the result.",
        _strided,
        ("memory-order",),
    ),
    Case(
        "structure-channels-last",
        "L-013",
        "A gradient whose memory has its channels last, of a parameter that has them second.",
        _channels_last,
        ("memory-order",),
    ),
    Case(
        "structure-many-small",
        "L-013",
        "Two hundred parameters of one to nine elements, each with its own momentum.",
        lambda: _shapes({f"p{i:03}": (i % 9 + 1,) for i in range(200)}, count=3),
        ("momentum-shared",),
    ),
    Case(
        "structure-large",
        "L-013",
        "One parameter of 300,007 elements, larger than any block.",
        lambda: _shapes({"embedding": (300_007,)}, count=2),
        ("last-block-missing",),
    ),
    Case(
        "structure-no-gradient",
        "L-003",
        "A parameter that never has a gradient does not move, and does not decay.",
        lambda: _without("bias", range(6)),
        ("moved-without-gradient",),
    ),
    Case(
        "structure-late-gradient",
        "L-003",
        "A parameter whose first gradient comes at the fourth step starts from there.",
        lambda: _without("bias", range(3)),
        ("moved-without-gradient",),
    ),
    Case(
        "structure-paused-gradient",
        "L-003",
        "A parameter without a gradient for two steps keeps its momentum as it was.",
        lambda: _without("weight", range(2, 4)),
        ("moved-without-gradient",),
    ),
    Case(
        "structure-no-gradients",
        "L-003",
        "A step in which no parameter has a gradient moves nothing, and raises nothing.",
        _no_gradients,
        ("moved-without-gradient",),
    ),
    Case(
        "structure-inputs-untouched",
        "L-003",
        "The gradients that went in are the gradients afterwards.",
        lambda: _shapes(_PAIR),
        ("gradient-overwritten",),
    ),
    Case(
        "structure-zero-momentum",
        "L-002",
        "The momentum starts at zero, not at the first gradient.",
        _first_gradient,
        ("momentum-from-gradient", "momentum-not-zero", "first-step-skipped"),
    ),
]
