"""What `gte-ops timeline` shows: requests over time with the events marked, and the events one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ops.facts.status import Status
from ops.facts.timeline import EventKind, Gap, MinuteTraffic, Timeline, TimelineEvent
from ops.interpret.timeline import buckets
from ops.report.model import BLANK, CommandReport, ReportLine
from ops.report.sentences import sentence
from ops.text.language import COLON, Language, Text
from ops.text.reasons import reason
from ops.text.timestamps import local_time

MAX_ROWS = 24
BAR_COLUMNS = 20
KINDS: dict[EventKind, Text] = {
    EventKind.CHANGE: Text(en="change", zh="变更"),
    EventKind.DEPLOYMENT: Text(en="deploy", zh="部署"),
    EventKind.PACKAGE: Text(en="package", zh="软件包"),
    EventKind.CERTIFICATE: Text(en="renewal", zh="续期"),
    EventKind.ROTATION: Text(en="rotation", zh="轮转"),
    EventKind.START: Text(en="start", zh="启动"),
    EventKind.RELOAD: Text(en="reload", zh="重新加载"),
    EventKind.STOP: Text(en="stop", zh="停止"),
    EventKind.ERROR: Text(en="error", zh="错误"),
    EventKind.FAILING: Text(en="FAILING", zh="开始失败"),
    EventKind.RECOVERED: Text(en="RECOVERED", zh="恢复"),
    EventKind.KILL: Text(en="kill", zh="内存不足"),
    EventKind.WATCHDOG: Text(en="watchdog", zh="watchdog"),
    EventKind.REPAIR: Text(en="repair", zh="修复"),
    EventKind.BASELINE: Text(en="baseline", zh="基线"),
    EventKind.BOOT: Text(en="boot", zh="开机"),
    EventKind.CLOCK: Text(en="clock", zh="时钟"),
    EventKind.VERDICT: Text(en="doctor", zh="诊断"),
}
_STYLES = {
    EventKind.ERROR: "red",
    EventKind.FAILING: "bold red",
    EventKind.RECOVERED: "bold green",
    EventKind.KILL: "bold red",
    EventKind.CHANGE: "bold yellow",
    EventKind.DEPLOYMENT: "bold yellow",
}
_TITLE = Text(en="{since} to {until} ({zone})", zh="{since} 至 {until}（{zone}）")
_REQUESTS = Text(en="Requests", zh="请求")
_COLUMNS = Text(
    en="ok {ok}, 4xx {refused}, failed {failed}, given up {left}",
    zh="正常 {ok}，4xx {refused}，失败 {failed}，放弃 {left}",
)
_NO_REQUESTS = Text(en="no request was logged", zh="没有请求记录")
_EVENTS = Text(en="Events", zh="事件")
_NO_EVENTS = Text(en="nothing is known to have happened", zh="没有已知的事件")
_GAPS = Text(en="Not recorded", zh="没有记录的部分")
_OMITTED = Text(
    en="{} further events are left out; choose a shorter time", zh="另有 {} 个事件未列出；请缩短时间范围"
)
_TIMES = Text(en="{count} times, until {until}", zh="共 {count} 次，至 {until}")
_SUMMARY = Text(
    en="{failed} of {total} requests failed or were given up", zh="{total} 个请求中有 {failed} 个失败或被放弃"
)


class TimelineReport(CommandReport):
    """The account of a span of time."""

    command = "timeline"

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline

    @property
    def status(self) -> Status:
        """An account is no judgement: ok, whatever happened."""
        return Status.OK

    def headline(self, language: Language) -> str:
        """The span, and how many requests failed in it."""
        span = _TITLE.to(language).format(
            since=self._full(self.timeline.since), until=self._full(self.timeline.until), zone=self._zone
        )
        return f"{span}{'：' if language == 'zh' else ': '}{_summary(self.timeline.minutes).to(language)}"

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """The span, a row of requests for each part of it, then each event."""
        timeline = self.timeline
        yield ReportLine(self.headline(language), style="bold")
        yield BLANK
        yield ReportLine(_REQUESTS.to(language), style="bold")
        rows = buckets(timeline.minutes, timeline.since, timeline.until, MAX_ROWS)
        busiest = max((row.total for row in rows), default=0)
        if not busiest:
            yield ReportLine(_NO_REQUESTS.to(language), 2, "dim")
        for row in rows if busiest else ():
            yield self._row(row, busiest, language)
        yield BLANK
        yield ReportLine(_EVENTS.to(language), style="bold")
        if not timeline.events:
            yield ReportLine(_NO_EVENTS.to(language), 2, "dim")
        day = ""
        for event in timeline.events:
            if (date := self._at(event.time).strftime("%Y-%m-%d")) != day:
                day = date
                yield ReportLine(day, 2, "dim")
            yield self._event(event, language)
        if timeline.omitted:
            yield ReportLine(_OMITTED.to(language).format(timeline.omitted), 2, "dim")
        if timeline.gaps:
            yield BLANK
            yield ReportLine(_GAPS.to(language), style="bold")
        for gap in timeline.gaps:
            yield ReportLine(self._gap(gap, language), 2)

    def _row(self, row: MinuteTraffic, busiest: int, language: Language) -> ReportLine:
        bad = row.failed + row.left
        columns = -(-row.total * BAR_COLUMNS // busiest)
        bad_columns = min(columns, -(-bad * columns // row.total)) if row.total else 0
        bar = ("=" * (columns - bad_columns) + "#" * bad_columns).ljust(BAR_COLUMNS)
        counts = _COLUMNS.to(language).format(
            ok=row.succeeded, refused=row.refused, failed=row.failed, left=row.left
        )
        return ReportLine(
            f"{bar}  {counts if row.total else '-'}",
            lead=f"  {self._at(row.time):%H:%M}  ",
            style="red" if bad else "",
            is_verbatim=True,
        )

    def _event(self, event: TimelineEvent, language: Language) -> ReportLine:
        words = sentence(event.words.to(language), language)
        if event.count > 1:
            until = f"{self._at(event.until or event.time):%H:%M:%S}"
            times = _TIMES.to(language).format(count=event.count, until=until)
            words += f"（{times}）" if language == "zh" else f" ({times})"
        kind = KINDS[event.kind].to(language)
        return ReportLine(
            words, lead=f"  {self._at(event.time):%H:%M:%S}  {kind}  ", lead_style=_STYLES.get(event.kind, "")
        )

    def _gap(self, gap: Gap, language: Language) -> str:
        span = f"{self._at(gap.since):%H:%M} - {self._at(gap.until):%H:%M}"
        return sentence(
            f"{span}  {gap.source}{COLON.to(language)}{reason(gap.reason).to(language)}", language
        )

    def document(self, language: Language) -> dict[str, Any]:
        """``since``, ``until``, ``minutes`` (only those with requests), ``events``, ``gaps``, ``omitted``."""
        timeline = self.timeline
        return {
            "since": self._iso(timeline.since),
            "until": self._iso(timeline.until),
            "minutes": [
                {
                    "time": self._iso(minute.time),
                    "succeeded": minute.succeeded,
                    "refused": minute.refused,
                    "failed": minute.failed,
                    "left": minute.left,
                }
                for minute in timeline.minutes
            ],
            "events": [
                {
                    "time": self._iso(event.time),
                    "until": None if event.until is None else self._iso(event.until),
                    "kind": event.kind,
                    "count": event.count,
                    "code": event.code or None,
                    "source": sentence(event.source, language),
                    "summary": sentence(event.words.to(language), language),
                }
                for event in timeline.events
            ],
            "gaps": [
                {
                    "source": sentence(gap.source, language),
                    "since": self._iso(gap.since),
                    "until": self._iso(gap.until),
                    "reason": reason(gap.reason).to(language),
                }
                for gap in timeline.gaps
            ],
            "omitted": timeline.omitted,
        }

    def page(self, language: Language) -> dict[str, Any]:
        """The picture, and the events as a table."""
        from ops.report.timeline_picture import picture

        timeline = self.timeline
        return {
            "verdict": sentence(self.headline(language), language),
            "picture": picture(timeline, language),
            "events": [
                {
                    "time": f"{self._at(event.time):%m-%d %H:%M:%S}",
                    "kind": KINDS[event.kind].to(language),
                    "name": event.kind.value,
                    "words": self._event(event, language).words,
                }
                for event in timeline.events
            ],
            "unseen": [(sentence(gap.source, language), self._gap(gap, language)) for gap in timeline.gaps],
        }

    def markdown(self, language: Language) -> str:
        """The skeleton of an incident review."""
        return "\n".join(_review(self, language)) + "\n"

    def _at(self, moment: float) -> Any:
        return local_time(moment, self.timeline.utc_offset)

    def _iso(self, moment: float) -> str:
        return self._at(moment).isoformat(timespec="seconds")  # type: ignore[no-any-return]

    def _full(self, moment: float) -> str:
        return f"{self._at(moment):%Y-%m-%d %H:%M}"

    @property
    def _zone(self) -> str:
        return f"UTC{self._at(self.timeline.until):%z}"


def _summary(minutes: Sequence[MinuteTraffic]) -> Text:
    total = sum(minute.total for minute in minutes)
    if not total:
        return _NO_REQUESTS
    failed = sum(minute.failed + minute.left for minute in minutes)
    return Text(
        en=_SUMMARY.en.format(failed=failed, total=total), zh=_SUMMARY.zh.format(failed=failed, total=total)
    )


# --- the review -------------------------------------------------------------------------------------------------------

_REVIEW: dict[str, Text] = {
    "title": Text(en="# Incident review", zh="# 故障复盘"),
    "impact": Text(en="## Impact", zh="## 影响"),
    "timeline": Text(en="## Timeline", zh="## 时间线"),
    "head": Text(en="| time | what | detail |", zh="| 时间 | 类别 | 内容 |"),
    "causes": Text(en="## Cause", zh="## 原因"),
    "detection": Text(en="## Detection and response", zh="## 发现与处置"),
    "actions": Text(en="## Actions", zh="## 改进措施"),
    "todo": Text(en="_to be written_", zh="_待填写_"),
    "first": Text(en="First failure {}", zh="首次失败 {}"),
    "last": Text(en="recovered {}", zh="恢复 {}"),
}


def _review(report: TimelineReport, language: Language) -> Iterator[str]:
    words = {name: text.to(language) for name, text in _REVIEW.items()}
    events = report.timeline.events
    yield from (words["title"], "", report.headline(language), "", words["impact"], "")
    onset = next((event for event in events if event.kind is EventKind.FAILING), None)
    end = next((event for event in reversed(events) if event.kind is EventKind.RECOVERED), None)
    if onset is not None:
        moments = [words["first"].format(report._full(onset.time))]
        moments += [words["last"].format(report._full(end.time))] if end else []
        yield f"- {'，'.join(moments) if language == 'zh' else ', '.join(moments)}"
        yield f"- {onset.words.to(language)}"
    else:
        yield words["todo"]
    yield from ("", words["timeline"], "", words["head"], "|---|---|---|")
    for event in events:
        line = report._event(event, language)
        cells = (f"{report._at(event.time):%m-%d %H:%M:%S}", KINDS[event.kind].to(language), line.words)
        yield "| " + " | ".join(_cell(cell) for cell in cells) + " |"
    for section in ("causes", "detection", "actions"):
        body = words["todo"]
        if section == "causes":
            verdicts = [
                sentence(event.words.to(language), language)
                for event in events
                if event.kind is EventKind.VERDICT
            ]
            body = "\n".join(f"- {_cell(verdict)}" for verdict in verdicts) or body
        yield from ("", words[section], "", body)


def _cell(words: str) -> str:
    """Words as text in a table of Markdown: nothing in them is markup."""
    escaped = "".join(f"\\{letter}" if letter in "\\`*_{}[]<>#|~!" else letter for letter in words)
    return " ".join(escaped.split())
