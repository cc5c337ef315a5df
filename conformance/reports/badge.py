"""A badge: the JSON that the endpoint badge of shields.io reads."""

import json
from collections.abc import Sequence

from lion_ports import SPEC_VERSION
from lion_ports.conformance.runner import Report


def badge(reports: Sequence[Report]) -> str:
    """The text of ``--badge``."""
    conforming = sum(report.conforms for report in reports)
    good = conforming == len(reports) > 0
    levels = "/".join(sorted({report.level for report in reports}))
    if good:
        message = f"{levels}, spec {SPEC_VERSION}"
    elif len(reports) > 1:
        message = f"{conforming} of {len(reports)} conform"
    else:
        failed = sum(result.failed for report in reports for result in report.cases)
        message = f"{failed} cases fail" if failed else "not judged"
    content = {
        "schemaVersion": 1,
        "label": "Lion conformance",
        "message": message,
        "color": "brightgreen" if good else "red",
        "isError": not good,
    }
    return json.dumps(content, indent=1) + "\n"
