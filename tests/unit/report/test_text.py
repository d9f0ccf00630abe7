from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

import ops.report
from ops.diagnosis.catalogue import GUIDE_VALUES, catalogue
from ops.diagnosis.finding import quote

# ?None
from ops.diagnosis.model import Diagnosis
from ops.errors import UsageError
from ops.report import FORMATS, render
from ops.report.doctor.report import DoctorReport
from ops.report.explain import ExplanationReport
from ops.text.language import Language, Text, verbatim
from tests.unit.made_diagnosis import (
    CRASHED,
    DOWN,
    HEALTHY,
    HOSTILE,
    ONLY_A_WARNING,
    UNEXPLAINED,
    Terminal,
    ascii_stream,
    cause,
    written,
)


def shown(
    diagnosis: Diagnosis, language: Language = "en", out: io.StringIO | None = None, color: bool | None = None
) -> str:
    stream = out or io.StringIO()
    render("text", DoctorReport(diagnosis), language, stream, color)
    return stream.getvalue()


def test_the_first_line_is_the_verdict() -> None:
    assert shown(DOWN).splitlines()[0] == (
        "CRITICAL  https://gte-api.example.com: gunicorn is not running (+1 more)"
    )
    assert shown(DOWN, "zh").splitlines()[0] == (
        "故障  https://gte-api.example.com：gunicorn 没有运行（另有 1 项）"
    )
    assert shown(ONLY_A_WARNING).startswith(
        "WARNING  https://gte-api.example.com: Workers are never recycled\n"
    )
    assert shown(CRASHED).startswith("UNKNOWN  https://gte-api.example.com could not be judged")


def test_a_cause_is_told_in_the_order_a_person_needs() -> None:
    expected = """\
1. GUN001  gunicorn is not running
   There is no gunicorn master process, and 127.0.0.1:8000 refuses connections.
   Proof
     tcp 127.0.0.1:8000: connection refused
   Verify
     curl -v http://127.0.0.1:8000/health
   Fix
     1. systemctl start gte-api
     - If it does not stay up, the reason is at the end of /var/log/gte-gunicorn-error.log
     2. gte-ops doctor --wait-ok 2m
   Explains
     - https://gte-api.example.com answers 502 Bad Gateway
     - NGX005 nginx proxies to an address where the service does not listen
   More: gte-ops explain GUN001
"""
    page = shown(DOWN)
    assert expected in page
    assert page.index("GUN001") < page.index("2. GUN008") < page.index("Unexplained")


def test_an_unexplained_symptom_comes_with_the_next_command() -> None:
    page = shown(DOWN)
    assert "Unexplained  https://gte-api.example.com answers 403 Forbidden\n" in page
    assert "\n     " + catalogue().next_commands("http.403", GUIDE_VALUES)[0] + "\n" in page
    assert "Unexplained  https://gte-api.example.com answers 502" not in page


def test_a_harmless_warning_does_not_head_the_page_while_users_are_hurt() -> None:
    page = shown(UNEXPLAINED)
    assert page.splitlines()[0].startswith("CRITICAL  https://gte-api.example.com answers 504")
    assert page.index("Unexplained") < page.index("GUN013")


def test_a_healthy_report_is_short_and_says_what_was_not_looked_at() -> None:
    assert shown(HEALTHY) == (
        "OK  https://gte-api.example.com answers as it should\n"
        "3 checks: 1 passed, 0 found something, 2 skipped, 0 crashed; 0.3 s\n"
        "Skipped: tls.key, nginx.load: permission denied (run as root to see)\n"
        "Not seen: logs.gunicorn_error: timed out\n"
    )


def test_what_made_a_check_skip_is_not_told_twice() -> None:
    diagnosis = replace(HEALTHY, unseen=(("certificates.key", "permission denied"), ("host", "timed out")))
    page = shown(diagnosis)
    assert "certificates.key" not in page
    assert "Not seen: host: timed out\n" in page


def test_a_crashed_check_is_named() -> None:
    assert "Crashed (a defect of gte-ops): dns.name: KeyError: 'x'\n" in shown(CRASHED)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_nothing_in_the_data_reaches_the_terminal_as_control(form: str, language: Language) -> None:
    out = io.StringIO()
    render(form, DoctorReport(HOSTILE), language, out, False)
    page = out.getvalue()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u200b\ud800-\udfff]", page)
    assert "hunter2" not in page
    page.encode()


def test_markup_in_the_data_means_nothing() -> None:
    page = shown(HOSTILE, out=Terminal(), color=True)
    assert "[bold]markup[/bold]" in page
    assert ":smile:" in page
    assert "\x1b]8" not in page


def test_colour_only_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[" in shown(DOWN, out=Terminal())
    assert "\x1b" not in shown(DOWN)
    # force-color.org: in a pipe too, but not against NO_COLOR.
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert shown(DOWN).startswith("\x1b[1;31mCRITICAL")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in shown(DOWN)
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("FORCE_COLOR", "")
    assert "\x1b" not in shown(DOWN)
    monkeypatch.delenv("FORCE_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in shown(DOWN, out=Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in shown(DOWN, out=Terminal())
    # Asked for explicitly, colours come in a pipe too.
    assert shown(DOWN, color=True).startswith("\x1b[1;31mCRITICAL")
    assert "\x1b" not in shown(DOWN, out=Terminal(), color=False)


@pytest.mark.parametrize("terminal", [False, True])
def test_a_command_is_never_wrapped_nor_cut(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    long = "curl -v " + " ".join(f"--header word{n}:中文" for n in range(200)) + "  'two  blanks'"
    diagnosis = replace(DOWN, causes=(replace(DOWN.causes[0], verify=verbatim(long), fix=(verbatim(long),)),))
    page = shown(diagnosis, out=Terminal() if terminal else None, color=False)
    assert f"\n     {long}\n" in page
    assert f"\n     1. {long}\n" in page


def test_prose_is_wrapped_on_a_terminal_and_left_alone_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    words = "很长的说明" * 30
    diagnosis = replace(DOWN, causes=(replace(DOWN.causes[0], summary=Text(en="x " * 80, zh=words)),))
    wrapped = shown(diagnosis, "zh", out=Terminal(), color=False).splitlines()
    assert [line for line in wrapped if line.startswith("   很长")]
    assert all(len(line.encode("gbk")) <= 50 for line in wrapped if "很长" in line or "说明" in line)
    assert f"   {words}\n" in shown(diagnosis, "zh")


def test_a_stream_that_is_ascii_gets_a_page_all_the_same() -> None:
    evidence = quote("日志", "模型加载失败… – ’")
    diagnosis = replace(DOWN, causes=(cause("GUN003", evidence, exception="错误", where="a.py:1"),))
    out = ascii_stream()
    render("text", DoctorReport(diagnosis), "zh", out)
    page = written(out)
    assert page.startswith("CRITICAL  ")  # English: Chinese would be question marks throughout
    assert "??: ??????... - '" in page


def test_an_unknown_format_is_named_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="text, json, nagios"):
        render("yaml", DoctorReport(DOWN), "en", io.StringIO())


def test_importing_the_reports_does_not_import_rich() -> None:
    code = (
        "import sys, io, ops.report, ops.report.doctor.text, ops.report.terminal, ops.report.doctor.json,"
        " ops.report.formats.text, ops.report.formats.nagios,"
        " ops.report.explain\n"
        "sys.exit(any(name.split('.')[0] == 'rich' for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(ops.report.__file__).parents[2])


# --- explain -----------------------------------------------------------------------------------------------------


def explained(code: str, language: Language = "en") -> str:
    out = io.StringIO()
    render("text", ExplanationReport(code), language, out)
    return out.getvalue()


def test_an_explanation_tells_everything_in_order() -> None:
    page = explained("gun001")
    entry = catalogue().entry("GUN001")
    parts = [
        f"GUN001  {entry.title.en}",
        entry.means.en,
        entry.shows.en,
        "curl -v http://127.0.0.1:8000/health",
        "1. systemctl start gte-api",
        entry.prevent.en,
    ]
    places = [page.index(part) for part in parts]
    assert places == sorted(places)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_cause_can_be_explained_without_a_host(language: Language) -> None:
    started = time.perf_counter()
    for code in catalogue().codes:
        page = explained(code, language)
        assert catalogue().entry(code).title.to(language) in page
        assert not re.search(r"(?<![%$])\{[a-z_]+\}", page), page
        assert " ? " not in page
    assert time.perf_counter() - started < 20


def test_what_only_a_real_case_knows_is_in_capitals() -> None:
    assert "1. kill PID\n" in explained("GUN012")


@pytest.mark.parametrize("diagnosis", [DOWN, HEALTHY, HOSTILE, ONLY_A_WARNING, UNEXPLAINED, CRASHED])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_colours_add_nothing_but_colours(diagnosis: Diagnosis, language: Language) -> None:
    colored = shown(diagnosis, language, color=True)
    assert "\x1b[" in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == shown(diagnosis, language, color=False)
