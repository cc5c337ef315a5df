"""All cases of the suite, in the order in which they run."""

import fnmatch

from lion_ports.conformance.cases import (
    averages,
    directions,
    errors,
    gradients,
    longrun,
    numbers,
    options,
    recorded,
    settings,
    signs,
    state,
    structure,
)
from lion_ports.conformance.trial import CATEGORIES, Case

_FOUND = [
    *signs.CASES,
    *settings.CASES,
    *numbers.CASES,
    *structure.CASES,
    *state.CASES,
    *options.CASES,
    *directions.CASES,
    *gradients.CASES,
    *averages.CASES,
    *errors.CASES,
    *recorded.CASES,
    *longrun.CASES,
]
CASES: dict[str, Case] = {
    case.id: case for name in CATEGORIES for case in _FOUND if case.category == name
}
"""Case by id, ordered by category."""


def select(patterns: tuple[str, ...]) -> list[Case]:
    """The cases whose id matches one of the shell-style patterns; all of them without a pattern."""
    return [
        case
        for case in CASES.values()
        if not patterns or any(fnmatch.fnmatchcase(case.id, pattern) for pattern in patterns)
    ]
