"""What the tests of the MLX port share: the CPU, and processes that mlx.launch starts."""

import os
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import lion_ports

mx = pytest.importorskip("mlx.core", reason="needs the extra 'mlx'")

collect_ignore = ["workers"]  # scripts, in which there are no doctests to look for
PACKAGES = str(Path(lion_ports.__file__).parents[1])  # that the processes test what is tested here


@pytest.fixture(autouse=True)
def on_the_cpu() -> Iterator[None]:
    default = mx.default_device()
    mx.set_default_device(mx.cpu)
    yield
    mx.set_default_device(default)


@pytest.fixture(scope="session")
def launch() -> str:
    """The command mlx.launch of this environment."""
    return str(Path(sysconfig.get_path("scripts")) / "mlx.launch")


@pytest.fixture(scope="session")
def run() -> Callable[..., str]:
    """Run a command in a folder; what it prints."""

    def run(*command: str | Path, folder: Path) -> str:
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": PACKAGES},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
