"""Ask systemd for the units of the service and its safeguards: one call of systemctl for all of them."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shlex
import stat
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from ops.facts.base import NotSeen
from ops.facts.files import AccessStep, Reader
from ops.facts.units import Unit, UnitEnvironmentFile, UnitObstacle, Units, UnitSandbox, UnwritablePlace
from ops.files.bounded_read import read_regular_file
from ops.files.programs import refused_program, trusted_program
from ops.interpret.access import SEARCH, WRITE, may
from ops.text.sanitize import safe_line

# sd_booted(3): this directory exists exactly where systemd is the init.
SYSTEMD_RUNS = Path("/run/systemd/system")
SECONDS = 1.5
# Where the run has longer, systemd has too: this part of what is left. An emulated or busy host needs it.
SHARE = 0.25
MAX_OUTPUT_BYTES = 512 << 10
MAX_FILE_BYTES = 64 << 10
# execve(2): the kernel reads this much of an interpreter's line (BINPRM_BUF_SIZE).
_FIRST_LINE_BYTES = 256
MAX_WORDS = 12
MAX_LISTED = 2000
# How far back the journal of a unit in trouble is read, seconds.
WORDS_SINCE = 86400.0
WATCHDOG = "gte-ops-watchdog.service"
NGINX = "nginx.service"
# The safeguards' units, as deploy/systemd and the distributions name them (certbot's also as its snap does).
TIMERS = (
    "gte-ops-backup.timer",
    "gte-ops-drill.timer",
    "gte-ops-cert.timer",
    "certbot.timer",
    "certbot-renew.timer",
    "snap.certbot.renew.timer",
    "logrotate.timer",
)
# The variables whose values say where the service's files are; of all others only the names are kept.
PLACE_VARIABLES = frozenset(
    {
        "GTE_BIND", "GTE_PIDFILE", "GTE_PROGRESS_DIR", "GTE_METRICS_DIR", "GTE_ACCESS_LOG", "GTE_ERROR_LOG",
        "GTE_CONTROL_SOCKET",
    }
)  # fmt: skip
_LOG_VARIABLES = ("GTE_ERROR_LOG", "GTE_ACCESS_LOG")
# Without these the service does not start: gunicorn, or its workers.
_NEEDED_VARIABLES = (*_LOG_VARIABLES, "GTE_PIDFILE", "GTE_METRICS_DIR")
_RECORD_VARIABLES = ("GTE_PROGRESS_DIR",)
_OF_A_FILE = (*_LOG_VARIABLES, "GTE_PIDFILE")
_PATH_CONDITIONS = frozenset(
    f"{family}{test}"
    for family in ("Condition", "Assert")
    for test in (
        "PathExists", "PathExistsGlob", "PathIsDirectory", "PathIsSymbolicLink", "PathIsMountPoint",
        "DirectoryNotEmpty", "FileNotEmpty", "FileIsExecutable",
    )
)  # fmt: skip
# How many of a unit's conditions systemd is asked about.
_MAX_CONDITIONS = 4
_PROPERTIES = (
    "Id", "Names", "LoadState", "LoadError", "ActiveState", "SubState", "Result", "ExecMainCode", "ExecMainStatus",
    "UnitFileState", "NeedDaemonReload", "FragmentPath", "DropInPaths", "StateChangeTimestamp", "Type", "Restart",
    "NRestarts", "MainPID", "ExecStart", "WorkingDirectory", "User", "Group", "DynamicUser", "Environment",
    "EnvironmentFiles", "PrivateTmp", "RootDirectory", "MemoryMax", "MemoryLimit", "LimitNOFILE", "Triggers",
    "TriggeredBy", "LogsDirectory", "StateDirectory", "CacheDirectory", "RuntimeDirectory", "ProtectSystem",
    "ProtectHome", "ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths", "BindPaths", "BindReadOnlyPaths",
    "PrivateNetwork", "RootImage", "ConditionResult", "ConditionTimestamp", "AssertResult", "AssertTimestamp",
    "Requires", "Requisite", "BindsTo", "Job",
)  # fmt: skip
# Where systemd itself makes the unit's directories, for its user (systemd.exec(5)).
_MADE_BY_SYSTEMD = {
    "LogsDirectory": "/var/log",
    "StateDirectory": "/var/lib",
    "CacheDirectory": "/var/cache",
    "RuntimeDirectory": "/run",
}
# What tells whether a unit runs, and whether it failed.
STATE_PROPERTIES = ("LoadState", "ActiveState", "SubState", "Result")
_UNIT_NAME = re.compile(r"[\w@:.\\][\w@:.\\-]{0,199}")
_NO_LIMIT = ("", "infinity", "18446744073709551615", "9223372036854771712")


def show_units(names: Sequence[str], properties: Sequence[str], seconds: float) -> str | NotSeen:
    """The output of `systemctl show` for units; timestamps in Unix seconds where systemd can (from version 247 on).

    NotSeen if systemctl cannot be run, or does not answer within ``seconds``."""
    program = trusted_program("systemctl")
    if program is None:
        if (refusal := refused_program("systemctl")) is not None:
            return NotSeen(reason=refusal, is_refused=True)
        return NotSeen(reason="systemctl is not installed")
    unit_names = [name for name in names if _UNIT_NAME.fullmatch(name)]
    if not unit_names or seconds <= 0:
        return NotSeen(reason="systemd was not asked")
    command = [program, "show", "--timestamp=unix", f"--property={','.join(properties)}", "--", *unit_names]
    try:
        result = _run(command, seconds)
        if result.returncode != 0:
            result = _run([word for word in command if not word.startswith("--timestamp")], seconds)
    except (OSError, subprocess.TimeoutExpired):
        return NotSeen(reason="systemd did not answer in time")
    if result.returncode != 0:
        words = result.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
        return NotSeen(reason=safe_line(f"systemctl show: {words or result.returncode}", 300))
    return result.stdout[:MAX_OUTPUT_BYTES].decode("utf-8", "replace")


def _run(command: list[str], seconds: float) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command, capture_output=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL
    )


def units(
    service: str,
    masters: tuple[str | None, str | None],
    places: Sequence[str],
    deadline: float,
    written: Mapping[str, Sequence[str]] | None = None,
) -> Units | NotSeen:
    """The units of the service, nginx and the safeguards.

    ``service``: the service's unit as configured; ``masters``: the units that gunicorn's and nginx's masters run in, as
    the kernel has them; ``places``: the directories of unit files; ``deadline``: time.monotonic; ``written``: where a
    unit's program writes, by the unit's name."""
    if not SYSTEMD_RUNS.is_dir():
        return Units(units=())
    running, nginx = masters
    own = running or service
    front = nginx or NGINX
    services = [timer.removesuffix(".timer") + ".service" for timer in TIMERS]
    socket = own.removesuffix(".service").partition("@")[0] + ".socket"
    names = dict.fromkeys(
        name for name in (own, service, socket, front, WATCHDOG, *TIMERS, *services) if name
    )
    left = deadline - time.monotonic()
    printed = show_units(tuple(names), _PROPERTIES, min(left, max(SECONDS, SHARE * left)))
    if isinstance(printed, NotSeen):
        return printed
    all_units = tuple(
        _with_obstacles(unit, deadline) if unit.name in (own, front) else unit
        for unit in parse_units(printed, tuple(names))
    )
    # Of the units that a distribution does not have there is nothing to say.
    relevant_units = tuple(
        unit for unit in all_units if unit.load != "not-found" or unit.name in (own, service, front)
    )
    return Units(
        units=tuple(
            _completed(unit, places, deadline, (written or {}).get(unit.name, ())) for unit in relevant_units
        ),
        service=own,
        nginx=front,
        watchdog=WATCHDOG,
    )


def parse_units(printed: str, names: Sequence[str]) -> Iterator[Unit]:
    """Parse the output of `systemctl show` for several units: one block each, in the order asked for."""
    blocks = [block for block in re.split(r"\n[ \t]*\n", printed.strip("\n")) if block.strip()]
    for name, block in zip(names, blocks, strict=False):
        values: dict[str, list[str]] = {}
        for line in block.splitlines():
            key, equals, value = line.partition("=")
            if equals:
                values.setdefault(key, []).append(value)
        yield _unit(name, values)


def _unit(name: str, values: dict[str, list[str]]) -> Unit:
    def first(key: str, length: int = 1000) -> str:
        return safe_line(values.get(key, [""])[0], length)

    def number(key: str) -> int | None:
        value = first(key)
        return int(value) if value.isdecimal() and value not in _NO_LIMIT else None

    code = first("ExecMainCode")
    status = number("ExecMainStatus") or 0
    # CLD_EXITED, CLD_KILLED, CLD_DUMPED (waitid(2)).
    is_exit, is_signal = code in ("1", "exited"), code in ("2", "3", "killed", "dumped")
    program = re.search(r"\bpath=(/\S+)", first("ExecStart", 4000))
    error = first("LoadError").partition(" ")[2].strip().strip('"')
    kind = first("Type")
    restarts = number("NRestarts") or 0
    return Unit(
        name=safe_line(name, 200),
        load=first("LoadState", 40),
        active=first("ActiveState", 40),
        sub=first("SubState", 40),
        result=first("Result", 40) or "success",
        load_error=error,
        kind=kind,
        status=status if is_exit else None,
        signal=status if is_signal else None,
        file_state=first("UnitFileState", 40),
        needs_reload=first("NeedDaemonReload") == "yes",
        file=first("FragmentPath"),
        drop_ins=tuple(safe_line(path) for path in first("DropInPaths", 8000).split()[:64]),
        changed=_unix(first("StateChangeTimestamp")),
        restart=first("Restart", 40) or "no",
        restarts=restarts,
        main_pid=number("MainPID") or None,
        program=safe_line(program[1]) if program else "",
        directory=first("WorkingDirectory").lstrip("!-"),
        user=first("User", 200),
        group=first("Group", 200),
        is_dynamic_user=first("DynamicUser") == "yes",
        environment=_environment(first("Environment", 64 << 10)),
        environment_files=tuple(_environment_files(values.get("EnvironmentFiles", ()))),
        private_tmp=first("PrivateTmp") == "yes",
        root=first("RootDirectory") or first("RootImage"),
        memory_max=_limit(first("MemoryMax"), first("MemoryLimit")),
        open_files=number("LimitNOFILE"),
        triggers=tuple(first("Triggers").split()[:16]),
        triggered_by=tuple(first("TriggeredBy").split()[:16]),
        own_directories=tuple(
            f"{place}/{directory}"
            for key, place in _MADE_BY_SYSTEMD.items()
            for directory in first(key).split()[:16]
        ),
        was_skipped=any(
            first(f"{family}Result") == "no" and _unix(first(f"{family}Timestamp"))
            for family in ("Condition", "Assert")
        ),
        requires=tuple(
            needed
            for key in ("Requires", "Requisite", "BindsTo")
            for needed in first(key, 8000).split()[:64]
            if not needed.endswith(".slice")
        ),
        is_queued=bool(number("Job")),
        sandbox=_sandbox(first),
    )


def _sandbox(first: Callable[..., str]) -> UnitSandbox:
    """The sandbox's settings as they are written."""

    def paths(*keys: str) -> tuple[str, ...]:
        return tuple(path for key in keys for path in first(key, 16 << 10).split()[:64])

    return UnitSandbox(
        system=first("ProtectSystem", 40) or "no",
        home=first("ProtectHome", 40) or "no",
        writable=paths("ReadWritePaths"),
        read_only=paths("ReadOnlyPaths"),
        inaccessible=paths("InaccessiblePaths"),
        bound=paths("BindPaths", "BindReadOnlyPaths"),
        private_network=first("PrivateNetwork") == "yes",
    )


def _unix(text: str) -> float | None:
    return float(text[1:]) if re.fullmatch(r"@\d{1,12}", text) else None


def _limit(*texts: str) -> int | None:
    """The lower of MemoryMax= and, from before control groups of version 2, MemoryLimit= (systemd.resource-control)."""
    numbers = [int(value) for value in texts if value.isdecimal() and value not in _NO_LIMIT]
    return min(numbers, default=None)


def _environment(text: str) -> dict[str, str]:
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    pairs = (word.partition("=") for word in words[:200])
    return {
        safe_line(name, 100): safe_line(value, 1000) if name in PLACE_VARIABLES else ""
        for name, equals, value in pairs
        if equals
    }


def _environment_files(lines: Iterable[str]) -> Iterator[UnitEnvironmentFile]:
    for line in lines:
        # systemctl prints "PATH (ignore_errors=no)".
        path, _, rest = line.rpartition(" (ignore_errors=")
        if path:
            yield UnitEnvironmentFile(path=safe_line(path, 1000), is_optional=rest.startswith("yes"))


# --- what systemctl does not print -----------------------------------------------------------------------------------


def _completed(unit: Unit, places: Sequence[str], deadline: float, written: Sequence[str] = ()) -> Unit:
    """``unit`` with what only the file system and the journal show."""
    from msgspec.structs import replace

    if unit.load == "not-found":
        references, unread = tuple(_references(unit.name, places)), ""
        if not references:
            references, unread = _journal_of_missing(unit.name, deadline)
        return replace(unit, references=references, unread=unread)
    files = tuple(_seen(file) for file in unit.environment_files)
    environment = dict(unit.environment)
    for file in files:
        if not file.error:
            environment |= _written_in(file.path)
    unit = replace(
        unit,
        environment=environment,
        environment_files=files,
        program_error=_program_error(unit),
        directory_error=_directory_error(unit),
        account_error=_account_error(unit),
    )
    log, log_error = _log_error(unit)
    unit = replace(
        unit,
        log=log,
        log_error=log_error,
        unmet=_unmet(unit),
        sandbox=_seen_sandbox(unit),
    )
    unit = replace(unit, unwritable=tuple(_unwritable(unit, written)))
    if is_in_trouble(unit) and time.monotonic() < deadline:
        unit = replace(unit, words=_words(unit.name))
    return unit


def _unmet(unit: Unit) -> tuple[str, ...]:
    """The conditions of the unit's files that this host does not meet. Those that are not of paths are tried by systemd
    alone, where it skipped the last start. Of a unit that runs, what must not be there may be its own."""
    from ops.interpret.unit_conditions import Condition, condition_lines, unmet_conditions

    texts = []
    for path in (unit.file, *unit.drop_ins):
        try:
            content = read_regular_file(os.path.realpath(path), MAX_FILE_BYTES).content if path else b""
        except (OSError, ValueError):
            continue
        texts.append(content.decode("utf-8", "replace"))
    lines = condition_lines(texts)
    unmet = unmet_conditions(lines, _holds)
    if not unmet and unit.was_skipped and unit.active == "inactive":
        unmet = tuple(_unmet_by_systemd(lines))
    if unit.active not in ("inactive", "failed"):
        unmet = tuple(line for line in unmet if not Condition.of(line).is_negated)
    return tuple(safe_line(line, 300) for line in unmet[:8])


def _unmet_by_systemd(lines: Sequence[str]) -> Iterator[str]:
    """Those conditions that are not of paths, and not alternatives of others, of which systemd says that they fail."""
    from ops.interpret.unit_conditions import Condition

    program = trusted_program("systemd-analyze")
    if program is None:
        return
    asked = [line for line in lines if line.partition("=")[0] not in _PATH_CONDITIONS]
    for line in asked[:_MAX_CONDITIONS]:
        if Condition.of(line).is_alternative or "%" in line:
            continue
        try:
            tried = _run([program, "condition", line], SECONDS)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            return
        if tried.returncode != 0 and re.search(
            rb"\b(?:Conditions|Asserts) failed", tried.stdout + tried.stderr
        ):
            yield line


def _holds(test: str, value: str) -> bool | None:
    """Whether a condition of a path is met (systemd.unit(5)); None for any other, and for what only root may see."""
    path = Path(value)
    try:
        match test:
            case "PathExists":
                return path.exists()
            case "PathExistsGlob":
                return next(iter(_matching(value)), None) is not None
            case "PathIsDirectory":
                return path.is_dir()
            case "PathIsSymbolicLink":
                return path.is_symlink()
            case "PathIsMountPoint":
                return path.is_mount()
            case "DirectoryNotEmpty":
                return path.is_dir() and next(path.iterdir(), None) is not None
            case "FileNotEmpty":
                return path.is_file() and path.stat().st_size > 0
            case "FileIsExecutable":
                return path.is_file() and bool(path.stat().st_mode & 0o111)
    except OSError:
        return None
    return None


def _matching(pattern: str) -> list[str]:
    from glob import glob

    return glob(pattern)  # noqa: PTH207


def _with_obstacles(unit: Unit, deadline: float) -> Unit:
    """``unit``, if it is down with the units that keep it from being started, of those it requires or waits for."""
    from msgspec.structs import replace

    if unit.load != "loaded" or unit.active in ("active", "reloading"):
        return unit
    if unit.is_queued and unit.active == "inactive":
        return replace(unit, obstacles=tuple(_running_jobs(unit.name, deadline - time.monotonic())))
    printed = show_units(unit.requires, STATE_PROPERTIES, min(deadline - time.monotonic(), SECONDS))
    if isinstance(printed, NotSeen):
        return unit
    obstacles = (
        UnitObstacle(name=other.name, state=other.active if other.load == "loaded" else other.load)
        for other in parse_units(printed, unit.requires)
        if other.load in ("not-found", "masked", "bad-setting", "error") or other.active == "failed"
    )
    return replace(unit, obstacles=tuple(obstacles))


def _running_jobs(name: str, seconds: float) -> Iterator[UnitObstacle]:
    """The units whose start systemd works on, beside that of ``name``: what is queued waits for them."""
    program = trusted_program("systemctl")
    if program is None or seconds <= 0:
        return
    try:
        listed = _run([program, "list-jobs", "--plain", "--no-legend", "--no-pager"], min(seconds, SECONDS))
    except (OSError, subprocess.TimeoutExpired):
        return
    for line in listed.stdout[:MAX_OUTPUT_BYTES].decode("utf-8", "replace").splitlines():
        words = line.split()
        if len(words) == 4 and words[3] == "running" and words[1] != name:
            yield UnitObstacle(name=safe_line(words[1], 200), state=safe_line(words[2], 40))


def _seen_sandbox(unit: Unit) -> UnitSandbox:
    """The unit's sandbox by what is there now: without links, and with what the unit cannot be started without."""
    from msgspec.structs import replace

    written = unit.sandbox
    missing: list[str] = []

    def seen(paths: Iterable[str]) -> tuple[str, ...]:
        there: list[str] = []
        for path in paths:
            plain = path.lstrip("-+")
            if os.path.lexists(plain) or not _is_absent(plain):
                there.append(os.path.realpath(plain))
            elif "-" not in path[: len(path) - len(plain)] and not _is_own(unit, plain):
                missing.append(plain)
        return tuple(there)

    sources = [path.split(":") for path in written.bound]
    own = [os.path.realpath(path) for path in unit.own_directories]
    if unit.private_tmp:
        own += ["/tmp", "/var/tmp"]  # noqa: S108  the unit's own
    sandbox = replace(
        written,
        writable=(
            *seen(written.writable),
            *(os.path.realpath(words[1] if len(words) > 1 else words[0].lstrip("-")) for words in sources),
            *own,
        ),
        read_only=seen(written.read_only),
        inaccessible=seen(written.inaccessible),
    )
    seen(words[0] for words in sources)
    return replace(sandbox, missing=tuple(missing) if not unit.root else ())


def _is_own(unit: Unit, path: str) -> bool:
    return any(PurePosixPath(path).is_relative_to(place) for place in unit.own_directories)


def _is_absent(path: str) -> bool:
    try:
        os.stat(path)  # noqa: PTH116
    except PermissionError:
        return False
    except OSError:
        return True
    return False


def _unwritable(unit: Unit, written: Sequence[str]) -> Iterator[UnwritablePlace]:
    """Where the unit's program writes, by its variables and by ``written``, and its sandbox forbids that."""
    from ops.interpret.unit_sandbox import denied_by

    if unit.root:
        return
    variables = unit.environment
    needed = dict.fromkeys(variables.get(name, "") for name in _NEEDED_VARIABLES)
    others = dict.fromkeys((*(variables.get(name, "") for name in _RECORD_VARIABLES), *written))
    files = {variables.get(name, "") for name in _OF_A_FILE}
    for path in (*needed, *others):
        if path.startswith("/") and (setting := denied_by(unit.sandbox, os.path.realpath(path))):
            yield UnwritablePlace(
                path=safe_line(path),
                setting=safe_line(setting),
                stops_the_start=path in needed,
                is_directory=path not in files,
            )


def is_in_trouble(unit: Unit) -> bool:
    """Whether systemd itself says that something is, or was, wrong with the unit."""
    return (
        unit.active == "failed"
        or unit.result != "success"
        or unit.sub.startswith("auto-restart")
        or unit.load not in ("loaded", "not-found", "masked")
        or unit.restarts > 0
    )


def _journal_of_missing(name: str, deadline: float) -> tuple[tuple[str, ...], str]:
    """The journal, if it has lines of a unit that is not there: so it was there; and why that is not known, if not."""
    from ops.collect.logs.journal import unit_records
    from ops.collect.logs.lines import JournalError

    late = f"the journal of {name} was not read in time"
    if time.monotonic() >= deadline:
        return (), late
    try:
        records, is_whole = unit_records(name, time.time() - WORDS_SINCE, lines=MAX_WORDS)
    except JournalError:
        return (), ""
    if records:
        return (f"journalctl -u {name}",), ""
    return (), "" if is_whole else late


def _words(name: str) -> tuple[str, ...]:
    """The last lines of the unit's journal; none if it cannot be read."""
    from ops.collect.logs.journal import unit_records
    from ops.collect.logs.lines import JournalError

    try:
        records, _ = unit_records(name, time.time() - WORDS_SINCE, lines=MAX_WORDS)
    except JournalError:
        return ()
    lines = [line for record in records for line in record.message.decode("utf-8", "replace").splitlines()]
    return tuple(safe_line(line, 300) for line in lines[-MAX_WORDS:])


def _seen(file: UnitEnvironmentFile) -> UnitEnvironmentFile:
    """``file`` with why it cannot be read. systemd reads it as root (systemd.exec(5)): so only root can tell."""
    from glob import glob

    from msgspec.structs import replace

    try:
        present = glob(file.path) if re.search(r"[*?\[]", file.path) else [file.path]  # noqa: PTH207
        if not present:
            return replace(file, error="no such file or directory")
        with open(present[0], "rb"):  # noqa: PTH123  systemd follows links here too
            return file
    except PermissionError:
        return file
    except OSError as error:
        return replace(file, error=_reason(error))


def _written_in(path: str) -> dict[str, str]:
    """The variables of an environment file, like `Unit.environment`; none if others could have written it."""
    from ops.files.nofollow import reason_not_to_trust

    try:
        if reason_not_to_trust(path) is not None:
            return {}
        text = read_regular_file(path, MAX_FILE_BYTES).content.decode("utf-8", "replace")
    except (OSError, ValueError):
        return {}
    variables: dict[str, str] = {}
    for line in text.splitlines()[:500]:
        name, equals, value = line.strip().partition("=")
        if equals and name.isidentifier():
            plain = value.strip().strip("\"'")
            variables[safe_line(name, 100)] = safe_line(plain, 1000) if name in PLACE_VARIABLES else ""
    return variables


def _program_error(unit: Unit) -> str:
    """Why the unit's program cannot be run; empty if it can be, or if that is not seen."""
    if not unit.program or unit.root:
        return ""
    try:
        status = os.stat(unit.program)  # noqa: PTH116
        if not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o111:
            return "it is not executable"
        first = read_regular_file(os.path.realpath(unit.program), _FIRST_LINE_BYTES).content
    except PermissionError:
        return ""
    except (OSError, ValueError) as error:
        return _reason(error)
    words = first.partition(b"\n")[0][2:].decode("utf-8", "replace").split() if first[:2] == b"#!" else []
    if words and not os.path.exists(words[0]):  # noqa: PTH110
        return safe_line(f"its interpreter {words[0]} does not exist", 300)
    return ""


def _directory_error(unit: Unit) -> str:
    """Why the unit's directory cannot be entered; empty if it can be, or if that is not seen."""
    if not unit.directory.startswith("/") or unit.root:
        return ""
    try:
        status = os.stat(unit.directory)  # noqa: PTH116
    except PermissionError:
        return ""
    except OSError as error:
        return _reason(error)
    return "" if stat.S_ISDIR(status.st_mode) else "not a directory"


def _account_error(unit: Unit) -> str:
    """Which of the unit's user and group this host lacks; empty if it has both, or makes them (DynamicUser=)."""
    if unit.is_dynamic_user:
        return ""
    try:
        if unit.user and not unit.user.isdecimal():
            pwd.getpwnam(unit.user)
    except (KeyError, ValueError):
        return safe_line(f"no user {unit.user}", 200)
    try:
        if unit.group and not unit.group.isdecimal():
            grp.getgrnam(unit.group)
    except (KeyError, ValueError):
        return safe_line(f"no group {unit.group}", 200)
    return ""


def _log_error(unit: Unit) -> tuple[str, str]:
    """One of the service's logs that the unit's user could not write, and why; empty if there is none, or if that is
    not seen. What systemd makes for the unit is its user's when it starts."""
    from ops.collect.services.model_access import reader_of_account

    logs = [unit.environment.get(name, "") for name in _LOG_VARIABLES]
    named = [
        log
        for log in logs
        if log.startswith("/")
        and not any(PurePosixPath(log).is_relative_to(place) for place in unit.own_directories)
    ]
    if not named or not unit.user or unit.is_dynamic_user or unit.root:
        return "", ""
    reader = reader_of_account(unit.user, unit.group)
    if reader is not None:
        for log in named:
            if error := _reason_not_writable(Path(log), reader):
                return safe_line(log), error
    return "", ""


def _reason_not_writable(path: Path, reader: Reader) -> str:
    from ops.collect.services.model_access import walk

    steps: dict[str, AccessStep] = {}
    if not walk(path, steps):
        return ""
    for directory in reversed(path.parents):
        step = steps.get(str(directory))
        if step is None:
            return safe_line(f"{directory}: no such directory")
        if may(reader, step, SEARCH) is False:
            return safe_line(f"{reader.user} may not enter {directory}")
    own = steps.get(str(path))
    if own is not None:
        return "" if may(reader, own, WRITE) is not False else safe_line(f"{reader.user} may not write it")
    if may(reader, steps[str(path.parent)], WRITE | SEARCH) is False:
        return safe_line(f"{reader.user} may not write {path.parent}")
    return ""


def _reason(error: OSError | ValueError) -> str:
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return safe_line(words.lower(), 200)


def _references(name: str, places: Sequence[str]) -> Iterator[str]:
    """Links and drop-ins that still name a unit whose file is not there."""
    for place in places:
        drop_ins = Path(place) / f"{name}.d"
        if drop_ins.is_dir():
            yield safe_line(str(drop_ins))
        try:
            wants = [
                entry.path for entry in os.scandir(place) if entry.name.endswith((".wants", ".requires"))
            ]
        except OSError:
            continue
        for directory in sorted(wants)[:MAX_LISTED]:
            link = f"{directory}/{name}"
            if os.path.islink(link):  # noqa: PTH114
                yield safe_line(link)
