"""All updates of one step, as tensor operations alone: what ``torch.compile`` sees of it."""

from collections.abc import Iterator

import torch
from torch import Tensor

from lion_ports.torch.arithmetic import as_reals, compute_dtype, narrow
from lion_ports.torch.gradients import effective_gradients
from lion_ports.torch.jobs import Job
from lion_ports.torch.update import average_, lion_update_

# Elements updated at a time in eager mode on the CPU: the temporaries of a slice stay in the cache.
_SLICE = 1 << 18
# Below this many elements the allocator is fast, and slices are not worth their bookkeeping.
_SMALL = 1 << 14

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
    for job, g in effective_gradients(jobs, steps=steps, global_clipnorm=global_clipnorm):
        settings = job.settings
        for x, g_, m, rows in _slices(job, g, scratch):
            lion_update_(x, g_, m, settings.scalars, settings.rule, like=job.like, scratch=rows)
        if job.average is not None and settings.ema_decay is not None:
            average_(job.average, job.x, settings.ema_decay, settings.scalars.lr)
            if settings.overwrite:
                as_reals(job.x).copy_(narrow(as_reals(job.average), as_reals(job.x).dtype))
        if job.grad_sum is not None:
            job.grad_sum.zero_()


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
