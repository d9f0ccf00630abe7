"""Users' requests and their answers according to the access logs, counted by path and status."""

from __future__ import annotations

import msgspec

from ops.facts.base import Facts
from ops.facts.files import AccessStep, Reader


class Spread(Facts, frozen=True):
    """Values of several requests: minimum, median, maximum."""

    least: float
    median: float
    most: float


class Answers(Facts, frozen=True):
    """Requests with the same method, path and status: their number, the first and the last.

    ``path`` is without its query; numbers and other identifiers in it are ``*``. ``lengths``: of the requests (bytes,
    nginx's request_length); ``sent``: of the answers' bodies (bytes); ``seconds``: how long they took; each None if the
    format does not have it. ``upstreams``: the addresses that answered last; ``newest``: the newest lines of failures
    and redirects, newest first. Of failures (5xx): how many requests with the same method for the same path were
    answered otherwise since the newest (``followed``), and before the oldest (``preceded``). ``quick``: how many of the
    newest requests came within a second before or after another one of the same kind by the same client. ``gaps``: of
    WebSockets (101), the seconds between the ends of two of the newest, one after the other, of the same client.
    Of refusals (4xx), in the newest requests of the kind: ``clients``: from how many different
    addresses, at most 64, 0 if the format has none; ``alternating``: how many (3xx too)
    stood between two good answers (2xx) to the same client (address and program) for the very same address within
    seconds, who sent nothing but GET and HEAD in between."""

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
    quick: int = 0
    gaps: Spread | None = None
    clients: int = 0
    alternating: int = 0


class Attempts(Facts, frozen=True):
    """The number of nginx's requests to one upstream address, by the status of the answer, or ``-`` for none."""

    address: str
    statuses: dict[str, int]
    last: float


class Sender(Facts, frozen=True):
    """An address from which requests came to nginx, as its log names it (``$remote_addr``), and how many of those read.

    ``agents``: the different programs, and systems of browsers, that its requests name, at most 8; ``visitors``: how
    many different addresses a proxy named behind it (X-Forwarded-For, CF-Connecting-IP, the PROXY protocol), at most
    64, 0 if the format has none of these."""

    address: str
    requests: int
    agents: tuple[str, ...] = ()
    visitors: int = 0


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
    """The requests in one access log since ``since``, without gte-ops' own, which are ``probes``, oldest first.

    ``since``: the window's beginning, or later: the second in which the oldest process that answers now was started.
    ``omitted``: requests whose path is not among ``answers`` because there were too many paths; ``tells``: the fields
    of the configured format, empty if the lines were parsed without one; ``is_shared``: another service's requests
    are among them (bundles of earlier versions); ``unclear``: the number of those left out because they may be
    another's; ``is_conditional``: some requests are not logged (access_log ... if=), or may be among the unclear.
    ``senders``: who sent those requests that were answered, monitoring's apart, the most frequent first;
    ``more_senders``: requests of further ones. Of requests with the same path and status both count the newest 200 at
    least."""

    since: float
    answers: tuple[Answers, ...] = ()
    attempts: tuple[Attempts, ...] = ()
    probes: tuple[LoggedRequest, ...] = ()
    omitted: int = 0
    tells: tuple[str, ...] = ()
    is_shared: bool = False
    is_conditional: bool = False
    senders: tuple[Sender, ...] = ()
    more_senders: int = 0
    unclear: int = 0


class DrawnKey(Facts, frozen=True):
    """A line of the application's source that draws a key for signatures at random, and its place."""

    where: str
    written: str


class RefusedFile(Facts, frozen=True):
    """A file that nginx or the application could not open or create while it served a request: the log line, and the
    directories to the file as they are now.

    ``error``: the number (errno(3)); ``entry``: the newest line of its kind, or the exception's; ``count``: the number
    of them; ``steps``: the directories from the root on; ``missing``: the first that does not exist; ``complete``: all
    of them were seen; ``reader``: the user of the workers, None if none was seen. ``working_directory``: the service's,
    where the path was written relative to it; ``lies_at``: where the file is below the application's directory, if it
    is not there."""

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
    working_directory: str = ""
    lies_at: str = ""


# No errno(3): a directory is there, and nginx has no index page to send for it.
NO_INDEX = 0


class UnservedFile(Facts, frozen=True):
    """A file that nginx was to send to a client and could not open: what it logged, and what is so now.

    ``request``: method and path as the line has them; ``error``: the number (errno(3)), or `NO_INDEX`; ``steps``: the
    way to the file from the root on; ``lies_at``: where a file of that name is, read with a slash more or a
    directory less, or the index page (empty: nowhere); ``is_there``: the file itself is there by now. The others
    are those of `RefusedFile`."""

    path: str
    error: int
    request: str
    entry: str
    log: str
    count: int
    last: float
    steps: tuple[AccessStep, ...] = ()
    complete: bool = True
    reader: Reader | None = None
    lies_at: str = ""
    is_there: bool = False


class PackedFile(Facts, frozen=True):
    """A file whose packed copy beside it (``path``.gz) holds another content: the path that users asked for, the file,
    and how much older the copy is (seconds)."""

    request_path: str
    path: str
    age: float


class TextFile(Facts, frozen=True):
    """A file of text that users were sent: the path they asked for, the file, and the encoding of its bytes, ``utf-8``,
    ``gb18030`` if they are common Chinese in it, ``other`` if they are neither."""

    request_path: str
    path: str
    encoding: str


class HeldFile(Facts, frozen=True):
    """A file that a worker of nginx (``pid``) holds open though another lies at its path: the path that users asked
    for, the file, and for how long the other has lain there (seconds)."""

    request_path: str
    path: str
    pid: int
    age: float


class WebSocketRoute(Facts, frozen=True):
    """A WebSocket route in the application's source: a regular expression for the end of its path, FILE:LINE, and the
    line there."""

    pattern: str
    where: str
    written: str


class AllowedOrigin(Facts, frozen=True):
    """An origin that the application's source lets browsers' pages ask from: the setting, FILE:LINE, and the origin as
    it is written. ``is_well_formed``: it is scheme, host and port alone, as browsers send it, or ``*``."""

    setting: str
    where: str
    origin: str
    is_well_formed: bool


class EventStream(Facts, frozen=True):
    """A route of the application's source that answers with text/event-stream: a regular expression for the end of its
    path, FILE:LINE, and the line there. ``forbids_buffering``: that file sets X-Accel-Buffering."""

    pattern: str
    where: str
    written: str
    forbids_buffering: bool = False


class PrivateRoute(Facts, frozen=True):
    """A route of the application's source that marks its answer as one user's, or as not to be kept: a regular
    expression for its whole path, the header that says so (``mark``: cache-control or set-cookie), FILE:LINE, and the
    line there."""

    pattern: str
    mark: str
    where: str
    written: str


class CookieDomain(Facts, frozen=True):
    """A setting of the application's source that gives cookies for a name: the setting, the name without a dot before
    it, and FILE:LINE."""

    setting: str
    domain: str
    where: str


class SourceRoute(Facts, frozen=True):
    """A line of the application's source, with its place, and a route that it is about: a regular expression for its
    whole path, empty if the route is not known."""

    pattern: str
    where: str
    written: str


class PageResource(Facts, frozen=True):
    """What a page loads: the path that users asked for, ``script`` or ``style``, the origin that it comes from (empty:
    it is written in the page itself), and FILE:LINE."""

    request_path: str
    kind: str
    origin: str
    where: str


class ShellPage(Facts, frozen=True):
    """A page whose script draws all pages beneath ``prefix``, and the file."""

    prefix: str
    path: str
