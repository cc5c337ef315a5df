"""All updates of one step: by a kernel for many of them where there is one, or one at a time.

``torch.compile`` sees tensor operations alone.
"""

from collections.abc import Iterator
from types import ModuleType

import torch
from torch import Tensor

from lion_ports.torch import cpu, gpu
from lion_ports.torch.arithmetic import as_reals, compute_dtype, narrow
from lion_ports.torch.gradients import effective_gradients
from lion_ports.torch.jobs import Job, Settings, Update
from lion_ports.torch.sharding import is_dtensor
from lion_ports.torch.update import average_, lion_update_

# Elements updated at a time in eager mode on the CPU: the temporaries of a slice stay in the cache.
_SLICE = 1 << 18
# Below this many elements the allocator is fast, and slices are not worth their bookkeeping.
_SMALL = 1 << 14

# Elements of temporary gradients that wait for their update at most, or one tensor.
_HELD = 1 << 18

# Memory for temporaries by compute dtype, allocated once a step.
Scratch = dict[torch.dtype, Tensor]


def update_(jobs: list[Job], *, steps: int = 1, global_clipnorm: float | None = None) -> None:
    """Update the parameters, momenta and averages of all jobs, in place.

    Args:
        jobs: the parameters of one step; their sums, if there are any, have all micro-steps.
        steps: micro-steps in a sum (L-025).
        global_clipnorm: bound of the norm of all gradients together (L-027).
    """
    scratch: Scratch = {}
    batches = None if torch.compiler.is_compiling() else _Batches()
    for job, g in effective_gradients(jobs, steps=steps, global_clipnorm=global_clipnorm):
        if batches is None or not batches.take(job, g):
            _update_alone(job, g, scratch)
    if batches is not None:
        batches.update_()
    for job in jobs:
        if job.average is not None and job.settings.ema_decay is not None:
            average_(job.average, job.x, job.settings.ema_decay, job.settings.scalars.lr)
            if job.settings.overwrite:
                as_reals(job.x).copy_(narrow(as_reals(job.average), as_reals(job.x).dtype))
        if job.grad_sum is not None:
            job.grad_sum.zero_()


class _Batches:
    """Updates by kernel and settings, until they are made together.

    Gradients that were made for them, as by clipping, are more memory: they do not wait long.
    """

    def __init__(self) -> None:
        self._waiting: dict[tuple[ModuleType, int], tuple[Settings, list[Update]]] = {}
        self._held = 0  # elements of gradients

    def take(self, job: Job, g: Tensor) -> bool:
        """Take the update of a job, unless there is no kernel for it."""
        x, m, settings = job.x, job.m, job.settings
        kernel = cpu if x.is_cpu else gpu
        update = (
            Update(as_reals(x), as_reals(g), as_reals(m)) if x.is_complex() else Update(x, g, m)
        )
        counts_apart = settings.rule.cautious and is_dtensor(job.like)  # of all shards
        if counts_apart or not kernel.takes(*update, settings.rule):
            return False
        waiting = self._waiting.get((kernel, id(settings)))
        if waiting is None:
            self._waiting[kernel, id(settings)] = waiting = settings, []
        waiting[1].append(update)
        if g is not job.g:
            self._held += g.numel()
            if self._held >= _HELD:
                self.update_()
        return True

    def update_(self) -> None:
        """Make them."""
        for (kernel, _), (settings, updates) in self._waiting.items():
            kernel.lion_updates_(
                updates, settings.scalars, settings.rule, maximize=settings.maximize
            )
            # Autograd is to see that they have changed, if it needs them as they were.
            torch.autograd.graph.increment_version([t for x, _, m in updates for t in (x, m)])
        self._waiting.clear()
        self._held = 0


def _update_alone(job: Job, g: Tensor, scratch: Scratch) -> None:
    """An update in plain operations."""
    settings = job.settings
    g = -g if settings.maximize else g  # L-018
    for x, g_, m, rows in _slices(job, g, scratch):
        lion_update_(x, g_, m, settings.scalars, settings.rule, like=job.like, scratch=rows)


def _slices(
    job: Job, g: Tensor, scratch: Scratch
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor | None]]:
    """Parameter, gradient, momentum and rows of scratch, in slices that fit the cache of a CPU."""
    x, m = job.x, job.m
    large = x.is_cpu and x.numel() > _SMALL and not torch.compiler.is_compiling()
    flat = all(t.is_contiguous() and not t.is_complex() for t in (x, g, m))
    rule = job.settings.rule
    whole = rule.cautious or rule.nonlinearity == "l2"  # these look at all elements
    if not (large and flat) or whole:  # a compiler fuses; a GPU has no use for slices
        yield x, g, m, None
        return
    dtype = compute_dtype(x.dtype)
    if dtype not in scratch:
        scratch[dtype] = torch.empty(5, _SLICE, dtype=dtype)
    xs, gs, ms = (t.view(-1).split(_SLICE) for t in (x, g, m))
    for x_, g_, m_ in zip(xs, gs, ms, strict=True):
        yield x_, g_, m_, scratch[dtype][:, : x_.numel()]
