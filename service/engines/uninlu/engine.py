"""The template and its engines as their worker sees them: started, asked, found dead or stuck, and ended."""

import contextlib
import json
import select
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from service.engines import engine_process
from service.engines.interface import EngineUnavailableError, Slot
from service.engines.liveness import Liveness, state_of
from service.engines.uninlu import process

SLOT: Slot = "extractor"

_LOOK = 0.25  # seconds between two looks at a process that should say something
_LOAD_TIMEOUT = 300.0  # seconds; a cold disk is slow
_FORK_TIMEOUT = 5.0  # seconds; it takes some hundredths
_SENDING = 5.0  # seconds for the few kilobytes of a request
_TELLING = 0.5  # seconds in which the template tells how an engine ended

Loss = Literal["killed", "ended", "stuck"]


class LostError(Exception):
    """A process has ended, or was stuck and has been killed; the message says which and how."""

    def __init__(self, reason: Loss, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True)
class Launch:
    """How the template is to be started."""

    directory: Path
    threads: int  # of an engine
    trusts_code: bool
    program: tuple[str, ...] = ("-m", "service.engines.uninlu.process")  # Python's arguments


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


class Template:
    """A process that has loaded the model and forks engines."""

    def __init__(self, launch: Launch) -> None:
        """Start it and wait until the model is loaded.

        Raises:
            EngineUnavailableError: it refuses the model. LostError: it ended or took too long.
        """
        arguments = [str(launch.directory), str(launch.threads), str(int(launch.trusts_code))]
        self._process, self._channel = engine_process.start(launch.program, arguments, process.ENVIRONMENT)
        self._conversation = Conversation(self._channel, self._process.pid)
        self._ended: dict[int, int] = {}
        self._loads_in_fork = launch.trusts_code
        said = _ready(self, self._conversation, may_sleep=True)
        self.seconds = float(said["seconds"])

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def is_lost(self) -> bool:
        """Whether it has ended or was stopped."""
        return self._process.poll() is not None or state_of(self.pid) in ("T", "t")

    def engine(self) -> "Engine":
        """A new engine, ready.

        Raises:
            LostError: the template, or the new engine, ended or was stuck, and has been killed.
            EngineUnavailableError: the engine refuses the model.
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
            raise LostError("stuck", f"the template {detail}") from None
        return Engine(self, ours, pid, may_sleep=self._loads_in_fork)

    def status_of(self, pid: int) -> int | None:
        """How the engine ended, as ``Popen.returncode``; None: not known."""
        with contextlib.suppress(LostError):
            until = time.monotonic() + _TELLING
            while pid not in self._ended:
                self._note(self._conversation.hear(until, may_sleep=True))
        return self._ended.pop(pid, None)

    def end(self) -> None:
        """Kill it, if it still runs; its engines go on."""
        engine_process.end(self._process, self._channel)

    def _hear_of(self, name: str, until: float) -> dict[str, Any]:
        while True:
            said = self._conversation.hear(until, may_sleep=True)
            if name in said:
                return said
            self._note(said)

    def _note(self, said: dict[str, Any]) -> None:
        self._ended[said["ended"]] = said["status"]


class Engine:
    """One fork of the template. For one thread."""

    def __init__(self, template: Template, channel: socket.socket, pid: int, *, may_sleep: bool) -> None:
        """Wait until it is ready. See ``Template.engine``."""
        self._template = template
        self._channel = channel
        self.pid = pid
        # By its pid and the time of its start: the template, whose child it is, may have buried it.
        with contextlib.suppress(psutil.Error):
            self._process: psutil.Process | None = psutil.Process(pid)
        self._conversation = Conversation(channel, pid)
        try:
            said = _ready(self, self._conversation, may_sleep=may_sleep)
        except LostError as lost:
            raise self.lost(lost) from None
        self.has_scores = bool(said["has_scores"])

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Its answer to ``request``, which should be there in ``seconds``.

        Raises:
            LostError: it ended, or was stuck; it has been killed.
        """
        try:
            self._conversation.say(request)
            return self._conversation.hear(time.monotonic() + seconds, may_sleep=False)
        except LostError as lost:
            raise self.lost(lost) from None

    def idle_loss(self) -> LostError | None:
        """How it was lost while nobody asked it anything, or None; a lost one has been killed."""
        if self._conversation.is_over():
            return self.lost(LostError("ended", "ended"))
        if state_of(self.pid) in ("T", "t"):
            return self.lost(LostError("stuck", "was stopped"))
        return None

    def end(self) -> None:
        """Kill it, if it still runs."""
        self._channel.close()
        if self._process is not None:
            with contextlib.suppress(psutil.Error):
                self._process.kill()

    def lost(self, lost: LostError) -> LostError:
        """Kill it; ``lost`` with the way in which it ended, where the template can tell."""
        status = self._template.status_of(self.pid) if lost.reason == "ended" else None
        self.end()
        name = f"the extractor's process {self.pid}"
        if status is None:
            return LostError(lost.reason, f"{name} {lost}")
        if status < 0:
            return LostError("killed", f"{name} was killed by {signal.Signals(-status).name}")
        return LostError("ended", f"{name} ended with status {status}")


def _ready(owner: Template | Engine, conversation: Conversation, *, may_sleep: bool) -> dict[str, Any]:
    try:
        said = conversation.hear(time.monotonic() + _LOAD_TIMEOUT, may_sleep=may_sleep)
    except LostError:
        owner.end()
        raise
    if not said["ready"]:
        owner.end()
        raise EngineUnavailableError(SLOT, said["reason"], said["detail"])
    return said
