"""Ten thousand steps."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lion_ports.config import LionConfig
from lion_ports.conformance.cases.streams import vector_steps
from lion_ports.conformance.trial import Case, Trial, generator

_COUNT = 10_000
_LR = 2.0**-12


def _long(seed: int, gradient: Callable[[np.random.Generator, int], NDArray[np.float64]]) -> Trial:
    rng = generator(seed)
    x = rng.standard_normal(16).astype(np.float32)
    grads = [gradient(rng, i).astype(np.float32) for i in range(_COUNT)]
    config = LionConfig(lr=_LR, weight_decay=0.5)
    return Trial({"x": x}, vector_steps(grads, _LR), config)


CASES = [
    Case(
        "long-normal",
        "L-002",
        "Normal gradients with a drift: nothing but the momentum is carried along.",
        lambda: _long(50, lambda rng, i: rng.standard_normal(16) + 0.1),
        ("bias-correction", "decay-coupled"),
    ),
    Case(
        "long-rare",
        "L-002",
        "Gradients at one step in fifty, as the rows of a large embedding have.",
        lambda: _long(51, lambda rng, i: rng.standard_normal(16) * (i % 50 == 0)),
        ("momentum-reset-by-zero",),
    ),
]
