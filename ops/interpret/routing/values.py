"""Variables: the values of ``$uri``, ``$arg_x``, ``$http_x``, a ``map`` or a ``set`` for one request.

Sources: nginx documentation, 'Alphabetical index of variables', ngx_http_map_module, ngx_http_rewrite_module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ops.facts.nginx import Directive
from ops.interpret.nginx import Scope
from ops.interpret.routing.model import RoutedRequest, UndeterminedError, as_bytes, unescaped
from ops.interpret.routing.patterns import PatternMatch, search
from ops.interpret.routing.uri import BadUriError, escape, split_target
from ops.text.language import Text

_ANY = re.compile(r"\$(?:\{(?P<braced>\w+)\}|(?P<digit>[1-9])|(?P<name>[A-Za-z_]\w*))", re.ASCII)
_GROUP = re.compile(r"\(\?P?[<'](\w+)[>']", re.ASCII)
# Directives that define a variable known only to the running nginx; the position of its name in their arguments.
_DEFINING = {
    "geo": -1,
    "split_clients": -1,
    "perl_set": 0,
    "js_set": 0,
    "js_var": 0,
    "set_by_lua": 0,
    "set_by_lua_block": 0,
    "set_by_lua_file": 0,
    "auth_request_set": 0,
    "geoip2": 0,
}


class Variables:
    """The variables of one request. Its phases write the request's own state here (``uri``, ``arguments``, the scope
    in force)."""

    def __init__(self, request: RoutedRequest, http: Directive, prefix: str, hostname: str | None) -> None:
        self.request = request
        self.prefix = prefix.rstrip("/")
        # Set by try_files: the URI is appended to the alias of a location that a regular expression defines.
        self.adds_uri_to_alias = False
        self.method = request.method
        self.uri = "/"
        self.arguments = ""
        self.unparsed = as_bytes(_origin_form(request.target))
        self.server_name = ""
        self.host = ""
        self.captures: PatternMatch = PatternMatch()
        # After a failed search the earlier captures remain with PCRE2, but not with PCRE.
        self._is_capture_doubtful = False
        self.named: dict[str, str] = {}
        # Variables of `set` with a value that only the running nginx knows, and why.
        self.unknown: dict[str, UndeterminedError] = {}
        # The status of the current answer; 0 without one.
        self.status = 0
        self.proxy: dict[str, str] = {}
        self.scope: Scope | None = None
        self._hostname = hostname
        self._maps = _maps(http)
        self._http = http
        self._cached: dict[str, str] = {}

    def fill(self, template: str, where: str, *, quote: frozenset[str] | None = None) -> str:
        """Return ``template`` (as in the configuration) with the values of its variables. ``quote``: characters to
        escape in captures. Raises UndeterminedError."""
        out: list[str] = []
        position = 0
        captures: PatternMatch | None = None
        was_doubtful = self._is_capture_doubtful
        text = as_bytes(unescaped(template))
        for match in _ANY.finditer(text):
            out.append(text[position : match.start()])
            position = match.end()
            if match["digit"]:
                captures = self.captures
                out.append(_escaped(self._captured(match["digit"], where), quote))
            else:
                out.append(self.value(match["braced"] or match["name"], where))
        if captures is not None and (
            captures is not self.captures or self._is_capture_doubtful is not was_doubtful
        ):
            raise UndeterminedError(
                Text(
                    en=f"{template}: a map in it searches again, behind the captures that it holds; what that makes of"
                    " them differs between versions of nginx",
                    zh=f"{template}：其中的 map 又做了一次匹配，改变了前面用到的捕获；各版本的 nginx 结果不同",
                ),
                where,
            )
        return "".join(out) + text[position:]

    def value(self, name: str, where: str) -> str:
        """Return the variable ``name``; empty if it is not set. Raises UndeterminedError if only nginx knows it."""
        if len(name) == 1 and name in "123456789":
            return self._captured(name, where)
        if name in self.unknown:
            raise UndeterminedError(self.unknown[name].reason, where)
        if name in self.named:
            return self.named[name]
        if name in self._maps:
            return self._mapped(name)
        if name in self._cached:
            return self._cached[name]
        if (value := self._own(name)) is not None:
            return value
        if name in set(_declared(self._http)):
            return ""
        origin = dict(_definitions(self._http)).get(name)
        words = f"{origin.name} ({origin.where})" if origin else ""
        raise UndeterminedError(
            Text(
                en=f"${name} is known only to the running nginx" + (f": {words} sets it" if words else ""),
                zh=f"${name} 只有运行中的 nginx 知道" + (f"：由 {words} 设置" if words else ""),
            ),
            where,
        )

    def assign(self, name: str, value: str) -> None:
        """Give the variable ``name`` a value, as `set` does."""
        if name == "args":
            self.arguments = value
        else:
            self.unknown.pop(name, None)
            self.named[name] = value

    def search(self, pattern: str, subject: str, *, ignore_case: bool, where: str) -> PatternMatch | None:
        """Search for ``pattern`` and store its captures: by number, and by name as variables.

        Raises UndeterminedError."""
        captures = search(pattern, subject, ignore_case=ignore_case, where=where)
        if captures is not None:
            self.capture(captures)
        elif "(" in pattern:
            self._is_capture_doubtful = True
        return captures

    def _captured(self, number: str, where: str) -> str:
        value = self.captures.get(number, "")
        if value and self._is_capture_doubtful:
            raise UndeterminedError(
                Text(
                    en=f"${number}: another regular expression was tried since, and failed; nginx with PCRE keeps the"
                    " value no longer, nginx with PCRE2 does",
                    zh=f"${number}：此后又有正则表达式匹配失败；使用 PCRE 的 nginx 不再保留这个值，使用 PCRE2 的保留",
                ),
                where,
            )
        return value

    def capture(self, captures: PatternMatch) -> None:
        """Store the captures of a regular expression: by number, and by name as variables."""
        self.captures = captures
        self._is_capture_doubtful = False
        self.named.update({name: value for name, value in captures.items() if not name.isdecimal()})

    def _own(self, name: str) -> str | None:
        """Return a variable of nginx's core; None if it is not known here."""
        for prefix, lookup in (("arg_", self._argument), ("http_", self._header), ("cookie_", self._cookie)):
            if name.startswith(prefix):
                return lookup(name.removeprefix(prefix))
        # Computed only on request: `root` and `alias` may contain variables themselves.
        if name == "document_root":
            return self._root()
        if name == "request_filename":
            return self._filename()
        request = self.request
        tls = request.scheme == "https"
        values: Mapping[str, str | None] = {
            "uri": self.uri,
            "document_uri": self.uri,
            "args": self.arguments,
            "query_string": self.arguments,
            "is_args": "?" if self.arguments else "",
            "request_uri": self.unparsed,
            "request_method": self.method,
            "request": as_bytes(f"{request.method} {request.target} {request.protocol}"),
            "scheme": request.scheme,
            "status": f"{self.status:03}" if self.status else None,
            "https": "on" if tls else "",
            "server_protocol": request.protocol,
            "host": self.host,
            "server_name": self.server_name,
            "server_port": str(request.port),
            "server_addr": request.address,
            "hostname": self._hostname,
            "remote_addr": request.client,
            "realip_remote_addr": request.client,
            "remote_user": None if self._header("authorization") else "",
            "content_type": self._header("content_type"),
            "content_length": "" if request.body_length is None else str(request.body_length),
            "limit_rate": "0",
            "ssl_server_name": (request.sni or "") if tls else "",
            "http2": "",
            "http3": "",
            "proxy_add_x_forwarded_for": self._forwarded_for(),
            "proxy_host": self.proxy.get("host", ""),
            "proxy_port": self.proxy.get("port", ""),
        }
        return values.get(name)

    def _argument(self, name: str) -> str:
        """Return the first argument named ``name``, still escaped as in the URI (the name's case does not matter)."""
        for word in self.arguments.split("&"):
            key, equals, value = word.partition("=")
            if equals and key.lower() == name.lower():
                return value
        return ""

    def _header(self, name: str) -> str:
        lowered = name.lower()
        if lowered == "host":
            return as_bytes(self.request.host or "")
        values = [v for k, v in self.request.headers if k.lower().replace("-", "_") == lowered]
        separator = {"cookie": "; "}.get(lowered, ", ")
        return as_bytes(separator.join(values))

    def _cookie(self, name: str) -> str:
        for word in re.split(r"[;,]\s*", self._header("cookie")):
            key, equals, value = word.partition("=")
            if equals and key.strip().lower() == name.lower():
                return value.strip()
        return ""

    def _forwarded_for(self) -> str | None:
        before = self._header("x_forwarded_for")
        client = self.request.client
        return None if client is None else f"{before}, {client}" if before else client

    def _root(self) -> str | None:
        from ops.interpret.routing.files import document_root

        return None if self.scope is None else document_root(self.scope, self)

    def _filename(self) -> str | None:
        from ops.interpret.routing.files import file_path

        return None if self.scope is None else file_path(self.scope, self, self.uri)

    def _mapped(self, name: str) -> str:
        """Return a map's variable, evaluated once per request unless it is volatile (ngx_http_map_module)."""
        directive = self._maps[name]
        children = directive.block or ()
        is_volatile = any(line.name == "volatile" and not line.args for line in children)
        if not is_volatile and name in self._cached:
            return self._cached[name]
        subject = self.fill(directive.args[0], directive.where)
        value = self.fill(self._map_result(directive, subject), directive.where)
        self._cached[name] = value
        return value

    def _map_result(self, directive: Directive, subject: str) -> str:
        lines = [line for line in directive.block or () if len(line.args) == 1]
        hostnames = any(line.name == "hostnames" and not line.args for line in directive.block or ())
        key = subject.removesuffix(".") if hostnames else subject
        literal = {
            as_bytes(_unescaped(line.name)).lower(): line.args[0]
            for line in lines
            if line.name not in ("default", "include") and not line.name.startswith("~")
        }
        if key and key.lower() in literal:
            return literal[key.lower()]
        if hostnames and (by_host := _by_wildcard(literal, key.lower())) is not None:
            return by_host
        for line in lines:
            if line.name.startswith("~"):
                ignore_case = line.name.startswith("~*")
                pattern = line.name[2 if ignore_case else 1 :]
                if self.search(pattern, key, ignore_case=ignore_case, where=line.where) is not None:
                    return line.args[0]
        if not key and "" in literal:
            return literal[""]
        return next((line.args[0] for line in lines if line.name == "default"), "")


def _unescaped(name: str) -> str:
    return name[1:] if name.startswith("\\") else name


def _origin_form(target: str) -> str:
    try:
        return split_target(target)[1]
    except BadUriError:
        return ""


def _by_wildcard(literal: Mapping[str, str], host: str) -> str | None:
    if f".{host}" in literal:
        return literal[f".{host}"]
    labels = host.split(".")
    for start in range(1, len(labels)):
        rest = ".".join(labels[start:])
        for key in (f"*.{rest}", f".{rest}"):
            if key in literal:
                return literal[key]
    for end in range(len(labels) - 1, 0, -1):
        if (key := ".".join(labels[:end]) + ".*") in literal:
            return literal[key]
    return None


def _maps(http: Directive) -> dict[str, Directive]:
    return {
        d.args[1].removeprefix("$").strip("{}"): d
        for d in http.block or ()
        if d.name == "map" and len(d.args) == 2 and d.block is not None
    }


def _every(block: Directive, name: str) -> Iterator[Directive]:
    for directive in block.block or ():
        if directive.name == name:
            yield directive
        yield from _every(directive, name)


def _declared(block: Directive) -> Iterator[str]:
    """Yield the variables that `set` and named groups of regular expressions assign; they are empty until then."""
    for directive in block.block or ():
        if directive.name == "set" and directive.args:
            yield directive.args[0].removeprefix("$")
        for argument in (directive.name, *directive.args):
            if "(?" in argument:
                yield from _GROUP.findall(argument)
        yield from _declared(directive)


def _definitions(http: Directive) -> Iterator[tuple[str, Directive]]:
    for name, position in _DEFINING.items():
        for directive in _every(http, name):
            if directive.args and len(directive.args) > position:
                yield directive.args[position].removeprefix("$"), directive


def _escaped(value: str, quote: frozenset[str] | None) -> str:
    return value if quote is None else escape(value, quote)
