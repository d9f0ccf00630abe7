"""The Flask application's answers, asked past nginx."""

from __future__ import annotations

import msgspec
import pytest

from ops.facts.base import NotSeen
from ops.facts.host import Listener
from ops.facts.logs import LogEntry
from ops.facts.probes import Exchange, Upstreams
from ops.facts.snapshot import Snapshot
from tests.unit.diagnosis.checks.cases import Case, fires, hold, quiet
from tests.unit.made_snapshot import (
    AT_BACKEND,
    BACKEND,
    GUNICORN_ACCESS_LOG,
    GUNICORN_PROCESSES,
    HEALTHY,
    NGINX_LISTENERS,
    NGINX_PROCESSES,
    NOW,
    PREDICT,
    PREDICTION,
    access_log,
    but,
    entry,
    exchange,
    gunicorn_log,
    page,
    process,
    processes,
    timed_out,
    without_gunicorn,
)

RAISED = """Exception on /predict [POST]
Traceback (most recent call last):
  File "/root/build/venv/lib/python3.11/site-packages/flask/app.py", line 1511, in wsgi_app
    response = self.full_dispatch_request()
  File "/root/build/app.py", line 42, in predict
    scores = model(texts)
  File "/root/build/venv/lib/python3.11/site-packages/torch/nn/modules/module.py", line 9, in __call__
    return forward(*args)
RuntimeError: 张量尺寸不符"""

TIMED_OUT = """Error handling request /predict
Traceback (most recent call last):
  File "/root/build/app.py", line 42, in predict
    scores = model(texts)
  File "/root/build/venv/lib/python3.11/site-packages/gunicorn/workers/base.py", line 204, in handle_abort
    sys.exit(1)
SystemExit: 1"""

AT_PREDICT = {**PREDICT, **AT_BACKEND}
PLAIN_HEALTH = exchange(200, '{"status": "ok"}', **AT_BACKEND)


def answered(answer: Exchange, *entries: LogEntry, failed: int = 0) -> Snapshot:
    """The backend gives this for a prediction, and its log says that."""
    return but(
        backend__predict=answer,
        front__predict=msgspec.structs.replace(answer, address=HEALTHY.front.connection.address),
        logs__gunicorn_error=gunicorn_log(*entries),
        logs__gunicorn_access=access_log(GUNICORN_ACCESS_LOG, {"200": 90, "500": failed}),
    )


def environment(base: Snapshot = HEALTHY, **variables: str) -> Snapshot:
    """gunicorn's processes run with these variables, an application of somebody else's in them."""
    gunicorn = tuple(msgspec.structs.replace(p, environment=variables) for p in GUNICORN_PROCESSES)
    return but(base, processes=processes(NGINX_PROCESSES, gunicorn), backend__health=PLAIN_HEALTH)


FAILED = page(500, "Internal Server Error", **AT_PREDICT)
DEVELOPMENT = exchange(200, '{"status": "ok"}', address=BACKEND, server="Werkzeug/3.0.1 Python/3.11.2")
FLASK_RUN = process(55, 1, "python", "app.py")
DEVELOPED = but(
    processes=processes(
        NGINX_PROCESSES, (FLASK_RUN,), listeners=(*NGINX_LISTENERS, Listener(address=BACKEND, pids=(55,)))
    ),
    target__gunicorn_master=None,
    target__gunicorn_workers=(),
    backend__health=DEVELOPMENT,
)
DEBUGGER = exchange(
    200, "docReady(() => {", kind="application/javascript", url=f"http://{BACKEND}/?__debugger__=yes"
)


def slow(first: float, again: float | None = 0.0) -> Snapshot:
    """The first prediction took so long, and the second; None: it was waited for in vain; 0: there was none."""
    second = timed_out(5.0, **AT_PREDICT) if again is None else answer_after(again) if again else None
    return but(backend__predict=answer_after(first), backend__predict_again=second)


def answer_after(seconds: float) -> Exchange:
    return exchange(200, PREDICTION, elapsed=seconds, **AT_PREDICT)


ASGI_RAISED = (
    "Exception in ASGI application\nTraceback (most recent call last):\n"
    '  File "/opt/venv/lib/python3.11/site-packages/uvicorn/middleware/asgi2.py", line 14, in __call__\n'
    "TypeError: Flask.__call__() missing 1 required positional argument: 'start_response'"
)

CASES: list[Case] = [
    fires(
        "APP001",
        "Werkzeug's debugger answers",
        but(backend__debugger=DEBUGGER),
        "javascript",
        severity="fail",
    ),
    fires(
        "APP001",
        "debug mode is on in the served process",
        environment(FLASK_DEBUG="1"),
        "FLASK_DEBUG=1",
        facts={"proof": "FLASK_DEBUG=1"},
    ),
    fires("APP001", "in whatever words", environment(FLASK_DEBUG="True")),
    quiet("APP001", "debug mode is off", environment(FLASK_DEBUG="0")),
    quiet("APP001", "the debugger's path is any other page", but(backend__debugger=page(200, "Hello"))),
    quiet(
        "APP001",
        "the toolkit's own service does not listen to the variable",
        but(environment(FLASK_DEBUG="1"), backend__health=HEALTHY.backend.health),
    ),
    quiet(
        "APP001",
        "another project's process on the same host",
        but(
            processes=processes(
                NGINX_PROCESSES,
                GUNICORN_PROCESSES,
                (process(77, 1, "flask", "run", environment={"FLASK_DEBUG": "1"}),),
            ),
            backend__health=PLAIN_HEALTH,
        ),
    ),
    fires(
        "APP002",
        "it shows the body",
        but(
            backend__health=exchange(503, '{"status": "failing", "why": "数据库"}', **AT_BACKEND),
            backend__predict=exchange(503, "{}", **AT_PREDICT),
        ),
        "数据库",
        severity="fail",
        facts={"status": "503", "body": '{"status": "failing", "why": "数据库"}'},
    ),
    fires(
        "APP002",
        "where predictions work all the same, a warning",
        but(backend__health=page(500, "Internal Server Error", **AT_BACKEND)),
        severity="warn",
    ),
    fires(
        "APP002",
        "the path that was configured does not exist",
        but(
            backend__health=page(404, "Not Found", **AT_BACKEND),
            target__health_path="/status",
            target__origin={"health_path": "gte-ops.toml"},
        ),
        severity="warn",
    ),
    quiet(
        "APP002",
        "nobody said that the application has a health path",
        but(backend__health=page(404, "Not Found", **AT_BACKEND)),
    ),
    quiet(
        "APP002",
        "the health path wants a key",
        but(
            backend__health=exchange(401, '{"detail": "missing key"}', **AT_BACKEND),
            target__origin={"health_path": "gte-ops.toml"},
        ),
    ),
    fires(
        "APP002",
        "an empty body is told as such",
        but(backend__health=exchange(500, "", **AT_BACKEND)),
        facts={"body": "-"},
    ),
    quiet(
        "APP002",
        "uvicorn names no path: the last two exceptions, health's and the prediction's, are the same",
        but(
            answered(FAILED, entry(ASGI_RAISED), entry(ASGI_RAISED)),
            backend__health=page(500, "Internal Server Error", **AT_BACKEND),
        ),
    ),
    fires(
        "APP002",
        "they are not the same",
        but(
            answered(FAILED, entry(ASGI_RAISED), entry(ASGI_RAISED.replace("TypeError", "KeyError"))),
            backend__health=page(500, "Internal Server Error", **AT_BACKEND),
        ),
    ),
    quiet("APP002", "success", HEALTHY),
    quiet("APP002", "no answer is no report", but(backend__health=timed_out(**AT_BACKEND))),
    quiet(
        "APP002",
        "another program answers on the port",
        but(DEVELOPED, backend__health=page(404, "Not Found", server="SimpleHTTP/0.6")),
    ),
    fires(
        "APP003",
        "the backend itself answers with a page: status and first line",
        answered(page(404, "404 Not Found", **AT_PREDICT)),
        "404 text/html",
        severity="fail",
        facts={"status": "404", "first_line": "<html>"},
    ),
    fires(
        "APP003",
        "a page with status 200",
        answered(exchange(200, "\n\n  <h1>你好</h1>", kind="text/html", **AT_PREDICT)),
        "<h1>你好</h1>",
    ),
    quiet("APP003", "nginx answers with the page", but(front__predict=page(404, "404 Not Found", **PREDICT))),
    quiet(
        "APP003", "gunicorn's own page", answered(page(431, "Request Header Fields Too Large", **AT_PREDICT))
    ),
    quiet("APP003", "an error in JSON", answered(exchange(500, '{"code": "internal"}', **AT_PREDICT))),
    quiet(
        "APP003",
        "a redirect is NGX014",
        answered(page(308, "Redirecting...", **AT_PREDICT, location="/predict/")),
    ),
    fires(
        "APP004",
        "5xx and the traceback: exception, file and line in the application",
        answered(FAILED, entry(RAISED)),
        "500",
        "RuntimeError: 张量尺寸不符",
        severity="fail",
        facts={"exception": "RuntimeError: 张量尺寸不符", "where": "/root/build/app.py:42"},
    ),
    fires(
        "APP004",
        "answered in JSON",
        answered(exchange(500, '{"code": "internal"}', **AT_PREDICT), entry(RAISED)),
    ),
    fires(
        "APP004",
        "users' requests fail, ours times out",
        answered(timed_out(**AT_PREDICT), entry(RAISED), failed=12),
    ),
    quiet("APP004", "5xx without a traceback", answered(FAILED)),
    quiet("APP004", "a traceback without 5xx", answered(HEALTHY.backend.predict, entry(RAISED))),  # type: ignore[arg-type]
    quiet(
        "APP004",
        "one exception in the window, predictions come",
        answered(HEALTHY.backend.predict, entry(RAISED), failed=1),  # type: ignore[arg-type]
    ),
    quiet(
        "APP004",
        "a worker that timed out raises SystemExit through handle_abort",
        answered(FAILED, entry(TIMED_OUT)),
    ),
    quiet(
        "APP004",
        "an exception in booting is GUN003",
        answered(
            FAILED, entry(RAISED.replace("Exception on /predict [POST]", "Exception in worker process"))
        ),
    ),
    quiet("APP004", "the log was not seen", but(answered(FAILED), logs=NotSeen(reason="-"))),
    fires(
        "APP006",
        "the Server header, and the process",
        DEVELOPED,
        "Werkzeug/3.0.1",
        "python app.py",
        severity="fail",
        facts={"pid": "55", "command": "python app.py"},
    ),
    fires(
        "APP006",
        "at an address nginx proxies to",
        but(upstreams=Upstreams(answers={"127.0.0.1:5000": DEVELOPMENT})),
        "127.0.0.1:5000",
        facts={"pid": "?"},
    ),
    fires(
        "APP005",
        "the second prediction is slow too",
        slow(4.0, 3.5),
        "4.0 s, 3.5 s",
        "slow_after_s = 3",
        severity="warn",
        facts={"took": "3.5 s"},
    ),
    fires("APP005", "the second was waited for longer than that", slow(4.0, None), facts={"took": "> 5.0 s"}),
    fires(
        "APP005",
        "no time for a second, and the log knows predictions from before",
        but(
            slow(8.0),
            logs__gunicorn_access=access_log(GUNICORN_ACCESS_LOG, {"200": 9}, first_prediction=NOW - 300),
        ),
        facts={"took": "8.0 s"},
    ),
    quiet("APP005", "the first was cold, or waited behind another", slow(4.0, 0.2)),
    quiet("APP005", "a single slow one may be the first ever", slow(8.0)),
    quiet("APP005", "the time went into a queue", but(slow(4.0, 3.5), activity__queued=(3, 4))),
    quiet("APP005", "slow_after_s is the operator's", but(slow(4.0, 3.5), target__slow_after_s=5.0)),
    quiet("APP005", "a prediction in no time", HEALTHY),
    fires(
        "APP007",
        "the key is missing",
        answered(exchange(200, '{"status": "ok", "data": []}', **AT_PREDICT)),
        '{"status": "ok"',
        severity="fail",
        facts={"problem": 'its JSON has no "result" (it has: data, status)'},
    ),
    fires(
        "APP007",
        "a list",
        answered(exchange(200, "[1]", **AT_PREDICT)),
        facts={"problem": 'its JSON is no object with "result"'},
    ),
    fires(
        "APP007",
        "no JSON",
        answered(exchange(200, "done", kind="text/plain", **AT_PREDICT)),
        facts={"problem": "the body is no JSON"},
    ),
    fires(
        "APP007", "nothing", answered(exchange(200, "", **AT_PREDICT)), facts={"problem": "the body is empty"}
    ),
    quiet("APP007", "the contract is kept", HEALTHY),
    quiet("APP007", "a page is APP003", answered(page(200, "Hello", **AT_PREDICT))),
    quiet(
        "APP007", "an error says so by its status", answered(exchange(400, '{"code": "bad"}', **AT_PREDICT))
    ),
    quiet(
        "APP007",
        "a long prediction, cut, begins as it should",
        answered(exchange(200, '{"result": [1, 2', **AT_PREDICT)),
    ),
    quiet("APP006", "gunicorn serves", HEALTHY),
    quiet("APP006", "nobody answers", without_gunicorn()),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)
