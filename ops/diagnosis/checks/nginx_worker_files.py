"""Judge of the files that a worker of nginx may open."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ops.diagnosis.checks.host import FEW_FILES
from ops.diagnosis.finding import Evidence, Finding, NotJudgedError, check, quote, seen
from ops.diagnosis.steps import set_in_main_context
from ops.facts.base import NotSeen
from ops.facts.host import Processes
from ops.facts.machine import Machine, OpenFiles
from ops.facts.nginx import NginxConfig
from ops.facts.target import Target
from ops.interpret import nginx as nginx_topology
from ops.text.language import Text

_REFUSED = Text(
    en="Two files a connection, for the client and for the backend. If nginx's error log then says setrlimit(...)"
    " failed: raise LimitNOFILE= of nginx's unit (systemctl edit nginx) or the container's limit, and restart nginx",
    zh="每个连接要两个文件：客户端和后端各一个。如果随后 nginx 错误日志里有 setrlimit(...) failed：调大 nginx 的 unit"
    " 的 LimitNOFILE=（systemctl edit nginx）或容器的上限，再重启 nginx",
)
DEFAULT_CONNECTIONS = 512  # ngx_core_module, worker_connections


@check(
    "nginx.worker_files",
    "NGX020",
    en="nginx may open a file for each of its connections",
    zh="nginx 能打开的文件数够它的连接数用",
)
def worker_files(
    nginx_config: NginxConfig, target: Target, machine: Machine | NotSeen, processes: Processes | NotSeen
) -> Iterator[Finding]:
    """NGX020: worker_connections exceeds the files that a worker may open. By nginx's documentation it includes the
    connections to proxied servers, and open files limit it. nginx's own warning (ngx_event_module_init) compares it
    with the higher of worker_rlimit_nofile and the master's limit, although workers have the former.

    A worker's limit under 1024 is HST004, whatever worker_connections is."""
    connections = _number(nginx_config, "worker_connections")
    if connections is None and nginx_config.errors:
        raise NotJudgedError(NotSeen(reason=f"not all of {nginx_config.file} could be read"))
    if not isinstance(machine, NotSeen) and any(item.soft < FEW_FILES for item in _nginx_files(machine)):
        return
    unset = Text(
        en=f"worker_connections is not set: {DEFAULT_CONNECTIONS}",
        zh=f"没有设置 worker_connections：{DEFAULT_CONNECTIONS}",
    )
    count, evidence = connections or (DEFAULT_CONNECTIONS, Evidence(nginx_config.file, unset))
    limit, bound = _file_limit(nginx_config, machine, processes)
    if count > limit:
        facts = {"connections": str(count), "limit": str(limit), "bound": bound.source}
        line = set_in_main_context(nginx_config, "worker_rlimit_nofile", str(2 * count))
        yield Finding(
            "NGX020",
            (evidence, bound),
            facts,
            fix=(_REFUSED, line, target.test_nginx, target.reload_nginx) if line is not None else None,
        )


def _file_limit(
    config: NginxConfig, machine: Machine | NotSeen, processes: Processes | NotSeen
) -> tuple[int, Evidence]:
    """The files that a worker may open, with the evidence: worker_rlimit_nofile, or the lowest limit of a worker.

    Raises NotJudgedError if neither is known."""
    setting = _number(config, "worker_rlimit_nofile")
    if setting is None:
        workers = _nginx_files(seen(machine))
        if not workers:
            reason = "no worker of nginx runs, and worker_rlimit_nofile is not set"
            raise NotJudgedError(NotSeen(reason=reason))
    else:
        # If the system refuses the limit of worker_rlimit_nofile, nginx continues with its current one.
        workers = tuple(
            item
            for item in (() if isinstance(machine, NotSeen) else _nginx_files(machine))
            if item.soft < setting[0] and _is_current(item, config, processes)
        )
        if not workers:
            return setting
    tightest = min(workers, key=lambda item: item.soft)
    return tightest.soft, quote(f"/proc/{tightest.pid}/limits", f"Max open files {tightest.soft}")


def _nginx_files(machine: Machine) -> tuple[OpenFiles, ...]:
    return tuple(item for item in machine.open_files if item.process == "nginx")


def _number(config: NginxConfig, name: str) -> tuple[int, Evidence] | None:
    """The number of the directive ``name``, which nginx allows only once and in one context, with a quotation; None if
    it is not set.

    Raises NotJudgedError if its argument is no number."""
    directive = next(nginx_topology.every(config, name), None)
    if directive is None:
        return None
    where, value = directive.where, " ".join(directive.args)
    if not re.fullmatch(r"[0-9]{1,18}", value):
        raise NotJudgedError(NotSeen(reason=f"{where}: {name} {value} is no number"))
    return int(value), quote(where, f"{name} {value}")


def _is_current(worker: OpenFiles, config: NginxConfig, processes: Processes | NotSeen) -> bool:
    """Whether a worker started after the last change of any configuration file: then it runs what they say."""
    if isinstance(processes, NotSeen) or not config.modified:
        return False
    started = next((p.started for p in processes.processes if p.pid == worker.pid), None)
    return started is not None and started > max(config.modified.values())


CHECKS = (worker_files,)
