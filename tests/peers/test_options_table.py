"""The tables of docs/options.md, checked again where they can be."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from lion_ports import LionConfig

DOCS = Path(__file__).parents[2] / "docs"
HERE, ELSEWHERE = (DOCS / "options.md").read_text().split("\n## Elsewhere\n")


class Cell(NamedTuple):
    """``answer; note (how)``."""

    answer: str
    note: str
    how: str

    @classmethod
    def of(cls, text):
        match = re.fullmatch(r"([^;(]+)(?:; (.+))? \((run|read|survey)\)", text)
        assert match, text
        return cls(*(part or "" for part in match.groups()))


def rows(text):
    """The rows of the only table in a text, its heading first."""
    lines = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]


HEADING, *BODY = rows(ELSEWHERE)
LIBRARIES = [name.rsplit(" ", 1)[0] for name in HEADING[2:]]
TABLE = {
    (library, row[0]): Cell.of(text)
    for row in BODY
    for library, text in zip(LIBRARIES, row[2:], strict=True)
}
RUN = [where for where, cell in TABLE.items() if cell.how == "run"]
RUN_OF_OTHERS = [where for where in RUN if where[0] != "Keras"]
# Arguments by any of which a Lion offers an option.
ARGUMENTS = {
    "momentum dtype": {"mu_dtype", "momentum_dtype"},
    "independent decay": {"decouple_lr", "decay"},
    "`maximize`": {"maximize"},
    "policy for NaN gradients": {"nonfinite"},
    "cautious update": {"cautious_factor", "caution", "cautious"},
    "cautious decay": {"cautious_wd", "cautious_decay"},
    "loss scale": {"loss_scale", "loss_scale_factor"},
    "accumulation": {"gradient_accumulation_steps"},
    "by value": {"clipvalue"},
    "by the norm of each": {"clipnorm"},
    "by the norm of all": {"global_clipnorm"},
    "other directions": {"mode", "nonlinearity"},
    "averages": {"use_ema", "ema_decay"},
    "averages overwrite": {"ema_overwrite_frequency", "ema_overwrite_every"},
}
# Rows of Keras that test_keras_alike, _differences and _models show.
SHOWN = {
    "schedule of `lr`",
    "`lr = 0`",
    "momentum dtype kept on load",
    "what decays",
    "policy for NaN gradients",
    "a NaN gradient shows",
    "a direction of 0 stays",
    "bfloat16 rounds once",
}


@pytest.fixture(scope="module")
def seen(worker):
    return worker("libraries.py")


@pytest.mark.parametrize(("library", "row"), RUN_OF_OTHERS)
def test_what_was_run_is_so(library, row, seen):
    if library not in seen:
        pytest.skip(f"needs {library}; install the extra 'peers'")
    cell, peer = TABLE[library, row], seen[library]
    answer = peer["answers"].get(row, False) or bool(
        ARGUMENTS.get(row, set()) & {*peer["arguments"]}
    )
    # In part, or beside: by what the cell names, which the row does not look for.
    if answer is False and cell.answer in ("part", "beside"):
        name = re.findall(r"`(\w+)`", cell.note)[0]
        assert name in peer["arguments" if cell.answer == "part" else "module"]
    else:
        assert {True: "yes", False: "no"}.get(answer, answer) == cell.answer


@pytest.mark.slow
def test_what_was_run_of_keras_is_so(worker):
    pytest.importorskip("torch", reason="needs the extra 'torch'")
    settings = worker("settings.py", "torch")
    taken, defaults = settings["taken"], settings["defaults"]
    answers = {row: bool(names & defaults.keys()) for row, names in ARGUMENTS.items()} | {
        "`lr` as a tensor": taken["lr as a tensor"],
        "negative `lr` refused": not taken["negative lr"],
        "schedule of weight decay": taken["schedule of weight decay"],
        "the paper's defaults": defaults["learning_rate"] == 1e-4,
    }
    run = [row for library, row in RUN if library == "Keras" and row not in SHOWN]
    table = {row: TABLE["Keras", row].answer for row in run}
    assert table == {row: "yes" if answers[row] else "no" for row in run}
    assert (taken["beta_1 of 0"], taken["beta_1 of 1"]) == (False, True)  # as docs/keras.md says


def test_our_options_and_their_cases_are_those_of_the_specification():
    text = (DOCS / "spec.md").read_text()
    sections = re.split(r"^### (?=L-)", text, flags=re.MULTILINE)[1:]
    specified = {s[:5]: re.findall(r"`(.+?)`", s.partition("\nCases: ")[2]) for s in sections}
    heading, *ours = rows(HERE)
    assert heading == ["rule", "setting", "what it does", "cases"]
    documented = {rule: re.findall(r"`(.+?)`", cases) for rule, _, _, cases in ours}
    assert documented == {rule: specified[rule] for rule in documented}
    settings = set(re.findall(r"`(\w+)`", " ".join(row[1] for row in ours)))
    assert LionConfig.__dataclass_fields__.keys() - {"betas"} <= settings
