"""Many parameters at once, in columns."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor

from lion_ports.torch import cpu, cpu_small, cpu_sums, gpu, gpu_small
from lion_ports.torch.arithmetic import compute_dtype
from lion_ports.torch.column import FACTS, Column
from lion_ports.torch.gradients import clip_factor, squared_norms_of, unscaled
from lion_ports.torch.jobs import Settings


class Columns(NamedTuple):
    """Contiguous tensors of one device; a column has one dtype, and a row one size.

    What no row has is None. Averages and sums of gradients are of the compute dtype, and not on a
    GPU.
    """

    xs: Column
    gs: Column
    ms: Column
    settings: Settings
    averages: Column | None = None
    scales: Column | None = None
    corrections: Column | None = None
    sums: Column | None = None

    def accumulate_(self) -> None:
        """Add the gradients, unscaled, to their sums (L-024, L-025)."""
        if self.sums is None:
            return
        unscale, dtype = self.settings.unscale, self.sums[0].dtype
        if unscale is None and torch.promote_types(self.gs[0].dtype, dtype) == dtype:
            torch._foreach_add_(self.sums, self.gs)
            return
        for grad_sum, g in zip(self.sums, self.gs, strict=True):
            grad_sum.add_(unscaled(g.to(dtype), unscale))  # L-005: rounded before it is added

    def mean(self, steps: int) -> "Columns":
        """These with the mean of so many gradients in place of the last, if there are sums."""
        if self.sums is None:
            return self
        return self._replace(gs=self.sums, settings=self.settings._replace(unscale=1 / steps))

    def squared_norms(self) -> Tensor:
        """The sum of squares of each gradient, unscaled, in the compute dtype (L-027)."""
        gs, unscale, dtype = self.gs, self.settings.unscale, compute_dtype(self.xs[0].dtype)
        if gs[0].is_cpu:
            factor = None if unscale is None else float(unscale)
            return torch.from_numpy(cpu_sums.squared_norms(gs, factor, dtype))
        return squared_norms_of(gs, unscale, dtype)

    def update_(self, factor: Tensor | None) -> None:
        """Update parameters and all that is beside them, in place.

        Args:
            factor: what brings the norm of all gradients within its bound (L-027), or None.
        """
        xs, gs, ms, settings, averages, scales, corrections, sums = self
        for column in (xs, ms, averages, scales, corrections):
            if column is not None:  # autograd is to see that they change, if it needs them
                torch.autograd.graph.increment_version(column)
        small = scales is not None or corrections is not None
        around: dict[str, Any] = {"factors": self._factors(factor)}
        if xs[0].is_cpu:
            around["averages"] = averages
        if small:
            kernel: Any = cpu_small if xs[0].is_cpu else gpu_small
            kernel.lion_columns_(xs, gs, ms, scales, corrections, settings, **around)
        else:
            kernel = cpu if xs[0].is_cpu else gpu
            kernel.lion_columns_(xs, gs, ms, settings, **around)
        if sums is not None:
            torch._foreach_zero_(sums)

    def _factors(self, factor: Tensor | None) -> NDArray[Any] | Tensor | None:
        x, bound = self.xs[0], self.settings.clipnorm
        if bound is not None and x.is_cpu:
            return cpu_sums.clip_factors(self.squared_norms().numpy(), bound)
        if bound is not None:
            return clip_factor(self.squared_norms(), bound)
        if factor is None:
            return None
        factors = factor.to(x.device, compute_dtype(x.dtype)).repeat(len(self.xs))
        return factors.numpy() if x.is_cpu else factors


def by_kind(columns: Sequence[Sequence[Tensor]], *beside: Sequence[Any]) -> list[list[Any]]:
    """The rows of some columns, together those whose tensors have the same facts.

    Args:
        columns: those whose facts are looked at.
        beside: other columns.
    """
    tensors = [Column.of(column) for column in columns]
    if len(tensors[0]) == 1 or all(column.alike for column in tensors):
        return [[*tensors, *beside]]
    facts = [map(fact, column) for column in tensors for fact in FACTS]
    rows: dict[Any, list[Any]] = defaultdict(list)
    columns = (*tensors, *beside)
    for kind, row in zip(zip(*facts, strict=True), zip(*columns, strict=True), strict=True):
        rows[kind].append(row)
    kinds = ([*zip(*each, strict=True)] for each in rows.values())
    return [[*map(Column, of[: len(tensors)]), *of[len(tensors) :]] for of in kinds]
