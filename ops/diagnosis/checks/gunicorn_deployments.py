"""Whether a restart waits for the requests that are being served.

Sources: gunicorn documentation, signal handling (TERM and HUP wait for workers up to graceful_timeout) and
graceful_timeout (30 s by default)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ops.diagnosis.checks.gunicorn_configuration import (
    determined,
    place_of,
    running_master,
    shown_by,
    with_number,
)
from ops.diagnosis.checks.log_reading import LocatedEntry, entries_with, nginx_entries, require_nginx_log
from ops.diagnosis.checks.nginx_errors import of_this_site
from ops.diagnosis.finding import Finding, check, quote
from ops.facts.base import NotSeen
from ops.facts.gunicorn import Gunicorn, GunicornConfig
from ops.facts.host import Processes
from ops.facts.logs import Log, LogEntry, Logs
from ops.facts.nginx import NginxConfig
from ops.facts.target import Target
from ops.interpret.nginx_error_line import message, request_of
from ops.interpret.traffic import general_path
from ops.text.language import Text, in_seconds

_DEFAULT = 30
_STOPS = ("Handling signal: term", "Handling signal: hup")
# What gunicorn says of a worker that ended otherwise than a restart ends it. A master that ends kills those that are
# left with SIGKILL itself.
_ENDED_OTHERWISE = re.compile(
    r"WORKER TIMEOUT|\(pid:\d+\) was sent SIG(?!TERM|KILL)|exited with code [1-9]|due to signal (?!9\b|15\b)\d"
)
_KILLED = re.compile(r"\(pid:\d+\) was sent SIGKILL|due to signal 9\b")
_CUT = ("upstream prematurely closed connection", "(104: Connection reset by peer)")
# The client was sent nothing yet, and is told 502.
_BEFORE_THE_ANSWER = "while reading response header from upstream"
# Seconds by which the wait may seem shorter, and longer: both logs have whole seconds, and workers take time to end.
_EARLY = 1.0
_LATE = 2.0
# A request longer than gunicorn's own wait is cut off everywhere; again and again, it is more than an accident.
_AGAIN = 2


class _CutOff(NamedTuple):
    """A request that was cut off, and gunicorn's entry about the stop before it."""

    located: LocatedEntry
    stop: LogEntry


@check(
    "gunicorn.deployments",
    "GUN040",
    en="restarts wait for requests that are being served",
    zh="重启会等待正在处理的请求",
)
def deployments(
    logs: Logs,
    target: Target,
    nginx_config: NginxConfig | NotSeen,
    processes: Processes,
    gunicorn: Gunicorn,
) -> Iterator[Finding]:
    """GUN040: gunicorn was told to end or to reload, and just when graceful_timeout was over nginx lost the connection
    of a request that was still being answered; gunicorn names no other end of a worker at that moment."""
    require_nginx_log(logs)
    stops = entries_with(logs.gunicorn_error, *_STOPS)
    entries = of_this_site(nginx_entries(logs, *_CUT), nginx_config, target)
    lost = [pair for pair in entries if _BEFORE_THE_ANSWER in message(pair[1].text)]
    if not stops or not lost or isinstance(logs.gunicorn_error, NotSeen):
        return
    master = running_master(target, processes)
    limit = _seconds(determined("graceful_timeout", "graceful-timeout", master, gunicorn.config))
    cut = [
        _CutOff(pair, stop)
        for pair in lost
        if (stop := next((s for s in reversed(stops) if s.time <= pair[1].time), None)) is not None
        and limit is not None
        and limit - _EARLY <= pair[1].time - stop.time <= limit + _LATE
        and not _ended_otherwise(logs.gunicorn_error, pair[1].time, stop)
    ]
    deployed = len({item.stop.time for item in cut})
    if limit is None or not cut or (limit >= _DEFAULT and deployed < _AGAIN):
        return
    (path, entry), stop = cut[-1]
    request = request_of(entry.text)
    named = f"{request.method} {general_path(request.path)}" if request else None
    place = place_of("graceful_timeout", "graceful-timeout", master, gunicorn.config)
    yield Finding(
        "GUN040",
        (
            quote(logs.gunicorn_error.path, stop.text.partition("\n")[0]),
            quote(path, entry.text.partition("\n")[0]),
            quote(place, f"graceful_timeout = {limit}"),
        ),
        {
            "count": str(len(cut)),
            "limit": in_seconds(str(limit)),
            "request": Text(en=named or "of unknown path", zh=named or "路径未知的请求"),
            "where": place,
        },
        verify=shown_by(place, master),
        fix=_steps(limit, place, gunicorn.config, target),
    )


def _ended_otherwise(log: Log, time: float, stop: LogEntry) -> bool:
    """Whether a worker ended at ``time`` for another reason than ``stop``: by gunicorn's timeout, a crash, or, while
    the master stayed, by somebody's SIGKILL."""
    by_the_master = "term" in stop.text.rpartition("signal:")[2]
    return any(
        abs(entry.time - time) <= _LATE
        and (_ENDED_OTHERWISE.search(entry.text) or (not by_the_master and _KILLED.search(entry.text)))
        for entry in entries_with(log, "WORKER TIMEOUT", "was sent SIG", "due to signal", "exited with code")
    )


def _seconds(value: object) -> int | None:
    """graceful_timeout as a number; gunicorn's default if it is set nowhere, None if it is no number."""
    if value is None:
        return _DEFAULT
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else None


def _steps(
    limit: int, place: str, config: GunicornConfig | NotSeen, target: Target
) -> tuple[str | Text, ...]:
    longer = max(_DEFAULT, 2 * limit)
    advice = Text(
        en=f"Give graceful_timeout more seconds than the longest request takes, {longer} or more ({place}); the unit's"
        " TimeoutStopSec must be longer still",
        zh=f"graceful_timeout 应大于最长请求所需的秒数，至少 {longer}（{place}）；unit 的 TimeoutStopSec 还要更长",
    )
    change: tuple[str | Text, ...] = ()
    if isinstance(config, GunicornConfig) and place.startswith(f"{config.path}:"):
        change = with_number(config, "graceful_timeout", longer)
    return (advice, *change, target.restart_command)


CHECKS = (deployments,)
