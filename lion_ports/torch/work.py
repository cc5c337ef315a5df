"""What there is to do in a step, for many parameters at once where that can be."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from lion_ports.torch import cpu, cpu_small, gpu, gpu_small
from lion_ports.torch.arithmetic import PLAIN, compute_dtype
from lion_ports.torch.column import Column
from lion_ports.torch.columns import Columns, by_kind
from lion_ports.torch.cpu_table import in_plain_memory
from lion_ports.torch.gradients import accumulate_
from lion_ports.torch.jobs import Job, Settings, job_of, update_of
from lion_ports.torch.sharding import is_dtensor
from lion_ports.torch.states import States

# What a state may have that a kernel knows, and the columns of that.
_COLUMNS = {
    "exp_avg": "ms",
    "average": "averages",
    "exp_avg_scale": "scales",
    "correction": "corrections",
    "grad_sum": "sums",
}


class Work(NamedTuple):
    """What there is to do in one step: jobs one at a time, and others together."""

    jobs: list[Job]
    together: list[Columns]

    def add(
        self,
        params: Column,
        grads: Column,
        states: States,
        settings: Settings,
        *,
        alone: bool = False,
    ) -> None:
        """Add parameters that share their settings.

        Args:
            params: any parameters.
            grads: the gradient of each; None where there is a sum to be used (L-025).
            states: of each.
            settings: of their group.
            alone: one at a time, whatever they are.
        """
        if alone or not params or not _may_be_together(params[0], settings):
            self._add_jobs(params, grads, states, settings=settings)
            return
        for names, (xs, gs, kepts) in _by_names(params, grads, states, settings):
            state = [kepts.column(name) for name in names]
            for x, g, *found, kept in by_kind([xs, gs, *state], kepts):
                if _have_a_kernel(job_of(x[0], g[0], kept[0], settings)):
                    beside = {_COLUMNS[name]: c for name, c in zip(names, found, strict=True)}
                    self.together.append(Columns(x, g, settings=settings, **beside))
                else:
                    self._add_jobs(x, g, kept, settings=settings)

    def accumulate_(self) -> None:
        """Add all gradients, unscaled, to the sums of their parameters (L-024, L-025)."""
        for columns in self.together:
            columns.accumulate_()
        accumulate_(self.jobs)

    def _add_jobs(self, *columns: Sequence[Any], settings: Settings) -> None:
        self.jobs.extend(job_of(p, g, kept, settings) for p, g, kept in zip(*columns, strict=True))


def kernel_of(job: Job) -> Any:
    """The module whose kernel updates a job, if it takes it."""
    if job.small:
        return cpu_small if job.x.is_cpu else gpu_small
    return cpu if job.x.is_cpu else gpu


def _have_a_kernel(job: Job) -> bool:
    """Whether there is a kernel for all that a job has to do, and for all of its kind."""
    x, g, m, settings = job.x, job.g, job.m, job.settings
    if g is None or is_dtensor(job.like) or x.is_complex():
        return False
    if not (x.is_contiguous() and g.is_contiguous() and m.is_contiguous()):
        return False
    around = [t for t in (job.grad_sum, job.average) if t is not None]
    if not x.is_cpu and around:
        return False
    for t in around:
        wide = t.dtype == compute_dtype(x.dtype)
        if not (wide and in_plain_memory(t) and t.is_contiguous()):
            return False
    return bool(kernel_of(job).takes(*update_of(job, g), settings.rule))


def _may_be_together(first: Tensor, settings: Settings) -> bool:
    """Whether a kernel may take these parameters, as far as the first of them shows."""
    unscale = settings.unscale
    if isinstance(unscale, Tensor) and not (unscale.is_cpu or unscale.device == first.device):
        return False
    return type(first) in PLAIN


def _by_names(
    params: Column, grads: Column, states: States, settings: Settings
) -> Iterator[tuple[Sequence[str], list[Any]]]:
    """The rows, together those whose states have the same names; and the names that are used.

    What has no gradient is alone.
    """
    columns: list[Any] = [params, grads, states]
    rows: dict[Any, list[Any]] = defaultdict(list)
    if not _alike(grads, states):
        for row in zip(*columns, strict=True):
            p, g, kept = row
            rows[id(p) if g is None else tuple(kept)].append(row)
    parted = [list(zip(*each, strict=True)) for each in rows.values()]
    groups = [[xs, gs, States(kept)] for xs, gs, kept in parted] or [columns]
    unused = "average" if settings.ema_decay is None else None
    for group in groups:
        first = group[2][0]
        yield [name for name in _COLUMNS if name in first and name != unused], group


def _alike(grads: Column, states: States) -> bool:
    """Whether all have a gradient, and the same names in their states."""
    if set(map(len, states)) == {1}:  # a momentum, which needs a gradient
        return True
    return len(set(map(tuple, states))) == 1 and all(g is not None for g in grads)
