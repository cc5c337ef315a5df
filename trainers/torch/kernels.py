"""Numba's kernels for Lion on a CPU, as ``lion-train`` speaks of them."""

import importlib.metadata
import warnings

from lion_ports.errors import install_command
from lion_ports.torch.cpu_table import has_kernel


def description() -> str:
    """Which Numba Lion computes with, or why with none and what to do."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if has_kernel():
            return f"Numba {importlib.metadata.version('numba')}"
    broken = [str(warning.message) for warning in caught if "numba" in str(warning.message)]
    why = broken[0] if broken else "Lion is slower without Numba, which is not installed"
    return f"{why}: {install_command('torch')}"
