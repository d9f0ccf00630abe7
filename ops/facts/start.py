"""How the service's last start ended, by every word that is left of it."""

from __future__ import annotations

import msgspec

from ops.facts.base import Facts


class StartWords(Facts, frozen=True):
    """The last start's words in one place, oldest first, control characters and secrets removed.

    ``source``: the file, or the command that shows them; ``time``: when the last of them was written."""

    source: str
    time: float
    lines: tuple[str, ...]


class SupervisorAccount(Facts, frozen=True):
    """What a supervisor says of the service's last run.

    ``manager``: systemd or supervisord; ``unit``: the unit's or the program's name; ``result``: systemd's word for it
    (exit-code, signal, start-limit-hit, ...) or supervisord's (FATAL, BACKOFF, spawnerr); ``status``: the exit code;
    ``signal``: the signal's number; ``words``: its line in a log, where it has one; ``source``: where that stands.
    ``program``, ``directory``, ``user``, ``group``, ``output``: what it is told to run, in which directory, as whom,
    and the file that takes what it prints."""

    manager: str
    unit: str
    source: str
    result: str
    status: int | None = None
    signal: int | None = None
    restarts: int | None = None
    time: float | None = None
    words: str = ""
    program: str | None = None
    directory: str | None = None
    user: str | None = None
    group: str | None = None
    output: str | None = None


class ModulePlace(Facts, frozen=True):
    """A directory near the application in which ``import name`` would find a module."""

    name: str
    directory: str


class SourceLine(Facts, frozen=True):
    """A statement that runs when the application's module is imported. ``call``: what it calls."""

    path: str
    line: int
    call: str


class PidfileHolder(Facts, frozen=True):
    """The process whose number a pidfile holds. ``state``: as ps names it."""

    pid: int
    name: str
    state: str


class LastStart(Facts, frozen=True):
    """The service's last start, gathered where the service does not answer.

    ``words``: the newest source first. ``supervisors``: who keeps the service, as far as it is known. ``modules``:
    where those modules lie that an import did not find, and packages with the name of one that was not yet loaded.
    ``requirements``: normal names of the packages that files beside the application list. ``versions``: of the packages
    that the words name. ``callables``: names that the application's module binds and that look like an application or
    its factory. ``runs``, ``exits``: calls at import that start a server, that end the process. ``holder``: the process
    that gunicorn's pidfile names. ``interpreter``: the one that the words show. ``wsgi``: MODULE:NAME as the start
    command or settings have it. ``broken_scripts``: scripts that are there, by path, with the interpreter of their
    first line, which is not."""

    words: tuple[StartWords, ...] = ()
    supervisors: tuple[SupervisorAccount, ...] = ()
    modules: tuple[ModulePlace, ...] = ()
    requirements: tuple[str, ...] = ()
    versions: dict[str, str] = msgspec.field(default_factory=dict)
    callables: tuple[str, ...] = ()
    runs: tuple[SourceLine, ...] = ()
    exits: tuple[SourceLine, ...] = ()
    holder: PidfileHolder | None = None
    interpreter: str | None = None
    wsgi: str = "?"
    broken_scripts: dict[str, str] = msgspec.field(default_factory=dict)
