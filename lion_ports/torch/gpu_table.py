"""Where the tensors of one launch are: tables in the memory of the GPU that launches it."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lion_ports.torch.column import Column


class Table(NamedTuple):
    """What a kernel with a program for each block is given.

    Args:
        rows: int64, for each update a row: the addresses of its tensors (0 for None), the number of
            their elements, and the number of its first block.
        owners: int32 of shape (blocks,): the row that each block belongs to.
    """

    rows: Tensor
    owners: Tensor


def table_of(columns: Sequence[Sequence[Tensor] | None], block: int) -> Table:
    """The table of some updates on one device.

    Addresses and sizes seldom change from step to step, so tables are kept. While a graph is
    captured they are not: then they lie in memory of the graph, and each replay copies them anew.

    Args:
        columns: the tensors of all updates, parameters first. The table does not keep them alive.
        block: elements to a block.
    """
    xs = Column.of(columns[0] or ())
    sizes = xs.sizes
    blocks = -(-sizes // block)
    none = np.zeros_like(sizes)
    pointers = [none if column is None else Column.of(column).addresses for column in columns]
    rows = np.stack((*pointers, sizes, np.cumsum(blocks) - blocks), 1)
    device = xs[0].device
    make_rows: Callable[..., Tensor] = _rows
    make_owners: Callable[..., Tensor] = _owners
    stream = 0
    if device.type == "cuda":
        # A copy is in order with the work of its own stream, and with that of no other.
        stream = torch.cuda.current_stream(device).cuda_stream
        if torch.cuda.is_current_stream_capturing():
            make_rows, make_owners = _rows.__wrapped__, _owners.__wrapped__
    place = device, stream
    return Table(
        make_rows(rows.tobytes(), rows.shape[1], *place), make_owners(blocks.tobytes(), *place)
    )


def on_device(array: Tensor, device: torch.device) -> Tensor:
    """An array of the CPU on a device, which is not waited for."""
    return array.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else array


@lru_cache(256)
def _rows(rows: bytes, width: int, device: torch.device, stream: int) -> Tensor:
    array = np.frombuffer(rows, np.int64).reshape(-1, width)
    return on_device(torch.from_numpy(array.copy()), device)


@lru_cache(256)
def _owners(blocks: bytes, device: torch.device, stream: int) -> Tensor:
    counts = np.frombuffer(blocks, np.int64)
    rows = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    return on_device(torch.from_numpy(rows), device)
