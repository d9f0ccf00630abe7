"""What holds of every snapshot: every cause of the catalogue in its own case, and healthy hosts.

The same facts in another order are the same diagnosis, and a healthy fact that has nothing to do with the trouble
changes no cause. Every unit case of every judge is such a host: a few are drawn each time, all of them with
``--hypothesis-profile=long``."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import diagnose
from ops.facts.certificates import Certificates, Lineages, PemFile
from ops.facts.gunicorn import Gunicorn, ProgressRecord
from ops.facts.host import Listener, Processes
from ops.facts.logs import Log, Logs
from ops.facts.machine import Footprint, Machine
from ops.facts.nginx import Directive, NginxConfig
from ops.facts.probes import Activity, WorkerActivity
from ops.facts.safeguards import Backup, Backups, CronEntry, Schedule
from ops.facts.snapshot import Snapshot
from ops.facts.target import Target
from ops.interpret.gunicorn import is_gunicorn
from tests.unit.diagnosis.checks.cases import Case
from tests.unit.made_snapshot import DAY, HEALTHY, NOW, but, certificate, directives, entry, lineage, process

MODULES = sorted(
    path.stem for path in (Path(__file__).parent / "checks").glob("test_*.py") if "CASES:" in path.read_text()
)


@cache
def cases() -> tuple[Case, ...]:
    """Every case of every judge."""
    found = (importlib.import_module(f"tests.unit.checks.{name}").CASES for name in MODULES)
    return tuple({id(case): case for module in found for case in module}.values())


def causes(snapshot: Snapshot) -> list[tuple[str, str]]:
    """Code and severity of every cause, in order."""
    return [(cause.code, cause.severity) for cause in diagnose(snapshot, CHECKS).causes]


@st.composite
def hosts(draw: st.DrawFn) -> Snapshot:
    """A host from the cases, or a healthy one."""
    number = draw(st.integers(-1, len(cases()) - 1))
    return HEALTHY if number < 0 else cases()[number].snapshot


# --- the same facts in another order ---


Shuffle = Callable[[Any], Any]


def mixed(shuffler: random.Random) -> Shuffle:
    """A function that puts a tuple or a dictionary into another order."""

    def mix(items: Any) -> Any:
        listed = list(items.items() if isinstance(items, dict) else items)
        shuffler.shuffle(listed)
        return dict(listed) if isinstance(items, dict) else tuple(listed)

    return mix


# By section: what in it has no order of its own. (nginx's server blocks have, the first is the default, and backups,
# which stand by age.)
UNORDERED: dict[str, tuple[str, ...]] = {
    "processes": ("processes", "listeners"),
    "host": ("addresses",),
    "activity": ("workers", "progress", "deadlocked"),
    "gunicorn": ("progress",),
    "certificates": ("nearby",),
    "lineages": ("lineages", "deploy_hooks"),
    "schedule": ("cron", "timers", "services"),
    "rotation": ("files", "logs", "unread"),
    "machine": ("file_systems", "memory_groups", "cpu_groups", "open_files"),
    "logs": ("nginx_errors",),
    "environment": ("packages",),
    "footprint": ("private",),
    "upstreams": ("answers",),
}


def in_another_order(snapshot: Snapshot, mix: Shuffle) -> Snapshot:
    """Every list of the snapshot that has no order of its own, mixed; log entries of one second among themselves."""
    changes: dict[str, Any] = {}
    for section, names in UNORDERED.items():
        facts = getattr(snapshot, section)
        if hasattr(facts, names[0]):
            there = {name: getattr(facts, name) for name in names}
            changes[section] = msgspec.structs.replace(
                facts, **{n: mix(v) for n, v in there.items() if isinstance(v, tuple | dict)}
            )
    if isinstance(snapshot.open_logs, tuple):
        changes["open_logs"] = mix(snapshot.open_logs)
    return msgspec.structs.replace(snapshot, **changes)


@given(hosts(), st.randoms(use_true_random=False))
def test_the_order_in_which_facts_were_met_changes_no_cause(host: Snapshot, shuffler: random.Random) -> None:
    assert causes(in_another_order(host, mixed(shuffler))) == causes(host)


@given(hosts())
def test_a_diagnosis_is_the_same_twice(host: Snapshot) -> None:
    first, second = diagnose(host, CHECKS), diagnose(host, CHECKS)
    assert (first.causes, first.symptoms, first.status) == (second.causes, second.symptoms, second.status)
    assert [r for r in first.checks if r.status == "error"] == []


# --- a healthy fact more ---

ELSEWHERE = "another.example"
OTHER_DIR = "/srv/another"


def _with_directives(snapshot: Snapshot, text: str) -> Snapshot | None:
    config = snapshot.nginx_config
    if not isinstance(config, NginxConfig):
        return None
    added = directives(text, "/etc/nginx/conf.d/zz-another.conf")
    tree: list[Directive] = [
        msgspec.structs.replace(d, block=(*(d.block or ()), *added)) if d.name == "http" else d
        for d in config.directives
    ]
    return but(snapshot, nginx_config__directives=tuple(tree))


def another_server_block(snapshot: Snapshot) -> Snapshot | None:
    """Another team's site, on the same ports under its own name, behind the same nginx."""
    return _with_directives(
        snapshot,
        f"""
        server {{
            listen 80; listen 443 ssl; server_name {ELSEWHERE};
            ssl_certificate {OTHER_DIR}/cert.pem; ssl_certificate_key {OTHER_DIR}/key.pem;
            access_log /var/log/nginx/access.log; error_log /var/log/nginx/gte-error.log warn;
            location / {{ root {OTHER_DIR}; }}
        }}""",
    )


def a_static_site_on_another_port(snapshot: Snapshot) -> Snapshot | None:
    """Files for the machine itself, served by the same nginx, where it runs."""
    table = snapshot.processes
    if not isinstance(table, Processes):
        return None
    doors = [item for item in table.listeners if item.address.endswith(":443")]
    if not doors or snapshot.processes is not HEALTHY.processes:
        return None
    door = msgspec.structs.replace(doors[0], address="127.0.0.1:9180")
    return _with_directives(
        but(snapshot, processes__listeners=(*table.listeners, door)),
        "server { listen 127.0.0.1:9180; server_name _; location / { root /srv; } }",
    )


def another_upstream(snapshot: Snapshot) -> Snapshot | None:
    """An upstream that nothing passes to."""
    return _with_directives(snapshot, "upstream unused_backend { server 127.0.0.1:9400; keepalive 8; }")


def another_worker(snapshot: Snapshot) -> Snapshot | None:
    """One more worker of this service's gunicorn, which does what a healthy one does."""
    target, table = snapshot.target, snapshot.processes
    if not (isinstance(target, Target) and isinstance(table, Processes) and target.gunicorn_master):
        return None
    like = next(
        (
            p
            for p in table.processes
            if p.pid in target.gunicorn_workers and is_gunicorn(p) and p.state == "sleeping"
        ),
        None,
    )
    activity, own, footprint = snapshot.activity, snapshot.gunicorn, snapshot.footprint
    # Where workers hang, were not watched or are short of memory, one more is no unrelated fact.
    if (
        footprint is not HEALTHY.footprint
        or like is None
        or snapshot.backend is not HEALTHY.backend
        or not isinstance(activity, Activity)
    ):
        return None
    pid = 999
    worker = msgspec.structs.replace(like, pid=pid, start_ticks=1000 + pid)
    listeners = tuple(
        msgspec.structs.replace(item, pids=(*item.pids, pid)) if like.pid in item.pids else item
        for item in table.listeners
    )
    changes: dict[str, Any] = {
        "processes": Processes(processes=(*table.processes, worker), listeners=listeners),
        "target__gunicorn_workers": (*target.gunicorn_workers, pid),
        "activity__workers": (
            *activity.workers,
            WorkerActivity(pid=pid, state="sleeping", cpu=(4.0, 4.05), completed=(50, 52)),
        ),
    }
    if isinstance(own, Gunicorn) and isinstance(own.progress, tuple) and own.progress:
        record = ProgressRecord(
            pid=pid, start_ticks=1000 + pid, phase="ready", completed=50, last_completed=NOW - 2
        )
        changes["gunicorn__progress"] = (*own.progress, record)
    if isinstance(footprint, Footprint):
        # So small that it fits wherever the others do.
        changes["footprint__private"] = footprint.private | {pid: 0}
    return but(snapshot, **changes)


def another_process(snapshot: Snapshot) -> Snapshot | None:
    """Somebody else's Python service, with its own port."""
    table = snapshot.processes
    if not isinstance(table, Processes):
        return None
    other = process(5150, 1, "/usr/bin/python3", f"{OTHER_DIR}/server.py", cwd=OTHER_DIR, user="other")
    return but(
        snapshot,
        processes__processes=(*table.processes, other),
        processes__listeners=(
            *table.listeners,
            Listener(address="127.0.0.1:9500", pids=(5150,), queued=0),
            Listener(address="unix:/run/another.sock", pids=(5150,)),
        ),
    )


def another_certificate(snapshot: Snapshot) -> Snapshot | None:
    """certbot keeps one more, for another name, far from its end."""
    if not isinstance(snapshot.lineages, Lineages):
        return None
    live = f"/etc/letsencrypt/live/{ELSEWHERE}"
    mine = lineage()
    assert isinstance(mine.certificate, PemFile)
    other = certificate(
        subject=f"CN={ELSEWHERE}", names=(ELSEWHERE,), fingerprint="9" * 64, public_key="8" * 64, serial="77"
    )
    kept = lineage(
        name=ELSEWHERE,
        live=live,
        certificate=msgspec.structs.replace(
            mine.certificate, path=f"{live}/fullchain.pem", resolved=f"{live}/1.pem", certificates=(other,)
        ),
        key=msgspec.structs.replace(
            mine.key, path=f"{live}/privkey.pem", resolved=f"{live}/1.key", public_key="8" * 64
        ),
        renewal=msgspec.structs.replace(mine.renewal, path=f"/etc/letsencrypt/renewal/{ELSEWHERE}.conf"),
    )
    return but(snapshot, lineages__lineages=(*snapshot.lineages.lineages, kept))


def an_authority_beside_the_certificate(snapshot: Snapshot) -> Snapshot | None:
    """A root of somebody else's in the same directory."""
    if not isinstance(snapshot.certificates, Certificates):
        return None
    root = certificate(
        subject="CN=Another Root",
        issuer="CN=Another Root",
        names=(),
        is_authority=True,
        self_signed=True,
        not_after=NOW + 3000 * DAY,
        fingerprint="7" * 64,
        public_key="6" * 64,
    )
    file = PemFile(path="/etc/ssl/another.pem", resolved="/etc/ssl/another.pem", certificates=(root,))
    return but(snapshot, certificates__nearby=(*snapshot.certificates.nearby, file))


def a_word_in_the_logs(snapshot: Snapshot) -> Snapshot | None:
    """Lines that every healthy log has, at the window's beginning."""
    logs = snapshot.logs
    if not isinstance(logs, Logs):
        return None
    word = entry("Handling signal: usr1", ago=899.0, level="info", pid=900)
    notice = entry("signal process started", ago=899.0, level="notice", pid=700)

    def with_it(log: Any, said: Any) -> Any:
        return msgspec.structs.replace(log, entries=(said, *log.entries)) if isinstance(log, Log) else log

    return but(
        snapshot,
        logs__gunicorn_error=with_it(logs.gunicorn_error, word),
        logs__nginx_errors={path: with_it(log, notice) for path, log in logs.nginx_errors.items()},
    )


def another_cron_entry(snapshot: Snapshot) -> Snapshot | None:
    """Something that runs at night."""
    if not isinstance(snapshot.schedule, Schedule):
        return None
    job = CronEntry(
        file="/etc/cron.d/other", line=1, when="3 3 * * *", user="root", command="/usr/bin/updatedb"
    )
    return but(snapshot, schedule__cron=(*snapshot.schedule.cron, job))


def another_backup(snapshot: Snapshot) -> Snapshot | None:
    """An older one beside those there are."""
    kept = snapshot.backups
    if not isinstance(kept, Backups) or not kept.backups:
        return None
    older = min(b.created_at for b in kept.backups) - DAY
    backup = Backup(
        path=f"{kept.directory}/older.tar.zst", created_at=older, size=20_000, is_own=True, verified=True
    )
    return but(snapshot, backups__backups=(*kept.backups, backup))


def another_file_system(snapshot: Snapshot) -> Snapshot | None:
    """A roomy disk."""
    if not isinstance(snapshot.machine, Machine) or not snapshot.machine.file_systems:
        return None
    assert isinstance(HEALTHY.machine, Machine)
    roomy = msgspec.structs.replace(HEALTHY.machine.file_systems[0], mount="/srv", places=("/srv",))
    return but(snapshot, machine__file_systems=(*snapshot.machine.file_systems, roomy))


ADDITIONS = (
    another_server_block,
    a_static_site_on_another_port,
    another_upstream,
    another_worker,
    another_process,
    another_certificate,
    an_authority_beside_the_certificate,
    a_word_in_the_logs,
    another_cron_entry,
    another_backup,
    another_file_system,
)


@pytest.mark.parametrize("add", ADDITIONS, ids=lambda add: add.__name__)
def test_a_healthy_host_stays_healthy_with_one_thing_more(add: Callable[[Snapshot], Snapshot | None]) -> None:
    more = add(HEALTHY)
    assert more is not None
    assert more != HEALTHY
    assert causes(more) == []


@given(hosts(), st.sets(st.sampled_from(ADDITIONS), min_size=1, max_size=len(ADDITIONS)))
def test_unrelated_healthy_facts_change_no_cause(
    host: Snapshot, additions: set[Callable[[Snapshot], Snapshot | None]]
) -> None:
    more = host
    for add in sorted(additions, key=lambda add: add.__name__):
        more = add(more) or more
    assert causes(more) == causes(host)
