"""The JSON report, and the environment in which it was made."""

import importlib.util
import json
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from lion_ports import SPEC_VERSION, __version__
from lion_ports.conformance.runner import Report

SCHEMA = "lion-conformance-report-1"
"""Name and version of the format; report.schema.json beside this file describes it."""

_PACKAGES = ("numpy", "ml_dtypes", "torch", "jax", "jaxlib", "optax", "mlx")


def as_dict(reports: Sequence[Report]) -> dict[str, Any]:
    """The report as it is written by ``--json``."""
    return {
        "schema": SCHEMA,
        "suite": __version__,
        "spec": SPEC_VERSION,
        "environment": environment(),
        "implementations": [report.as_dict() for report in reports],
    }


def write_beside(path: Path, content: dict[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    beside = path.with_name(path.name + ".part")
    beside.write_text(json.dumps(content, indent=1) + "\n")
    beside.replace(path)


def environment() -> dict[str, Any]:
    """Python, platform, and the versions of the frameworks that are installed."""
    versions = {}
    for name in _PACKAGES:
        if importlib.util.find_spec(name) is not None:
            versions[name] = metadata.version(name)
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "versions": versions,
    }
