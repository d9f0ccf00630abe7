"""Faults that could be taken for two causes: the left of the catalogue's precedence table is the cause."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

from tests.lab.faults import app as apps
from tests.lab.faults import gunicorn, hanging, host, memory, nginx
from tests.lab.faults.case import answers, fault
from tests.lab.faults.stuck import STICKING_APP
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for

# A prediction does not end as long as the file `hold` is there.
HOLDING_APP = apps.PLAIN_APP.replace(
    "return jsonify(result={})",
    """here = Path(__file__).parent
    while (here / "hold").exists():
        (here / "held").touch()
        time.sleep(0.02)
    return jsonify(result={})""",
).replace("from flask", "import time\nfrom pathlib import Path\nfrom flask")

MODEL_LESS_APP = (
    apps.UNHEALTHY_APP
    + """
@app.get("/ready")
def ready():
    return jsonify(status="unavailable", reason="load_failed", detail="no weights in the file"), 503
"""
)


@fault(
    "GUN008",
    sees=gunicorn.serves,
    severity="warn",
    explains=("GUN010",),
    app=apps.PLAIN_APP,
    workers=2,
    gunicorn_extra="preload = True\n",
)
def every_worker_loads_the_model_for_a_misspelt_preload(stack: Stack) -> None:
    gunicorn.models_do_not_fit.inject(stack)


@fault("GUN001", sees=answers(502))
def gunicorn_is_down_behind_a_wrong_port(stack: Stack) -> None:
    nginx.proxy_pass_names_the_wrong_port.inject(stack)
    stack.kill_gunicorn()


@fault(
    "APP006",
    sees=apps.development_server_serves.sees,
    app=apps.PLAIN_APP,
)
def development_server_keeps_gunicorn_from_its_port(stack: Stack) -> None:
    apps.development_server_serves.inject(stack)
    stack.start_gunicorn(wait="nothing")
    wait_for(lambda: "in use" in stack.gunicorn_said(), "gunicorn to find its port taken", within=20)
    wait_for(lambda: stack.gunicorn_master is None, "gunicorn to give up", within=20)


@fault("MOD006", sees=answers(503), explains=("APP002",), app=MODEL_LESS_APP)
def health_fails_because_the_model_did_not_load(_stack: Stack) -> None:
    """The application's health check and its readiness tell of the same thing."""


@fault(
    "GUN006",
    sees=answers(504),
    app=gunicorn.BUSY_APP,
    app_progress=True,
    worker_class="sync",
    site={"read_timeout": "1s"},
)
def nginx_gives_up_while_requests_queue(stack: Stack) -> None:
    gunicorn.all_workers_are_busy.inject(stack)


@fault("GUN007", sees=answers(504), site={"read_timeout": "1s"})
def nginx_gives_up_on_a_stopped_service(stack: Stack) -> None:
    gunicorn.everything_is_stopped.inject(stack)


@fault(
    "GUN015",
    sees=hanging.one_is_past_its_deadline,
    app=STICKING_APP,
    app_progress=True,
    workers=2,
    service_environment={"GTE_THREADS": "2"},
    site={"read_timeout": "1s"},
)
def nginx_gives_up_on_one_of_two_workers(stack: Stack) -> None:
    hanging.deadlines(stack, request_deadline="1s")
    victim = stack.gunicorn_workers[0].pid
    (stack.app_dir / "victim").write_text(str(victim))

    def ask() -> None:
        stack.request(path="/deadlock", timeout=60.0)

    def both_threads_are_stuck() -> bool:
        # Several at once: nginx reuses a connection that is free, and so comes to the same worker again.
        asking = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        held: list[Any] = next((r["in_flight"] for r in stack.progress() if r["pid"] == victim), [])
        return len(held) == 2

    wait_for(both_threads_are_stuck, "both threads of a worker to be stuck", within=40, every=0.3)
    assert "upstream timed out" in stack.nginx_error_log.read_text()


def told_of_a_closed_connection(stack: Stack) -> bool:
    """nginx has, and gunicorn of a worker's end; another worker serves."""
    return "prematurely closed" in stack.nginx_error_log.read_text() and memory.has_died(stack)


@fault("GUN014", sees=told_of_a_closed_connection, app=HOLDING_APP, worker_class="sync")
def worker_is_killed_with_a_request_in_hand(stack: Stack) -> None:
    (victim,) = stack.gunicorn_workers
    (stack.app_dir / "hold").touch()
    threading.Thread(target=lambda: stack.predict(timeout=60.0), daemon=True).start()
    wait_for((stack.app_dir / "held").exists, "the prediction to begin", within=20)
    victim.kill()
    (stack.app_dir / "hold").unlink()


@fault(
    "GUN005",
    sees=told_of_a_closed_connection,
    impossible=memory.cannot_starve,
    app=memory.HUNGRY_APP,
    worker_class="sync",
)
def kernel_kills_a_worker_with_a_request_in_hand(stack: Stack) -> None:
    (victim,) = stack.gunicorn_workers
    memory.starve(stack, victim.pid)
    (stack.app_dir / "hungry").touch()
    stack.predict(timeout=20.0)
    (stack.app_dir / "hungry").unlink()
    wait_for(lambda: not victim.is_running(), "the kernel to kill the worker", within=20)


def youngest_is_past_its_deadline(stack: Stack) -> bool:
    """A worker has lived for longer than it may take to boot, and another serves."""
    youngest = max(worker.create_time() for worker in stack.gunicorn_workers)
    # The kernel gives the time of its boot in whole seconds, so that create_time() may lie one second back.
    return time.time() - youngest > 2.5 and stack.predict(timeout=1.0).status == 200


@fault(
    "GUN016",
    sees=youngest_is_past_its_deadline,
    explains=("GUN017",),
    app=hanging.SLOW_TO_BOOT_APP,
    app_progress=True,
    workers=2,
)
def master_hangs_with_a_worker_that_does_not_boot(stack: Stack) -> None:
    hanging.deadlines(stack, boot_deadline="1s")
    wait_for(lambda: phases(stack) == ["ready", "ready"], "both workers to be ready", within=30)
    (stack.app_dir / "hang").touch()
    stack.signal_workers(signal.SIGTERM, count=1)
    wait_for(lambda: phases(stack) == ["booting", "ready"], "another worker to be booting", within=30)
    stack.signal_gunicorn(signal.SIGSTOP)


def phases(stack: Stack) -> list[str]:
    """What the records of the present workers say, in alphabetical order."""
    present = {worker.pid for worker in stack.gunicorn_workers}
    return sorted(record["phase"] for record in stack.progress() if record["pid"] in present)


@fault(
    "HST001",
    sees=nginx.worker_connections_are_used_up.sees,
    explains=("NGX015",),
    layout="guide",
)
def nginx_is_short_of_connections_beside_a_full_file_system(stack: Stack) -> None:
    host.file_system_for_bodies_is_full.inject(stack)
    nginx.worker_connections_are_used_up.inject(stack)
