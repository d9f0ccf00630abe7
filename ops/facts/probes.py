"""The answers of the resolvers, the front door, the service and its upstreams, and the workers' activity meanwhile."""

from __future__ import annotations

from typing import Any

import msgspec

from ops.facts.base import Facts, NotSeen
from ops.facts.gunicorn import ProgressRecord
from ops.facts.probe_failure import ProbeFailure


class Resolution(Facts, frozen=True):
    """The answer of one resolver for the name. ``failure``: nxdomain, no_address, timeout, refused, servfail,
    unreachable. ``alias``: if there is no address, the name that the requested one leads to (CNAME), if it does."""

    name: str
    resolver: str
    addresses: tuple[str, ...] = ()
    failure: ProbeFailure | None = None
    detail: str = ""
    is_literal: bool = False
    alias: str = ""


# The statuses whose Location is another URL of the requested resource (RFC 9110, 15.4).
REDIRECTS = (301, 302, 303, 307, 308)


class Connection(Facts, frozen=True):
    """One TCP or unix connect. ``failure``: refused, timeout, unreachable, missing, permission, other."""

    address: str
    failure: ProbeFailure | None = None
    detail: str = ""
    elapsed: float = 0.0


class Exchange(Facts, frozen=True):
    """One HTTP request and its response.

    ``failure`` is None if a complete response head was read; else refused, timeout, reset, closed, unreachable,
    missing, permission, tls, malformed. ``body`` is the beginning, decoded, control characters removed.
    ``private_headers``: names of the configured headers that were sent with it."""

    method: str
    url: str
    address: str
    failure: ProbeFailure | None = None
    detail: str = ""
    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    elapsed: float = 0.0
    private_headers: tuple[str, ...] = ()

    def header(self, name: str) -> str:
        """The first header called ``name``, or the empty string."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    @property
    def media_type(self) -> str:
        """The Content-Type without parameters, lower case."""
        return self.header("content-type").partition(";")[0].strip().lower()

    @property
    def is_html(self) -> bool:
        """Whether the response is an HTML page."""
        return self.media_type in ("text/html", "application/xhtml+xml")

    def json(self) -> Any:
        """The parsed body, None if it is not JSON (or was longer than the part that is kept)."""
        try:
            return msgspec.json.decode(self.body.encode())
        except (msgspec.DecodeError, UnicodeEncodeError):
            return None


class Front(Facts, frozen=True):
    """The front door, as users see it. ``hops``: redirects from the health URL, in order; ``challenge``: the responses
    to a request for an ACME challenge (RFC 8555, 8.3) that does not exist, redirects followed; empty if nothing on this
    host is renewed that way."""

    connection: Connection
    plain: Exchange | NotSeen
    health: Exchange | NotSeen
    predict: Exchange | NotSeen
    hops: tuple[Exchange, ...] = ()
    challenge: tuple[Exchange, ...] = ()


class Repeats(Facts, frozen=True):
    """Several requests for the health path. ``answered``: the seconds that each answer took; ``unanswered``: the
    seconds waited for each of the others."""

    answered: tuple[float, ...]
    unanswered: tuple[float, ...]


class Backend(Facts, frozen=True):
    """The service itself, at ``address``, not through nginx. ``predict_again``: if the first prediction was slow, a
    second one, when the service is warm. ``repeats``: further requests to reach each worker, if several workers keep no
    progress records. ``without_prefix``: the prediction without the prefix of the location that hands it on, if the
    service has no such path."""

    address: str
    connection: Connection
    health: Exchange | NotSeen
    ready: Exchange | NotSeen
    predict: Exchange | NotSeen
    debugger: Exchange | NotSeen
    predict_again: Exchange | NotSeen | None = None
    repeats: Repeats | None = None
    without_prefix: Exchange | None = None


class Upstreams(Facts, frozen=True):
    """The answer to the health path of every address that nginx proxies this site to, other than the backend's own.

    ``others``: a connection to each address of the other sites (`Target.other_sites`)."""

    answers: dict[str, Exchange]
    others: tuple[Connection, ...] = ()


class HostNames(Facts, frozen=True):
    """The addresses that the system's resolver gives for each host name that nginx proxies to, in the resolver's order.
    nginx itself resolved the names once, when it was started or reloaded. ``dialled``: a connection to each address at
    the ports that this site is proxied to."""

    addresses: dict[str, tuple[str, ...]]
    dialled: tuple[Connection, ...] = ()


class WorkerActivity(Facts, frozen=True):
    """One process's activity while it was observed: CPU seconds and completed requests at the start and the end (None:
    not seen).

    ``has_beaten``: whether it has sent gunicorn a heartbeat; one that has not is booting."""

    pid: int
    state: str
    cpu: tuple[float, float] | None
    completed: tuple[int, int] | None
    has_beaten: bool | None = None


class Activity(Facts, frozen=True):
    """The service's activity during the probes. ``queued``: the accept queue at the start and the end. ``deadlocked``:
    workers whose threads all wait for each other and will never run again, if that is every worker; ``hanging``: such
    workers among several, if they hold one of our requests. ``others_completed``: requests, none of them ours, that
    completed while more waited to be accepted."""

    seconds: float
    workers: tuple[WorkerActivity, ...]
    queued: tuple[int | None, int | None]
    progress: tuple[ProgressRecord, ...] = ()
    deadlocked: tuple[int, ...] = ()
    hanging: tuple[int, ...] = ()
    others_completed: int = 0
