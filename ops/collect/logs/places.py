"""The places of nginx's and gunicorn's logs: from their configurations, else from the links of their open streams."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ops.collect.logs.packed_files import PackedPlace
from ops.collect.logs.service_logs import LogPlaces
from ops.facts.base import NotSeen
from ops.facts.gunicorn import GunicornConfig
from ops.facts.host import Process, Processes
from ops.facts.nginx import Directive, NginxConfig, Pidfile
from ops.facts.target import Target
from ops.interpret import gunicorn as gunicorn_topology
from ops.interpret import nginx as nginx_topology
from ops.interpret.content_policy import is_policy
from ops.interpret.log_place import LogLocation, LogPlaceKind, nginx_log_place, stream_place
from ops.interpret.site import find_site
from ops.interpret.traffic import (
    AccessLogSource,
    access_log_source,
    answering_since,
    gunicorn_access_format,
    gunicorn_access_log,
    nginx_access_logs,
    nginx_plain_log,
)

SYSTEMD = "/run/systemd/system"
STANDARD_OUTPUT, STANDARD_ERROR = 1, 2


def log_places(
    target: Target,
    processes: Processes | NotSeen,
    nginx: NginxConfig | NotSeen,
    gunicorn: GunicornConfig | NotSeen,
    pidfile: Pidfile | NotSeen,
    unit: str | None,
    probed_since: float = math.inf,
) -> LogPlaces:
    """The places of the logs. ``unit``: the system unit that settings name for gunicorn; ``probed_since``: the start of
    this run's probes (Unix seconds)."""
    all_processes = processes if isinstance(processes, Processes) else Processes(processes=(), listeners=())
    master = gunicorn_topology.process_of(all_processes, target.gunicorn_master)
    nginx_master = next(nginx_topology.serving_masters(target, all_processes, pidfile), None)
    workers = nginx_topology.nginx_workers(all_processes.processes, nginx_master.pid) if nginx_master else ()
    first, more = nginx_access_logs(nginx, target)
    streams = _NginxStreams(nginx_master)
    own_unit = master.unit if master else unit if unit and Path(SYSTEMD).is_dir() else None
    # supervisord reads its programs' output through a pipe; without a process, only its configuration names the file.
    error_link = _link(master, STANDARD_ERROR)
    is_piped = master is None or (error_link or "").startswith("pipe:")
    outputs = _supervisord_outputs(target) if is_piped else ()
    return LogPlaces(
        nginx=first or streams.requests(nginx, target),
        nginx_more=more,
        nginx_plain=nginx_plain_log(nginx, target),
        nginx_streams=tuple(streams.errors(nginx, target)),
        gunicorn=gunicorn_access_log(target, master, gunicorn)
        or _gunicorn_requests(master, gunicorn, own_unit, outputs),
        gunicorn_error=_or_syslog(stream_place(error_link, master, own_unit, outputs), master, target),
        answering_since=answering_since(target, processes, pidfile),
        probed_since=probed_since,
        nginx_workers=tuple(worker.pid for worker in workers),
        nginx_ignores_headers=isinstance(nginx, NginxConfig)
        and any(nginx_topology.every(nginx, "proxy_ignore_headers")),
        packed=tuple(_packed(nginx, target)) if isinstance(nginx, NginxConfig) else (),
        sent_files=tuple(_sent_files(nginx, target)) if isinstance(nginx, NginxConfig) else (),
        file_places=tuple(_file_places(nginx, target)) if isinstance(nginx, NginxConfig) else (),
        adds_policies=isinstance(nginx, NginxConfig)
        and any(is_policy(line) for line in nginx_topology.every(nginx, "add_header")),
        replaces_words=isinstance(nginx, NginxConfig) and any(nginx_topology.every(nginx, "sub_filter")),
    )


def _packed(config: NginxConfig, target: Target) -> Iterator[PackedPlace]:
    """The site's locations for prefixes that send packed copies of files."""
    site = find_site(config, target.domain, target.backend)
    for location in site.server.locations() if site else ():
        if location.value("gzip_static") in (None, "off") or location.modifier not in ("", "^~"):
            continue
        own = [line for name in ("alias", "root") for line in location.effective(name) if line.args]
        if own and own[0].args[0].startswith("/") and "$" not in own[0].args[0]:
            yield PackedPlace(location.pattern, own[0].args[0], own[0].name == "alias")


def _sent_files(config: NginxConfig, target: Target) -> Iterator[PackedPlace]:
    """The site's locations for prefixes that send files, if what they send may be called another charset or be kept."""

    def changes(location: nginx_topology.Location) -> bool:
        return any(location.value(name) not in (None, "off") for name in ("charset", "open_file_cache"))

    return _file_places(config, target, changes)


def _file_places(
    config: NginxConfig,
    target: Target,
    is_wanted: Callable[[nginx_topology.Location], bool] = lambda _: True,
) -> Iterator[PackedPlace]:
    """The site's locations for prefixes that send files."""
    site = find_site(config, target.domain, target.backend)
    for location in site.server.locations() if site else ():
        if location.modifier not in ("", "^~") or location.first_own("proxy_pass") or not is_wanted(location):
            continue
        own = [line for name in ("alias", "root") for line in location.effective(name) if line.args]
        if own and own[0].args[0].startswith("/") and "$" not in own[0].args[0]:
            yield PackedPlace(location.pattern, own[0].args[0], own[0].name == "alias")


def _gunicorn_requests(
    master: Process | None, config: GunicornConfig | NotSeen, unit: str | None, outputs: tuple[str, ...]
) -> AccessLogSource | NotSeen | None:
    """gunicorn's access log if it goes to standard output (``accesslog = "-"``)."""
    arguments = gunicorn_topology.arguments(master)
    if gunicorn_topology.setting("accesslog", "access-logfile", arguments, config) != "-":
        return None
    place = stream_place(_link(master, STANDARD_OUTPUT), master, unit, outputs)
    if isinstance(place, NotSeen):
        return place
    return AccessLogSource(place.name, gunicorn_access_format(master, config), place=place)


def _or_syslog(place: LogLocation | NotSeen, master: Process | None, target: Target) -> LogLocation | NotSeen:
    """``place``, or syslog's file if the journal cannot be read: rsyslog may copy the journal's lines."""
    if isinstance(place, NotSeen) or place.kind is not LogPlaceKind.JOURNAL or _has_journal():
        return place
    file = _syslog_file()
    pids = (*((master.pid,) if master else ()), *target.gunicorn_workers)
    return LogLocation(LogPlaceKind.SYSLOG, file, tags=("gunicorn",), pids=pids) if file else place


def _supervisord_outputs(target: Target) -> tuple[str, ...]:
    from ops.collect.services.supervisors import supervisord_outputs

    return supervisord_outputs(target)


def _syslog_file() -> str | None:
    from ops.collect.logs.syslog import syslog_file

    return syslog_file()


def _has_journal() -> bool:
    from ops.files.programs import trusted_program

    return trusted_program("journalctl") is not None


class _NginxStreams:
    """The site's nginx logs that are not files: its standard streams, and syslog."""

    def __init__(self, master: Process | None) -> None:
        self._master = master
        self._unit = master.unit if master and _has_journal() else None

    def errors(self, config: NginxConfig | NotSeen, target: Target) -> Iterator[LogLocation | NotSeen]:
        for directive in _directives(config, target, "error_log"):
            place = self._place(directive, STANDARD_ERROR)
            if place is not None:
                yield place

    def requests(self, config: NginxConfig | NotSeen, target: Target) -> AccessLogSource | NotSeen | None:
        for directive in _directives(config, target, "access_log"):
            place = self._place(directive, STANDARD_OUTPUT)
            if isinstance(place, NotSeen):
                return place
            if place is not None and isinstance(config, NginxConfig):
                source = access_log_source(config, directive)
                return AccessLogSource(
                    place.name,
                    source.written,
                    source.escape,
                    is_conditional=source.is_conditional,
                    place=place,
                )
        return None

    def _place(self, directive: Directive, descriptor: int) -> LogLocation | NotSeen | None:
        name = directive.args[0] if directive.args else ""
        if name == "stderr" or name.startswith(("/dev/std", "/dev/fd/", "/proc/self/fd/")):
            return stream_place(_link(self._master, descriptor), self._master, self._unit, ())
        file = _syslog_file() if name.startswith("syslog:") else None
        return nginx_log_place(directive, self._unit, file)


def _directives(config: NginxConfig | NotSeen, target: Target, name: str) -> tuple[Directive, ...]:
    site = None if isinstance(config, NotSeen) else find_site(config, target.domain, target.backend)
    return site.server.effective(name) if site else ()


def _link(process: Process | None, descriptor: int) -> str | None:
    if process is None:
        return None
    try:
        return os.readlink(f"/proc/{process.pid}/fd/{descriptor}")  # noqa: PTH115  may be no path: a socket, a pipe
    except OSError:
        return None
