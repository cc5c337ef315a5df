"""What there is to do in a step; many parameters at once, where they can be, in columns.

What is to be known of a column is found out by one call of C for each fact: for a small parameter a
few lines of Python would take longer than its arithmetic.
"""

from collections import defaultdict
from collections.abc import Sequence
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lion_ports.torch import cpu
from lion_ports.torch.jobs import Job, Settings, Slots, job_of

# All that cpu.takes looks at in a contiguous tensor.
_FACTS = (type, attrgetter("dtype"), attrgetter("is_cpu"), Tensor.is_contiguous, Tensor.is_neg)


class Columns(NamedTuple):
    """Contiguous tensors of the CPU; a column has one dtype, and a row one size."""

    xs: Sequence[Tensor]
    gs: Sequence[Tensor]
    ms: Sequence[Tensor]
    settings: Settings

    def update_(self) -> None:
        """Update parameters and momenta, in place."""
        xs, gs, ms, settings = self
        # Autograd is to see that they change, if it needs them as they were.
        torch.autograd.graph.increment_version(xs)
        torch.autograd.graph.increment_version(ms)
        cpu.lion_columns_(xs, gs, ms, settings.scalars, settings.rule, maximize=settings.maximize)


class Work(NamedTuple):
    """What there is to do in one step: jobs one at a time, and others together."""

    jobs: list[Job]
    together: list[Columns]

    def add(
        self,
        params: Sequence[Tensor],
        grads: Sequence[Any],
        slots: Sequence[Slots],
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
        if alone or not (settings.plain and _only_momenta(params, slots)):
            self._add_jobs(params, grads, slots, settings=settings)
            return
        momenta = list(map(itemgetter("exp_avg"), slots))
        for xs, gs, ms, kept in _by_kind(params, grads, momenta, slots):
            contiguous = all(column[0].is_contiguous() for column in (xs, gs, ms))
            together = contiguous and cpu.takes(xs[0], gs[0], ms[0], settings.rule)
            if together and _same_sizes(xs, gs, ms):
                self.together.append(Columns(xs, gs, ms, settings))
            else:
                self._add_jobs(xs, gs, kept, settings=settings)

    def _add_jobs(self, *columns: Sequence[Any], settings: Settings) -> None:
        self.jobs.extend(job_of(p, g, kept, settings) for p, g, kept in zip(*columns, strict=True))


def _only_momenta(params: Sequence[Tensor], slots: Sequence[Slots]) -> bool:
    """Whether no state has more than a momentum, and the CPU has the first parameter."""
    return bool(params) and cpu.in_plain_memory(params[0]) and set(map(len, slots)) == {1}


def _by_kind(*columns: Sequence[Any]) -> list[Sequence[Sequence[Any]]]:
    """These rows by the facts of the tensors in their first three columns."""
    facts = [(fact, column) for column in columns[:3] for fact in _FACTS]
    if len(columns[0]) == 1 or all(len(set(map(*each))) == 1 for each in facts):
        return [columns]
    rows: dict[Any, list[Any]] = defaultdict(list)
    kinds = zip(*(map(*each) for each in facts), strict=True)
    for kind, row in zip(kinds, zip(*columns, strict=True), strict=True):
        rows[kind].append(row)
    return [list(zip(*each, strict=True)) for each in rows.values()]


def _same_sizes(*columns: Sequence[Tensor]) -> bool:
    """Whether the tensors of each row have as many elements."""
    first, *others = (list(map(Tensor.numel, column)) for column in columns)
    return all(sizes == first for sizes in others)
