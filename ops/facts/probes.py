"""What answered: the name, the front door, the service, its upstreams, and the workers meanwhile."""

from __future__ import annotations

from typing import Any

import msgspec

from ops.facts.base import Facts, NotSeen
from ops.facts.gunicorn import ProgressRecord


class Resolution(Facts, frozen=True):
    """The name, asked of one resolver. ``failure``: nxdomain, no_address, timeout, refused, servfail, unreachable."""

    name: str
    resolver: str
    addresses: tuple[str, ...] = ()
    failure: str | None = None
    detail: str = ""
    is_literal: bool = False


# The statuses whose Location is another place of what was asked for (RFC 9110, 15.4).
REDIRECTS = (301, 302, 303, 307, 308)


class Connection(Facts, frozen=True):
    """One TCP or unix connect. ``failure``: refused, timeout, unreachable, missing, permission, other."""

    address: str
    failure: str | None = None
    detail: str = ""
    elapsed: float = 0.0


class Exchange(Facts, frozen=True):
    """One HTTP request and what came back.

    ``failure`` is None when a whole response head was read; else refused, timeout, reset, closed, unreachable,
    missing, permission, tls, malformed. ``body`` is the beginning, decoded, control characters removed.
    ``private_headers``: names of the configured headers that were sent with it."""

    method: str
    url: str
    address: str
    failure: str | None = None
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
        """Whether a page came back."""
        return self.media_type in ("text/html", "application/xhtml+xml")

    def json(self) -> Any:
        """The body parsed, None where it is not JSON (or was longer than what is kept)."""
        try:
            return msgspec.json.decode(self.body.encode())
        except (msgspec.DecodeError, UnicodeEncodeError):
            return None


class Front(Facts, frozen=True):
    """The front door, as a user meets it. ``hops``: redirects from the health URL, in order; ``challenge``: what an
    authority meets that asks for a challenge of ACME (RFC 8555, 8.3) which is not there, redirects followed; empty
    where nothing here is renewed that way."""

    connection: Connection
    plain: Exchange | NotSeen
    health: Exchange | NotSeen
    predict: Exchange | NotSeen
    hops: tuple[Exchange, ...] = ()
    challenge: tuple[Exchange, ...] = ()


class Repeats(Facts, frozen=True):
    """The health path asked several times over. ``answered``: the seconds each answer took; ``unanswered``: the seconds
    that each of the others was waited for in vain."""

    answered: tuple[float, ...]
    unanswered: tuple[float, ...]


class Backend(Facts, frozen=True):
    """The service itself, past nginx, at ``address``. ``predict_again``: where the first prediction was slow, one more,
    asked of a service that is warm then. ``repeats``: where several workers keep no records, each is to be met."""

    address: str
    connection: Connection
    health: Exchange | NotSeen
    ready: Exchange | NotSeen
    predict: Exchange | NotSeen
    debugger: Exchange | NotSeen
    predict_again: Exchange | NotSeen | None = None
    repeats: Repeats | None = None


class Upstreams(Facts, frozen=True):
    """Every address nginx proxies this site to, other than the backend's own: its answer to the health path.

    ``others``: a connection to each address of the sites that were not chosen (`Target.other_sites`)."""

    answers: dict[str, Exchange]
    others: tuple[Connection, ...] = ()


class HostNames(Facts, frozen=True):
    """The addresses that the system's resolver gives each host name that nginx's configuration proxies to, in its
    order. nginx asked it once, when it was started or reloaded."""

    addresses: dict[str, tuple[str, ...]]


class WorkerActivity(Facts, frozen=True):
    """What one process did while it was watched: CPU seconds and completed requests at both ends (None: not seen).

    ``has_beaten``: whether it has ever given gunicorn a sign of life; one that has not is booting."""

    pid: int
    state: str
    cpu: tuple[float, float] | None
    completed: tuple[int, int] | None
    has_beaten: bool | None = None


class Activity(Facts, frozen=True):
    """Signs of life of the service during the probes. ``queued``: the accept queue at both ends. ``deadlocked``:
    workers whose threads all wait for each other and will never run again, where that is every worker; ``hanging``:
    those of several of which the same is true while they hold a request of ours."""

    seconds: float
    workers: tuple[WorkerActivity, ...]
    queued: tuple[int | None, int | None]
    progress: tuple[ProgressRecord, ...] = ()
    deadlocked: tuple[int, ...] = ()
    hanging: tuple[int, ...] = ()
