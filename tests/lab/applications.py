"""Healthy applications of other kinds behind the same nginx: other frameworks, other workers, other paths.

Each is a module with ``app`` and what a gte-ops.toml says of it; everything else is left for the toolkit to find.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil

from tests.lab.stack import Stack

FASTAPI = """
from fastapi import FastAPI

app = FastAPI()


@app.get("/health")
async def health():
    return {"status": "ok"}


@app.post("/predict")
async def predict(body: dict):
    return {"result": body}
"""

DJANGO = """
import json

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

# Django's deployment checklist: the name is checked, and plain HTTP is sent to HTTPS.
settings.configure(
    ALLOWED_HOSTS=["gte.lab.example"],
    SECRET_KEY="lab",
    SECURE_SSL_REDIRECT=True,
    SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https"),
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware"],
)


def health(_request):
    return JsonResponse({"status": "ok"})


@csrf_exempt
def predict(request):
    return JsonResponse({"result": json.loads(request.body)})


urlpatterns = [path("health", health), path("predict", predict)]
app = get_wsgi_application()
"""

FLASK = """
from flask import Flask, request

app = Flask(__name__)


@app.get("/health")
def health():
    return {"status": "ok"}


@app.post("/predict")
def predict():
    return {"result": request.get_json()}
"""

OTHER_PATHS = """
from flask import Flask, request

app = Flask(__name__)


@app.get("/status")
def status():
    return "alive\\n", 200, {"Content-Type": "text/plain"}


@app.post("/api/v2/score")
def score():
    return {"score": len(request.get_json()["text"])}
"""

HEALTH_PATH_REDIRECTS = FLASK.replace('@app.get("/health")', '@app.get("/health/")')

HEALTH_IS_PLAIN_TEXT = FLASK.replace(
    'return {"status": "ok"}', 'return "OK\\n", 200, {"Content-Type": "text/plain"}'
)

NO_HEALTH_PATH = """
from flask import Flask, request

app = Flask(__name__)


@app.post("/predict")
def predict():
    return {"result": request.get_json()}
"""

KEY_FOR_HEALTH = """
from flask import Flask, request

app = Flask(__name__)


@app.before_request
def needs_key():
    if {everything} or request.path == "/health":
        if request.headers.get("X-Api-Key") != "lab-key":
            return {{"detail": "missing key"}}, 401


@app.get("/health")
def health():
    return {{"status": "ok"}}


@app.post("/predict")
def predict():
    return {{"result": request.get_json()}}
"""


@dataclass(frozen=True)
class Application:
    """One healthy application. ``settings``: what its gte-ops.toml says beside the host's places."""

    name: str
    source: str
    worker_class: str
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def stack(self) -> Stack:
        """The stack that serves it; nothing is up before ``with``."""
        return Stack(app=self.source, worker_class=self.worker_class, **self.options)


UVICORN_WORKER = "uvicorn.workers.UvicornWorker"
APPLICATIONS = (
    Application("fastapi under uvicorn's worker", FASTAPI, UVICORN_WORKER),
    Application("fastapi under gunicorn's own ASGI worker", FASTAPI, "asgi"),
    Application("django under sync workers", DJANGO, "sync", options={"workers": 2}),
    Application("flask under gevent", FLASK, "gevent"),
    Application("flask under tornado", FLASK, "tornado"),
    Application(
        "flask under gthread, with paths of its own",
        OTHER_PATHS,
        "gthread",
        {
            "target": {
                "health_path": "/status",
                "predict_path": "/api/v2/score",
                "predict_body": '{"text": "你好"}',
                "expect_key": "score",
            }
        },
        {"threads": 4},
    ),
    Application("paths of its own, and nobody said which", OTHER_PATHS, "gthread", options={"threads": 4}),
    Application("no health path", NO_HEALTH_PATH, "gthread", options={"threads": 4}),
    Application("a health path that redirects to its slash", HEALTH_PATH_REDIRECTS, "sync"),
    Application("a health path that answers plain text", HEALTH_IS_PLAIN_TEXT, "sync"),
    Application("a key for the health path", KEY_FOR_HEALTH.format(everything=False), "sync"),
)


def write_minimal_config(stack: Stack, application: Application) -> None:
    """A gte-ops.toml that names the host's places and says nothing of the application that was not said."""
    places = ("nginx", "tls", "logrotate", "schedule", "backup", "watchdog")
    config = {name: stack.config[name] for name in places}
    config["target"] = {**stack.config["target"], **application.settings.get("target", {})}
    config["app"] = {
        "dir": str(stack.app_dir),
        "python": sys.executable,
        **application.settings.get("app", {}),
    }
    config["gunicorn"] = {"bind": stack.bind, "pidfile": str(stack.gunicorn_pidfile)}
    stack.config = config
    stack.write_config()


# Of no package: uWSGI is the distribution's, with the distribution's Python.
PLAIN_WSGI = """
import json


def app(environ, start_response):
    path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
    status, body = "404 Not Found", {"detail": "no such path"}
    if path == "/health":
        status, body = "200 OK", {"status": "ok"}
    elif path == "/predict" and method == "POST":
        length = int(environ.get("CONTENT_LENGTH") or 0)
        status, body = "200 OK", {"result": json.loads(environ["wsgi.input"].read(length))}
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]
"""


@dataclass(frozen=True)
class OtherServer:
    """A server that is no gunicorn. ``command``: how it is called, {host} and {port} are the service's; ``source``:
    the application that it serves."""

    name: str
    command: tuple[str, ...]
    source: str = FASTAPI


_UVICORN = (sys.executable, "-m", "uvicorn", "app:app", "--host", "{host}", "--port", "{port}")
_HYPERCORN = (sys.executable, "-m", "hypercorn", "app:app", "--bind", "{host}:{port}")
_UWSGI = ("uwsgi", "--plugin", "python3", "--http-socket", "{host}:{port}", "--module", "app:app", "--master")
OTHER_SERVERS = (
    OtherServer("uvicorn", _UVICORN),
    OtherServer("hypercorn", _HYPERCORN),
    OtherServer("hypercorn", (*_HYPERCORN, "--worker-class", "trio")),
    OtherServer("uwsgi", (*_UWSGI, "--processes", "2"), PLAIN_WSGI),
)


@contextmanager
def other_server(server: OtherServer) -> Iterator[tuple[Stack, psutil.Process]]:
    """A stack whose application is served by ``server`` in place of gunicorn, and that server's first process."""
    application = APPLICATIONS[0]
    with application.stack() as stack:
        write_minimal_config(stack, application)
        stack.stop_gunicorn()
        stack.app_file.write_text(server.source)
        words = [word.format(host=stack.address, port=stack.ports["backend"]) for word in server.command]
        pid = stack.spawn(*words, cwd=stack.app_dir)
        stack.wait_until_listening(stack.bind)
        yield stack, psutil.Process(pid)
