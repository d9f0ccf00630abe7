"""gunicorn: its master, its workers, its settings."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from tests.lab.applications import FASTAPI as ASGI_APP
from tests.lab.applications import UVICORN_WORKER
from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import answers, fault, meets
from tests.lab.faults.nginx import SLOW_APP
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for

DEADLOCK_APP = """
import threading
from flask import Flask, jsonify

app = Flask(__name__)
lock = threading.Lock()

@app.get("/health")
def health():
    return jsonify(status="ok", service="stuck")

@app.post("/predict")
def predict():
    with lock:
        with lock:
            return jsonify(result={})
"""

BUSY_APP = """
import time
from flask import Flask, jsonify

app = Flask(__name__)

@app.get("/health")
def health():
    return jsonify(status="ok", service="busy")

@app.post("/predict")
def predict():
    time.sleep(0.4)
    return jsonify(result={})
"""

IMPORT_ERROR_APP = "from flask import Flask\nimport a_package_nobody_has\n\napp = Flask(__name__)\n"


@fault("GUN001", sees=answers(502))
def gunicorn_is_killed(stack: Stack) -> None:
    stack.kill_gunicorn()


@fault("GUN001", sees=answers(502))
def gunicorn_is_stopped(stack: Stack) -> None:
    stack.stop_gunicorn()


@fault("GUN001", sees=answers(502), unix_socket=True)
def gunicorn_on_a_socket_is_killed(stack: Stack) -> None:
    stack.kill_gunicorn()


@fault("GUN002", sees=lambda stack: stack.predict().status == 200, severity="warn")
def pidfile_names_a_process_that_is_gone(stack: Stack) -> None:
    # The pid of a process that ended; nothing can have taken it within this test's time.
    gone = stack.spawn(sys.executable, "-c", "pass")
    wait_for(lambda: stack.keeper.exit_code(gone) is not None, "the process to end")
    stack.gunicorn_pidfile.write_text(f"{gone}\n")


@fault("GUN016", sees=lambda stack: stack.predict().status == 200)
def master_is_stopped(stack: Stack) -> None:
    stack.signal_gunicorn(signal.SIGSTOP)


@fault("GUN003", sees=answers(502), explains=("GUN001",))
def application_does_not_import(stack: Stack) -> None:
    stack.stop_gunicorn()
    (stack.app_dir / "broken.py").write_text(IMPORT_ERROR_APP)
    stack.wsgi = "broken:app"
    stack.start_gunicorn(wait="nothing")
    wait_for(lambda: "Worker failed to boot" in stack.gunicorn_said(), "gunicorn to give up", within=20)
    wait_for(lambda: stack.gunicorn_master is None, "gunicorn to end", within=20)


@fault("GUN003", sees=answers(502), explains=("GUN001",), app=PLAIN_APP, gunicorn_extra="preload_app = True")
def application_does_not_import_before_the_fork(stack: Stack) -> None:
    """The master ends before there is a worker: Python's traceback alone stands in the log, without a time."""
    stack.stop_gunicorn()
    (stack.app_dir / "broken.py").write_text(IMPORT_ERROR_APP)
    stack.wsgi = "broken:app"
    stack.start_gunicorn(wait="nothing")
    wait_for(
        lambda: "a_package_nobody_has" in stack.gunicorn_error_log.read_text(), "the traceback", within=20
    )
    wait_for(lambda: stack.gunicorn_master is None, "gunicorn to end", within=20)


@fault(
    "GUN004",
    sees=lambda stack: stack.predict().status in (500, 502),
    app=SLOW_APP,
    timeout=1,
    worker_class="sync",
)
def worker_takes_longer_than_the_timeout(stack: Stack) -> None:
    stack.predict()
    wait_for(lambda: "WORKER TIMEOUT" in stack.gunicorn_said(), "gunicorn to kill the worker", within=20)


@fault("GUN006", sees=meets("timeout", timeout=1.0), app=BUSY_APP, app_progress=True, worker_class="sync")
def all_workers_are_busy(stack: Stack) -> None:
    stack.load(clients=12)
    wait_for(lambda: (stack.queued() or 0) > 3, "requests to queue")


@fault("GUN006", sees=meets("timeout", timeout=1.0), app=BUSY_APP, worker_class="sync")
def all_workers_are_busy_without_records(stack: Stack) -> None:
    stack.load(clients=12)
    wait_for(lambda: (stack.queued() or 0) > 3, "requests to queue")


@fault("GUN007", sees=meets("timeout", timeout=1.0))
def everything_is_stopped(stack: Stack) -> None:
    stack.signal_workers(signal.SIGSTOP)
    stack.signal_gunicorn(signal.SIGSTOP)


@fault("GUN007", sees=meets("timeout", timeout=1.0), layout="guide", worker_class="sync", workers=2)
def all_workers_are_stopped(stack: Stack) -> None:
    stack.signal_workers(signal.SIGSTOP)


@fault("GUN007", sees=meets("timeout", timeout=1.0), app=DEADLOCK_APP, worker_class="sync")
def worker_waits_for_a_lock_forever(stack: Stack) -> None:
    stack.predict(timeout=0.2)


@fault("GUN007", sees=meets("timeout", timeout=1.0), app=DEADLOCK_APP, worker_class="gthread", threads=8)
def predictions_hang_while_health_answers(_stack: Stack) -> None:
    """Every prediction waits for a lock nobody gives back; /health has threads left."""


def is_not_preloaded(stack: Stack) -> bool:
    """The application was loaded by the workers: the setting had no effect."""
    return "preload_app = True" not in stack.gunicorn_conf.read_text() and stack.predict().status == 200


@fault("GUN008", sees=is_not_preloaded, severity="warn", layout="guide", traps=["preload", "bind_ssl"])
def guide_settings_are_ignored(_stack: Stack) -> None:
    """preload and bind_ssl, as the guide writes them."""


@fault(
    "GUN008",
    sees=lambda stack: stack.predict().status == 200,
    severity="warn",
    gunicorn_extra="time_out = 120\n",
)
def setting_is_misspelt(_stack: Stack) -> None:
    """A name that is almost one of gunicorn's."""


def serves(stack: Stack) -> bool:
    """Users meet nothing yet."""
    return stack.predict().status == 200


@fault("GUN009", sees=serves, severity="warn", gunicorn_args=["--reload"])
def reloader_is_on(_stack: Stack) -> None:
    """--reload on the command line."""


@fault("GUN009", sees=serves, severity="warn", service_environment={"GUNICORN_CMD_ARGS": "--reload"})
def reloader_is_on_by_the_environment(_stack: Stack) -> None:
    """--reload in GUNICORN_CMD_ARGS."""


@fault("GUN009", sees=serves, severity="warn", layout="guide", gunicorn_extra="reload = True\n")
def reloader_is_on_by_the_file(_stack: Stack) -> None:
    """reload in the configuration file."""


def written_later(stack: Stack, path: Path) -> None:
    """Changes a file as an editor does, well after the workers started."""
    path.write_text(path.read_text() + "\n# changed\n")
    later = max(worker.create_time() for worker in stack.gunicorn_workers) + 3
    os.utime(path, (later, later))


@fault("GUN011", sees=serves, severity="warn")
def configuration_changed_since(stack: Stack) -> None:
    written_later(stack, stack.gunicorn_conf)


@fault("GUN011", sees=serves, severity="warn", app=PLAIN_APP + "import other\n", wait="nothing")
def a_module_changed_since(stack: Stack) -> None:
    other = stack.app_dir / "other.py"
    other.write_text("x = 1\n")
    stack.stop_gunicorn()
    stack.start_gunicorn(wait="answering")
    written_later(stack, other)


@fault("GUN010", sees=serves, severity="warn", app=PLAIN_APP, workers=2)
def models_do_not_fit(stack: Stack) -> None:
    (stack.model_dir / "model.safetensors").unlink()
    with (stack.model_dir / "pytorch_model.bin").open("wb") as weights:
        weights.truncate(psutil.virtual_memory().total)


@fault("GUN013", sees=serves, severity="warn", layout="guide", gunicorn_extra="max_requests = 0\n")
def workers_are_never_recycled(_stack: Stack) -> None:
    """0 is gunicorn's word for never."""


@fault("GUN012", sees=answers(501))
def another_program_holds_the_port(stack: Stack) -> None:
    stack.stop_gunicorn()
    host, _, port = stack.bind.rpartition(":")
    stack.spawn(sys.executable, "-m", "http.server", port, "--bind", host)
    stack.wait_until_listening(stack.bind)
    stack.start_gunicorn(wait="nothing")
    wait_for(lambda: "in use" in stack.gunicorn_said(), "gunicorn to find its port taken", within=20)
    wait_for(lambda: stack.gunicorn_master is None, "gunicorn to give up", within=20)


def _only_root_makes_others_files() -> str | None:
    return None if os.geteuid() == 0 else "another user's files need root"


@fault(
    "GUN018",
    sees=lambda stack: stack.predict().status == 200,
    severity="warn",
    impossible=_only_root_makes_others_files,
)
def access_log_is_another_user_s_link_to_a_file_of_root_s(stack: Stack) -> None:
    """Written to it is by nobody: what the link leads to is what is asked for."""
    stack.stop_gunicorn()
    secret = stack.directory / "root-only"
    secret.write_text("root's\n")
    stack.gunicorn_access_log.unlink(missing_ok=True)
    stack.gunicorn_access_log.symlink_to(secret)
    os.chown(stack.gunicorn_access_log, 65534, 65534, follow_symlinks=False)
    stack.start_gunicorn()


@fault(
    "GUN019",
    sees=lambda stack: {stack.predict().status for _ in range(16)} >= {200, 500},
    app=PLAIN_APP,
    layout="guide",
    gunicorn_extra="reuse_port = True",
    site={"rate": "6000r/m", "burst": "500"},
)
def gunicorn_of_an_older_checkout_listens_too(stack: Stack) -> None:
    """The same module of another directory, started by hand in a terminal that is still open."""
    old = stack.run / "old"
    old.mkdir()
    (old / "app.py").write_text(
        PLAIN_APP.replace("return jsonify(result", "raise KeyError(1)\n    return jsonify(result")
    )
    gunicorn = str(Path(sys.executable).with_name("gunicorn"))
    log = old / "error.log"
    stack.spawn(
        gunicorn,
        "--reuse-port",
        "-b",
        stack.bind,
        "--chdir",
        str(old),
        "--error-logfile",
        str(log),
        "app:app",
    )
    wait_for(lambda: log.exists() and "Booting worker" in log.read_text(), "the old one to serve", within=20)


@fault(
    "GUN020", sees=answers(502), says=("uvicorn", "shop.service"), app=ASGI_APP, worker_class=UVICORN_WORKER
)
def uvicorn_listens_at_another_port(stack: Stack) -> None:
    """Its unit was given another port, and nginx was not."""
    stack.stop_gunicorn()
    stack.gunicorn_conf.unlink()
    command = (
        sys.executable,
        "-m",
        "uvicorn",
        "app:app",
        "--host",
        stack.address,
        "--port",
        str(stack.free_port()),
    )
    (stack.systemd / "shop.service").write_text(
        f"[Service]\nExecStart={' '.join(command)}\nWorkingDirectory={stack.app_dir}\n"
    )
    stack.spawn(*command, cwd=stack.app_dir)
    stack.wait_until_listening(f"{stack.address}:{command[-1]}")


def is_aborted_again_and_again(stack: Stack) -> bool:
    """It was started four times, and the one that runs is watched as well."""
    master = stack.gunicorn_master
    watched = master is not None and "WATCHDOG_USEC" in master.environ()
    return watched and stack.gunicorn_said().count("Starting gunicorn") >= 4


@fault(
    "GUN039",
    sees=is_aborted_again_and_again,
    says=("WatchdogSec=", "shop.service:4"),
    app=PLAIN_APP,
    layout="guide",
)
def watchdog_of_systemd_ends_it_again_and_again(stack: Stack) -> None:
    """Its unit has WatchdogSec=; systemd's part, an abort and a new start, is played here."""
    stack.stop_gunicorn()
    stack.edit(stack.gunicorn_conf, "daemon = True\n", "", apply=False)
    (stack.systemd / "shop.service").write_text(
        "[Service]\nType=notify\nRestart=always\nWatchdogSec=3s\n"
        f"ExecStart={' '.join(stack.gunicorn_command())}\nWorkingDirectory={stack.app_dir}\n"
    )
    stack.launcher = ["env", "WATCHDOG_USEC=3000000"]
    for _ in range(3):
        stack.start_gunicorn()
        time.sleep(1)
        master, workers = stack.gunicorn_master, stack.gunicorn_workers
        assert master
        master.send_signal(signal.SIGABRT)
        psutil.wait_procs(workers, timeout=10)
    stack.start_gunicorn()


CROWDED_APP = (
    ASGI_APP
    + """

from uvicorn.workers import UvicornWorker


class CrowdedWorker(UvicornWorker):
    CONFIG_KWARGS = {"limit_concurrency": 2}
"""
)


@fault(
    "GUN021",
    sees=answers(503),
    says=("limit_concurrency",),
    app=CROWDED_APP,
    worker_class="app.CrowdedWorker",
)
def idle_connections_fill_the_server_s_limit(stack: Stack) -> None:
    """Connections that somebody opened and does not use count as well."""
    assert isinstance(stack.backend, tuple)
    for _ in range(2):
        stack.hold(socket.create_connection(stack.backend, 5))


FEW_REQUESTS = "max_requests = 3\nmax_requests_jitter = 0\n"


def _waits_for_a_worker(stack: Stack) -> bool:
    """Whether one of some requests waits, though none has anything to do."""
    began = time.monotonic()
    for _ in range(9):
        asked = time.monotonic()
        stack.predict()
        if time.monotonic() - asked > 0.7 and asked - began > 0.7:
            return True
    return False


@fault(
    "GUN022",
    sees=_waits_for_a_worker,
    says=("max_requests = 3",),
    app="import time\n\ntime.sleep(1.5)\n" + PLAIN_APP,
    workers=2,
    worker_class="sync",
    layout="guide",
    gunicorn_extra=FEW_REQUESTS,
)
def workers_are_replaced_after_three_requests(_stack: Stack) -> None:
    """Each loads for a second and a half."""


REPORT_APP = (
    "import time\n"
    + PLAIN_APP
    + """
@app.get("/report")
def report():
    time.sleep(2.5)
    return jsonify(report=[])
"""
)


def _is_cut_off_by_a_restart(stack: Stack) -> bool:
    """Whether somebody who asks for the report as the service is restarted gets 502."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(stack.request, path="/report")
        time.sleep(0.7)
        stack.restart_gunicorn()
        return answer.result().status == 502


@fault(
    "GUN040",
    sees=_is_cut_off_by_a_restart,
    severity="warn",
    says=("/report", "graceful_timeout"),
    app=REPORT_APP,
    workers=2,
    worker_class="sync",
    layout="guide",
    gunicorn_extra="graceful_timeout = 1\n",
)
def restart_does_not_wait_for_the_report(stack: Stack) -> None:
    """Each deployment restarts it, and some request is always on its way."""
    _is_cut_off_by_a_restart(stack)
