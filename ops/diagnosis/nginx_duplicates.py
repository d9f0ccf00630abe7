"""Find the first place of a duplicate that `nginx -t` reports: nginx names only the second. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from ops.facts.nginx import Directive, NginxConfig
from ops.interpret.nginx import every, parse_listen

_ZONE_WORDS = re.compile(r"^(?:zone|keys_zone)=([^:]+)")
_Takes = Callable[[Directive], bool]


def first_declaration(config: NginxConfig, message: str, file: str, line: int) -> Directive | None:
    """The other directive that ``message`` (without its place, which is ``file``, ``line``) is about; None if the
    message reports no duplicate, or the other was not found."""
    for pattern, candidates in _KINDS:
        if match := pattern.search(message):
            others = (directive for directive in candidates(config, match, (file, line)) if directive.line)
            return next(
                (directive for directive in others if (directive.file, directive.line) != (file, line)), None
            )
    return None


def _listens(options: frozenset[str]) -> Callable[..., Iterator[Directive]]:
    """Find listen directives for the message's address; given ``options``, only those with one of them."""

    def candidates(config: NginxConfig, match: re.Match[str], _place: tuple[str, int]) -> Iterator[Directive]:
        address = match[1]
        for directive in every(config, "listen"):
            names = {word.partition("=")[0] for word in directive.args[1:]}
            if directive.args and _is_for(directive, address) and (not options or options & names):
                yield directive

    return candidates


def _is_for(directive: Directive, address: str) -> bool:
    """Whether a listen directive is for ``address`` as nginx prints it: 0.0.0.0:80, [::]:80, unix:/path."""
    listen = parse_listen(directive.args)
    if address.startswith("unix:"):
        return directive.args[0] == address
    if listen is None:
        return False
    host, _, port = address.rpartition(":")
    if str(listen.port) != port:
        return False
    is_ipv6 = directive.args[0].startswith("[")
    if is_ipv6 != host.startswith("["):
        return False
    ip = "0.0.0.0" if host == "0.0.0.0" else host.strip("[]")  # noqa: S104
    everywhere = ("0.0.0.0", "::")  # noqa: S104
    return listen.host == ("*" if ip in everywhere else ip) or (
        listen.host == "localhost" and ip == "127.0.0.1"
    )


def _named(*names: str) -> Callable[..., Iterator[Directive]]:
    """Find directives with one of ``names`` whose first argument is in the message."""

    def found(config: NginxConfig, match: re.Match[str], _place: tuple[str, int]) -> Iterator[Directive]:
        return (d for name in names for d in every(config, name) if d.args[:1] == (match[1],))

    return found


def _zones(config: NginxConfig, match: re.Match[str], _place: tuple[str, int]) -> Iterator[Directive]:
    """Yield directives that declare the message's shared memory zone."""
    for directive in _all(config.directives):
        declares = directive.name == "zone" and directive.args[:1] == (match[1],)
        words = (_ZONE_WORDS.match(word) for word in directive.args)
        if declares or (
            directive.name.endswith(("_zone", "_path")) and any(w and w[1] == match[1] for w in words)
        ):
            yield directive


def _siblings(takes: Callable[[re.Match[str]], _Takes]) -> Callable[..., Iterator[Directive]]:
    """Find duplicates in the block of the message's place."""

    def found(config: NginxConfig, match: re.Match[str], place: tuple[str, int]) -> Iterator[Directive]:
        is_it = takes(match)
        for block in _blocks(config.directives):
            same = [directive for directive in block if is_it(directive)]
            # nginx names the line on which the second ends; a block opens on an earlier line.
            if any(d.file == place[0] and d.line == place[1] for d in same) or (
                len(same) > 1 and any(d.file == place[0] and d.line <= place[1] for d in same[1:])
            ):
                yield from same

    return found


def _called(match: re.Match[str]) -> _Takes:
    return lambda directive: directive.name == match[1]


def _is_location(match: re.Match[str]) -> _Takes:
    return lambda directive: directive.name == "location" and directive.args[-1:] == (match[1],)


def _is_default(_match: re.Match[str]) -> _Takes:
    return lambda directive: directive.name == "default"


def _is_value(match: re.Match[str]) -> _Takes:
    return lambda directive: directive.name == match[1]


def _all(directives: Iterable[Directive]) -> Iterator[Directive]:
    for directive in directives:
        yield directive
        yield from _all(directive.block or ())


def _blocks(directives: tuple[Directive, ...]) -> Iterator[tuple[Directive, ...]]:
    yield directives
    for directive in directives:
        if directive.block is not None:
            yield from _blocks(directive.block)


# Options that listen may have only once per address (ngx_http_core_module, listen).
_SOCKET_OPTIONS = frozenset(
    {"backlog", "rcvbuf", "sndbuf", "accept_filter", "deferred", "setfib", "fastopen", "ipv6only"}
    | {"reuseport", "so_keepalive", "bind"}
)
_KINDS: tuple[tuple[re.Pattern[str], Callable[..., Iterator[Directive]]], ...] = (
    (
        re.compile(r"^a duplicate default server for (\S+)"),
        _listens(frozenset({"default_server", "default"})),
    ),
    (re.compile(r"^duplicate listen options for (\S+)"), _listens(_SOCKET_OPTIONS)),
    (re.compile(r"^a duplicate listen (\S+)"), _listens(frozenset())),
    (re.compile(r'^duplicate upstream "([^"]+)"'), _named("upstream")),
    (re.compile(r'^duplicate "log_format" name "([^"]+)"'), _named("log_format")),
    (re.compile(r'^duplicate location "([^"]+)"'), _siblings(_is_location)),
    (re.compile(r'^\w+ "([^"]+)" is already bound to key'), _zones),
    (re.compile(r'^duplicate zone "([^"]+)"'), _zones),
    (re.compile(r'^the shared memory zone "([^"]+)" is already declared'), _zones),
    (re.compile(r'^the size \d+ of shared memory zone "([^"]+)" conflicts'), _zones),
    (re.compile(r'^"([^"]+)" directive is duplicate'), _siblings(_called)),
    (re.compile(r'^conflicting parameter "([^"]+)"'), _siblings(_is_value)),
    (re.compile(r"^duplicate default map parameter"), _siblings(_is_default)),
)
