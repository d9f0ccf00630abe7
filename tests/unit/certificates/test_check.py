"""`gte-ops cert check`: endpoints as they are written, and the reports."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest

from ops.certificates.assess import review
from ops.certificates.check import endpoint
from ops.cli.cert import _Progress
from ops.errors import UsageError
from ops.facts.base import NotSeen
from ops.facts.certificate_inventory import Review
from ops.report import render
from ops.report.certificates import CertificateReport
from tests.unit.diagnosis.checks.test_inventory import (
    FULLCHAIN,
    certificate,
    failed,
    host,
    lasting,
    pair,
    runs,
    served,
)
from tests.unit.made_snapshot import DOMAIN, NOW

CONTRACT = (
    "name", "source", "where", "names", "issuer", "not_before", "not_after", "days_left", "lifetime_left", "status",
    "reasons",
)  # fmt: skip


@pytest.mark.parametrize(
    ("written", "starttls", "address", "name", "protocol"),
    [
        ("example.com", None, "example.com:443", "example.com", None),
        ("example.com:8443", None, "example.com:8443", "example.com", None),
        ("https://example.com/", None, "example.com:443", "example.com", None),
        ("[::1]:8443", None, "[::1]:8443", "::1", None),
        ("::1", None, "[::1]:443", "::1", None),
        ("mail.example.com", "smtp", "mail.example.com:25", "mail.example.com", "smtp"),
        ("mail.example.com:587", "smtp", "mail.example.com:587", "mail.example.com", "smtp"),
        ("imap://mail.example.com", None, "mail.example.com:143", "mail.example.com", "imap"),
        ("pop3://192.0.2.1:1110", None, "192.0.2.1:1110", "192.0.2.1", "pop3"),
    ],
)
def test_an_endpoint(
    written: str, starttls: str | None, address: str, name: str, protocol: str | None
) -> None:
    end = endpoint(written, starttls, "command line")
    assert (end.address, end.name, end.starttls) == (address, name, protocol)


@pytest.mark.parametrize(
    ("written", "starttls", "says"),
    [
        ("xmpp://example.com", None, "supported: https, smtp, imap, pop3"),
        ("example.com", "xmpp", "supported: smtp, imap, pop3"),
        ("example.com:0", None, "HOST:PORT"),
        ("example.com:99999", None, "HOST:PORT"),
        ("example.com:https", None, "HOST:PORT"),
        ("", None, "no endpoint"),
        ("a b", None, "no endpoint"),
        ("https://example.com/path", None, "no endpoint"),
        ("exa\x1b[2Jmple.com", None, "names no host"),
        ("[::1", None, "HOST"),
    ],
)
def test_what_is_no_endpoint(written: str, starttls: str | None, says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)):
        endpoint(written, starttls, "command line")


def told(form: str, judged: Review, language: Any = "en") -> str:
    out = io.StringIO()
    render(form, CertificateReport(judged), language, out)
    return out.getvalue()


TROUBLE = review(
    host(
        files=(pair(lasting(90, 25)),),
        served=(
            served(lasting(90, -2, names=(DOMAIN, 'evil\x1b[2J|name"\\'))),
            served(name="x.example").__class__(
                endpoint=served(name="x.example").endpoint, served=NotSeen(reason="connection refused")
            ),
        ),
        runs=runs(failed(90000), failed(60, "403 | \x1b[31mForbidden")),
    )
)


def test_json_is_as_the_contract_has_it() -> None:
    document = json.loads(told("json", TROUBLE))
    assert document["status"] == "fail"
    gone, soon, silent = document["certificates"]
    for one in document["certificates"]:
        assert tuple(one)[: len(CONTRACT)] == CONTRACT
    assert (gone["source"], gone["status"], gone["reasons"]) == ("served", "fail", ["TLS001"])
    assert (gone["days_left"], gone["lifetime_left"]) == (-2.0, 0.0)
    assert gone["not_after"] == "2026-11-20T01:00:00+00:00"
    assert (soon["source"], soon["status"], soon["reasons"]) == ("file", "warn", ["TLS002"])
    assert soon["renewal"]["failed_tries"] == 2
    assert (silent["status"], silent["not_after"], silent["days_left"]) == ("unknown", None, None)


@pytest.mark.parametrize("form", ["text", "json", "nagios", "prometheus"])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_untrusted_words_do_no_harm(form: str, language: str) -> None:
    words = told(form, TROUBLE, language)
    assert "\x1b" not in words
    assert words.endswith("\n")


def test_nagios_has_a_state_first_and_days_with_their_marks() -> None:
    first, *rest = told("nagios", TROUBLE).splitlines()
    assert first.startswith("CERTS CRITICAL - ")
    text, bar, measures = first.partition(" | ")
    assert bar
    assert f"'{DOMAIN} {FULLCHAIN}'=25.00;22.50:;9.00:;;" in measures
    assert measures.endswith("'certificates'=3;;;0")
    assert all("|" not in line for line in (text, *rest))
    assert len(rest) == 3


def test_prometheus_exports_times_and_failures_to_read() -> None:
    words = told("prometheus", TROUBLE)
    samples = dict(line.rsplit(" ", 1) for line in words.splitlines() if not line.startswith("#"))
    assert len(samples) == sum(not line.startswith("#") for line in words.splitlines())
    ends = {key: value for key, value in samples.items() if "_not_after_timestamp" in key}
    assert sorted(float(value) - NOW for value in ends.values()) == [-2 * 86400.0, 25 * 86400.0]
    unread = [key for key, value in samples.items() if "_unreadable{" in key and value == "1"]
    assert len(unread) == 1
    assert 'name="x.example"' in unread[0]
    assert samples["gte_ops_certificate_read_failures"] == "1"
    names = ("gte_ops_certificate_", "gte_ops_build_info{")
    assert all(line.startswith(("# HELP ", "# TYPE ", *names)) for line in words.splitlines())


def test_a_person_reads_what_is_wrong_first_in_both_languages() -> None:
    english, chinese = told("text", TROUBLE), told("text", TROUBLE, "zh")
    assert english.splitlines()[0].startswith(
        "CRITICAL  3 looked at: 1 critical, 1 warnings, 1 unknown, 0 ok"
    )
    assert "renewal failed 2x" in english
    assert "CRITICAL  gte-api.example.com" in english
    assert "续期失败 2 次" in chinese
    assert "certbot.timer" in chinese


def test_many_healthy_ones_take_a_line_each() -> None:
    many = [served(certificate(fingerprint=f"{n:064x}"), name=DOMAIN) for n in range(30)]
    lines = told("text", review(host(files=(), served=tuple(many)))).splitlines()
    assert len(lines) == 31


def test_a_series_stands_once_whatever_is_found_twice() -> None:
    words = told("prometheus", review(host(files=(), served=(served(), served()))))
    series = [line.rsplit(" ", 1)[0] for line in words.splitlines() if not line.startswith("#")]
    assert len(series) == len(set(series))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_a_terminal_for_many_endpoints_and_wiped() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    for out in (terminal, pipe):
        progress = _Progress(out)
        progress(3, 9)
        progress(40, 200)
        progress(200, 200)
    assert terminal.getvalue() == "\r40/200\r\033[K"
    assert pipe.getvalue() == ""
