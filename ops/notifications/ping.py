"""The dead man's switch: requests that a service elsewhere expects; it raises the alarm when they do not come.

A request is sent by a child process, so that a resolver or a peer that hangs delays no work and a crash there harms
none. The forms are those of https://healthchecks.io/docs/http_api/ and of Uptime Kuma's push monitors.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

import ops
from ops.notifications.delivery_result import DeliveryOutcome, DeliveryResult
from ops.notifications.destination import masked
from ops.notifications.sandbox import environment_for_sending
from ops.settings import Settings
from ops.text.language import Text
from ops.text.sanitize import safe_line

# How long one request may take, seconds.
WITHIN_S = 3.0
# What a child may take besides: Python's start and its modules, on a busy host.
_START_S = 3.0
# The watchdog's requests are this far apart while nothing changes, seconds.
WATCHDOG_EVERY_S = 60.0
# A cycle that begins a little early is not a minute early.
_JITTER_S = 1.0
# Exit codes of every command: 0 ok, 1 warning; 2 failing and 3 unknown are failures.
_SUCCESSES = (0, 1)
_UNKNOWN = 3
_MAX_ANSWER_BYTES = 1 << 16
_MAX_REASON_CHARS = 300
_PUSH_PATH = "/api/push/"
_NO_ANSWER = Text(en="no answer in time", zh="未及时应答")
_NOT_STARTED = Text(en="the sending process could not be started", zh="无法启动发送进程")


class PingEvent(StrEnum):
    """What a request says of the work."""

    START = "start"
    SUCCESS = "success"
    FAILURE = "failure"


class PingKind(StrEnum):
    """Whose form a request has."""

    HEALTHCHECKS = "healthchecks"
    UPTIME_KUMA = "uptime-kuma"


class PingRequest(msgspec.Struct, frozen=True):
    """One request of the sending process. ``within``: its length in seconds. ``ca_file``: of roots that are trusted
    beside the public ones."""

    url: str
    within: float
    ca_file: str = ""


class PingFailure(msgspec.Struct, frozen=True):
    """A request that was not accepted. ``destination`` holds no secret."""

    task: str
    destination: str
    reason: Text


def kind_of(url: str, setting: str = "auto") -> PingKind:
    """The kind that ``notify.ping.kind`` sets; for ``auto`` by the URL's path."""
    if setting != "auto":
        return PingKind(setting)
    return PingKind.UPTIME_KUMA if _PUSH_PATH in urlsplit(url).path else PingKind.HEALTHCHECKS


def event_of(exit_code: int) -> PingEvent:
    """The event that a command's exit code is."""
    return PingEvent.SUCCESS if exit_code in _SUCCESSES else PingEvent.FAILURE


def event_url(url: str, kind: PingKind, event: PingEvent, words: str) -> str | None:
    """The URL to request for ``event``; None where the service has no such request.

    ``words``: shown beside the state by Uptime Kuma. A query of Healthchecks' (``?create=1``, ``?rid=``) is kept."""
    parts = urlsplit(url)
    if kind is PingKind.UPTIME_KUMA:
        if event is PingEvent.START:
            return None
        state = {"status": "up" if event is PingEvent.SUCCESS else "down", "msg": words}
        query = [
            (name, value)
            for name, value in parse_qsl(parts.query, keep_blank_values=True)
            if name not in (*state, "ping")
        ]
        return urlunsplit(parts._replace(query=urlencode([*query, *state.items()]), fragment=""))
    suffix = {PingEvent.START: "/start", PingEvent.SUCCESS: "", PingEvent.FAILURE: "/fail"}[event]
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + suffix, fragment=""))


class _Child:
    """The process that sends one request."""

    def __init__(self, url: str, ca_file: str) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._give_up = time.monotonic() + WITHIN_S + _START_S
        environment = environment_for_sending(os.environ)
        here = str(Path(ops.__file__).resolve().parent.parent)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [here, environment.get("PYTHONPATH")]))
        with contextlib.suppress(OSError):
            # The URL is a password: it is in no argument and no environment.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "ops.notifications.ping_sender"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError), self._process.stdin as stdin:
                # Less than a pipe holds: writing never waits.
                stdin.write(msgspec.json.encode(PingRequest(url, WITHIN_S, ca_file)) + b"\n")
            self._process.stdin = None

    def result(self) -> DeliveryResult:
        """Wait for what became of the request, at most until it is late."""
        if self._process is None:
            return DeliveryResult(DeliveryOutcome.FAILED, _NOT_STARTED)
        received = b""
        with contextlib.suppress(subprocess.TimeoutExpired):
            received, _ = self._process.communicate(timeout=max(0.0, self._give_up - time.monotonic()))
        self.end()
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.json.decode(received[:_MAX_ANSWER_BYTES], type=DeliveryResult)
        return DeliveryResult(DeliveryOutcome.FAILED, _NO_ANSWER)

    def end(self) -> None:
        """End the process if it runs, and reap it."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


class Ping:
    """The requests of one task (``backup``, ``cert``, ...)."""

    def __init__(self, settings: Settings, task: str) -> None:
        self._task = task
        self._url: str = getattr(settings.notify.ping, task)
        self._kind = kind_of(self._url, settings.notify.ping.kind)
        self._ca_file = settings.notify.ca_file
        self._child: _Child | None = None

    def send(self, event: PingEvent, exit_code: int | None = None) -> None:
        """Begin to send a request, and do not wait for it. One still under way is ended."""
        words = self._task if exit_code is None else f"{self._task}: exit code {exit_code}"
        url = event_url(self._url, self._kind, event, words) if self._url else None
        self.stop()
        self._child = None if url is None else _Child(url, self._ca_file)

    def wait(self) -> PingFailure | None:
        """Wait for the request under way, WITHIN_S and a process's start at most; how it failed, None if it did not."""
        if self._child is None:
            return None
        result = self._child.result()
        self._child = None
        if result.outcome is DeliveryOutcome.ACCEPTED:
            return None
        reason = Text(
            en=safe_line(result.reason.en, _MAX_REASON_CHARS),
            zh=safe_line(result.reason.to("zh"), _MAX_REASON_CHARS),
        )
        return PingFailure(self._task, masked(self._url), reason)

    def stop(self) -> None:
        """End the request under way."""
        if self._child is not None:
            self._child.end()
            self._child = None


class WatchdogPing:
    """The watchdog's requests: once a minute, and at once when success becomes failure or the reverse."""

    def __init__(self, settings: Settings) -> None:
        self._ping = Ping(settings, "watchdog")
        self._next = 0.0
        self._last: PingEvent | None = None

    def after_cycle(self, exit_code: int) -> bool:
        """Begin to send the request that is due after a cycle; whether one was. A cycle that judged nothing sends
        none: the silence is the signal."""
        if exit_code == _UNKNOWN:
            return False
        now, event = time.monotonic(), event_of(exit_code)
        if event is self._last and now < self._next - _JITTER_S:
            return False
        is_in_step = event is self._last and now < self._next + WATCHDOG_EVERY_S
        self._next = (self._next if is_in_step else now) + WATCHDOG_EVERY_S
        self._last = event
        self._ping.send(event, exit_code)
        return True

    def wait(self) -> PingFailure | None:
        """As `Ping.wait`."""
        return self._ping.wait()

    def stop(self) -> None:
        """End the request under way."""
        self._ping.stop()


@contextlib.contextmanager
def around(settings: Settings, task: str, report: Callable[[PingFailure], None]) -> Iterator[None]:
    """Send the start of the block's work, and its end by the exit code that it ends with.

    Nothing here raises or waits before the work has ended; then at most two requests are waited for. ``report`` is
    called if the last one was not accepted."""
    ping = Ping(settings, task)
    exit_code = _UNKNOWN
    try:
        ping.send(PingEvent.START)
        yield
        exit_code = 0
    except SystemExit as end:
        exit_code = 0 if end.code is None else end.code if isinstance(end.code, int) else _UNKNOWN
        raise
    finally:
        try:
            # A report that is read is read before this waits.
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
            # In this order: a start that arrives after the end would look like work that never ended.
            ping.wait()
            ping.send(event_of(exit_code), exit_code)
            if (failure := ping.wait()) is not None:
                report(failure)
        finally:
            ping.stop()
