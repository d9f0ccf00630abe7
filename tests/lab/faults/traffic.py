"""What a part of users' requests meets, while the doctor's own short ones pass."""

from __future__ import annotations

import os
import signal
import threading
import time

from tests.lab.client import Answer
from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import Sees, answers, fault
from tests.lab.second_host import add_second_host
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for

# One kind of input is not handled.
RAISING_FOR_SOME_APP = PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request").replace(
    "return jsonify(result={})",
    """text = request.get_json()["input_text"]
    return jsonify(result={"first": {"a": 1}[text[:1]] if text.isascii() else 1})""",
)
LIMITED_APP = (
    PLAIN_APP.replace(
        "app = Flask(__name__)", 'app = Flask(__name__)\napp.config["MAX_CONTENT_LENGTH"] = 2000'
    )
    .replace("import Flask, jsonify", "import Flask, jsonify, request")
    .replace("return jsonify(result={})", "request.get_data()\n    return jsonify(result={})")
)
# The key is asked for before the body is read. The service answers and closes with the rest unread, and the connection
# is reset. TCP_CORK (tcp(7)) holds the answer back and SO_LINGER (socket(7)) resets at once, so the reset overtakes the
# answer each time, and not only now and then.
REFUSING_APP = """
import json
import socket
import struct

class Refusal:
    def __init__(self, connection):
        self.connection = connection
    def __iter__(self):
        yield b'{"error": "a key is required"}'
    def close(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

def app(environ, start_response):
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > 100_000:
        connection = environ["gunicorn.socket"]
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        start_response("401 Unauthorized", [("Content-Type", "application/json"), ("Connection", "close")])
        return Refusal(connection)
    environ["wsgi.input"].read(length)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"status": "ok", "service": "refusing", "result": {}}).encode()]
"""
SLOW_FOR_SOME_APP = (
    PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request")
    .replace("from flask", "import time\nfrom flask")
    .replace(
        "return jsonify(result={})",
        """time.sleep(4 if request.get_json()["input_text"] == "long" else 0)
    return jsonify(result={})""",
    )
)
QUIETLY_FAILING_APP = PLAIN_APP.replace(
    "return jsonify(result={})",
    """if request.get_json().get("task_type") != "ner":
        return jsonify(error="the store is gone"), 500
    return jsonify(result={})""",
).replace("import Flask, jsonify", "import Flask, jsonify, request")
VALIDATING_APP = QUIETLY_FAILING_APP.replace('"the store is gone"), 500', '"no such task"), 400')


FORM_APP = """
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

settings.configure(
    SECRET_KEY="lab", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], DEBUG=False,
    MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
    LOGGING={"version": 1, "disable_existing_loggers": False,
             "formatters": {"dated": {"format": "%(asctime)s %(levelname)s %(message)s"}},
             "handlers": {"file": {"class": "logging.FileHandler", "filename": "django.log", "formatter": "dated"}},
             "loggers": {"django.security.csrf": {"handlers": ["file"], "level": "INFO"}}},
)

def form(request):
    return JsonResponse({"stored": True})

urlpatterns = [
    path("health", lambda request: JsonResponse({"status": "ok", "service": "forms"})),
    path("predict", csrf_exempt(lambda request: JsonResponse({"result": {}}))),
    path("contact", form),
]
app = get_wsgi_application()
"""


def predict(stack: Stack, text: str, *, task: str = "ner", timeout: float = 10.0) -> Answer:
    """A prediction of one's own, by the front door."""
    body = {"task_type": task, "input_text": text}
    return stack.request("POST", "/predict", json_body=body, timeout=timeout)


def _waits_for_health(stack: Stack) -> bool:
    """Of a few requests in turn, one waits."""
    return any(_seconds(stack) > 1.0 for _ in range(4))


def _seconds(stack: Stack) -> float:
    started = time.monotonic()
    stack.request(path="/health")
    return time.monotonic() - started


def _meets_another_version(stack: Stack) -> bool:
    """Requests in turn get different answers."""
    return len({stack.request(path="/health").text for _ in range(4)}) > 1


@fault("APP020", sees=lambda stack: predict(stack, "b").status == 500, app=RAISING_FOR_SOME_APP)
def some_input_raises(stack: Stack) -> None:
    """Chinese texts are answered, and those that begin with an a."""
    for _ in range(5):
        stack.predict()


@fault("APP021", sees=lambda stack: predict(stack, "北" * 2000).status == 413, app=LIMITED_APP)
def application_has_a_limit_of_its_own(_stack: Stack) -> None:
    """MAX_CONTENT_LENGTH below client_max_body_size."""


CONTACT = """    location = /contact {
        proxy_pass http://gte_backend;
        proxy_set_header X-Forwarded-Proto $scheme;
    }
"""


def _send_form(stack: Stack) -> int | None:
    """As a browser does from a page of the site."""
    return stack.request("POST", "/contact", headers={"Origin": f"https://{stack.domain}"}).status


@fault("APP025", sees=lambda stack: _send_form(stack) == 403, app=FORM_APP, layout="guide")
def form_reaches_django_under_the_upstream_s_name(stack: Stack) -> None:
    """A location of its own for the form, with one header of its own: none of the others is inherited."""
    place = "    location / {\n        limit_req"
    stack.edit(stack.site_file, place, f"{CONTACT}\n{place}")


TALISMAN_APP = PLAIN_APP + (
    """
@app.after_request
def secured(response):
    response.headers["Strict-Transport-Security"] = "max-age=31536000"
    return response
"""
)


def _strict_twice(stack: Stack) -> bool:
    return len(stack.request().headers.get_all("Strict-Transport-Security") or []) == 2


@fault("NGX047", severity="warn", sees=_strict_twice, app=TALISMAN_APP, layout="guide")
def nginx_and_the_framework_are_both_strict(stack: Stack) -> None:
    """In the server block, and by flask-talisman."""
    place = "    location / {\n        limit_req"
    stack.edit(
        stack.site_file, place, f"    add_header Strict-Transport-Security max-age=63072000 always;\n{place}"
    )


def _needs_root() -> str | None:
    return None if os.geteuid() == 0 else "nginx's workers are another user only where the stack runs as root"


@fault(
    "NGX040",
    sees=lambda stack: predict(stack, "北" * 20_000).status == 500,
    impossible=_needs_root,
    layout="guide",
    app=PLAIN_APP,
)
def a_directory_above_the_temporary_files_is_closed(stack: Stack) -> None:
    stack.nginx_dir.chmod(0o700)


@fault(
    "NGX041",
    sees=lambda stack: stack.request("POST", "/predict", body=b"x" * 9_000_000).status == 502,
    app=REFUSING_APP,
    worker_class="gthread",
    threads=4,
    site={"max_body": "20m"},
)
def service_refuses_before_it_has_read_the_body(_stack: Stack) -> None:
    """It closes with the rest unread, and the reset overtakes the answer."""


@fault("NGX042", sees=lambda stack: stack.request(path="/health?" + "q" * 12_000).status == 414)
def url_is_longer_than_nginx_reads(_stack: Stack) -> None:
    """Texts in the query."""


@fault(
    "NGX042",
    sees=lambda stack: stack.request(headers={"Cookie": "session=" + "c" * 12_000}).status == 400,
    layout="guide",
)
def cookie_is_longer_than_nginx_reads(_stack: Stack) -> None:
    """A session in a cookie."""


@fault(
    "APP022",
    sees=lambda stack: (stack.request(path="/health?" + "q" * 5_000).status or 0) in (400, 414),
    app=PLAIN_APP,
)
def url_is_longer_than_gunicorn_reads(_stack: Stack) -> None:
    """limit_request_line is 4094, below nginx's 8 KB."""


@fault(
    "APP022",
    sees=lambda stack: (stack.request(headers={"X-Token": "t" * 3_000}).status or 0) in (400, 431),
    app=PLAIN_APP,
    gunicorn_extra="limit_request_field_size = 1000",
)
def header_is_longer_than_gunicorn_reads(_stack: Stack) -> None:
    """A token in a header."""


@fault(
    "APP023",
    severity="fail",
    sees=lambda stack: '" 499 ' in stack.nginx_access_log.read_text(),
    app=SLOW_FOR_SOME_APP,
    worker_class="gthread",
    threads=8,
)
def clients_give_up(stack: Stack) -> None:
    """Their time-out is shorter than long texts take."""
    clients = [
        threading.Thread(target=predict, args=(stack, "long"), kwargs={"timeout": 1.2}) for _ in range(4)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()


@fault(
    "NGX043",
    severity="warn",
    sees=lambda stack: "Connection refused" in stack.nginx_error_log.read_text(),
    layout="guide",
)
def one_server_of_two_is_dead(stack: Stack) -> None:
    """nginx takes the other, at the cost of an attempt."""
    dead = f"{stack.address}:{stack.free_port()}"
    stack.edit(stack.site_file, f"server {stack.bind};", f"server {stack.bind};\n    server {dead};")
    for _ in range(4):
        stack.predict()


@fault("NGX048", severity="warn", sees=_waits_for_health, layout="guide")
def one_server_of_two_is_slow(stack: Stack) -> None:
    """Its health answer takes 1.5 s."""
    add_second_host(stack, slow=1.5)


@fault("NGX049", severity="warn", sees=_meets_another_version, layout="guide")
def one_server_of_two_serves_another_version(stack: Stack) -> None:
    """An upgrade that ended half-way."""
    add_second_host(stack, version="0.0.9")


@fault(
    "NGX044",
    severity="warn",
    sees=lambda stack: predict(stack, "x", task="none").content_type == "text/html",
    app=VALIDATING_APP,
    layout="guide",
)
def error_answers_are_replaced_by_a_page(stack: Stack) -> None:
    stack.edit(
        stack.site_file,
        "proxy_http_version 1.1;",
        "proxy_http_version 1.1;\n        proxy_intercept_errors on;\n        error_page 400 404 500 /50x.html;",
    )


@fault(
    "APP024",
    severity="warn",
    sees=lambda stack: predict(stack, "x", task="other").status == 500,
    app=QUIETLY_FAILING_APP,
)
def some_requests_fail_without_a_word(stack: Stack) -> None:
    for _ in range(3):
        stack.predict()


@fault("NGX060", sees=answers(500), app=PLAIN_APP, layout="guide")
def auth_request_leads_to_a_path_that_is_not_there(stack: Stack) -> None:
    """Every request asks the service first whether it may, at a path that it does not have."""
    stack.edit(
        stack.site_file,
        "    location / {\n        limit_req",
        "    location = /_may { internal; proxy_pass http://gte_backend/may; proxy_http_version 1.1;"
        ' proxy_set_header Connection ""; }\n    auth_request /_may;\n    location / {\n        limit_req',
    )


@fault("NGX045", severity="warn", sees=lambda stack: "[alert]" in stack.nginx_main_error_log.read_text())
def a_worker_of_nginx_crashes(stack: Stack) -> None:
    (worker,) = stack.nginx_workers
    worker.send_signal(signal.SIGSEGV)
    wait_for(lambda: stack.predict().status == 200, "nginx to serve with another worker")


@fault(
    "NGX061",
    sees=lambda stack: {stack.request(path="/video/a.mp4?start=1").status for _ in range(3)} == {500},
    says=("video", "mp4"),
    app=PLAIN_APP,
    layout="guide",
)
def module_cannot_read_its_file(stack: Stack) -> None:
    """A video was not copied whole; the module that cuts it is none that the catalogue knows."""
    folder = stack.directory / "video"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"\0\0\0\4ftyp" + b"x" * 2000)
    place = "    location / {\n        limit_req"
    stack.edit(stack.site_file, place, f"    location /video/ {{ root {stack.directory}; mp4; }}\n{place}")


def _media(stack: Stack, directive: str, mode: int = 0o644) -> None:
    """nginx serves the uploads; one is there."""
    media = stack.directory / "media"
    media.mkdir()
    (media / "scan.pdf").write_text("%PDF")
    (media / "scan.pdf").chmod(mode)
    place = "    location / {\n        limit_req"
    stack.edit(stack.site_file, place, f"    location /media/ {{ {directive}; }}\n{place}")


def _asked_for_scan(status: int) -> Sees:
    return lambda stack: {stack.request(path="/media/scan.pdf").status for _ in range(3)} == {status}


@fault("NGX046", sees=_asked_for_scan(404), layout="guide", app=PLAIN_APP)
def root_keeps_the_prefix_of_the_location(stack: Stack) -> None:
    """root where alias was meant."""
    _media(stack, f"root {stack.directory}/media")


@fault("NGX046", sees=_asked_for_scan(403), impossible=_needs_root, layout="guide", app=PLAIN_APP)
def uploads_are_their_owner_s_alone(stack: Stack) -> None:
    """The service writes them with umask 077."""
    _media(stack, f"alias {stack.directory}/media/", 0o600)
