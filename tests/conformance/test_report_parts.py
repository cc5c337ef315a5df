"""The parts that reports are made of: verdicts, causes, findings, every format of any result."""

import json
import os
from xml.etree import ElementTree

import pytest

from lion_ports.conformance.cases import CASES
from lion_ports.conformance.execution import Result
from lion_ports.conformance.finding import Finding
from lion_ports.conformance.reports import FORMATS
from lion_ports.conformance.reports.files import FileError, write
from lion_ports.conformance.reports.rules import rules
from lion_ports.conformance.reports.verdicts import causes, reasons, verdict
from lion_ports.conformance.reports.words import (
    OUTCOMES,
    SYMBOLS,
    category,
    element,
    replay,
    short,
)
from lion_ports.conformance.runner import Report

HOSTILE = "é <script>alert(1)</script> ]]> \x00\x1b[31m \ud800 | ``` `x` & \"quoted\" 'so'\r\n*two*"


def test_a_verdict_tells_broken_rules_from_crashes_and_from_what_passed():
    outcomes = {"basic-decay": "FAIL", "decay-alone": "ERROR", "decay-strong": "XPASS"}
    results = [Result(case, "L-001", outcome) for case, outcome in outcomes.items()]
    told = [verdict(Report("mine", "faithful", cases=[result])) for result in results]
    assert told == [
        "does not conform at level faithful: 1 of 1 judged case failed",
        "does not conform at level faithful: 1 of 1 judged case ended in an error",
        "does not conform at level faithful: 1 of 1 judged case passed and had to fail",
    ]
    assert [reasons(Report("mine", "faithful", cases=[result])) for result in results] == [
        ["breaks L-001 of docs/spec.md"], [], [],
    ]  # fmt: skip


def test_a_verdict_counts_apart_what_was_not_judged():
    absent = Result("decay-mask", "L-017", "UNSUPPORTED")
    lost = Result("decay-strong", "L-001", "SKIP", detail="not run, because of rain")
    left_out = Result("long-normal", "L-001", "SKIP", reason="slow")
    known = Result("nonfinite-nan", "L-010", "XFAIL")
    passed = Result("basic-decay", "L-001", "EXACT")
    rest = [absent, absent, lost, left_out]
    told = [
        verdict(Report("mine", "faithful", cases=[*judged, *rest]))
        for judged in ([passed, passed], [passed, known], [known], [])
    ]
    unjudged = "; 2 not offered, 1 not run, 1 left out"
    assert told == [
        f"conforms at level faithful: 2 of 2 judged cases passed{unjudged}",
        f"conforms at level faithful: 1 of 2 judged cases passed, 1 failed as expected{unjudged}",
        f"does not conform at level faithful: no case passed, 1 failed as expected{unjudged}",
        f"does not conform at level faithful: no case could be judged{unjudged}",
    ]
    assert reasons(Report("mine", "faithful", cases=rest)) == ["1 case not run, because of rain"]


def test_failures_of_one_cause_are_told_together_the_most_first():
    def failed(number, outcome, rule="L-001", diagnosis=(), detail=""):
        return Result(f"case-{number}", rule, outcome, diagnosis=[*diagnosis], detail=detail)

    report = Report("mine", "faithful", cases=[
        failed(1, "ERROR", detail="no memory"),
        failed(2, "FAIL", "L-010", ["nan-swallowed"]),
        failed(3, "FAIL", "L-008"),
        failed(4, "FAIL", "L-001", ["sign-zero-plus", "sign-copysign"]),
        failed(5, "FAIL", "L-010", ["sign-zero-plus"]),
        failed(6, "ERROR", "L-005", detail="no memory"),
        failed(7, "ERROR", detail="no time"),
        failed(8, "ERROR", "L-002", detail="no memory"),
        failed(9, "FAIL", "L-008"),
        Result("basic-decay", "L-001", "EXACT"),
    ])  # fmt: skip
    numbers = ["".join(result.id[-1] for result in group) for group in causes(report)]
    assert numbers == ["168", "39", "45", "2", "7"]


def test_junit_is_red_where_no_case_was_judged():
    report = Report("numpy", "faithful", cases=[Result("decay-mask", "L-017", "UNSUPPORTED")])
    root = ElementTree.fromstring(FORMATS["junit"]([report]).encode())
    assert root.get("failures") == "1"
    assert "no case could be judged" in next(root.iter("failure")).get("message")


def test_files_are_written_all_or_none(tmp_path):
    first, second = tmp_path / "first", tmp_path / "absent" / "second"
    first.write_text("before")
    first.chmod(0o640)
    (tmp_path / "link").symlink_to("first")
    with pytest.raises(FileError, match="second cannot be written: No such file or directory"):
        write({first: "after", second: "after"})
    assert first.read_text() == "before"
    assert sorted(os.listdir(tmp_path)) == ["first", "link"]
    write({tmp_path / "link": "after"})
    assert (tmp_path / "link").is_symlink()
    assert (first.read_text(), first.stat().st_mode & 0o777) == ("after", 0o640)
    with pytest.raises(FileError, match="cannot be written"):
        write({tmp_path: "a folder"})
    assert sorted(os.listdir(tmp_path)) == ["first", "link"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_holds_every_outcome_and_any_text(name):
    results = [
        Result(
            "basic-decay", "L-001", outcome, 3, 4, ["adamw"], HOSTILE, 0.5, HOSTILE, "javascript:1"
        )
        for outcome in OUTCOMES
    ]
    arguments = ("--kwarg", "x=y z")
    report = Report(HOSTILE, "faithful", HOSTILE, "cpu", "kept", results, arguments)
    text = FORMATS[name]([report])
    text.encode()  # no halves of characters
    assert "\x1b" not in text
    assert "\x00" not in text
    if name == "junit":
        root = ElementTree.fromstring(text.encode())
        assert "--kwarg 'x=y z' --case basic-decay" in next(root.iter("failure")).text
    elif name == "html":
        assert "<script>alert" not in text
        assert 'href="javascript' not in text
    elif name != "markdown":
        json.loads(text)


def test_the_replay_command_names_programs_devices_and_levels():
    report = Report("exec:./my lion --fast", "bitwise", device="cuda")
    assert replay(report, "basic-decay") == (
        "lion-conformance run --exec './my lion --fast' --device cuda --level bitwise "
        "--case basic-decay"
    )
    recorded = Report("torch", "faithful", cases=[Result("my run.safetensors", "L-001", "FAIL")])
    assert category("my run.safetensors") == "recorded"
    assert replay(recorded, "my run.safetensors") == (
        "lion-conformance replay --impl torch 'my run.safetensors'"
    )


@pytest.mark.parametrize(
    "finding",
    [
        Finding(
            "the parameter", 3, "w.0", (1, 2), (("x", "0x1.8p-6"), ("g", "nan")), "0x1p+0", "-inf"
        ),
        Finding("the momentum", 1, "x", (), (), "float32[2, 3]", "bfloat16[2, 3]"),
        Finding("the momentum", 2, "a: b", (0,), (("lr", "0x1p-3"),), "0x1p-9 to 0x1.8p-9", "nan"),
        Finding("the average", 12, "x"),
    ],
)
def test_a_finding_can_be_read_again(finding):
    read = element(str(finding))
    assert read is not None
    index = str(list(finding.index)) if finding.index else ""
    assert (read.step, read.parameter, read.index) == (str(finding.step), finding.parameter, index)
    assert (read.what, read.allowed, read.came) == (finding.what, finding.allowed, finding.came)
    assert read.inputs == finding.inputs


def test_other_details_are_no_findings():
    for detail in ("", "RuntimeError: no step today (step, line 3)", "the process was killed"):
        assert element(detail) is None
    assert short("x=0x1.0000000000000p-3, 00p or 100") == "x=0x1p-3, 00p or 100"


def test_every_rule_of_a_case_has_its_text_and_every_outcome_its_symbol():
    for rule in {case.rule for case in CASES.values()}:
        found = rules()[rule]
        assert all((found.title, found.text, found.reason, found.source))
        assert "\n#" not in found.text
    assert SYMBOLS.keys() == OUTCOMES.keys()
    assert len(set(SYMBOLS.values())) == len(SYMBOLS)
