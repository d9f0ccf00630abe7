"""Real starts that fail: a directory, what is laid into it, and the command that is to start gunicorn there."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from ops.collect.services.gunicorn import parse_config
from ops.collect.services.last_start import last_start_words
from ops.collect.services.nginx import read_pidfile
from ops.facts.base import NotSeen
from ops.facts.start import LastStart
from ops.facts.target import Target
from ops.interpret.start_failure.kind import Kind
from ops.settings import Settings
from tests.lab.waiting import wait_for
from tests.unit.made_snapshot import HEALTHY, but

HELLO = 'def app(environ, start_response):\n    start_response("200 OK", [])\n    return [b"ok"]\n'
# No start of these takes longer; gunicorn tries an address that is taken for five seconds.
WITHIN = 30.0


@dataclass(frozen=True)
class FailingStart:
    """``files``: contents by name; ``conf``: gunicorn's configuration, ``DIR`` is the directory; ``values``: facts that
    the classification has to have caught; ``where``: the end of FILE:LINE. ``prepare`` returns what is to be closed;
    ``says``: until these words stand in the output three times, where it does not end by itself. ``drop``: without
    capabilities. ``source``: the public report; ``without``: variables that are not set."""

    name: str
    kind: Kind
    files: Mapping[str, str | bytes] = field(default_factory=lambda: {"app.py": HELLO})
    conf: str = ""
    args: tuple[str, ...] = ()
    wsgi: str = "app:app"
    values: Mapping[str, str] = field(default_factory=dict)
    where: str = ""
    prepare: Callable[[Path, ExitStack], None] | None = None
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    says: str = ""
    limits: tuple[tuple[int, int], ...] = ()
    drop: bool = False
    slow: bool = False
    fix: tuple[str, ...] = ()
    source: str = ""
    without: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


def fail_to_start(start: FailingStart, directory: Path) -> LastStart:
    """Start gunicorn with this defect and read, as on a host, what is left of it.

    Raises AssertionError where it does not fail within `WITHIN` seconds."""
    for name, content in start.files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    address = "" if "bind" in start.conf else 'bind = "127.98.1.1:0"\n'
    conf = directory / "gunicorn.conf.py"
    conf.write_text(
        f"{address}workers = 1\ncontrol_socket_disable = True\n" + start.conf.replace("DIR", str(directory))
    )
    output = directory / "gunicorn-output.log"
    command = list(start.command) or [
        sys.executable,
        "-m",
        "gunicorn",
        "-c",
        str(conf),
        *start.args,
        start.wsgi,
    ]
    if start.drop:
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    with ExitStack() as held:
        if start.prepare:
            start.prepare(directory, held)
        _run([word.replace("DIR", str(directory)) for word in command], start, directory, output)
    return read_words(directory, start.wsgi)


def _run(command: list[str], start: FailingStart, directory: Path, output: Path) -> None:
    def limit() -> None:
        for number, value in start.limits:
            resource.setrlimit(number, (value, value))

    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "LC_ALL": "C.UTF-8",
        **start.environment,
    }
    for name in start.without:
        del environment[name]
    with output.open("ab") as file:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=limit,
        )
    try:
        wait_for(
            lambda: process.poll() is not None or bool(start.says and _text(directory).count(start.says) > 2),
            f"{start.name} to fail",
            within=WITHIN,
            every=0.02,
        )
        assert process.returncode != 0, "it started"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _text(directory: Path) -> str:
    files = (directory / "gunicorn-output.log", directory / "error.log")
    return "".join(file.read_text(errors="replace") for file in files if file.exists())


def target_of(directory: Path, wsgi: str) -> Target:
    """The target of a doctor that looks at this directory."""
    conf = directory / "gunicorn.conf.py"
    parse_config(str(conf), conf.read_bytes())
    target = but(
        HEALTHY,
        target__app_dir=str(directory),
        target__gunicorn_master=None,
        target__gunicorn_workers=(),
        target__gunicorn_config_file=str(conf),
        target__gunicorn_error_log=str(directory / "error.log"),
        target__start_command=f"cd {directory} && gunicorn -c {conf} {wsgi}",
        target__python=sys.executable,
        target__python_command=sys.executable,
    ).target
    assert isinstance(target, Target)
    return target


def read_words(directory: Path, wsgi: str) -> LastStart:
    """What the doctor gathers of the last start."""
    pidfile = directory / "gunicorn.pid"
    held = read_pidfile(str(pidfile)) if pidfile.exists() else NotSeen(reason="none")
    return last_start_words(target_of(directory, wsgi), Settings(), wsgi or "?", held)


# --- what is laid beside ---------------------------------------------------------------------------------------------


def holds_the_port(_directory: Path, held: ExitStack) -> None:
    listener = held.enter_context(socket.socket())
    listener.bind(("127.98.1.2", 8765))
    listener.listen()


def pidfile_of_this_process(directory: Path, _held: ExitStack) -> None:
    (directory / "gunicorn.pid").write_text(f"{os.getpid()}\n")


def pidfile_of_a_zombie(directory: Path, held: ExitStack) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    held.callback(os.waitpid, child, 0)
    while Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.001)
    (directory / "gunicorn.pid").write_text(f"{child}\n")


def closed_directory(directory: Path, _held: ExitStack) -> None:
    (directory / "closed").mkdir(mode=0o555)


def closed_file(directory: Path, _held: ExitStack) -> None:
    (directory / "secret.json").chmod(0o000)


def moved_environment(directory: Path, _held: ExitStack) -> None:
    script = directory / "venv" / "bin" / "gunicorn"
    script.parent.mkdir(parents=True)
    script.write_text("#!/srv/old/venv/bin/python\n")
    script.chmod(0o755)


def not_executable(directory: Path, _held: ExitStack) -> None:
    (directory / "gunicorn").write_text("#!/bin/sh\n")


NOT_IN_PACKAGES = "import a_package_nobody_has\n"
RUNS_ITSELF = 'from flask import Flask\napp = Flask(__name__)\napp.run(host="127.98.1.2", port=8765)\n'

STARTS: tuple[FailingStart, ...] = (
    FailingStart(
        "environment variable",
        Kind.VARIABLE,
        {"app.py": 'import os\nos.environ["SHOP_TOKEN_URL"]\n'},
        values={"name": "SHOP_TOKEN_URL"},
        where="app.py:2",
        fix=('raw_env = ["SHOP_TOKEN_URL=VALUE"]',),
    ),
    FailingStart(
        "environment variable in a factory",
        Kind.VARIABLE,
        {"app.py": 'import os\ndef create_app():\n    return os.environ["SHOP_URL"]\n'},
        wsgi="app:create_app()",
        values={"name": "SHOP_URL"},
        where="app.py:3",
    ),
    FailingStart(
        "environment variable, preloaded",
        Kind.VARIABLE,
        {"app.py": 'import os\nos.environ["SHOP_URL"]\n'},
        conf='preload_app = True\nerrorlog = "DIR/error.log"\ncapture_output = True\n',
        values={"name": "SHOP_URL"},
        where="app.py:2",
    ),
    FailingStart(
        "environment variable, in the words of the application",
        Kind.VARIABLE,
        {"app.py": 'raise RuntimeError("Set the MAIL_HOST environment variable")\n'},
        values={"name": "MAIL_HOST"},
        where="app.py:1",
    ),
    FailingStart(
        "environment variable, in the configuration file",
        Kind.VARIABLE,
        conf='import os\nx = os.environ["SHOP_WORKERS"]\n',
        values={"name": "SHOP_WORKERS"},
        where="gunicorn.conf.py:5",
    ),
    FailingStart(
        "settings that do not validate",
        Kind.SETTINGS,
        {"app.py": "from pydantic import BaseModel\nclass S(BaseModel):\n    port: int\nS(port='x')\n"},
        values={"model": "S"},
        where="app.py:4",
    ),
    FailingStart(
        "package",
        Kind.PACKAGE,
        {"app.py": NOT_IN_PACKAGES},
        values={"module": "a_package_nobody_has"},
        where="app.py:1",
    ),
    FailingStart(
        "package that is listed",
        Kind.PACKAGE,
        {"app.py": "import serial\n", "requirements.txt": "pyserial>=3\n"},
        values={"package": "pyserial", "listed": "yes"},
        fix=("-m pip install pyserial",),
    ),
    FailingStart(
        "own module in another directory",
        Kind.OWN_MODULE,
        {"app.py": "import prices\n", "lib/prices.py": ""},
        values={"module": "prices"},
        fix=("lib",),
    ),
    FailingStart("wsgi module", Kind.WSGI_MODULE, {"other.py": HELLO}, values={"module": "app"}),
    FailingStart(
        "wsgi module in another directory",
        Kind.WSGI_MODULE,
        {"src/shop/__init__.py": "", "src/shop/wsgi.py": HELLO},
        wsgi="shop.wsgi:app",
        values={"first": "shop"},
        fix=("pythonpath", "src"),
    ),
    FailingStart(
        "module named by its path",
        Kind.WSGI_MODULE,
        wsgi="./srv/app:app",
        files={"srv/app.py": HELLO},
        values={"path": "./srv/app"},
        fix=("srv.app:app", "chdir"),
    ),
    FailingStart(
        "module named by its file",
        Kind.WSGI_MODULE,
        wsgi="srv/app.py:app",
        files={"srv/app.py": HELLO},
        values={"path": "srv/app"},
        fix=("srv.app:app", "chdir"),
    ),
    FailingStart(
        "module of a package of another name, and of its older versions alone",
        Kind.PACKAGE,
        {"app.py": "import pkg_resources\n"},
        values={"module": "pkg_resources"},
        fix=("'setuptools<81'",),
        source="axnsan12/drf-yasg#875",
    ),
    FailingStart(
        "name that a package does not have",
        Kind.VERSION_CLASH,
        {"app.py": "from werkzeug.urls import url_quote\n"},
        values={"package": "werkzeug", "name": "url_quote"},
    ),
    FailingStart(
        "name that the own module does not have",
        Kind.OWN_NAME,
        {"app.py": "from prices import total\n", "prices.py": ""},
        values={"name": "total"},
    ),
    FailingStart(
        "circular import",
        Kind.CIRCULAR,
        {"app.py": "import b\nx = 1\n", "b.py": "from app import x\n"},
        values={"module": "app"},
        where="b.py:1",
    ),
    FailingStart(
        "circular import of itself",
        Kind.CIRCULAR,
        {"app.py": "import b\n", "b.py": "from b import x\n"},
        values={"module": "b"},
        where="b.py:1",
    ),
    FailingStart(
        "file with a package's name",
        Kind.HIDES,
        {"app.py": "from flask import Flask\napp = Flask(__name__)\n", "flask.py": "from flask import Flask\n"},
        values={"module": "flask"},
        where="flask.py:1",
        fix=("mv -- ", "flask_own.py"),
    ),
    FailingStart(
        "file with an installed package's name",
        Kind.HIDES,
        {"app.py": "import msgspec\n", "msgspec.py": "from msgspec import Struct\n"},
        values={"module": "msgspec"},
        where="msgspec.py:1",
        fix=("mv -- ", "msgspec_own.py"),
    ),
    FailingStart(
        "attribute of a module",
        Kind.VERSION_CLASH,
        {"app.py": "import socket\nsocket.nothing\n"},
        values={"name": "nothing"},
    ),
    FailingStart(
        "attribute",
        Kind.ATTRIBUTE,
        {"app.py": "from flask import Flask\napplication = Flask(__name__)\n"},
        values={"name": "app", "module": "app"},
        fix=("app:application",),
    ),
    FailingStart(
        "attribute that is None", Kind.NOT_CALLABLE, {"app.py": "app = None\n"}, values={"name": "app"}
    ),
    FailingStart(
        "factory with arguments",
        Kind.FACTORY_ARGUMENT,
        {"app.py": "def create_app(x):\n    pass\n"},
        wsgi="app:create_app()",
        values={"name": "create_app"},
    ),
    FailingStart("syntax", Kind.SYNTAX, {"app.py": "def f(:\n    pass\n"}, where="app.py:1"),
    FailingStart("indentation", Kind.SYNTAX, {"app.py": "def f():\nx = 1\n"}, where="app.py:2"),
    FailingStart(
        "source in GBK", Kind.SOURCE_ENCODING, {"app.py": 'x = "中文"\n'.encode("gbk")}, fix=("iconv",)
    ),
    FailingStart(
        "text read as ASCII",
        Kind.ENCODING,
        {"app.py": 'open("data.txt", encoding="ascii").read()\n', "data.txt": "中文"},
        values={"codec": "ascii"},
        where="app.py:1",
    ),
    FailingStart(
        "worker class",
        Kind.WORKER_CLASS,
        conf='worker_class = "shop_workers"\n',
        values={"name": "shop_workers"},
        fix=("-m pip install shop_workers",),
    ),
    FailingStart(
        "worker class of another package",
        Kind.WORKER_CLASS,
        conf='worker_class = "shop_workers.Worker"\n',
        fix=("-m pip install shop_workers",),
    ),
    FailingStart(
        "setting", Kind.SETTING_VALUE, conf='timeout = "abc"\n', values={"name": "timeout", "value": "abc"}
    ),
    FailingStart("option", Kind.OPTION, args=("--wrokers", "3")),
    FailingStart("option's value", Kind.OPTION, args=("--workers", "two")),
    FailingStart("configuration file", Kind.CONFIG_MISSING, args=("-c", "DIR/none.py"), fix=("none.py",)),
    FailingStart("configuration file's syntax", Kind.SYNTAX, conf="x = = 3\n", where="gunicorn.conf.py:4"),
    FailingStart("configuration file raises", Kind.CONFIG_FAILS, conf="1 / 0\n", where="gunicorn.conf.py:4"),
    FailingStart(
        "address in use",
        Kind.ADDRESS_IN_USE,
        conf='bind = "127.98.1.2:8765"\n',
        prepare=holds_the_port,
        values={"address": "127.98.1.2:8765"},
        slow=True,
    ),
    FailingStart(
        "address of another host",
        Kind.ADDRESS_NOT_HERE,
        conf='bind = "192.0.2.9:8000"\n',
        values={"address": "192.0.2.9:8000"},
        slow=True,
    ),
    FailingStart(
        "port below 1024",
        Kind.PORT_FORBIDDEN,
        conf='bind = "127.98.1.1:81"\n',
        drop=True,
        values={"address": "127.98.1.1:81"},
        slow=True,
    ),
    FailingStart(
        "port that is no number",
        Kind.ADDRESS_INVALID,
        conf='bind = "127.0.0.1:abc"\n',
        values={"name": "abc"},
    ),
    FailingStart(
        "socket's directory",
        Kind.SOCKET_DIRECTORY,
        conf='bind = "unix:DIR/none/x.sock"\n',
        slow=True,
        fix=("mkdir -p ",),
    ),
    FailingStart(
        "socket in a closed directory",
        Kind.SOCKET_FORBIDDEN,
        conf='bind = "unix:DIR/closed/x.sock"\n',
        prepare=closed_directory,
        drop=True,
        slow=True,
    ),
    FailingStart(
        "socket's path too long",
        Kind.SOCKET_TOO_LONG,
        conf=f'bind = "unix:DIR/{"x" * 100}.sock"\n',
        slow=True,
    ),
    FailingStart(
        "pidfile of a living process",
        Kind.PIDFILE_HELD,
        conf='pidfile = "DIR/gunicorn.pid"\n',
        prepare=pidfile_of_this_process,
        values={"pid": str(os.getpid())},
        fix=("rm -- ",),
    ),
    FailingStart(
        "pidfile of a zombie",
        Kind.PIDFILE_HELD,
        conf='pidfile = "DIR/gunicorn.pid"\n',
        prepare=pidfile_of_a_zombie,
        fix=("rm -- ",),
    ),
    FailingStart(
        "pidfile's directory", Kind.PIDFILE_DIRECTORY, conf='pidfile = "DIR/run/g.pid"\n', fix=("mkdir -p ",)
    ),
    FailingStart(
        "pidfile in a closed directory",
        Kind.PIDFILE_FORBIDDEN,
        conf='pidfile = "DIR/closed/g.pid"\n',
        prepare=closed_directory,
        drop=True,
        fix=("namei -l ",),
    ),
    FailingStart("user", Kind.USER, conf='user = "nobodyhere"\n', values={"name": "nobodyhere"}),
    FailingStart("group", Kind.GROUP, conf='group = "nogrouphere"\n', values={"name": "nogrouphere"}),
    FailingStart(
        "address whose quotes are part of it",
        Kind.VARIABLE_VALUE,
        {"app.py": 'import os\nport = int(os.environ["SHOP_PORT"])\n'},
        conf="raw_env = [\n    'SHOP_PORT=\"8080\"',\n]\n",
        values={"name": "SHOP_PORT"},
        where="app.py:2",
        fix=("gunicorn.conf.py:5, SHOP_PORT: take the inner quotes away",),
    ),
    FailingStart("user without root", Kind.NOT_ROOT, conf='user = "daemon"\n', drop=True),
    FailingStart(
        "user without the right to become one",
        Kind.CALL_FORBIDDEN,
        conf='user = "nobody"\n',
        command=(
            "setpriv", "--bounding-set=-setuid,-setgid", sys.executable, "-m", "gunicorn", "-c",
            "DIR/gunicorn.conf.py", "app:app",
        ),
        values={"capability": "CAP_SETUID", "becomes": "yes"},
        fix=("NoNewPrivs", "user (", "gunicorn.conf.py:", "runuser -u nobody"),
    ),
    FailingStart(
        "priority that the application raises",
        Kind.CALL_FORBIDDEN,
        {"app.py": f"import os\nos.setpriority(os.PRIO_PROCESS, 0, -5)\n{HELLO}"},
        drop=True,
        values={"call": "setpriority()", "capability": "CAP_SYS_NICE"},
        where="app.py:2",
        fix=("CAP_SYS_NICE",),
    ),
    FailingStart(
        "root directory that the application changes",
        Kind.CALL_FORBIDDEN,
        {"app.py": f"import os\nos.chroot('.')\n{HELLO}"},
        drop=True,
        values={"call": "chroot()", "capability": "CAP_SYS_CHROOT"},
        where="app.py:2",
        fix=("CAP_SYS_CHROOT",),
    ),
    FailingStart(
        "call of a library that is refused",
        Kind.CALL_FORBIDDEN,
        {"app.py": f"import ctypes, os\ndef pin():\n    raise PermissionError(1, 'Operation not permitted')\npin()\n"
         f"{HELLO}"},
        where="app.py:3",
        fix=("SystemCallFilter=",),
    ),
    FailingStart(
        "log's directory", Kind.LOG_DIRECTORY, conf='errorlog = "DIR/logs/e.log"\n', fix=("mkdir -p ",)
    ),
    FailingStart(
        "access log in a closed directory",
        Kind.LOG_FORBIDDEN,
        conf='accesslog = "DIR/closed/a.log"\n',
        prepare=closed_directory,
        drop=True,
    ),
    FailingStart("working directory", Kind.DIRECTORY, conf='chdir = "DIR/none"\n'),
    FailingStart("TLS file", Kind.TLS_FILE, conf='certfile = "DIR/c.pem"\nkeyfile = "DIR/k.pem"\n'),
    FailingStart(
        "service that does not answer",
        Kind.CONNECTION,
        {"app.py": 'import socket\nsocket.create_connection(("127.98.1.3", 6379))\n'},
        where="app.py:2",
    ),
    FailingStart(
        "file",
        Kind.FILE,
        {"app.py": 'open("/srv/model/config.json")\n'},
        values={"path": "/srv/model/config.json"},
        where="app.py:1",
    ),
    FailingStart(
        "file that may not be read",
        Kind.FILE_FORBIDDEN,
        {"app.py": 'open("secret.json")\n', "secret.json": ""},
        prepare=closed_file,
        drop=True,
        values={"path": "secret.json"},
    ),
    FailingStart(
        "shared library",
        Kind.LIBRARY,
        {"app.py": 'import ctypes\nctypes.CDLL("libcudart.so.11.0")\n'},
        values={"library": "libcudart.so.11.0"},
    ),
    FailingStart(
        "memory", Kind.MEMORY, {"app.py": "x = bytearray(1 << 34)\n"}, limits=((resource.RLIMIT_AS, 1 << 30),)
    ),
    FailingStart(
        "open files",
        Kind.OPEN_FILES,
        {"app.py": "files = [open(__file__) for _ in range(64)]\n"},
        limits=((resource.RLIMIT_NOFILE, 32),),
        where="app.py:1",
    ),
    FailingStart(
        "killed while it loads",
        Kind.KILLED,
        {"app.py": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"},
        says="SIGKILL",
    ),
    FailingStart(
        "crashes while it loads",
        Kind.CRASHED,
        {"app.py": "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"},
        says="SIGSEGV",
    ),
    FailingStart(
        "exits at import",
        Kind.EXITS,
        {"app.py": 'import sys\nif True:\n    sys.exit("no licence")\n'},
        says="exited with code 1",
        where="app.py:3",
    ),
    FailingStart(
        "runs itself at import",
        Kind.RUNS_ITSELF,
        {"app.py": RUNS_ITSELF},
        prepare=holds_the_port,
        says="exited with code 1",
        where="app.py:3",
        fix=("__main__",),
    ),
    FailingStart(
        "other exception", Kind.EXCEPTION, {"app.py": 'raise ValueError("no such shop")\n'}, where="app.py:1"
    ),
    FailingStart(
        "environment that was moved",
        Kind.INTERPRETER,
        prepare=moved_environment,
        command=("/bin/sh", "-c", "exec DIR/venv/bin/gunicorn app:app"),
        values={"interpreter": "/srv/old/venv/bin/python"},
    ),
    FailingStart(
        "program that is not there", Kind.PROGRAM, command=("/bin/sh", "-c", "exec DIR/none/gunicorn app:app")
    ),
    FailingStart(
        "command that is not there",
        Kind.PROGRAM,
        command=("/bin/sh", "-c", "gunicorn-of-nobody app:app"),
        values={"path": "gunicorn-of-nobody"},
    ),
    FailingStart(
        "program that may not be executed",
        Kind.NOT_EXECUTABLE,
        prepare=not_executable,
        command=("/bin/sh", "-c", "exec DIR/gunicorn app:app"),
        fix=("chmod a+x ",),
    ),
    FailingStart(
        "interpreter without gunicorn",
        Kind.NO_GUNICORN,
        command=("/usr/bin/python3", "-m", "gunicorn", "app:app"),
    ),
)  # fmt: skip
