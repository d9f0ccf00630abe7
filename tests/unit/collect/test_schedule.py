"""What runs by itself: crontabs and systemd units, read as cron and systemd read them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from ops.collect.host.schedule import MAX_FILE_BYTES, parse_cron_line, parse_unit, schedule
from ops.facts.safeguards import BootService, CronEntry, Schedule, Timer
from ops.interpret.schedule import jobs_running
from ops.settings import ScheduleSettings

DEBIAN_CERTBOT = (
    "0 */12 * * * root test -x /usr/bin/certbot -a \\! -d /run/systemd/system && "
    "perl -e 'sleep int(rand(43200))' && certbot -q renew --no-random-sleep-on-renew"
)
RENEWAL = re.compile(r"\bcertbot\b.*\brenew\b")


def seen(tmp_path: Path, *, cron: tuple[str, ...] = (), systemd: tuple[str, ...] = ()) -> Schedule:
    return schedule(
        ScheduleSettings(
            cron=tuple(str(tmp_path / name) for name in cron),
            systemd=tuple(str(tmp_path / name) for name in systemd),
        )
    )


def write(path: Path, text: str, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("line", "when", "user", "command"),
    [
        ("17 */12 * * * root certbot -q renew", "17 */12 * * *", "root", "certbot -q renew"),
        ("@daily www-data /opt/x", "@daily", "www-data", "/opt/x"),
        ("\t0 3 * * mon  root\tdate", "0 3 * * mon", "root", "date"),
        ("0 3 * * * root date +\\%F%input", "0 3 * * *", "root", "date +%F"),
    ],
)
def test_a_line_of_a_system_crontab(line: str, when: str, user: str, command: str) -> None:
    entry = parse_cron_line(line, "/etc/cron.d/x", 3, users_own=False)
    assert entry == CronEntry(file="/etc/cron.d/x", line=3, when=when, user=user, command=command)


def test_a_users_own_crontab_has_no_column_for_the_user() -> None:
    entry = parse_cron_line("5 4 * * * certbot renew", "/var/spool/cron/crontabs/lin", 1, users_own=True)
    assert entry is not None
    assert (entry.user, entry.command) == ("lin", "certbot renew")


@pytest.mark.parametrize(
    "line",
    ["", "  # 0 3 * * * root x", "MAILTO=root", "PATH = /bin", "0 3 * *", "@sometimes root x", "@daily"],
)
def test_what_is_no_entry(line: str) -> None:
    assert parse_cron_line(line, "/etc/crontab", 1, users_own=False) is None


def test_every_place_is_read_in_its_own_form(tmp_path: Path) -> None:
    write(tmp_path / "crontab", "SHELL=/bin/sh\n1 2 * * * root first\n")
    write(tmp_path / "cron.d/site", "@hourly nobody second\n")
    write(tmp_path / "cron.d/site.dpkg-old", "@hourly nobody ignored\n")
    write(tmp_path / "crontabs/lin", "@weekly third --flag\n")
    facts = seen(tmp_path, cron=("crontab", "cron.d", "crontabs", "absent"))
    assert [(e.user, e.command, e.line) for e in facts.cron] == [
        ("root", "first", 2),
        ("nobody", "second", 1),
        ("lin", "third --flag", 1),
    ]
    assert facts.unseen == ()


def test_scripts_are_looked_into(tmp_path: Path) -> None:
    script = write(tmp_path / "renew.sh", "#!/bin/sh\ncertbot renew\n", 0o755)
    daily = write(tmp_path / "cron.daily/certs", "#!/bin/sh\nexec certbot -q renew\n", 0o755).parent
    write(daily / "certs.bak", "#!/bin/sh\ncertbot renew\n", 0o755)
    write(daily / "plain", "#!/bin/sh\ncertbot renew\n", 0o644)
    write(
        tmp_path / "crontab",
        f"0 3 * * * root {script}\n25 6 * * * root cd / && run-parts --report {daily}\n",
    )
    jobs = list(jobs_running(seen(tmp_path, cron=("crontab",)), RENEWAL, has_systemd=False))
    assert [job.where for job in jobs] == [f"{tmp_path}/crontab:1", f"{daily}/certs:1"]


def test_debians_cron_entry_does_nothing_where_systemd_runs(tmp_path: Path) -> None:
    write(tmp_path / "cron.d/certbot", DEBIAN_CERTBOT + "\n")
    facts = seen(tmp_path, cron=("cron.d",))
    assert [job.idle for job in jobs_running(facts, RENEWAL, has_systemd=False)] == [None]
    assert [job.idle for job in jobs_running(facts, RENEWAL, has_systemd=True)] != [None]


def test_a_timer_counts_when_some_target_wants_it(tmp_path: Path) -> None:
    lib = tmp_path / "lib"
    write(lib / "certbot.timer", "[Timer]\nOnCalendar=*-*-* 00,12:00:00\nPersistent=true\n")
    write(lib / "certbot.service", "[Service]\nType=oneshot\nExecStart=-/usr/bin/certbot \\\n   -q renew\n")
    (tmp_path / "etc").mkdir()
    off = seen(tmp_path, systemd=("etc", "lib"))
    assert off.timers == (
        Timer(
            name="certbot.timer",
            file=str(lib / "certbot.timer"),
            enabled=False,
            when=("OnCalendar=*-*-* 00,12:00:00",),
            service="certbot.service",
            commands=("/usr/bin/certbot -q renew",),
        ),
    )
    assert [job.idle for job in jobs_running(off, RENEWAL, has_systemd=True)] == ["it is not enabled"]
    wants = tmp_path / "etc/timers.target.wants"
    wants.mkdir()
    (wants / "certbot.timer").symlink_to(lib / "certbot.timer")
    on = seen(tmp_path, systemd=("etc", "lib"))
    assert [job.idle for job in jobs_running(on, RENEWAL, has_systemd=True)] == [None]
    assert [job.idle for job in jobs_running(on, RENEWAL, has_systemd=False)] == ["systemd does not run here"]
    (tmp_path / "etc/certbot.timer").symlink_to("/dev/null")
    masked = seen(tmp_path, systemd=("etc", "lib"))
    assert [timer.enabled for timer in masked.timers] == [False]
    assert masked.unseen == ()


def test_a_drop_in_replaces_what_a_service_runs(tmp_path: Path) -> None:
    write(tmp_path / "lib/x.timer", "[Timer]\nOnUnitActiveSec=1d\nUnit=y.service\n")
    write(tmp_path / "lib/y.service", "[Service]\nExecStart=/bin/old\n")
    write(tmp_path / "etc/y.service.d/own.conf", "[Service]\nExecStart=\nExecStart=/bin/new\n")
    assert seen(tmp_path, systemd=("etc", "lib")).timers[0].commands == ("/bin/new",)


def test_services_that_start_at_boot(tmp_path: Path) -> None:
    unit = write(tmp_path / "gte-ops-watchdog.service", "[Service]\nExecStart=/usr/bin/gte-ops watchdog\n")
    write(tmp_path / "other.service", "[Service]\nExecStart=/bin/other\n")
    (tmp_path / "multi-user.target.wants").mkdir()
    (tmp_path / "multi-user.target.wants" / unit.name).symlink_to(unit)
    assert seen(tmp_path, systemd=(".",)).services == (
        BootService(name=unit.name, file=str(tmp_path / unit.name), commands=("/usr/bin/gte-ops watchdog",)),
    )


def test_hostile_files_cost_nothing(tmp_path: Path) -> None:
    (tmp_path / "cron.d").mkdir()
    os.mkfifo(tmp_path / "cron.d/pipe")
    (tmp_path / "cron.d/binary").write_bytes(b"\x00\xff\x1b[2J" * 1000)
    (tmp_path / "cron.d/huge").write_bytes(b"* * * * * root x\n" * (MAX_FILE_BYTES // 8))
    (tmp_path / "cron.d/escape").write_text("@daily root echo \x1b]0;gotcha\x07 TOKEN=abc123secret\n")
    facts = seen(tmp_path, cron=("cron.d",))
    assert any("pipe" in place.reason for place in facts.unseen)
    assert len(facts.cron) <= 500
    words = " ".join(entry.command for entry in facts.cron)
    assert "\x1b" not in words
    assert "abc123secret" not in words


def test_a_unit_file_is_read_by_section() -> None:
    text = "# c\n[Unit]\nDescription=a=b\n; c\n[Timer]\nOnCalendar = daily\nbroken line\n"
    assert list(parse_unit(text)) == [("Unit.Description", "a=b"), ("Timer.OnCalendar", "daily")]
