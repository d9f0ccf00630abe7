"""gunicorn: its master, its workers, its settings."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ops.collect.services.gunicorn import parse_config
from ops.diagnosis.checks.gunicorn_settings import KNOWN_SETTINGS, MEANT
from ops.facts.base import NotSeen
from ops.facts.gunicorn import Gunicorn, GunicornConfig, InFlight, ProgressRecord
from ops.facts.host import Listener, Process
from ops.facts.logs import LogEntry
from ops.facts.nginx import Pidfile
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Connection, WorkerActivity
from ops.facts.snapshot import Snapshot
from ops.facts.start import LastStart, ServiceManager, SupervisorAccount
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.made_snapshot import (
    AT_BACKEND,
    BACKEND,
    GUNICORN_ACCESS_LOG,
    GUNICORN_COMMAND,
    GUNICORN_CONF,
    GUNICORN_LISTENER,
    GUNICORN_MASTER,
    GUNICORN_PIDFILE,
    GUNICORN_PROCESSES,
    GUNICORN_WORKERS,
    HEALTH,
    HEALTHY,
    NGINX_ACCESS_LOG,
    NGINX_LISTENERS,
    NGINX_PROCESSES,
    NOW,
    PREDICT,
    access_log,
    answered,
    but,
    entry,
    exchange,
    gunicorn_log,
    nginx_logs,
    page,
    process,
    processes,
    timed_out,
    traffic,
    without_gunicorn,
)

TRACEBACK = """Exception in worker process
Traceback (most recent call last):
  File "/root/build/venv/lib/python3.11/site-packages/gunicorn/arbiter.py", line 609, in spawn_worker
    worker.init_process()
  File "/root/build/app.py", line 3, in <module>
    import torch
ModuleNotFoundError: No module named 'torch'"""
BOOT_FAILURE = (
    entry(TRACEBACK, ago=40),
    entry("Worker (pid:903) exited with code 3", ago=39.5),
    entry("Shutting down: Master", ago=39),
    entry("Reason: Worker failed to boot.", ago=39),
)
PRELOAD_FAILURE = entry(
    """Traceback (most recent call last):
  File "/root/build/venv/lib/python3.11/site-packages/gunicorn/arbiter.py", line 163, in setup
    self.app.wsgi()
  File "/root/build/app.py", line 3, in <module>
    import torch
ModuleNotFoundError: No module named 'torch'""",
    ago=39,
    level="critical",
)
ABORTED_WHILE_SENDING = """Traceback (most recent call last):
  File "/v/site-packages/gunicorn/workers/sync.py", line 189, in handle_request
  File "/root/build/app.py", line 20, in rows
  File "/v/site-packages/gunicorn/workers/base.py", line 200, in handle_abort
SystemExit: 1"""
CUT_OFF = (
    "*1 upstream prematurely closed connection while reading upstream, client: 10.0.0.7, server: gte-api.example.com,"
    ' request: "GET /export HTTP/1.1", upstream: "http://127.0.0.1:8000/export"'
)
WORKER_TIMEOUT = entry("WORKER TIMEOUT (pid:901)", ago=20, level="critical")


def pidfile(base: Snapshot = HEALTHY, **facts: Any) -> Snapshot:
    return but(base, gunicorn__pidfile=Pidfile(path=GUNICORN_PIDFILE, **facts))


def master_in(state: str) -> Snapshot:
    """The master in a state of ps, its workers as they are."""
    return but(
        processes=processes(
            (
                *NGINX_PROCESSES,
                *(
                    msgspec.structs.replace(p, state=state) if p.pid == GUNICORN_MASTER else p
                    for p in GUNICORN_PROCESSES
                ),
            )
        )
    )


def logged(*entries: LogEntry, base: Snapshot = HEALTHY) -> Snapshot:
    return but(base, logs__gunicorn_error=gunicorn_log(*entries))


SATURATED = exchange(503, '{"status": "not_ready", "reason": "saturated"}', **AT_BACKEND)


def stuck_by_their_records(
    last_completed: tuple[float, ...] = (NOW - 600, NOW - 600), **more: Any
) -> Snapshot:
    """Every worker holds two requests for ten minutes; the deadline is two."""
    records = tuple(
        ProgressRecord(
            pid=pid,
            start_ticks=1000 + pid,
            phase="ready",
            completed=50,
            last_completed=last,
            in_flight=(
                InFlight(path="/predict", since=NOW - 600),
                InFlight(path="/predict", since=NOW - 590),
            ),
        )
        for pid, last in zip(GUNICORN_WORKERS, last_completed, strict=True)
    )
    return but(activity__progress=records, **more)


def busy(queued: tuple[int | None, int | None], completed: int, **more: Any) -> Snapshot:
    """Requests queue; each worker completes so many while it is watched."""
    return but(
        activity__seconds=4.0,
        activity__queued=queued,
        activity__workers=tuple(
            WorkerActivity(pid=p, state="sleeping", cpu=(4.0, 4.1), completed=(50, 50 + completed))
            for p in (901, 902)
        ),
        **{"backend__health": exchange(200, HEALTH, **AT_BACKEND, elapsed=3.0), **more},
    )


def hung(state: str = "sleeping", cpu: tuple[float, float] = (4.0, 4.0), **more: Any) -> Snapshot:
    """Connections are accepted; nothing completes."""
    facts = {
        "activity__workers": tuple(
            WorkerActivity(pid=p, state=state, cpu=cpu, completed=(50, 50)) for p in (901, 902)
        ),
        "backend__health": timed_out(**AT_BACKEND),
        "backend__predict": timed_out(**{**PREDICT, **AT_BACKEND}),
        "backend__ready": timed_out(**AT_BACKEND),
    }
    return but(front__predict=timed_out(**PREDICT), activity__seconds=4.0, **{**facts, **more})


def ended_while_looked_at(only: int | None = None) -> Snapshot:
    """Nothing completes, and gunicorn's log has the end of each worker by its timeout, or of one."""
    entries = (entry(f"WORKER TIMEOUT (pid:{pid})", ago=1) for pid in (901, 902) if only in (None, pid))
    return hung(logs=logged(*entries).logs)


def replaced(timeout: float, age: float, **more: Any) -> Snapshot:
    """Nothing completes; a worker was ended ``timeout`` seconds ago, and the running ones are ``age`` seconds old."""
    young = tuple(
        msgspec.structs.replace(p, started=NOW - age) if p.pid in (901, 902) else p
        for p in GUNICORN_PROCESSES
    )
    return hung(
        logs=logged(entry("WORKER TIMEOUT (pid:555)", ago=timeout)).logs,
        processes=processes(NGINX_PROCESSES, young),
        **more,
    )


def configured(text: str) -> Snapshot:
    """gunicorn's configuration file holds this."""
    return but(gunicorn__config=parse_config(GUNICORN_CONF, text.encode()))


def held_by(*holders: Process, **more: Any) -> Snapshot:
    """These processes hold the service's address; no gunicorn of ours is there."""
    return but(
        processes=processes(
            NGINX_PROCESSES,
            holders,
            listeners=(*NGINX_LISTENERS, Listener(address=BACKEND, pids=tuple(p.pid for p in holders))),
        ),
        target__gunicorn_master=None,
        target__gunicorn_workers=(),
        **{
            "backend__health": page(404, "Error response", server="SimpleHTTP/0.6"),
            "backend__predict": page(501, "Error response", **{**PREDICT, "server": "SimpleHTTP/0.6"}),
            **more,
        },
    )


DOWN_SINCE_BOOT = but(
    without_gunicorn(), logs__gunicorn_access=access_log(GUNICORN_ACCESS_LOG, {"200": 5}, last=NOW - 300)
)
SQUATTER = process(4242, 1, "python3", "-m", "http.server", "8000")
IN_USE = entry("Connection in use: ('127.0.0.1', 8000)", ago=30)
LISTENING = "Listening at: http://127.0.0.1:8000 (900)"
OLD_GUNICORN = tuple(
    process(
        pid,
        parent,
        "/usr/bin/python3",
        "/usr/bin/gunicorn",
        "--reuse-port",
        "-b",
        "127.0.0.1:8000",
        "old:app",
    )
    for pid, parent in ((4300, 1), (4301, 4300))
)
ANSWERED_BY_BOTH = msgspec.structs.replace(
    access_log(NGINX_ACCESS_LOG, {"200": 7, "404": 5}),
    traffic=traffic(answered("200", 7), answered("404", 5)),
)


def in_state(state: str, *pids: int, base: Snapshot = HEALTHY) -> Snapshot:
    """These processes of gunicorn are in ``state``."""
    changed = tuple(
        msgspec.structs.replace(p, state=state) if p.pid in pids else p for p in GUNICORN_PROCESSES
    )
    return but(base, processes=processes(NGINX_PROCESSES, changed))


def beside(*others: Process, base: Snapshot = HEALTHY) -> Snapshot:
    """These listen where the service does (reuse_port)."""
    shared = Listener(address=BACKEND, pids=(*GUNICORN_LISTENER.pids, *(p.pid for p in others)))
    sharing = processes(NGINX_PROCESSES, GUNICORN_PROCESSES, others, listeners=(*NGINX_LISTENERS, shared))
    return msgspec.structs.replace(base, processes=sharing)


def supervised(config: str, command: str = "gunicorn app:app") -> Snapshot:
    """No gunicorn; supervisord saw it end in order, and gave up."""
    account = SupervisorAccount(
        manager=ServiceManager.SUPERVISORD,
        unit="shop",
        source="/var/log/supervisor/supervisord.log",
        result="exited",
        status=0,
        words="exited: shop (exit status 0; not expected)",
        program=command,
        config="/etc/supervisor/conf.d/shop.conf",
    )
    return but(
        without_gunicorn(),
        gunicorn__config=parse_config(GUNICORN_CONF, config.encode()),
        last_start=LastStart(supervisors=(account,)),
    )


CASES: list[Case] = [
    fires("GUN001", "supervisord takes a daemon for ended", supervised("daemon = True"), "daemon = True"),
    fires(
        "GUN001",
        "its command line makes it a daemon",
        supervised("", "gunicorn -D app:app"),
        "-D",
        "shop.conf",
    ),
    fires(
        "GUN001",
        "no master, and the bind address refuses",
        without_gunicorn(),
        "Connection refused",
        "no gunicorn master",
        severity="fail",
    ),
    fires(
        "GUN001",
        "the stale pidfile and the log's last words are evidence of it",
        logged(entry("Shutting down: Master"), base=pidfile(without_gunicorn(), pid=900)),
        GUNICORN_PIDFILE,
        "names process 900",
        "Shutting down: Master",
    ),
    fires(
        "GUN001",
        "the socket file is missing",
        but(
            without_gunicorn(),
            backend__connection=Connection(
                address="unix:/run/gte.sock", failure=ProbeFailure.MISSING, detail="No such file"
            ),
        ),
    ),
    quiet(
        "GUN001",
        "the address refuses, but the master is there",
        but(
            backend__connection=Connection(
                address=BACKEND, failure=ProbeFailure.REFUSED, detail="Connection refused"
            )
        ),
    ),
    quiet(
        "GUN001",
        "no master, but somebody takes the connection",
        but(without_gunicorn(), backend__connection=Connection(address=BACKEND)),
    ),
    quiet(
        "GUN001", "the processes could not be seen", but(without_gunicorn(), processes=NotSeen(reason="-"))
    ),
    quiet(
        "GUN001",
        "a time-out is no refusal",
        but(
            without_gunicorn(), backend__connection=Connection(address=BACKEND, failure=ProbeFailure.TIMEOUT)
        ),
    ),
    fires(
        "GUN001",
        "a configuration file that is no Python stands beside it",
        but(without_gunicorn(), gunicorn__config=parse_config(GUNICORN_CONF, b"workers = = 2")),
        "invalid syntax (line 1)",
    ),
    fires(
        "GUN002",
        "the file names another process than the master that runs",
        pidfile(pid=4321),
        "4321",
        "the master is process 900",
        severity="warn",
        facts={"pid": "4321", "pidfile": GUNICORN_PIDFILE},
    ),
    quiet("GUN002", "it names the master", HEALTHY),
    quiet("GUN002", "with gunicorn down it is evidence of GUN001", pidfile(without_gunicorn(), pid=4321)),
    quiet("GUN002", "there is no file", pidfile(missing=True)),
    quiet("GUN002", "it may not be read", pidfile(unreadable="Permission denied")),
    fires(
        "GUN016",
        "the master is stopped, its workers answer",
        master_in("stopped"),
        "stopped (state T)",
        severity="fail",
        facts={"pid": str(GUNICORN_MASTER)},
    ),
    quiet(
        "GUN016",
        "the workers do not answer either: that is GUN007",
        but(master_in("stopped"), backend__health=timed_out()),
    ),
    quiet("GUN016", "the master sleeps, as it does between its rounds", master_in("sleeping")),
    fires(
        "GUN003",
        "it names exception and file:line",
        logged(*BOOT_FAILURE, base=DOWN_SINCE_BOOT),
        "Worker failed to boot",
        severity="fail",
        facts={"exception": "ModuleNotFoundError: No module named 'torch'", "where": "/root/build/app.py:3"},
    ),
    quiet("GUN003", "recovered: the service answers", logged(*BOOT_FAILURE)),
    fires(
        "GUN003",
        "preload_app: the master itself fails, and says neither of the words",
        logged(PRELOAD_FAILURE, base=DOWN_SINCE_BOOT),
        "ModuleNotFoundError",
        severity="fail",
        facts={"exception": "ModuleNotFoundError: No module named 'torch'", "where": "/root/build/app.py:3"},
    ),
    quiet("GUN003", "preload_app, recovered: the service answers", logged(PRELOAD_FAILURE)),
    quiet(
        "GUN003",
        "recovered: it served afterwards, and is stuck for another reason now",
        logged(*BOOT_FAILURE, entry(LISTENING, ago=35, level="info"), base=hung()),
    ),
    quiet(
        "GUN003",
        "a boot failure without its exception names no cause",
        logged(*BOOT_FAILURE[1:], base=DOWN_SINCE_BOOT),
    ),
    quiet(
        "GUN003",
        "an exception in a request is none in booting",
        logged(
            entry("Error handling request /predict\n" + TRACEBACK.partition("\n")[2]), base=DOWN_SINCE_BOOT
        ),
    ),
    fires(
        "GUN004",
        "WORKER TIMEOUT in the window",
        logged(WORKER_TIMEOUT),
        "WORKER TIMEOUT (pid:901)",
        severity="fail",
        facts={"count": "1", "timeout": "30 s"},
    ),
    fires(
        "GUN004",
        "the time allowed is the command line's before the file's",
        but(
            logged(WORKER_TIMEOUT, entry("WORKER TIMEOUT (pid:902)")),
            processes=processes(
                NGINX_PROCESSES,
                (process(GUNICORN_MASTER, 1, *GUNICORN_COMMAND, "--timeout", "7"),),
                GUNICORN_PROCESSES[1:],
            ),
        ),
        facts={"count": "2", "timeout": "7 s"},
    ),
    fires(
        "GUN004",
        "gunicorn's own thirty seconds where nothing is written",
        but(logged(WORKER_TIMEOUT), gunicorn__config=NotSeen(reason="-")),
        facts={"timeout": "30 s"},
    ),
    fires(
        "GUN004",
        "a download was cut off",
        but(
            logged(entry(WORKER_TIMEOUT.text), entry(f"Error handling request\n{ABORTED_WHILE_SENDING}")),
            logs__nginx_errors=nginx_logs(entry(CUT_OFF)),
        ),
        'request: "GET /export HTTP/1.1"',
        "/root/build/app.py:20 the worker was here",
    ),
    fires(
        "GUN004",
        "the answer was cut off at another moment, by something else",
        but(logged(WORKER_TIMEOUT), logs__nginx_errors=nginx_logs(entry(CUT_OFF, ago=400))),
        facts={"count": "1"},
    ),
    quiet("GUN004", "it was before the master was started", logged(entry(WORKER_TIMEOUT.text, ago=3700))),
    quiet(
        "GUN004",
        "it was in the second of the start, by the master before",
        logged(entry(WORKER_TIMEOUT.text, ago=3600, pid=GUNICORN_MASTER + 7)),
    ),
    fires(
        "GUN004",
        "it was in the second of the start, by this master",
        logged(entry(WORKER_TIMEOUT.text, ago=3600, pid=GUNICORN_MASTER)),
    ),
    quiet(
        "GUN004",
        "the settings were read anew since",
        logged(
            entry(WORKER_TIMEOUT.text, ago=90, pid=GUNICORN_MASTER),
            entry("Handling signal: hup", level="info", ago=60, pid=GUNICORN_MASTER),
        ),
    ),
    quiet("GUN004", "a worker that ends otherwise", logged(entry("Worker exiting (pid: 901)", level="info"))),
    fires(
        "GUN006",
        "requests queue while others complete",
        busy((4, 5), completed=20),
        "Recv-Q 5",
        "40 requests completed in 4.0 s",
        severity="fail",
        facts={"queued": "5"},
    ),
    fires(
        "GUN006",
        "the wait ended as soon as others' requests were seen to complete while more waited",
        busy((4, 15), 0, backend__health=timed_out(**AT_BACKEND), activity__others_completed=2),
        "Recv-Q 15",
        "2 requests completed in 4.0 s",
    ),
    fires(
        "GUN006",
        "readiness says saturated",
        but(backend__ready=exchange(503, '{"status": "unavailable", "reason": "saturated"}', **AT_BACKEND)),
        "saturated",
    ),
    quiet(
        "GUN006",
        "readiness says saturated because every worker is stuck: that is GUN007",
        stuck_by_their_records(backend__ready=SATURATED),
    ),
    fires(
        "GUN007",
        "by their own records every worker is past its deadline, while /health answers",
        stuck_by_their_records(backend__ready=SATURATED),
        "2 requests in flight for up to 10m, none completed since",
        severity="fail",
    ),
    quiet(
        "GUN007",
        "one of the workers has just completed a request",
        stuck_by_their_records(last_completed=(NOW - 600, NOW - 1), backend__ready=SATURATED),
    ),
    quiet(
        "GUN006", "a queue that is served at once", busy((4, 5), 20, backend__health=HEALTHY.backend.health)
    ),
    quiet("GUN006", "a queue seen only at one end", busy((0, 5), 20)),
    quiet(
        "GUN006",
        "nothing completes: that is GUN007",
        busy((4, 5), 0, backend__health=timed_out(**AT_BACKEND)),
    ),
    quiet(
        "GUN006",
        "not ready for another reason",
        but(backend__ready=exchange(503, '{"status": "unavailable", "reason": "loading"}', **AT_BACKEND)),
    ),
    fires(
        "GUN007",
        "connections are accepted and nothing is answered: blocked",
        hung(),
        "no answer in 9.6 s",
        "blocked",
        severity="fail",
        facts={"pids": "901, 902", "waited": "9.6 s"},
    ),
    fires("GUN007", "workers are stopped", hung("stopped"), "stopped (state T)"),
    fires("GUN007", "workers spin", hung(cpu=(4.0, 7.9)), "spinning"),
    fires(
        "GUN007",
        "predictions hang while /health still answers",
        hung(backend__health=HEALTHY.backend.health, backend__ready=HEALTHY.backend.ready),
        f"POST {BACKEND}/predict",
    ),
    fires(
        "GUN007",
        "a stopped master is named first",
        but(
            hung("stopped"),
            processes=processes(
                NGINX_PROCESSES,
                tuple(msgspec.structs.replace(p, state="stopped") for p in GUNICORN_PROCESSES),
            ),
        ),
        facts={"pids": "900, 901, 902"},
    ),
    quiet(
        "GUN007",
        "requests complete though ours waits",
        busy((4, 5), 20, backend__predict=timed_out(**PREDICT)),
    ),
    fires(
        "GUN007",
        "the doctor's own probes are no proof that requests complete",
        hung(
            activity__workers=tuple(
                WorkerActivity(pid=p, state="sleeping", cpu=None, completed=(50, 52)) for p in (901, 902)
            ),
            backend__health=HEALTHY.backend.health,
        ),
    ),
    quiet(
        "GUN007",
        "without records: the access log shows a prediction answered meanwhile",
        hung(
            activity__workers=(WorkerActivity(pid=901, state="sleeping", cpu=(4.0, 4.0), completed=None),),
            logs__gunicorn_access=access_log(GUNICORN_ACCESS_LOG, {"200": 9}, last_prediction=NOW + 2),
        ),
    ),
    quiet("GUN007", "nothing takes the connection", without_gunicorn()),
    quiet(
        "GUN007", "the master ends the hung workers by its timeout: that is GUN004", ended_while_looked_at()
    ),
    fires("GUN007", "the master ended one worker, and another hangs", ended_while_looked_at(only=901)),
    quiet("GUN007", "the workers took the place of ended ones", replaced(timeout=31, age=30)),
    fires("GUN007", "young workers, and a timeout long ago", replaced(timeout=3000, age=10)),
    fires("GUN007", "a timeout, and no worker", replaced(timeout=20, age=10, target__gunicorn_workers=())),
    fires(
        "GUN007",
        "the master that would end them is stopped",
        but(
            ended_while_looked_at(),
            processes=processes(
                NGINX_PROCESSES,
                (process(GUNICORN_MASTER, 1, *GUNICORN_COMMAND, state="stopped"),),
                GUNICORN_PROCESSES[1:],
            ),
        ),
    ),
    quiet(
        "GUN007",
        "another program holds the port and hangs: GUN012",
        held_by(SQUATTER, backend__health=timed_out(), backend__predict=timed_out(**PREDICT)),
    ),
    fires(
        "GUN016",
        "the master is stopped while workers still serve",
        in_state("stopped", GUNICORN_MASTER),
        "pid 900 stopped (state T)",
        severity="fail",
        facts={"pid": "900"},
    ),
    quiet("GUN016", "the master sleeps, as masters do", HEALTHY),
    quiet("GUN016", "a worker is stopped, the master is not", in_state("stopped", 901)),
    quiet(
        "GUN016",
        "nothing serves any more: GUN007",
        in_state("stopped", 900, 901, 902, base=hung("stopped")),
    ),
    fires(
        "GUN008",
        "the guide's own two",
        configured("workers = 2\npreload = True\nbind_ssl = None\n"),
        "preload = True (ignored; meant: preload_app)",
        f"{GUNICORN_CONF}:3",
        "meant: certfile and keyfile",
        severity="warn",
        facts={"names": "preload, bind_ssl"},
    ),
    fires("GUN008", "a misspelling", configured("max_request_jitter = 5"), "meant: max_requests_jitter"),
    fires("GUN008", "a name that means nothing at all", configured("zebra = 5"), "no such setting"),
    fires(
        "GUN008",
        "within an if",
        configured("import os\nif os.environ:\n    preload = True\n"),
        f"{GUNICORN_CONF}:3",
    ),
    quiet(
        "GUN008",
        "settings gunicorn knows",
        configured("workers = 2\npreload_app = True\nworker_tmp_dir = '/dev/shm'"),
    ),
    quiet("GUN008", "a name that another line reads", configured("cores = 4\nworkers = 2 * cores + 1")),
    quiet(
        "GUN008",
        "a name that a function reads",
        configured("note = 'x'\ndef when_ready(server):\n    print(note)"),
    ),
    quiet("GUN008", "an import", configured("import multiprocessing\nfrom os import path as where")),
    quiet("GUN008", "a function and a class", configured("def helper(): pass\nclass Thing: pass")),
    quiet("GUN008", "a private name", configured("_cores = 4")),
    quiet("GUN008", "a hook that is assigned", configured("post_fork = lambda server, worker: None")),
    quiet("GUN008", "the file cannot be parsed", configured("preload = True\nworkers = = 2")),
    fires(
        "GUN012",
        "a process that is not this gunicorn holds the address",
        held_by(SQUATTER),
        "pid 4242 python3 -m http.server 8000",
        severity="fail",
        facts={"pid": "4242", "command": "python3 -m http.server 8000"},
    ),
    fires(
        "GUN012",
        "gunicorn could not bind and is gone; so is the holder",
        logged(entry(LISTENING, ago=600, level="info"), IN_USE, base=without_gunicorn()),
        "Connection in use",
    ),
    fires(
        "GUN012",
        "gunicorn's other words",
        logged(entry("[Errno 98] Address already in use"), base=without_gunicorn()),
    ),
    quiet(
        "GUN012",
        "it listened after the clash",
        logged(IN_USE, entry(LISTENING, ago=10, level="info"), base=without_gunicorn()),
    ),
    quiet("GUN012", "gunicorn runs, the clash is over", logged(IN_USE)),
    quiet("GUN012", "its own workers hold the address", HEALTHY),
    quiet(
        "GUN012",
        "systemd holds the socket for it",
        held_by(process(1, 0, "/sbin/init"), backend__health=timed_out(), backend__predict=timed_out()),
    ),
    quiet(
        "GUN012",
        "whoever holds it, the service answers",
        held_by(SQUATTER, backend__health=HEALTHY.backend.health),
    ),
    quiet(
        "GUN012",
        "a gunicorn whose master is not known is not called foreign",
        held_by(process(55, 1, "gunicorn: master [app:app]")),
    ),
    quiet(
        "GUN012",
        "a second program shares the address with our workers",
        but(
            processes=processes(
                NGINX_PROCESSES,
                GUNICORN_PROCESSES,
                (SQUATTER,),
                listeners=(
                    *NGINX_LISTENERS,
                    GUNICORN_LISTENER,
                    Listener(address="0.0.0.0:8000", pids=(4242,)),
                ),
            ),
            backend__health=page(500, "x", **AT_BACKEND),
            backend__predict=page(500, "x", **AT_BACKEND),
        ),
    ),
    fires(
        "GUN019",
        "an old gunicorn listens beside the service's",
        beside(*OLD_GUNICORN),
        "pid 4300 /usr/bin/python3 /usr/bin/gunicorn",
        "old:app",
        severity="fail",
        facts={"pid": "4300"},
    ),
    fires(
        "GUN019",
        "users are answered now so, now otherwise",
        beside(*OLD_GUNICORN, base=but(logs__nginx_access=ANSWERED_BY_BOTH)),
        "/predict: 7 x 200, 5 x 404",
    ),
    quiet("GUN019", "its own workers alone", HEALTHY),
    quiet("GUN019", "a program that is no gunicorn", beside(SQUATTER)),
    quiet(
        "GUN019",
        "a second one of the same application shares the load",
        beside(process(4300, 1, *GUNICORN_PROCESSES[0].command, cwd="/root/build")),
    ),
    quiet(
        "GUN019",
        "an upgrade in progress: the new master is the old one's child",
        beside(process(4300, 900, *OLD_GUNICORN[0].command), process(4301, 4300, *OLD_GUNICORN[0].command)),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def test_a_holder_that_root_alone_could_see_is_not_called_in_order() -> None:
    from ops.diagnosis.checks.gunicorn import port
    from ops.diagnosis.finding import NotJudgedError

    snapshot = but(
        without_gunicorn(),
        processes=processes(NGINX_PROCESSES, listeners=(*NGINX_LISTENERS, Listener(address=BACKEND))),
        backend__connection=Connection(address=BACKEND),
    )
    with pytest.raises(NotJudgedError) as raised:
        list(port.judge(**port.inputs(snapshot)))
    assert raised.value.unseen.needs_root


def test_every_known_setting_is_silent_and_every_nickname_is_not() -> None:
    known = configured("".join(f"{name} = None\n" for name in KNOWN_SETTINGS))
    assert "GUN008" not in found(known)
    nicknames = configured("".join(f"{name} = None\n" for name in MEANT))
    finding = found(nicknames)["GUN008"]
    assert finding.facts["names"].split(", ") == list(MEANT)
    assert all(f"meant: {MEANT[name]}" in finding.evidence[n].detail.en for n, name in enumerate(MEANT))


@pytest.mark.parametrize(
    ("snapshot", "why"),
    [
        (HEALTHY, f"{GUNICORN_CONF}: no such file or directory"),
        (
            but(
                processes=processes(
                    NGINX_PROCESSES,
                    tuple(
                        msgspec.structs.replace(
                            each, command=("gunicorn", "-c", "python:service.conf", "app:app")
                        )
                        for each in GUNICORN_PROCESSES
                    ),
                )
            ),
            "gunicorn's configuration is a module (python:service.conf)",
        ),
    ],
)
def test_settings_that_no_file_holds_are_not_called_in_order(snapshot: Snapshot, why: str) -> None:
    from ops.diagnosis.checks.gunicorn import settings
    from ops.diagnosis.finding import NotJudgedError

    snapshot = but(snapshot, gunicorn__config=GunicornConfig(path=GUNICORN_CONF, missing=True))
    with pytest.raises(NotJudgedError) as raised:
        list(settings.judge(**settings.inputs(snapshot)))
    assert raised.value.unseen == NotSeen(reason=why, is_lasting=True)


def test_gunicorn_files_that_were_not_seen_cost_no_crash() -> None:
    unseen = NotSeen(reason="-", needs_root=True)
    assert found(but(gunicorn=Gunicorn(config=unseen, pidfile=unseen, progress=unseen))) == {}
