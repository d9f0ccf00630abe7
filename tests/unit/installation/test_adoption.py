"""`gte-ops adopt` hands over from a service to another one: what nginx asks runs at every moment, killed or not."""

from __future__ import annotations

import os
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from ops.deployment.install import RefusedError
from ops.deployment.render import Deployment, RenderedFile
from ops.errors import OpsError
from ops.facts.host import Process
from ops.installation.adoption import (
    environment_notes,
    is_adopted,
    service_variables,
    settings_step,
    undo,
    with_values,
)
from ops.installation.cron_starts import ShellContext, what_starts
from ops.installation.former import (
    StarterForm,
    Starters,
    former_service,
    starters,
    without_starts,
)
from ops.installation.host import StepError
from ops.installation.plan import InstallFacts, plan
from ops.installation.run import install, uninstall
from ops.installation.steps import (
    DrainStep,
    FileStep,
    FormerService,
    Phase,
    ReadyStep,
    RetireStep,
    Step,
)
from ops.installation.store import InstallStore
from ops.interpret.process_ref import ProcessRef
from ops.settings import parse_settings
from tests.unit.installation.made_host import SETTINGS, KilledError, MadeHost, bare_host, tree

SITE = "/etc/nginx/conf.d/gte-api.conf"
FORMER = FormerService(ProcessRef(7, 7), "127.0.0.1:8000", "former.service", True)
CRONTAB = RenderedFile("/var/spool/cron/crontabs/root", "# gte-ops adopt: @reboot start\n", 0o600)
# Of the moments at which it is killed, CI takes every so many.
WHICH_MOMENTS = [pytest.param(53, id="sample"), pytest.param(1, id="all", marks=pytest.mark.long)]


@pytest.fixture(autouse=True)
def _no_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


class AdoptedHost(MadeHost):
    """A host with a former service, whose nginx must never ask what does not run."""

    returns = True

    def _moment(self) -> None:
        super()._moment()
        former = any(line in self.get("served") for line in self.get("former-site"))
        assert self.is_active("former.service" if former else "gte-api.service")

    def retirement(self, service: FormerService) -> list[tuple[str, ...]]:
        return (
            [("systemctl", "disable", "--now", str(service.unit))] if self.is_active("former.service") else []
        )

    def drain(self, file: str, seconds: float) -> None:  # noqa: ARG002
        self._moment()

    def retire(self, service: FormerService) -> None:
        self._moment()
        if self.fails == "retire":
            raise StepError("it does not end")
        self._set("enabled", self.get("enabled") - {str(service.unit)})
        self._set("active", self.get("active") - {str(service.unit)})
        self._moment()

    def bring_back(self, service: FormerService, seconds: float) -> None:  # noqa: ARG002
        self._moment()
        if not self.returns:
            raise StepError("it does not start")
        self._set("enabled", self.get("enabled") | {str(service.unit)})
        self._set("active", self.get("active") | {str(service.unit)})
        self._moment()


def former_host(root: Path) -> AdoptedHost:
    """A host that serves by hand."""
    made = bare_host(root)
    for path, text in ((SITE, "# by hand\n"), (CRONTAB.path, "@reboot start\n")):
        (root / path.lstrip("/")).parent.mkdir(parents=True)
        (root / path.lstrip("/")).write_text(text)
    made._set("served", made._nginx_on_disk())
    made._set("former-site", {line for line in made._nginx_on_disk() if line.startswith("gte-api.conf")})
    for name in ("active", "enabled"):
        made._set(name, made.get(name) | {"former.service"})
    return AdoptedHost(root)


def steps() -> Sequence[Step]:
    """The plan of an adoption for the example's values."""
    further: list[Step] = [
        ReadyStep(phase=Phase.READY, address="unix:/run/s", path="/predict", seconds=1.0, payload="{}"),
        DrainStep(file=SITE, seconds=1.0),
        FileStep(phase=Phase.STARTERS, file=CRONTAB),
        RetireStep(former=FORMER, file=SITE, seconds=1.0),
    ]
    installed = plan(Deployment(), InstallFacts(settings=SETTINGS))
    return sorted((*installed, *further), key=lambda step: step.phase)


def test_the_new_service_takes_over_and_undo_gives_back(tmp_path: Path) -> None:
    host = former_host(tmp_path)
    before = tree(tmp_path)
    store = InstallStore(tmp_path)
    install(steps, host, store)
    assert not host.is_active("former.service")
    assert host.is_active("gte-api.service")
    assert is_adopted(store.record())
    assert not install(steps, host, store).has_changes
    undo(AdoptedHost(tmp_path), store, purge=True, is_dry=False)
    assert tree(tmp_path) == before


def killed_adoption(root: Path, moment: int) -> dict[str, str]:
    former_host(root)
    before = tree(root)
    with pytest.raises(KilledError):
        install(steps, AdoptedHost(root, dies_at=moment), InstallStore(root))
    return before


def how_many_moments(root: Path) -> int:
    host = former_host(root / "counted")
    install(steps, host, InstallStore(host.root))
    return host.moments


@pytest.mark.parametrize("every", WHICH_MOMENTS)
def test_killed_at_every_moment_the_next_run_ends_it_or_undoes_it(tmp_path: Path, every: int) -> None:
    moments = how_many_moments(tmp_path)
    assert moments > 50
    for moment in range(3, moments, every):
        before = killed_adoption(tmp_path / str(moment), moment)
        host = AdoptedHost(tmp_path / str(moment))
        install(steps, host, InstallStore(host.root))
        assert not host.is_active("former.service"), moment
        undo(AdoptedHost(host.root), InstallStore(host.root), purge=True, is_dry=False)
        assert tree(host.root) == before, moment

        before = killed_adoption(tmp_path / f"undone-{moment}", moment)
        uninstall(
            AdoptedHost(tmp_path / f"undone-{moment}"),
            InstallStore(tmp_path / f"undone-{moment}"),
            purge=True,
        )
        assert tree(tmp_path / f"undone-{moment}") == before, moment


@pytest.mark.parametrize("every", WHICH_MOMENTS)
def test_an_undo_that_is_killed_is_carried_on(tmp_path: Path, every: int) -> None:
    for moment in range(3, 500, every):
        root = tmp_path / str(moment)
        former_host(root)
        before = tree(root)
        store = InstallStore(root)
        install(steps, AdoptedHost(root), store)
        try:
            undo(AdoptedHost(root, dies_at=moment), store, purge=True, is_dry=False)
        except KilledError:
            undo(AdoptedHost(root), store, purge=True, is_dry=False)
            assert tree(root) == before, moment
        else:
            assert moment > 50
            return
    pytest.fail("it never ended")


def test_a_former_service_that_does_not_end_leaves_everything_as_it_was(tmp_path: Path) -> None:
    host = former_host(tmp_path)
    before = tree(tmp_path)
    host.fails = "retire"
    with pytest.raises(OpsError, match="it does not end; everything is as it was"):
        install(steps, host, InstallStore(tmp_path))
    assert tree(tmp_path) == before


def test_while_the_former_service_does_not_start_the_new_one_goes_on_serving(tmp_path: Path) -> None:
    host = former_host(tmp_path)
    before = tree(tmp_path)
    store = InstallStore(tmp_path)
    install(steps, host, store)
    host.returns = False
    result = undo(host, store, purge=True, is_dry=False)
    assert [trouble.en for trouble in result.troubles] == ["it does not start"]
    assert host.is_active("gte-api.service")
    host.returns = True
    undo(host, store, purge=True, is_dry=False)
    assert tree(tmp_path) == before


def test_undo_of_what_was_not_adopted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OpsError, match="was not adopted"):
        undo(bare_host(tmp_path), InstallStore(tmp_path), purge=False, is_dry=False)


def test_settings_get_the_new_place_and_keep_the_rest() -> None:
    text = '# mine\n[gunicorn]\nbind = "127.0.0.1:8000"  # old\nstart_command = "x"\ntimeout = 5\n'
    text += "\n[notify]\nurls = []\n"
    changed = with_values(
        text, "gunicorn", {"bind": "unix:/run/s", "start_command": None, "unit": "a.service"}
    )
    assert changed == (
        '# mine\n[gunicorn]\nbind = "unix:/run/s"\nunit = "a.service"\ntimeout = 5\n\n[notify]\nurls = []\n'
    )
    assert with_values(changed, "gunicorn", {"bind": "unix:/run/s"}).count("bind") == 1
    new = with_values(with_values("", "target", {"domain": "a.example"}), "app", {"dir": "/opt/a"})
    assert parse_settings(new.encode(), "made").target.domain == "a.example"
    with pytest.raises(OpsError, match="plain characters"):
        with_values("", "app", {"dir": '/a"\n[b]'})


@pytest.mark.parametrize(
    "text", ["[target]", '["target"]\n', "[ target ]  # mine", '[target]\r\nurl = "a"\r\n']
)
def test_settings_are_edited_below_any_form_of_their_header(text: str) -> None:
    settings = tomllib.loads(with_values(text, "target", {"domain": "b"}))
    assert settings == {"target": {**tomllib.loads(text)["target"], "domain": "b"}}


@pytest.mark.parametrize(
    "text",
    [
        'target.domain = "a"\n',
        'target = { domain = "a" }\n',
        '[target]\n"domain" = "a"\n',
        '[target]\ndomain = """\na\n"""\n',
    ],
)
def test_settings_in_a_form_that_is_not_edited_are_refused_with_the_remedy(text: str) -> None:
    with pytest.raises(OpsError, match=r"\[target\] is written in a form .* nothing was changed"):
        with_values(text, "target", {"domain": "b"})


@pytest.mark.parametrize("mode", [0o640, 0o600, 0o440, 0o644, 0o604])
def test_the_settings_keep_their_mode_and_are_never_wider_elsewhere(tmp_path: Path, mode: int) -> None:
    here, elsewhere = tmp_path / "gte-ops.toml", tmp_path / "elsewhere.toml"
    here.touch()
    here.chmod(mode)
    kept = settings_step(here, here, "")
    assert (kept.file.mode, kept.keeps_owner) == (mode, True)
    new = settings_step(here, elsewhere, "")
    assert new.file.mode == 0o600 | (mode & 0o044)
    elsewhere.touch()
    elsewhere.chmod(0o600)
    assert settings_step(here, elsewhere, "").file.mode == 0o600
    assert settings_step(None, elsewhere, "").file.mode == 0o644


def test_variables_stay_whatever_their_values_or_are_named() -> None:
    variables = service_variables(
        {
            b"GTE_A": b'say "$HOME" `x` \\ {"k": 1}; 100%',
            b"GTE_2": "模型".encode(),
            b"GTE_BIND": b"127.0.0.1:8000",
            b"GTE_LINES": b"a\nb",
            b"GTE_BYTES": b"\xff",
            b"OTHER": b"x",
        },
        "/srv/model",
    )
    assert variables.text == (
        'GTE_2="模型"\n'
        'GTE_A="say \\"\\$HOME\\" \\`x\\` \\\\ {\\"k\\": 1}; 100%"\n'
        'GTE_MODEL_DIR="/srv/model"\n'
    )
    assert variables.lost == ("GTE_BYTES", "GTE_LINES")
    assert [note.en.split()[1] for note in environment_notes(variables, None)] == ["GTE_BYTES", "GTE_LINES"]
    left = environment_notes(variables, 'GTE_A="mine"\nGTE_LINES=x\n')
    assert [note.en.split()[1] for note in left] == ["GTE_BYTES", "GTE_2", "GTE_MODEL_DIR"]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_a_users_own_crontab_is_edited_and_stays_the_users(tmp_path: Path) -> None:
    host = former_host(tmp_path)
    crontab = tmp_path / "var/spool/cron/crontabs/nobody"
    crontab.write_text("@reboot cd /srv/app && gunicorn app:app\n")
    crontab.chmod(0o600)
    os.chown(crontab, 1000, 1001)
    before = tree(tmp_path)
    files = starters(tmp_path, "/srv/app").files
    assert [file.path for file in files] == ["/var/spool/cron/crontabs/nobody"]

    def with_crontab() -> Sequence[Step]:
        step = FileStep(phase=Phase.STARTERS, file=files[0], keeps_owner=True)
        return sorted((*steps(), step), key=lambda step: step.phase)

    install(with_crontab, host, InstallStore(tmp_path))
    assert crontab.read_text().startswith("# gte-ops adopt: @reboot")
    assert (crontab.stat().st_uid, crontab.stat().st_gid, crontab.stat().st_mode & 0o7777) == (
        1000,
        1001,
        0o600,
    )
    undo(AdoptedHost(tmp_path), InstallStore(tmp_path), purge=True, is_dry=False)
    assert tree(tmp_path) == before
    assert (crontab.stat().st_uid, crontab.stat().st_gid) == (1000, 1001)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_a_file_of_another_user_is_refused_with_its_path_once_and_the_remedy(tmp_path: Path) -> None:
    host = former_host(tmp_path)
    os.chown(tmp_path / SITE.lstrip("/"), 1000, 1000)
    with pytest.raises(RefusedError) as caught:
        install(steps, host, InstallStore(tmp_path))
    assert caught.value.words.en.count(SITE) == 1
    assert caught.value.words.zh.count(SITE) == 1
    assert "root alone" in caught.value.words.en


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_a_crontab_in_another_users_directory_is_named_and_left_alone(tmp_path: Path) -> None:
    crontab = tmp_path / "var/spool/cron/crontabs/nobody"
    crontab.parent.mkdir(parents=True)
    crontab.write_text("@reboot cd /srv/app && gunicorn app:app\n")
    os.chown(crontab.parent, 1000, 1000)
    judged = starters(tmp_path, "/srv/app")
    assert not judged.files
    assert judged.undecided[0].en.startswith("/var/spool/cron/crontabs/nobody:1: left alone")


def test_lines_that_start_the_service_become_comments(tmp_path: Path) -> None:
    script = tmp_path / "start-prod.sh"
    script.write_text("#!/bin/bash\ngunicorn -c gunicorn.conf.py app:app\n")
    (tmp_path / "copy.sh").write_text("#!/bin/bash\ntar c .\n")
    lines = [
        f"@reboot bash {script}\n",
        f"* * * * * cd {tmp_path} && venv/bin/gunicorn -D app:app\n",
        f"0 3 * * * bash {tmp_path}/copy.sh\n",
        f"# bash {script}\n",
        "@reboot /usr/bin/other\n",
    ]
    changed = without_starts("".join(lines), str(tmp_path)).splitlines(keepends=True)
    assert changed == [f"# gte-ops adopt: {line}" for line in lines[:2]] + lines[2:]


@pytest.mark.parametrize(
    "command",
    [
        "cd /srv/app && venv/bin/gunicorn -D app:app",
        "/srv/app/venv/bin/gunicorn -c /srv/app/gunicorn.conf.py app:app >> /var/log/app.log 2>&1 &",
        "bash -c 'cd /srv/app && exec venv/bin/gunicorn app:app'",
        "nohup env GTE_ENGINE=auto /srv/app/venv/bin/gunicorn --chdir=/srv/app app:app",
        "GTE_ENGINE=auto sudo -u www /srv/app/venv/bin/gunicorn app:app",
        "flock -n /run/app.lock -c 'cd /srv/app; gunicorn app:app'",
        "su - www -c 'cd /srv/app && gunicorn app:app'",
        "runuser -u www -- /srv/app/venv/bin/python3 -m gunicorn app:app",
        "pgrep -f gunicorn >/dev/null || (cd /srv/app && gunicorn -D app:app)",
        "runuser -u www -- gunicorn -c /srv/app/gunicorn.conf.py app:app",
        "systemd-cat -t gunicorn timeout 5h setsid -f /srv/app/venv/bin/gunicorn app:app",
        "sudo -E -u git env -C /srv/app venv/bin/gunicorn app:app 2>&1 | logger",
        "[ $# -eq 0 ] && cd /srv/app && gunicorn app:app >/dev/null # at boot",
    ],
)
def test_a_line_that_starts_the_service_becomes_a_comment_however_it_is_wrapped(command: str) -> None:
    assert without_starts(f"@reboot {command}\n", "/srv/app").startswith("# gte-ops adopt: @reboot")
    system = f"* * * * * no-such-user {command}\n"
    assert without_starts(system, "/srv/app", StarterForm.SYSTEM_CRONTAB).startswith("# gte-ops adopt: ")
    assert without_starts(f"{command}\n", "/srv/app", StarterForm.SCRIPT).startswith("# gte-ops adopt: ")


@pytest.mark.parametrize(
    "command",
    [
        "tar czf /backup/app.tgz --exclude=gunicorn.pid /srv/app",
        "find /srv/app/logs -name 'gunicorn*.log' -delete",
        "/srv/app2/venv/bin/gunicorn -b 127.0.0.1:9000 shop:app",
        "cd /srv/app2 && gunicorn shop:app",
        "pkill -F /srv/app/gunicorn.pid; rm -f /srv/app/gunicorn.pid",
        "/srv/app/venv/bin/gunicorn --check-config app:app",
        "python3 /srv/app/report.py --about gunicorn",
        "systemd-cat -t gunicorn tar c /srv/app",
        "sudo -u gunicorn tar c /srv/app",
        "echo started >/srv/app/gunicorn; echo done # gunicorn app:app",
    ],
)
def test_a_line_that_starts_nothing_of_the_service_stays_and_is_not_named(
    tmp_path: Path, command: str
) -> None:
    crontab = tmp_path / "etc/cron.d/app"
    crontab.parent.mkdir(parents=True)
    crontab.write_text(f"@reboot root {command}\n")
    assert starters(tmp_path, "/srv/app") == Starters()


@pytest.mark.parametrize(
    "command",
    [
        "supervise /srv/app/venv/bin/gunicorn app:app",
        "$RUN gunicorn app:app",
        "cd /srv/app/other && gunicorn other:app",
        "screen -dmS app /srv/app/venv/bin/gunicorn app:app",
        "nohup screen -dmS app /srv/app/venv/bin/gunicorn app:app",
        "echo it's; cd /srv/app && gunicorn app:app",
    ],
)
def test_a_line_that_cannot_be_decided_is_left_alone_and_named(tmp_path: Path, command: str) -> None:
    crontab = tmp_path / "etc/cron.d/app"
    crontab.parent.mkdir(parents=True)
    crontab.write_text(f"# of app\n@reboot root {command}\n")
    judged = starters(tmp_path, "/srv/app")
    assert not judged.files
    assert [text.en.partition(": ")[0] for text in judged.undecided] == ["/etc/cron.d/app:2"]
    assert command in judged.undecided[0].zh


def test_a_script_counts_by_what_it_runs(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "start.sh").write_text(
        '#!/bin/sh\ncd "$(dirname "$0")" || exit 1\nexec venv/bin/gunicorn app:app\n'
    )
    (app / "backup.sh").write_text("#!/bin/sh\ntar c --exclude=gunicorn.pid .\n")
    (app / "stop.sh").write_text("#!/bin/sh\npkill gunicorn\n")
    (tmp_path / "outside.sh").write_text(f'#!/bin/bash\nAPP={app}\ncd "$APP" && gunicorn app:app &\n')
    lines = [
        f"@reboot {app}/start.sh\n",
        f"@reboot cd {app} && ./start.sh\n",
        f"@reboot sh {tmp_path}/outside.sh\n",
        f"0 3 * * * sh {app}/backup.sh\n",
        f"0 3 * * * {app}/stop.sh\n",
    ]
    changed = without_starts("".join(lines), str(app)).splitlines(keepends=True)
    assert changed == [f"# gte-ops adopt: {line}" for line in lines[:3]] + lines[3:]


@pytest.mark.parametrize("part", ["$(a)", "$(", '"$(a)', "`", "'", "\\", "&>", "a=", "$((a)"])
def test_a_text_made_to_take_long_is_read_at_once(part: str) -> None:
    began = time.process_time()
    what_starts(f'gunicorn "{part * 1000}', ShellContext("/srv/app", "/root", "/root"))
    assert time.process_time() - began < 2


def test_a_line_of_rc_local_inside_a_compound_command_is_left_to_a_person(tmp_path: Path) -> None:
    script = tmp_path / "etc/rc.local"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\nif true; then\n  cd /srv/app && gunicorn app:app &\nfi\nexit 0\n")
    judged = starters(tmp_path, "/srv/app")
    assert not judged.files
    assert judged.undecided[0].en.startswith("/etc/rc.local:3: ")


@pytest.mark.parametrize(
    ("unit", "ppid", "main_pid", "expected"),
    [
        ("gte.service", 1, 42, "gte.service"),
        ("gte.service", 1, 0, "gte.service"),  # forked, without a pidfile
        (
            "supervisor.service",
            40,
            40,
            None,
        ),  # another program's unit: ended with it all its children would be
        ("cron.service", 1, 40, None),
        ("session-3.scope", 1, 0, None),
    ],
)
def test_a_unit_is_the_services_own_only_if_it_starts_nothing_else(
    unit: str, ppid: int, main_pid: int, expected: str | None
) -> None:
    master = Process(
        pid=os.getpid() if expected is None else 42,
        ppid=ppid,
        name="gunicorn",
        command=("/v/bin/python3", "/v/bin/gunicorn", "app:app"),
        user="root",
        state="sleeping",
        started=0.0,
        unit=unit,
    )
    service = former_service(master, "127.0.0.1:8000", (), main_pid=main_pid, is_enabled=True)
    assert service is not None
    assert service.unit == expected
    assert (service.launch is None) == (expected is not None)
