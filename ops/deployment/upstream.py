"""The servers of nginx's upstream as one included file: written by `gte-ops render nginx`, edited by `gte-ops deploy
drain` and `undrain`. Pure.

A drained server keeps its line, marked `down`: nginx sends it nothing, and the requests that it has come to their end
in the old workers (ngx_http_upstream_module, down; nginx -s reload).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from ops.errors import UsageError
from ops.interpret.address import split_address
from ops.text.language import Text

UPSTREAM_FILE = "snippets/gte-api-upstream.conf"
_HEADER = """\
# The servers behind this name, included in the upstream of conf.d/gte-api.conf. `gte-ops render nginx` writes it from
# [[nginx.upstream]] and keeps what is down; `gte-ops deploy drain HOST` and `undrain HOST` set and remove "down".
# max_fails attempts that fail within fail_timeout take a server out for fail_timeout. Slow start: only in NGINX Plus.
"""
# address of a host or unix socket, as nginx reads one word
_ADDRESS = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+):\d{1,5}|unix:/[A-Za-z0-9_./-]+")
# nginx's grammar (ngx_conf_read_token): a word in quotes may hold anything, and # begins a comment only where a word
# could begin.
_TOKEN = re.compile(
    r"""\s+ | \#[^\n]* | (?P<end>[;{}])
    | (?P<word> "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' | (?:\\.|\$\{[^}]*\}|[^\s;{}\\])+ )""",
    re.VERBOSE | re.DOTALL,
)
# nginx's port of a server that names none
_DEFAULT_PORT = 80


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
    """A server as the file has it. ``words``: where each word of its directive begins and ends in the file's text."""

    address: str
    is_drained: bool
    words: tuple[tuple[str, int, int], ...] = field(default=(), repr=False)


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
    words: list[tuple[str, int, int]] = []
    for match in _TOKEN.finditer(text):
        if match["word"] is not None:
            words.append((_unquoted(match["word"]), *match.span()))
        elif match["end"] is not None:
            if match["end"] == ";" and len(words) > 1 and words[0][0] == "server":
                is_drained = any(word == "down" for word, _, _ in words[2:])
                yield PresentServer(words[1][0], is_drained, tuple(words))
            words = []


def _unquoted(word: str) -> str:
    return word[1:-1] if word[0] in "\"'" and word[-1] == word[0] else word


def matching(servers: Sequence[PresentServer], host: str) -> PresentServer:
    """The server that ``host`` names, by its address or by its host alone. Raises UsageError if none or several do."""
    wanted, wanted_port = _host_and_port(host)
    matches = {
        address: item
        for item in servers
        if (address := socket_of(item.address))[0] == wanted and wanted_port in (0, address[1])
    }
    if len(matches) == 1:
        return next(iter(matches.values()))
    if matches:
        several = ", ".join(item.address for item in matches.values())
        raise UsageError(
            Text(
                en=f"{host}: several servers; write one of {several}",
                zh=f"{host}：对应多台，请写明其一：{several}",
            )
        )
    known = ", ".join(item.address for item in servers)
    raise UsageError(
        Text(
            en=f"{host}: not among the servers of the upstream; they are {known or 'none'}",
            zh=f"{host}：不在 upstream 的服务器之中；现有：{known or '无'}",
        )
    )


def socket_of(address: str) -> tuple[str, int]:
    """Host and port that nginx connects to, in one form for every way to write them; port 0 for a unix socket."""
    host, port = _host_and_port(address)
    return host, port or (0 if host.startswith("unix:") else _DEFAULT_PORT)


def _host_and_port(address: str) -> tuple[str, int]:
    """The same, port 0 if there is none."""
    if address.startswith(("unix:", "/")):
        return f"unix:{address.removeprefix('unix:')}", 0
    for host, port in ((address.strip("[]"), 0), split_address(address)):
        try:
            return ip_address(host).compressed, port
        except ValueError:
            continue
    return host.lower(), port


def with_drained(text: str, address: str, *, drained: bool) -> str:
    """``text`` with the server at ``address`` taken out or put back; its other parameters, and all else, stay."""
    changed = text
    # From the end, so that the places before it stay right.
    for item in reversed(present_servers(text)):
        if socket_of(item.address) == socket_of(address) and item.is_drained is not drained:
            changed = _with_one_drained(changed, item, drained=drained)
    return changed


def _with_one_drained(text: str, server: PresentServer, *, drained: bool) -> str:
    if drained:
        end = server.words[-1][2]
        return f"{text[:end]} down{text[end:]}"
    for word, begin, end in reversed(server.words[2:]):
        if word == "down":
            text = text[:begin].rstrip(" \t") + text[end:]
    return text
