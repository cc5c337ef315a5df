"""Which cases of a test run by default, and which are marked slow and run with ``-m slow``."""

import itertools

import pytest


def slow(*values, **options):
    """A case that does not run by default."""
    return pytest.param(*values, **options, marks=pytest.mark.slow)


def usually(usual, cases):
    """These cases, of which only the usual ones run by default; each is one value, or a tuple."""
    cases = list(cases)
    assert all(case in cases for case in usual), "what is usual has to be one of the cases"
    together = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [
        pytest.param(*values) if case in usual else slow(*values)
        for case, values in zip(cases, together, strict=True)
    ]


def covering(*parameters):
    """Every combination of these values; by default as few as have each value once.

    They go through all parameters side by side, and begin again with one that has come to its end:
    of 4 and 3 values 00, 11, 22 and 30 are the usual ones.
    """
    parameters = [list(values) for values in parameters]
    longest = max(map(len, parameters))
    usual = {tuple(k % len(values) for values in parameters) for k in range(longest)}
    return _combinations(parameters, lambda places: places in usual)


def in_pairs(*parameters):
    """Every combination of as many values each; by default any value with any of any other.

    Of three parameters with 4 values the usual ones are 16 of 64: any two decide the third.
    """
    (count,) = {len(values) for values in parameters}
    return _combinations(parameters, lambda places: sum(places) % count == 0)


def _combinations(parameters, usual):
    """As cases; ``usual`` tells from the places of the values whether one runs by default."""
    return [
        (pytest.param if usual(places) else slow)(
            *(values[i] for values, i in zip(parameters, places, strict=True))
        )
        for places in itertools.product(*(range(len(values)) for values in parameters))
    ]
