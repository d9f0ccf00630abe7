"""What the front door wants of whoever comes is no fault: the service is judged from behind."""

from __future__ import annotations

import pytest

from ops.diagnosis.catalogue import catalogue
from ops.diagnosis.checks import CHECKS
from ops.diagnosis.door import from_behind
from ops.diagnosis.engine import diagnose, run_checks
from ops.facts.base import NotSeen
from ops.facts.logs import LogEntry
from ops.facts.probes import Front
from ops.facts.snapshot import Snapshot
from tests.unit.made_snapshot import (
    NOW,
    PREDICT,
    SITE,
    SITE_FILE,
    but,
    exchange,
    nginx_config,
    nginx_logs,
    page,
)

TLS = "listen 443 ssl;"
LIMITED = 'limiting requests, excess: 1.0 by zone "gte_api", client: 127.0.0.1, server: gte-api.example.com'


def at_the_door(
    status: int, directives: str = "", *, location: str = "", health: int | None = None
) -> Snapshot:
    """The front door answers so; ``directives`` stand in the site's server block, ``location`` in its location."""
    site = SITE.replace(TLS, f"{TLS} {directives}")
    site = site.replace("limit_req zone", f"{location} limit_req zone")
    return but(
        nginx_config=nginx_config(site),
        front__predict=page(status, f"{status} No", **PREDICT),
        front__health=page(health or status, f"{status} No"),
    )


def hidden(snapshot: Snapshot) -> str:
    """Why the prediction at the front door says nothing; empty where it counts."""
    front = from_behind(snapshot).front
    assert isinstance(front, Front)
    return front.predict.reason if isinstance(front.predict, NotSeen) else ""


@pytest.mark.parametrize(
    ("snapshot", "demand"),
    [
        (at_the_door(400, "ssl_verify_client on;"), "a client certificate"),
        (
            at_the_door(
                403, "ssl_verify_client optional; if ($ssl_client_verify != SUCCESS) { return 403; }"
            ),
            "a client certificate",
        ),
        (at_the_door(401, "auth_basic Members;"), "a user name and a password"),
        (at_the_door(401, "auth_request /allowed;"), "what /allowed lets in"),
        (at_the_door(403, "allow 10.0.0.0/8; deny all;"), "another address than 127.0.0.1"),
        (at_the_door(403, "deny 127.0.0.0/8;"), "another address than 127.0.0.1"),
        (at_the_door(503, "if (-f /srv/maintenance) { return 503; }"), "a maintenance page is on"),
        (at_the_door(401, location="auth_basic Members;"), "a user name and a password"),
    ],
)
def test_what_the_door_wants_is_said_with_its_place(snapshot: Snapshot, demand: str) -> None:
    reason = hidden(snapshot)
    assert demand in reason
    assert f"at {SITE_FILE}:" in reason
    diagnosis = diagnose(snapshot, CHECKS)
    assert (diagnosis.causes, diagnosis.symptoms, diagnosis.status) == ((), (), "ok")
    door = next(check for check in diagnosis.checks if check.id == "nginx.server_block")
    assert door.status == "skip"
    assert door.skipped_because is not None
    in_chinese = door.skipped_because.to("zh")
    assert in_chinese.startswith("入口要求")
    assert demand not in in_chinese
    assert f"{SITE_FILE}:" in in_chinese


@pytest.mark.parametrize(
    "snapshot",
    [
        at_the_door(403, "deny all;"),
        at_the_door(403, "allow 127.0.0.1; deny all;"),
        at_the_door(401, "auth_basic off;"),
        at_the_door(400),
        at_the_door(500, "ssl_verify_client on; auth_basic Members;"),
        at_the_door(502, "return 503;"),
        at_the_door(429, location="limit_req_status 429;"),
        but(at_the_door(401, "auth_basic Members;"), backend__predict=page(401, "401 No", **PREDICT)),
    ],
    ids=[
        "everybody is shut out",
        "this machine is let in",
        "switched off in this place",
        "nothing asks for anything",
        "no demand answers 500",
        "502 is not what is returned",
        "others are limited too",
        "the service itself says so",
    ],
)
def test_an_answer_that_no_demand_gives_counts(snapshot: Snapshot) -> None:
    assert hidden(snapshot) == ""


def limited(*entries: LogEntry) -> Snapshot:
    return but(
        at_the_door(429, health=200),
        front__health=exchange(200, "{}"),
        logs__nginx_errors=nginx_logs(*entries),
    )


def test_a_limit_that_met_the_doctor_alone_is_no_fault() -> None:
    own = LogEntry(time=NOW + 1, level="error", pid=1, text=LIMITED)
    assert "fewer requests" in hidden(limited(own))
    assert diagnose(limited(own), CHECKS).causes == ()
    earlier = LogEntry(time=NOW - 60, level="error", pid=1, text=LIMITED)
    assert hidden(limited(earlier, own)) == ""
    _, findings = run_checks(limited(earlier, own), CHECKS, catalogue())
    assert "NGX008" in {finding.code for finding in findings}


def test_a_service_that_is_down_behind_a_closed_door_is_named() -> None:
    from tests.unit.made_snapshot import without_gunicorn

    closed = but(
        without_gunicorn(),
        nginx_config=nginx_config(SITE.replace(TLS, f"{TLS} auth_basic Members;")),
        front__predict=page(401, "401 No", **PREDICT),
    )
    assert next(cause.code for cause in diagnose(closed, CHECKS).causes) == "GUN001"
