"""Judge of the names that the application gives its cookies for.

Sources: RFC 6265, 5.3 (a browser ignores a cookie whose Domain does not cover the name that it asked); documentation of
Flask and Django (SESSION_COOKIE_DOMAIN)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ops.diagnosis.finding import Finding, check, quote
from ops.facts.logs import Logs
from ops.facts.nginx import NginxConfig
from ops.facts.target import Target
from ops.facts.traffic import Answers, CookieDomain
from ops.interpret import nginx as nginx_topology
from ops.interpret.traffic import LocatedTraffic, users_traffic

# Fewer are one client's.
_FEW = 3
_REFUSED = ("401", "403", "302", "303")
_TAKEN = ("200", "201", "204", "302", "303")
_PASSES = ("proxy_pass", "uwsgi_pass", "grpc_pass")


@check(
    "app.cookie_domain",
    "APP033",
    en="cookies are for a name that the site has",
    zh="Cookie 的域名是站点自己的域名",
)
def cookie_domain(logs: Logs, nginx_config: NginxConfig, target: Target) -> Iterator[Finding]:
    """APP033: the source gives cookies for a name that no server block has nor is beneath, and a path is refused to
    everybody who asks for it, also after somebody's form was taken, as a login is."""
    names = _names(nginx_config, target)
    wrong = _wrong(logs.cookie_domains, names) if names else None
    if wrong is None:
        return
    for located in users_traffic(logs):
        item = next((item for item in located.answers(*_REFUSED) if _is_for_all(item, located)), None)
        if item is None:
            continue
        yield Finding(
            "APP033",
            (
                quote(wrong.where, f"{wrong.setting} = {wrong.domain}"),
                quote(located.path, f"{item.count} x {item.method} {item.path} {item.status}"),
                quote("server_name", " ".join(names)),
            ),
            {
                "where": wrong.where,
                "setting": wrong.setting,
                "given_for": wrong.domain,
                "request": f"{item.method} {item.path}",
                "status": item.status,
            },
        )
        return


def _names(config: NginxConfig, target: Target) -> tuple[str, ...]:
    """Every name of the host's server blocks that pass requests on; none if one of them may have any name."""
    names = {target.domain}
    for server in nginx_topology.servers(config):
        if any(scope.effective(word) for scope in (server, *server.locations()) for word in _PASSES):
            names |= set(server.names)
    if not target.domain or any(name.startswith("~") or name.endswith(".*") for name in names):
        return ()
    return tuple(sorted(name for name in names if "." in name.strip(".")))


def _wrong(domains: Iterable[CookieDomain], names: tuple[str, ...]) -> CookieDomain | None:
    """The first of the settings none of whose values fits a name: of several files, the one in force is not known."""
    of_setting: dict[str, list[CookieDomain]] = {}
    for item in domains:
        of_setting.setdefault(item.setting, []).append(item)
    return next(
        (items[0] for items in of_setting.values() if not any(_covers(item.domain, names) for item in items)),
        None,
    )


def _covers(domain: str, names: tuple[str, ...]) -> bool:
    wanted = domain.lower()
    bare = [name.lower().removeprefix("*").removeprefix(".") for name in names]
    # A name with a wildcard may be the cookie's, or lie beneath it.
    return any(
        name == wanted or name.endswith(f".{wanted}") or (written[0] in "*." and wanted.endswith(f".{name}"))
        for name, written in zip(bare, names, strict=True)
    )


def _is_for_all(item: Answers, located: LocatedTraffic) -> bool:
    """Whether nobody is let in there, though somebody has sent a form: who has not logged in is refused anyhow."""
    others = located.traffic.answers
    return (
        item.count >= _FEW
        and any(
            other.method == "POST"
            and other.status in _TAKEN
            and other.path != item.path
            and other.first <= item.last
            for other in others
        )
        and not any(
            other.status.startswith("2") and (other.method, other.path) == (item.method, item.path)
            for other in others
        )
    )


CHECKS = (cookie_domain,)
