"""Find the routes of the application's source that answer with a stream of events, if clients ask for such paths.

The source is searched, never run. Sources: HTML standard, server-sent events (text/event-stream); documentation of
Flask and FastAPI. sse-starlette and django-eventstream set X-Accel-Buffering themselves, and are not looked for."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ops.collect.logs.application_source import MAX_ROUTES, ApplicationSource, SourceFile
from ops.collect.logs.websocket_routes import route_pattern
from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog
from ops.facts.traffic import EventStream
from ops.text.sanitize import safe_line

_LIKELY = re.compile(
    r"(?:^|[/._-])(?:streams?|events?|sse|subscribe|chat|completions?|generate|live|updates?|notifications?|progress"
    r"|listen)(?:[/._-]|$)"
)
_MEDIA_TYPE = "text/event-stream"
_ROUTE = re.compile(r"""@[\w.]+\.(?:get|post|route|api_route|put)\(\s*["'](/[^"'\n]{0,200})["']""")
# Lines between a route's decorator and its media type, at most.
_REACH = 80


def event_streams(source: ApplicationSource, log: AccessLog | NotSeen) -> tuple[EventStream, ...]:
    """Return the streams, if the log has answers for a path that may be one's."""
    if isinstance(log, NotSeen) or log.traffic is None:
        return ()
    if not any(_LIKELY.search(item.path.lower()) and item.status < "400" for item in log.traffic.answers):
        return ()
    streams: list[EventStream] = []
    for file in source.files:
        streams += _streams_in(file)
        if len(streams) >= MAX_ROUTES:
            break
    return tuple(streams[:MAX_ROUTES])


def _streams_in(file: SourceFile) -> Iterator[EventStream]:
    if _MEDIA_TYPE not in file.text:
        return
    route: tuple[str, int] | None = None
    for number, line in file.lines:
        if match := _ROUTE.search(line):
            route = (match[1], number)
        if _MEDIA_TYPE in line and route is not None and number - route[1] <= _REACH:
            yield EventStream(
                pattern=safe_line(route_pattern(route[0]), 400),
                where=safe_line(file.place(number), 1000),
                written=safe_line(line.strip(), 200),
                forbids_buffering="x-accel-buffering" in file.text.lower(),
            )
