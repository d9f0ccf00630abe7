"""A place for each request that wants a prediction, taken before its body is read and given back when it ends."""

import re
import socket
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from http import HTTPStatus

from flask import Flask, g, request

from service.admission.client import Client, of_address
from service.admission.gate import OverloadedError, Place, arrived_with, place_on_arrival
from service.api.access import LOG_KEY
from service.api.errors import LOG_PATH
from service.engines.interface import EngineKind
from service.http import client_disconnect, request_id
from service.http.forwarded import Proxies
from service.http.log_text import printable
from service.http.problems import Problem
from service.keys.keyring import Keyring
from service.monitoring import metrics
from service.monitoring.load import PREDICTION_PATHS
from service.prediction.context import Context, context

_REQUEST_LINE = re.compile(rb"POST ([!-~]+?)(?:\?[!-~]*)? HTTP/1\.[01]\r\n")
_HEADERS = re.compile(
    rb"\r\n(authorization|origin|user-agent|x-forwarded-for|x-request-id)[ \t]*:[ \t]*([^\r\n]*?)[ \t]*(?=\r\n)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Refusal:
    """An answer that is given without a thread, and the WSGI environment as far as the access log shows it."""

    status: str
    headers: dict[str, str]
    body: bytes
    environ: dict[str, str]

    def encoded(self, connection: str) -> bytes:
        """The answer with this header ``Connection``."""
        headers = {**self.headers, "Connection": connection}
        lines = [f"HTTP/1.1 {self.status}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        return "\r\n".join(lines).encode("latin-1") + self.body


class Door:
    """Looks at a request that has arrived, before gunicorn parses it and gives it a thread.

    Under overload most requests are refused, and a thread, a WSGI environment and Flask for each would cost more than
    the predictions that are served.
    """

    def __init__(self, here: Context, proxies: Proxies, keyring: Keyring | None) -> None:
        """``keyring``: the API keys, if keys are in use."""
        self._here = here
        self._proxies = proxies
        self._keyring = keyring

    def __call__(
        self, head: bytes, peer: object, connection: socket.socket
    ) -> tuple[AbstractContextManager[None], Refusal | None]:
        """For a request with this head, from ``peer`` (a socket's address): what to serve it in, which holds its place
        if it wants a prediction; or the answer that refuses it."""
        line = _REQUEST_LINE.match(head)
        path = line[1].decode("ascii") if line else ""
        dear = PREDICTION_PATHS.get(path)
        if dear is None:
            return nullcontext(), None
        headers = {name.lower(): value.decode("latin-1") for name, value in _HEADERS.findall(head)}
        name = self._name(headers, peer)
        # The refusal of a request from a browser's page needs the application's headers.
        if name is None or b"origin" in headers:
            return nullcontext(), None
        try:
            client = Client(name, client_disconnect.checker(connection))
            return arrived_with(_take(self._here, client, dear=dear)), None
        except OverloadedError as overload:
            metrics.REQUESTS.labels(path, "", "overloaded").inc()
            environ = {
                "REQUEST_METHOD": "POST",
                "RAW_URI": path,
                LOG_PATH: path,
                "SERVER_PROTOCOL": head.partition(b"\r\n")[0].rpartition(b" ")[2].decode("ascii"),
                "REMOTE_ADDR": str(peer[0]) if isinstance(peer, tuple) else "",
                "HTTP_USER_AGENT": printable(headers.get(b"user-agent", "-")),
                **({LOG_KEY: name.removeprefix("key:")} if self._keyring else {}),
            }
            return nullcontext(), _refusal(overload, path, headers.get(b"x-request-id"), environ)

    def _name(self, headers: dict[bytes, str], peer: object) -> str | None:
        if self._keyring is not None:
            scheme, _, key = headers.get(b"authorization", "").partition(" ")
            name = self._keyring.name_of(key.strip()) if scheme.lower() == "bearer" else None
            return None if name is None else f"key:{name}"
        address = str(peer[0]) if isinstance(peer, tuple) else ""
        return of_address(self._proxies.client_of(address, headers.get(b"x-forwarded-for")))


def register(app: Flask, proxies: Proxies) -> None:
    """Let every prediction of ``app`` take a place first, unless it took one at the door. After the keys of the API are
    checked, which name clients."""

    def enter() -> None:
        dear = PREDICTION_PATHS.get(request.path)
        if dear is None or request.method != "POST":
            return
        g.place = place_on_arrival()
        if g.place is not None:
            return
        address = proxies.client_of(request.remote_addr or "", request.headers.get("X-Forwarded-For"))
        name = f"key:{g.key_name}" if "key_name" in g else of_address(address)
        client = Client(name, client_disconnect.checker(request.environ.get("gunicorn.socket")))
        try:
            g.place = _take(context(), client, dear=dear)
        except OverloadedError as overload:
            raise _problem(overload) from None

    def leave(_error: BaseException | None) -> None:
        held = g.get("place")
        if held is not None:
            held.leave()

    app.before_request(enter)
    app.teardown_request(leave)


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


def _refusal(
    overload: OverloadedError, path: str, offered_id: str | None, environ: dict[str, str]
) -> Refusal:
    problem, identity = _problem(overload), request_id.choose(offered_id)
    body, media_type = problem.body(path, identity)
    headers = {
        "Content-Type": media_type,
        "Content-Length": str(len(body)),
        request_id.HEADER: identity,
        "X-Content-Type-Options": "nosniff",
        **problem.headers(),
    }
    return Refusal(f"{problem.status} {HTTPStatus(problem.status).phrase}", headers, body, environ)
