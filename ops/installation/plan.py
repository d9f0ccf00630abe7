"""The plan of an installation: from a deployment's values and what is known of the host to the steps. No I/O."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ops.deployment.render import (
    ACCOUNTS_FILE,
    DIRECTORIES_FILE,
    METRICS_FILES,
    Deployment,
    DeploymentKind,
    RenderedFile,
    account_command,
    accounts_of,
    render,
)
from ops.installation.steps import (
    AccountsStep,
    BackupStep,
    CertificateStep,
    DataStep,
    DirectoriesStep,
    Directory,
    EnableStep,
    EnvironmentStep,
    FileStep,
    LinkStep,
    NginxStep,
    Phase,
    ReadyStep,
    Step,
    UnitsStep,
)

SETTINGS_FILE = "/etc/gte-ops/gte-ops.toml"
COMMAND = "/usr/local/bin/gte-ops"
HOOK = "/etc/letsencrypt/renewal-hooks/deploy/reload-nginx"
WATCHDOG = "gte-ops-watchdog.service"
DRILL = "gte-ops-drill.timer"
TIMERS = ("gte-ops-backup.timer", DRILL, "gte-ops-cert.timer")
# Filled by the service, the watchdog, backups and checks.
DATA = (
    "/var/lib/gte-ops",
    "/var/lib/gte-ops-cert",
    "/var/lib/gte-ops-backup",
    "/var/log/gte-api",
    "/var/cache/gte-ops",
    "/etc/gte-api",
    "/etc/gte-ops",
)
_DIRECTORY = re.compile(r"(?m)^d (?P<path>\S+) (?P<mode>\d+) (?P<user>\S+) (?P<group>\S+)")


@dataclass(frozen=True, kw_only=True)
class InstallFacts:
    """What the plan must know of the host and of what was asked for.

    ``settings``: the file to put at /etc/gte-ops/gte-ops.toml, None if it is there; ``requirement``: what the Python
    environment must have, None to leave it alone; ``certificate``: files of a certificate made just now;
    ``issuance``: how a certificate is obtained; ``certbot_drop_in``: for certbot's own unit;
    ``keeps_running``: the service is not restarted for a changed unit; ``can_drill``: backups can be opened here;
    ``textfiles``: node_exporter's directory, None without one; ``hook``: certbot's deploy hook, None without
    certbot."""

    is_running: bool = True
    has_systemd: bool = True
    has_prometheus: bool = False
    settings: RenderedFile | None = None
    requirement: str | None = None
    wheels: str | None = None
    certificate: tuple[RenderedFile, ...] = ()
    issuance: CertificateStep | None = None
    certbot_drop_in: RenderedFile | None = None
    textfiles: str | None = None
    hook: str | None = None
    has_sysusers: bool = True
    ready_path: str = "/ready"
    ready_seconds: float = 120.0
    keeps_running: bool = False
    can_drill: bool = True


def plan(deployment: Deployment, facts: InstallFacts) -> tuple[Step, ...]:
    """The steps for this deployment, in their order. Raises UsageError for a value that no file can take."""
    return tuple(sorted(_steps(deployment, facts), key=lambda step: step.phase))


def _steps(deployment: Deployment, facts: InstallFacts) -> Iterator[Step]:
    if facts.is_running:
        site = deployment.site
        yield DataStep(paths=(*DATA, deployment.backup_dir, site.access_log, site.error_log))
    if facts.settings is not None:
        yield FileStep(phase=Phase.SETTINGS, file=facts.settings, is_data=True)
    if facts.requirement is not None and facts.is_running:
        directory = str(PurePosixPath(deployment.programs).parent)
        yield EnvironmentStep(directory=directory, requirement=facts.requirement, wheels=facts.wheels)
    if PurePosixPath(deployment.gte_ops).parent not in map(
        PurePosixPath, ("/usr/local/bin", "/usr/bin", "/bin")
    ):
        yield LinkStep(phase=Phase.COMMAND, path=COMMAND, target=deployment.gte_ops)
    for file in facts.certificate:
        yield FileStep(phase=Phase.CERTIFICATE, file=file)
    yield from _jobs(deployment, facts)
    yield from _nginx(deployment, facts)
    yield from _files("logrotate", deployment, Phase.FILES)
    if facts.has_prometheus:
        yield from _files("prometheus", deployment, Phase.FILES)
    if facts.textfiles is not None:
        for target in METRICS_FILES:
            link = f"{facts.textfiles}/{PurePosixPath(target).name}"
            yield LinkStep(phase=Phase.FILES, path=link, target=target)
    if facts.hook is not None:
        yield FileStep(phase=Phase.FILES, file=RenderedFile(HOOK, facts.hook, 0o755))
    if facts.is_running:
        yield BackupStep(directory=deployment.backup_dir, command=_backup_command(deployment, facts))


def _backup_command(deployment: Deployment, facts: InstallFacts) -> tuple[str, ...]:
    """What makes a backup here: the timer's unit, where there is one, so that the unit is tried too."""
    if facts.has_systemd:
        return ("systemctl", "start", "gte-ops-backup.service")
    return (deployment.gte_ops, "backup", "create", "--config", deployment.settings_file)


def _files(kind: DeploymentKind, deployment: Deployment, phase: Phase) -> Iterator[FileStep]:
    for file in render(kind, deployment):
        yield FileStep(phase=phase, file=file, kind=kind)


def _jobs(deployment: Deployment, facts: InstallFacts) -> Iterator[Step]:
    """Units and timers, or cron entries where there is no systemd; the accounts and directories that they need."""
    units = render("systemd", deployment)
    directories_file = next(file for file in units if file.path == DIRECTORIES_FILE)
    if not facts.has_systemd:
        jobs = render("cron", deployment)
        yield from _files("cron", deployment, Phase.FILES)
    else:
        jobs = units
        own = (ACCOUNTS_FILE, DIRECTORIES_FILE)
        for file in units:
            phase = Phase.ACCOUNT_FILES if file.path in own else Phase.UNITS
            yield FileStep(phase=phase, file=file, kind="systemd")
        further = [facts.certbot_drop_in] if facts.certbot_drop_in else []
        for file in further:
            yield FileStep(phase=Phase.UNITS, file=file)
        yield from _unit_steps(deployment, [*(f for f in units if f.path not in own), *further], facts)
    if not facts.is_running:
        return
    # The service's account is in the units whether systemd or a start command starts it.
    names = accounts_of([*units, *jobs])
    commands = (
        (("systemd-sysusers", ACCOUNTS_FILE),)
        if facts.has_systemd and facts.has_sysusers
        else tuple(account_command(name) for name in names)
    )
    yield AccountsStep(names=names, commands=commands)
    yield DirectoriesStep(
        directories=(
            *directories_of(directories_file.text),
            Directory(deployment.site.challenge_root, 0o755, "root", "root"),
        )
    )


def _unit_steps(deployment: Deployment, units: Sequence[RenderedFile], facts: InstallFacts) -> Iterator[Step]:
    if not facts.is_running:
        return
    paths = tuple(file.path for file in units)
    service = f"{deployment.unit_dir}/{deployment.unit}"
    watchdog = f"{deployment.unit_dir}/{WATCHDOG}"
    restarted: tuple[tuple[str, tuple[str, ...]], ...] = ((WATCHDOG, (watchdog, deployment.settings_file)),)
    if not facts.keeps_running:
        restarted = ((deployment.unit, (service,)), *restarted)
    watched = (*paths, deployment.settings_file)
    yield UnitsStep(phase=Phase.UNITS_BEFORE, files=watched, restarted=restarted, is_before=True)
    yield UnitsStep(phase=Phase.UNITS_READ, files=watched, restarted=restarted)
    yield EnableStep(phase=Phase.SERVICE, units=(deployment.unit,))
    yield ReadyStep(
        phase=Phase.READY,
        address=deployment.site.backend,
        path=facts.ready_path,
        seconds=facts.ready_seconds,
    )
    timers = TIMERS if facts.can_drill else tuple(timer for timer in TIMERS if timer != DRILL)
    yield EnableStep(phase=Phase.WATCH, units=(WATCHDOG, *timers))


def _nginx(deployment: Deployment, facts: InstallFacts) -> Iterator[Step]:
    yield from _files("nginx", deployment, Phase.NGINX)
    if not facts.is_running:
        return
    site = deployment.site
    paths = tuple(file.path for file in (*render("nginx", deployment), *facts.certificate))
    if facts.issuance is not None:
        paths += (facts.issuance.certificate,)
        yield facts.issuance
    reload = tuple(shlex.split(deployment.reload_nginx))
    yield NginxStep(
        phase=Phase.NGINX_BEFORE, files=paths, test=deployment.test_nginx, reload=reload, is_before=True
    )
    yield NginxStep(phase=Phase.NGINX_READ, files=paths, test=deployment.test_nginx, reload=reload)
    if facts.has_systemd:
        yield ReadyStep(
            phase=Phase.FRONT,
            address=site.https if ":" in site.https else f"127.0.0.1:{site.https}",
            path=facts.ready_path,
            seconds=facts.ready_seconds,
            domain=site.domain,
        )


def directories_of(text: str) -> tuple[Directory, ...]:
    """The directories that a file for systemd-tmpfiles makes (tmpfiles.d(5), type d)."""
    return tuple(
        Directory(match["path"], int(match["mode"], 8), match["user"], match["group"])
        for match in _DIRECTORY.finditer(text)
    )
