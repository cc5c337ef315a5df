"""Averaged parameters in the place of the parameters, for a while (L-029)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from lion_ports.torch.arithmetic import as_reals, narrow
from lion_ports.torch.sharding import local
from lion_ports.torch.states import Slots


@contextmanager
def swapped_in(state: Mapping[Tensor, Slots]) -> Iterator[None]:
    """Write the averages in a state into its parameters, and at the end what was in them.

    >>> p = torch.tensor([1.0])
    >>> with swapped_in({p: {"average": torch.tensor([0.5])}}):
    ...     print(p.item())
    0.5
    >>> p.item()
    1.0
    """
    averages = [
        (local(p), local(slots["average"])) for p, slots in state.items() if "average" in slots
    ]
    kept = [x.detach().clone() for x, _ in averages]
    with torch.no_grad():
        for x, e in averages:
            as_reals(x).copy_(narrow(as_reals(e), as_reals(x).dtype))
    try:
        yield
    finally:
        with torch.no_grad():
            for (x, _), old in zip(averages, kept, strict=True):
                x.copy_(old)
