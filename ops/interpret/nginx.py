"""nginx's configuration as servers, locations and upstreams, selected by nginx's own rules.

Sources: nginx documentation, 'How nginx processes a request', 'Server names', ngx_http_core_module (location,
listen), ngx_http_upstream_module.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import PurePosixPath

import msgspec

from ops.facts.base import NotSeen
from ops.facts.host import Process, Processes
from ops.facts.nginx import Directive, NginxConfig, Pidfile
from ops.facts.target import Target
from ops.interpret.address import is_port, join_address, split_address
from ops.interpret.authority import is_nginx_program, may_name, speaks_for, speaks_for_host

# limit_req_status and limit_conn_status (ngx_http_limit_req_module, ngx_http_limit_conn_module).
DEFAULT_LIMIT_STATUS = "503"
MAX_SEARCH_SECONDS = 0.05
MAX_CERTIFICATES = 16
_REPETITION = re.compile(r"[*+{]|(?<!\()\?")
_REPEATED_GROUP = re.compile(r"\)[*+{?]")


def nginx_masters(processes: Processes) -> tuple[Process, ...]:
    """Return the nginx master processes that are trusted for this host: root's or the caller's, in no container."""
    return tuple(
        p
        for p in processes.processes
        if title(p).startswith("nginx: master process")
        and speaks_for_host(p, processes.caller)
        and is_nginx_program(p.executable)
    )


def compiled_path(build: Mapping[str, str], option: str, prefix: str | None = None) -> str | None:
    """Return a path from ``nginx -V`` (``conf-path``, ``pid-path``, ...); None if there is none. A relative path is
    below nginx's prefix, by default the compiled-in one (nginx documentation, 'Command-line parameters', -p)."""
    value = build.get(option)
    if not value or value == "stderr":
        return None
    return str(PurePosixPath(prefix or build.get("prefix") or "/") / value)


def title(process: Process) -> str:
    """Return the command line as one string: a title set at run time may be one word or several."""
    return " ".join(process.command).strip()


def serving_masters(target: Target, processes: Processes, pidfile: Pidfile | NotSeen) -> Iterator[Process]:
    """Yield the master processes that serve this configuration: the pidfile's, or one with the file in its title.

    A master that names no configuration file runs the default one. An nginx of another user counts if that user
    owns the configuration file, which settings then name."""
    for master in processes.processes:
        words = title(master)
        if not (
            words.startswith("nginx: master process")
            and speaks_for(master, target.nginx_config_owner, processes.caller)
            and is_nginx_program(master.executable)
        ):
            continue
        if (
            _names(pidfile, master, processes.caller)
            or f" -c {target.nginx_config_file} " in f"{words} "
            or (" -c " not in words and target.nginx_config_file == target.nginx_default_config)
        ):
            yield master


def unnamed_master(target: Target, processes: Processes, pidfile: Pidfile | NotSeen) -> Process | None:
    """Return the one master of this host that serves this configuration if its pidfile does not name it: a reload by
    that file does not reach it. None if the file is correct, cannot be read, or may not be the master's."""
    if not isinstance(pidfile, Pidfile) or pidfile.unreadable is not None:
        return None
    masters = tuple(serving_masters(target, processes, pidfile))
    if (
        len(masters) != 1
        or masters[0].pid == pidfile.pid
        or not speaks_for_host(masters[0], processes.caller)
    ):
        return None
    # Its command line may name another file (-g 'pid /run/other.pid;').
    return None if re.search(r" -g .*\bpid\s", title(masters[0])) else masters[0]


def _names(pidfile: Pidfile | NotSeen, master: Process, caller: int) -> bool:
    return (
        isinstance(pidfile, Pidfile)
        and pidfile.pid == master.pid
        and (master.uid is None or may_name(pidfile.uid, master.uid, caller))
    )


def nginx_workers(processes: Iterable[Process], master: int) -> tuple[Process, ...]:
    """Return the current workers of one master, without those that shut down after a reload."""
    return tuple(p for p in processes if p.ppid == master and title(p) == "nginx: worker process")


def old_workers(processes: Iterable[Process], master: int) -> tuple[Process, ...]:
    """Return the workers of one master that shut down: a reload has replaced them."""
    title_of_old = "nginx: worker process is shutting down"
    return tuple(p for p in processes if p.ppid == master and title(p) == title_of_old)


class Scope(msgspec.Struct, frozen=True):
    """A block and the blocks around it, innermost first."""

    blocks: tuple[Directive, ...]

    def own(self, name: str) -> Iterator[Directive]:
        """Yield the block's own directives with this name."""
        return (d for d in self.blocks[0].block or () if d.name == name)

    def first_own(self, name: str) -> Directive | None:
        """Return the first of the block's own directives with this name; None if there is none."""
        return next(self.own(name), None)

    def effective(self, name: str) -> tuple[Directive, ...]:
        """Return the directives ``name`` in force here: those of the innermost level with any (inheritance)."""
        for block in self.blocks:
            if directives := tuple(d for d in block.block or () if d.name == name):
                return directives
        return ()

    def value(self, name: str) -> str | None:
        """Return the first argument of the last effective directive ``name``; None if there is none."""
        directives = self.effective(name)
        return directives[-1].args[0] if directives and directives[-1].args else None


class Listen(msgspec.Struct, frozen=True):
    """One listen directive. ``host`` is ``*`` for every address, or ``unix:/path`` with port 0; ``only_ipv6``: ``*`` is
    IPv6 alone; ``proxy_protocol``: a balancer sends the client's address at the start of each connection."""

    host: str
    port: int
    ssl: bool
    default: bool
    only_ipv6: bool = False
    proxy_protocol: bool = False

    @property
    def dialled(self) -> str:
        """The address to connect to from this machine."""
        if self.host.startswith("unix:"):
            return self.host
        everywhere = "::1" if self.only_ipv6 else "127.0.0.1"
        return join_address(everywhere if self.host == "*" else self.host, self.port)


class Location(Scope, frozen=True):
    """One location block."""

    modifier: str = ""
    pattern: str = "/"

    @property
    def where(self) -> str:
        """``file:line``."""
        return self.blocks[0].where

    @property
    def written(self) -> str:
        """Modifier and pattern as in the file: ``= /health``."""
        return f"{self.modifier} {self.pattern}".strip()


class Server(Scope, frozen=True):
    """One server block."""

    names: tuple[str, ...] = ()
    listens: tuple[Listen, ...] = ()

    @property
    def where(self) -> str:
        """``file:line``."""
        return self.blocks[0].where

    def locations(self) -> tuple[Location, ...]:
        """Return its locations; nested ones follow the ones around them."""
        return tuple(_locations(self.blocks))

    def location_for(self, path: str) -> Location | None:
        """Return the location for ``path``: exact, else longest prefix if it has ^~, first regex, else that prefix."""
        locations = self.locations()
        for location in locations:
            if location.modifier == "=" and location.pattern == path:
                return location
        prefixes = [loc for loc in locations if loc.modifier in ("", "^~") and path.startswith(loc.pattern)]
        longest = max(prefixes, key=lambda loc: len(loc.pattern), default=None)
        if longest is None or longest.modifier != "^~":
            for location in locations:
                if location.modifier in ("~", "~*") and _matches(location, path):
                    return location
        return longest


def _matches(location: Location, path: str) -> bool:
    return pattern_found(location.pattern, path, ignore_case=location.modifier == "~*")


@lru_cache(maxsize=4096)
def pattern_found(pattern: str, words: str, *, ignore_case: bool) -> bool:
    """Whether a regular expression of nginx (PCRE) matches in ``words``; false if Python cannot compile it, or if the
    search exceeds `MAX_SEARCH_SECONDS` (PCRE has a limit too: pcre_match_limit)."""
    try:
        if len(_REPETITION.findall(pattern)) < 2 and not _REPEATED_GROUP.search(pattern):
            flags = re.IGNORECASE if ignore_case else re.NOFLAG
            return re.search(re.sub(r"\(\?<(?![=!])", "(?P<", pattern), words, flags) is not None
        # A repeated group, or one repetition after another, can take forever: `re` has no time limit.
        import regex

        options = regex.IGNORECASE if ignore_case else 0
        try:
            return regex.search(pattern, words, options, timeout=MAX_SEARCH_SECONDS) is not None
        except (regex.error, TimeoutError):
            return False
    except (re.error, ValueError, OverflowError, RecursionError):
        return False


def child_locations(scope: Scope) -> tuple[Location, ...]:
    """Return the locations directly inside a block."""
    return tuple(_children(scope.blocks))


def _children(blocks: tuple[Directive, ...]) -> Iterator[Location]:
    for directive in blocks[0].block or ():
        if directive.name == "location" and directive.block is not None and directive.args:
            yield location_of((directive, *blocks))


def location_of(blocks: tuple[Directive, ...]) -> Location:
    """Return the location of the first of ``blocks``."""
    args = blocks[0].args
    modifier, pattern = (args[0], args[1]) if len(args) >= 2 else _glued(args[0])
    return Location(blocks, modifier, pattern)


def _locations(blocks: tuple[Directive, ...]) -> Iterator[Location]:
    for location in _children(blocks):
        yield location
        yield from _locations(location.blocks)


def _glued(argument: str) -> tuple[str, str]:
    """Split modifier and pattern: nginx accepts ``location =/path`` without a blank."""
    for modifier in ("^~", "~*", "=", "~"):
        if argument.startswith(modifier):
            return modifier, argument[len(modifier) :]
    return "", argument


def has_conditions(scope: Scope) -> bool:
    """Whether the block's own directives may change the answer: `if`, `rewrite`, `error_page`, a server's `return`."""
    names = ("if", "rewrite", "error_page", *(("return",) if isinstance(scope, Server) else ()))
    return any(d.name in names for d in scope.blocks[0].block or ())


def http_block(config: NginxConfig) -> Directive:
    """Return all http blocks merged into one; an empty block if there is none."""
    blocks = [d for d in config.directives if d.name == "http"]
    inner = tuple(child for d in blocks for child in d.block or ())
    first = blocks[0] if blocks else None
    return Directive(
        name="http",
        args=(),
        file=first.file if first else config.file,
        line=first.line if first else 0,
        block=inner,
    )


def main_block(config: NginxConfig) -> Directive:
    """Return the file's top level as a block, so that its directives are inherited."""
    return Directive(name="main", args=(), file=config.file, line=0, block=config.directives)


@lru_cache(maxsize=4)
def servers(config: NginxConfig) -> tuple[Server, ...]:
    """Return every server block of the http level, in the order nginx reads them."""
    http = http_block(config)
    outer = (http, main_block(config))
    blocks = []
    for directive in http.block or ():
        if directive.name == "server" and directive.block is not None:
            names = tuple(name for d in directive.block if d.name == "server_name" for name in d.args)
            listens = tuple(
                listen
                for d in directive.block
                if d.name == "listen" and d.args and (listen := parse_listen(d.args)) is not None
            )
            has_ssl_on = any(d.name == "ssl" and d.args == ("on",) for d in directive.block)
            if has_ssl_on:
                listens = tuple(msgspec.structs.replace(item, ssl=True) for item in listens)
            # nginx uses *:80 for a server without listen.
            blocks.append(Server((directive, *outer), names, listens or (Listen("*", 80, False, False),)))
    return tuple(blocks)


def certificates_at(config: NginxConfig, address: str) -> dict[str, Directive]:
    """Return the certificate files of the server blocks that listen at ``address``, each with its directive."""
    host, port = split_address(address)
    files: dict[str, Directive] = {}
    for server in servers(config):
        if any(li.port == port and li.host in ("*", host) for li in server.listens):
            for directive in server.effective("ssl_certificate"):
                file = directive.args[0] if directive.args else ""
                # Skip what is no path: data in the configuration, a key in a device, a variable (ngx_ssl_certificate).
                if file and "$" not in file and ":" not in file.partition("/")[0]:
                    files.setdefault(str(PurePosixPath(config.file).parent / directive.args[0]), directive)
    return dict(list(files.items())[:MAX_CERTIFICATES])


def parse_listen(args: tuple[str, ...]) -> Listen | None:
    """Parse the arguments of a listen directive; return None if the port is not a number."""
    address, options = args[0], args[1:]
    ssl, default = "ssl" in options, "default_server" in options or "default" in options
    proxied = "proxy_protocol" in options
    if address.startswith("unix:"):
        return Listen(address, 0, ssl, default, proxy_protocol=proxied)
    if address.startswith("["):
        host, _, port = address.rpartition("]")
        host, port = host.removeprefix("["), port.removeprefix(":") or "80"
    elif is_port(address):
        host, port = "*", address
    else:
        host, _, port = address.partition(":")
        port = port or "80"
    if not is_port(port):
        return None
    # The default of ipv6only is on (ngx_http_core_module, listen; since 1.3.4).
    only_ipv6 = host == "::" and "ipv6only=off" not in options
    everywhere = host in ("*", "0.0.0.0", "::")  # noqa: S104
    return Listen("*" if everywhere else host, int(port), ssl, default, only_ipv6, proxied)


def chosen_server(candidates: Iterable[Server], host: str, port: int, name: str) -> Server | None:
    """Return the server block nginx selects for a connection to ``host:port`` with Host ``name``; None if none listens.

    The most specific address decides first, then the name: exact, longest leading wildcard, longest trailing
    wildcard, first regular expression, else the default server (marked, or the first)."""
    everyone = list(candidates)
    for listen_host in (host, "*"):
        group = [s for s in everyone if any(li.host == listen_host and li.port == port for li in s.listens)]
        if group:
            return _by_name(group, name.lower()) or default_server(group, listen_host, port)
    return None


def default_server(candidates: Iterable[Server], host: str, port: int) -> Server | None:
    """Return the server block of a listening address before the client has sent a name: the one marked as default, else
    the first that listens there (ngx_http_core_module, listen)."""
    group = [
        (server, listen.default)
        for server in candidates
        for listen in server.listens
        if (listen.host, listen.port) == (host, port)
    ]
    first = next((server for server, _ in group), None)
    return next((server for server, is_default in group if is_default), first)


def _by_name(group: list[Server], name: str) -> Server | None:
    ranked = [
        (rank, server)
        for server in group
        for pattern in server.names
        if (rank := _name_rank(pattern, name)) is not None
    ]
    return max(ranked, key=lambda pair: pair[0])[1] if ranked else None


def _name_rank(pattern: str, name: str) -> tuple[int, int] | None:
    pattern = pattern.lower() if not pattern.startswith("~") else pattern
    if pattern == name:
        return (4, 0)
    if pattern.startswith(".") and (name == pattern[1:] or name.endswith(pattern)):
        return (3, len(pattern))
    if pattern.startswith("*.") and name.endswith(pattern[1:]) and len(name) > len(pattern) - 1:
        return (3, len(pattern))
    if pattern.endswith(".*") and name.startswith(pattern[:-1]):
        return (2, len(pattern))
    if pattern.startswith("~"):
        return (1, 0) if pattern_found(pattern[1:], name, ignore_case=True) else None
    return None


def name_matches(pattern: str, name: str) -> bool:
    """Whether a server_name matches ``name``."""
    return _name_rank(pattern, name.lower()) is not None


def names_match(server: Server, name: str) -> bool:
    """Whether one of the block's server_names matches ``name``."""
    return any(name_matches(pattern, name) for pattern in server.names)


class ProxyPass(msgspec.Struct, frozen=True):
    """One proxy_pass and its addresses. ``determined`` is False if a variable selects the address at run time."""

    location: Scope
    written: str
    addresses: tuple[str, ...]
    determined: bool
    where: str
    upstream: Directive | None = None


def proxy_passes(config: NginxConfig, server: Server) -> tuple[ProxyPass, ...]:
    """Return every proxy_pass of a server block, resolved through its upstreams."""
    scopes: tuple[Scope, ...] = (server, *server.locations())
    return tuple(
        resolve_proxy_pass(config, scope, directive)
        for scope in scopes
        for directive in _with_ifs(scope)
        if directive.args
    )


def _with_ifs(scope: Scope) -> Iterator[Directive]:
    yield from scope.own("proxy_pass")
    for inner in scope.own("if"):
        yield from (d for d in inner.block or () if d.name == "proxy_pass")


def proxy_pass_for(config: NginxConfig, server: Server, path: str) -> ProxyPass | None:
    """Return the proxy_pass for ``path``; None if it is not proxied."""
    location = server.location_for(path)
    directive = next(iter(location.own("proxy_pass")), None) if location else None
    if location is None or directive is None or not directive.args:
        return None
    return resolve_proxy_pass(config, location, directive)


def resolve_proxy_pass(config: NginxConfig, scope: Scope, directive: Directive) -> ProxyPass:
    """Resolve one proxy_pass to its addresses."""
    url = directive.args[0]
    where = directive.where
    authority = _authority(url, scope)
    if authority is None:
        return ProxyPass(scope, url, (), False, where)
    upstream = next(
        (
            d
            for d in http_block(config).block or ()
            if d.name == "upstream" and d.args[:1] == (authority,) and d.block is not None
        ),
        None,
    )
    if upstream is None:
        return ProxyPass(scope, url, (normal_address(authority, url),), True, where)
    members = tuple(
        normal_address(d.args[0], url)
        for d in upstream.block or ()
        if d.name == "server" and d.args and "down" not in d.args[1:]
    )
    return ProxyPass(scope, url, members, True, where, upstream)


def _authority(url: str, scope: Scope) -> str | None:
    """Return host and port of a proxy_pass URL; None if it has a variable that is not `set` to a constant."""
    match = re.match(r"(?:https?|\$\w+)://(unix:[^:]+|[^/]+)", url)
    authority = match[1] if match else url if url.startswith("$") else None
    if authority is None:
        return None
    if "$" in authority:
        constants = {
            d.args[0]: d.args[1]
            for block in reversed(scope.blocks)
            for d in block.block or ()
            if d.name == "set" and len(d.args) == 2 and "$" not in d.args[1]
        }
        for variable in sorted(constants, key=len, reverse=True):
            authority = authority.replace(variable, constants[variable])
        authority = re.sub(r"^https?://", "", authority).partition("/")[0]
    return None if "$" in authority else authority


def usual_value(config: NginxConfig, scope: Scope, template: str) -> str | None:
    """Return the value for a request without any special header; None if another variable decides.

    A variable is resolved through `set` to a constant and through a `map` over ``$http_...``, which is then empty
    (ngx_http_map_module: the line of the empty string, else the default, else empty)."""
    if "$" not in template:
        return template
    variable = template.replace("${", "$").replace("}", "")
    for block in scope.blocks:
        for d in block.block or ():
            if d.name == "set" and len(d.args) == 2 and d.args[0] == variable:
                return d.args[1] if "$" not in d.args[1] else None
    for d in http_block(config).block or ():
        if d.name == "map" and len(d.args) == 2 and d.args[1] == variable and d.args[0].startswith("$http_"):
            lines = {line.name: line.args[0] for line in d.block or () if len(line.args) == 1}
            value = lines.get("", lines.get("default", ""))
            return value if "$" not in value else None
    return "" if variable.startswith("$http_") else None


def normal_address(authority: str, url: str = "http://") -> str:
    """Return a proxy_pass's or upstream server's ``ip:port`` or ``unix:/path``; default port 80 or 443 by scheme."""
    if authority.startswith("unix:"):
        return authority.partition("unix:")[2].partition(":")[0].join(("unix:", ""))
    port = "443" if url.startswith("https") else "80"
    if authority.startswith("["):
        return authority if "]:" in authority else f"{authority}:{port}"
    host, colon, explicit_port = authority.partition(":")
    host = "127.0.0.1" if host == "localhost" else host
    return f"{host}:{explicit_port if colon else port}"


_PASSES = ("proxy_pass", "grpc_pass", "uwsgi_pass", "fastcgi_pass", "scgi_pass")
_NAMED_SERVER = re.compile(r"([A-Za-z0-9][\w.-]*)(?::(\d{1,5}))?", re.ASCII)
_PASSED_HOST = re.compile(
    r"(?:\w+://)?([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?\.?)(?::\d+)?(?:[/?].*)?", re.ASCII
)


def proxied_names(config: NginxConfig) -> tuple[str, ...]:
    """Return the host names that nginx proxies to: it resolved them when it started."""
    http = http_block(config)
    blocks = {d.args[0].lower() for d in http.block or () if d.name == "upstream" and d.args}

    def walk(block: Directive) -> Iterator[str]:
        for directive in block.block or ():
            if directive.name in _PASSES or (directive.name == "server" and block.name == "upstream"):
                match = _PASSED_HOST.fullmatch(directive.args[0]) if directive.args else None
                if match and not match[1].replace(".", "").isdecimal():
                    yield match[1].lower()
            yield from walk(directive)

    return tuple(dict.fromkeys(name for name in walk(http) if name not in blocks))


def named_servers(proxy_pass: ProxyPass) -> tuple[tuple[str, int, str], ...]:
    """Return name, port and ``file:line`` of the servers that a proxy_pass reaches by host name. nginx connects to all
    addresses, of both families, to which the system resolves such a name (ngx_http_upstream_module, server)."""
    if proxy_pass.upstream is not None:
        authorities = [
            (d.args[0], d.where)
            for d in proxy_pass.upstream.block or ()
            if d.name == "server" and d.args and "down" not in d.args[1:]
        ]
    else:
        authorities = [(proxy_pass.written.partition("://")[2].partition("/")[0], proxy_pass.where)]
    default = 443 if proxy_pass.written.startswith("https") else 80
    names = []
    for authority, where in authorities:
        match = _NAMED_SERVER.fullmatch(authority)
        if match and not match[1].replace(".", "").isdecimal():
            names.append((match[1].lower(), int(match[2] or default), where))
    return tuple(names)


def log_paths(config: NginxConfig, scope: Scope, name: str) -> tuple[str, ...]:
    """Return the files that the effective error_log or access_log directives write to, as absolute paths."""
    return tuple(
        log_path(config, d) for d in scope.effective(name) if d.args and is_file_log(d.args[0], name)
    )


def log_path(config: NginxConfig, directive: Directive) -> str:
    """Return the file of one error_log or access_log directive; a relative path is below the prefix."""
    return str(PurePosixPath(config.prefix) / directive.args[0])


def is_file_log(destination: str, name: str = "access_log") -> bool:
    """Whether a log destination is a plain file. To error_log, off is a file's name as any other."""
    return (
        not destination.startswith(("syslog:", "memory:"))
        and destination not in (("stderr",) if name == "error_log" else ("off", "stderr"))
        and "$" not in destination
    )


def every(config: NginxConfig, name: str) -> Iterator[Directive]:
    """Return every directive with this name, at any depth."""

    def walk(directives: Iterable[Directive]) -> Iterator[Directive]:
        for directive in directives:
            if directive.name == name:
                yield directive
            yield from walk(directive.block or ())

    return walk(config.directives)


# --- what a configuration loads -----------------------------------------------------------------------------------

# Directives with code as arguments: while nginx reads them, it loads or runs that code as the user that started nginx.
_LOADS_CODE = re.compile(
    r"load_module|ssl_engine|perl\w*|js_\w+|njs_\w+|\w*lua\w*|passenger_\w+|wasm\w*|modsecurity_\w+|opentracing_\w+"
)


def loaded_code(config: NginxConfig) -> tuple[str, ...]:
    """Return the absolute paths of all code that a configuration names: modules, scripts, search paths.

    A relative name is below the prefix (nginx documentation, load_module) or, for scripts, below the directory of the
    main file: the result contains both."""
    bases = (PurePosixPath(config.prefix), PurePosixPath(config.file).parent)
    paths: dict[str, None] = {}

    def walk(directives: Iterable[Directive]) -> None:
        for directive in directives:
            if _LOADS_CODE.fullmatch(directive.name):
                for argument in directive.args:
                    # lua_package_path contains several paths, each with a pattern at its end.
                    for word in argument.split(";"):
                        place = word.partition("?")[0]
                        if "/" in place or place.endswith((".so", ".lua", ".js", ".pm", ".pl", ".wasm")):
                            paths.update(dict.fromkeys(str(base / place) for base in bases))
            walk(directive.block or ())

    walk(config.directives)
    return tuple(paths)


def limit_status(scope: Scope, name: str = "limit_req") -> str:
    """The status with which ``name`` (limit_req, limit_conn) refuses a request in ``scope``."""
    return scope.value(f"{name}_status") or DEFAULT_LIMIT_STATUS
