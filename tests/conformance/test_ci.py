"""action.yml and the recipes of docs/conformance-ci.md, run in a project made for it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
PAGE = (ROOT / "docs" / "conformance-ci.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

MY_LION = """
import numpy as np
from lion_ports import reference

class make:
    def start(self, params, config):
        self.config, self.x = config, dict(params)
        self.state = reference.init(params, config)

    def step(self, grads, lr):
        grads = {n: WHAT for n, g in grads.items()}
        self.x, self.state = reference.step(self.x, grads, self.state, self.config, lr=lr)

    def params(self):
        return self.x

    def momentum(self):
        return self.state.momentum
"""
NAN_IS_ZERO = "g if g is None else np.where(np.isnan(g), np.zeros_like(g), g)"


@pytest.fixture
def project(tmp_path, plugin_path, monkeypatch):
    """A Lion that conforms but for NaN, and a pip that only notes what it is asked for.

    With ``FEW`` a recipe that runs all cases runs two of them.
    """
    monkeypatch.setenv("PYTHONPATH", plugin_path)
    (tmp_path / "my_lion.py").write_text(MY_LION.replace("WHAT", NAN_IS_ZERO))
    (tmp_path / "right_lion.py").write_text(MY_LION.replace("WHAT", "g"))
    (tmp_path / "expectations.toml").write_text(next(t for kind, t in BLOCKS if kind == "toml"))
    commands = tmp_path / "bin"
    commands.mkdir()
    few = "${FEW:+--case basic-decay --case nonfinite-nan}"
    for name, line in {
        "pip": f'printf "%s\\n" "$@" > {tmp_path}/pip.txt',
        "lion-conformance": f"exec {sys.executable} -P -c "
        "'from lion_ports.cli import conformance; conformance()' \"$@\" " + few,
        "pytest": f'exec {sys.executable} -m pytest -p no:cacheprovider "$@"',
    }.items():
        (commands / name).write_text(f"#!/bin/bash\n{line}\n")
        (commands / name).chmod(0o755)
    return tmp_path


def bash(project, script, **variables):
    path = f"{project / 'bin'}{os.pathsep}{os.environ['PATH']}"
    files = {name: str(project / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=project,
        env={**os.environ, **files, **variables, "PATH": path},
        capture_output=True,
        text=True,
    )


def use(project, **inputs):
    """Run the steps of the action as GitHub does; the results of those with commands."""
    unknown = inputs.keys() - ACTION["inputs"].keys()
    assert not unknown
    given = {name: str(spec.get("default", "")) for name, spec in ACTION["inputs"].items()}
    given |= inputs
    known = {f"inputs.{name}": value for name, value in given.items()}
    known["github.action_path"] = str(ROOT)

    def filled(text):
        return re.sub(r"\$\{\{ ([a-z._-]+) \}\}", lambda found: known[found[1]], text)

    done = []
    for step in ACTION["runs"]["steps"]:
        if "run" not in step:
            continue
        assert step["shell"] == "bash"
        # An input inside of a script could be anything; as a variable it is a value.
        assert "${{" not in step["run"]
        variables = {name: filled(value) for name, value in step["env"].items()}
        done.append(bash(project / filled(step["working-directory"]), step["run"], **variables))
        if done[-1].returncode:
            break
    return done


def test_the_action_installs_runs_reports_and_says_that_it_conforms(project):
    options = {"install": "numpy torch", "cases": "decay-* structure-*"}
    *_, ran = use(project, impl="python:right_lion:make", **options)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    packages = (project / "pip.txt").read_text().split()
    assert packages == ["install", "--quiet", "numpy", "torch", f"{ROOT}[conformance]"]
    assert (project / "GITHUB_OUTPUT").read_text() == "conforms=true\n"
    reports = project / "lion-conformance"
    names = {"report.json", "report.xml", "report.html", "report.md", "badge.json"}
    assert {path.name for path in reports.iterdir()} == names
    summary = (project / "GITHUB_STEP_SUMMARY").read_text()
    assert summary == (reports / "report.md").read_text()
    assert "python:right_lion:make" in summary


def test_the_action_fails_where_the_lion_does_and_still_reports(project):
    options = {"impl": "python:my_lion:make", "cases": "nonfinite-* basic-f*", "report": "out here"}
    *_, ran = use(project, level="bitwise", **options)
    assert ran.returncode == 1
    assert (project / "GITHUB_OUTPUT").read_text() == "conforms=false\n"
    (found,) = json.loads((project / "out here" / "report.json").read_text())["implementations"]
    assert found["level"] == "bitwise"
    assert {case["id"].split("-")[0] for case in found["cases"]} == {"nonfinite", "basic"}
    assert "nonfinite-nan" in (project / "GITHUB_STEP_SUMMARY").read_text()


def test_the_action_takes_expectations_and_further_arguments(project):
    options = {"impl": "python:my_lion:make", "cases": "nonfinite-nan basic-decay"}
    *_, ran = use(project, expect="expectations.toml", arguments="--timeout 60", **options)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    *_, ran = use(project, arguments="--timeout never", **options)
    assert ran.returncode == 2


def test_a_wrong_input_is_status_two_without_a_summary(project):
    *_, ran = use(project, impl="python:absent:make")
    assert ran.returncode == 2
    assert "the module 'absent' cannot be imported" in ran.stderr
    assert not (project / "GITHUB_OUTPUT").exists()
    assert not (project / "GITHUB_STEP_SUMMARY").exists()


def test_the_recipe_for_github_uses_inputs_that_exist(project):
    recipe = next(yaml.safe_load(t) for kind, t in BLOCKS if kind == "yaml" and "jobs:" in t)
    (step,) = (s for s in recipe["jobs"]["conformance"]["steps"] if "lion-ports" in s["uses"])
    *_, ran = use(project, **step["with"], cases="nonfinite-nan basic-*")
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_recipe_for_gitlab_runs(project):
    recipe = next(yaml.safe_load(t) for kind, t in BLOCKS if kind == "yaml" and "script:" in t)
    job = recipe["conformance"]
    done = bash(project, "\n".join(job["script"]), FEW="yes")
    assert done.returncode == 1  # for the NaN, and nothing else
    assert "nonfinite-nan" in done.stdout
    for path in [*job["artifacts"]["paths"], job["artifacts"]["reports"]["junit"]]:
        assert (project / path).stat().st_size > 0


@pytest.mark.parametrize("number", range(sum(kind == "sh" for kind, _ in BLOCKS)))
def test_the_lines_for_a_shell_run(project, number):
    (project / "my_lion.py").write_text((project / "right_lion.py").read_text())
    script = [text for kind, text in BLOCKS if kind == "sh"][number]
    done = bash(project, script, FEW="yes")
    # Expected to fail, and passing by now, is what a file of expectations has to be told of.
    assert done.returncode == ("--expect" in script), done.stdout + done.stderr
    assert "--expect" not in script or "XPASS" in done.stdout


def test_every_input_is_described_and_used():
    text = (ROOT / "action.yml").read_text()
    for name, spec in ACTION["inputs"].items():
        assert spec["description"]
        assert f"inputs.{name}" in text
        assert f"`{name}" in PAGE or f"{name}: " in PAGE
