"""What the tests of several folders share: the command line as a user's shell starts it."""

import os
import shlex
import subprocess
import sys
import textwrap

import pytest

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
    """``lion-conformance`` with these words, run to its end in a process of its own.

    100 columns wide, unless the test has an environment of its own: readline, which pytest imports,
    says 80 to whatever is started from it, and so to the processes of pytest-xdist.
    """

    def run(*words, env=None, **options):
        command = [*conformance_command, *map(str, words)]
        env = {**os.environ, "COLUMNS": "100"} if env is None else env
        return subprocess.run(
            command, capture_output=True, text=True, encoding="utf-8", env=env, **options
        )

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
