"""When a run gives up: an implementation whose processes all end would take one for each case."""

from collections.abc import Sequence
from itertools import cycle

from lion_ports.conformance.execution import PASSED, Result
from lion_ports.conformance.trial import Case

AT_FIRST = 3
"""So many families of cases that end alike in a row are enough while no case has been judged."""

LATER = 10
"""And so many afterwards, when a crash is more likely to be that of a few cases."""

# To refuse a setting is no step, and says nothing about the next one.
_NO_STEP = "errors"


class Patience:
    """Counts processes that died or hung in the same way, with no case judged in between.

    What crashes in one family alone counts once, as long as there is another to try.
    """

    def __init__(self) -> None:
        self._limit, self._way = AT_FIRST, ""
        self._count, self._choice = 0, False
        self._families: set[str] = set()
        self._ends = cycle((0, -1))
        self.lost = ""
        """Why the cases that are left are not run, in a sentence; empty while they are."""

    def answered(self, case: Case, result: Result) -> None:
        """A process lives, and gave this result."""
        if case.category != _NO_STEP and result.outcome in (*PASSED, "FAIL"):
            self._limit = LATER
            self._begin("")

    def died(self, case: Case, words: str) -> None:
        """A process gave no result, and these are its last words."""
        way = words.partition(":")[0]  # what it said itself may differ each time
        if way != self._way:
            self._begin(way)
        self._count += not (self._choice and case.category in self._families)
        self._families.add(case.category)
        if self._count >= self._limit:
            self.lost = f"not run, because those before ended alike, one after the other: {words}"

    def pick(self, cases: Sequence[Case]) -> int:
        """The index of the case to run next: the last, where the long ones are.

        After a process that died it is one of another family, in turn the first, which is the
        simplest, and the last: so that what a few have in common does not look as if all had it.
        """
        tried = {*self._families, _NO_STEP}
        others = [i for i, case in enumerate(cases) if case.category not in tried]
        self._choice = bool(others)
        return others[next(self._ends)] if self._families and others else -1

    def _begin(self, way: str) -> None:
        self._way, self._count = way, 0
        self._families.clear()
