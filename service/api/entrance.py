"""A place for each request that wants a prediction, taken before its body is read and given back when it ends."""

import functools
import re
import socket
import time
from contextlib import AbstractContextManager, ExitStack, nullcontext
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple

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
from service.http.request_head import RequestHead
from service.keys.keyring import Keyring
from service.monitoring import metrics, progress
from service.monitoring.load import PREDICTION_PATHS
from service.prediction.context import Context, context

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
_PROTOCOLS = ("HTTP/1.1", "HTTP/1.0")

# gunicorn's default of limit_request_line; no method and no version is longer than the other.
_LONGEST_LOGGED, _LONGEST_WORD = 4094, 20

_USUAL_SIZE = 1000  # bytes

_IDENTITY = "-the-identifier-of-a-request-"


class _Form:
    """An answer but for the identifier of the request, which stands after ``before`` in its body, if ``after`` is not
    empty. Refusals are many, and all but a few alike."""

    def __init__(
        self, status: HTTPStatus, headers: dict[str, str], before: bytes, after: bytes = b""
    ) -> None:
        self.status, self.headers, self.before, self.after = (
            f"{status.value} {status.phrase}",
            headers,
            before,
            after,
        )

    def length(self, identity: str) -> int:
        """Of the body for this identifier."""
        return len(self.before) + (len(identity) + len(self.after) if self.after else 0)


class DoorAnswer:
    """An answer that is given without a thread, to a request with this head from ``peer`` (a socket's address)."""

    __slots__ = ("_form", "_peer", "head", "identity", "key_name")

    def __init__(self, form: _Form, head: RequestHead, peer: object, key_name: str | None = None) -> None:
        """``key_name``: of the API key, if one was accepted."""
        self.head, self.key_name = head, key_name
        self.identity = request_id.choose(head.fields.get("x-request-id"))  # of the request
        self._form, self._peer = form, peer

    @property
    def status(self) -> str:
        """Number and phrase."""
        return self._form.status

    @property
    def headers(self) -> dict[str, str]:
        """Those of the answer itself."""
        identity = self.identity
        return {
            **self._form.headers,
            "Content-Length": str(self._form.length(identity)),
            "X-Content-Type-Options": "nosniff",
            request_id.HEADER: identity,
        }

    @property
    def body(self) -> bytes:
        """As a GET gets it."""
        form = self._form
        return form.before + self.identity.encode() + form.after if form.after else form.before

    @property
    def size(self) -> int:
        """Bytes of the body that are sent: for HEAD none, although its length is told (RFC 9110, 9.3.2)."""
        return 0 if self.head.method == "HEAD" else self._form.length(self.identity)

    def encoded(self, connection: str) -> bytes:
        """The answer with this header ``Connection``."""
        form, identity = self._form, self.identity
        start = _start(form, form.length(identity), connection, int(time.time()))
        if self.head.method == "HEAD":
            return b"%b%b\r\n\r\n" % (start, identity.encode())
        if form.after:
            mark = identity.encode()
            return b"%b%b\r\n\r\n%b%b%b" % (start, mark, form.before, mark, form.after)
        return b"%b%b\r\n\r\n%b" % (start, identity.encode(), form.before)

    @property
    def environ(self) -> dict[str, str]:
        """A WSGI environment as far as the access log shows it: gunicorn's limits on what a client writes there are not
        yet applied."""
        head, peer = self.head, self._peer
        path = printable(head.path[:_LONGEST_LOGGED])[:_LONGEST_LOGGED]
        environ = {
            "REQUEST_METHOD": printable(head.method[:_LONGEST_WORD])[:_LONGEST_WORD],
            "RAW_URI": path,
            LOG_PATH: path,
            "SERVER_PROTOCOL": printable(head.protocol.rpartition(" ")[2][:_LONGEST_WORD]),
            "REMOTE_ADDR": str(peer[0]) if isinstance(peer, tuple) else "",
            "HTTP_USER_AGENT": printable(head.fields.get("user-agent", "-")[:_LONGEST_LOGGED])[
                :_LONGEST_LOGGED
            ],
        }
        if self.key_name is not None:
            environ[LOG_KEY] = self.key_name
        return environ


@functools.lru_cache(64)
def _start(form: _Form, length: int, connection: str, now: int) -> bytes:
    """The head of an answer up to the identifier of the request."""
    fields = "".join([f"{name}: {value}\r\n" for name, value in form.headers.items()])
    return (
        f"HTTP/1.1 {form.status}\r\nDate: {formatdate(now, usegmt=True)}\r\nConnection: {connection}\r\n{fields}"
        f"Content-Length: {length}\r\nX-Content-Type-Options: nosniff\r\n{request_id.HEADER}: "
    ).encode("latin-1")


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
        self._health_form = _Form(
            HTTPStatus.OK,
            {"Content-Type": "application/json", **NO_STORE},
            encoded(health_members(here.settings)).encode(),
        )
        self._check_seconds = metrics.LATENCY.labels("/health", "")

    def __call__(
        self, head: RequestHead, peer: object, connection: socket.socket, *, is_followed: bool = False
    ) -> tuple[AbstractContextManager[Place | None], DoorAnswer | None]:
        """For a request with this head, from ``peer`` (a socket's address): what to serve it in, which holds its place
        if it wants a prediction; or the answer, which refuses it or is that of ``/health``. ``is_followed``: a further
        request came in one piece with it, which only gunicorn's parser can go on with."""
        path = head.path
        dear = PREDICTION_PATHS.get(path)
        if dear is None:
            is_health = path == "/health" and not is_followed
            if is_health and _HEALTH.fullmatch(head.raw) and not _NOT_SO_SIMPLE.search(head.raw):
                return nullcontext(), self._health(head, peer)
            return nullcontext(), None
        # The refusal of a request from a browser's page needs the application's headers.
        if head.method != "POST" or head.protocol not in _PROTOCOLS or "origin" in head.fields:
            return nullcontext(), None
        key = self._key(head)
        entered = self._enter(key, head, peer, connection, dear=dear)
        if entered is None:
            return nullcontext(), None
        if isinstance(entered, Place):
            size = _size(head.fields.get("content-length"))
            return arrived_with(entered, self._here.turns, size), None
        self._refused[path, entered.code].inc()
        form = _form(entered, path.startswith(OPENAI_PREFIX))
        return nullcontext(), DoorAnswer(form, head, peer, key.removeprefix("key:") if key else None)

    def _enter(
        self, key: str | None, head: RequestHead, peer: object, connection: socket.socket, *, dear: bool
    ) -> "Place | _Refusal | None":
        """A place for the client with this key, if it has one; else why it gets none, or None: the application says."""
        here, limit = self._here, self._limit
        overload = here.places.overload()
        if limit is None and overload is not None and (key or not self._keyring):
            return _overloaded(overload)
        address = self._address(head, peer)
        if self._keyring and key is None:
            # The application refuses it, and counts it. An address that has tried too often costs no thread.
            seconds = limit.excess(address) if limit else None
            return None if seconds is None else _too_fast(seconds)
        name = key or address
        seconds = limit.take(name) if limit else None
        if seconds is not None:
            return _too_fast(seconds)
        try:
            return _take(here, name, connection, dear=dear)
        except OverloadedError as error:
            if limit:
                limit.give_back(name)
            return _overloaded(error)

    def refuse(self, status: HTTPStatus, head: RequestHead, peer: object, why: str = "") -> DoorAnswer:
        """The answer to a request with this head whose body is not waited for, which is why it gets no thread. ``why``:
        what is wrong with it, if the status does not say so."""
        details = {
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE: f"the body is larger than {self._here.settings.max_body_bytes} bytes",
            HTTPStatus.NOT_IMPLEMENTED: "the only Transfer-Encoding is chunked",
        }
        problem = from_http_status(status, why or details.get(status, "the body is not framed correctly"))
        route = head.path if head.path in PREDICTION_PATHS else "unmatched"
        metrics.REQUESTS.labels(route, "", problem.code).inc()
        is_openai = head.path.startswith(OPENAI_PREFIX)
        return DoorAnswer(_form_of(problem, is_openai=is_openai), head, peer)

    def _health(self, head: RequestHead, peer: object) -> DoorAnswer:
        began = time.perf_counter()
        answer = DoorAnswer(self._health_form, head, peer)
        record = progress.current()
        if record is not None:
            # As every request: the watchdog tells a worker that answers from one that does not.
            record.begin(id(answer), "/health")
            record.end(id(answer))
        self._checked.inc()
        self._check_seconds.observe(time.perf_counter() - began)
        return answer

    def _key(self, head: RequestHead) -> str | None:
        """The name of the key that is sent, if it is accepted."""
        if self._keyring is None:
            return None
        scheme, _, key = head.fields.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        name = self._keyring.name_of(key.strip())
        return None if name is None else f"key:{name}"

    def _address(self, head: RequestHead, peer: object) -> str:
        address = str(peer[0]) if isinstance(peer, tuple) else ""
        return of_address(self._proxies.client_of(address, head.fields.get("x-forwarded-for")))


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
        here = context()
        name = f"key:{g.key_name}" if "key_name" in g else self._address()
        self._count(name)
        try:
            g.place = _take(here, name, request.environ.get("gunicorn.socket"), dear=dear)
        except OverloadedError as overload:
            self._give_back(name)
            raise _overloaded(overload).problem from None
        # The body may come slowly: a turn is for those whose body is here.
        request.get_data()
        g.inside = ExitStack()
        g.inside.enter_context(
            arrived_with(g.place, here.turns, _size(request.headers.get("Content-Length")))
        )

    def _address(self) -> str:
        peer = request.remote_addr or ""
        return of_address(self._proxies.client_of(peer, request.headers.get("X-Forwarded-For")))

    def _count(self, name: str) -> None:
        seconds = self._limit.take(name) if self._limit else None
        if seconds is not None:
            raise _too_fast(seconds).problem

    def _give_back(self, name: str) -> None:
        if self._limit:
            self._limit.give_back(name)

    def _leave(self, _error: BaseException | None) -> None:
        held: Place | None = g.get("place")
        if held is None:
            return
        held.leave()
        if "inside" in g:
            g.inside.close()
        if g.get("outcome") == "overloaded":
            # It had a place, but found no room further in: in a queue, or for a large model.
            self._give_back(held.client.name)


def place() -> Place:
    """The place that this request holds."""
    held: Place = g.place
    return held


def _size(content_length: str | None) -> int:
    """Bytes of a body, about; of one in chunks it is not known."""
    is_number = (
        content_length is not None and content_length.isdecimal() and len(content_length) < _LONGEST_WORD
    )
    return int(content_length or 0) if is_number else _USUAL_SIZE


def _take(here: Context, name: str, connection: object, *, dear: bool) -> Place:
    """A place for the client of this name, who has left once ``connection`` is closed."""
    if dear:
        here.engines.require_room(EngineKind.ENCODER, name)
    return here.places.take(Client(name, client_disconnect.checker(connection)), dear=dear)


class _Refusal(NamedTuple):
    """A problem, quickly made: most that are alike follow each other."""

    code: str
    detail: str
    retry_after: int

    @property
    def problem(self) -> Problem:
        return Problem(self.code, self.detail, retry_after=self.retry_after)


def _overloaded(overload: OverloadedError) -> _Refusal:
    return _Refusal("overloaded", overload.detail, overload.retry_after)


def _too_fast(seconds: int) -> _Refusal:
    return _Refusal("rate_limited", f"too many predictions: try again in {seconds} s", seconds)


@functools.lru_cache(256)
def _form(refusal: _Refusal, is_openai: bool) -> _Form:
    return _form_of(refusal.problem, is_openai=is_openai)


def _form_of(problem: Problem, *, is_openai: bool) -> _Form:
    path = OPENAI_PREFIX if is_openai else "/"
    body, media_type = problem.body(path, _IDENTITY)
    before, _, after = body.partition(_IDENTITY.encode())
    headers = {"Content-Type": media_type, **problem.headers()}
    return _Form(HTTPStatus(problem.status), headers, before, after)
