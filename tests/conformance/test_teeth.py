"""The suite fails every wrong Lion and names it, and fails no right one."""

from functools import cache

import pytest

from lion_ports.conformance.cases import CASES
from lion_ports.conformance.execution import replay, run_case
from lion_ports.conformance.kills import kill_matrix
from lion_ports.conformance.mutants import CONTROLS, MUTANTS
from lion_ports.conformance.observation import RecompiledError, SilentError, TouchedError
from lion_ports.conformance.option_rewritings import Options, all_options, rewrite_options
from lion_ports.conformance.rewritings import all_rewritings, composed, rewriting
from lion_ports.conformance.trial import generator
from lion_ports.conformance.variants import Variant
from lion_ports.conformance.verdict import judge

# Streams of a few steps and few elements; the others are run by the slow tests.
SMALL = [case for case in CASES.values() if case.category not in ("errors", "long")]
COMBINATIONS = list(all_rewritings())
OPTIONS = list(all_options())


@cache
def trial(case_id):
    return CASES[case_id].build()


def fails(make, case_id, level="faithful"):
    """Whether an implementation fails a case, without a diagnosis."""
    try:
        observed, uninterrupted = replay(make, trial(case_id))
    except (RecompiledError, SilentError, TouchedError):
        return True
    judgement = judge(trial(case_id), observed, uninterrupted=uninterrupted)
    return getattr(judgement, level) is not None


def failures(make, cases, level="faithful"):
    return [case.id for case in cases if fails(make, case.id, level)]


def drawn(choices, count, seed):
    order = generator(seed).permutation(len(choices))
    return [choices[i] for i in order[:count]]


def test_the_right_lion_is_exact_everywhere():
    assert failures(Variant, SMALL, "bitwise") == []


@pytest.mark.parametrize("name", MUTANTS)
def test_every_mutant_fails_the_cases_that_claim_it(name):
    claimed = [case.id for case in SMALL if name in case.catches]
    assert claimed or name in CONTROLS
    assert [case_id for case_id in claimed if not fails(MUTANTS[name].make, case_id)] == []


@pytest.mark.parametrize(
    "name", ["decay-coupled", "raise-ignored", "gradient-overwritten", "adamw"]
)
def test_a_failing_case_names_its_mutant(name):
    case = {"decay-coupled": "basic-decay", "raise-ignored": "option-nonfinite-raise"}
    result = run_case(CASES[case.get(name, "basic-first-step")], MUTANTS[name].make, "faithful")
    assert (result.outcome, name in result.diagnosis) == ("FAIL", True)


def test_a_mutant_that_a_case_does_not_touch_is_not_in_the_matrix():
    few = ("decay-missing", "betas-swapped", "ema-late")
    matrix = kill_matrix([CASES["basic-decay"], CASES["errors-nan-lr"]], few)
    assert [kill.case for kill in matrix["decay-missing"]] == ["basic-decay"]
    assert matrix["ema-late"] == []


def test_several_processes_find_what_one_finds():
    cases = [CASES[name] for name in ("compiled-once", "decay-alone", "structure-tied")]
    done = []
    few = ("compiled-again", "decay-missing", "tied-parted", "group-momentum")
    matrix = kill_matrix(cases, few, on_case=lambda: done.append(True), jobs=2)
    assert matrix == kill_matrix(cases, few)
    assert matrix["tied-parted"] == [("structure-tied", True)]
    assert len(done) == 3


@pytest.mark.parametrize("control", CONTROLS)
def test_other_optimizers_fail_most_cases(control):
    some = SMALL[::3]  # of every family; the kill matrix has them all
    assert len(failures(MUTANTS[control].make, some)) > len(some) / 2


@pytest.mark.parametrize("parts", drawn(COMBINATIONS, 2, seed=1), ids="+".join)
def test_no_right_rewriting_fails(parts):
    assert failures(lambda: rewriting(*parts), SMALL) == []


@pytest.mark.slow
@pytest.mark.parametrize("parts", COMBINATIONS, ids="+".join)
def test_none_of_all_rewritings_fails(parts):
    assert failures(lambda: rewriting(*parts), SMALL) == []


def with_options(options):
    return lambda: rewrite_options(rewriting("lerp", "fused-left", "factor-first"), options)


OF_OPTIONS = [case for case in SMALL if case.category in ("option", "state")]


@pytest.mark.parametrize("options", drawn(OPTIONS, 3, seed=2), ids="+".join)
def test_no_right_rewriting_of_the_options_fails(options):
    assert failures(with_options(options), OF_OPTIONS) == []


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS, ids="+".join)
def test_none_of_all_rewritings_of_the_options_fails(options):
    assert failures(with_options(options), OF_OPTIONS) == []


def failing_compositions(count, seed):
    """``count`` Lions with all of their formulas drawn, each on eight cases that are drawn."""
    rng, failed = generator(seed), []
    for _ in range(count):
        name, make = composed(rng)
        cases = [SMALL[i] for i in rng.permutation(len(SMALL))[:8]]
        failed += [(name, case_id) for case_id in failures(make, cases)]
    return failed


def test_none_of_a_few_random_compositions_fails():
    assert failing_compositions(15, seed=3) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
def test_none_of_2000_random_compositions_fails(seed):
    assert failing_compositions(100, seed) == []


def test_rewritings_do_differ_from_the_reference():
    for parts in (("lerp", "lerp", "factor-first"), ("difference", "fused-left", "fused-step")):
        assert failures(lambda parts=parts: rewriting(*parts), SMALL[:60], "bitwise")


@pytest.mark.parametrize(
    ("options", "case_id"),
    [
        (Options(unscale="division"), "option-loss-scale"),
        (Options(total="backward"), "option-accumulate"),
        (Options(total="wide"), "option-accumulate"),
        (Options(average="lerp"), "option-ema"),
        (Options(average="difference"), "option-ema"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, Options) else value,
)
def test_rewritings_of_options_do_differ_from_the_reference(options, case_id):
    plain = ("two-products", "two-products", "bracket")
    assert not fails(lambda: rewriting(*plain), case_id, "bitwise")
    assert fails(lambda: rewrite_options(rewriting(*plain), options), case_id, "bitwise")


@pytest.mark.parametrize("norm", ["wide", "hypot", "pairs"])
def test_norms_do_differ_from_the_references(norm):
    """Level bitwise leaves a norm open, so here the numbers themselves are looked at."""
    plain, other = (
        replay(with_options(Options(norm=name)), trial("option-global-clipnorm"))[0]
        for name in ("narrow", norm)
    )
    assert any((plain[-1].momentum[n] != m).any() for n, m in other[-1].momentum.items())
