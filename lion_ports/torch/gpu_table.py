"""Where the tensors of one launch are: tables in the memory of the GPU that launches it."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor


class Table(NamedTuple):
    """What a kernel with a program for each block is given.

    Args:
        rows: int64, for each update a row: the addresses of its tensors (0 for None), the number of
            their elements, and the number of its first block.
        owners: int32 of shape (blocks,): the row that each block belongs to.
    """

    rows: Tensor
    owners: Tensor


def table_of(updates: Sequence[tuple[Tensor, *tuple[Tensor | None, ...]]], block: int) -> Table:
    """The table of some updates on one device, none of them of nothing.

    Addresses and sizes seldom change from step to step, so tables are kept. While a graph is
    captured they are not: then they lie in memory of the graph, and each replay copies them anew.

    Args:
        updates: the tensors of each, its parameter first. The table does not keep them alive.
        block: elements to a block.
    """
    rows, firsts = [], [0]
    for update in updates:
        addresses = [0 if t is None else t.data_ptr() for t in update]
        size = update[0].numel()
        rows.append((*addresses, size, firsts[-1]))
        firsts.append(firsts[-1] + -(-size // block))
    device = updates[0][0].device
    make_rows: Callable[..., Tensor] = _rows
    make_owners: Callable[..., Tensor] = _owners
    stream = 0
    if device.type == "cuda":
        # A copy is in order with the work of its own stream, and with that of no other.
        stream = torch.cuda.current_stream(device).cuda_stream
        if torch.cuda.is_current_stream_capturing():
            make_rows, make_owners = _rows.__wrapped__, _owners.__wrapped__
    return Table(make_rows(tuple(rows), device, stream), make_owners(tuple(firsts), device, stream))


def on_device(array: Tensor, device: torch.device) -> Tensor:
    """An array of the CPU on a device, which is not waited for."""
    return array.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else array


@lru_cache(256)
def _rows(rows: tuple[tuple[int, ...], ...], device: torch.device, stream: int) -> Tensor:
    return on_device(torch.tensor(rows, dtype=torch.int64, device="cpu"), device)


@lru_cache(256)
def _owners(firsts: tuple[int, ...], device: torch.device, stream: int) -> Tensor:
    rows = torch.arange(len(firsts) - 1, dtype=torch.int32, device="cpu")
    blocks = torch.tensor(firsts, device="cpu").diff()
    return on_device(rows.repeat_interleave(blocks), device)
