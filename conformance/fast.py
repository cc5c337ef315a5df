"""The few cases of ``--fast``: at least one that catches each known wrong Lion."""

from lion_ports.conformance.cases import CASES
from lion_ports.conformance.mutants import MUTANTS
from lion_ports.conformance.trial import Case

# The controls, other optimizers altogether, fail these, and claim no case as their own.
_ALWAYS = ("basic-first-step", "basic-two-betas", "basic-decay", "betas-defaults")

# Hundreds of parameters, of which some compilers make seconds; and code, for which torch starts a
# C++ compiler. ("compiled-once" leaves the code out.)
_SLOW = ("structure-many-small", "compiled-rates", "compiled-decay-schedule",
         "compiled-groups-lr", "compiled-groups-decay")  # fmt: skip


def fast_cases() -> list[Case]:
    """A set of cases, in their order, that together catch every mutant which any case claims.

    Greedy: each time the case that catches most of what is left, and the first of several. A test
    runs every mutant on them.
    """
    picked = {CASES[name] for name in _ALWAYS}
    left = set(MUTANTS) - {name for case in picked for name in case.catches}
    short = [case for case in CASES.values() if case.category != "long" and case.id not in _SLOW]
    while left:
        best = max(short, key=lambda case: len(left.intersection(case.catches)))
        if not left.intersection(best.catches):
            break
        picked.add(best)
        left.difference_update(best.catches)
    return [case for case in CASES.values() if case in picked]
