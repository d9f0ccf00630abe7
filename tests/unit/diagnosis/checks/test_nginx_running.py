"""Whether nginx runs the configuration that lies on disk."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from ops.facts.base import NotSeen
from ops.facts.host import Listener
from ops.facts.logs import LogEntry
from ops.facts.nginx import NginxTest, ParseError
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Exchange, Upstreams
from ops.facts.snapshot import Snapshot
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.made_snapshot import (
    BACKEND,
    DAY,
    DOMAIN,
    GUNICORN_LISTENER,
    GUNICORN_PROCESSES,
    HEALTHY,
    NGINX_CONF,
    NGINX_LISTENERS,
    NGINX_MASTER,
    NGINX_PROCESSES,
    NGINX_WORKER,
    NOW,
    PREDICT,
    SITE,
    SITE_FILE,
    TARGET,
    but,
    directives,
    entry,
    exchange,
    nginx_config,
    nginx_logs,
    page,
    process,
    processes,
)

STARTED = NOW - 3600  # the worker's, in the made snapshot
ELSEWHERE = "127.0.0.1:9000"
BAD_GATEWAY = page(502, "502 Bad Gateway", **PREDICT)
REFUSED = exchange(failure=ProbeFailure.REFUSED, detail="Connection refused", address=ELSEWHERE)
HEALTH_RETURNED = SITE.replace(
    "location = /health { proxy_pass http://gte_backend; }", "location = /health { return 204; }"
)


def changed(after: float, base: Snapshot = HEALTHY, **more: Any) -> Snapshot:
    """The site's file was changed so many seconds after the worker started."""
    files = {NGINX_CONF: STARTED - 9000, SITE_FILE: STARTED + after}
    return but(base, nginx_config__modified=files, **more)


def sent_to(address: str, answer: Exchange, **more: Any) -> Snapshot:
    """The file on disk sends everything to ``address``."""
    return but(
        nginx_config=nginx_config(SITE.replace("server 127.0.0.1:8000", f"server {address}")),
        upstreams=Upstreams(answers={address: answer}),
        **more,
    )


def tried(upstream: str, ago: float = -1, server: str = DOMAIN, by: int = NGINX_WORKER) -> LogEntry:
    return entry(
        f"*5 connect() failed (111: Connection refused) while connecting to upstream, client: 127.0.0.1, "
        f'server: {server}, request: "POST /predict HTTP/1.1", upstream: "http://{upstream}/predict", host: "x"',
        ago=ago,
        pid=by,
    )


def listening(*addresses: str, **more: Any) -> Snapshot:
    held = tuple(Listener(address=a, pids=(NGINX_MASTER, NGINX_WORKER)) for a in addresses)
    return but(processes=processes(listeners=(*held, GUNICORN_LISTENER)), **more)


def failing(*lines: LogEntry) -> Snapshot:
    return but(front__predict=BAD_GATEWAY, logs__nginx_errors=nginx_logs(*lines))


def worker(pid: int, started: float, title: str = "nginx: worker process") -> Any:
    return process(pid, NGINX_MASTER, title, started=started)


def reloaded(
    *hours_ago: float,
    main: str = "",
    options: str = "",
    serving: int = 1,
    first_start: float | None = None,
    of: int = NGINX_MASTER,
) -> Snapshot:
    """After a reload at each time one old worker stays, and ``serving`` workers of the newest serve. The first reload
    replaces a worker that started an hour before it, or at ``first_start``."""
    reloads = sorted(NOW - hours * 3600 - 60 for hours in hours_ago)
    starts = [reloads[0] - 3600 if first_start is None else first_start]
    for before, at in pairwise(reloads):
        # Two reloads at one time are one reload of two workers.
        starts.append(starts[-1] if at == before else before)
    title = "nginx: worker process is shutting down"
    old = tuple(process(800 + n, of, title, started=at) for n, at in enumerate(starts))
    new = tuple(worker(850 + n, reloads[-1]) for n in range(serving))
    master = process(
        NGINX_MASTER, 1, f"nginx: master process /usr/sbin/nginx {options}", executable="/usr/sbin/nginx"
    )
    config = nginx_config()
    return but(
        processes=processes((master,), old, new, GUNICORN_PROCESSES),
        nginx_config__directives=(*directives(main, NGINX_CONF), *config.directives),
    )


CASES: list[Case] = [
    fires(
        "NGX004",
        "a file is younger than the worker",
        changed(125),
        "changed 2m after",
        severity="warn",
        facts={"changed": SITE_FILE},
    ),
    quiet("NGX004", "the clock was set back after the file was written", changed(9 * 3600)),
    fires(
        "NGX004",
        "one worker of the old configuration is left",
        changed(125, processes=processes(NGINX_PROCESSES, (worker(702, NOW - 5),), GUNICORN_PROCESSES)),
    ),
    fires(
        "NGX004",
        "users meet a page that neither the file nor the service has",
        changed(125, front__predict=page(404, "404 Not Found", **PREDICT)),
        severity="fail",
    ),
    fires(
        "NGX004",
        "predictions pass, and the file sends them where nobody is",
        sent_to(ELSEWHERE, REFUSED),
        "predictions pass all the same",
        severity="warn",
    ),
    fires(
        "NGX004",
        "nginx tries an address that the file does not name",
        failing(tried(ELSEWHERE)),
        ELSEWHERE,
        severity="fail",
    ),
    fires("NGX004", "nginx does not listen where the file says", listening("0.0.0.0:443"), "listen 80"),
    fires(
        "NGX004",
        "nginx listens where no file says",
        listening("0.0.0.0:80", "0.0.0.0:443", "0.0.0.0:8443"),
        "ss -ltnp :8443",
    ),
    fires(
        "NGX004",
        "the file returns another status",
        but(nginx_config=nginx_config(HEALTH_RETURNED)),
        "returns 204, but /health answers 200",
    ),
    quiet("NGX004", "untouched", HEALTHY),
    quiet("NGX004", "written just before the reload that took it up", changed(1.5)),
    quiet("NGX004", "written before", changed(-60)),
    quiet(
        "NGX004",
        "an old worker finishes its requests after a reload",
        changed(
            60,
            processes=processes(
                NGINX_PROCESSES[:1],
                (worker(701, STARTED, "nginx: worker process is shutting down"), worker(702, STARTED + 60)),
                GUNICORN_PROCESSES,
            ),
        ),
    ),
    quiet(
        "NGX004",
        "a file that does not load is NGX003",
        changed(
            125,
            nginx_test=NginxTest(
                command=("nginx", "-t"), exit_code=1, lines=("nginx: [emerg] unknown directive",)
            ),
        ),
    ),
    quiet("NGX004", "nginx does not run", changed(125, processes=processes(GUNICORN_PROCESSES))),
    quiet(
        "NGX004",
        "an upstream tried before this run",
        but(logs__nginx_errors=nginx_logs(tried(ELSEWHERE, ago=90))),
    ),
    quiet("NGX004", "what a worker wrote that has been replaced since", failing(tried(ELSEWHERE, by=699))),
    quiet("NGX004", "another site's upstream", failing(tried(ELSEWHERE, server="shop.example"))),
    quiet("NGX004", "the file's own upstream", failing(tried("127.0.0.1:8000"))),
    quiet("NGX004", "localhost by its other address", failing(tried("[::1]:8000"))),
    quiet(
        "NGX004",
        "who listens was not seen",
        but(processes=processes(listeners=tuple(Listener(address=x.address) for x in NGINX_LISTENERS))),
    ),
    quiet(
        "NGX004",
        "a range of ports is not guessed",
        listening(
            "0.0.0.0:80",
            "0.0.0.0:443",
            nginx_config=nginx_config(SITE.replace("listen 80;", "listen 8000-8010;")),
        ),
    ),
    fires(
        "NGX053",
        "a reload an hour, and each old worker stays",
        reloaded(*range(8)),
        "worker_shutdown_timeout is not set",
        "started 7h ago",
        severity="warn",
        facts={"count": "8", "workers": "1", "age": "7h", "pid": str(NGINX_MASTER)},
    ),
    fires("NGX053", "more than four times the workers that serve", reloaded(*range(5))),
    fires(
        "NGX053",
        "reloads every minute, and the first old worker is there since yesterday",
        reloaded(24, *(minute / 60 for minute in range(1, 9))),
    ),
    fires("NGX053", "a timeout of 0 is none", reloaded(*range(8), main="worker_shutdown_timeout 0;"), ":1"),
    quiet("NGX053", "a few", reloaded(*range(4))),
    quiet("NGX053", "seven beside two that serve", reloaded(*range(7), serving=2)),
    quiet(
        "NGX053",
        "ten reloads of one renewal, of workers that had served for a month",
        reloaded(*(second * 5 / 3600 for second in range(10)), first_start=NOW - 30 * DAY),
    ),
    quiet("NGX053", "one reload of many workers", reloaded(*(5,) * 16, serving=16)),
    quiet("NGX053", "a timeout is set", reloaded(*range(8), main="worker_shutdown_timeout 10m;")),
    quiet(
        "NGX053",
        "a timeout is set on the command line",
        reloaded(*range(8), options="-g 'worker_shutdown_timeout 60s;'"),
    ),
    quiet("NGX053", "nginx as a whole is told to quit", reloaded(*range(8), serving=0)),
    quiet("NGX053", "another master's", reloaded(*range(8), of=NGINX_MASTER + 100)),
    quiet("NGX053", "its file was not seen", but(reloaded(*range(8)), nginx_config=NotSeen(reason="-"))),
    quiet(
        "NGX053",
        "not all of its files could be read",
        but(
            reloaded(*range(8)),
            nginx_config__errors=(ParseError(file=NGINX_CONF, line=3, message="no such file"),),
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def test_a_file_that_is_not_what_runs_is_no_wrong_address_yet() -> None:
    assert set(found(sent_to(ELSEWHERE, REFUSED))) == {"NGX004"}
    assert set(found(sent_to(ELSEWHERE, REFUSED, front__predict=BAD_GATEWAY))) == {"NGX005"}


def test_what_was_not_seen_contradicts_nothing() -> None:
    unseen = NotSeen(reason="-")
    for section in ("front", "backend", "upstreams", "logs", "nginx_test"):
        assert "NGX004" not in found(but(**{section: unseen}))  # type: ignore[arg-type]


def test_a_file_that_leads_nowhere_is_corrected_before_it_is_loaded() -> None:
    fix = found(sent_to(ELSEWHERE, REFUSED))["NGX004"].fix
    assert fix is not None
    warning, correct, *load = fix
    assert "Do not reload" in str(warning)
    assert BACKEND in str(correct)
    assert load == [TARGET.test_nginx, TARGET.reload_nginx]
