"""The wrong steps that mutants are made of, each written to be wrong in one way."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lion_ports import reference
from lion_ports.config import Scalars
from lion_ports.conformance.variants import Update, Variant, right_update

Array = NDArray[Any]


class Mutant(NamedTuple):
    """A wrong Lion: what it does in place of the right thing, and a fresh one of it."""

    sentence: str
    make: Callable[[], Variant]


def formula(
    direction: Callable[..., Any] | None = None,
    moved: Callable[..., Any] | None = None,
    momentum: Callable[..., Any] | None = None,
) -> Update:
    """An update in the compute dtype with its direction, new parameter or new momentum replaced.

    The replacements see ``x, g, m`` in the compute dtype, the scalars as ``s`` and, for
    ``moved``, the direction ``u``.
    """

    def update(
        lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
    ) -> tuple[Array, Array]:
        if np.iscomplexobj(x):
            return right_update(lion, name, x, g, m, s)
        dtype = reference.compute_dtype(x.dtype)
        x_, g_, m_ = (a.astype(dtype) for a in (x, g, m))
        s = Scalars(*(dtype(v) for v in s))
        u = (direction or right_direction)(x_, g_, m_, s)
        new_x = (moved or right_move)(x_, g_, m_, s, u)
        new_m = (momentum or right_momentum)(x_, g_, m_, s)
        stored = reference.narrow(np.asarray(new_x), x.dtype)
        return stored, reference.narrow(np.asarray(new_m), m.dtype)

    return update


def mix(x: Array, g: Array, m: Array, s: Scalars) -> Any:
    """``c``, whose sign is the direction."""
    return s.b1 * m + (1 - s.b1) * g


def right_direction(x: Array, g: Array, m: Array, s: Scalars) -> Any:
    """``u``, as it should be."""
    return reference.sign(np.asarray(mix(x, g, m, s)))


def right_move(x: Array, g: Array, m: Array, s: Scalars, u: Array) -> Any:
    """``x'``, as it should be."""
    return x - s.lr * (u + s.wd * x) if s.wd else x - s.lr * u


def right_momentum(x: Array, g: Array, m: Array, s: Scalars) -> Any:
    """``m'``, as it should be."""
    return s.b2 * m + (1 - s.b2) * g


def swapped(s: Scalars) -> Scalars:
    """The betas in each other's place."""
    return s._replace(b1=s.b2, b2=s.b1)


def with_inputs(change: Callable[..., tuple[Array, Array, Array, Scalars]]) -> Update:
    """The right update of changed inputs; ``change(lion, name, x, g, m, s)``."""

    def update(lion: Variant, name: str, *args: Any) -> tuple[Array, Array]:
        return right_update(lion, name, *change(lion, name, *args))

    return update


def decayed_gradient(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Any:
    """The decay is added to the gradient."""
    dtype = x.dtype if np.iscomplexobj(x) else reference.compute_dtype(x.dtype)
    return x, g.astype(dtype) + x.astype(dtype) * dtype_scalar(dtype, s.wd), m, s._replace(wd=0.0)


def dtype_scalar(dtype: Any, value: float) -> Any:
    """A scalar in the dtype of an array, so that NumPy promotes nothing."""
    return np.dtype(dtype).type(value)


def unless(condition: Callable[..., bool], change: Callable[[Scalars], Scalars]) -> Update:
    """The right update with ``change(s)`` where ``condition(x, g)`` holds."""

    def update(
        lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
    ) -> tuple[Array, Array]:
        return right_update(lion, name, x, g, m, change(s) if condition(x, g) else s)

    return update


def without_decay(s: Scalars) -> Scalars:
    """The scalars with no decay."""
    return s._replace(wd=0.0)


def absolute_decay(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Any:
    """The decay keeps the strength that it had at the first learning rate."""
    wd = s.wd * lion.rates[0] / s.lr if s.lr else 0.0
    return x, g, m, s._replace(wd=wd)


def bias_correction(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> tuple[Array, Array]:
    """The direction sees the momentum divided by 1 - b2^t."""
    t = len(lion.rates) - 1
    factor = 1 / (1 - s.b2**t) if t else 1.0
    corrected = (m * dtype_scalar(m.dtype, factor)).astype(m.dtype)
    new_x, _ = right_update(lion, name, x, g, corrected, s)
    return new_x, right_update(lion, name, x, g, m, s)[1]


def rounding_everything(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> tuple[Array, Array]:
    """Every operation in the dtype of the parameter, as eager code without widening does."""
    if np.iscomplexobj(x):
        return right_update(lion, name, x, g, m, s)
    kind = x.dtype.type
    g, m_ = g.astype(x.dtype), m.astype(x.dtype)
    c = kind(s.b1) * m_ + kind(1 - s.b1) * g
    decayed = x * kind(1 - s.lr * s.wd)
    new_m = kind(s.b2) * m_ + kind(1 - s.b2) * g
    new_x = decayed - kind(s.lr) * reference.sign(np.asarray(c))
    return np.asarray(new_x, x.dtype), np.asarray(new_m).astype(m.dtype)


def rounding_between(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> tuple[Array, Array]:
    """In-place operations, each in float32 and each rounded where it is stored."""
    if np.iscomplexobj(x):
        return right_update(lion, name, x, g, m, s)
    dtype = reference.compute_dtype(x.dtype)

    def stored(array: Any, like: Array) -> Array:
        return np.asarray(array).astype(like.dtype).astype(dtype)

    s = Scalars(*(dtype(v) for v in s))
    x_, g_, m_ = (a.astype(dtype) for a in (x, g, m))
    decayed = stored(x_ * (1 - s.lr * s.wd), x)
    c = stored(s.b1 * m_, m) + (1 - s.b1) * g_
    new_m = stored(s.b2 * m_, m) + (1 - s.b2) * g_
    new_x = decayed - s.lr * reference.sign(stored(c, m))
    return np.asarray(new_x).astype(x.dtype), np.asarray(new_m).astype(m.dtype)


def complex_phase(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> tuple[Array, Array]:
    """NumPy's, JAX's and torch's sign of a complex number is c/|c|."""
    new_x, new_m = right_update(lion, name, x, g, m, s)
    if np.iscomplexobj(x):
        c = s.b1 * m + (1 - s.b1) * g
        u = np.divide(c, np.abs(c), out=np.zeros_like(c), where=c != 0)
        new_x = (x - s.lr * (u + s.wd * x)).astype(x.dtype)
    return new_x, new_m


def in_float32(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> tuple[Array, Array]:
    """float64 is narrowed, updated and widened."""
    if x.dtype != np.float64:
        return right_update(lion, name, x, g, m, s)
    x_, g_, m_ = (a.astype(np.float32) for a in (x, g, m))
    new_x, new_m = right_update(lion, name, x_, g_, m_, s)
    return new_x.astype(x.dtype), new_m.astype(m.dtype)


def last_block(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> tuple[Array, Array]:
    """Only whole blocks of eight elements are written."""
    new_x, new_m = right_update(lion, name, x, g, m, s)
    whole = np.arange(x.size).reshape(x.shape) < x.size // 8 * 8
    return np.where(whole, new_x, x), np.where(whole, new_m, m)


def memory_order(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Any:
    """The gradient is read in the order of its memory, whatever its strides."""
    return x, g.ravel(order="K").reshape(x.shape), m, s


def first_gradient(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Any:
    """The momentum is the gradient before the first step."""
    first = name not in lion.extra
    lion.extra[name] = True
    return x, g, g.astype(m.dtype) if first else m, s


def skipped_first(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> tuple[Array, Array]:
    """The first step moves the momentum alone."""
    new_x, new_m = right_update(lion, name, x, g, m, s)
    return (x if len(lion.rates) == 1 else new_x), new_m


def twice(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> tuple[Array, Array]:
    """An in-place kernel that its autotuner ran once more on the first step."""
    new_x, new_m = right_update(lion, name, x, g, m, s)
    return right_update(lion, name, new_x, g, new_m, s) if len(lion.rates) == 1 else (new_x, new_m)


def frozen_at_zero(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> tuple[Array, Array]:
    """Nothing happens at a learning rate of zero."""
    return right_update(lion, name, x, g, m, s) if s.lr else (x, m)


def overwriting(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> tuple[Array, Array]:
    """The gradient is halved where it lies."""
    result = right_update(lion, name, x, g, m, s)
    g *= dtype_scalar(g.dtype, 0.5)
    return result


def reset_by_zero(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> tuple[Array, Array]:
    """A gradient of zeros clears the momentum."""
    new_x, new_m = right_update(lion, name, x, g, m, s)
    return new_x, new_m if np.any(g) else np.zeros_like(m)


def gradient_dtype(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> tuple[Array, Array]:
    """The momentum is stored in the gradient's dtype."""
    new_x, new_m = right_update(lion, name, x, g, m.astype(g.dtype), s)
    return new_x, new_m.astype(g.dtype)


def adamw(
    lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars
) -> tuple[Array, Array]:
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


def signsgd(lion: Variant, name: str, x: Array, g: Array, m: Array, s: Scalars) -> Any:
    """No momentum at all."""
    return x, g, np.zeros_like(m), s._replace(b1=0.0)
