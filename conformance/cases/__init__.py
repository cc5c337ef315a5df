"""All cases of the suite, in the order in which they run."""

import fnmatch
from pathlib import Path

from lion_ports.conformance.cases import (
    averages,
    compiled,
    directions,
    errors,
    gradients,
    groups,
    longrun,
    numbers,
    options,
    recorded,
    settings,
    signs,
    small,
    state,
    storage,
    structure,
    training,
)
from lion_ports.conformance.trial import CATEGORIES, Case

_FOUND = [
    *signs.CASES,
    *settings.CASES,
    *numbers.CASES,
    *storage.CASES,
    *structure.CASES,
    *groups.CASES,
    *training.CASES,
    *state.CASES,
    *compiled.CASES,
    *options.CASES,
    *directions.CASES,
    *gradients.CASES,
    *averages.CASES,
    *small.CASES,
    *errors.CASES,
    *recorded.CASES,
    *longrun.CASES,
]


class _Cases(dict[str, Case]):
    def __missing__(self, case_id: str) -> Case:
        """A file of recorded gradients is a case too, by its path, and listed nowhere."""
        if not case_id.endswith(recorded.SUFFIX):
            raise KeyError(case_id)
        return recorded.stream_case(case_id)


CASES: dict[str, Case] = _Cases(
    (case.id, case) for name in CATEGORIES for case in _FOUND if case.category == name
)
"""Case by id, ordered by category."""


def select(patterns: tuple[str, ...]) -> list[Case]:
    """The cases whose id matches one of the shell-style patterns; all of them without a pattern.

    The path of a file of recorded gradients is a pattern that matches the case in it.
    """
    files = [pattern for pattern in patterns if pattern.endswith(recorded.SUFFIX)]
    return [
        case
        for case in CASES.values()
        if not patterns or any(fnmatch.fnmatchcase(case.id, pattern) for pattern in patterns)
    ] + [CASES[path] for path in files if Path(path).is_file()]
