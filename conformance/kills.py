"""The kill matrix: which cases fail which mutant, and where the diagnosis names it."""

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from typing import NamedTuple

from lion_ports.conformance.cases import CASES
from lion_ports.conformance.diagnosis import Lineup, beginning
from lion_ports.conformance.execution import replay
from lion_ports.conformance.mutants import CONTROLS, MUTANTS
from lion_ports.conformance.observation import RecompiledError, SilentError, TouchedError
from lion_ports.conformance.trial import Array, Case, Snapshot, Trial
from lion_ports.conformance.verdict import judge, reference_run


class Kill(NamedTuple):
    """A case that fails a mutant, and whether the diagnosis names the mutant there."""

    case: str
    named: bool


Matrix = dict[str, list[Kill]]


def kill_matrix(
    cases: Sequence[Case],
    mutants: Sequence[str] = tuple(MUTANTS),
    on_case: Callable[[], None] = lambda: None,
    jobs: int = 1,
) -> Matrix:
    """By mutant, those of the cases that fail it at level faithful.

    Args:
        cases: in the order of the result.
        mutants: names.
        on_case: called after each case.
        jobs: processes at the same time.
    """
    kill = partial(_kills, mutants=tuple(mutants))
    found: dict[str, dict[str, bool]] = {}
    if jobs == 1:
        for case in cases:
            found[case.id] = kill(case.id)
            on_case()
    else:
        # Spawned, for a fork would copy the threads of whatever has been imported here.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(jobs, mp_context=context) as pool:
            # From the end, where the long cases are, so that no run ends with one.
            running = {pool.submit(kill, case.id): case.id for case in reversed(cases)}
            for future in as_completed(running):
                found[running[future]] = future.result()
                on_case()
    return {
        name: [Kill(c.id, found[c.id][name]) for c in cases if name in found[c.id]]
        for name in mutants
    }


def _kills(case_id: str, mutants: tuple[str, ...]) -> dict[str, bool]:
    """The mutants that a case fails, and whether each is named."""
    trial = CASES[case_id].build()
    if trial.refuse is not None:  # no mutant refuses a setting, and none accepts one
        return {}
    court = _Court(trial)
    verdicts = {name: court.named(name) for name in mutants}
    return {name: named for name, named in verdicts.items() if named is not None}


class _Court:
    """What all mutants are measured by in one trial.

    Of a long trial the beginning comes first: a mutant that has failed by then need not go on.
    """

    def __init__(self, trial: Trial) -> None:
        self._lineup, self._right = Lineup(trial), reference_run(trial)
        first = beginning(trial)
        self._trials = [first] if len(first.steps) == len(trial.steps) else [first, trial]

    def named(self, name: str) -> bool | None:
        """Whether a mutant that fails is named; None if it passes."""
        for trial in self._trials:
            try:
                observed, uninterrupted = replay(MUTANTS[name].make, trial)
            except (RecompiledError, SilentError, TouchedError) as error:
                return name == error.mutant
            right = self._right[: len(trial.steps) + 1]
            if _equal(observed, right) and (uninterrupted is None or _equal(uninterrupted, right)):
                continue  # this trial does not touch what is wrong with it
            judgement = judge(trial, observed, uninterrupted=uninterrupted, expected=right)
            if judgement.faithful is not None:
                return name in self._lineup.explain(observed)
        return None


def _equal(a: list[Snapshot], b: list[Snapshot]) -> bool:
    return all(
        _same(one.params, other.params)
        and _same(one.momentum or {}, other.momentum or {})
        and _same(one.average or {}, other.average or {})
        for one, other in zip(a, b, strict=True)
    )


def _same(a: Mapping[str, Array], b: Mapping[str, Array]) -> bool:
    return a.keys() == b.keys() and all(
        a[n].dtype == x.dtype and a[n].shape == x.shape and a[n].tobytes() == x.tobytes()
        for n, x in b.items()
    )


def page(matrix: Matrix) -> str:
    """The matrix as a page of Markdown."""
    rows = [
        f"| `{name}` | {_cell(MUTANTS[name].sentence)} | {len(kills)} "
        f"| {sum(kill.named for kill in kills)} | {patterns([kill.case for kill in kills])} |"
        for name, kills in matrix.items()
    ]
    return _HEAD.format(mutants=len(matrix), cases=len(CASES), controls=len(CONTROLS)) + "".join(
        row + "\n" for row in rows
    )


def _cell(sentence: str) -> str:
    return sentence.replace("|", r"\|")


_HEAD = """\
# Kill matrix

Which cases fail which wrong Lion. `lion-conformance mutants --markdown docs/kill-matrix.md` makes
this page from the {mutants} mutants of `conformance/mutants/` and the {cases} cases; the last
{controls} rows are controls, other optimizers altogether. *named* counts the failing cases in which
the diagnosis names the mutant. A pattern such as `dtype-*` stands for all cases of that category.

| mutant | what it does | failed by | named in | cases |
| --- | --- | --- | --- | --- |
"""


def patterns(ids: Sequence[str]) -> str:
    """Case ids, those of a whole category as one pattern, in the order of the cases."""
    failed, words = set(ids), dict[str, None]()
    for case in CASES.values():
        category = [other.id for other in CASES.values() if other.category == case.category]
        if case.id in failed:
            whole = len(category) > 1 and failed.issuperset(category)
            words[f"`{case.category}-*`" if whole else f"`{case.id}`"] = None
    return ", ".join(words)
