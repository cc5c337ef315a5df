"""The arithmetic of docs/spec.md on torch tensors."""

import torch
from torch import Tensor

from lion_ports.config import Scalars
from lion_ports.errors import DtypeError

_COMPUTE = {
    torch.bfloat16: torch.float32,
    torch.float16: torch.float32,
    torch.float32: torch.float32,
    torch.float64: torch.float64,
    torch.complex64: torch.float32,
    torch.complex128: torch.float64,
}


def compute_dtype(dtype: torch.dtype, name: str = "") -> torch.dtype:
    """The dtype to compute in: float64 for float64 parameters, else float32 (L-005).

    Raises:
        DtypeError: for integers, booleans and whatever else is not a floating-point parameter;
            the message calls it ``name``.
    """
    try:
        return _COMPUTE[dtype]
    except KeyError:
        raise DtypeError.of(name, dtype) from None


def widen(array: Tensor, dtype: torch.dtype, out: Tensor | None = None) -> Tensor:
    """Load a tensor into the compute dtype (L-005), into ``out`` if it is given and needed."""
    if out is None or array.dtype == dtype:
        return array.to(dtype)
    return out.copy_(array)


def narrow(array: Tensor, dtype: torch.dtype) -> Tensor:
    """Store a tensor of the compute dtype: one rounding to nearest even (L-008)."""
    if array.dtype == torch.float64 and dtype == torch.bfloat16:
        array = _round_to_odd(array)  # torch goes by way of float32, and would round twice
    return array.to(dtype)


def _round_to_odd(array: Tensor) -> Tensor:
    """float64 to the float32 beside it whose last bit is 1: rounding that once more is exact."""
    near = array.to(torch.float32)
    bits = near.view(torch.int32)
    inexact = (near.to(torch.float64) != array) & array.isfinite() & (bits & 1 == 0)
    grow = array.abs() > near.to(torch.float64).abs()
    return torch.where(inexact, torch.where(grow, bits + 1, bits - 1), bits).view(torch.float32)


def sign(c: Tensor, out: Tensor | None = None) -> Tensor:
    """-1, +0 or 1; NaN stays NaN, which ``torch.sign`` would turn into 0 (L-010)."""
    u = torch.sign(c, out=out)
    # One pass over the numbers tells that there is no NaN, as a rule; two over booleans cost more.
    if c.is_cpu and not torch.compiler.is_compiling() and not c.sum().isnan():
        return u
    return torch.where(c.isnan(), c, u)


def lion_update_(
    x: Tensor, g: Tensor, m: Tensor, scalars: Scalars, scratch: Tensor | None = None
) -> None:
    """One Lion update of one parameter, in place (L-001; Program 1 of the paper).

    Args:
        x: parameter, any shape and any floating or complex dtype; becomes the new parameter.
        g: gradient, same shape, any floating dtype; complex where ``x`` is.
        m: momentum as stored, same shape; becomes the new momentum.
        scalars: learning rate (float or 0-d tensor), betas and weight decay.
        scratch: five rows in the compute dtype and shape of ``x`` for the temporaries; without it
            they are allocated, which for large tensors takes longer than the arithmetic.

    Raises:
        DtypeError: if ``x`` is neither floating nor complex.

    >>> x, m = torch.tensor([1.0, 1, 1]), torch.tensor([0.5, -0.5, 0])
    >>> lion_update_(x, torch.tensor([1.0, 1, 0]), m, Scalars(lr=0.25, b1=0.5, b2=0.75, wd=0.5))
    >>> x, m
    (tensor([0.6250, 0.6250, 0.8750]), tensor([ 0.6250, -0.1250,  0.0000]))
    """
    if x.is_complex():  # L-014: a pair of reals
        x, g, m = (torch.view_as_real(a.resolve_conj()) for a in (x, g, m))

    dtype = compute_dtype(x.dtype)
    lr, b1, b2, wd = scalars  # L-006: torch rounds a float once, to the dtype of the tensor
    if isinstance(lr, Tensor):
        lr = lr.to(dtype)
    a, b, *wide = (None,) * 5 if scratch is None else scratch.unbind()
    x_, g_, m_ = (widen(t, dtype, out) for t, out in zip((x, g, m), wide, strict=True))

    # L-007: one IEEE operation at a time, in this order.
    c = torch.add(torch.mul(m_, b1, out=a), torch.mul(g_, 1 - b1, out=b), out=a)
    u = sign(c, out=b)
    if wd != 0:  # L-009
        u = torch.add(u, torch.mul(x_, wd, out=a), out=b)
    new_x = torch.sub(x_, torch.mul(u, lr, out=b), out=b)
    x.copy_(narrow(new_x, x.dtype))
    new_m = torch.add(torch.mul(m_, b2, out=a), torch.mul(g_, 1 - b2, out=b), out=a)
    m.copy_(narrow(new_m, m.dtype))
