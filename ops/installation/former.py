"""A former service, which another one takes over from: what ends it, what starts it again, what else starts it."""

from __future__ import annotations

import contextlib
import http.client
import os
import pwd
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import msgspec

from ops.collect.host.schedule import parse_cron_line
from ops.collect.process.start_time import start_ticks, start_time
from ops.control.launch import Launch, read_launch
from ops.control.restart import Supervisor, start
from ops.control.signals import end, is_alive
from ops.control.start_command import gunicorn_at
from ops.deployment.install import reason_not_to_replace
from ops.deployment.render import RenderedFile
from ops.facts.host import Process
from ops.files.bounded_read import read_regular_file
from ops.installation.cron_starts import ShellContext, Start, what_starts
from ops.installation.http import status_at
from ops.installation.steps import FormerService
from ops.interpret.process_ref import ProcessRef
from ops.supervision.observe import is_free
from ops.text.language import Text
from ops.text.sanitize import safe_line

# Longer than the guide's graceful_timeout (30 s), in which requests come to their end.
END_SECONDS = 45.0
# Whatever watches a process starts it again within this time.
STAYS_ENDED_SECONDS = 3.0
MAX_FILE_BYTES = 256 << 10
_POLL_SECONDS = 0.1
# The clock of a process's start against the clock of files, seconds.
_TOLERANCE = 0.05
# Their control group holds what people and jobs start, so they are not what starts the service.
_OTHERS_UNITS = re.compile(
    r"(?:cron|crond|ssh|sshd|atd|rc-local|getty@.*|user@.*)\.service|.*\.(?:scope|slice)"
)
_OPENS = re.compile(r"(?<![\w$-])(?:if|while|until|for|case|\{)(?=\s|$)")
_CLOSES = re.compile(r"(?<![\w$-])(?:fi|done|esac|\})(?=[\s;&|)]|$)")
_CRON_VARIABLE = re.compile(r"([A-Za-z_]\w*)\s*=\s*(.*)")
_MARK = "# gte-ops adopt: "


# --- what it is -------------------------------------------------------------------------------------------------------


def former_service(
    master: Process, address: str, start_command: tuple[str, ...], *, main_pid: int, is_enabled: bool
) -> FormerService | None:
    """The service of ``master``; None if nothing is known that could start it again.

    ``main_pid``: of the unit in whose control group it is, 0 if that knows none; ``start_command``: from the settings.
    """
    reference = ProcessRef(master.pid, master.start_ticks)
    unit = master.unit
    if (
        unit is not None
        and not _OTHERS_UNITS.fullmatch(unit)
        and (main_pid == master.pid or master.ppid == 1)
    ):
        return FormerService(reference, address, unit, is_enabled)
    # A process that has set its title (setproctitle(3)) no longer shows its command.
    argv = master.command if gunicorn_at(master.command) is not None else start_command
    launch = read_launch(master.pid)
    if not argv or launch is None:
        return None
    return FormerService(reference, address, None, False, argv, msgspec.json.encode(launch).decode())


@dataclass(frozen=True)
class Starters:
    """``files``: the crontabs and rc.local without the lines that start the former service; ``undecided``: the lines
    that a person must look at."""

    files: tuple[RenderedFile, ...] = ()
    undecided: tuple[Text, ...] = ()


class StarterForm(StrEnum):
    """What the lines of a file are."""

    USERS_CRONTAB = "users_crontab"
    SYSTEM_CRONTAB = "system_crontab"
    SCRIPT = "script"


_STARTERS = {
    "etc/crontab": StarterForm.SYSTEM_CRONTAB,
    "etc/cron.d/*": StarterForm.SYSTEM_CRONTAB,
    "var/spool/cron/crontabs/*": StarterForm.USERS_CRONTAB,
    "var/spool/cron/*": StarterForm.USERS_CRONTAB,
    "etc/rc.local": StarterForm.SCRIPT,
}


def starters(root: Path, directory: str) -> Starters:
    """What starts the service of ``directory`` beside its unit, in crontabs and rc.local."""
    files: list[RenderedFile] = []
    undecided: list[Text] = []
    for pattern, form in _STARTERS.items():
        for path in sorted(root.glob(pattern)):
            try:
                content = read_regular_file(str(path), MAX_FILE_BYTES)
                text, mode = content.content.decode(), path.stat().st_mode & 0o7777
            except (OSError, ValueError):
                continue
            if not content.is_whole:
                continue
            shown = f"/{path.relative_to(root)}"
            lines = [*_judged(text, directory, form, path.name)]
            if reason_not_to_replace(path.resolve(), keeps_owner=True) is not None:
                # Another user decides what is there.
                lines = [replace(line, start=min(line.start, Start.UNDECIDED)) for line in lines]
            undecided += [_left_to_a_person(shown, line) for line in lines if line.start is Start.UNDECIDED]
            if any(line.start is Start.SERVICE for line in lines):
                files.append(RenderedFile(shown, _commented(lines), mode))
    return Starters(tuple(files), tuple(undecided))


def without_starts(
    text: str, directory: str, form: StarterForm = StarterForm.USERS_CRONTAB, user: str = ""
) -> str:
    """``text`` with the lines as comments that start the service of ``directory``. ``user``: whose crontab it is."""
    return _commented([*_judged(text, directory, form, user)])


@dataclass(frozen=True)
class _Line:
    number: int
    text: str
    start: Start


def _commented(lines: Sequence[_Line]) -> str:
    return "".join(f"{_MARK}{line.text}" if line.start is Start.SERVICE else line.text for line in lines)


def _left_to_a_person(path: str, line: _Line) -> Text:
    words = safe_line(line.text, 200)
    return Text(
        en=f"{path}:{line.number}: left alone; if this starts the former service, make it a comment: {words}",
        zh=f"{path}:{line.number}：未改动；如果这一行启动原来的服务，请改为注释：{words}",
    )


def _judged(text: str, directory: str, form: StarterForm, user: str) -> Iterator[_Line]:
    """Each line of a crontab or of rc.local with what it starts."""
    variables: dict[str, str] = {}
    depth, is_continued = 0, False
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        words = line.strip()
        start = Start.OTHER
        if directory in ("", "/") or words.startswith("#"):
            pass
        elif form is StarterForm.SCRIPT:
            start = what_starts(words, ShellContext(directory, cwd="/", variables=variables))
            opened = len(_OPENS.findall(words)) - len(_CLOSES.findall(words))
            is_part = depth or opened or is_continued or words.endswith("\\")
            if start is Start.SERVICE and is_part:
                start = Start.UNDECIDED  # what stays would be no script
            depth, is_continued = max(depth + opened, 0), words.endswith("\\")
        elif assigned := _CRON_VARIABLE.fullmatch(words):
            variables[assigned[1]] = assigned[2].strip("'\"")
        else:
            entry = parse_cron_line(line, user, number, users_own=form is StarterForm.USERS_CRONTAB)
            if entry is not None:
                home = variables.get("HOME") or _home(entry.user)
                start = what_starts(entry.command, ShellContext(directory, home, home, variables=variables))
        yield _Line(number, line, start)


def _home(user: str) -> str | None:
    try:
        return pwd.getpwnam(user).pw_dir
    except KeyError:
        return None


# --- its end ----------------------------------------------------------------------------------------------------------


def retirement(service: FormerService) -> list[tuple[str, ...]]:
    """The commands that end it, as a person would give them; none if it has ended."""
    if not is_alive(service.master):
        return []
    if service.unit is not None:
        return [("systemctl", "disable", "--now", service.unit)]
    return [("kill", "-TERM", str(service.master.pid))]


def end_former(service: FormerService) -> Text | None:
    """End the master, which lets its requests come to their end; why the service still answers, None if it does not."""
    if service.unit is None:
        end((service.master,), END_SECONDS)
    deadline = time.monotonic() + STAYS_ENDED_SECONDS
    while time.monotonic() < deadline:
        if is_alive(service.master):
            return Text(
                en=f"process {service.master.pid}: the former gunicorn does not end",
                zh=f"进程 {service.master.pid}：原来的 gunicorn 没有结束",
            )
        if answers(service.address):
            return Text(
                en=f"{service.address}: the former service was started again by something that gte-ops does not know;"
                " stop that first",
                zh=f"{service.address}：原来的服务又被 gte-ops 不了解的程序启动了；请先停止该程序",
            )
        time.sleep(_POLL_SECONDS)
    return None


# --- its return -------------------------------------------------------------------------------------------------------


def start_former(service: FormerService) -> None:
    """Start it as it was launched. Raises RestartError."""
    launch = msgspec.json.decode(service.launch, type=Launch) if service.launch else None
    cwd = launch.cwd if launch is not None else None
    start(Supervisor(None, service.argv, cwd, Path(os.devnull), launch))


def why_silent(address: str, seconds: float) -> Text | None:
    """Wait until HTTP is answered there, whatever the status; why not, None once it is."""
    deadline = time.monotonic() + seconds
    while not speaks_http(address):
        if time.monotonic() > deadline:
            return Text(
                en=f"{address}: the former service does not answer after {seconds:.0f} s",
                zh=f"{address}：原来的服务 {seconds:.0f} 秒后仍无应答",
            )
        time.sleep(_POLL_SECONDS)
    return None


def answers(address: str) -> bool:
    """Whether something listens there."""
    return not is_free(address)


def speaks_http(address: str) -> bool:
    """Whether a request gets an answer there."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        status_at(address, "/health")
        return True
    return False


# --- nginx's workers --------------------------------------------------------------------------------------------------


def wait_for_former_workers(file: Path, seconds: float) -> None:
    """Wait until every worker of nginx began after the last change of ``file``, for at most ``seconds``.

    A worker from before takes no new connections once nginx was reloaded, and ends with its last request."""
    try:
        changed = file.stat().st_ctime
    except OSError:
        return
    deadline = time.monotonic() + seconds
    while any(start < changed - _TOLERANCE for start in _worker_starts()) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def _worker_starts() -> Iterator[float]:
    """When each worker of nginx began, seconds since the epoch."""
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (place / "cmdline").read_bytes().startswith(b"nginx: worker"):
                ticks = start_ticks(int(place.name))
                if ticks:
                    yield start_time(ticks)
