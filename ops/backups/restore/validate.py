"""Whether the host's nginx accepts the restored files: test, reload, served certificates, health."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ops.backups.nginx_probe import (
    ProbedSite,
    ReloadError,
    emergency,
    health_problem,
    leaf_problem,
    reload_nginx,
    tls_sites,
)
from ops.backups.restore.apply import RestoreValidation
from ops.backups.restore.plan import is_below
from ops.collect.services.nginx import read_pidfile, test_config
from ops.collect.surroundings import Surroundings, look_around
from ops.control.signals import NotAllowedError
from ops.facts.base import NotSeen
from ops.facts.host import Process, Processes
from ops.facts.nginx import Directive, NginxConfig, NginxTest
from ops.interpret.nginx import serving_masters
from ops.interpret.process_ref import ProcessRef
from ops.settings import Settings
from ops.text.language import Text, verbatim

LOOK_SECONDS = 8.0
TEST_SECONDS = 15.0
RELOAD_SECONDS = 15.0
SERVED_SECONDS = 5.0
HEALTHY_SECONDS = 3.0
BEFORE_SECONDS = 3.0


@dataclass(frozen=True)
class Before:
    """The state before the restore: checks that failed then do not count against it."""

    sites: dict[ProbedSite, str | None]
    health: str | None


def concerns_nginx(around: Surroundings, letsencrypt_dir: str, places: Iterable[str]) -> bool:
    """Whether one of the absolute ``places`` is a file of nginx's configuration, or named by it."""
    config = around.config
    if not isinstance(config, NginxConfig):
        return True  # it may be the missing one
    paths = {*config.files, *_arguments(config.directives)}
    homes = (posixpath.dirname(config.file), letsencrypt_dir.rstrip("/") or "/nonexistent")
    return any(place in paths or any(is_below(place, home) for home in homes) for place in places)


def _arguments(directives: Iterable[Directive]) -> Iterable[str]:
    for directive in directives:
        yield from (argument for argument in directive.args if argument.startswith("/"))
        yield from _arguments(directive.block or ())


def confirmation(settings: Settings, around: Surroundings, tell: Callable[[Text], None]) -> RestoreValidation:
    """The three checks for this host; call it before anything is touched. ``around``: the host at that time; ``tell``
    reports what could not be checked."""
    before = _before(around) if serving_now(around) else None
    now = around

    def test() -> str | None:
        nonlocal now
        now = look_around(settings, time.monotonic() + LOOK_SECONDS)
        return _test(now, tell)

    def apply() -> str | None:
        masters = serving_now(now)
        if not masters or before is None:
            tell(
                Text(
                    en="nginx does not run: nothing was reloaded, and nothing served could be checked; start it",
                    zh="nginx 未运行：未重新加载，也无法检查对外证书；请启动 nginx",
                )
            )
            return None
        try:
            reload_nginx(masters, now.target.nginx_error_logs, time.monotonic() + RELOAD_SECONDS)
        except (ReloadError, NotAllowedError) as error:
            return str(error)
        return _serves(now, before, tell)

    def reapply() -> str | None:
        return reload_host(settings)

    return RestoreValidation(test, apply, reapply)


def reload_host(settings: Settings) -> str | None:
    """Have nginx load the files on disk, if it runs; the problem, or None."""
    around = look_around(settings, time.monotonic() + LOOK_SECONDS)
    masters = serving_now(around)
    if not masters:
        return None
    try:
        reload_nginx(masters, around.target.nginx_error_logs, time.monotonic() + RELOAD_SECONDS)
    except (ReloadError, NotAllowedError) as error:
        return str(error)
    return None


def serving_now(around: Surroundings) -> tuple[ProcessRef, ...]:
    """The running nginx masters that serve this configuration."""
    if not isinstance(around.processes, Processes):
        return ()
    pidfile = read_pidfile(around.target.nginx_pidfile) if around.target.nginx_pidfile else None
    pidfile_reading = pidfile or NotSeen(reason="no pidfile is configured", is_lasting=True)
    masters: Iterable[Process] = serving_masters(around.target, around.processes, pidfile_reading)
    return tuple(ProcessRef(master.pid, master.start_ticks) for master in masters)


def _before(around: Surroundings) -> Before:
    sites = tuple(tls_sites(around.config)) if isinstance(around.config, NginxConfig) else ()
    deadline = time.monotonic() + BEFORE_SECONDS
    # One request each: only restored files are worth waiting for.
    return Before(
        sites={site: leaf_problem(site, min(deadline, time.monotonic() + 0.5)) for site in sites},
        health=health_problem(around.target, min(deadline, time.monotonic() + 1.0)),
    )


def _test(around: Surroundings, tell: Callable[[Text], None]) -> str | None:
    if not isinstance(around.config, NginxConfig):
        tell(
            Text(
                en=f"nginx -t was not run: {around.config.reason}",
                zh=f"未运行 nginx -t：{around.config.reason}",
            )
        )
        return None
    tested = test_config(around.config, around.build, TEST_SECONDS)
    if isinstance(tested, NotSeen):
        if around.build:
            return tested.reason
        tell(Text(en=f"nginx -t was not run: {tested.reason}", zh=f"未运行 nginx -t：{tested.reason}"))
        return None
    return None if tested.exit_code == 0 else f"nginx -t fails: {first_error(tested)}"


def first_error(tested: NginxTest) -> str:
    """The error of `nginx -t`, quoted; None if there is none."""
    errors = [line for line in tested.lines if "[emerg]" in line]
    words = next(iter((*errors, *tested.lines)), "it said nothing")
    return emergency(words) or words


def _serves(around: Surroundings, before: Before, tell: Callable[[Text], None]) -> str | None:
    deadline = time.monotonic() + SERVED_SECONDS
    sites = tuple(tls_sites(around.config)) if isinstance(around.config, NginxConfig) else ()
    for site in sites:
        problem = leaf_problem(site, deadline)
        if problem and problem == before.sites.get(site):
            # There was no handshake before the restore either: another address, a firewall.
            tell(verbatim(problem))
        elif problem:
            return problem
    health = health_problem(around.target, time.monotonic() + HEALTHY_SECONDS)
    if health and before.health:
        tell(
            Text(
                en=f"it did not answer before the restore either: {health}",
                zh=f"恢复之前即已无正常应答：{health}",
            )
        )
        return None
    return health
