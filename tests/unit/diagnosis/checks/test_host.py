"""The machine the service runs on."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import diagnose
from ops.facts.base import NotSeen
from ops.facts.machine import Clock, CpuGroup, CpuTime, FileSystem, Memory, MemoryGroup, OpenFiles
from ops.facts.snapshot import Snapshot
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.made_snapshot import (
    GIB,
    GUNICORN_ERROR_LOG,
    HEALTHY,
    MACHINE,
    NGINX_WORKER,
    PREDICT,
    TARGET,
    but,
    directives,
    entry,
    exchange,
    gunicorn_log,
    nginx_config,
    nginx_logs,
    page,
)

ROOT, RUN = MACHINE.file_systems
REFUSED_BODY = (
    '*3 pwrite() "/var/lib/nginx/body/0000000001" failed (28: No space left on device), client: 203.0.113.9'
)
EXHAUSTED = entry("512 worker_connections are not enough", level="alert")
LATE = "Sun, 22 Nov 2026 01:05:00 GMT"  # five minutes after the snapshot's now
NOW_WRITTEN = "Sun, 22 Nov 2026 01:00:01 GMT"


def left(share: float, inodes: float = 0.9, **more: Any) -> FileSystem:
    return msgspec.structs.replace(
        ROOT, free=int(share * ROOT.total), inodes_free=int(inodes * ROOT.inodes), **more
    )


def on(*file_systems: FileSystem, **changes: Any) -> Snapshot:
    return but(machine__file_systems=(*file_systems, RUN), **changes)


def files(soft: int, used: int | None = 14, **changes: Any) -> Snapshot:
    return but(
        machine__open_files=(OpenFiles(pid=NGINX_WORKER, process="nginx", soft=soft, used=used),), **changes
    )


def dated(date: str, address: str = "198.51.100.7:443", **headers: str) -> Snapshot:
    """The front door is at ``address`` and its answers carry ``date``."""
    answer = exchange(200, "{}", address=address)
    extra = (("Date", date), *headers.items())
    dressed = msgspec.structs.replace(answer, headers=(*answer.headers, *extra))
    silent = NotSeen(reason="-")
    return but(front__plain=silent, front__health=dressed, front__predict=silent)


CASES: list[Case] = [
    fires(
        "HST001",
        "under 2 % are left",
        on(left(0.01, consumer="/var/log/nginx/gte-access.log", consumer_bytes=30 * GIB, consumer_entries=1)),
        "409.6 MiB (1.0%)",
        "30.0 GiB in 1 entries",
        severity="fail",
        facts={
            "mount": "/",
            "free": "409.6 MiB (1.0%)",
            "consumer": "/var/log/nginx/gte-access.log (30.0 GiB)",
        },
    ),
    fires("HST001", "under 10 %: a warning", on(left(0.09)), severity="warn"),
    fires("HST001", "inodes", on(left(0.5, inodes=0.01)), "26000 inodes (1.0%)", severity="fail"),
    fires(
        "HST001",
        "nginx could not write a body, and there is room again",
        but(logs__nginx_errors=nginx_logs(entry(REFUSED_BODY, level="crit"))),
        "No space left on device",
        severity="fail",
        facts={"mount": "/", "free": "25.0 GiB (62.5%)"},
    ),
    fires(
        "HST001",
        "the service could not",
        but(
            logs__gunicorn_error=gunicorn_log(entry("OSError: [Errno 28] No space left on device: '/run/x'"))
        ),
        GUNICORN_ERROR_LOG,
        facts={"mount": "/run"},
    ),
    quiet("HST001", "a tenth is left", on(left(0.11))),
    quiet(
        "HST001",
        "a file system without a fixed number of inodes",
        on(msgspec.structs.replace(ROOT, inodes=0, inodes_free=0)),
    ),
    fires(
        "HST002",
        "under 10 % are available",
        but(machine__memory=Memory(total=8 * GIB, available=GIB // 2)),
        "MemAvailable 512.0 MiB of 8.0 GiB (6.2%)",
        severity="warn",
        facts={"available": "512.0 MiB"},
    ),
    fires(
        "HST002",
        "pages go to and from swap",
        but(machine__memory=Memory(total=8 * GIB, available=2 * GIB, swapped_pages_per_second=5000.0)),
        "5000 pages a second",
    ),
    fires(
        "HST002",
        "the service's own limit is near",
        but(
            machine__memory_groups=(MemoryGroup(path="/sys/fs/cgroup/gte", limit=GIB, used=GIB - GIB // 20),)
        ),
        "/sys/fs/cgroup/gte",
        "95%",
    ),
    quiet("HST002", "a few pages come back from swap", but(machine__memory__swapped_pages_per_second=40.0)),
    quiet(
        "HST002",
        "the limit is far",
        but(machine__memory_groups=(MemoryGroup(path="/x", limit=GIB, used=GIB // 2),)),
    ),
    quiet("HST002", "memory is free", HEALTHY),
    fires(
        "HST003",
        "the daemon measured it",
        but(machine__clocks=(Clock(source="chronyc tracking", offset=-300.5, synchronised=False),)),
        "300.5 s fast of NTP time",
        "Not synchronised",
        severity="warn",
        facts={"offset": "+5m"},
    ),
    fires(
        "HST003",
        "what the daemon would add is what is missing",
        but(machine__clocks=(Clock(source="timedatectl timesync-status", offset=90.0),)),
        "90.0 s slow of NTP time",
        facts={"offset": "-90s"},
    ),
    fires("HST003", "another machine's answers say so", dated(LATE), LATE, facts={"offset": "-5m"}),
    quiet(
        "HST003",
        "a daemon that is not synchronised yet, and right",
        but(machine__clocks=(Clock(source="chronyc tracking", offset=0.3, synchronised=False),)),
    ),
    quiet("HST003", "another machine agrees", dated(NOW_WRITTEN)),
    quiet("HST003", "the Date of a server on this host proves nothing", dated(LATE, "127.0.0.1:443")),
    quiet("HST003", "a cache's answer is as old as it is", dated(LATE, Age="600")),
    quiet("HST003", "what is no date tells nothing", dated("yesterday")),
    quiet("HST003", "no daemon runs, and nobody else was asked", HEALTHY),
    fires(
        "HST004",
        "the limit is under 1024",
        files(512),
        "Max open files 512, in use 14",
        severity="warn",
        facts={"process": f"nginx ({NGINX_WORKER})", "limit": "512", "used": "14"},
    ),
    fires("HST004", "over 80 % are used", files(2000, 1700), facts={"limit": "2000", "used": "1700"}),
    fires("HST004", "how many are used may not be seen", files(512, None), facts={"used": "?"}),
    quiet("HST004", "1024 is enough where few are used", files(1024, 20)),
    quiet("HST004", "80 % and no more", files(2000, 1600)),
    fires(
        "HST005",
        "a quota stops the service",
        but(machine__cpu_groups=(CpuGroup(path="/sys/fs/cgroup/gte", periods=8, throttled=6, seconds=0.5),)),
        "nr_throttled +6",
        severity="warn",
        facts={"share": "75%"},
    ),
    fires(
        "HST005",
        "the hypervisor takes the time",
        but(machine__cpu=CpuTime(ticks=200, stolen=80)),
        facts={"share": "40%"},
    ),
    quiet(
        "HST005",
        "a quota met once",
        but(machine__cpu_groups=(CpuGroup(path="/x", periods=3, throttled=1, seconds=0.01),)),
    ),
    quiet(
        "HST005",
        "a quota met now and then",
        but(machine__cpu_groups=(CpuGroup(path="/x", periods=50, throttled=5, seconds=0.1),)),
    ),
    quiet("HST005", "a noisy neighbour for a moment", but(machine__cpu=CpuTime(ticks=40, stolen=10))),
    quiet("HST005", "nothing is taken", HEALTHY),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


@pytest.mark.parametrize(
    ("machine", "code"),
    [(on(left(0.01)), "HST001"), (files(512), "HST004")],
    ids=["full disk", "few descriptors"],
)
def test_what_nginx_lacks_because_the_machine_lacks_it_is_the_machines(machine: Snapshot, code: str) -> None:
    snapshot = but(machine, logs__nginx_errors=nginx_logs(EXHAUSTED))
    causes = diagnose(snapshot, CHECKS).causes
    assert [cause.code for cause in causes] == [code]
    assert "NGX015" in causes[0].explains
    assert causes[0].severity == "fail"


def test_a_warning_of_what_may_come_explains_no_failure_of_now() -> None:
    failing = {"front__predict": page(502, "502 Bad Gateway", **PREDICT)}
    for snapshot in (on(left(0.09), **failing), files(512, **failing)):  # type: ignore[arg-type]
        diagnosis = diagnose(snapshot, CHECKS)
        assert diagnosis.status == "fail"
        assert [s.explained_by for s in diagnosis.symptoms] == [()]


def test_the_fullest_of_several_is_named_and_all_are_quoted() -> None:
    finding = found(on(left(0.08), left(0.01, mount="/var")))["HST001"]
    assert finding.facts["mount"] == "/var"
    assert [e.source for e in finding.evidence] == ["df /var", "df /"]


def short(process: str, **changes: Any) -> list[str]:
    """The steps of the fix where ``process`` is short of open files."""
    snapshot = but(machine__open_files=(OpenFiles(7, process, 64, 60),), **changes)
    return [str(step) for step in found(snapshot)["HST004"].fix or ()]


def test_only_what_is_short_of_open_files_gets_more() -> None:
    main = directives("user x;\nevents { }\n", "/etc/nginx/nginx.conf")
    edit, *load = short("nginx", nginx_config=nginx_config(directives=main))
    assert "worker_rlimit_nofile 65535;" in edit
    assert load == [TARGET.test_nginx, TARGET.reload_nginx]
    unit, restart = short("gunicorn", target__restart_command="systemctl restart gte-api")
    assert "systemctl edit gte-api" in unit
    assert restart == "systemctl restart gte-api"
    script, _ = short("gunicorn", target__restart_command="/srv/start", target__start_command="/srv/start")
    assert "ulimit -n 65535" in script


def test_a_clock_that_nothing_measures_is_not_called_right() -> None:
    from ops.diagnosis.checks.host import clock
    from ops.diagnosis.finding import NotJudgedError

    snapshot = but(machine__clocks=())
    with pytest.raises(NotJudgedError) as raised:
        list(clock.judge(**clock.inputs(snapshot)))
    assert raised.value.unseen.is_lasting
