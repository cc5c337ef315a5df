"""Other optimizers altogether: a suite that passes one of them tests nothing."""

from typing import Any

import numpy as np

from lion_ports.config import Scalars
from lion_ports.conformance.mutants.making import Array, Arrays, Mutant, updating, with_inputs
from lion_ports.conformance.variants import Variant


def _adamw(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
    """AdamW with its usual epsilon, and Lion's betas and decay."""
    if np.iscomplexobj(x):
        return x, m
    t = len(lion.rates)
    wide, m_ = g.astype(np.float64), m.astype(np.float64)
    v = s.b2 * lion.extra.get(name, 0.0) + (1 - s.b2) * wide * wide
    m_ = s.b1 * m_ + (1 - s.b1) * wide
    lion.extra[name] = v
    u = (m_ / (1 - s.b1**t)) / (np.sqrt(v / (1 - s.b2**t)) + 1e-8)
    return (x - s.lr * (u + s.wd * x.astype(np.float64))).astype(x.dtype), m_.astype(m.dtype)


def _signsgd(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Any:
    """No momentum at all."""
    return x, g, np.zeros_like(m), s._replace(b1=0.0)


MUTANTS: dict[str, Mutant] = {
    "no-op": Mutant("nothing moves", updating(lambda lion, name, x, g, m, s: (x, m))),
    "signsgd": Mutant("it is signSGD", with_inputs(_signsgd)),
    "adamw": Mutant("it is AdamW", updating(_adamw)),
}
"""Mutant by name."""
