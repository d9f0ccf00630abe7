"""What a unit's sandbox forbids its program to write (systemd.exec(5), Sandboxing)."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from ops.facts.units import UnitSandbox, UnwritablePlace

# ProtectSystem=: each level with what the one before has.
_SYSTEM = {"yes": ("/usr", "/boot", "/efi"), "full": ("/usr", "/boot", "/efi", "/etc"), "strict": ("/",)}
# What ProtectSystem=strict leaves alone.
_KERNEL_S = ("/dev", "/proc", "/sys")
_HOMES = ("/home", "/root", "/run/user")
_HIDDEN, _READ_ONLY, _WRITABLE = 0, 1, 2
# Directories that programs of every kind have their files in (hier(7)).
_EVERYBODY_S = re.compile(
    r"/(?:bin|boot|dev(?:/shm)?|efi|etc(?:/systemd(?:/system)?)?|home(?:/[^/]+)?|lib\w*|media|mnt|opt|proc"
    r"|root|run(?:/lock|/user)?|sbin|srv|sys|tmp|usr(?:/(?:local/)?(?:bin|etc|lib\w*|sbin|share))?|usr/local"
    r"|var(?:/(?:backups|cache|lib|lock|log|mail|opt|run|spool|tmp|www))?)?"
)
# What systemd and a shell both read as one word, without an escape.
_PLAIN = re.compile(r"/[\w/.@:+,~-]*")


def denied_by(sandbox: UnitSandbox, path: str) -> str | None:
    """The setting because of which the unit's program may not write ``path`` (without links); None if it may.

    The deepest rule counts, of two for one path the stricter; nothing below a hidden directory is seen."""
    place = PurePosixPath(path)
    rules = [rule for rule in _rules(sandbox) if place.is_relative_to(rule[0])]
    hidden = [setting for _, kind, setting in rules if kind == _HIDDEN]
    if hidden:
        return hidden[0]
    rules.sort(key=lambda rule: (-len(PurePosixPath(rule[0]).parts), rule[1]))
    return rules[0][2] if rules and rules[0][1] == _READ_ONLY else None


def _rules(sandbox: UnitSandbox) -> Iterator[tuple[str, int, str]]:
    """Directory, what may be done below it, and the setting."""
    for directory in _SYSTEM.get(sandbox.system, ()):
        yield directory, _READ_ONLY, f"ProtectSystem={sandbox.system}"
    if sandbox.system == "strict":
        for directory in _KERNEL_S:
            yield directory, _WRITABLE, ""
    kind = _READ_ONLY if sandbox.home == "read-only" else _HIDDEN
    for directory in _HOMES if sandbox.home in ("yes", "read-only") else ():
        yield directory, kind, f"ProtectHome={sandbox.home}"
    for directory in sandbox.inaccessible:
        yield directory, _HIDDEN, f"InaccessiblePaths={directory}"
    for directory in sandbox.read_only:
        yield directory, _READ_ONLY, f"ReadOnlyPaths={directory}"
    for directory in sandbox.writable:
        yield directory, _WRITABLE, ""


def directory_to_open(place: UnwritablePlace) -> str | None:
    """The directory that the unit is to be let write for ``place``; None if others have their files there too, or if
    its name needs escapes."""
    directory = place.path if place.is_directory else str(PurePosixPath(place.path).parent)
    return directory if _PLAIN.fullmatch(directory) and not is_everybody_s(directory) else None


def is_everybody_s(directory: str) -> bool:
    """Whether programs of every kind have their files right in ``directory``."""
    return _EVERYBODY_S.fullmatch("/" + posixpath.normpath(directory).lstrip("/")) is not None
