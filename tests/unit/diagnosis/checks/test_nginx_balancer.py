"""The servers that nginx shares requests among: one that is slow, one of another version."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import diagnose
from ops.facts.base import NotSeen
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Connection, Exchange, Upstreams
from ops.facts.safeguards import Schedule
from ops.facts.snapshot import Snapshot
from ops.report.doctor.json import cause_document
from ops.report.doctor.report import DoctorReport
from ops.report.formats.prometheus import write as write_prometheus
from tests.unit.diagnosis.checks.cases import Case, fires, hold, quiet
from tests.unit.made_snapshot import (
    BACKEND,
    HEALTHY,
    SITE,
    backup_file,
    but,
    exchange,
    nginx_config,
    refused,
    silent_backend,
    unit,
    units,
    without_gunicorn,
)

SECOND, THIRD = "127.0.0.1:8001", "127.0.0.1:8002"
SEVERAL = SITE.replace("server 127.0.0.1:8000;", f"server 127.0.0.1:8000; server {SECOND}; server {THIRD};")
WITHOUT_SECOND = SEVERAL.replace(f"server {SECOND};", f"server {SECOND} down;")


def health(elapsed: float = 0.004, status: int = 200, **words: str) -> Exchange:
    body = json.dumps({"status": "ok", "service": "gte", "version": "0.2.0", "engine": "embedded"} | words)
    return exchange(status=status, body=body, elapsed=elapsed)


def host(second: Exchange, third: Exchange | None = None, site: str = SEVERAL) -> Snapshot:
    answers = {SECOND: second, THIRD: third or health()}
    return but(
        nginx_config=nginx_config(site), backend__health=health(), upstreams=Upstreams(answers=answers)
    )


SILENT = Exchange(method="GET", url="", address=SECOND, failure=ProbeFailure.TIMEOUT, elapsed=9.0)

CASES = [
    fires(
        "NGX048",
        "one of three takes two seconds",
        host(health(2.0)),
        "2.000 s",
        severity=None,
        facts={"address": SECOND, "slow": SECOND, "seconds": "2.0", "usual": "0.004"},
    ),
    quiet("NGX048", "all are alike", host(health())),
    quiet("NGX048", "a little slower is not slow", host(health(0.9))),
    fires(
        "NGX048",
        "two of three are slow",
        host(health(2.0), health(3.0)),
        facts={"address": THIRD, "slow": f"{THIRD}, {SECOND}", "seconds": "3.0", "usual": "0.004"},
    ),
    quiet(
        "NGX048",
        "all are slow: that is the service",
        but(host(health(2.0), health(1.9)), backend__health=health(1.8)),
    ),
    quiet("NGX048", "it does not answer at all: NGX043", host(SILENT)),
    quiet("NGX048", "it is drained", host(health(2.0), site=WITHOUT_SECOND)),
    quiet("NGX048", "there is one server", but(upstreams=Upstreams(answers={SECOND: health(2.0)}))),
    fires(
        "NGX049",
        "one of three has an older version",
        host(health(version="0.1.0")),
        "version 0.1.0, engine embedded",
        facts={"address": SECOND, "different": f"{SECOND} (version 0.1.0, engine embedded)"},
    ),
    fires("NGX049", "one of three runs another engine", host(health(engine="gte")), "engine gte"),
    quiet("NGX049", "all are alike", host(health())),
    quiet("NGX049", "it fails, and says nothing of its version", host(health(status=500, version="0.1.0"))),
    quiet("NGX049", "its answer is no object", host(exchange(status=200, body="[1]"))),
    quiet("NGX049", "its version is no word", host(exchange(status=200, body='{"version": 1}'))),
    quiet("NGX049", "it is drained", host(health(version="0.1.0"), site=WITHOUT_SECOND)),
]


def balancer(connection: Connection) -> Snapshot:
    """A host with nginx alone, whose first server does not take the connection."""
    servers = " ".join(f"server {address};" for address in HOSTS)
    answers = {address: health() for address in HOSTS[1:]}
    return but(
        without_gunicorn(),
        nginx_config=nginx_config(SITE.replace("server 127.0.0.1:8000;", servers)),
        target__backend=HOSTS[0],
        target__upstreams=HOSTS,
        backend=silent_backend(connection),
        upstreams=Upstreams(answers=answers),
        front__health=HEALTHY.front.health,
        front__predict=HEALTHY.front.predict,
    )


HOSTS = ("192.0.2.11:8000", "192.0.2.12:8000", "192.0.2.13:8000")
CUT_OFF = Connection(address=HOSTS[0], failure=ProbeFailure.TIMEOUT, detail="no answer within 2 s")
UNPROVEN = {
    failure: Connection(address=HOSTS[0], failure=failure, detail="Permission denied")
    for failure in (ProbeFailure.PERMISSION, ProbeFailure.OTHER)
}
CASES += [
    fires(
        "NGX043", "the first server is cut off", balancer(CUT_OFF), "no answer within 2 s", severity="warn"
    ),
    fires("NGX043", "the first server refuses", balancer(refused(HOSTS[0])), facts={"address": HOSTS[0]}),
    fires(
        "NGX043",
        "two servers are gone",
        but(balancer(refused(HOSTS[0])), upstreams__answers={HOSTS[1]: SILENT, HOSTS[2]: health()}),
        facts={"dead": f"{HOSTS[0]}, {HOSTS[1]}", "alive": HOSTS[2]},
    ),
    *(
        quiet("NGX043", f"{failure}: the first server may well live", balancer(UNPROVEN[failure]))
        for failure in UNPROVEN
    ),
    quiet("GUN001", "gunicorn is missing on another host, not here", balancer(refused(HOSTS[0]))),
    fires("GUN001", "one server of several is this host's", but(without_gunicorn(), target__upstreams=HOSTS)),
]


def alone(**changes: Any) -> Snapshot:
    """A balancer on which nothing of the service's safeguards is set up."""
    return but(
        balancer(CUT_OFF),
        **{"backups__backups": (), "watchdog": NotSeen(reason="no state"), "schedule": Schedule((), ())}
        | changes,
    )


STOPPED: dict[str, Any] = {"active": "inactive", "sub": "dead"}
DISABLED = STOPPED | {"file_state": "disabled"}
CASES += [
    quiet("OPS003", "a balancer has no service to back up", alone()),
    fires("OPS003", "what is backed up there has become old", alone(backups__backups=(backup_file(ago=40 * 3600),))),
    quiet("OPS006", "a balancer has no service to watch", alone()),
    fires("OPS006", "one of several servers is its own", but(alone(), target__backend="127.0.0.1:8000")),
    quiet("OPS009", "a balancer needs no backup", alone(units=units(unit("gte-ops-backup.timer", **DISABLED)))),
    fires("OPS009", "it was enabled there", alone(units=units(unit("gte-ops-backup.timer", **STOPPED)))),
    fires("OPS009", "a balancer's certificate ends", alone(units=units(unit("gte-ops-cert.timer", **DISABLED)))),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    assert BACKEND == "127.0.0.1:8000"
    hold(case)


def test_each_server_that_it_is_about_is_a_subject_of_the_cause() -> None:
    both = but(balancer(refused(HOSTS[0])), upstreams__answers={HOSTS[1]: SILENT, HOSTS[2]: health()})
    (cause,) = (cause for cause in diagnose(both, CHECKS).causes if cause.code == "NGX043")
    assert cause.subjects == HOSTS[:2]
    assert cause_document(cause, "en")["subjects"] == list(HOSTS[:2])
    page = io.StringIO()
    write_prometheus(DoctorReport(diagnose(both, CHECKS)), "en", page)
    for address in HOSTS[:2]:
        assert f'code="NGX043",severity="warn",layer="nginx",subject="{address}"}} 1' in page.getvalue()
