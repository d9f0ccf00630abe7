"""The picture of a timeline: requests over time as bars, the events marked below. SVG, without a script."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ops.facts.timeline import EventKind, MinuteTraffic, Timeline
from ops.interpret.timeline import buckets
from ops.report.sentences import sentence
from ops.text.language import Language, Text
from ops.text.timestamps import local_time

HEIGHT = 150
# A row of letters, the room that a letter takes, and the line of times below, in the drawing's units.
ROW, LETTER, TICKS = 16, 14, 20
MAX_ROWS = 5
_SHOWN = {
    EventKind.CHANGE: "C",
    EventKind.DEPLOYMENT: "D",
    EventKind.PACKAGE: "P",
    EventKind.START: "S",
    EventKind.RELOAD: "R",
    EventKind.STOP: "X",
    EventKind.WATCHDOG: "W",
    EventKind.REPAIR: "F",
    EventKind.KILL: "K",
    EventKind.CERTIFICATE: "T",
    EventKind.BOOT: "B",
    EventKind.CLOCK: "Z",
}
_TITLE = Text(
    en="Requests over time: succeeded, refused (4xx), failed (5xx), given up (499)",
    zh="请求随时间的变化：成功、被拒（4xx）、失败（5xx）、放弃（499）",
)
_LEGEND = (
    ("succeeded", Text(en="succeeded", zh="成功")),
    ("refused", Text(en="4xx", zh="4xx")),
    ("left", Text(en="given up", zh="放弃")),
    ("failed", Text(en="failed", zh="失败")),
)


class Canvas(NamedTuple):
    """A drawing's own units, which the page scales to its width; ``bars``: the most of them."""

    name: str
    width: int
    bars: int


# A phone shows the narrow one: the letters of the wide one would be too small there.
CANVASES = (Canvas("wide", 720, 120), Canvas("narrow", 360, 60))


def picture(timeline: Timeline, language: Language) -> dict[str, Any]:
    """What the page's template draws: ``drawings``, of which one is shown, and what their colours and letters mean."""
    return {
        "title": _TITLE.to(language),
        "drawings": [_drawing(timeline, language, canvas) for canvas in CANVASES],
        "legend": [{"name": name, "words": text.to(language)} for name, text in _LEGEND],
        "letters": [
            {"letter": letter, "words": _kind_words(kind, language)}
            for kind, letter in _SHOWN.items()
            if any(event.kind is kind for event in timeline.events)
        ],
    }


def _drawing(timeline: Timeline, language: Language, canvas: Canvas) -> dict[str, Any]:
    """``bars``, their parts from the bottom up, ``marks`` and ``ticks``."""
    spans = buckets(timeline.minutes, timeline.since, timeline.until, canvas.bars)
    busiest = max((span.total for span in spans), default=0) or 1
    step = canvas.width / len(spans)
    length = spans[1].time - spans[0].time if len(spans) > 1 else 60.0
    begin = spans[0].time

    def x(moment: float) -> float:
        return round(min(max((moment - begin) / length * step, 0.0), canvas.width), 1)

    marks = _marks(timeline, language, canvas.width, x)
    rows = max((mark["row"] for mark in marks), default=0) + 1
    return {
        "name": canvas.name,
        "width": canvas.width,
        "height": HEIGHT,
        "whole": HEIGHT + 4 + rows * ROW + TICKS,
        "bars": [
            part
            for number, span in enumerate(spans)
            for part in _parts(span, round(number * step, 1), max(1.0, step - 1), busiest)
        ],
        "marks": marks,
        "ticks": [
            {"x": x(at), "words": f"{local_time(at, timeline.utc_offset):%H:%M}", "anchor": anchor}
            for at, anchor in (
                (timeline.since, "start"),
                ((timeline.since + timeline.until) / 2, "middle"),
                (timeline.until, "end"),
            )
        ],
    }


def _marks(
    timeline: Timeline, language: Language, width: int, x: Callable[[float], float]
) -> list[dict[str, Any]]:
    """A line for each event, and below it its letter, in the first row with room. Alike letters that would touch are
    one; where no row has room, the line alone is drawn."""
    marks: list[dict[str, Any]] = []
    letters: list[dict[str, Any]] = []
    for event in timeline.events:
        if event.kind not in _SHOWN:
            continue
        at = x(event.time)
        middle = min(max(at, LETTER / 2), width - LETTER / 2)
        letter = _SHOWN[event.kind]
        near = [mark for mark in letters if middle - mark["middle"] < LETTER]
        free = [row for row in range(MAX_ROWS) if all(mark["row"] != row for mark in near)]
        is_told = any(mark["letter"] == letter for mark in near)
        row = free[0] if free and not is_told else 0
        mark = {
            "x": at,
            "middle": middle,
            "letter": "" if is_told or not free else letter,
            "row": row,
            "y": HEIGHT + ROW * (row + 1),
            "kind": event.kind.value,
            "title": sentence(event.words.to(language), language),
        }
        if mark["letter"]:
            letters.append(mark)
        marks.append(mark)
    return marks


def _parts(span: MinuteTraffic, x: float, width: float, busiest: int) -> list[dict[str, Any]]:
    parts = []
    base = float(HEIGHT)
    for name, _ in _LEGEND:
        count = getattr(span, name)
        if count:
            tall = max(2.0, count / busiest * (HEIGHT - 10))
            base -= tall
            parts.append(
                {
                    "name": name,
                    "x": x,
                    "y": round(base, 1),
                    "width": round(width, 1),
                    "height": round(tall, 1),
                }
            )
    return parts


def _kind_words(kind: EventKind, language: Language) -> str:
    from ops.report.timeline import KINDS

    return KINDS[kind].to(language)
