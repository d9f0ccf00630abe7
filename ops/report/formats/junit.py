"""For a CI server: JUnit XML, a test case for each thing that was checked.

The format has no schema of its own; elements and attributes are those that Jenkins' and GitLab's readers share."""

from __future__ import annotations

from typing import TextIO
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from ops.report.model import CaseStatus, CommandReport, ReportCase
from ops.report.sentences import can_show
from ops.text.language import Language
from ops.text.sanitize import without_controls


def write(report: CommandReport, language: Language, out: TextIO, color: bool | None = None) -> None:  # noqa: ARG001
    """Write one XML document. A warning is a failure of type ``warn``: what passes is in order. What could not be
    judged is an error of type ``unknown``."""
    cases = [_element(case) for case in report.cases(language)]
    name, seconds = report.suite()
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": str(sum(case.find("error") is not None for case in cases)),
        "skipped": str(sum(case.find("skipped") is not None for case in cases)),
        "time": f"{seconds:.3f}",
    }
    root = Element("testsuites", {"name": f"gte-ops {report.command}", **counts})
    suite = SubElement(root, "testsuite", {"name": name, "timestamp": report.started_at(), **counts})
    suite.extend(cases)
    lines = "\n".join((*report.plain_lines(language), ""))
    SubElement(suite, "system-out").text = without_controls(lines)
    indent(root)
    declaration = '<?xml version="1.0" encoding="UTF-8"?>\n'
    words = tostring(root, encoding="unicode")
    if not can_show(words, out):
        words = tostring(root, encoding="us-ascii").decode()
    out.write(declaration + words + "\n")


def _element(case: ReportCase) -> Element:
    attributes = {"classname": case.group, "name": case.name}
    if case.seconds is not None:
        attributes["time"] = f"{case.seconds:.6f}"
    element = Element("testcase", attributes)
    if case.status is CaseStatus.SKIP:
        SubElement(element, "skipped", message=case.because)
    elif case.status is CaseStatus.ERROR:
        SubElement(element, "error", message=case.because, type="unknown").text = case.summary
    elif case.status is not CaseStatus.PASS:
        failure = SubElement(element, "failure", message=case.summary, type=case.status)
        failure.text = case.detail or case.summary
    return element
