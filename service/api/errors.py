"""Error handlers that answer every error with a problem; request ids; counts of outcomes."""

import logging
import time

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.wrappers import Response as BaseResponse

from service.http.log_text import printable
from service.http.problems import Problem, from_http_status
from service.http.request_id import HEADER, choose
from service.monitoring import metrics

_log = logging.getLogger("service")

# Key in the WSGI environment for gunicorn's access log: the path as it was sent, still percent-encoded.
# Gunicorn's own %(U)s is decoded, so a client could write line breaks or terminal escapes into the log.
LOG_PATH = "gte.path"


# No foreign and no inline code: nothing in a text or an answer can become a script.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:"
    "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def register(app: Flask) -> None:
    """Register the handlers on ``app``."""
    app.before_request(_identify)
    app.after_request(_finish)
    app.register_error_handler(Problem, _problem)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _failure)


def _identify() -> None:
    g.started = time.perf_counter()
    g.request_id = choose(request.headers.get(HEADER))
    raw = str(request.environ.get("RAW_URI") or request.path)
    request.environ[LOG_PATH] = printable(raw.partition("?")[0])
    agent = request.environ.get("HTTP_USER_AGENT")
    if agent is not None:
        # gunicorn logs it from here.
        request.environ["HTTP_USER_AGENT"] = printable(agent)


def _finish(response: Response) -> Response:
    response.headers[HEADER] = g.request_id
    response.headers["X-Content-Type-Options"] = "nosniff"
    if response.mimetype == "text/html":
        response.headers.setdefault("Content-Security-Policy", _POLICY)
    # The rule, not the path: a label for each path that clients try would grow without bound.
    route = request.url_rule.rule if request.url_rule else "unmatched"
    task = g.get("task", "")
    outcome = g.get("outcome") or ("ok" if response.status_code < 400 else str(response.status_code))
    metrics.REQUESTS.labels(route, task, outcome).inc()
    metrics.LATENCY.labels(route, task).observe(time.perf_counter() - g.started)
    return response


def _problem(problem: Problem) -> Response:
    g.outcome = problem.code
    body, media_type = problem.body(request.path, g.request_id)
    return Response(body, problem.status, headers=problem.headers(), content_type=media_type)


def _http_error(error: HTTPException) -> BaseResponse:
    if error.code is None or error.code < 400:
        return error.get_response()
    allow = None
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        allow = ", ".join(sorted(error.valid_methods))
    details = {
        404: f"no route for {request.path[:100]}",
        405: f"{request.path} takes {allow}",
        413: f"the body is larger than {request.max_content_length} bytes",
    }
    return _problem(from_http_status(error.code, details.get(error.code, error.name), allow))


def _failure(_error: Exception) -> Response:
    # Tell the client nothing internal; the request_id finds the cause in the log.
    _log.exception("request %s failed: %s %s", g.request_id, request.method, request.environ[LOG_PATH])
    return _problem(Problem("internal", f"the error log has the cause under request {g.request_id}"))
