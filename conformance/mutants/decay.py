"""Wrong weight decays: when they act, how strongly, and on what."""

from typing import Any

import numpy as np

from lion_ports import reference
from lion_ports.config import Scalars
from lion_ports.conformance.mutants.making import (
    Array,
    Mutant,
    formula,
    with_inputs,
    with_scalars,
)
from lion_ports.conformance.variants import Variant


def without_decay(s: Scalars) -> Scalars:
    """The scalars with no decay."""
    return s._replace(wd=0.0)


def decayed_gradient(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Any:
    """The decay is added to the gradient."""
    dtype = x.dtype if np.iscomplexobj(x) else np.dtype(reference.compute_dtype(x.dtype))
    return x, g.astype(dtype) + x.astype(dtype) * dtype.type(s.wd), m, without_decay(s)


def _absolute(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Any:
    """The decay keeps the strength that it had at the first learning rate."""
    return x, g, m, s._replace(wd=s.wd * lion.rates[0] / s.lr if s.lr else 0.0)


def _by_peak(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Any:
    """The decay falls with the square of the learning rate."""
    peak = max(lion.rates)
    return x, g, m, s._replace(wd=s.wd * s.lr / peak if peak else s.wd)


MUTANTS: dict[str, Mutant] = {
    "decay-missing": Mutant("weight decay is ignored", with_scalars(without_decay)),
    "decay-coupled": Mutant("weight decay enters the gradient", with_inputs(decayed_gradient)),
    "decay-after": Mutant(
        "weight decay acts on the parameter after its step",
        formula(moved=lambda x, g, m, s, u: (x - s.lr * u) - s.lr * s.wd * (x - s.lr * u)),
    ),
    "decay-grows": Mutant(
        "weight decay pushes away from zero",
        formula(moved=lambda x, g, m, s, u: x - s.lr * (u - s.wd * x)),
    ),
    "decay-without-lr": Mutant(
        "weight decay is not multiplied by the learning rate",
        formula(moved=lambda x, g, m, s, u: x - s.wd * x - s.lr * u),
    ),
    "decay-lr-twice": Mutant(
        "weight decay is multiplied by the learning rate twice",
        formula(moved=lambda x, g, m, s, u: x - s.lr * u - s.lr * s.lr * s.wd * x),
    ),
    "decay-absolute": Mutant(
        "coupled weight decay does not follow the learning rate", with_inputs(_absolute)
    ),
    "decay-by-peak": Mutant(
        "weight decay falls with the square of the learning rate, in units of its peak",
        with_inputs(_by_peak),
    ),
    "decay-skips-vectors": Mutant(
        "parameters of one dimension do not decay",
        with_scalars(without_decay, lambda x, g: x.ndim == 1),
    ),
    "decay-skips-zero-gradient": Mutant(
        "a zero gradient switches the decay off",
        with_scalars(without_decay, lambda x, g: not np.any(g)),
    ),
    "decay-by-default": Mutant(
        "weight decay is 1e-3 unless it is set",
        with_scalars(lambda s: s._replace(wd=s.wd or 1e-3)),
    ),
}
"""Mutant by name."""
