"""The update on the CPU in one pass over the tensors' own memory, where Numba is installed.

The same bits as ``update.py``, which is the definition; five times less memory is moved.
"""

import warnings
from array import array
from collections import defaultdict
from collections.abc import Sequence
from functools import cache, partial
from importlib.util import find_spec
from itertools import accumulate
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lion_ports.config import Rule, Scalars
from lion_ports.torch.arithmetic import compute_dtype
from lion_ports.torch.jobs import PLAIN, Update, alike
from lion_ports.torch.threads import in_blocks

# The NumPy dtypes that a kernel knows these by; those of 16 bits stand for their bits.
KINDS: dict[torch.dtype, type[np.generic]] = {
    torch.float32: np.float32,
    torch.float64: np.float64,
    torch.bfloat16: np.uint16,
    torch.float16: np.int16,
}
_LIKE = {dtype: np.empty(0, kind) for dtype, kind in KINDS.items()}


def takes(x: Tensor, g: Tensor, m: Tensor, rule: Rule) -> bool:
    """Whether ``lion_updates_`` can make this update; otherwise it is one for ``lion_update_``.

    >>> x = torch.ones(2, 3)
    >>> takes(x, x, x, Rule()), takes(x, torch.ones(3, 2).T, x, Rule())
    (True, False)
    """
    for t in (x, g, m):
        if t.dtype not in KINDS or not in_plain_memory(t):
            return False
    return rule.nonlinearity in ("sign", "clip") and alike(x, g, m) and has_kernel()


def in_plain_memory(t: Tensor) -> bool:
    """Whether the numbers of a tensor are what is in its memory, on the CPU."""
    return t.is_cpu and type(t) in PLAIN and not t.is_neg()


def has_kernel() -> bool:
    """Whether Numba is there."""
    return _kernel() is not None


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
    batches: dict[tuple[torch.dtype, ...], list[Update]] = defaultdict(list)
    for update in updates:
        batches[update.x.dtype, update.g.dtype, update.m.dtype].append(update)
    for batch in batches.values():
        xs, gs, ms = zip(*batch, strict=True)
        lion_columns_(xs, gs, ms, scalars, rule, maximize=maximize)


def lion_columns_(
    xs: Sequence[Tensor],
    gs: Sequence[Tensor],
    ms: Sequence[Tensor],
    scalars: Scalars,
    rule: Rule,
    *,
    maximize: bool = False,
) -> None:
    """:func:`lion_updates_` of parameters, gradients and momenta, each of one dtype."""
    kernel: Any = _kernel()
    dtype, n = xs[0].dtype, len(xs)
    kinds = _LIKE[dtype], _LIKE[gs[0].dtype], _LIKE[ms[0].dtype]
    compute = KINDS[compute_dtype(dtype)]
    options = options_of(compute, scalars, rule, maximize)
    starts = np.fromiter(accumulate(map(Tensor.numel, xs), initial=0), np.int64, n + 1)
    table, elements = (_addresses(xs), _addresses(gs), _addresses(ms), starts), int(starts[-1])
    scales = None
    if rule.cautious:
        parts: list[NDArray[np.int64]] = []

        def count(first: int, last: int) -> None:
            counts = np.zeros(n, np.int64)
            kernel.count_agreeing(table, kinds, options, counts, first, last)
            parts.append(counts)

        in_blocks(count, elements)
        agreeing = sum(parts) + np.int64(1)
        scales = np.minimum(
            np.diff(starts).astype(compute) / agreeing.astype(compute), compute(rule.cautious_cap)
        )
    in_blocks(partial(kernel.update_, table, kinds, options, scales), elements)


def _addresses(tensors: Sequence[Tensor]) -> NDArray[np.int64]:
    return np.fromiter(map(Tensor.data_ptr, tensors), np.int64, len(tensors))


def options_of(compute: Any, scalars: Scalars, rule: Rule, maximize: bool) -> tuple[Any, ...]:
    """Scalars, rounded once to the compute dtype (L-006), and options, as a kernel takes them."""
    lr, b1, b2, wd = map(float, scalars[:4])
    toward = -1.0 if maximize else 1.0
    given = lr, b1, toward * (1 - b1), b2, toward * (1 - b2), wd, toward, rule.steepness
    # C rounds to nearest, and makes what is too large infinite, without a word.
    *numbers, steepness = np.array(array(np.dtype(compute).char, given))
    if scalars.lr_peak is not None:
        with np.errstate(all="ignore"):
            numbers[5] = numbers[5] / compute(float(scalars.lr_peak))
    clips = None if rule.nonlinearity == "sign" else steepness
    return (*numbers, clips, rule.cautious_decay or None)


@cache
def _kernel() -> ModuleType | None:
    """The compiled functions; None where Numba is not installed. Imported when first needed."""
    if find_spec("numba") is None:
        return None
    try:
        from lion_ports.torch import cpu_kernel
    except (ImportError, OSError, SystemError) as error:  # a library is missing, or made for others
        warnings.warn(f"Lion is slower without numba, which is broken: {error}", stacklevel=2)
        return None
    return cpu_kernel
