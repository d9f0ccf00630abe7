"""Find the access logs of the service's requests, and interpret their traffic. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TypeGuard

import msgspec

from ops.facts.base import NotSeen
from ops.facts.gunicorn import GunicornConfig
from ops.facts.host import Process, Processes
from ops.facts.logs import AccessLog, Logs
from ops.facts.nginx import Directive, NginxConfig, Pidfile
from ops.facts.target import Target
from ops.facts.traffic import Answers, Traffic
from ops.interpret import gunicorn as gunicorn_topology
from ops.interpret import nginx as nginx_topology
from ops.interpret.log_format import COMBINED, GUNICORN_DEFAULT
from ops.interpret.log_place import LogLocation
from ops.interpret.shared_log import SharedLog, passes_on
from ops.interpret.site import find_site

MAX_PATH_CHARS = 120
# A part of a path that identifies one object: a number, a hash, a UUID, a long token.
_IDENTIFIER = re.compile(r"\d+|(?=[^/]*\d)[0-9a-fA-F-]{8,}|[\w~.=-]{33,}")


class AccessLogSource(msgspec.Struct, frozen=True):
    """One access log and its format. ``written``: the format, None if it is not known; ``escape``: nginx's parameter;
    ``shared``: the sites that write to it, if it contains another service's requests too; ``is_conditional``: it does
    not contain every request;
    ``place``: the place of the lines if they are not in a file of their own."""

    path: str
    written: str | None = None
    escape: str = "default"
    shared: SharedLog | None = None
    is_conditional: bool = False
    place: LogLocation | None = None


def answers_in(logs: Iterable[AccessLog | NotSeen]) -> Iterator[Answers]:
    """The answers of every log whose traffic was seen."""
    for log in logs:
        if isinstance(log, AccessLog) and log.traffic is not None:
            yield from log.traffic.answers


def nginx_access_logs(
    config: NginxConfig | NotSeen, target: Target
) -> tuple[AccessLogSource | None, tuple[AccessLogSource, ...]]:
    """Return nginx's access log for the target (None if there is none), and the other access logs of its locations."""
    path = target.nginx_access_log
    if isinstance(config, NotSeen):
        return (AccessLogSource(path) if path else None), ()
    site = find_site(config, target.domain, target.backend)
    if site is None:
        return (AccessLogSource(path) if path else None), ()
    sources: dict[str, AccessLogSource] = {}
    shared = _shared_logs(config, site.server)
    for scope in (site.server, *site.server.locations()):
        for directive in scope.effective("access_log"):
            source = _source(config, directive, shared)
            if source is not None:
                sources.setdefault(source.path, source)
    first = sources.pop(path, AccessLogSource(path)) if path else None
    return first, tuple(sources.values())


def nginx_plain_log(config: NginxConfig | NotSeen, target: Target) -> AccessLogSource | None:
    """Return the access log of the server block that answers the site's name over plain HTTP; None without one."""
    if isinstance(config, NotSeen):
        return None
    for server in nginx_topology.servers(config):
        is_plain = any(not listen.ssl for listen in server.listens)
        if not is_plain or not nginx_topology.names_match(server, target.domain):
            continue
        for directive in server.effective("access_log"):
            source = _source(config, directive, {})
            if source is not None and source.path != target.nginx_access_log:
                return source
    return None


def _source(
    config: NginxConfig, directive: Directive, shared: Mapping[str, SharedLog]
) -> AccessLogSource | None:
    if not directive.args or not nginx_topology.is_file_log(directive.args[0]):
        return None
    path = nginx_topology.log_path(config, directive)
    return msgspec.structs.replace(access_log_source(config, directive), path=path, shared=shared.get(path))


def access_log_source(config: NginxConfig, directive: Directive) -> AccessLogSource:
    """Return the source that one access_log directive describes; its destination may be no file."""
    options = [word for word in directive.args[1:] if "=" not in word and word != "gzip"]
    log_format, escape = _log_format(config, options[0] if options else "combined")
    return AccessLogSource(
        path=directive.args[0],
        written=log_format,
        escape=escape,
        is_conditional=any(word.startswith("if=") for word in directive.args),
    )


def _log_format(config: NginxConfig, name: str) -> tuple[str | None, str]:
    """Return a format's text, its strings joined as nginx joins them, and its escape (ngx_http_log_module)."""
    for directive in nginx_topology.http_block(config).block or ():
        if directive.name == "log_format" and directive.args[:1] == (name,):
            words = list(directive.args[1:])
            escape = words.pop(0).partition("=")[2] if words and words[0].startswith("escape=") else "default"
            return "".join(words), escape
    return (COMBINED if name == "combined" else None), "default"


def _shared_logs(config: NginxConfig, ours: nginx_topology.Server) -> dict[str, SharedLog]:
    """Return the access logs of server blocks that have other names and proxy to an application, by path."""
    names = set(ours.names)
    others = (
        server
        for server in nginx_topology.servers(config)
        if server.blocks[0] is not ours.blocks[0]
        and not names & set(server.names)
        and any(passes_on(directive) for directive in server.blocks[0].block or ())
    )
    writers: dict[str, list[nginx_topology.Server]] = {}
    for server in others:
        scopes = (server, *server.locations())
        for path in {p for scope in scopes for p in nginx_topology.log_paths(config, scope, "access_log")}:
            writers.setdefault(path, []).append(server)
    return {path: SharedLog(config, ours, servers) for path, servers in writers.items()}


def gunicorn_access_log(
    target: Target, master: Process | None, config: GunicornConfig | NotSeen
) -> AccessLogSource | None:
    """Return gunicorn's access log and its format; None if there is no log."""
    if not target.gunicorn_access_log:
        return None
    log_format = gunicorn_access_format(master, config)
    return AccessLogSource(target.gunicorn_access_log, log_format)


def gunicorn_access_format(master: Process | None, config: GunicornConfig | NotSeen) -> str | None:
    """Return gunicorn's access_log_format; None if it is set in a place that was not read."""
    arguments = gunicorn_topology.arguments(master)
    log_format = gunicorn_topology.setting("access_log_format", "access-logformat", arguments, config)
    if isinstance(log_format, str):
        return log_format
    is_elsewhere = not isinstance(config, GunicornConfig) or (
        "access_log_format" in config.assigned or bool(config.star_imports)
    )
    return None if is_elsewhere else GUNICORN_DEFAULT


def answering_since(target: Target, processes: Processes | NotSeen, pidfile: Pidfile | NotSeen) -> float:
    """Return the start of the oldest current worker, of gunicorn or of nginx, whichever is later (Unix seconds); 0 if
    none was seen. A master that has no worker yet counts as its first. Earlier answers are no evidence about the
    running code and configuration."""
    if isinstance(processes, NotSeen):
        return 0.0
    ours = target.gunicorn_workers or (target.gunicorn_master,)
    workers = [p.started for p in processes.processes if p.pid in ours]
    nginx = [
        worker.started
        for master in nginx_topology.serving_masters(target, processes, pidfile)
        for worker in nginx_topology.nginx_workers(processes.processes, master.pid)
    ]
    return max(min(workers, default=0.0), min(nginx, default=0.0))


@lru_cache(maxsize=4096)
def general_path(path: str) -> str:
    """Return a request's path without its query, with ``*`` for identifiers: requests for one route count together."""
    if "://" in path[:10]:
        path = "/" + path.partition("://")[2].partition("/")[2]
    plain = path.partition("?")[0].partition("#")[0]
    return "/".join(_general_parts(plain))[:MAX_PATH_CHARS]


def _general_parts(path: str) -> Iterator[str]:
    for part in path.split("/", 12)[:12]:
        yield "*" if _IDENTIFIER.fullmatch(part) else part


# --- what was answered -----------------------------------------------------------------------------------------------


class LocatedTraffic(msgspec.Struct, frozen=True):
    """The requests in one log, with the log's path."""

    path: str
    traffic: Traffic

    def answers(self, *statuses: str) -> tuple[Answers, ...]:
        """Return the answers with any of ``statuses``."""
        return tuple(item for item in self.traffic.answers if item.status in statuses)

    def total_like(self, answers: Answers) -> int:
        """Count all requests with the same method and path."""
        same = (answers.method, answers.path)
        return sum(item.count for item in self.traffic.answers if (item.method, item.path) == same)


def users_traffic(logs: Logs) -> tuple[LocatedTraffic, ...]:
    """Return nginx's traffic, log by log: of logs that also contain another application's requests, the site's own."""
    readings = (
        (log, log.traffic) for log in (logs.nginx_access, *logs.nginx_more_access.values()) if _is_read(log)
    )
    return tuple(
        LocatedTraffic(log.path, traffic)
        for log, traffic in readings
        if traffic is not None and not traffic.is_shared
    )


def service_traffic(logs: Logs) -> LocatedTraffic | None:
    """Return the traffic in the service's own log; None if the log was not seen."""
    log = logs.gunicorn_access
    if isinstance(log, NotSeen) or log.traffic is None:
        return None
    return LocatedTraffic(log.path, log.traffic)


def all_traffic(logs: Logs) -> tuple[LocatedTraffic, ...]:
    """Return the traffic in the service's own log, then in nginx's logs."""
    own = service_traffic(logs)
    return (*((own,) if own else ()), *users_traffic(logs))


def _is_read(log: AccessLog | NotSeen) -> TypeGuard[AccessLog]:
    return isinstance(log, AccessLog)


def judged_since(logs: Logs) -> float:
    """Return the time (Unix seconds) from which log entries are about the running processes: see `answering_since`."""
    return max((item.traffic.since for item in all_traffic(logs)), default=logs.since)


def unclear_lines(logs: Logs) -> Iterator[tuple[str, NotSeen]]:
    """Yield, by the log's place in the snapshot, how many lines may be another site's and were not judged."""
    places = {"logs.nginx_access": logs.nginx_access}
    places |= {f"logs.nginx_more_access.{path}": log for path, log in logs.nginx_more_access.items()}
    for place, log in places.items():
        if _is_read(log) and log.traffic is not None and log.traffic.unclear:
            reason = (
                f"{log.traffic.unclear} lines of {log.path} belong to several sites, and nothing in them tells to"
                " which: add $host to log_format, or give each site an access_log of its own"
            )
            yield place, NotSeen(reason=reason)
