"""The scalars of one step, rounded once for all parameters that share them (L-006)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import mlx.core as mx

from lion_ports.config import Scalars
from lion_ports.mlx.arithmetic import compute_dtype
from lion_ports.mlx.group import Group, Predicate

# A weight decay of at least this is not rounded to zero in any compute dtype.
_SMALLEST = 2.0**-149


@dataclass(frozen=True)
class Rounded:
    """The scalars of a step in a compute dtype.

    Attributes:
        lr: learning rate.
        b1: weight of the momentum in the direction.
        omb1: ``1 - b1``, formed in float64.
        b2: decay of the momentum.
        omb2: ``1 - b2``, formed in float64.
        wd: the coefficient of ``x`` beside ``u``; None: there is none (L-009).
        decays: whether that is surely not 0. A schedule may give 0 at some steps.
    """

    lr: mx.array
    b1: mx.array
    omb1: mx.array
    b2: mx.array
    omb2: mx.array
    wd: mx.array | None
    decays: bool

    @property
    def arrays(self) -> list[mx.array]:
        """Those that there are."""
        wd = [] if self.wd is None else [self.wd]
        return [self.lr, self.b1, self.omb1, self.b2, self.omb2, *wd]

    @cached_property
    def packed(self) -> mx.array:
        """All as one array of eight, the last of which is 0."""
        zero = mx.array(0, self.lr.dtype)
        numbers = self.arrays if self.wd is not None else [*self.arrays, zero]
        return mx.stack([*numbers, zero, zero])


def rounded(scalars: Scalars, dtype: mx.Dtype) -> Rounded:
    """1-b in float64, then every scalar rounded once to the compute dtype (L-006)."""
    coefficient, decays = _decay(scalars, dtype)
    lr = mx.array(scalars.lr, dtype)
    (b1, omb1), (b2, omb2) = _beta(scalars.b1, dtype), _beta(scalars.b2, dtype)
    return Rounded(lr, b1, omb1, b2, omb2, coefficient, decays)


@cache
def _beta(b: float, dtype: mx.Dtype) -> tuple[mx.array, mx.array]:
    """``b`` and ``1-b``, made once: they never change."""
    return mx.array(b, dtype), mx.array(1 - b, dtype)


def _decay(scalars: Scalars, dtype: mx.Dtype) -> tuple[mx.array | None, bool]:
    """The coefficient of ``x`` beside ``u`` (L-017), and whether it is surely not 0."""
    known = not isinstance(scalars.wd, mx.array)
    if known and scalars.wd == 0:
        return None, True
    wd = mx.array(scalars.wd, dtype)
    if scalars.lr_peak is not None:
        return wd / mx.array(scalars.lr_peak, dtype), False
    return wd, known and scalars.wd >= _SMALLEST


class StepScalars:
    """The scalars of one step: those of the groups, whose schedules are followed (L-015).

    Args:
        groups: all of them.
        mask: ``mask(path, parameter) -> bool`` says what decays; None: everything (L-017).
        step: the number of updates done before.
    """

    def __init__(self, groups: Sequence[Group], mask: Predicate | None, step: mx.array) -> None:
        for group in groups:
            group.follow_schedule(step)
        self._scalars = {group: group.scalars(step) for group in groups}
        self._mask = mask
        self._rounded: dict[tuple[Group, bool, mx.Dtype], Rounded] = {}

    def of(self, path: str, x: mx.array, group: Group) -> Rounded:
        """Those of the parameter at this path, which is of this group."""
        decays = self._mask is None or bool(self._mask(path, x))
        key = (group, decays, compute_dtype(x.dtype))
        if key not in self._rounded:
            scalars = self._scalars[group]
            given = scalars if decays else scalars._replace(wd=0.0)
            self._rounded[key] = rounded(given, key[2])
        return self._rounded[key]
