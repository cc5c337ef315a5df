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


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype to compute in: float64 for float64 parameters, else float32 (L-005).

    Raises:
        DtypeError: for integers, booleans and whatever else is not a floating-point parameter.
    """
    try:
        return _COMPUTE[dtype]
    except KeyError:
        raise DtypeError(
            f"a parameter of dtype {dtype} cannot be updated; Lion needs bfloat16, float16, "
            "float32, float64 or complex parameters. Leave this one out, or convert it."
        ) from None


def widen(array: Tensor, dtype: torch.dtype) -> Tensor:
    """Load a tensor into the compute dtype (L-005)."""
    return array.to(dtype)


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


def sign(c: Tensor) -> Tensor:
    """-1, +0 or 1; NaN stays NaN, which ``torch.sign`` would turn into 0 (L-010)."""
    return torch.where(c.isnan(), c, c.sign())


def lion_update(x: Tensor, g: Tensor, m: Tensor, scalars: Scalars) -> tuple[Tensor, Tensor]:
    """One Lion update of one parameter (L-001; Program 1 of the paper).

    Args:
        x: parameter, any shape and any floating or complex dtype.
        g: gradient, same shape, any floating dtype; complex where ``x`` is.
        m: momentum as stored, same shape.
        scalars: learning rate (float or 0-d tensor), betas and weight decay.

    Returns:
        The new parameter in the dtype of ``x`` and the new momentum in the dtype of ``m``.

    Raises:
        DtypeError: if ``x`` is neither floating nor complex.

    >>> x, m = torch.tensor([1.0, 1, 1]), torch.tensor([0.5, -0.5, 0])
    >>> lion_update(x, torch.tensor([1.0, 1, 0]), m, Scalars(lr=0.25, b1=0.5, b2=0.75, wd=0.5))
    (tensor([0.6250, 0.6250, 0.8750]), tensor([ 0.6250, -0.1250,  0.0000]))
    """
    if x.is_complex():  # L-014: a pair of reals
        x_, g_, m_ = (torch.view_as_real(a.resolve_conj()) for a in (x, g, m))
        new_x, new_m = lion_update(x_, g_, m_, scalars)
        return torch.view_as_complex(new_x), torch.view_as_complex(new_m)

    dtype = compute_dtype(x.dtype)
    lr, b1, b2, wd = scalars  # L-006: torch rounds a float once, to the dtype of the tensor
    if isinstance(lr, Tensor):
        lr = lr.to(dtype)
    x_, g_, m_ = (widen(a, dtype) for a in (x, g, m))

    # L-007: one IEEE operation at a time, in this order.
    c = b1 * m_ + (1 - b1) * g_
    u = sign(c)
    if wd != 0:  # L-009
        u = u + wd * x_
    x_ = x_ - lr * u
    m_ = b2 * m_ + (1 - b2) * g_
    return narrow(x_, x.dtype), narrow(m_, m.dtype)
