"""Which known wrong Lion explains what was seen?"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from lion_ports.conformance.distance import Run
from lion_ports.conformance.mutants import MUTANTS
from lion_ports.conformance.observation import observe
from lion_ports.conformance.trial import Snapshot, Trial
from lion_ports.conformance.verdict import reference_run

# Steps and elements looked at: a wrong Lion shows itself early, and every mutant has to run.
_STEPS, _ELEMENTS = 200, 100_000
# These show in the gradient, in an exception that does not come, and in a compiler's count.
_SHOWN_OTHERWISE = ("gradient-overwritten", "raise-ignored", "compiled-again")
# A mutant explains a failure if it lies this many times closer to it than the reference does, and
# another one does as well if it is as close.
_CLOSER, _AS_CLOSE = 8, 1.001


def diagnose(trial: Trial, observed: list[Snapshot], *, flush: bool = False) -> list[str]:
    """The mutants that come closest to the observation, if far closer than the reference."""
    return Lineup(trial, flush=flush).explain(observed)


def beginning(trial: Trial) -> Trial:
    """The steps that are looked at."""
    count = min(len(trial.steps), _STEPS)
    restart = trial.restart_at if trial.restart_at is None or trial.restart_at < count else None
    return replace(trial, steps=trial.steps[:count], restart_at=restart)


class Lineup:
    """What the reference and every mutant do in one trial, to be compared with what was seen."""

    def __init__(self, trial: Trial, *, flush: bool = False) -> None:
        self._trial = beginning(trial)
        self._reference = Run(self._trial, reference_run(self._trial, flush=flush))
        self._mutants: dict[str, Run] | None = None
        self._too_large = sum(x.size for x in trial.params.values()) > _ELEMENTS

    def explain(self, observed: list[Snapshot]) -> list[str]:
        """The mutants that come closest, if far closer than the reference."""
        if self._too_large:
            return []
        run = Run(self._trial, observed[: len(self._trial.steps) + 1])
        limit = run.distance(self._reference) / _CLOSER
        if limit == 0:
            return []
        distances, best = {}, limit
        for name, mutant in self._runs().items():
            distances[name] = run.distance(mutant, min(limit, best * _AS_CLOSE))
            best = min(best, distances[name])
        return [name for name, d in distances.items() if d <= min(limit, best * _AS_CLOSE)]

    def _runs(self) -> dict[str, Run]:
        """The mutants' runs, made when first asked for."""
        if self._mutants is None:
            self._mutants = {
                name: Run(self._trial, observe(mutant.make, self._trial))
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
