"""A fourth collection: rebuilt from public reports before the doctor was asked about any of it."""

from __future__ import annotations

import contextlib
import http.client
import random
import shutil
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.lab.applications import FASTAPI, UVICORN_WORKER
from tests.lab.authority import Issued, new_key
from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import answers, meets
from tests.lab.reported.case import Kind, add_location, healthy, report
from tests.lab.reported.everyday import STREAM_APP
from tests.lab.reported.routing import DJANGO_APP
from tests.lab.reported.share import LOGIN_FORM_APP
from tests.lab.stack import Stack

PLACE = "        proxy_set_header X-Real-IP"


def _add_lines(stack: Stack, lines: str) -> None:
    """Puts lines into the site's ``location /``."""
    stack.edit(stack.site_file, PLACE, f"{lines}{PLACE}")


def _remove_lines(stack: Stack, lines: str) -> None:
    stack.edit(stack.site_file, lines, "")


def _at_once(stack: Stack, path: str, clients: int, method: str = "GET") -> set[int | None]:
    """The statuses of as many requests at the same time."""
    statuses: set[int | None] = set()

    def ask() -> None:
        statuses.add(stack.request(method, path).status)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


SECOND_SCHEME = "        proxy_set_header X-Forwarded-Protocol $scheme;\n"


@report(
    Kind.ROUTING,
    "benoitc/gunicorn#1857",
    sees=answers(400),
    repair=lambda stack: _remove_lines(stack, SECOND_SCHEME),
    codes=(),
    says=("Contradictory scheme headers", "X-Forwarded-Protocol", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def two_headers_of_the_scheme_contradict(stack: Stack) -> None:
    """TandoorRecipes#4187, twitcher#40: gunicorn expects "ssl" in the one and "https" in the other."""
    _add_lines(stack, SECOND_SCHEME)


SCRIPT_NAME = "        proxy_set_header SCRIPT_NAME /shop;\n"


@report(
    Kind.ROUTING,
    "benoitc/gunicorn#3076",
    sees=answers(500),
    repair=lambda stack: _remove_lines(stack, SCRIPT_NAME),
    codes=(),
    says=("SCRIPT_NAME", "/predict", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def script_name_is_no_prefix_of_the_path(stack: Stack) -> None:
    """gunicorn#2969, gunicorn#679: the path comes without the prefix that the header names."""
    _add_lines(stack, SCRIPT_NAME)


SLASHED_DJANGO = DJANGO_APP.replace('path("predict", predict)', 'path("predict/", predict)')
NO_SLASH = "    rewrite ^/(.*)/$ /$1 permanent;\n"


def _goes_in_a_circle(stack: Stack) -> bool:
    with_slash = stack.request("POST", "/predict/", json_body={})
    without = stack.request("POST", "/predict", json_body={})
    return {with_slash.status, without.status} == {301}


@report(
    Kind.ROUTING,
    "CERNDocumentServer/cds-videos#1659",
    sees=_goes_in_a_circle,
    repair=lambda stack: stack.edit(stack.site_file, NO_SLASH, ""),
    codes=(),
    says=("/predict/", "rewrite", "gte-api.conf:"),
    app=SLASHED_DJANGO,
    layout="guide",
    wait="listening",
)
def nginx_takes_the_slash_and_the_application_adds_it(stack: Stack) -> None:
    """AmiiboAPI#53, dokku-buildpack-jekyll4-nginx#8: each redirects to what the other redirects."""
    stack.edit(stack.app_file, "DOMAIN", stack.domain)
    stack.config["target"]["predict_path"] = "/predict/"
    stack.write_config()
    stack.edit(stack.site_file, "    location / {", f"{NO_SLASH}    location / {{")


@report(
    Kind.DOOR,
    "fatedier/frp#2254",
    sees=lambda stack: {bool(stack.predict(timeout=3.0).error) for _ in range(4)} == {True},
    repair=lambda stack: stack.edit(stack.site_file, " ssl proxy_protocol;", " ssl;"),
    codes=(),
    says=("PROXY", "broken header", "proxy_protocol", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def nobody_sends_the_proxy_line_any_more(stack: Stack) -> None:
    """ingress-nginx#6633, netdata#11822: the balancer is gone, or does not send it; clients come directly."""
    stack.edit(stack.site_file, " ssl;", " ssl proxy_protocol;")


def _login_is_refused(stack: Stack) -> bool:
    sent = {
        "Origin": stack.url,
        "Host": f"{stack.domain}:{stack.ports['https']}",
        "Cookie": f"csrftoken={'c' * 32}",
        "X-CSRFToken": "c" * 32,
    }
    return {stack.request("POST", "/login", headers=sent).status for _ in range(5)} == {403}


@report(
    Kind.PART,
    "bytedance/deer-flow#2791",
    sees=_login_is_refused,
    repair=lambda stack: stack.edit(stack.site_file, "Host $host;", "Host $http_host;"),
    codes=(),
    says=("Origin checking failed", "/login", "$host", "$http_host", "gte-api.conf:"),
    app=LOGIN_FORM_APP,
    layout="guide",
    wait="listening",
)
def port_is_missing_from_the_host(stack: Stack) -> None:
    """docker-etebase#209, authentik#8947: $host has no port, and Origin has one."""
    stack.edit(stack.app_file, "DOMAIN", stack.domain)


def _somebody_else() -> dict[str, str]:
    return {"X-Forwarded-For": f"203.0.113.{random.randrange(1, 250)}"}


@report(
    Kind.PART,
    "magenx/Magento-nginx-config#44",
    sees=lambda stack: 429 in {stack.predict(headers=_somebody_else()).status for _ in range(24)},
    repair=lambda stack: stack.edit(
        stack.site_file,
        "    location / {",
        "    set_real_ip_from 127.0.0.1;\n    real_ip_header X-Forwarded-For;\n    location / {",
    ),
    codes=(),
    says=("limiting requests", "127.0.0.1", "real_ip", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
    site={"rate": "5r/s", "burst": 10},
    nginx_extra=(
        '    log_format main \'$remote_addr - $remote_user [$time_local] "$request" $status '
        '$body_bytes_sent "$http_referer" "$http_user_agent" "$http_x_forwarded_for"\';'
    ),
)
def every_visitor_has_the_balancer_s_address(stack: Stack) -> None:
    """lenny#216, nginx-ultimate-bad-bot-blocker#281: the limit is one for all, because nobody set real_ip."""
    log = str(stack.nginx_access_log)
    stack.edit(stack.site_file, f"access_log {log};", f"access_log {log} main;")


CACHED = """location /items {
        proxy_pass http://gte_backend;
        proxy_set_header Host $host;
        proxy_cache api;
        proxy_cache_valid any 30m;
    }"""

ITEMS_APP = PLAIN_APP.replace("from flask", "import os\nfrom flask") + (
    """
@app.get("/items")
def items():
    if not os.path.exists("READY"):
        return jsonify(error="the index is being built"), 500
    return jsonify(items=[])
"""
)


def _old_error(stack: Stack) -> bool:
    front = {stack.request(path="/items").status for _ in range(5)}
    return front == {500} and stack.request(path="/items", door="backend").status == 200


def _forget_errors(stack: Stack) -> None:
    stack.edit(stack.site_file, "proxy_cache_valid any 30m;", "proxy_cache_valid 200 30m;", apply=False)
    for path in (stack.directory / "cache").iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    stack.reload_nginx()


@report(
    Kind.PART,
    "HistoryAtState/hsg-project#32",
    sees=_old_error,
    repair=_forget_errors,
    codes=(),
    says=("/items", "proxy_cache_valid", "gte-api.conf:"),
    app=ITEMS_APP,
    layout="guide",
)
def nginx_keeps_an_error_in_its_cache(stack: Stack) -> None:
    """engintron#1438: an answer of the first minute is given for half an hour."""
    ready = stack.directory / "ready"
    stack.edit(stack.app_file, "READY", str(ready))
    upstream = "upstream gte_backend {"
    cache = f"proxy_cache_path {stack.directory}/cache keys_zone=api:1m inactive=1h;"
    stack.edit(stack.site_file, upstream, f"{cache}\n{upstream}", apply=False)
    add_location(stack, CACHED)
    stack.request(path="/items")
    ready.touch()


SESSION_APP = """
import os
import time

from flask import Flask, jsonify, session

app = Flask(__name__)
app.secret_key = os.urandom(24)

@app.get("/health")
def health():
    return jsonify(status="ok", service="plain")

@app.post("/predict")
def predict():
    return jsonify(result={})

@app.post("/login")
def login():
    session["user"] = "alice"
    return jsonify(user="alice")

@app.get("/profile")
def profile():
    time.sleep(0.05)
    if "user" not in session:
        return jsonify(error="log in first"), 401
    return jsonify(user=session["user"])
"""


def _is_logged_out_now_and_then(stack: Stack) -> bool:
    cookie = str(stack.request("POST", "/login", json_body={}).headers["Set-Cookie"]).partition(";")[0]
    statuses: list[int | None] = []

    def ask() -> None:
        statuses.append(stack.request(path="/profile", headers={"Cookie": cookie}).status)

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {200, 401} <= set(statuses)


@report(
    Kind.EACH,
    "maxcountryman/flask-login#392",
    sees=_is_logged_out_now_and_then,
    repair=lambda stack: stack.edit(stack.app_file, "os.urandom(24)", '"one for all"'),
    codes=(),
    says=("/profile", "401", "workers"),
    app=SESSION_APP,
    worker_class="sync",
    workers=3,
    layout="guide",
    site={"rate": "200r/s", "burst": 200},
)
def each_worker_has_a_key_of_its_own(_stack: Stack) -> None:
    """CTFd#68, govready-q#864: the key that signs sessions is drawn anew in each worker."""


NOTES_APP = PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request") + (
    """
@app.post("/notes")
def notes():
    note = request.get_json()
    with open(f"NOTES/{note['title']}.txt", "w") as file:
        file.write("note")
    return jsonify(kept=True)
"""
)


def _notes_fail(stack: Stack) -> bool:
    return {stack.request("POST", "/notes", json_body={"title": "北京"}).status for _ in range(5)} == {500}


def _speak_utf_8(stack: Stack) -> None:
    stack.set_service_environment(LC_ALL="C.UTF-8")
    stack.restart_gunicorn()


@report(
    Kind.PART,
    "caktus/margarita#29",
    sees=_notes_fail,
    repair=_speak_utf_8,
    codes=("APP020",),
    says=("UnicodeEncodeError", "/notes", "UTF-8"),
    app=NOTES_APP,
    layout="guide",
    service_environment={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
)
def unit_speaks_ascii(stack: Stack) -> None:
    """django-private-storage#69, preciosa#228: a login shell has a locale, and the service's unit has none."""
    (stack.directory / "notes").mkdir()
    stack.edit(stack.app_file, "NOTES", str(stack.directory / "notes"))


ITEM_APP = PLAIN_APP + (
    """
@app.delete("/items/<int:number>")
def delete(number):
    return jsonify(deleted=number)
"""
)
ONLY_READ = "        limit_except GET POST { deny all; }\n"


@report(
    Kind.PART,
    "mieweb/opensource-server#215",
    sees=lambda stack: {stack.request("DELETE", f"/items/{n}").status for n in range(4)} == {403},
    repair=lambda stack: _remove_lines(stack, ONLY_READ),
    codes=(),
    says=("DELETE", "403", "limit_except", "gte-api.conf:"),
    app=ITEM_APP,
    layout="guide",
)
def methods_of_the_api_are_not_allowed(stack: Stack) -> None:
    """debops#942, nginx-boilerplate#87: a hardened template allows what pages need, and not what an API needs."""
    _add_lines(stack, ONLY_READ)


BODY_APP = PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request") + (
    """
@app.post("/upload")
def upload():
    return jsonify(length=len(request.get_data()))
"""
)
IMPATIENT = "    client_body_timeout 1s;\n"


def _slow_upload(stack: Stack) -> int | None:
    """The status of an upload that stops for two seconds in its middle; None without an answer."""
    context = ssl.create_default_context(cafile=str(stack.ca_file))
    with (
        contextlib.suppress(OSError, http.client.HTTPException),
        socket.create_connection(stack.https, 10) as raw,
        context.wrap_socket(raw, server_hostname=stack.domain) as client,
    ):
        head = f"POST /upload HTTP/1.1\r\nHost: {stack.domain}\r\nContent-Length: 40000\r\n\r\n"
        client.sendall(head.encode() + b"x" * 20000)
        time.sleep(2.0)
        with contextlib.suppress(OSError):
            client.sendall(b"x" * 20000)
        return int((client.recv(4096).split() or [b"", b"0"])[1]) or None
    return None


@report(
    Kind.PART,
    "tiiuae/ghaf-infra#1040",
    sees=lambda stack: {_slow_upload(stack) for _ in range(3)} != {200},
    repair=lambda stack: stack.edit(stack.site_file, IMPATIENT, ""),
    codes=(),
    says=("408", "/upload", "client_body_timeout", "gte-api.conf:"),
    app=BODY_APP,
    layout="guide",
)
def slow_uploads_are_given_up(stack: Stack) -> None:
    """nextcloud/documentation#6746, PMSS#569: a phone stops for a moment, and nginx ends the upload."""
    stack.edit(stack.site_file, "    location / {", f"{IMPATIENT}    location / {{")


IMAGE_APP = PLAIN_APP.replace("from flask", "import time\nfrom flask") + (
    """
@app.get("/image")
def image():
    time.sleep(0.4)
    return "image"
"""
)
FEW = "        limit_conn per_visitor 2;\n"


@report(
    Kind.PART,
    "dev-sec/chef-nginx-hardening#11",
    sees=lambda stack: 503 in _at_once(stack, "/image", 8),
    repair=lambda stack: _remove_lines(stack, FEW),
    codes=(),
    says=("limiting connections", "limit_conn", "/image", "gte-api.conf:"),
    app=IMAGE_APP,
    worker_class="gthread",
    threads=16,
    layout="guide",
    nginx_extra="    limit_conn_zone $binary_remote_addr zone=per_visitor:1m;",
)
def visitors_may_not_open_enough_connections(stack: Stack) -> None:
    """ansible-nginx-hardening#9, Wonderfall/dockerfiles#7: a page has more images than the limit has connections."""
    _add_lines(stack, FEW)


ARGUMENTS_APP = (
    """
import argparse

parser = argparse.ArgumentParser()
parser.add_argument("--model", default="large")
options = parser.parse_args()
"""
    + PLAIN_APP
)


@report(
    Kind.START,
    "benoitc/gunicorn#1867",
    sees=answers(502),
    repair=lambda stack: stack.edit(stack.app_file, "parse_args()", "parse_args([])"),
    codes=(),
    says=("unrecognized arguments", "command line itself"),
    app=ARGUMENTS_APP,
    layout="guide",
    wait="nothing",
)
def application_reads_the_command_line_itself(_stack: Stack) -> None:
    """gunicorn#2231, gunicorn#2651: the message looks like gunicorn's, and the application said it."""


def _write_two_dashes(stack: Stack) -> None:
    stack.become(gunicorn_args=(), app=PLAIN_APP)


@report(
    Kind.START,
    "benoitc/gunicorn#3325",
    sees=answers(502),
    repair=_write_two_dashes,
    codes=(),
    says=("–-keep-alive=60", "hyphen"),
    app=PLAIN_APP,
    layout="guide",
    gunicorn_args=("–-keep-alive=60",),
    wait="nothing",
)
def dash_was_made_a_longer_one(_stack: Stack) -> None:
    """A web page made an en dash of the first hyphen, and it was copied into the unit."""


@report(
    Kind.START,
    "broadinstitute/SpliceAI-lookup#37",
    sees=lambda stack: stack.predict(timeout=1.5).status != 200,
    repair=lambda stack: stack.edit(stack.app_file, "os.kill(os.getpid(), signal.SIGILL)", "pass"),
    codes=(),
    says=("SIGILL",),
    app=f"import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n{PLAIN_APP}",
    layout="guide",
    wait="nothing",
)
def library_wants_another_processor(_stack: Stack) -> None:
    """A wheel is built with instructions that this virtual machine's processor does not have."""


CRASHING_APP = PLAIN_APP.replace("from flask", "import ctypes\nfrom flask") + (
    """
@app.get("/report")
def report():
    return ctypes.string_at(0)
"""
)


def _report_crashes(stack: Stack) -> bool:
    return {stack.request(path="/report").status for _ in range(3)} == {502}


@report(
    Kind.PART,
    "benoitc/gunicorn#2850",
    sees=_report_crashes,
    repair=lambda stack: stack.edit(stack.app_file, "return ctypes.string_at(0)", 'return "report"'),
    codes=(),
    says=("SIGSEGV", "/report"),
    app=CRASHING_APP,
    layout="guide",
)
def library_crashes_on_some_requests(_stack: Stack) -> None:
    """gunicorn#2954: a native library ends the worker, and nothing of it is in the application's log."""


ROOT_PATH_APP = FASTAPI + (
    """

from uvicorn.workers import UvicornWorker


class BelowWorker(UvicornWorker):
    CONFIG_KWARGS = {"root_path": "/api"}
"""
)

WHOLE = """location /api/ {
        proxy_pass http://gte_backend;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-Proto $scheme;
    }"""


@report(
    Kind.APPLICATION,
    "ctrliq/ascender#994",
    sees=lambda stack: (
        {stack.request("POST", "/api/predict", json_body={"text": "x"}).status for _ in range(4)} == {404}
    ),
    repair=lambda stack: stack.edit(
        stack.site_file, WHOLE, WHOLE.replace("http://gte_backend;", "http://gte_backend/;")
    ),
    codes=(),
    says=("/api/predict", "root_path", "gte-api.conf:"),
    app=ROOT_PATH_APP,
    worker_class="app.BelowWorker",
    layout="guide",
)
def prefix_is_put_before_a_path_that_has_it(stack: Stack) -> None:
    """LightRAG#3128, uvicorn#2493: uvicorn adds root_path to what it gets, and nginx passes the whole path on."""
    paths = {name: f"/api/{name.partition('_')[0]}" for name in ("health_path", "ready_path", "predict_path")}
    stack.config["target"] |= paths
    stack.write_config()
    add_location(stack, WHOLE)


SECOND_HOST = "        proxy_set_header Host $http_host;\n"


@report(
    Kind.ROUTING,
    "rotki/rotki#12544",
    sees=answers(400),
    repair=lambda stack: _remove_lines(stack, SECOND_HOST),
    codes=(),
    says=("Host", "gte-api.conf:26", "gte-api.conf:27"),
    app=FASTAPI,
    worker_class=UVICORN_WORKER,
    layout="guide",
)
def host_is_sent_twice_to_uvicorn(stack: Stack) -> None:
    """The server before it took two, and uvicorn refuses them as no HTTP."""
    _add_lines(stack, SECOND_HOST)


def _second_file(stack: Stack) -> str:
    return (
        f"server {{\n    listen [::1]:{stack.ports['https']} ssl ipv6only=on;\n    server_name shop.example;\n"
        f"    ssl_certificate {stack.certificate};\n    ssl_certificate_key {stack.private_key};\n"
        "    return 404;\n}\n"
    )


def _listen_once(stack: Stack) -> None:
    file = stack.nginx_dir / "conf.d" / "shop.conf"
    file.write_text(file.read_text().replace(" ipv6only=on", ""))
    stack.start_nginx()


@report(
    Kind.CERTIFICATE,
    "certbot/certbot#5550",
    sees=meets("refused"),
    repair=_listen_once,
    codes=("NGX003", "NGX002"),
    says=("duplicate listen options", "shop.conf:2"),
    app=PLAIN_APP,
    layout="guide",
)
def certificate_program_wrote_the_option_twice(stack: Stack) -> None:
    """Bubbly#2, certbot#5419: ipv6only=on in the second site too, and the next start fails."""
    own = f"    listen {stack.address}:{stack.ports['https']} ssl;\n"
    second = f"    listen [::1]:{stack.ports['https']} ssl ipv6only=on;\n"
    stack.edit(stack.site_file, own, f"{own}{second}", apply=False)
    (stack.nginx_dir / "conf.d" / "shop.conf").write_text(_second_file(stack))
    stack.stop_nginx()
    stack.try_to_start_nginx()


def _without_names(stack: Stack) -> Issued:
    """A certificate whose name stands in the subject alone."""
    key, start = new_key("ecdsa"), datetime.now(UTC) - timedelta(days=1)
    issuer = stack.authority.intermediate
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, stack.domain)]))
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=90))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(issuer.key, hashes.SHA256())
    )
    return Issued(certificate, key, (issuer.certificate,))


def _is_refused_by_a_browser(stack: Stack) -> bool:
    """Browsers and Go read subjectAltName alone; Python's default falls back to commonName."""
    context = ssl.create_default_context(cafile=str(stack.ca_file))
    context.hostname_checks_common_name = False
    with socket.create_connection(stack.https, 5) as raw:
        try:
            context.wrap_socket(raw, server_hostname=stack.domain).close()
        except ssl.SSLCertVerificationError as error:
            return "ostname mismatch" in str(error)
    return False


def _issue_anew(stack: Stack) -> None:
    stack.replace_certificate()


@report(
    Kind.CERTIFICATE,
    "MISP/misp-docker#30",
    sees=_is_refused_by_a_browser,
    repair=_issue_anew,
    codes=("TLS004",),
    says=("subjectAltName", "gte.lab.example"),
    app=PLAIN_APP,
    layout="guide",
)
def name_stands_in_the_subject_alone(stack: Stack) -> None:
    """requests#6969, XX-Net#5120: clients read subjectAltName, and commonName no more."""
    stack.replace_certificate(_without_names(stack))


LINE = b"PROXY TCP4 198.51.100.7 127.0.0.1 40000 443\r\n"


@healthy(
    "kubernetes/ingress-nginx#13139",
    serves=lambda stack: stack.predict(preface=LINE).status == 200,
    app=PLAIN_APP,
    layout="guide",
)
def balancer_only_connects_to_see_who_is_there(stack: Stack) -> None:
    """ingress-nginx#6996: each of its health checks leaves a broken header, and users come with a whole one."""
    stack.edit(stack.site_file, " ssl;", " ssl proxy_protocol;")
    for _ in range(5):
        with socket.create_connection(stack.https, 5):
            pass
        stack.predict(preface=LINE)


@healthy(
    "fanout/django-eventstream#37",
    serves=lambda stack: stack.request(path="/stream").status == 200,
    app=STREAM_APP.replace('"Content-Type"', '"X-Accel-Buffering": "no", "Content-Type"'),
    worker_class="gthread",
    threads=4,
    layout="guide",
)
def application_forbids_buffering_itself(stack: Stack) -> None:
    """Its events come one by one, whatever the site says of buffers."""
    for _ in range(5):
        stack.request(path="/stream")
