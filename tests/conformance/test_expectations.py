"""lion-conformance run --expect: what is known beforehand, by exact case and with a reason."""

import json
import textwrap

import pytest

MINE = """
    class Wrong(Mine):
        '''It steps twice at its second step.'''

        def step(self, grads, lr):
            self.n += 1
            for _ in range(2 if self.n == 2 else 1):
                super().step(grads, lr)

    class Crashing(Mine):
        def step(self, grads, lr):
            self.n += 1
            if self.n == 2:
                os.abort()
            super().step(grads, lr)
"""


@pytest.fixture
def run(conformance, mine):
    tmp_path = mine(MINE)

    def run(name, toml, *cases):
        (tmp_path / "expectations.toml").write_text(textwrap.dedent(toml))
        patterns = [word for case in cases for word in ("--case", case)]
        files = ("--expect", "expectations.toml", "--json", "out.json")
        done = conformance("run", "--impl", f"python:mine:{name}", *files, *patterns, cwd=tmp_path)
        assert "Traceback" not in done.stderr
        found = {}
        if (tmp_path / "out.json").exists():
            (report,) = json.loads((tmp_path / "out.json").read_text())["implementations"]
            found = {case["id"]: case for case in report["cases"]}
        return done, found

    return run


# basic-first-step has one step; basic-two-betas has more, and Wrong fails it.
ONE, MORE = "basic-first-step", "basic-two-betas"

FAILS = """
    [[xfail]]
    impl = "python:mine:Wrong"
    cases = ["basic-two-betas"]
    reason = "steps twice"
    link = "https://example.org/issues/1"
"""


def test_without_the_file_the_case_fails_the_run(run):
    done, found = run("Wrong", "", ONE, MORE)
    assert done.returncode == 1
    assert found[MORE]["outcome"] == "FAIL"
    assert "reason" not in found[MORE]


def test_an_expected_failure_does_not_fail_the_run_and_keeps_its_detail(run):
    done, found = run("Wrong", FAILS, ONE, MORE)
    assert done.returncode == 0, done.stdout
    case = found[MORE]
    assert (case["outcome"], case["reason"]) == ("XFAIL", "steps twice")
    assert case["link"] == "https://example.org/issues/1"
    assert "came as" in case["detail"]
    assert found[ONE]["outcome"] == "EXACT"


def test_one_that_passes_fails_the_run(run):
    done, found = run("Mine", FAILS.replace("Wrong", "Mine"), ONE, MORE)
    assert done.returncode == 1
    assert found[MORE]["outcome"] == "XPASS"
    assert found[MORE]["detail"] == "it passed (EXACT): take it out of the file of --expect"


def test_expectations_are_those_of_one_implementation(run):
    done, found = run("Mine", FAILS, ONE, MORE)
    assert done.returncode == 0
    assert found[MORE]["outcome"] == "EXACT"


def test_a_crash_is_not_the_failure_that_was_expected(run):
    done, found = run("Crashing", FAILS.replace("Wrong", "Crashing"), ONE, MORE)
    assert done.returncode == 1
    assert found[MORE]["outcome"] == "ERROR"
    words = (
        'it was expected as FAIL and came as ERROR: if that is what is known, set outcome = "ERROR"'
    )
    assert words in found[MORE]["detail"]
    assert words in " ".join(done.stdout.split())
    crash = FAILS.replace("Wrong", "Crashing") + '    outcome = "ERROR"\n'
    done, found = run("Crashing", crash, ONE, MORE)
    assert done.returncode == 0, done.stdout
    assert found[MORE]["outcome"] == "XFAIL"


SKIPS = """
    [[skip]]
    impl = "python:mine:Crashing"
    cases = ["basic-two-betas"]
    reason = "takes the machine down"
"""


def test_a_skipped_case_does_not_run(run):
    done, found = run("Crashing", SKIPS, ONE, MORE)
    assert done.returncode == 0, done.stdout
    assert (found[MORE]["outcome"], found[MORE]["reason"]) == ("SKIP", "takes the machine down")
    assert list(found) == [ONE, MORE]


def test_a_run_in_which_no_case_passed_is_a_failure(run):
    done, _ = run("Crashing", SKIPS, MORE)
    assert done.returncode == 1
    done, _ = run("Wrong", FAILS, MORE)
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("basic-two-betas", "basic-two-beta", "did you mean 'basic-two-betas'?"),
        ("basic-two-betas", "basic-*", "the case 'basic-*' is unknown"),
        ("[[xfail]]", "[[xfial]]", "the table [[xfial]] is unknown; did you mean 'xfail'?"),
        ("[[xfail]]", "[xfail]", "write [[xfail]], with two brackets"),
        ("[[xfail]]", "xfail = 3", "write [[xfail]], with two brackets"),
        ("link", "lnik", "'lnik' in [[xfail]] is unknown; did you mean 'link'?"),
        ('reason = "steps twice"', "", "needs reason = a text"),
        ("steps twice", " ", "needs reason = a text"),
        ('impl = "python:mine:Wrong"', "", "needs impl = a text"),
        ('["basic-two-betas"]', '"basic-two-betas"', "needs cases = a list of case ids"),
        ('["basic-two-betas"]', "[]", "needs cases = a list of case ids"),
        ('"https://example.org/issues/1"', "1", "link = 1 is not a text"),
        ("link", "outcome", "is not one of FAIL, ERROR"),
        ('"basic-two-betas"', '"basic-decay", "basic-decay"', "is named twice"),
        ("[[xfail]]", "[[xfail", "Expected ']]'"),
    ],
)
def test_what_is_wrong_in_the_file_is_said_in_one_sentence(run, old, new, words):
    assert old in FAILS
    toml = FAILS.replace(old, new, 1)
    if new == "xfail = 3":
        toml = new
    done, found = run("Wrong", toml, ONE)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not found


def test_a_skip_expects_no_outcome(run):
    done, _ = run("Crashing", SKIPS + '    outcome = "FAIL"\n', ONE)
    assert done.returncode == 2
    assert "'outcome' in [[skip]] is unknown" in done.stderr
