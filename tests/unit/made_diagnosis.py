"""Diagnoses made by hand, for the tests of the reports."""

from __future__ import annotations

import io

from msgspec.structs import replace

from ops.diagnosis.catalogue import GUIDE_VALUES, catalogue
from ops.diagnosis.finding import Evidence, quote
from ops.diagnosis.model import (
    Cause,
    CheckResult,
    CheckStatus,
    Diagnosis,
    LastGood,
    RankedChange,
    Symptom,
)
from ops.facts.changes import Change, ChangedLines, ChangeKind, PlaceKind
from ops.facts.status import Status
from ops.text.language import Text, verbatim

TARGET = {name: GUIDE_VALUES[name] for name in ("url", "domain", "front", "backend")}
ROOT = Text(en="permission denied (run as root to see)", zh="权限不足（需以 root 运行才能看到）")


def cause(code: str, *evidence: Evidence, explains: tuple[str, ...] = (), **facts: str) -> Cause:
    entry = catalogue().entry(code)
    values = {**GUIDE_VALUES, **facts}
    return Cause(
        code=code,
        severity=entry.severity,
        title=entry.title,
        summary=entry.summary_with(values),
        explains=explains,
        evidence=evidence,
        verify=entry.verify_with(values),
        fix=entry.fix_with(values),
    )


def symptom(name: str, *explained_by: str, **values: str) -> Symptom:
    from ops.diagnosis.catalogue import fill_text

    summary = fill_text(catalogue().symptom(name), {**TARGET, **values})
    if explained_by:
        return Symptom(name, summary, explained_by)
    return Symptom(
        name,
        summary,
        evidence=(quote("POST https://gte-api.example.com/predict", "403 text/html: 403 Forbidden"),),
        route=(
            Evidence(
                "/etc/nginx/conf.d/gte-api.conf:31", Text(en="deny all refuses it", zh="deny all 拒绝了请求")
            ),
        ),
        next=tuple(map(verbatim, catalogue().next_commands(name, GUIDE_VALUES))),
    )


def result(name: str, status: CheckStatus, because: Text | None = None) -> CheckResult:
    return CheckResult(name, status, Text(en=f"{name} looked at", zh=f"检查 {name}"), 3.14159, because)


HEALTHY = Diagnosis(
    status=Status.OK,
    target=TARGET,
    started_at=1_795_309_200.0,
    duration_ms=311.6,
    symptoms=(),
    causes=(),
    checks=(
        result("gunicorn.process", CheckStatus.PASS),
        result("tls.key", CheckStatus.SKIP, ROOT),
        result("nginx.load", CheckStatus.SKIP, ROOT),
    ),
    unseen=(("logs.gunicorn_error", "timed out"),),
)
DOWN = replace(
    HEALTHY,
    status=Status.FAIL,
    duration_ms=412.4,
    symptoms=(symptom("http.502", "GUN001"), symptom("http.403")),
    causes=(
        cause("GUN001", quote("tcp 127.0.0.1:8000", "connection refused"), explains=("http.502", "NGX005")),
        cause("GUN008", quote("gunicorn.conf.py:18", "preload = True"), names="preload (line 18)"),
    ),
    checks=(
        result("gunicorn.process", CheckStatus.FAIL),
        *HEALTHY.checks[1:],
        result("gunicorn.config", CheckStatus.WARN),
    ),
)
ONLY_A_WARNING = replace(HEALTHY, status=Status.WARN, causes=(cause("GUN013"),))
UNEXPLAINED = replace(HEALTHY, status=Status.FAIL, symptoms=(symptom("http.504"),), causes=(cause("GUN013"),))
CRASHED = replace(
    HEALTHY,
    status=Status.UNKNOWN,
    checks=(result("dns.name", CheckStatus.ERROR, verbatim("KeyError: 'x'")),),
    unseen=(),
)

# Everything a peer or a log might try on a terminal, a parser of markup, or a monitoring system.
HOSTILE_WORDS = (
    "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b]8;;http://evil\x1b\\link \x9b2J \x00 \r\n\t second line | 'x'=1;2;3 \n"
    "[bold]markup[/bold] [link=http://evil]x[/link] :smile: \u202egnp.exe \u200b password=hunter2 "
    "</script> \ud800 {pid} %s"
)
HOSTILE = replace(
    DOWN,
    target={**TARGET, "url": "https://x/\x1b[2J|\n"},
    symptoms=(
        Symptom("http.502", verbatim(HOSTILE_WORDS), ("GUN001",)),
        Symptom("http.504", verbatim(HOSTILE_WORDS), ()),
    ),
    causes=(
        replace(
            DOWN.causes[0],
            title=verbatim(HOSTILE_WORDS),
            summary=verbatim(HOSTILE_WORDS),
            evidence=(quote(HOSTILE_WORDS, HOSTILE_WORDS),),
            verify=verbatim("curl \x1b[31m\nx"),
            fix=(verbatim("kill\x1b[0m 7\nrm"), Text(en=HOSTILE_WORDS, zh=HOSTILE_WORDS + "坏")),
        ),
    ),
    checks=(
        result("tls.key", CheckStatus.SKIP, verbatim(HOSTILE_WORDS)),
        result("x", CheckStatus.ERROR, verbatim(HOSTILE_WORDS)),
    ),
    unseen=((HOSTILE_WORDS, "x" + HOSTILE_WORDS),),
)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def ascii_stream() -> io.TextIOWrapper:
    """Standard output as LANG=C had it: strict ASCII."""
    return io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")


def written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    content = stream.buffer
    assert isinstance(content, io.BytesIO)
    return content.getvalue().decode("ascii")


CHANGED = replace(
    DOWN,
    last_good=LastGood(1_795_300_000.0, 1_795_308_000.0, "watchdog", omitted=3),
    changes=(
        RankedChange(
            Change(
                place=PlaceKind.NGINX,
                what="/etc/nginx/conf.d/gte-api.conf",
                kind=ChangeKind.CONTENT,
                time=1_795_309_000.0,
                by="gte-ops deploy mark 2.4 (ops)",
                lines=(
                    ChangedLines(
                        line=12,
                        before=("    server 127.0.0.1:8000;", "    keepalive 8;"),
                        after=("    server 127.0.0.1:8001;", "    # password=hunter2"),
                        names=("server", "keepalive"),
                    ),
                ),
            ),
            ("GUN001",),
        ),
        RankedChange(
            Change(
                place=PlaceKind.PACKAGE, what="flask", kind=ChangeKind.VALUE, before="3.0.0", after="3.1.0"
            )
        ),
        RankedChange(
            Change(
                place=PlaceKind.CRON,
                what="/etc/cron.d/gte-ops\x1b[31m",
                kind=ChangeKind.ADDED,
                time=None,
                is_harmless=True,
            )
        ),
    ),
)
