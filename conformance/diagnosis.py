"""Which known wrong Lion explains what was seen?"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from lion_ports.conformance.bits import reals
from lion_ports.conformance.mutants import MUTANTS
from lion_ports.conformance.observation import observe
from lion_ports.conformance.trial import Array, Snapshot, Trial
from lion_ports.conformance.verdict import reference_run

# Steps and elements looked at: a wrong Lion shows itself early, and every mutant has to run.
_STEPS, _ELEMENTS = 200, 100_000
# These show in the gradient, in an exception that does not come, and in a compiler's count.
_SHOWN_OTHERWISE = ("gradient-overwritten", "raise-ignored", "compiled-again")
# A mutant explains a failure if it lies this many times closer to it than the reference does.
_CLOSER = 8


def diagnose(trial: Trial, observed: list[Snapshot], *, flush: bool = False) -> list[str]:
    """The mutants that come closest to the observation, if far closer than the reference."""
    return Lineup(trial, flush=flush).explain(observed)


class Lineup:
    """What the reference and every mutant do in one trial, to be compared with what was seen."""

    def __init__(self, trial: Trial, *, flush: bool = False) -> None:
        count = min(len(trial.steps), _STEPS)
        restart = trial.restart_at if trial.restart_at is None or trial.restart_at < count else None
        self._trial = replace(trial, steps=trial.steps[:count], restart_at=restart)
        self._reference = reference_run(self._trial, flush=flush)
        self._mutants: dict[str, list[Snapshot]] | None = None
        self._too_large = sum(x.size for x in trial.params.values()) > _ELEMENTS

    def explain(self, observed: list[Snapshot]) -> list[str]:
        """The mutants that come closest, if far closer than the reference."""
        observed = observed[: len(self._trial.steps) + 1]
        if self._too_large:
            return []
        limit = _distance(self._trial, observed, self._reference) / _CLOSER
        if limit == 0:
            return []
        distances = {
            name: _distance(self._trial, observed, seen, limit)
            for name, seen in self._seen().items()
        }
        best = min(distances.values())
        return [name for name, d in distances.items() if d <= limit and d <= best * 1.001]

    def _seen(self) -> dict[str, list[Snapshot]]:
        """The mutants' snapshots, made when first asked for."""
        if self._mutants is None:
            self._mutants = {
                name: observe(mutant.make, self._trial)
                for name, mutant in MUTANTS.items()
                if name not in _SHOWN_OTHERWISE
            }
        return self._mutants


def summary(diagnoses: Iterable[list[str]]) -> list[str]:
    """The fewest mutants that explain all failures that have an explanation, most telling first."""
    left = [set(names) for names in diagnoses if names]
    chosen = []
    while left:
        counts = Counter(name for names in left for name in names)
        best = max(MUTANTS, key=lambda name: counts[name])
        chosen.append(best)
        left = [names for names in left if best not in names]
    return chosen


def _distance(
    trial: Trial, observed: list[Snapshot], other: list[Snapshot], limit: float = math.inf
) -> float:
    """The sum of all differences: of parameters in steps, of momenta in their own size.

    Beyond the limit nobody asks how far, and infinity is the answer.
    """
    total = 0.0
    for i, (seen, due) in enumerate(zip(observed, other, strict=True)):
        for have, want, in_steps in (
            (seen.params, due.params, True),
            (seen.momentum, due.momentum, False),
            (seen.average, due.average, True),
        ):
            if have is not None:
                for name, array in (want or {}).items():
                    lr = trial.rate_at(max(i - 1, 0), name) or trial.config.lr or 1.0
                    total += _difference(have.get(name), array, lr if in_steps else None)
                    if total > limit:
                        return math.inf
    return total


def _difference(a: Array | None, b: Array, unit: Any) -> float:
    if a is None or a.shape != b.shape or np.iscomplexobj(a) != np.iscomplexobj(b):
        return 1e6
    dtype = 1e3 * (a.dtype != b.dtype)
    with np.errstate(all="ignore"):
        wide, other = (reals(v).astype(np.float64) for v in (a, b))
        unit = unit or float(np.max(np.abs(other), initial=1e-30, where=np.isfinite(other)))
        differences = np.abs(wide - other) / unit
    differences = np.where((wide == other) | (np.isnan(wide) & np.isnan(other)), 0, differences)
    return dtype + float(np.minimum(np.nan_to_num(differences, nan=1e3, posinf=1e3), 1e3).sum())
