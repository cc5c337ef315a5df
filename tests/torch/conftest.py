"""Parameters with gradients, the bits of tensors, and processes that torchrun starts."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lion_ports

torch = pytest.importorskip("torch", reason="needs the extra 'torch'")

collect_ignore = ["workers"]  # scripts, in which there are no doctests to look for
WORKERS = Path(__file__).with_name("workers")
PACKAGES = str(Path(lion_ports.__file__).parents[1])  # that the processes test what is tested here
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")

Parameter = Callable[..., Any]
Worker = Callable[..., None]


@pytest.fixture
def parameter() -> Parameter:
    """A parameter of the given values, with a gradient of ones."""

    def make(*values: float, dtype: Any = torch.float32) -> Any:
        p = torch.nn.Parameter(torch.tensor(values, dtype=dtype))
        p.grad = torch.ones_like(p)
        return p

    return make


@pytest.fixture(scope="session")
def bits() -> Callable[[Any], Any]:
    """Anything made of tensors in a form in which == compares dtypes, shapes and every bit."""

    def of(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: of(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [of(one) for one in value]
        if isinstance(value, torch.Tensor):
            flat = value.detach().reshape(-1).view(torch.uint8)
            return value.dtype, tuple(value.shape), flat.numpy().tobytes()
        return value

    return of


@pytest.fixture(scope="session")
def worker() -> Worker:
    """Run a script, of workers/ or not, in a folder.

    Under torchrun for several processes, or, with ``forked``, in less time by workers/forked.py.
    """

    def run(script: str | Path, folder: Path, processes: int = 1, *, forked: bool = False) -> None:
        words: tuple[str | Path, ...] = (WORKERS / script, folder)
        if forked:
            words = (WORKERS / "forked.py", *words, str(processes))
        elif processes > 1:
            words = (*TORCHRUN, str(processes), *words)
        done = subprocess.run(
            (sys.executable, *words),
            env={
                **os.environ,
                "PYTHONPATH": PACKAGES,
                "OMP_NUM_THREADS": "1",
                "HF_HUB_OFFLINE": "1",
            },
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr

    return run


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Set how many threads torch has, for this test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(params=["of torch", "of a pool"])
def whose(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Which threads take part in a step on the CPU."""
    from lion_ports.torch import threads as dealt

    if request.param == "of a pool":
        monkeypatch.setattr(dealt, "_team", lambda: None)
    elif dealt._team() is None:
        pytest.skip("needs torch with the OpenMP of GNU or LLVM, on Linux")
    return str(request.param)
