"""Wrong momenta: how they begin, how they go on, and whose they are."""

from typing import Any

import numpy as np

from lion_ports.config import Scalars
from lion_ports.conformance.mutants.making import (
    Array,
    Arrays,
    Mutant,
    formula,
    mix,
    updating,
    with_inputs,
    with_scalars,
)
from lion_ports.conformance.variants import Variant, right_update


def _bias_correction(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
    t = len(lion.rates) - 1
    factor = 1 / (1 - s.b2**t) if t else 1.0
    corrected = (m * m.dtype.type(factor)).astype(m.dtype)
    new_x, _ = right_update(lion, name, x, g, corrected, s)
    return new_x, right_update(lion, name, x, g, m, s)[1]


def _reset_by_zero(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
    new_x, new_m = right_update(lion, name, x, g, m, s)
    return new_x, new_m if np.any(g) else np.zeros_like(m)


def _first_gradient(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Any:
    first = name not in lion.extra
    lion.extra[name] = True
    return x, g, g.astype(m.dtype) if first else m, s


MUTANTS: dict[str, Mutant] = {
    "bias-correction": Mutant(
        "the momentum is divided by 1 - b2^t, as Adam does", updating(_bias_correction)
    ),
    "complement-missing": Mutant(
        "the new momentum is b2*m + g", formula(momentum=lambda x, g, m, s: s.b2 * m + g)
    ),
    "direction-kept": Mutant(
        "the new momentum is the direction before its sign", formula(momentum=mix)
    ),
    "betas-of-adam": Mutant(
        "b2 is 0.999 where it should be 0.99",
        with_scalars(lambda s: s._replace(b2=0.999 if s.b2 == 0.99 else s.b2)),
    ),
    "momentum-from-gradient": Mutant(
        "the momentum starts at the first gradient", with_inputs(_first_gradient)
    ),
    "momentum-not-zero": Mutant(
        "the momentum starts a little above zero",
        lambda: Variant(begin=lambda m: m + np.array(1e-3).astype(m.dtype)),
    ),
    "momentum-reset-by-zero": Mutant(
        "a zero gradient clears the momentum", updating(_reset_by_zero)
    ),
    "momentum-shared": Mutant(
        "parameters of one shape share a momentum",
        lambda: Variant(slot=lambda name, x: f"{x.dtype}{x.shape}"),
    ),
    "reset-on-load": Mutant(
        "the momentum is zero after loading a state",
        lambda: Variant(restore=lambda x, m: np.zeros_like(m)),
    ),
}
"""Mutant by name."""
