"""Judges of the site's server block: whether it is the one that answers, for every client, and for health checks."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from ops.diagnosis.finding import Evidence, Finding, NotJudgedError, check, quote
from ops.diagnosis.steps import replaced_in_line, replaced_statement
from ops.facts.base import NotSeen
from ops.facts.nginx import Directive, NginxConfig, NginxTest
from ops.facts.probes import Exchange, Front
from ops.facts.target import Target
from ops.interpret import nginx as nginx_topology
from ops.interpret.address import split_address
from ops.interpret.service_name import is_service, reaches_service
from ops.interpret.site import find_site
from ops.text.language import Text

# The User-Agent of each client in the guide and the documentation.
CLIENTS = {"curl": "curl/8.5.0", "python-requests": "python-requests/2.32.3"}
REFUSALS = ("403", "404", "406", "410", "444")
_PLAIN_NAME = re.compile(r"[\w.-]+\Z", re.ASCII)


def site_server(config: NginxConfig, target: Target) -> nginx_topology.Server | None:
    site = find_site(config, target.domain, target.backend)
    return site.server if site else None


@check("nginx.health_location", "NGX006", en="health checks reach the service", zh="健康检查能到达服务")
def health_location(nginx_config: NginxConfig, target: Target) -> Iterator[Finding]:
    """NGX006: the health location returns 2xx itself, without proxying."""
    server = site_server(nginx_config, target)
    location = server.location_for(target.health_path) if server else None
    if location is None or any(location.own("proxy_pass")):
        return
    for directive in location.own("return"):
        if directive.args and directive.args[0].startswith("2") and directive.args[0].isdigit():
            where = directive.where
            yield Finding(
                "NGX006",
                (quote(where, f"location {location.written} {{ return {' '.join(directive.args)}; }}"),),
                {"location": location.written, "where": where},
                fix=_asked_of_the_service(nginx_config, server, location, directive, target),
            )
            return


def _asked_of_the_service(
    config: NginxConfig,
    server: nginx_topology.Server | None,
    location: nginx_topology.Location,
    answer: Directive,
    target: Target,
) -> tuple[str | Text, ...] | None:
    """Edits, line by line, that proxy the health path to the service. They also remove the location's add_header
    Content-Type, which would be added to the service's answer."""
    proxy_pass = nginx_topology.proxy_pass_for(config, server, target.predict_path) if server else None
    if (
        proxy_pass is None
        or not proxy_pass.determined
        or {"/", "$"} & set(proxy_pass.written.partition("://")[2])
    ):
        return None
    added = [
        d
        for d in location.own("add_header")
        if d.args[:1] and d.args[0].lower() == "content-type" and d.file == answer.file
    ]
    edits = [(answer, f"proxy_pass {proxy_pass.written};"), *((d, "") for d in added)]
    if any(";" in word for d, _ in edits for word in d.args):
        return None
    # Edit bottom up, so that the lines above keep their numbers.
    ordered = sorted(edits, key=lambda edit: -edit[0].line)
    return (
        *(replaced_statement(d.where, d.name, new) for d, new in ordered),
        target.test_nginx,
        target.reload_nginx,
    )


@check("nginx.user_agents", "NGX010", en="documented clients are let in", zh="文档中的客户端可以访问")
def user_agents(nginx_config: NginxConfig, target: Target) -> Iterator[Finding]:
    """NGX010: an `if` on the User-Agent refuses clients that the service's documentation uses."""
    server = site_server(nginx_config, target)
    if server is None:
        return
    location = server.location_for(target.predict_path)
    for scope in (server, *((location,) if location else ())):
        for directive in scope.own("if"):
            refuses = any(
                d.name == "return" and d.args and d.args[0] in REFUSALS for d in directive.block or ()
            )
            blocked = [name for name, agent in CLIENTS.items() if _agent_matches(directive.args, agent)]
            if refuses and blocked:
                where = directive.where
                yield Finding(
                    "NGX010",
                    (quote(where, f"if ({' '.join(directive.args)})"),),
                    {"client": ", ".join(blocked), "where": where},
                )
                return


def _agent_matches(condition: tuple[str, ...], agent: str) -> bool:
    """Whether an `if`'s condition holds for a User-Agent (ngx_http_rewrite_module, if)."""
    if len(condition) != 3 or condition[0] != "$http_user_agent":
        return False
    operator, pattern = condition[1], condition[2]
    if operator == "=":
        return agent == pattern
    if operator not in ("~", "~*"):
        return False
    return nginx_topology.pattern_found(pattern, agent, ignore_case=operator == "~*")


@check("nginx.server_block", "NGX011", en="the right server block answers", zh="由正确的 server 块应答")
def server_block(
    nginx_config: NginxConfig, nginx_test: NginxTest | NotSeen, target: Target, front: Front
) -> Iterator[Finding]:
    """NGX011: nginx's default page answers, or a server block whose server_name does not match.

    Not judged if the front door refuses the doctor's requests; only this judge reports that, so it appears once."""
    if isinstance(front.predict, NotSeen) and front.connection.failure is None:
        raise NotJudgedError(front.predict)
    answers = [x for x in (front.predict, front.health) if isinstance(x, Exchange) and x.status is not None]
    if (
        not answers
        or any(reaches_service(x, target) or is_service(x) for x in answers)
        or target.connect_to is None
    ):
        return
    welcome = next((x for x in answers if "Welcome to nginx" in x.body), None)
    host, port = split_address(target.connect_to)
    blocks = nginx_topology.servers(nginx_config)
    block = nginx_topology.chosen_server(blocks, host, port, target.domain)
    # nginx does not run a configuration that does not load, so its names prove nothing.
    loads = isinstance(nginx_test, NotSeen) or nginx_test.exit_code == 0
    foreign = loads and block is not None and not nginx_topology.names_match(block, target.domain)
    site = site_server(nginx_config, target)
    if welcome is None and not (
        foreign and (site is None or site != block or not _proxies(nginx_config, block))
    ):
        return
    names = " ".join(block.names) if block and block.names else "-"
    answer = welcome or answers[0]
    evidence = [
        quote(
            f"{answer.method} {answer.url}", f"{answer.status} {answer.header('server')} {answer.body[:80]}"
        )
    ]
    if block is not None:
        evidence.append(quote(block.where, f"server_name {names}"))
    if site is not None and site != block:
        evidence.append(quote(site.where, f"server_name {' '.join(site.names)}"))
    misspelt = tuple(_one_letter_off(nginx_config, target.domain))
    evidence += [
        Evidence(
            f"{name.file}:{name.line}",
            Text(
                en=f"server_name {name.name} differs from {target.domain} in one letter",
                zh=f"server_name {name.name} 与 {target.domain} 只差一个字母",
            ),
        )
        for name in misspelt
    ]
    yield Finding(
        "NGX011",
        tuple(evidence),
        {"answering": names, "where": block.where if block else "?"},
        fix=(
            *(step for name in misspelt for step in name.fix(target.domain)),
            target.test_nginx,
            target.reload_nginx,
        )
        if misspelt
        else _naming(site, block, target),
    )


def _naming(
    site: nginx_topology.Server | None, answering: nginx_topology.Server | None, target: Target
) -> tuple[str | Text, ...] | None:
    """The steps that give the service's server block the domain as one more name, where both blocks listen at the same
    address and neither has it; else None."""
    if site is None or answering is None or site == answering:
        return None
    if any(nginx_topology.names_match(server, target.domain) for server in (site, answering)):
        return None
    addresses = {(listen.host, listen.port) for listen in site.listens}
    directive = next(site.own("server_name"), None)
    if directive is None or not addresses & {(listen.host, listen.port) for listen in answering.listens}:
        return None
    return (
        Text(
            en=f"The service's server block ({directive.where}) has other names. Give it {target.domain} too:",
            zh=f"服务的 server 块（{directive.where}）里是别的域名。加上 {target.domain}：",
        ),
        replaced_in_line(directive.where, "server_name ", f"server_name {target.domain} "),
        target.test_nginx,
        target.reload_nginx,
    )


class _MisspeltName(msgspec.Struct, frozen=True):
    """A server_name that is one letter away from the domain."""

    name: str
    file: str
    line: int

    def fix(self, domain: str) -> tuple[str | Text, ...]:
        """The line to correct, and the command that corrects it."""
        return (
            Text(
                en=f"{self.name} differs from {domain} in one letter ({self.file}, line {self.line}): correct it",
                zh=f"{self.name} 与 {domain} 只差一个字母（{self.file} 第 {self.line} 行），请改正",
            ),
            replaced_in_line(f"{self.file}:{self.line}", self.name, domain),
        )


def _one_letter_off(config: NginxConfig, domain: str) -> Iterator[_MisspeltName]:
    """Plain server names that differ from ``domain`` by one letter inserted, left out or replaced, or two exchanged."""
    for server in nginx_topology.servers(config):
        for directive in server.own("server_name"):
            for name in directive.args:
                if (
                    _PLAIN_NAME.match(name)
                    and _PLAIN_NAME.match(domain)
                    and _differ_in_one_letter(name, domain)
                ):
                    yield _MisspeltName(name, directive.file, directive.line)


def _differ_in_one_letter(left: str, right: str) -> bool:
    if left == right or abs(len(left) - len(right)) > 1:
        return False
    shorter, longer = sorted((left, right), key=len)
    pairs = zip(shorter, longer, strict=False)
    at = next((index for index, (a, b) in enumerate(pairs) if a != b), len(shorter))
    if len(shorter) < len(longer):
        return shorter[at:] == longer[at + 1 :]
    is_exchange = left[at : at + 2] == right[at : at + 2][::-1] and left[at + 2 :] == right[at + 2 :]
    return left[at + 1 :] == right[at + 1 :] or is_exchange


def _proxies(config: NginxConfig, server: nginx_topology.Server | None) -> bool:
    return server is not None and bool(nginx_topology.proxy_passes(config, server))


CHECKS = (
    health_location,
    user_agents,
    server_block,
)
