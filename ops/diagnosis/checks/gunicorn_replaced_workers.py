"""Judge of the requests that wait while gunicorn replaces its workers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from ops.diagnosis.checks.gunicorn_configuration import place_of, with_number
from ops.diagnosis.checks.log_reading import entries_with
from ops.diagnosis.finding import Evidence, Finding, check, quote, seen
from ops.facts.base import NotSeen
from ops.facts.gunicorn import Gunicorn, GunicornConfig
from ops.facts.host import Host, Processes
from ops.facts.logs import Log, Logs
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Backend, Exchange, Front
from ops.facts.safeguards import Schedule
from ops.facts.target import Target
from ops.interpret.gunicorn import arguments, process_of, setting
from ops.interpret.traffic import all_traffic, general_path
from ops.text.language import Text, in_seconds

# gunicorn's words (workers/base.py), and uvicorn's in its worker (server.py).
_REPLACED = ("Autorestarting worker", "Maximum request limit of")
# Workers that gunicorn replaced within this many seconds are replaced at the present rate.
_RECENT = 300.0
# Fewer replacements are a reload's, or a coincidence.
_MANY = 3
# A worker that lives shorter than this on average is mostly loading, if loading takes seconds.
_SHORT_LIFE = 60.0
# At or above this share of their lives workers do little but load.
_LOADING_SHARE = 0.3
# Seconds that no light request takes once a worker has loaded.
_WAITED = 0.7


@check(
    "gunicorn.replaced",
    "GUN022",
    en="no request waits for a worker's replacement",
    zh="没有请求在等新的工作进程启动",
)
def replaced(
    logs: Logs,
    backend: Backend,
    target: Target,
    processes: Processes,
    gunicorn: Gunicorn | NotSeen,
    front: Front | NotSeen,
    schedule: Schedule | NotSeen,
    host: Host | NotSeen,
    taken_at: float,
) -> Iterator[Finding]:
    """GUN022: gunicorn replaced workers again and again within minutes (max_requests), all of them are young, and a
    probe waited, or loading is a large part of their lives (gunicorn's documentation, max_requests); or it is told to
    reload all the time (`scheduled_reloads`)."""
    log = seen(logs.gunicorn_error)
    master = process_of(processes, target.gunicorn_master)
    waits = _waits(logs, backend, front)
    if master is None:
        return
    if any(entries_with(log, "Handling signal: hup")):
        from ops.diagnosis.checks.gunicorn_reloads import scheduled_reloads

        has_systemd = isinstance(host, Host) and host.has_systemd
        told = scheduled_reloads(log, master, waits, schedule, target, taken_at, has_systemd=has_systemd)
        if told is not None:
            yield told
            return
    since = max(master.started, taken_at - _RECENT)
    ended = [entry for entry in entries_with(log, *_REPLACED) if entry.time >= int(since)]
    workers = [process for process in processes.processes if process.pid in target.gunicorn_workers]
    if len(ended) < _MANY or not workers:
        return
    life = (ended[-1].time - ended[0].time) * len(workers) / (len(ended) - 1)
    oldest = max(taken_at - process.started for process in workers)
    if life > _SHORT_LIFE or oldest > _SHORT_LIFE or taken_at - ended[-1].time > _SHORT_LIFE:
        return
    loads = _loads(log, since)
    mostly_loads = len(loads) >= _MANY and sum(loads) > _LOADING_SHARE * len(loads) * life
    if not waits and not mostly_loads:
        return
    config = gunicorn.config if isinstance(gunicorn, Gunicorn) else None
    place = place_of("max_requests", "max-requests", master, config or NotSeen(reason="-"))
    value = setting("max_requests", "max-requests", arguments(master), config)
    longest = max(exchange.elapsed for exchange in waits) if waits else max(loads)
    yield Finding(
        "GUN022",
        (
            quote(log.path, f"{len(ended)} x {ended[-1].text.partition(chr(10))[0]}"),
            quote(place, f"max_requests = {value}"),
            *(Evidence(f"pid {p.pid}", _started(taken_at - p.started)) for p in workers[:4]),
            *(
                quote(f"{wait.method} {wait.url}", f"{wait.failure or wait.status}, {wait.elapsed:.1f} s")
                for wait in waits[:1]
            ),
            *((_loading(loads, life),) if mostly_loads else ()),
        ),
        {
            "count": str(len(ended)),
            "setting": f"max_requests = {value}",
            "waited": in_seconds(f"{longest:.1f}"),
        },
        summary=None if waits else _mostly_loading(len(ended), f"max_requests = {value}", loads, life),
        fix=_fewer_replacements(config, target) if ":" in place else None,
    )


def _waits(logs: Logs, backend: Backend, front: Front | NotSeen) -> list[Exchange]:
    """The probes that waited: without an answer, light ones, and predictions that took longer than they usually do.
    One whose usual time is not known may take as long with workers that have loaded."""
    doors = (backend,) if isinstance(front, NotSeen) else (backend, front)
    asked = [(probe, 0.0) for probe in (backend.ready, *(door.health for door in doors))]
    known: list[float] = []
    for door in doors:
        if not isinstance(door.predict, Exchange):
            continue
        known += [usual] if (usual := _usual_seconds(logs, door.predict)) is not None else []
        asked.append((door.predict, min(known, default=math.inf)))
        # The front's prediction is the later one: what the first has loaded or cached does not slow it down.
        known += [door.predict.elapsed] if door.predict.status == 200 else []
    return [
        probe
        for probe, usual in asked
        if isinstance(probe, Exchange)
        and (probe.failure is ProbeFailure.TIMEOUT or probe.elapsed > usual + _WAITED)
    ]


def _usual_seconds(logs: Logs, probe: Exchange) -> float | None:
    """The longest median of the answers to users' requests like the probe, in all logs; None if no log has times."""
    path = general_path(urlsplit(probe.url).path)
    return max(
        (
            item.seconds.median
            for located in all_traffic(logs)
            for item in located.traffic.answers
            if (item.method, item.path) == (probe.method, path) and item.status < "400" and item.seconds
        ),
        default=None,
    )


def _loads(log: Log, since: float) -> list[float]:
    """How many seconds each worker took from its fork to uvicorn's word that the application has started."""
    booted = {
        int(match[1]): entry.time
        for entry in entries_with(log, "Booting worker with pid")
        if entry.time >= int(since) and (match := re.search(r"with pid: (\d+)", entry.text))
    }
    return [
        entry.time - booted[entry.pid]
        for entry in entries_with(log, "Application startup complete")
        if entry.pid in booted
    ]


def _loading(loads: list[float], life: float) -> Evidence:
    mean = sum(loads) / len(loads)
    return Evidence(
        "Booting worker, Application startup complete",
        Text(
            en=f"a worker takes {mean:.0f} s to load, and is replaced after {life:.0f} s on average",
            zh=f"一个工作进程加载要 {mean:.0f} 秒，平均 {life:.0f} 秒后就被更换",
        ),
    )


def _mostly_loading(count: int, setting: str, loads: list[float], life: float) -> Text:
    mean = sum(loads) / len(loads)
    return Text(
        en=f"gunicorn has replaced workers {count} times in the last minutes ({setting}): each takes {mean:.0f} s to"
        f" load and is replaced after {life:.0f} s on average, so users wait for loading ones.",
        zh=f"最近几分钟 gunicorn 更换了 {count} 次工作进程（{setting}）：每个加载要 {mean:.0f} 秒，"
        f"平均 {life:.0f} 秒后就被更换，用户会等到还在加载的进程。",
    )


def _started(seconds: float) -> Text:
    return Text(en=f"started {seconds:.1f} s ago", zh=f"{seconds:.1f} 秒前启动")


def _fewer_replacements(
    config: GunicornConfig | NotSeen | None, target: Target
) -> tuple[str | Text, ...] | None:
    """The steps, where a line of gunicorn's file has the setting; None for the catalogue's."""
    if not isinstance(config, GunicornConfig):
        return None
    return (
        *with_number(config, "max_requests", 1000),
        Text(
            en=f"In {config.path} set max_requests_jitter = 100 as well, so that the workers are not replaced at the"
            " same time; if loading is slow, preload_app = True lets a new worker begin with what the master has"
            " loaded",
            zh=f"在 {config.path} 里同时设 max_requests_jitter = 100，避免各工作进程同时重启；"
            "如果加载很慢，preload_app = True 可让新工作进程直接使用主进程已加载的内容",
        ),
        target.restart_command,
    )


CHECKS = (replaced,)
