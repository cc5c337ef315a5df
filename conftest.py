"""Modules that need a package which is not there have no doctests."""

from importlib.util import find_spec

_KERNELS = {
    "triton": ["gpu_kernel.py", "gpu_small_kernel.py"],
    "numba": ["cpu_kernel.py", "cpu_numbers.py", "cpu_small_kernel.py", "cpu_sums_kernel.py"],
}

collect_ignore = [
    f"lion_ports/torch/{module}"
    for package, modules in _KERNELS.items()
    if find_spec(package) is None
    for module in modules
]
