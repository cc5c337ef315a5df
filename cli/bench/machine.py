"""What a run was made on and with."""

import datetime
import importlib.metadata
import os
import platform
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Variables of the environment that compilers and their threads heed.
_HEEDED = ("MKL_NUM_THREADS", "NUMBA_CPU_FEATURES", "OMP_NUM_THREADS", "XLA_FLAGS")


def machine() -> dict[str, Any]:
    """Processor, cores that this process may use, and memory in bytes."""
    return {
        "cpu": _cpu(),
        "cores": cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
    }


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory() -> int:
    """Bytes that can be had without swapping; all there are where the system does not say."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Of Python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def now() -> str:
    """This second, in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def command_line() -> str:
    """The command, without the folder it is installed in, and the variables that it heeds."""
    given = [f"{name}={shlex.quote(os.environ[name])}" for name in _HEEDED if name in os.environ]
    return " ".join([*given, shlex.join(["lion-bench", *sys.argv[1:]])])


def _cpu() -> str:
    """The processor's name as its maker writes it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()
