"""Restart the service by its supervisor: its systemd unit, else the configured start command.

A start command runs as the service was started before, if that is remembered (`ops/control/launch.py`).
"""

from __future__ import annotations

import contextlib
import os
import resource
import shlex
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ops.control.account import UserAccount, become
from ops.control.launch import Launch, launch_path, load, missing_file
from ops.control.pidfile import NamedPidfile, Stale, pidfiles, remove_stale
from ops.control.root_command import reason_not_to_run_as_root, trusted_environment
from ops.control.signals import end, kill
from ops.control.start_command import changes_user, gunicorn_at, mentions_changer
from ops.errors import OpsError
from ops.facts.base import NotSeen
from ops.files.bounded_read import read_regular_file
from ops.files.nofollow import reason_not_to_trust
from ops.files.programs import search, trusted_program
from ops.interpret.process_ref import ProcessRef
from ops.settings import Settings
from ops.text.language import Text
from ops.text.sanitize import safe_line

# Seconds for a master that still reacts to end gracefully.
GRACE = 8.0
PORT_FREE_WITHIN = 5.0
# sd_booted(3): this directory exists exactly where systemd is the init.
SYSTEMD_RUNS = Path("/run/systemd/system")
SYSTEMCTL_SECONDS = 60.0
# Seconds that systemctl gets for a start in any case.
SHORTEST_START = 5.0
SHOW_SECONDS = 2.0
# Lines of a unit's journal among which systemd's last word on it is.
_LAST_WORDS = 12
# How long a start that failed for another unit is tried again, each try anew: `systemctl stop` of a unit that is down
# already leaves no trace, and is to be respected in the end. Longer than the watchdog waits after its last try.
DEPENDENCY_SECONDS = 3600.0
# `gunicorn --check-config` imports the application; one that loads models there may take this long.
CHECK_SECONDS = 60.0
# A start command that fails usually does so at once; one that stays in the foreground keeps running.
FAILS_WITHIN = 1.0
MAX_OUTPUT_BYTES = 1 << 20
MAX_SCRIPT_BYTES = 64 << 10
# A script is among the first words of a command: after an interpreter, and what starts that.
_SCRIPT_AMONG = 4
# The watchdog's own: with these, gunicorn would report to the watchdog's systemd unit.
_NOT_INHERITED = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
)


class RestartError(OpsError):
    """The service could not be started."""


@dataclass(frozen=True)
class Supervisor:
    """How the service is started: by systemd's ``unit``, else by ``argv`` in ``cwd`` with its output appended to
    ``output``. ``launch``: how it was started before; ``pidfiles``: those that must not be stale;
    ``until``: when systemctl is no longer waited for, time.monotonic; None for as long as usual."""

    unit: str | None
    argv: tuple[str, ...]
    cwd: str | None
    output: Path
    launch: Launch | None = None
    pidfiles: tuple[NamedPidfile, ...] = ()
    until: float | None = None


@dataclass(frozen=True)
class StartPlan:
    """A start command ready to run. ``account``: the user it runs as, None for the caller; ``launch``: the remembered
    start whose environment it gets, None for the caller's own environment."""

    argv: tuple[str, ...]
    cwd: str | None
    account: UserAccount | None = None
    launch: Launch | None = None

    @property
    def is_roots(self) -> bool:
        """Whether root runs it."""
        return os.geteuid() == 0 and self.account is None


def find_supervisor(settings: Settings, output: Path) -> Supervisor | None:
    """The service's supervisor; None if there is neither a unit nor a start command."""
    if settings.gunicorn.unit and SYSTEMD_RUNS.is_dir():
        for place in settings.schedule.systemd:
            if (Path(place) / settings.gunicorn.unit).exists():
                files = pidfiles(settings, (), settings.app.dir)
                return Supervisor(settings.gunicorn.unit, (), None, output, pidfiles=files)
    start_command = settings.gunicorn.start_command
    try:
        argv = tuple(shlex.split(start_command) if isinstance(start_command, str) else start_command)
    except ValueError:
        return None
    if not argv:
        return None
    cwd = settings.app.dir if settings.app.dir and Path(settings.app.dir).is_dir() else None
    remembered = load(launch_path(settings))
    launch = remembered.launch if remembered else None
    where = launch.cwd if launch else cwd
    return Supervisor(None, argv, cwd, output, launch, pidfiles(settings, argv, where))


# --- plan a start -----------------------------------------------------------------------------------------------------


def plan_start(supervisor: Supervisor) -> StartPlan:
    """Plan the start: as the user the service ran as, and never with more than it had.

    The environment of another user's process is that user's word and reaches no program that root runs: a command that
    itself changes from root to that user is shortened to what it runs, and a script that does so gets the caller's
    environment."""
    argv, cwd, launch = supervisor.argv, supervisor.cwd, supervisor.launch
    if cwd is None and os.geteuid() == 0 and reason_not_to_trust(".", listed=True) is not None:
        cwd = "/"
    own = StartPlan(argv, cwd)
    if launch is None:
        return own
    where = launch.cwd if Path(launch.cwd).is_dir() else cwd
    uid, caller = launch.account.uid, os.geteuid()
    if uid == caller:
        return StartPlan(argv, where, None, launch)
    if caller != 0:
        return own
    at = gunicorn_at(argv)
    if at is None and (
        changes_user(argv[:1]) or mentions_changer("\n".join(argv)) or _script_changes_user(argv)
    ):
        return own
    if at is not None and changes_user(argv[:at]):
        argv = argv[at:]
    return StartPlan(argv, where, launch.account, launch)


def _script_changes_user(argv: tuple[str, ...]) -> bool:
    return any(mentions_changer(text) for text in _script_texts(argv))


def _script_texts(argv: tuple[str, ...]) -> Iterable[str]:
    """The texts of the scripts among a command's first words that nobody else may write."""
    for word in argv[:_SCRIPT_AMONG]:
        place = search(word)
        if place is not None and place.startswith("/") and reason_not_to_trust(place) is None:
            with contextlib.suppress(OSError, ValueError):
                content = read_regular_file(place, MAX_SCRIPT_BYTES).content
                if content.startswith(b"#!") or "/" in word:
                    yield content.decode(errors="replace")


def refusal(supervisor: Supervisor) -> Text | None:
    """Why the service must not be started as things are; None if it may."""
    if supervisor.unit is not None:
        return None
    launch = supervisor.launch
    missing = missing_file(launch) if launch is not None else None
    if missing is not None:
        name, path = missing[0], safe_line(missing[1], 200)
        return Text(
            en=f"the service ran with {name}={path}, which is gone or may not be read: it is not started without it; "
            "put the file back, or start the service by hand",
            zh=f"服务运行时使用 {name}={path}，该文件已不存在或无法读取：缺少它就不启动服务；"
            "请恢复该文件，或手动启动服务",
        )
    plan = plan_start(supervisor)
    if not plan.is_roots:
        return None
    names = {os.fsdecode(name): os.fsdecode(value) for name, value in _environment(plan).items()}
    objection = reason_not_to_run_as_root(
        plan.argv, plan.cwd or str(Path.cwd()), names, any_cwd=_script_changes_user(plan.argv)
    )
    if objection is None:
        return None
    why_not, program = safe_line(objection.why, 200), safe_line(objection.what, 200)
    return Text(
        en=f"root does not run {program}: {why_not}; make it root's own, or let gunicorn.start_command change the user "
        "(setpriv --reuid=USER ...)",
        zh=f"root 不会运行 {program}：{why_not}；请把它改为 root 所有，"
        "或在 gunicorn.start_command 中切换用户（setpriv --reuid=用户 ...）",
    )


def stopped_by_hand(supervisor: Supervisor) -> bool:
    """Whether somebody stopped the service's unit, or is stopping it: systemd has it inactive without a failure, and
    not for want of another unit within the last hour, if it is enabled. False without a unit, or if systemd does not
    answer."""
    if supervisor.unit is None:
        return False
    from ops.collect.services.units import STATE_PROPERTIES, parse_units, show_units
    from ops.interpret.units import is_missing_a_dependency, was_stopped

    printed = show_units((supervisor.unit,), (*STATE_PROPERTIES, "UnitFileState"), SHOW_SECONDS)
    unit = None if isinstance(printed, NotSeen) else next(parse_units(printed, (supervisor.unit,)), None)
    if unit is None or not was_stopped(unit):
        return unit is not None and unit.active == "deactivating"
    return not (unit.file_state.startswith("enabled") and is_missing_a_dependency(_last_words(unit.name)))


def _last_words(unit: str) -> tuple[str, ...]:
    """The last lines of a unit's journal of the last hour, since the boot; none if it cannot be read."""
    from ops.collect.logs.journal import unit_records
    from ops.collect.logs.lines import JournalError

    try:
        age = min(time.clock_gettime(time.CLOCK_BOOTTIME), DEPENDENCY_SECONDS)
        records, _ = unit_records(unit, time.time() - age, lines=_LAST_WORDS)
    except JournalError:
        return ()
    return tuple(record.message.decode("utf-8", "replace") for record in records)


# --- restart ----------------------------------------------------------------------------------------------------------


def restart(
    supervisor: Supervisor,
    settings: Settings,
    *,
    master: ProcessRef | None,
    workers: Iterable[ProcessRef],
    reacts: bool,
    is_free: Callable[[], bool],
    tell: Callable[[Stale], None],
) -> subprocess.Popen[bytes] | None:
    """End what is left of the service, wait until its address is free, and start it.

    ``reacts``: whether the master can be asked to end; a stopped or hung one is killed. ``is_free``: whether the
    service's address is free; ``tell`` hears of stale pidfiles. Returns the started command if it still runs: it is
    the caller's child, in its own session, and not ended with the caller. Raises RestartError, NotAllowedError."""
    if (why_not := refusal(supervisor)) is not None:
        raise RestartError(why_not)
    survivors = end((master,), GRACE) if master and reacts else kill((master,)) if master else ()
    # Workers end by themselves when their master has gone, except stuck ones, and those hold the port.
    survivors += kill(workers)
    if survivors:
        raise RestartError(
            f"process {survivors[0].pid} survives SIGKILL (uninterruptible sleep); a start would collide with it"
        )
    deadline = time.monotonic() + PORT_FREE_WITHIN
    while not is_free():
        if time.monotonic() > deadline:
            raise RestartError(
                "the service's address is still held after its processes ended; nothing was started"
            )
        time.sleep(0.05)
    return start_unhindered(supervisor, settings, tell)


def start_unhindered(
    supervisor: Supervisor, settings: Settings, tell: Callable[[Stale], None]
) -> subprocess.Popen[bytes] | None:
    """Remove stale pidfiles, of which ``tell`` hears, and `start`. Raises RestartError; InUseError if a pidfile names
    this service after all."""
    for stale in remove_stale(settings, supervisor.pidfiles):
        tell(stale)
    return start(supervisor)


def start(supervisor: Supervisor) -> subprocess.Popen[bytes] | None:
    """Start the service. Raises RestartError if the supervisor or the command refuses."""
    if supervisor.unit is not None:
        _systemctl("reset-failed", supervisor.unit, check=False)
        _systemctl("restart", supervisor.unit, check=True, seconds=_seconds_to_wait(supervisor))
        return None
    if (why_not := refusal(supervisor)) is not None:
        raise RestartError(why_not)
    plan = plan_start(supervisor)
    output = _open_output(supervisor.output)
    try:
        process = subprocess.Popen(
            (_program(plan) or plan.argv[0], *plan.argv[1:]),
            cwd=plan.cwd if plan.account is None else None,
            env=_environment(plan),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_before_exec(plan) if plan.launch is not None else None,
        )
    except (OSError, subprocess.SubprocessError) as error:
        detail = error.strerror if isinstance(error, OSError) else _as_whom(plan)
        raise RestartError(f"{plan.argv[0]}: {detail or error}") from None
    finally:
        os.close(output)
    try:
        code = process.wait(timeout=FAILS_WITHIN)
    except subprocess.TimeoutExpired:
        return process
    if code != 0:
        raise RestartError(
            f"{plan.argv[0]} ended with exit code {code}{_run_as(plan)}; see {supervisor.output}"
        )
    return None


def _seconds_to_wait(supervisor: Supervisor) -> float:
    """How long systemctl is waited for from now on: what the end of the old processes took is gone."""
    if supervisor.until is None:
        return SYSTEMCTL_SECONDS
    return min(SYSTEMCTL_SECONDS, max(SHORTEST_START, supervisor.until - time.monotonic()))


def check_config(supervisor: Supervisor) -> str | None:
    """The last line of `gunicorn --check-config`, run as the service is started, if it fails; None if it passes, or
    cannot be tried: a unit or a script starts the service, or it takes too long."""
    if supervisor.unit is not None or refusal(supervisor) is not None:
        return None
    plan = plan_start(supervisor)
    if gunicorn_at(plan.argv) is None:
        return None
    try:
        ran = subprocess.run(
            (_program(plan) or plan.argv[0], *plan.argv[1:], "--check-config"),
            cwd=plan.cwd if plan.account is None else None,
            env=_environment(plan),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CHECK_SECONDS,
            start_new_session=True,
            preexec_fn=_before_exec(plan) if plan.launch is not None else None,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    if ran.returncode == 0:
        return None
    lines = (ran.stderr or ran.stdout).decode(errors="replace").strip().splitlines()
    return safe_line(lines[-1]) if lines else f"exit code {ran.returncode}"


def control_unit(verb: str, unit: str) -> None:
    """Have systemctl start, stop, restart or reload the unit. Raises RestartError."""
    _systemctl(verb, unit, check=True)


def reload_units() -> None:
    """Have systemd read its units again, if it is the init. Raises RestartError."""
    if SYSTEMD_RUNS.is_dir():
        _systemctl("daemon-reload", check=True)


def _program(plan: StartPlan) -> str | None:
    """The program's path, by the $PATH that it gets."""
    path = _environment(plan).get(b"PATH")
    return search(plan.argv[0], None if path is None else os.fsdecode(path))


def _as_whom(plan: StartPlan) -> str:
    uid = plan.account.uid if plan.account else os.geteuid()
    return f"could not be run as user {uid} in {plan.cwd}"


def _run_as(plan: StartPlan) -> str:
    if plan.account is None:
        return ""
    return f", run as user {plan.account.uid}, as whom the service ran"


def _environment(plan: StartPlan) -> Mapping[bytes, bytes]:
    """The command's environment: the remembered one, else the caller's own."""
    environment = plan.launch.variables if plan.launch is not None else _own_environment()
    if not plan.is_roots:
        return environment
    safe = trusted_environment({os.fsdecode(name): os.fsdecode(value) for name, value in environment.items()})
    return {os.fsencode(name): os.fsencode(value) for name, value in safe.items()}


def _own_environment() -> dict[bytes, bytes]:
    return {name: value for name, value in os.environb.items() if os.fsdecode(name) not in _NOT_INHERITED}


def _before_exec(plan: StartPlan) -> Callable[[], None]:
    """What the child does before exec: limits while it may still raise them, then the user, then the directory with no
    more than that user's rights."""
    launch, account, cwd = plan.launch, plan.account, plan.cwd
    assert launch is not None  # noqa: S101  its caller has looked
    limits = [
        (getattr(resource, name), pair) for name, pair in launch.limits.items() if hasattr(resource, name)
    ]

    def prepare() -> None:
        for number, pair in limits:
            # An unprivileged caller cannot raise what it does not have (setrlimit(2)).
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(number, pair)
        if account is not None:
            become(account)
            if cwd is not None:
                os.chdir(cwd)
        os.umask(launch.umask)

    return prepare


def _open_output(path: Path) -> int:
    """Open the file that a start command's output is appended to; /dev/null if it cannot be written."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        if path.exists() and path.stat().st_size > MAX_OUTPUT_BYTES:
            path.unlink()
        descriptor = os.open(path, flags, 0o600)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.set_blocking(descriptor, True)
    return descriptor


def _systemctl(verb: str, *units: str, check: bool, seconds: float | None = None) -> None:
    program, words = trusted_program("systemctl"), " ".join((verb, *units))
    try:
        if program is None:
            raise FileNotFoundError("there is no systemctl on the path that is root's alone")
        ran = subprocess.run(
            [program, verb, *units],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SYSTEMCTL_SECONDS if seconds is None else seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        if check:
            raise RestartError(f"systemctl {words}: {error}") from None
        return
    if check and ran.returncode != 0:
        raise RestartError(f"systemctl {words}: {ran.stderr.strip()[:200]}")
