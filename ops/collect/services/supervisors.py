"""Read what systemd and supervisord report about the service's last run, and the files its output goes to."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
import time
from collections.abc import Iterator
from glob import glob
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from ops.collect.logs.tail import LogTail
from ops.collect.services.units import SYSTEMD_RUNS, show_units
from ops.facts.base import NotSeen
from ops.facts.start import ServiceManager, SupervisorAccount
from ops.facts.target import Target
from ops.files.bounded_read import read_regular_file
from ops.files.nofollow import reason_not_to_trust
from ops.files.ownership import ROOT
from ops.settings import Settings
from ops.text.sanitize import safe_line
from ops.text.secret_scan.command_lines import without_secret_arguments

if TYPE_CHECKING:
    import configparser

# The paths where supervisord looks for its configuration (its documentation, Configuration File), and Debian's path.
SUPERVISORD_PLACES = (
    "/etc/supervisor/supervisord.conf",
    "/etc/supervisord.conf",
    "/etc/supervisord/supervisord.conf",
)
MAX_CONFIG_BYTES = 256 << 10
MAX_INCLUDED = 64
MAX_LISTED = 2000
MAX_LOG_BYTES = 256 << 10
SYSTEMCTL_SECONDS = 1.0
_PROPERTIES = (
    "LoadState", "ActiveState", "SubState", "Result", "ExecMainCode", "ExecMainStatus", "NRestarts",
    "ExecMainExitTimestamp", "InactiveEnterTimestamp", "StandardOutput", "StandardError", "ExecStart",
    "WorkingDirectory", "User", "Group",
)  # fmt: skip
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)")


def supervisors(
    target: Target, settings: Settings, deadline: float
) -> tuple[tuple[SupervisorAccount, ...], tuple[str, ...]]:
    """Return their accounts of the service, and the files they write its output to. ``deadline``: time.monotonic."""
    accounts: list[SupervisorAccount] = []
    outputs: list[str] = []
    unit = settings.gunicorn.unit
    if unit and SYSTEMD_RUNS.is_dir():
        printed = show_units((unit,), _PROPERTIES, min(SYSTEMCTL_SECONDS, deadline - time.monotonic()))
        if not isinstance(printed, NotSeen):
            account, files = read_show(unit, printed)
            accounts += [account] if account else []
            outputs += files
    for place in dict.fromkeys((*SUPERVISORD_PLACES, *_running_configurations())):
        control = "supervisorctl" if place in SUPERVISORD_PLACES else f"supervisorctl -c {shlex.quote(place)}"
        for each in programs(place):
            if not _is_the_service(each.options, target):
                continue
            outputs += _outputs(each)
            account = _newest_word(each)
            accounts += (
                [msgspec.structs.replace(account, control=safe_line(control, 1000))] if account else []
            )
    return tuple(accounts), tuple(outputs)


def _running_configurations() -> Iterator[str]:
    """Yield the configuration files that root's and the caller's running supervisords were given."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            names = {Path(word).name for word in words[:3]}
            if "supervisord" not in names or entry.stat().st_uid not in (ROOT, os.geteuid()):
                continue
            for at, word in enumerate(words):
                option, equals, value = word.partition("=")
                if option in ("-c", "--configuration"):
                    given = value if equals else words[at + 1]
                    yield os.path.normpath(Path(os.readlink(entry / "cwd"), given))  # noqa: PTH115
        except (OSError, IndexError):
            continue


def supervisord_outputs(target: Target) -> tuple[str, ...]:
    """Return the files that supervisord writes the service's output to."""
    return tuple(
        path
        for place in SUPERVISORD_PLACES
        for each in programs(place)
        if _is_the_service(each.options, target)
        for path in _outputs(each)
    )


# --- systemd ---------------------------------------------------------------------------------------------------------


def read_show(unit: str, printed: str) -> tuple[SupervisorAccount | None, tuple[str, ...]]:
    """Parse the output of `systemctl show` for a unit: return the account of its last run, None if the unit is not
    loaded or is active; and the files that its output goes to."""
    values = dict(line.partition("=")[::2] for line in printed.splitlines() if "=" in line)
    files = tuple(
        value.partition(":")[2]
        for key in ("StandardError", "StandardOutput")
        if (value := values.get(key, "")).startswith(("append:/", "file:/", "truncate:/"))
    )
    if values.get("LoadState") != "loaded" or values.get("ActiveState") == "active":
        return None, files
    code, status = values.get("ExecMainCode", "0"), values.get("ExecMainStatus", "0")
    number = int(status) if status.isdigit() else 0
    # CLD_EXITED, CLD_KILLED, CLD_DUMPED (waitid(2)).
    is_signal = code in ("2", "3", "killed", "dumped")
    restarts = values.get("NRestarts", "")
    program = re.search(r"\bpath=(/\S+)", values.get("ExecStart", ""))

    def named(key: str) -> str | None:
        return safe_line(values.get(key, "").lstrip("!-"), 400) or None

    return (
        SupervisorAccount(
            manager=ServiceManager.SYSTEMD,
            unit=unit,
            source=f"systemctl show {unit}",
            result=safe_line(values.get("Result", ""), 40),
            status=None if is_signal else number or None,
            signal=number if is_signal else None,
            restarts=int(restarts) if restarts.isdigit() else None,
            time=_unix(values.get("ExecMainExitTimestamp", "") or values.get("InactiveEnterTimestamp", "")),
            program=safe_line(program[1], 400) if program else None,
            directory=named("WorkingDirectory"),
            user=named("User"),
            group=named("Group"),
            output=safe_line(files[0], 400) if files else None,
        ),
        files,
    )


def _unix(text: str) -> float | None:
    return float(text[1:]) if re.fullmatch(r"@\d{1,12}", text) else None


# --- supervisord -----------------------------------------------------------------------------------------------------


class Program(NamedTuple):
    """A program in supervisord's configuration: name, options and the file that sets them, supervisord's own log, and
    childlogdir and identifier, which name the logs that supervisord creates by itself."""

    name: str
    options: configparser.SectionProxy
    file: str
    log: str
    children: tuple[str, str]


def programs(place: str) -> Iterator[Program]:
    """Yield the programs of supervisord's configuration."""
    parser = _parsed(place)
    if parser is None:
        return
    here = str(Path(place).parent)

    def own(key: str, default: str) -> str:
        return parser.get("supervisord", key, fallback=default).replace("%(here)s", here)

    log = own("logfile", "supervisord.log")
    children = (own("childlogdir", tempfile.gettempdir()), own("identifier", "supervisor"))
    parsers = [(place, parser)]
    for pattern in parser.get("include", "files", fallback="").split()[:16]:
        whole = str(Path(place).parent / pattern.replace("%(here)s", str(Path(place).parent)))
        paths = islice(sorted(glob(whole)), MAX_INCLUDED)  # noqa: PTH207
        parsers += [(path, inner) for path in paths if (inner := _parsed(path))]
    for path, each in parsers:
        for section in each.sections():
            if section.startswith("program:"):
                yield Program(section.partition(":")[2], each[section], path, log, children)


def _parsed(path: str) -> configparser.ConfigParser | None:
    try:
        if reason_not_to_trust(path) is not None:
            return None
        text = read_regular_file(path, MAX_CONFIG_BYTES).content.decode("utf-8", "replace")
    except (OSError, ValueError):
        return None
    import configparser  # most hosts have no supervisord

    try:
        parser = configparser.ConfigParser(interpolation=None, strict=False, inline_comment_prefixes=(" ;",))
        parser.read_string(text)
    except (ValueError, configparser.Error):
        return None
    return parser


def _is_the_service(options: configparser.SectionProxy, target: Target) -> bool:
    """Return whether a program is this service, by its directory, configuration file, address or start command."""
    command = options.get("command", "")
    signs = [target.app_dir, target.gunicorn_config_file, target.backend, target.start_command]
    return options.get("directory", "").rstrip("/") == target.app_dir or any(
        sign and len(sign) > 5 and sign in command for sign in signs
    )


def _outputs(program: Program) -> list[str]:
    """Return the files of a program's output: those named, and those that supervisord creates by itself (AUTO)."""
    paths: list[str] = []
    for channel in ("stderr", "stdout"):
        path = program.options.get(f"{channel}_logfile", "AUTO").strip()
        if path.startswith("/"):
            paths.append(path.replace("%(program_name)s", program.name))
        elif path.upper() == "AUTO":
            paths += _made_by_itself(program, channel)
    return paths


def _made_by_itself(program: Program, channel: str) -> Iterator[str]:
    """Yield the logs that have supervisord's own names for its children's logs (its documentation, stdout_logfile), the
    newest first. Others may write to such a directory: ignore files that do not belong to root or the caller."""
    directory, identifier = program.children
    begin = f"{program.name}-{channel}---{identifier}-"
    logs: list[tuple[float, str]] = []
    try:
        with os.scandir(directory) as entries:
            for entry in islice(entries, MAX_LISTED):
                if entry.name.startswith(begin) and entry.is_file(follow_symlinks=False):
                    status = entry.stat(follow_symlinks=False)
                    if status.st_uid in (ROOT, os.geteuid()):
                        logs.append((status.st_mtime, entry.path))
    except OSError:
        return
    yield from (path for _, path in sorted(logs, reverse=True)[:2])


def _shown(command: str) -> str | None:
    """A command line without the values of secret arguments."""
    try:
        words = shlex.split(command)
    except ValueError:  # an unclosed quotation
        return None
    return safe_line(shlex.join(without_secret_arguments(words)), 1000) or None


_SPAWN_ERROR = re.compile(r"spawnerr: .*?\bcommand(?: at)? '([^']*)'")


def _newest_word(program: Program) -> SupervisorAccount | None:
    """Return supervisord's last line about a program: why it ended, or could not be run. The line about a program that
    it cannot run names only the command."""
    quoted, command, log = re.escape(program.name), program.options.get("command", ""), program.log
    telling = re.compile(
        rf"spawnerr: .*|exited: (?:{quoted}) .*|gave up: (?:{quoted}) .*|(?:success|spawned): '?{quoted}'?.*"
    )
    try:
        tail = LogTail(log, time.time(), MAX_LOG_BYTES)
        fallback: SupervisorAccount | None = None
        for raw in islice(tail.lines(), 2000):
            line = raw.decode("utf-8", "replace")
            match = telling.search(line)
            if match is None:
                continue
            words = safe_line(match[0], 300)
            if (spawn_error := _SPAWN_ERROR.match(words)) and spawn_error[1] not in command:
                continue
            if words.startswith("success"):
                return fallback
            if words.startswith("spawned"):
                continue
            status = re.search(r"exit status (\d+)", words)
            account = SupervisorAccount(
                manager=ServiceManager.SUPERVISORD,
                unit=safe_line(program.name, 100),
                config=safe_line(program.file, 1000),
                program=_shown(command),
                directory=safe_line(program.options.get("directory", ""), 400) or None,
                source=safe_line(log, 1000),
                result="FATAL"
                if "FATAL" in words
                else "spawnerr"
                if words.startswith("spawnerr")
                else "exited",
                status=int(status[1]) if status else None,
                time=tail.modified,
                words=words,
            )
            if words.startswith("spawnerr") or status:
                return account
            fallback = fallback or account
    except (OSError, ValueError):
        return None
    return fallback
