"""The watchdog on the real stack: each fault really caused, and mended by nothing but `gte-ops watchdog`.

GTE_LAB_GUNICORN=DIR runs them on another gunicorn, put there by `pip install --target DIR gunicorn==20.1.0`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest

from tests.lab.faults.stuck import BOOT_HANG_APP, CRASHING_APP, SLOW_LOADING_APP, ask_aside, stick
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for
from tests.lab.watched import (
    FAILING,
    HEALTHY,
    RECOVERED,
    UNJUDGED,
    answers,
    evidence,
    launch,
    once,
    resident,
    rounds_until,
    rungs,
    status,
    told,
    watched,
)


def test_one_worker_stopped_is_replaced_after_the_failure_count() -> None:
    with watched(workers=2) as stack:
        before = {w.pid for w in stack.gunicorn_workers}
        (stopped,) = stack.signal_workers(signal.SIGSTOP, count=1)
        ran = once(stack)
        assert ran.exit_code == FAILING, told(ran)
        ran = once(stack)
        assert ran.exit_code == RECOVERED, told(ran)
        after = {w.pid for w in stack.gunicorn_workers}
        assert stopped not in after
        assert before - {stopped} <= after, "the healthy worker was left alone"
        assert rungs(stack) == ["kill_worker"]
        assert answers(stack)
        assert "proc.txt" in evidence(stack)


@pytest.mark.long
def test_one_of_two_gthread_workers_with_all_threads_stuck() -> None:
    with watched(workers=2) as stack:
        victim, other = (w.pid for w in stack.gunicorn_workers)
        stick(stack, "/stick", victim=victim, count=2)
        time.sleep(2.2)
        ran = once(stack)
        assert ran.exit_code == RECOVERED, told(ran)
        assert rungs(stack) == ["kill_worker"]
        after = {w.pid for w in stack.gunicorn_workers}
        assert victim not in after
        assert other in after
        assert answers(stack)
        files = evidence(stack)
        assert "stick" in files[f"stacks-{victim}-1.txt"]
        assert "stick" in files[f"stacks-{victim}-2.txt"]


def test_within_the_deadline_nothing_happens() -> None:
    with watched(workers=2, deadline="60s") as stack:
        victim = stack.gunicorn_workers[0].pid
        stick(stack, "/stick", victim=victim, count=2)
        for _ in range(3):
            ran = once(stack)
            assert ran.exit_code == HEALTHY, told(ran)
        assert rungs(stack) == []
        assert victim in {w.pid for w in stack.gunicorn_workers}


def test_all_workers_stuck_is_overload_until_two_deadlines() -> None:
    with watched(workers=2, deadline="3s") as stack:
        before = {w.pid for w in stack.gunicorn_workers}
        stick(stack, "/deadlock", victim=None, count=4)
        ran = rounds_until(stack, RECOVERED, at_most=3)
        assert "overload" in ran[0].stderr or ran[-1].seconds > 3, told(ran[0])
        assert set(rungs(stack)) == {"kill_worker"}
        assert not before & {w.pid for w in stack.gunicorn_workers}
        assert answers(stack)


@pytest.mark.long
def test_all_workers_stopped() -> None:
    with watched(workers=2) as stack:
        stack.signal_workers(signal.SIGSTOP)
        rounds_until(stack, RECOVERED, at_most=3)
        wait_for(lambda: answers(stack), "answers", within=20)
        assert rungs(stack) == ["kill_worker", "kill_worker"]


@pytest.mark.long
def test_more_stopped_workers_than_the_budget_has_room_for_are_replaced_by_a_reload() -> None:
    with watched(workers=4) as stack:
        before = set(stack.signal_workers(signal.SIGSTOP))
        rounds_until(stack, RECOVERED, at_most=4)
        assert rungs(stack) == ["reload"]
        after = {w.pid for w in stack.gunicorn_workers}
        assert not before & after
        assert len(after) == 4
        assert answers(stack)


@pytest.mark.long
def test_a_service_that_dies_again_and_again_is_held_and_mends_in_the_end() -> None:
    with watched(workers=1, failures=1) as stack:
        stack.config_file.write_text(
            stack.config_file.read_text() + '\n[watchdog.restarts]\nbudget = 2\nwithin = "20s"\n'
        )
        began = time.monotonic()
        while time.monotonic() - began < 30:
            stack.kill_gunicorn()
            print(told(once(stack)))  # noqa: T201  shown where the test fails
        assert 2 <= len(rungs(stack)) <= 4
        assert status(stack)["holding"] or status(stack)["state"] == "healthy"
        wait_for(lambda: once(stack).exit_code in (HEALTHY, RECOVERED), "it to mend", within=90, every=2.0)
        assert answers(stack)


@pytest.mark.long
def test_a_sync_worker_that_holds_the_interpreter_lock_for_good() -> None:
    with watched(workers=2, worker_class="sync", threads=None, timeout=600) as stack:
        victim = stack.gunicorn_workers[0].pid
        stick(stack, "/spin", victim=victim, count=1)
        ran = once(stack)
        assert ran.exit_code in (HEALTHY, FAILING), told(ran)
        assert rungs(stack) == [], "CPU is used: three deadlines"
        time.sleep(6.5)
        rounds_until(stack, RECOVERED, at_most=3)
        assert rungs(stack) == ["kill_worker"]
        assert victim not in {w.pid for w in stack.gunicorn_workers}


@pytest.mark.parametrize("worker_class", ["gthread", pytest.param("sync", marks=pytest.mark.long)])
def test_a_request_that_takes_the_interpreter_lock_right_after_another_is_in_the_record(
    worker_class: str,
) -> None:
    threads = None if worker_class == "sync" else 2
    with watched(workers=1, worker_class=worker_class, threads=threads, timeout=600) as stack:
        (stack.app_dir / "victim").write_text("any")
        for _ in range(20):
            stack.request(path="/health", door="backend")
        ask_aside(stack, "/spin")
        wait_for(
            lambda: [r["path"] for record in stack.progress() for r in record["in_flight"]] == ["/spin"],
            "the spinning request to be recorded",
            within=5,
        )


def test_boot_hang_is_killed_at_its_deadline() -> None:
    with watched(app=BOOT_HANG_APP, boot="6s", workers=1) as stack:
        (stack.app_dir / "hang").touch()
        old = stack.gunicorn_workers[0]
        old.kill()
        wait_for(lambda: [w.pid for w in stack.gunicorn_workers] not in ([], [old.pid]), "another worker")
        hung = stack.gunicorn_workers[0].pid
        ran = once(stack)
        assert ran.exit_code == FAILING, told(ran)
        assert rungs(stack) == []
        time.sleep(max(0.0, psutil.Process(hung).create_time() + 6.2 - time.time()))

        def mend_once_killed() -> None:
            wait_for(lambda: not psutil.pid_exists(hung), "the hung worker to go", within=60)
            (stack.app_dir / "hang").unlink()

        mending = threading.Thread(target=mend_once_killed, daemon=True)
        mending.start()
        ran = once(stack)
        assert ran.exit_code == RECOVERED, told(ran)
        mending.join(10)
        assert rungs(stack)[0] == "kill_worker"
        assert status(stack)["trouble"] is None
        assert answers(stack)


INSISTS = """
from flask import Flask, abort, jsonify, redirect, request

app = Flask(__name__)

@app.before_request
def insist():
    if request.headers.get("X-Forwarded-Proto") != "https":
        return redirect("https://gte.lab.example" + request.path, 301)
    if request.host != "gte.lab.example":
        abort(400)

@app.get("/health")
def health():
    return jsonify(status="ok", service="insists")

@app.post("/predict")
def predict():
    return jsonify(result={})
"""


@pytest.mark.parametrize("named", [True, False], ids=["settings name it", "nginx names it"])
def test_a_service_that_insists_on_its_name_and_on_https_is_healthy(named: bool) -> None:
    with watched(app=INSISTS) as stack:
        if not named:
            del stack.config["target"]["domain"]
            del stack.config["target"]["url"]
            stack.write_config()
        ran = once(stack)
        assert ran.exit_code == HEALTHY, told(ran)


def test_a_model_that_loads_slowly_is_waited_for_while_health_is_answered() -> None:
    """The service's own records: booting until its models stand, whatever /health has completed meanwhile."""
    with watched(
        app=SLOW_LOADING_APP, workers=1, boot="60s", deadline="1s", failures=1, wait="answering"
    ) as stack:
        wait_for(lambda: stack.request(path="/ready", door="backend").status == 200, "the models", within=30)
        assert once(stack).exit_code == HEALTHY
        (stack.app_dir / "hang").touch()
        stack.restart_gunicorn()
        before = [w.pid for w in stack.gunicorn_workers]
        for _ in range(2):
            assert answers(stack, 4)
            # A completion is in the record a moment after its answer.
            wait_for(
                lambda: [(r["phase"], r["completed"] > 3) for r in stack.progress()] == [("booting", True)],
                "a booting record with the answers in it",
            )
            ran = once(stack)
            assert ran.exit_code == FAILING, told(ran)
            assert status(stack)["state"] == "booting"
        (stack.app_dir / "hang").unlink()
        wait_for(lambda: once(stack).exit_code == HEALTHY, "it to serve", within=30)
        assert rungs(stack) == []
        assert [w.pid for w in stack.gunicorn_workers] == before


@pytest.mark.long
def test_a_slow_boot_is_waited_for() -> None:
    with watched(app=BOOT_HANG_APP, boot="30s", workers=1, failures=1) as stack:
        (stack.app_dir / "hang").touch()
        stack.stop_gunicorn()
        stack.start_gunicorn(wait="nothing")
        wait_for(lambda: stack.gunicorn_workers, "a worker")
        for _ in range(2):
            ran = once(stack)
            assert ran.exit_code == FAILING, told(ran)
            assert "booting" in ran.stdout
        (stack.app_dir / "hang").unlink()
        wait_for(lambda: answers(stack, 1), "an answer", within=20)
        assert once(stack).exit_code == HEALTHY
        assert rungs(stack) == []


def test_master_killed() -> None:
    with watched(workers=1) as stack:
        stack.kill_gunicorn()
        ran = rounds_until(stack, RECOVERED, at_most=3)
        assert [r.exit_code for r in ran] == [FAILING, RECOVERED], "\n".join(map(told, ran))
        assert rungs(stack) == ["restart"]
        assert answers(stack)
        # What was started is not the watchdog's child any more, and serves on.
        assert once(stack).exit_code == HEALTHY
        assert "GUN001" in evidence(stack)["doctor.json"]


def test_master_stopped_is_continued_with_its_workers() -> None:
    with watched(workers=1) as stack:
        before = {p.pid for p in (stack.gunicorn_master, *stack.gunicorn_workers) if p}
        stack.signal_gunicorn(signal.SIGSTOP)
        rounds_until(stack, RECOVERED, at_most=3)
        assert rungs(stack) == ["continue_master"]
        assert before == {p.pid for p in (stack.gunicorn_master, *stack.gunicorn_workers) if p}


def test_one_message_when_it_begins_and_one_when_it_ends() -> None:
    received: list[str] = []

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server, watched(workers=1) as stack:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stack.config["notify"] = {"urls": [f"json://127.0.0.1:{server.server_port}/"]}
        stack.write_config()
        stack.kill_gunicorn()
        rounds_until(stack, RECOVERED, at_most=3)
        wait_for(lambda: once(stack) and len(received) >= 2, "both messages", within=30)
        server.shutdown()
    assert len(received) == 2
    assert "GUN001" in received[0]
    assert "watchdog-evidence" in received[0]
    assert "restarted gunicorn" in received[1]


def test_another_program_on_the_port_is_left_alone() -> None:
    with watched(workers=1) as stack:
        stack.stop_gunicorn()
        host, _, port = stack.bind.rpartition(":")
        foreign = stack.spawn(sys.executable, "-m", "http.server", port, "--bind", host)
        stack.wait_until_listening(stack.bind)
        for _ in range(3):
            ran = once(stack)
            assert ran.exit_code == FAILING, told(ran)
            assert str(foreign) in ran.stdout
        assert rungs(stack) == []
        assert psutil.pid_exists(foreign)


def test_a_service_that_cannot_boot_is_not_restarted_in_a_loop_and_mends_with_its_cause() -> None:
    with watched(app=CRASHING_APP, workers=1) as stack:
        (stack.app_dir / "broken").touch()
        stack.stop_gunicorn()
        stack.start_gunicorn(wait="nothing")
        wait_for(lambda: "Worker failed to boot" in stack.gunicorn_said(), "the failure", within=20)
        wait_for(lambda: stack.gunicorn_master is None, "gunicorn to give up", within=20)
        for _ in range(4):
            ran = once(stack)
            assert ran.exit_code == FAILING, told(ran)
        assert rungs(stack) == [], "a restart does not mend GUN003"
        assert status(stack)["holding"]
        assert "GUN003" in status(stack)["trouble"]["causes"]
        # The cause is mended: a file of the application changes, and that is tried at once.
        (stack.app_dir / "broken").unlink()
        stack.app_file.write_text(CRASHING_APP + "\n")
        rounds_until(stack, RECOVERED, at_most=2)
        assert rungs(stack) == ["restart"]


@pytest.mark.long
def test_saturation_is_told_and_nothing_is_done() -> None:
    with watched(workers=2, worker_class="sync", threads=None, deadline="5s") as stack:
        before = {w.pid for w in stack.gunicorn_workers}
        ended = threading.Event()

        def ask() -> None:
            while not ended.is_set():
                stack.request(path="/slow", door="backend", timeout=30)

        clients = [threading.Thread(target=ask, daemon=True) for _ in range(16)]
        for client in clients:
            client.start()
        try:
            wait_for(lambda: (stack.queued() or 0) > 4, "requests to queue")
            codes = [once(stack).exit_code for _ in range(4)]
        finally:
            ended.set()
        assert set(codes) == {HEALTHY}
        assert rungs(stack) == []
        assert {w.pid for w in stack.gunicorn_workers} == before
        for client in clients:
            client.join(20)


@pytest.mark.long
def test_a_pause_during_a_fault() -> None:
    with watched(workers=1) as stack:
        config = ("--config", str(stack.config_file))
        assert stack.gte_ops("watchdog", "pause", "10m", *config).exit_code == 0
        stack.kill_gunicorn()
        for _ in range(3):
            assert once(stack).exit_code == FAILING
        assert rungs(stack) == []
        assert status(stack)["paused_until"]
        assert stack.gte_ops("watchdog", "pause", "2s", *config).exit_code == 0
        wait_for(
            lambda: not status(stack)["paused_until"], "the pause to end by itself", within=15, every=0.2
        )
        rounds_until(stack, RECOVERED, at_most=2)


def test_two_at_once_and_a_state_that_cannot_be_written() -> None:
    with watched(workers=1) as stack:
        with resident(stack):
            ran = once(stack)
            assert ran.exit_code == UNJUDGED
            assert "locked" in ran.stderr
        # A directory where the state should be: it can neither be read nor replaced.
        stack.config["watchdog"]["state_file"] = str(stack.gunicorn_conf / "watchdog.json")
        stack.write_config()
        ran = once(stack)
        assert ran.exit_code == HEALTHY, told(ran)
        assert "state_unwritable" in ran.stderr
        stack.kill_gunicorn()
        for _ in range(3):
            ran = once(stack)
            assert ran.exit_code == FAILING, told(ran)
        assert stack.gunicorn_master is None, (
            "without a memory, cron's rounds would restart it again and again"
        )


def test_killed_in_the_middle() -> None:
    _kill_at_random_points(points=4, seed=1)


@pytest.mark.long
def test_killed_at_two_hundred_points() -> None:
    _kill_at_random_points(points=200, seed=2)


def _kill_at_random_points(points: int, seed: int) -> None:
    """SIGKILL to `--once` at any moment of a recovery: the state stays whole, and the fault is mended in the end."""
    import random

    chance = random.Random(seed)
    with watched(workers=2, failures=1) as stack:
        for _ in range(points):
            before = len(rungs(stack))
            stack.signal_workers(signal.SIGSTOP, count=1)
            pid = launch(stack, "--once", output=stack.logs / "killed.log")
            time.sleep(chance.uniform(0.1, 2.5))
            if stack.keeper.exit_code(pid) is None:
                os.kill(pid, signal.SIGKILL)
            wait_for(lambda pid=pid: stack.keeper.exit_code(pid) is not None, "its end")  # type: ignore[misc]
            json.loads((stack.run / "watchdog.json").read_bytes())
            rounds_until(stack, HEALTHY, at_most=4) if _is_mended(stack) else _mend(stack)
            taken = len(rungs(stack)) - before
            assert taken <= 2, f"{taken} actions for one fault"
            # The budget must not end the run: each fault here is a new one.
            _forget_actions(stack)
        assert not list(stack.run.glob("watchdog.json.torn-*"))
        assert answers(stack)


def _is_mended(stack: Stack) -> bool:
    return all(w.status() != psutil.STATUS_STOPPED for w in stack.gunicorn_workers)


def _mend(stack: Stack) -> None:
    for _ in range(4):
        if once(stack).exit_code in (HEALTHY, RECOVERED):
            return
    raise AssertionError(status(stack))


def _forget_actions(stack: Stack) -> None:
    file = stack.run / "watchdog.json"
    state = json.loads(file.read_bytes())
    file.write_text(json.dumps(state | {"actions": [], "pending": None}))


def test_resident_a_wedged_worker_is_replaced_and_no_healthy_request_is_lost() -> None:
    """At a poll of 1 s: found at the deadline, proven a dump's gap later; meanwhile the other worker serves."""
    with watched(workers=2) as stack, resident(stack):
        victim = stack.gunicorn_workers[0].pid
        stick(stack, "/stick", victim=victim, count=2)
        began = time.monotonic()
        wait_for(lambda: not psutil.pid_exists(victim), "the wedged worker to go", within=20)
        assert time.monotonic() - began < 2 + 15
        wait_for(lambda: status(stack)["last_recovery_seconds"], "the recovery to be noted", within=20)
        assert rungs(stack) == ["kill_worker"]
        assert answers(stack, 20)


def test_resident_a_killed_master_is_started_and_outlives_the_watchdog() -> None:
    with watched(workers=1, failures=3) as stack:
        stack.config["watchdog"]["interval"] = "60s"
        stack.write_config()
        with resident(stack):
            wait_for(lambda: status(stack)["state"] == "healthy", "the first round")
            # Neither the next round nor the third failure is waited for: that it is gone is certain.
            stack.kill_gunicorn()
            wait_for(lambda: status(stack)["last_recovery_seconds"], "the recovery", within=25)
            assert rungs(stack) == ["restart"]
        assert answers(stack)


@pytest.mark.long
def test_a_stuck_request_beside_healthy_threads_ends_its_worker_in_order() -> None:
    with watched(workers=1, threads=4, deadline="1s") as stack:
        victim = stack.gunicorn_workers[0].pid
        stick(stack, "/stick", victim=victim, count=1)
        ask_aside(stack, "/health")
        time.sleep(3.2)
        rounds_until(stack, RECOVERED, at_most=4)
        assert rungs(stack)[0] in ("terminate_worker", "kill_worker")
        assert victim not in {w.pid for w in stack.gunicorn_workers}
