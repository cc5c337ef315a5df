"""JUnit XML, as CI systems read it: a suite for each implementation, a case for each case."""

from collections import Counter
from collections.abc import Sequence
from xml.etree import ElementTree as Xml

from lion_ports import SPEC_VERSION, __version__
from lion_ports.conformance.execution import PASSED, Result
from lion_ports.conformance.reports.verdicts import verdict
from lion_ports.conformance.reports.words import behaves, category, note, replay, title
from lion_ports.conformance.reports.words import printable as _printable
from lion_ports.conformance.runner import Report


def junit(reports: Sequence[Report]) -> str:
    """The text of ``--junit``."""
    root = Xml.Element("testsuites", name="lion-conformance")
    total: Counter[str] = Counter(tests=0, failures=0, errors=0, skipped=0)
    for report in reports:
        total += _suite(root, report)
    root.attrib.update({name: str(total[name]) for name in _COUNTED.values()})
    Xml.indent(root)
    text: str = Xml.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


# Attribute that counts an element of a case.
_COUNTED = {"testcase": "tests", "failure": "failures", "error": "errors", "skipped": "skipped"}


def _suite(root: Xml.Element, report: Report) -> Counter[str]:
    suite = Xml.SubElement(root, "testsuite", name=title(report))
    properties = Xml.SubElement(suite, "properties")
    about = {"suite": __version__, "spec": SPEC_VERSION, "subnormals": report.subnormals}
    for name, value in about.items():
        Xml.SubElement(properties, "property", name=name, value=value)
    for result in report.cases:
        _case(suite, report, result, replay(report, result.id))
    if not report.conforms and not any(result.failed for result in report.cases):
        # Only skipped cases would look green.
        case = Xml.SubElement(suite, "testcase", classname=_printable(report.name), name="verdict")
        Xml.SubElement(case, "failure", message=verdict(report))
    seconds = sum(result.seconds for result in report.cases)
    found = Counter(_COUNTED[tag] for tag in (e.tag for e in suite.iter()) if tag in _COUNTED)
    suite.attrib.update({name: str(found[name]) for name in _COUNTED.values()})
    suite.set("time", f"{seconds:.4f}")
    return found


def _case(suite: Xml.Element, report: Report, result: Result, command: str) -> None:
    case = Xml.SubElement(
        suite,
        "testcase",
        classname=_printable(f"{report.name}.{category(result.id)}"),
        name=_printable(result.id),
        time=f"{result.seconds:.4f}",
    )
    if result.failed:
        kind = "error" if result.outcome == "ERROR" else "failure"
        said = Xml.SubElement(case, kind, type=result.rule, message=note(result))
        said.text = "\n".join([note(result), *behaves(result.diagnosis), _printable(command)])
    elif result.outcome not in PASSED:
        Xml.SubElement(case, "skipped", message=f"{result.outcome}: {note(result)}")
