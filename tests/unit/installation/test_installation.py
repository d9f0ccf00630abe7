"""An installation leaves a working host or an untouched one, wherever it fails or is killed."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ops.deployment.render import Deployment, NginxSite, RenderedFile
from ops.errors import OpsError, UsageError
from ops.installation.host import HostTree
from ops.installation.inputs import plain_argument
from ops.installation.issuance import AcmeAuthority, acme_sh_step, drop_in
from ops.installation.plan import InstallFacts, plan
from ops.installation.run import dry_run, install, planned_uninstall, uninstall
from ops.installation.steps import (
    EnableStep,
    FileStep,
    Original,
    Phase,
    ReadyStep,
    Record,
    StepState,
    Undo,
    UndoEnvironment,
    UndoFile,
    UndoLink,
    UndoUnits,
)
from ops.installation.store import InstallStore, Operation
from ops.report.installation import InstallationReport
from tests.unit.installation.made_host import (
    SETTINGS,
    KilledError,
    MadeHost,
    bare_host,
    issuance,
    steps,
    tree,
)

ALL_UNITS = {
    "gte-api.service",
    "gte-ops-watchdog.service",
    "gte-ops-backup.timer",
    "gte-ops-drill.timer",
    "gte-ops-cert.timer",
}


# Of the moments at which an installation is killed, CI takes every so many; the others are long tests.
EVERY = 13
WHICH_MOMENTS = [pytest.param(EVERY, id="sample"), pytest.param(1, id="all", marks=pytest.mark.long)]


@pytest.fixture(autouse=True)
def _no_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk outlives these processes anyway; to flush thousands of files would take minutes."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def assert_works(host: MadeHost) -> None:
    """Every step finds what it makes, and what runs is what is on disk."""
    result = dry_run(steps, host, InstallStore(host.root))
    assert not result.has_changes, [item for item in result.assessed if item.is_due]
    assert host.get("active") == host.get("enabled") == ALL_UNITS | {"nginx.service"}
    assert host.get("served") == host._nginx_on_disk()
    assert host.get("known") == host._units_on_disk()
    assert not (host.root / "var/lib/gte-ops/install/journal.jsonl").exists()


def test_from_a_bare_host_to_a_watched_service_and_back(tmp_path: Path) -> None:
    host = bare_host(tmp_path)
    before = tree(tmp_path)
    result = install(steps, host, InstallStore(tmp_path))
    assert_works(host)
    assert (tmp_path / "usr/local/bin/gte-ops").readlink() == Path("/opt/gte-api/venv/bin/gte-ops")
    assert [path for path, _ in result.kept] == [str(tmp_path / "etc/logrotate.d/gte-api")]
    uninstall(host, InstallStore(tmp_path), purge=True)
    assert tree(tmp_path) == before


def test_a_second_run_changes_nothing_and_says_so(tmp_path: Path) -> None:
    host = bare_host(tmp_path)
    install(steps, host, InstallStore(tmp_path))
    before, commands = tree(tmp_path), list(host.commands)
    result = install(steps, host, InstallStore(tmp_path))
    assert not result.has_changes
    assert {item.state for item in result.assessed} == {StepState.UNCHANGED}
    assert (tree(tmp_path), host.commands) == (before, commands)


def test_a_dry_run_shows_diffs_and_commands_and_changes_nothing(tmp_path: Path) -> None:
    host = bare_host(tmp_path)
    before = tree(tmp_path)
    result = dry_run(steps, host, InstallStore(tmp_path))
    assert (tree(tmp_path), host.commands) == (before, [])
    diffs = {
        str(item.step.file.path): item.diff for item in result.assessed if isinstance(item.step, FileStep)
    }
    assert "-# by hand, long ago\n" in diffs["/etc/logrotate.d/gte-api"]
    commands = [command for item in result.assessed for command in item.commands]
    assert "systemctl daemon-reload" in commands
    assert any(command.startswith("systemctl enable --now gte-api.service") for command in commands)


def how_many_moments(tmp_path: Path) -> int:
    host = bare_host(tmp_path / "counted")
    install(steps, host, InstallStore(host.root))
    return host.moments


def killed_installation(root: Path, moment: int) -> dict[str, str]:
    """The tree before an installation that is killed at ``moment``."""
    bare_host(root)
    before = tree(root)
    with pytest.raises(KilledError):
        install(steps, MadeHost(root, dies_at=moment), InstallStore(root))
    return before


@pytest.mark.parametrize("every", WHICH_MOMENTS)
def test_killed_at_every_moment_the_next_run_ends_it(tmp_path: Path, every: int) -> None:
    moments = how_many_moments(tmp_path)
    assert moments > 50
    for moment in range(0, moments, every):
        root = tmp_path / str(moment)
        before = killed_installation(root, moment)
        host = MadeHost(root)
        assert install(steps, host, InstallStore(root)).has_changes, moment
        assert_works(host)
        uninstall(host, InstallStore(root), purge=True)
        assert tree(root) == before, moment


@pytest.mark.parametrize("every", WHICH_MOMENTS)
def test_killed_at_every_moment_an_uninstallation_undoes_it(tmp_path: Path, every: int) -> None:
    for moment in range(1, how_many_moments(tmp_path), every):
        root = tmp_path / str(moment)
        before = killed_installation(root, moment)
        uninstall(MadeHost(root), InstallStore(root), purge=False)
        assert tree(root) == before, moment


@pytest.mark.parametrize("every", WHICH_MOMENTS)
def test_killed_again_while_it_undoes_the_run_after_that_ends_it(tmp_path: Path, every: int) -> None:
    last_moment = how_many_moments(tmp_path) - 1
    for moment in range(2, 500, every):
        root = tmp_path / str(moment)
        killed_installation(root, last_moment)
        try:
            install(steps, MadeHost(root, dies_at=moment), InstallStore(root))
        except KilledError:
            host = MadeHost(root)
            install(steps, host, InstallStore(root))
            assert_works(host)
        else:
            assert moment > 50
            return
    pytest.fail("it never ended")


@pytest.mark.parametrize("every", WHICH_MOMENTS)
def test_an_uninstallation_that_is_killed_is_carried_on(tmp_path: Path, every: int) -> None:
    for moment in range(3, 500, every):
        root = tmp_path / str(moment)
        host = bare_host(root)
        before = tree(root)
        install(steps, host, InstallStore(root))
        try:
            uninstall(MadeHost(root, dies_at=moment), InstallStore(root), purge=True)
        except KilledError:
            uninstall(MadeHost(root), InstallStore(root), purge=False)
            assert tree(root) == before, moment
        else:
            assert moment > 50
            return
    pytest.fail("it never ended")


@pytest.mark.parametrize("can_drill", [True, False])
def test_the_drill_is_enabled_where_a_backup_can_be_opened(can_drill: bool) -> None:
    steps = plan(Deployment(), InstallFacts(settings=SETTINGS, can_drill=can_drill))
    enabled = {unit for step in steps if isinstance(step, EnableStep) for unit in step.units}
    assert ("gte-ops-drill.timer" in enabled) is can_drill
    assert "gte-ops-backup.timer" in enabled


@pytest.mark.parametrize(
    "fails",
    [
        "validate systemd",
        "validate logrotate",
        "systemd-sysusers",
        "systemctl daemon-reload",
        "systemctl enable --now gte-api.service",
        "systemctl enable --now gte-ops-watchdog.service",
        "nginx -t",
        "systemctl reload nginx",
    ],
)
def test_any_failure_puts_everything_back(tmp_path: Path, fails: str) -> None:
    bare_host(tmp_path)
    before = tree(tmp_path)

    class FailsOnce(MadeHost):
        def run(self, *command: str, **options: Any) -> None:
            try:
                super().run(*command, **options)
            except OpsError:
                self.fails = ""
                raise

    with pytest.raises(OpsError, match="everything is as it was"):
        install(steps, FailsOnce(tmp_path, fails=fails), InstallStore(tmp_path))
    assert tree(tmp_path) == before


def test_a_service_that_does_not_become_ready_is_taken_back(tmp_path: Path) -> None:
    host = bare_host(tmp_path)
    before = tree(tmp_path)
    host.ready = False
    with pytest.raises(OpsError, match=r"not ready within .* no answer; everything is as it was"):
        install(steps, host, InstallStore(tmp_path))
    assert tree(tmp_path) == before


def test_what_cannot_be_put_back_is_said_and_tried_again(tmp_path: Path) -> None:
    bare_host(tmp_path)
    with pytest.raises(OpsError, match="not undone: systemctl daemon-reload"):
        install(steps, MadeHost(tmp_path, fails="systemctl daemon-reload"), InstallStore(tmp_path))
    host = MadeHost(tmp_path)
    assert install(steps, host, InstallStore(tmp_path)).undone
    assert_works(host)


# --- the certificate --------------------------------------------------------------------------------------------------


PAIR = tuple(f"etc/letsencrypt/live/gte-api.example.com/{name}.pem" for name in ("fullchain", "privkey"))


def changed_places(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """The first two parts of the paths that differ."""
    differing = {path for path, _ in before.items() ^ after.items()}
    return {"/".join(path.split("/")[:2]) for path in differing}


def steps_with_certbot() -> object:
    return steps(issuance=issuance())


def test_the_authority_is_asked_once_the_service_is_ready_and_nginx_answers(tmp_path: Path) -> None:
    host = bare_host(tmp_path)
    before = tree(tmp_path)
    install(steps_with_certbot, host, InstallStore(tmp_path))  # type: ignore[arg-type]
    assert_works(host)
    order = [command.split(" --")[0] for command in host.commands]
    asked = order.index("certbot certonly")
    assert order.index("systemctl enable") < asked
    assert order[asked - 2 : asked + 3] == [
        "nginx -t",
        "systemctl reload nginx",
        "certbot certonly",
        "nginx -t",
        "systemctl reload nginx",
    ]
    assert not (tmp_path / "etc/nginx/conf.d/00-gte-ops-challenge.conf").exists()
    assert not (tmp_path / "var/www/letsencrypt/.well-known").exists()
    result = uninstall(host, InstallStore(tmp_path), purge=False)
    assert str(tmp_path / "etc/letsencrypt/live/gte-api.example.com") in result.data
    uninstall(host, InstallStore(tmp_path), purge=True)
    assert tree(tmp_path) == before


def test_another_certificate_of_the_same_client_is_never_removed(tmp_path: Path) -> None:
    host = bare_host(tmp_path)
    install(steps_with_certbot, host, InstallStore(tmp_path))  # type: ignore[arg-type]
    other = tmp_path / "etc/letsencrypt/renewal/other.example.conf"
    other.write_text("")
    uninstall(host, InstallStore(tmp_path), purge=True)
    assert other.exists()
    assert (tmp_path / "etc/letsencrypt/accounts").is_dir()
    assert not (tmp_path / "etc/letsencrypt/live/gte-api.example.com").exists()


@pytest.mark.parametrize("every", WHICH_MOMENTS)
def test_killed_while_the_certificate_is_obtained_the_next_run_undoes_it(tmp_path: Path, every: int) -> None:
    counted = bare_host(tmp_path / "counted")
    install(steps_with_certbot, counted, InstallStore(counted.root))  # type: ignore[arg-type]
    for moment in range(5, counted.moments, every):
        root = tmp_path / str(moment)
        bare_host(root)
        before = tree(root)
        with pytest.raises(KilledError):
            install(steps_with_certbot, MadeHost(root, dies_at=moment), InstallStore(root))  # type: ignore[arg-type]
        uninstall(MadeHost(root), InstallStore(root), purge=False)
        if (root / PAIR[0]).exists():
            # It had been issued, and its client was done.
            assert (root / "etc/letsencrypt/renewal/gte-api.example.com.conf").exists(), moment
            assert changed_places(before, tree(root)) == {"etc/letsencrypt", "var/lib"}, moment
            uninstall(MadeHost(root), InstallStore(root), purge=True)
        assert tree(root) == before, moment


class FrontFails(MadeHost):
    """The service answers, and its site does not."""

    def wait_until_ready(
        self, address: str, path: str, seconds: float, domain: str | None, payload: str | None = None
    ) -> str | None:
        return "timed out" if domain else super().wait_until_ready(address, path, seconds, domain, payload)


def steps_with_certbot_unless_there_is_a_pair(root: Path) -> object:
    return steps() if (root / PAIR[1]).exists() else steps_with_certbot()


def test_a_certificate_that_was_issued_outlives_a_failure_and_serves_the_next_run(tmp_path: Path) -> None:
    bare_host(tmp_path)
    before = tree(tmp_path)
    plan_here = partial(steps_with_certbot_unless_there_is_a_pair, tmp_path)
    with pytest.raises(OpsError, match=r"timed out; everything is as it was, but the certificate was issued"):
        install(plan_here, FrontFails(tmp_path), InstallStore(tmp_path))  # type: ignore[arg-type]
    assert changed_places(before, tree(tmp_path)) == {"etc/letsencrypt", "var/lib"}
    assert all((tmp_path / path).exists() for path in PAIR)
    host = MadeHost(tmp_path)
    install(plan_here, host, InstallStore(tmp_path))  # type: ignore[arg-type]
    assert_works(host)
    assert not any(command.startswith("certbot") for command in host.commands)
    uninstall(host, InstallStore(tmp_path), purge=False)
    assert all((tmp_path / path).exists() for path in PAIR)
    uninstall(host, InstallStore(tmp_path), purge=True)
    assert tree(tmp_path) == before


def test_an_authority_that_refuses_puts_everything_back(tmp_path: Path) -> None:
    bare_host(tmp_path)
    before = tree(tmp_path)
    host = MadeHost(tmp_path, fails="certbot")
    with pytest.raises(OpsError, match=r"certbot certonly .* everything is as it was"):
        install(steps_with_certbot, host, InstallStore(tmp_path))  # type: ignore[arg-type]
    assert tree(tmp_path) == before


def test_acme_sh_copies_the_pair_to_where_nginx_reads_it() -> None:
    site = NginxSite(domain="a.example", certificate="/etc/ssl/gte/a.pem", private_key="/etc/ssl/gte/a.key")
    step = acme_sh_step(
        site,
        AcmeAuthority(server="zerossl", email="a@example.org"),
        program="/root/.acme.sh/acme.sh",
        site_file="/etc/nginx/conf.d/a.conf",
        test=("nginx", "-t"),
        reload=("systemctl", "reload", "nginx"),
    )
    issue, directories, copy = (" ".join(command) for command in step.commands)
    assert issue == (
        "/root/.acme.sh/acme.sh --issue --domain a.example --webroot /var/www/letsencrypt --server zerossl"
        " --accountemail a@example.org"
    )
    assert directories == "mkdir -p /etc/ssl/gte"
    assert "--fullchain-file /etc/ssl/gte/a.pem --key-file /etc/ssl/gte/a.key" in copy
    assert copy.endswith("--reloadcmd systemctl reload nginx")


def test_renewals_trust_the_authoritys_server_too() -> None:
    file = drop_in("/etc/systemd/system", "/etc/ssl/acme.pem")
    assert file.path == "/etc/systemd/system/certbot.service.d/gte-ops.conf"
    assert "Environment=REQUESTS_CA_BUNDLE=/etc/ssl/acme.pem\n" in file.text


@pytest.mark.parametrize("value", ["a b", "$(reboot)", "-x", "a\nb", "a;b"])
def test_a_value_that_is_no_plain_word_reaches_no_unit_and_no_command(value: str) -> None:
    with pytest.raises(UsageError, match="--email"):
        plain_argument("--email", value)


# --- by hand ----------------------------------------------------------------------------------------------------------


def other_steps() -> object:
    return plan(Deployment(site=NginxSite(rate="30r/m")), InstallFacts(settings=SETTINGS))


def test_a_file_edited_by_hand_is_shown_and_left_alone(tmp_path: Path) -> None:
    host = bare_host(tmp_path)
    install(steps, host, InstallStore(tmp_path))
    site = tmp_path / "etc/nginx/conf.d/gte-api.conf"
    site.write_text(site.read_text() + "# mine\n")
    result = install(other_steps, host, InstallStore(tmp_path))  # type: ignore[arg-type]
    (edited,) = result.edited
    assert edited.state is StepState.EDITED
    assert "-# mine\n" in edited.diff
    assert site.read_text().endswith("# mine\n")


def test_overwritten_when_asked_and_the_edit_is_kept(tmp_path: Path) -> None:
    host = bare_host(tmp_path)
    before = tree(tmp_path)
    install(steps, host, InstallStore(tmp_path))
    site = tmp_path / "etc/nginx/conf.d/gte-api.conf"
    site.write_text(site.read_text() + "# mine\n")
    result = install(steps, host, InstallStore(tmp_path), overwrite=True)
    assert Path(dict(result.kept)[str(site)]).read_text().endswith("# mine\n")
    assert_works(host)
    uninstall(host, InstallStore(tmp_path), purge=True)
    assert tree(tmp_path) == before, "back to what was there before the first run"


def test_a_changed_setting_replaces_what_was_installed(tmp_path: Path) -> None:
    host = bare_host(tmp_path)
    install(steps, host, InstallStore(tmp_path))
    result = install(other_steps, host, InstallStore(tmp_path))  # type: ignore[arg-type]
    due = [item.step for item in result.assessed if item.is_due]
    assert [step.file.path for step in due if isinstance(step, FileStep)] == [
        "/etc/nginx/conf.d/gte-api.conf"
    ]
    assert {step.phase for step in due if isinstance(step, ReadyStep)} == {Phase.READY, Phase.FRONT}
    assert "rate=30r/m" in (tmp_path / "etc/nginx/conf.d/gte-api.conf").read_text()
    assert host.get("served") == host._nginx_on_disk()


def test_uninstalling_copies_what_was_edited(tmp_path: Path) -> None:
    host = bare_host(tmp_path)
    install(steps, host, InstallStore(tmp_path))
    rule = tmp_path / "etc/logrotate.d/gte-api"
    rule.write_text("# mine\n")
    (copy,) = uninstall(host, InstallStore(tmp_path), purge=False).copies
    assert Path(copy).read_text() == "# mine\n"
    assert rule.read_text() == "# by hand, long ago\n"


# --- data -------------------------------------------------------------------------------------------------------------


def test_data_stays_until_it_is_purged(tmp_path: Path) -> None:
    host = bare_host(tmp_path)
    before = tree(tmp_path)
    install(steps, host, InstallStore(tmp_path))
    for path in ("var/log/nginx/gte-access.log", "var/log/nginx/gte-access.log.2.gz"):
        (tmp_path / path).write_text("requests")
    for path in (
        "var/log/gte-api/access.log",
        "var/backups/gte-ops/one.tar.zst",
        "var/lib/gte-ops/watchdog.json",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("data")
    planned = planned_uninstall(InstallStore(tmp_path), purge=False)
    result = uninstall(host, InstallStore(tmp_path), purge=False)
    assert str(tmp_path / "var/log/gte-api") in result.data
    assert str(tmp_path / "etc/gte-api") not in result.data, "an empty directory holds no data, and is gone"
    assert set(planned.data) == set(result.data)
    assert (tmp_path / "var/log/gte-api/access.log").read_text() == "data"
    assert (tmp_path / "etc/gte-ops/gte-ops.toml").exists()
    assert host.get("accounts") == {"gte-api", "gte-ops"}
    assert host.get("active") == {"nginx.service"}
    uninstall(host, InstallStore(tmp_path), purge=True)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("has_sysusers", [True, False])
@pytest.mark.parametrize("accounts", [{"gte-api"}, {"gte-api", "gte-ops"}])
def test_the_group_of_an_account_of_before_is_made_and_purged(
    tmp_path: Path, has_sysusers: bool, accounts: set[str]
) -> None:
    host = bare_host(tmp_path)
    host._set("accounts", accounts)
    host._set("groups", accounts - {"gte-api"})
    planned = partial(steps, has_sysusers=has_sysusers)
    install(planned, host, InstallStore(tmp_path))
    assert host.get("groups") == {"gte-api", "gte-ops"}
    assert not dry_run(planned, host, InstallStore(tmp_path)).has_changes
    uninstall(host, InstallStore(tmp_path), purge=True)
    assert host.get("accounts") == accounts
    assert host.get("groups") == accounts - {"gte-api"}


def test_an_account_that_somebody_may_log_in_to_is_named(tmp_path: Path) -> None:
    host = bare_host(tmp_path)
    for kind in ("accounts", "groups"):
        host._set(kind, {"gte-api", "gte-ops"})

    def said() -> list[str]:
        results = (
            dry_run(steps, host, InstallStore(tmp_path)),
            install(steps, host, InstallStore(tmp_path)),
        )
        lines = [line.words for result in results for line in InstallationReport(result).lines("en")]
        return [line for line in lines if "log in to" in line]

    assert said() == []
    host._set("logins", {"gte-api"})
    words = "gte-api is an account that somebody may log in to (shell /bin/bash, home /home/gte-api)"
    assert [words in line for line in said()] == [True, True]


def test_data_of_before_is_never_purged(tmp_path: Path) -> None:
    host = bare_host(tmp_path)
    (tmp_path / "var/backups/gte-ops").mkdir(parents=True)
    (tmp_path / "var/backups/gte-ops/gte-ops-old-20261101T000000Z.tar.zst").write_text("precious")
    (tmp_path / "var/lib/gte-ops").mkdir(parents=True)
    (tmp_path / "var/lib/gte-ops/watchdog.json").write_text("{}")
    before = tree(tmp_path)
    install(steps, host, InstallStore(tmp_path))
    uninstall(host, InstallStore(tmp_path), purge=True)
    assert tree(tmp_path) == before


def test_the_first_backup_is_the_last_step_and_its_failure_leaves_the_service(tmp_path: Path) -> None:
    bare_host(tmp_path)
    start = "systemctl start gte-ops-backup.service"
    result = install(steps, MadeHost(tmp_path, fails=start), InstallStore(tmp_path))
    assert result.no_backup is not None
    assert start in result.no_backup.en
    lines = list(InstallationReport(result).lines("en"))
    assert any("FAILED" in line.lead and "first backup" in line.words for line in lines)
    host = MadeHost(tmp_path)
    assert install(steps, host, InstallStore(tmp_path)).no_backup is None  # the next run tries again
    assert host.commands == [start]
    assert_works(host)


# --- the journal ------------------------------------------------------------------------------------------------------


def test_a_line_that_a_crash_cut_short_began_nothing(tmp_path: Path) -> None:
    killed_installation(tmp_path, 41)
    journal = tmp_path / "var/lib/gte-ops/install/journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) > 3
    assert {"run", "operation", "purge"} == set(json.loads(lines[0]))
    journal.write_bytes(b"".join(lines) + b'{"type":"file","pha')
    host = MadeHost(tmp_path)
    assert install(steps, host, InstallStore(tmp_path)).undone
    assert_works(host)


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    host = bare_host(tmp_path)
    with InstallStore(tmp_path).locked(), pytest.raises(OpsError, match="another gte-ops install"):
        install(steps, host, InstallStore(tmp_path))


def test_a_place_that_others_may_write_is_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    host = bare_host(tmp_path)
    (tmp_path / "etc/logrotate.d").chmod(0o777)
    before = tree(tmp_path)
    with pytest.raises(OpsError, match="everybody may"):
        install(steps, host, InstallStore(tmp_path))
    assert tree(tmp_path) == before


def test_a_host_without_systemd_gets_cron_entries_and_no_units() -> None:
    made = plan(Deployment(), replace(InstallFacts(settings=SETTINGS), has_systemd=False))
    paths = [step.file.path for step in made if isinstance(step, FileStep)]
    assert "/etc/cron.d/gte-ops-watchdog" in paths
    assert not [path for path in paths if "systemd" in path]


# --- trees that somebody else made ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file", "directory", "link", "environment", "units", "parent"])
@pytest.mark.parametrize("is_journal", [False, True])
def test_what_a_trees_record_says_of_the_host_is_not_done(
    tmp_path: Path, kind: str, is_journal: bool
) -> None:
    victim = tmp_path / "victim"
    (victim / "empty").mkdir(parents=True)
    (victim / "file").write_text("precious")
    (victim / "link").symlink_to("x")
    tree_root = tmp_path / "tree"
    (tree_root / "var/lib").mkdir(parents=True)
    undo: dict[str, Undo] = {
        "file": UndoFile(1, str(victim / "file"), "0" * 64),
        "directory": UndoFile(1, str(tree_root / "x"), "0" * 64, made=(str(victim / "empty"),)),
        "link": UndoLink(1, str(victim / "link"), "x"),
        "environment": UndoEnvironment(1, str(victim), "/bin/sh"),
        "units": UndoUnits(1, ("ssh.service",)),
        "parent": UndoFile(1, "/../victim/file", "0" * 64),
    }
    before = tree(victim)
    store = InstallStore(tree_root)
    with store.locked():
        if is_journal:
            store.begin(Operation.INSTALL)
            with (store.directory / "journal.jsonl").open("ab") as journal:
                journal.write(msgspec.json.encode(undo[kind]) + b"\n")
        else:
            (store.directory / "record.json").write_bytes(msgspec.json.encode(Record("a", (undo[kind],))))
    # A file's path is the tree's own; what is not a file's is refused.
    with contextlib.suppress(OpsError) if kind in ("file", "directory", "link") else pytest.raises(OpsError):
        uninstall(HostTree(tree_root), store, purge=True)
    assert tree(victim) == before


def test_a_tree_that_was_moved_or_booted_has_its_record_with_it(tmp_path: Path) -> None:
    file = RenderedFile("/etc/gte-api.conf", "installed", 0o644)

    def steps_of_tree() -> tuple[FileStep, ...]:
        return (FileStep(phase=Phase.FILES, file=file),)

    former, present = tmp_path / "former", tmp_path / "present"
    (former / "etc").mkdir(parents=True)
    install(steps_of_tree, HostTree(former), InstallStore(former))
    former.rename(present)
    (present / "etc/gte-api.conf").write_text("edited")
    (edited,) = install(steps_of_tree, HostTree(present), InstallStore(present)).edited
    assert edited.state is StepState.EDITED
    assert (present / "etc/gte-api.conf").read_text() == "edited"
    content = (present / "var/lib/gte-ops/install/record.json").read_text()
    assert '"/etc/gte-api.conf"' in content, "as the host names it once it has booted"
    assert str(former) not in content
    (copy,) = uninstall(HostTree(present), InstallStore(present), purge=True).copies
    assert Path(copy).read_text() == "edited"
    assert not (present / "etc/gte-api.conf").exists()


def test_uninstalling_from_an_empty_tree_leaves_it_empty(tmp_path: Path) -> None:
    uninstall(HostTree(tmp_path), InstallStore(tmp_path), purge=True)
    assert not any(tmp_path.iterdir())


def test_a_kept_file_that_is_another_by_now_is_not_put_back(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    tree_root = tmp_path / "tree"
    (tree_root / "etc").mkdir(parents=True)
    (tree_root / "etc/file").write_text("installed")
    store = InstallStore(tree_root)
    originals = store.directory / "originals"
    with store.locked():
        originals.mkdir()
        (originals / ("0" * 64)).symlink_to(secret)
        original = Original("0" * 64, 0o644, os.geteuid(), os.getegid(), 0)
        store.commit(Record("a", (UndoFile(1, str(tree_root / "etc/file"), "0" * 64, original),)))
    result = uninstall(HostTree(tree_root), store, purge=True)
    assert [words.en for words in result.troubles]
    assert (tree_root / "etc/file").read_text() == "installed"


def test_a_tree_whose_var_is_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "host/lib").mkdir(parents=True)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/var").symlink_to(tmp_path / "host")
    with pytest.raises(OpsError, match="a link leads out of"):
        install(steps, MadeHost(tmp_path / "tree"), InstallStore(tmp_path / "tree"))
    assert not any((tmp_path / "host/lib").iterdir())


@pytest.mark.parametrize("content", [b"{\n", b"\xff\n", b"[]\n"])
def test_a_damaged_journal_is_one_line(tmp_path: Path, content: bytes) -> None:
    host = bare_host(tmp_path)
    store = InstallStore(tmp_path)
    store.directory.mkdir(parents=True, mode=0o700)
    (store.directory / "journal.jsonl").write_bytes(content)
    with pytest.raises(OpsError, match=r"journal\.jsonl: cannot be read") as raised:
        install(steps, host, store)
    assert "内容已损坏" in raised.value.words.zh
    assert "JSON" not in raised.value.words.zh
