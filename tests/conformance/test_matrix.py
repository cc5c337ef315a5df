"""The matrix over all implementations, the kill matrix, and the pages that publish both."""

import html
import json
import os
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from usual import slow, usually

from lion_ports.cli.conformance import main
from lion_ports.conformance import adapters, kills, matrix
from lion_ports.conformance.adapters import BUILT_IN
from lion_ports.conformance.cases import CASES, select
from lion_ports.conformance.mutants import CONTROLS, MUTANTS
from lion_ports.conformance.peers import PEERS, Peer
from lion_ports.conformance.reports import FORMATS
from lion_ports.conformance.reports.words import replay
from lion_ports.conformance.trial import generator

DOCS = Path(__file__).parents[2] / "docs"
BASIC = select(("basic-first-step", "basic-decay"))


def rows(**arguments):
    return list(matrix.entries(BASIC, "faithful", **{"ours": (), "peers": (), **arguments}))


def test_an_implementation_has_a_report():
    [entry] = rows(ours=["numpy"])
    assert entry.peer.package == "lion-ports"
    assert [result.outcome for result in entry.report.cases] == ["EXACT", "EXACT"]


def test_a_package_that_is_not_installed_says_so():
    [entry] = rows(peers=[Peer("no-such-lion", "torch:no_such_lion:Lion")])
    assert (entry.report, entry.absent) == (None, "no-such-lion is not installed")


def test_what_cannot_be_imported_says_why():
    [entry] = rows(peers=[Peer("numpy", "python:numpy:NoSuchLion")])
    assert entry.report is None
    assert "has no class or function 'NoSuchLion'" in entry.absent


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "broken_lion.py").write_text(
        "import os\n\n\ndef make():\n    raise RuntimeError('needs ' + os.environ['LION_NEEDS'])\n"
    )
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("home")
def test_what_cannot_be_constructed_is_absent_and_breaks_no_rule():
    peer = Peer("numpy", "python:broken_lion:make", environment={"LION_NEEDS": "a GPU"})
    [entry] = rows(peers=[peer])
    assert entry.report is None
    assert "RuntimeError: needs a GPU" in entry.absent
    assert "LION_NEEDS" not in os.environ


@pytest.mark.usefixtures("home")
def test_what_crashes_in_every_case_is_absent_too(tmp_path):
    (tmp_path / "broken_lion.py").write_text("import os\n\n\ndef make():\n    os.abort()\n")
    cases, peer = select(("basic-*",)), Peer("numpy", "python:broken_lion:make")
    [entry] = matrix.entries(cases, "faithful", ours=(), peers=[peer])
    assert entry.report is None
    assert entry.absent == "the process was killed by SIGABRT"


def test_environment_variables_are_put_back(monkeypatch):
    monkeypatch.setenv("LION_A", "before")
    monkeypatch.delenv("LION_B", raising=False)
    with matrix.environment({"LION_A": "within", "LION_B": "within"}):
        assert (os.environ["LION_A"], os.environ["LION_B"]) == ("within", "within")
    assert os.environ["LION_A"] == "before"
    assert "LION_B" not in os.environ


def test_the_command_of_a_peer_is_one_of_a_shell():
    peer = Peer("p", "torch:p:Lion", {"plain": True}, {"lr": "rate"}, {"KERAS_BACKEND": "jax"})
    assert shlex.split(peer.command) == [
        "KERAS_BACKEND=jax", "lion-conformance", "run", "--impl", "torch:p:Lion",
        "--kwarg", "plain=True", "--rename", "lr=rate",
    ]  # fmt: skip


MINE = """
class Chosen(Mine):
    def __init__(self, factor=1):
        self.factor = factor * int(os.environ.get("LION_FACTOR", "1"))

    def step(self, grads, lr):
        super().step(grads, lr * self.factor)
"""


@pytest.mark.parametrize(
    "wrong", [{"kwargs": {"factor": 2}}, {"environment": {"LION_FACTOR": "2"}}]
)
def test_the_command_of_a_report_shows_the_finding_again(shell, mine, monkeypatch, wrong):
    monkeypatch.chdir(mine(MINE))
    right, entry = rows(peers=[Peer("numpy", "python:mine:Chosen", **w) for w in ({}, wrong)])
    assert right.report.conforms
    case = next(result.id for result in entry.report.cases if result.failed)
    command = replay(entry.report, case)
    assert f">{html.escape(command)}<" in FORMATS["html"]([entry.report])
    done = shell(command)
    assert done.returncode == 1, done.stderr
    assert f"FAIL  {case}" in done.stdout


def test_peers_are_listed_once():
    assert len({peer.command for peer in PEERS}) == len(PEERS)


@pytest.mark.parametrize(
    "ours",
    [("numpy", "torch", "mlx+compile"), slow(BUILT_IN)],
    ids=len,
)
def test_the_command_prints_a_row_each_and_writes_the_report(tmp_path, monkeypatch, ours):
    monkeypatch.setattr(adapters, "BUILT_IN", {name: BUILT_IN[name] for name in ours})
    path = tmp_path / "matrix.json"
    words = ["matrix", "--case", "basic-first-step", "--package", "lion-ports", "--json", str(path)]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    report = json.loads(path.read_text())
    assert [entry["name"] for entry in report["implementations"]][:2] == ["numpy", "torch"]
    assert done.output.count("conforms") == len(report["implementations"]) == len(ours)


def test_an_unknown_package_is_answered_with_those_that_are_known():
    done = CliRunner().invoke(main, ["matrix", "--package", "lion-torch"])
    assert done.exit_code == 2
    assert "lion-pytorch" in done.output


# The kill matrix.

KILL_PAGE = (DOCS / "kill-matrix.md").read_text()
KILLS = {
    name: (sentence.replace(r"\|", "|"), int(count), int(named), re.findall(r"`(.+?)`", cases))
    for name, sentence, count, named, cases in re.findall(
        r"^\| `(.+?)` \| (.+) \| (\d+) \| (\d+) \| (.*) \|$", KILL_PAGE, re.MULTILINE
    )
}


def expanded(name):
    return [case.id for case in select(tuple(KILLS[name][3]))]


def test_the_page_has_every_mutant_and_its_count():
    assert {name: row[0] for name, row in KILLS.items()} == {
        name: mutant.sentence for name, mutant in MUTANTS.items()
    }
    assert f"{len(MUTANTS)} mutants" in KILL_PAGE
    assert f"the {len(CASES)} cases" in KILL_PAGE
    for name, (_, count, named, _) in KILLS.items():
        assert len(expanded(name)) == count
        assert named <= count


def test_every_mutant_fails_two_cases_at_least_and_is_named():
    assert [name for name, (_, count, named, _) in KILLS.items() if count < 2 or not named] == []


def test_the_page_agrees_with_what_cases_claim():
    for case in CASES.values():
        for name in case.catches:
            assert case.id in expanded(name)


SLOW = ("errors", "long", "recorded")
SHORT = [
    case for case in CASES.values() if case.category not in SLOW and case.id != "structure-large"
]
SAMPLE = [SHORT[i] for i in generator(5).permutation(len(SHORT))[:6]]


@pytest.mark.parametrize("case", usually(SAMPLE[:2], SAMPLE), ids=lambda case: case.id)
def test_the_page_is_what_the_command_makes_of_a_case(case):
    found = kills.kill_matrix([case])
    assert {name for name, made in found.items() if made} == {
        name for name in MUTANTS if case.id in expanded(name)
    }


@pytest.mark.slow
def test_the_page_is_what_the_command_makes():
    assert kills.page(kills.kill_matrix(list(CASES.values()), jobs=2)) == KILL_PAGE


def test_the_command_shows_what_some_cases_catch_and_no_more():
    done = CliRunner().invoke(main, ["mutants", "--case", "basic-first-step"])
    assert done.exit_code == 0, done.output
    *lines, last = done.output.splitlines()
    caught = [name for name in MUTANTS if "basic-first-step" in expanded(name)]
    assert [line.split()[0] for line in lines] == caught
    assert re.search(r"^no-op +failed by +1, named in +1", done.output, re.MULTILINE)
    assert last == f"1 case caught {len(caught)} of {len(MUTANTS)} wrong Lions"


def test_the_command_refuses_cases_that_no_mutant_takes():
    done = CliRunner().invoke(main, ["mutants", "--case", "errors-*"])
    assert done.exit_code == 2
    assert "these cases ask for a refusal of settings" in done.output


@pytest.mark.parametrize(("kills_each", "status"), [(2, 0), (1, 1)])
def test_the_command_fails_where_a_mutant_survives_all_cases(monkeypatch, kills_each, status):
    found = {name: [kills.Kill("basic-decay", True)] * 2 for name in MUTANTS}
    found["no-op"] = found["no-op"][:kills_each]
    monkeypatch.setattr(kills, "kill_matrix", lambda *given, **more: found)
    done = CliRunner().invoke(main, ["mutants"])
    assert done.exit_code == status
    assert f"no-op{' ':26}failed by   {kills_each}" in done.output


def test_a_whole_category_is_one_pattern():
    whole = [case.id for case in CASES.values() if case.category == "basic"]
    assert kills.patterns([*whole, "decay-alone"]) == "`basic-*`, `decay-alone`"
    assert kills.patterns(whole[1:]).count("`") == 2 * (len(whole) - 1)


def test_the_controls_are_the_last_rows():
    assert list(KILLS)[-len(CONTROLS) :] == list(CONTROLS)
