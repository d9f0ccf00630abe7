"""The sending process: `python -m ops.notifications.worker`, started by ops.notifications.worker_client for a round.

It is a separate process because Apprise with its plug-ins takes more memory than the whole watchdog may, and because a
process with a hanging destination can be ended at the deadline, unlike a thread. It reads one JSON line from standard
input (URLs are passwords: they are in no argument list and no environment) and writes one JSON line for each message
sent. The parent answers with its number once the result is on disk; only then is the same destination's next message
sent, so that a crash of either costs at most one duplicate. It ends when standard input does, so it never outlives its
parent. Started by root, it becomes a user without privileges before it connects to anyone.
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
from ops.text.reasons import chinese

# Apprise's plug-ins log this if the peer did not answer 2xx.
_STATUS_IN_LOG = re.compile(r"\berror=(\d{3})\b")

_UNKNOWN_URL = Text(en="not a URL that Apprise can use", zh="不是 Apprise 可用的地址")
_NO_REASON = Text(en="not sent; Apprise gave no reason", zh="发送失败，Apprise 未说明原因")
_STILL_ROOT = Text(
    en="not sent: the sending process cannot give up root ({}); it needs CAP_SETUID and CAP_SETGID",
    zh="未发送：发送进程无法放弃 root 权限（{}），需要 CAP_SETUID 和 CAP_SETGID",
)


class Letter(msgspec.Struct, frozen=True):
    """One message for one destination. ``number``: identifies it in reports."""

    number: int
    title: str
    body: str
    kind: MessageKind


class Round(msgspec.Struct, frozen=True):
    """All messages of one process: letters by URL, in order. ``within``: seconds for all. ``ca_file``: of roots that
    are trusted beside the public ones."""

    routes: tuple[tuple[str, tuple[Letter, ...]], ...]
    within: float
    ca_file: str = ""


class Report(msgspec.Struct, frozen=True):
    """The result for one letter, and the seconds it took."""

    number: int
    verdict: DeliveryResult
    seconds: float


def send_all(work: Round, report: Callable[[Report], None]) -> None:
    """Send every letter, destinations in parallel; a destination's later letters wait behind one that was not accepted.

    ``report`` returns once the result is on disk.
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
        return DeliveryResult(DeliveryOutcome.UNUSABLE, Text(en=str(error), zh=chinese(error)))
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
    with _complaints() as complaints:
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
    return ACCEPTED if accepted else _from_log(complaints, url)


def _from_log(complaints: list[str], url: str) -> DeliveryResult:
    """The result of one of Apprise's own plug-ins, which only writes a log line."""
    statuses = [int(match[1]) for line in complaints if (match := _STATUS_IN_LOG.search(line))]
    permanent = bool(statuses) and not any(temporary_status(status) for status in statuses)
    reason = verbatim(scrubbed(complaints[-1], url)) if complaints else _NO_REASON
    return DeliveryResult(DeliveryOutcome.REFUSED if permanent else DeliveryOutcome.FAILED, reason)


@contextlib.contextmanager
def _complaints() -> Iterator[list[str]]:
    """Collect Apprise's warnings in this thread during the block. Nothing below warning: its debug lines contain whole
    URLs."""
    complaints: list[str] = []
    thread = threading.get_ident()

    class ComplaintHandler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread and len(complaints) < 20:
                complaints.append(record.getMessage()[:1000])

    listener = ComplaintHandler(logging.WARNING)
    log = logging.getLogger("apprise")
    log.addHandler(listener)
    try:
        yield complaints
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
    """The process that started this one: it receives the reports, and confirms those on disk."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._safe: set[int] = set()

    def report(self, result: Report) -> None:
        """Hand over one result; return when it is on disk."""
        with self._change:
            sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
            sys.stdout.buffer.flush()
            self._change.wait_for(lambda: result.number in self._safe)

    def listen(self) -> None:
        """Read the confirmations; end this process when its parent has gone."""
        for line in sys.stdin.buffer:
            with self._change:
                self._safe.add(int(line))
                self._change.notify_all()
        os._exit(0)


def main() -> None:
    """Send the round from standard input, and write one report a line to standard output."""
    from ops.notifications import proxy_bypass, sandbox
    from ops.notifications.plugin import register

    # Discard the libraries' logs, which may quote a URL.
    logging.getLogger("apprise").propagate = False
    logging.getLogger("apprise").addHandler(logging.NullHandler())
    work = msgspec.json.decode(sys.stdin.buffer.readline(), type=Round)
    proxy_bypass.install()
    register()
    still_root = ""
    try:
        sandbox.enter((url for url, _ in work.routes), work.ca_file)
    except OSError as error:
        still_root = error.strerror or type(error).__name__
    parent = Parent()
    threading.Thread(target=parent.listen, daemon=True).start()
    if still_root:
        refuse_all(work, still_root, parent.report)
    else:
        send_all(work, parent.report)
    # Do not wait for hanging threads, nor for the libraries' exit handlers.
    os._exit(0)


if __name__ == "__main__":
    main()
