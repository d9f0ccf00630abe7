"""The values of a deployment's files on this host: from the settings, else from the host, else from the examples."""

from __future__ import annotations

import grp
import os
import pwd
import sys
import time
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from ops.collect.services.logrotate import MAIN_FILE, account, log_place, rotation, rules_of, user_groups
from ops.collect.services.nginx import test_command
from ops.collect.surroundings import Surroundings, look_around
from ops.deployment.install import present_text
from ops.deployment.render import Deployment, NginxSite, RotatedLog, is_plain_argument
from ops.deployment.running_gunicorn import gunicorn_note, located_gunicorn, running_gunicorn
from ops.deployment.upstream import UPSTREAM_FILE, BalancedServer, present_servers, socket_of
from ops.facts.base import NotSeen
from ops.facts.gunicorn import GunicornConfig
from ops.facts.host import Process, Processes
from ops.facts.nginx import NginxConfig, Pidfile
from ops.facts.safeguards import RotationRule
from ops.facts.target import Target
from ops.files.nofollow import trusted_users
from ops.files.ownership import ROOT
from ops.files.unprivileged import NOBODY
from ops.interpret import nginx as nginx_topology
from ops.interpret.address import is_wildcard, join_address
from ops.interpret.authority import Standing, standing
from ops.interpret.gunicorn import process_of, started_arguments
from ops.interpret.gunicorn import wsgi as wsgi_application
from ops.interpret.logrotate import LogTerms, covering, log_terms, name_refusal, refused
from ops.interpret.site import find_site
from ops.interpret.target import log_namer
from ops.settings import AppSettings, Settings
from ops.text.language import Text, verbatim

# Time limit for examining the host, seconds.
LOOK_SECONDS = 10.0
# nginx's CHANGES: the directive ssl_reject_handshake.
REJECTS_HANDSHAKES = (1, 19, 4)
_EXAMPLE = Deployment()
# Values of the target that may come from the running gunicorn.
_OF_GUNICORN = ("backend", "app_dir", "gunicorn_access_log", "gunicorn_error_log")


def deployment_here(settings: Settings, settings_file: Path | None) -> Deployment:
    """The deployment on this host, for ``gte-ops render``."""
    return deployment_from(settings, settings_file, look_around(settings, time.monotonic() + LOOK_SECONDS))


def deployment_from(settings: Settings, settings_file: Path | None, around: Surroundings) -> Deployment:
    """The deployment on this host, of which ``around`` was seen."""
    rules = rotation(settings.logrotate, around.target).rules
    return _Builder(settings, settings_file, around, rules).deployment()


def deployment_in_image(settings: Settings, settings_file: Path | None, root: Path) -> Deployment:
    """The deployment by the settings alone, for a tree under ``root`` that is not a running host."""
    file = root / _logrotate_file(settings).lstrip("/")
    rules = rules_of([str(path) for path in sorted(file.parent.glob("*")) if path != file])
    inside = tuple(
        msgspec.structs.replace(rule, file=f"/{PurePosixPath(rule.file).relative_to(root)}") for rule in rules
    )
    return _Builder(settings, settings_file, None, inside).deployment()


def _logrotate_file(settings: Settings) -> str:
    configured = [path for path in settings.logrotate.config_files if path != MAIN_FILE]
    return configured[-1] if configured else _EXAMPLE.logrotate_file


class _Builder:
    """Combine the values. ``around`` is None for an image: then only the tree's own rules are read."""

    def __init__(
        self,
        settings: Settings,
        settings_file: Path | None,
        around: Surroundings | None,
        rules: tuple[RotationRule, ...],
    ) -> None:
        self.settings, self.settings_file = settings, settings_file
        self.around, self.rules = around, rules
        self.target: Target | None = around.target if around else None
        self.master = running_gunicorn(settings, around)
        self.located = located_gunicorn(around)
        self.note = gunicorn_note(settings, around)
        self.is_disbelieved = self.note is not None and self.master is None

    def deployment(self) -> Deployment:
        """All inputs of a rendering."""
        settings = self.settings
        site = self._site()
        nginx_owner, gunicorn_owner = self._nginx_user(), self._gunicorn_user()
        access, error = (
            self._found("gunicorn_access_log", settings.gunicorn.access_log, _EXAMPLE.gunicorn_access_log),
            self._found("gunicorn_error_log", settings.gunicorn.error_log, _EXAMPLE.gunicorn_error_log),
        )
        gunicorn_su = None
        if gunicorn_owner == _EXAMPLE.gunicorn_owner and access == _EXAMPLE.gunicorn_access_log:
            gunicorn_su = _EXAMPLE.gunicorn_su  # the directory belongs to that user once systemd has made it
        # A user's gunicorn may name its own logs, whether it is the service or not: each is treated by its owner.
        writer = _account_of(self.located) if self.is_disbelieved and self.located else gunicorn_owner
        rotated, not_rotated = self._rotated(
            site,
            self._said("gunicorn_access_log", settings.gunicorn.access_log, _EXAMPLE.gunicorn_access_log),
            self._said("gunicorn_error_log", settings.gunicorn.error_log, _EXAMPLE.gunicorn_error_log),
            nginx_owner,
            writer,
        )
        access = access if name_refusal(access) is None else _EXAMPLE.gunicorn_access_log
        error = error if name_refusal(error) is None else _EXAMPLE.gunicorn_error_log
        metrics, nginx_dir = self._metrics_file(), self._nginx_dir()
        file = _logrotate_file(settings)
        logs: tuple[str, ...] = (site.access_log, site.error_log, access, error)
        if rotated is not None:
            logs = tuple(log.path for log in rotated)
        return Deployment(
            site=replace(site, servers=self._servers(nginx_dir)),
            nginx_dir=nginx_dir,
            site_file=settings.nginx.site_file
            or self._found("site_file", None, "")
            or f"{nginx_dir}/conf.d/gte-api.conf",
            nginx_pidfile=self._found("nginx_pidfile", settings.nginx.pidfile, _EXAMPLE.nginx_pidfile),
            nginx_owner=nginx_owner,
            unit=settings.gunicorn.unit,
            app_dir=self._found("app_dir", settings.app.dir, _EXAMPLE.app_dir),
            programs=self._programs(),
            gte_ops=self._own_program(),
            gunicorn_arguments=self._gunicorn_arguments(),
            daemon=self._is_daemon(),
            gunicorn_pidfile=self._gunicorn_pidfile(self.master),
            rotation_pidfile=self._gunicorn_pidfile(self.located),
            gunicorn_access_log=access,
            gunicorn_error_log=error,
            gunicorn_owner=gunicorn_owner,
            gunicorn_su=gunicorn_su,
            gunicorn_note=self.note,
            progress_dir=settings.app.progress_dir or _EXAMPLE.progress_dir,
            settings_file=str(self.settings_file.resolve()) if self.settings_file else _EXAMPLE.settings_file,
            watchdog_metrics=metrics,
            watchdog_writes=self._watchdog_writes(metrics),
            unit_dir=next(iter(settings.schedule.systemd), _EXAMPLE.unit_dir),
            cron_dir=next(
                (place for place in settings.schedule.cron if PurePosixPath(place).name == "cron.d"),
                _EXAMPLE.cron_dir,
            ),
            logrotate_file=file,
            rotated=rotated,
            not_rotated=not_rotated,
            rotated_elsewhere=tuple(self._elsewhere(logs, file)),
            backup_max_age=float(settings.backup.max_age),
            test_nginx=self._test_nginx(),
            backup_dir=os.path.abspath(settings.backup.dir),  # noqa: PTH100  links are to be kept
            letsencrypt_dir=os.path.abspath(settings.tls.letsencrypt_dir),  # noqa: PTH100
            docs_url=settings.notify.docs_url or _EXAMPLE.docs_url,
            reload_nginx=self.target.reload_nginx if self.target else _EXAMPLE.reload_nginx,
        )

    def _metrics_file(self) -> str:
        watchdog = self.settings.watchdog
        return watchdog.metrics_file or str(PurePosixPath(watchdog.state_file).with_suffix(".prom"))

    def _nginx_dir(self) -> str:
        config_file = self.settings.nginx.config_file or (self.target and self.target.nginx_config_file)
        return str(PurePosixPath(config_file).parent) if config_file else _EXAMPLE.nginx_dir

    def _found(self, name: str, configured: str | None, example: str) -> str:
        """A value of the target: from the settings, else as found, else the example's. A value that the target has only
        from the deployment guide, or by default, does not count as found."""
        if not configured and self.is_disbelieved and name in _OF_GUNICORN:
            return example
        return self._said(name, configured, example)

    def _said(self, name: str, configured: str | None, example: str) -> str:
        """`_found`, from whichever user's gunicorn."""
        if configured:
            return configured
        if self.target is None or self.target.origin.get(name) in (None, "guide", "default"):
            return example
        return str(getattr(self.target, name) or example)

    def _site(self) -> NginxSite:
        settings, example = self.settings, NginxSite()
        domain = (
            settings.target.domain
            or urlsplit(settings.target.url or "").hostname
            or self._found("domain", None, example.domain)
        )
        url = settings.target.url or f"https://{domain}"
        lineage = f"{settings.tls.letsencrypt_dir}/live/{domain}"
        http, https = self._listens(urlsplit(url).port or 443)
        target = self.target
        errors: tuple[str, ...] = ()
        if target and not settings.nginx.error_log and target.origin.get("site_file"):
            errors = target.nginx_error_logs
        return NginxSite(
            domain=domain,
            http=http,
            https=https,
            public_url=url.rstrip("/"),
            backend=self._found("backend", settings.gunicorn.bind, self._upstream() or example.backend),
            certificate=(
                settings.tls.certificate or self._found("certificate", None, f"{lineage}/fullchain.pem")
            ).replace("<domain>", domain),
            private_key=(
                settings.tls.private_key or self._found("private_key", None, f"{lineage}/privkey.pem")
            ).replace("<domain>", domain),
            access_log=self._found("nginx_access_log", settings.nginx.access_log, example.access_log),
            error_log=settings.nginx.error_log or next(iter(errors), example.error_log),
            read_timeout=f"{max(1, int(settings.app.request_deadline))}s",
            reject_unknown_names=self._nginx_version() >= REJECTS_HANDSHAKES,
            scanner_filter=settings.nginx.scanner_filter,
            rate=settings.nginx.rate,
            burst=str(settings.nginx.burst),
        )

    def _servers(self, nginx_dir: str) -> tuple[BalancedServer, ...]:
        """The hosts behind this name; one that is drained on this host stays drained."""
        drained: set[tuple[str, int]] = set()
        if self.around is not None and self.settings.nginx.upstream:
            text = present_text(Path(nginx_dir, UPSTREAM_FILE)) or ""
            drained = {socket_of(server.address) for server in present_servers(text) if server.is_drained}
        return tuple(
            BalancedServer(
                address=server.address,
                weight=server.weight,
                max_fails=server.max_fails,
                fail_timeout=max(1, round(server.fail_timeout)),
                backup=server.backup,
                is_drained=socket_of(server.address) in drained,
            )
            for server in self.settings.nginx.upstream
        )

    def _upstream(self) -> str | None:
        """The service's address in nginx's configuration."""
        return next(iter(self.target.upstreams), None) if self.target else None

    def _nginx_version(self) -> tuple[int, ...]:
        """The version of the nginx that is to read the files; empty if unknown, and in an image."""
        words = self.around.build.get("version", "") if self.around else ""
        return tuple(int(part) for part in words.split(".") if part.isdecimal())

    def _listens(self, port: int) -> tuple[str, str]:
        """The listen addresses of the existing site; by default port 80 and the URL's port."""
        config = self.around.config if self.around else None
        site = (
            find_site(config, self.settings.target.domain, None) if isinstance(config, NginxConfig) else None
        )
        listens = [item for item in site.server.listens if item.port] if site else []

        def written(ssl: bool, default: int) -> str:
            item = next((item for item in listens if item.ssl == ssl), None)
            if item is None:
                return str(default)
            return str(item.port) if is_wildcard(item.host) else join_address(item.host, item.port)

        return written(False, 80), written(True, port)

    def _nginx_user(self) -> tuple[str, str]:
        """The user of nginx's workers, and the group that reads its logs."""
        config = self.around.config if self.around else None
        words: tuple[str, ...] = ()
        if isinstance(config, NginxConfig):
            words = next(
                (d.args for d in nginx_topology.main_block(config).block or () if d.name == "user"), ()
            )
        user = words[0] if words else _EXAMPLE.nginx_owner[0]
        group = words[1] if len(words) > 1 else _EXAMPLE.nginx_owner[1]
        if self.around is not None and not _exists(grp.getgrnam, group):
            group = "root"
        return user, group

    def _gunicorn_user(self) -> tuple[str, str]:
        """The user of the running gunicorn; instead of root, the service's own account, if the service can start with
        it."""
        master = self.master
        if master is None or (master.user == "root" and self._fits_the_account()):
            return _EXAMPLE.gunicorn_owner
        return _account_of(master)

    def _fits_the_account(self) -> bool:
        """Whether the service would start with an account of its own: everybody can reach its programs, and it writes
        only below the directories that the unit makes for it."""
        read = (self._found("app_dir", self.settings.app.dir, _EXAMPLE.app_dir), self._programs())
        target, gunicorn = self.target, self.settings.gunicorn
        outputs = (
            gunicorn.access_log or (target and target.gunicorn_access_log),
            gunicorn.error_log or (target and target.gunicorn_error_log),
            self._gunicorn_pidfile(self.master),
        )
        return all(_everybody_reaches(Path(path)) for path in read) and all(
            not path or path.startswith(("-", "/var/log/gte-api/", "/run/gte-api/")) for path in outputs
        )

    def _rotated(
        self,
        site: NginxSite,
        access: str,
        error: str,
        nginx_owner: tuple[str, str],
        gunicorn_owner: tuple[str, str],
    ) -> tuple[tuple[RotatedLog, ...] | None, tuple[Text, ...]]:
        """The logs of our rule, each with the rights of its namer, and why others are left out; None for an image."""
        if self.around is None or self.target is None:
            return None, ()
        logs: list[RotatedLog] = []
        refusals: list[Text] = []
        namer = self._nginx_namer()
        names: list[tuple[str, Literal["nginx", "gunicorn"], int | None, tuple[str, str]]] = [
            (site.access_log, "nginx", None if self.settings.nginx.access_log else namer, nginx_owner),
            (site.error_log, "nginx", None if self.settings.nginx.error_log else namer, nginx_owner),
            (access, "gunicorn", self._gunicorn_namer("gunicorn_access_log"), gunicorn_owner),
            (error, "gunicorn", self._gunicorn_namer("gunicorn_error_log"), gunicorn_owner),
        ]
        for path, writer, named_by, owner in dict.fromkeys(names):
            terms = _terms(path, named_by, owner, is_nginx=writer == "nginx")
            if isinstance(terms, Text):
                refusals.append(terms)
            else:
                logs.append(RotatedLog(path, writer, terms.mode, terms.owner, terms.su))
        return tuple(logs), tuple(refusals)

    def _gunicorn_namer(self, field: str) -> int | None:
        """The user whose process named gunicorn's log; None if the settings did."""
        namer = log_namer(self.target, field) if self.target else None
        processes = self.around.processes if self.around else None
        if namer is not None and self.target and isinstance(processes, Processes):
            master = process_of(processes, self.target.gunicorn_master)
            if master is not None and standing(master, processes.caller) is Standing.CONTAINER:
                return NOBODY  # its root directory is not this host's
        return namer

    def _nginx_namer(self) -> int | None:
        """The user who names nginx's logs, if that is neither root nor the caller."""
        config = self.around.config if self.around else None
        if not isinstance(config, NginxConfig):
            return None
        trusted = trusted_users()
        if config.owner not in trusted:
            return config.owner
        return None if config.distrusted is None else NOBODY

    def _test_nginx(self) -> tuple[str, ...]:
        config = self.around.config if self.around else None
        if self.around is None or not isinstance(config, NginxConfig):
            return _EXAMPLE.test_nginx
        if config.distrusted is not None:
            return ()
        return test_command(config, self.around.build)

    def _programs(self) -> str:
        """The path of gunicorn's program."""
        if self.settings.app.python:
            return str(PurePosixPath(self.settings.app.python).parent)
        if self.master is not None:
            # Started as venv/bin/gunicorn, it is below the directory in which it was started.
            scripts = (PurePosixPath(self.master.cwd or "", word) for word in self.master.command[:3])
            program = next((p for p in scripts if p.is_absolute() and p.name == "gunicorn"), None)
            if program:
                return os.path.normpath(program.parent)
        return _EXAMPLE.programs

    def _own_program(self) -> str:
        own = Path(sys.executable).with_name("gte-ops")
        if self.around is None or not own.exists():
            return _EXAMPLE.gte_ops
        # A version's own directory goes with it: named is the path that leads to the present version.
        programs = Path(self._programs())
        is_same = programs.is_dir() and own.parent.samefile(programs)
        return str(programs / own.name if is_same else own)

    def _gunicorn_arguments(self) -> str:
        """gunicorn's arguments: from the settings, else those of the running one, else the example's."""
        config = self._gunicorn_config()
        file = self.settings.gunicorn.config_file
        wsgi = self.settings.app.wsgi
        if file is None and wsgi == AppSettings().wsgi:
            words = started_arguments(self.master)
            if words and all(map(is_plain_argument, words)):
                return " ".join(words)
            wsgi = wsgi_application(self.master) or wsgi
        if file is None and isinstance(config, GunicornConfig) and not config.missing:
            file = config.path
        return f"-c {file} {wsgi}" if file else _EXAMPLE.gunicorn_arguments

    def _gunicorn_config(self) -> GunicornConfig | NotSeen | None:
        """gunicorn's configuration file: from the settings, else the running gunicorn's."""
        if self.around is None or (self.is_disbelieved and self.settings.gunicorn.config_file is None):
            return None
        return self.around.gunicorn.config

    def _is_daemon(self) -> bool:
        config = self._gunicorn_config()
        if isinstance(config, GunicornConfig) and "daemon" in config.assigned:
            return config.assigned["daemon"].value is True
        return False

    def _gunicorn_pidfile(self, master: Process | None) -> str:
        """The pidfile of the settings or of ``master``."""
        if self.settings.gunicorn.pidfile:
            return self.settings.gunicorn.pidfile
        pidfile = self.target.gunicorn_pidfile if self.target else None
        if master is not None and pidfile and self._may_name_pidfile(master):
            return pidfile
        return _EXAMPLE.gunicorn_pidfile

    def _may_name_pidfile(self, master: Process) -> bool:
        """Whether the pidfile of a user's gunicorn was written by this user."""
        pidfile = self.around.gunicorn.pidfile if self.around else None
        if master.uid is None or master.uid in trusted_users():
            return True
        return isinstance(pidfile, Pidfile) and not pidfile.missing and pidfile.uid in (ROOT, master.uid)

    def _watchdog_writes(self, metrics: str) -> tuple[str, ...]:
        watchdog, pidfile = self.settings.watchdog, self._gunicorn_pidfile(self.master)
        folders = [str(PurePosixPath(path).parent) for path in (watchdog.state_file, metrics)]
        folders += [watchdog.evidence_dir] if watchdog.evidence_dir else []
        # A stale pidfile is removed before a start; with the example's, systemd removes the whole directory.
        folders += [str(PurePosixPath(pidfile).parent)] if pidfile != _EXAMPLE.gunicorn_pidfile else []
        own = str(PurePosixPath(_EXAMPLE.watchdog_metrics).parent)
        return tuple(folder for folder in dict.fromkeys(folders) if folder != own)

    def _elsewhere(self, logs: tuple[str, ...], own_file: str) -> list[tuple[str, str]]:
        rules = []
        for log in dict.fromkeys(logs):
            names = (log,) if self.around is None else (log, os.path.realpath(log))
            others = [rule.file for rule in covering(self.rules, names) if rule.file != own_file]
            if others:
                rules.append((log, others[0]))
        return rules


def _terms(path: str, namer: int | None, owner: tuple[str, str], *, is_nginx: bool) -> LogTerms | Text:
    """How our rule rotates a log, or why it does not. ``owner``: the user who writes to it."""
    if (refusal := name_refusal(path)) is not None:
        return refusal
    trusted = trusted_users()
    writer = None
    try:
        place = log_place(path)
        writer = account(pwd.getpwnam(owner[0]).pw_uid, grp.getgrnam(owner[1]).gr_gid)
    except KeyError:
        pass
    except (OSError, ValueError) as error:
        return refused(path, verbatim(getattr(error, "strerror", None) or str(error)))
    own = _EXAMPLE.gunicorn_owner
    believed = namer is None or namer in trusted
    usual = path in (_EXAMPLE.gunicorn_access_log, _EXAMPLE.gunicorn_error_log)
    if believed and owner == own and usual and (place is None or writer is not None):
        # The directory belongs to that user once systemd has made it.
        return LogTerms(owner=own, su=_EXAMPLE.gunicorn_su)
    if place is None:
        if not believed:
            return refused(path, Text(en="its directory is not there", zh="目录不存在"))
        # The directory's future owner is unknown: logrotate must not work as root in a directory that may be the
        # service's.
        return LogTerms(owner=owner, su=None if is_nginx or owner[0] == "root" else owner)
    holder = place.owner or writer
    groups = user_groups(holder.uid) if holder else ()
    return log_terms(place, namer, trusted, writer, groups, writer_is_given=is_nginx and believed)


def _account_of(process: Process) -> tuple[str, str]:
    """The user and group of a process, by name, or by number if they have none."""
    try:
        user = pwd.getpwnam(process.user) if process.uid is None else pwd.getpwuid(process.uid)
    except KeyError:
        return str(process.uid), str(_group_of(process))
    try:
        return user.pw_name, grp.getgrgid(user.pw_gid).gr_name
    except KeyError:
        return user.pw_name, str(user.pw_gid)


def _group_of(process: Process) -> int | None:
    try:
        return Path(f"/proc/{process.pid}").stat().st_gid
    except OSError:
        return process.uid


def _everybody_reaches(path: Path) -> bool:
    """Whether everybody may traverse every directory down to ``path``."""
    try:
        return all(place.stat().st_mode & 0o001 for place in (path, *path.parents))
    except OSError:
        return False


def _exists(look_up: object, name: str) -> bool:
    try:
        look_up(name)  # type: ignore[operator]
    except KeyError:
        return False
    return True
