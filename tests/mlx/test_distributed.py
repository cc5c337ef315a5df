"""Two real processes, started by mlx.launch, make the steps of one."""

import socket
import sys
from pathlib import Path

import mlx.core as mx

SCRIPT = Path(__file__).with_name("workers") / "two_processes.py"


def free_port():
    """A port with a free one behind it, for the two ends of a ring."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            if port < 65_000 and second.connect_ex(("127.0.0.1", port + 1)) != 0:
                return port


def test_two_processes_have_the_bits_of_one(tmp_path, run, launch):
    ring = ("-n", "2", "--backend", "ring", "--starting-port", str(free_port()))
    run(launch, *ring, "--", sys.executable, SCRIPT, tmp_path, folder=tmp_path)
    run(sys.executable, SCRIPT, tmp_path, folder=tmp_path)
    one, left, right = (
        mx.load(str(tmp_path / name)) for name in ("0-of-1.npz", "0-of-2.npz", "1-of-2.npz")
    )
    assert one.keys() == left.keys() == right.keys()
    assert one["state.step"].item() == 3
    for name, array in one.items():
        assert mx.array_equal(array, left[name]), name
        assert mx.array_equal(array, right[name]), name
