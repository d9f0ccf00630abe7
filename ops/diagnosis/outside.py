"""A diagnosis from outside: the causes that a front door alone proves, and what to run where.

What is printed runs on the machine of who looks. What mends a cause is on the other host, and its own doctor names it.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from urllib.parse import urlsplit

from msgspec.structs import replace

from ops.diagnosis.finding import Check, Evidence
from ops.diagnosis.model import Cause, Diagnosis, Symptom, Viewpoint
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Resolution
from ops.facts.snapshot import Snapshot
from ops.facts.target import Target
from ops.interpret.outside import url_port
from ops.text.language import Text, verbatim

# Checks whose causes an answer proves by itself. All others would judge this machine, or guess.
_PROVEN_AT_THE_DOOR = frozenset(
    {"dns.resolution", "dns.literal", "net.plain_http", "tls.dates", "tls.name", "tls.chain", "tls.versions"}
)
# The plain door beside these ports is not asked for: port 80 belongs to the usual one.
_HTTPS = 443
_OF_A_RESOLVER = (
    ProbeFailure.TIMEOUT,
    ProbeFailure.REFUSED,
    ProbeFailure.SERVFAIL,
    ProbeFailure.UNREACHABLE,
)
_READING = "gte-ops"
_READINGS = {
    "connect.refused": Text(
        en="the machine, or a firewall before it, refuses: no program listens at this port, or it may not be reached"
        " from here",
        zh="对方主机或其前面的防火墙拒绝了连接：该端口没有程序监听，或不允许从这里访问",
    ),
    "connect.timeout": Text(
        en="nothing came back: the machine is off, a firewall drops, or this network does not let the port out; try"
        " another network",
        zh="没有任何返回：主机关机、防火墙丢弃，或本地网络不允许访问该端口；请换一个网络再试",
    ),
    "http.502": Text(
        en="the proxy in front answers; it got no valid answer from the service behind it (RFC 9110, 15.6.3)",
        zh="前面的代理有应答，但没有从后面的服务得到有效应答（RFC 9110，15.6.3）",
    ),
    "http.503": Text(
        en="a server refuses for now: overload, a start under way, or maintenance (RFC 9110, 15.6.4)",
        zh="服务器暂时拒绝：过载、正在启动或维护（RFC 9110，15.6.4）",
    ),
    "http.504": Text(
        en="the proxy in front answers; the service behind it was not in time (RFC 9110, 15.6.5)",
        zh="前面的代理有应答，但后面的服务没有及时应答（RFC 9110，15.6.5）",
    ),
    "predict.html": Text(
        en="another site, a login page or a CDN may answer in place of the service",
        zh="可能是另一个站点、登录页面或 CDN 代替服务作了应答",
    ),
}


def at_the_door(checks: Sequence[Check], url: str) -> tuple[Check, ...]:
    """Those of ``checks`` that a view from outside may run."""
    is_usual = url.startswith("https:") and url_port(url) == _HTTPS
    return tuple(
        check
        for check in checks
        if check.id in _PROVEN_AT_THE_DOOR and (is_usual or check.id != "net.plain_http")
    )


def seen_from_outside(diagnosis: Diagnosis, snapshot: Snapshot) -> Diagnosis:
    """``diagnosis`` with commands that run on this machine, and steps that name where the rest is done."""
    target = snapshot.target
    if not isinstance(target, Target):
        return diagnosis
    return replace(
        diagnosis,
        viewpoint=Viewpoint.OUTSIDE,
        target=diagnosis.target | {"viewpoint": Viewpoint.OUTSIDE},
        causes=tuple(_cause(cause, target, snapshot) for cause in diagnosis.causes),
        symptoms=tuple(_symptom(symptom, target) for symptom in diagnosis.symptoms),
    )


def _cause(cause: Cause, target: Target, snapshot: Snapshot) -> Cause:
    return replace(
        cause,
        verify=verbatim(_commands(cause.code.rstrip("0123456789").lower(), target)[0]),
        fix=_steps(cause, target, snapshot),
    )


def _symptom(symptom: Symptom, target: Target) -> Symptom:
    if symptom.explained_by:
        return symptom
    reading = _READINGS.get(symptom.id)
    return replace(
        symptom,
        evidence=(*symptom.evidence, *((Evidence(_READING, reading),) if reading else ())),
        route=(),
        next=tuple(map(verbatim, _commands(symptom.id.partition(".")[0], target))),
    )


def _steps(cause: Cause, target: Target, snapshot: Snapshot) -> tuple[Text, ...]:
    if cause.code.startswith("DNS"):
        resolution = snapshot.resolution
        if isinstance(resolution, Resolution) and resolution.failure in _OF_A_RESOLVER:
            return (
                Text(
                    en=f"The resolver {resolution.resolver} that this machine asks gave no answer: look at this"
                    " machine's network, or ask another resolver; the host may be well",
                    zh=f"本机使用的 DNS 服务器 {resolution.resolver} 没有给出结果：请检查本机网络，或换一个 DNS"
                    " 服务器查询；对方主机可能正常",
                ),
            )
        return (
            Text(
                en=f"At the DNS provider of {target.domain}: add or restore its A or AAAA record, or give out a name",
                zh=f"在 {target.domain} 的域名服务商处添加或恢复 A、AAAA 记录；若对外公布的是 IP，请改用域名",
            ),
        )
    return (
        Text(
            en=f"On the host behind {target.url}: gte-ops doctor names the file and the command that fix {cause.code}",
            zh=f"在 {target.url} 的主机上运行 gte-ops doctor，它会给出修复 {cause.code} 的文件和命令",
        ),
    )


def _commands(layer: str, target: Target) -> tuple[str, ...]:
    """Commands about a layer for this machine, the most telling first."""
    name, url = shlex.quote(target.domain), shlex.quote(target.url)
    health = f"curl -sv {shlex.quote(target.url + target.health_path)}"
    match layer:
        case "dns":
            return (f"dig {name} A {name} AAAA", f"dig +trace {name}")
        case "connect":
            dial = f"curl -sv --connect-timeout 5 {url}"
            return (dial,) if _is_address(target.domain) else (dial, f"dig +short {name}")
        case "tls":
            server = f" -servername {name}" if not _is_address(target.domain) else ""
            session = (
                f"openssl s_client -connect {shlex.quote(_host_and_port(target.url))}{server} </dev/null"
            )
            return (f"{session} 2>/dev/null | openssl x509 -noout -subject -issuer -dates", session)
        case "net":
            return (f"curl -sI {shlex.quote('http://' + _bracketed(target.domain) + target.health_path)}",)
    body = shlex.quote(target.predict_body)
    predict = shlex.quote(target.url + target.predict_path)
    return (f"curl -sv {predict} -H 'Content-Type: application/json' -d {body}", health)


def _is_address(host: str) -> bool:
    return ":" in host or host.replace(".", "").isdigit()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _host_and_port(url: str) -> str:
    return f"{_bracketed(urlsplit(url).hostname or '')}:{url_port(url)}"
