"""The report as JUnit XML, for a CI server: a test case for each check, one for each symptom that nothing explains.

The format has no schema of its own; elements and attributes are those that Jenkins' and GitLab's readers share."""

from __future__ import annotations

from typing import TextIO
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from ops.diagnosis.model import CheckResult, Diagnosis
from ops.report.doctor.text import render_text
from ops.report.json_document import started_at, text_of
from ops.report.sentences import can_show, next_command, sentence, unexplained
from ops.text.language import Language


def render_junit(diagnosis: Diagnosis, language: Language, out: TextIO, color: bool | None = None) -> None:  # noqa: ARG001
    """Write one XML document. A warning is a failure of type ``warn``: what passes is in order."""
    cases = [_check_case(check, language) for check in diagnosis.checks]
    cases += [
        _failed(
            Element("testcase", classname="gte-ops.symptom", name=sentence(symptom.id, "en")),
            "unexplained",
            sentence(symptom.summary, language),
            next_command(symptom, diagnosis) or "",
        )
        for symptom in unexplained(diagnosis)
    ]
    seconds = f"{diagnosis.duration_ms / 1000:.3f}"
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": str(sum(case.find("error") is not None for case in cases)),
        "skipped": str(sum(case.find("skipped") is not None for case in cases)),
        "time": seconds,
    }
    root = Element("testsuites", {"name": "gte-ops doctor", **counts})
    name = sentence(diagnosis.target.get("url", "gte"), language)
    suite = SubElement(root, "testsuite", {"name": name, "timestamp": started_at(diagnosis), **counts})
    suite.extend(cases)
    report = SubElement(suite, "system-out")
    report.text = text_of(render_text, diagnosis, language)
    indent(root)
    declaration = '<?xml version="1.0" encoding="UTF-8"?>\n'
    words = tostring(root, encoding="unicode")
    if not can_show(words, out):
        words = tostring(root, encoding="us-ascii").decode()
    out.write(declaration + words + "\n")


def _check_case(check: CheckResult, language: Language) -> Element:
    layer = check.id.partition(".")[0]
    case = Element(
        "testcase",
        {
            "classname": sentence(f"gte-ops.{layer}", "en"),
            "name": sentence(check.id, "en"),
            "time": f"{check.duration_ms / 1000:.6f}",
        },
    )
    summary = sentence(check.summary, language)
    because = sentence(check.skipped_because, language) if check.skipped_because else ""
    if check.status in ("warn", "fail"):
        return _failed(case, check.status, summary, "")
    if check.status == "skip":
        SubElement(case, "skipped", message=because)
    elif check.status == "error":
        SubElement(case, "error", message=because, type="defect").text = summary
    return case


def _failed(case: Element, kind: str, message: str, detail: str) -> Element:
    SubElement(case, "failure", message=message, type=kind).text = detail or message
    return case
