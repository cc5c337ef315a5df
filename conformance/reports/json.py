"""The JSON report, which ``report.schema.json`` describes, and back."""

import contextlib
import json as _json
import platform
from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from lion_ports import SPEC_VERSION, __version__
from lion_ports.conformance.execution import Result
from lion_ports.conformance.reports.files import FileError
from lion_ports.conformance.reports.words import OUTCOMES, replay
from lion_ports.conformance.runner import Report

SCHEMA = "lion-conformance-report-2"
"""Name and version of the format.

New in version 2: ``date``, ``replay``, ``reason``, ``link``, the outcomes SKIP, XFAIL and XPASS,
and the level ``trajectory``.
"""

# What `load` reads: version 2 only added to version 1.
_READABLE = ("lion-conformance-report-1", SCHEMA)
# What an implementation may stand on.
_PACKAGES = ("numpy", "ml_dtypes", "torch", "jax", "jaxlib", "optax", "mlx", "keras")


def json(reports: Sequence[Report]) -> str:
    """The text of ``--json``."""
    return _json.dumps(as_dict(reports), indent=1) + "\n"


def as_dict(reports: Sequence[Report]) -> dict[str, Any]:
    """The report as it is written by ``--json``."""
    return {
        "schema": SCHEMA,
        "suite": __version__,
        "spec": SPEC_VERSION,
        "date": today(),
        "environment": environment(),
        "implementations": [{**report.as_dict(), "replay": replay(report)} for report in reports],
    }


def today() -> str:
    """The date in UTC, as 2026-01-31."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


def environment() -> dict[str, Any]:
    """Python, platform, and the versions of the frameworks that are installed."""
    versions = {}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "versions": versions,
    }


def load(path: Path) -> list[Report]:
    """The reports in a file that ``--json`` has written.

    Raises:
        FileError: it cannot be read, or is something else.
    """
    try:
        content = _json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path} is no JSON ({error})") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema not in _READABLE:
        raise FileError(
            f"{path} is no report of lion-conformance: its schema is {schema!r}, and this version "
            f"reads {' and '.join(_READABLE)}"
        )
    try:
        return [_report(entry) for entry in content["implementations"]]
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(f"{path} is not what report.schema.json describes ({error!r})") from error


def _report(entry: dict[str, Any]) -> Report:
    cases = [_result(case) for case in entry["cases"]]
    names = ("name", "level", "version", "device", "subnormals")
    words: dict[str, Any] = {name: str(entry[name]) for name in names}
    return Report(cases=cases, **words)


def _result(entry: dict[str, Any]) -> Result:
    if entry["outcome"] not in OUTCOMES:
        raise ValueError(f"no outcome is called {entry['outcome']!r}")
    known = {field.name for field in fields(Result)}
    told = {name: value for name, value in entry.items() if name in known}
    return Result(**{**told, "id": str(entry["id"]), "rule": str(entry["rule"])})
