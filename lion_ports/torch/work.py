"""What there is to do in a step, for many parameters at once where that can be."""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from torch import Tensor

from lion_ports.torch import cpu, cpu_small
from lion_ports.torch.arithmetic import compute_dtype
from lion_ports.torch.columns import Columns, by_kind
from lion_ports.torch.cpu_table import in_plain_memory
from lion_ports.torch.gradients import accumulate_
from lion_ports.torch.jobs import Job, Settings, Slots, job_of

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

    def accumulate_(self) -> None:
        """Add all gradients, unscaled, to the sums of their parameters (L-024, L-025)."""
        for columns in self.together:
            columns.accumulate_()
        accumulate_(self.jobs)

    def _add_jobs(self, *columns: Sequence[Any], settings: Settings) -> None:
        self.jobs.extend(job_of(p, g, kept, settings) for p, g, kept in zip(*columns, strict=True))


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
