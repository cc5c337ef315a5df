"""The suite fails every wrong Lion and names it, and fails no right one."""

from functools import cache

import pytest

from lion_ports.conformance.cases import CASES
from lion_ports.conformance.execution import replay, run_case
from lion_ports.conformance.mutants import MUTANTS
from lion_ports.conformance.rewritings import all_rewritings, rewriting
from lion_ports.conformance.trial import generator
from lion_ports.conformance.variants import Variant
from lion_ports.conformance.verdict import judge

# Streams of a few steps and few elements; the others are run by the slow tests.
SMALL = [case for case in CASES.values() if case.category not in ("errors", "long")]
COMBINATIONS = list(all_rewritings())


@cache
def trial(case_id):
    return CASES[case_id].build()


def failures(make, cases, level="faithful"):
    """Ids of the cases that an implementation fails, without a diagnosis."""
    failed = []
    for case in cases:
        observed, uninterrupted = replay(make, trial(case.id))
        judgement = judge(trial(case.id), observed, uninterrupted=uninterrupted)
        if getattr(judgement, level) is not None:
            failed.append(case.id)
    return failed


def test_the_right_lion_is_exact_everywhere():
    assert failures(Variant, SMALL, "bitwise") == []


@pytest.mark.parametrize("name", MUTANTS)
def test_every_mutant_is_caught_by_the_cases_that_say_so_and_named(name):
    declared = [case for case in CASES.values() if name in case.catches]
    cases = declared or [case for case in SMALL if case.id.startswith(("basic", "betas"))]
    results = [run_case(case, MUTANTS[name].make, "faithful") for case in cases[:4]]
    failed = [result for result in results if result.failed]
    assert failed
    if declared:
        assert len(failed) == len(results)
    assert any(name in result.diagnosis for result in failed)


@pytest.mark.parametrize("control", ["no-op", "signsgd", "adamw"])
def test_other_optimizers_fail_most_cases(control):
    assert len(failures(MUTANTS[control].make, SMALL)) > len(SMALL) / 2


def drawn(count, seed):
    order = generator(seed).permutation(len(COMBINATIONS))
    return [COMBINATIONS[i] for i in order[:count]]


@pytest.mark.parametrize("parts", drawn(8, seed=1), ids="+".join)
def test_no_right_rewriting_fails(parts):
    assert failures(lambda: rewriting(*parts), SMALL) == []


@pytest.mark.slow
@pytest.mark.parametrize("parts", COMBINATIONS, ids="+".join)
def test_none_of_all_rewritings_fails(parts):
    assert failures(lambda: rewriting(*parts), SMALL) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_every_mutant_fails_in_the_whole_suite(name):
    cases = [case for case in CASES.values() if case.category != "errors"]
    results = [run_case(case, MUTANTS[name].make, "faithful") for case in cases]
    assert any(result.failed and name in result.diagnosis for result in results)


def test_rewritings_do_differ_from_the_reference():
    for parts in (("lerp", "lerp", "factor-first"), ("difference", "fused-left", "fused-step")):
        assert failures(lambda parts=parts: rewriting(*parts), SMALL, "bitwise")
