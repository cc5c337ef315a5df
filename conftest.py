"""Modules that need a package which is not there have no doctests."""

from importlib.util import find_spec

_KERNELS = {"triton": "lion_ports/torch/gpu_kernel.py", "numba": "lion_ports/torch/cpu_kernel.py"}

collect_ignore = [path for package, path in _KERNELS.items() if find_spec(package) is None]
