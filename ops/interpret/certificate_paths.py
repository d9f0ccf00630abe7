"""The files behind `ssl_certificate` and `ssl_certificate_key` that hold variables: by a map, or by the name that the
client asks for.

Sources: nginx documentation, ssl_certificate (variables since 1.15.9), ngx_http_map_module, ngx_http_ssl_module."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence

from ops.facts.nginx import Directive

# The key of a map's default value, and of a path without variables.
DEFAULT = "default"
# A certificate in a variable's own value, in a device or in a store is no file (ngx_ssl_certificate).
_NO_FILE = re.compile(r"^(?:data|engine|store):")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_NAME = "ssl_server_name"
_PARAMETERS = frozenset({"hostnames", "volatile", "include"})


def certificate_variants(maps: Sequence[Directive], names: Sequence[str], argument: str) -> Mapping[str, str]:
    """The paths that ``argument`` may stand for, by what selects each: a value of the map's source, a name of the
    server block, or `DEFAULT`. Empty if that cannot be told. ``maps``: the configuration's map blocks."""
    if _NO_FILE.match(argument):
        return {}
    variables = {first or second for first, second in _VARIABLE.findall(argument)}
    if not variables:
        return {DEFAULT: argument}
    if variables == {_NAME}:
        return {name: _VARIABLE.sub(name, argument) for name in names if _is_literal(name)}
    if len(variables) > 1:
        return {}
    values = dict(_values(maps, variables.pop()))
    before, _, after = argument.partition("$")
    rest = _VARIABLE.sub("", f"${after}", count=1)
    paths = {key: f"{before}{value}{rest}" for key, value in values.items()}
    return {key: path for key, path in paths.items() if path and not _NO_FILE.match(path) and "$" not in path}


def certificate_pairs(
    maps: Sequence[Directive], names: Sequence[str], certificate: str, key: str
) -> Iterator[tuple[str, str, str]]:
    """Each selecting value with its certificate and its key."""
    keys = certificate_variants(maps, names, key)
    for selector, path in certificate_variants(maps, names, certificate).items():
        its_key = keys.get(selector) or keys.get(DEFAULT)
        if its_key:
            yield selector, path, its_key


def map_blocks(directives: Sequence[Directive]) -> tuple[Directive, ...]:
    """The map blocks in ``directives`` and in their blocks."""
    blocks: list[Directive] = []
    for directive in directives:
        if directive.name == "map" and len(directive.args) == 2 and directive.block is not None:
            blocks.append(directive)
        elif directive.block is not None:
            blocks += map_blocks(directive.block)
    return tuple(blocks)


def absolute(configuration: str, path: str) -> str:
    """``path`` as nginx reads it: relative to the directory of the configuration's main file."""
    return posixpath.join(posixpath.dirname(configuration), path)


def _values(maps: Sequence[Directive], variable: str) -> Iterator[tuple[str, str]]:
    for block in maps:
        if block.args[1].lstrip("$") == variable:
            for item in block.block or ():
                if item.name not in _PARAMETERS and len(item.args) == 1:
                    yield item.name, item.args[0]


def _is_literal(name: str) -> bool:
    return bool(name) and not set(name) & set("*$~_")
