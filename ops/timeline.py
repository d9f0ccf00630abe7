"""`gte-ops timeline`: what happened on this host in a span of time, from all that tells of it."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from ops.baselines.directory import baseline_directory
from ops.baselines.keep import changes_between
from ops.baselines.store import BaselineStore
from ops.collect.timeline import (
    boot_events,
    log_events,
    minute_traffic,
    package_events,
    repair_events,
    rotation_events,
    unit_events,
)
from ops.diagnosis.changes import change_evidence
from ops.diagnosis.model import Diagnosis
from ops.doctor import Examination, examine
from ops.facts.base import NotSeen
from ops.facts.certificates import Lineages
from ops.facts.changes import Change, PlaceKind
from ops.facts.machine import KernelLog
from ops.facts.safeguards import WatchdogFacts
from ops.facts.snapshot import Snapshot
from ops.facts.target import Target
from ops.facts.timeline import EventKind, Gap, MinuteTraffic, Timeline, TimelineEvent
from ops.interpret.timeline import merged
from ops.repair.audit_log import audit_log_path
from ops.settings import Settings, SettingsFile
from ops.supervision.sentences import ACTIONS
from ops.supervision.state import ActionKind
from ops.text.language import Text
from ops.text.sanitize import safe_line

# Units beside the service's own and nginx.
UNITS = ("nginx.service", "gte-ops-watchdog.service", "certbot.service")
# Places whose changes the package logs and certbot tell better.
_TOLD_ELSEWHERE = (PlaceKind.HOST_PACKAGE,)


def host_timeline(
    settings: Settings, file: SettingsFile, since: float, until: float | None, *, unprivileged: bool = False
) -> Timeline:
    """The timeline from ``since`` to ``until`` (Unix seconds; None: to now, with the doctor's verdict). Nothing on the
    host is changed."""
    examination = examine(
        settings,
        since=max(1.0, time.time() - since),
        budget=settings.doctor.budget,
        settings_file=file.config_argument,
        settings_path=file.path,
        unprivileged=unprivileged,
        keeps_baseline=False,
    )
    events = () if until is not None else tuple(_verdict(examination.diagnosis))
    return timeline_of(examination, settings, since, time.time() if until is None else until, events)


def timeline_of(
    examination: Examination,
    settings: Settings,
    since: float,
    until: float,
    more_events: Iterable[TimelineEvent] = (),
) -> Timeline:
    """The timeline of a host that was just examined, with ``more_events``."""
    snapshot = examination.snapshot
    # Clocks may have been changed since: the options mean the time that the host showed then.
    utc_offset = time.localtime(until).tm_gmtoff
    target = snapshot.target if isinstance(snapshot.target, Target) else None
    events: list[TimelineEvent] = [*more_events, *_of_snapshot(snapshot, utc_offset)]
    gaps: list[Gap] = []
    minutes: list[MinuteTraffic] = []
    logs: list[str] = []
    if target is not None:
        minutes, clock_events, gaps = _traffic(target, since, until)
        events += clock_events
        for path in target.nginx_error_logs:
            _add(log_events(path, "nginx", since, until), events, gaps)
        if target.gunicorn_error_log:
            _add(log_events(target.gunicorn_error_log, "gunicorn", since, until), events, gaps)
        own = (target.nginx_access_log, target.gunicorn_access_log, target.gunicorn_error_log)
        logs = [path for path in (*target.nginx_error_logs, *own) if path]
    events += unit_events(_units(snapshot), since, until)
    events += package_events(since, until)
    events += rotation_events(logs, since, until)
    events += boot_events(since, until)
    events += repair_events(audit_log_path(settings), since, until)
    events += _baselines(settings, utc_offset)
    return merged(events, minutes, since, until, utc_offset, gaps)


def _add(
    account: tuple[list[TimelineEvent], list[Gap]], events: list[TimelineEvent], gaps: list[Gap]
) -> None:
    events += account[0]
    gaps += account[1]


def _traffic(
    target: Target, since: float, until: float
) -> tuple[list[MinuteTraffic], list[TimelineEvent], list[Gap]]:
    """The requests at the front door; those of gunicorn if nginx logs none."""
    path = target.nginx_access_log or target.gunicorn_access_log
    if path is None:
        return [], [], [Gap(source="access log", since=since, until=until, reason="no access log is known")]
    return minute_traffic(path, since, until)


def _units(snapshot: Snapshot) -> tuple[str, ...]:
    if isinstance(snapshot.units, NotSeen):
        return ()
    service = snapshot.units.service
    own = (service if service.endswith(".service") else f"{service}.service",) if service else ()
    return (*own, *UNITS) if snapshot.units.units else ()


def _verdict(diagnosis: Diagnosis) -> Iterator[TimelineEvent]:
    cause = next(iter(diagnosis.causes), None)
    words = (
        Text(
            en=f"gte-ops doctor: {diagnosis.status.upper()}", zh=f"gte-ops doctor：{diagnosis.status.upper()}"
        )
        if cause is None
        else Text(
            en=f"gte-ops doctor: {cause.code} {cause.summary.en}",
            zh=f"gte-ops doctor：{cause.code} {cause.summary.zh}",
        )
    )
    yield TimelineEvent(
        time=diagnosis.started_at,
        kind=EventKind.VERDICT,
        source="gte-ops doctor",
        words=words,
        code=cause.code if cause else "",
    )


def _of_snapshot(snapshot: Snapshot, utc_offset: int) -> Iterator[TimelineEvent]:
    if not isinstance(snapshot.changes, NotSeen):
        for change in snapshot.changes.changes:
            yield from _change(change, utc_offset)
    if isinstance(snapshot.kernel, KernelLog) and not isinstance(snapshot.kernel.kills, NotSeen):
        for kill in snapshot.kernel.kills:
            yield TimelineEvent(
                time=kill.time,
                kind=EventKind.KILL,
                source="kernel",
                words=Text(en=safe_line(kill.text, 200), zh=safe_line(kill.text, 200)),
            )
    if isinstance(snapshot.watchdog, WatchdogFacts):
        for action in snapshot.watchdog.done:
            words = _action_words(action.rung)
            worker = f" (pid {action.pid})" if action.pid else ""
            yield TimelineEvent(
                time=action.time,
                kind=EventKind.WATCHDOG,
                source=snapshot.watchdog.path,
                words=Text(en=f"the watchdog {words.en}{worker}", zh=f"watchdog {words.zh}{worker}"),
            )
    if isinstance(snapshot.lineages, Lineages):
        for lineage in snapshot.lineages.lineages:
            if lineage.renewed is not None:
                yield TimelineEvent(
                    time=lineage.renewed,
                    kind=EventKind.CERTIFICATE,
                    source=lineage.live,
                    words=Text(
                        en=f"certbot renewed the certificate {lineage.name}",
                        zh=f"certbot 续期了证书 {lineage.name}",
                    ),
                )


def _action_words(rung: str) -> Text:
    try:
        return ACTIONS[ActionKind(rung)]
    except ValueError:
        return Text(en=safe_line(rung, 40), zh=safe_line(rung, 40))


def _change(change: Change, utc_offset: int) -> Iterator[TimelineEvent]:
    if change.time is None or change.is_harmless or change.place in _TOLD_ELSEWHERE:
        return
    piece = change_evidence(replace(change, time=None), NotSeen(reason=""), utc_offset)
    yield TimelineEvent(
        time=change.time,
        kind=EventKind.CHANGE,
        source=piece.source,
        words=Text(
            en=f"{piece.source}: {piece.detail.en.strip()}", zh=f"{piece.source}：{piece.detail.zh.strip()}"
        ),
    )


def _baselines(settings: Settings, utc_offset: int) -> Iterator[TimelineEvent]:
    """Marked deployments, recorded baselines, and what changed from each to the next."""
    directory = baseline_directory(settings)
    if not os.access(directory, os.R_OK):
        return
    store = BaselineStore(directory)
    if not store.may_read():
        return
    for mark in store.marks():
        by = f" ({mark.by})" if mark.by else ""
        words = safe_line(f"{mark.text}{by}")
        yield TimelineEvent(
            time=mark.time,
            kind=EventKind.DEPLOYMENT,
            source="gte-ops deploy mark",
            words=Text(en=f"deployment: {words}", zh=f"部署：{words}"),
        )
    states = list(reversed(store.all()))
    for state in states:
        by = safe_line(state.baseline.by, 40)
        yield TimelineEvent(
            time=state.baseline.taken_at,
            kind=EventKind.BASELINE,
            source=str(directory),
            words=Text(en=f"recorded as healthy by {by}", zh=f"由 {by} 记录为健康基线"),
        )
    for before, after in itertools.pairwise(states):
        for change in changes_between(before, after, settings):
            yield from _change(change, utc_offset)
