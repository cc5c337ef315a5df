"""The update on the CPU in one pass over the tensors' own memory, where Numba is installed.

The same bits as ``update.py``, which is the definition; five times less memory is moved.
"""

from array import array
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lion_ports.config import Rule, Scalars
from lion_ports.torch.arithmetic import compute_dtype
from lion_ports.torch.column import Column
from lion_ports.torch.cpu_sums import cautious_scales, count_agreeing
from lion_ports.torch.cpu_table import KINDS, LIKE, has_kernel, in_plain_memory
from lion_ports.torch.jobs import Settings, Update, alike, in_columns
from lion_ports.torch.threads import GRAIN, in_blocks


def takes(x: Tensor, g: Tensor, m: Tensor, rule: Rule) -> bool:
    """Whether ``lion_updates_`` can make this update; otherwise it is one for ``lion_update_``.

    >>> import torch
    >>> x = torch.ones(2, 3)
    >>> takes(x, x, x, Rule()), takes(x, torch.ones(3, 2).T, x, Rule())
    (True, False)
    """
    for t in (x, g, m):
        if t.dtype not in KINDS or not in_plain_memory(t):
            return False
    return rule.nonlinearity in ("sign", "clip") and alike(x, g, m) and has_kernel()


def lion_updates_(
    updates: Sequence[Update], scalars: Scalars, rule: Rule, *, maximize: bool = False
) -> None:
    """Make updates that share their scalars, in place (L-001, L-017, L-018, L-022, L-023, L-028).

    Args:
        updates: those that :func:`takes` is true of.
        scalars: numbers or 0-d tensors.
        rule: ``"sign"`` or ``"clip"``, cautious or not.
        maximize: ascend.
    """
    for xs, gs, ms in in_columns(updates):
        lion_columns_(xs, gs, ms, Settings(scalars, rule, maximize))


def lion_columns_(
    xs: Column,
    gs: Column,
    ms: Column,
    settings: Settings,
    *,
    factors: NDArray[Any] | None = None,
    averages: Column | None = None,
) -> None:
    """:func:`lion_updates_` with what is done before to gradients, and after it to averages.

    Args:
        xs: parameters, all of one dtype; and so each of the following.
        gs: gradients as they are given, or their sums (L-024 to L-027).
        ms: momenta.
        settings: what they share; ``unscale`` is a number, or a tensor of the CPU.
        factors: what each gradient is multiplied by at last (L-027), in the compute dtype.
        averages: contiguous, in the compute dtype (L-029).
    """
    from lion_ports.torch import cpu_kernel, cpu_sums_kernel

    dtype, rule = compute_dtype(xs[0].dtype), settings.rule
    compute = KINDS[dtype]
    kinds = LIKE[xs[0].dtype], LIKE[gs[0].dtype], LIKE[ms[0].dtype], LIKE[dtype]
    options = options_of(compute, settings)
    starts = xs.starts
    es = None if averages is None else averages.addresses
    table = xs.addresses, gs.addresses, ms.addresses, es, starts
    scales = None
    if rule.cautious:
        count = partial(cpu_sums_kernel.count_agreeing, table, kinds, options, factors)
        agreeing = count_agreeing(count, len(xs), int(starts[-1]), GRAIN)
        scales = cautious_scales(agreeing, np.diff(starts), compute, rule.cautious_cap)
    work = partial(cpu_kernel.update_, table, kinds, options, scales, factors)
    in_blocks(work, int(starts[-1]))


def options_of(compute: Any, settings: Settings) -> tuple[Any, ...]:
    """Settings as a kernel takes them, numbers rounded once to the compute dtype (L-006)."""
    scalars, rule, decay = settings.scalars, settings.rule, settings.ema_decay
    lr, b1, b2, wd = map(float, scalars[:4])
    toward = -1.0 if settings.maximize else 1.0
    of_update = [lr, b1, toward * (1 - b1), b2, toward * (1 - b2), wd, toward]
    options = settings.unscale, settings.clipvalue, decay
    of_options = [rule.steepness, *(float(n or 0) for n in options)]
    # C rounds to nearest, and makes what is too large infinite, without a word.
    numbers = np.array(array(np.dtype(compute).char, [*of_update, *of_options, 1 - of_options[-1]]))
    if scalars.lr_peak is not None:
        with np.errstate(all="ignore"):
            numbers[5] = numbers[5] / compute(float(scalars.lr_peak))
    *shared, steepness, factor, bound, kept, rest = numbers
    return (
        tuple(shared),
        (None if rule.nonlinearity == "sign" else steepness, rule.cautious_decay or None),
        tuple(None if o is None else n for o, n in zip(options[:2], (factor, bound), strict=True)),
        None if decay is None else (kept, rest, settings.overwrite or None),
    )
