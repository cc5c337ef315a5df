"""Dtypes, rounding and signs: what the torch port computes with."""

import torch
from torch import Tensor

from lion_ports.errors import DtypeError

_COMPUTE = {
    torch.bfloat16: torch.float32,
    torch.float16: torch.float32,
    torch.float32: torch.float32,
    torch.float64: torch.float64,
    torch.complex64: torch.float32,
    torch.complex128: torch.float64,
}

PLAIN = frozenset((Tensor, torch.nn.Parameter))
"""The classes whose tensors have memory of their own; others may have none."""


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


def refuse_conjugate(p: Tensor, name: str) -> None:
    """Raise a DtypeError for a complex parameter whose numbers are not what is in its memory.

    Its pairs of reals (:func:`as_reals`) are a copy, and what is written to them is lost.
    """
    if p.is_conj():
        raise DtypeError(
            f"{name} is a conjugated view, whose numbers are not in memory; make "
            "the parameter of its resolve_conj()"
        )


def widen(array: Tensor, dtype: torch.dtype, out: Tensor | None = None) -> Tensor:
    """Load a tensor into the compute dtype (L-005), into ``out`` if it is given and needed."""
    if out is None or array.dtype == dtype:
        return array.to(dtype)
    # On a CPU, torch copies float16 to float32 without a sign that is not in memory.
    return out.copy_(array.resolve_neg())


def narrow(array: Tensor, dtype: torch.dtype) -> Tensor:
    """Store a tensor of the compute dtype: one rounding to nearest even (L-008)."""
    if array.dtype == torch.float64 and dtype.itemsize == 2:
        array = _round_to_odd(array)  # torch goes by way of float32, and would round twice
    return array.to(dtype)


def stored(array: Tensor, lr: float | Tensor) -> Tensor:
    """A tensor that was just written, with the rounding of its dtype.

    A compiler goes on in float32 with what it stores in 16 bits, unless it has to look at the bits.
    So it is shown a change of them by a zero that it cannot see through: ``lr < 0`` (L-020).
    """
    if not isinstance(lr, Tensor) or array.itemsize != 2:
        return array
    zero = (lr < 0).to(device=array.device, dtype=torch.int16)
    return (array.view(torch.int16) ^ zero).view(array.dtype)


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
    return torch.where(c != c, c, u)  # isnan would not be vectorized by a compiler


def as_reals(array: Tensor) -> Tensor:
    """A complex tensor as pairs of reals along a new last axis (L-014), in the same memory."""
    return torch.view_as_real(array.resolve_conj()) if array.is_complex() else array


def scalar(value: float | Tensor, like: Tensor) -> Tensor:
    """A number as a 0-d tensor of the dtype and on the device of ``like``: rounded once (L-006)."""
    if isinstance(value, Tensor):
        return value.to(device=like.device, dtype=like.dtype)
    return torch.full((), value, dtype=like.dtype, device=like.device)


def bound_in(bound: float, dtype: torch.dtype) -> float:
    """A bound that is to be rounded to a dtype, which torch refuses of what is too large for it."""
    return bound if bound <= torch.finfo(dtype).max else torch.inf


def divided(a: float | Tensor, b: float | Tensor, dtype: torch.dtype) -> Tensor:
    """``a / b``, both rounded to a dtype and divided in it, on the device where one of them is."""
    devices = [n.device for n in (a, b) if isinstance(n, Tensor) and not n.is_cpu]
    # On one device: by a number of the CPU, torch would not divide, but multiply by its reciprocal.
    like = torch.empty((), dtype=dtype, device=devices[0] if devices else "cpu")
    return scalar(a, like) / scalar(b, like)
