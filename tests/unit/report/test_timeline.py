"""A scripted incident as people read it: a deployment, errors, a restart that does not help, a rollback."""

from __future__ import annotations

import io
import json

import pytest
from rich.cells import cell_len

from ops.facts.timeline import EventKind, Gap, MinuteTraffic, Timeline, TimelineEvent
from ops.interpret.timeline import merged
from ops.report import render
from ops.report.timeline import TimelineReport
from ops.report.timeline_picture import CANVASES
from ops.text.language import Language, Text

MIDNIGHT = 1_796_054_400.0  # 2026-11-30 16:00 UTC, midnight of 1 December in Shanghai


def at(clock: str) -> float:
    hour, minute = map(int, clock.split(":"))
    return MIDNIGHT + hour * 3600 + minute * 60


def event(clock: str, kind: EventKind, en: str, zh: str = "", count: int = 1) -> TimelineEvent:
    return TimelineEvent(
        time=at(clock),
        kind=kind,
        source="log",
        words=Text(en=en, zh=zh or en),
        count=count,
        until=at(clock) + 50,
    )


def traffic() -> list[MinuteTraffic]:
    minutes = []
    for number in range(60):
        clock = at("02:30") + 60 * number
        is_bad = at("02:54") <= clock < at("03:05")
        minutes.append(
            MinuteTraffic(
                time=clock,
                succeeded=0 if is_bad else 20,
                refused=1,
                failed=15 if is_bad else 0,
                left=5 * is_bad,
            )
        )
    return minutes


def incident() -> Timeline:
    return merged(
        [
            event("02:50", EventKind.DEPLOYMENT, "deployment: 2.4 (ops)", "部署：2.4 (ops)"),
            event(
                "02:50", EventKind.CHANGE, "/srv/app/app.py: changed at 02:50", "/srv/app/app.py：02:50 改动"
            ),
            event("02:54", EventKind.ERROR, "<b>KeyError</b>: `x` | y", count=12),
            event("02:56", EventKind.WATCHDOG, "the watchdog restarted gunicorn", "watchdog 重启 gunicorn"),
            event("03:05", EventKind.DEPLOYMENT, "deployment: 2.3 again (ops)", "部署：回退到 2.3 (ops)"),
        ],
        traffic(),
        at("02:30"),
        at("03:30"),
        8 * 3600,
        [
            Gap(
                source="/var/log/x",
                since=at("02:30"),
                until=at("02:40"),
                reason="only the last 8 MiB were read",
            )
        ],
    )


def written(form: str, language: Language = "en") -> str:
    out = io.StringIO()
    render(form, TimelineReport(incident()), language, out, False)
    return out.getvalue()


ORDER = ["2.4", "app.py", "FAILING", "restarted", "2.3 again"]


def test_the_story_in_order_in_the_hosts_time() -> None:
    page = written("text")
    story = page[page.index("Events") :]
    assert [story.index(words) for words in ORDER] == sorted(story.index(words) for words in ORDER)
    assert "02:54:00  FAILING  requests begin to fail: 220 of 231 from here on" in story
    assert "03:05:00  RECOVERED  requests succeed again" in story
    assert "(12 times, until 02:54:50)" in story
    assert "UTC+0800" in page
    assert "02:30 - 02:40 /var/log/x: only the last 8 MiB were read" in page


def test_the_story_in_chinese() -> None:
    page = written("text", "zh")
    assert "开始失败  请求开始失败：从此 231 个中有 220 个失败" in page
    assert "恢复  请求恢复正常" in page
    assert "watchdog 重启 gunicorn" in page
    assert "只读取了最后 8 MiB" in page
    assert "Requests" not in page


def test_the_rows_of_requests_show_the_outage() -> None:
    rows = [line for line in written("text").splitlines() if "  ok " in line]
    assert len(rows) <= 24
    failing = [row for row in rows if "#" in row]
    assert failing[0].lstrip().startswith("02:54")
    assert failing[-1].lstrip().startswith("03:03")
    assert all(cell_len(row) <= 80 for row in rows)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_program_reads_the_same(language: Language) -> None:
    document = json.loads(written("json", language))
    assert [one["kind"] for one in document["events"]][:3] == ["deployment", "change", "failing"]
    assert len(document["minutes"]) == 60
    assert document["events"][2]["time"] == "2026-12-01T02:54:00+08:00"
    assert document["gaps"][0]["source"] == "/var/log/x"


def test_a_review_is_a_table_in_which_nothing_is_markup() -> None:
    review = TimelineReport(incident()).markdown("en")
    assert "- First failure 2026-12-01 02:54, recovered 2026-12-01 03:05" in review
    assert r"\<b\>KeyError\</b\>: \`x\` \| y" in review
    rows = [line for line in review.splitlines() if line.startswith("| 12-01")]
    assert len(rows) == len(incident().events)
    assert all(row.replace(r"\|", "").count("|") == 4 for row in rows)


def test_the_picture_marks_the_changes_over_the_requests() -> None:
    page = written("html")
    assert page.count('class="bar-failed"') >= 11
    assert "&lt;b&gt;KeyError" in page
    assert "<b>KeyError" not in page
    assert "<script" not in page
    assert page.count("mark mark-deployment") == 2 * len(CANVASES)


def test_a_span_without_anything() -> None:
    report = TimelineReport(merged([], [], at("02:30"), at("03:30"), 0))
    out = io.StringIO()
    render("text", report, "en", out, False)
    assert "no request was logged" in out.getvalue()
    assert "nothing is known to have happened" in out.getvalue()
    out = io.StringIO()
    render("html", report, "en", out, False)
    assert "<svg" in out.getvalue()
