"""Headers that the application needs and does not get: emptied, replaced, dropped, not passed on."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ops.facts.probes import Exchange
from ops.facts.snapshot import Snapshot
from ops.facts.traffic import Answers, WebSocketRoute
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.diagnosis.checks.test_app_traffic import logged
from tests.unit.made_snapshot import (
    AT_BACKEND,
    GUNICORN_ACCESS_LOG,
    NGINX_ACCESS_LOG,
    PREDICT,
    SITE,
    SITE_FILE,
    answered,
    but,
    exchange,
    gunicorn_config,
    nginx_config,
)

PASS = "        proxy_pass http://gte_backend;\n    }\n    location = /health"
REFUSED = answered("401", 9)
KEY_WANTED = exchange(401, '{"detail": "Not authenticated"}', **PREDICT)
NO_USER = exchange(403, '{"detail": "no user"}', **PREDICT)
CHAT = WebSocketRoute(
    pattern="/ws/[^/]+", where="/root/build/app.py:20", written='@app.websocket("/ws/{room}")'
)


def at_route(path: str, status: str, count: int = 9) -> Answers:
    return answered(status, count, path=path, method="GET")


def site(
    *lines: str, answers: tuple[Answers, ...] = (REFUSED,), front: Exchange = KEY_WANTED, **changes: Any
) -> Snapshot:
    """The site's location has these lines beside its own, and users were answered so at both servers."""
    text = SITE.replace(PASS, "".join(f"        {line}\n" for line in lines) + PASS)
    return but(
        nginx_config=nginx_config(text),
        logs__nginx_access=logged(NGINX_ACCESS_LOG, *answers),
        logs__gunicorn_access=logged(GUNICORN_ACCESS_LOG, *answers),
        front__predict=front,
        backend__predict=msgspec.structs.replace(front, address=AT_BACKEND["address"]),
        **changes,
    )


def chat(*lines: str, answers: tuple[Answers, ...], routes: tuple[WebSocketRoute, ...] = (CHAT,)) -> Snapshot:
    served = exchange(200, '{"result": []}', **PREDICT)
    return site(*lines, answers=(*answers, answered("200", 40)), front=served, logs__websocket_routes=routes)


def steps(snapshot: Snapshot) -> str:
    return "\n".join(s if isinstance(s, str) else s.en for s in found(snapshot)["NGX082"].fix or ())


EMPTIED = 'proxy_set_header Authorization "";'
REMOTE = "proxy_set_header REMOTE_USER alice;"
UPGRADE = "proxy_set_header Upgrade $http_upgrade;"
SWITCH = "proxy_set_header Connection $connection_upgrade;"

CASES: list[Case] = [
    # --- emptied or replaced
    fires(
        "NGX082",
        "the token is emptied",
        site(EMPTIED),
        f'{SITE_FILE}:20 proxy_set_header Authorization "";',
        "9 x POST /predict 401",
        severity="fail",
        facts={"header": "Authorization", "statuses": "401"},
    ),
    fires("NGX082", "the key is emptied", site('proxy_set_header X-API-Key "";'), "X-API-Key"),
    fires(
        "NGX082",
        "the token is replaced by a password of nginx's own",
        site('proxy_set_header Authorization "Basic c2VzYW1l";'),
        "proxy_set_header Authorization",
    ),
    quiet(
        "NGX082",
        "the token is passed on by name",
        site("proxy_set_header Authorization $http_authorization;"),
    ),
    quiet("NGX082", "nobody empties it: strangers without a key", site()),
    quiet("NGX082", "some have access", site(EMPTIED, answers=(REFUSED, answered("200", 1)))),
    quiet("NGX082", "two are few", site(EMPTIED, answers=(answered("401", 2),))),
    quiet(
        "NGX082",
        "the service wants Authorization, and another header is emptied",
        site(
            'proxy_set_header X-API-Key "";',
            front=msgspec.structs.replace(
                KEY_WANTED, headers=(*KEY_WANTED.headers, ("WWW-Authenticate", "Bearer"))
            ),
        ),
    ),
    quiet(
        "NGX082",
        "strangers try one path of a service that is open",
        site(EMPTIED, answers=(at_route("/admin", "401"), answered("200", 90))),
    ),
    # --- nothing passed on
    fires(
        "NGX082",
        "no header is passed on",
        site("proxy_pass_request_headers off;"),
        "proxy_pass_request_headers off;",
    ),
    quiet("NGX082", "headers are passed on, as written", site("proxy_pass_request_headers on;")),
    # --- dropped by gunicorn
    fires(
        "NGX082",
        "gunicorn drops REMOTE_USER",
        site(REMOTE, front=NO_USER, answers=(answered("403", 9),)),
        "proxy_set_header REMOTE_USER",
        facts={"header": "REMOTE_USER", "statuses": "403"},
    ),
    fires(
        "NGX082",
        "the doctor alone was refused, for no key",
        site(REMOTE, front=NO_USER, answers=()),
    ),
    quiet(
        "NGX082",
        "predictions pass without it",
        site(REMOTE, answers=(answered("200", 9),), front=exchange(200, "{}", **PREDICT)),
    ),
    quiet("NGX082", "the doctor has no key, and nobody else asked", site(REMOTE, answers=())),
    *(
        quiet(
            "NGX082",
            f"{name} = {value}",
            site(
                REMOTE,
                front=NO_USER,
                answers=(answered("403", 9),),
                gunicorn__config=gunicorn_config(**{name: value}),
            ),
        )
        for name, value in (
            ("header_map", "dangerous"),
            ("forwarder_headers", "SCRIPT_NAME,remote_user"),
            ("worker_class", "uvicorn.workers.UvicornWorker"),
        )
    ),
    quiet(
        "NGX082",
        "an older gunicorn drops nothing",
        site(
            REMOTE, front=NO_USER, answers=(answered("403", 9),), environment__packages={"gunicorn": "21.2.0"}
        ),
    ),
    quiet(
        "NGX082",
        "a name that says nothing of the user",
        site("proxy_set_header X_START $msec;", front=NO_USER, answers=(answered("403", 9),)),
    ),
    # --- dropped by nginx
    fires(
        "NGX082",
        "the settings' own key has an underscore",
        but(
            site(answers=()),
            front__predict=msgspec.structs.replace(KEY_WANTED, private_headers=("api_key",)),
            backend__predict=exchange(200, '{"result": []}', **{**PREDICT, **AT_BACKEND}),
        ),
        "no underscores_in_headers on",
        facts={"header": "api_key"},
    ),
    # --- WebSocket
    fires(
        "NGX082",
        "the handshake arrives without Upgrade",
        chat(answers=(at_route("/ws/*", "404"),)),
        "/root/build/app.py:20 @app.websocket",
        "9 x GET /ws/* 404",
        facts={"header": "Upgrade", "path": "/ws/*"},
    ),
    fires(
        "NGX082",
        "Upgrade is sent, and Connection is not",
        chat(UPGRADE, answers=(at_route("/ws/*", "426"),)),
    ),
    quiet(
        "NGX082",
        "nginx passes it on: a browser's plain requests",
        chat(UPGRADE, SWITCH, "proxy_http_version 1.1;", answers=(at_route("/ws/*", "404"),)),
    ),
    quiet(
        "NGX082",
        "others were switched",
        chat(answers=(at_route("/ws/*", "404"), at_route("/ws/*", "101", 2))),
    ),
    quiet("NGX082", "another path than the route's", chat(answers=(at_route("/wp-admin", "404"),))),
    quiet("NGX082", "no such route", chat(answers=(at_route("/ws/*", "404"),), routes=())),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def test_the_line_that_empties_is_taken_out() -> None:
    assert f"20s#proxy_set_header[[:space:]]\\+Authorization[[:space:]][^;]*;##' {SITE_FILE}" in steps(
        site(EMPTIED)
    )


def test_a_dropped_header_is_renamed() -> None:
    fix = steps(site(REMOTE, front=NO_USER, answers=(answered("403", 9),)))
    assert "20s#REMOTE_USER#REMOTE-USER#" in fix
    assert "forwarder_headers" in fix


def test_a_handshake_gets_all_that_is_missing() -> None:
    fix = steps(chat(answers=(at_route("/ws/*", "404"),)))
    for words in (
        "map $http_upgrade",
        "Connection $connection_upgrade;",
        "proxy_set_header Upgrade $http_upgrade;",
    ):
        assert words in fix
