"""Every block of docs/mlx.md is run."""

import ast
import inspect
import re
import shlex
import sys
from importlib import metadata
from pathlib import Path

import pytest

from lion_ports.mlx import Lion

PAGE = Path(__file__).parents[2] / "docs" / "mlx.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.M | re.S)
PYTHON = [code for language, code in BLOCKS if language == "python"]
SHELL = [code.strip() for language, code in BLOCKS if language == "sh"]


@pytest.fixture
def page(tmp_path, monkeypatch):
    """What the blocks of the page leave behind, run one after another in an empty folder."""
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for code in PYTHON:
        exec(compile(code, str(PAGE), "exec"), namespace)
    return namespace


def test_the_python_blocks_run(page):
    assert len(PYTHON) + len(SHELL) == TEXT.count("```") / 2
    assert page["resumed"].step.item() == 1


def test_the_commands():
    install, launch = SHELL
    extra = re.fullmatch(r"pip install '\.\[(\w+)\]'", install)[1]
    assert extra in metadata.metadata("lion-ports").get_all("Provides-Extra")
    assert launch.startswith("mlx.launch -n 2")


def test_the_two_processes_agree(tmp_path, run, launch):
    script = next(code for code in PYTHON if code.startswith("# train.py"))
    (tmp_path / "train.py").write_text(script, encoding="utf-8")
    here = {"mlx.launch": launch, "python": sys.executable}
    command = [here.get(word, word) for word in shlex.split(SHELL[1])]
    first, second = run(*command, folder=tmp_path).splitlines()
    assert first == second != ""


def test_the_table_has_every_argument_with_its_default():
    documented = {}
    for names, defaults in re.findall(r"^\| (`[^|]+) \| (`[^|]+) \| g? ?\| ", TEXT, re.M):
        names, defaults = (re.findall(r"`([^`]+)`", cell) for cell in (names, defaults))
        values = [ast.literal_eval(default) for default in defaults]
        documented |= dict(zip(names, values * len(names), strict=False))
    arguments = inspect.signature(Lion).parameters
    assert documented == {name: argument.default for name, argument in arguments.items()}
