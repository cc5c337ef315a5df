"""Wrong updates that users have met in programs in use, made again from their descriptions.

Those of formulas, kernels and dtypes; those of the state are in ``real_state``.
"""

from typing import Any

import numpy as np

from lion_ports import reference
from lion_ports.config import Scalars
from lion_ports.conformance.mutants.decay import decayed_gradient
from lion_ports.conformance.mutants.making import (
    Array,
    Arrays,
    Mutant,
    formula,
    mix,
    on_reals,
    right_direction,
    updating,
    with_inputs,
)
from lion_ports.conformance.variants import Variant, right_update


def _nan_as_negative(x: Array, g: Array, m: Array, s: Scalars) -> Any:
    """A kernel that guards its zero and then asks ``c > 0``."""
    c = np.asarray(mix(x, g, m, s))
    return np.where(c > 0, 1, np.where(c == 0, 0, -1)).astype(c.dtype)


def _interpolated(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
    """``m + (1-b)*(g-m)`` makes NaN of an infinite momentum, and a sign of 0 hides it."""
    dtype = reference.compute_dtype(x.dtype)
    x_, g_, m_ = (a.astype(dtype) for a in (x, g, m))
    t = Scalars(*(dtype(v) for v in s[:4]))
    c, new_m = (m_ + (1 - b) * (g_ - m_) for b in (t.b1, t.b2))
    u = np.nan_to_num(reference.sign(np.asarray(c)), nan=0.0)
    new_x = x_ - t.lr * (u + t.wd * x_)
    return reference.narrow(np.asarray(new_x), x.dtype), reference.narrow(new_m, m.dtype)


def _bracket_narrow(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
    """``u + wd*x`` in the parameter's dtype: a decay below half an ulp of 1 is lost."""
    _, new_m = right_update(lion, name, x, g, m, s)
    dtype = reference.compute_dtype(x.dtype)
    x_, g_, m_ = (a.astype(dtype) for a in (x, g, m))
    t = Scalars(*(dtype(v) for v in s[:4]))
    bracket = np.asarray(right_direction(x_, g_, m_, t) + t.wd * x_).astype(x.dtype)
    return reference.narrow(np.asarray(x_ - t.lr * bracket.astype(dtype)), x.dtype), new_m


def _narrow_difference(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> Arrays:
    """A kernel that takes ``m - g`` before it widens."""
    dtype = reference.compute_dtype(x.dtype)
    difference = np.asarray(m - g.astype(m.dtype)).astype(dtype)
    x_, g_ = x.astype(dtype), g.astype(dtype)
    t = Scalars(*(dtype(v) for v in s[:4]))
    u = reference.sign(np.asarray(g_ + t.b1 * difference))
    new_x, new_m = x_ - t.lr * (u + t.wd * x_), g_ + t.b2 * difference
    return reference.narrow(np.asarray(new_x), x.dtype), reference.narrow(new_m, m.dtype)


def _narrow_betas(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Any:
    b1, b2 = (float(x.real.dtype.type(b)) for b in (s.b1, s.b2))
    return x, g, m, s._replace(b1=b1, b2=b2)


def _narrow_rate(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Any:
    return x, g, m, s._replace(lr=float(g.real.dtype.type(s.lr)))


def _truncated(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
    """The upper half of a float32's bits is a bfloat16 that was not rounded."""
    if x.dtype != reference.BFLOAT16:
        return right_update(lion, name, x, g, m, s)
    new_x, _ = right_update(lion, name, x.astype(np.float32), g, m, s)
    upper = (new_x.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    return upper.astype(x.dtype), right_update(lion, name, x, g, m, s)[1]


def _real_part(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
    if not np.iscomplexobj(x):
        return right_update(lion, name, x, g, m, s)
    new_x, new_m = right_update(lion, name, x.real, g.real, m.real, s)
    return new_x.astype(x.dtype), new_m.astype(m.dtype)


def _small_coupled(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Any:
    """Small tensors take another path, and that one is an Adam's."""
    return decayed_gradient(lion, name, x, g, m, s) if x.size < 16 else (x, g, m, s)


def _selective(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
    new_x, new_m = right_update(lion, name, x, g, m, s)
    return np.where(g == 0, x, new_x), np.where(g == 0, m, new_m)


def _divided(x: Array, g: Array, m: Array, s: Scalars) -> Any:
    """``b1*m`` is at hand from the direction, and ``b2*m`` is made of it."""
    return (s.b1 * m) * (s.b2 / s.b1) + (1 - s.b2) * g


MUTANTS: dict[str, Mutant] = {
    "nan-counts-as-negative": Mutant(
        "a NaN counts as negative: the parameter moves on by lr", formula(_nan_as_negative)
    ),
    "infinity-freezes": Mutant(
        "interpolation makes NaN of an infinite momentum, and the parameter freezes in silence",
        on_reals(_interpolated),
    ),
    "decay-below-one-lost": Mutant(
        "the decay is added to the direction in the parameter's dtype, and lost where it is small",
        on_reals(_bracket_narrow),
    ),
    "difference-in-storage-dtype": Mutant(
        "momentum minus gradient is rounded to the momentum's dtype before it is used",
        on_reals(_narrow_difference),
    ),
    "betas-in-parameter-dtype": Mutant(
        "the betas are rounded to the parameter's dtype", with_inputs(_narrow_betas)
    ),
    "lr-in-gradient-dtype": Mutant(
        "the learning rate is rounded to the gradient's dtype", with_inputs(_narrow_rate)
    ),
    "bfloat16-truncated": Mutant(
        "bfloat16 parameters are cut off where they should be rounded", updating(_truncated)
    ),
    "imaginary-dropped": Mutant(
        "the imaginary part of a complex parameter is dropped", updating(_real_part)
    ),
    "decay-coupled-if-small": Mutant(
        "weight decay enters the gradient of parameters of fewer than sixteen elements",
        with_inputs(_small_coupled),
    ),
    "zero-gradient-left-alone": Mutant(
        "elements whose gradient is zero are left alone", updating(_selective)
    ),
    "divided-by-first-beta": Mutant(
        "the new momentum is made by dividing by b1, and is NaN where that is 0",
        formula(momentum=_divided),
    ),
}
"""Mutant by name."""
