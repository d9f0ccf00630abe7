"""A third collection: what people ask about every week, rebuilt before the doctor was asked about any of it."""

from __future__ import annotations

import socket
import ssl
import time

from tests.lab.applications import FASTAPI, UVICORN_WORKER
from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import answers, meets
from tests.lab.faults.gunicorn import BUSY_APP
from tests.lab.faults.tls import in_days
from tests.lab.reported.case import Kind, add_location, needs_root, report
from tests.lab.reported.routing import DJANGO_APP
from tests.lab.stack import Stack

TELLING_DJANGO = DJANGO_APP.replace(
    'SECRET_KEY="lab",',
    """SECRET_KEY="lab",
    LOGGING={"version": 1, "disable_existing_loggers": False,
             "handlers": {"console": {"class": "logging.StreamHandler"}},
             "root": {"handlers": ["console"], "level": "WARNING"}},""",
)

STREAM_APP = PLAIN_APP.replace("from flask", "import time\nfrom flask") + (
    """
@app.get("/stream")
def stream():
    def events():
        for number in range(4):
            yield f"data: {number}\\n\\n"
            time.sleep(0.4)
    return events(), 200, {"Content-Type": "text/event-stream"}
"""
)

RAW_APP = PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request") + (
    """
@app.get("/packages/<path:name>")
def package(name):
    if "%2F" not in request.environ["RAW_URI"]:
        return jsonify(error="no such package"), 404
    return jsonify(name=name)
"""
)


@report(
    Kind.APPLICATION,
    "eitchtee/WYGIWYH#399",
    sees=answers(400),
    repair=lambda stack: stack.edit(stack.app_file, "finance.example", stack.domain),
    codes=(),
    says=("ALLOWED_HOSTS", "gte.lab.example"),
    app=TELLING_DJANGO.replace("DOMAIN", "finance.example"),
    layout="guide",
    wait="listening",
)
def name_is_not_among_the_allowed_hosts(_stack: Stack) -> None:
    """wger#185, cookiecutter-django#451: the new name was given to nginx and not to Django."""


SECOND_HOST = "        proxy_set_header Host $http_host;\n"


@report(
    Kind.ROUTING,
    "riparias/gbif-alert#78",
    sees=answers(400),
    repair=lambda stack: stack.edit(stack.site_file, SECOND_HOST, ""),
    codes=(),
    says=("Host", "gte-api.conf:27", "gte-api.conf:26"),
    app=TELLING_DJANGO,
    layout="guide",
    wait="listening",
)
def host_is_sent_twice(stack: Stack) -> None:
    """A line of one's own beside those of the distribution's proxy_params."""
    stack.edit(stack.app_file, "DOMAIN", stack.domain)
    place = "        proxy_set_header X-Real-IP"
    stack.edit(stack.site_file, place, f"{SECOND_HOST}{place}")


def _room_for_all(stack: Stack) -> None:
    stack.edit(
        stack.gunicorn_conf, "backlog = 1\n", 'backlog = 2048\nworker_class = "gthread"\nthreads = 32\n'
    )


@report(
    Kind.PART,
    "benoitc/gunicorn#2433",
    sees=answers(502),
    repair=_room_for_all,
    codes=(),
    says=("11: Resource temporarily unavailable", "workers"),
    app=BUSY_APP,
    worker_class="sync",
    unix_socket=True,
    gunicorn_extra="backlog = 1\n",
)
def socket_s_queue_is_full(stack: Stack) -> None:
    """gunicorn#1618: a unix socket does not make clients wait, as TCP does; the service computes for long."""
    stack.load(clients=12)


def _comes_at_once(stack: Stack) -> bool:
    """Whether the first event comes with the last."""
    context = ssl.create_default_context(cafile=str(stack.ca_file))
    with (
        socket.create_connection(stack.https, 5) as raw,
        context.wrap_socket(raw, server_hostname=stack.domain) as client,
    ):
        client.sendall(f"GET /stream HTTP/1.0\r\nHost: {stack.domain}\r\n\r\n".encode())
        began, received = time.monotonic(), b""
        while b"data: 0" not in received and (part := client.recv(4096)):
            received += part
        first = time.monotonic() - began
        while client.recv(4096):
            pass
        return first > 0.8


@report(
    Kind.PART,
    "lm-sys/FastChat#2337",
    sees=_comes_at_once,
    repair=lambda stack: stack.edit(
        stack.site_file,
        "        proxy_http_version 1.1;",
        "        proxy_buffering off;\n        proxy_http_version 1.1;",
    ),
    codes=(),
    says=("/stream", "proxy_buffering", "gte-api.conf:"),
    app=STREAM_APP,
    worker_class="gthread",
    threads=4,
    layout="guide",
)
def events_come_all_at_once(_stack: Stack) -> None:
    """agno#10077, xagent#1358: nginx keeps small events in its buffer until there are enough, or the end."""


BELOW = """location /api/ {
        proxy_pass http://gte_backend/;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-Proto $scheme;
    }"""


def _docs_ask_elsewhere(stack: Stack) -> bool:
    page = stack.request(path="/api/docs")
    if page.status != 200 or "url: '/openapi.json'" not in page.text:
        return False
    return {stack.request(path="/openapi.json").status for _ in range(3)} == {404}


@report(
    Kind.ROUTING,
    "fastapi/fastapi#1811",
    sees=_docs_ask_elsewhere,
    repair=lambda stack: stack.edit(stack.app_file, "app = FastAPI()", 'app = FastAPI(root_path="/api")'),
    codes=(),
    says=("/openapi.json", "root_path", "/api"),
    app=FASTAPI,
    worker_class=UVICORN_WORKER,
    layout="guide",
)
def documentation_is_asked_for_at_the_root(stack: Stack) -> None:
    """fastapi#15, fastapi#28: the prefix is taken away, and the application does not know of it."""
    (stack.directory / "site").mkdir()
    stack.edit(
        stack.site_file,
        "location / {\n        limit_req",
        f"{BELOW}\n    location / {{ root {stack.directory}/site; }}\n    location /unused {{\n        limit_req",
    )
    paths = {name: f"/api/{name.partition('_')[0]}" for name in ("health_path", "ready_path", "predict_path")}
    stack.config["target"] |= paths
    stack.write_config()


def _open_the_challenges(stack: Stack) -> None:
    (stack.challenges / ".well-known").chmod(0o755)
    stack.replace_certificate(not_before=in_days(-1), not_after=in_days(89))


@report(
    Kind.CERTIFICATE,
    "certbot/certbot#4621",
    sees=meets("expired"),
    repair=_open_the_challenges,
    codes=("TLS024", "NGX046", "NGX039"),
    says=("acme-challenge", "403", ".well-known", "chmod"),
    impossible=needs_root,
)
def challenges_lie_in_a_closed_directory(stack: Stack) -> None:
    """docker-nginx-certbot#223: it was made under a strict umask, and nginx's workers may not enter it."""
    place = stack.challenges / ".well-known" / "acme-challenge"
    place.mkdir(parents=True)
    (stack.challenges / ".well-known").chmod(0o700)
    stack.replace_certificate(not_before=in_days(-91), not_after=in_days(-1))


@report(
    Kind.ROUTING,
    "serokell/hackage-search#17",
    sees=lambda stack: {stack.request(path="/packages/lab%2Fgte").status for _ in range(4)} == {404},
    repair=lambda stack: stack.edit(
        stack.site_file, "proxy_pass http://gte_backend/;", "proxy_pass http://gte_backend;"
    ),
    codes=(),
    says=("%2F", "proxy_pass http://gte_backend/;", "gte-api.conf:"),
    app=RAW_APP,
    layout="guide",
)
def encoded_slash_is_decoded_on_the_way(stack: Stack) -> None:
    """facia-tool#516, docker-npm-cache#5: with a path in proxy_pass nginx sends the decoded one."""
    stack.edit(stack.site_file, "proxy_pass http://gte_backend;", "proxy_pass http://gte_backend/;")


def _post_becomes_get(stack: Stack) -> bool:
    """What most clients do with a 301."""
    met = set()
    for _ in range(4):
        moved = stack.predict(door="http").status
        met.add((moved, stack.request("GET" if moved == 301 else "POST", "/predict", json_body={}).status))
    return met == {(301, 405)}


@report(
    Kind.ROUTING,
    "NginxProxyManager/nginx-proxy-manager#3352",
    sees=_post_becomes_get,
    repair=lambda stack: stack.edit(stack.site_file, "return 301 ", "return 308 "),
    codes=(),
    says=("/predict", "301", "308", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def post_becomes_a_get_on_the_way_to_https(_stack: Stack) -> None:
    """nginx-proxy#1431, harbor#6122: clients that begin with http:// lose their body to the redirect."""


def _static(stack: Stack) -> str:
    return f"location /static/ {{ alias {stack.directory}/static/; }}"


def _serve_static(stack: Stack) -> None:
    (stack.directory / "static").mkdir()
    (stack.directory / "static" / "app.css").write_text("body {}\n")
    (stack.directory / "static").chmod(0o755)
    add_location(stack, _static(stack))


@report(
    Kind.APPLICATION,
    "umap-project/umap#248",
    sees=lambda stack: {stack.request(path="/static/app.css").status for _ in range(5)} == {404},
    repair=_serve_static,
    codes=(),
    says=("/static/app.css", "404", "location", "collectstatic"),
    app=TELLING_DJANGO,
    layout="guide",
    wait="listening",
)
def static_files_are_asked_of_the_framework(stack: Stack) -> None:
    """notejam#72, ADL_LRS#133: the framework serves them only while it is debugged, and nginx passes everything on."""
    stack.edit(stack.app_file, "DOMAIN", stack.domain)
