"""Deployment files as texts: the examples for the examples' values, and a host's own values in their places."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from ops.deployment.render import (
    ACCOUNTS_FILE,
    CRON_FILES,
    DIRECTORIES_FILE,
    KINDS,
    PROMETHEUS_FILES,
    Deployment,
    NginxSite,
    RenderedFile,
    accounts_of,
    render,
)
from ops.errors import UsageError
from ops.interpret.logrotate import covering, parse, tears_lines


def text_of(files: tuple[RenderedFile, ...], path: str) -> str:
    return next(file.text for file in files if file.path == path)


ROOT = Path(__file__).resolve().parents[3]


def example(*parts: str) -> str:
    return ROOT.joinpath(*parts).read_text(encoding="utf-8")


HERE = Deployment(
    site=NginxSite(domain="nlp.example.org", backend="unix:/run/nlp.sock", access_log="/srv/log/a.log"),
    unit="nlp.service",
    app_dir="/root/build",
    programs="/root/build/venv/bin",
    gte_ops="/usr/local/bin/gte-ops",
    gunicorn_arguments="-c /root/build/gunicorn.conf.py app:app",
    daemon=True,
    gunicorn_pidfile="/run/nlp.pid",
    gunicorn_access_log="/var/log/nlp-access.log",
    gunicorn_error_log="/var/log/nlp-error.log",
    gunicorn_owner=("root", "root"),
    gunicorn_su=None,
    settings_file="/srv/gte-ops.toml",
    watchdog_writes=("/srv/state",),
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_is_for_its_place_and_ends_with_a_line(kind: str) -> None:
    for file in render(kind, Deployment()):  # type: ignore[arg-type]
        assert file.path.startswith("/etc/")
        assert file.text.endswith("\n")
        assert file.mode == 0o644


def test_the_examples_values_give_the_examples() -> None:
    assert text_of(render("cron", Deployment()), "/etc/cron.d/gte-ops-watchdog") == example(
        "deploy", "cron", "gte-ops-watchdog"
    )
    for file in render("systemd", Deployment()):
        name = file.path.removeprefix("/etc/systemd/system/").removeprefix("/etc/")
        assert file.text == example("deploy", "systemd", *name.split("/"))
    (rules,) = render("logrotate", Deployment())
    assert rules.text == example("ops", "logrotate", "nginx") + example("ops", "logrotate", "gunicorn")
    for name in PROMETHEUS_FILES:
        assert text_of(render("prometheus", Deployment()), f"/etc/prometheus/{name}") == example(
            "deploy", "prometheus", name
        )


def test_every_example_is_rendered() -> None:
    folder = ROOT / "deploy"
    assert {item.name for item in folder.joinpath("cron").iterdir()} == set(CRON_FILES)
    assert {item.name for item in folder.joinpath("prometheus").iterdir()} == set(PROMETHEUS_FILES)
    rendered = {file.path.rpartition("/")[2] for file in render("systemd", Deployment())}
    units = {item.name for item in folder.joinpath("systemd").iterdir() if item.is_file()}
    assert units <= rendered


def test_a_hosts_own_unit() -> None:
    unit = text_of(render("systemd", HERE), "/etc/systemd/system/nlp.service").splitlines()
    for line in (
        "Type=forking",
        "PIDFile=/run/nlp.pid",
        "User=root",
        "WorkingDirectory=/root/build",
        "ExecStart=/root/build/venv/bin/gunicorn -c /root/build/gunicorn.conf.py app:app",
        "ProtectHome=read-only",
        "ReadWritePaths=-/var/log",
    ):
        assert line in unit
    assert "Type=notify" not in unit
    watchdog = text_of(render("systemd", HERE), "/etc/systemd/system/gte-ops-watchdog.service").splitlines()
    assert "ExecStart=/usr/local/bin/gte-ops watchdog --config /srv/gte-ops.toml" in watchdog
    assert "After=network.target nlp.service" in watchdog
    assert "ReadWritePaths=-/srv/state" in watchdog


def test_accounts_come_before_the_units_that_name_them() -> None:
    files = render("systemd", Deployment())
    assert [file.path for file in files[:2]] == [ACCOUNTS_FILE, DIRECTORIES_FILE]
    made = set(re.findall(r"(?m)^u (\S+)", files[0].text))
    assert set(accounts_of(files)) == made == {"gte-api", "gte-ops"}
    assert set(accounts_of(render("cron", Deployment()))) == {"gte-ops"}
    for kind in ("nginx", "logrotate", "prometheus"):
        assert accounts_of(render(kind, Deployment())) == ()


def test_a_service_that_keeps_its_user_gets_no_account() -> None:
    files = render("systemd", replace(Deployment(), gunicorn_owner=("www-data", "www-data")))
    for path in (ACCOUNTS_FILE, DIRECTORIES_FILE):
        lines = [line for line in text_of(files, path).splitlines() if not line.startswith("#")]
        assert lines
        assert not any("gte-api" in line for line in lines)
    assert "www-data" in accounts_of(files)


def test_a_unit_that_runs_as_root_says_so() -> None:
    unit = text_of(render("systemd", HERE), "/etc/systemd/system/nlp.service").splitlines()
    assert unit[unit.index("User=root") - 1].startswith("# As gunicorn runs on this host now.")


def test_units_write_where_the_configuration_says() -> None:
    files = render("systemd", replace(HERE, backup_dir="/srv/backups", letsencrypt_dir="/srv/le"))
    backup = text_of(files, "/etc/systemd/system/gte-ops-backup.service").splitlines()
    assert "ReadWritePaths=-/srv/backups" in backup
    assert "ReadWritePaths=-/srv/le" in backup
    assert "d /srv/backups 0700 root root -" in text_of(files, DIRECTORIES_FILE).splitlines()


def test_a_hosts_own_crontab() -> None:
    entry = text_of(render("cron", HERE), "/etc/cron.d/gte-ops-watchdog")
    assert "PATH=/usr/local/bin:" in entry
    assert "--config /srv/gte-ops.toml" in entry


def test_rotation_takes_every_log_once_and_loses_no_line() -> None:
    (file,) = render("logrotate", HERE)
    rules = parse(file.text, file.path, {}).rules
    for log in ("/srv/log/a.log", "/var/log/nlp-access.log", "/var/log/nlp-error.log"):
        (rule,) = covering(rules, [log])
        assert not tears_lines(rule)
        assert {"compress", "delaycompress", "sharedscripts", "maxsize", "create"} <= set(rule.options)
        assert "copytruncate" not in rule.options
        assert "USR1" in rule.scripts["postrotate"]
    assert "su" not in covering(rules, ["/var/log/nlp-error.log"])[0].options


def test_a_log_that_another_rule_takes_is_left_to_it() -> None:
    (file,) = render(
        "logrotate", replace(HERE, rotated_elsewhere=(("/srv/log/a.log", "/etc/logrotate.d/nginx"),))
    )
    assert covering(parse(file.text, file.path, {}).rules, ["/srv/log/a.log"]) == ()
    assert "# /srv/log/a.log: /etc/logrotate.d/nginx rotates it." in file.text


def test_a_directory_of_somebody_elses_is_worked_in_as_that_user() -> None:
    (file,) = render("logrotate", replace(HERE, gunicorn_su=("root", "syslog")))
    assert (
        covering(parse(file.text, file.path, {}).rules, ["/var/log/nlp-error.log"])[0].options["su"]
        == "root syslog"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"gunicorn_pidfile": "/run/$(reboot).pid"},
        {"gunicorn_pidfile": "/run/a b.pid"},
        {"unit": "x.service; reboot"},
        {"settings_file": "/etc/100%.toml"},
        {"app_dir": "/srv\nExecStart=/bin/sh"},
        {"gunicorn_owner": ("root\n}", "root")},
        {"gunicorn_arguments": "-c x`reboot` app:app"},
        {"rotated_elsewhere": (("/a\nb", "x"),)},
    ],
)
def test_a_value_that_a_shell_cron_or_systemd_would_read_otherwise_is_refused(
    change: dict[str, object],
) -> None:
    with pytest.raises(UsageError, match=next(iter(change))):
        render("logrotate", replace(Deployment(), **change))  # type: ignore[arg-type]


def test_another_application_gets_no_settings_of_our_service() -> None:
    (unit,) = (
        file.text
        for file in render("systemd", Deployment(gunicorn_arguments="-k asgi shop.main:app"))
        if file.path.endswith("/gte-api.service")
    )
    assert "GTE_" not in unit
    assert "GTE inference" not in unit
    assert "ExecStart=/opt/gte-api/venv/bin/gunicorn -k asgi shop.main:app\n" in unit


def pidfile_lines(deployment: Deployment) -> list[str]:
    """What the service's unit says of its pidfile."""
    (unit,) = (file.text for file in render("systemd", deployment) if file.path.endswith("/gte-api.service"))
    return [line for line in unit.splitlines() if line.startswith("PIDFile=")]


def test_systemd_finds_the_successor_of_our_master_by_its_pidfile_and_a_daemon_by_one_line() -> None:
    assert pidfile_lines(Deployment(gunicorn_pidfile="/run/x.pid")) == ["PIDFile=/run/x.pid"]
    assert pidfile_lines(Deployment(daemon=True)) == ["PIDFile=/run/gte-api/gunicorn.pid"]
    assert pidfile_lines(Deployment(gunicorn_arguments="shop.main:app")) == []


def test_a_unit_makes_the_directory_below_run_that_its_pidfile_is_in_and_none_of_another_service() -> None:
    deployment = Deployment(
        unit="gte-api-2.service",
        gunicorn_pidfile="/run/gte-api-2/gunicorn.pid",
        progress_dir="/run/gte-api-2/progress",
    )
    (unit,) = (
        file.text for file in render("systemd", deployment) if file.path.endswith("/gte-api-2.service")
    )
    assert "RuntimeDirectory=gte-api-2\n" in unit
    assert "GTE_METRICS_DIR=/run/gte-api-2/metrics" in unit
    assert "/run/gte-api/" not in unit
    assert "ReadWritePaths" not in unit


def test_a_place_below_a_directory_that_only_begins_like_the_services_is_named_to_its_sandbox() -> None:
    deployment = Deployment(gunicorn_access_log="/var/log/gte-api-2/access.log")
    (unit,) = (file.text for file in render("systemd", deployment) if file.path.endswith("/gte-api.service"))
    assert "ReadWritePaths=-/var/log/gte-api-2\n" in unit
    assert "RuntimeDirectory=gte-api\n" in unit
