"""The rewrite module: set, if, rewrite, return and break of one block, in the order of the configuration.

Source: nginx documentation, ngx_http_rewrite_module; ngx_http_script.c.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from ops.facts.nginx import Directive
from ops.facts.probes import REDIRECTS
from ops.interpret.nginx import Scope
from ops.interpret.routing.model import FileKind, StepKind, UndeterminedError, as_bytes, as_text
from ops.interpret.routing.state import State
from ops.interpret.routing.uri import ESCAPED_IN_ARGUMENTS, unescape_redirect
from ops.text.language import Text

_OWN = ("set", "if", "rewrite", "return", "break")
_BY_CODE = ("rewrite_by_lua", "rewrite_by_lua_block", "rewrite_by_lua_file")


class Ending(StrEnum):
    """How a run through a block's directives ends."""

    THROUGH = "through"
    EXIT = "exit"


class Answered(msgspec.Struct, frozen=True):
    """The answer of `return` or a redirecting `rewrite`. ``has_text``: it has its own text (``body``; None: known only
    to the running nginx), without nginx's own page and error_page."""

    status: int
    where: str
    location: str | None = None
    body: str | None = None
    has_text: bool = False


Result = Ending | Answered


class Script:
    """One run through a block's directives. Until a `rewrite` matches, captures are escaped for arguments."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._quotes = True

    def run(self, block: Directive, scope: Scope) -> Result:
        """Run the directives of ``block``; an `if` in it adds its own block to ``scope``."""
        for directive in block.block or ():
            if directive.name in _OWN:
                result = getattr(self, f"_{directive.name}")(directive, scope)
                if result is not Ending.THROUGH:
                    return result  # type: ignore[no-any-return]
            elif directive.name in _BY_CODE:
                raise UndeterminedError(
                    Text(en=f"{directive.name}: code decides", zh=f"{directive.name}：由代码决定"),
                    directive.where,
                )
        return Ending.THROUGH

    def _fill(self, template: str, where: str, *, quotes: bool) -> str:
        state = self.state
        escapes = quotes and (state.has_escapes or state.has_plus)
        return state.variables.fill(template, where, quote=ESCAPED_IN_ARGUMENTS if escapes else None)

    def _set(self, directive: Directive, _scope: Scope) -> Result:
        name, where = directive.args[0].removeprefix("$"), directive.where
        try:
            value = self._fill(directive.args[1], where, quotes=self._quotes)
        except UndeterminedError as error:
            if name == "args":
                raise
            # The unknown value ends the route only if a later directive uses it.
            self.state.variables.unknown[name] = error
            self.state.quote(StepKind.SET, directive)
            return Ending.THROUGH
        self.state.variables.assign(name, value)
        if name == "args":
            self.state.is_unparsed_valid = False
        self.state.note(StepKind.SET, where, f"${name} = {as_text(value)!r}", f"${name} = {as_text(value)!r}")
        return Ending.THROUGH

    def _break(self, directive: Directive, _scope: Scope) -> Result:
        if self.state.uri_changed:
            self.state.has_location = False
            self.state.uri_changed = False
        self.state.quote(StepKind.REWRITE, directive)
        return Ending.EXIT

    def _if(self, directive: Directive, scope: Scope) -> Result:
        if not self._holds(directive):
            return Ending.THROUGH
        self.state.note(
            StepKind.IF, directive.where, f"{directive.written}: true", f"{directive.written}：成立"
        )
        if scope.blocks[0].name != "server":
            inner = Scope((directive, *scope.blocks))
            self.state.enter(inner)
        return self.run(directive, scope)

    def _holds(self, directive: Directive) -> bool:
        variables, where, args = self.state.variables, directive.where, directive.args
        if args[0].lstrip("!") in ("-f", "-d", "-e", "-x") and len(args) == 2:
            path = self._fill(args[1], where, quotes=self._quotes)
            return self._is_file(args[0].lstrip("!"), path, where) != args[0].startswith("!")
        value = variables.value(args[0].removeprefix("$").strip("{}"), where)
        if len(args) == 1:
            return value not in ("", "0")
        operator = args[1]
        if operator in ("=", "!=") and len(args) == 3:
            return (value == self._fill(args[2], where, quotes=self._quotes)) == (operator == "=")
        if operator.lstrip("!") in ("~", "~*") and len(args) == 3:
            match = variables.search(args[2], value, ignore_case=operator.endswith("*"), where=where)
            return (match is not None) != operator.startswith("!")
        raise UndeterminedError(
            Text(
                en=f"the condition cannot be read: {directive.written}",
                zh=f"读不懂条件：{directive.written}",
            ),
            where,
        )

    def _is_file(self, operator: str, path: str, where: str) -> bool:
        kind = self.state.disk.kind(path, where)
        return {
            "-f": kind is FileKind.FILE,
            "-d": kind is FileKind.DIRECTORY,
            "-e": kind is not FileKind.MISSING,
            "-x": kind is FileKind.DIRECTORY,
        }[operator]

    def _return(self, directive: Directive, _scope: Scope) -> Result:
        where, args = directive.where, directive.args
        self.state.quote(StepKind.RETURN, directive)
        if not args[0].isdecimal():
            return Answered(302, where, location=self.state.variables.fill(args[0], where))
        status = int(args[0])
        if status in REDIRECTS:
            text = args[1] if len(args) > 1 else ""
            return Answered(status, where, location=self.state.variables.fill(text, where))
        # Without a text, nginx answers 400 and above with the error_page for it or with its own page.
        if status >= 400 and len(args) == 1:
            return Answered(status, where)
        self.state.variables.status = self.state.error_status or status
        try:
            body = self.state.variables.fill(args[1], where) if len(args) > 1 else ""
        except UndeterminedError:
            body = None
        return Answered(status, where, body=body, has_text=True)

    def _rewrite(self, directive: Directive, _scope: Scope) -> Result:
        state, variables, where = self.state, self.state.variables, directive.where
        pattern, replacement, *flags = directive.args
        if variables.search(pattern, variables.uri, ignore_case=False, where=where) is None:
            return Ending.THROUGH
        flag = flags[0] if flags else ""
        adds_arguments = not replacement.endswith("?")
        replacement = replacement.removesuffix("?")
        is_redirect = flag in ("redirect", "permanent") or replacement.startswith(
            ("http://", "https://", "$scheme")
        )
        state.is_internal = True
        state.is_unparsed_valid = False
        state.has_location = state.has_location and flag != "break"
        state.uri_changed = flag != "break"
        self._quotes = False
        if is_redirect:
            return self._redirected(directive, replacement, flag, adds_arguments=adds_arguments)
        self._replace(replacement, where, adds_arguments=adds_arguments)
        if not variables.uri:
            return Answered(500, where)
        new_uri = as_text(variables.uri + (f"?{variables.arguments}" if variables.arguments else ""))
        state.note(
            StepKind.REWRITE,
            where,
            f"{directive.written}: now {new_uri}",
            f"{directive.written}：变为 {new_uri}",
        )
        return Ending.EXIT if flag in ("last", "break") else Ending.THROUGH

    def _replace(self, replacement: str, where: str, *, adds_arguments: bool) -> None:
        variables = self.state.variables
        path, question, arguments = replacement.partition("?")
        uri = self._fill(path, where, quotes=False)
        if question:
            words = self._fill(arguments, where, quotes=True)
            if adds_arguments and variables.arguments:
                words = f"{words}&{variables.arguments}"
            variables.arguments = words
        elif not adds_arguments:
            variables.arguments = ""
        variables.uri = uri

    def _redirected(
        self, directive: Directive, replacement: str, flag: str, *, adds_arguments: bool
    ) -> Result:
        variables, where = self.state.variables, directive.where
        location = unescape_redirect(self._fill(replacement, where, quotes=True))
        if adds_arguments and variables.arguments:
            location += ("&" if "?" in as_bytes(replacement) else "?") + variables.arguments
        self.state.quote(StepKind.REWRITE, directive)
        return Answered(301 if flag == "permanent" else 302, where, location=location)
