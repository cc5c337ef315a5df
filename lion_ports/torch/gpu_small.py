"""Small state on CUDA and ROCm: one launch of a Triton kernel for all tensors of the same dtypes.

The same bits as ``storage.py`` and ``update.py``, which are the definition.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from lion_ports.config import Rule, Scalars
from lion_ports.torch.gpu import BLOCK, DTYPES, has_kernel, in_plain_memory, numbers_of
from lion_ports.torch.gpu_table import table_of
from lion_ports.torch.jobs import Settings, SmallUpdate, in_columns

# 256 lanes with 8 elements each: 16 bytes of a 16-bit dtype, and 8 of codes. Were it 16 of codes,
# all else would have to be dealt out anew among the lanes to be stored, in shared memory.
_NVIDIA_WARPS, _AMD_WARPS = 8, 4


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

    It needs what :func:`lion_ports.torch.gpu.takes` does, and tensors in row-major order, by which
    blocks go. What looks at a whole tensor before it is updated, as ``cautious``, is not taken.

    >>> x, m, scale = torch.ones(3), torch.zeros(3, dtype=torch.int8), torch.ones(1).bfloat16()
    >>> takes(x, x, m, scale, None, 0, Rule())  # on a CPU
    False
    """
    del count
    tensors = [t for t in (x, g, m, scale, correction) if t is not None]
    if not all(in_plain_memory(t, x.device) and t.is_contiguous() for t in tensors):
        return False
    if any(t.dtype not in DTYPES for t in (x, g)) or m.dtype not in (*DTYPES, torch.int8):
        return False
    return rule.nonlinearity in ("sign", "clip") and not rule.cautious and has_kernel(x.device)


def lion_updates_(
    updates: Sequence[SmallUpdate], scalars: Scalars, rule: Rule, *, maximize: bool = False
) -> None:
    """Make updates that share their scalars, in place (L-001, L-031, L-032).

    One launch for each combination of device, dtypes and count. Nothing waits for the device. The
    replays of a graph have the count of its capture: what rounds by it is refused there
    (``capture.py``), which leaves corrections of 16 bits.

    Args:
        updates: those that :func:`takes` is true of.
        scalars: numbers or 0-d tensors.
        rule: ``"sign"`` or ``"clip"``, not cautious.
        maximize: ascend.
    """
    for xs, gs, ms, scales, corrections, counts in in_columns(updates):
        settings = Settings(scalars, rule, maximize, before=counts[0])
        lion_columns_(xs, gs, ms, scales, corrections, settings)


def lion_columns_(
    xs: Sequence[Tensor],
    gs: Sequence[Tensor],
    ms: Sequence[Tensor],
    scales: Sequence[Tensor] | None,
    corrections: Sequence[Tensor] | None,
    settings: Settings,
    *,
    factors: Tensor | None = None,
) -> None:
    """:func:`lion_updates_` of columns that have one dtype each.

    What is done before to gradients is as in :func:`lion_ports.torch.gpu.lion_columns_`.
    """
    from lion_ports.torch import gpu_small_kernel

    rule, x = settings.rule, xs[0]
    correction = None if corrections is None else corrections[0].dtype
    dtypes = x.dtype, gs[0].dtype, ms[0].dtype, correction
    with torch.cuda.device_of(x):
        table = table_of((xs, gs, ms, scales, corrections), BLOCK)
        if not len(table.owners):
            return
        gpu_small_kernel.small_lion_kernel[(len(table.owners),)](
            table.rows,
            table.owners,
            factors,
            numbers_of(settings, x.dtype, x.device),
            int(settings.before),
            *(None if dtype is None else gpu_small_kernel.DTYPES[dtype] for dtype in dtypes),
            MAXIMIZE=settings.maximize,
            CLIP=rule.nonlinearity == "clip",
            CAUTIOUS_DECAY=rule.cautious_decay,
            BLOCK=BLOCK,
            num_warps=_NVIDIA_WARPS if torch.version.hip is None else _AMD_WARPS,
            enable_fp_fusion=False,  # L-007
        )
