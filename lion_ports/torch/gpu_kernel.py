"""The update (L-001) as Triton code: one launch for many tensors, each program one block of one."""
# mypy: ignore-errors
# Triton compiles these functions, which are Python to look at only.

import torch
import triton
import triton.language as tl

DTYPES = {
    torch.bfloat16: tl.bfloat16,
    torch.float16: tl.float16,
    torch.float32: tl.float32,
    torch.float64: tl.float64,
}


@triton.jit
def lion_kernel(
    table,
    owners,
    counts,
    factors,
    scalars,
    X: tl.constexpr,
    G: tl.constexpr,
    M: tl.constexpr,
    COUNT: tl.constexpr,
    MAXIMIZE: tl.constexpr,
    CLIP: tl.constexpr,
    CAUTIOUS_DECAY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Update the tensors of a table, in place; or count for that, and leave them as they are.

    Args:
        table: int64, for each tensor the addresses of x, g and m, its number of elements, and the
            number of its first block.
        owners: int32, for each block the row of its tensor in the table.
        counts: int64, for each tensor the elements whose gradient agrees with the direction
            (L-022); None if the update is not cautious.
        factors: for each tensor what its gradient is multiplied by at last (L-027), in the compute
            dtype; or None.
        scalars: lr, b1, 1-b1, b2, 1-b2, wd, steepness, cap, and what gradients are multiplied by
            (L-024) and then bounded by (L-026): floats, or pointers to them.
        X, G, M: dtypes of parameters, gradients and momenta.
        COUNT: add to ``counts``, and do nothing else.
        MAXIMIZE: L-018.
        CLIP: the direction is clipped instead of a sign (L-028).
        CAUTIOUS_DECAY: L-023.
        BLOCK: elements to a block, a multiple of 16 bytes of each dtype.
    """
    block = tl.program_id(0)
    owner = tl.load(owners + block)
    row = table + owner * 5
    x_address, g_address, m_address = tl.load(row), tl.load(row + 1), tl.load(row + 2)
    size = tl.load(row + 3)
    start = (block - tl.load(row + 4)) * BLOCK  # int64, as all of the table
    rest = tl.minimum(size - start, BLOCK).to(tl.int32)
    x = x_address.to(tl.pointer_type(X)) + start
    g = g_address.to(tl.pointer_type(G)) + start
    m = m_address.to(tl.pointer_type(M)) + start
    count = None if counts is None else counts + owner
    factor = None if factors is None else factors + owner
    aligned = ((x_address | g_address | m_address) & 15) == 0
    # As nearly all blocks are: with nothing masked, 16 bytes move at a time.
    if aligned & (rest == BLOCK):
        x, g, m = tl.multiple_of(x, 16), tl.multiple_of(g, 16), tl.multiple_of(m, 16)
        _update(
            x, g, m, None, size, count, factor, scalars,
            COUNT, MAXIMIZE, CLIP, CAUTIOUS_DECAY, BLOCK,
        )  # fmt: skip
    else:
        _update(
            x, g, m, rest, size, count, factor, scalars,
            COUNT, MAXIMIZE, CLIP, CAUTIOUS_DECAY, BLOCK,
        )  # fmt: skip


@triton.jit
def _update(
    x, g, m, rest, size, count, factor, scalars,
    COUNT: tl.constexpr, MAXIMIZE: tl.constexpr, CLIP: tl.constexpr, CAUTIOUS_DECAY: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Update the block that begins at the pointers: its first ``rest`` elements, if not None."""
    X: tl.constexpr = x.dtype.element_ty
    M: tl.constexpr = m.dtype.element_ty
    C: tl.constexpr = tl.float64 if tl.float64 == X else tl.float32  # L-005
    lane = tl.arange(0, BLOCK)
    there = None if rest is None else lane < rest
    g_ = _effective(tl.load(g + lane, there).to(C), scalars, factor)
    m_ = tl.load(m + lane, there).to(C)
    if MAXIMIZE:
        g_ = g_ * -1.0  # where Triton negates by 0 - g, -0 is lost
    u = _direction(g_, m_, scalars, CLIP)
    if COUNT:
        agree = ((u > 0) & (g_ > 0)) | ((u < 0) & (g_ < 0))
        if there is not None:
            agree = agree & there
        tl.atomic_add(count, tl.sum(agree.to(tl.int32)).to(tl.int64))
    else:
        if count is not None:  # L-022
            oppose = ((u > 0) & (g_ <= 0)) | ((u < 0) & (g_ >= 0))
            u = _enlargement(size, tl.load(count), _scalar(scalars[7], C)) * tl.where(
                oppose, 0.0, u
            )
        x_ = tl.load(x + lane, there).to(C)
        x_, m_ = _updated(x_, g_, m_, u, scalars, CAUTIOUS_DECAY)
        tl.store(x + lane, _narrow(x_, X), there)
        tl.store(m + lane, _narrow(m_, M), there)


# L-007: one IEEE operation at a time, in this order; they are compiled without fusion.


@triton.jit
def _effective(g, scalars, factor):
    """The gradient that an update is made with, but for its sign (L-024 to L-027)."""
    # By 1, and infinity, where there are none: nothing waits for it, and no other code is compiled.
    g = g * _scalar(scalars[8], g.dtype)
    bound = _scalar(scalars[9], g.dtype)
    g = tl.where(g > bound, bound, tl.where(g < bound * -1.0, bound * -1.0, g))  # NaN stays
    if factor is not None:
        g = g * tl.load(factor)
    return g


@triton.jit
def _direction(g, m, scalars, CLIP: tl.constexpr):
    """The direction, from gradient and momentum in the compute dtype."""
    C: tl.constexpr = g.dtype
    b1, one_minus_b1 = _scalar(scalars[1], C), _scalar(scalars[2], C)
    c = b1 * m + one_minus_b1 * g
    if CLIP:
        v = _scalar(scalars[6], C) * c
        u = tl.where(v > 1, 1.0, tl.where(v < -1, -1.0, v))  # a NaN is neither
    else:
        u = tl.where(c != c, c, tl.where(c > 0, 1.0, tl.where(c < 0, -1.0, 0.0)))  # L-010
    return u


@triton.jit
def _updated(x, g, m, u, scalars, CAUTIOUS_DECAY: tl.constexpr):
    """The new parameter and the new momentum, from the old ones, gradient and direction."""
    C: tl.constexpr = g.dtype
    lr, wd = _scalar(scalars[0], C), _scalar(scalars[5], C)
    b2, one_minus_b2 = _scalar(scalars[3], C), _scalar(scalars[4], C)
    decayed = tl.where(wd == 0, u, u + wd * x)  # L-009
    if CAUTIOUS_DECAY:  # L-023
        decayed = tl.where(((u > 0) & (x > 0)) | ((u < 0) & (x < 0)), decayed, u)
    return x - lr * decayed, b2 * m + one_minus_b2 * g


@triton.jit
def _enlargement(size, count, cap):
    """What makes up for the elements that are left out (L-022)."""
    size, agreeing = size.to(cap.dtype), (count + 1).to(cap.dtype)
    # Divided as IEEE 754 has it, which float32 is not by the usual sign.
    scale = size / agreeing if cap.dtype == tl.float64 else tl.div_rn(size, agreeing)
    return tl.where(scale < cap, scale, cap)


@triton.jit
def _scalar(value, dtype: tl.constexpr):
    """A number, or the one that a pointer points to, rounded once to the compute dtype (L-006)."""
    if value.dtype.is_ptr():
        value = tl.load(value)
    return value.to(dtype)


@triton.jit
def _narrow(value, dtype: tl.constexpr):
    """Round to the dtype of storage, once (L-008)."""
    if value.dtype == tl.float64 and dtype.primitive_bitwidth == 16:
        value = _round_to_odd(value)  # a GPU may go by way of float32, and would round twice
    return value.to(dtype)


@triton.jit
def _round_to_odd(value):
    """float64 to the float32 beside it whose last bit is 1: rounding that once more is exact."""
    near = value.to(tl.float32)
    back = near.to(tl.float64)
    bits = near.to(tl.int32, bitcast=True)
    inexact = (back != value) & (tl.abs(value) < float("inf")) & ((bits & 1) == 0)
    odd = tl.where(tl.abs(value) > tl.abs(back), bits + 1, bits - 1)
    return tl.where(inexact, odd, bits).to(tl.float32, bitcast=True)
