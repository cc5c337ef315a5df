"""Wrong directions: what has its sign taken, and what the sign of it is."""

import numpy as np

from lion_ports import reference
from lion_ports.conformance.mutants.making import (
    Mutant,
    formula,
    mix,
    right_direction,
    right_momentum,
    with_inputs,
    with_scalars,
)

MUTANTS: dict[str, Mutant] = {
    "betas-swapped": Mutant(
        "b2 makes the direction and b1 the momentum",
        with_scalars(lambda s: s._replace(b1=s.b2, b2=s.b1)),
    ),
    "momentum-first": Mutant(
        "the direction uses the new momentum",
        formula(lambda x, g, m, s: right_direction(x, g, right_momentum(x, g, m, s), s)),
    ),
    "sign-of-gradient": Mutant(
        "the direction is the sign of the gradient alone",
        formula(lambda x, g, m, s: reference.sign(g)),
    ),
    "sign-of-momentum": Mutant(
        "the direction is the sign of the new momentum",
        formula(lambda x, g, m, s: reference.sign(np.asarray(right_momentum(x, g, m, s)))),
    ),
    "nesterov-twice": Mutant(
        "the gradient is mixed into the direction twice",
        formula(lambda x, g, m, s: right_direction(x, g, mix(x, g, m, s), s)),
    ),
    "sign-zero-plus": Mutant(
        "sign(0) is +1",
        formula(lambda x, g, m, s: np.where(mix(x, g, m, s) >= 0, 1, -1)),
    ),
    "sign-zero-minus": Mutant(
        "sign(0) is -1",
        formula(lambda x, g, m, s: np.where(mix(x, g, m, s) > 0, 1, -1)),
    ),
    "sign-copysign": Mutant(
        "the sign of a zero is that of its sign bit",
        formula(lambda x, g, m, s: np.copysign(m.dtype.type(1), mix(x, g, m, s))),
    ),
    "nan-swallowed": Mutant(
        "sign(NaN) is 0, so that the parameter freezes in silence",
        formula(lambda x, g, m, s: np.nan_to_num(right_direction(x, g, m, s), nan=0.0)),
    ),
    "clipped": Mutant(
        "the direction is clipped to [-1, 1] instead of being its sign",
        formula(lambda x, g, m, s: np.clip(mix(x, g, m, s), -1, 1)),
    ),
    "epsilon": Mutant(
        "the direction is c / (|c| + 1e-6)",
        formula(
            lambda x, g, m, s: mix(x, g, m, s) / (np.abs(mix(x, g, m, s)) + m.dtype.type(1e-6))
        ),
    ),
    "step-added": Mutant(
        "the step is added where it should be subtracted",
        formula(lambda x, g, m, s: -right_direction(x, g, m, s)),
    ),
    "maximize": Mutant(
        "it ascends: the gradient is negated",
        with_inputs(lambda lion, name, x, g, m, s: (x, np.negative(g), m, s)),
    ),
}
"""Mutant by name."""
