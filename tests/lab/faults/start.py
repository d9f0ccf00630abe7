"""Starts that fail: what gunicorn said last is the proof, and the fix is of its kind.

Of public reports, each rebuilt in its smallest form. Those of ``public-faults`` that concern a start, and more of our
own finding; the source stands with each.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import answers, fault, meets
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for

NEEDS_VARIABLE = """
import os
from flask import Flask

app = Flask(__name__)
app.config["DATABASE_URL"] = os.environ["SHOP_DATABASE_URL"]
"""

# Needs a version of Werkzeug below 3, where url_quote was.
NEEDS_OLD_WERKZEUG = """
from flask import Flask
from werkzeug.urls import url_quote

app = Flask(__name__)
"""

RUNS_ITSELF = """
from flask import Flask, jsonify

app = Flask(__name__)

@app.get("/health")
def health():
    return jsonify(status="ok")

app.run(host="HOST", port=PORT)
"""


LICENSED = """
import os
import sys

if not os.path.exists("/srv/licence"):
    sys.exit(1)
"""


def fails_to_start(stack: Stack) -> None:
    """Starts gunicorn and waits until it has given up."""
    stack.start_gunicorn(wait="nothing")
    wait_for(lambda: stack.gunicorn_master is None, "gunicorn to end", within=30)


def with_application(stack: Stack, source: str) -> None:
    """The next start finds another application, and fails."""
    stack.stop_gunicorn()
    stack.app_file.write_text(source)
    fails_to_start(stack)


@fault(
    "GUN003",
    sees=answers(502),
    explains=("GUN001",),
    app=PLAIN_APP,
    says=("SHOP_DATABASE_URL", "environment"),
)
def variable_is_set_in_a_login_shell_alone(stack: Stack) -> None:
    """sawaliram#21: os.environ["X"] at import; the unit does not have it."""
    with_application(stack, NEEDS_VARIABLE)


@fault("GUN001", sees=answers(502), app=PLAIN_APP, says=("stale", "rm -- "))
def pidfile_names_a_process_that_is_another(stack: Stack) -> None:
    """gunicorn#3383: after a crash its number is another program's."""
    stack.kill_gunicorn()
    other = stack.spawn(sys.executable, "-c", "import time; time.sleep(600)")
    stack.gunicorn_pidfile.write_text(f"{other}\n")
    stack.start_gunicorn(wait="nothing")
    wait_for(lambda: "Already running on PID" in stack.gunicorn_said(), "gunicorn to refuse", within=30)


@fault("GUN003", sees=answers(502), explains=("GUN001",), app=PLAIN_APP, says=("app:app", "application"))
def attribute_is_called_otherwise(stack: Stack) -> None:
    """xtream2m3u#17: Failed to find attribute, exit code 4."""
    with_application(
        stack, PLAIN_APP.replace("app = Flask", "application = Flask").replace("@app.", "@application.")
    )


@fault("GUN001", sees=answers(502), app=PLAIN_APP, says=("shop_workers", "pip install"))
def package_of_the_worker_class_is_missing(stack: Stack) -> None:
    """gunicorn#2774: class uri '...' invalid or not found. Not gevent's: the tests' environment may have it."""
    stack.stop_gunicorn()
    stack.gunicorn_conf.write_text(
        stack.gunicorn_conf.read_text() + "\nworker_class = 'shop_workers.Worker'\n"
    )
    fails_to_start(stack)


@fault("GUN003", sees=meets("timeout", timeout=2.0), app=PLAIN_APP, says=("app.run", "__main__"))
def application_runs_itself_when_it_is_imported(stack: Stack) -> None:
    """gunicorn#2311: app.run() without a guard: every worker finds the port taken, and ends with code 1, for ever."""
    stack.stop_gunicorn()
    source = RUNS_ITSELF.replace("HOST", stack.address).replace("PORT", str(stack.ports["backend"]))
    stack.app_file.write_text(source)
    stack.start_gunicorn(wait="nothing")
    wait_for(lambda: stack.gunicorn_said().count("exited with code 1") > 3, "workers to end", within=30)


@fault("GUN001", sees=answers(502), app=PLAIN_APP, says=("mkdir -p ", "RuntimeDirectory"))
def directory_of_the_pidfile_went_with_the_boot(stack: Stack) -> None:
    """lopopolo/hyperbola#22: a directory below /run is gone after a boot."""
    stack.stop_gunicorn()
    gone = stack.run / "gunicorn" / "gunicorn.pid"
    stack.gunicorn_conf.write_text(stack.gunicorn_conf.read_text() + f"\npidfile = {str(gone)!r}\n")
    fails_to_start(stack)


@fault("GUN003", sees=answers(502), explains=("GUN001",), app=PLAIN_APP, says=("src", "pythonpath"))
def module_lies_in_another_directory(stack: Stack) -> None:
    """gunicorn#2103, #2232: ModuleNotFoundError of the application's own module, by the directory of the start."""
    stack.stop_gunicorn()
    source = stack.app_dir / "src"
    source.mkdir()
    (source / "shop.py").write_text(PLAIN_APP)
    stack.wsgi = "shop:app"
    fails_to_start(stack)


@fault(
    "GUN003",
    sees=answers(502),
    explains=("GUN001",),
    app=PLAIN_APP,
    says=("werkzeug.urls has no url_quote", "importlib.metadata"),
)
def package_is_too_new_for_the_application(stack: Stack) -> None:
    """Neurotech-HQ/heyoo#106 and many: cannot import name 'url_quote' from 'werkzeug.urls'."""
    with_application(stack, NEEDS_OLD_WERKZEUG)


@fault("GUN001", sees=answers(502), app=PLAIN_APP, says=("mkdir -p ",))
def directory_of_the_log_is_missing(stack: Stack) -> None:
    """HatBoy/Pcap-Analyzer#26 and its like: 'isn't writable', before there is a log."""
    stack.stop_gunicorn()
    missing = stack.logs / "gunicorn" / "access.log"
    stack.gunicorn_conf.write_text(stack.gunicorn_conf.read_text() + f"\naccesslog = {str(missing)!r}\n")
    fails_to_start(stack)


@fault(
    "GUN001",
    sees=answers(502),
    app=PLAIN_APP,
    says=("interpreter that does not exist", "old/venv/bin/python"),
)
def environment_was_moved(stack: Stack) -> None:
    """gunicorn#2973, moukthar#16: the script's first line names an interpreter that is gone."""
    stack.stop_gunicorn()
    script = stack.app_dir / "venv" / "bin" / "gunicorn"
    script.parent.mkdir(parents=True)
    script.write_text(f"#!{stack.directory}/old/venv/bin/python\nprint('never')\n")
    script.chmod(0o755)
    start = stack.app_dir / "start-prod.sh"
    start.write_text(f"#!/bin/sh\nexec {script} -c {stack.gunicorn_conf} app:app\n")
    start.chmod(0o755)
    _run(stack, start)
    stack.config["gunicorn"]["start_command"] = str(start)
    stack.write_config()


def _run(stack: Stack, script: Path) -> None:
    pid = stack.keeper.spawn(
        ["/bin/sh", str(script)], cwd=stack.app_dir, env=stack.environment(), output=stack.gunicorn_output
    )
    wait_for(lambda: stack.keeper.exit_code(pid) is not None, "the start to fail", within=30)


@fault("GUN003", sees=meets("timeout", timeout=2.0), app=PLAIN_APP, says=("sys.exit", "app.py:"))
def application_ends_itself_at_import(stack: Stack) -> None:
    """A licence check of the application's that calls sys.exit(1) at import: workers end for ever, without a word."""
    stack.stop_gunicorn()
    stack.app_file.write_text(
        "import os\nimport sys\n\nif not os.path.exists('/srv/licence'):\n    sys.exit(1)\n"
    )
    stack.start_gunicorn(wait="nothing")
    wait_for(lambda: stack.gunicorn_said().count("exited with code 1") > 3, "workers to end", within=30)
