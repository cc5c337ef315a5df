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
from lion_ports.torch.jobs import PLAIN, Job, Settings, Slots, job_of

_dtype, _is_cpu, _momentum = attrgetter("dtype"), attrgetter("is_cpu"), itemgetter("exp_avg")
# All that cpu.takes looks at in a contiguous tensor but its shape, which was compared before.
_FACTS = (type, _dtype, _is_cpu, Tensor.is_contiguous, Tensor.is_neg)


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
        momenta = list(map(_momentum, slots))
        for xs, gs, ms, kept in _by_kind(params, grads, momenta, slots):
            x, g, m = xs[0], gs[0], ms[0]
            contiguous = x.is_contiguous() and g.is_contiguous() and m.is_contiguous()
            if contiguous and cpu.takes(x, g, m, settings.rule):  # and all of its kind
                self.together.append(Columns(xs, gs, ms, settings))
            else:
                self._add_jobs(xs, gs, kept, settings=settings)

    def _add_jobs(self, *columns: Sequence[Any], settings: Settings) -> None:
        self.jobs.extend(job_of(p, g, kept, settings) for p, g, kept in zip(*columns, strict=True))


def _only_momenta(params: Sequence[Tensor], slots: Sequence[Slots]) -> bool:
    """Whether no state has more than a momentum, and the CPU has the first parameter."""
    return bool(params) and cpu.in_plain_memory(params[0]) and set(map(len, slots)) == {1}


def _by_kind(*columns: Sequence[Any]) -> list[Sequence[Sequence[Any]]]:
    """These rows, together those that have the same facts in their first three columns."""
    tensors = columns[:3]
    if len(tensors[0]) == 1:
        return [columns]
    if all(map(_alike, tensors)):
        return [columns]
    facts = [map(fact, column) for column in tensors for fact in _FACTS]
    rows: dict[Any, list[Any]] = defaultdict(list)
    for kind, row in zip(zip(*facts, strict=True), zip(*columns, strict=True), strict=True):
        rows[kind].append(row)
    return [list(zip(*each, strict=True)) for each in rows.values()]


def _alike(tensors: Sequence[Tensor]) -> bool:
    """Whether one kernel takes them all, if it takes the first."""
    return (
        len(set(map(_dtype, tensors))) == 1
        and set(map(type, tensors)) <= PLAIN
        and all(map(_is_cpu, tensors))
        and all(map(Tensor.is_contiguous, tensors))
        and not any(map(Tensor.is_neg, tensors))
    )
