"""Starts that fail, and fixes that would not mend them."""

from __future__ import annotations

import os
from pathlib import Path

from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import answers, meets
from tests.lab.faults.start import fails_to_start, with_application
from tests.lab.reported.case import Kind, needs_root, report, without_root_s_rights
from tests.lab.stack import Stack

# An address of documentation's own (RFC 5737): no host has it.
NOT_OURS = "203.0.113.5"

LOGGING_APP = "import logging\nLOG = 'FILE'\nlogging.basicConfig(filename=LOG)\n" + PLAIN_APP

FACTORY_APP = """
from flask import Flask, jsonify

def create_app():
    app = Flask(__name__)

    @app.get("/health")
    def health():
        return jsonify(status="ok", service="factory")

    @app.post("/predict")
    def predict():
        return jsonify(result={})

    return app
"""

FASTAPI_APP = """
from fastapi import FastAPI

app = FastAPI()

@app.get("/health")
def health():
    return {"status": "ok", "service": "fast"}

@app.post("/predict")
def predict():
    return {"result": {}}
"""

LIBRARY_APP = 'import ctypes\nctypes.CDLL("libGLlab.so.1")\n' + PLAIN_APP


def _stays_down(stack: Stack) -> None:
    stack.stop_nginx()
    stack.try_to_start_nginx()


def _name_the_backend(stack: Stack) -> None:
    stack.edit(stack.site_file, "server gte-app.invalid:8000;", f"server {stack.bind};", apply=False)
    stack.start_nginx()


@report(
    Kind.START,
    "mempool/mempool#1452",
    sees=meets("refused"),
    repair=_name_the_backend,
    codes=("NGX002", "NGX003"),
    says=('host not found in upstream "gte-app.invalid', "gte-api.conf:", "resol"),
    layout="guide",
)
def name_of_the_upstream_does_not_resolve(stack: Stack) -> None:
    """nofx#82, ProxmoxVE#9491: after a boot, before the name server answers."""
    stack.edit(stack.site_file, f"server {stack.bind};", "server gte-app.invalid:8000;", apply=False)
    _stays_down(stack)


def _listen_here(stack: Stack) -> None:
    stack.edit(stack.site_file, f"{NOT_OURS}:", f"{stack.address}:", apply=False)
    stack.start_nginx()


@report(
    Kind.START,
    "NixOS/nixpkgs#5832",
    sees=meets("refused"),
    repair=_listen_here,
    codes=("NGX002", "NGX003"),
    says=("99: Cannot assign requested address", NOT_OURS),
    layout="guide",
)
def address_is_not_this_host_s(stack: Stack) -> None:
    """The address is not there yet when nginx starts, or not any more."""
    https = f":{stack.ports['https']} ssl"
    stack.edit(stack.site_file, f"{stack.address}{https}", f"{NOT_OURS}{https}", apply=False)
    _stays_down(stack)


def _bind_here(stack: Stack) -> None:
    stack.edit(stack.gunicorn_conf, NOT_OURS, stack.address)


@report(
    Kind.START,
    "NixOS/nixpkgs#5832, of gunicorn",
    sees=answers(502),
    repair=_bind_here,
    codes=("GUN001",),
    says=(NOT_OURS, "gunicorn.conf.py", "ip"),
    app=PLAIN_APP,
)
def gunicorn_binds_an_address_that_is_not_this_host_s(stack: Stack) -> None:
    stack.stop_gunicorn()
    stack.edit(stack.gunicorn_conf, f"bind = '{stack.address}", f"bind = '{NOT_OURS}", apply=False)
    fails_to_start(stack)


def _own_log(stack: Stack) -> Path:
    return stack.logs / "shop.log"


def _give_log_to_the_service(stack: Stack) -> None:
    os.chown(_own_log(stack), 0, 0)
    stack.start_gunicorn()


@report(
    Kind.START,
    "lucyparsons/OpenOversight#299",
    sees=answers(502),
    repair=_give_log_to_the_service,
    codes=("GUN003",),
    says=("Permission denied", "shop.log", "chown"),
    impossible=needs_root,
    app=PLAIN_APP,
)
def log_of_the_application_is_another_user_s(stack: Stack) -> None:
    """paperless-ng#1729: it was tried by hand as another user once, and now the service's user may not open its log."""
    _own_log(stack).write_text("")
    os.chown(_own_log(stack), 65534, 65534)
    without_root_s_rights(stack)
    with_application(stack, LOGGING_APP.replace("FILE", str(_own_log(stack))))


def _second_default(stack: Stack) -> None:
    (stack.nginx_dir / "conf.d" / "default.conf").unlink()
    stack.start_nginx()


@report(
    Kind.START,
    "internetarchive/openlibrary#7544",
    sees=meets("refused"),
    repair=_second_default,
    codes=("NGX003",),
    says=("a duplicate default server", "default.conf:"),
    layout="guide",
)
def two_sites_want_to_be_the_default(stack: Stack) -> None:
    """deck9/input#96, streisand#1699: the package's own default site beside ours."""
    https = f"listen {stack.address}:{stack.ports['https']} ssl"
    stack.edit(stack.site_file, f"{https};", f"{https} default_server;", apply=False)
    (stack.nginx_dir / "conf.d" / "default.conf").write_text(
        f"server {{ {https} default_server; server_name _; return 404; }}\n"
    )
    _stays_down(stack)


# --- fixes ------------------------------------------------------------------------------------------------------------


def _call_the_factory(stack: Stack) -> None:
    stack.stop_gunicorn()
    stack.wsgi = "app:create_app()"
    stack.config["app"]["wsgi"] = stack.wsgi
    stack.config["gunicorn"]["start_command"] = stack.gunicorn_command()
    stack.write_config()
    stack.start_gunicorn()


@report(
    Kind.FIX,
    "linkedin/oncall#208",
    sees=answers(500),
    repair=_call_the_factory,
    codes=("APP004",),
    says=("create_app()", "takes 0 positional arguments but 2 were given"),
    app=FACTORY_APP,
    wait="nothing",
)
def factory_is_named_without_its_parentheses(stack: Stack) -> None:
    """gunicorn#2159: gunicorn starts with it, and each request fails."""
    stack.stop_gunicorn()
    stack.wsgi = "app:create_app"
    stack.config["app"]["wsgi"] = stack.wsgi
    stack.config["gunicorn"]["start_command"] = stack.gunicorn_command()
    stack.write_config()
    stack.start_gunicorn(wait="answering")


def _uvicorn_worker(stack: Stack) -> None:
    stack.edit(
        stack.gunicorn_conf, "workers = 1", 'workers = 1\nworker_class = "uvicorn.workers.UvicornWorker"'
    )


@report(
    Kind.FIX,
    "benoitc/gunicorn#2154",
    sees=answers(500),
    repair=_uvicorn_worker,
    codes=("APP004",),
    says=("argument: 'send'", "uvicorn", "worker_class"),
    app=FASTAPI_APP,
)
def asgi_application_under_a_wsgi_worker(_stack: Stack) -> None:
    """fastapi#1897, openreplay#1770: gunicorn's own workers speak WSGI."""


def _rename(stack: Stack) -> None:
    (stack.app_dir / "flask.py").unlink()
    stack.start_gunicorn()


@report(
    Kind.FIX,
    "pallets/flask#3956",
    sees=answers(502),
    repair=_rename,
    codes=("GUN003",),
    says=("build/flask.py", "mv "),
    app=PLAIN_APP,
)
def file_of_the_application_hides_a_package(stack: Stack) -> None:
    """flasky#516, Flask-SocketIO#910: a first try called flask.py lies beside app.py."""
    stack.stop_gunicorn()
    (stack.app_dir / "flask.py").write_text("from flask import Flask\n\napp = Flask(__name__)\n")
    fails_to_start(stack)


def _library_is_there(stack: Stack) -> None:
    stack.app_file.write_text(PLAIN_APP)
    stack.start_gunicorn()


@report(
    Kind.FIX,
    "opencv/opencv-python#851",
    sees=answers(502),
    repair=_library_is_there,
    codes=("GUN003",),
    says=("libGLlab.so.1", "apt"),
    app=PLAIN_APP,
)
def library_of_the_system_is_missing(stack: Stack) -> None:
    """TFODCourse#132: no package of Python's, and no line of the application's."""
    with_application(stack, LIBRARY_APP)


def _older_syntax(stack: Stack) -> None:
    stack.edit(stack.gunicorn_conf, "print 'starting'\n", "")


@report(
    Kind.FIX,
    "WGDashboard/WGDashboard#178",
    sees=answers(502),
    repair=_older_syntax,
    codes=("GUN001",),
    says=("SyntaxError", "gunicorn.conf.py:2"),
    app=PLAIN_APP,
)
def configuration_is_written_for_another_python(stack: Stack) -> None:
    """gunicorn reads it with its own Python, which is another than the author's: it does not come to be a master."""
    stack.stop_gunicorn()
    lines = stack.gunicorn_conf.read_text().splitlines(keepends=True)
    stack.gunicorn_conf.write_text("".join([lines[0], "print 'starting'\n", *lines[1:]]))
    fails_to_start(stack)
