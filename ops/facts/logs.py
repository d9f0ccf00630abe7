"""What nginx and gunicorn logged."""

from __future__ import annotations

import msgspec

from ops.facts.base import Facts, NotSeen
from ops.facts.service_process import ServiceProcess
from ops.facts.traffic import (
    AllowedOrigin,
    CookieDomain,
    DrawnKey,
    EventStream,
    HeldFile,
    PackedFile,
    PageResource,
    PrivateRoute,
    RefusedFile,
    ShellPage,
    SourceRoute,
    TextFile,
    Traffic,
    UnservedFile,
    WebSocketRoute,
)


class LogEntry(Facts, frozen=True):
    """One entry, continuation lines included, control characters and secrets removed."""

    time: float
    level: str
    pid: int | None
    text: str


class Log(Facts, frozen=True):
    """The entries of one log in the window, newest last. ``complete``: what was read covers the whole window."""

    path: str
    size: int
    modified: float
    entries: tuple[LogEntry, ...]
    complete: bool = True


class AccessLog(Facts, frozen=True):
    """One access log in the window, counted: ``statuses`` by code as text. ``first_prediction`` and
    ``last_prediction``: when the first and the last request for the predict path were logged, that is, answered.
    ``traffic``: users' requests and their answers, without gte-ops' own."""

    path: str
    size: int
    modified: float
    requests: int
    statuses: dict[str, int]
    last: float | None = None
    last_prediction: float | None = None
    first_prediction: float | None = None
    complete: bool = True
    traffic: Traffic | None = None


class Logs(Facts, frozen=True):
    """The logs of the site. ``since``: the window's beginning; ``nginx_more_access``: further access logs of the site's
    locations; ``refused_files``: those that nginx could not use, ``refused_socket`` the one that it was denied,
    ``unserved_files`` those that it could not send,
    ``packed_files`` those with another content than the files that nginx sends them for, ``text_files`` and
    ``held_files`` those that users asked for, by their bytes and as workers hold them, ``service_files`` the
    application's, by its exceptions; ``application``: logs of the application's own, read if requests were refused or
    failed; ``websocket_routes``: of its source, if clients are refused where one may be; ``event_streams``: of its
    source, if paths are asked for where one may be; ``private_routes``: of its source, if nginx was told to ignore what
    answers say to caches; ``drawn_keys``: of its source, if clients are refused where others are answered;
    ``allowed_origins``: of its source, if OPTIONS is refused; ``forwarded_reads``: where its source reads the address
    that a proxy hands on, FILE:LINE, if somebody is told 429; ``cookie_domains``: of its source, if users are refused;
    ``handed_over_files``: its source's words of Apache for files, if answers are empty; ``packed_bodies``: where its
    source packs answers, if nginx replaces words in them; ``page_resources``: of pages that users were sent, if nginx
    adds a Content-Security-Policy; ``shell_pages``: of places where users were answered 404;
    ``nginx_plain_access``: the access log of plain HTTP, if it is another one; ``service_process``: read if the
    application raises or workers exceed the timeout; ``serving``: the workers that served when they were read, nginx's
    and gunicorn's, none unless both were seen."""

    since: float
    nginx_errors: dict[str, Log | NotSeen]
    nginx_access: AccessLog | NotSeen
    gunicorn_error: Log | NotSeen
    gunicorn_access: AccessLog | NotSeen
    nginx_more_access: dict[str, AccessLog | NotSeen] = msgspec.field(default_factory=dict)
    refused_files: tuple[RefusedFile, ...] = ()
    refused_socket: RefusedFile | None = None
    service_files: tuple[RefusedFile, ...] = ()
    drawn_keys: tuple[DrawnKey, ...] = ()
    serving: tuple[int, ...] = ()
    unserved_files: tuple[UnservedFile, ...] = ()
    application: tuple[Log, ...] = ()
    websocket_routes: tuple[WebSocketRoute, ...] = ()
    event_streams: tuple[EventStream, ...] = ()
    private_routes: tuple[PrivateRoute, ...] = ()
    packed_files: tuple[PackedFile, ...] = ()
    text_files: tuple[TextFile, ...] = ()
    held_files: tuple[HeldFile, ...] = ()
    allowed_origins: tuple[AllowedOrigin, ...] = ()
    forwarded_reads: tuple[str, ...] = ()
    cookie_domains: tuple[CookieDomain, ...] = ()
    handed_over_files: tuple[SourceRoute, ...] = ()
    packed_bodies: tuple[SourceRoute, ...] = ()
    page_resources: tuple[PageResource, ...] = ()
    shell_pages: tuple[ShellPage, ...] = ()
    nginx_plain_access: AccessLog | NotSeen | None = None
    service_process: ServiceProcess | None = None
