"""Report processes and files that were not trusted about nginx: each may be an accident or an attack."""

from __future__ import annotations

from collections.abc import Iterator

from ops.diagnosis.finding import Evidence, Finding, check
from ops.facts.base import NotSeen
from ops.facts.host import Process, Processes
from ops.facts.nginx import NginxConfig, NginxTest
from ops.facts.target import Target
from ops.interpret.authority import Standing, posing_as_nginx
from ops.interpret.nginx import title
from ops.text.language import UNSEEN, Text, verbatim
from ops.text.reasons import reason

MAX_SHOWN = 8


@check("nginx.impostor", "NGX021", en="who calls itself nginx is nginx", zh="自称 nginx 的就是 nginx")
def impostor(target: Target, processes: Processes) -> Iterator[Finding]:
    """NGX021: a process of another user than root and the caller, or of another program, has the title of nginx's
    master. A container's nginx does not count, nor does that of the user that owns the target's configuration."""
    posers = [
        process
        for process, where in posing_as_nginx(processes)
        if where is Standing.USER and not _is_known(process, target)
    ]
    if posers:
        first = posers[0]
        evidence = tuple(_seen(process) for process in posers[:MAX_SHOWN])
        yield Finding("NGX021", evidence, {"pid": str(first.pid), "user": first.user})


def _is_known(process: Process, target: Target) -> bool:
    return process.uid == target.nginx_config_owner != 0


def _seen(process: Process) -> Evidence:
    program = verbatim(process.executable) if process.executable else UNSEEN
    return Evidence(
        f"ps {process.pid}",
        Text(
            en=f"user {process.user}, program {program.en}: {title(process)[:200]}",
            zh=f"用户 {process.user}，程序 {program.zh}：{title(process)[:200]}",
        ),
    )


@check(
    "nginx.trust", "NGX022", en="only root changes what nginx loads", zh="只有 root 能修改 nginx 加载的内容"
)
def trust(nginx_config: NginxConfig, nginx_test: NginxTest | NotSeen) -> Iterator[Finding]:
    """NGX022: `nginx -t` was not run, because users other than root could have written part of the configuration."""
    is_refused = isinstance(nginx_test, NotSeen) and nginx_test.is_refused
    if nginx_config.distrusted is not None and is_refused and not nginx_config.is_partly_read:
        yield Finding(
            "NGX022",
            (Evidence(nginx_config.file, reason(nginx_config.distrusted)),),
            {"why": reason(nginx_config.distrusted)},
        )


CHECKS = (impostor, trust)
