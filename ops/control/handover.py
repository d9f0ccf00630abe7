"""Have a running gunicorn master hand over to a successor, by gunicorn's own means (USR2): both have the same listening
sockets, so no connection is refused and none waits.

systemd takes the successor for the unit's main process by the pidfile (PIDFile=), which names it before the old master
ends: systemd reads it again when the main process exits. By then the successor is systemd's own child, so that a later
stop waits for its requests; it would not if MAINPID= had named it earlier (systemd's service.c: service_sigchld_event,
main_pid_alien).
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from ops.collect.process.start_time import start_ticks
from ops.control.signals import GoneError, is_alive, kill, send, wait_until_gone
from ops.errors import OpsError
from ops.interpret.process_ref import ProcessRef
from ops.text.language import Text

# gunicorn's own suffix for the pidfile of a successor (gunicorn: arbiter.py, start).
SUCCESSOR_SUFFIX = ".2"
# gunicorn looks for its parent once a second (arbiter.py, run).
ASK_AGAIN_SECONDS = 3.0
# Beyond the master's own graceful_timeout (30 s).
END_SECONDS = 60.0
# A successor that does not appear was not started at all.
APPEAR_SECONDS = 20.0
_POLL = 0.05
_PARENT = "GUNICORN_PID"


class HandoverError(OpsError):
    """The old master serves on, and there is no successor."""


def environment_of(master: ProcessRef) -> Path | None:
    """The directory of the Python environment that a master runs in, by its interpreter's path as it was started; None
    if that is not to be read. Links in it are not followed: the path decides what Python imports (site)."""
    with contextlib.suppress(psutil.Error):
        words = psutil.Process(master.pid).cmdline()
        if words and words[0].startswith("/") and "python" in Path(words[0]).name:
            return Path(words[0]).parent.parent
    return None


def successor_of(master: ProcessRef) -> ProcessRef | None:
    """The master that ``master`` started to take its place, if there is one. Workers have the environment that the
    master itself was started with; a successor's names its parent."""
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process(master.pid).children():
            with contextlib.suppress(psutil.Error):
                if child.environ().get(_PARENT) == str(master.pid):
                    return ProcessRef(child.pid, start_ticks(child.pid))
    return None


def workers_of(master: ProcessRef) -> tuple[int, ...]:
    """The children of a master that are no successor."""
    successor = successor_of(master)
    with contextlib.suppress(psutil.Error):
        children = psutil.Process(master.pid).children()
        return tuple(child.pid for child in children if successor is None or child.pid != successor.pid)
    return ()


def start_successor(
    master: ProcessRef, environment: Path, is_ready: Callable[[int], bool], seconds: float
) -> ProcessRef:
    """Have ``master`` start a successor that runs in ``environment``, and wait until ``is_ready`` says so of each of
    its workers. Raises HandoverError, GoneError, NotAllowedError: the successor has been ended."""
    deadline = time.monotonic() + min(seconds, APPEAR_SECONDS)
    ask_again = 0.0
    while (successor := successor_of(master)) is None:
        if time.monotonic() > ask_again:
            # A master that has itself just taken over ignores it until it has noticed that its parent is gone.
            send(master, signal.SIGUSR2)
            ask_again = time.monotonic() + ASK_AGAIN_SECONDS
        if not is_alive(master) or time.monotonic() > deadline:
            raise HandoverError(
                Text(
                    en=f"gunicorn (process {master.pid}) starts no successor (USR2); its error log tells why",
                    zh=f"gunicorn（进程 {master.pid}）没有启动继任者（USR2）；原因见其错误日志",
                )
            )
        time.sleep(_POLL)
    try:
        _wait_until_ready(successor, environment, is_ready, seconds)
    except BaseException:
        end_successor(master)
        raise
    return successor


def _wait_until_ready(
    successor: ProcessRef, environment: Path, is_ready: Callable[[int], bool], seconds: float
) -> None:
    deadline = time.monotonic() + seconds
    while not ((workers := workers_of(successor)) and all(map(is_ready, workers))):
        if not is_alive(successor):
            raise HandoverError(
                Text(
                    en="the new gunicorn ended as it started; the service's error log tells why",
                    zh="新的 gunicorn 启动后随即结束；原因见服务的错误日志",
                )
            )
        if time.monotonic() > deadline:
            raise HandoverError(
                Text(
                    en=f"the new gunicorn has no ready worker after {seconds:.0f} s",
                    zh=f"新的 gunicorn 在 {seconds:.0f} 秒后仍没有就绪的工作进程",
                )
            )
        time.sleep(_POLL)
    place = environment_of(successor)
    if place != environment:
        raise HandoverError(
            Text(
                en=f"the new gunicorn runs in {place}, not in {environment}: this master was started by a version that"
                " cannot hand over to another; run gte-ops service restart once, then again",
                zh=f"新的 gunicorn 运行在 {place}，而不是 {environment}：当前主进程由不能移交给其他版本的旧版本启动；"
                "请先运行一次 gte-ops service restart，然后重试",
            )
        )


def end_successor(master: ProcessRef) -> None:
    """End the successor of ``master``, its workers with it; ``master`` serves on."""
    successor = successor_of(master)
    if successor is None:
        return
    workers = [ProcessRef(pid, start_ticks(pid)) for pid in workers_of(successor)]
    _end(successor, END_SECONDS)
    kill([successor, *workers])


def end_predecessor(master: ProcessRef, successor: ProcessRef, pidfile: Path) -> None:
    """Have ``master`` end, its requests with it, so that ``successor`` is the service alone. Raises HandoverError if it
    does not end; OSError."""
    name_in_pidfile(pidfile)
    _end(master, END_SECONDS)
    if is_alive(master):
        raise HandoverError(
            Text(
                en=f"the old gunicorn (process {master.pid}) does not end within {END_SECONDS:.0f} s",
                zh=f"旧的 gunicorn（进程 {master.pid}）在 {END_SECONDS:.0f} 秒内没有结束",
            )
        )
    if not is_alive(successor):
        raise HandoverError(
            Text(en="the new gunicorn ended with the old one", zh="新的 gunicorn 随旧的一同结束")
        )


def name_in_pidfile(pidfile: Path) -> None:
    """Have the pidfile name the successor from now on: its own file takes the old one's name. The old master leaves a
    pidfile alone that is not its own (gunicorn: pidfile.py, unlink). A rename follows no link."""
    with contextlib.suppress(FileNotFoundError):
        pidfile.with_name(pidfile.name + SUCCESSOR_SUFFIX).rename(pidfile)


def _end(master: ProcessRef, seconds: float) -> None:
    with contextlib.suppress(GoneError):
        send(master, signal.SIGTERM)
    wait_until_gone((master,), seconds)
