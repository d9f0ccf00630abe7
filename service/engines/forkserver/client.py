"""A template and what it forks, as their worker sees them: started, asked for an engine, found dead, and ended.

The process's side is ``forks``.
"""

import contextlib
import json
import select
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import psutil

from service.engines import child_process
from service.engines.interface import EngineUnavailableError, Slot
from service.engines.liveness import Liveness, state_of

LOAD_TIMEOUT = 300.0  # seconds; a cold disk is slow
# Seconds before the second, third, ... attempt in a row to start a process; the first follows at once.
PAUSES = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_LOOK = 0.25  # seconds between two looks at a process that should say something
_FORK_TIMEOUT = 5.0  # seconds; it takes some hundredths
_SENDING = 5.0  # seconds for the few kilobytes of a request
_TELLING = 0.5  # seconds in which the template tells how an engine ended

Loss = Literal["killed", "ended", "stuck"]


class LostError(Exception):
    """A process has ended, or was stuck and has been killed; the message says which and how."""

    def __init__(self, reason: Loss, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Conversation:
    """Lines of JSON to and from one process. For one thread."""

    def __init__(self, channel: socket.socket, pid: int) -> None:
        self._channel = channel
        self._pid = pid
        self._arrived = bytearray()

    def say(self, members: dict[str, Any]) -> None:
        """Send a line.

        Raises:
            LostError: nobody takes it; the process may still run.
        """
        self._channel.settimeout(_SENDING)
        try:
            line = json.dumps(members, ensure_ascii=False).encode("utf-8", "surrogatepass")
            self._channel.sendall(line + b"\n")
        except TimeoutError:
            raise LostError("stuck", "took no request") from None
        except OSError:
            raise LostError("ended", "ended") from None

    def hear(self, until: float, *, may_sleep: bool) -> dict[str, Any]:
        """The next line. ``until``: of the monotonic clock. ``may_sleep``: see ``Liveness.stuck``.

        Raises:
            LostError: it has ended, or does nothing, or says nothing in time; it may still run.
        """
        liveness = Liveness(self._pid)
        while b"\n" not in self._arrived:
            left = until - time.monotonic()
            self._channel.settimeout(max(0.001, min(_LOOK, left)))
            try:
                part = self._channel.recv(1 << 16)
            except TimeoutError:
                stuck = liveness.stuck(may_sleep=may_sleep) or (
                    "did not answer in time" if left <= 0 else None
                )
                if stuck is not None:
                    raise LostError("stuck", stuck) from None
                continue
            except OSError:
                part = b""
            if not part:
                raise LostError("ended", "ended")
            self._arrived += part
        line, _, rest = bytes(self._arrived).partition(b"\n")
        self._arrived = bytearray(rest)
        said: dict[str, Any] = json.loads(line.decode("utf-8", "surrogatepass"))
        return said

    def is_over(self) -> bool:
        """Whether the other end is closed, or has sent what nobody asked for."""
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        return bool(poll.poll(0))


@dataclass(frozen=True)
class ForkserverLaunch:
    """How a template is to be started."""

    name: str  # "the ... process" in messages
    slot: Slot
    program: tuple[str, ...]  # Python's arguments
    arguments: tuple[str, ...]
    environment: Mapping[str, str]


class Template:
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
        self._conversation = Conversation(self._channel, self._process.pid)
        self._ended: dict[int, int] = {}
        try:
            self.said = self._conversation.hear(time.monotonic() + LOAD_TIMEOUT, may_sleep=True)
        except LostError as lost:
            status = child_process.end_of_lost(self._process, self._channel, within=_TELLING)
            raise _told(lost, f"the {self.name} process {self.pid}", status) from None
        if not self.said["ready"]:
            self.end()
            raise EngineUnavailableError(launch.slot, self.said["reason"], self.said["detail"])

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
            LostError: the template ended or was stuck, and has been killed.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._channel.settimeout(_SENDING)
                socket.send_fds(self._channel, [b"\n"], [theirs.fileno()])
            pid = self._hear_of("pid", time.monotonic() + _FORK_TIMEOUT)["pid"]
        except (LostError, OSError) as error:
            ours.close()
            self.end()
            detail = str(error) if isinstance(error, LostError) else "takes no order"
            raise LostError("stuck", f"the {self.name} template {detail}") from None
        return Fork(self, ours, pid)

    def status_of(self, pid: int) -> int | None:
        """How a fork ended, as ``Popen.returncode``; None: not known."""
        with contextlib.suppress(LostError):
            until = time.monotonic() + _TELLING
            while pid not in self._ended:
                self._note(self._conversation.hear(until, may_sleep=True))
        return self._ended.pop(pid, None)

    def end(self) -> None:
        """Kill it, if it still runs; its engines go on."""
        child_process.end(self._process, self._channel)

    def _hear_of(self, name: str, until: float) -> dict[str, Any]:
        while True:
            said = self._conversation.hear(until, may_sleep=True)
            if name in said:
                return said
            self._note(said)

    def _note(self, said: dict[str, Any]) -> None:
        self._ended[said["ended"]] = said["status"]


class Fork:
    """The process of an engine, a template's child. For one thread."""

    def __init__(self, template: Template, channel: socket.socket, pid: int) -> None:
        """``channel``: the worker's end of what the fork answers on."""
        self._template = template
        self.channel = channel
        self.pid = pid
        # By its pid and the time of its start: the template, whose child it is, may have buried it.
        self._process: psutil.Process | None = None
        with contextlib.suppress(psutil.Error):
            self._process = psutil.Process(pid)

    def end(self) -> None:
        """Kill it, if it still runs."""
        self.channel.close()
        if self._process is not None:
            with contextlib.suppress(psutil.Error):
                self._process.kill()

    def lost(self, lost: LostError) -> LostError:
        """Kill it; ``lost`` with the way in which it ended, where the template can tell."""
        status = self._template.status_of(self.pid) if lost.reason == "ended" else None
        self.end()
        return _told(lost, f"the {self._template.name} process {self.pid}", status)


def _told(lost: LostError, name: str, status: int | None) -> LostError:
    if status is None:
        return LostError(lost.reason, f"{name} {lost}")
    if status < 0:
        return LostError("killed", f"{name} was killed by {signal.Signals(-status).name}")
    return LostError("ended", f"{name} ended with status {status}")
