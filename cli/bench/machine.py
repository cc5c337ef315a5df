"""What a run was made on and with."""

import contextlib
import datetime
import importlib.metadata
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Variables of the environment that compilers and their threads heed.
_HEEDED = ("MKL_NUM_THREADS", "NUMBA_CPU_FEATURES", "OMP_NUM_THREADS", "XLA_FLAGS")

_LOOKS = 0.3  # seconds: 30 ticks of each core


def machine() -> dict[str, Any]:
    """Processor, cores that this process may use, and memory in bytes."""
    return {
        "cpu": _cpu(),
        "cores": cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
    }


def load() -> dict[str, float]:
    """``load_average`` of the last minute, and ``busy_cores``; without those that cannot be told.

    The load average has a run of ours that ended just now in it, and on a machine at rest all that
    waits for a moment, so that where it can be done the processor's own clocks are looked at.
    """
    found = {}
    if hasattr(os, "getloadavg"):
        with contextlib.suppress(OSError):  # as where /proc is not there to be read
            found["load_average"] = round(os.getloadavg()[0], 2)
    before = processor_ticks()
    if before:
        time.sleep(_LOOKS)
        after = processor_ticks()
        shares = [
            (after[core][0] - busy) / (after[core][1] - total)
            for core, (busy, total) in before.items()
            if core in after and after[core][1] > total
        ]
        if shares:
            found["busy_cores"] = round(sum(shares), 2)
    return found


def processor_ticks() -> dict[int, tuple[int, int]]:
    """For each core that this process may use: ticks in which it was busy, and all. Linux only."""
    stat = Path("/proc/stat")
    found = {}
    if stat.exists() and hasattr(os, "sched_getaffinity"):
        allowed = os.sched_getaffinity(0)
        for line in stat.read_text().splitlines():
            name, _, counts = line.partition(" ")
            core = name.removeprefix("cpu")
            if name.startswith("cpu") and core.isdigit() and int(core) in allowed:
                # user, nice, system, idle, iowait, irq, softirq, steal; guests are in user.
                ticks = [int(count) for count in counts.split()[:8]]
                found[int(core)] = (sum(ticks) - sum(ticks[3:5]), sum(ticks))
    return found


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
