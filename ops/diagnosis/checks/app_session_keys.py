"""Judge of the key that signs sessions and tokens: whether all workers have the same.

Sources: Flask documentation (SECRET_KEY), gunicorn documentation (preload_app)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ops.diagnosis.checks.gunicorn_configuration import is_preloaded
from ops.diagnosis.finding import Finding, check, quote
from ops.facts.gunicorn import Gunicorn
from ops.facts.host import Processes
from ops.facts.logs import Logs
from ops.facts.target import Target
from ops.facts.traffic import Answers
from ops.interpret.gunicorn import process_of
from ops.interpret.traffic import LocatedTraffic, all_traffic

# Fewer are one client's.
_FEW = 2
_REFUSED = ("401", "403", "302", "303")


class _Refused(NamedTuple):
    """Requests for one path that were refused while others were answered."""

    located: LocatedTraffic
    refused: Answers
    answered: int


@check(
    "app.session_keys",
    "APP029",
    en="all workers sign sessions with one key",
    zh="所有工作进程用同一个密钥签名会话",
)
def session_keys(logs: Logs, processes: Processes, gunicorn: Gunicorn, target: Target) -> Iterator[Finding]:
    """APP029: the source draws the key at random as it is imported, several workers import it for themselves, and a
    path is refused to a client between two good answers for the same address within seconds."""
    master = process_of(processes, target.gunicorn_master)
    workers = len(target.gunicorn_workers)
    if not logs.drawn_keys or master is None or workers < 2 or is_preloaded(master, gunicorn.config):
        return
    met = next(_refused(logs), None)
    if met is None:
        return
    key, path = logs.drawn_keys[0], f"{met.refused.method} {met.refused.path}"
    yield Finding(
        "APP029",
        (
            quote(key.where, key.written),
            quote(
                met.located.path, f"{met.refused.count} x {path} {met.refused.status}, {met.answered} x 2xx"
            ),
        ),
        {
            "where": key.where,
            "workers": str(workers),
            "request": path,
            "refused": f"{met.refused.count} x {met.refused.status}",
            "answered": str(met.answered),
        },
    )


def _refused(logs: Logs) -> Iterator[_Refused]:
    for located in all_traffic(logs):
        for item in located.traffic.answers:
            answered = sum(
                other.count
                for other in located.traffic.answers
                if (other.method, other.path) == (item.method, item.path) and other.status.startswith("2")
            )
            if item.status in _REFUSED and item.alternating >= _FEW and answered >= _FEW:
                yield _Refused(located, item, answered)


CHECKS = (session_keys,)
