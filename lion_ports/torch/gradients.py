"""What is done to the gradients before the update: L-024, L-019, L-025, L-026, L-027."""

from collections.abc import Iterator

import torch
from torch import Tensor

from lion_ports.errors import StateError
from lion_ports.torch.arithmetic import as_reals, bound_in, compute_dtype, scalar, widen
from lion_ports.torch.jobs import Job
from lion_ports.torch.sharding import total


def accumulate_(jobs: list[Job]) -> None:
    """Add the gradients, unscaled, to the sums of their parameters (L-024, L-025)."""
    for job in jobs:
        if job.grad_sum is not None and job.g is not None:
            as_reals(job.grad_sum).add_(_unscaled(job, job.g))


def effective_gradients(
    jobs: list[Job], *, steps: int = 1, factor: Tensor | None = None
) -> Iterator[tuple[Job, Tensor]]:
    """Each job with the gradient that its update is made with, but for its sign (L-018).

    Args:
        jobs: all of a step, with their sums up to date.
        steps: micro-steps in a sum.
        factor: what brings the norm of all gradients together within its bound (L-027), or None.
    """
    for job in jobs:
        settings = job.settings
        if settings.as_given and job.g is not None and job.grad_sum is None:
            yield job, job.g
            continue
        g = _mean(job, steps)
        if settings.clipvalue is not None:
            g = clipped_value(g, settings.clipvalue)
        elif settings.clipnorm is not None:
            g = g * clip_factor(squared_norm(g, job.like), settings.clipnorm)
        elif factor is not None:
            g = g * scalar(factor, g)
        yield job, torch.view_as_complex(g) if job.x.is_complex() else g


def squared_norms(jobs: list[Job], steps: int) -> list[Tensor]:
    """The sum of squares of each gradient, before it is clipped."""
    return [squared_norm(_mean(job, steps), job.like) for job in jobs]


def common_factor(squared: list[Tensor], bound: float) -> Tensor | None:
    """What brings the norm of all gradients together within a bound (L-027).

    Args:
        squared: sums of squares of them, on any devices and in any compute dtypes; none: None.
        bound: of the norm.
    """
    if not squared:
        return None
    widest = torch.float64 if any(s.dtype == torch.float64 for s in squared) else torch.float32
    device = squared[0].device
    together = torch.stack([s.to(device=device, dtype=widest) for s in squared]).sum()
    return clip_factor(together, bound)


def unscaled(g: Tensor, inverse: float | Tensor | None) -> Tensor:
    """The gradient of the loss itself, from ``1 / loss_scale``, if there is one (L-024)."""
    if inverse is None:
        return g
    return g * (scalar(inverse, g) if isinstance(inverse, Tensor) else inverse)


def clipped_value(g: Tensor, bound: float) -> Tensor:
    """Each element within ``[-bound, bound]`` (L-026)."""
    bound = bound_in(bound, g.dtype)
    return g.clamp(-bound, bound)


def squared_norm(g: Tensor, like: Tensor) -> Tensor:
    """The sum of squares over the whole of the parameter ``like``, in the compute dtype (L-027)."""
    return total(g.square().sum(), like)


def squared_norms_of(
    gs: list[Tensor], unscale: float | Tensor | None, dtype: torch.dtype
) -> Tensor:
    """The sum of squares of each of many gradients on a GPU, by a few launches for all (L-027).

    Args:
        gs: of one dtype.
        unscale: what they are multiplied by before (L-024), or None.
        dtype: of the result, the compute dtype.
    """
    if dtype == torch.float64:
        return torch.stack([unscaled(g.to(dtype), unscale).square().sum() for g in gs])
    # In float64, where a root that is squared again is rounded to the same float32.
    norms = torch.stack(torch._foreach_norm(gs, 2, torch.float64))
    return unscaled(norms, unscale).square().to(dtype)


def clip_factor(squared: Tensor, bound: float) -> Tensor:
    """What brings a norm within ``bound``; 1 where it is (L-027)."""
    bound = min(bound, torch.finfo(squared.dtype).max)
    # One division: ``bound / tensor`` would be a reciprocal and a product.
    return torch.div(scalar(bound, squared), squared.sqrt().clamp(min=bound))


def _unscaled(job: Job, g: Tensor) -> Tensor:
    """In the compute dtype of its parameter (L-005), a complex gradient as pairs."""
    return unscaled(widen(as_reals(g), compute_dtype(job.x.dtype)), job.settings.unscale)


def _mean(job: Job, steps: int) -> Tensor:
    """The mean over the micro-steps, or the only gradient."""
    if job.grad_sum is not None:
        return as_reals(job.grad_sum) * (1 / steps)
    if job.g is None:
        raise StateError(
            f"the state counts gradients of a parameter of shape {tuple(job.like.shape)}, and has "
            "no sum of them; load a whole state"
        )
    return _unscaled(job, job.g)
