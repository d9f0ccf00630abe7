"""nginx's phases for one request: server, rewrites, location, access, files, and the answer.

Sources: nginx documentation, 'How nginx processes a request', 'Development guide: HTTP phases'; ngx_http_core_module.c,
ngx_http_special_response.c, ngx_http_try_files_module.c, ngx_http_index_module.c, ngx_http_static_module.c.
"""

from __future__ import annotations

from ops.facts.nginx import Directive
from ops.facts.probes import REDIRECTS
from ops.interpret.address import join_host
from ops.interpret.routing import access, files, proxy
from ops.interpret.routing.limits import size
from ops.interpret.routing.location import OTHER_HANDLERS, find_location, named_location
from ops.interpret.routing.model import (
    FileKind,
    OutcomeKind,
    RouteOutcome,
    StepKind,
    UndeterminedError,
    as_bytes,
    as_text,
    first_argument,
    is_on,
)
from ops.interpret.routing.rewrite import Answered, Script
from ops.interpret.routing.state import Next, State, handler_in_force
from ops.interpret.routing.uri import escape, split_arguments
from ops.text.language import Text, verbatim

CLOSE = 444  # nginx's own status: closes the connection without an answer
TO_HTTPS = 497  # plain HTTP on a TLS port
_SHOWN_AS_400 = (494, 495, 496, TO_HTTPS)
_KINDS = {
    FileKind.FILE: "存在",
    FileKind.DIRECTORY: "是目录",
    FileKind.MISSING: "不存在",
    FileKind.FORBIDDEN: "没有读取权限",
}
_READING_METHODS = ("GET", "HEAD", "POST")


class Processing:
    """The phases of one request. Each returns the next phase or the outcome."""

    def __init__(self, state: State) -> None:
        self.state = state

    def run(self) -> RouteOutcome:
        """Run the phases from the server's own rewrites to the outcome."""
        following: Next = self.server_rewrites()
        while not isinstance(following, RouteOutcome):
            following = following()
        return following

    # --- the phases -------------------------------------------------------------------------------------------------

    def server_rewrites(self) -> Next:
        """Run set, if, rewrite and return of the server block, before the search for a location."""
        state = self.state
        state.scope = state.variables.scope = state.server
        result = Script(state).run(state.server.blocks[0], state.server)
        return self.answered(result) if isinstance(result, Answered) else self.find_location

    def find_location(self) -> Next:
        """Find the location; refuse a body that exceeds its client_max_body_size."""
        state = self.state
        state.handler = None
        state.uri_changed = False
        match = find_location(state.server, state.variables.uri, state.variables.search)
        scope = match.location or state.server
        path = as_text(state.variables.uri)
        if match.location is None:
            state.note(
                StepKind.LOCATION,
                state.server.where,
                f"no location covers {path}: the server block's own directives apply",
                f"没有 location 匹配 {path}：使用 server 块自己的指令",
            )
        else:
            state.note(
                StepKind.LOCATION,
                match.location.where,
                f"location {match.location.written} handles {path}",
                f"{path} 由 location {match.location.written} 处理",
            )
        if not state.is_internal and access.is_internal(scope):
            state.scope = state.variables.scope = scope
            where = scope.effective("internal")[0].where
            state.decide(StepKind.ACCESS, where, 404)
            return self.finalize(404, where)
        maximum, where = first_argument(scope, "client_max_body_size", "1m")
        state.enter(scope)
        limit = size(maximum)
        if limit and state.body_length is not None and state.body_length > limit:
            state.note(
                StepKind.LIMIT,
                where,
                f"the body's {state.body_length} bytes are more than client_max_body_size {maximum}",
                f"请求体 {state.body_length} 字节，超过 client_max_body_size {maximum}",
            )
            state.body_length = 0
            state.decide(StepKind.LIMIT, where, 413)
            return self.finalize(413, where)
        if match.is_redirect and match.location is not None:
            state.decide(StepKind.LOCATION, match.location.where, 301)
            arguments = f"?{state.variables.arguments}" if state.variables.arguments else ""
            location = escape(as_bytes(match.location.pattern)) + arguments
            return self.finalize(301, match.location.where, location)
        return self.location_rewrites

    def location_rewrites(self) -> Next:
        """Run set, if, rewrite and return of the location; search for a location again if the URI changed."""
        state = self.state
        if state.scope.blocks[0].name not in ("server", "limit_except"):
            result = Script(state).run(state.scope.blocks[0], state.scope)
            if isinstance(result, Answered):
                return self.answered(result)
        if not state.uri_changed:
            return self.let_in
        state.uri_changes -= 1
        if state.uri_changes == 0:
            return self.cycle()
        return self.find_location

    def let_in(self) -> Next:
        """Note the rate limits, then check access."""
        access.note_rate_limits(self.state)
        refusal = access.refusal(self.state)
        if refusal is not None:
            self.state.decide(StepKind.ACCESS, refusal.where, refusal.status)
            return self.finalize(refusal.status, refusal.where)
        return self.try_files

    def try_files(self) -> Next:
        """Use the first name of try_files that exists, else its last argument."""
        state = self.state
        directive = state.scope.first_own("try_files")
        if directive is None:
            return self.content
        where = directive.where
        alias = files.alias_length(state.scope)
        if self._is_alias_lost():
            return self.finalize(500, where)
        root = files.document_root(state.scope, state.variables)
        for name in directive.args[:-1]:
            uri = self._tried(name, where, alias)
            wants_directory = name.endswith("/")
            path = root + (uri.removesuffix("/") if wants_directory else uri)
            kind = state.disk.kind(path, where)
            is_there = kind is (FileKind.DIRECTORY if wants_directory else FileKind.FILE)
            state.note(
                StepKind.TRY_FILES,
                where,
                f"try_files {name}: {as_text(path)} is {'there' if is_there else 'not there'}",
                f"try_files {name}：{as_text(path)} {'存在' if is_there else '不存在'}",
            )
            if is_there:
                self._take(uri.removesuffix("/") if wants_directory else uri, alias, is_dir=wants_directory)
                return self.content
        return self._last_of_try_files(directive.args[-1], where, alias)

    def _tried(self, name: str, where: str, alias: int | None) -> str:
        """Return a name of try_files as a path below the root: with an alias, without the location's prefix."""
        uri = self.state.variables.fill(name, where)
        if alias and alias > 0 and "$" in name and self.state.variables.uri[:alias] == uri[:alias]:
            return uri[alias:]
        return uri

    def _take(self, uri: str, alias: int | None, *, is_dir: bool) -> None:
        variables = self.state.variables
        if alias is None:
            variables.uri = uri
        elif alias < 0:
            if not is_dir:
                variables.uri = uri
                variables.adds_uri_to_alias = True
        else:
            variables.uri = variables.uri[:alias] + uri

    def _last_of_try_files(self, last: str, where: str, alias: int | None) -> Next:
        if last.startswith("="):
            self.state.decide(StepKind.FILE, where, int(last[1:]))
            return self.finalize(int(last[1:]), where)
        target = self._tried(last, where, alias)
        if target.startswith("@"):
            return self.named(target, where)
        return self.redirect_internally(*split_arguments(target), where)

    def content(self) -> Next:
        """Answer by the location's handler, else with a file."""
        state = self.state
        if state.handler is not None:
            return self.send_on(state.handler)
        other = next((d for d in state.scope.blocks[0].block or () if d.name in OTHER_HANDLERS), None)
        if other is not None:
            if other.name in ("stub_status", "empty_gif"):
                return self.respond(200, other.where, words=verbatim(other.written))
            raise UndeterminedError(
                Text(
                    en=f"{other.written} answers: a module or code",
                    zh=f"由 {other.written} 应答：模块或代码",
                ),
                other.where,
            )
        if self.state.variables.method in _READING_METHODS and self._is_alias_lost():
            rule, _ = files.path_rule(state.scope)
            return self._without_file(500, rule.where if rule else "")
        return self.index if state.variables.uri.endswith("/") else self.static_file

    def _is_alias_lost(self) -> bool:
        """Whether nginx answers 500: an alias "cannot be used in location ... where URI was rewritten" (by break)."""
        return files.alias_length(self.state.scope) is not None and not self.state.has_location

    def index(self) -> Next:
        """Redirect internally to the first index file that exists."""
        state, variables = self.state, self.state.variables
        rule, _ = files.path_rule(state.scope)
        where = rule.where if rule else ""
        directory = files.file_path(state.scope, variables, variables.uri)
        if variables.method in _READING_METHODS:
            entries = [(name, d.where) for d in state.scope.effective("index") for name in d.args]
            for name, at in entries or [("index.html", "")]:
                value = variables.fill(name, at)
                if value.startswith("/"):
                    return self.redirect_internally(value, variables.arguments, at)
                kind = state.disk.kind(directory + value, at or where)
                if kind is FileKind.FILE:
                    state.note(
                        StepKind.INDEX,
                        at,
                        f"index {as_text(value)}: {as_text(directory + value)}",
                        f"index {as_text(value)}：{as_text(directory + value)}",
                    )
                    return self.redirect_internally(variables.uri + value, variables.arguments, at)
                if kind is FileKind.FORBIDDEN:
                    return self._without_file(403, at or where)
            if state.disk.kind(directory, where) is not FileKind.DIRECTORY:
                return self._without_file(404, where)
            if is_on(state.scope, "autoindex", default=False) and variables.method != "POST":
                return self.respond(200, where, words=Text(en="a list of files", zh="文件列表"))
        elif state.variables.method not in _READING_METHODS:
            return self._without_file(405, where)
        return self._without_file(403, where)

    def static_file(self) -> Next:
        """Send the URI's file; nginx does so only for GET and HEAD."""
        state, variables = self.state, self.state.variables
        rule, _ = files.path_rule(state.scope)
        where = rule.where if rule else ""
        if variables.method not in _READING_METHODS:
            return self._without_file(405, where)
        path = files.file_path(state.scope, variables, variables.uri)
        kind = state.disk.kind(path, where)
        name = as_text(path)
        if kind is FileKind.DIRECTORY:
            arguments = f"?{variables.arguments}" if variables.arguments else ""
            return self._without_file(301, where, escape(variables.uri) + "/" + arguments)
        state.note(StepKind.FILE, where, f"the file {name}: {kind.value}", f"文件 {name}：{_KINDS[kind]}")
        if kind is not FileKind.FILE:
            return self._without_file(403 if kind is FileKind.FORBIDDEN else 404, where)
        if variables.method == "POST":
            return self._without_file(405, where)
        status = state.error_status or 200
        state.decide(StepKind.FILE, where, 200)
        return RouteOutcome(OutcomeKind.FILE, status, where, self.pending_location(), path=name)

    def _without_file(self, status: int, where: str, location: str | None = None) -> Next:
        self.state.decide(StepKind.FILE, where, status)
        return self.finalize(status, where, location)

    def send_on(self, directive: Directive) -> Next:
        """Send the request on by proxy_pass or a similar directive."""
        state = self.state
        in_force = handler_in_force(state.scope)
        if in_force is None:
            raise UndeterminedError(
                Text(
                    en=f"two conditions hold, and the last has nothing to send the request on: {directive.written}"
                    " is of the first; nginx answers 500 or ends abruptly",
                    zh=f"两个 if 同时成立，后一个没有转发目标：{directive.written} 属于前一个；"
                    "nginx 返回 500 或异常退出",
                ),
                directive.where,
            )
        directive = in_force
        request = proxy.pass_on(
            directive,
            state.scope,
            state.http,
            state.variables,
            state.around,
            proxy.UriState(
                unparsed=state.variables.unparsed if state.is_unparsed_valid else None,
                has_location=state.has_location,
                is_escaped=state.has_escapes or state.is_internal,
            ),
            state.version,
        )
        state.passed = request
        state.decide(StepKind.PROXY, request.where, None)
        state.note(
            StepKind.PROXY,
            request.where,
            f"{directive.written}: the service gets {request.method} {request.uri}, Host {request.host}",
            f"{directive.written}：后端收到 {request.method} {request.uri}，Host 为 {request.host}",
        )
        return self._answer_of(request.where)

    def _answer_of(self, where: str) -> Next:
        """Pass the service's answer on, or replace it if nginx intercepts errors."""
        state, status = self.state, self._status_of_service()
        if status is None:
            return RouteOutcome(OutcomeKind.PROXIED, None, where, passed=state.passed)
        if status == 0:
            return self.finalize(502, where)
        prefix = state.handler.name.removesuffix("_pass") if state.handler else "proxy"
        if (
            status >= 300
            and is_on(state.scope, f"{prefix}_intercept_errors", default=False)
            and any(status in codes for codes, _, _, _ in error_pages(state))
        ):
            state.note(
                StepKind.ERROR_PAGE,
                first_argument(state.scope, f"{prefix}_intercept_errors", "")[1],
                f"{prefix}_intercept_errors: the service's {status} is replaced",
                f"{prefix}_intercept_errors：后端的 {status} 被替换",
            )
            return self.finalize(status, where)
        return RouteOutcome(OutcomeKind.PROXIED, state.error_status or status, where, passed=state.passed)

    def _status_of_service(self) -> int | None:
        """Return the status of the first server that accepts connections; try backup servers last."""
        around, request = self.state.around, self.state.passed
        servers = (
            sorted((s for s in request.servers if not s.is_down), key=lambda s: s.is_backup)
            if request
            else []
        )
        statuses = [around.answers.get(server.address, around.answer) for server in servers]
        return next((status for status in statuses if status != 0), 0) if statuses else around.answer

    # --- outcomes and redirects -------------------------------------------------------------------------------------

    def answered(self, answer: Answered) -> Next:
        """Answer as `return` or a redirecting `rewrite` says."""
        self.state.decide(StepKind.RETURN, answer.where, answer.status)
        if answer.location is not None or not answer.has_text:
            return self.finalize(answer.status, answer.where, answer.location)
        if answer.status == CLOSE:
            return self.closed(answer.where)
        body = None if answer.body is None else as_text(answer.body)
        return self.respond(answer.status, answer.where, body=body)

    def respond(
        self, status: int, where: str, *, body: str | None = None, words: Text | None = None
    ) -> RouteOutcome:
        """Let nginx itself answer, without error_page."""
        code = self.state.error_status or status
        location = self.pending_location()
        return RouteOutcome(OutcomeKind.RESPONSE, code, where, location, body, reason=words or verbatim(""))

    def closed(self, where: str) -> RouteOutcome:
        """Close the connection without an answer."""
        return RouteOutcome(
            OutcomeKind.CLOSED,
            None,
            where,
            reason=Text(en="nginx closes the connection (444)", zh="nginx 直接关闭连接（444）"),
        )

    def finalize(self, status: int, where: str, location: str | None = None) -> Next:
        """Answer an error or a redirect with its error_page, else with nginx's own page."""
        state = self.state
        if status == CLOSE:
            return self.closed(where)
        state.error_status = status
        if location is not None:
            state.location = location
        pages = error_pages(state)
        if not state.is_error_page and pages and state.uri_changes != 0:
            if not is_on(state.scope, "recursive_error_pages", default=False):
                state.is_error_page = True
            for codes, overwrite, uri, directive in pages:
                if status in codes:
                    return self.error_page(status, overwrite, uri, directive)
        code = 400 if status in _SHOWN_AS_400 else status
        return RouteOutcome(
            OutcomeKind.RESPONSE,
            code,
            where,
            location=self.pending_location(),
        )

    def error_page(self, status: int, overwrite: int | None, written_uri: str, directive: Directive) -> Next:
        """Answer with an error_page: a file or location of this server, or a redirect."""
        state, where = self.state, directive.where
        if overwrite is not None:
            state.error_status = overwrite
        uri = state.variables.fill(written_uri, where)
        state.note(
            StepKind.ERROR_PAGE,
            where,
            f"{status} is answered by error_page {as_text(uri)}",
            f"{status} 由 error_page {as_text(uri)} 应答",
        )
        if uri.startswith("/"):
            if state.variables.method != "HEAD":
                state.variables.method = "GET"
            return self.redirect_internally(*split_arguments(uri), where)
        if uri.startswith("@"):
            return self.named(uri, where)
        code = overwrite if overwrite in REDIRECTS else 302
        state.error_status = code
        return RouteOutcome(OutcomeKind.RESPONSE, code, where, location=self.absolute(uri))

    def redirect_internally(self, uri: str, arguments: str, where: str) -> Next:
        """Process a new URI, beginning with the server's rewrites."""
        state = self.state
        state.uri_changes -= 1
        if state.uri_changes == 0:
            return self.cycle()
        state.variables.uri, state.variables.arguments = uri, arguments
        state.is_internal = True
        state.is_unparsed_valid = False
        state.has_location = True
        state.variables.adds_uri_to_alias = False
        new_uri = as_text(uri + (f"?{arguments}" if arguments else ""))
        state.note(StepKind.REDIRECT, where, f"internally to {new_uri}", f"内部跳转到 {new_uri}")
        return self.server_rewrites

    def named(self, name: str, where: str) -> Next:
        """Continue in the location ``@name``."""
        state = self.state
        state.uri_changes -= 1
        if state.uri_changes == 0:
            return self.cycle()
        location = named_location(state.server, as_text(name))
        if location is None or not state.variables.uri:
            return self.finalize(500, where)
        state.is_internal = True
        state.handler = None
        state.uri_changed = False
        state.note(
            StepKind.LOCATION,
            location.where,
            f"location {location.written} goes on",
            f"由 location {location.written} 继续处理",
        )
        state.enter(location)
        return self.location_rewrites

    def cycle(self) -> RouteOutcome:
        """Answer 500: there are more rewrites and internal redirects than nginx follows."""
        words = Text(
            en="a cycle of rewrites or internal redirects: nginx gives up after 10",
            zh="重写或内部跳转循环：nginx 跟随 10 次后放弃",
        )
        return RouteOutcome(
            OutcomeKind.RESPONSE, 500, self.state.server.where, self.pending_location(), reason=words
        )

    def pending_location(self) -> str | None:
        """Return the Location header set so far, which an error_page's answer also carries; None without any."""
        return None if self.state.location is None else self.absolute(self.state.location)

    def absolute(self, location: str) -> str:
        """Return the Location header as sent: a path gets scheme, host and port in front (absolute_redirect)."""
        state, request = self.state, self.state.request
        if not location.startswith("/") or not is_on(state.scope, "absolute_redirect", default=True):
            return as_text(location)
        host = state.requested_host or join_host(request.address)
        if is_on(state.scope, "server_name_in_redirect", default=False):
            host = as_text(state.variables.server_name)
        usual = 443 if request.scheme == "https" else 80
        has_port = request.port != usual and is_on(state.scope, "port_in_redirect", default=True)
        authority = f"{host}:{request.port}" if has_port else host
        return f"{request.scheme}://{authority}{as_text(location)}"


def error_pages(state: State) -> list[tuple[frozenset[int], int | None, str, Directive]]:
    """Return the error_page directives in force: statuses, the answer's new status (0: its own, None: the error's),
    the URI, and the directive."""
    pages = []
    for directive in state.scope.effective("error_page"):
        *words, uri = directive.args
        overwrite: int | None = None
        if words and words[-1].startswith("="):
            overwrite = int(words[-1][1:] or 0)
            words.pop()
        codes = frozenset(int(word) for word in words if word.isdecimal())
        pages.append((codes, overwrite, uri, directive))
    return pages
