"""Files that nginx should send itself, but cannot open.

Sources: nginx documentation, ngx_http_core_module (root, alias); ngx_http_static_module."""

from __future__ import annotations

import errno
import posixpath
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from ops.diagnosis.checks.log_reading import nginx_entries
from ops.diagnosis.checks.nginx_errors import of_this_site
from ops.diagnosis.checks.past_failures import is_of_earlier_worker
from ops.diagnosis.finding import Evidence, Finding, check, quote
from ops.diagnosis.passable_directory import let_in
from ops.diagnosis.steps import replaced_in_line, replaced_statement, written_argument
from ops.facts.logs import LogEntry, Logs
from ops.facts.nginx import Directive, NginxConfig
from ops.facts.status import Severity
from ops.facts.target import Target
from ops.facts.traffic import NO_INDEX, UnservedFile
from ops.interpret.access import READ, SEARCH, may
from ops.interpret.nginx import Location, Server
from ops.interpret.nginx_error_line import about_request
from ops.interpret.site import find_site
from ops.interpret.traffic import judged_since, users_traffic
from ops.text.language import Text

# So many failures are no accident of one client.
_REPEATED = 3
# What predictions meet where nginx looks for their path among files.
_OF_PREDICTIONS = ("http.404", "http.405", "http.other", "predict.html")


@check(
    "nginx.unserved_files",
    "NGX046",
    en="nginx finds and may read the files that it is to send",
    zh="nginx 能找到并读取要发送的文件",
)
def unserved(logs: Logs, target: Target, nginx_config: NginxConfig) -> Iterator[Finding]:
    """NGX046: open() failed for a file of the site: nginx's workers may not reach or read it (13), or it is at another
    path than nginx tries (2), or a directory's index page is in another directory. A file that exists nowhere is the
    client's mistake."""
    since = judged_since(logs)
    site = find_site(nginx_config, target.domain, target.backend)
    for file in logs.unserved_files:
        entry = LogEntry(time=file.last, level="error", pid=None, text=file.entry)
        if not of_this_site(((file.log, entry),), nginx_config, target):
            continue
        place = _served_from(site.server, file.path) if site else None
        left_out = _left_out(file, site.server) if site and file.error == errno.ENOENT else None
        if file.error == NO_INDEX:
            is_past = is_of_earlier_worker(_with_pid(entry, logs), since, logs)
            is_fault = file.count >= _REPEATED and not is_past and not _serves_files(logs, _path_of(file))
            mend = _index_below(file, place) if is_fault else None
        elif file.error == errno.EACCES:
            mend = opened_way(file)
        elif left_out is not None:
            mend = left_out
        elif file.lies_at and not is_of_earlier_worker(_with_pid(entry, logs), since, logs):
            is_used = place is not None and place.location.strip("/") and _serves_files(logs, place.location)
            mend = None if is_used else _found_again(file, place)
        else:
            mend = None
        if mend is None:
            continue
        yield Finding(
            "NGX046",
            (
                quote(file.log, file.entry.partition("\n")[0]),
                *((quote(place.where, f"{place.name} {place.path};"),) if place else ()),
                *mend.evidence,
            ),
            {"count": str(file.count), "request": file.request or "?", "path": file.path},
            severity=_severity(file, target),
            summary=mend.summary,
            verify=f"namei -l {shlex.quote(file.lies_at or file.path)}",
            fix=(*mend.fix, *((target.test_nginx, target.reload_nginx) if mend.reloads else ())),
            explains=_OF_PREDICTIONS if left_out and _path_of(file) == target.predict_path else None,
        )
        return


def _severity(file: UnservedFile, target: Target) -> Severity:
    """Anybody may ask for a directory that has no page: users are affected if the site itself leads there."""
    led = f'referrer: "https://{target.domain}/' in about_request(file.entry)
    is_serious = file.count >= _REPEATED and (led or file.error != NO_INDEX)
    return Severity.FAIL if is_serious else Severity.WARN


def _serves_files(logs: Logs, path: str) -> bool:
    """Whether users were sent files beneath a path: then its directory is the one that is meant."""
    start = path.rstrip("/") + "/"
    return any(
        item.method in ("GET", "HEAD")
        and item.status in ("200", "206", "304")
        and item.path.startswith(start)
        and item.path != start
        and not any(item.upstreams)
        for located in users_traffic(logs)
        for item in located.traffic.answers
    )


class _ServedFrom(NamedTuple):
    """The root or alias that a path on disk begins with, and its location."""

    name: str
    path: str
    where: str
    location: str


class Mend(NamedTuple):
    """The fault of one file, and the steps that fix it."""

    summary: Text
    fix: tuple[str | Text, ...]
    evidence: tuple[Evidence, ...] = ()
    reloads: bool = False


def _with_pid(entry: LogEntry, logs: Logs) -> LogEntry:
    """The log's own entry, with the pid of the worker that wrote it."""
    return next((pair[1] for pair in nginx_entries(logs, "") if pair[1].text == entry.text), entry)


def _served_from(server: Server, path: str) -> _ServedFrom | None:
    """The longest of the site's root and alias directives that the path begins with."""
    candidates = [
        _ServedFrom(
            directive.name,
            directive.args[0],
            directive.where,
            scope.pattern if isinstance(scope, Location) and not scope.modifier.startswith("~") else "",
        )
        for scope in (server, *server.locations())
        for name in ("alias", "root")
        for directive in scope.own(name)
        if directive.args and path.startswith(directive.args[0])
    ]
    return max(candidates, key=lambda each: len(each.path), default=None)


def opened_way(file: UnservedFile) -> Mend | None:
    """The fix for the file or directory that nginx's workers may not read or enter now; None if none is known."""
    if file.reader is None:
        return None
    for step in file.steps:
        if may(file.reader, step, SEARCH if step.is_directory else READ) is not False:
            continue
        right = "x" if step.is_directory else "r"
        return Mend(
            Text(
                en=f"nginx answered 403 for {file.request or '?'}, {file.count} times: its workers ({file.reader.user})"
                f" may not read {file.path}, because {step.path} is closed to that user.",
                zh=f"nginx 对 {file.request or '?'} 返回了 {file.count} 次 403：工作进程（用户 {file.reader.user}）"
                f"读不了 {file.path}，因为 {step.path} 不允许该用户{'进入' if step.is_directory else '读取'}。",
            ),
            (let_in(step, file.reader, right),),
            (quote(f"stat {step.path}", f"{step.mode:04o}, uid {step.uid}, gid {step.gid}"),),
        )
    return None


def _left_out(file: UnservedFile, server: Server) -> Mend | None:
    """The fix if a condition leaves try_files out: an if is a location of its own, in which the try_files of the one
    around it is not in force (ngx_http_core_module, try_files: context server, location). With try_files in force nginx
    opens no file that is not there: the log line itself proves that it was not."""
    location = server.location_for(_path_of(file))
    tries, first = try_files_beside_a_condition(location) if location else (None, None)
    if tries is None or first is None:
        return None
    written = f"if ({' '.join(first.args)})"
    return Mend(
        Text(
            en=f"nginx answered 404 for {file.request or '?'}, {file.count} times: where the condition at {first.where}"
            f" holds, it leaves out try_files {' '.join(tries.args)} ({tries.where}) and looks for the file alone.",
            zh=f"nginx 对 {file.request or '?'} 返回了 {file.count} 次 404：{first.where} 的条件成立时，"
            f"{tries.where} 的 try_files {' '.join(tries.args)} 不再生效，nginx 只找文件。",
        ),
        (
            Text(
                en=f"Take {written} out of the location that has try_files ({first.where}): decide by a map in http"
                " { } and use its variable outside of every if, or put the condition into the location that passes"
                " the request on",
                zh=f"把 {written} 移出带 try_files 的 location（{first.where}）：在 http {{ }} 里用 map 得到变量，"
                "在 if 之外使用，或把条件写进转发请求的那个 location",
            ),
        ),
        (
            quote(first.where, f"{written} {{ ... }}"),
            quote(tries.where, f"try_files {' '.join(tries.args)}"),
        ),
        reloads=True,
    )


def _path_of(file: UnservedFile) -> str:
    return file.request.rpartition(" ")[2].partition("?")[0]


def try_files_beside_a_condition(location: Location) -> tuple[Directive | None, Directive | None]:
    """A location's own try_files, and its first if that leaves it out and goes on; None for what it has not."""
    tries = location.first_own("try_files")
    conditions = [
        condition
        for condition in location.own("if")
        if not any(inner.name in _ENDS_THE_REQUEST for inner in condition.block or ())
    ]
    return (tries if tries and len(tries.args) > 1 else None), next(iter(conditions), None)


# These directives end the request, or are the whole handling of it (ngx_http_rewrite_module, ngx_http_proxy_module).
_ENDS_THE_REQUEST = ("return", "rewrite", "proxy_pass", "fastcgi_pass", "uwsgi_pass", "grpc_pass")


def _index_below(file: UnservedFile, place: _ServedFrom | None) -> Mend | None:
    """The fix if a directory is served without its index page, and the page is in another."""
    if not file.lies_at or place is None:
        return None
    directory = posixpath.dirname(file.lies_at)
    served = file.path.rstrip("/")
    steps: tuple[str | Text, ...]
    if directory == served:
        index = f"index {posixpath.basename(file.lies_at)};"
        statement = f"{place.name} {written_argument(place.path)}; {index}"
        steps = (replaced_statement(place.where, place.name, statement),)
    else:
        # No command: the directory may have files that users ask for at their present addresses.
        end = "/" if place.path.endswith("/") else ""
        steps = (
            Text(
                en=f"If the pages in {directory} are meant, serve that directory: alias {directory}{end}; in a location"
                f" of its own, in place of {place.name} {place.path}; ({place.where}). Files beside it are then at no"
                " address any more",
                zh=f"如果要提供的是 {directory} 里的页面，就改为提供该目录：在单独的 location 里写 alias "
                f"{directory}{end};，代替 {place.where} 的 {place.name} {place.path};。与它并列的文件将不再有访问地址",
            ),
        )
    request = file.request or file.path
    return Mend(
        Text(
            en=f"nginx answered 403 for {request}, {file.count} times: {file.path} has no index page; one lies at"
            f" {file.lies_at}.",
            zh=f"nginx 对 {request} 返回了 {file.count} 次 403：{file.path} 里没有首页文件，而 {file.lies_at} 有。",
        ),
        steps,
        (Evidence(file.lies_at, Text(en="the page is here", zh="首页在这里")),),
        reloads=True,
    )


def _found_again(file: UnservedFile, place: _ServedFrom | None) -> Mend | None:
    """The fix if a confusion of root and alias explains why nginx does not find the file; None otherwise."""
    misread = _misread(file, place) if place is not None else None
    if misread is None:
        return None
    request, path, there = file.request or file.path, file.path, file.lies_at
    return Mend(
        Text(
            en=f"nginx answered 404 for {request}, {file.count} times: it looks for {path}, and the file is {there}.",
            zh=f"nginx 对 {request} 返回了 {file.count} 次 404：它找的是 {path}，而文件是 {there}。",
        ),
        misread,
        (Evidence(there, Text(en="the file is here", zh="文件在这里")),),
        reloads=True,
    )


def _misread(file: UnservedFile, place: _ServedFrom) -> tuple[Text, str] | None:
    """The correction of a root or alias that leads to a wrong path: advice and command."""
    base, where = place.location, place.where
    start = place.path.rstrip("/")
    rest = file.path[len(place.path) :]
    if (
        place.name == "alias"
        and base.endswith("/")
        and start == place.path
        and file.lies_at == f"{start}/{rest}"
    ):
        return (
            Text(
                en=f"alias replaces the location's prefix, its slash included: end alias with a slash ({where}):",
                zh=f"alias 会替换 location 的前缀（包括末尾的斜杠）：{where} 的 alias 末尾要加斜杠：",
            ),
            replaced_in_line(where, f"alias {place.path};", f"alias {place.path}/;"),
        )
    if (
        place.name == "root"
        and base.endswith("/")
        and file.path == f"{start}{base}{file.path[len(start + base) :]}"
    ):
        if file.lies_at != f"{start}/{file.path[len(start + base) :]}":
            return None
        return (
            Text(
                en=f"root keeps the location's prefix {base} in the path, alias replaces it: write alias in place of"
                f" root ({where}):",
                zh=f"root 会把 location 的前缀 {base} 保留在路径里，alias 才会替换它：{where} 的 root 要改成 alias：",
            ),
            replaced_in_line(where, f"root {place.path};", f"alias {start}/;"),
        )
    if place.name == "alias" and base and file.lies_at == f"{start}{base.rstrip('/')}/{rest.lstrip('/')}":
        return (
            Text(
                en=f"alias takes the location's prefix {base} away, root keeps it: write root in place of alias"
                f" ({where}):",
                zh=f"alias 会去掉 location 的前缀 {base}，root 才会保留它：{where} 的 alias 要改成 root：",
            ),
            replaced_in_line(where, f"alias {place.path};", f"root {start or '/'};"),
        )
    return None


CHECKS = (unserved,)
