"""All updates of one step: by a kernel for many of them where there is one, or one at a time.

``torch.compile`` sees tensor operations alone.
"""

from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lion_ports.torch import cpu, cpu_small, gpu, gpu_small
from lion_ports.torch.arithmetic import as_reals, compute_dtype, narrow
from lion_ports.torch.gradients import common_factor, effective_gradients, squared_norms
from lion_ports.torch.jobs import Job, Settings, update_of
from lion_ports.torch.sharding import is_dtensor
from lion_ports.torch.storage import (
    BLOCK,
    load_momentum,
    load_parameter,
    store_momentum,
    store_parameter,
)
from lion_ports.torch.update import average_, lion_update_
from lion_ports.torch.work import Work, kernel_of

# Elements updated at a time in eager mode on the CPU: the temporaries of a slice stay in the cache.
_SLICE = 1 << 17
# Below this many elements the allocator is fast, and slices are not worth their bookkeeping.
_SMALL = 1 << 14
# The same on a GPU, for what is loaded and stored, which takes many temporaries.
_GPU_SLICE = 1 << 24

# Elements of temporary gradients that wait for their update at most, or one tensor.
_HELD = {cpu: 1 << 18, cpu_small: 1 << 18, gpu: 1 << 26, gpu_small: 1 << 26}

# Memory for temporaries by compute dtype, allocated once a step.
Scratch = dict[torch.dtype, Tensor]


def update_(work: Work, *, steps: int = 1, global_clipnorm: float | None = None) -> None:
    """Update the parameters, momenta and averages of one step, in place.

    Args:
        work: what there is to do; sums, if there are any, have all micro-steps.
        steps: micro-steps in a sum (L-025).
        global_clipnorm: bound of the norm of all gradients together (L-027).
    """
    together = [columns.mean(steps) for columns in work.together]
    factor = None
    if global_clipnorm is not None:
        squared = [columns.squared_norms().sum() for columns in together]
        factor = common_factor(squared + squared_norms(work.jobs, steps), global_clipnorm)
    for columns in together:
        columns.update_(factor)
    if work.jobs:
        _update_jobs(work.jobs, steps, factor)


def _update_jobs(jobs: list[Job], steps: int, factor: Tensor | None) -> None:
    scratch: Scratch = {}
    # Not by torch.compiler.is_compiling(): where a graph breaks that is False, and tracing goes on.
    batches = None if jobs[0].settings.for_compiler else _Batches()
    for job, g in effective_gradients(jobs, steps=steps, factor=factor):
        if batches is None or not batches.take(job, g):
            _update_alone(job, g, scratch)
    if batches is not None:
        batches.update_()
    for job in jobs:
        _follow(job)
        if job.grad_sum is not None:
            job.grad_sum.zero_()


class _Batches:
    """Updates by kernel and settings, until they are made together.

    Gradients that were made for them, as by clipping, are more memory: they do not wait long.
    """

    def __init__(self) -> None:
        self._waiting: dict[tuple[ModuleType, int], tuple[Settings, list[Any]]] = {}
        self._held = 0  # elements of gradients

    def take(self, job: Job, g: Tensor) -> bool:
        """Take the update of a job, unless there is no kernel for it."""
        settings, kernel, update = job.settings, kernel_of(job), update_of(job, g)
        counts_apart = settings.rule.cautious and is_dtensor(job.like)  # of all shards
        if counts_apart or not kernel.takes(*update, settings.rule):
            return False
        waiting = self._waiting.get((kernel, id(settings)))
        if waiting is None:
            self._waiting[kernel, id(settings)] = waiting = settings, []
        waiting[1].append(update)
        if g is not job.g:
            self._held += g.numel()
            if self._held >= _HELD[kernel]:
                self.update_()
        return True

    def update_(self) -> None:
        """Make them."""
        for (kernel, _), (settings, updates) in self._waiting.items():
            # Autograd is to see that they change, if it needs them as they were.
            torch.autograd.graph.increment_version(
                [t for update in updates for t in update.written]
            )
            kernel.lion_updates_(
                updates, settings.scalars, settings.rule, maximize=settings.maximize
            )
        self._waiting.clear()
        self._held = 0


def _follow(job: Job) -> None:
    """Let the average follow the whole parameter, and overwrite it in its turn (L-029, L-032)."""
    x, correction, settings = job.x, job.correction, job.settings
    if job.average is None or settings.ema_decay is None:
        return
    whole = load_parameter(x, correction)
    average_(job.average, whole, settings.ema_decay, settings.scalars.lr)
    if not settings.overwrite:
        return
    if correction is None:
        as_reals(x).copy_(narrow(as_reals(job.average), as_reals(x).dtype))
    else:
        store_parameter(job.average, x, correction, settings.before)


class _Part(NamedTuple):
    """What one update in plain operations works on, and how much of the parameter is before it."""

    x: Tensor
    g: Tensor
    m: Tensor
    scale: Tensor | None
    correction: Tensor | None
    scratch: Tensor | None
    start: int


def _update_alone(job: Job, g: Tensor, scratch: Scratch) -> None:
    """An update in plain operations, of what is small once it is loaded (L-031, L-032)."""
    settings = job.settings
    # L-018; as reals, for of many complex zeros torch does not change the sign.
    g = -as_reals(g) if settings.maximize else g
    for x, g_, m, scale, correction, rows, start in _parts(job, g, scratch):
        whole, wide = load_parameter(x, correction), load_momentum(m, scale)
        scalars, rule = settings.scalars, settings.rule
        lion_update_(whole, g_, wide, scalars, rule, like=job.like, scratch=rows)
        store_parameter(whole, x, correction, settings.before, start)
        store_momentum(wide, m, scale, settings.before, start)


def _parts(job: Job, g: Tensor, scratch: Scratch) -> Iterator[_Part]:
    """The job in slices, whole blocks that fit the cache of a CPU, with rows of scratch."""
    x, m, scale, correction = job.x, job.m, job.scale, job.correction
    size = _SLICE if x.is_cpu else _GPU_SLICE
    large = (x.is_cpu and x.numel() > _SMALL) or (job.small and x.numel() > size)
    beside = (x, g, m) if correction is None else (x, g, m, correction)
    flat = all(t.is_contiguous() and not t.is_complex() for t in beside)
    rule = job.settings.rule
    whole = rule.cautious or rule.nonlinearity == "l2"  # these look at all elements
    # A compiler fuses; a GPU has no use for slices of what is not loaded and stored.
    if not (large and flat) or whole or job.settings.for_compiler:
        yield _Part(x, g, m, scale, correction, None, 0)
        return
    dtype = compute_dtype(x.dtype)
    if x.is_cpu and dtype not in scratch:
        scratch[dtype] = torch.empty(5, _SLICE, dtype=dtype, device="cpu")
    x, g, m = (t.view(-1) for t in (x, g, m))
    for start in range(0, x.numel(), size):
        own = slice(start, start + size)
        yield _Part(
            x[own],
            g[own],
            m[own],
            None if scale is None else scale[start // BLOCK : (start + size) // BLOCK],
            None if correction is None else correction.view(-1)[own],
            scratch[dtype][:, : x[own].numel()] if x.is_cpu else None,
            start,
        )
