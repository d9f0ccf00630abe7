"""What nginx's error logs prove."""

from __future__ import annotations

from typing import Any

import pytest

from ops.diagnosis.checks.nginx_errors import body_size, capacity, permission, premature_close
from ops.diagnosis.finding import Check, NotJudgedError
from ops.facts.base import NotSeen
from ops.facts.files import AccessStep, Reader
from ops.facts.logs import LogEntry
from ops.facts.snapshot import Snapshot
from ops.facts.traffic import RefusedFile
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.made_snapshot import (
    DOMAIN,
    GUNICORN_ACCESS_LOG,
    HEALTHY,
    MAIN_ERROR_LOG,
    NGINX_ACCESS_LOG,
    NGINX_ERROR_LOG,
    NOW,
    PREDICT,
    access_log,
    but,
    entry,
    gunicorn_log,
    log,
    nginx_logs,
    page,
    without_gunicorn,
)

REQUEST = f'client: 203.0.113.9, server: {DOMAIN}, request: "POST /predict HTTP/1.1", host: "{DOMAIN}"'
ELSEWHERE = REQUEST.replace(DOMAIN, "shop.example.com")
TOO_LARGE = f"*7 client intended to send too large body: 60000000 bytes, {REQUEST}"
FORBIDDEN = f"*8 connect() to unix:/run/gte.sock failed (13: Permission denied) while connecting to upstream, {REQUEST}"
CLOSED = f"*9 upstream prematurely closed connection while reading response header from upstream, {REQUEST}"
CONNECTIONS = "512 worker_connections are not enough"
DESCRIPTORS = "accept4() failed (24: Too many open files)"
BAD_GATEWAY = page(502, "502 Bad Gateway", **PREDICT)


def logged(*entries: LogEntry, base: Snapshot = HEALTHY, **changes: Any) -> Snapshot:
    return but(base, logs__nginx_errors=nginx_logs(*entries), **changes)


def refused(statuses: dict[str, int], text: str = TOO_LARGE) -> Snapshot:
    return logged(entry(text), logs__nginx_access=access_log(NGINX_ACCESS_LOG, statuses))


def closed(*entries: LogEntry, text: str = CLOSED, ago: float = 60.0, base: Snapshot = HEALTHY) -> Snapshot:
    """nginx met a closed connection, and gunicorn's log holds ``entries``."""
    return logged(entry(text, ago=ago), base=base, logs__gunicorn_error=gunicorn_log(*entries))


def denied(mode: int, directory: str = "/run") -> RefusedFile:
    """The socket whose directory has this mode, as nginx's workers are refused it."""
    socket = f"{directory}/gte.sock"
    steps = (
        AccessStep(path=directory, is_directory=True, uid=0, gid=0, mode=mode),
        AccessStep(path=socket, is_directory=False, uid=0, gid=0, mode=0o777),
    )
    worker = Reader(pid=701, user="www-data", uid=33, gids=(33,))
    return RefusedFile(
        path=socket,
        error=13,
        entry=FORBIDDEN,
        log=NGINX_ERROR_LOG,
        count=1,
        last=NOW,
        steps=steps,
        reader=worker,
    )


CASES: list[Case] = [
    fires(
        "NGX009",
        "413 in the access log and the line that says why",
        refused({"200": 90, "413": 3}),
        "60000000 bytes",
        "3 x 413",
        severity="fail",
        facts={"count": "3"},
    ),
    fires(
        "NGX009",
        "the prediction itself is answered 413",
        logged(
            entry(TOO_LARGE),
            logs__nginx_access=NotSeen(reason="off"),
            front__predict=page(413, "413 Request Entity Too Large", **PREDICT),
        ),
    ),
    quiet(
        "NGX009",
        "a 413 without the line may be the service's own",
        but(logs__nginx_access=access_log(NGINX_ACCESS_LOG, {"413": 3})),
    ),
    quiet("NGX009", "the line without a 413", refused({"200": 90})),
    quiet(
        "NGX009",
        "another site's clients",
        refused({"200": 90, "413": 3}, TOO_LARGE.replace(REQUEST, ELSEWHERE)),
    ),
    fires("NGX015", "connections", logged(entry(CONNECTIONS, level="alert")), severity="fail"),
    fires(
        "NGX015",
        "descriptors",
        logged(entry(DESCRIPTORS, level="crit")),
        facts={"message": "Too many open files (1x)"},
    ),
    fires(
        "NGX015",
        "in the error log of somebody else",
        but(
            logs__nginx_errors={
                NGINX_ERROR_LOG: log(NGINX_ERROR_LOG),
                MAIN_ERROR_LOG: log(MAIN_ERROR_LOG, entry(CONNECTIONS, level="alert")),
            }
        ),
        CONNECTIONS,
    ),
    quiet("NGX015", "nothing of the kind is logged", HEALTHY),
    quiet(
        "NGX015",
        "gunicorn's own trouble is not nginx's",
        but(logs__gunicorn_error=gunicorn_log(entry("[Errno 24] Too many open files"))),
    ),
    fires(
        "NGX016",
        "the socket's mode",
        logged(entry(FORBIDDEN, level="crit"), front__predict=BAD_GATEWAY),
        severity="fail",
        facts={"message": "connect() to unix:/run/gte.sock failed (13: Permission denied)"},
    ),
    fires(
        "NGX016",
        "one of several: predictions pass, and a connect failed meanwhile",
        logged(entry(FORBIDDEN, level="crit", ago=-1)),
    ),
    fires(
        "NGX016",
        "a directory above the socket is closed",
        logged(
            entry(FORBIDDEN, level="crit"), front__predict=BAD_GATEWAY, logs__refused_socket=denied(0o750)
        ),
        "stat /run 0750, uid 0, gid 0",
    ),
    quiet("NGX016", "it was mended: predictions pass since", logged(entry(FORBIDDEN, level="crit"))),
    quiet(
        "NGX016",
        "a file nginx may not open is no connection",
        logged(
            entry('open() "/srv/x" failed (13: Permission denied)', level="crit"), front__predict=BAD_GATEWAY
        ),
    ),
    quiet(
        "NGX016",
        "another site's upstream",
        logged(entry(FORBIDDEN.replace(REQUEST, ELSEWHERE)), front__predict=BAD_GATEWAY),
    ),
    fires(
        "NGX019",
        "nothing in gunicorn's log tells why",
        closed(entry("Booting worker with pid: 905", ago=60)),
        "Booting worker",
        severity="fail",
        facts={"count": "1"},
    ),
    fires(
        "NGX019",
        "a time-out long before is another matter",
        closed(entry("WORKER TIMEOUT (pid:901)", ago=300)),
    ),
    fires("NGX019", "logs reopened meanwhile end no worker", closed(entry("Handling signal: usr1", ago=60))),
    quiet("NGX019", "nobody hung up", HEALTHY),
    *(
        quiet("NGX019", f"the worker's end is told: {words}", closed(entry(words, ago=61)))
        for words in (
            "WORKER TIMEOUT (pid:901)",
            "Worker (pid:901) was sent SIGKILL! Perhaps out of memory?",
            "Handling signal: hup",
        )
    ),
    quiet("NGX019", "gunicorn was restarted since", closed(ago=3700)),
    quiet("NGX019", "gunicorn is gone, and its connections with it", closed(base=without_gunicorn())),
    quiet("NGX019", "another site's upstream", closed(text=CLOSED.replace(REQUEST, ELSEWHERE))),
    quiet(
        "NGX019",
        "gunicorn's log was not seen",
        logged(entry(CLOSED), logs__gunicorn_error=NotSeen(reason="-")),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


@pytest.mark.parametrize("judged", [body_size, capacity, permission, premature_close], ids=lambda c: c.id)
def test_without_an_error_log_the_window_is_not_called_quiet(judged: Check) -> None:
    unseen = but(
        logs__nginx_errors={NGINX_ERROR_LOG: NotSeen(reason="may not be read", needs_root=True)},
        logs__gunicorn_access=access_log(GUNICORN_ACCESS_LOG, {}),
    )
    with pytest.raises(NotJudgedError):
        list(judged.judge(**judged.inputs(unseen)))


def test_a_flood_is_counted_and_its_newest_line_quoted() -> None:
    flood = [entry(f"{CONNECTIONS} {n}", ago=100 - n) for n in range(30)]
    finding = found(logged(*flood, entry(DESCRIPTORS)))["NGX015"]
    assert [e.detail.en for e in finding.evidence] == [f"{CONNECTIONS} 29", DESCRIPTORS]
    assert "worker_connections are not enough (30x)" in str(finding.facts["message"])


@pytest.mark.parametrize(("mode", "is_named"), [(0o750, True), (0o755, False)])
def test_the_directory_above_the_socket_is_opened_only_where_it_is_closed(mode: int, is_named: bool) -> None:
    snapshot = logged(
        entry(FORBIDDEN, level="crit"), front__predict=BAD_GATEWAY, logs__refused_socket=denied(mode)
    )
    assert ("chmod o+x /run" in (found(snapshot)["NGX016"].fix or ())) is is_named


def steps_for(refusal: str, mode: int, directory: str) -> tuple[list[str], str]:
    """The commands, and the whole finding, where nginx logs ``refusal`` and the last socket is in ``directory``."""
    text = FORBIDDEN.replace("unix:/run/gte.sock", refusal)
    snapshot = logged(
        entry(text, level="crit"),
        front__predict=BAD_GATEWAY,
        logs__refused_socket=denied(mode, directory),
    )
    finding = found(snapshot)["NGX016"]
    return [step for step in finding.fix or () if isinstance(step, str)], str(finding)


def test_another_site_s_socket_is_not_the_one_that_was_refused() -> None:
    assert "chmod o+x /run/shop" in steps_for("unix:/run/shop/gte.sock", 0o750, "/run/shop")[0]
    for refusal in ("127.0.0.1:8000", "unix:/run/gte.sock"):
        assert "/run/shop" not in steps_for(refusal, 0o750, "/run/shop")[1]


@pytest.mark.parametrize(
    ("directory", "mode"), [("/root", 0o750), ("/home/shop/app", 0o750), ("/srv/app", 0o700)]
)
def test_a_private_directory_is_opened_by_no_command(directory: str, mode: int) -> None:
    commands, finding = steps_for(f"unix:{directory}/gte.sock", mode, directory)
    assert commands == []
    assert f"{directory}/gte.sock" in finding
    assert "RuntimeDirectory" in finding
