"""An optimised BLAS for MLX on Linux.

The Linux wheel of MLX is linked with the reference BLAS, whose matrix products run at a few
GFLOP/s. A library with the same ``cblas_*`` symbols that is loaded with RTLD_GLOBAL before
``mlx.core`` takes their place and is some thirty times faster. On a Mac there is nothing to do.
"""

import ctypes
import importlib.metadata
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from lion_ports.errors import install_command

INSTALL = install_command("blas")

_loaded: str | None = None


def load() -> str | None:
    """Load the first BLAS found, unless ``mlx.core`` is already there; its name, or None."""
    global _loaded
    if _loaded is not None or platform.system() != "Linux" or "mlx.core" in sys.modules:
        return _loaded
    for candidate in _candidates():
        try:
            ctypes.CDLL(candidate, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        _loaded = candidate
        break
    return _loaded


def description() -> str:
    """Which BLAS MLX multiplies with."""
    if platform.system() == "Darwin":
        return "Accelerate"
    if _loaded is None:
        return f"the reference BLAS of the MLX wheel, which is slow: {INSTALL}"
    return Path(_loaded).name


def slow() -> bool:
    """Whether MLX is left with the reference BLAS."""
    return platform.system() == "Linux" and _loaded is None


def slow_bfloat16() -> bool:
    """Whether MLX multiplies bfloat16 without the BLAS, as on a CPU of Linux."""
    return platform.system() == "Linux"


def _candidates() -> Iterator[str]:
    """MKL from PyPI, wherever pip put it, then OpenBLAS of the system."""
    try:
        files = importlib.metadata.files("mkl") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name.startswith("libmkl_rt.so"):
            yield str(Path(str(file.locate())).resolve())
    yield "libopenblas.so.0"
