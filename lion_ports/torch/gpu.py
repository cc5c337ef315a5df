"""The update on CUDA and ROCm: one launch of a Triton kernel for all tensors of the same dtypes."""

import os
import shutil
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from lion_ports.config import LION, Rule, Scalars
from lion_ports.torch.arithmetic import PLAIN, bound_in, compute_dtype, divided
from lion_ports.torch.gpu_table import on_device, table_of
from lion_ports.torch.jobs import Settings, Update, alike, in_columns

DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
# 4 warps of 64 lanes (AMD; NVIDIA has 32), each of which loads 16 bytes of a 16-bit dtype.
_WARPS, BLOCK = 4, 2048


def takes(x: Tensor, g: Tensor, m: Tensor, rule: Rule = LION) -> bool:
    """Whether ``lion_updates_`` can make this update; otherwise it is one for ``lion_update_``.

    It needs tensors of one GPU, laid out alike and without gaps; Triton; and a direction that is
    the sign or ``"clip"``.

    >>> x = torch.ones(3)
    >>> takes(x, x.clone(), x.clone())  # on a CPU
    False
    """
    for t in (x, g, m):
        if t.dtype not in DTYPES or not in_plain_memory(t, x.device):
            return False
    return rule.nonlinearity in ("sign", "clip") and alike(x, g, m) and has_kernel(x.device)


def in_plain_memory(t: Tensor, device: torch.device) -> bool:
    """Whether the numbers of a tensor are what is in its memory, on that device, a GPU."""
    return t.is_cuda and t.device == device and type(t) in PLAIN and not t.is_neg()


@cache
def has_kernel(device: torch.device) -> bool:
    """Whether Triton is there, with the C compiler that it needs, and compiles for this GPU."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    known = torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)
    return find_spec("triton") is not None and compiler is not None and known


def lion_updates_(
    updates: Sequence[Update], scalars: Scalars, rule: Rule = LION, *, maximize: bool = False
) -> None:
    """Make updates that share their scalars, in place (L-001, L-017, L-018, L-022, L-023, L-028).

    One launch for each combination of device and dtypes, two if ``cautious``. Nothing waits for the
    device, which may be capturing a graph: its replays work on the memory that they saw, with the
    values that the scalars have then if they are tensors of the device, and had then if not.

    Args:
        updates: those that :func:`takes` is true of.
        scalars: numbers or 0-d tensors.
        rule: ``"sign"`` or ``"clip"``, cautious or not.
        maximize: ascend.
    """
    for xs, gs, ms in in_columns(updates):
        lion_columns_(xs, gs, ms, Settings(scalars, rule, maximize))


def lion_columns_(
    xs: Sequence[Tensor],
    gs: Sequence[Tensor],
    ms: Sequence[Tensor],
    settings: Settings,
    *,
    factors: Tensor | None = None,
) -> None:
    """:func:`lion_updates_` with what is done before to gradients.

    Args:
        xs: parameters, all of one dtype; and so gradients and momenta.
        gs: gradients as they are given (L-024 to L-027).
        ms: momenta.
        settings: what they share.
        factors: what each gradient is multiplied by at last (L-027), in the compute dtype.
    """
    from lion_ports.torch import gpu_kernel

    rule, x = settings.rule, xs[0]
    dtypes = x.dtype, gs[0].dtype, ms[0].dtype
    with torch.cuda.device_of(x):
        table = table_of((xs, gs, ms), BLOCK)
        if not len(table.owners):
            return
        numbers = numbers_of(settings, x.dtype, x.device)
        counts = table.rows.new_zeros(len(xs)) if rule.cautious else None
        for count in (True, False) if rule.cautious else (False,):
            gpu_kernel.lion_kernel[(len(table.owners),)](
                table.rows,
                table.owners,
                counts,
                factors,
                numbers,
                *map(gpu_kernel.DTYPES.get, dtypes),
                COUNT=count,
                MAXIMIZE=settings.maximize,
                CLIP=rule.nonlinearity == "clip",
                CAUTIOUS_DECAY=rule.cautious_decay,
                BLOCK=BLOCK,
                num_warps=_WARPS,
                enable_fp_fusion=False,  # L-007
            )


def numbers_of(
    settings: Settings, dtype: torch.dtype, device: torch.device
) -> tuple[float | Tensor, ...]:
    """What a kernel takes as its ``scalars``: tensors of the device as they are.

    Args:
        settings: those of an update.
        dtype: of the parameters.
        device: theirs.
    """
    (lr, b1, b2, wd, peak), rule, compute = settings.scalars, settings.rule, compute_dtype(dtype)
    wd = wd if peak is None else divided(wd, peak, compute)
    unscale = 1.0 if settings.unscale is None else settings.unscale
    bound = torch.inf if settings.clipvalue is None else settings.clipvalue
    of_options = rule.steepness, rule.cautious_cap, unscale, bound
    numbers = [
        n if isinstance(n, Tensor) and not n.is_cpu else bound_in(float(n), compute)
        for n in (lr, b1, 1 - b1, b2, 1 - b2, wd, *of_options)
    ]
    if compute == torch.float64:  # Triton passes a number of Python as float32
        floats = [0.0 if isinstance(number, Tensor) else number for number in numbers]
        copies = on_device(torch.tensor(floats, dtype=compute, device="cpu"), device)
        pairs = zip(numbers, copies, strict=True)
        numbers = [given if isinstance(given, Tensor) else copy for given, copy in pairs]
    return tuple(n.to(device) if isinstance(n, Tensor) else n for n in numbers)
