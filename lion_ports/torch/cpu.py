"""The update on the CPU in one pass over the tensors' own memory, where Numba is installed.

The same bits as ``update.py``, which is the definition; five times less memory is moved.
"""

import warnings
from collections import defaultdict
from collections.abc import Sequence
from functools import cache, partial
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lion_ports.config import Rule, Scalars
from lion_ports.torch.arithmetic import compute_dtype
from lion_ports.torch.jobs import Update, alike
from lion_ports.torch.threads import in_blocks

# The NumPy dtypes that a kernel knows these by; those of 16 bits stand for their bits.
KINDS: dict[torch.dtype, type[np.generic]] = {
    torch.float32: np.float32,
    torch.float64: np.float64,
    torch.bfloat16: np.uint16,
    torch.float16: np.int16,
}
_PLAIN = (Tensor, torch.nn.Parameter)  # other classes may not have memory of their own


def takes(x: Tensor, g: Tensor, m: Tensor, rule: Rule) -> bool:
    """Whether ``lion_updates_`` can make this update; otherwise it is one for ``lion_update_``.

    >>> x = torch.ones(2, 3)
    >>> takes(x, x, x, Rule()), takes(x, torch.ones(3, 2).T, x, Rule())
    (True, False)
    """
    if not all(t.dtype in KINDS and in_plain_memory(t) for t in (x, g, m)):
        return False
    return rule.nonlinearity in ("sign", "clip") and alike(x, g, m) and has_kernel()


def in_plain_memory(t: Tensor) -> bool:
    """Whether the numbers of a tensor are what is in its memory, on the CPU."""
    return t.is_cpu and type(t) in _PLAIN and not t.is_neg()


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
    for dtypes, batch in batches.items():
        kinds = tuple(np.empty(0, KINDS[dtype]) for dtype in dtypes)
        compute = KINDS[compute_dtype(dtypes[0])]
        options = options_of(compute, scalars, rule, maximize)
        _update_batch(batch, kinds, compute, options, rule)


def _update_batch(
    batch: list[Update], kinds: tuple[Any, ...], compute: Any, options: tuple[Any, ...], rule: Rule
) -> None:
    kernel: Any = _kernel()
    xs, gs, ms = (np.array([t.data_ptr() for t in ts], np.int64) for ts in zip(*batch, strict=True))
    starts = np.zeros(len(batch) + 1, np.int64)
    sizes = np.array([x.numel() for x, _, _ in batch], np.int64)
    np.cumsum(sizes, out=starts[1:])
    table, elements = (xs, gs, ms, starts), int(starts[-1])
    scales = np.zeros(len(batch), compute)
    if rule.cautious:
        parts: list[NDArray[np.int64]] = []

        def count(first: int, last: int) -> None:
            counts = np.zeros(len(batch), np.int64)
            kernel.count_agreeing(table, kinds, options, counts, first, last)
            parts.append(counts)

        in_blocks(count, elements)
        agreeing = sum(parts) + np.int64(1)
        scales = np.minimum(
            sizes.astype(compute) / agreeing.astype(compute), compute(rule.cautious_cap)
        )
    in_blocks(partial(kernel.update_, table, kinds, options, scales), elements)


def options_of(compute: Any, scalars: Scalars, rule: Rule, maximize: bool) -> tuple[Any, ...]:
    """Scalars, rounded once to the compute dtype (L-006), and flags, as a kernel takes them."""
    lr, b1, b2, wd = (float(scalar) for scalar in scalars[:4])
    steepness = 0.0 if rule.nonlinearity == "sign" else rule.steepness
    with np.errstate(all="ignore"):  # what is too large becomes infinite
        numbers = [compute(n) for n in (lr, b1, 1 - b1, b2, 1 - b2, wd, steepness)]
        if scalars.lr_peak is not None:
            numbers[5] = numbers[5] / compute(float(scalars.lr_peak))
    return (*numbers, maximize, rule.cautious_decay)


@cache
def _kernel() -> ModuleType | None:
    """The compiled functions; None where Numba is not installed. Imported when first needed."""
    if find_spec("numba") is None:
        return None
    try:
        from lion_ports.torch import cpu_kernel
    except ImportError as error:
        warnings.warn(f"Lion is slower without numba, which is broken: {error}", stacklevel=2)
        return None
    return cpu_kernel
