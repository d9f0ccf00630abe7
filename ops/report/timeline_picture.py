"""The picture of a timeline: requests over time as bars, the events marked below. SVG, without a script."""

from __future__ import annotations

from typing import Any

from ops.facts.timeline import EventKind, MinuteTraffic, Timeline
from ops.interpret.timeline import buckets
from ops.report.sentences import sentence
from ops.text.language import Language, Text
from ops.text.timestamps import local_time

MAX_BARS = 120
# The picture's own units; the page scales it to its width.
WIDTH, HEIGHT, MARKS = 720, 150, 44
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


def picture(timeline: Timeline, language: Language) -> dict[str, Any]:
    """What the page's template draws: ``bars``, their parts from the bottom up, ``marks``, ``ticks``, ``legend``."""
    spans = buckets(timeline.minutes, timeline.since, timeline.until, MAX_BARS)
    busiest = max((span.total for span in spans), default=0) or 1
    step = WIDTH / len(spans)
    length = spans[1].time - spans[0].time if len(spans) > 1 else 60.0
    begin = spans[0].time

    def x(moment: float) -> float:
        return round(min(max((moment - begin) / length * step, 0.0), WIDTH), 1)

    return {
        "title": _TITLE.to(language),
        "width": WIDTH,
        "height": HEIGHT,
        "whole": HEIGHT + MARKS + 18,
        "bars": [
            part
            for number, span in enumerate(spans)
            for part in _parts(span, round(number * step, 1), max(1.0, step - 1), busiest)
        ],
        "marks": [
            {
                "x": x(event.time),
                "letter": _SHOWN[event.kind],
                "kind": event.kind.value,
                "y": HEIGHT + 16 + (number % 2) * 18,
                "title": sentence(event.words.to(language), language),
            }
            for number, event in enumerate(event for event in timeline.events if event.kind in _SHOWN)
        ],
        "ticks": [
            {"x": x(at), "words": f"{local_time(at, timeline.utc_offset):%H:%M}", "anchor": anchor}
            for at, anchor in (
                (timeline.since, "start"),
                ((timeline.since + timeline.until) / 2, "middle"),
                (timeline.until, "end"),
            )
        ],
        "legend": [{"name": name, "words": text.to(language)} for name, text in _LEGEND],
        "letters": [
            {"letter": letter, "words": _kind_words(kind, language)}
            for kind, letter in _SHOWN.items()
            if any(event.kind is kind for event in timeline.events)
        ],
        "busiest": busiest,
    }


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
