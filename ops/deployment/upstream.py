"""The servers of nginx's upstream as one included file: written by `gte-ops render nginx`, edited by `gte-ops deploy
drain` and `undrain`. Pure.

A drained server keeps its line, marked `down`: nginx sends it nothing, and the requests that it has come to their end
in the old workers (ngx_http_upstream_module, down; nginx -s reload).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ops.errors import UsageError
from ops.text.language import Text

UPSTREAM_FILE = "snippets/gte-api-upstream.conf"
_HEADER = """\
# The servers behind this name, included in the upstream of conf.d/gte-api.conf. `gte-ops render nginx` writes it from
# [[nginx.upstream]] and keeps what is down; `gte-ops deploy drain HOST` and `undrain HOST` set and remove "down".
# max_fails attempts that fail within fail_timeout take a server out for fail_timeout. Slow start: only in NGINX Plus.
"""
# address of a host or unix socket, as nginx reads one word
_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):\d{1,5}|unix:/[A-Za-z0-9_./-]+")
_SERVER_LINE = re.compile(
    r"^(?P<begin>[ \t]*server[ \t]+(?P<address>[^\s;]+))(?P<rest>[^;#\n]*);", re.MULTILINE
)
_DOWN = re.compile(r"[ \t]+down(?=\s|$)")


@dataclass(frozen=True, kw_only=True)
class BalancedServer:
    """One server. ``fail_timeout`` in seconds; ``is_drained``: it gets no requests."""

    address: str
    weight: int = 1
    max_fails: int = 1
    fail_timeout: int = 10
    backup: bool = False
    is_drained: bool = False


@dataclass(frozen=True)
class PresentServer:
    """A server as the file has it."""

    address: str
    is_drained: bool
    is_backup: bool


def render_upstream(servers: Sequence[BalancedServer]) -> str:
    """The file's text. Raises UsageError for an address that nginx would not read as one word."""
    return _HEADER + "".join(f"{_line(server)}\n" for server in servers)


def _line(server: BalancedServer) -> str:
    if not _ADDRESS.fullmatch(server.address):
        raise UsageError(
            Text(
                en=f"nginx.upstream: {server.address!r} is no address; write it like 192.0.2.11:8000",
                zh=f"nginx.upstream：{server.address!r} 不是地址；写法如 192.0.2.11:8000",
            )
        )
    words = [
        f"server {server.address}",
        *([f"weight={server.weight}"] if server.weight != 1 else []),
        f"max_fails={server.max_fails}",
        f"fail_timeout={server.fail_timeout}s",
        *(["backup"] if server.backup else []),
        *(["down"] if server.is_drained else []),
    ]
    return f"{' '.join(words)};"


def present_servers(text: str) -> tuple[PresentServer, ...]:
    """The servers of a file, in order."""
    return tuple(_present(text))


def _present(text: str) -> Iterator[PresentServer]:
    for match in _SERVER_LINE.finditer(text):
        words = match["rest"].split()
        yield PresentServer(match["address"], "down" in words, "backup" in words)


def matching(servers: Sequence[PresentServer], host: str) -> PresentServer:
    """The server that ``host`` names, by its address or by its host alone. Raises UsageError if none or several do."""
    matches = [
        item for item in servers if host in (item.address, item.address.rpartition(":")[0].strip("[]"))
    ]
    if len(matches) == 1:
        return matches[0]
    known = ", ".join(item.address for item in servers)
    if matches:
        raise UsageError(
            Text(
                en=f"{host}: several servers; write one of {known}",
                zh=f"{host}：对应多台，请写明其一：{known}",
            )
        )
    raise UsageError(
        Text(
            en=f"{host}: not among the servers of the upstream; they are {known or 'none'}",
            zh=f"{host}：不在 upstream 的服务器之中；现有：{known or '无'}",
        )
    )


def with_drained(text: str, address: str, *, drained: bool) -> str:
    """``text`` with the server at ``address`` taken out or put back; its other parameters, and all else, stay."""

    def changed(match: re.Match[str]) -> str:
        if match["address"] != address:
            return match.group()
        rest = _DOWN.sub("", match["rest"]).rstrip()
        return f"{match['begin']}{rest}{' down' if drained else ''};"

    return _SERVER_LINE.sub(changed, text)
