"""How workers end, by gunicorn's log, the kernel's and the watchdog's."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ops.collect.services.gunicorn import parse_config
from ops.facts.base import NotSeen
from ops.facts.gunicorn import InFlight, ProgressRecord
from ops.facts.logs import LogEntry
from ops.facts.machine import KernelKill, KernelLog, OomCounter
from ops.facts.probes import Repeats, WorkerActivity
from ops.facts.safeguards import CronEntry, Schedule, WatchdogAction, WatchdogFacts
from ops.facts.snapshot import Snapshot
from ops.interpret.schedule import Job, exact_period
from ops.text.language import Text
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.made_snapshot import (
    AT_BACKEND,
    GUNICORN_CONF,
    GUNICORN_MASTER,
    GUNICORN_PROCESSES,
    GUNICORN_WORKERS,
    HEALTHY,
    NGINX_PROCESSES,
    NOW,
    but,
    entry,
    exchange,
    gunicorn_config,
    gunicorn_log,
    processes,
    timed_out,
    unit,
    units,
    without_gunicorn,
)

KILLED = entry("Worker (pid:901) was sent SIGKILL! Perhaps out of memory?", ago=60)
CRASHED = entry("Worker (pid:901) was sent SIGSEGV!", ago=60, level="warning")
ABORTED = entry("Worker (pid:901) was sent SIGABRT!", ago=59, level="warning")
TIMED_OUT = entry("WORKER TIMEOUT (pid:901)", ago=61, level="critical")
STARVED = (
    "Memory cgroup out of memory: Killed process 901 (gunicorn) total-vm:221384kB, anon-rss:58216kB, "
    "file-rss:6556kB, shmem-rss:0kB, UID:0 pgtables:172kB oom_score_adj:0"
)
UNSEEN = NotSeen(reason="/dev/kmsg: Operation not permitted", needs_root=True)


def logged(*entries: LogEntry, **more: Any) -> Snapshot:
    return but(logs__gunicorn_error=gunicorn_log(*entries), **more)


def replacing(
    *,
    ago: tuple[float, ...] = (12.0, 8.0, 4.0, 1.0),
    elapsed: float = 1.1,
    age: float = 1.0,
    load: float | None = None,
) -> Snapshot:
    """gunicorn replaced workers so many seconds ago; the running ones are ``age`` old, and a probe took ``elapsed``.
    ``load``: the seconds that each new one took, by uvicorn's words."""
    ended = [entry("Autorestarting worker after current request.", ago=at, level="info") for at in ago]
    young = [
        msgspec.structs.replace(p, started=NOW - (3600 if p.pid == GUNICORN_MASTER else age))
        for p in GUNICORN_PROCESSES
    ]
    for number, at in enumerate(ago) if load is not None else ():
        pid = 7000 + number
        ended += [
            entry(f"Booting worker with pid: {pid}", ago=at, level="info", pid=pid),
            entry("Application startup complete.", ago=at - (load or 0.0), level="info", pid=pid),
        ]
    return logged(
        *ended,
        gunicorn__config=gunicorn_config(max_requests=3),
        processes=processes(NGINX_PROCESSES, young),
        backend__health=exchange(**AT_BACKEND, elapsed=elapsed),
    )


RELOADS = "kill -HUP $(cat /var/run/gte-gunicorn.pid)"


def reloading(
    command: str | None = RELOADS,
    *,
    ago: tuple[float, ...] = (125.0, 65.0, 5.0),
    elapsed: float = 0.1,
    when: str = "* * * * *",
    script: str = "",
    **more: Any,
) -> Snapshot:
    """The master was told to reload so many seconds ago; a crontab has ``command``, and a probe took ``elapsed``."""
    job = CronEntry(
        file="/etc/cron.d/shop", line=3, when=when, user="root", command=command or "true", script=script
    )
    return logged(
        *(entry("Handling signal: hup", ago=at, level="info", pid=GUNICORN_MASTER) for at in ago),
        schedule=Schedule(cron=(job,), timers=()),
        backend__health=exchange(**AT_BACKEND, elapsed=elapsed),
        **more,
    )


def starved(pid: int = 901, ago: float = 60.4) -> dict[str, Any]:
    """The kernel's log as Linux 6.18 wrote it for a process in a memory cgroup of 60 MB (recorded 2026-11-22)."""
    text = STARVED.replace("901", str(pid))
    return {"kernel": KernelLog(kills=(KernelKill(time=NOW - ago, pid=pid, text=text),))}


def acted(rung: str, pid: int | None = None, ago: float = 61) -> dict[str, Any]:
    done = (WatchdogAction(time=NOW - ago, rung=rung, pid=pid),)
    return {
        "watchdog": WatchdogFacts(path="x", last_round=NOW, gave_up=False, actions=1, done=done),
    }


def account(
    pid: int, *, held: float | None = None, last: float | None = 2.0, phase: str = "ready"
) -> ProgressRecord:
    """A worker's record: its oldest request began ``held`` seconds ago, its last one ended ``last`` seconds ago."""
    return ProgressRecord(
        pid=pid,
        start_ticks=1000 + pid,
        phase=phase,
        completed=0 if last is None else 50,
        last_completed=None if last is None else NOW - last,
        in_flight=() if held is None else (InFlight(path="/predict", since=NOW - held),),
    )


def accounts(*records: ProgressRecord, **more: Any) -> Snapshot:
    return but(activity__progress=records, **more)


def workers(
    *beaten: bool | None, records: tuple[ProgressRecord, ...] = (), ago: float = 900, **more: Any
) -> Snapshot:
    """Workers that started so long ago, and whether each has given a sign of life."""
    return but(
        activity__progress=records,
        activity__workers=tuple(
            WorkerActivity(pid=pid, state="sleeping", cpu=(1.0, 1.0), completed=None, has_beaten=has_beaten)
            for pid, has_beaten in zip(GUNICORN_WORKERS, beaten, strict=False)
        ),
        processes=processes(
            tuple(
                msgspec.structs.replace(p, started=NOW - ago) if p.pid in GUNICORN_WORKERS else p
                for p in GUNICORN_PROCESSES
            )
        ),
        **more,
    )


def probed(
    hanging: tuple[int, ...] = (901,),
    answered: tuple[float, ...] = (0.01,) * 6,
    unanswered: tuple[float, ...] = (3.0, 3.0),
    **more: Any,
) -> Snapshot:
    """Workers that keep no records, and what came of asking the health path again and again."""
    return but(
        activity__progress=(),
        activity__hanging=hanging,
        backend__repeats=Repeats(answered, unanswered),
        **more,
    )


LOADING = exchange(503, '{"ready": false, "reason": "loading"}', **AT_BACKEND)

CASES: list[Case] = [
    fires(
        "GUN015",
        "one holds a request for ten minutes, another completes",
        accounts(account(901, held=600, last=600), account(902)),
        "progress record 901",
        "completed a request",
        severity="fail",
        facts={"pid": "901", "age": "10m"},
    ),
    fires("GUN015", "it never completed any", accounts(account(901, held=600, last=None), account(902))),
    quiet(
        "GUN015",
        "all are stuck: that is GUN007",
        accounts(account(901, held=600, last=600), account(902, held=600, last=600)),
    ),
    quiet(
        "GUN015", "the request is slow, and may be", accounts(account(901, held=100, last=600), account(902))
    ),
    quiet("GUN015", "its other requests complete", accounts(account(901, held=600, last=5), account(902))),
    quiet(
        "GUN015",
        "nobody else completes either",
        accounts(account(901, held=600, last=600), account(902, last=900)),
    ),
    quiet("GUN015", "all is well", HEALTHY),
    fires(
        "GUN015",
        "without records, a share of probes hangs in a worker that can never go on",
        probed(),
        "2 of 8 had no answer in 3.0 s",
        "its threads wait for each other",
        severity="fail",
        facts={"pid": "901", "age": "3.0 s"},
    ),
    quiet("GUN015", "nothing proves that the share is more than slow", probed(hanging=())),
    quiet("GUN015", "nobody else answers: that is GUN007", probed(answered=())),
    quiet("GUN015", "the others are slow too", probed(answered=(3.1,) * 6)),
    quiet("GUN015", "every probe was answered", probed(unanswered=())),
    quiet("GUN007", "a share of the probes is answered", probed(backend__predict=timed_out(**AT_BACKEND))),
    quiet(
        "GUN007",
        "a share of the probes is answered, and the others may be slow",
        probed(hanging=(), backend__predict=timed_out(**AT_BACKEND)),
    ),
    fires(
        "GUN017",
        "its record says that it boots, another's that it is ready",
        workers(True, True, records=(account(901, last=None, phase="booting"), account(902))),
        "phase booting",
        severity="fail",
        facts={"pid": "901", "age": "15m"},
    ),
    fires(
        "GUN017",
        "the only one still loads its model",
        workers(True, records=(account(901, last=9, phase="booting"),), backend__ready=LOADING),
    ),
    fires("GUN017", "without records, it never gave a sign of life", workers(False, None), "no sign of life"),
    quiet("GUN017", "it may take that long", workers(False, False, ago=200)),
    quiet("GUN017", "it has given a sign of life", workers(True, True)),
    quiet("GUN017", "nothing is known of it", workers(None, None)),
    quiet(
        "GUN017",
        "an application that never says that it is ready",
        workers(True, True, records=(account(901, phase="booting"), account(902, phase="booting"))),
    ),
    quiet(
        "GUN007",
        "nobody has got to its loop: that is a boot",
        workers(
            False,
            False,
            ago=30,
            backend__health=timed_out(**AT_BACKEND),
            backend__predict=timed_out(**AT_BACKEND),
        ),
    ),
    quiet(
        "GUN007",
        "one worker of two hangs: that is GUN015",
        accounts(
            account(901, held=600, last=600),
            account(902),
            backend__health=timed_out(**AT_BACKEND),
            backend__predict=timed_out(**AT_BACKEND),
        ),
    ),
    fires(
        "GUN005",
        "the kernel says that it killed this worker",
        logged(KILLED, **starved()),
        "Memory cgroup out of memory: Killed process 901",
        severity="fail",
        facts={"pid": "901"},
    ),
    fires(
        "GUN005",
        "the service's own cgroup counts a kill, and the kernel's log may not be read",
        logged(
            KILLED,
            kernel=KernelLog(kills=UNSEEN, group=OomCounter(path="/sys/x/memory.events", oom_kills=2)),
        ),
        "oom_kill 2",
    ),
    quiet("GUN005", "gunicorn's hint alone proves nothing", logged(KILLED)),
    quiet("GUN005", "the kernel killed another process", logged(KILLED, **starved(pid=77))),
    quiet("GUN005", "the kernel killed one of that number long before", logged(KILLED, **starved(ago=600))),
    quiet("GUN005", "nobody of ours died", logged(**starved())),
    quiet(
        "GUN005",
        "the cgroup counts, but the kernel's log, which names no such process, was read",
        logged(KILLED, kernel=KernelLog(kills=(), group=OomCounter(path="x", oom_kills=2))),
    ),
    fires(
        "GUN014",
        "a SIGKILL that nobody owns to",
        logged(KILLED),
        "SIGKILL",
        "no out-of-memory kill",
        severity="fail",
        facts={"pid": "901", "signal": "SIGKILL"},
    ),
    fires("GUN014", "the kernel's log was not seen", logged(KILLED, kernel=UNSEEN)),
    fires("GUN014", "a crash", logged(CRASHED), facts={"pid": "901", "signal": "SIGSEGV"}),
    fires("GUN014", "an abort without a timeout", logged(ABORTED), facts={"pid": "901", "signal": "SIGABRT"}),
    fires(
        "GUN014",
        "an old gunicorn tells the signal's number",
        logged(entry("Worker with pid 901 was terminated due to signal 11")),
        facts={"pid": "901", "signal": "SIGSEGV"},
    ),
    fires("GUN014", "the watchdog killed another one", logged(KILLED, **acted("kill_worker", 902))),
    quiet("GUN014", "it took too long: that is GUN004", logged(TIMED_OUT, ABORTED, KILLED)),
    quiet("GUN014", "for want of memory: that is GUN005", logged(KILLED, **starved())),
    quiet("GUN014", "the watchdog killed it", logged(KILLED, **acted("kill_worker", 901))),
    quiet("GUN014", "the watchdog restarted the service", logged(KILLED, **acted("restart"))),
    quiet(
        "GUN014",
        "the master was ending",
        logged(entry("Handling signal: term", ago=90, level="info"), KILLED),
    ),
    quiet("GUN014", "it was asked to end", logged(entry("Worker (pid:901) was sent SIGTERM!", level="info"))),
    quiet("GUN014", "it left by itself", logged(entry("Worker exiting (pid: 901)", level="info"))),
    fires(
        "GUN022",
        "a request waits while workers are replaced",
        replacing(),
        "Autorestarting",
        "max_requests = 3",
    ),
    quiet("GUN022", "nobody waits", replacing(elapsed=0.1)),
    fires(
        "GUN022",
        "a crontab's line reloads it every minute",
        reloading(),
        "3 x Handling signal: hup",
        "/etc/cron.d/shop:3",
        severity="warn",
    ),
    fires("GUN022", "and a request waits", reloading(elapsed=2.0), "/etc/cron.d/shop:3", severity="fail"),
    fires("GUN022", "it waits, and nobody knows what reloads", reloading(None, elapsed=2.0), severity="fail"),
    fires("GUN022", "by its unit", reloading("systemctl reload gunicorn"), severity="warn"),
    quiet("GUN022", "reloads, and neither a schedule nor a wait", reloading(None)),
    quiet("GUN022", "the schedule reloads another one", reloading("kill -HUP $(cat /run/other.pid)")),
    quiet("GUN022", "the schedule does so once a night", reloading(when="0 3 * * *")),
    quiet(
        "GUN022",
        "a renewal reloads it once a night",
        reloading('certbot -q renew --deploy-hook "systemctl reload nginx gunicorn"', when="0 3 * * *"),
    ),
    quiet("GUN022", "every five minutes is not every minute", reloading(when="*/5 * * * *")),
    quiet("GUN022", "every minute is not every ten seconds", reloading(ago=(25.0, 15.0, 5.0))),
    fires(
        "GUN022",
        "a loop that a crontab's line starts",
        reloading(f"while sleep 10; do {RELOADS}; done", ago=(25.0, 15.0, 5.0)),
        "/etc/cron.d/shop:3",
    ),
    quiet("GUN022", "it reloads another unit", reloading("systemctl reload gunicorn-api")),
    quiet(
        "GUN022",
        "its name in a path",
        reloading("/opt/gunicorn/renew && systemctl reload nginx"),
    ),
    quiet("GUN022", "a pidfile beside gunicorn's", reloading("kill -HUP $(cat /run/gunicorn-other.pid)")),
    quiet("GUN022", "its logs are opened anew", reloading("kill -USR1 $(cat /var/run/gte-gunicorn.pid)")),
    quiet("GUN022", "a person has reloaded twice", reloading(ago=(65.0, 5.0))),
    quiet("GUN022", "the reloads are over", reloading(ago=(290.0, 285.0, 280.0), elapsed=2.0)),
    fires("GUN022", "the workers mostly load", replacing(elapsed=0.1, load=3.0), "takes 3 s to load"),
    quiet("GUN022", "loading is short beside serving", replacing(elapsed=0.1, load=0.5)),
    quiet("GUN022", "they serve for minutes", replacing(ago=(280.0, 150.0, 5.0))),
    quiet("GUN022", "it was a while ago", replacing(ago=(250.0, 245.0, 240.0))),
    quiet("GUN022", "the workers that wait are old", replacing(age=900.0)),
    quiet(
        "GUN022",
        "a prediction takes that long by itself",
        msgspec.structs.replace(
            replacing(elapsed=0.05),
            backend=msgspec.structs.replace(HEALTHY.backend, predict=exchange(**AT_BACKEND, elapsed=1.2)),
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("workers = 2\nmax_requests = 50\n", f"sed -i --follow-symlinks '2s#=.*#= 1000#' {GUNICORN_CONF}"),
        ("max_requests: int = 50  # leaks\r\n", f"sed -i --follow-symlinks '1s#=.*#= 1000#' {GUNICORN_CONF}"),
        *(
            (text, f"{GUNICORN_CONF}:{line} computes max_requests: edit")
            for text, line in (
                ("max_requests = (\n    50\n)\n", 1),
                ('import os\nif os.environ.get("ENV") == "prod": max_requests = 50\n', 2),
                ("if True:\n    max_requests = 50\n", 2),
                ('import os\nmax_requests = int(\n    os.environ.get("MAX", "50")\n)\n', 2),
                ("max_requests = 50; timeout = 3\n", 1),
                ("max_requests = 50 \\\n    + 1\n", 1),
                ("max_requests = limit = 50\n", 1),
                ("try: max_requests = 50\nfinally: pass\n", 1),
            )
        ),
    ],
)
def test_only_a_plain_line_is_edited(text: str, step: str) -> None:
    at = msgspec.structs.replace(HEALTHY.gunicorn, config=parse_config(GUNICORN_CONF, text.encode()))
    first = (found(msgspec.structs.replace(replacing(), gunicorn=at))["GUN022"].fix or ())[0]
    assert (first if isinstance(first, str) else first.en).startswith(step)


@pytest.mark.parametrize(
    ("command", "step"),
    [
        (RELOADS, "sed -i --follow-symlinks '3s/^/#/' /etc/cron.d/shop"),
        (
            f"test -f /run/x && {RELOADS} >/dev/null 2>&1",
            "sed -i --follow-symlinks '3s/^/#/' /etc/cron.d/shop",
        ),
        ("sudo systemctl reload gunicorn", "sed -i --follow-symlinks '3s/^/#/' /etc/cron.d/shop"),
        ("systemctl reload nginx gunicorn", "Take the reload out"),
        (f"/opt/backup && {RELOADS}", "Take the reload out"),
        (f"certbot renew; {RELOADS}", "Take the reload out"),
    ],
)
def test_a_job_that_does_more_than_reload_is_left_in(command: str, step: str) -> None:
    first = (found(reloading(command))["GUN022"].fix or ())[0]
    assert (first if isinstance(first, str) else first.en).startswith(step)


@pytest.mark.parametrize(
    ("when", "period"),
    [
        ("* * * * *", 60.0),
        ("*/2 * * * *", 120.0),
        ("0-59/5 * * * *", 300.0),
        ("*/0 * * * *", None),
        ("* 3 * * *", None),
        ("5 * * * *", None),
        ("OnCalendar=minutely", 60.0),
        ("OnCalendar=*:0/2", 120.0),
        ("OnCalendar=*-*-* *:*:00", 60.0),
        ("OnCalendar=*:*:0/30", 30.0),
        ("OnCalendar=daily", None),
        ("OnBootSec=10; OnUnitActiveSec=90s", 90.0),
        ("OnUnitActiveSec=2min", 120.0),
        ("at boot", None),
    ],
)
def test_how_often_a_job_runs(when: str, period: float | None) -> None:
    assert exact_period(Job("x", when, "true")) == period


def test_one_starved_and_one_killed_are_two_causes() -> None:
    other = entry("Worker (pid:902) was sent SIGKILL! Perhaps out of memory?", ago=30)
    findings = found(logged(KILLED, other, **starved()))
    assert (findings["GUN005"].facts["pid"], findings["GUN014"].facts["pid"]) == ("901", "902")


def test_an_incident_that_a_restart_has_ended_is_a_warning() -> None:
    killed = entry("Worker (pid:901) was sent SIGKILL! Perhaps out of memory?", ago=600)
    now = but(logs__gunicorn_error=gunicorn_log(killed))
    assert found(now)["GUN014"].severity is None
    masters = tuple(
        msgspec.structs.replace(p, started=NOW - 300) if p.pid == GUNICORN_MASTER else p
        for p in now.processes.processes
    )
    restarted = found(but(now, processes__processes=masters))["GUN014"]
    assert restarted.severity == "warn"
    assert restarted.explains == ()


@pytest.mark.parametrize(("writer", "severity"), [(GUNICORN_MASTER, None), (GUNICORN_MASTER - 100, "warn")])
def test_within_the_second_of_a_restart_the_master_that_logged_a_death_decides(
    writer: int, severity: str | None
) -> None:
    killed = entry("Worker (pid:901) was sent SIGKILL! Perhaps out of memory?", ago=300, pid=writer)
    now = but(logs__gunicorn_error=gunicorn_log(killed))
    masters = tuple(
        msgspec.structs.replace(p, started=NOW - 299.5) if p.pid == GUNICORN_MASTER else p
        for p in now.processes.processes
    )
    assert found(but(now, processes__processes=masters))["GUN014"].severity == severity


def test_systemd_s_word_of_a_kill_for_memory_names_the_limit() -> None:
    own = unit(active="failed", sub="failed", result="oom-kill", memory_max=512 << 20)
    finding = found(but(without_gunicorn(), units=units(own)))["GUN005"]
    assert "MemoryMax=512M" in finding.summary.en
    assert any(
        "MemoryMax=512M of gte-api.service" in step.en for step in finding.fix if isinstance(step, Text)
    )


@pytest.mark.parametrize(
    ("group", "is_its"),
    [
        ("/system.slice/gte-api.service", True),
        ("/lxc/web/system.slice/gte-api.service/worker", True),
        ("/system.slice/gte-api.service.d", False),
        ("/system.slice/mariadb.service", False),
        ("", False),
    ],
)
def test_a_kill_in_the_unit_s_control_group_is_the_service_s(group: str, is_its: bool) -> None:
    kill = KernelKill(time=NOW - 8, pid=727, text=STARVED.replace("901", "727"), group=group)
    own = unit(active="activating", sub="auto-restart", result="signal", memory_max=25 << 20)
    down = but(without_gunicorn(), units=units(own), kernel=KernelLog(kills=(kill,)))
    finding = found(down).get("GUN005")
    assert (finding is not None) == is_its
    if finding is not None:
        assert finding.severity is None
        assert "MemoryMax=25M" in finding.summary.en


@pytest.mark.parametrize(("ago", "severity"), [((8,), None), ((4000,), "warn"), ((4000, 8), None)])
def test_a_kill_in_the_control_group_is_over_once_the_service_was_restarted(
    ago: tuple[float, ...], severity: str | None
) -> None:
    kills = tuple(
        KernelKill(time=NOW - seconds, pid=727, text=STARVED, group="/system.slice/gte-api.service")
        for seconds in ago
    )
    serving = but(units=units(unit(memory_max=60 << 20)), kernel=KernelLog(kills=kills))
    assert found(serving)["GUN005"].severity == severity


def test_a_kill_that_gunicorn_logged_is_told_once() -> None:
    own = unit(memory_max=60 << 20)
    kill = KernelKill(time=NOW - 60.4, pid=901, text=STARVED, group="/system.slice/gte-api.service")
    finding = found(logged(KILLED, units=units(own), kernel=KernelLog(kills=(kill,))))["GUN005"]
    assert finding.summary.en.startswith(
        "The kernel killed worker 901, because gte-api.service reached its limit"
    )


def test_the_kernel_s_word_comes_before_was_meant() -> None:
    killed = entry("Worker (pid:901) was sent SIGKILL! Perhaps out of memory?", ago=60)
    stop = entry("Handling signal: term", ago=70, level="info")
    kill = KernelKill(
        time=NOW - 60, pid=901, text="Memory cgroup out of memory: Killed process 901 (gunicorn)"
    )
    meant = but(logs__gunicorn_error=gunicorn_log(stop, killed))
    assert not {"GUN005", "GUN014"} & set(found(meant))
    assert "GUN005" in found(but(meant, kernel=KernelLog(kills=(kill,))))


def test_the_stop_of_an_earlier_master_explains_no_death_of_a_new_worker() -> None:
    killed = entry("Worker (pid:901) was sent SIGKILL! Perhaps out of memory?", ago=50)
    stop = entry("Handling signal: term", ago=70, level="info")
    before = but(logs__gunicorn_error=gunicorn_log(stop, killed))
    assert "GUN014" not in found(before)
    masters = tuple(
        msgspec.structs.replace(p, started=NOW - 65) if p.pid == GUNICORN_MASTER else p
        for p in before.processes.processes
    )
    assert "GUN014" in found(but(before, processes__processes=masters))


@pytest.mark.parametrize(
    ("line", "signal"), [(KILLED, "SIGKILL"), (CRASHED, "SIGSEGV"), (ABORTED, "SIGABRT")]
)
def test_the_fix_is_for_the_signal_that_ended_the_worker(line: LogEntry, signal: str) -> None:
    advice, _ = found(logged(line))["GUN014"].fix or ()
    signals = {"SIGKILL", "SIGSEGV", "SIGABRT"}
    assert {name for name in signals if name in str(advice)} == {signal}
