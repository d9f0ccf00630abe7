"""Streams of events that the application's source declares."""

from __future__ import annotations

from pathlib import Path

from ops.collect.logs.application_source import ApplicationSource
from ops.collect.logs.event_streams import event_streams
from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog
from ops.facts.traffic import EventStream
from tests.unit.diagnosis.checks.test_app_traffic import logged
from tests.unit.made_snapshot import answered

FLASK = """
@app.get("/stream/<int:number>")
def stream(number):
    return events(), 200, {"Content-Type": "text/event-stream"}
"""
FASTAPI = """
@router.post("/v1/chat/completions")
async def chat(body: dict):
    return StreamingResponse(
        tokens(body),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )
"""


def asked(path: str, status: str = "200") -> AccessLog:
    return logged("/var/log/nginx/access.log", answered(status, 3, path=path, method="GET"))


def streams(directory: Path, source: str, log: AccessLog | NotSeen) -> tuple[EventStream, ...]:
    (directory / "app.py").write_text(source)
    return event_streams(ApplicationSource(str(directory)), log)


def test_the_route_before_the_media_type_is_the_stream_s(tmp_path: Path) -> None:
    (stream,) = streams(tmp_path, FLASK, asked("/stream/*"))
    assert (stream.pattern, stream.where) == ("/stream/[^/]+", f"{tmp_path}/app.py:4")
    assert not stream.forbids_buffering


def test_a_file_that_forbids_buffering_says_so(tmp_path: Path) -> None:
    (stream,) = streams(tmp_path, FASTAPI, asked("/v1/chat/completions"))
    assert stream.forbids_buffering


def test_nothing_is_read_where_nobody_asks_for_such_a_path(tmp_path: Path) -> None:
    assert streams(tmp_path, FLASK, asked("/predict")) == ()
    assert streams(tmp_path, FLASK, asked("/stream/*", "404")) == ()
    assert streams(tmp_path, FLASK, NotSeen(reason="no log")) == ()


def test_a_media_type_far_from_any_route_is_no_route_s(tmp_path: Path) -> None:
    assert streams(tmp_path, 'KIND = "text/event-stream"\n', asked("/stream/*")) == ()
