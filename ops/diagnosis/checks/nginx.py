"""Judges of nginx itself: its program, its process, its configuration."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator

from ops.diagnosis.checks.log_reading import nginx_entries
from ops.diagnosis.finding import Evidence, Finding, NotJudgedError, Severity, check, quote
from ops.facts.base import NotSeen
from ops.facts.host import Host, Process, Processes
from ops.facts.logs import AccessLog, Logs
from ops.facts.nginx import Directive, NginxConfig, NginxTest, Pidfile
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Front
from ops.facts.target import Target
from ops.interpret import nginx as nginx_topology
from ops.interpret.listeners import described, not_nginx, taking
from ops.text.language import Text

# What a message is about: nginx quotes it.
_QUOTED = re.compile(r'"([^"]{1,200})"')
_IN_FILE = re.compile(r" in (\S+):(\d+)$")
# Python's words of open(2) for a file that an include names.
_IS_DIRECTORY = re.compile(r"(.+): \[Errno 21\] ")
_BIND_IN_USE = re.compile(r"bind\(\) to (\S+) failed \(98: Address already in use\)")


@check("nginx.program", "NGX001", en="nginx is installed", zh="nginx 已安装")
def program(target: Target, front: Front | NotSeen) -> Iterator[Finding]:
    """NGX001: the configured binary is not found. A warning if the front door accepts connections nevertheless."""
    if target.nginx_installed:
        return
    serving = isinstance(front, Front) and front.connection.failure is None
    yield Finding(
        "NGX001",
        (Evidence(target.nginx_binary, Text(en="no such program", zh="没有这个程序")),),
        severity=Severity.WARN if serving else None,
    )


@check("nginx.process", "NGX002", en="nginx is running", zh="nginx 正在运行")
def process(
    target: Target,
    front: Front,
    processes: Processes,
    nginx_pidfile: Pidfile | NotSeen,
    logs: Logs | NotSeen,
    nginx_test: NginxTest | NotSeen,
) -> Iterator[Finding]:
    """NGX002: no master runs this configuration, and nothing, or only orphaned workers, listens at the front door."""
    if any(nginx_topology.serving_masters(target, processes, nginx_pidfile)):
        return
    orphans = _orphans(processes)
    if orphans and front.connection.failure not in (ProbeFailure.REFUSED, ProbeFailure.MISSING):
        yield _without_a_master(target, orphans, _failed_start(logs, are_served=True))
        return
    if front.connection.failure not in (ProbeFailure.REFUSED, ProbeFailure.MISSING):
        owners = not_nginx(processes, target.connect_to or "", target, nginx_pidfile)
        who = ", ".join(map(described, owners)) or "nobody that is seen"
        raise NotJudgedError(
            NotSeen(reason=f"no nginx master of this host serves; {target.connect_to} is held by {who}")
        )
    evidence = [quote(f"tcp {front.connection.address}", "connection refused")]
    if isinstance(nginx_pidfile, Pidfile) and nginx_pidfile.pid is not None:
        evidence.append(
            Evidence(
                nginx_pidfile.path,
                Text(
                    en=f"names process {nginx_pidfile.pid}, which is no nginx",
                    zh=f"其中的进程 {nginx_pidfile.pid} 不是 nginx",
                ),
            )
        )
    evidence.append(
        Evidence("ps", Text(en="no nginx master for this configuration", zh="没有使用此配置的 nginx 主进程"))
    )
    failed = _failed_start(logs)
    if failed is None:
        yield Finding("NGX002", tuple(evidence))
        return
    from ops.diagnosis import nginx_message

    path, message = failed
    is_tested = isinstance(nginx_test, NginxTest) and nginx_test.exit_code == 0
    words = nginx_message.without_process(message)
    where = _IN_FILE.search(words)
    if where is not None and is_tested and "host not found" not in words:
        yield Finding("NGX002", tuple(evidence))  # the configuration has been corrected since
        return
    failure = words[: where.start()] if where else words
    file, line = (where[1], where[2]) if where else (target.nginx_config_file, None)
    in_use = _BIND_IN_USE.search(words)
    holders, mend = _in_use(in_use[1], processes) if in_use is not None else ((), ())
    if mend:
        yield Finding(
            "NGX002",
            (*evidence, quote(path, message), *holders),
            summary=Text(en=f"nginx's last start failed: {failure}", zh=f"nginx 上次启动失败：{failure}"),
            fix=(*mend, target.test_nginx, target.start_nginx),
        )
        return
    yield Finding(
        "NGX002",
        (*evidence, quote(path, message)),
        summary=Text(en=f"nginx's last start failed: {failure}", zh=f"nginx 上次启动失败：{failure}"),
        fix=(
            nginx_message.advice(failure, file, line, target.nginx_config_file),
            target.test_nginx,
            target.start_nginx,
        ),
    )


def _in_use(address: str, processes: Processes) -> tuple[tuple[Evidence, ...], tuple[str | Text, ...]]:
    """The processes that hold an address which nginx could not bind, and the steps to free it; empty if none is seen.

    A killed nginx leaves its unix socket's file behind, at which no process listens."""
    pids = {pid for item in taking(processes, address) for pid in item.pids}
    owners = [process for process in processes.processes if process.pid in pids]
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        if not owners:
            note = Text(
                en="nobody listens at this socket: its file was left", zh="没有进程监听这个 socket，只剩文件"
            )
            return (Evidence(path, note),), (f"rm -- {shlex.quote(path)}",)
    evidence = tuple(quote(described(owner), " ".join(owner.command)[:160]) for owner in owners)
    if not owners:
        return (), ()  # gone meanwhile, or not seen: quote only nginx's message
    unit = next((owner.unit for owner in owners if owner.unit), None)
    stop = (
        f"systemctl disable --now {shlex.quote(unit)}" if unit else f"kill {' '.join(map(str, sorted(pids)))}"
    )
    words = Text(
        en=f"{described(owners[0])} holds {address}. If it is to go: {stop}; if it is to stay, take that listen out of"
        " nginx's configuration",
        zh=f"{described(owners[0])} 占用着 {address}。如果不需要它：{stop}；如果要保留，"
        "就从 nginx 配置里去掉这个 listen",
    )
    return evidence, (words,)


def _orphans(processes: Processes) -> tuple[Process, ...]:
    """Listening workers of this host's nginx without a master: a killed master does not end its workers."""
    pids = {
        process.pid
        for process in processes.processes
        if nginx_topology.title(process).startswith("nginx: master")
    }
    return tuple(
        process
        for process in processes.processes
        if nginx_topology.title(process) == "nginx: worker process"
        and process.ppid not in pids
        and any(process.pid in item.pids for item in processes.listeners)
    )


def _without_a_master(
    target: Target, orphans: tuple[Process, ...], failed: tuple[str, str] | None
) -> Finding:
    pids = " ".join(str(process.pid) for process in orphans)
    return Finding(
        "NGX002",
        (
            *(
                Evidence(
                    f"pid {worker.pid}",
                    Text(en="nginx: worker process, without a master", zh="nginx 工作进程，没有主进程"),
                )
                for worker in orphans[:4]
            ),
            *((quote(*failed),) if failed else ()),
        ),
        summary=Text(
            en=f"nginx's master is gone, and its workers ({pids}) serve on with the configuration and the certificates"
            " of then: nothing can be reloaded, and a start finds the ports taken.",
            zh=f"nginx 主进程已不在，遗留的工作进程（{pids}）仍用当时的配置和证书提供服务："
            "无法重新加载，新启动的 nginx 也会因端口被占用而失败。",
        ),
        fix=(f"kill -QUIT {pids}", target.test_nginx, target.start_nginx),
    )


def _failed_start(logs: Logs | NotSeen, *, are_served: bool = False) -> tuple[str, str] | None:
    """The log and text of nginx's newest [emerg] since the last request that it answered; None without one.
    ``are_served``: workers of an earlier start still answer, so requests do not prove that a later start succeeded."""
    if isinstance(logs, NotSeen):
        return None
    served = logs.nginx_access.last if isinstance(logs.nginx_access, AccessLog) else None
    emergencies = [
        (entry.time, path, entry.text.partition("\n")[0])
        for path, entry in nginx_entries(logs, "")
        if entry.level == "emerg" and "still could not bind" not in entry.text
    ]
    newest = max(emergencies, default=None)
    if newest is None or (not are_served and served is not None and newest[0] < served):
        return None
    return newest[1], newest[2]


@check("nginx.configuration", "NGX003", en="nginx's configuration loads", zh="nginx 配置可以加载")
def configuration(
    nginx_test: NginxTest | NotSeen,
    host: Host,
    target: Target,
    processes: Processes | NotSeen,
    nginx_pidfile: Pidfile | NotSeen,
    nginx_config: NginxConfig | NotSeen,
) -> Iterator[Finding]:
    """NGX003: nginx -t fails because of the configuration itself, not because the doctor lacks a permission; or an
    include takes a directory, which nginx cannot read as a file (ngx_conf_parse)."""
    if isinstance(nginx_test, NotSeen):
        taken = _included_directory(nginx_config, target)
        if taken is None:
            raise NotJudgedError(nginx_test)
        yield taken
        return
    if nginx_test.exit_code == 0:
        return
    failures = _failures(nginx_test)
    own = own_failures(nginx_test, host)
    if len(own) < len(failures) or not failures:
        reason = next((line for line in failures if line not in own), "nginx -t failed without saying why")
        raise NotJudgedError(NotSeen(reason=reason, needs_root=not host.is_root))
    from ops.diagnosis import nginx_message

    line = own[0].partition("] ")[2] or own[0]
    where = _IN_FILE.search(line)
    serving = not isinstance(processes, NotSeen) and any(
        nginx_topology.serving_masters(target, processes, nginx_pidfile)
    )
    message = nginx_message.without_process(line[: where.start()] if where else line)
    used = None if where else _line_with(nginx_config, message)
    file, number = (where[1], where[2]) if where else (target.nginx_config_file, "?")
    if used is not None:
        file, _, number = used.where.rpartition(":")
    other = (quote(used.where, used.written),) if used else _other_place(nginx_config, message, file, number)
    yield Finding(
        "NGX003",
        (quote(" ".join(nginx_test.command), line), *other),
        {"message": message, "file": file, "line": number},
        severity=Severity.WARN if serving else None,
        fix=(
            nginx_message.advice(
                message,
                file,
                number if number.isdecimal() else None,
                target.nginx_config_file,
                other=other[0].source if other else None,
            ),
            target.test_nginx,
            target.reload_nginx if serving else target.start_nginx,
        ),
    )


def _included_directory(config: NginxConfig | NotSeen, target: Target) -> Finding | None:
    """The include whose pattern takes a directory: no nginx starts or reloads with it."""
    errors = () if isinstance(config, NotSeen) else config.errors
    match, place = next(
        (
            (match, f"{error.file}:{error.line}")
            for error in errors
            if (match := _IS_DIRECTORY.match(error.message))
        ),
        (None, ""),
    )
    if match is None:
        return None
    name, file, line = match[1], *place.rpartition(":")[::2]
    return Finding(
        "NGX003",
        (quote(place, "include"), quote(name, "Is a directory")),
        {"message": f'pread() "{name}" failed (21: Is a directory)', "file": file, "line": line},
        fix=(
            Text(
                en=f"The include at {place} takes {name} too, which is a directory: move it away, or have the include"
                " take files alone (*.conf)",
                zh=f"{place} 的 include 也匹配到目录 {name}：把它移走，或让 include 只匹配文件（*.conf）",
            ),
            f"ls -ld {shlex.quote(name)}",
            target.test_nginx,
            target.start_nginx,
        ),
    )


def _line_with(config: NginxConfig | NotSeen, message: str) -> Directive | None:
    """The first line of the configuration that names what a message without a place is about, in quotes there: a zone,
    a variable, a file. None if there is none."""
    quoted = _QUOTED.search(message)
    if isinstance(config, NotSeen) or quoted is None:
        return None
    name = quoted[1]
    variable = (
        re.compile(rf"\$(?:{re.escape(name)}(?!\w)|\{{{re.escape(name)}\}})")
        if " variable" in message
        else None
    )

    def is_named(word: str) -> bool:
        if variable is not None:
            return variable.search(word) is not None
        return name in (word, *word.split("=")[1:], *word.split(":")[:1])

    def lines(directives: Iterable[Directive]) -> Iterator[Directive]:
        for directive in directives:
            if any(map(is_named, directive.args)):
                yield directive
            yield from lines(directive.block or ())

    return next(lines(config.directives), None)


def _other_place(config: NginxConfig | NotSeen, message: str, file: str, line: str) -> tuple[Evidence, ...]:
    """Quote the first declaration if nginx reports a duplicate; empty if it is not known."""
    from ops.diagnosis.nginx_duplicates import first_declaration

    if isinstance(config, NotSeen) or not line.isdecimal():
        return ()
    first = first_declaration(config, message, file, int(line))
    return (quote(first.where, first.written),) if first else ()


def _failures(test: NginxTest) -> list[str]:
    return [line for line in test.lines if "[emerg]" in line or "[crit]" in line]


def own_failures(test: NginxTest, host: Host) -> list[str]:
    """The failures of the configuration itself, without those about files that the doctor may not open."""
    if test.exit_code == 0:
        return []
    return [line for line in _failures(test) if host.is_root or "Permission denied" not in line]


CHECKS = (
    program,
    process,
    configuration,
)
