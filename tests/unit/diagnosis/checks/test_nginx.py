"""nginx itself: its process, its configuration, where it sends requests."""

from __future__ import annotations

from typing import Any

import pytest

from ops.diagnosis.checks.nginx_rate_limit import rate_limit
from ops.diagnosis.checks.nginx_timeouts import nginx_seconds, timeout
from ops.diagnosis.finding import Check, NotJudgedError
from ops.facts.base import NotSeen
from ops.facts.host import Listener
from ops.facts.machine import OpenFiles
from ops.facts.nginx import NginxTest, ParseError, Pidfile
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Connection, Exchange, Upstreams
from ops.facts.snapshot import Snapshot
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.diagnosis.checks.test_app_traffic import logged
from tests.unit.made_snapshot import (
    AT_BACKEND,
    BACKEND,
    DOMAIN,
    GUNICORN_CONF,
    GUNICORN_LISTENER,
    GUNICORN_MASTER,
    GUNICORN_PROCESSES,
    HEALTH,
    HEALTHY,
    NGINX_ACCESS_LOG,
    NGINX_CONF,
    NGINX_ERROR_LOG,
    NGINX_LISTENERS,
    NGINX_PROCESSES,
    NGINX_WORKER,
    NOW,
    PREDICT,
    PREDICTION,
    SITE,
    SITE_FILE,
    URL,
    access_log,
    answered,
    but,
    directives,
    entry,
    exchange,
    gunicorn_config,
    nginx_config,
    nginx_logs,
    page,
    process,
    processes,
    timed_out,
    without_gunicorn,
    without_nginx,
)

ELSEWHERE = "127.0.0.1:9000"


def nginx_says(*lines: str, exit_code: int = 1, root: bool = True, base: Snapshot = HEALTHY) -> Snapshot:
    return but(
        base,
        host__is_root=root,
        nginx_test=NginxTest(command=("nginx", "-t"), exit_code=exit_code, lines=lines),
    )


def limits(main: str, soft: int = 1024, age: float = 60, **changes: Any) -> Snapshot:
    """``main`` at the top of nginx.conf; its worker may open ``soft`` files and was started ``age`` seconds after the
    files were last changed."""
    config = nginx_config()
    started = next(p.started for p in NGINX_PROCESSES if p.pid == NGINX_WORKER)
    return but(
        but(
            nginx_config=nginx_config(
                directives=(*directives(main, NGINX_CONF), *config.directives),
                modified={NGINX_CONF: started - age, SITE_FILE: started - 9000},
            ),
            machine__open_files=(OpenFiles(pid=NGINX_WORKER, process="nginx", soft=soft, used=14),),
        ),
        **changes,
    )


def edited(old: str, new: str, base: Snapshot = HEALTHY) -> Snapshot:
    assert SITE.count(old) == 1, old
    return but(base, nginx_config=nginx_config(SITE.replace(old, new)))


DEFAULT_SITE = "server {{ listen 443 ssl default_server; server_name x; {} }}"


def waiting(timeouts: str, site: str = SITE) -> Snapshot:
    """The site's HTTPS block with ``timeouts``."""
    assert site.count("proxy_read_timeout 120s;") == 1
    return but(
        nginx_config=nginx_config(
            site.replace("proxy_read_timeout 120s;", f"proxy_read_timeout 120s; {timeouts}")
        )
    )


UNKNOWN_DIRECTIVE = 'nginx: [emerg] unknown directive "proxy_pas" in /etc/nginx/conf.d/gte-api.conf:21'
TEST_FAILED = "nginx: configuration file /etc/nginx/nginx.conf test failed"


def mapped(empty: str) -> Snapshot:
    """Connection is sent as the usual map has it, with ``empty`` for a request that asks for no upgrade."""
    site = SITE.replace('Connection ""', "Connection $connection_upgrade")
    return but(
        nginx_config=nginx_config(
            f"map $http_upgrade $connection_upgrade {{ default upgrade; '' {empty}; }}" + site
        )
    )


def proxied_to(address: str, answer: Exchange | None, **more: Any) -> Snapshot:
    """nginx proxies to ``address``, where this is the answer to the health path; users meet nginx's 502."""
    return but(
        edited("server 127.0.0.1:8000;", f"server {address};"),
        upstreams=Upstreams(answers={} if answer is None else {address: answer}),
        front__predict=page(502, "502 Bad Gateway", **PREDICT),
        **more,
    )


ANOTHER_SERVICE = exchange(200, '{"status": "ok", "service": "shop"}', address=ELSEWHERE)


def two_servers(second: Exchange, *, options: str = "", failed: int = 0) -> Snapshot:
    """nginx shares requests between the service and ``second``; the doctor's own met the service."""
    met = (answered("404", failed),) if failed else ()
    return but(
        edited("{ server 127.0.0.1:8000;", f"{{\nserver 127.0.0.1:9000{options}; server 127.0.0.1:8000;"),
        upstreams=Upstreams(answers={ELSEWHERE: second}),
        logs__nginx_access=logged(NGINX_ACCESS_LOG, *met, answered("200", 9)),
    )


def no_answer(address: str, failure: ProbeFailure = ProbeFailure.REFUSED) -> Exchange:
    return exchange(failure=failure, detail="Connection refused", address=address)


def behind_read_timeout(
    took: float, timeout: str = "proxy_read_timeout 2s;", logged: bool = True
) -> Snapshot:
    message = "upstream timed out (110: Connection timed out) while reading response header from upstream"
    return but(
        edited("proxy_read_timeout 120s;", timeout),
        backend__predict=exchange(200, PREDICTION, **{**PREDICT, **AT_BACKEND, "elapsed": took}),
        front__predict=page(504, "504 Gateway Time-out", **PREDICT, elapsed=2.0),
        logs__nginx_errors=nginx_logs(*([entry(message)] if logged else [])),
    )


LIMITING = 'limiting requests, excess: 20.740 by zone "gte_api", client: 203.0.113.9'


def limited(
    count: int, statuses: dict[str, int], message: str = LIMITING, predict: Exchange | None = None
) -> Snapshot:
    return but(
        logs__nginx_errors=nginx_logs(*(entry(message, ago=5 + n) for n in range(count))),
        logs__nginx_access=access_log(NGINX_ACCESS_LOG, statuses),
        front__predict=predict or HEALTHY.front.predict,
    )


OTHER_SITE = """
server {
    listen 443 ssl default_server;
    server_name www.example.org;
    location / { root /var/www/html; }
}
"""
MISNAMED = SITE.replace(
    "server_name gte-api.example.com;\n    ssl", "server_name gte-apo.example.com;\n    ssl"
)


def answered_by(config: str, answer: Exchange) -> Snapshot:
    return but(
        nginx_config=nginx_config(config),
        front__predict=answer,
        front__health=page(404, "404 Not Found"),
    )


WELCOME = exchange(200, "<html><h1>Welcome to nginx!</h1></html>", kind="text/html", **PREDICT)
FILES = exchange(501, "<html>Error code: 501</html>", kind="text/html", server="SimpleHTTP/0.6 Python/3.11")
SQUATTER = process(4242, 1, "python3", "-m", "http.server", "8000")


def squatted(answer: Exchange = FILES) -> Snapshot:
    """Another program holds the service's address, and nginx proxies to it."""
    return but(
        processes=processes(
            NGINX_PROCESSES,
            (SQUATTER,),
            listeners=(*NGINX_LISTENERS, Listener(address=BACKEND, pids=(4242,))),
        ),
        target__gunicorn_master=None,
        target__gunicorn_workers=(),
        backend__connection=Connection(address=BACKEND),
        backend__health=answer,
        backend__predict=page(501, "Error response", **{**PREDICT, "server": "SimpleHTTP/0.6"}),
        backend__ready=page(404, "Error response", server="SimpleHTTP/0.6"),
        front__health=page(404, "Error response"),
        front__predict=page(501, "Error response", **PREDICT),
    )


def hop(url: str, location: str, status: int = 301) -> Exchange:
    return page(status, "Moved", url=url, location=location)


def redirected(status: int, location: str, at_backend: Exchange | None = None) -> Snapshot:
    base = but(front__predict=page(status, "Moved", **PREDICT, location=location))
    return but(base, backend__predict=at_backend) if at_backend else base


def to_plain_http() -> Snapshot:
    """The application redirects to its route with the slash, by http, though nginx tells it of HTTPS."""
    location = f"http://{DOMAIN}/predict/"
    own = page(307, "", **{**PREDICT, **AT_BACKEND}, location=location)
    site = SITE.replace(
        "proxy_pass http://gte_backend;",
        "proxy_set_header X-Forwarded-Proto $scheme; proxy_pass http://gte_backend;",
    )
    return but(redirected(307, location, own), nginx_config=nginx_config(site))


CASES: list[Case] = [
    fires(
        "NGX001",
        "the program is not found and nothing serves",
        but(without_nginx(), target__nginx_binary="nginx", target__nginx_installed=False),
        "no such program",
        severity="fail",
    ),
    fires(
        "NGX001",
        "something serves at the front door all the same",
        but(target__nginx_installed=False),
        severity="warn",
    ),
    quiet("NGX001", "nginx is there and down", without_nginx()),
    fires(
        "NGX001",
        "the program is not there, and the front door refuses",
        but(without_nginx(), target__nginx_installed=False),
        "no such program",
        severity="fail",
    ),
    fires(
        "NGX001",
        "the program is not there, and something serves all the same",
        but(target__nginx_installed=False),
        severity="warn",
    ),
    quiet("NGX001", "nginx is installed and does not run", without_nginx()),
    fires(
        "NGX002",
        "no master, and the front door refuses",
        without_nginx(),
        "connection refused",
        "no nginx master",
        severity="fail",
    ),
    fires(
        "NGX002",
        "the nginx that runs serves another configuration",
        but(
            without_nginx(),
            nginx_pidfile=Pidfile(path="/run/nginx.pid", missing=True),
            processes=processes(
                (process(77, 1, "nginx: master process nginx -c /opt/other/nginx.conf"),), listeners=()
            ),
        ),
    ),
    fires(
        "NGX002",
        "workers of a killed master serve on, and a start since failed at their ports",
        but(
            processes=processes(
                (
                    process(NGINX_WORKER, 1, "nginx: worker process"),
                    *GUNICORN_PROCESSES,
                ),
                listeners=(
                    Listener(address="0.0.0.0:443", pids=(NGINX_WORKER,), queued=0),
                    GUNICORN_LISTENER,
                ),
            ),
            nginx_pidfile=Pidfile(path="/run/nginx.pid", missing=True),
            # They have answered since.
            logs__nginx_errors=nginx_logs(
                entry("bind() to 0.0.0.0:443 failed (98: Address already in use)", level="emerg", ago=30)
            ),
        ),
        "worker process, without a master",
        "98: Address already in use",
    ),
    quiet("NGX002", "the processes could not be seen", but(without_nginx(), processes=NotSeen(reason="-"))),
    quiet(
        "NGX002",
        "the front door takes connections, whoever holds it",
        but(processes=processes(GUNICORN_PROCESSES, listeners=(GUNICORN_LISTENER,))),
    ),
    quiet(
        "NGX002",
        "a title cut into words is a master's too",
        but(
            without_nginx(),
            processes=processes(
                (process(NGINX_PROCESSES[0].pid, 1, "nginx:", "master", "process", "nginx"),), listeners=()
            ),
        ),
    ),
    quiet(
        "NGX002",
        "packets to the door are dropped, which proves nothing about nginx",
        but(
            without_nginx(),
            front__connection=Connection(address="127.0.0.1:443", failure=ProbeFailure.TIMEOUT),
        ),
    ),
    fires(
        "NGX003",
        "nginx -t names directive, file and line; an older nginx still serves",
        nginx_says(UNKNOWN_DIRECTIVE, TEST_FAILED),
        'unknown directive "proxy_pas"',
        severity="warn",
        facts={"message": 'unknown directive "proxy_pas"', "file": SITE_FILE, "line": "21"},
    ),
    fires(
        "NGX003",
        "nginx is down and will not start",
        nginx_says(UNKNOWN_DIRECTIVE, TEST_FAILED, base=without_nginx()),
        severity="fail",
    ),
    fires(
        "NGX003",
        "seen without root: the alert about the log is none of the failures",
        nginx_says(
            'nginx: [alert] could not open error log file: open() "/x.log" failed (13: Permission denied)',
            UNKNOWN_DIRECTIVE,
            TEST_FAILED,
            root=False,
        ),
    ),
    quiet(
        "NGX003",
        "the test passes with a warning",
        nginx_says("nginx: [warn] conflicting server name", exit_code=0),
    ),
    quiet(
        "NGX003",
        "a permission the doctor lacks",
        nginx_says(
            'nginx: [emerg] open() "/run/nginx.pid" failed (13: Permission denied)', TEST_FAILED, root=False
        ),
    ),
    fires(
        "NGX003",
        "root meets the same permission as nginx would",
        nginx_says(
            'nginx: [emerg] open() "/mnt/x.conf" failed (13: Permission denied) in /etc/nginx/nginx.conf:9'
        ),
        facts={"line": "9"},
    ),
    quiet("NGX003", "nginx -t was not run", but(nginx_test=NotSeen(reason="-"))),
    fires(
        "NGX005",
        "the proxied address refuses while gunicorn is healthy at another",
        proxied_to(ELSEWHERE, no_answer(ELSEWHERE)),
        "proxy_pass http://gte_backend",
        f"{SITE_FILE}:3 {ELSEWHERE}: Connection refused",
        severity="fail",
        facts={"upstream": ELSEWHERE, "listening": BACKEND},
    ),
    fires(
        "NGX005",
        "its socket is missing",
        proxied_to("unix:/run/gte.sock", no_answer("unix:/run/gte.sock", ProbeFailure.MISSING)),
    ),
    quiet("NGX005", "gunicorn is down: nothing is healthy elsewhere", without_gunicorn()),
    quiet(
        "NGX005",
        "gunicorn is down at its own address, too",
        proxied_to(ELSEWHERE, no_answer(ELSEWHERE), backend__health=NotSeen(reason="-")),
    ),
    quiet("NGX005", "the proxied address was not asked", proxied_to(ELSEWHERE, None)),
    quiet(
        "NGX005", "it is slow, not absent", proxied_to(ELSEWHERE, no_answer(ELSEWHERE, ProbeFailure.TIMEOUT))
    ),
    quiet(
        "NGX005",
        "one dead member of several: nginx passes it over",
        but(
            edited("server 127.0.0.1:8000;", f"server 127.0.0.1:8000; server {ELSEWHERE};"),
            upstreams=Upstreams(answers={ELSEWHERE: no_answer(ELSEWHERE)}),
        ),
    ),
    quiet(
        "NGX005",
        "a variable decides at run time",
        but(
            edited("proxy_pass http://gte_backend;\n", "proxy_pass http://$chosen;\n"),
            upstreams=Upstreams(answers={}),
        ),
    ),
    fires(
        "NGX006",
        "the guide's own health location",
        edited(
            "location = /health { proxy_pass http://gte_backend; }",
            'location /health { return 200 "OK"; add_header Content-Type text/plain; }',
        ),
        "location /health { return 200 OK; }",
        severity="warn",
        facts={"location": "/health", "where": f"{SITE_FILE}:22"},
    ),
    fires(
        "NGX006",
        "204 says OK as well",
        edited(
            "location = /health { proxy_pass http://gte_backend; }", "location ~ ^/health$ { return 204; }"
        ),
    ),
    quiet("NGX006", "the health location proxies", HEALTHY),
    quiet(
        "NGX006",
        "no health location of its own: the general one proxies",
        edited("location = /health { proxy_pass http://gte_backend; }", ""),
    ),
    quiet(
        "NGX006",
        "closed to the public on purpose",
        edited("location = /health { proxy_pass http://gte_backend; }", "location = /health { return 403; }"),
    ),
    quiet(
        "NGX006",
        "a bare URL is a redirect, not an OK",
        edited(
            "location = /health { proxy_pass http://gte_backend; }",
            "location = /health { return https://status.example.com/; }",
        ),
    ),
    quiet(
        "NGX006",
        "another location's return",
        edited(
            "location = /health { proxy_pass http://gte_backend; }", "location = /healthy { return 200; }"
        ),
    ),
    fires(
        "NGX007",
        "the backend does answer, later than proxy_read_timeout",
        behind_read_timeout(3.4),
        "upstream timed out",
        "504 after 2.0 s",
        "after 3.4 s, proxy_read_timeout 2s",
        severity="fail",
        facts={"timeout": "2 s", "took": "3.4 s"},
    ),
    fires("NGX007", "sixty seconds where nothing is written", behind_read_timeout(61.0, timeout="")),
    quiet("NGX007", "within the default of sixty seconds", behind_read_timeout(59.0, timeout="")),
    quiet("NGX007", "the backend answers in time", behind_read_timeout(1.9)),
    quiet("NGX007", "no 'upstream timed out' in the window", behind_read_timeout(3.4, logged=False)),
    quiet(
        "NGX007",
        "the backend does not answer at all",
        but(behind_read_timeout(3.4), backend__predict=timed_out()),
    ),
    fires(
        "NGX008",
        "a good share is turned away",
        limited(30, {"200": 70, "429": 30}),
        "limiting requests",
        "30 x 429, 100 requests",
        severity="fail",
        facts={"count": "30", "share": "30%"},
    ),
    fires(
        "NGX008", "a small share: the limit does its work", limited(3, {"200": 97, "429": 3}), severity="warn"
    ),
    fires(
        "NGX008",
        "a 503 is the limit's where no limit_req_status is written",
        but(
            limited(30, {"200": 70, "503": 30}),
            nginx_config=edited("limit_req_status 429;", "").nginx_config,
        ),
        severity="fail",
    ),
    quiet("NGX008", "a 503 is not the limit's where that answers 429", limited(30, {"200": 70, "503": 30})),
    fires(
        "NGX008",
        "a small share, but the doctor's own request is among them",
        limited(3, {"200": 97, "429": 3}, predict=page(429, "429", **PREDICT)),
        severity="fail",
    ),
    quiet(
        "NGX008",
        "503 alone is an overload, not a rate limit",
        but(
            front__predict=page(503, "503", **PREDICT),
            logs__nginx_access=access_log(NGINX_ACCESS_LOG, {"200": 50, "503": 50}),
        ),
    ),
    quiet("NGX008", "the log line alone matches no answer", limited(30, {"200": 100})),
    quiet(
        "NGX008",
        "delayed requests are answered",
        limited(30, {"200": 100, "503": 1}, "delaying request, excess: 3.1"),
    ),
    quiet(
        "NGX008", "a dry run turns nobody away", limited(30, {"200": 99, "503": 1}, LIMITING + ", dry run")
    ),
    fires(
        "NGX010",
        "the guide's own filter",
        edited(
            "proxy_read_timeout 120s;",
            'if $http_user_agent ~* "(sqlmap|curl|python-requests)" { return 403; }',
        ),
        "sqlmap|curl|python-requests",
        severity="fail",
        facts={"client": "curl, python-requests"},
    ),
    quiet(
        "NGX010",
        "a filter for scanners alone",
        edited("proxy_read_timeout 120s;", 'if $http_user_agent ~* "(sqlmap|nikto)" { return 403; }'),
    ),
    quiet(
        "NGX010",
        "clients are told apart but not refused",
        edited("proxy_read_timeout 120s;", "if $http_user_agent ~* curl { set $tool 1; }"),
    ),
    quiet(
        "NGX010",
        "a pattern that Python cannot compile",
        edited("proxy_read_timeout 120s;", 'if $http_user_agent ~* "(?<!curl" { return 403; }'),
    ),
    fires(
        "NGX011",
        "nginx's default page",
        answered_by(SITE, WELCOME),
        "Welcome to nginx",
        severity="fail",
    ),
    fires(
        "NGX011",
        "no server_name matches and another block is the default",
        answered_by(OTHER_SITE + MISNAMED, page(405, "405 Not Allowed", **PREDICT)),
        "server_name www.example.org",
        facts={"answering": "www.example.org", "where": f"{SITE_FILE}:2"},
    ),
    quiet(
        "NGX011",
        "the service answers, whatever the names say",
        but(nginx_config=nginx_config(OTHER_SITE + MISNAMED)),
    ),
    quiet(
        "NGX011",
        "the file does not load, so an older configuration answers",
        but(
            answered_by(OTHER_SITE + MISNAMED, page(502, "502 Bad Gateway", **PREDICT)),
            nginx_test=nginx_says(UNKNOWN_DIRECTIVE, TEST_FAILED).nginx_test,
        ),
    ),
    quiet(
        "NGX011",
        "nginx's own error page from the right block",
        answered_by(SITE, page(502, "502", **PREDICT)),
    ),
    quiet(
        "NGX011",
        "the only TLS block takes every name, the service is merely down",
        answered_by(MISNAMED, page(502, "502 Bad Gateway", **PREDICT)),
    ),
    fires(
        "NGX012",
        "another program holds the backend's address",
        squatted(),
        "SimpleHTTP",
        "pid 4242 python3 -m http.server 8000",
        severity="fail",
        facts={"upstream": BACKEND},
    ),
    fires(
        "NGX012",
        "proxy_pass leads to another program while the service is healthy",
        but(
            proxied_to("127.0.0.1:3000", page(200, "Grafana", server="Grafana", address="127.0.0.1:3000")),
            front__predict=page(404, "Grafana", **PREDICT),
        ),
        facts={"upstream": "127.0.0.1:3000", "answer": "200 text/html"},
    ),
    fires(
        "NGX012",
        "another JSON service with a name of its own",
        but(
            proxied_to(
                "127.0.0.1:3000", exchange(200, '{"status": "ok", "service": "billing"}', server="uvicorn")
            ),
            front__predict=exchange(404, '{"detail": "Not Found"}', **PREDICT),
        ),
    ),
    fires(
        "NGX012",
        "one server of two is another service: every second request fails, the doctor's did not",
        two_servers(ANOTHER_SERVICE, failed=9),
        f"{SITE_FILE}:4 server 127.0.0.1:9000",
        "9 x POST /predict 404",
        severity="fail",
        facts={"upstream": ELSEWHERE, "answer": "200 application/json"},
    ),
    fires(
        "NGX012",
        "nobody has met it yet",
        two_servers(page(404, "Not Found", address=ELSEWHERE)),
        severity="warn",
    ),
    quiet(
        "NGX012",
        "the second server is asked in need only",
        two_servers(ANOTHER_SERVICE, options=" backup"),
    ),
    quiet(
        "NGX012",
        "the second server is another instance, whose health has no name",
        two_servers(exchange(200, "ok", address=ELSEWHERE)),
    ),
    quiet(
        "NGX012",
        "the second instance is not well, which is no other program",
        two_servers(page(503, "starting", address=ELSEWHERE)),
    ),
    quiet("NGX012", "the service answers through nginx", HEALTHY),
    quiet("NGX012", "nobody answers there: refused is GUN001 or NGX005", without_gunicorn()),
    quiet(
        "NGX012",
        "a second instance of the service",
        proxied_to(ELSEWHERE, exchange(200, HEALTH, **AT_BACKEND)),
    ),
    quiet(
        "NGX012",
        "this service's gunicorn answers an error",
        but(
            backend__health=page(500, "Internal Server Error", **AT_BACKEND),
            backend__predict=page(500, "Internal Server Error", **{**PREDICT, **AT_BACKEND}),
            front__predict=page(500, "Internal Server Error", **PREDICT),
        ),
    ),
    quiet(
        "NGX012",
        "a development server is APP006",
        squatted(exchange(404, "{}", server="Werkzeug/3.0 Python/3.11")),
    ),
    fires(
        "NGX013",
        "the same URL recurs",
        but(front__hops=(hop(f"{URL}/health", "/a"), hop(f"{URL}/a", f"{URL}/health"))),
        "Location: /a",
        severity="fail",
        facts={"loop_url": f"{URL}/health"},
    ),
    fires("NGX013", "a URL leads to itself", but(front__hops=(hop(f"{URL}/health", f"{URL}/health", 302),))),
    fires(
        "NGX013",
        "the service answers whoever says that he spoke HTTPS",
        but(front__hops=(hop(f"{URL}/health", f"{URL}/health"),), backend__health=exchange(200, HEALTH)),
        severity="fail",
    ),
    quiet(
        "NGX013",
        "a chain that ends",
        but(front__hops=(hop(f"{URL}/health", "/health/"), exchange(200, HEALTH))),
    ),
    quiet(
        "NGX013",
        "plain HTTP to HTTPS is another URL",
        but(front__hops=(hop(f"http://{DOMAIN}/health", f"{URL}/health"),)),
    ),
    fires(
        "NGX014",
        "nginx redirects the POST",
        redirected(301, "/predict/"),
        "301 Location: /predict/",
        severity="fail",
        facts={"layer": "nginx", "status": "301", "location": "/predict/"},
    ),
    fires(
        "NGX014",
        "the application redirects the POST",
        redirected(
            308, "/predict/", page(308, "Redirecting...", **{**PREDICT, **AT_BACKEND}, location="/predict/")
        ),
        facts={"layer": "the application"},
    ),
    fires(
        "NGX014",
        "the application leaves HTTPS, because its server believes another proxy",
        but(to_plain_http(), gunicorn__config=gunicorn_config(forwarded_allow_ips="10.0.0.1")),
        f"{GUNICORN_CONF}:1 forwarded_allow_ips = '10.0.0.1'",
    ),
    fires(
        "NGX014",
        "the application leaves HTTPS, because nginx does not tell it",
        but(to_plain_http(), nginx_config=nginx_config(SITE)),
        "no X-Forwarded-Proto for /predict",
    ),
    quiet("NGX014", "the prediction comes", HEALTHY),
    quiet("NGX014", "304 redirects nowhere", redirected(304, "")),
    fires(
        "NGX018",
        "limit_req without limit_req_status",
        edited("limit_req_status 429;", ""),
        "limit_req zone=gte_api burst=20 nodelay",
        severity="warn",
        facts={"zone": "gte_api", "where": f"{SITE_FILE}:18"},
    ),
    fires("NGX018", "503 written out", edited("limit_req_status 429;", "limit_req_status 503;")),
    quiet(
        "NGX018",
        "429 inherited from the server block",
        but(
            nginx_config=nginx_config(
                SITE.replace("limit_req_status 429;", "").replace(
                    "proxy_read_timeout 120s;", "limit_req_status 429;"
                )
            )
        ),
    ),
    *(
        fires(
            "NGX017",
            f"the upstream's keepalive is defeated: {new or 'no ' + old}",
            edited(old, new),
            "keepalive 32",
            severity="warn",
        )
        for old, new in {
            'Connection ""': 'Connection "upgrade"',
            'Connection "";': "Connection close;",
            "proxy_http_version 1.1;": "proxy_http_version 1.0;",
            "proxy_http_version 1.1; ": "",
            ' proxy_set_header Connection "";': "",
        }.items()
    ),
    fires(
        "NGX017",
        "a map that says close for every ordinary request",
        mapped("close"),
        "$connection_upgrade (= close)",
    ),
    quiet("NGX017", "the guide's site, mended", HEALTHY),
    quiet(
        "NGX017",
        "a map that says nothing for an ordinary request",
        mapped("''"),
    ),
    quiet("NGX017", "what another variable says is not guessed", edited('Connection ""', "Connection $wish")),
    quiet("NGX017", "nothing was to be reused", edited("keepalive 32;", "")),
    quiet(
        "NGX017",
        "from 1.29.7 on the defaults reuse connections",
        but(
            nginx_config=nginx_config(
                SITE.replace(' proxy_http_version 1.1; proxy_set_header Connection "";', ""), version="1.31.3"
            )
        ),
    ),
    quiet("NGX018", "no rate limit at all", edited("limit_req zone=gte_api burst=20 nodelay;", "")),
    quiet(
        "NGX018",
        "another site's rate limit",
        but(
            nginx_config=nginx_config(
                SITE + "server { listen 8080; server_name x; location / { limit_req zone=gte_api; } }"
            )
        ),
    ),
    fires(
        "NGX020",
        "above worker_rlimit_nofile",
        limits("worker_rlimit_nofile 2048;\nevents { worker_connections 2049; }", soft=2048),
        "worker_connections 2049",
        f"{NGINX_CONF}:1 worker_rlimit_nofile 2048",
        severity="warn",
        facts={"connections": "2049", "limit": "2048", "bound": f"{NGINX_CONF}:1"},
    ),
    fires(
        "NGX020",
        "above the limit that the workers have",
        limits("events { worker_connections 4096; }", soft=1024),
        f"/proc/{NGINX_WORKER}/limits Max open files 1024",
        facts={"connections": "4096", "limit": "1024", "bound": f"/proc/{NGINX_WORKER}/limits"},
    ),
    fires(
        "NGX020",
        "the number of workers changes nothing: the limit is each one's own",
        limits("worker_processes auto;\nevents { worker_connections 4096; }", soft=1024),
    ),
    fires(
        "NGX020",
        "one of several workers has less",
        limits(
            "events { worker_connections 4096; }",
            machine__open_files=(
                OpenFiles(pid=NGINX_WORKER, process="nginx", soft=65536),
                OpenFiles(pid=702, process="nginx", soft=2048),
            ),
        ),
        facts={"limit": "2048"},
    ),
    fires(
        "NGX020",
        "the default is above worker_rlimit_nofile, and nginx does not run",
        limits("worker_rlimit_nofile 256;", machine__open_files=()),
        "worker_connections is not set: 512",
        facts={"connections": "512", "limit": "256"},
    ),
    fires(
        "NGX020",
        "above worker_rlimit_nofile, and the machine was not seen",
        limits(
            "worker_rlimit_nofile 2048;\nevents { worker_connections 4096; }", machine=NotSeen(reason="-")
        ),
    ),
    fires(
        "NGX020",
        "the system refused what worker_rlimit_nofile asks for",
        limits("worker_rlimit_nofile 65535;\nevents { worker_connections 8192; }", soft=4096, age=60),
        facts={"limit": "4096", "bound": f"/proc/{NGINX_WORKER}/limits"},
    ),
    fires(
        "NGX020",
        "part of the configuration was not read, but both are written",
        limits(
            "worker_rlimit_nofile 2048;\nevents { worker_connections 4096; }",
            nginx_config__errors=(ParseError(file="/etc/nginx/x.conf", line=None, message="-"),),
        ),
    ),
    quiet(
        "NGX020",
        "equal to worker_rlimit_nofile",
        limits("worker_rlimit_nofile 2048;\nevents { worker_connections 2048; }", soft=2048),
    ),
    quiet("NGX020", "equal to the workers' limit", limits("events { worker_connections 1024; }", soft=1024)),
    quiet(
        "NGX020", "Debian's own file under Debian's own limit", limits("events { worker_connections 768; }")
    ),
    quiet(
        "NGX020",
        "unset, and the system's limit is high",
        limits("worker_processes auto;\nevents { worker_connections 8192; }", soft=65536),
    ),
    quiet(
        "NGX020",
        "unset, and the system knows no limit",
        limits("events { worker_connections 8192; }", soft=1 << 60),
    ),
    quiet("NGX020", "nothing is set", limits("events { }")),
    quiet(
        "NGX020",
        "raised on disk, and not reloaded yet",
        limits("worker_rlimit_nofile 65535;\nevents { worker_connections 8192; }", soft=4096, age=-60),
    ),
    quiet(
        "NGX020",
        "gunicorn's limit is not nginx's",
        limits(
            "events { worker_connections 4096; }",
            machine__open_files=(
                OpenFiles(pid=NGINX_WORKER, process="nginx", soft=65536),
                OpenFiles(pid=GUNICORN_MASTER, process="gunicorn", soft=1024),
            ),
        ),
    ),
    quiet(
        "NGX020",
        "a limit that is low by itself is HST004",
        limits("worker_rlimit_nofile 256;\nevents { worker_connections 512; }", soft=256, age=60),
    ),
    quiet(
        "NGX020",
        "gunicorn's setting of the same name",
        limits(
            "events { worker_connections 512; }\nworker_processes 1;",
            gunicorn__config=gunicorn_config(worker_connections=4096),
        ),
    ),
    fires(
        "NGX070",
        "half a second for each packet of the body",
        waiting("client_body_timeout 500ms;"),
        "client_body_timeout 500ms;",
        severity="warn",
        facts={"written": "client_body_timeout 500ms;", "where": f"{SITE_FILE}:16"},
    ),
    fires(
        "NGX070",
        "both, one of them of no time at all",
        waiting("client_header_timeout 1; client_body_timeout 0;"),
        facts={
            "written": "client_header_timeout 1; client_body_timeout 0;",
            "where": f"{SITE_FILE}:16",
        },
    ),
    fires(
        "NGX070",
        "in the http block, for every site",
        but(nginx_config=nginx_config(f"client_body_timeout 1s;{SITE}")),
        facts={"where": f"{SITE_FILE}:1"},
    ),
    fires(
        "NGX070",
        "a connection's first headers are read under the value of the address's default server",
        but(nginx_config=nginx_config(DEFAULT_SITE.format("client_header_timeout 1s;") + SITE)),
        "client_header_timeout 1s;",
    ),
    quiet("NGX070", "exactly two seconds", waiting("client_header_timeout 2s; client_body_timeout 2000ms;")),
    quiet(
        "NGX070",
        "the location itself waits long enough",
        but(
            waiting(
                "client_body_timeout 1s;",
                SITE.replace("limit_req zone", "client_body_timeout 30s; limit_req zone"),
            )
        ),
    ),
    quiet(
        "NGX070",
        "another location than the prediction's",
        edited("location = /health {", "location = /health { client_body_timeout 1s;"),
    ),
    quiet(
        "NGX070",
        "another server of the address reads no body of ours",
        but(nginx_config=nginx_config(DEFAULT_SITE.format("client_body_timeout 1s;") + SITE)),
    ),
    fires(
        "NGX070",
        "later headers of a kept connection are read under the site's own value",
        waiting("client_header_timeout 1s;", DEFAULT_SITE.format("") + SITE),
        "client_header_timeout 1s;",
    ),
    quiet(
        "NGX070",
        "a server of the address that is not its default one",
        but(
            nginx_config=nginx_config(
                SITE + "server { listen 443 ssl; server_name x; client_header_timeout 1s; }"
            )
        ),
    ),
    quiet("NGX070", "the nearby timeouts are others", waiting("keepalive_timeout 0; send_timeout 1s;")),
    quiet("NGX070", "what is no time is not guessed", waiting("client_body_timeout soon;")),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def test_the_line_of_nginx_s_own_test_is_quoted_without_its_level() -> None:
    finding = found(nginx_says(UNKNOWN_DIRECTIVE))["NGX003"]
    assert finding.evidence[0].detail.en.startswith("unknown directive")


def test_the_newest_of_many_lines_is_quoted() -> None:
    snapshot = but(
        limited(1, {"429": 2}),
        logs__nginx_errors=nginx_logs(entry(LIMITING + " old", ago=300), entry(LIMITING + " new", ago=3)),
    )
    assert found(snapshot)["NGX008"].evidence[0].source == NGINX_ERROR_LOG
    assert found(snapshot)["NGX008"].evidence[0].detail.en.endswith("new")
    assert snapshot.taken_at == NOW


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("60", 60),
        ("30s", 30),
        ("1m30s", 90),
        ("500ms", 0.5),
        ("2h", 7200),
        ("1d", 86400),
        ("1w", 604800),
        ("1m 30s", 90),
    ],
)
def test_nginx_times_are_read_as_nginx_reads_them(written: str, seconds: float) -> None:
    assert nginx_seconds(written) == pytest.approx(seconds)


@pytest.mark.parametrize("written", ["", "soon", "-5s", "1.5s", "$timeout", "5x"])
def test_what_is_no_time_is_none(written: str) -> None:
    assert nginx_seconds(written) is None


@pytest.mark.parametrize("judged", [rate_limit, timeout], ids=lambda check: check.id)
def test_without_an_error_log_the_window_is_not_called_quiet(judged: Check) -> None:
    unseen = NotSeen(reason="Permission denied", needs_root=True)
    for logs in ({}, {NGINX_ERROR_LOG: unseen}):
        with pytest.raises(NotJudgedError):
            list(judged.judge(**judged.inputs(but(logs__nginx_errors=logs))))
    one = {NGINX_ERROR_LOG: unseen, **{k: v for k, v in nginx_logs().items() if k != NGINX_ERROR_LOG}}
    assert list(judged.judge(**judged.inputs(but(logs__nginx_errors=one)))) == []


def test_the_edit_of_a_health_location_is_shown_line_by_line() -> None:
    own = edited(
        "location = /health { proxy_pass http://gte_backend; }",
        'location /health {\n add_header Content-Type text/plain;\n return 200 "OK";\n}',
    )
    assert found(own)["NGX006"].fix == (
        f"sed -i --follow-symlinks '24s#return[[:space:]][^;]*;#proxy_pass http://gte_backend;#' {SITE_FILE}",
        f"sed -i --follow-symlinks '23s#add_header[[:space:]][^;]*;##' {SITE_FILE}",
        "nginx -t",
        "systemctl reload nginx",
    )


def fix_of(code: str, snapshot: Snapshot) -> str:
    fix = found(snapshot)[code].fix or ()
    return "\n".join(step if isinstance(step, str) else step.en for step in fix)


def test_an_address_of_another_program_is_replaced_by_the_service_s() -> None:
    grafana = page(200, "Grafana", server="Grafana", address="127.0.0.1:3000")
    steps = fix_of("NGX012", proxied_to("127.0.0.1:3000", grafana))
    assert r"s#127\.0\.0\.1:3000#127.0.0.1:8000#" in steps
    assert "the service listens at 127.0.0.1:8000" in steps


def test_the_limit_of_files_is_set_to_two_a_connection() -> None:
    snapshot = limits("worker_rlimit_nofile 2048;\nevents { worker_connections 2049; }", soft=2048)
    assert "worker_rlimit_nofile 4098;" in fix_of("NGX020", snapshot)
    unset = limits("events { worker_connections 4096; }", soft=1024)
    assert "1i worker_rlimit_nofile 8192;" in fix_of("NGX020", unset)


def test_the_service_s_server_block_gets_the_name_that_it_lacks() -> None:
    other = SITE.replace("gte-api.example.com", "old.example.com")
    finding = found(answered_by(OTHER_SITE + other, page(405, "405 Not Allowed", **PREDICT)))["NGX011"]
    assert finding.fix is not None
    line = next(step for step in finding.fix if isinstance(step, str) and step.startswith("sed"))
    assert "server_name gte-api.example.com " in line
