"""Recognize users' failed requests that are no evidence about the running service: those before the last start, and
those whose cause has ended since."""

from __future__ import annotations

import re

from ops.diagnosis.checks.log_reading import Raised
from ops.facts.logs import Log, LogEntry, Logs
from ops.facts.traffic import Answers
from ops.interpret.exception_words import explained
from ops.interpret.nginx_error_line import upstream
from ops.interpret.traffic import LocatedTraffic

# Names of exception classes from outside the application (files, sockets, databases, other services): their cause can
# end without a restart. The cause of any other exception remains until other code runs.
_OF_THE_HOST = re.compile(
    r"^(?:[\w.]+\.)?(?:\w*(?:Operational|Interface|Connection|ConnectionRefused|ConnectionReset|ConnectionAborted"
    r"|BrokenPipe|Timeout|ServerSelectionTimeout|Permission|FileNotFound|NotADirectory|BlockingIO|OS|IO|URL|MaxRetry"
    r"|Redis|Busy|ReadOnly|Memory)Error|\w*(?:Connect|Read|Connection|Pool)Timeout|gaierror|herror|timeout"
    r"|RuntimeError: can't start new thread)\b"
)
# A fault is over if so many successes in a row are less probable than this while it persists.
_BY_CHANCE = 0.01
_REQUEST = re.compile(r'[\s"\[\]?]+')


def is_of_earlier_worker(entry: LogEntry, since: float, logs: Logs) -> bool:
    """Whether a log line was written before the running processes were started at ``since``.

    Log times are whole seconds: in the second of the start the worker's pid decides, if the line has one."""
    if entry.time < int(since) or entry.time >= int(since) + 1:
        return entry.time < int(since)
    return bool(logs.serving) and entry.pid is not None and entry.pid not in logs.serving


def is_of_before_the_start(answers: Answers, since: float, logs: Logs) -> bool:
    """Whether failures that were all logged by the second of the start (``since``) came before it: by the pid of the
    worker that logged them; if none did, by successes after the last of them."""
    if answers.last >= int(since) + 1:
        return False
    pids = {
        entry.pid
        for entry in _entries(logs)
        if entry.pid is not None and abs(entry.time - answers.last) <= 1.0 and names_path(entry, answers.path)
    }
    if logs.serving and pids:
        return pids.isdisjoint(logs.serving)
    return answers.followed > 0


def is_over(exception: str, answers: Answers, located: LocatedTraffic) -> bool:
    """Whether an exception from outside the application has ended: the same requests have succeeded since then more
    often than is probable while a share of them fails."""
    if not _OF_THE_HOST.match(exception) and explained(exception) is None:
        return False
    probes = [
        probe
        for probe in located.traffic.probes
        if (probe.method, probe.path) == (answers.method, answers.path) and probe.time > answers.last
    ]
    if any(probe.status >= "500" for probe in probes):
        return False
    served = sum(
        item.count
        for item in located.traffic.answers
        if (item.method, item.path) == (answers.method, answers.path) and item.status < "499"
    )
    among = max(0, served - answers.followed - answers.preceded)
    share = (answers.count + 1) / (answers.count + among + 2)
    return bool((1.0 - share) ** (answers.followed + len(probes)) < _BY_CHANCE)


def belongs(raised: Raised, answers: Answers, within: float) -> bool:
    """Whether a traceback belongs to one of these requests: it names their path, or was logged at most ``within``
    seconds before the first or after the last of them."""
    if names_path(raised.entry, answers.path):
        return True
    return answers.first - within <= raised.entry.time <= answers.last + within


def _entries(logs: Logs) -> tuple[LogEntry, ...]:
    """The entries whose pid says which worker failed: a living nginx that complains of its upstream says nothing about
    the age of the service behind it."""
    of_nginx = (
        entry
        for log in logs.nginx_errors.values()
        if isinstance(log, Log)
        for entry in log.entries
        if not upstream(entry.text)
    )
    own = logs.gunicorn_error
    return (*of_nginx, *(own.entries if isinstance(own, Log) else ()))


def names_path(entry: LogEntry, path: str) -> bool:
    """Whether an entry's first line names the path: gunicorn's ``Error handling request POST /x``, Flask's ``Exception
    on /x [POST]``, nginx's ``request: "POST /x?y HTTP/1.1"``."""
    return path in _REQUEST.split(entry.text.partition("\n")[0])
