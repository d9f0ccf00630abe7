"""Judge of users' requests that nginx fails with an error line that no other check knows: of a module that the
catalogue has nothing about, or of a later version of nginx.

It names no cause. It quotes the line, places it in the configuration by what the line itself names (a file, a place, a
module), and gives commands that show more.

Source: nginx, ngx_log_error_core and ngx_http_log_error (a line's form), ngx_http_log_module."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from ops.diagnosis.checks.log_reading import LocatedEntry, nginx_entries, require_nginx_log
from ops.diagnosis.checks.nginx_errors import of_this_site
from ops.diagnosis.checks.nginx_own_words import has_passed_since, is_known_kind
from ops.diagnosis.checks.past_failures import is_of_earlier_worker
from ops.diagnosis.finding import Evidence, Finding, Severity, check, quote
from ops.facts.base import NotSeen
from ops.facts.logs import LogEntry, Logs
from ops.facts.nginx import Directive, NginxConfig
from ops.facts.probes import Exchange, Front
from ops.facts.target import Target
from ops.facts.traffic import Answers
from ops.interpret.nginx import Scope
from ops.interpret.nginx_error_line import message, own_words, request_of
from ops.interpret.probe_lines import is_of_earlier_run
from ops.interpret.site import find_site
from ops.interpret.traffic import LocatedTraffic, general_path, judged_since, service_traffic, users_traffic
from ops.text.language import Text

_QUOTED = re.compile(r'"([^"]+)"')
# A script's error names its file and line: the configuration's own, for a script that is written there.
_PLACE = re.compile(r"([\w./-]+\.[a-z]+):(\d+)\b|at ([\w./-]+) line (\d+)")
_WORD = re.compile(r"[a-z]{2,}[a-z0-9]*", re.ASCII)
# Whole seconds in both logs.
_SAME_REQUEST = 2.0
_FAILING = 3
_MAX_LINES = 3
_LEVELS = ("error", "crit", "alert", "emerg")
# Lines that other checks judge, or that are no fault of this host: the connection to the service, its answers, limits,
# rules, clients, files that are served.
_JUDGED_ELSEWHERE = re.compile(
    r"connect\(\) |connecting to upstream|upstream prematurely closed|upstream timed out|no live upstreams"
    r"|(?:recv|send|readv|writev|sendfile)\(\) failed|Connection reset by peer|Broken pipe"
    r"|limiting (?:requests|connections)|client intended|client sent|client prematurely|access forbidden by rule"
    r"|worker_connections are not enough|Too many open files|No space left|exited on signal|SSL_|broken header"
    r"|user \"[^\"]*\"|no user/password was provided|directory index of|while SSL handshaking"
    r"|upstream server temporarily disabled|PROXY protocol"
)
# Words of directives' names that say nothing about the module that wrote a line.
_COMMON = frozenset(
    {"access", "block", "body", "buffer", "buffers", "by", "cache", "client", "code", "connect", "content", "default",
     "error", "file", "files", "filter", "format", "from", "header", "headers", "host", "http", "https", "if", "in",
     "include", "internal", "keepalive", "key", "listen", "location", "log", "main", "max", "method", "name", "of",
     "off", "on", "open", "page", "pass", "path", "port", "proxy", "read", "real", "redirect", "request", "reset",
     "return", "root", "send", "server", "set", "size", "ssl", "status", "store", "temp", "time", "timeout", "to",
     "try", "type", "upstream", "user", "version", "with", "worker", "zone"}
)  # fmt: skip
# A file that nginx sends is no file that it needs for the request: others judge it.
_SERVED = (
    "root",
    "alias",
    "try_files",
    "index",
    "error_page",
    "location",
    "server_name",
    "rewrite",
    "return",
)


class _Failed(NamedTuple):
    """One line of the error log, and the users' requests that failed with it."""

    pair: LocatedEntry
    method: str
    path: str
    answers: Answers | None
    located: LocatedTraffic | None
    needs: Directive | None


@check(
    "nginx.unknown_words",
    "NGX061",
    en="nginx logs no error of an unknown kind for users' requests",
    zh="nginx 没有为用户的请求记录种类不明的错误",
)
def unknown_words(
    logs: Logs, target: Target, nginx_config: NginxConfig, front: Front | NotSeen, taken_at: float
) -> Iterator[Finding]:
    """NGX061: requests that nginx answered with an error of its own, in whose second it logged a line that no other
    check knows, and that have not passed since."""
    require_nginx_log(logs)
    failed = list(_failed_requests(logs, target, nginx_config, front, taken_at))
    if not failed:
        return
    newest = failed[-1]
    path, entry = newest.pair
    words = message_of(entry)
    same = [item for item in failed if message_of(item.pair[1])[:24] == words[:24]]
    met = newest.path in (target.predict_path, target.health_path) and entry.time >= int(taken_at)
    count = max(len(same), newest.answers.count if newest.answers else 0)
    total = newest.located.total_like(newest.answers) if newest.located and newest.answers else count
    place = _place_of(newest, words, nginx_config, target)
    where = place.where if place else (target.site_file or target.nginx_config_file)
    yield Finding(
        "NGX061",
        (
            quote(path, entry.text.partition("\n")[0]),
            *(quote(newest.located.path, line) for line in _access_lines(newest) if newest.located),
            *(place.evidence if place else ()),
        ),
        {
            "count": str(count),
            "total": str(max(total, count)),
            "request": f"{newest.method} {newest.path}",
            "message": words[:160],
            "where": where,
            "log": path,
        },
        severity=Severity.FAIL if met or count >= _FAILING else Severity.WARN,
        verify=f"grep -F {shlex.quote(words[:60])} {shlex.quote(path)} | tail -n 5",
        fix=_steps(newest, where, target),
    )


def _failed_requests(
    logs: Logs, target: Target, config: NginxConfig, front: Front | NotSeen, taken_at: float
) -> Iterator[_Failed]:
    since = judged_since(logs)
    site = find_site(config, target.domain, target.backend)
    judged = {file.entry for file in logs.refused_files} | {file.entry for file in logs.unserved_files}
    for pair in of_this_site(nginx_entries(logs, ""), config, target):
        entry = pair[1]
        request = request_of(entry.text)
        if (
            request is None
            or entry.level not in _LEVELS
            or is_known_kind(entry)
            or _JUDGED_ELSEWHERE.search(own_words(entry.text))
            or entry.text in judged
            or is_of_earlier_worker(entry, since, logs)
            or is_of_earlier_run(entry, logs, taken_at)
            or has_passed_since(pair, logs, target, front, taken_at)
        ):
            continue
        method, path = request
        scopes = _scopes(site.server.location_for(path), site.server) if site else ()
        needs = _needed_file(entry, scopes, config)
        answers, located = _answers_at(logs, method, path, entry.time, needs)
        if answers is not None or _is_probe(front, target, path, entry, taken_at, needs):
            yield _Failed(pair, method, path, answers, located, needs)


def _scopes(location: Scope | None, server: Scope) -> tuple[Scope, ...]:
    return (server,) if location is None else (location, server)


def message_of(entry: LogEntry) -> str:
    """What was said, in one line."""
    return message(entry.text).partition("\n")[0]


def _fails(status: str, needs: Directive | None) -> bool:
    """Whether nginx failed: with 5xx, or with 403 for want of a file that a directive names."""
    return status.startswith("5") or (needs is not None and status == "403")


def _answers_at(
    logs: Logs, method: str, path: str, time: float, needs: Directive | None
) -> tuple[Answers | None, LocatedTraffic | None]:
    """The failed requests of nginx's access log at that time, if the service's log has fewer of them."""
    own = service_traffic(logs)
    general = general_path(path)
    for located in users_traffic(logs):
        for item in located.traffic.answers:
            if (item.method, item.path) != (method, general) or not _fails(item.status, needs):
                continue
            by_service = sum(
                other.count
                for other in (own.traffic.answers if own else ())
                if (other.method, other.path, other.status) == (item.method, item.path, item.status)
            )
            if by_service < item.count and item.first - _SAME_REQUEST <= time <= item.last + _SAME_REQUEST:
                return item, located
    return None, None


def _is_probe(
    front: Front | NotSeen,
    target: Target,
    path: str,
    entry: LogEntry,
    taken_at: float,
    needs: Directive | None,
) -> bool:
    """Whether the line is about the doctor's own request, which failed."""
    if isinstance(front, NotSeen) or entry.time < int(taken_at):
        return False
    return any(
        isinstance(answer, Exchange)
        and path == own
        and answer.status is not None
        and _fails(str(answer.status), needs)
        for answer, own in ((front.predict, target.predict_path), (front.health, target.health_path))
    )


def _needed_file(entry: LogEntry, scopes: Iterable[Scope], config: NginxConfig) -> Directive | None:
    """The directive in force that names a file which the line quotes: nginx needs it for each request."""
    quoted = set(_QUOTED.findall(message_of(entry)))
    folder = PurePosixPath(config.file).parent  # ngx_conf_full_name
    for scope in scopes:
        for block in scope.blocks:
            for directive in block.block or ():
                if directive.name in _SERVED or directive.block is not None:
                    continue
                if any(_names(argument, quoted, folder) for argument in directive.args):
                    return directive
    return None


def _names(argument: str, quoted: set[str], folder: PurePosixPath) -> bool:
    if "/" not in argument and "." not in argument:
        return False
    return argument in quoted or str(folder / argument) in quoted


class _Place(NamedTuple):
    where: str
    evidence: tuple[Evidence, ...]


def _place_of(failed: _Failed, words: str, config: NginxConfig, target: Target) -> _Place | None:
    """The place that the line is about: the directive that names its file, the directive in force whose module it
    speaks of, the place that it names; else the location."""
    site = find_site(config, target.domain, target.backend)
    if site is None:
        return None
    location = site.server.location_for(failed.path)
    scopes = _scopes(location, site.server)
    block = scopes[0].blocks[0]
    around = quote(block.where, block.written)
    directive = failed.needs or _of_the_module(words, scopes)
    if directive is not None:
        written = quote(directive.where, directive.written)
        return _Place(directive.where, (written, around))
    if named := _named_place(words, config):
        return _Place(named, (around,))
    passed = next((d for scope in scopes for d in scope.effective("proxy_pass")[-1:]), None)
    return _Place(
        block.where,
        (around, *((quote(passed.where, f"proxy_pass {' '.join(passed.args)}"),) if passed else ())),
    )


def _named_place(words: str, config: NginxConfig) -> str | None:
    """``FILE:LINE`` of the configuration that the line itself names."""
    files = {directive.file for directive in _every(config.directives)}
    for match in _PLACE.finditer(words):
        name, line = match[1] or match[3], match[2] or match[4]
        file = next((file for file in files if file == name or file.endswith(f"/{name}")), None)
        if file is not None:
            return f"{file}:{line}"
    return None


def _every(directives: Iterable[Directive]) -> Iterator[Directive]:
    for directive in directives:
        yield directive
        yield from _every(directive.block or ())


def _of_the_module(words: str, scopes: Iterable[Scope]) -> Directive | None:
    """The directive in force here whose module the line speaks of, the innermost first: nginx names a module's
    directives by the module."""
    spoken = set(_WORD.findall(words.lower().replace("_", " "))) - _COMMON
    best: tuple[int, Directive] | None = None
    for scope in scopes:
        for block in scope.blocks:
            for directive in block.block or ():
                if directive.block is not None:
                    continue
                shared = len(spoken.intersection(directive.name.split("_")))
                if shared and (best is None or shared > best[0]):
                    best = (shared, directive)
        if best is not None:
            return best[1]
    return None


def _access_lines(failed: _Failed) -> tuple[str, ...]:
    return failed.answers.newest[:1] if failed.answers else ()


def _steps(failed: _Failed, where: str, target: Target) -> tuple[str | Text, ...]:
    """The steps: the place itself, the request's way through nginx, the same request past nginx."""
    file, _, line = where.rpartition(":")
    path = shlex.quote(failed.path)
    show = (
        (f"sed -n '{max(1, int(line) - 3)},{int(line) + 3}p' {shlex.quote(file)}",) if line.isdigit() else ()
    )
    past: tuple[str, ...] = ()
    if failed.method == "GET" and not target.backend.startswith("unix:"):
        past = (
            f"curl -sS -o /dev/null -w '%{{http_code}}\\n' {shlex.quote(f'http://{target.backend}{failed.path}')}",
        )
    return (
        Text(
            en=f"Correct what the line says at {where}: {failed.method} {failed.path} comes to that place, and nginx"
            " itself fails there",
            zh=f"按日志所说改正 {where}：{failed.method} {failed.path} 走到这里，失败的是 nginx 自己",
        ),
        *show,
        f"gte-ops route {failed.method} {path}",
        *(
            (
                Text(en="What the service itself answers to it:", zh="后端自己对它的应答："),
                *past,
            )
            if past
            else ()
        ),
        target.test_nginx,
        target.reload_nginx,
    )


CHECKS = (unknown_words,)
