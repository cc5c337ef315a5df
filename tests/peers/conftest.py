"""Other libraries in processes of their own: Keras chooses its backend when it is imported."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import lion_ports

collect_ignore = ["workers"]  # scripts, in which there are no doctests to look for
WORKERS = Path(__file__).with_name("workers")
PACKAGES = str(Path(lion_ports.__file__).parents[1])  # that the processes test what is tested here

Worker = Callable[..., Any]


@pytest.fixture(scope="session")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Worker:
    """Run a script of workers/, perhaps on a backend of Keras; it reads and prints JSON."""
    home = tmp_path_factory.mktemp("keras")  # not the user's settings

    def run(script: str | Path, backend: str = "", given: Any = None) -> Any:
        # Not importorskip: to import Keras without a backend fails where it is installed, too.
        if backend and find_spec("keras") is None:
            pytest.skip("needs keras; install the extra 'peers'")
        done = subprocess.run(
            (sys.executable, WORKERS / script),
            input=json.dumps(given),
            env={
                **os.environ,
                "PYTHONPATH": PACKAGES,
                "KERAS_BACKEND": backend,
                "KERAS_HOME": str(home),
                "OMP_NUM_THREADS": "1",
            },
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="module", params=["torch", pytest.param("jax", marks=pytest.mark.slow)])
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend of Keras that we have a port beside."""
    pytest.importorskip(request.param, reason=f"needs the extra {request.param!r}")
    return str(request.param)


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, backend: str, worker: Worker) -> Any:
    """For each of the module's CASES, the states of Keras' Lion and of ours after every step."""
    return worker("beside.py", backend, request.module.CASES)
