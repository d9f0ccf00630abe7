"""How the service's last start ended, by all logs that remain of it."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from ops.facts.base import Facts


class StartWords(Facts, frozen=True):
    """The last start's lines in one log, oldest first, control characters and secrets removed.

    ``source``: the file, or the command that shows them; ``time``: when the last of them was written."""

    source: str
    time: float
    lines: tuple[str, ...]


class ServiceManager(StrEnum):
    """The program that starts the service again if it ends."""

    SYSTEMD = "systemd"
    SUPERVISORD = "supervisord"


class SupervisorAccount(Facts, frozen=True):
    """A supervisor's record of the service's last run.

    ``unit``: the unit's or the program's name; ``result``: systemd's result (exit-code, signal, start-limit-hit, ...)
    or supervisord's state (FATAL, BACKOFF, spawnerr); ``status``: the exit code; ``signal``: the signal's number;
    ``words``: its line in a log, if any; ``source``: that log. ``program``, ``directory``, ``user``, ``group``,
    ``output``: the configured program, its working directory, user and group, and the file that receives its output.
    ``config``: the file of supervisord's that has its section; ``control``: the command that controls it."""

    manager: ServiceManager
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
    config: str | None = None
    control: str = "supervisorctl"


class ModulePlace(Facts, frozen=True):
    """A directory near the application in which ``import name`` would find a module."""

    name: str
    directory: str


class SourceLine(Facts, frozen=True):
    """A statement that runs when the application's module is imported. ``call``: what it calls."""

    path: str
    line: int
    call: str


class Default(StrEnum):
    """The result of reading a variable that is not set."""

    REQUIRED = "required"
    NONE = "none"
    EMPTY = "empty"
    VALUE = "value"


class Use(StrEnum):
    """What a statement does with a variable's value, as far as its failure depends on it.

    ``UNSET``: it runs if the variable is not set or empty (``if not X: raise``); ``VALUE``: it runs if the value does
    not meet a condition; ``NAME``: the value is the name of what is looked up (getattr, import_module)."""

    UNSET = "unset"
    VALUE = "value"
    NAME = "name"


class EnvironmentRead(Facts, frozen=True):
    """A place in the application's source that reads an environment variable.

    ``target``: the name that the value is assigned to; ``frame``: FILE:LINE of the traceback's statement that uses it,
    if any; ``default``: the value without the variable; ``use``: what that statement does with it."""

    name: str
    path: str
    line: int
    default: Default = Default.REQUIRED
    target: str | None = None
    frame: str | None = None
    use: Use | None = None


class EnvironmentFile(Facts, frozen=True):
    """A file beside the application that sets variables. ``names``: theirs, never the values."""

    path: str
    names: tuple[str, ...]


class Flaw(StrEnum):
    """What is wrong with the writing of a variable, to the program that reads the line.

    ``QUOTES``: they are part of the value; ``TYPED_QUOTES``: a word processor's; ``SPACE``: at an end of the value;
    ``CARRIAGE_RETURN``: at its end; ``BOM``: before the name; ``EXPORT``: before the name, where no shell reads it;
    ``DOLLAR``: a shell replaces it; ``REFERENCE``: ${NAME} or a command, which nothing replaces; ``COMMENT``: behind
    the value, and part of it; ``SPLIT``: the value ends at its first space; ``PERCENT``: systemd replaces it."""

    QUOTES = "quotes"
    TYPED_QUOTES = "typed_quotes"
    SPACE = "space"
    CARRIAGE_RETURN = "carriage_return"
    BOM = "bom"
    EXPORT = "export"
    DOLLAR = "dollar"
    REFERENCE = "reference"
    COMMENT = "comment"
    SPLIT = "split"
    PERCENT = "percent"


class BadAssignment(Facts, frozen=True):
    """A variable that is set where the service starts, and badly written there; never its value."""

    name: str
    path: str
    line: int
    flaw: Flaw


class ConfiguredAccount(Facts, frozen=True):
    """gunicorn's ``setting`` user or group, and the place that has it: FILE:LINE or an option."""

    setting: str
    name: str
    where: str


class Mention(Facts, frozen=True):
    """A file or a port that the statement at ``frame`` (FILE:LINE) names. ``is_near``: another statement of its module
    does."""

    frame: str
    file: str | None = None
    port: int | None = None
    is_near: bool = False


class PidfileHolder(Facts, frozen=True):
    """The process whose number a pidfile holds. ``state``: as ps names it."""

    pid: int
    name: str
    state: str


class DeclaredServer(Facts, frozen=True):
    """A server of Python applications other than gunicorn that a supervisor is to run for this service.

    ``server``: uvicorn, hypercorn, ...; ``name``: the unit's or the program's;
    ``file``: the file that declares it; ``command``: what it runs, without secrets; ``has_address``: whether the
    command has the address that nginx connects to."""

    server: str
    manager: ServiceManager
    name: str
    file: str
    command: tuple[str, ...]
    has_address: bool


class LastStart(Facts, frozen=True):
    """The service's last start, collected if the service does not answer.

    ``words``: the newest source first. ``supervisors``: the service's supervisors, as far as they are known.
    ``modules``: the directories of modules that an import did not find, and packages with the same name as a module
    that was not fully loaded. ``requirements``: normalised names of the packages in requirements files beside the
    application. ``versions``: of the packages that the lines mention. ``callables``: names bound in the application's
    module that look like an application or its factory. ``runs``, ``exits``: calls at import that start a server, and
    that end the process. ``holder``: the process in gunicorn's pidfile. ``interpreter``: the one that the lines show.
    ``wsgi``: MODULE:NAME in the start command or the settings. ``broken_scripts``: existing scripts by path, with the
    interpreter in their first line, which does not exist. ``reads``: of the environment, those first that the
    traceback's statements use, the innermost frame first; ``mentions``: files and ports in those statements;
    ``prefixes``: of the variables of a class of settings; ``environment_files``: beside the application;
    ``accounts``: gunicorn's settings ``user`` and ``group``; ``badly_written``: variables that are set, and how badly;
    ``migrations``: what the interpreter is given to make the database's tables; ``servers``: other servers than
    gunicorn that a supervisor runs at the service's address or in its directory; ``damaged``: files of modules that
    Python could not read, or directories of its compiled files; ``extensions``: by module that was not found, a file
    of it that was compiled for another Python; ``other_python``: the directory of the packages of the virtual
    environment's former Python, if it has none of its present one's."""

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
    reads: tuple[EnvironmentRead, ...] = ()
    mentions: tuple[Mention, ...] = ()
    prefixes: dict[str, str] = msgspec.field(default_factory=dict)
    environment_files: tuple[EnvironmentFile, ...] = ()
    migrations: str | None = None
    accounts: tuple[ConfiguredAccount, ...] = ()
    badly_written: tuple[BadAssignment, ...] = ()
    servers: tuple[DeclaredServer, ...] = ()
    damaged: tuple[str, ...] = ()
    extensions: dict[str, str] = msgspec.field(default_factory=dict)
    other_python: str | None = None
