"""Redact changed lines: keep those that a snapshot contains elsewhere too, and of others only that they changed."""

from __future__ import annotations

import re

import msgspec

from ops.facts.changes import Change, ChangedLines, Changes, PlaceKind
from ops.interpret.redaction_nginx import JUDGED_DIRECTIVES
from ops.text.sanitize import HIDDEN

# Keys of a unit with programs, users and limits as values (systemd.exec(5), systemd.service(5)).
_UNIT_KEYS = frozenset(
    {"User", "Group", "WorkingDirectory", "Restart", "Type", "PIDFile", "LimitNOFILE", "MemoryMax", "MemoryHigh",
     "CPUQuota", "PrivateTmp", "EnvironmentFile", "After", "Wants", "Requires", "TimeoutStartSec", "TimeoutStopSec"}
)  # fmt: skip
# gunicorn's settings with an address, a number, a path or a name as value.
_GUNICORN_KEYS = frozenset(
    {"bind", "workers", "threads", "worker_class", "timeout", "graceful_timeout", "keepalive", "preload_app", "pidfile",
     "max_requests", "max_requests_jitter", "worker_connections", "backlog", "umask", "user", "group", "errorlog",
     "accesslog", "loglevel", "reload", "chdir", "limit_request_line", "limit_request_fields",
     "limit_request_field_size"}
)  # fmt: skip
# Of a command by sudo its program alone: arguments may be passwords.
_SUDO = re.compile(r"\A(sudo: \S+ [\d:]+ \S+).*", re.DOTALL)
_LEADING = re.compile(r"\s*(?:export\s+)?[\w.-]*\s*[=:]?")


def redacted_changes(changes: Changes) -> Changes:
    """Return ``changes`` with the text hidden of all lines that are not read elsewhere."""
    return msgspec.structs.replace(changes, changes=tuple(map(_redacted, changes.changes)))


def _redacted(change: Change) -> Change:
    lines = tuple(_hunk(hunk, change.place) for hunk in change.lines)
    return msgspec.structs.replace(change, lines=lines, by=_SUDO.sub(r"\1", change.by))


def _hunk(hunk: ChangedLines, place: PlaceKind) -> ChangedLines:
    if hunk.names and _open_names(place).issuperset(hunk.names):
        return hunk
    return msgspec.structs.replace(
        hunk,
        before=tuple(_hidden(line, place) for line in hunk.before),
        after=tuple(_hidden(line, place) for line in hunk.after),
    )


def _open_names(place: PlaceKind) -> frozenset[str]:
    match place:
        case PlaceKind.NGINX:
            return JUDGED_DIRECTIVES
        case PlaceKind.GUNICORN:
            return _GUNICORN_KEYS
        case PlaceKind.UNIT:
            return _UNIT_KEYS
    return frozenset()


def _hidden(line: str, place: PlaceKind) -> str:
    """Keep the name at the beginning of a line if the format has one; hide lines of other formats completely."""
    if not line.strip():
        return line
    if place in (
        PlaceKind.NGINX,
        PlaceKind.GUNICORN,
        PlaceKind.UNIT,
        PlaceKind.ENVIRONMENT_FILE,
        PlaceKind.SETTINGS,
    ):
        lead = _LEADING.match(line)
        return f"{lead[0].rstrip() if lead else ''} {HIDDEN}"
    return HIDDEN
