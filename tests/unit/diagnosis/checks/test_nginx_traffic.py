"""What users' own requests show of nginx, while the doctor's prediction passes."""

from __future__ import annotations

import msgspec
import pytest

from ops.facts.base import NotSeen
from ops.facts.files import AccessStep, Reader
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Connection, HostNames, Upstreams
from ops.facts.snapshot import Snapshot
from ops.facts.traffic import Answers, LoggedRequest, RefusedFile, Spread
from ops.interpret.address import join_address
from tests.unit.diagnosis.checks.cases import Case, fires, hold, quiet
from tests.unit.diagnosis.checks.test_app_traffic import LINE, NO_LOG, SERVED, at_nginx, host, logged
from tests.unit.made_snapshot import (
    AT_BACKEND,
    BACKEND,
    HEALTH,
    NGINX_ACCESS_LOG,
    NGINX_ERROR_LOG,
    NGINX_WORKER,
    NOW,
    SITE,
    SITE_FILE,
    access_log,
    answered,
    but,
    entry,
    exchange,
    nginx_config,
    nginx_logs,
)

OWN_REQUEST = ', client: 10.0.0.7, server: gte-api.example.com, request: "POST /predict HTTP/1.1"'
OF_LOGIN = OWN_REQUEST.replace("/predict", "/login")
BODY = "/var/lib/nginx/body"
REFUSED_LINE = f'*1 open() "{BODY}/0000000001" failed (13: Permission denied), client: 10.0.0.7, server: x'
WORKER = Reader(pid=701, user="www-data", uid=33, gids=(33,))


def step(path: str, mode: int = 0o755, uid: int = 0, *, acl: bool = False) -> AccessStep:
    return AccessStep(path=path, is_directory=True, uid=uid, gid=0, mode=mode, has_acl=acl)


OPEN = (step("/"), step("/var"), step("/var/lib"), step("/var/lib/nginx"), step(BODY, 0o700, 33))


def refused(
    *steps: AccessStep,
    error: int = 13,
    missing: str | None = None,
    reader: Reader | None = WORKER,
    complete: bool = True,
) -> Snapshot:
    """nginx could not open a temporary file; the way there is this by now."""
    file = RefusedFile(
        path=f"{BODY}/0000000001",
        error=error,
        entry=REFUSED_LINE,
        log=NGINX_ERROR_LOG,
        count=2,
        last=NOW - 60,
        steps=steps,
        missing=missing,
        reader=reader,
        complete=complete,
    )
    return but(
        logs__refused_files=(file,),
        logs__nginx_errors=nginx_logs(entry(REFUSED_LINE, level="crit")),
    )


def said(text: str, *answers: Answers, level: str = "error", ago: float = 60.0) -> Snapshot:
    """nginx's error log has ``text``, gunicorn's access log those ``answers``."""
    return but(host(*answers, SERVED), logs__nginx_errors=nginx_logs(entry(text, level=level, ago=ago)))


def lost(text: str, answer: Answers) -> Snapshot:
    """The same, where nginx answered 502 in place of ``answer``."""
    refused = logged(NGINX_ACCESS_LOG, msgspec.structs.replace(answer, status="502"), SERVED)
    return but(said(text, answer), logs__nginx_access=refused)


def about_the_reload(pid: int) -> Snapshot:
    """A worker of that number logged a failure in the second from which on the logs are judged."""
    line = entry(f"*3 auth request unexpected status: 404{OF_LOGIN}", ago=900, pid=pid)
    return but(host(SERVED), logs__nginx_errors=nginx_logs(line))


def earlier_probe(path: str) -> Snapshot:
    """Something failed at /login a minute ago; in that second an earlier run of the doctor had asked for ``path``."""
    asked = LoggedRequest(time=NOW - 60, method="POST", path=path, status="500", line="")
    snapshot = said(f"*3 auth request unexpected status: 404{OF_LOGIN}")
    log = snapshot.logs.nginx_access
    assert log.traffic is not None
    traffic = msgspec.structs.replace(log.traffic, probes=(asked,))
    return but(snapshot, logs__nginx_access=msgspec.structs.replace(log, traffic=traffic))


RESET = (
    '*9 {} while {}, client: 10.0.0.7, server: gte-api.example.com, request: "POST /predict HTTP/1.1", '
    'upstream: "http://127.0.0.1:8000/predict", host: "gte-api.example.com"'
)
SENDING = RESET.format("writev() failed (32: Broken pipe)", "sending request to upstream")
READING = RESET.format(
    "recv() failed (104: Connection reset by peer)", "reading response header from upstream"
)
HEADER_PAGE = 226.0  # with "nginx" alone at its end, as the Server header has it
TWO_SERVERS = nginx_config(
    SITE.replace("server 127.0.0.1:8000;", "server 127.0.0.1:8000; server 127.0.0.1:8001;")
)
REFUSING = exchange(failure=ProbeFailure.REFUSED, detail="Connection refused", address="127.0.0.1:8001")
ALIVE = exchange(200, HEALTH, **{**AT_BACKEND, "address": "127.0.0.1:8001"})
CONNECT_FAILED = (
    "*7 connect() failed (111: Connection refused) while connecting to upstream, server: gte-api.example.com, "
    'request: "GET / HTTP/1.1", upstream: "http://127.0.0.1:8001/", host: "x"'
)
INTERCEPTED = nginx_config(
    SITE.replace(
        "proxy_pass http://gte_backend;", "proxy_pass http://gte_backend; proxy_intercept_errors on;", 1
    ).replace("location = /health", "error_page 400 404 500 502 503 504 /50x.html;\n    location = /health")
)
UNPROCESSED = answered("400", 3, newest=(LINE,))


def by_name(
    *addresses: str, dead: dict[str, ProbeFailure] | None = None, name: str = "localhost", port: int = 8000
) -> Snapshot:
    """The upstream's server is written as a name with these addresses."""
    refused = dead or {}
    places = [join_address(address, port) for address in addresses]
    return but(
        nginx_config=nginx_config(SITE.replace("server 127.0.0.1:8000;", f"server {name}:{port};")),
        host_names=HostNames(
            addresses={name: addresses},
            dialled=tuple(Connection(address=place, failure=refused.get(place)) for place in places),
        ),
    )


CASES = [
    # --- NGX040
    fires(
        "NGX040",
        "a directory above is closed",
        refused(*OPEN[:3], step("/var/lib/nginx", 0o700), OPEN[4]),
        REFUSED_LINE,
        "0700, uid 0, gid 0",
        severity="fail",
        facts={"directory": "/var/lib/nginx", "user": "www-data", "count": "2"},
    ),
    fires(
        "NGX040",
        "the directory belongs to another user",
        refused(*OPEN[:4], step(BODY, 0o700, 65534)),
        facts={"directory": BODY},
    ),
    fires(
        "NGX040",
        "it may be searched and not written to",
        refused(*OPEN[:4], step(BODY, 0o755)),
        facts={"directory": BODY},
    ),
    fires("NGX040", "it was removed", refused(*OPEN[:4], error=2, missing=BODY), facts={"directory": BODY}),
    fires(
        "NGX040",
        "a level below it belongs to root, and what nginx would make in it is not there",
        refused(*OPEN, step(f"{BODY}/1", 0o700), missing=f"{BODY}/1/00"),
        f"stat {BODY}/1",
        facts={"directory": f"{BODY}/1"},
    ),
    quiet(
        "NGX040",
        "the level is its own by now, and nginx makes what is missing",
        refused(*OPEN, step(f"{BODY}/1", 0o700, 33), missing=f"{BODY}/1/00"),
    ),
    fires("NGX040", "the file system is read-only", refused(*OPEN, error=30), facts={"directory": BODY}),
    *(
        quiet("NGX040", f"error {error} is not the path's", refused(*OPEN[:4], error=error, missing=BODY))
        for error in (23, 24, 28)
    ),
    quiet("NGX040", "it was mended", refused(*OPEN)),
    quiet("NGX040", "it is there again", refused(*OPEN, error=2)),
    quiet(
        "NGX040",
        "an access control list decides",
        refused(*OPEN[:3], step("/var/lib/nginx", 0o700, acl=True)),
    ),
    quiet(
        "NGX040",
        "nobody saw as whom nginx runs",
        refused(*OPEN[:3], step("/var/lib/nginx", 0o700), reader=None),
    ),
    quiet("NGX045", "that line is judged by what is so now", refused(*OPEN)),
    # --- NGX041
    fires(
        "NGX041",
        "reset while nginx sent the body",
        lost(SENDING, answered("413", 2, ago=(60, 59), newest=(LINE,))),
        "Broken pipe",
        LINE,
        severity="fail",
        facts={"request": "POST /predict", "status": "413", "count": "1"},
    ),
    fires("NGX041", "the reset overtook a refusal", lost(READING, answered("401", 1, ago=(60, 60)))),
    fires(
        "NGX041",
        "the service keeps no log",
        but(said(SENDING), logs__gunicorn_access=NO_LOG),
        facts={"status": "?"},
    ),
    quiet("NGX041", "an idle connection that was closed just then", said(READING)),
    quiet("NGX041", "the refusal was at another time", said(READING, answered("401", 1, ago=(500, 500)))),
    quiet("NGX041", "processes of before did it", said(SENDING, ago=5000)),
    quiet(
        "NGX041",
        "the client went away",
        said("*9 recv() failed (104: Connection reset by peer) while reading client request"),
    ),
    # --- NGX042
    fires(
        "NGX042",
        "a long URL",
        but(
            host(SERVED),
            logs__nginx_access=logged(NGINX_ACCESS_LOG, answered("414", 2, newest=(LINE,)), SERVED),
        ),
        LINE,
        facts={"status": "414", "count": "2"},
    ),
    fires(
        "NGX042",
        "a long cookie, by the size of nginx's page",
        at_nginx(
            answered("400", 2, sent=Spread(least=HEADER_PAGE, median=HEADER_PAGE, most=HEADER_PAGE)), SERVED
        ),
    ),
    quiet("NGX042", "the service answered 414 itself", host(answered("414", 2), SERVED)),
    quiet(
        "NGX042",
        "400 of another kind",
        at_nginx(answered("400", 2, sent=Spread(least=150, median=150, most=157)), SERVED),
    ),
    quiet("NGX042", "the service's own 400", at_nginx(answered("414", 2, upstreams={BACKEND: 2}), SERVED)),
    # --- NGX043
    fires(
        "NGX043",
        "one of two refuses, nginx takes the other",
        but(
            nginx_config=TWO_SERVERS,
            upstreams=Upstreams(answers={"127.0.0.1:8001": REFUSING}),
            logs__nginx_errors=nginx_logs(entry(CONNECT_FAILED)),
        ),
        "Connection refused",
        severity="warn",
        facts={"address": "127.0.0.1:8001", "alive": BACKEND, "count": "1", "met": "0"},
    ),
    fires(
        "NGX043",
        "and users met it",
        but(
            nginx_config=TWO_SERVERS,
            upstreams=Upstreams(answers={"127.0.0.1:8001": REFUSING}),
            logs__nginx_access=access_log(NGINX_ACCESS_LOG, {"200": 50, "502": 40}),
        ),
        severity="fail",
        facts={"met": "40"},
    ),
    fires(
        "NGX043",
        "one address of the name refuses: nginx asks it in turn",
        by_name("127.0.0.1", "::1", dead={"[::1]:8000": ProbeFailure.REFUSED}),
        "[::1]:8000",
        f"{SITE_FILE}:3",
        "getent ahosts localhost 127.0.0.1, ::1",
        severity="warn",
        facts={"address": "[::1]:8000", "alive": "127.0.0.1:8000"},
    ),
    fires(
        "NGX043",
        "one address of the name is silent: a delay",
        by_name("10.0.0.5", "10.0.0.6", dead={"10.0.0.6:8000": ProbeFailure.TIMEOUT}, name="api.internal"),
        severity="fail",
    ),
    quiet("NGX043", "every address of the name answers", by_name("127.0.0.1", "::1")),
    quiet(
        "NGX043",
        "the doctor may not connect to one address of the name",
        by_name("10.0.0.5", "10.0.0.6", dead={"10.0.0.6:8000": ProbeFailure.PERMISSION}, name="api.internal"),
    ),
    quiet(
        "NGX043",
        "the doctor may not connect to the other server",
        but(
            nginx_config=TWO_SERVERS,
            upstreams=Upstreams(
                answers={
                    "127.0.0.1:8001": exchange(
                        failure=ProbeFailure.PERMISSION,
                        detail="Permission denied",
                        address="127.0.0.1:8001",
                    )
                }
            ),
        ),
    ),
    quiet(
        "NGX043",
        "not one does: that is another cause",
        by_name(
            "127.0.0.1",
            "::1",
            dead={"[::1]:8000": ProbeFailure.REFUSED, "127.0.0.1:8000": ProbeFailure.REFUSED},
        ),
    ),
    quiet(
        "NGX043",
        "both answer",
        but(nginx_config=TWO_SERVERS, upstreams=Upstreams(answers={"127.0.0.1:8001": ALIVE})),
    ),
    quiet("NGX043", "there is one server", but(upstreams=Upstreams(answers={"127.0.0.1:8001": REFUSING}))),
    quiet(
        "NGX043",
        "it is marked down",
        but(
            nginx_config=nginx_config(
                SITE.replace("server 127.0.0.1:8000;", "server 127.0.0.1:8000; server 127.0.0.1:8001 down;")
            ),
            upstreams=Upstreams(answers={"127.0.0.1:8001": REFUSING}),
        ),
    ),
    # --- NGX044
    fires(
        "NGX044",
        "the reason of a 400 is lost",
        but(host(UNPROCESSED, SERVED), nginx_config=INTERCEPTED),
        "proxy_intercept_errors on;",
        "error_page 400 404 500 502 503 504 /50x.html;",
        severity="warn",
        facts={"status": "400", "path": "POST /predict", "count": "3"},
    ),
    quiet("NGX044", "answers are passed on", host(UNPROCESSED, SERVED)),
    quiet(
        "NGX044",
        "a page for people",
        but(host(answered("404", 3, method="GET"), SERVED), nginx_config=INTERCEPTED),
    ),
    quiet(
        "NGX044", "a status without a page", but(host(answered("422", 3), SERVED), nginx_config=INTERCEPTED)
    ),
    quiet(
        "NGX044",
        "a page for what nginx itself answers",
        but(host(answered("503", 3), SERVED), nginx_config=INTERCEPTED),
    ),
    # --- NGX045
    fires(
        "NGX045",
        "a zone of shared memory is full",
        said('*3 could not allocate node in limit_req zone "gte_api"', level="alert"),
        "could not allocate node",
        severity="warn",
    ),
    fires(
        "NGX045", "a worker crashed", said("worker process 77 exited on signal 11", level="alert", ago=800)
    ),
    quiet("NGX045", "an error of the usual kind", said("*3 something", level="error")),
    quiet(
        "NGX045",
        "clients break handshakes off",
        said("*3 SSL_do_handshake() failed (SSL: error:0A00006C)", level="crit"),
    ),
    quiet(
        "NGX045", "a worker of before a reload", said("open socket #13 left in connection 5", level="alert")
    ),
    quiet("NGX045", "of before", said("*3 something", level="crit", ago=5000)),
    quiet(
        "NGX045",
        "no room: HST001",
        said('*3 pwrite() "/x" failed (28: No space left on device), client: 203.0.113.9', level="crit"),
    ),
    # --- NGX060
    *(
        fires("NGX060", f"nginx says why: {named}", said(f"*3 {line}{OF_LOGIN}"), named)
        for line, named in (
            ("upstream sent too big header while reading response header from upstream", "too big header"),
            ("auth request unexpected status: 404 while sending to client", "status: 404"),
            ("no resolver defined to resolve app.example", "app.example"),
            ("app.example could not be resolved (3: Host not found)", "could not be resolved"),
            ('rewrite or internal redirection cycle while processing "/x"', "redirection cycle"),
            ('upstream sent duplicate header line: "Transfer-Encoding: chunked"', "duplicate header"),
        )
    ),
    quiet(
        "NGX060", "a file that is not there", said(f'*3 open() "/x" failed (2: No such file){OWN_REQUEST}')
    ),
    quiet(
        "NGX060",
        "such requests pass since",
        said(f"*3 auth request unexpected status: 404{OWN_REQUEST}", answered("200", 3)),
    ),
    quiet("NGX060", "of before", said(f"*3 auth request unexpected status: 404{OWN_REQUEST}", ago=5000)),
    quiet("NGX060", "by a worker of before, in the second of the reload", about_the_reload(NGINX_WORKER + 1)),
    fires("NGX060", "by a worker of now, in the second of the reload", about_the_reload(NGINX_WORKER)),
    quiet(
        "NGX060",
        "the doctor's own challenge",
        said(
            "*3 auth request unexpected status: 404"
            + OWN_REQUEST.replace("POST /predict", "GET /.well-known/acme-challenge/gte-ops-4081553726")
        ),
    ),
    fires(
        "NGX060",
        "an authority's challenge",
        said(
            "*3 auth request unexpected status: 404"
            + OWN_REQUEST.replace("POST /predict", "GET /.well-known/acme-challenge/LoqXcYV8q5ONbJ")
        ),
    ),
    quiet("NGX060", "an earlier run of the doctor asked for it", earlier_probe("/login")),
    fires("NGX060", "an earlier run of the doctor asked for something else", earlier_probe("/health")),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def test_the_fix_of_a_closed_directory_opens_that_directory_alone() -> None:
    from tests.unit.diagnosis.checks.cases import found

    above = found(refused(*OPEN[:3], step("/var/lib/nginx", 0o700), OPEN[4]))["NGX040"]
    assert above.fix == ("chmod o+x /var/lib/nginx",)
    own = found(refused(*OPEN[:4], step(BODY, 0o700, 65534)))["NGX040"]
    assert own.fix == (f"chown www-data {BODY}", f"chmod u+rwx {BODY}")
    assert above.verify == f"namei -l {BODY}"


def test_a_log_that_was_not_seen_is_no_all_clear() -> None:
    unseen: dict[str, NotSeen] = {NGINX_ERROR_LOG: NotSeen(reason="permission denied")}
    snapshot = but(logs__nginx_errors=unseen)
    hold(quiet("NGX045", "not seen", snapshot))
    assert msgspec.json.encode(snapshot)
