"""The README's own examples and commands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall(README)
PYTHON = [text for language, text in BLOCKS if language == "python"]
SHELL = [line for language, text in BLOCKS if language == "sh" for line in text.splitlines()]


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_the_examples_run(tmp_path, number):
    for name in ("torch", "jax", "mlx"):
        if f"import {name}" in PYTHON[number]:
            pytest.importorskip(name, reason=f"needs the extra {name!r}")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PYTHON[number]],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_continuous_integration_runs_the_readmes_test_command():
    ci = (ROOT / ".ci" / "run").read_text()
    install, test = SHELL[-2:]
    assert install.replace("pip install ", "") in ci
    assert test in ci


def test_the_commands_exist():
    for line in SHELL:
        for command in line.split(" && "):
            words = command.split()
            if words[0].startswith("lion-"):
                entry = words[0].removeprefix("lion-")
                code = f"from lion_ports.cli import {entry}; {entry}()"
                verb = [words[1]] if not words[1].startswith("-") else []
                done = subprocess.run(
                    [sys.executable, "-c", code, *verb, "--help"], capture_output=True, text=True
                )
                assert done.returncode == 0, done.stderr
                options = [word for word in words if word.startswith("--")]
                assert all(option in done.stdout for option in options)


def test_files_it_links_to_exist():
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README):
        assert (ROOT / target).exists(), target


def test_the_number_of_cases_and_rules_is_true():
    from lion_ports.conformance.cases import CASES

    assert f"replays {len(CASES)} cases" in README
    rules = (ROOT / "docs" / "spec.md").read_text().count("\n### L-")
    assert f"in {rules} numbered rules" in README
