"""One list of formats, one writer each, for every command; one envelope for JSON."""

from __future__ import annotations

import io
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import TextIO
from xml.etree.ElementTree import fromstring

import pytest

import ops.report
from ops.backups.drill import Drill
from ops.cli.main import commands
from ops.errors import ErrorKind
from ops.report import FORMATS, render
from ops.report.doctor.report import DoctorReport
from ops.report.error import ErrorReport
from ops.report.model import CommandReport
from ops.text.language import Language
from tests.unit.made_diagnosis import DOWN
from tests.unit.report.made_reports import REPORTS

Read = Callable[[str], object]


def written(form: str, report: CommandReport, language: Language = "en") -> str:
    out = io.StringIO()
    render(form, report, language, out, False)
    return out.getvalue()


def _prometheus(page: str) -> None:
    for line in page.splitlines():
        assert line.startswith(("# HELP gte_ops_", "# TYPE gte_ops_", "gte_ops_")), line
        if not line.startswith("#"):
            float(line.rpartition(" ")[2])


def _html(page: str) -> None:
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")


def _nagios(page: str) -> None:
    assert page.split(": ")[0].split(" - ")[0].split()[-1] in ("OK", "WARNING", "CRITICAL", "UNKNOWN")


READERS: dict[str, Read] = {
    "text": str.splitlines,
    "json": json.loads,
    "nagios": _nagios,
    "html": _html,
    "junit": lambda page: fromstring(page.encode()),  # noqa: S314  our own document
    "prometheus": _prometheus,
}


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", REPORTS)
def test_every_command_has_every_format(name: str, form: str, language: Language) -> None:
    page = written(form, REPORTS[name](), language)
    assert page.strip()
    READERS[form](page)


def test_the_samples_are_of_every_command_that_reports() -> None:
    leaves = set()
    for name, command in commands.commands.items():
        children = getattr(command, "commands", {})
        leaves |= {f"{name} {child}" for child in children} or {name}
    sampled = {REPORTS[name]().command.partition(" --")[0] for name in REPORTS} | {"render"}
    # These write a file's content, and no report; resume and forget report as pause does; mcp and serve serve.
    others = {"config schema", "config sample", "watchdog resume", "watchdog forget", "mcp", "notify serve"}
    assert leaves - others <= sampled


@pytest.mark.parametrize("name", REPORTS)
def test_every_document_has_the_envelope(name: str) -> None:
    document = json.loads(written("json", REPORTS[name]()))
    assert list(document)[:2] == ["schema_version", "status"]
    assert document["schema_version"] == 1
    assert document["status"] in ("ok", "warn", "fail", "unknown")


def test_an_error_is_a_document_too() -> None:
    report = ErrorReport("x.toml: no such\x1b[31m file", ErrorKind.SETTINGS, 3)
    assert json.loads(written("json", report)) == {
        "schema_version": 1,
        "status": "unknown",
        "error": {"message": "x.toml: no such file", "kind": "settings", "exit_code": 3},
    }


def test_a_new_format_is_a_module_and_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(report: CommandReport, language: Language, out: TextIO, color: bool | None = None) -> None:
        del color
        out.write(f"= {report.command}\n" + "\n".join(report.plain_lines(language)) + "\n")

    module = types.ModuleType("ops.report.formats.asciidoc")
    module.write = write  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ops.report.formats.asciidoc", module)
    monkeypatch.setattr(ops.report, "FORMATS", (*FORMATS, "asciidoc"))
    for make in REPORTS.values():
        report = make()
        assert written("asciidoc", report).startswith(f"= {report.command}\n")


def test_warnings_of_a_report_go_to_standard_error_as_text_and_into_the_page_otherwise(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = written("text", REPORTS["backup create"]())
    assert "not signed" not in page
    assert "gte-ops: not signed" in capsys.readouterr().err
    assert "not signed" in written("html", REPORTS["backup create"]())


def test_a_drill_of_nothing_is_unknown() -> None:
    from ops.report.restore import DrillReport

    assert json.loads(written("json", DrillReport(Drill(Path("/x.tar.zst")))))["status"] == "unknown"


def test_prometheus_names_each_cause() -> None:
    page = written("prometheus", DoctorReport(DOWN))
    assert 'gte_ops_command_status{command="doctor"} 2\n' in page
    assert 'gte_ops_doctor_cause{code="GUN001",severity="fail",layer="gunicorn"} 1\n' in page
