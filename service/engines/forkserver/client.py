"""A forkserver and its forks as the web worker uses them: start it, have it fork an engine, detect a loss, end it.

The forkserver is a process that has loaded a model and computes nothing. Its own side is ``server``.
"""

import contextlib
import json
import select
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import psutil

from service.engines import child_process
from service.engines.interface import EngineKind, EngineUnavailableError, UnavailableReason
from service.engines.liveness import Liveness, state_of

LOAD_TIMEOUT = 300.0  # seconds; a cold disk is slow
_LIVENESS_CHECK = 0.25  # seconds between two checks of a process that should answer
_FORK_TIMEOUT = 5.0  # seconds; a fork takes some hundredths
_SEND_TIMEOUT = 5.0  # seconds for the few kilobytes of a request
_STATUS_TIMEOUT = 0.5  # seconds in which the forkserver reports how an engine ended


class LossReason(StrEnum):
    """How a process was lost."""

    KILLED = "killed"  # by a signal
    ENDED = "ended"
    STUCK = "stuck"


class LostError(Exception):
    """A process has ended, or was stuck and has been killed; the message says which and how."""

    def __init__(self, reason: LossReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class JsonChannel:
    """Lines of JSON to and from one process. For one thread."""

    def __init__(self, channel: socket.socket, pid: int) -> None:
        self._channel = channel
        self._pid = pid
        self._buffer = bytearray()

    def send(self, members: dict[str, Any]) -> None:
        """Send one message.

        Raises:
            LostError: the process does not read it, or is gone; it may still run.
        """
        self._channel.settimeout(_SEND_TIMEOUT)
        try:
            line = json.dumps(members, ensure_ascii=False).encode("utf-8", "surrogatepass")
            self._channel.sendall(line + b"\n")
        except TimeoutError:
            raise LostError(LossReason.STUCK, "took no request") from None
        except OSError:
            raise LostError(LossReason.ENDED, "ended") from None

    def receive(self, until: float, *, may_sleep: bool) -> dict[str, Any]:
        """The next message. ``until``: on the monotonic clock. ``may_sleep``: see ``Liveness.stuck``.

        Raises:
            LostError: the process has ended, does nothing, or does not answer in time; it may still run.
        """
        liveness = Liveness(self._pid)
        while b"\n" not in self._buffer:
            seconds_left = until - time.monotonic()
            self._channel.settimeout(max(0.001, min(_LIVENESS_CHECK, seconds_left)))
            try:
                part = self._channel.recv(1 << 16)
            except TimeoutError:
                stuck = liveness.stuck(may_sleep=may_sleep) or (
                    "did not answer in time" if seconds_left <= 0 else None
                )
                if stuck is not None:
                    raise LostError(LossReason.STUCK, stuck) from None
                continue
            except OSError:
                part = b""
            if not part:
                raise LostError(LossReason.ENDED, "ended")
            self._buffer += part
        line, _, rest = bytes(self._buffer).partition(b"\n")
        self._buffer = bytearray(rest)
        message: dict[str, Any] = json.loads(line.decode("utf-8", "surrogatepass"))
        return message


@dataclass(frozen=True)
class ForkserverLaunch:
    """How a forkserver is to be started."""

    name: str  # "the ... process" in messages
    kind: EngineKind
    program: tuple[str, ...]  # Python's arguments
    arguments: tuple[str, ...]
    environment: Mapping[str, str]


class Forkserver:
    """A process that has loaded a model and forks engines."""

    def __init__(self, launch: ForkserverLaunch) -> None:
        """Start it and wait until it has loaded.

        Raises:
            EngineUnavailableError: it refuses the model. LostError: it ended or took too long.
        """
        self.name = launch.name
        self._process, self._channel = child_process.start(
            launch.program, launch.arguments, launch.environment
        )
        self._messages = JsonChannel(self._channel, self._process.pid)
        self._exit_statuses: dict[int, int] = {}
        try:
            ready = self._messages.receive(time.monotonic() + LOAD_TIMEOUT, may_sleep=True)
        except LostError as lost:
            status = child_process.end_of_lost(self._process, self._channel, within=_STATUS_TIMEOUT)
            raise _with_process(lost, f"the {self.name} process {self.pid}", status) from None
        if not ready["ready"]:
            self.end()
            raise EngineUnavailableError(launch.kind, UnavailableReason(ready["reason"]), ready["detail"])

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def is_lost(self) -> bool:
        """Whether it has ended or was stopped."""
        return self._process.poll() is not None or state_of(self.pid) in ("T", "t")

    def fork(self) -> "Fork":
        """A new engine's process.

        Raises:
            LostError: the forkserver ended or was stuck, and has been killed.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._channel.settimeout(_SEND_TIMEOUT)
                socket.send_fds(self._channel, [b"\n"], [theirs.fileno()])
            pid = self._forked_pid(time.monotonic() + _FORK_TIMEOUT)
        except (LostError, OSError) as error:
            ours.close()
            self.end()
            detail = str(error) if isinstance(error, LostError) else "accepts no request"
            raise LostError(LossReason.STUCK, f"the {self.name} forkserver {detail}") from None
        return Fork(self, ours, pid)

    def status_of(self, pid: int) -> int | None:
        """How a fork ended, as ``Popen.returncode``; None: not known."""
        # OSError: the forkserver itself has been ended.
        with contextlib.suppress(LostError, OSError):
            until = time.monotonic() + _STATUS_TIMEOUT
            while pid not in self._exit_statuses:
                self._record_exit(self._messages.receive(until, may_sleep=True))
        return self._exit_statuses.pop(pid, None)

    def end(self) -> None:
        """Kill it, if it still runs; its engines go on."""
        child_process.end(self._process, self._channel)

    def _forked_pid(self, until: float) -> int:
        while True:
            message = self._messages.receive(until, may_sleep=True)
            if "pid" in message:
                return int(message["pid"])
            self._record_exit(message)

    def _record_exit(self, message: dict[str, Any]) -> None:
        self._exit_statuses[message["ended"]] = message["status"]


class Fork:
    """The process of an engine, a child of the forkserver. For one thread."""

    def __init__(self, forkserver: Forkserver, channel: socket.socket, pid: int) -> None:
        """``channel``: the worker's end of what the fork answers on."""
        self._forkserver = forkserver
        self.channel = channel
        self.pid = pid
        # psutil compares the start time too: the forkserver may have reaped it, and the pid may be another's by now.
        self._process: psutil.Process | None = None
        with contextlib.suppress(psutil.Error):
            self._process = psutil.Process(pid)

    def end(self) -> None:
        """Kill it, if it still runs."""
        self.channel.close()
        if self._process is not None:
            with contextlib.suppress(psutil.Error):
                self._process.kill()

    def idle_loss(self) -> LostError | None:
        """How it was lost while it had nothing to compute, or None; a lost one has been killed."""
        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        # Closed, or a message that answers no request.
        if poll.poll(0):
            return self.lost(LostError(LossReason.ENDED, "ended"))
        if state_of(self.pid) in ("T", "t"):
            return self.lost(LostError(LossReason.STUCK, "was stopped"))
        return None

    def lost(self, error: LostError) -> LostError:
        """Kill it. Returns ``error`` with the exit status, if the forkserver reports one."""
        status = self._forkserver.status_of(self.pid) if error.reason is LossReason.ENDED else None
        self.end()
        return _with_process(error, f"the {self._forkserver.name} process {self.pid}", status)


def _with_process(error: LostError, name: str, status: int | None) -> LostError:
    if status is None:
        return LostError(error.reason, f"{name} {error}")
    if status < 0:
        return LostError(LossReason.KILLED, f"{name} was killed by {signal.Signals(-status).name}")
    return LostError(LossReason.ENDED, f"{name} ended with status {status}")
