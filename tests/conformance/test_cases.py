"""The cases cover the specification, and each can be built."""

import re
from pathlib import Path

import numpy as np
import pytest

from lion_ports.conformance.bound import K_MIX, K_MOVE
from lion_ports.conformance.cases import CASES, select
from lion_ports.conformance.finding import decay_at
from lion_ports.conformance.mutants import MUTANTS
from lion_ports.conformance.trial import CATEGORIES

SPEC = (Path(__file__).parents[2] / "docs" / "spec.md").read_text()
RULE = re.compile(r"^### (L-\d{3}) .*?(?=^##|\Z)", re.MULTILINE | re.DOTALL)
RULES = {match[1]: match[0] for match in RULE.finditer(SPEC)}


def test_rules_are_numbered_without_gaps():
    assert list(RULES) == [f"L-{i:03}" for i in range(1, len(RULES) + 1)]


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_has_cases_and_names_them(rule):
    cases = {case.id for case in CASES.values() if case.rule == rule}
    assert cases
    listed = re.search(r"^Cases: (.*?)\.$", RULES[rule], re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`([a-z0-9-]+)`", listed[1])) == cases


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_gives_its_reason_and_source(rule):
    assert "\nReason: " in RULES[rule]
    assert "\nSource: " in RULES[rule]


def test_every_case_cites_a_rule_and_a_category():
    for case in CASES.values():
        assert case.rule in RULES
        assert case.category in CATEGORIES
        assert case.reason.endswith(".")


def test_cases_name_only_mutants_that_exist():
    assert {name for case in CASES.values() for name in case.catches} <= set(MUTANTS)


def test_building_a_case_twice_gives_the_same_stream():
    for case in CASES.values():
        if case.category != "long":
            first, second = case.build(), case.build()
            for a, b in zip(first.steps, second.steps, strict=True):
                assert a.lr == b.lr
                for name, g in a.grads.items():
                    assert np.array_equal(g, b.grads[name], equal_nan=g is not None)


def test_no_tolerance_on_parameters_is_larger_than_a_quarter_of_a_step():
    """The proved part of the bound; the one rounding to storage is the specification's own."""
    for case in CASES.values():
        trial = case.build()
        largest = {n: np.abs(x[np.isfinite(x)]).max(initial=0) for n, x in trial.params.items()}
        if case.id == "sign-zero-silence":
            continue  # exact: no tolerance at all
        for i, step in enumerate(trial.steps[:20]):
            for name, x in trial.params.items():
                updates = i // trial.config.gradient_accumulation_steps
                wd = decay_at(trial, i, updates, name) / (trial.config.lr_peak or 1)
                double = x.dtype in (np.float64, np.complex128)
                u = 2.0 ** (-53 if double else -24)
                bound = K_MOVE * u * (largest[name] + step.lr * (1 + wd * largest[name]))
                assert step.lr == 0 or bound <= step.lr / 4, case.id
    assert K_MIX < K_MOVE


def test_patterns_select_cases():
    assert {case.category for case in select(("sign-*",))} == {
        "sign-zero",
        "sign-critical",
        "sign-safe",
    }
    assert select(("basic-decay", "nothing-*"))[0].id == "basic-decay"
    assert len(select(())) == len(CASES)
