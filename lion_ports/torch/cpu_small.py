"""Small state on the CPU in one pass over the tensors' own memory, where Numba is installed.

The same bits as ``storage.py`` and ``update.py``, which are the definition.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lion_ports.config import Rule, Scalars
from lion_ports.torch.arithmetic import compute_dtype
from lion_ports.torch.column import Column
from lion_ports.torch.cpu import options_of
from lion_ports.torch.cpu_sums import cautious_scales, count_agreeing
from lion_ports.torch.cpu_table import KINDS, has_kernel, in_plain_memory
from lion_ports.torch.jobs import Settings, SmallUpdate, in_columns
from lion_ports.torch.storage import BLOCK
from lion_ports.torch.threads import in_blocks

# Blocks that are worth waking another thread for.
_GRAIN = 1 << 11
# What a kernel knows the others by: codes and corrections, and bytes for none.
_ALL_KINDS: dict[Any, type[np.generic]] = {
    **KINDS,
    torch.int8: np.int8,
    torch.int16: np.int16,
    None: np.uint8,
}


def takes(
    x: Tensor,
    g: Tensor,
    m: Tensor,
    scale: Tensor | None,
    correction: Tensor | None,
    count: int,
    rule: Rule,
) -> bool:
    """Whether ``lion_updates_`` can make this update; otherwise it is one for ``lion_update_``.

    Blocks go by row-major order, so tensors have to lie in it.

    >>> x, m, scale = torch.ones(3), torch.zeros(3, dtype=torch.int8), torch.ones(1).bfloat16()
    >>> takes(x, x, m, scale, None, 0, Rule()), takes(x, x, m, scale, None, 0, Rule("tanh"))
    (True, False)
    """
    del count
    tensors = [t for t in (x, g, m, scale, correction) if t is not None]
    if not all(in_plain_memory(t) and t.is_contiguous() for t in tensors):
        return False
    if any(t.dtype not in KINDS for t in (x, g)) or m.dtype not in _ALL_KINDS:
        return False
    return rule.nonlinearity in ("sign", "clip") and has_kernel()


def lion_updates_(
    updates: Sequence[SmallUpdate], scalars: Scalars, rule: Rule, *, maximize: bool = False
) -> None:
    """Make updates that share their scalars, in place (L-001, L-031, L-032).

    Args:
        updates: those that :func:`takes` is true of.
        scalars: numbers or 0-d tensors.
        rule: ``"sign"`` or ``"clip"``, cautious or not.
        maximize: ascend.
    """
    for xs, gs, ms, scales, corrections, counts in in_columns(updates):
        settings = Settings(scalars, rule, maximize, before=counts[0])
        lion_columns_(xs, gs, ms, scales, corrections, settings)


def lion_columns_(
    xs: Column,
    gs: Column,
    ms: Column,
    scales: Column | None,
    corrections: Column | None,
    settings: Settings,
    *,
    factors: NDArray[Any] | None = None,
    averages: Column | None = None,
) -> None:
    """:func:`lion_updates_` of columns that have one dtype each.

    What is done before and after it is as in :func:`lion_ports.torch.cpu.lion_columns_`.
    """
    from lion_ports.torch import cpu_small_kernel

    dtype = compute_dtype(xs[0].dtype)
    c_dtype = None if corrections is None else corrections[0].dtype
    all_dtypes = (xs[0].dtype, gs[0].dtype, ms[0].dtype, torch.bfloat16, c_dtype, dtype)
    kinds = tuple(np.empty(0, _ALL_KINDS[dtype]) for dtype in all_dtypes)
    none = np.zeros(len(xs), np.int64)
    columns = (none if column is None else column.addresses for column in (scales, corrections))
    sizes = xs.sizes
    starts = np.zeros(len(xs) + 1, np.int64)
    np.cumsum(-(-sizes // BLOCK), out=starts[1:])
    es = None if averages is None else averages.addresses
    table = (xs.addresses, gs.addresses, ms.addresses, *columns, es, sizes, starts)
    options, rule, blocks = options_of(KINDS[dtype], settings), settings.rule, int(starts[-1])
    of_directions = None
    if rule.cautious:
        count = partial(cpu_small_kernel.count_agreeing_small, table, kinds, options, factors)
        agreeing = count_agreeing(count, len(xs), blocks, _GRAIN)
        of_directions = cautious_scales(agreeing, sizes, KINDS[dtype], rule.cautious_cap)
    offset = np.uint32(int(settings.before) * 0x85EBCA77 & 0xFFFFFFFF)
    arguments = table, kinds, options, of_directions, factors, offset
    in_blocks(partial(cpu_small_kernel.update_small_, *arguments), blocks, grain=_GRAIN)
