"""lion-conformance explain and diff, as they are called."""

import json
from pathlib import Path

import pytest

from lion_ports.conformance.cases import CASES
from lion_ports.conformance.execution import Result
from lion_ports.conformance.reports.compare import compare
from lion_ports.conformance.reports.json import json as written
from lion_ports.conformance.reports.stream import describe
from lion_ports.conformance.runner import Report


def test_explain_tells_rule_stream_and_mutants(conformance):
    done = conformance("explain", "basic-two-betas")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["basic-two-betas", f"  {CASES['basic-two-betas'].reason}"]
    for line in (
        "Rule L-001: One step",
        "      c  = b1*m + (1-b1)*g",
        "      x' = x - lr*(u + wd*x)",
        "  Source: Chen et al. 2023, arXiv 2302.06675, Program 1 and Algorithm 2.",
        "  steps: 4; learning rate: 0x1p-2",
        "  settings: betas=(0.5, 0.75)",
        "  before: x = [0x1p+0, -0x1p+0, 0x1p+1, -0x1p+1]",
        "  step 2: g of x = [-0x1p+0, 0x1p+0, -0x1p+3, 0x1p+3]",
        "  betas-swapped: b2 makes the direction and b1 the momentum",
        "  lion-conformance run --case basic-two-betas --impl NAME",
    ):
        assert line in lines


@pytest.mark.parametrize("name", CASES)
def test_every_stream_is_told_in_few_short_lines(name):
    lines = describe(CASES[name].build())
    assert 1 <= len(lines) <= 40
    assert all(len(line) < 800 for line in lines)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("decay-alone", "steps 1 to 10: g of x = [0x0p+0"),
        ("errors-negative-lr", "construct with lr=-1.0: that must be refused"),
        ("betas-defaults", "constructed with the learning rate alone"),
        ("state-restart-float32", "saved in the implementation's own way, and loaded into a fresh"),
        ("state-portable-float32", "saved as a portable state"),
        ("option-nonfinite-raise", "must raise, and move nothing"),
        ("schedule-every-step", "learning rate: from 0x1"),
        ("dtype-bfloat16", "parameters: weight bfloat16[16, 9], bias bfloat16[9]"),
    ],
)
def test_what_is_special_about_a_stream_is_said(name, words):
    assert any(words in line for line in describe(CASES[name].build()))


def test_explain_of_an_unknown_case_names_the_nearest(conformance):
    done = conformance("explain", "decay-alnoe")
    assert done.returncode == 2
    assert "no case is called 'decay-alnoe'; did you mean decay-alone" in done.stderr
    done = conformance("explain", "zzzz")
    assert (done.returncode, "see 'lion-conformance list'" in done.stderr) == (2, True)


def report(name="torch", version="1.0", level="faithful", **outcomes):
    cases = [
        Result(key.replace("_", "-"), "L-001", value, max_ulp=3) for key, value in outcomes.items()
    ]
    return Report(name, level, version, cases=cases)


def save(path, *reports):
    path.write_text(written(reports))
    return path


def test_diff_shows_what_became_worse_better_new_and_gone(conformance, tmp_path):
    old = save(
        tmp_path / "old.json",
        report(basic_decay="EXACT", decay_alone="ULP", betas_equal="FAIL", decay_mask="EXACT"),
        report("numpy", basic_decay="EXACT"),
    )
    new = save(
        tmp_path / "new.json",
        report(version="2.0", basic_decay="ULP", decay_alone="FAIL", betas_equal="BOUNDED",
               betas_zero="EXACT"),
        report("jax", basic_decay="EXACT"),
    )  # fmt: skip
    done = conformance("diff", old, new)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "torch 1.0 -> 2.0 on cpu, level faithful",
        "  worse    basic-decay  EXACT -> ULP(3)",
        "  worse    decay-alone  ULP(3) -> FAIL",
        "  better   betas-equal  FAIL -> BOUNDED",
        "  new      betas-zero   EXACT",
        "  gone     decay-mask   EXACT",
        "",
        "numpy 1.0 on cpu, level faithful",
        "  gone     verdict  conforms",
        "",
        "jax 1.0 on cpu, level faithful",
        "  new      verdict  conforms",
        "",
        "2 worse, 1 better, 2 new, 2 gone",
    ]
    done = conformance("diff", new, new)
    assert (done.returncode, done.stdout) == (0, "nothing has changed\n")


@pytest.mark.parametrize(
    ("old", "new", "kinds"),
    [
        ("FAIL", "EXACT", {"better"}),
        ("EXACT", "UNSUPPORTED", {"worse"}),
        ("UNSUPPORTED", "FAIL", {"worse"}),
        ("FAIL", "ERROR", {"changed"}),
        ("BOUNDED", "AMBIGUOUS", {"changed"}),
        ("ULP", "ULP", set()),
        # An expectation makes nothing better, and its end nothing worse.
        ("FAIL", "XFAIL", {"changed"}),
        ("BOUNDED", "XPASS", {"changed"}),
        ("XFAIL", "XPASS", {"better"}),
        ("EXACT", "SKIP", {"worse"}),
    ],
)
def test_each_change_has_its_kind(old, new, kinds):
    (found,) = compare([report(basic_decay=old)], [report(basic_decay=new)])
    assert {change.kind for change in found.changes if change.case} == kinds


def test_a_verdict_that_is_lost_is_worse_even_if_no_case_is():
    # Only the expectation has gone.
    one = report(basic_decay="EXACT", betas_zero="XFAIL")
    other = report(basic_decay="EXACT", betas_zero="FAIL")
    (found,) = compare([one], [other])
    assert ("worse", "") in {(change.kind, change.case) for change in found.changes}


def test_another_level_is_another_implementation():
    one, other = report(basic_decay="EXACT"), report(level="bitwise", basic_decay="FAIL")
    assert {c.kind for found in compare([one], [other]) for c in found.changes} == {"gone", "new"}


def test_reports_of_version_one_can_still_be_read(conformance, tmp_path):
    now = json.loads(written([report(basic_decay="EXACT")]))
    del now["date"], now["implementations"][0]["replay"]
    old = tmp_path / "old.json"
    old.write_text(json.dumps({**now, "schema": "lion-conformance-report-1"}))
    new = save(tmp_path / "new.json", report(basic_decay="FAIL"))
    assert conformance("diff", old, new).returncode == 1


VALID = json.loads(written([report(basic_decay="EXACT")]))
CASE = VALID["implementations"][0]["cases"][0]


def with_implementations(implementations):
    return json.dumps({**VALID, "implementations": implementations})


def with_case(**changes):
    return with_implementations([{**VALID["implementations"][0], "cases": [{**CASE, **changes}]}])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is no JSON"),
        ("\udcff", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "is no report of lion-conformance"),
        ('{"schema": "junit"}', "its schema is 'junit', and this version reads"),
        ('{"schema": "lion-conformance-report-9"}', "is no report of lion-conformance"),
        (json.dumps({"schema": VALID["schema"]}), "is not what report.schema.json describes"),
        (with_implementations(7), "is not what report.schema.json describes"),
        (with_implementations([7]), "is not what report.schema.json describes"),
        (with_implementations([{"cases": []}]), "is not what report.schema.json describes"),
        (with_case(outcome="FINE"), "no outcome is called 'FINE'"),
        (with_case(outcome=["EXACT"]), "is not what report.schema.json describes"),
    ],
)
def test_files_that_are_no_report_get_one_sentence(conformance, tmp_path, content, words):
    bad = tmp_path / "bad.json"
    bad.write_bytes(content.encode("utf-8", "surrogateescape"))
    good = save(tmp_path / "good.json", report(basic_decay="EXACT"))
    done = conformance("diff", good, bad)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"lion-conformance: {bad}")


def test_files_that_are_not_there_get_one_sentence(conformance, tmp_path):
    for path in (Path("absent.json"), tmp_path):
        done = conformance("diff", path, path, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith(f"lion-conformance: {path} cannot be read: ")
        assert len(done.stderr.splitlines()) == 1
