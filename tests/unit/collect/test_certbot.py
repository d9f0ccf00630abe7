"""certbot's renewal configurations, directory and logs, well-formed and hostile."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ops.collect.services.certbot import (
    MAX_CONF_BYTES,
    certbot_runs,
    lineages,
    parse_certbot_log,
    parse_renewal_conf,
)
from ops.facts.base import NotSeen
from ops.facts.certificates import Certificate, KeyFile, Lineage, Lineages, PemFile
from ops.interpret.expiry import DAY, HOUR
from ops.interpret.renewal import certbot_rule, failures_since
from tests.lab.authority import Authority, write_lineage
from tests.unit.made_snapshot import lineage as made_lineage

NAME = "gte.example"
CONF = """# renew_before_expiry = 30 days
version = 2.1.0
archive_dir = /le/archive/gte.example
cert = /le/live/gte.example/cert.pem
privkey = /le/live/gte.example/privkey.pem
chain = /le/live/gte.example/chain.pem
fullchain = /le/live/gte.example/fullchain.pem

# Options used in the renewal process
[renewalparams]
account = c2ff8391
server = https://acme.example/dir
authenticator = webroot
renew_hook = "systemctl reload nginx"
pre_hook = None
[[webroot_map]]
gte.example = /var/www
"""
LOG = """2026-11-22 22:49:01,886:DEBUG:certbot._internal.main:certbot version: 2.1.0
2026-11-22 22:49:01,900:DEBUG:certbot._internal.display.obj:Notifying user: Processing /le/renewal/gte.example.conf
2026-11-22 22:49:01,916:INFO:certbot._internal.renewal:Certificate is due for renewal, auto-renewing...
2026-11-22 22:49:03,034:DEBUG:certbot._internal.display.obj:Notifying user:
Certbot failed to authenticate some domains (authenticator: webroot). The Certificate Authority reported these problems:
  Domain: gte.example
  Type:   connection
  Detail: Get "http://gte.example/.well-known/acme-challenge/x": connection refused \x1b[31m
2026-11-22 22:49:03,036:ERROR:certbot._internal.renewal:Failed to renew certificate gte.example with error: Some challenges have failed.
2026-11-22 22:49:03,039:ERROR:certbot._internal.renewal:  /le/live/gte.example/fullchain.pem (failure)
"""  # noqa: E501
RENEWED = """2026-11-23 10:00:00,000:DEBUG:certbot._internal.main:certbot version: 4.1.1
2026-11-23 10:00:02,000:DEBUG:certbot._internal.display.obj:Notifying user:   /le/live/gte.example/fullchain.pem (success)
2026-11-23 10:00:02,000:DEBUG:certbot._internal.display.obj:Notifying user:   /le/live/b.example/fullchain.pem expires on 2027-01-01 (skipped)
"""  # noqa: E501


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def one(directory: Path) -> Lineage:
    facts = lineages(str(directory))
    assert isinstance(facts, Lineages)
    assert len(facts.lineages) == 1
    return facts.lineages[0]


def test_a_renewal_configuration() -> None:
    conf = parse_renewal_conf(CONF, "/r.conf")
    assert (conf.problem, conf.version, conf.authenticator) == (None, "2.1.0", "webroot")
    assert conf.files["privkey"] == "/le/live/gte.example/privkey.pem"
    assert conf.hooks == {"deploy": "systemctl reload nginx"}
    assert conf.renew_before is None
    assert conf.autorenew


def test_renew_before_expiry_and_autorenew() -> None:
    text = CONF.replace("# renew_before_expiry = 30 days", "renew_before_expiry = 5 days").replace(
        "authenticator", "autorenew = False\nauthenticator"
    )
    conf = parse_renewal_conf(text, "/r.conf")
    assert (conf.renew_before, conf.autorenew) == (5 * DAY, False)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "cert, privkey, chain, fullchain"),
        ("\x00\x1b[2J nonsense\n", "line 1"),
        (CONF.partition("[renewalparams]")[0], "no [renewalparams]"),
        (CONF.replace("cert = ", "cart = "), "where cert "),
        (CONF + "[renewalparams\n", "line 18"),
    ],
)
def test_a_malformed_configuration_is_one_clear_line(text: str, says: str) -> None:
    conf = parse_renewal_conf(text, "/r.conf")
    assert conf.problem == "malformed"
    assert says in conf.detail
    assert "\x1b" not in conf.detail


def test_a_lineage_as_certbot_lays_it_down(authority: Authority, tmp_path: Path) -> None:
    write_lineage(tmp_path, NAME, authority.issue([NAME]))
    write_lineage(tmp_path, NAME, authority.issue([NAME]), version=2)
    hooks = tmp_path / "renewal-hooks" / "deploy"
    hooks.mkdir(parents=True)
    (hooks / "reload").touch(mode=0o755)
    (hooks / "notes.txt").touch(mode=0o644)
    facts = lineages(str(tmp_path))
    assert isinstance(facts, Lineages)
    assert facts.deploy_hooks == (str(hooks / "reload"),)
    lineage = one(tmp_path)
    assert (lineage.name, lineage.linked, lineage.outside) == (NAME, True, ())
    assert isinstance(lineage.certificate, PemFile)
    assert isinstance(lineage.key, KeyFile)
    assert lineage.key.public_key == lineage.certificate.certificates[0].public_key
    assert lineage.renewed == (tmp_path / "archive" / NAME / "cert2.pem").stat().st_mtime


def test_what_leads_out_of_the_directory_is_named_and_not_read(authority: Authority, tmp_path: Path) -> None:
    root = tmp_path / "le"
    write_lineage(root, NAME, authority.issue([NAME]))
    secret = tmp_path / "secret"
    secret.write_text("root:x:0:0")
    (root / "live" / NAME / "fullchain.pem").unlink()
    (root / "live" / NAME / "fullchain.pem").symlink_to(secret)
    conf = root / "renewal" / f"{NAME}.conf"
    conf.write_text(conf.read_text().replace(f"{root}/live/{NAME}/chain.pem", "/etc/shadow"))
    lineage = one(root)
    assert isinstance(lineage.certificate, NotSeen)
    assert "outside" in lineage.certificate.reason
    assert "/etc/shadow" in lineage.outside
    assert "root:x" not in repr(lineage)


def test_plain_files_are_no_lineage_of_certbots(authority: Authority, tmp_path: Path) -> None:
    live = write_lineage(tmp_path, NAME, authority.issue([NAME]))
    for link in live.glob("*.pem"):
        content = link.read_bytes()
        link.unlink()
        link.write_bytes(content)
    assert not one(tmp_path).linked


def test_hostile_directories(tmp_path: Path) -> None:
    assert isinstance(lineages(str(tmp_path / "absent")), NotSeen)
    assert isinstance(lineages(str(tmp_path)), NotSeen)
    (tmp_path / "renewal").mkdir()
    (tmp_path / "renewal" / "huge.conf").write_bytes(b"a = b\n" * MAX_CONF_BYTES)
    (tmp_path / "renewal" / "bad\x1b[2Jname.conf").write_bytes(b"\xff\xfe")
    facts = lineages(str(tmp_path))
    assert isinstance(facts, Lineages)
    assert {lineage.renewal.problem for lineage in facts.lineages} == {"malformed"}
    assert "\x1b" not in repr([(lineage.name, lineage.renewal) for lineage in facts.lineages])


def test_a_failed_renewal_is_told_with_the_authoritys_reason() -> None:
    runs = parse_certbot_log(LOG, "/l")
    assert runs.version == "2.1.0"
    (attempt,) = runs.attempts
    assert (attempt.lineage, attempt.outcome) == (NAME, "failed")
    assert attempt.time == time.mktime(time.strptime("2026-11-22 22:49:03", "%Y-%m-%d %H:%M:%S"))
    assert "connection refused (Some challenges have failed.)" in attempt.reason
    assert "\x1b" not in attempt.reason


def test_success_ends_a_row_of_failures() -> None:
    runs = parse_certbot_log(LOG + RENEWED + LOG.replace("11-22", "11-24"), "/l")
    assert [(a.lineage, a.outcome) for a in runs.attempts] == [
        (NAME, "failed"),
        (NAME, "renewed"),
        ("b.example", "not_due"),
        (NAME, "failed"),
    ]
    lineage = made_lineage(name=NAME)
    assert len(failures_since(lineage, runs, 0.0)) == 1
    assert failures_since(lineage, runs, 4e9) == ()
    assert len(failures_since(lineage, parse_certbot_log(LOG + LOG, "/l"), 0.0)) == 2


def test_rotated_logs_are_read_oldest_first(tmp_path: Path) -> None:
    (tmp_path / "letsencrypt.log").write_text(RENEWED)
    (tmp_path / "letsencrypt.log.1").write_text(LOG)
    runs = certbot_runs(str(tmp_path))
    assert not isinstance(runs, NotSeen)
    assert [a.outcome for a in runs.attempts] == ["failed", "renewed", "not_due"]
    assert runs.version == "4.1.1"
    assert isinstance(certbot_runs(str(tmp_path / "absent")), NotSeen)


@pytest.mark.parametrize(
    ("version", "lifetime", "too_old", "wasteful", "before_days"),
    [
        ("2.1.0", 160 * HOUR, True, False, 30),
        ("2.1.0", 45 * DAY, False, True, 30),
        ("2.1.0", 90 * DAY, False, False, 30),
        ("4.0.0", 160 * HOUR, False, False, 80 / 24),
        ("4.0.0", 45 * DAY, False, False, 15),
        (None, 160 * HOUR, False, False, 80 / 24),
    ],
)
def test_when_certbot_renews(
    version: str | None, lifetime: float, too_old: bool, wasteful: bool, before_days: float
) -> None:
    conf = parse_renewal_conf(
        CONF.replace("version = 2.1.0", f"version = {version}" if version else ""), "/r"
    )
    rule = certbot_rule(made_lineage(renewal=conf), lifetime, NotSeen(reason="-"))
    assert (rule.too_old, rule.wasteful) == (too_old, wasteful)
    assert rule.before_end == pytest.approx(before_days * DAY)


def test_the_certificate_of_a_lineage_is_read(authority: Authority, tmp_path: Path) -> None:
    write_lineage(tmp_path, NAME, authority.issue([NAME, "*.gte.example"]))
    certificate = one(tmp_path).certificate
    assert isinstance(certificate, PemFile)
    leaf: Certificate = certificate.certificates[0]
    assert leaf.names == (NAME, "*.gte.example")
