"""Every way by which words leave the doctor and the watchdog, tried with every spelling of a secret."""

from __future__ import annotations

import html
import io
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from ops.collect.logs.service_logs import entry_text
from ops.collect.net.http_probe import kept_body
from ops.collect.process import processes as process_collector
from ops.diagnosis.finding import quote
from ops.diagnosis.model import CheckStatus
from ops.facts.gunicorn import ConfigValue, Gunicorn, GunicornConfig
from ops.facts.nginx import Directive, NginxTest
from ops.interpret.redaction import redacted
from ops.notifications.message import Message, MessageKind, bounded
from ops.report import render
from ops.report.doctor.report import DoctorReport
from ops.supervision.alerts import WatchdogJournal
from ops.supervision.evidence_store import EvidenceDirectory
from ops.supervision.state import Fault, Trouble, WatchdogState, to_json
from ops.text.language import Text, verbatim
from ops.text.sanitize import safe_words
from tests.unit.made_diagnosis import DOWN
from tests.unit.made_snapshot import (
    HEALTHY,
    but,
    entry,
    exchange,
    nginx_config,
    nginx_logs,
    process,
    processes,
)
from tests.unit.supervision.made_observation import made_observation
from tests.unit.text.secret_spellings import HARMLESS, PEM, SECRET, spellings

SPELLINGS = spellings()


def report(form: str, written: str) -> str:
    """A report in which everything that can be quoted is ``written``."""
    broken = replace(
        DOWN.causes[0],
        summary=verbatim(written),
        evidence=(quote(written, "x"), quote("log", written)),
        verify=verbatim(written),
        fix=(verbatim(written), verbatim(written)),
    )
    diagnosis = replace(
        DOWN,
        target={**DOWN.target, "front": written},
        causes=(broken,),
        symptoms=tuple(replace(s, summary=verbatim(written), explained_by=()) for s in DOWN.symptoms),
        checks=tuple(
            replace(c, status=CheckStatus.SKIP, skipped_because=verbatim(written)) for c in DOWN.checks
        ),
        unseen=(("logs", written),),
    )
    out = io.StringIO()
    render(form, DoctorReport(diagnosis), "zh", out)
    return out.getvalue()


def bundle(written: str) -> str:
    """What a bundle holds of a host that says it wherever a host can."""
    config = nginx_config()
    line = Directive(name="proxy_pass", args=(written,), file="/etc/nginx/x.conf", line=1)
    other = Directive(name="more_set_headers", args=(written,), file="/etc/nginx/x.conf", line=2)
    assigned = {
        name: ConfigValue(line=1, known=True, value=written, source=repr(written)) for name in ("bind", "x")
    }
    gunicorn = HEALTHY.gunicorn
    assert isinstance(gunicorn, Gunicorn)
    snapshot = but(
        logs__nginx_errors=nginx_logs(entry(written), entry(f"*1 broke\n{written}\nclient: 203.0.113.9")),
        nginx_config=msgspec.structs.replace(config, directives=(*config.directives, line, other)),
        nginx_test=NginxTest(command=("nginx", "-t"), exit_code=1, lines=(written,)),
        processes=processes((process(4242, 1, "python", "worker.py", *written.split(), written),)),
        gunicorn=msgspec.structs.replace(
            gunicorn, config=GunicornConfig(path="/x.py", assigned=assigned, error=None)
        ),
        front__health=msgspec.structs.replace(exchange(), body=written, headers=(("X-Quoted", written),)),
        backend__health=msgspec.structs.replace(exchange(), body=kept_body(written.encode(), None)[0]),
    )
    return msgspec.json.encode(redacted(snapshot)).decode()


def evidence(written: str, place: Path) -> str:
    """The files of one trouble."""
    log = place / "error.log"
    log.write_text(f"[2026-11-22 09:00:00 +0800] [7] [ERROR] broke\n{written}\n")
    piece = EvidenceDirectory(place / "evidence", "a")
    piece.put("stacks-1.txt", f"Process 7: python app.py\n{written}\n")
    piece.put_log_tails([(str(log), None)])
    observation = made_observation()
    piece.put_observation(
        msgspec.structs.replace(
            observation, health=msgspec.structs.replace(exchange(), body=written, detail=written)
        )
    )
    files = sorted(piece.path.iterdir())
    assert [file.name for file in files] == ["log-1.txt", "look.json", "stacks-1.txt"]
    json.loads(files[1].read_text())
    return "\n".join(file.read_text() for file in files)


def state(written: str) -> str:
    """The watchdog's state file."""
    watchdog = WatchdogState(
        trouble=Trouble(fault=Fault.NOT_ANSWERING, since=1.0, wall=1.0, detail_en=written, detail_zh=written)
    )
    return to_json(watchdog).decode()


def journal(written: str) -> str:
    """The watchdog's journal."""
    out = io.StringIO()
    WatchdogJournal(out).note("step", detail=written, causes=(written,), seconds=1.5)
    assert json.loads(out.getvalue())["seconds"] == 1.5
    return out.getvalue()


def message(written: str) -> str:
    """A message as it is stored and sent."""
    words = Text(en=written, zh=written)
    return msgspec.json.encode(bounded(Message(written, MessageKind.TROUBLE, words, words, 1.0))).decode()


def command_line(written: str) -> str:
    """A process's command line as it is read: in one word, and as a shell cuts it."""
    shown = [*safe_words(("sh", "-c", written))]
    if re.match(r"--?[a-z]|(?:curl|mysql|redis-cli|sshpass|openssl|htpasswd|ldapsearch|smbclient) ", written):
        shown += safe_words(("worker", *shlex.split(written)))
    return "\n".join(shown)


def log_entry(written: str) -> str:
    """An entry of a log as it is kept, a long one too."""
    lines = written.encode().split(b"\n")
    long = entry_text(b"2026-11-22 [error] broke", [*[b"x" * 200] * 40, *lines, *[b"y" * 200] * 40])
    return entry_text(lines[0], lines[1:]) + long


CHANNELS: dict[str, Callable[[str], str]] = {
    **{
        form: (lambda written, form=form: report(form, written))  # type: ignore[misc]
        for form in ("text", "json", "html", "junit", "nagios")
    },
    "bundle": bundle,
    "state": state,
    "journal": journal,
    "message": message,
    "command line": command_line,
    "log entry": log_entry,
}


def seen(words: str, secret: str) -> bool:
    """Whether a secret can be read in what a channel let through."""
    return any(secret in shown for shown in (words, html.unescape(words), words.replace("\\\\", "\\")))


@pytest.mark.parametrize("channel", CHANNELS)
def test_no_spelling_of_a_secret_passes(channel: str) -> None:
    leaked = [written for written, secret in SPELLINGS if seen(CHANNELS[channel](written), secret)]
    assert leaked == []


def test_no_spelling_of_a_secret_is_in_the_evidence(tmp_path: Path) -> None:
    leaked = []
    for number, (written, secret) in enumerate(SPELLINGS):
        place = tmp_path / str(number)
        place.mkdir()
        if seen(evidence(written, place), secret):
            leaked.append(written)
    assert leaked == []


@pytest.mark.parametrize("channel", ["text", "json", "message", "state", "journal"])
def test_what_only_looks_like_a_secret_passes_unharmed(channel: str) -> None:
    changed = []
    for written in HARMLESS:
        words = CHANNELS[channel](written)
        quoted = json.dumps(written, ensure_ascii=False)[1:-1]
        if written not in words and quoted not in words:
            changed.append(written)
    assert changed == []


def test_a_key_whose_beginning_is_no_longer_in_the_log_is_hidden(tmp_path: Path) -> None:
    log = tmp_path / "error.log"
    log.write_text("password=Tr0ub4dor-" + "x" * 70_000 + "hunter2\n" + PEM[40:] + "\nlast line\n")
    piece = EvidenceDirectory(tmp_path / "evidence", "a")
    piece.put_log_tails([(str(log), None)])
    words = (piece.path / "log-1.txt").read_text()
    assert "hunter2" not in words
    assert PEM.splitlines()[2] not in words
    assert "last line" in words


def test_a_process_is_read_without_the_secrets_of_its_command_line() -> None:
    assert process_collector.safe_words is safe_words  # type: ignore[attr-defined]


def test_a_secret_that_a_long_entry_is_cut_in_is_hidden_whole() -> None:
    for before in range(0, 4000, 97):
        secret = "Tr0ub4dor" * 30
        text = entry_text(
            b"2026-11-22 [error] broke", [b"x" * before, f"password='{secret}'".encode(), b"y" * 9000]
        )
        assert "ub4dor" not in text


def test_a_long_answer_in_json_loses_what_stands_under_the_name_of_a_secret() -> None:
    body = {
        "dbPassword": SECRET,
        "credentials": {"a": SECRET},
        "密码": SECRET,
        "max_tokens": 512,
        "rest": ["x" * 99] * 99,
    }
    body_part = kept_body(json.dumps(body).encode(), None)[0]
    assert SECRET not in body_part
    assert json.loads(body_part)["max_tokens"] == 512
