"""Dtypes, rounding and signs: what the port computes with."""

import os
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from lion_ports.errors import DtypeError

_COMPUTE = {
    "bfloat16": "float32",
    "float16": "float32",
    "float32": "float32",
    "float64": "float64",
    "complex64": "float32",
    "complex128": "float64",
}
_BITS = {1: jnp.int8, 2: jnp.int16, 4: jnp.int32, 8: jnp.int64}


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


def widest(dtypes: Iterable[Any]) -> Any:
    """The widest of compute dtypes; float32 of none."""
    return jnp.dtype(jnp.float64 if jnp.dtype(jnp.float64) in dtypes else jnp.float32)


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


def as_reals(array: Array) -> Array:
    """A complex array as pairs of reals along a new last axis (L-014); any other as it is."""
    return jnp.stack([array.real, array.imag], -1) if jnp.iscomplexobj(array) else array


def as_complex(array: Array) -> Array:
    """The complex array of pairs of reals."""
    return lax.complex(array[..., 0], array[..., 1])


def like(array: Array, x: Array) -> Array:
    """What was computed with ``as_reals(x)``, complex again where ``x`` is."""
    return as_complex(array) if jnp.iscomplexobj(x) else array


def chosen(condition: Any, new: Array, old: Array) -> Array:
    """The new array where the condition holds; no operation at all where it is plain True."""
    return new if condition is True else jnp.where(condition, new, old)


def opaque_zero(count: Array) -> Array:
    """An int32 zero that the compiler cannot see through, from the count of steps (>= 0).

    XLA contracts ``a*x + b*y`` into a fused multiply-add, which rounds once where L-007 rounds
    twice; and it computes the new momentum beside the new parameter, both from the old momentum, so
    that a donated momentum has to be copied. Xor-ing this zero into the bits of a product hides
    that it is a product (:func:`times`), and xor-ing ``bits(x') & zero`` into the new momentum puts
    it after x' (:func:`after`). Both cost nothing: the step waits for memory.
    ``optimization_barrier`` and ``reduce_precision`` do neither.
    """
    return count.astype(jnp.int32) >> 31


def opaque_counter() -> Array:
    """A count that begins at 0, which not even a compiler that sees it begin knows to be 0.

    Where the state is made in the same ``jax.jit`` as the step, a constant 0 would give
    :func:`opaque_zero` away. A loop over scalars is the one thing that XLA does not fold.
    """
    count: Array = lax.fori_loop(0, 2, lambda _, one: one >> 1, jnp.ones((), jnp.int32))
    return count


def times(a: Array, b: Array, zero: Array) -> Array:
    """``a * b``, rounded before it is added to anything (L-007)."""
    return hidden(a * b, zero)


def after(array: Array, other: Array, zero: Array) -> Array:
    """``array``, computed when ``other``, of the same shape, has been."""
    if not (array.dtype == other.dtype and _outputs_are_fused()):
        return _after(array, other, zero)
    ordered: Array = lax.platform_dependent(
        array, other, zero, cpu=lambda array, other, zero: array, default=_after
    )
    return ordered


def _outputs_are_fused() -> bool:
    """Whether XLA on the CPU was told to make one loop of all that is computed from the same.

    Then that loop writes x' and m' over what it has read of x and m, with no order between them. An
    order would make two loops of it, as there are without that option; so do two dtypes.
    """
    return "xla_cpu_use_multi_output_fusion" in os.environ.get("XLA_FLAGS", "")


def _after(array: Array, other: Array, zero: Array) -> Array:
    bits = _bits(other)
    # XLA on the CPU reads ``other`` again for it: one element is enough, where that is no message
    # from another device. Elsewhere both are computed in one pass.
    if bits.size > 0 and jax.device_count() == 1 and jax.typeof(other).sharding.mesh.empty:
        bits = lax.platform_dependent(bits, cpu=_first, default=lambda bits: bits)
    return hidden(array, bits & zero.astype(bits.dtype))


def _first(bits: Array) -> Array:
    first = lax.slice(bits, (0,) * bits.ndim, (1,) * bits.ndim)
    return jnp.broadcast_to(first.reshape(()), bits.shape)


@jax.custom_jvp
def hidden(array: Array, zeros: Array) -> Array:
    """``array``, of which the compiler no longer knows how it was computed."""
    bits = _bits(array) ^ zeros.astype(_BITS[array.dtype.itemsize])
    result: Array = lax.bitcast_convert_type(bits, array.dtype)
    return result


@hidden.defjvp
def _hidden_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Any]) -> tuple[Array, Array]:
    # The zeros change nothing, so derivatives pass; those of a bitcast would be zero.
    return hidden(*primals), tangents[0]


def _bits(array: Array) -> Array:
    return lax.bitcast_convert_type(array, _BITS[array.dtype.itemsize])
