"""The state of one request in nginx."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ops.facts.nginx import Directive
from ops.interpret.nginx import Scope, Server
from ops.interpret.routing.files import Disk
from ops.interpret.routing.location import HANDLERS
from ops.interpret.routing.model import (
    Decision,
    Passed,
    RoutedRequest,
    RouteOutcome,
    RouteStep,
    RouteSurroundings,
    StepKind,
)
from ops.interpret.routing.values import Variables
from ops.text.language import Text, verbatim

# NGX_HTTP_MAX_URI_CHANGES + 1: the limit on rewrites and internal redirects of one request.
MAX_URI_CHANGES = 11


@dataclass
class State:
    """One request's state. ``scope``: the block whose directives are in force; ``handler``: the directive that answers
    there; ``error_status``: the status that replaces the answer's own (0: none); ``is_error_page``: whether an
    error_page was used, after which nginx uses no other."""

    request: RoutedRequest
    around: RouteSurroundings
    http: Directive
    version: tuple[int, ...]
    variables: Variables
    disk: Disk
    server: Server
    scope: Scope
    steps: list[RouteStep] = field(default_factory=list)
    handler: Directive | None = None
    is_unparsed_valid: bool = True
    has_location: bool = True
    is_internal: bool = False
    has_escapes: bool = False
    has_plus: bool = False
    uri_changed: bool = False
    uri_changes: int = MAX_URI_CHANGES
    error_status: int = 0
    is_error_page: bool = False
    body_length: int | None = None
    location: str | None = None
    requested_host: str = ""
    passed: Passed | None = None
    rivals: tuple[str, ...] = ()
    decision: Decision | None = None

    def decide(self, kind: StepKind, where: str, status: int | None) -> None:
        """Record the decision about the answer, if it is the first."""
        self.decision = self.decision or Decision(kind, where, status)

    def note(self, kind: StepKind, where: str, en: str, zh: str) -> None:
        """Add a step."""
        self.steps.append(RouteStep(kind, where, Text(en=en, zh=zh)))

    def quote(self, kind: StepKind, directive: Directive) -> None:
        """Add a step in the directive's own words."""
        self.steps.append(RouteStep(kind, directive.where, verbatim(directive.written)))

    def enter(self, scope: Scope) -> None:
        """Apply the directives of ``scope`` (ngx_http_update_location_config)."""
        own = own_handler(scope)
        limited = scope.first_own("limit_except")
        if limited is not None and not _allows(limited, self.variables.method):
            scope = Scope((limited, *scope.blocks))
            own = own_handler(scope) or own
            self.note(
                StepKind.ACCESS,
                limited.where,
                f"{self.variables.method} is not among limit_except {' '.join(limited.args)}: its block applies",
                f"{self.variables.method} 不在 limit_except {' '.join(limited.args)} 之中：其中的指令生效",
            )
        self.scope = self.variables.scope = scope
        self.handler = own or self.handler


Next = RouteOutcome | Callable[[], "Next"]


def handler_in_force(scope: Scope) -> Directive | None:
    """Return the directive that sends requests on in ``scope``: its own; in `if` and limit_except also the parent's."""
    if scope.blocks[0].name in ("if", "limit_except"):
        return own_handler(scope) or own_handler(Scope(scope.blocks[1:]))
    return own_handler(scope)


def own_handler(scope: Scope) -> Directive | None:
    """Return the last directive of the block itself that sends requests on."""
    own = [d for d in scope.blocks[0].block or () if d.name in HANDLERS and d.args]
    return own[-1] if own else None


def _allows(limited: Directive, method: str) -> bool:
    methods = {argument.upper() for argument in limited.args}
    return method in methods or (method == "HEAD" and "GET" in methods)


def effective_any(scope: Scope, names: Iterable[str]) -> tuple[Directive, ...]:
    """Return the directives with any of ``names``, in order, from the innermost level that has one."""
    wanted_names = frozenset(names)
    for block in scope.blocks:
        if directives := tuple(d for d in block.block or () if d.name in wanted_names):
            return directives
    return ()
