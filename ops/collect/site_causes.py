"""The causes that the site defines: read their files, and observe their conditions.

The files decide what a process of root reads, asks and runs: they count only if no user but root and the caller could
have written them. The conditions' commands run as a user that owns nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from ops.collect.logs.line import access_line, gunicorn_line, nginx_line
from ops.collect.logs.tail import LogTail
from ops.collect.task import Task
from ops.diagnosis.site_causes import (
    DEFAULT_WITHIN,
    TOO_SLOW,
    ProofDefinition,
    ProofKind,
    SiteCauseDefinition,
    SiteCauseError,
    log_path,
)
from ops.diagnosis.site_causes_file import MAX_CAUSES_OF_HOST, parse_site_causes, refuse_doubles
from ops.facts.base import NotSeen
from ops.facts.site_causes import ProofObservation, SiteCauses
from ops.facts.target import Target
from ops.files.bounded_read import open_regular_file
from ops.files.programs import reason_not_to_run, trusted_path
from ops.files.unprivileged import (
    NOBODY,
    UnprivilegedAccount,
    drop_privileges,
    unprivileged_account,
)
from ops.interpret.timed_pattern import TimedPattern
from ops.settings import bounded_content, reason_not_to_read
from ops.text.duration import age
from ops.text.language import Text
from ops.text.reasons import chinese
from ops.text.sanitize import safe_line

MAX_FILES = 100
MAX_PROOFS = 200
MAX_FILE_BYTES = 256 << 10
MAX_READ_BYTES = 4 << 20
MAX_OUTPUT_BYTES = 64 << 10
MAX_LINES = 200_000
DEFAULT_SECONDS = 3.0
# A process that forks while it is ended is ended in the next round.
_MOST_ROUNDS = 20
_OTHER_DATE = re.compile(rb"\s*\[?\d{4}[-/]\d\d[-/]\d\d")


class SiteCauseFiles(msgspec.Struct, frozen=True):
    """The causes of a directory's files, and the files that are not used, each with the reason."""

    definitions: tuple[SiteCauseDefinition, ...] = ()
    refused: tuple[str, ...] = ()


def read_site_causes(directory: str) -> SiteCauseFiles:
    """The causes of every ``*.toml`` of ``directory``; none if there is no such directory."""
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(".toml"))  # noqa: PTH208
    except (FileNotFoundError, NotADirectoryError):
        return SiteCauseFiles()
    except OSError as error:
        return SiteCauseFiles(refused=(safe_line(f"{directory}: cannot be read: {error.strerror}"),))
    definitions: dict[str, SiteCauseDefinition] = {}
    refusals = []
    for name in names[:MAX_FILES]:
        try:
            read = read_file_of_causes(Path(directory, name))
            refuse_doubles(read, definitions)
        except SiteCauseError as error:
            refusals.append(safe_line(str(error)))
            continue
        if len(definitions) + len(read) > MAX_CAUSES_OF_HOST:
            path = safe_line(f"{directory}/{name}")
            refusals.append(f"{path}: more than {MAX_CAUSES_OF_HOST} causes in all files")
            continue
        definitions |= {definition.code: definition for definition in read}
    if len(names) > MAX_FILES:
        refusals.append(f"{directory}: more than {MAX_FILES} files; the others are not read")
    return SiteCauseFiles(tuple(definitions.values()), tuple(refusals))


def read_file_of_causes(path: Path) -> tuple[SiteCauseDefinition, ...]:
    """The causes of one file. Raises SiteCauseError, also for a file that others could have written."""
    why_not = reason_not_to_read(path) if path.exists() else None
    if why_not is not None:
        raise SiteCauseError(
            Text(en=f"{path}: not read: {why_not}", zh=f"{path}：不予读取：{chinese(why_not)}")
        )
    too_large = Text(
        en=f"{path}: larger than {MAX_FILE_BYTES >> 10} KiB; this is no file of causes",
        zh=f"{path}：超过 {MAX_FILE_BYTES >> 10} KiB，不是故障原因文件",
    )
    return parse_site_causes(bounded_content(path, MAX_FILE_BYTES, SiteCauseError, too_large), str(path))


class SiteCauseCollector:
    """Observes the conditions in parallel, each in a thread of its own."""

    def __init__(
        self, definitions: Sequence[SiteCauseDefinition], target: Target, now: float, deadline: float
    ) -> None:
        """``now``: Unix seconds; ``deadline``: time.monotonic."""
        self._definitions = definitions
        self._deadline = deadline
        room = MAX_PROOFS
        self._tasks: list[list[Task | NotSeen]] = []
        for definition in definitions:
            tasks: list[Task | NotSeen] = []
            for proof in definition.proofs:
                room -= 1
                tasks.append(
                    Task(definition.code, _observer(proof, target, now, deadline))
                    if room >= 0
                    else NotSeen(reason=f"more than {MAX_PROOFS} conditions")
                )
            self._tasks.append(tasks)

    def wait(self) -> SiteCauses:
        """What was observed; NotSeen for a condition that did not end in time."""
        return SiteCauses(
            causes=tuple(
                definition.observed(
                    [task if isinstance(task, NotSeen) else task.wait(self._deadline) for task in tasks]
                )
                for definition, tasks in zip(self._definitions, self._tasks, strict=True)
            )
        )


def _observer(
    proof: ProofDefinition, target: Target, now: float, deadline: float
) -> Callable[[], ProofObservation | NotSeen]:
    observers: dict[ProofKind, Callable[[], ProofObservation | NotSeen]] = {
        ProofKind.LOG: lambda: log_observation(proof, log_path(proof, target), now),
        ProofKind.URL: lambda: url_observation(proof, deadline),
        ProofKind.PROCESS: lambda: process_observation(proof),
        ProofKind.FILE: lambda: file_observation(proof, now),
        ProofKind.COMMAND: lambda: command_observation(proof, deadline),
    }
    return observers[proof.kind]


# --- one function for each kind of condition --------------------------------------------------------------------------


def log_observation(proof: ProofDefinition, path: str | None, now: float) -> ProofObservation | NotSeen:
    """Whether enough lines of the log match within the time; the newest of them. Lines without a time count if the file
    was written within it."""
    if path is None:
        return NotSeen(reason=f"the {proof.log} log is not known")
    since = now - proof.seconds("within", DEFAULT_WITHIN)
    pattern = TimedPattern(proof.pattern or "")
    least = proof.count or 1
    matches: list[tuple[str, dict[str, str]]] = []
    try:
        tail = LogTail(path, since, MAX_READ_BYTES)
        is_all = True
        for number, line in enumerate(tail.lines() if tail.modified >= since else ()):
            at = _line_time(line, tail.modified)
            if at is not None and at < since:
                break
            is_all = number < MAX_LINES
            if not is_all or len(matches) >= least:
                break
            if (groups := pattern.groups(line.decode(errors="replace"))) is not None:
                matches.append((safe_line(line.decode(errors="replace")), groups))
        else:
            is_all = tail.modified < since or tail.is_whole
    except TimeoutError:
        return TOO_SLOW
    except (OSError, ValueError) as error:
        return _unreadable(path, error)
    count = len(matches)
    if proof.is_present:
        if count >= least:
            return ProofObservation(holds=True, source=path, detail=matches[0][0], values=matches[0][1])
        # The lines before the bound may have matched.
        return (
            ProofObservation(holds=False, source=path, detail=f"{count} lines match")
            if is_all
            else NotSeen(reason=f"{path}: only the last {MAX_READ_BYTES >> 20} MiB were read")
        )
    if count == 0 and not is_all:
        return NotSeen(reason=f"{path}: only the last {MAX_READ_BYTES >> 20} MiB were read")
    return ProofObservation(
        holds=count == 0,
        source=path,
        detail=f"no line of the last {age(now - since)} matches {proof.pattern}",
    )


def _line_time(line: bytes, newest: float) -> float | None:
    entry = nginx_line(line, newest) or access_line(line)
    if entry is None and (line.startswith(b"{") or _OTHER_DATE.match(line)):
        entry = gunicorn_line(line, newest)
    return entry.time if entry is not None else None


def url_observation(proof: ProofDefinition, deadline: float) -> ProofObservation | NotSeen:
    """Whether the URL's answer has the status and the body. No redirect is followed, no certificate is checked."""
    from ops.collect.net.connection import Deadline
    from ops.collect.net.http_probe import exchange

    url = proof.url or ""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = parts.hostname or ""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    until = min(deadline, time.monotonic() + proof.seconds("timeout", DEFAULT_SECONDS))
    answer = exchange("GET", url, address, Deadline(until))
    if answer.status is None:
        detail = safe_line(answer.detail or answer.failure or "no answer")
        return ProofObservation(holds=not proof.is_present, source=f"GET {url}", detail=detail)
    detail = f"{answer.status}"
    if not proof.is_present or not proof.accepts_status(answer.status):
        return ProofObservation(holds=False, source=f"GET {url}", detail=detail)
    values: dict[str, str] = {}
    if proof.body is not None:
        try:
            groups = TimedPattern(proof.body).groups(answer.body or "")
        except TimeoutError:
            return TOO_SLOW
        if groups is None:
            return ProofObservation(holds=False, source=f"GET {url}", detail=detail)
        values = groups
        detail = safe_line(f"{answer.status}: {answer.body}", 300)
    return ProofObservation(holds=True, source=f"GET {url}", detail=detail, values=values)


def process_observation(proof: ProofDefinition) -> ProofObservation | NotSeen:
    """Whether a process whose command line matches runs, of ``user`` if one is named. A process chooses its own command
    line: without ``user`` anybody can make one."""
    import psutil

    pattern = TimedPattern(proof.process or "")
    own = os.getpid()
    try:
        for process in psutil.process_iter(["pid", "name", "cmdline", "username", "status"]):
            info = process.info
            if info["pid"] == own or info["status"] == psutil.STATUS_ZOMBIE:
                continue
            if proof.user is not None and info["username"] != proof.user:
                continue
            words = " ".join(info["cmdline"] or ()) or info["name"] or ""
            if (groups := pattern.groups(words[:8192])) is not None:
                detail = safe_line(f"pid {info['pid']} ({info['username']}): {words}")
                return ProofObservation(
                    holds=proof.is_present, source="processes", detail=detail, values=groups
                )
    except TimeoutError:
        return TOO_SLOW
    of_user = f" of user {proof.user}" if proof.user is not None else ""
    return ProofObservation(
        holds=not proof.is_present,
        source="processes",
        detail=safe_line(f"no process{of_user} matches {proof.process}"),
    )


def file_observation(proof: ProofDefinition, now: float) -> ProofObservation | NotSeen:
    """Whether the file is there, is old or new enough, and its first bytes match."""
    path = proof.file or ""
    try:
        status = os.stat(path)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return ProofObservation(holds=not proof.is_present, source=path, detail="there is no such file")
    except (OSError, ValueError) as error:
        return _unreadable(path, error)
    since_change = now - status.st_mtime
    detail = f"changed {age(since_change)} ago, {status.st_size} bytes"
    holds = (
        proof.is_present
        and (proof.older is None or since_change > proof.seconds("older", 0.0))
        and (proof.newer is None or since_change < proof.seconds("newer", 0.0))
    )
    values: dict[str, str] = {}
    if holds and proof.pattern is not None:
        try:
            with open_regular_file(path) as file:
                content = file.read(MAX_READ_BYTES).decode(errors="replace")
            pattern = TimedPattern(proof.pattern)
            match = _first_match(content, pattern)
        except TimeoutError:
            return TOO_SLOW
        except (OSError, ValueError) as error:
            return _unreadable(path, error)
        holds = match is not None
        detail, values = match or (f"no line matches {proof.pattern}", {})
    return ProofObservation(holds=holds, source=path, detail=safe_line(detail), values=values)


def _first_match(content: str, pattern: TimedPattern) -> tuple[str, dict[str, str]] | None:
    """The first line that matches, which may be an empty one, and its groups. Raises TimeoutError."""
    for line in content.splitlines():
        if (groups := pattern.groups(line)) is not None:
            return line, groups
    return None


def command_observation(proof: ProofDefinition, deadline: float) -> ProofObservation | NotSeen:
    """Whether the command ends with the exit code and prints what matches. It runs as a user that owns nothing, with
    an empty environment, and ends with all its children at the time limit."""
    command = proof.command or ()
    source = safe_line(" ".join(command), 200)
    if (words := reason_not_to_run(command[0])) is not None:
        return NotSeen(reason=f"{command[0]} is not run: {words}", is_refused=True)
    account = unprivileged_account()
    if os.geteuid() == 0 and account is None:
        return NotSeen(reason=f"{command[0]} is not run: no user without privileges is to be had here")
    seconds = min(proof.seconds("timeout", DEFAULT_SECONDS), max(0.0, deadline - time.monotonic()))
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"PATH": trusted_path(os.environ.get("PATH", os.defpath)), "LC_ALL": "C.UTF-8"},
                cwd="/",
                start_new_session=True,
                preexec_fn=_limited(drop_privileges(account, network=True)),
            )
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            return NotSeen(reason=f"{command[0]} does not run: {getattr(error, 'strerror', None) or error}")
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            return NotSeen(reason=f"{command[0]} did not finish within {seconds:.1f} s")
        finally:
            _end_group(process)
            _end_account(account)
        output.seek(0)
        printed = output.read(MAX_OUTPUT_BYTES).decode(errors="replace")
    values: dict[str, str] = {}
    holds = proof.accepts_exit(code)
    line = next((words for words in printed.splitlines() if words.strip()), "")
    if holds and proof.output is not None:
        try:
            match = _first_match(printed, TimedPattern(proof.output))
        except TimeoutError:
            return TOO_SLOW
        holds = match is not None
        line, values = match or ("", {})
        if not holds and code == -signal.SIGXFSZ:
            return NotSeen(reason=f"{command[0]} prints more than {MAX_OUTPUT_BYTES >> 10} KiB")
    return ProofObservation(
        holds=holds,
        source=source,
        detail=safe_line(f"exit {code}: {line}" if line else f"exit {code}", 300),
        values=values,
    )


def _limited(drop: Callable[[], None]) -> Callable[[], None]:
    """For the child before exec: bound the files it writes, its output among them (setrlimit(2)), then ``drop``."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_OUTPUT_BYTES, MAX_OUTPUT_BYTES))
        drop()

    return limit


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the command and whatever it started: its session is its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _end_account(account: UnprivilegedAccount | None) -> None:
    """End what the command started in sessions of their own: the account is this run's alone."""
    if account is None or account.uid == NOBODY:
        return
    import psutil

    for _ in range(_MOST_ROUNDS):
        left = [
            process
            for process in psutil.process_iter(["uids", "status"])
            if process.info["status"] != psutil.STATUS_ZOMBIE
            and process.info["uids"] is not None
            and process.info["uids"].real == account.uid
        ]
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if not left:
            return


def _unreadable(path: str, error: OSError | ValueError) -> NotSeen:
    needs_root = isinstance(error, PermissionError) and os.geteuid() != 0
    words = getattr(error, "strerror", None) or str(error)
    return NotSeen(reason=f"{path} cannot be read: {words}", needs_root=needs_root)
