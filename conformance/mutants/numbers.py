"""Wrong numbers: dtypes, roundings, and the parts of complex parameters."""

from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np

from lion_ports import reference
from lion_ports.config import Scalars
from lion_ports.conformance.mutants.making import Array, Arrays, Mutant, on_reals, updating
from lion_ports.conformance.variants import Variant, right_update


def _everything(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
    """Every operation in the dtype of the parameter, as eager code without widening does."""
    kind = x.dtype.type
    g, m_ = g.astype(x.dtype), m.astype(x.dtype)
    c = kind(s.b1) * m_ + kind(1 - s.b1) * g
    decayed = x * kind(1 - s.lr * s.wd)
    new_m = kind(s.b2) * m_ + kind(1 - s.b2) * g
    new_x = decayed - kind(s.lr) * reference.sign(np.asarray(c))
    return np.asarray(new_x, x.dtype), np.asarray(new_m).astype(m.dtype)


def _between(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
    """In-place operations, each in float32 and each rounded where it is stored."""
    dtype = reference.compute_dtype(x.dtype)

    def stored(array: Any, like: Array) -> Array:
        return np.asarray(array).astype(like.dtype).astype(dtype)

    s = Scalars(*(dtype(v) for v in s[:4]))
    x_, g_, m_ = (a.astype(dtype) for a in (x, g, m))
    decayed = stored(x_ * (1 - s.lr * s.wd), x)
    c = stored(s.b1 * m_, m) + (1 - s.b1) * g_
    new_m = stored(s.b2 * m_, m) + (1 - s.b2) * g_
    new_x = decayed - s.lr * reference.sign(stored(c, m))
    return np.asarray(new_x).astype(x.dtype), np.asarray(new_m).astype(m.dtype)


def _in_float32(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
    """float64 is narrowed, updated and widened."""
    if x.dtype != np.float64:
        return right_update(lion, name, x, g, m, s)
    x_, g_, m_ = (a.astype(np.float32) for a in (x, g, m))
    new_x, new_m = right_update(lion, name, x_, g_, m_, s)
    return new_x.astype(x.dtype), new_m.astype(m.dtype)


def _gradient_dtype(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
    new_x, new_m = right_update(lion, name, x, g, m.astype(g.dtype), s)
    return new_x, new_m.astype(g.dtype)


def _phase(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Arrays:
    """NumPy's, JAX's and torch's sign of a complex number is c/|c|."""
    new_x, new_m = right_update(lion, name, x, g, m, s)
    if np.iscomplexobj(x):
        c = s.b1 * m + (1 - s.b1) * g
        u = np.divide(c, np.abs(c), out=np.zeros_like(c), where=c != 0)
        new_x = (x - s.lr * (u + s.wd * x)).astype(x.dtype)
    return new_x, new_m


MUTANTS: dict[str, Mutant] = {
    "momentum-like-gradient": Mutant(
        "the momentum takes the dtype of the gradient", updating(_gradient_dtype)
    ),
    "momentum-in-parameter-dtype": Mutant(
        "momentum_dtype is ignored",
        lambda: Variant(obey=lambda config, mask: (replace(config, momentum_dtype=None), mask)),
    ),
    "lr-bfloat16": Mutant(
        "the learning rate is rounded to bfloat16",
        lambda: Variant(rate=lambda rates: float(ml_dtypes.bfloat16(rates[-1]))),
    ),
    "per-operation-rounding": Mutant(
        "every operation is rounded to the parameter's dtype", on_reals(_everything)
    ),
    "rounded-between": Mutant(
        "the parameter is rounded after its decay and again after its step, the momentum likewise",
        on_reals(_between),
    ),
    "complex-phase": Mutant(
        "the sign of a complex number is its phase, not that of its parts", updating(_phase)
    ),
    "computed-in-float32": Mutant(
        "float64 parameters are updated in float32", updating(_in_float32)
    ),
}
"""Mutant by name."""
