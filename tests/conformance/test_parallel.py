"""Cases in parallel processes; crashes, hangs and Ctrl-C; and the cases of --fast."""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import numpy as np
import pytest
from usual import slow

from lion_ports.conformance import runner, session
from lion_ports.conformance.cases import CASES, select
from lion_ports.conformance.execution import replay
from lion_ports.conformance.fast import fast_cases
from lion_ports.conformance.mutants import MUTANTS
from lion_ports.conformance.observation import RecompiledError, SilentError, TouchedError
from lion_ports.conformance.patience import Patience
from lion_ports.conformance.verdict import judge

SCHEMA = json.loads((Path(__file__).parents[2] / "conformance/report.schema.json").read_text())

MINE = """
    class Faulty(Mine):
        '''It reads what is not its own, where a gradient is NaN.'''

        def step(self, grads, lr):
            if any(np.isnan(g).any() for g in grads.values() if g is not None):
                ctypes.string_at(0)
            super().step(grads, lr)

    class Never(Mine):
        '''The first step of all, and every other, ends its process.'''

        def step(self, grads, lr):
            os.abort()

    class Stuck(Mine):
        def step(self, grads, lr):
            time.sleep(600)

    class Spotty(Mine):
        '''It dies where the first beta is a half, in the first case of all among others.'''

        def step(self, grads, lr):
            if self.config.betas[0] == 0.5:
                os._exit(3)
            super().step(grads, lr)

    class Wide(Mine):
        '''It dies in whatever is not float32.'''

        def step(self, grads, lr):
            if any(x.dtype != np.float32 for x in self.x.values()):
                os.abort()
            super().step(grads, lr)

    class Hanging(Mine):
        def step(self, grads, lr):
            pathlib.Path(f"pid-{os.getpid()}").touch()
            if self.config.weight_decay:
                time.sleep(600)
            super().step(grads, lr)
"""


@pytest.fixture
def folder(mine):
    tmp_path = mine(MINE)
    for name in ("cli", "trainers", "conformance"):  # a user's own packages must not disturb
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('imported by mistake')\n")
    return tmp_path


@pytest.fixture
def run(conformance, folder):
    def run(name, *arguments):
        target = ("--impl", f"python:mine:{name}", "--json", "out.json")
        done = conformance("run", *target, *arguments, cwd=folder)
        assert "Traceback" not in done.stdout + done.stderr
        (report,) = json.loads((folder / "out.json").read_text())["implementations"]
        return done, report["cases"]

    return run


def timeless(cases):
    return [{k: v for k, v in case.items() if k != "seconds"} for case in cases]


SHORT = ("basic-*", "s[it]*", "decay-*", "betas-*", "nonfinite-*", "errors-*", "option-c*")
PATTERNS = [word for pattern in SHORT for word in ("--case", pattern)]


def test_the_report_is_the_same_for_any_number_of_processes(run):
    assert len(select(SHORT)) > 2 * session.CASES_PER_JOB  # so that there are two processes
    done, one = run("Mine", *PATTERNS, "--jobs", "1")
    assert done.returncode == 0, done.stdout
    done, two = run("Mine", *PATTERNS, "--jobs", "2")
    assert done.returncode == 0, done.stdout
    assert timeless(one) == timeless(two)
    assert [case["id"] for case in two] == [case.id for case in select(SHORT)]


def test_there_are_as_many_processes_as_asked_for_and_few_for_few_cases(monkeypatch):
    pids = set()

    class Counted(session.Worker):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            pids.add(self._process.pid)

    monkeypatch.setattr(session, "Worker", Counted)
    runner.run("numpy", select(SHORT), "faithful", jobs=2)
    assert len(pids) == 2
    pids.clear()
    runner.run("numpy", select(("basic-*",)), "faithful", jobs=2)
    assert len(pids) == 1


def has_nan(case):
    gradients = [g for step in case.build().steps for g in step.grads.values()]
    return any(np.isnan(g).any() for g in gradients if g is not None)


def test_a_segmentation_fault_is_the_result_of_its_own_cases(run):
    done, cases = run("Faulty", *PATTERNS, "--jobs", "2")
    assert done.returncode == 1
    assert [case["id"] for case in cases] == [case.id for case in select(SHORT)]
    crashed = [case for case in cases if case["outcome"] == "ERROR"]
    assert {case["id"] for case in crashed} == {c.id for c in select(SHORT) if has_nan(c)}
    assert {case["detail"] for case in crashed} == {"the process was killed by SIGSEGV"}


def kinds(cases):
    return Counter(case["outcome"] for case in cases)


ABORTED, LATE = "the process was killed by SIGABRT", "no result within 1 s; the process was stopped"


@pytest.mark.parametrize(
    ("name", "words", "jobs"),
    [
        ("Never", ABORTED, 1),
        ("Never", ABORTED, 2),
        ("Stuck", LATE, 2),
        slow("Stuck", LATE, 1),
    ],
)
def test_what_dies_in_every_case_is_given_up(run, name, words, jobs):
    began = time.monotonic()
    done, cases = run(name, *PATTERNS, "--timeout", "1", "--jobs", str(jobs))
    took = time.monotonic() - began
    assert done.returncode == 1
    assert [case["id"] for case in cases] == [case.id for case in select(SHORT)]
    found = kinds(cases)
    assert 3 <= found["ERROR"] <= 3 + 3 * (jobs - 1)  # others may have been on their way
    assert found["SKIP"] > 50
    why = f"not run, because those before ended alike, one after the other: {words}"
    lost = [case for case in cases if case["outcome"] == "SKIP"]
    assert {case["detail"] for case in lost} == {why}
    assert "basic-first-step" in {c["id"] for c in cases if c["outcome"] == "ERROR"}
    judged = found["ERROR"] + found["EXACT"]  # of settings that it refuses
    text = " ".join(done.stdout.split())
    assert (
        f"does not conform at level faithful: {found['ERROR']} of {judged} judged cases ended in "
        f"an error; {found['UNSUPPORTED']} not offered, {found['SKIP']} not run"
    ) in text
    assert f"{found['SKIP']} cases {why}" in text
    assert text.count(words) == 2  # in that sentence, and at the first of the cases
    assert took < 60


@pytest.mark.parametrize("name", ["Spotty", slow("Wide")])
def test_what_dies_in_some_cases_runs_in_all(run, name):
    done, cases = run(name, *PATTERNS, "--jobs", "2")
    assert done.returncode == 1
    found = kinds(cases)
    assert found["ERROR"] >= 5
    assert found["EXACT"] > 10
    assert found["SKIP"] == 0


def test_what_dies_in_one_family_at_a_time_counts_once_while_there_is_another():
    patience, cases = Patience(), list(CASES.values())
    option, other, third = map(CASES.get, ("option-ema", "dtype-float32", "basic-decay"))
    patience.pick(cases)
    for _ in range(4):  # of processes at the same time
        patience.died(option, "the process exited with 1: 7 bytes")
    patience.died(other, "the process exited with 1: 8 bytes")
    assert not patience.lost
    patience.died(third, "the process was killed by SIGABRT")  # in another way
    assert not patience.lost
    patience.pick([third])
    patience.died(third, "the process was killed by SIGABRT")
    patience.died(third, "the process was killed by SIGABRT")
    assert patience.lost.endswith("one after the other: the process was killed by SIGABRT")


def test_a_crash_that_is_expected_gives_nothing_up(run, folder):
    names = [case.id for case in select(("basic-*",))]
    (folder / "known.toml").write_text(
        f'[[xfail]]\nimpl = "python:mine:Never"\ncases = {json.dumps(names)}\n'
        'reason = "no steps yet"\noutcome = "ERROR"\n'
    )
    _, cases = run("Never", "--case", "basic-*", "--expect", "known.toml")
    assert kinds(cases) == {"XFAIL": len(names)}


def test_what_was_not_run_stands_in_every_file(run, folder):
    paths = {"junit": "o.xml", "html": "o.html", "markdown": "o.md", "badge": "o.b"}
    words = [word for name, path in paths.items() for word in (f"--{name}", path)]
    _, cases = run("Never", "--case", "basic-*", *words)
    assert kinds(cases) == {"ERROR": 3, "SKIP": 2}
    jsonschema.validate(json.loads((folder / "out.json").read_text()), SCHEMA)
    before = "not run, because those before ended alike, one after the other"
    why = f"{before}: the process was killed by SIGABRT"
    junit = ElementTree.parse(folder / "o.xml").getroot()
    assert (junit.get("errors"), junit.get("skipped")) == ("3", "2")
    assert {skipped.get("message") for skipped in junit.iter("skipped")} == {f"SKIP: {why}"}
    assert (folder / "o.html").read_text("utf-8").count(why) >= 2
    text = (folder / "o.md").read_text("utf-8")
    assert f"- 2 cases {why}" in text
    assert "3 of 3 judged cases ended in an error; 2 not run" in text
    assert json.loads((folder / "o.b").read_text())["isError"] is True


def test_a_hanging_case_is_stopped_and_the_others_go_on(run):
    cases = ("--case", "basic-first-step", "--case", "basic-decay", "--case", "basic-two-betas")
    done, found = run("Hanging", *cases, "--timeout", "2")
    assert done.returncode == 1
    outcomes = {case["id"]: case["outcome"] for case in found}
    assert outcomes["basic-decay"] == "ERROR"
    assert outcomes["basic-first-step"] == outcomes["basic-two-betas"] == "EXACT"
    (late,) = [case for case in found if case["id"] == "basic-decay"]
    assert late["detail"] == "no result within 2 s; the process was stopped"


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# What runs in the background of a shell begins with interrupts ignored.
INTERRUPTIBLE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "


def test_an_interrupt_ends_all_workers(conformance_command, folder):
    *python, code = conformance_command
    words = ["run", "--impl", "python:mine:Hanging", *PATTERNS, "--jobs", "2"]
    process = subprocess.Popen(
        [*python, INTERRUPTIBLE + code, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while len(workers := list(folder.glob("pid-*"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "lion-conformance: interrupted; all processes are ended\n"
    while any(alive(int(path.name.partition("-")[2])) for path in workers):
        assert time.monotonic() < deadline  # a process that has ended waits to be collected
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--jobs", "0"), "0 is not in the range"),
        (("--timeout", "0"), "0.0 is not in the range"),
        (("--timeout", "soon"), "'soon' is not a valid float"),
        (("--fast", "--case", "long-*"), "no case of --fast matches"),
        (("--expect", "absent.toml"), "'absent.toml' does not exist"),
    ],
)
def test_wrong_options_are_refused(conformance, tmp_path, arguments, words):
    done = conformance("run", "--impl", "numpy", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_the_fast_cases_are_few_and_short():
    cases = fast_cases()
    assert len(cases) < len(CASES) * 0.6
    assert not any(case.category == "long" for case in cases)
    assert cases == [case for case in CASES.values() if case in cases]


def test_fast_runs_just_these(run):
    done, cases = run("Mine", "--fast", "--case", "[bd]*")
    assert done.returncode == 0, done.stdout
    due = [case.id for case in fast_cases() if case.id[0] in "bd"]
    assert [case["id"] for case in cases] == due


@cache
def trial(case_id):
    return CASES[case_id].build()


def fails(name, case):
    try:
        observed, uninterrupted = replay(MUTANTS[name].make, trial(case.id))
    except (RecompiledError, SilentError, TouchedError):
        return True
    judgement = judge(trial(case.id), observed, uninterrupted=uninterrupted)
    return judgement.faithful is not None


@pytest.mark.parametrize("name", MUTANTS)
def test_every_mutant_fails_a_fast_case(name):
    judged = [case for case in fast_cases() if case.category != "errors"]
    judged.sort(key=lambda case: name not in case.catches)
    assert any(fails(name, case) for case in judged)
