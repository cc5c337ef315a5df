"""The kill matrix: which cases fail which mutant, and where the diagnosis names it."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from lion_ports.conformance.cases import CASES
from lion_ports.conformance.diagnosis import Lineup
from lion_ports.conformance.execution import replay
from lion_ports.conformance.mutants import CONTROLS, MUTANTS, Mutant
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
    mutants: Mapping[str, Mutant] = MUTANTS,
    on_case: Callable[[Case], None] = lambda case: None,
) -> Matrix:
    """By mutant, those of the cases that fail it at level faithful."""
    matrix: Matrix = {name: [] for name in mutants}
    for case in cases:
        trial = case.build()
        if trial.refuse is None:  # no mutant refuses a setting, and none accepts one
            lineup, right = Lineup(trial), reference_run(trial)
            for name, mutant in mutants.items():
                named = _named(name, mutant, trial, lineup, right)
                if named is not None:
                    matrix[name].append(Kill(case.id, named))
        on_case(case)
    return matrix


def _named(
    name: str, mutant: Mutant, trial: Trial, lineup: Lineup, right: list[Snapshot]
) -> bool | None:
    """Whether a mutant that fails is named; None if it passes."""
    try:
        observed, uninterrupted = replay(mutant.make, trial)
    except TouchedError:
        return name == "gradient-overwritten"
    except SilentError:
        return name == "raise-ignored"
    except RecompiledError:
        return name == "compiled-again"
    if _equal(observed, right) and (uninterrupted is None or _equal(uninterrupted, right)):
        return None  # this case does not touch what is wrong with it
    if judge(trial, observed, uninterrupted=uninterrupted).faithful is None:
        return None
    return name in lineup.explain(observed)


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
