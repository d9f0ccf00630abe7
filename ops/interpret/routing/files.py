"""Map a URI to a path on disk (root, alias), and look up the kinds of files for try_files and index.

Sources: nginx documentation, ngx_http_core_module (root, alias, try_files), ngx_http_index_module.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from ops.facts.nginx import Directive
from ops.interpret.nginx import Location, Scope
from ops.interpret.routing.model import (
    FileKind,
    RouteSurroundings,
    UndeterminedError,
    as_bytes,
    as_text,
)
from ops.interpret.routing.values import Variables
from ops.text.language import Text


class Disk:
    """The kinds of the paths that were inspected. ``asked`` collects the requested paths whose kind is not known."""

    def __init__(self, around: RouteSurroundings) -> None:
        self._kinds: Mapping[str, FileKind] = around.files
        self._assumed = around.assumed_file
        self.asked: dict[str, None] = {}

    def kind(self, path: str, where: str) -> FileKind:
        """Return the kind of ``path`` (bytes). Raises UndeterminedError if it was not inspected and none is assumed."""
        name = as_text(path)
        file_kind = self._kinds.get(name) or self._kinds.get(name.rstrip("/"))
        if file_kind is not None:
            return FileKind.MISSING if name.endswith("/") and file_kind is FileKind.FILE else file_kind
        self.asked[name] = None
        if self._assumed is None:
            raise UndeterminedError(
                Text(en=f"whether {name} is there was not looked at", zh=f"没有查看 {name} 是否存在"), where
            )
        return self._assumed


def path_rule(scope: Scope) -> tuple[Directive | None, Scope]:
    """Return the `root` or `alias` in force, and the scope that begins at its block."""
    for number, block in enumerate(scope.blocks):
        own = [d for d in block.block or () if d.name in ("root", "alias") and d.args]
        if own:
            return own[-1], Scope(scope.blocks[number:])
    return None, scope


def document_root(scope: Scope, variables: Variables) -> str:
    """Return the absolute directory (bytes) of `root` or `alias`."""
    rule, _ = path_rule(scope)
    template = rule.args[0] if rule else "html"
    if rule is not None and rule.name == "root" and len(template) > 1:
        template = template.removesuffix("/")
    value = variables.fill(template, rule.where if rule else "")
    return value if value.startswith("/") else f"{variables.prefix}/{value}"


def alias_length(scope: Scope) -> int | None:
    """Return the length of the URI's part that an alias replaces: the location's prefix. None without alias; -1 if a
    regular expression defines the location, or if there is none: the alias is then the whole path."""
    rule, holder = path_rule(scope)
    if rule is None or rule.name != "alias":
        return None
    location = enclosing_location(holder)
    if location is None or location.modifier in ("~", "~*"):
        return -1
    return len(as_bytes(location.pattern))


def enclosing_location(scope: Scope) -> Location | None:
    """Return the innermost location around a scope, or the scope itself if it is one."""
    from ops.interpret.nginx import location_of

    for number, block in enumerate(scope.blocks):
        if block.name == "location":
            return location_of(scope.blocks[number:])
    return None


def file_path(scope: Scope, variables: Variables, uri: str) -> str:
    """Return the path (bytes) for ``uri`` (ngx_http_map_uri_to_path)."""
    root = document_root(scope, variables)
    length = alias_length(scope)
    if length is None:
        return root + uri
    if length < 0:
        return root + (uri if variables.adds_uri_to_alias else "")
    return root + uri[length:]


def parent(path: str) -> str:
    """Return the directory of a path (bytes)."""
    return str(PurePosixPath(path).parent)
