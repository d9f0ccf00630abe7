"""Who worked as root by sudo before a change."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

import pytest

from ops.baselines import authors
from ops.baselines.authors import dpkg_times, persons_before_packages, with_persons
from ops.baselines.sudo import SudoCommand, command_of_change, parse_line, sudo_commands, sudo_words
from ops.facts.changes import Change, ChangeKind, Changes, PlaceKind
from ops.interpret.redaction_changes import redacted_changes

SITE = "/etc/nginx/conf.d/gte-api.conf"
EDIT = f"/usr/bin/vim {SITE}"
FIELDS = "TTY=pts/0 ; PWD=/home/alice ; USER=root ; COMMAND="
NOW = datetime.fromisoformat("2026-11-30T03:00:00+00:00").timestamp()


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.mark.parametrize(
    "line",
    [
        f"2026-11-30T02:57:00.123456+00:00 web1 sudo:    alice : {FIELDS}{EDIT}",
        f"2026-11-30T10:57:00+08:00 web1 sudo[811]: alice : {FIELDS}{EDIT}",
        f"Nov 30 02:57:00 web1 sudo:    alice : {FIELDS}{EDIT}",
        f"Nov 30 02:57:00 web1 sudo[811]:    alice : HOST=web1 ; {FIELDS}{EDIT}",
    ],
)
def test_a_command_in_a_log_of_logins(line: str) -> None:
    command = parse_line(line, NOW)
    assert command is not None
    assert (round(NOW - command.time), command.user, command.command) == (180, "alice", EDIT)


@pytest.mark.parametrize(
    "line",
    [
        f"Nov 30 02:57:00 web1 sudo:    alice : user NOT in sudoers ; {FIELDS}{EDIT}",
        f"Nov 30 02:57:00 web1 sudo:    alice : 3 incorrect password attempts ; {FIELDS}{EDIT}",
        "Nov 30 02:57:00 web1 sudo: pam_unix(sudo:session): session opened for user root(uid=0) by alice(uid=1000)",
        f"Nov 31 02:57:00 web1 sudo:    alice : {FIELDS}{EDIT}",
        f"Nov 30 02:57:00 web1 app: x sudo: alice : {FIELDS}{EDIT}",
        "",
    ],
)
def test_other_lines_are_no_command(line: str) -> None:
    assert parse_line(line, NOW) is None


def test_a_stamp_without_a_year_is_of_the_last_twelve_months() -> None:
    january = datetime.fromisoformat("2027-01-02T00:00:00+00:00").timestamp()
    command = parse_line(f"Dec 31 23:59:00 web1 sudo: alice : {FIELDS}/bin/ls", january)
    assert command is not None
    assert january - command.time == 24 * 3600 + 60


def test_the_command_that_names_the_file_comes_before_a_nearer_one() -> None:
    named = SudoCommand(NOW - 400, "alice", EDIT)
    by_name = SudoCommand(NOW - 400, "alice", "/usr/bin/sed -i s/8000/8001/ gte-api.conf")
    nearer = SudoCommand(NOW - 5, "bob", "/usr/bin/apt update")
    shell = SudoCommand(NOW - 3000, "carol", "/bin/bash")
    assert command_of_change([shell, named, nearer], SITE, NOW) == named
    assert command_of_change([shell, by_name, nearer], SITE, NOW) == by_name
    assert command_of_change([shell, nearer], SITE, NOW) == shell
    assert command_of_change([nearer], SITE, NOW) == nearer


def test_what_came_later_or_long_before_is_nobodys() -> None:
    later = SudoCommand(NOW + 30, "alice", EDIT)
    long_before = SudoCommand(NOW - 7200, "alice", EDIT)
    other = SudoCommand(NOW - 300, "alice", "/usr/bin/apt update")
    assert command_of_change([long_before, other, later], SITE, NOW) is None


def test_the_log_is_read_from_the_time_on_and_the_next_one_without_any(tmp_path: Path) -> None:
    lines = [
        f"2026-11-30T{at}+00:00 web1 sudo:    alice : {FIELDS}{EDIT}"
        for at in ("01:00:00", "02:57:00", "02:58:00")
    ]
    secure = tmp_path / "secure"
    secure.write_text("\n".join(["2026-11-30T00:00:00+00:00 web1 sshd[1]: x", *lines]) + "\n")
    commands = sudo_commands(NOW - 3600, [str(tmp_path / "auth.log"), str(secure)])
    assert [round(NOW - command.time) for command in commands] == [180, 120]


def change(by: str = "", at: float | None = NOW) -> Change:
    return Change(place=PlaceKind.NGINX, what=SITE, kind=ChangeKind.CONTENT, time=at, by=by)


def test_only_a_change_without_an_author_gets_the_person() -> None:
    commands = [SudoCommand(NOW - 60, "alice", f"{EDIT} \x1b[31m")]
    named, known, undated = with_persons(
        [change(), change(by="certbot"), change(at=None)], lambda _since: commands
    )
    assert named.by.startswith(f"sudo: alice 02:59:00: {EDIT}")
    assert "\x1b" not in named.by
    assert (known.by, undated.by) == ("certbot", "")


def test_who_put_the_shipped_content_back_outranks_the_package_unless_its_manager_ran_then() -> None:
    person, package = change(by="sudo: alice 02:59:00: cp"), change(by="dpkg: nginx-common")
    log = (
        "2026-11-30 01:00:00 upgrade nginx-common:all 1.22 1.24\n"
        "2026-11-30 01:00:07 status installed nginx-common:all 1.24\n"
        "2026-11-30 02:59:59 status installed nginx-core:amd64 1.24\n"
    )
    former = dpkg_times(log, "nginx-common")
    assert len(former) == 2
    assert list(persons_before_packages([person], [package], lambda _by: former)) == [person]
    assert list(persons_before_packages([person], [package], lambda _by: [NOW - 7.0])) == [package]
    nobody, mark = change(), change(by="gte-ops deploy mark v2")
    assert list(persons_before_packages([nobody], [package], lambda _by: ())) == [package]
    assert list(persons_before_packages([mark, nobody], [mark, nobody], lambda _by: ())) == [mark, nobody]


def test_the_authors_of_changes_name_the_person_before_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authors, "sudo_commands", lambda _since: [SudoCommand(NOW - 60, "alice", EDIT)])
    monkeypatch.setattr(authors, "with_packages", lambda _changes: [change(by="dpkg: nginx-common")])
    monkeypatch.setattr(authors, "_tail", lambda _path: "")
    (named,) = authors.with_authors([change()], None, None, [])
    assert named.by.startswith("sudo: alice")


def test_the_log_is_not_read_where_every_author_is_known() -> None:
    def unread(_since: float) -> list[SudoCommand]:
        raise AssertionError("read in vain")

    assert [item.by for item in with_persons([change(by="git: x")], unread)] == ["git: x"]


def test_a_password_among_the_arguments_is_masked_and_a_bundle_has_the_program_alone() -> None:
    words = sudo_words(SudoCommand(NOW, "alice", "/usr/bin/mysql --password=hunter2secret shop"))
    assert "hunter2secret" not in words
    changes = Changes(taken_at=0.0, confirmed_at=0.0, by="accept", changes=(change(by=words),))
    assert redacted_changes(changes).changes[0].by == "sudo: alice 03:00:00: /usr/bin/mysql"
