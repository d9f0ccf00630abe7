"""A seventh collection, the application's and the host's part: rebuilt from public reports before the doctor was asked
about any of it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import venv
from pathlib import Path

import psutil
import xxhash

from tests.lab.applications import FASTAPI, UVICORN_WORKER
from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import answers
from tests.lab.faults.host import small_file_system
from tests.lab.reported.case import Kind, healthy, needs_root, report
from tests.lab.reported.users import always, predicts
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for

RAISES = ("APP020", "APP004")


def _importing(*modules: str) -> str:
    """The plain application, which imports these as well."""
    return PLAIN_APP.replace("from flask", "".join(f"import {name}\n" for name in modules) + "from flask")


def _partner(stack: Stack, address: str, handle: type[socketserver.BaseRequestHandler]) -> int:
    """Another server at an address of its own, until the stack ends; returns its port."""
    server = socketserver.ThreadingTCPServer((address, 0), handle)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stack.at_end(server.server_close)
    stack.at_end(server.shutdown)
    return int(server.server_address[1])


def _failed_start(stack: Stack, words: str) -> None:
    """Starts gunicorn, which says ``words`` and does not come up."""
    stack.start_gunicorn(wait="nothing")
    wait_for(lambda: words in stack.gunicorn_said(), "gunicorn to fail", within=30)


def _as_before(stack: Stack) -> None:
    stack.app_file.write_text(PLAIN_APP)
    stack.start_gunicorn()


# --- starts that fail -------------------------------------------------------------------------------------------------


def _make_environment_anew(stack: Stack) -> None:
    library = stack.directory / "venv" / "lib"
    (library / "python3.9").rename(library / f"python{sys.version_info[0]}.{sys.version_info[1]}")
    stack.start_gunicorn()


@report(
    Kind.START,
    "PnX-SI/GeoNature#2987",
    sees=answers(502),
    repair=_make_environment_anew,
    codes=("GUN001", "GUN003"),
    says=("No module named 'gunicorn'", "python3.9"),
    app=PLAIN_APP,
    layout="guide",
)
def environment_is_of_the_python_before_the_upgrade(stack: Stack) -> None:
    """sickchill#7721, gunicorn#2662: the system's python3 is another now; what was installed lies below the old one."""
    stack.stop_gunicorn()
    own = stack.directory / "venv"
    venv.create(own, symlinks=True)
    library = own / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    there = next(path for path in sys.path if path.endswith("site-packages"))
    (library / "site-packages" / "installed.pth").write_text(f"{there}\n")
    script = own / "bin" / "gunicorn"
    script.write_text(f"#!{own}/bin/python\nfrom gunicorn.app.wsgiapp import run\nrun()\n")
    script.chmod(0o755)
    stack.python = str(own / "bin" / "python")
    stack.config["gunicorn"]["start_command"] = stack.gunicorn_command()
    stack.config["app"]["python"] = stack.python
    stack.write_config()
    stack.start_gunicorn()
    stack.stop_gunicorn()
    library.rename(library.with_name("python3.9"))
    _failed_start(stack, "No module named 'gunicorn'")


def _take_the_variable_out(stack: Stack) -> None:
    stack.launcher = []
    stack.start_gunicorn()


@report(
    Kind.START,
    "guigolab/ggsashimi#49",
    sees=answers(502),
    repair=_take_the_variable_out,
    codes=("GUN001", "GUN003"),
    says=("No module named 'encodings'", "PYTHONHOME"),
    app=PLAIN_APP,
    layout="guide",
)
def variable_moves_python_s_own_library(stack: Stack) -> None:
    """docker-homeassistant#115: Python looks for its library there, and does not come to run anything."""
    stack.stop_gunicorn()
    stack.launcher = ["env", "PYTHONHOME=/opt/python3.9"]
    _failed_start(stack, "No module named 'encodings'")


def _allow_to_run(stack: Stack) -> None:
    place = str(stack.directory / "vendor")
    subprocess.run(["mount", "-o", "remount,exec", place], check=True)
    stack.start_gunicorn()


@report(
    Kind.START,
    "GrahamDumpleton/mod_wsgi#758",
    sees=answers(502),
    repair=_allow_to_run,
    codes=("GUN003",),
    says=("failed to map segment from shared object", "noexec"),
    impossible=needs_root,
    app=PLAIN_APP,
    layout="guide",
)
def library_lies_where_nothing_may_be_run(stack: Stack) -> None:
    """node-memwatch#11, mitmproxy#8211: a hardened mount; the file is there, and everybody may read it."""
    stack.stop_gunicorn()
    vendor = small_file_system(stack, "vendor", "size=8m,noexec")
    shutil.copytree(Path(xxhash.__file__).parent, vendor / "xxhash")
    stack.app_file.write_text(f"import sys\nsys.path.insert(0, {str(vendor)!r})\nimport xxhash\n{PLAIN_APP}")
    _failed_start(stack, "failed to map segment")


@report(
    Kind.START,
    "pydantic/pydantic-core#1201",
    sees=answers(502),
    repair=_as_before,
    codes=("GUN003",),
    says=("No module named 'tariff._core'", "cpython-39", "pip install"),
    app=PLAIN_APP,
    layout="guide",
)
def extension_is_built_for_another_python(stack: Stack) -> None:
    """driver#4, pydantic-core#1205: the package was copied from another host, with what was compiled there."""
    stack.stop_gunicorn()
    package = stack.app_dir / "tariff"
    package.mkdir()
    (package / "__init__.py").write_text("from ._core import price\n")
    (package / "_core.cpython-39-x86_64-linux-gnu.so").write_bytes(b"\x7fELF" + b"\0" * 100)
    stack.app_file.write_text(_importing("tariff"))
    _failed_start(stack, "No module named 'tariff._core'")


TRAINING = """
import torch

class Scorer(torch.nn.Module):
    pass

import sys
module = type(sys)("scorer")
Scorer.__module__ = "scorer"
module.Scorer = Scorer
sys.modules["scorer"] = module
torch.save(Scorer(), "scorer.pt")
"""


@report(
    Kind.START,
    "e3nn/e3nn#519",
    sees=answers(502),
    repair=_as_before,
    codes=("GUN003",),
    says=("Weights only load failed", "app.py", "weights_only", "torch"),
    app=PLAIN_APP,
    layout="guide",
)
def model_is_loaded_by_a_newer_library(stack: Stack) -> None:
    """adetailer#771, LocalAIVtuber#51: since torch 2.6 torch.load takes tensors alone, and the model is a whole
    object."""
    stack.stop_gunicorn()
    subprocess.run([sys.executable, "-c", TRAINING], cwd=stack.app_dir, check=True)
    stack.app_file.write_text(f"import torch\nmodel = torch.load('scorer.pt')\n{PLAIN_APP}")
    _failed_start(stack, "Weights only load failed")


STARTING_APP = FASTAPI.replace("app = FastAPI()", "").replace(
    "from fastapi import FastAPI",
    """
import contextlib

from fastapi import FastAPI


@contextlib.asynccontextmanager
async def lifespan(_app):
    with open("weights.bin", "rb") as file:
        file.read()
    yield


app = FastAPI(lifespan=lifespan)
""",
)


def _lay_down_the_weights(stack: Stack) -> None:
    (stack.app_dir / "weights.bin").write_bytes(b"0")
    stack.start_gunicorn()


@report(
    Kind.START,
    "Kludex/uvicorn#1066",
    sees=answers(502),
    repair=_lay_down_the_weights,
    codes=("GUN003", "MOD001"),
    says=("No such file or directory: 'weights.bin'", "app.py"),
    app=FASTAPI,
    worker_class=UVICORN_WORKER,
    layout="guide",
)
def startup_of_the_application_fails(stack: Stack) -> None:
    """fastapi#5370, fastapi#253: its module is imported well; what it does at the beginning raises, in each worker
    anew."""
    stack.stop_gunicorn()
    stack.app_file.write_text(STARTING_APP)
    _failed_start(stack, "weights.bin")


# --- what the application needs from the host -------------------------------------------------------------------------

CONVERTING_APP = (
    _importing("subprocess")
    + """
@app.get("/report")
def report():
    return jsonify(report=subprocess.run(["pdf-convert"], capture_output=True, text=True).stdout)
"""
)


def _give_it_the_path(stack: Stack) -> None:
    stack.set_service_environment(PATH=f"{stack.directory}/tools:{stack.environment()['PATH']}")
    stack.restart_gunicorn()


@report(
    Kind.PART,
    "fHDHR/fHDHR#35",
    sees=lambda stack: always(stack, "/report", 500),
    repair=_give_it_the_path,
    codes=RAISES,
    says=("No such file or directory: 'pdf-convert'", "/report", "PATH"),
    app=CONVERTING_APP,
    layout="guide",
)
def program_is_not_on_the_service_s_path(stack: Stack) -> None:
    """CompACT#3, refacer#29: it is on the PATH of whoever tried it, and not of the unit."""
    tools = stack.directory / "tools"
    tools.mkdir()
    (tools / "pdf-convert").write_text("#!/bin/sh\necho done\n")
    (tools / "pdf-convert").chmod(0o755)


LOCKING_APP = (
    _importing("multiprocessing")
    + """
@app.get("/report")
def report():
    with multiprocessing.Lock():
        return jsonify(report=[])
"""
)


def _open_the_memory(stack: Stack) -> None:
    stack.launcher = []
    stack.restart_gunicorn()


@report(
    Kind.PART,
    "ansible/ansible#13830",
    sees=lambda stack: always(stack, "/report", 500),
    repair=_open_the_memory,
    codes=RAISES,
    says=("/report", "/dev/shm"),
    impossible=needs_root,
    app=LOCKING_APP,
    layout="guide",
)
def semaphores_are_refused(stack: Stack) -> None:
    """travis-ci#943, cpython#93253: they are files in shared memory, and the message names none."""
    mount = "mount -t tmpfs -o mode=0700,uid=65534 tmpfs /dev/shm"
    rights = "setpriv --bounding-set=-dac_override,-dac_read_search"
    stack.launcher = ["unshare", "-m", "sh", "-c", f'{mount} && exec {rights} "$@"', "sh"]
    stack.restart_gunicorn()


LOCALE_APP = (
    _importing("locale")
    + """
@app.get("/report")
def report():
    locale.setlocale(locale.LC_ALL, "de_DE.UTF-8")
    return jsonify(report=locale.currency(5))
"""
)


@report(
    Kind.PART,
    "onaio/onadata#2634",
    sees=lambda stack: always(stack, "/report", 500),
    repair=lambda stack: stack.edit(stack.app_file, "de_DE.UTF-8", "C.UTF-8"),
    codes=RAISES,
    says=("unsupported locale setting", "/report", "locale-gen"),
    app=LOCALE_APP.replace("locale.currency(5)", "[]"),
    layout="guide",
)
def locale_is_not_on_the_host(_stack: Stack) -> None:
    """gratipay#966: a small image has one locale, and the developer's machine had all."""


NOTES_APP = _importing("sqlite3") + (  # noqa: S608  a program's text
    """
ALL_NOTES = "SELECT text FROM notes"

@app.get("/notes")
def notes():
    with sqlite3.connect("notes.db") as database:
        return jsonify(notes=database.execute(ALL_NOTES).fetchall())
"""
)


def _new_notes(stack: Stack) -> None:
    import sqlite3

    (stack.app_dir / "notes.db").unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(stack.app_dir / "notes.db")) as database:
        database.execute("CREATE TABLE notes (text TEXT)")
        database.executemany("INSERT INTO notes VALUES (?)", [("x" * 900,) for _ in range(200)])
        database.commit()


@report(
    Kind.PART,
    "ArchiveBox/ArchiveBox#955",
    sees=lambda stack: always(stack, "/notes", 500),
    repair=_new_notes,
    codes=RAISES,
    says=("database disk image is malformed", "/notes", "integrity_check"),
    app=NOTES_APP,
    layout="guide",
)
def database_file_is_damaged(stack: Stack) -> None:
    """codex#80, sqlitedict#149: copied while it was written to, or the power failed."""
    _new_notes(stack)
    with (stack.app_dir / "notes.db").open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 40_000)


TOKEN_APP = (
    _importing("jwt", "time")
    + """
@app.get("/launch")
def launch():
    token = jwt.encode({"iat": int(time.time()) + 300, "user": "a"}, "k" * 32, algorithm="HS256")
    return jsonify(user=jwt.decode(token, "k" * 32, algorithms=["HS256"])["user"])
"""
)


@report(
    Kind.PART,
    "dmitry-viskov/pylti1.3-flask-example#31",
    sees=lambda stack: always(stack, "/launch", 500),
    repair=lambda stack: stack.edit(stack.app_file, "+ 300", "+ 0"),
    codes=RAISES,
    says=("The token is not yet valid (iat)", "/launch", "clock"),
    app=TOKEN_APP,
    layout="guide",
)
def partner_s_clock_is_ahead(_stack: Stack) -> None:
    """nextstrain/cli#307, tconnectsync#115: whoever signs a token writes his own time into it."""


# --- other servers ----------------------------------------------------------------------------------------------------


class _Silent(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        """Takes the request and answers nothing."""
        with contextlib.suppress(OSError):
            while self.request.recv(4096):
                pass


RATES_APP = (
    _importing("requests")
    + """
@app.get("/rates")
def rates():
    return jsonify(rates=requests.get("http://127.77.0.5:PORT/rates").json())
"""
)


@report(
    Kind.PART,
    "benoitc/gunicorn#1655",
    sees=lambda stack: stack.request(path="/rates").status in (500, 502),
    repair=lambda stack: stack.edit(
        stack.app_file,
        'jsonify(rates=requests.get("http://127.77.0.5',
        'jsonify(rates=[]) or (requests.get("http://127.77.0.5',
    ),
    codes=(),
    says=("/rates", "app.py:", "requests", "timeout="),
    app=RATES_APP,
    worker_class="sync",
    timeout=3,
    layout="guide",
)
def partner_never_answers(stack: Stack) -> None:
    """gunicorn#3233: without a time limit of its own the call waits until gunicorn ends the worker."""
    port = _partner(stack, "127.77.0.5", _Silent)
    stack.app_file.write_text(RATES_APP.replace("PORT", str(port)))
    stack.restart_gunicorn()


class _Mail(socketserver.StreamRequestHandler):
    timeout = 0.7

    def handle(self) -> None:
        """Greets, and hangs up on whoever says nothing for a moment."""
        self.wfile.write(b"220 mail.example ESMTP\r\n")
        with contextlib.suppress(OSError):
            while line := self.rfile.readline():
                ends = b"354 go on\r\n" if line.startswith(b"DATA") else b"250 ok\r\n"
                self.wfile.write(ends)


MAIL_APP = (
    _importing("smtplib")
    + """
mail = smtplib.SMTP("127.77.0.6", PORT, timeout=5)

@app.post("/invite")
def invite():
    mail.sendmail("shop@example.com", ["a@example.com"], "welcome")
    return jsonify(sent=True)
"""
)


def _connect_each_time(stack: Stack) -> None:
    text = stack.app_file.read_text()
    connects = next(line for line in text.splitlines() if line.startswith("mail = "))
    text = text.replace(f"{connects}\n", "").replace(
        "    mail.sendmail(", "    return jsonify(sent=True)\n    ("
    )
    stack.app_file.write_text(text)
    stack.restart_gunicorn()


@report(
    Kind.PART,
    "pixelated/pixelated-user-agent#88",
    sees=lambda stack: always(stack, "/invite", 500, method="POST"),
    repair=_connect_each_time,
    codes=RAISES,
    says=("SMTPServerDisconnected", "/invite", "app.py", "idle"),
    app=PLAIN_APP,
    layout="guide",
)
def connection_is_kept_for_longer_than_the_server_likes(stack: Stack) -> None:
    """django-post_office#118, redash#1868: opened once, used in the morning; the other side has long hung up."""
    port = _partner(stack, "127.77.0.6", _Mail)
    stack.app_file.write_text(MAIL_APP.replace("PORT", str(port)))
    stack.restart_gunicorn()
    time.sleep(1.0)


class _HangsUp(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        """Hangs up at once."""


LEAKING_APP = (
    _importing("socket", "contextlib")
    + """
kept = []

@app.get("/rates")
def rates():
    with contextlib.ExitStack() as opened:
        new = [opened.enter_context(socket.create_connection(("127.77.0.7", PORT), 3)) for _ in range(8)]
        opened.pop_all()
    kept.extend(new)
    return jsonify(rates=len(kept))
"""
)


def _let_it_open_more(stack: Stack) -> None:
    stack.edit(stack.app_file, "kept.extend(new)", "[one.close() for one in new]")


@report(
    Kind.PART,
    "psf/requests#4575",
    sees=lambda stack: always(stack, "/rates", 500),
    repair=_let_it_open_more,
    codes=RAISES,
    says=("Too many open files", "/rates", "127.77.0.7", "CLOSE_WAIT"),
    app=PLAIN_APP,
    worker_class="sync",
    layout="guide",
)
def connections_are_never_closed(stack: Stack) -> None:
    """httpx#1027, ArchiveBot#259: the partner has hung up, and the application holds on to each of them."""
    port = _partner(stack, "127.77.0.7", _HangsUp)
    stack.app_file.write_text(LEAKING_APP.replace("PORT", str(port)))
    stack.restart_gunicorn()
    worker = stack.gunicorn_workers[0]
    most = worker.num_fds() + 2 * 8 + 5
    resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (most, most))


# --- who restarts it --------------------------------------------------------------------------------------------------

SLOW_START_APP = "import time\n\ntime.sleep(1.5)\n" + PLAIN_APP


def _longest_of(stack: Stack, requests: int) -> float:
    """Seconds that the slowest of so many requests took, one after the other."""
    longest = 0.0
    for _ in range(requests):
        began = time.monotonic()
        stack.predict()
        longest = max(longest, time.monotonic() - began)
        time.sleep(0.1)
    return longest


def _no_more_reloads(stack: Stack) -> None:
    (stack.cron / "shop").unlink()
    os.kill(int((stack.run / "crond.pid").read_text()), signal.SIGKILL)
    stack.reload_gunicorn()
    stack.predict()


@report(
    Kind.PART,
    "benoitc/gunicorn#1824",
    sees=lambda stack: _longest_of(stack, 25) > 0.7,
    repair=_no_more_reloads,
    codes=(),
    says=("Handling signal: hup", "cron.d/shop"),
    rewritten=("run/gte-gunicorn.pid",),
    app=SLOW_START_APP,
    worker_class="sync",
    layout="guide",
)
def schedule_reloads_it_all_the_time(stack: Stack) -> None:
    """A line of a crontab against a leak of memory; each time there is nobody to serve until the model is loaded."""
    loop = f"while sleep 2; do kill -HUP $(cat {stack.gunicorn_pidfile}); done"
    (stack.cron / "shop").write_text(f"* * * * * root {loop}\n")
    stack.spawn(
        "sh",
        "-c",
        f"echo $$ >{stack.run}/crond.pid; {loop}",
    )
    wait_for(lambda: stack.gunicorn_said().count("Handling signal: hup") >= 3, "some reloads", within=60)


def _is_aborted_again_and_again(stack: Stack) -> bool:
    """It was started four times, and the one that runs is watched as well."""
    master = stack.gunicorn_master
    watched = master is not None and "WATCHDOG_USEC" in master.environ()
    return watched and stack.gunicorn_said().count("Starting gunicorn") >= 4 and stack.predict().status == 200


def _without_watchdog(stack: Stack) -> None:
    stack.edit(stack.systemd / "shop.service", "WatchdogSec=4\n", "", apply=False)
    stack.launcher = []
    stack.restart_gunicorn()


@report(
    Kind.FIX,
    "benoitc/gunicorn#2726",
    sees=_is_aborted_again_and_again,
    repair=_without_watchdog,
    codes=(),
    says=("WatchdogSec", "shop.service"),
    app=PLAIN_APP,
    layout="guide",
)
def systemd_waits_for_a_sign_of_life(stack: Stack) -> None:
    """gunicorn tells systemd that it is ready and nothing after that, so systemd aborts it, again and again."""
    stack.stop_gunicorn()
    stack.edit(stack.gunicorn_conf, "daemon = True\n", "", apply=False)
    (stack.systemd / "shop.service").write_text(
        "[Unit]\nDescription=Shop\n[Service]\nType=notify\nWatchdogSec=4\nRestart=always\n"
        f"ExecStart={' '.join(stack.gunicorn_command())}\nWorkingDirectory={stack.app_dir}\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
    stack.launcher = ["env", "WATCHDOG_USEC=4000000"]
    for _ in range(3):
        stack.start_gunicorn()
        stack.predict()
        time.sleep(4)
        master, workers = stack.gunicorn_master, stack.gunicorn_workers
        assert master
        master.send_signal(signal.SIGABRT)
        psutil.wait_procs(workers, timeout=10)
        stack.predict()
    stack.start_gunicorn()


# --- unusual, and healthy ---------------------------------------------------------------------------------------------


NOISY_APP = (
    _importing("logging", "logging.handlers")
    + """
class Refused(logging.handlers.RotatingFileHandler):
    def doRollover(self):
        raise PermissionError(13, "Permission denied", "/database/shop.log")

log = logging.getLogger("shop")
log.addHandler(Refused("shop.log", maxBytes=50, backupCount=2))

@app.get("/orders")
def orders():
    log.error("somebody asked for the orders, as everybody does")
    return jsonify(orders=[])
"""
)


@healthy(
    "lbryio/hub#60",
    serves=lambda stack: predicts(stack) and always(stack, "/orders", 200),
    app=NOISY_APP,
    layout="guide",
)
def logger_prints_its_own_failures(stack: Stack) -> None:
    """A handler of the log cannot rotate and prints a traceback each time; every request is answered."""
    for _ in range(10):
        stack.request(path="/orders")


UPLOADING_APP = FASTAPI + (
    """
from fastapi import Request

@app.post("/upload")
async def upload(request: Request):
    return {"bytes": len(await request.body())}
"""
)


def _gives_up(stack: Stack) -> None:
    with contextlib.suppress(OSError), socket.create_connection(stack.https, 3) as raw:
        import ssl

        context = ssl.create_default_context(cafile=str(stack.ca_file))
        with context.wrap_socket(raw, server_hostname=stack.domain) as client:
            client.sendall(
                f"POST /upload HTTP/1.1\r\nHost: {stack.domain}\r\nContent-Length: 900000\r\n\r\n".encode()
            )
            client.sendall(b"x" * 50_000)
            time.sleep(0.2)


@healthy(
    "modelcontextprotocol/python-sdk#2161",
    serves=lambda stack: predicts(stack) and stack.request("POST", "/upload", body="x" * 1000).status == 200,
    app=UPLOADING_APP,
    worker_class=UVICORN_WORKER,
    layout="guide",
)
def visitors_close_the_page_while_they_upload(stack: Stack) -> None:
    """Each leaves a traceback of ClientDisconnect, and nobody waits for the answer."""
    place = "    location / {\n        limit_req"
    unbuffered = (
        "    location /upload {\n        proxy_request_buffering off;\n        proxy_http_version 1.1;\n"
        f"        proxy_pass http://{stack.bind};\n        proxy_set_header Host $host;\n    }}\n"
    )
    stack.edit(stack.site_file, place, f"{unbuffered}{place}")
    for _ in range(4):
        _gives_up(stack)
    for _ in range(6):
        stack.request("POST", "/upload", body="x" * 1000)


@healthy(
    "azavea/nyc-trees#894",
    serves=predicts,
    app=SLOW_START_APP,
    workers=2,
    layout="guide",
)
def rotation_of_the_logs_reloads_it(stack: Stack) -> None:
    """The rule for the logs ends with a reload; each night one, and the old workers serve until the new ones do."""
    for _ in range(4):
        stack.predict()
    for log in (stack.gunicorn_access_log, stack.gunicorn_error_log):
        log.rename(f"{log}.1")
    stack.signal_gunicorn(signal.SIGUSR1)
    wait_for(stack.gunicorn_error_log.exists, "the logs to be opened anew", within=10)
    stack.reload_gunicorn()
    wait_for(lambda: stack.predict().status == 200, "the new workers", within=10)
