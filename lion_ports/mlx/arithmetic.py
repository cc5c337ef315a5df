"""The arithmetic of docs/spec.md on MLX arrays."""

import mlx.core as mx

from lion_ports.config import Scalars
from lion_ports.errors import DtypeError

_COMPUTE = {
    mx.bfloat16: mx.float32,
    mx.float16: mx.float32,
    mx.float32: mx.float32,
    mx.float64: mx.float64,
    mx.complex64: mx.float32,
}


def compute_dtype(dtype: mx.Dtype, name: str = "") -> mx.Dtype:
    """The dtype to compute in: float64 for float64 parameters, else float32 (L-005).

    Raises:
        DtypeError: for integers, booleans and whatever else is not a floating-point parameter;
            the message calls it ``name``.
    """
    try:
        return _COMPUTE[dtype]
    except KeyError:
        raise DtypeError.of(name, dtype) from None


def widen(array: mx.array, dtype: mx.Dtype) -> mx.array:
    """Load an array into the compute dtype (L-005)."""
    return array.astype(dtype)


def narrow(array: mx.array, dtype: mx.Dtype) -> mx.array:
    """Store an array of the compute dtype: one rounding to nearest even (L-008)."""
    if array.dtype == mx.float64 and dtype == mx.bfloat16:
        array = _round_to_odd(array)  # MLX goes by way of float32, and would round twice
    return array.astype(dtype)


def _round_to_odd(array: mx.array) -> mx.array:
    """float64 to the float32 beside it whose last bit is 1: rounding that once more is exact."""
    near = array.astype(mx.float32)
    bits = near.view(mx.int32)
    inexact = (near.astype(mx.float64) != array) & mx.isfinite(array) & (bits & 1 == 0)
    grow = mx.abs(array) > mx.abs(near.astype(mx.float64))
    return mx.where(inexact, mx.where(grow, bits + 1, bits - 1), bits).view(mx.float32)


def sign(c: mx.array) -> mx.array:
    """-1, +0 or 1; NaN stays NaN, which ``mx.sign`` would turn into 0 (L-010)."""
    return mx.where(mx.isnan(c), c, mx.sign(c))


def lion_update(
    x: mx.array, g: mx.array, m: mx.array, scalars: Scalars
) -> tuple[mx.array, mx.array]:
    """One Lion update of one parameter (L-001; Program 1 of the paper).

    Args:
        x: parameter, any shape and any floating or complex dtype.
        g: gradient, same shape, any floating dtype; complex where ``x`` is.
        m: momentum as stored, same shape.
        scalars: learning rate (float or scalar array), betas and weight decay.

    Returns:
        The new parameter in the dtype of ``x`` and the new momentum in the dtype of ``m``.

    Raises:
        DtypeError: if ``x`` is neither floating nor complex.

    >>> x, m = mx.array([1.0, 1, 1]), mx.array([0.5, -0.5, 0])
    >>> lion_update(x, mx.array([1.0, 1, 0]), m, Scalars(lr=0.25, b1=0.5, b2=0.75, wd=0.5))
    (array([0.625, 0.625, 0.875], dtype=float32), array([0.625, -0.125, 0], dtype=float32))
    """
    if x.dtype == mx.complex64:  # L-014: a pair of reals
        x_, g_, m_ = (a[..., None].view(mx.float32) for a in (x, g, m))
        new_x, new_m = lion_update(x_, g_, m_, scalars)
        return new_x.view(mx.complex64).squeeze(-1), new_m.view(mx.complex64).squeeze(-1)

    dtype = compute_dtype(x.dtype)
    # L-006: 1-b in float64, then every scalar is rounded once to the compute dtype.
    lr, b1, omb1, b2, omb2, wd = (
        mx.array(s, dtype)
        for s in (scalars.lr, scalars.b1, 1 - scalars.b1, scalars.b2, 1 - scalars.b2, scalars.wd)
    )
    x_, g_, m_ = (widen(a, dtype) for a in (x, g, m))

    # L-007: one IEEE operation at a time, in this order.
    c = b1 * m_ + omb1 * g_
    u = sign(c)
    if scalars.wd != 0:  # L-009
        u = u + wd * x_
    x_ = x_ - lr * u
    m_ = b2 * m_ + omb2 * g_
    return narrow(x_, x.dtype), narrow(m_, m.dtype)
