"""The files and the summary of ``lion-conformance run``, over right, wrong and crashing Lions."""

import json
import os
import pty
import re
import subprocess
import time
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest

from lion_ports.conformance.cases import select
from lion_ports.conformance.execution import Result
from lion_ports.conformance.mutants import MUTANTS
from lion_ports.conformance.reports import FORMATS
from lion_ports.conformance.reports.json import load
from lion_ports.conformance.runner import Report

SCHEMA = json.loads((Path(__file__).parents[2] / "conformance/report.schema.json").read_text())

MINE = """
from pathlib import Path
import numpy as np
from lion_ports import reference
Path("imported").touch()

class Right:
    def __init__(self, flip=False, hostile=False):
        self.flip, self.hostile = flip, hostile

    def start(self, params, config):
        self.config, self.x = config, dict(params)
        self.state = reference.init(params, config)

    def step(self, grads, lr):
        if self.hostile:
            raise RuntimeError("é <script>alert(1)</script> ]]> \\x00\\x1b[31m | ``` & \\r")
        if self.flip:
            grads = {name: None if g is None else -g for name, g in grads.items()}
        self.x, self.state = reference.step(self.x, grads, self.state, self.config, lr=lr)

    def params(self):
        return self.x

    def momentum(self):
        return self.state.momentum

def wrong():
    return Right(flip=True)

def hostile():
    return Right(hostile=True)
"""

FILES = {
    "json": "r.json",
    "junit": "r.xml",
    "html": "r.html",
    "markdown": "r.md",
    "badge": "b.json",
}
CASE_IDS = [case.id for case in select(("basic-*", "decay-mask"))]


def outputs(**paths):
    return [word for name, path in paths.items() for word in (f"--{name}", str(path))]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


@pytest.fixture(scope="module")
def run(conformance, tmp_path_factory):
    """A run of four implementations with all its files: its folder, and what it printed."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "mine.py").write_text(MINE)
    (folder / "known.toml").write_text(
        '[[xfail]]\nimpl = "python:mine:wrong"\ncases = ["basic-first-step"]\n'
        'reason = "known | since May"\nlink = "https://example.org/1"\n'
    )
    done = conformance(
        "run", "--impl=numpy", *(f"--impl=python:mine:{n}" for n in ("Right", "wrong", "hostile")),
        "--case", "basic-*", "--case", "decay-mask", "--expect", "known.toml", *outputs(**FILES),
        cwd=folder,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    return folder, done.stdout


def test_several_implementations_end_in_one_sentence(run):
    assert run[1].endswith(
        "\n\n2 of 4 implementations conform at level faithful; these do not: python:mine:wrong "
        "local,\n  python:mine:hostile local\n"
    )
    assert run[1].count("implementations conform") == 1


def test_json_follows_its_schema_and_can_be_loaded(run):
    folder, _ = run
    content = json.loads((folder / "r.json").read_text())
    jsonschema.validate(content, SCHEMA)
    assert [one["conforms"] for one in content["implementations"]] == [True, True, False, False]
    assert content["implementations"][2]["replay"].endswith(
        "--impl python:mine:wrong --expect known.toml --case"
    )
    loaded = load(folder / "r.json")
    again = json.loads(FORMATS["json"](loaded))
    for one, other in zip(content["implementations"], again["implementations"], strict=True):
        assert one["cases"] == other["cases"]
        assert one["conforms"] == other["conforms"]


def test_junit_counts_what_ran_and_says_how_to_replay(run):
    root = ElementTree.parse(run[0] / "r.xml").getroot()
    assert root.tag == "testsuites"
    numpy, right, wrong, hostile = root
    for suite in root:
        assert [case.get("name") for case in suite.iter("testcase")] == CASE_IDS
        assert suite.get("tests") == str(len(CASE_IDS))
        for attribute, tag in (
            ("failures", "failure"),
            ("errors", "error"),
            ("skipped", "skipped"),
        ):
            assert suite.get(attribute) == str(len(list(suite.iter(tag))))
    assert root.get("tests") == str(4 * len(CASE_IDS))
    assert root.get("failures") == wrong.get("failures")
    assert (numpy.get("failures"), numpy.get("skipped")) == ("0", "0")
    (skipped,) = right.iter("skipped")
    assert skipped.get("message") == "UNSUPPORTED: not offered: a weight decay mask"
    assert any("XFAIL: known | since May" in s.get("message") for s in wrong.iter("skipped"))
    failure = next(wrong.iter("failure"))
    assert failure.get("type") == "L-001"
    assert "behaves as `maximize`" in failure.text
    assert "lion-conformance run --impl python:mine:wrong --expect known.toml" in failure.text
    error = next(hostile.iter("error"))
    assert "<script>alert(1)</script> ]]> \\x00\\x1b[31m" in error.text


def test_markdown_shows_verdicts_and_folds_details(run):
    text = (run[0] / "r.md").read_text("utf-8")
    assert text.startswith("## Lion conformance: 2 of 4 conform\n")
    table, *sections = text.split("\n### ")
    assert f"| ✅ conforms | `numpy` | 0.1.0 | cpu | faithful | {len(CASE_IDS)} EXACT |" in table
    wrong, hostile = sections
    assert "| FAIL | `basic-two-betas` | L-001 | `maximize` |" in wrong
    assert f"behaves as `maximize`: {MUTANTS['maximize'].sentence}" in wrong.replace("\\", "")
    assert wrong.count("<details>") == wrong.count("</details>") == 1
    assert "lion-conformance run --impl python:mine:wrong" in wrong.partition("<details>")[2]
    # The fence is longer than the backticks inside, so that nothing ends it early.
    assert "\n````text\nERROR basic-first-step" in hostile


def test_badge_is_what_shields_reads(run):
    badge = json.loads((run[0] / "b.json").read_text())
    assert badge == {
        "schemaVersion": 1, "label": "Lion conformance", "message": "2 of 4 conform",
        "color": "red", "isError": True,
    }  # fmt: skip
    good = Report("numpy", "bitwise", cases=[Result("basic-decay", "L-001", "EXACT")])
    badge = json.loads(FORMATS["badge"]([good]))
    assert (badge["message"], badge["color"]) == ("bitwise, spec 1.2", "brightgreen")
    assert json.loads(FORMATS["badge"]([]))["color"] == "red"


def test_the_summary_begins_with_verdict_cause_and_command(run):
    numpy, right, wrong, hostile, _ = re.split(
        r"^(?=numpy|python:)", run[1] + "\nnumpy", flags=re.M
    )[1:]
    count = len(CASE_IDS)
    seconds = r"\d+\.\d s(; longest .+)?; subnormal numbers are kept"
    assert re.fullmatch(
        rf"numpy .+ on cpu, level faithful\n"
        rf"  conforms at level faithful: {count} of {count} judged cases passed\n"
        rf"\n  {count} EXACT\n  {count} cases in {seconds}\n\n",
        numpy,
    )
    assert f"{count - 1} of {count - 1} judged cases passed; 1 not offered" in right
    assert "not offered: a weight decay mask (decay-mask)" in right
    assert wrong.splitlines()[1:7] == [
        f"  does not conform at level faithful: {count - 2} of {count - 1} judged cases failed, 1 "
        "failed as expected; 1 not",
        "    offered",
        f"  behaves as `maximize`: {MUTANTS['maximize'].sentence}",
        "  look closer:",
        "    lion-conformance run --impl python:mine:wrong --expect known.toml --case "
        "basic-two-betas",
        "  breaks L-001 of docs/spec.md",
    ]
    assert "XFAIL basic-first-step: known | since May; https://example.org/1" in wrong
    assert re.search(
        r"step \d, x\[\d\]: the parameter\n +came +-?0x\S+\n +allowed +-?0x\S+\n", wrong
    )
    assert "\\x00\\x1b[31m" in hostile
    assert "\x1b" not in run[1]


def test_failures_of_one_cause_are_shown_once_and_verbose_shows_each(run, conformance):
    folder, text = run
    _, wrong, hostile = re.split(r"^(?=python:mine:[wh])", text, flags=re.M)
    assert wrong.count("    step ") == hostile.count("RuntimeError") == 1
    assert "    likewise basic-decay, basic-tensors, basic-normal\n" in wrong
    assert "    likewise basic-two-betas, basic-decay, basic-tensors and 1 more\n" in hostile
    words = ("run", "--impl", "python:mine:wrong", "--case", "basic-*", "--verbose")
    done = conformance(*words, cwd=folder)
    assert done.stdout.count("    step ") == len(select(("basic-*",)))
    assert "likewise" not in done.stdout
    together = re.search(r"^ +FAIL\n  basic +5$", done.stdout, re.MULTILINE)
    assert together, done.stdout


def test_quiet_is_one_line(conformance, folder):
    words = ("run", "--impl=python:mine:Right", "--impl=python:mine:wrong", "--case=basic-decay")
    done = conformance(*words, "--quiet", cwd=folder)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [
        "python:mine:Right local on cpu conforms at level faithful: 1 of 1 judged case passed",
        "python:mine:wrong local on cpu does not conform at level faithful: 1 of 1 judged case "
        "failed",
    ]
    done = conformance(*words[:2], *words[3:], "--quiet", cwd=folder)
    assert done.returncode == 0


MANY = """
import itertools

class Many(Right):
    count = itertools.count()

    def step(self, grads, lr):
        raise RuntimeError(f"error {next(self.count)} {'and so on ' * 99}")
"""


def test_of_many_causes_a_handful_is_shown(conformance, folder):
    (folder / "mine.py").write_text(MINE + MANY)
    words = ("run", "--impl", "python:mine:Many", "--case", "basic-*", "--case", "betas-*")
    done = conformance(*words, "--json", "out.json", cwd=folder)
    (found,) = json.loads((folder / "out.json").read_text())["implementations"]
    errors = [case for case in found["cases"] if case["outcome"] == "ERROR"]
    assert len(errors) > 5
    assert done.stdout.count("RuntimeError: error ") == 5
    left = len(errors) - 5
    assert f"... and {left} more failures; --verbose shows all, --json FILE" in done.stdout
    assert len(re.findall(r"(and|so|on)\s+\.\.\.", done.stdout)) == 5


def test_the_summary_fits_a_narrow_terminal(conformance, folder):
    target = ("run", "--impl", "python:mine:wrong", "--case", "basic-*", "--case", "decay-mask")
    for wide in (80, 50):
        env = {**os.environ, "COLUMNS": str(wide)}
        lines = conformance(*target, cwd=folder, env=env).stdout.splitlines()
        commands = [line for line in lines if "lion-conformance run" in line]
        assert len(commands) == 2
        assert max(len(line) for line in lines if line not in commands) <= wide


def test_the_time_is_that_of_the_clock_and_no_sum(conformance, folder):
    slow = "\n\nclass Slow(Right):\n    def start(self, *more):\n        time.sleep(0.05)\n"
    source = f"import time\n{MINE}{slow}        super().start(*more)\n"
    (folder / "mine.py").write_text(source)
    began = time.monotonic()
    words = ("run", "--impl", "python:mine:Slow", "--case", "[b-d]*", "--case", "s[ic]*")
    done = conformance(*words, "--jobs", "4", "--json", "out.json", cwd=folder)
    took = time.monotonic() - began
    said = float(re.search(r"cases in (\S+) s", done.stdout)[1])
    assert said <= took + 0.1
    assert took / 4 < said  # and what is left is the start of the command


def on_a_terminal(words, folder, **environment):
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        words, cwd=folder, stdout=theirs, stderr=subprocess.DEVNULL,
        env={**os.environ, **environment},
    ):  # fmt: skip
        os.close(theirs)
        text = b""
        try:
            while part := os.read(ours, 4096):
                text += part
        except OSError:  # how Linux ends a terminal
            pass
    os.close(ours)
    return text.decode()


def test_colour_is_for_terminals_and_obeys_no_color(conformance_command, folder):
    target = ("run", "--impl", "python:mine:wrong", "--case", "basic-first-step")
    words = [*conformance_command, *target]
    coloured = on_a_terminal(words, folder, NO_COLOR="")
    assert "\x1b[31m" in coloured
    plain = on_a_terminal(words, folder, NO_COLOR="1")
    assert "\x1b" not in plain
    strip = re.sub(r"\x1b\[\d*m", "", coloured)
    assert [line for line in strip.splitlines() if " s" not in line] == [
        line for line in plain.splitlines() if " s" not in line
    ]


def test_a_terminal_without_unicode_gets_escapes(conformance, folder):
    words = ("run", "--impl", "python:mine:hostile", "--case", "basic-decay")
    done = conformance(*words, cwd=folder, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 1
    assert "\\xe9 <script>" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", FILES)
def test_a_missing_folder_is_refused_before_anything_runs(conformance, folder, name):
    words = ("run", "--impl", "python:mine:Right", f"--{name}", "absent/file")
    done = conformance(*words, cwd=folder)
    assert done.returncode == 2
    assert done.stderr == (
        f"lion-conformance: --{name} absent/file: there is no such folder; make it first\n"
    )
    assert not (folder / "imported").exists()


def test_other_impossible_places_are_refused(conformance, folder):
    words = ("run", "--impl", "numpy", "--case", "basic-decay")
    os.mkfifo(folder / "pipe")
    done = conformance(*words, "--html", "pipe", cwd=folder)
    assert (done.returncode, "no file that could be replaced" in done.stderr) == (2, True)
    done = conformance(*words, *outputs(json="same", html="./same"), cwd=folder)
    assert (done.returncode, "another report goes to the same file" in done.stderr) == (2, True)
    assert not (folder / "same").exists()
