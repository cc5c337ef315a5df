"""What is installed here and what works: text to paste into a bug report."""

import importlib.metadata
import os
import platform
import subprocess
import sys

import lion_ports
from lion_ports.errors import install_command
from lion_ports.trainers.engine import BACKENDS, available, best_backend
from lion_ports.trainers.errors import BackendError

_PROBES = {
    "torch": "import torch; from lion_ports.trainers.torch import engine, kernels; "
    "print(f'device {engine.pick_device(\"auto\")}, {torch.get_num_threads()} threads, '"
    "f'{kernels.description()}')",
    "mlx": "from lion_ports.trainers.mlx import blas; import mlx.core as mx; "
    "print(f'device {mx.default_device().type.name}, BLAS: {blas.description()}')",
    "jax": "import jax; print('devices', ', '.join(str(d) for d in jax.devices()))",
}
_PACKAGES = ("numpy", "safetensors", "ml_dtypes", "click", "rich", "pydantic", "matplotlib")


def report() -> list[str]:
    """Versions, machine and, for each backend, its device or why it does not work."""
    lines = [
        f"lion-ports {lion_ports.__version__}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs",
        ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
    ]
    lines.extend(f"{name:6} {_backend(name)}" for name in BACKENDS)
    try:
        lines.append(f"--backend auto takes {best_backend()}")
    except BackendError as error:
        lines.append(str(error))
    return lines


def _backend(name: str) -> str:
    """Each framework in a process of its own: a broken one must not take the others along."""
    if not available(name):
        return f"not installed: {install_command(name)}"
    packages = ", ".join(f"{p} {_version(p)}" for p in BACKENDS[name].packages)
    probe = subprocess.run(
        [sys.executable, "-c", _PROBES[name]], capture_output=True, text=True, check=False
    )
    if probe.returncode == 0:
        return f"works: {packages}; {probe.stdout.strip()}"
    reason = (probe.stderr.strip().splitlines() or [f"exit code {probe.returncode}"])[-1]
    return f"does not work: {packages}; {reason}"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
