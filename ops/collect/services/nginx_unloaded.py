"""Sites' files beside nginx's configuration that no include takes.

Source: nginx's packages (conf.d/*.conf; Debian's sites-available and sites-enabled)."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from ops.facts.nginx import UnloadedSite
from ops.files.bounded_read import read_regular_file
from ops.files.presence import is_file
from ops.text.sanitize import safe_line

MAX_SITES = 20
MAX_LISTED = 200
MAX_BYTES = 64 << 10
_USUAL = ("conf.d", "sites-enabled", "sites-available")
_NAMES = re.compile(rb"^[ \t]*server_name\s+([^;#{}]{1,1000});", re.MULTILINE)
# What editors, package managers and people leave beside a file: nobody means nginx to load it.
_LEFT_OVER = re.compile(
    r"(~|\.(bak|old|orig|save|swp|dpkg-\w+|rpm\w+|disabled|off|example|default|md|rst|txt|html))$|^\."
)
_COMMENT = re.compile(rb"#[^\n]*")
_SERVER = re.compile(rb"\bserver\s*\{")


def unloaded_sites(main: str, searched: Iterable[str], loaded: Collection[str]) -> tuple[UnloadedSite, ...]:
    """The files with a server_name in the directories that includes search, and in the usual ones beside the main
    file, that are not loaded themselves, nor as a link's target. ``searched``: the includes' directories."""
    directories = dict.fromkeys([*searched, *(str(Path(main).parent / name) for name in _USUAL)])
    real = {os.path.realpath(path) for path in loaded}
    found = (site for directory in directories for site in _sites_in(directory, real))
    return tuple(site for _, site in zip(range(MAX_SITES), found, strict=False))


def _sites_in(directory: str, loaded: Collection[str]) -> Iterator[UnloadedSite]:
    try:
        with os.scandir(directory) as entries:
            names = sorted(entry.name for _, entry in zip(range(MAX_LISTED), entries, strict=False))
    except OSError:
        return
    for name in names:
        path = os.path.join(directory, name)  # noqa: PTH118
        if _LEFT_OVER.search(name) or os.path.realpath(path) in loaded or not is_file(path):
            continue
        try:
            content = read_regular_file(path, MAX_BYTES).content
        except (OSError, ValueError):
            continue
        if server_names := _server_names(content):
            yield UnloadedSite(path=safe_line(path, 1000), names=server_names[:50])


def _server_names(content: bytes) -> tuple[str, ...]:
    """The names of the file's server blocks, which may each be on one line."""
    plain = _COMMENT.sub(b"", content)
    if not _SERVER.search(plain):
        return ()
    statements = plain.replace(b"{", b"{\n").replace(b";", b";\n")
    words = (
        word for match in _NAMES.findall(statements) for word in match.decode("utf-8", "replace").split()
    )
    return tuple(dict.fromkeys(safe_line(word, 255) for word in words))
