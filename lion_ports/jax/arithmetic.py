"""The arithmetic of docs/spec.md on JAX arrays."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from lion_ports.config import Scalars
from lion_ports.errors import DtypeError

_COMPUTE = {
    "bfloat16": "float32",
    "float16": "float32",
    "float32": "float32",
    "float64": "float64",
    "complex64": "float32",
    "complex128": "float64",
}
_BITS = {2: jnp.int16, 4: jnp.int32, 8: jnp.int64}


def compute_dtype(dtype: Any, name: str = "") -> Any:
    """The dtype to compute in: float64 for float64 parameters, else float32 (L-005).

    Raises:
        DtypeError: for integers, booleans and whatever else is not a floating-point parameter;
            the message calls it ``name``.
    """
    try:
        return jnp.dtype(_COMPUTE[jnp.dtype(dtype).name])
    except KeyError:
        raise DtypeError.of(name, dtype) from None


def widen(array: Array, dtype: Any) -> Array:
    """Load an array into the compute dtype (L-005)."""
    return array.astype(dtype)


def narrow(array: Array, dtype: Any) -> Array:
    """Store an array of the compute dtype: one rounding to nearest even (L-008)."""
    if array.dtype == jnp.float64 and dtype == jnp.bfloat16:
        array = _round_to_odd(array)  # XLA goes by way of float32, and would round twice
    return array.astype(dtype)


def _round_to_odd(array: Array) -> Array:
    """float64 to the float32 beside it whose last bit is 1: rounding that once more is exact."""
    near = array.astype(jnp.float32)
    bits = _bits(near)
    inexact = (near.astype(jnp.float64) != array) & jnp.isfinite(array) & (bits & 1 == 0)
    grow = jnp.abs(array) > jnp.abs(near.astype(jnp.float64))
    odd = jnp.where(inexact, jnp.where(grow, bits + 1, bits - 1), bits)
    return lax.bitcast_convert_type(odd, jnp.float32)


def sign(c: Array) -> Array:
    """-1, +0 or 1; NaN stays NaN, and -0 gives +0, which ``jnp.sign`` would keep (L-010)."""
    zero = jnp.zeros((), c.dtype)
    return jnp.where(jnp.isnan(c), c, jnp.where(c == 0, zero, jnp.sign(c)))


def opaque_zero(count: Array) -> Array:
    """An int32 zero that the compiler cannot see through, from the count of steps (>= 0).

    XLA contracts ``a*x + b*y`` into a fused multiply-add, which rounds once where L-007 rounds
    twice; and it computes the new momentum beside the new parameter, both from the old momentum, so
    that a donated momentum has to be copied. Xor-ing this zero into the bits of a product hides
    that it is a product, and xor-ing ``bits(x') & zero`` into the new momentum puts it after x'.
    Both cost nothing: the step waits for memory. ``optimization_barrier`` and ``reduce_precision``
    do neither.
    """
    return count.astype(jnp.int32) >> 31


Update = Callable[[Array, Array, Array, Scalars, Array], tuple[Array, Array]]


def _on_pairs(update: Update) -> Update:
    """L-014: a complex parameter is a pair of reals."""

    @wraps(update)
    def wrapped(x: Array, g: Array, m: Array, scalars: Scalars, zero: Array) -> tuple[Array, Array]:
        if not jnp.iscomplexobj(x):
            return update(x, g, m, scalars, zero)
        real = update(x.real, g.real, m.real, scalars, zero)
        imag = update(x.imag, g.imag, m.imag, scalars, zero)
        return lax.complex(real[0], imag[0]), lax.complex(real[1], imag[1])

    return wrapped


@_on_pairs
def lion_update(x: Array, g: Array, m: Array, scalars: Scalars, zero: Array) -> tuple[Array, Array]:
    """One Lion update of one parameter (L-001; Program 1 of the paper).

    Args:
        x: parameter, any shape and any floating or complex dtype.
        g: gradient, same shape, any floating dtype; complex where ``x`` is.
        m: momentum as stored, same shape.
        scalars: learning rate (float or scalar array), betas and weight decay.
        zero: from :func:`opaque_zero`.

    Returns:
        The new parameter in the dtype of ``x`` and the new momentum in the dtype of ``m``.

    Raises:
        DtypeError: if ``x`` is neither floating nor complex.

    >>> x, m = jnp.array([1.0, 1, 1]), jnp.array([0.5, -0.5, 0])
    >>> scalars = Scalars(lr=0.25, b1=0.5, b2=0.75, wd=0.5)
    >>> lion_update(x, jnp.array([1.0, 1, 0]), m, scalars, opaque_zero(jnp.array(0)))
    (Array([0.625, 0.625, 0.875], dtype=float32), Array([ 0.625, -0.125,  0.   ], dtype=float32))
    """
    move, new_m = lion_move(x, g, m, scalars, zero)
    new_x = narrow(widen(x, move.dtype) + move, x.dtype)
    after = _bits(new_x) & zero.astype(_BITS[new_x.dtype.itemsize])
    return new_x, _xor(new_m, after)


@_on_pairs
def lion_move(x: Array, g: Array, m: Array, scalars: Scalars, zero: Array) -> tuple[Array, Array]:
    """What an optax update adds to the parameter, ``-lr*(u + wd*x)``, and the new momentum.

    The move is in the compute dtype: the rounding of L-008 comes after it is added.
    """
    dtype = compute_dtype(x.dtype)
    # L-006: 1-b in float64, then every scalar is rounded once to the compute dtype.
    lr, b1, omb1, b2, omb2, wd = (
        jnp.asarray(s, dtype)
        for s in (scalars.lr, scalars.b1, 1 - scalars.b1, scalars.b2, 1 - scalars.b2, scalars.wd)
    )
    x_, g_, m_ = (widen(a, dtype) for a in (x, g, m))

    def times(a: Array, b: Array) -> Array:
        return _xor(a * b, zero)

    # L-007: one IEEE operation at a time, in this order.
    c = times(b1, m_) + times(omb1, g_)
    u = sign(c)
    if isinstance(scalars.wd, jax.core.Tracer):
        u = jnp.where(wd == 0, u, u + times(wd, x_))
    elif scalars.wd != 0:  # L-009
        u = u + times(wd, x_)
    m_ = times(b2, m_) + times(omb2, g_)
    return -times(lr, u), narrow(m_, m.dtype)


def _xor(array: Array, zeros: Array) -> Array:
    bits = _bits(array) ^ zeros.astype(_BITS[array.dtype.itemsize])
    return lax.bitcast_convert_type(bits, array.dtype)


def _bits(array: Array) -> Array:
    return lax.bitcast_convert_type(array, _BITS[array.dtype.itemsize])
