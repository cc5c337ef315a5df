"""Two processes that train one model under jax.distributed."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from lion_ports import load_state

WORKER = Path(__file__).parent / "workers" / "process.py"


def free_port():
    with socket.socket() as s:
        s.bind(("localhost", 0))
        return s.getsockname()[1]


def train(processes, folder):
    """The state that so many processes come to."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    environment.pop("XLA_FLAGS", None)
    port = free_port()
    running = [
        subprocess.Popen(
            [sys.executable, WORKER, str(number), str(processes), str(port), str(folder)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(processes)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in running]
    assert [process.returncode for process in running] == [0] * processes, outputs
    return load_state(folder / f"{processes}.safetensors")


def test_two_processes_make_the_bits_of_one(tmp_path, assert_same):
    together, alone = train(2, tmp_path), train(1, tmp_path)
    assert together.count == alone.count == 4
    assert_same((together.parameters, together.momentum), (alone.parameters, alone.momentum))
