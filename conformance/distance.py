"""How far two runs of one trial are from each other."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from lion_ports.conformance.bits import reals
from lion_ports.conformance.trial import Array, Snapshot, Trial

# An element counts for no more than this, another dtype for as much, another shape for far more.
_MOST, _SHAPE = 1e3, 1e6


class _Piece(NamedTuple):
    """All parameters, momenta or averages of one snapshot, end to end."""

    kinds: tuple[Any, ...]  # by name: shape, whether complex
    dtypes: tuple[Any, ...]
    values: Array
    units: Array


class Run:
    """The snapshots of a trial, as its distances need them.

    Parameters and averages are measured in steps, momenta in their own size.
    """

    def __init__(self, trial: Trial, snapshots: list[Snapshot]) -> None:
        self._trial, self._snapshots = trial, snapshots
        self._pieces: dict[int, list[_Piece | None]] = {}

    def distance(self, other: "Run", limit: float = math.inf) -> float:
        """The sum of all differences, in units of the other run.

        Beyond the limit nobody asks how far, and infinity is the answer.
        """
        total = 0.0
        for i in range(len(self._snapshots)):
            for have, want in zip(self._at(i), other._at(i), strict=True):
                if have is not None and want is not None:
                    total += _difference(have, want)
                    if total > limit:
                        return math.inf
        return total

    def _at(self, i: int) -> list[_Piece | None]:
        """The pieces of a snapshot, made when first asked for: mostly the first steps tell all."""
        if i not in self._pieces:
            seen = self._snapshots[i]
            kinds = ((seen.params, True), (seen.momentum, False), (seen.average, True))
            self._pieces[i] = [self._piece(i, arrays, steps) for arrays, steps in kinds]
        return self._pieces[i]

    def _piece(self, i: int, arrays: Mapping[str, Array] | None, in_steps: bool) -> _Piece | None:
        if not arrays:
            return None
        names = sorted(arrays)
        wide = [reals(arrays[n]).astype(np.float64).ravel() for n in names]
        units = [
            self._rate(i, n) if in_steps else _size(x) for n, x in zip(names, wide, strict=True)
        ]
        return _Piece(
            tuple((n, arrays[n].shape, np.iscomplexobj(arrays[n])) for n in names),
            tuple(arrays[n].dtype for n in names),
            np.concatenate(wide),
            np.repeat(units, [x.size for x in wide]),
        )

    def _rate(self, i: int, name: str) -> float:
        lr: Any = self._trial.rate_at(max(i - 1, 0), name) or self._trial.config.lr or 1.0
        return float(lr)


def _size(x: Array) -> float:
    return float(np.max(np.abs(x), initial=1e-30, where=np.isfinite(x)))


def _difference(a: _Piece, b: _Piece) -> float:
    if a.kinds != b.kinds:
        return _SHAPE
    dtypes: float = _MOST * sum(one != other for one, other in zip(a.dtypes, b.dtypes, strict=True))
    with np.errstate(all="ignore"):
        apart = np.abs(a.values - b.values) / b.units
    same = (a.values == b.values) | (np.isnan(a.values) & np.isnan(b.values))
    apart = np.where(same, 0, np.fmin(apart, _MOST))  # what is NaN counts for the most
    return dtypes + float(apart.sum())
