"""A place for each request that wants a prediction, taken before its body is read and given back when it ends."""

import functools
import re
import socket
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

from flask import Flask, g, request

from service.admission.client import Client, of_address
from service.admission.gate import OverloadedError, Place, arrived_with, place_on_arrival
from service.admission.rate_limit import RateLimit
from service.api.access import LOG_KEY
from service.api.answers import NO_STORE, encoded
from service.api.errors import LOG_PATH
from service.api.health import health_members
from service.engines.interface import EngineKind
from service.http import client_disconnect, request_id
from service.http.forwarded import Proxies
from service.http.log_text import printable
from service.http.problems import OPENAI_PREFIX, Problem, from_http_status
from service.keys.keyring import Keyring
from service.monitoring import metrics, progress
from service.monitoring.load import PREDICTION_PATHS
from service.prediction.context import Context, context

_REQUEST_LINE = re.compile(rb"POST ([!-~]+?)(?:\?[!-~]*)? HTTP/1\.[01]\r\n")
# The check of a monitor, well formed (RFC 9112) and well below gunicorn's limits. What has a body, comes from a
# browser's page or is gunicorn's to refuse takes the usual way: an edit of nginx's file that makes gunicorn refuse
# every request must not leave its check green.
_HEALTH = re.compile(
    rb"GET /health(?:\?[!-~]{0,1000})? HTTP/1\.[01]\r\n"
    rb"(?:[!#$%&'*+.^`|~0-9A-Za-z-]{1,100}:[\t\x20-\x7e\x80-\xff]{0,2000}\r\n){0,50}\r\n"
)
_NOT_SO_SIMPLE = re.compile(
    rb"\r\n(?:content-length|transfer-encoding|origin|expect|upgrade|x-forwarded-protocol|x-forwarded-ssl)[ \t]*:"
    # What gunicorn takes once, or takes twice only if both say the same.
    rb"|\r\n(host|content-type|x-forwarded-proto):(?s:.*)\r\n\1:",
    re.IGNORECASE,
)
_HEADERS = re.compile(
    rb"\r\n(authorization|origin|user-agent|x-forwarded-for|x-request-id)[ \t]*:[ \t]*([^\r\n]*?)[ \t]*(?=\r\n)",
    re.IGNORECASE,
)

# gunicorn's default of limit_request_line; no method and no version is longer than the other.
_LONGEST_LOGGED, _LONGEST_WORD = 4094, 20

_IDENTITY = "-the-identifier-of-a-request-"


@dataclass(frozen=True)
class DoorAnswer:
    """An answer that is given without a thread, and the WSGI environment as far as the access log shows it."""

    status: str
    headers: dict[str, str]
    body: bytes
    environ: dict[str, str]

    @property
    def identity(self) -> str:
        """The request's identifier."""
        return self.headers[request_id.HEADER]

    @property
    def sent(self) -> bytes:
        """The body as it is sent: none for HEAD, which has the length of the answer to GET (RFC 9110, 9.3.2)."""
        return b"" if self.environ["REQUEST_METHOD"] == "HEAD" else self.body

    def encoded(self, connection: str) -> bytes:
        """The answer with this header ``Connection``."""
        fields = "".join([f"{name}: {value}\r\n" for name, value in self.headers.items()])
        first = f"HTTP/1.1 {self.status}\r\nDate: {_date(int(time.time()))}\r\nConnection: {connection}\r\n"
        return f"{first}{fields}\r\n".encode("latin-1") + self.sent


class Door:
    """Looks at a request that has arrived, before gunicorn parses it and gives it a thread.

    Under overload most requests are refused, and a thread, a WSGI environment and Flask for each would cost more than
    the predictions that are served. ``/health`` is answered here too: each thread that a request passes through waits
    for the interpreter lock behind those that compute.
    """

    def __init__(
        self, here: Context, proxies: Proxies, keyring: Keyring | None, limit: RateLimit | None
    ) -> None:
        """``keyring``: the API keys, if keys are in use; ``limit``: of each client's rate, if there is one."""
        self._here = here
        self._proxies = proxies
        self._keyring = keyring
        self._limit = limit
        # Looked up once: a lookup by label takes a lock.
        self._refused = {
            (path, code): metrics.REQUESTS.labels(path, "", code)
            for path in PREDICTION_PATHS
            for code in ("overloaded", "rate_limited")
        }
        self._checked = metrics.REQUESTS.labels("/health", "", "ok")
        self._health_body = encoded(health_members(here.settings)).encode()
        self._check_seconds = metrics.LATENCY.labels("/health", "")

    def __call__(
        self, head: bytes, peer: object, connection: socket.socket, *, is_followed: bool = False
    ) -> tuple[AbstractContextManager[None], DoorAnswer | None]:
        """For a request with this head, from ``peer`` (a socket's address): what to serve it in, which holds its place
        if it wants a prediction; or the answer, which refuses it or is that of ``/health``. ``is_followed``: a further
        request came in one piece with it, which only gunicorn's parser can go on with."""
        if not is_followed and _HEALTH.fullmatch(head) and not _NOT_SO_SIMPLE.search(head):
            return nullcontext(), self._health(head, peer)
        line = _REQUEST_LINE.match(head)
        path = line[1].decode("ascii") if line else ""
        dear = PREDICTION_PATHS.get(path)
        if dear is None:
            return nullcontext(), None
        headers = {name.lower(): value.decode("latin-1") for name, value in _HEADERS.findall(head)}
        # The refusal of a request from a browser's page needs the application's headers.
        if b"origin" in headers:
            return nullcontext(), None
        key, address = self._key(headers), self._address(headers, peer)
        if self._keyring and key is None:
            # The application refuses it, and counts it. An address that has tried too often costs no thread.
            seconds = self._limit.excess(address) if self._limit else None
            problem = None if seconds is None else _too_fast(seconds)
        else:
            client = Client(key or address, client_disconnect.checker(connection))
            entered = self._enter(client, dear=dear)
            if isinstance(entered, Place):
                return arrived_with(entered), None
            problem = entered
        if problem is None:
            return nullcontext(), None
        self._refused[path, problem.code].inc()
        environ = _environ("POST", path, head, peer, headers)
        if key:
            environ[LOG_KEY] = key.removeprefix("key:")
        return nullcontext(), _refusal(problem, path, headers.get(b"x-request-id"), environ)

    def _enter(self, client: Client, *, dear: bool) -> Place | Problem:
        seconds = self._limit.take(client.name) if self._limit else None
        if seconds is not None:
            return _too_fast(seconds)
        try:
            return _take(self._here, client, dear=dear)
        except OverloadedError as overload:
            if self._limit:
                self._limit.give_back(client.name)
            return _problem(overload)

    def refuse(self, status: HTTPStatus, head: bytes, peer: object, why: str = "") -> DoorAnswer:
        """The answer to a request with this head whose body is not waited for, which is why it gets no thread. ``why``:
        what is wrong with it, if the status does not say so."""
        headers = {name.lower(): value.decode("latin-1") for name, value in _HEADERS.findall(head)}
        method, target = (*head.partition(b"\r\n")[0].split(b" ", 2), b"", b"")[:2]
        path = printable(target.partition(b"?")[0].decode("latin-1"))
        details = {
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE: f"the body is larger than {self._here.settings.max_body_bytes} bytes",
            HTTPStatus.NOT_IMPLEMENTED: "the only Transfer-Encoding is chunked",
        }
        problem = from_http_status(status, why or details.get(status, "the body is not framed correctly"))
        route = path if path in PREDICTION_PATHS else "unmatched"
        metrics.REQUESTS.labels(route, "", problem.code).inc()
        environ = _environ(printable(method.decode("latin-1")), path, head, peer, headers)
        return _refusal(problem, path, headers.get(b"x-request-id"), environ)

    def _health(self, head: bytes, peer: object) -> DoorAnswer:
        began = time.perf_counter()
        headers = {name.lower(): value.decode("latin-1") for name, value in _HEADERS.findall(head)}
        answer = _answer(
            HTTPStatus.OK,
            {"Content-Type": "application/json", **NO_STORE},
            self._health_body,
            request_id.choose(headers.get(b"x-request-id")),
            _environ("GET", "/health", head, peer, headers),
        )
        record = progress.current()
        if record is not None:
            # As every request: the watchdog tells a worker that answers from one that does not.
            record.begin(id(answer), "/health")
            record.end(id(answer))
        self._checked.inc()
        self._check_seconds.observe(time.perf_counter() - began)
        return answer

    def _key(self, headers: dict[bytes, str]) -> str | None:
        """The name of the key that is sent, if it is accepted."""
        scheme, _, key = headers.get(b"authorization", "").partition(" ")
        if self._keyring is None or scheme.lower() != "bearer":
            return None
        name = self._keyring.name_of(key.strip())
        return None if name is None else f"key:{name}"

    def _address(self, headers: dict[bytes, str], peer: object) -> str:
        address = str(peer[0]) if isinstance(peer, tuple) else ""
        return of_address(self._proxies.client_of(address, headers.get(b"x-forwarded-for")))


class Entrance:
    """What the door does, for requests that did not come through it: those of browsers' pages, over TLS, or in a
    ``sync`` worker."""

    def __init__(self, proxies: Proxies, limit: RateLimit | None) -> None:
        """``limit``: of each client's rate, if there is one."""
        self._proxies, self._limit = proxies, limit

    def register(self, app: Flask) -> None:
        """Let every prediction of ``app`` take a place first, unless it took one at the door. After the keys of the API
        are checked, which name clients."""
        app.before_request(self._enter)
        app.teardown_request(self._leave)

    def count_refused(self) -> None:
        """Count a request without an accepted key against the address that it comes from.

        Raises:
            Problem: the address has sent too many.
        """
        if request.path in PREDICTION_PATHS and request.method == "POST":
            self._count(self._address())

    def _enter(self) -> None:
        dear = PREDICTION_PATHS.get(request.path)
        if dear is None or request.method != "POST":
            return
        g.place = place_on_arrival()
        if g.place is not None:
            return
        name = f"key:{g.key_name}" if "key_name" in g else self._address()
        self._count(name)
        client = Client(name, client_disconnect.checker(request.environ.get("gunicorn.socket")))
        try:
            g.place = _take(context(), client, dear=dear)
        except OverloadedError as overload:
            self._give_back(name)
            raise _problem(overload) from None

    def _address(self) -> str:
        peer = request.remote_addr or ""
        return of_address(self._proxies.client_of(peer, request.headers.get("X-Forwarded-For")))

    def _count(self, name: str) -> None:
        seconds = self._limit.take(name) if self._limit else None
        if seconds is not None:
            raise _too_fast(seconds)

    def _give_back(self, name: str) -> None:
        if self._limit:
            self._limit.give_back(name)

    def _leave(self, _error: BaseException | None) -> None:
        held: Place | None = g.get("place")
        if held is None:
            return
        held.leave()
        if g.get("outcome") == "overloaded":
            # It had a place, but found no room further in: in a queue, or for a large model.
            self._give_back(held.client.name)


def place() -> Place:
    """The place that this request holds."""
    held: Place = g.place
    return held


def _take(here: Context, client: Client, *, dear: bool) -> Place:
    if dear:
        here.engines.require_room(EngineKind.ENCODER, client.name)
    return here.places.take(client, dear=dear)


def _problem(overload: OverloadedError) -> Problem:
    return Problem("overloaded", overload.detail, retry_after=overload.retry_after)


def _too_fast(seconds: int) -> Problem:
    return Problem("rate_limited", f"too many predictions: try again in {seconds} s", retry_after=seconds)


def _refusal(problem: Problem, path: str, offered_id: str | None, environ: dict[str, str]) -> DoorAnswer:
    identity = request_id.choose(offered_id)
    before, after, media_type = _body(
        problem.code, problem.detail, problem.status_override, path.startswith(OPENAI_PREFIX)
    )
    body = before + identity.encode() + after if after else before
    headers = {"Content-Type": media_type, **problem.headers()}
    return _answer(HTTPStatus(problem.status), headers, body, identity, environ)


@functools.lru_cache(256)
def _body(code: str, detail: str, status: int | None, is_openai: bool) -> tuple[bytes, bytes, str]:
    """A problem's body before and after the request's identifier (all before, if it has none), and its media type.
    Refusals are many, and all but a few alike."""
    path = OPENAI_PREFIX if is_openai else "/"
    body, media_type = Problem(code, detail, status_override=status).body(path, _IDENTITY)
    before, _, after = body.partition(_IDENTITY.encode())
    return before, after, media_type


def _answer(
    status: HTTPStatus, headers: dict[str, str], body: bytes, identity: str, environ: dict[str, str]
) -> DoorAnswer:
    every = {
        **headers,
        "Content-Length": str(len(body)),
        request_id.HEADER: identity,
        "X-Content-Type-Options": "nosniff",
    }
    return DoorAnswer(f"{status.value} {status.phrase}", every, body, environ)


@functools.lru_cache(2)
def _date(now: int) -> str:
    return formatdate(now, usegmt=True)


def _environ(method: str, path: str, head: bytes, peer: object, headers: dict[bytes, str]) -> dict[str, str]:
    """A WSGI environment as far as the access log shows it: gunicorn's limits on what a client writes there are not
    yet applied."""
    path, protocol = path[:_LONGEST_LOGGED], head.partition(b"\r\n")[0].rpartition(b" ")[2][:_LONGEST_WORD]
    return {
        "REQUEST_METHOD": method[:_LONGEST_WORD],
        "RAW_URI": path,
        LOG_PATH: path,
        "SERVER_PROTOCOL": printable(protocol.decode("latin-1")),
        "REMOTE_ADDR": str(peer[0]) if isinstance(peer, tuple) else "",
        "HTTP_USER_AGENT": printable(headers.get(b"user-agent", "-")[:_LONGEST_LOGGED])[:_LONGEST_LOGGED],
    }
