"""The kinds behind the fifth collection of public reports, and the near misses that must stay quiet."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ops.diagnosis import nginx_message
from ops.diagnosis.checks.app_surroundings import surroundings
from ops.facts.base import NotSeen
from ops.facts.gunicorn import GunicornConfig
from ops.facts.host import Listener
from ops.facts.nginx import NginxConfig, ParseError
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Connection, Upstreams
from ops.facts.snapshot import Snapshot
from ops.facts.traffic import Answers
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.diagnosis.checks.test_app_traffic import logged
from tests.unit.made_snapshot import (
    BACKEND,
    GUNICORN_ACCESS_LOG,
    GUNICORN_WORKERS,
    HEALTHY,
    NGINX_ACCESS_LOG,
    NGINX_CONF,
    NGINX_LISTENERS,
    SITE,
    SITE_FILE,
    answered,
    but,
    entry,
    exchange,
    gunicorn_config,
    gunicorn_log,
    nginx_config,
    nginx_logs,
    processes,
)

OF = ', client: 10.0.0.7, server: gte-api.example.com, request: "{} {} HTTP/1.1", host: "gte-api.example.com"'
GOOD = answered("200", 20)


def users(
    *at_nginx: Answers,
    at_service: tuple[Answers, ...] = (GOOD,),
    lines: str = "",
    said: str | None = None,
    level: str = "error",
    service: tuple[str, ...] = (),
    **changes: Any,
) -> Snapshot:
    """Both servers' answers; the API's location has ``lines``; nginx said one line, the service's log has others."""
    text = SITE.replace(
        "        proxy_pass http://gte_backend;\n    }",
        f"        {lines}\n        proxy_pass http://gte_backend;\n    }}",
    )
    logs: dict[str, Any] = {}
    if said:
        logs["logs__nginx_errors"] = nginx_logs(entry(said, level=level))
    if service:
        logs["logs__gunicorn_error"] = gunicorn_log(*map(entry, service))
    return but(
        nginx_config=nginx_config(text),
        logs__nginx_access=logged(NGINX_ACCESS_LOG, *at_nginx),
        logs__gunicorn_access=logged(GUNICORN_ACCESS_LOG, *at_service),
        **logs,
        **changes,
    )


# --- try_files before the service

INDEX = '*3 directory index of "/srv/public/" is forbidden' + OF.format("GET", "/")
FILES = SITE.replace(
    "    location / {\n        limit_req",
    "    root /srv/public;\n    location / { try_files $uri $uri/ @service; }\n"
    "    location @service {\n        limit_req",
)


def first_page(*answers: Answers, site: str = FILES, said: str = INDEX, **changes: Any) -> Snapshot:
    return but(
        nginx_config=nginx_config(site),
        logs__nginx_access=logged(NGINX_ACCESS_LOG, *answers),
        logs__nginx_errors=nginx_logs(entry(said)),
        **changes,
    )


FORBIDDEN = answered("403", 5, path="/", method="GET")

# --- TLS to another server

REFUSED_SNI = (
    "*13 SSL_do_handshake() failed (SSL: error:0A000458:SSL routines::tlsv1 unrecognized name:SSL alert number 112)"
    " while SSL handshaking to upstream"
) + OF.format("GET", "/partner")
PLAIN_PORT = (
    "*13 SSL_do_handshake() failed (SSL: error:0A00010B:SSL routines::wrong version number)"
    " while SSL handshaking to upstream"
) + OF.format("GET", "/partner")
SCANNER = (
    "*13 SSL_do_handshake() failed (SSL: error:0A000126:SSL routines::unexpected eof) while SSL handshaking"
)
LONG_CHAIN = (
    "*13 upstream SSL certificate verify error: (20:unable to get local issuer certificate) while SSL handshaking to"
    " upstream"
) + OF.format("GET", "/partner")
CLOSED_KEY = (
    '*7 cannot load certificate key "/etc/x/privkey.pem": BIO_new_file() failed (SSL: error:8000000D:system'
    " library::Permission denied) while SSL handshaking, client: 10.0.0.7, server: 0.0.0.0:443"
)
NO_HANDSHAKE = exchange(failure=ProbeFailure.TLS, detail="tlsv1 alert internal error")

# --- a browser's first question

LOCKED = 'auth_basic "shop"; auth_basic_user_file x;'
ASKED = answered("401", 4, path="/items", method="OPTIONS")
_LINE = '203.0.113.9 - - [29/Nov/2026:08:00:00 +0000] "OPTIONS /predict HTTP/1.1" 401 172 "{}" "{}"'
PROBED = answered("401", 3, method="OPTIONS", newest=(_LINE.format("-", "Mozilla/5.0 zgrab/0.x"),))
ASKED_BY_A_PAGE = answered(
    "401", 3, method="OPTIONS", newest=(_LINE.format("https://app.example.com/", "Mozilla/5.0 (X11)"),)
)

# --- a header with an underscore

INVALID = '*5 client sent invalid header line: "api_key: k" while reading client request headers' + OF.format(
    "GET", "/items"
)
KEYLESS = answered("401", 5, path="/items", method="GET")

# --- an include that takes a directory


def with_error(message: str, **changes: Any) -> Snapshot:
    config = nginx_config()
    assert isinstance(config, NginxConfig)
    broken = msgspec.structs.replace(config, errors=(ParseError(file=NGINX_CONF, line=9, message=message),))
    return but(nginx_config=broken, nginx_test=NotSeen(reason="nginx -t was not run: x"), **changes)


# --- gunicorn without a bind

EVERYWHERE = Listener(address="0.0.0.0:5000", pids=GUNICORN_WORKERS[:1], queued=0)


def bound_elsewhere(config: GunicornConfig | NotSeen) -> Snapshot:
    """nginx's address refuses, and the service answers at port 5000."""
    refused = exchange(failure=ProbeFailure.REFUSED, detail="connection refused", address=BACKEND)
    bad = exchange(502, "<h1>502</h1>")
    return but(
        gunicorn__config=config,
        processes=processes(listeners=(*NGINX_LISTENERS, EVERYWHERE)),
        target__backend="127.0.0.1:5000",
        backend__connection=Connection(address="127.0.0.1:5000"),
        upstreams=Upstreams(answers={BACKEND: refused}),
        front__predict=bad,
        front__health=bad,
    )


# --- a worker that waits for its own service

WAITS = (
    "Error handling request GET /report\nTraceback (most recent call last):\n"
    '  File "/root/build/app.py", line 22, in report\n'
    '  File "/usr/lib/python3.11/http/client.py", line 1386, in getresponse\n'
    '  File "/usr/lib/python3.11/site-packages/gunicorn/workers/base.py", line 200, in handle_abort\n'
    "SystemExit: 1"
)
COMPUTES = WAITS.replace("/usr/lib/python3.11/http/client.py", "/root/build/sums.py")
OWN_ITEMS = answered("200", 2, path="/items", method="GET")
REPORT = answered("500", 2, path="/report", method="GET")

# --- an answer that ends early

CUT = (
    "*9 upstream prematurely closed connection while reading upstream"
    + OF.format("GET", "/report")
    + ', upstream: "http://127.0.0.1:8000/report"'
)
RAISED = (
    "Exception in ASGI application\nTraceback (most recent call last):\n"
    '  File "/root/build/app.py", line 9, in report\nRuntimeError: made up for this case'
)

CASES: list[Case] = [
    fires(
        "NGX060",
        "try_files takes the site's directory for its first page",
        first_page(FORBIDDEN),
        f"{SITE_FILE}:18 try_files $uri $uri/ @service",
    ),
    quiet(
        "NGX060",
        "another directory is rightly not listed",
        first_page(FORBIDDEN, said=INDEX.replace("GET /", "GET /css/")),
    ),
    quiet("NGX060", "scanners ask for the first page of an API", first_page(FORBIDDEN, answered("200", 400))),
    quiet(
        "NGX060", "nothing follows $uri/", first_page(FORBIDDEN, site=FILES.replace("@service; }", "=404; }"))
    ),
    quiet(
        "NGX060",
        "it is served since",
        first_page(FORBIDDEN, answered("200", 3, path="/", method="GET", ago=(30, 1))),
    ),
    fires(
        "NGX060",
        "another server wants a name",
        users(GOOD, said=REFUSED_SNI, level="crit"),
        "unrecognized name",
    ),
    quiet("NGX060", "a plain port behind https: NGX033", users(GOOD, said=PLAIN_PORT, level="crit")),
    quiet("NGX060", "a scanner's handshake", users(GOOD, said=SCANNER, level="crit")),
    fires("NGX060", "a chain that is longer than nginx looks", users(GOOD, said=LONG_CHAIN), "verify error"),
    fires(
        "NGX060",
        "a worker may not read the key",
        users(said=CLOSED_KEY, front__predict=NO_HANDSHAKE, front__health=NO_HANDSHAKE),
        "ssl_certificate_key",
    ),
    quiet("NGX060", "a name without a file, asked for by scanners", users(GOOD, said=CLOSED_KEY)),
    fires(
        "NGX086",
        "browsers are asked for a password first",
        users(ASKED, lines=LOCKED),
        "auth_basic",
        severity="warn",
    ),
    fires(
        "NGX086",
        "a scanner asks an API whose users pass: nothing shows a browser",
        users(PROBED, lines=LOCKED),
        severity="warn",
    ),
    fires(
        "NGX086",
        "a scanner asks an API that nobody uses",
        users(PROBED, at_service=(), lines=LOCKED),
        severity="warn",
    ),
    fires(
        "NGX086",
        "a page asks, and users with the password pass",
        users(ASKED_BY_A_PAGE, lines=LOCKED),
        severity="warn",
    ),
    fires(
        "NGX086",
        "a page asks, and nobody comes to the service",
        users(ASKED_BY_A_PAGE, at_service=(), lines=LOCKED),
        severity="fail",
    ),
    quiet("NGX086", "the same without a lock at nginx", users(ASKED)),
    quiet("NGX086", "the lock is off there", users(ASKED, lines="auth_basic off;")),
    quiet(
        "NGX086",
        "people without a password",
        users(answered("401", 9, path="/items", method="GET"), lines=LOCKED),
    ),
    quiet(
        "NGX086",
        "probes of the methods at the root",
        users(answered("401", 9, path="/", method="OPTIONS"), lines=LOCKED),
    ),
    fires(
        "NGX082", "nginx says which header it left out", users(KEYLESS, said=INVALID, level="info"), "api_key"
    ),
    quiet(
        "NGX082",
        "such requests pass",
        users(answered("200", 5, path="/items", method="GET"), said=INVALID, level="info"),
    ),
    quiet(
        "NGX082",
        "another header is invalid",
        users(KEYLESS, said=INVALID.replace("api_key", "Bad Header"), level="info"),
    ),
    fires(
        "NGX003",
        "an include takes a directory",
        with_error("/etc/nginx/x: [Errno 21] Is a directory: '/etc/nginx/x'"),
        "Is a directory",
    ),
    quiet(
        "NGX003",
        "a file was not read for another reason",
        with_error("/etc/nginx/x: [Errno 13] Permission denied"),
    ),
    fires(
        "NGX005",
        "nothing binds gunicorn but its environment",
        bound_elsewhere(gunicorn_config(workers=2)),
        "PORT=5000",
    ),
    fires(
        "NGX005",
        "the file binds it",
        bound_elsewhere(gunicorn_config(bind="0.0.0.0:5000")),
        "the service answers there",
    ),
    fires(
        "GUN004",
        "the worker asks itself",
        users(REPORT, at_service=(REPORT, OWN_ITEMS), service=("WORKER TIMEOUT (pid:901)", WAITS)),
        "2 x GET /items: not in nginx's access log",
    ),
    quiet(
        "GUN012",
        "a worker's own port is taken",
        but(
            logs__gunicorn_error=gunicorn_log(
                entry(
                    "Exception in worker process\nTraceback (most recent call last):\n"
                    "OSError: [Errno 98] Address already in use"
                )
            )
        ),
    ),
    fires(
        "NGX019",
        "the application raised while it answered",
        users(GOOD, said=CUT, service=(RAISED,)),
        "/root/build/app.py:9 RuntimeError: made up for this case",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def _summary(snapshot: Snapshot, code: str) -> str:
    finding = found(snapshot)[code]
    return finding.summary.en if finding.summary else ""


def _steps(snapshot: Snapshot, code: str) -> str:
    return "\n".join(step if isinstance(step, str) else step.en for step in found(snapshot)[code].fix or ())


@pytest.mark.parametrize(
    "snapshot",
    [
        users(REPORT, at_service=(REPORT, OWN_ITEMS), service=("WORKER TIMEOUT (pid:901)", COMPUTES)),
        users(REPORT, OWN_ITEMS, at_service=(REPORT, OWN_ITEMS), service=("WORKER TIMEOUT (pid:901)", WAITS)),
    ],
    ids=["it computes", "users ask for it through nginx"],
)
def test_a_worker_that_does_not_ask_itself_is_not_said_to(snapshot: Snapshot) -> None:
    assert "itself" not in _summary(snapshot, "GUN004")


def test_a_header_s_value_is_not_shown() -> None:
    proofs = found(users(KEYLESS, said=INVALID, level="info"))["NGX082"].evidence
    assert not any("api_key: k" in proof.detail.en for proof in proofs)


def test_a_bind_in_the_file_leaves_the_advice_at_nginx() -> None:
    assert "printf" in _steps(bound_elsewhere(gunicorn_config(workers=2)), "NGX005")
    assert "printf" not in _steps(bound_elsewhere(gunicorn_config(bind="0.0.0.0:5000")), "NGX005")


@pytest.mark.parametrize(
    ("exception", "is_preloaded", "word"),
    [
        ("RuntimeError: Cannot re-initialize CUDA in forked subprocess", False, "preload_app"),
        ("ssl.SSLError: [SSL: DECRYPTION_FAILED_OR_BAD_RECORD_MAC] decryption failed", True, "preload_app"),
        ("UnicodeEncodeError: 'latin-1' codec can't encode characters", False, "filename*"),
        ("gunicorn.http.errors.InvalidResponseHeader: Invalid response header: 'X-A'", False, "filename*"),
        ("UnicodeEncodeError: 'ascii' codec can't encode characters", False, "UTF-8"),
        ("ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED]", True, "update-ca-certificates"),
    ],
)
def test_an_exception_s_surroundings(exception: str, is_preloaded: bool, word: str) -> None:
    advice = surroundings(exception, HEALTHY.target, is_preloaded=is_preloaded)  # type: ignore[arg-type]
    assert advice is not None
    assert word in "\n".join(step if isinstance(step, str) else step.en for step in advice.fix)


def test_a_connection_is_shared_only_where_the_master_loads_the_application() -> None:
    exception = "ssl.SSLEOFError: EOF occurred in violation of protocol"
    assert surroundings(exception, HEALTHY.target) is None  # type: ignore[arg-type]


MADE_UP = (
    "Exception on /tariff [GET]\nTraceback (most recent call last):\n"
    '  File "{}", line 16, in tariff\ntariff.errors.ZorbleMismatch: state 7'
)


@pytest.mark.parametrize(
    ("file", "step"),
    [
        ("/root/build/app.py", None),
        ("/root/venv/lib/python3.11/site-packages/zorble/core.py", "belongs to a package"),
    ],
)
def test_an_exception_that_nobody_listed_is_quoted_and_placed(file: str, step: str | None) -> None:
    """What is wrong in a package's line is not to be corrected there."""
    snapshot = users(
        answered("500", 4, path="/tariff", method="GET"),
        at_service=(answered("500", 4, path="/tariff", method="GET"),),
        service=(MADE_UP.format(file),),
    )
    finding = found(snapshot)["APP020"]
    proofs = " | ".join(f"{proof.source} {proof.detail.en}" for proof in finding.evidence)
    assert f"{file}:16 tariff.errors.ZorbleMismatch: state 7" in proofs
    assert (step is None) == (finding.fix is None)
    assert step is None or step in _steps(snapshot, "APP020")


def test_a_second_copy_of_the_site_is_told_from_two_sites() -> None:
    message = 'duplicate upstream "gte_backend"'
    copy = nginx_message.advice(message, f"{SITE_FILE}.save", "3", NGINX_CONF, other=f"{SITE_FILE}:3")
    assert "include" in copy.en
    shop = nginx_message.advice(
        message, "/etc/nginx/conf.d/shop.conf", "3", NGINX_CONF, other=f"{SITE_FILE}:3"
    )
    assert "include" not in shop.en
