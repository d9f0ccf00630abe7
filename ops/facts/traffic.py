"""What users asked and were answered, as the access logs have it: counted by path and status."""

from __future__ import annotations

import msgspec

from ops.facts.base import Facts
from ops.facts.files import AccessStep, Reader


class Spread(Facts, frozen=True):
    """Values of several requests: the least, the one in the middle, the most."""

    least: float
    median: float
    most: float


class Answers(Facts, frozen=True):
    """Requests with one method for one path that were answered with one status: how many, and the first and the last.

    ``path`` is without its query; numbers and other identifiers in it are ``*``. ``lengths``: of the requests (bytes,
    nginx's request_length); ``sent``: of the answers' bodies (bytes); ``seconds``: how long they took; each None where
    the format does not tell. ``upstreams``: the addresses that answered last; ``newest``: of failures the newest lines,
    newest first. Of failures (5xx): how many requests with the same method for the same path were answered otherwise
    since the newest (``followed``), and before the oldest (``preceded``)."""

    method: str
    path: str
    status: str
    count: int
    first: float
    last: float
    lengths: Spread | None = None
    sent: Spread | None = None
    seconds: Spread | None = None
    upstreams: dict[str, int] = msgspec.field(default_factory=dict)
    newest: tuple[str, ...] = ()
    followed: int = 0
    preceded: int = 0


class Attempts(Facts, frozen=True):
    """How often nginx asked one address behind it, by what came back: a status, or ``-`` where nothing did."""

    address: str
    statuses: dict[str, int]
    last: float


class LoggedRequest(Facts, frozen=True):
    """One line of an access log, read. ``line`` is empty if an earlier run asked. ``client``, ``request_id``,
    ``upstream`` and ``upstream_status`` are empty where the format does not tell."""

    time: float
    method: str
    path: str
    status: str
    line: str
    client: str = ""
    request_id: str = ""
    upstream: str = ""
    upstream_status: str = ""


class Traffic(Facts, frozen=True):
    """The requests in one access log from ``since`` on, without gte-ops' own: those are ``probes``, oldest first.

    ``since``: the window's beginning, or later: the second in which the oldest process that answers now was started.
    ``omitted``: requests whose path is not among ``answers`` because there were too many paths; ``tells``: the fields
    that the configured format has, empty where the lines were read without one; ``is_shared``: another service's
    requests stand in the log too; ``is_conditional``: some requests are not logged (access_log ... if=)."""

    since: float
    answers: tuple[Answers, ...] = ()
    attempts: tuple[Attempts, ...] = ()
    probes: tuple[LoggedRequest, ...] = ()
    omitted: int = 0
    tells: tuple[str, ...] = ()
    is_shared: bool = False
    is_conditional: bool = False


class RefusedFile(Facts, frozen=True):
    """A file that nginx or the application could not open or make while it served a request: what was logged, and the
    way there as it is now.

    ``error``: the number (errno(3)); ``entry``: the newest line of its kind, or the exception's; ``count`` how many
    there are; ``steps``: the directories from the root on; ``missing``: the first that is not there; ``complete``: all
    of them were seen; ``reader``: as whom the workers run, None where none was seen."""

    path: str
    error: int
    entry: str
    log: str
    count: int
    last: float
    steps: tuple[AccessStep, ...]
    missing: str | None = None
    complete: bool = True
    reader: Reader | None = None
