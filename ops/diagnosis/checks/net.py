"""Judges of connections: to the front door, and to the backend past nginx."""

from __future__ import annotations

import fnmatch
import posixpath
import shlex
from collections.abc import Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

from ops.diagnosis.finding import Evidence, Finding, check, quote
from ops.diagnosis.steps import (
    put_after_line,
    put_before_line,
    replaced_argument,
    replaced_in_line,
    written_argument,
)
from ops.facts.base import NotSeen
from ops.facts.gunicorn import Gunicorn, GunicornConfig
from ops.facts.host import Listener, Processes
from ops.facts.nginx import Directive, Include, NginxConfig, Pidfile, UnloadedSite
from ops.facts.packet_filter import PacketFilter
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Backend, Exchange, Front, Upstreams
from ops.facts.target import Target
from ops.interpret.address import is_loopback, same_address, split_address
from ops.interpret.nginx import (
    Listen,
    chosen_server,
    names_match,
    parse_listen,
    servers,
    serving_masters,
)
from ops.interpret.packet_filter import Packet, refuses_strangers
from ops.interpret.service_name import is_service
from ops.interpret.site import find_site
from ops.interpret.target import WRITTEN
from ops.settings import is_host
from ops.text.language import Text, in_seconds

_PERMANENT = (301, 308)
_MAX_NAMES = 10
_MAX_LISTENS = 3


@check("net.front_door", "NET001", "NET002", en="the front door takes connections", zh="入口可以连接")
def front_door(
    target: Target,
    front: Front,
    processes: Processes,
    nginx_pidfile: Pidfile | NotSeen,
    nginx_config: NginxConfig | NotSeen,
) -> Iterator[Finding]:
    """NET001: the connection is refused although nginx runs. NET002: it times out."""
    connection = front.connection
    source = f"tcp {connection.address}"
    if connection.failure is ProbeFailure.REFUSED:
        masters = list(serving_masters(target, processes, nginx_pidfile))
        if masters:
            own = _own_listens(nginx_config, target)
            port = split_address(connection.address)[1]
            listens = [(directive, listen) for directive, listen in own if listen.port == port]
            if not listens and (missed := _not_included(nginx_config, target)) is not None:
                yield _of_missed_file(missed, nginx_config, target, quote(source, "connection refused"))
                return
            yield Finding(
                "NET001",
                (
                    quote(source, "connection refused"),
                    Evidence(
                        f"pid {masters[0].pid}",
                        Text(en="nginx's master is running", zh="nginx 主进程在运行"),
                    ),
                    *(
                        Evidence(directive.where, _taken(directive, listen, connection.address))
                        for directive, listen in listens[:_MAX_LISTENS]
                    ),
                ),
                {"address": connection.address},
                fix=_listen_too(target, connection.address, listens, nginx_config)
                if listens or not own
                else _listen_there(target, connection.address, own, nginx_config),
            )
    elif connection.failure is ProbeFailure.TIMEOUT:
        yield Finding(
            "NET002",
            (
                Evidence(
                    source,
                    Text(
                        en=f"no answer in {connection.elapsed:.1f} s",
                        zh=f"{connection.elapsed:.1f} 秒内没有应答",
                    ),
                ),
            ),
            {"address": connection.address, "waited": in_seconds(f"{connection.elapsed:.1f}")},
        )


def _not_included(config: NginxConfig | NotSeen, target: Target) -> UnloadedSite | None:
    """The file with the site's server block that no include takes; None if a block with the name is loaded."""
    if isinstance(config, NotSeen) or any(names_match(each, target.domain) for each in servers(config)):
        return None
    return next((site for site in config.unloaded if target.domain in site.names), None)


def _of_missed_file(
    missed: UnloadedSite, config: NginxConfig | NotSeen, target: Target, refusal: Evidence
) -> Finding:
    # A server block is of the http level; Debian's first include with a pattern is of its modules, outside of it.
    includes = () if isinstance(config, NotSeen) else config.includes
    near = [i for i in includes if i.context == "http" and "*" in i.pattern]
    blocks = () if isinstance(config, NotSeen) else tuple(d.where for d in config.directives)
    fix = _taken_in(missed.path, near, blocks) or Text(
        en=f"Write include {missed.path}; into http {{ }} of {target.nginx_config_file}",
        zh=f"在 {target.nginx_config_file} 的 http {{ }} 里写 include {missed.path};",
    )
    return Finding(
        "NET001",
        (
            refusal,
            quote(missed.path, f"server_name {target.domain}"),
            *(
                Evidence(
                    i.where,
                    Text(
                        en=f"include {i.pattern}; does not take it", zh=f"include {i.pattern}; 没有匹配到它"
                    ),
                )
                for i in near[:_MAX_LISTENS]
            ),
        ),
        {"address": target.connect_to or "?"},
        summary=Text(
            en=f"nginx runs without the site: no include of its configuration takes {missed.path}, so nothing listens"
            f" at {target.connect_to}.",
            zh=f"nginx 运行时没有加载该站点：没有 include 匹配到 {missed.path}，因此 {target.connect_to} 没有监听。",
        ),
        fix=(fix, target.test_nginx, target.reload_nginx),
    )


def _taken_in(path: str, includes: list[Include], blocks: tuple[str, ...]) -> str | None:
    """The command after which one of ``includes`` takes the file, or one of its own beside them; None if no place for
    that is known. ``blocks``: the places of the main file's blocks."""
    directory, name = posixpath.split(path)
    file = shlex.quote(path)
    for include in includes:
        if posixpath.dirname(include.pattern) == directory and (taken := _name_taken(name, include)):
            return f"mv -n {file} {shlex.quote(posixpath.join(directory, taken))}"
    if posixpath.basename(directory) == "sites-available":
        for include in sorted(includes, key=_is_not_enabled):
            beside = posixpath.dirname(include.pattern)
            if "*" not in beside and (taken := _name_taken(name, include)):
                return f"ln -s {file} {shlex.quote(posixpath.join(beside, taken))}"
    # The line of a block that begins and ends on it has no line before it inside.
    place = next((i.where for i in includes if i.where not in blocks), None)
    return put_before_line(place, f"include {written_argument(path)};") if place else None


def _is_not_enabled(include: Include) -> bool:
    """Whether an include takes files of another directory than Debian's for the sites in use."""
    return posixpath.basename(posixpath.dirname(include.pattern)) != "sites-enabled"


def _name_taken(name: str, include: Include) -> str | None:
    """The file's name, or the name with the pattern's ending, as the include takes it; None if it takes neither."""
    pattern = posixpath.basename(include.pattern)
    for each in (name, name + pattern.rpartition("*")[2]):
        if fnmatch.fnmatchcase(each, pattern) and not each.startswith("."):
            return each
    return None


def _own_listens(config: NginxConfig | NotSeen, target: Target) -> list[tuple[Directive, Listen]]:
    """The site's listen directives."""
    if isinstance(config, NotSeen):
        return []
    site = find_site(config, target.domain, target.backend)
    parsed = [(d, parse_listen(d.args)) for d in (site.server.own("listen") if site else ()) if d.args]
    return [(d, listen) for d, listen in parsed if listen is not None]


def _beside(directive: Directive, config: NginxConfig | NotSeen, words: str) -> str:
    """The command that writes ``words`` behind a directive of a server block: on the same line where the block begins
    there, for it may end there too."""
    begins_there = not isinstance(config, NotSeen) and any(
        s.where == directive.where for s in servers(config)
    )
    if not begins_there:
        return put_after_line(directive.where, words)
    statement = f"{directive.name} {' '.join(directive.args)};"
    return replaced_in_line(directive.where, statement, f"{statement} {words}")


def _families(directive: Directive, listen: Listen) -> tuple[str, ...]:
    """The address families of the directive's socket (ngx_http_core_module, listen: ipv6only)."""
    if not directive.args[0].startswith("["):
        return ("IPv4",)
    return ("IPv6",) if listen.only_ipv6 or listen.host != "*" else ("IPv6", "IPv4")


def _accepts(directive: Directive, listen: Listen, host: str) -> bool:
    if listen.host != "*":
        return listen.host == host
    return _family(host) in _families(directive, listen)


def _family(host: str) -> str:
    return "IPv6" if ":" in host else "IPv4"


def _taken(directive: Directive, listen: Listen, address: str) -> Text:
    """The directive, and what it leaves out."""
    statement = f"listen {' '.join(directive.args)};"
    host = split_address(address)[0]
    if _accepts(directive, listen, host):
        return Text(en=f"{statement} nginx runs without it", zh=f"{statement} 运行中的 nginx 没有加载它")
    families, family = _families(directive, listen), _family(host)
    if family not in families:
        return Text(
            en=f"{statement} takes {families[0]} alone, and {host} is {family}",
            zh=f"{statement} 只接受 {families[0]} 连接，而 {host} 是 {family} 地址",
        )
    return Text(en=f"{statement} does not take {host}", zh=f"{statement} 不接受到 {host} 的连接")


def _listen_there(
    target: Target, address: str, own: list[tuple[Directive, Listen]], config: NginxConfig | NotSeen
) -> tuple[str | Text, ...]:
    """Steps that make the site, which listens at other ports alone, listen at ``address`` as well."""
    host, port = split_address(address)
    last, listen = own[-1]
    everywhere = f"[::]:{port}" if ":" in host else str(port)
    new_address = address if listen.host != "*" else everywhere
    line = f"listen {new_address}{' ssl' if target.front_tls or target.url.startswith('https:') else ''};"
    written = f"listen {' '.join(last.args)};"
    return (
        Text(
            en=f"The site's listen is at {last.where}: {written} If that port is meant, correct target.url instead",
            zh=f"站点的 listen 在 {last.where}：{written} 如果就是要用那个端口，则改正 target.url",
        ),
        _beside(last, config, line),
        target.test_nginx,
        target.reload_nginx,
    )


def _listen_too(
    target: Target, address: str, listens: list[tuple[Directive, Listen]], config: NginxConfig | NotSeen
) -> tuple[str | Text, ...] | None:
    """Steps that make nginx listen at ``address`` as well; None for the catalogue's steps."""
    host, port = split_address(address)
    apply = (target.test_nginx, target.reload_nginx)
    if any(_accepts(directive, listen, host) for directive, listen in listens):
        return apply
    where = listens[0][0].where if listens else target.site_file or target.nginx_config_file
    everywhere = f"[::]:{port}" if ":" in host else str(port)
    # Beside a socket for one address, another for one address.
    new_address = address if listens and listens[0][1].host != "*" else everywhere
    options = " ssl" if target.front_tls else ""
    line = f"listen {new_address}{options};"
    if ":" not in host:
        return (_beside(listens[0][0], config, line), *apply) if listens else None
    return (
        Text(
            en=f"In the server block of {where} add, beside its other listen: {line}"
            " where this host is to have no IPv6, take the AAAA record out of the name's zone",
            zh=f"在 {where} 的 server 块里，在原有 listen 旁加上：{line}"
            "如果本机不打算提供 IPv6，则删除域名的 AAAA 记录",
        ),
        *apply,
    )


@check(
    "net.exposed_backend",
    "NET003",
    en="the backend is reachable through nginx only",
    zh="后端只能经由 nginx 访问",
)
def exposed_backend(
    target: Target,
    processes: Processes,
    backend: Backend | NotSeen,
    gunicorn: Gunicorn | NotSeen,
    packet_filter: PacketFilter | NotSeen,
) -> Iterator[Finding]:
    """NET003: the service's own socket listens beyond loopback. Quiet for what a balancer asks for: one private address
    that gte-ops.toml names, or a port that the host's packet filter opens to some senders alone."""
    members = {target.gunicorn_master, *target.gunicorn_workers}
    is_served = not isinstance(backend, NotSeen) and _answers_as_service(backend)
    for listener in processes.listeners:
        if listener.address.startswith("unix:"):
            continue
        host, port = split_address(listener.address)
        # The holder must be the service: if another program holds its address, that is GUN012, and no way around nginx.
        ours = members.intersection(listener.pids) or (
            is_served
            and same_address(listener.address, target.backend)
            and not any(p.pid in listener.pids and p.name.startswith("nginx") for p in processes.processes)
        )
        if ours and not is_loopback(host) and not _is_for_balancer(listener, target, packet_filter):
            yield Finding(
                "NET003",
                (
                    quote(
                        "ss -ltnp",
                        f"LISTEN {listener.address} pid {', '.join(map(str, listener.pids)) or '?'}",
                    ),
                ),
                {"listening": listener.address, "port": str(port)},
                fix=_bound_to_loopback(host, gunicorn, target),
            )
            return


def _is_for_balancer(listener: Listener, target: Target, rules: PacketFilter | NotSeen) -> bool:
    """Whether the socket is open to the hosts of a private network by intent, or to some senders alone."""
    host, port = split_address(listener.address)
    if target.origin.get("backend") == WRITTEN and listener.address == target.backend and _is_private(host):
        return True
    if isinstance(rules, NotSeen):
        return False
    family = "ip6" if ":" in host else "ip"
    return all(
        refuses_strangers(rules, Packet("input", family, interface, dport=port))
        for interface in rules.interfaces or (None,)
    )


def _is_private(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_private and not address.is_unspecified


def _bound_to_loopback(
    host: str, gunicorn: Gunicorn | NotSeen, target: Target
) -> tuple[str | Text, ...] | None:
    """Change the line of gunicorn's configuration that binds every address; None if no such line is known."""
    config = None if isinstance(gunicorn, NotSeen) else gunicorn.config
    if not isinstance(config, GunicornConfig) or "bind" not in config.assigned:
        return None
    bind = config.assigned["bind"]
    if host != "0.0.0.0" or not bind.known or host not in str(bind.value):  # noqa: S104
        return None
    return (replaced_in_line(f"{config.path}:{bind.line}", host, "127.0.0.1"), target.restart_command)


def _answers_as_service(backend: Backend) -> bool:
    """Whether the answers are gunicorn's, a development server's or this kind of service's."""
    answers = [x for x in (backend.health, backend.predict) if isinstance(x, Exchange)]
    return any(x.header("server").startswith(("gunicorn", "Werkzeug")) or is_service(x) for x in answers)


@check("net.plain_http", "NET004", en="plain HTTP is redirected to HTTPS", zh="HTTP 跳转到 HTTPS")
def plain_http(target: Target, front: Front, nginx_config: NginxConfig | NotSeen) -> Iterator[Finding]:
    """NET004: port 80 answers something other than a permanent redirect to HTTPS, or refuses another of the site's
    names, which browsers ask over plain HTTP first."""
    plain = front.plain
    if not isinstance(plain, Exchange) or plain.status is None or not target.url.startswith("https:"):
        return
    if not target.front_tls:
        return  # a load balancer ends users' TLS and speaks plain HTTP with nginx
    location = plain.header("location")
    if plain.status in _PERMANENT and location.startswith("https://"):
        yield from _other_names(plain, target, nginx_config)
        return
    words = f"{plain.status} {location}".strip()
    yield Finding(
        "NET004",
        (quote(f"GET {plain.url}", words),),
        {"status": str(plain.status)},
        fix=_redirected(plain.address, nginx_config, target),
    )


def _other_names(plain: Exchange, target: Target, config: NginxConfig | NotSeen) -> Iterator[Finding]:
    """A name of the site that a rule for plain HTTP answers with 4xx, while the site's first name is redirected."""
    site = None if isinstance(config, NotSeen) else find_site(config, target.domain, target.backend)
    names = [name for name in site.server.names if is_host(name) and name != target.domain] if site else []
    if isinstance(config, NotSeen) or not names:
        return
    from ops.interpret.routing.model import FileKind, OutcomeKind, RoutedRequest, RouteSurroundings
    from ops.interpret.routing.route import route

    host, port = split_address(plain.address)
    for name in names[:_MAX_NAMES]:
        request = RoutedRequest(method="GET", target="/", host=name, address=host, port=port)
        outcome = route(config, request, RouteSurroundings(assumed_file=FileKind.MISSING)).outcome
        if (
            outcome.kind is not OutcomeKind.RESPONSE
            or outcome.status not in (403, 404, 410)
            or not outcome.where
        ):
            continue
        statement = f"return {outcome.status}"
        yield Finding(
            "NET004",
            (
                quote(f"GET {plain.url}", f"{plain.status} {plain.header('location')}"),
                quote(outcome.where, f"{statement} (Host {name})"),
            ),
            {"status": str(outcome.status)},
            summary=Text(
                en=f"Over plain HTTP, which browsers may try first, {name} is answered {outcome.status}"
                f" ({outcome.where}: {statement}); {target.domain} is redirected, and over HTTPS both are served.",
                zh=f"通过明文 HTTP（浏览器可能先用它）访问 {name} 会得到 {outcome.status}"
                f"（{outcome.where}：{statement}）；{target.domain} 会被重定向，而两者的 HTTPS 都正常。",
            ),
            verify=f"curl -sI http://{name}/",
            fix=(
                *_redirected_too(name, outcome.where, statement, config, (host, port), names, target),
                target.test_nginx,
                target.reload_nginx,
            ),
        )
        return


def _redirected_too(
    name: str,
    where: str,
    statement: str,
    config: NginxConfig,
    door: tuple[str, int],
    names: list[str],
    target: Target,
) -> tuple[str | Text, ...]:
    """The step that makes plain HTTP redirect ``name``: in the block that has the name, or by adding it to the one
    that redirects the site's first name. A block for whatever name comes keeps its answer. ``names``: the site's."""
    own = {*names, target.domain}
    answering = chosen_server(servers(config), *door, name)
    if answering is not None and name in answering.names and own.issuperset(answering.names):
        return (replaced_in_line(where, statement, "return 301 https://$host$request_uri"),)
    redirecting = chosen_server(servers(config), *door, target.domain)
    named = tuple(redirecting.own("server_name")) if redirecting else ()
    listed = next((d for d in named if target.domain in d.args), None)
    scopes = (redirecting, *redirecting.locations()) if redirecting else ()
    if listed is None or any(scope.first_own("if") for scope in scopes):
        return (
            Text(
                en=f"Redirect {name} to https:// as {target.domain} is: in a server block for port {door[1]} with that"
                f" server_name, not in the one at {where}, which answers other names too",
                zh=f"像 {target.domain} 那样把 {name} 重定向到 https://：写在端口 {door[1]} 上 server_name 为该域名的 "
                f"server 块里，不要改 {where} 所在的块，它也应答其他域名",
            ),
        )
    return (replaced_argument(listed.where, target.domain, f"{target.domain} {name}"),)


def _redirected(address: str, config: NginxConfig | NotSeen, target: Target) -> tuple[str | Text, ...] | None:
    """Steps that make the block that answers at ``address`` redirect all but certbot's challenge; None if no block
    is known or it has rules of its own. A block that answers other names than the site's keeps its answer."""
    users = urlsplit(target.url)
    if isinstance(config, NotSeen):
        return None
    block = chosen_server(servers(config), *split_address(address), target.domain)
    listens = list(block.own("listen")) if block is not None else []
    if block is None or not listens or any("ssl" in d.args for d in listens) or any(block.own("return")):
        return None
    site = find_site(config, target.domain, target.backend)
    over_tls = site.server.names if site and any(listen.ssl for listen in site.server.listens) else ()
    port = f":{users.port}" if users.port not in (None, 443) else ""
    if target.domain not in block.names or not {target.domain, *over_tls}.issuperset(block.names):
        answer = f"return 301 https://$host{port}$request_uri;"
        names = f"listen {' '.join(listens[-1].args[:1])}; server_name {target.domain};"
        return (
            Text(
                en=f"The block at {block.where} answers other names too, and stays. Write one of the site's own:"
                f" server {{ {names} location / {{ {answer} }} }}, with the location of certbot's challenge if a"
                " renewal needs it",
                zh=f"{block.where} 的块还应答其他域名，不要改它。为站点另写一个：server {{ {names} location / "
                f"{{ {answer} }} }}；如果续期需要，再加上 certbot 验证用的 location",
            ),
            target.test_nginx,
            target.reload_nginx,
        )
    # sed's command a takes a backslash away.
    rule = (
        "if ($request_uri !~ ^/[.]well-known/acme-challenge/)"
        f" {{ return 301 https://$host{port}$request_uri; }}"
    )
    return (_beside(listens[-1], config, rule), target.test_nginx, target.reload_nginx)


@check(
    "net.other_services", "NET020", en="other services behind nginx answer", zh="nginx 后面的其他服务有应答"
)
def other_services(target: Target, upstreams: Upstreams) -> Iterator[Finding]:
    """NET020: no setting says which of several services is meant, and one that was not chosen accepts no connection."""
    by_address = {connection.address: connection for connection in upstreams.others}
    for site in target.other_sites:
        connection = by_address.get(site.address)
        if connection is not None and connection.failure in (ProbeFailure.REFUSED, ProbeFailure.MISSING):
            origin = target.origin.get("backend", "")
            yield Finding(
                "NET020",
                (
                    quote(site.where, f"server_name {site.name}; proxy_pass {site.address}"),
                    quote(f"tcp {site.address}", connection.detail or connection.failure),
                    quote(target.url, f"{target.backend}: {origin}"),
                ),
                {"name": site.name, "address": site.address, "site": site.where},
            )


CHECKS = (front_door, exposed_backend, plain_http, other_services)
