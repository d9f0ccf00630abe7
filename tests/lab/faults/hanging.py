"""Workers that hang while others serve, and workers that never get to serve."""

from __future__ import annotations

import time

from tests.lab.faults.case import fault, meets
from tests.lab.faults.stuck import BOOT_HANG_APP, STICKING_APP, ask_aside, stick
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for

# As long as the file `hang` is there, its import never ends.
SLOW_TO_BOOT_APP = (
    BOOT_HANG_APP
    + """
@app.post("/predict")
def predict():
    return jsonify(result={})
"""
)


def deadlines(stack: Stack, **seconds: str) -> None:
    """Sets the deadlines short: a test cannot wait for minutes."""
    stack.config["app"].update(seconds)
    stack.write_config()


def one_is_past_its_deadline(stack: Stack) -> bool:
    """By its own record one worker has held a request for over a second, and predictions are answered."""
    held = [time.time() - item["since"] for record in stack.progress() for item in record["in_flight"]]
    return max(held, default=0.0) > 1.5 and stack.predict(timeout=1.0).status == 200


@fault(
    "GUN015",
    sees=one_is_past_its_deadline,
    app=STICKING_APP,
    app_progress=True,
    workers=2,
    service_environment={"GTE_THREADS": "2"},
)
def one_worker_waits_for_a_lock(stack: Stack) -> None:
    deadlines(stack, request_deadline="1s")
    victim = stack.gunicorn_workers[0].pid
    stick(stack, "/deadlock", victim=victim, count=2)


def a_share_hangs(stack: Stack) -> bool:
    """Some requests get no answer, and some do."""
    answers = [stack.request(path="/health", door="backend", timeout=1.0).status for _ in range(6)]
    return None in answers and 200 in answers


def stick_without_records(stack: Stack, path: str, *, count: int) -> None:
    """Has ``count`` requests stuck in the first worker, by the marks that the application leaves."""
    victim = stack.gunicorn_workers[0].pid
    mark = stack.app_dir / f"stuck-{victim}"
    (stack.app_dir / "victim").write_text(str(victim))

    def all_stuck() -> bool:
        stuck = len(mark.read_text().split()) if mark.exists() else 0
        if stuck < count:
            ask_aside(stack, path)
        return stuck >= count

    wait_for(all_stuck, f"{count} requests to be stuck", within=30, every=0.1)
    (stack.app_dir / "victim").write_text("")


@fault(
    "GUN015",
    sees=a_share_hangs,
    layout="guide",
    app=STICKING_APP,
    worker_class="gthread",
    workers=2,
    threads=2,
)
def one_worker_waits_for_a_lock_without_records(stack: Stack) -> None:
    stick_without_records(stack, "/deadlock", count=2)


def hangs(stack: Stack) -> bool:
    """Requests hang, and the worker has lived for longer than it may take to boot."""
    return bool(meets("timeout", timeout=1.0)(stack)) and all(
        time.time() - worker.create_time() > 1.5 for worker in stack.gunicorn_workers
    )


def boot_hangs(stack: Stack) -> None:
    """Starts the service anew, with a module whose import never ends."""
    deadlines(stack, boot_deadline="1s")
    (stack.app_dir / "hang").touch()
    stack.stop_gunicorn()
    stack.start_gunicorn(wait="listening")
    wait_for(lambda: stack.gunicorn_workers, "a worker", within=20)


@fault("GUN017", sees=hangs, app=SLOW_TO_BOOT_APP, app_progress=True)
def import_never_ends(stack: Stack) -> None:
    boot_hangs(stack)


@fault("GUN017", sees=hangs, app=SLOW_TO_BOOT_APP)
def import_never_ends_without_records(stack: Stack) -> None:
    boot_hangs(stack)
