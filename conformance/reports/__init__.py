"""Reports of a run, one module for each format: from ``Sequence[Report]`` to text."""

from collections.abc import Callable, Sequence

from lion_ports.conformance.reports import badge, html, json, junit, markdown
from lion_ports.conformance.runner import Report

FORMATS: dict[str, Callable[[Sequence[Report]], str]] = {
    "json": json.json,
    "junit": junit.junit,
    "html": html.html,
    "markdown": markdown.markdown,
    "badge": badge.badge,
}
"""Writer by the name of its option."""
