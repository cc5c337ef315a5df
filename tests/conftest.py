"""What the tests of several folders share: the command line as a user's shell starts it."""

import contextlib
import os
import shlex
import subprocess
import sys
import textwrap

import pytest

# Tests run side by side: threads that wait for each other would keep cores from other processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

MINE = """\
import ctypes, os, pathlib, time
import numpy as np
from lion_ports import LionConfig, reference


class Mine:
    def start(self, params, config):
        self.config, self.x, self.n = config, dict(params), 0
        self.state = reference.init(params, config)

    def step(self, grads, lr):
        self.x, self.state = reference.step(self.x, grads, self.state, self.config, lr=lr)

    def params(self):
        return self.x

    def momentum(self):
        return {n: reference.load_momentum(self.state, n) for n in self.state.momentum}
"""


@pytest.fixture(scope="session")
def conformance_command():
    """The words that start ``lion-conformance``, installed as a script or not.

    -P as scripts have it: a user's own packages in the current folder come last.
    """
    return [sys.executable, "-P", "-c", "from lion_ports.cli import conformance; conformance()"]


@pytest.fixture(scope="session")
def conformance(conformance_command):
    """``lion-conformance`` with these words, in a folder, run to its end.

    In this process and 100 columns wide; in a process of its own with an environment of its own.
    """

    def run(*words, cwd=".", env=None):
        words = [*map(str, words)]
        if env is not None:
            return subprocess.run(
                [*conformance_command, *words],
                capture_output=True, text=True, encoding="utf-8", env=env, cwd=cwd,
            )  # fmt: skip
        from click.testing import CliRunner

        from lion_ports.cli.conformance import main

        with contextlib.chdir(cwd):
            done = CliRunner(env={"COLUMNS": "100"}).invoke(main, words)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture
def mine(tmp_path):
    """Write ``mine.py`` into a folder: the class Mine, a right Lion, and what stands below it."""

    def write(source=""):
        (tmp_path / "mine.py").write_text(f"{MINE}\n\n{textwrap.dedent(source)}")
        return tmp_path

    return write


@pytest.fixture
def shell(conformance_command, tmp_path_factory):
    """A shell that finds ``lion-conformance``, for what a report says to paste into one."""
    script = tmp_path_factory.mktemp("bin") / "lion-conformance"
    script.write_text(f'#!/bin/sh\nexec {shlex.join(conformance_command)} "$@"\n')
    script.chmod(0o755)
    path = os.pathsep.join([str(script.parent), os.environ["PATH"]])

    def run(command, **options):
        env = {**os.environ, "PATH": path}
        return subprocess.run(
            command, shell=True, env=env, capture_output=True, text=True, **options
        )

    return run
