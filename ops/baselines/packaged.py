"""Which package a changed file belongs to, and whether it is now as the package ships it: what `dpkg --verify` and
`rpm -V` say of one file.

A package never tells who ran its manager. A file that is as shipped was written by that, or put back by somebody: a
log may name him (ops/baselines/authors.py)."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from ops.baselines.rpm import SECONDS, database_files
from ops.baselines.values import DPKG_STATUS, MAX_DPKG_BYTES
from ops.facts.changes import Change, ChangeKind, PlaceKind
from ops.files.bounded_read import read_regular_file
from ops.files.programs import trusted_program
from ops.text.sanitize import safe_line

# Places of files that packages ship and people edit.
_PLACES = frozenset(
    {PlaceKind.NGINX, PlaceKind.UNIT, PlaceKind.LOGROTATE, PlaceKind.CRON, PlaceKind.HOST, PlaceKind.RENEWAL}
)
MAX_FILE_BYTES = 8 << 20
# Files that rpm is asked about: one process.
MAX_FILES = 20
# rpm(8), VERIFY OPTIONS: the third of nine marks is `5` where the digest differs; `missing` where there is no file.
_VERIFIED = re.compile(r"(?:(?P<marks>[SM5DLUGTP.?]{8,9})|missing)\s+(?:[cdglr]\s+)?(?P<path>/.*)")


class Packaged(NamedTuple):
    """``manager``: dpkg or rpm; ``package``: the one that the file belongs to; ``is_as_shipped``: whether its content
    is the package's."""

    manager: str
    package: str
    is_as_shipped: bool


def with_packages(changes: Iterable[Change]) -> Iterator[Change]:
    """Yield ``changes``; of those without an author, the package whose content the file has."""
    all_changes = list(changes)
    paths = [change.what for change in all_changes if _is_asked(change)]
    packaged = (dpkg_files(paths) | rpm_files(paths)) if paths else {}
    for change in all_changes:
        known = packaged.get(change.what) if _is_asked(change) else None
        yield (
            msgspec.structs.replace(change, by=f"{known.manager}: {known.package}")
            if known is not None and known.is_as_shipped
            else change
        )


def _is_asked(change: Change) -> bool:
    return (
        change.place in _PLACES
        and not change.by
        and change.kind in (ChangeKind.CONTENT, ChangeKind.ADDED)
        and change.what.startswith("/")
    )


def dpkg_files(paths: Iterable[str], status: str = DPKG_STATUS) -> dict[str, Packaged]:
    """Those of ``paths`` that dpkg knows as a package's configuration files (deb-conffiles(5)), by path."""
    try:
        content = read_regular_file(status, MAX_DPKG_BYTES).content
    except (OSError, ValueError):
        return {}
    return {path: known for path in paths if (known := _of_dpkg(content, path)) is not None}


def _of_dpkg(status: bytes, path: str) -> Packaged | None:
    place = re.search(rb"^ %s ([0-9a-f]{32})(?: obsolete)?$" % re.escape(path.encode()), status, re.MULTILINE)
    if place is None:
        return None
    name = re.findall(rb"^Package: ([a-z0-9][a-z0-9+.-]*)$", status[: place.start()], re.MULTILINE)
    digest = _md5(path)
    if not name or digest is None:
        return None
    return Packaged("dpkg", name[-1].decode(), digest == place[1].decode())


def _md5(path: str) -> str | None:
    try:
        content = read_regular_file(path, MAX_FILE_BYTES)
    except (OSError, ValueError):
        return None
    # dpkg's own digest of what it shipped: nothing is trusted for it.
    return hashlib.md5(content.content, usedforsecurity=False).hexdigest() if content.is_whole else None


def rpm_files(paths: Iterable[str]) -> dict[str, Packaged]:
    """Those of ``paths`` that belong to a package of rpm's, by path; none without its database."""
    files = database_files()
    program = trusted_program("rpm") if files else None
    if program is None:
        return {}
    directory = files[0].rpartition("/")[0]
    known = {}
    for path in list(paths)[:MAX_FILES]:
        package = _asked(program, directory, "-qf", "--queryformat", "%{NAME}", path)
        if package is not None and re.fullmatch(r"[\w.+-]{1,200}", package):
            verified = _asked(program, directory, "-V", "--nodeps", "--noscripts", "-f", path, any_exit=True)
            known[path] = Packaged(
                "rpm", safe_line(package, 200), path not in differing_files(verified or "")
            )
    return known


def differing_files(printed: str) -> frozenset[str]:
    """The files whose content `rpm -V` finds changed or missing."""
    matches = filter(None, map(_VERIFIED.fullmatch, printed.splitlines()))
    return frozenset(match["path"] for match in matches if match["marks"] is None or match["marks"][2] == "5")


def _asked(program: str, directory: str, *words: str, any_exit: bool = False) -> str | None:
    try:
        ran = subprocess.run(
            [program, "--dbpath", directory, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return ran.stdout.decode("utf-8", "replace") if any_exit or ran.returncode == 0 else None
