"""gunicorn: its configuration file, its pidfile, its workers' progress records."""

from __future__ import annotations

from typing import Any

import msgspec

from ops.facts.base import Facts, NotSeen
from ops.facts.nginx import Pidfile


class ConfigValue(Facts, frozen=True):
    """One name assigned in gunicorn's configuration file. If ``known``, ``value`` can be written as JSON; an expression
    that cannot be evaluated without running it is not known. ``is_plain``: its line is NAME = NUMBER (or True, False),
    begins the file's line, and is the whole of it but for a comment."""

    line: int
    known: bool
    value: Any = None
    source: str = ""
    is_plain: bool = False


class GunicornConfig(Facts, frozen=True):
    """gunicorn's configuration file, read but not executed.

    ``assigned``: every top-level assignment, with its value if it is a setting that some check reads. ``other_names``:
    names bound by import, def or class. ``read_names``: names that expressions in the file use. ``missing``, ``error``:
    why nothing could be read."""

    path: str
    missing: bool = False
    error: str | None = None
    assigned: dict[str, ConfigValue] = msgspec.field(default_factory=dict)
    other_names: tuple[str, ...] = ()
    read_names: tuple[str, ...] = ()
    star_imports: tuple[str, ...] = ()


class InFlight(Facts, frozen=True):
    """A request that a worker has been processing since ``since``."""

    path: str
    since: float


class ProgressRecord(Facts, frozen=True):
    """One worker's progress record (contract: service.md, Progress records).

    ``beat``: when its event loop last ran; None if no event loop serves its requests."""

    pid: int
    start_ticks: int
    phase: str
    completed: int
    last_completed: float | None
    in_flight: tuple[InFlight, ...] = ()
    beat: float | None = None


class Gunicorn(Facts, frozen=True):
    """gunicorn's files: configuration, pidfile, the workers' progress records."""

    config: GunicornConfig | NotSeen
    pidfile: Pidfile | NotSeen
    progress: tuple[ProgressRecord, ...] | NotSeen
