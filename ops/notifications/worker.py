"""The process that sends: `python -m ops.notifications.worker`, started by ops.notifications.worker_client for a round.

A process of its own because Apprise with its plug-ins takes more memory than the whole watchdog may, and because a
hanging destination can then be ended at the deadline, which a thread cannot. It reads one JSON line from standard
input (URLs are passwords: they are in no argument list and no environment) and writes one JSON line a message sent.
To each the parent answers with its number once the verdict is on disk; only then the same destination's next message
is sent, so that a crash of either costs one duplicate and no more. It ends when standard input does: it never outlives
its parent. Started by root, it becomes a user without privileges before it connects to anyone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from ops.notifications.delivery_result import ACCEPTED, DeliveryOutcome, DeliveryResult, temporary_status
from ops.notifications.destination import scrubbed
from ops.notifications.message import MessageKind
from ops.text.language import Text, verbatim

# Apprise's plug-ins log this where the peer answered with anything but 2xx.
_STATUS_IN_LOG = re.compile(r"\berror=(\d{3})\b")

_UNKNOWN_URL = Text(en="not a URL that Apprise can use", zh="不是 Apprise 可用的地址")
_NO_REASON = Text(en="not sent; Apprise gave no reason", zh="发送失败，Apprise 未说明原因")
_STILL_ROOT = Text(
    en="not sent: the sending process cannot give up root ({}); it needs CAP_SETUID and CAP_SETGID",
    zh="未发送：发送进程无法放弃 root 权限（{}），需要 CAP_SETUID 和 CAP_SETGID",
)


class Letter(msgspec.Struct, frozen=True):
    """One message for one destination. ``number``: what its verdict is reported under."""

    number: int
    title: str
    body: str
    kind: MessageKind


class Round(msgspec.Struct, frozen=True):
    """Everything to send in one process: letters by URL, in order. ``within``: seconds for all."""

    routes: tuple[tuple[str, tuple[Letter, ...]], ...]
    within: float


class Report(msgspec.Struct, frozen=True):
    """What became of one letter, and how many seconds it took."""

    number: int
    verdict: DeliveryResult
    seconds: float


def send_all(work: Round, report: Callable[[Report], None]) -> None:
    """Send every letter, destinations side by side; behind one that was not accepted its later ones wait.

    ``report`` returns once the verdict is safe.
    """
    import apprise

    asset = apprise.AppriseAsset(
        app_id="gte-ops", app_desc="gte-ops", secure_logging=True, storage_mode="memory"
    )
    deadline = time.monotonic() + work.within
    threads = [
        threading.Thread(target=_send_route, args=(url, letters, asset, deadline, report), daemon=True)
        for url, letters in work.routes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def _send_route(
    url: str, letters: tuple[Letter, ...], asset: Any, deadline: float, report: Callable[[Report], None]
) -> None:
    for letter in letters:
        started = time.monotonic()
        try:
            verdict = _send(url, letter, asset, max(0.5, deadline - started))
        except Exception as error:  # noqa: BLE001  (a plug-in's defect is that destination's failure, no one else's)
            verdict = DeliveryResult(
                DeliveryOutcome.FAILED, verbatim(scrubbed(f"{type(error).__name__}: {error}", url))
            )
        report(Report(letter.number, verdict, time.monotonic() - started))
        if verdict.outcome in (DeliveryOutcome.FAILED, DeliveryOutcome.UNUSABLE):
            return


def _send(url: str, letter: Letter, asset: Any, within: float) -> DeliveryResult:
    import apprise

    from ops.notifications.plugin import MalformedUrlError, RobotPlugin

    try:
        plugin = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=False)
    except MalformedUrlError as error:
        return DeliveryResult(DeliveryOutcome.UNUSABLE, verbatim(str(error)))
    except Exception:  # noqa: BLE001  (each plug-in refuses a URL in its own way; the message may quote it)
        plugin = None
    if plugin is None:
        return DeliveryResult(DeliveryOutcome.UNUSABLE, _UNKNOWN_URL)
    plugin.socket_connect_timeout = min(plugin.socket_connect_timeout, within)
    plugin.socket_read_timeout = min(max(plugin.socket_read_timeout, 10.0), within)
    kinds = {
        MessageKind.TROUBLE: apprise.NotifyType.FAILURE,
        MessageKind.PAGE: apprise.NotifyType.FAILURE,
        MessageKind.RECOVERED: apprise.NotifyType.SUCCESS,
    }
    with _complaints() as said:
        accepted = plugin.notify(
            title=letter.title,
            body=letter.body,
            notify_type=kinds.get(letter.kind, apprise.NotifyType.INFO),
            body_format=apprise.NotifyFormat.TEXT,
        )
    if isinstance(plugin, RobotPlugin) and plugin.verdict is not None:
        verdict = plugin.verdict
        reason = Text(en=scrubbed(verdict.reason.en, url), zh=scrubbed(verdict.reason.zh, url))
        return DeliveryResult(verdict.outcome, reason, verdict.retry_after)
    return ACCEPTED if accepted else _from_log(said, url)


def _from_log(said: list[str], url: str) -> DeliveryResult:
    """The verdict on a plug-in of Apprise's own, which says no more than a log line."""
    statuses = [int(match[1]) for line in said if (match := _STATUS_IN_LOG.search(line))]
    permanent = bool(statuses) and not any(temporary_status(status) for status in statuses)
    reason = verbatim(scrubbed(said[-1], url)) if said else _NO_REASON
    return DeliveryResult(DeliveryOutcome.REFUSED if permanent else DeliveryOutcome.FAILED, reason)


@contextlib.contextmanager
def _complaints() -> Iterator[list[str]]:
    """What Apprise warns of in this thread meanwhile. Nothing below warning: its debug lines hold whole URLs."""
    said: list[str] = []
    thread = threading.get_ident()

    class ComplaintHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread and len(said) < 20:
                said.append(record.getMessage()[:1000])

    listener = ComplaintHandler(logging.WARNING)
    log = logging.getLogger("apprise")
    log.addHandler(listener)
    try:
        yield said
    finally:
        log.removeHandler(listener)


def refuse_all(work: Round, why: str, report: Callable[[Report], None]) -> None:
    """Send nothing, and report ``why`` for each destination's first letter: the later ones wait behind it."""
    verdict = DeliveryResult(
        DeliveryOutcome.FAILED, Text(en=_STILL_ROOT.en.format(why), zh=_STILL_ROOT.zh.format(why))
    )
    for _, letters in work.routes:
        for letter in letters[:1]:
            report(Report(letter.number, verdict, 0.0))


class Parent:
    """Who started this process: hears the reports, and says which of them are safe."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._safe: set[int] = set()

    def report(self, result: Report) -> None:
        """Hand over one verdict; returns when it is on disk."""
        with self._change:
            sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
            sys.stdout.buffer.flush()
            self._change.wait_for(lambda: result.number in self._safe)

    def listen(self) -> None:
        """Take in the answers; ends this process when its parent has gone."""
        for line in sys.stdin.buffer:
            with self._change:
                self._safe.add(int(line))
                self._change.notify_all()
        os._exit(0)


def main() -> None:
    """Send the round that standard input holds, one report a line on standard output."""
    from ops.notifications import proxy_bypass, sandbox
    from ops.notifications.plugin import register

    # Nothing of a library's logging reaches anyone: it may quote a URL.
    logging.getLogger("apprise").propagate = False
    logging.getLogger("apprise").addHandler(logging.NullHandler())
    work = msgspec.json.decode(sys.stdin.buffer.readline(), type=Round)
    proxy_bypass.install()
    register()
    still_root = ""
    try:
        sandbox.enter(url for url, _ in work.routes)
    except OSError as error:
        still_root = error.strerror or type(error).__name__
    parent = Parent()
    threading.Thread(target=parent.listen, daemon=True).start()
    if still_root:
        refuse_all(work, still_root, parent.report)
    else:
        send_all(work, parent.report)
    # Threads that still hang are not waited for, and neither is what a library runs at the interpreter's end.
    os._exit(0)


if __name__ == "__main__":
    main()
