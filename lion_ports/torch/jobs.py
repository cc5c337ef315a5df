"""What a step has to do: one parameter with its state and the settings of its group."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lion_ports.config import LionConfig, Rule, Scalars
from lion_ports.torch.arithmetic import as_reals
from lion_ports.torch.column import Column
from lion_ports.torch.sharding import is_dtensor, local
from lion_ports.torch.states import Slots

Group = dict[str, Any]

_RULE = itemgetter(*Rule._fields)


class Settings(NamedTuple):
    """The settings of a group in one step, and how many updates were made before it.

    What belongs to an option that is off is None.
    """

    scalars: Scalars
    rule: Rule
    maximize: bool
    unscale: float | Tensor | None = None
    clipvalue: float | None = None
    clipnorm: float | None = None
    ema_decay: float | None = None
    overwrite: bool = False
    before: int | Tensor = 0
    clipped_together: bool = False

    @property
    def for_compiler(self) -> bool:
        """Whether numbers that change are tensors, which a compiler does not look into."""
        return isinstance(self.before, Tensor)

    @property
    def as_given(self) -> bool:
        """Whether no option changes a gradient, but for its sign."""
        clipped = self.clipvalue is not None or self.clipnorm is not None or self.clipped_together
        return self.unscale is None and not clipped


class Job(NamedTuple):
    """One parameter in one step: ``like``, of which ``x`` and the others are this rank's part."""

    like: Tensor
    x: Tensor
    g: Tensor | None
    m: Tensor
    grad_sum: Tensor | None
    average: Tensor | None
    settings: Settings
    scale: Tensor | None = None
    correction: Tensor | None = None

    @property
    def small(self) -> bool:
        """Whether momentum or parameter has to be loaded first, and stored again (L-031, L-032)."""
        return self.scale is not None or self.correction is not None


class Update(NamedTuple):
    """What one update works on, in place: real floating tensors of one shape and any dtypes."""

    x: Tensor
    g: Tensor
    m: Tensor

    @property
    def written(self) -> tuple[Tensor, ...]:
        """What it changes."""
        return self.x, self.m


class SmallUpdate(NamedTuple):
    """What one update of small state works on, in place (L-031, L-032).

    ``updates`` were made before it.
    """

    x: Tensor
    g: Tensor
    m: Tensor
    scale: Tensor | None
    correction: Tensor | None
    updates: int

    @property
    def written(self) -> tuple[Tensor, ...]:
        """What it changes."""
        return tuple(t for t in (self.x, self.m, self.scale, self.correction) if t is not None)


def alike(x: Tensor, g: Tensor, m: Tensor) -> bool:
    """Whether element i in memory is the same element of all three, and there are no gaps.

    >>> x = torch.ones(2, 3)
    >>> alike(x, x, x), alike(x.T, x.T, x.T), alike(x, torch.ones(3, 2).T, x)
    (True, True, False)
    """
    if not x.shape == g.shape == m.shape:
        return False
    if x.is_contiguous() and g.is_contiguous() and m.is_contiguous():
        return True
    order = sorted(range(x.ndim), key=x.stride, reverse=True)
    return x.stride() == g.stride() == m.stride() and x.permute(order).is_contiguous()


def settings_of(
    group: Group, config: LionConfig, unscale: float | Tensor | None, *, as_tensors: bool
) -> Settings:
    """The settings of a group for the update that comes next.

    Args:
        group: one of ``param_groups``.
        config: what all groups share.
        unscale: what gradients are multiplied by before all else (L-024).
        as_tensors: give learning rate, weight decay and count as tensors, for a compiler.
    """
    lr, wd, lr_peak = group["lr"], group["weight_decay"], group["lr_peak"]
    count = int(group["count"])
    if as_tensors:
        lr, wd, lr_peak = (None if n is None else _tensor(n) for n in (lr, wd, lr_peak))
    b1, b2 = group["betas"]
    every = group["ema_overwrite_every"]
    return Settings(
        Scalars(lr, b1, b2, wd, lr_peak),
        Rule._make(_RULE(group)),
        group["maximize"],
        unscale,
        group["clipvalue"],
        group["clipnorm"],
        group["ema_decay"],
        every is not None and (count + 1) % every == 0,
        torch.tensor(count, device="cpu") if as_tensors else count,
        config.global_clipnorm is not None,
    )


def job_of(p: Tensor, g: Tensor | None, slots: Slots, settings: Settings) -> Job:
    """The job of a parameter with its gradient and its state."""
    m, grad_sum = slots["exp_avg"], slots.get("grad_sum")
    average = None if settings.ema_decay is None else slots["average"]
    if not is_dtensor(p):
        small = slots.get("exp_avg_scale"), slots.get("correction")
        return Job(p, p, g, m, grad_sum, average, settings, *small)
    parts = (None if t is None else local(t, p) for t in (g, grad_sum, average))
    g, grad_sum, average = parts
    return Job(p, local(p), g, local(m), grad_sum, average, settings)


def update_of(job: Job, g: Tensor) -> Update | SmallUpdate:
    """The update of a job with its effective gradient; of pairs of reals if it is complex."""
    x, m = job.x, job.m
    if job.small:
        return SmallUpdate(x, g, m, job.scale, job.correction, int(job.settings.before))
    return Update(*map(as_reals, (x, g, m)))


def in_columns(updates: Sequence[Update | SmallUpdate]) -> Iterator[list[Any]]:
    """The columns of updates of one device, dtypes and count; where there are no tensors, None."""
    batches: dict[Any, list[Any]] = defaultdict(list)
    for update in updates:
        kind = [(t.device, t.dtype) if isinstance(t, Tensor) else t for t in update]
        batches[*kind].append(update)
    for batch in batches.values():
        yield [_column(entries) for entries in zip(*batch, strict=True)]


def _column(entries: Sequence[Any]) -> Any:
    if entries[0] is None:
        return None
    return Column(entries) if isinstance(entries[0], Tensor) else entries


def _tensor(number: Any) -> Tensor:
    """A scalar in float64, to be rounded to the compute dtype (L-006)."""
    if isinstance(number, Tensor):
        return number
    return torch.tensor(number, dtype=torch.float64, device="cpu")
