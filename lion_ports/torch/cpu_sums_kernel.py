"""Sums over whole tensors that have to be known before an update, compiled by Numba."""

from typing import Any

import numpy as np

from lion_ports.torch.cpu_kernel import direction, effective, inlined, times
from lion_ports.torch.cpu_numbers import at, compiled, tensor, widen

# As many sums go on side by side; with fewer of them the loop is not vectorized.
_LANES = 64


@compiled
def _squares(g: Any, unscale: Any, like: Any, total: Any) -> Any:
    total[:] = 0
    whole = g.size - g.size % _LANES
    for i in range(0, whole, _LANES):
        for lane in range(_LANES):
            v = times(widen(g[i + lane], like), unscale)
            total[lane] += v * v
    for i in range(whole, g.size):
        v = times(widen(g[i], like), unscale)
        total[i - whole] += v * v
    return total.sum()


@compiled
def sum_squares(table: Any, kinds: Any, unscale: Any, sums: Any, first: int, last: int) -> None:
    """Sums of squares, each formed in the compute dtype, by chunk (L-027).

    Neither chunks nor lanes depend on the machine or on its threads, and so neither do the sums.

    Args:
        table: addresses of gradients, the number of elements before each of them and in all, and
            of each chunk its tensor and the number of elements before it; arrays of int64.
        kinds: an array of the dtype of the gradients, and one of the compute dtype.
        unscale: what gradients are multiplied by before (L-024, L-025), or None.
        sums: of float64, written to.
        first: with ``last``, the range of elements in which a chunk begins that is summed.
        last: the element after the last.
    """
    gs, starts, owners, begins = table
    g_kind, compute = kinds
    like, total = compute.dtype.type(0), np.empty(_LANES)
    for c in range(np.searchsorted(begins, first), np.searchsorted(begins, last)):
        t, end = owners[c], starts[owners[c] + 1]
        if c + 1 < begins.size:
            end = min(end, begins[c + 1])
        g = tensor(gs, t, begins[c] - starts[t], end - begins[c], g_kind)
        sums[c] = _squares(g, unscale, like, total)


@inlined
def _agrees(g: Any, m: Any, i: Any, factor: Any, options: Any) -> Any:
    (lr, b1, one_b1, _, _, _, toward), (steepness, _), gradients, _ = options
    zero = type(lr)(0)
    g_ = effective(widen(g[i], lr), gradients, factor)
    u = direction(b1 * widen(m[i], lr) + one_b1 * g_, steepness)
    g_ = toward * g_
    return ((u > zero) & (g_ > zero)) | ((u < zero) & (g_ < zero))


@compiled
def agreeing(g: Any, m: Any, factor: Any, options: Any) -> int:
    """Elements whose direction and gradient are both positive or both negative (L-022)."""
    count = np.zeros(_LANES, np.int32)
    whole = g.size - g.size % _LANES
    for i in range(0, whole, _LANES):
        for lane in range(_LANES):
            count[lane] += _agrees(g, m, i + lane, factor, options)
    for i in range(whole, g.size):
        count[i - whole] += _agrees(g, m, i, factor, options)
    total: int = count.sum()
    return total


@compiled
def count_agreeing(
    table: Any, kinds: Any, options: Any, factors: Any, counts: Any, first: int, last: int
) -> None:
    """Add to ``counts``, by tensor, what agrees from ``first`` to ``last`` (L-022).

    The rest as for :func:`lion_ports.torch.cpu_kernel.update_`.
    """
    _, gs, ms, _, starts = table
    _, g_kind, m_kind, _ = kinds
    t = np.searchsorted(starts, first, side="right") - 1
    while first < last:
        n, done = min(last, starts[t + 1]) - first, first - starts[t]
        g, m = tensor(gs, t, done, n, g_kind), tensor(ms, t, done, n, m_kind)
        counts[t] += agreeing(g, m, at(factors, t), options)
        first += n
        t += 1
