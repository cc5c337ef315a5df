"""What there is to do in a step; many parameters at once, where they can be, in columns.

What is to be known of a column is found out by one call of C for each fact: for a small parameter a
few lines of Python would take longer than its arithmetic.
"""

from collections import defaultdict
from collections.abc import Sequence
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray
from torch import Tensor

from lion_ports.torch import cpu, cpu_small, cpu_sums
from lion_ports.torch.arithmetic import compute_dtype
from lion_ports.torch.cpu_table import in_plain_memory
from lion_ports.torch.gradients import clip_factor, unscaled
from lion_ports.torch.jobs import PLAIN, Job, Settings, Slots, job_of

_dtype, _is_cpu = attrgetter("dtype"), attrgetter("is_cpu")
# All that a kernel looks at in a contiguous tensor but its shape, which was compared before.
_FACTS = (type, _dtype, _is_cpu, Tensor.is_contiguous, Tensor.is_neg)

# What a state may have that a kernel knows, and the columns of that.
_COLUMNS = {
    "exp_avg": "ms",
    "average": "averages",
    "exp_avg_scale": "scales",
    "correction": "corrections",
    "grad_sum": "sums",
}

Column = list[Tensor]


class Columns(NamedTuple):
    """Contiguous tensors of the CPU; a column has one dtype, and a row one size.

    What no row has is None. Averages and sums of gradients are of the compute dtype; averages are
    not beside small state.
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
        if self.settings.unscale is None:
            torch._foreach_add_(self.sums, self.gs)
            return
        for grad_sum, g in zip(self.sums, self.gs, strict=True):
            grad_sum.add_(unscaled(g.to(grad_sum.dtype), self.settings.unscale))

    def mean(self, steps: int) -> "Columns":
        """These with the mean of so many gradients in place of the last, if there are sums."""
        if self.sums is None:
            return self
        return self._replace(gs=self.sums, settings=self.settings._replace(unscale=1 / steps))

    def squared_norms(self) -> Tensor:
        """The sum of squares of each gradient, unscaled, in the compute dtype (L-027)."""
        unscale, dtype = self.settings.unscale, compute_dtype(self.xs[0].dtype)
        return cpu_sums.squared_norms(self.gs, None if unscale is None else float(unscale), dtype)

    def update_(self, factor: Tensor | None) -> None:
        """Update parameters and all that is beside them, in place.

        Args:
            factor: what brings the norm of all gradients within its bound (L-027), or None.
        """
        xs, gs, ms, settings, averages, scales, corrections, sums = self
        for column in (xs, ms, averages, scales, corrections):
            if column is not None:  # autograd is to see that they change, if it needs them
                torch.autograd.graph.increment_version(column)
        factors = self._factors(factor)
        if scales is None and corrections is None:
            cpu.lion_columns_(xs, gs, ms, settings, factors=factors, averages=averages)
        else:
            cpu_small.lion_columns_(xs, gs, ms, scales, corrections, settings, factors=factors)
        if sums is not None:
            torch._foreach_zero_(sums)

    def _factors(self, factor: Tensor | None) -> NDArray[Any] | None:
        bound, dtype = self.settings.clipnorm, compute_dtype(self.xs[0].dtype)
        if bound is not None:
            return clip_factor(self.squared_norms(), bound).numpy()
        if factor is not None:
            return factor.to("cpu", dtype).repeat(len(self.xs)).numpy()
        return None


class Work(NamedTuple):
    """What there is to do in one step: jobs one at a time, and others together."""

    jobs: list[Job]
    together: list[Columns]

    def add(
        self,
        params: list[Tensor],
        grads: list[Any],
        slots: list[Slots],
        settings: Settings,
        *,
        alone: bool = False,
    ) -> None:
        """Add parameters that share their settings.

        Args:
            params: any parameters.
            grads: the gradient of each; None where there is a sum to be used (L-025).
            slots: the state of each.
            settings: of their group.
            alone: one at a time, whatever they are.
        """
        names = () if alone or not params else _names(params[0], grads, slots, settings)
        if not names:
            self._add_jobs(params, grads, slots, settings=settings)
            return
        state = [list(map(itemgetter(name), slots)) for name in names]
        for x, g, *found, kept in by_kind([params, grads, *state], slots):
            if _have_a_kernel(job_of(x[0], g[0], kept[0], settings)):
                beside = {_COLUMNS[name]: c for name, c in zip(names, found, strict=True)}
                self.together.append(Columns(x, g, settings=settings, **beside))
            else:
                self._add_jobs(x, g, kept, settings=settings)

    def _add_jobs(self, *columns: Sequence[Any], settings: Settings) -> None:
        self.jobs.extend(job_of(p, g, kept, settings) for p, g, kept in zip(*columns, strict=True))


def by_kind(tensors: Sequence[Column], *beside: Sequence[Any]) -> list[list[Any]]:
    """The rows of some columns, together those whose tensors have the same facts.

    Args:
        tensors: the columns whose facts are looked at.
        beside: other columns.
    """
    if len(tensors[0]) == 1 or all(map(_alike, tensors)):
        return [[*tensors, *beside]]
    facts = [map(fact, column) for column in tensors for fact in _FACTS]
    rows: dict[Any, list[Any]] = defaultdict(list)
    columns = (*tensors, *beside)
    for kind, row in zip(zip(*facts, strict=True), zip(*columns, strict=True), strict=True):
        rows[kind].append(row)
    return [list(map(list, zip(*each, strict=True))) for each in rows.values()]


def _alike(tensors: Column) -> bool:
    """Whether one kernel takes them all, if it takes the first."""
    return (
        len(set(map(_dtype, tensors))) == 1
        and set(map(type, tensors)) <= PLAIN
        and all(map(_is_cpu, tensors))
        and all(map(Tensor.is_contiguous, tensors))
        and not any(map(Tensor.is_neg, tensors))
    )


def _have_a_kernel(job: Job) -> bool:
    """Whether there is a kernel for a job, and for all of its kind."""
    _, x, g, m, grad_sum, average, settings, scale, correction = job
    if not (g is not None and x.is_contiguous() and g.is_contiguous() and m.is_contiguous()):
        return False
    for t in (grad_sum, average):
        flat = t is None or (in_plain_memory(t) and t.is_contiguous())
        if not flat or (t is not None and t.dtype != compute_dtype(x.dtype)):
            return False
    if not job.small:
        return cpu.takes(x, g, m, settings.rule)
    return average is None and cpu_small.takes(x, g, m, scale, correction, 0, settings.rule)


def _names(
    first: Tensor, grads: Sequence[Any], slots: Sequence[Slots], settings: Settings
) -> Sequence[str]:
    """What the states have beside their parameters; nothing if they are updated one at a time."""
    unscale = settings.unscale
    if not in_plain_memory(first) or (isinstance(unscale, Tensor) and not unscale.is_cpu):
        return ()
    if set(map(len, slots)) == {1}:
        return ("exp_avg",)
    if len(set(map(tuple, slots))) > 1 or any(g is None for g in grads):
        return ()
    left_out = "average" if settings.ema_decay is None else None
    return [name for name in _COLUMNS if name in slots[0] and name != left_out]
