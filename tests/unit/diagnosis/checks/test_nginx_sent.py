"""The host and the query that the service gets are those that the client sent."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import diagnose
from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog
from ops.facts.probes import Exchange
from ops.facts.snapshot import Snapshot
from ops.facts.traffic import Answers, LoggedRequest
from ops.text.language import Text
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.diagnosis.checks.test_app_traffic import logged
from tests.unit.made_snapshot import (
    GUNICORN_ACCESS_LOG,
    NGINX_ACCESS_LOG,
    NOW,
    PREDICT,
    SITE,
    SITE_FILE,
    access_log,
    answered,
    but,
    nginx_config,
    page,
    traffic,
)

PASS = "        proxy_pass http://gte_backend;\n    }\n    location = /health"
BAD_HOST = page(400, "Bad Request (400)", **PREDICT)
NO_LOG = NotSeen(reason="no such log is configured")
NGINX_S_PAGE = (
    "<html><body><center><h1>400 Bad Request</h1></center><hr><center>nginx/1.22.1</center></body></html>"
)


def with_probe(status: str) -> AccessLog:
    """gunicorn's access log, with the doctor's own prediction through nginx."""
    probe = LoggedRequest(
        time=NOW, method="POST", path="/predict", status=status, line=f'"POST /predict HTTP/1.1" {status}'
    )
    return msgspec.structs.replace(
        access_log(GUNICORN_ACCESS_LOG, {"200": 9}), traffic=traffic(answered("200", 9), probes=(probe,))
    )


def refused(
    answer: Exchange, *headers: str, at_server: str = "", own_log: AccessLog | NotSeen | None = None
) -> Snapshot:
    """A prediction is answered so; beside proxy_pass stand these ``headers``."""
    lines = "".join(f"        proxy_set_header {header};\n" for header in headers)
    site = SITE.replace(PASS, f"{lines}{PASS}").replace('proxy_set_header Connection "";', at_server)
    log = with_probe(str(answer.status)) if own_log is None else own_log
    return but(nginx_config=nginx_config(site), front__predict=answer, logs__gunicorn_access=log)


def asked(
    location: str, *answers: Answers, line: str = "GET /api/search?… HTTP/1.1", **changes: Any
) -> Snapshot:
    """``location`` beside the site's own, and what users were answered there."""
    site = SITE.replace(
        "    location / {\n        limit_req", f"    {location}\n    location / {{\n        limit_req"
    )
    given = answers or (
        answered("422", 5, method="GET", path="/api/search", newest=(f'10.0.0.7 - - "{line}" 422 39',)),
    )
    return but(
        nginx_config=nginx_config(site), logs__nginx_access=logged(NGINX_ACCESS_LOG, *given), **changes
    )


REWRITTEN = "location /api/ { rewrite ^/api/(.*)$ /$1? break; proxy_pass http://gte_backend; }"
CAPTURED = "location ~ ^/api/(.*)$ { proxy_pass http://gte_backend/$1; }"

CASES = [
    # --- NGX080
    fires(
        "NGX080",
        "the upstream's name is sent",
        refused(BAD_HOST),
        '"POST /predict HTTP/1.1" 400',
        "the service gets Host gte_backend",
        severity="fail",
        facts={"sent": "gte_backend", "status": "400"},
    ),
    fires(
        "NGX080",
        "a name of its own is sent, and the application knows no such host",
        refused(page(404, "Not Found", **PREDICT), "Host backend.internal"),
        facts={"sent": "backend.internal", "status": "404"},
    ),
    fires(
        "NGX080",
        "the service keeps no log, and the page is not nginx's",
        refused(page(400, "Invalid host header", **PREDICT), own_log=NO_LOG),
    ),
    quiet(
        "NGX080",
        "the service keeps no log, and the page is nginx's own",
        refused(page(400, NGINX_S_PAGE, **PREDICT), own_log=NO_LOG),
    ),
    fires(
        "NGX080",
        "Host is right, and another header says something else",
        refused(BAD_HOST, "Host $host", "X-Forwarded-Host $hostname"),
        "proxy_set_header X-Forwarded-Host $hostname",
        facts={"sent": "$hostname", "status": "400"},
    ),
    fires(
        "NGX080",
        "the upstream's name is forwarded",
        refused(BAD_HOST, "Host $host", "X-Forwarded-Host $proxy_host"),
        facts={"sent": "gte_backend"},
    ),
    quiet(
        "NGX080",
        "both name the site",
        refused(BAD_HOST, "Host $host", "X-Forwarded-Host $host", "X-Original-Host $http_host"),
    ),
    quiet("NGX080", "the client's Host is sent", refused(BAD_HOST, "Host $host")),
    quiet("NGX080", "so it is with the port", refused(BAD_HOST, "Host $host:$server_port")),
    quiet("NGX080", "as the client wrote it", refused(BAD_HOST, "Host $http_host")),
    quiet("NGX080", "another host is sent, and the service does not mind", but(nginx_config=nginx_config())),
    quiet("NGX080", "a gateway's error", refused(page(502, "502 Bad Gateway", **PREDICT))),
    quiet("NGX080", "the service refuses it past nginx too", but(refused(BAD_HOST), backend__predict=BAD_HOST)),
    # --- NGX081
    fires(
        "NGX081",
        "a capture in proxy_pass",
        asked(CAPTURED),
        "GET /api/search?… HTTP/1.1",
        "of GET /api/search?gte=1 the service gets /search",
        severity="fail",
        facts={"count": "5", "total": "5", "path": "/api/search"},
    ),
    fires(
        "NGX081",
        "a named capture, behind an address",
        asked("location ~ ^/api/(?<rest>.*)$ { proxy_pass http://127.0.0.1:8000/v1/$rest; }"),
        "the service gets /v1/search",
    ),
    fires(
        "NGX081",
        "a rewrite that ends with ?",
        asked(REWRITTEN),
        "the service gets /search",
    ),
    fires(
        "NGX081",
        "some of many are a warning",
        asked(
            CAPTURED,
            answered("422", 2, method="GET", path="/api/search", newest=('"GET /api/search?… HTTP/1.1" 422',)),
            answered("200", 40, method="GET", path="/api/search"),
        ),
        severity="warn",
    ),
    quiet("NGX081", "the query is written out", asked(CAPTURED.replace("$1;", "$1$is_args$args;"))),
    quiet(
        "NGX081",
        "the whole target",
        asked("location /api/ { proxy_pass http://gte_backend$request_uri; }"),
    ),
    quiet("NGX081", "a prefix that is replaced keeps it", asked("location /api/ { proxy_pass http://gte_backend/; }")),
    quiet("NGX081", "a rewrite without ? keeps it", asked(REWRITTEN.replace("$1?", "$1"))),
    quiet("NGX081", "nobody sent a query", asked(CAPTURED, line="GET /api/search HTTP/1.1")),
    quiet(
        "NGX081",
        "a path that is not there, as scanners ask for it",
        asked(CAPTURED, answered("404", 5, method="GET", path="/api/search", newest=('"GET /api/search?… H"',))),
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def _first_step(snapshot: Snapshot, code: str) -> str:
    step = (found(snapshot)[code].fix or ("",))[0]
    return step.en if isinstance(step, Text) else step


def test_the_host_goes_where_it_switches_no_other_header_off() -> None:
    """A proxy_set_header in the location would end the inheritance of those in the server block."""
    inherited = refused(BAD_HOST, at_server="proxy_set_header X-Real-IP $remote_addr;")
    line = next(at for at, text in enumerate(SITE.splitlines(), 1) if "proxy_read_timeout" in text)
    assert _first_step(inherited, "NGX080") == (
        f"sed -i --follow-symlinks '{line}i proxy_set_header Host $host;' {SITE_FILE}"
    )
    own = refused(BAD_HOST, "X-Real-IP $remote_addr")
    place = next(at for at, text in enumerate(SITE.splitlines(), 1) if "proxy_pass" in text)
    assert f"'{place}i proxy_set_header Host $host;'" in _first_step(own, "NGX080")


def test_a_host_that_is_written_wrongly_is_replaced() -> None:
    assert "#backend\\.internal#$host#" in _first_step(refused(BAD_HOST, "Host backend.internal"), "NGX080")


def test_the_query_is_put_behind_the_variables() -> None:
    assert "#http://gte_backend/$1$is_args$args;#" in _first_step(asked(CAPTURED), "NGX081")
    assert "Take the question mark from the end" in _first_step(asked(REWRITTEN), "NGX081")


def test_a_hostile_path_is_quoted_in_what_is_printed() -> None:
    path = "/api/';id;'"
    evil = asked(
        CAPTURED,
        answered("422", 5, method="GET", path=path, newest=(f'"GET {path}?… HTTP/1.1" 422',)),
    )
    cause = next(cause for cause in diagnose(evil, CHECKS).causes if cause.code == "NGX081")
    assert shlex.split(cause.verify.en)[-1] == f"{path}?gte=1"


def test_the_question_mark_is_taken_from_the_rewrite() -> None:
    fix = found(asked(REWRITTEN))["NGX081"].fix
    assert fix is not None
    assert any(isinstance(step, str) and step.startswith("sed -i") and "/$1#" in step for step in fix)


@pytest.mark.parametrize("written", ["internal.lan", '"internal.lan"', "'internal.lan'"])
def test_the_step_replaces_a_second_host_as_it_is_written(tmp_path: Path, written: str) -> None:
    snapshot = refused(BAD_HOST, "Host $host", f"X-Forwarded-Host {written}")
    step = str(found(snapshot)["NGX080"].fix[0])
    script = shlex.split(step)[3].lstrip("0123456789")
    file = tmp_path / "site"
    file.write_text(f"    proxy_set_header X-Forwarded-Host {written};\n")
    subprocess.run(["sed", "-i", script, str(file)], check=True, timeout=10)
    assert file.read_text() == "    proxy_set_header X-Forwarded-Host $host;\n"
