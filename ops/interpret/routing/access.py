"""Access control: allow and deny, auth_basic, auth_request, satisfy; and the rate limits.

Source: nginx documentation, ngx_http_access_module, ngx_http_auth_basic_module, ngx_http_core_module (satisfy).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import msgspec

from ops.interpret.nginx import Scope
from ops.interpret.routing.model import StepKind, UndeterminedError, as_text, first_argument
from ops.interpret.routing.state import State, effective_any
from ops.text.language import Text

_BY_CODE = ("access_by_lua", "access_by_lua_block", "access_by_lua_file", "js_access")


class AccessRefusal(msgspec.Struct, frozen=True):
    """A refused request. ``where``: ``file:line`` of the directive that refuses it."""

    status: int
    where: str


def refusal(state: State) -> AccessRefusal | None:
    """Return the access phase's refusal; None if the request is admitted. Raises UndeterminedError."""
    verdicts = [*_verdicts(state)]
    if first_argument(state.scope, "satisfy", "all")[0] == "any":
        if any(verdict is None for verdict in verdicts) or not verdicts:
            return None
        refusals = [verdict for verdict in verdicts if verdict is not None]
        return next((r for r in refusals if r.status == 401), refusals[0])
    return next((verdict for verdict in verdicts if verdict is not None), None)


def _verdicts(state: State) -> Iterator[AccessRefusal | None]:
    """Yield a verdict for each mechanism that applies to this request, in nginx's order; None admits it."""
    yield from _by_address(state)
    yield from _by_password(state)
    for directive in state.scope.effective("auth_request"):
        if directive.args and directive.args[0] != "off":
            state.note(
                StepKind.ASSUMED,
                directive.where,
                f"{directive.written}: what it answers is not known here; taken to let the request in",
                f"{directive.written}：这里不知道它的结果，按放行处理",
            )
            yield None
    for directive in effective_any(state.scope, _BY_CODE):
        raise UndeterminedError(
            Text(en=f"{directive.name}: code decides", zh=f"{directive.name}：由代码决定"), directive.where
        )


def _by_address(state: State) -> Iterator[AccessRefusal | None]:
    rules = effective_any(state.scope, ("allow", "deny"))
    client = state.variables.request.client
    if not rules:
        return
    if client is None:
        everyone = [rule for rule in rules if rule.args[:1] == ("all",)]
        if rules[0] in everyone:
            yield _ruled(state, rules[0].name, rules[0].where, rules[0].written)
            return
        state.note(
            StepKind.ASSUMED,
            rules[0].where,
            "allow and deny decide by the client's address, which is not given (--client): taken to let it in",
            "allow 和 deny 按客户端地址决定，地址没有给出（--client）：按放行处理",
        )
        yield None
        return
    for rule in rules:
        if rule.args and _covers(rule.args[0], client):
            yield _ruled(state, rule.name, rule.where, rule.written)
            return


def _ruled(state: State, name: str, where: str, words: str) -> AccessRefusal | None:
    state.note(StepKind.ACCESS, where, words, words)
    return None if name == "allow" else AccessRefusal(403, where)


def _covers(rule: str, client: str) -> bool:
    if rule == "all":
        return True
    if rule == "unix:":
        return client == "unix:"
    try:
        return ipaddress.ip_address(client) in ipaddress.ip_network(rule, strict=False)
    except ValueError:
        return False


def _by_password(state: State) -> Iterator[AccessRefusal | None]:
    realm, where = first_argument(state.scope, "auth_basic", "off")
    if realm == "off" or as_text(state.variables.fill(realm, where)) == "off":
        return
    if not state.variables.value("http_authorization", where):
        state.note(
            StepKind.ACCESS,
            where,
            f"auth_basic {realm!r}: no Authorization header is sent",
            f"auth_basic {realm!r}：请求没有带 Authorization 头",
        )
        yield AccessRefusal(401, where)
        return
    state.note(
        StepKind.ASSUMED,
        where,
        f"auth_basic {realm!r}: the password is not checked here; taken to be right",
        f"auth_basic {realm!r}：这里不核对密码，按正确处理",
    )
    yield None


def note_rate_limits(state: State) -> None:
    """Note the limit_req and limit_conn in force. They may refuse the request, depending on the other requests."""
    for name, status in (("limit_req", "limit_req_status"), ("limit_conn", "limit_conn_status")):
        for directive in state.scope.effective(name):
            code = first_argument(state.scope, status, "503")[0]
            state.note(
                StepKind.ASSUMED,
                directive.where,
                f"{directive.written}: more than that is answered {code}; taken not to be reached",
                f"{directive.written}：超出的请求返回 {code}，按未超出处理",
            )


def is_internal(scope: Scope) -> bool:
    """Whether only internal redirects reach this block."""
    return bool(scope.effective("internal"))
