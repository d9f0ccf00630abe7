"""Causes that follow from the route that nginx's rules give a request."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ops
from ops.facts.base import NotSeen
from ops.facts.host import Listener
from ops.facts.nginx import NginxTest
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Exchange, HostNames
from ops.facts.snapshot import Snapshot
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.made_snapshot import (
    AT_BACKEND,
    BACKEND,
    DOMAIN,
    GUNICORN_LISTENER,
    NGINX_LISTENERS,
    PREDICT,
    PREDICTION,
    SITE,
    SITE_FILE,
    but,
    entry,
    exchange,
    gunicorn_config,
    lineage,
    nginx_config,
    nginx_logs,
    page,
    processes,
)

NOT_FOUND = page(404, "404 Not Found", **PREDICT)
NOT_ALLOWED = page(405, "405 Not Allowed", **PREDICT)
PREDICTED = exchange(200, PREDICTION, **PREDICT)
BAD_GATEWAY = page(502, "502 Bad Gateway", **PREDICT)
PROXY = "proxy_pass http://gte_backend;\n    }\n    location = /health"


def site(old: str, new: str, answer: Exchange, **changes: Any) -> Snapshot:
    """The healthy host's site with one thing changed, and what a prediction is answered then."""
    assert SITE.count(old) == 1, old
    return but(nginx_config=nginx_config(SITE.replace(old, new)), front__predict=answer, **changes)


def passing(to: str, answer: Exchange = BAD_GATEWAY, **changes: Any) -> Snapshot:
    """Predictions are proxied ``to``."""
    return site(PROXY, f"proxy_pass {to};\n    }}\n    location = /health", answer, **changes)


def inside(location: str, answer: Exchange, **changes: Any) -> Snapshot:
    """``location`` beside the site's own, before them."""
    return site(
        "    location / {\n        limit_req",
        f"    {location}\n    location / {{\n        limit_req",
        answer,
        **changes,
    )


def listening(*addresses: str) -> Any:
    return processes(listeners=(*NGINX_LISTENERS, *(Listener(address=a) for a in addresses)))


NAMES = HostNames(addresses={"localhost": ("::1",)})
BOTH = HostNames(addresses={"localhost": ("::1", "127.0.0.1")})
REFUSED_V6 = entry(
    "connect() failed (111: Connection refused) while connecting to upstream, client: 127.0.0.1, server: x,"
    ' request: "POST /predict HTTP/1.1", upstream: "http://[::1]:8000/predict"'
)
COPY = SITE.partition("server {\n    listen 443")[2]
OLD_COPY = f"server {{\n    listen 443{COPY.replace('http://gte_backend', 'http://127.0.0.1:9000')}"
GROUP = "server 127.0.0.1:8000; keepalive 32;"
NO_LIVE = entry(
    'no live upstreams while connecting to upstream, client: 127.0.0.1, upstream: "http://gte_backend/predict"'
)


def group(members: str, *logged: Any, answer: Exchange | None = BAD_GATEWAY, **changes: Any) -> Snapshot:
    """The upstream has ``members``; nginx's log has ``logged``."""
    return site(
        GROUP,
        f"{members} keepalive 32;",
        answer or PREDICTED,
        logs__nginx_errors=nginx_logs(*logged),
        **changes,
    )


def challenged(rule: str, authenticator: str = "webroot") -> Snapshot:
    """``rule`` in the block of port 80, whose certificate is renewed by ``authenticator``."""
    own = lineage()
    renewal = type(own.renewal)(path=own.renewal.path, authenticator=authenticator)
    return but(
        nginx_config=nginx_config(
            SITE.replace("    location / { return 308", f"    {rule}\n    location / {{ return 308", 1)
        ),
        lineages__lineages=(lineage(renewal=renewal),),
    )


def prefixed(location: str, shorter: Exchange | None) -> Snapshot:
    """Users ask below /api, the service answers 404 there, and ``shorter`` without that prefix."""
    return inside(
        location,
        NOT_FOUND,
        target__predict_path="/api/predict",
        backend__predict=page(404, "Not Found", **PREDICT, **AT_BACKEND),
        backend__without_prefix=shorter,
    )


SHORTER = exchange(200, PREDICTION, **PREDICT, **AT_BACKEND)
CASES = [
    fires(
        "NGX030",
        "the service has its paths without the location's prefix",
        prefixed("location /api/ { proxy_pass http://gte_backend; }", SHORTER),
        "location /api/",
        "127.0.0.1:8000/predict",
        facts={"asked": "POST /api/predict", "got": "POST /api/predict"},
    ),
    quiet(
        "NGX030",
        "the service has no such path without the prefix either",
        prefixed("location /api/ { proxy_pass http://gte_backend; }", page(404, "Not Found", **PREDICT)),
    ),
    fires(
        "NGX030",
        "proxy_pass ends in a slash: the service gets POST /",
        inside("location /predict { proxy_pass http://gte_backend/; }", NOT_FOUND),
        "the service gets POST /",
        facts={"asked": "POST /predict", "got": "POST /", "fixed": "proxy_pass http://gte_backend;"},
    ),
    fires(
        "NGX030",
        "a rewrite with break takes the path's beginning away",
        inside(
            "location /predict { rewrite ^/predict(.*)$ /v1$1 break; proxy_pass http://gte_backend; }",
            NOT_ALLOWED,
        ),
        "rewrite ^/predict(.*)$ /v1$1 break",
        facts={"got": "POST /v1"},
    ),
    quiet(
        "NGX030",
        "the service knows the other path",
        inside("location /predict { proxy_pass http://gte_backend/; }", PREDICTED),
    ),
    quiet("NGX030", "the path arrives as it is", but(front__predict=NOT_FOUND)),
    quiet(
        "NGX030",
        "the service has no such path itself",
        inside(
            "location /predict { proxy_pass http://gte_backend/; }",
            NOT_FOUND,
            backend__predict=page(404, "Not Found", **PREDICT, **AT_BACKEND),
        ),
    ),
    quiet(
        "NGX030",
        "the files on disk do not load, so another configuration answers",
        inside(
            "location /predict { proxy_pass http://gte_backend/; }",
            NOT_FOUND,
            nginx_test=NginxTest(command=("nginx", "-t"), exit_code=1, lines=("[emerg] x",)),
        ),
    ),
    fires(
        "NGX031",
        "the page of the web front end has a location, the API has none",
        site(PROXY, "root /srv; try_files $uri /index.html;\n    }\n    location = /health", NOT_ALLOWED),
        "try_files",
        "location = /health",
        facts={"path": "/predict", "pass_to": f"http://{BACKEND}"},
    ),
    fires(
        "NGX031",
        "a location of static files covers the path",
        inside("location ~ ^/pre { root /srv; }", NOT_FOUND),
        "location ~ ^/pre",
    ),
    quiet("NGX031", "nginx sends it on", but(front__predict=NOT_ALLOWED)),
    quiet(
        "NGX031",
        "what decides whether it is sent on is not known",
        inside("location /predict { access_by_lua_file a.lua; root /srv; }", NOT_FOUND),
    ),
    quiet(
        "NGX031",
        "the service turns the request down itself",
        inside(
            "location /predict { root /srv; }",
            NOT_FOUND,
            backend__predict=page(404, "Not Found", **PREDICT, **AT_BACKEND),
        ),
    ),
    fires(
        "NGX032",
        "localhost is ::1 here, and gunicorn is on 127.0.0.1",
        passing("http://localhost:8000", host_names=NAMES),
        "nobody listens on [::1]:8000",
        facts={"name": "localhost", "dead": "[::1]:8000", "fixed": BACKEND},
    ),
    fires(
        "NGX032",
        "one of the name's addresses is refused, and nginx logged it",
        passing("http://localhost:8000", host_names=BOTH, logs__nginx_errors=nginx_logs(REFUSED_V6)),
        "[::1]:8000/predict",
    ),
    quiet(
        "NGX032",
        "the other address answers, and none was refused",
        passing("http://localhost:8000", host_names=BOTH),
    ),
    quiet(
        "NGX032",
        "the service listens on both",
        passing("http://localhost:8000", host_names=NAMES, processes=listening(BACKEND, "[::1]:8000")),
    ),
    quiet("NGX032", "what the name resolves to was not seen", passing("http://localhost:8000")),
    quiet(
        "NGX032",
        "predictions pass",
        passing("http://localhost:8000", PREDICTED, host_names=NAMES),
    ),
    fires(
        "NGX033",
        "TLS to a plain port",
        passing(
            f"https://{BACKEND}",
            logs__nginx_errors=nginx_logs(
                entry("SSL_do_handshake() failed (SSL: error:0A00010B:SSL routines::wrong version number)")
            ),
        ),
        "wrong version number",
        facts={"fixed": f"proxy_pass http://{BACKEND};", "spoken": "TLS", "expected": "HTTP"},
    ),
    fires(
        "NGX033",
        "plain HTTP to a service that has a certificate of its own",
        passing(f"http://{BACKEND}", gunicorn__config=gunicorn_config(certfile="/etc/tls/app.pem")),
        "/etc/tls/app.pem",
        facts={"fixed": f"proxy_pass https://{BACKEND};"},
    ),
    quiet("NGX033", "both speak plain HTTP", passing(f"http://{BACKEND}")),
    quiet(
        "NGX033",
        "the port does not answer plain HTTP either",
        passing(f"https://{BACKEND}", backend__health=exchange(failure=ProbeFailure.MALFORMED)),
    ),
    fires(
        "NGX034",
        "an old copy of the site stands first",
        but(nginx_config=nginx_config(OLD_COPY + SITE), front__predict=BAD_GATEWAY),
        "proxy_pass http://gte_backend",
        facts={"winner": f"{SITE_FILE}:1"},
    ),
    quiet(
        "NGX034",
        "the right one stands first",
        but(nginx_config=nginx_config(SITE + OLD_COPY), front__predict=BAD_GATEWAY),
    ),
    quiet(
        "NGX034",
        "another name, no rival",
        but(
            nginx_config=nginx_config(OLD_COPY.replace(DOMAIN, "old.example.com") + SITE),
            front__predict=BAD_GATEWAY,
        ),
    ),
    fires(
        "NGX035",
        "a server marked down makes the live one part of a group",
        group("server 127.0.0.1:8000; server 127.0.0.1:8001 down;", NO_LIVE),
        "no live upstreams",
        severity="fail",
        facts={"upstream": "gte_backend", "fixed": "server 127.0.0.1:8000 max_fails=0;"},
    ),
    fires(
        "NGX035",
        "it has passed",
        group("server 127.0.0.1:8000; server 127.0.0.1:8001 down;", NO_LIVE, answer=None),
        severity="warn",
    ),
    fires(
        "NGX035",
        "all are marked down",
        group("server 127.0.0.1:8000 down; server 127.0.0.1:8001 down;", NO_LIVE),
    ),
    quiet("NGX035", "a single server is never set aside", group("server 127.0.0.1:8000;", NO_LIVE)),
    quiet("NGX035", "nothing was logged", group("server 127.0.0.1:8000; server 127.0.0.1:8001 down;")),
    quiet(
        "NGX035",
        "two live ones failed together, as in a restart of both",
        group("server 127.0.0.1:8000; server 127.0.0.1:8001;", NO_LIVE),
    ),
    quiet(
        "NGX035",
        "it is switched off already",
        group("server 127.0.0.1:8000 max_fails=0; server 127.0.0.1:8001 down;", NO_LIVE),
    ),
    fires(
        "NGX036",
        "ssl is missing",
        site(
            "listen 443 ssl;",
            "listen 443;",
            exchange(failure=ProbeFailure.TLS, detail="wrong version number", **PREDICT),
        ),
        "wrong version number",
        facts={"fixed": "listen 443 ssl;", "listen_port": "443"},
    ),
    quiet(
        "NGX036",
        "TLS fails for another reason",
        but(front__predict=exchange(failure=ProbeFailure.TLS, detail="x", **PREDICT)),
    ),
    quiet("NGX036", "the plain port answers", site("listen 443 ssl;", "listen 443;", NOT_FOUND)),
    fires(
        "NGX037",
        "the service's 422 becomes a page",
        inside(
            "proxy_intercept_errors on; error_page 422 /sorry.html; location = /sorry.html { root /srv; }",
            page(404, "404 Not Found", **PREDICT),
            backend__predict=exchange(422, '{"detail": "text is empty"}', **{**PREDICT, **AT_BACKEND}),
        ),
        "text is empty",
        facts={"given": "422", "sent": "404"},
    ),
    fires(
        "NGX037",
        "the page of the web front end takes its place with another status",
        inside(
            "proxy_intercept_errors on; error_page 422 =200 /index.html; location = /index.html { root /srv; }",
            page(200, "App", **PREDICT),
            backend__predict=exchange(422, '{"detail": "text is empty"}', **{**PREDICT, **AT_BACKEND}),
        ),
        facts={"given": "422", "sent": "200"},
    ),
    quiet(
        "NGX037",
        "errors are not intercepted",
        inside(
            "error_page 422 /sorry.html;",
            exchange(422, "{}", **PREDICT),
            backend__predict=exchange(422, "{}", **{**PREDICT, **AT_BACKEND}),
        ),
    ),
    quiet(
        "NGX037",
        "only other errors are",
        inside(
            "proxy_intercept_errors on; error_page 500 /sorry.html;",
            exchange(422, "{}", **PREDICT),
            backend__predict=exchange(422, "{}", **{**PREDICT, **AT_BACKEND}),
        ),
    ),
    fires(
        "NGX038",
        "the location answers by itself",
        inside("location = /predict { return 404; }", NOT_FOUND),
        "return 404",
        facts={"asked": "POST /predict", "status": "404"},
    ),
    fires(
        "NGX038",
        "only GET is allowed",
        inside(
            "location = /predict { limit_except GET { deny all; } proxy_pass http://gte_backend; }",
            page(403, "403 Forbidden", **PREDICT),
        ),
        "deny all",
    ),
    fires(
        "NGX038",
        "a condition on the method refuses a POST",
        inside("if ($request_method !~ ^(GET|HEAD)$) { return 405; }", NOT_ALLOWED),
        "$request_method",
    ),
    fires(
        "NGX038",
        "the connection is closed",
        inside(
            "location /predict { return 444; }",
            exchange(failure=ProbeFailure.CLOSED, detail="closed", **PREDICT),
        ),
    ),
    quiet(
        "NGX038",
        "by what the client calls itself: NGX010",
        inside("if ($http_user_agent ~* gte) { return 403; }", page(403, "403 Forbidden", **PREDICT)),
    ),
    quiet(
        "NGX038",
        "a list of addresses that the doctor is not on",
        inside("allow 203.0.113.0/24; deny all;", page(403, "403 Forbidden", **PREDICT)),
    ),
    quiet(
        "NGX038",
        "a password is wanted",
        inside("auth_basic a;", page(401, "401 Authorization Required", **PREDICT)),
    ),
    quiet("NGX038", "a maintenance page", inside("return 503;", page(503, "503", **PREDICT))),
    quiet("NGX038", "a redirect: NGX014", inside("return 301 /x;", page(301, "301", **PREDICT))),
    quiet(
        "NGX038",
        "another answer came than the rule's",
        inside("location = /predict { return 404; }", NOT_ALLOWED),
    ),
    fires(
        "NGX039",
        "a rule against hidden files covers the challenge",
        challenged(r"location ~ /\. { deny all; }"),
        "deny all",
        facts={"status": "403"},
    ),
    quiet(
        "NGX039",
        "a prefix with ^~ goes before it",
        challenged(r"location ^~ /.well-known/ { root /var/www; } location ~ /\. { deny all; }"),
    ),
    quiet(
        "NGX039", "certbot answers through nginx itself", challenged(r"location ~ /\. { deny all; }", "nginx")
    ),
    quiet("NGX039", "the challenge is redirected, which the authority follows", challenged("")),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def test_the_wrong_block_is_named_as_the_cause_of_the_wrong_address() -> None:
    snapshot = but(
        nginx_config=nginx_config(OLD_COPY + SITE), front__predict=BAD_GATEWAY, nginx_test=NotSeen(reason="-")
    )
    assert "NGX034" in found(snapshot)


def test_a_listener_that_is_seen_is_not_dead() -> None:
    snapshot = passing(
        "http://localhost:8000", host_names=BOTH, processes=listening(BACKEND, GUNICORN_LISTENER.address)
    )
    assert "NGX032" not in found(snapshot)


@pytest.mark.parametrize(
    "module",
    [
        "ops.interpret.routing",
        "ops.interpret.start_failure.reason",
        "ops.interpret.start_failure.advice",
        "ops.diagnosis.nginx_message",
        "ops.text.secret_scan.scan",
        "ops.text.secret_scan.names",
    ],
)
def test_a_healthy_host_is_judged_without_what_explains_a_broken_one(module: str) -> None:
    program = (
        "import io, sys\n"
        "from ops.diagnosis.checks import CHECKS\n"
        "from ops.diagnosis.engine import diagnose\n"
        "from ops.report import render\n"
        "from ops.report.doctor.report import DoctorReport\n"
        "from tests.unit.made_snapshot import HEALTHY\n"
        "report = DoctorReport(diagnose(HEALTHY, CHECKS))\n"
        "for form, language in (('json', 'en'), ('json', 'zh'), ('text', 'en'), ('text', 'zh')):\n"
        "    render(form, report, language, io.StringIO())\n"
        f"assert not [name for name in sys.modules if name.startswith({module!r})]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(ops.__file__).parents[1])


def test_a_prefix_is_taken_away_by_a_slash() -> None:
    fix = found(CASES[0].snapshot)["NGX030"].fix or ()
    assert "proxy_pass http://gte_backend/;" in str(fix[1])
    longer = prefixed("location /api { proxy_pass http://gte_backend; }", SHORTER)
    advice = (found(longer)["NGX030"].fix or ())[0]
    assert "end the location and its proxy_pass with a slash" in str(advice)
