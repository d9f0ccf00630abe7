"""The route of one request through nginx (`route`)."""

from __future__ import annotations

import string

import msgspec

from ops.facts.nginx import NginxConfig, ParseError
from ops.interpret.nginx import Server, http_block, servers
from ops.interpret.routing.files import Disk, enclosing_location
from ops.interpret.routing.limits import limits
from ops.interpret.routing.model import (
    OutcomeKind,
    RequestRoute,
    RoutedRequest,
    RouteOutcome,
    RouteStep,
    RouteSurroundings,
    StepKind,
    UndeterminedError,
    as_bytes,
    as_text,
    first_argument,
    is_on,
)
from ops.interpret.routing.processing import TO_HTTPS, Processing
from ops.interpret.routing.server import Choice, Door, bare_host, choose, door
from ops.interpret.routing.state import State
from ops.interpret.routing.uri import BadUriError, normalize, split_target
from ops.interpret.routing.values import Variables
from ops.text.language import Text

_LETTERS = frozenset(string.ascii_letters + string.digits)
_PLAIN = Text(
    en="nothing but plain HTTP is spoken here: no listen directive of this address has ssl",
    zh="这个地址只提供明文 HTTP：它的 listen 指令都没有 ssl",
)


def route(
    config: NginxConfig, request: RoutedRequest, around: RouteSurroundings | None = None
) -> RequestRoute:
    """Return nginx's handling of ``request`` under ``config``. Pure; raises nothing: an unknown ends the route."""
    return _Routing(config, request, around or RouteSurroundings()).route()


def _unread(error: ParseError) -> UndeterminedError:
    """The server block may stand in what was not read."""
    return UndeterminedError(
        Text(
            en=f"not all of the configuration could be read: {error.message}",
            zh=f"配置未能全部读取：{error.message}",
        ),
        error.file if error.line is None else f"{error.file}:{error.line}",
    )


class _Routing:
    def __init__(self, config: NginxConfig, request: RoutedRequest, around: RouteSurroundings) -> None:
        self.config = config
        self.request = request
        self.around = around
        self.http = http_block(config)
        self.disk = Disk(around)
        self.state: State | None = None
        self.steps: list[RouteStep] = []

    def route(self) -> RequestRoute:
        try:
            outcome = self._run()
        except UndeterminedError as error:
            self._note(StepKind.UNKNOWN, error.where, error.reason)
            outcome = RouteOutcome(OutcomeKind.UNKNOWN, None, error.where, reason=error.reason)
        state = self.state
        steps = tuple(state.steps if state else self.steps)
        location = enclosing_location(state.scope) if state else None
        handler = state.handler.name if state and state.handler else None
        return RequestRoute(
            request=self.request,
            steps=steps,
            outcome=outcome,
            server_where=state.server.where if state else "",
            server_names=state.server.names if state else (),
            location_where=location.where if location else "",
            location=location.written if location else "",
            limits=limits(state.scope, handler) if state else (),
            asked=tuple(self.disk.asked),
            passed=state.passed if state else None,
            rivals=state.rivals if state else (),
            decision=state.decision if state else None,
        )

    def _note(self, kind: StepKind, where: str, words: Text) -> None:
        (self.state.steps if self.state else self.steps).append(RouteStep(kind, where, words))

    def _run(self) -> RouteOutcome:
        request = self.request
        everyone = servers(self.config)
        behind = door(everyone, request.address, request.port, self.around.names)
        if behind is None and self.config.errors:
            raise _unread(self.config.errors[0])
        if behind is None:
            words = Text(
                en=f"no server block listens on {request.address} port {request.port}",
                zh=f"没有 server 块监听 {request.address} 端口 {request.port}",
            )
            self._note(StepKind.LISTEN, self.config.file, words)
            return RouteOutcome(OutcomeKind.NO_LISTENER, None, self.config.file, reason=words)
        self._note_socket(behind)
        if request.scheme == "https" and not behind.is_tls:
            self._note(StepKind.LISTEN, behind.socket.where, _PLAIN)
            return RouteOutcome(OutcomeKind.TLS_TO_PLAIN, None, behind.socket.where, reason=_PLAIN)
        first = self._by_sni(behind)
        return self._request_line(behind, first)

    def _note_socket(self, behind: Door) -> None:
        count, socket = len(behind.servers), behind.socket
        listen = " ".join(("listen", *socket.directive.args)) if socket.directive else "listen 80"
        self._note(
            StepKind.LISTEN,
            socket.where,
            Text(
                en=f"{listen} takes the connection; {count} server block{'s' if count > 1 else ''} behind it",
                zh=f"{listen} 接受连接，后面有 {count} 个 server 块",
            ),
        )
        if behind.proxy_protocol:
            self._note(
                StepKind.LISTEN,
                socket.where,
                Text(
                    en="proxy_protocol: a connection without a PROXY line is closed",
                    zh="proxy_protocol：没有 PROXY 行的连接会被关闭",
                ),
            )

    def _by_sni(self, behind: Door) -> Server:
        """Return the server block for the handshake, which gives the certificate and the request line's rules."""
        if self.request.scheme != "https" or not self.request.sni:
            return behind.default
        choice = choose(behind, self.request.sni.lower())
        self._note(
            StepKind.SERVER,
            choice.server.where,
            Text(
                en=f"the handshake asks for {self.request.sni}: {_by(choice).en}",
                zh=f"握手请求 {self.request.sni}：{_by(choice).zh}",
            ),
        )
        return choice.server

    def _request_line(self, behind: Door, first: Server) -> RouteOutcome:
        request = msgspec.structs.replace(self.request, headers=_accepted(self.request.headers, first))
        variables = Variables(request, self.http, self.config.prefix, self.around.hostname)
        self.state = State(
            request=request,
            around=self.around,
            http=self.http,
            version=_version(self.config),
            variables=variables,
            disk=self.disk,
            server=first,
            scope=first,
            steps=self.steps,
            body_length=request.body_length,
        )
        variables.scope = first
        variables.host = variables.server_name = _server_name(first)
        processing = Processing(self.state)
        try:
            host_of_line, target = split_target(request.target)
            path = normalize(as_bytes(target), merge_slashes=is_on(first, "merge_slashes", default=True))
        except BadUriError:
            variables.uri = variables.unparsed = ""
            variables.request = msgspec.structs.replace(request, host=None)
            return self._refuse(processing)
        variables.uri, variables.arguments, self.state.has_escapes, self.state.has_plus = path
        if variables.uri != as_bytes(target.partition("?")[0].partition("#")[0]):
            self._note(
                StepKind.URI,
                first_argument(first, "merge_slashes", "")[1],
                Text(
                    en=f"the path is read as {as_text(variables.uri)}",
                    zh=f"路径规范化为 {as_text(variables.uri)}",
                ),
            )
        host = host_of_line if host_of_line is not None else request.host
        bare, is_valid = ("", True) if host is None else bare_host(host)
        if not is_valid or (request.host is not None and not bare_host(request.host)[1]):
            return self._refuse(processing)
        self._by_host(behind, bare)
        if request.host is None and request.protocol != "HTTP/1.0":
            return self._finish(processing, 400)
        if behind.is_tls and request.scheme == "http":
            self._note(
                StepKind.LISTEN,
                behind.socket.where,
                Text(en="plain HTTP on a TLS port", zh="在 TLS 端口上收到明文 HTTP"),
            )
            return self._finish(processing, TO_HTTPS)
        return processing.run()

    def _by_host(self, behind: Door, host: str) -> None:
        assert self.state is not None  # noqa: S101  set by the caller
        variables = self.state.variables
        choice = choose(behind, host)
        self.state.server = choice.server
        self.state.scope = variables.scope = choice.server
        if choice.captures is not None:
            variables.capture(choice.captures)
        variables.server_name = _server_name(choice.server)
        self.state.requested_host = host
        variables.host = as_bytes(host) or variables.server_name
        self._note(
            StepKind.SERVER,
            choice.server.where,
            Text(en=f"Host {host or '-'}: {_by(choice).en}", zh=f"Host {host or '-'}：{_by(choice).zh}"),
        )
        self.state.rivals = tuple(server.where for server in choice.ignored)
        for other in choice.ignored:
            self._note(
                StepKind.SERVER,
                other.where,
                Text(
                    en=f"this block claims {choice.written} too, and nginx ignores it: the first one wins",
                    zh=f"这个块也声明了 {choice.written}，nginx 忽略它：先出现的生效",
                ),
            )

    def _refuse(self, processing: Processing) -> RouteOutcome:
        """Answer 400, before the other headers are read."""
        state = processing.state
        state.variables.request = msgspec.structs.replace(state.variables.request, headers=())
        state.body_length = None
        return self._finish(processing, 400)

    @staticmethod
    def _finish(processing: Processing, status: int) -> RouteOutcome:
        following = processing.finalize(status, processing.state.server.where)
        while not isinstance(following, RouteOutcome):
            following = following()
        return following


def _accepted(headers: tuple[tuple[str, str], ...], server: Server) -> tuple[tuple[str, str], ...]:
    """Return the headers that nginx accepts. By default it ignores names with characters other than letters, digits
    and hyphens (ignore_invalid_headers, underscores_in_headers)."""
    if not is_on(server, "ignore_invalid_headers", default=True):
        return headers
    more = "-_" if is_on(server, "underscores_in_headers", default=False) else "-"
    return tuple((name, value) for name, value in headers if set(name) <= _LETTERS | set(more))


def _server_name(server: Server) -> str:
    """Return $server_name: the first name (bytes)."""
    first = next(iter(server.names), "")
    return as_bytes(first if first.startswith("~") else first.lower().removeprefix("."))


def _by(choice: Choice) -> Text:
    if choice.written is None:
        return Text(
            en="no server_name covers it: the default server", zh="没有 server_name 匹配：使用默认 server"
        )
    return Text(
        en=f"server_name {choice.written or '(empty)'}", zh=f"server_name {choice.written or '（空）'}"
    )


def _version(config: NginxConfig) -> tuple[int, ...]:
    words = (config.version or "0").split(".")
    return tuple(int(word) for word in words if word.isdecimal())
