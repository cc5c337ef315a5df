"""The update on CUDA and ROCm: one launch of a Triton kernel for all tensors of the same dtypes."""

import importlib.util
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from lion_ports.config import LION, Rule, Scalars
from lion_ports.torch.arithmetic import compute_dtype, scalar
from lion_ports.torch.jobs import Update

_DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
# 4 warps of 64 lanes (AMD; NVIDIA has 32), each of which loads 16 bytes of a 16-bit dtype.
_WARPS, _BLOCK = 4, 2048


class _Row(NamedTuple):
    """A tensor in the table: addresses, size, and the number of its first block."""

    x: int
    g: int
    m: int
    size: int
    first: int


def takes(x: Tensor, g: Tensor, m: Tensor, rule: Rule = LION) -> bool:
    """Whether the kernel can make this update.

    It needs tensors of one GPU that Triton compiles for, laid out alike and without gaps, of any
    floating dtypes, and a rule that looks at one element at a time: not ``cautious``, and of the
    directions the sign and ``"clip"``.

    >>> x = torch.ones(3)
    >>> takes(x, x.clone(), x.clone())  # on a CPU
    False
    """
    return (
        x.is_cuda
        and x.device == g.device == m.device
        and not rule.cautious
        and rule.nonlinearity in ("sign", "clip")
        and all(t.dtype in _DTYPES and not t.is_neg() for t in (x, g, m))
        and _alike(x, g, m)
        and _compiles(x.device)
    )


def lion_updates_(updates: list[Update], scalars: Scalars, rule: Rule = LION) -> None:
    """Make the updates, in place (L-001): the bits of :func:`lion_ports.torch.update.lion_update_`.

    One launch for each combination of device and dtypes; nothing waits for the device, which may be
    capturing a graph. What a graph replays works on the memory, and with the numbers that are no
    tensors of its device, of its capture.

    Args:
        updates: parameters, gradients and momenta that the kernel ``takes``.
        scalars: numbers or 0-d tensors.
        rule: for all of them.
    """
    alike: dict[tuple[torch.device, tuple[torch.dtype, ...]], list[Update]] = defaultdict(list)
    for update in updates:
        if update.x.numel():
            alike[update.x.device, tuple(t.dtype for t in update)].append(update)
    for (device, dtypes), group in alike.items():
        with torch.cuda.device_of(group[0].x):
            _launch(group, dtypes, _numbers(scalars, rule, dtypes[0], device), rule)


def _launch(
    updates: list[Update],
    dtypes: tuple[torch.dtype, ...],
    numbers: tuple[float | Tensor, ...],
    rule: Rule,
) -> None:
    from lion_ports.torch import gpu_kernel

    device = updates[0].x.device
    rows = tuple(_rows(updates))
    sizes = tuple(row.size for row in rows)
    on_gpu = device.type == "cuda"  # and if not, in Triton's interpreter
    stream = torch.cuda.current_stream(device).cuda_stream if on_gpu else 0
    table: Callable[..., Tensor] = _table
    owners: Callable[..., Tensor] = _owners
    if on_gpu and torch.cuda.is_current_stream_capturing():  # the graph's own memory, filled by each replay
        table, owners = _table.__wrapped__, _owners.__wrapped__
    gpu_kernel.lion_kernel[(rows[-1].first + _blocks(rows[-1].size),)](
        table(rows, device, stream),
        owners(sizes, device, stream),
        numbers,
        *(gpu_kernel.DTYPES[dtype] for dtype in dtypes),
        CLIP=rule.nonlinearity == "clip",
        CAUTIOUS_DECAY=rule.cautious_decay,
        BLOCK=_BLOCK,
        num_warps=_WARPS,
        enable_fp_fusion=False,  # L-007
    )


def _rows(updates: list[Update]) -> Iterator[_Row]:
    first = 0
    for x, g, m in updates:
        yield _Row(x.data_ptr(), g.data_ptr(), m.data_ptr(), x.numel(), first)
        first += _blocks(x.numel())


def _blocks(size: int) -> int:
    return -(-size // _BLOCK)


# Addresses and sizes seldom change from step to step. A copy is in order with the work of its own
# stream, and with that of no other.
@lru_cache(256)
def _table(rows: tuple[_Row, ...], device: torch.device, stream: int) -> Tensor:
    """The rows on the device."""
    return _on(torch.tensor(rows, dtype=torch.int64), device)


@lru_cache(256)
def _owners(sizes: tuple[int, ...], device: torch.device, stream: int) -> Tensor:
    """For each block the row that it belongs to."""
    blocks = torch.tensor([_blocks(size) for size in sizes])
    return _on(torch.arange(len(sizes), dtype=torch.int32).repeat_interleave(blocks), device)


def _on(array: Tensor, device: torch.device) -> Tensor:
    """A copy on a GPU, made without waiting for it."""
    return array.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else array


def _numbers(
    scalars: Scalars, rule: Rule, dtype: torch.dtype, device: torch.device
) -> tuple[float | Tensor, ...]:
    """What the kernel takes as its ``scalars``: tensors of the device as they are."""
    b1, b2 = scalars.b1, scalars.b2
    wd = scalars.wd if scalars.lr_peak is None else _quotient(scalars, compute_dtype(dtype))
    numbers = [
        number if isinstance(number, Tensor) and not number.is_cpu else float(number)
        for number in (scalars.lr, b1, 1 - b1, b2, 1 - b2, wd, rule.steepness)
    ]
    if dtype == torch.float64:  # Triton passes a number of Python as float32
        floats = [0.0 if isinstance(number, Tensor) else number for number in numbers]
        on_device = _on(torch.tensor(floats, dtype=dtype), device)
        pairs = zip(numbers, on_device, strict=True)
        numbers = [given if isinstance(given, Tensor) else copy for given, copy in pairs]
    return tuple(n.to(device) if isinstance(n, Tensor) else n for n in numbers)


def _quotient(scalars: Scalars, dtype: torch.dtype) -> Tensor:
    """``wd / lr_peak``, divided in the compute dtype (L-017)."""
    both = (scalars.wd, scalars.lr_peak)
    devices = [n.device for n in both if isinstance(n, Tensor) and not n.is_cpu]
    # On one device: by a number of the CPU, torch would not divide, but multiply by its reciprocal.
    like = torch.empty((), dtype=dtype, device=devices[0] if devices else "cpu")
    return scalar(scalars.wd, like) / scalar(scalars.lr_peak, like)


def _alike(x: Tensor, g: Tensor, m: Tensor) -> bool:
    """Whether element i in memory is the same element of all three, and there are no gaps."""
    if x.is_contiguous():
        return g.is_contiguous() and m.is_contiguous()
    if not x.stride() == g.stride() == m.stride():
        return False
    dense = 1
    for stride, size in sorted(zip(x.stride(), x.shape, strict=True)):
        if size > 1 and stride != dense:
            return False
        dense *= size
    return True


@cache
def _compiles(device: torch.device) -> bool:
    """Whether Triton is there, with the C compiler that it needs, and compiles for this GPU."""
    found = importlib.util.find_spec("triton") is not None
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    rocm = torch.version.hip is not None
    known = rocm or torch.cuda.get_device_capability(device) >= (8, 0)
    return found and compiler is not None and known
