"""A fifth collection: rebuilt from public reports before the doctor was asked about any of it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import threading
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from tests.lab.applications import FASTAPI, UVICORN_WORKER
from tests.lab.authority import Authority, Issued, new_key
from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import Inject, answers, meets
from tests.lab.reported.case import Kind, add_location, healthy, needs_root, report
from tests.lab.reported.users import always
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for

ITEMS_APP = PLAIN_APP + (
    """
@app.get("/items")
def items():
    return jsonify(items=[])
"""
)


def _proxied(path: str, lines: str) -> str:
    return f"""location {path} {{
        proxy_pass http://gte_backend;
        proxy_set_header Host $host;
        {lines}
    }}"""


# --- passwords --------------------------------------------------------------------------------------------------------


def _write_passwords(stack: Stack) -> None:
    (stack.nginx_dir / "site.htpasswd").write_text("alice:{PLAIN}secret\n")


def _passwords(stack: Stack) -> str:
    return f'auth_basic "shop";\n        auth_basic_user_file {stack.nginx_dir}/site.htpasswd;'


def _with_password(stack: Stack) -> int | None:
    return stack.request(path="/items", headers={"Authorization": "Basic YWxpY2U6c2VjcmV0"}).status


@report(
    Kind.LINE,
    "hassio-addons/app-nginx-proxy-manager#467",
    sees=lambda stack: {_with_password(stack) for _ in range(5)} == {403},
    repair=_write_passwords,
    codes=(),
    says=("/items", "site.htpasswd", "No such file", "auth_basic_user_file", "gte-api.conf:"),
    app=ITEMS_APP,
    layout="guide",
)
def file_of_the_passwords_is_not_there(stack: Stack) -> None:
    """nginx-proxy#1420, nginx#557: nginx starts without a word, asks for a password, and refuses every one."""
    add_location(stack, _proxied("/items", _passwords(stack)))


NO_PREFLIGHT = "if ($request_method = OPTIONS) { return 204; }"


@report(
    Kind.PART,
    "nginx-proxy/nginx-proxy#1176",
    sees=lambda stack: always(stack, "/items", 401, method="OPTIONS"),
    repair=lambda stack: stack.edit(
        stack.site_file, '        auth_basic "shop";', f'        {NO_PREFLIGHT}\n        auth_basic "shop";'
    ),
    codes=(),
    says=("OPTIONS", "/items", "401", "auth_basic", "gte-api.conf:"),
    app=ITEMS_APP,
    layout="guide",
)
def browsers_may_not_ask_before_they_log_in(stack: Stack) -> None:
    """lagoon-images#857, Baikal#1087: a browser asks with OPTIONS first, and never sends a password with it."""
    _write_passwords(stack)
    add_location(stack, _proxied("/items", _passwords(stack)))


KEY_APP = PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request") + (
    """
@app.get("/items")
def items():
    if request.headers.get("api_key") != "k":
        return jsonify(error="a key is needed"), 401
    return jsonify(items=[])
"""
)


@report(
    Kind.PART,
    "wavesplatform/Waves#784",
    sees=lambda stack: (
        {stack.request(path="/items", headers={"api_key": "k"}).status for _ in range(5)} == {401}
    ),
    repair=lambda stack: stack.edit(
        stack.site_file, "    location / {", "    underscores_in_headers on;\n    location / {"
    ),
    codes=(),
    says=("api_key", "/items", "underscores_in_headers", "gte-api.conf"),
    app=KEY_APP,
    layout="guide",
    gunicorn_extra="header_map = 'dangerous'\n",
)
def header_with_an_underscore_is_left_out(stack: Stack) -> None:
    """opta#50, jhub_remote_user_authenticator#6: nginx leaves it out, and says so at level info alone."""
    log = str(stack.nginx_error_log)
    stack.edit(stack.site_file, f"error_log {log};", f"error_log {log} info;")


# --- another server behind nginx --------------------------------------------------------------------------------------


def _partner(stack: Stack, issued: Issued) -> str:
    """Another company's server, that answers to its own name alone; returns its address."""
    chain, key = stack.directory / "partner.pem", stack.directory / "partner.key"
    chain.write_bytes(issued.fullchain_pem)
    key.write_bytes(issued.key_pem)
    address = f"{stack.address}:{stack.free_port()}"
    (stack.nginx_dir / "conf.d" / "partner.conf").write_text(
        f"server {{ listen {address} ssl default_server; ssl_reject_handshake on; }}\n"
        f"server {{ listen {address} ssl; server_name partner.example; ssl_certificate {chain};"
        f" ssl_certificate_key {key}; return 200 '{{}}'; }}\n"
    )
    return address


def _to_the_partner(stack: Stack, address: str, lines: str) -> None:
    upstream = "upstream gte_backend {"
    named = f"upstream partner.example {{\n    server {address};\n}}\n{upstream}"
    stack.edit(stack.site_file, upstream, named, apply=False)
    place = "location /partner/ {\n        proxy_pass https://partner.example/;\n"
    add_location(stack, f"{place}        proxy_set_header Host partner.example;\n{lines}    }}")


@report(
    Kind.ROUTING,
    "spantaleev/matrix-docker-ansible-deploy#3055",
    sees=lambda stack: always(stack, "/partner/rates", 502),
    repair=lambda stack: stack.edit(
        stack.site_file,
        "Host partner.example;\n",
        "Host partner.example;\n        proxy_ssl_server_name on;\n",
    ),
    codes=(),
    says=("/partner/rates", "proxy_ssl_server_name", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def partner_is_not_told_its_name(stack: Stack) -> None:
    """Ornn#146, api.data.gov#357: nginx sends no SNI to an upstream unless it is told to."""
    address = _partner(stack, stack.authority.issue(["partner.example"]))
    _to_the_partner(stack, address, "")


def _long_chain(stack: Stack) -> Issued:
    """A leaf with two intermediates above it; the root is the stack's partner.root.pem."""
    signer: Issued | None = None
    above: list[Issued] = []
    start = datetime.now(UTC) - timedelta(days=1)
    for length, name in ((2, "Root"), (1, "First"), (0, "Second")):
        key = new_key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Partner {name}")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(signer.certificate.subject if signer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=length), critical=True)
            .sign(signer.key if signer else key, hashes.SHA256())
        )
        signer = Issued(certificate, key)
        above.insert(0, signer)
    authority = Authority("Partner")
    authority.intermediate = above[0]
    leaf = authority.issue(["partner.example"])
    (stack.directory / "partner.root.pem").write_bytes(above[-1].pem)
    return Issued(leaf.certificate, leaf.key, tuple(issued.certificate for issued in above[:-1]))


@report(
    Kind.CERTIFICATE,
    "mirainc/funes#32",
    sees=lambda stack: always(stack, "/partner/rates", 502),
    repair=lambda stack: stack.edit(
        stack.site_file, "proxy_ssl_verify on;", "proxy_ssl_verify on;\n        proxy_ssl_verify_depth 3;"
    ),
    codes=(),
    says=("/partner/rates", "certificate verify error", "proxy_ssl_verify_depth", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def partner_s_chain_has_grown_by_one(stack: Stack) -> None:
    """nginx#1409, evenfire#149: authorities put a second intermediate in, and nginx looks at one."""
    address = _partner(stack, _long_chain(stack))
    lines = (
        "        proxy_ssl_server_name on;\n        proxy_ssl_verify on;\n"
        f"        proxy_ssl_trusted_certificate {stack.directory}/partner.root.pem;\n"
    )
    _to_the_partner(stack, address, lines)


# --- nginx's files ----------------------------------------------------------------------------------------------------

INDEX_APP = PLAIN_APP + (
    """
@app.get("/")
def index():
    return "<h1>Shop</h1>"
"""
)
LOCATION = "    location / {\n        limit_req"


def _files_before_the_service(stack: Stack, tries: str) -> None:
    """Static files lie in a directory, and what is none is the service's."""
    public = stack.directory / "public"
    public.mkdir()
    (public / "robots.txt").write_text("User-agent: *\n")
    first = (
        f"    root {public};\n    location / {{ try_files {tries} @service; }}\n    location @service {{\n"
    )
    stack.edit(stack.site_file, LOCATION, f"{first}        limit_req")


@report(
    Kind.ROUTING,
    "concretecms/concretecms#12131",
    sees=lambda stack: always(stack, "/", 403),
    repair=lambda stack: stack.edit(stack.site_file, "$uri $uri/ @service", "$uri @service"),
    codes=(),
    says=("directory index of", "try_files", "$uri/", "gte-api.conf:"),
    app=INDEX_APP,
    layout="guide",
)
def first_page_is_taken_for_a_directory(stack: Stack) -> None:
    """passenger-docker#137, node-frontend#5: the directory is there, so nginx never comes to the service."""
    _files_before_the_service(stack, "$uri $uri/")


def _every_file_is_included(stack: Stack) -> None:
    stack.edit(stack.nginx_conf, "conf.d/*.conf;", "conf.d/*;", apply=False)


def _break_at_the_next_start(stack: Stack) -> None:
    stack.stop_nginx()
    stack.try_to_start_nginx()


def _remove_from_the_sites(name: str) -> Inject:
    def repair(stack: Stack) -> None:
        (stack.nginx_dir / "conf.d" / name).unlink()
        stack.start_nginx()

    return repair


@report(
    Kind.START,
    "phoenixframework/phoenix_guides#166",
    sees=meets("refused"),
    repair=_remove_from_the_sites("sites-available"),
    codes=("NGX003", "NGX002"),
    says=("Is a directory", "conf.d/sites-available", "include"),
    app=PLAIN_APP,
    layout="guide",
)
def whole_directory_was_linked(stack: Stack) -> None:
    """docker-magento#156, bitnami-docker-nginx#108: ln -s took the directory, and the pattern takes the link."""
    available = stack.nginx_dir / "sites-available"
    available.mkdir()
    _every_file_is_included(stack)
    (stack.nginx_dir / "conf.d" / "sites-available").symlink_to(available)
    _break_at_the_next_start(stack)


@report(
    Kind.START,
    "TalkingQuickly/capistrano-3-rails-template#29",
    sees=meets("refused"),
    repair=_remove_from_the_sites("gte-api.conf.save"),
    codes=("NGX003", "NGX002"),
    says=("gte-api.conf.save", "gte-api.conf:", "include"),
    app=PLAIN_APP,
    layout="guide",
)
def editor_left_a_copy_among_the_sites(stack: Stack) -> None:
    """nginx-ultimate-bad-bot-blocker#107: the pattern takes the copy too, and everything is there twice."""
    _every_file_is_included(stack)
    (stack.nginx_dir / "conf.d" / "gte-api.conf.save").write_text(stack.site_file.read_text())
    _break_at_the_next_start(stack)


@report(
    Kind.CERTIFICATE,
    "0xJacky/nginx-ui#1866",
    sees=meets("tls"),
    repair=lambda stack: stack.edit(stack.site_file, "$pair/privkey.pem", str(stack.private_key)),
    codes=(),
    says=("Permission denied", "privkey.pem", "gte-api.conf:"),
    impossible=needs_root,
    app=PLAIN_APP,
    layout="guide",
)
def key_is_read_by_the_workers(stack: Stack) -> None:
    """macbre/docker-nginx-http3#128: with a variable in its name the key is opened by a worker, who is not root."""
    names = f"map $ssl_server_name $pair {{\n    default {stack.private_key.parent};\n}}\n"
    upstream = "upstream gte_backend {"
    stack.edit(stack.site_file, upstream, f"{names}{upstream}", apply=False)
    stack.edit(stack.site_file, f"key {stack.private_key};", "key $pair/privkey.pem;")


# --- applications that were made for one process ----------------------------------------------------------------------

METRICS_APP = (
    """
from prometheus_client import start_http_server

start_http_server(PORT, addr="ADDRESS")
"""
    + PLAIN_APP
)


@report(
    Kind.START,
    "prometheus/client_python#667",
    sees=answers(502),
    repair=lambda stack: stack.edit(stack.gunicorn_conf, "workers = 3", "workers = 1"),
    codes=("GUN003",),
    says=("Address already in use", "every worker", "when_ready"),
    app=PLAIN_APP,
    workers=3,
    layout="guide",
    wait="nothing",
)
def every_worker_wants_the_same_port(stack: Stack) -> None:
    """Swar-Chia-Plot-Manager#751, turbinia#649: a server for its metrics is started while it is imported."""
    stack.stop_gunicorn()
    text = METRICS_APP.replace("PORT", str(stack.free_port())).replace("ADDRESS", stack.address)
    stack.app_file.write_text(text)
    stack.start_gunicorn()
    wait_for(lambda: "Address already in use" in stack.gunicorn_said(), "a worker to fail", within=20)


SELF_APP = PLAIN_APP.replace("from flask", "import json\nimport urllib.request\nfrom flask") + (
    """
@app.get("/items")
def items():
    return jsonify(items=[])

@app.get("/report")
def report():
    with urllib.request.urlopen("http://BACKEND/items") as answer:
        return jsonify(report=json.load(answer))
"""
)


@report(
    Kind.PART,
    "benoitc/gunicorn#1878",
    sees=lambda stack: always(stack, "/report", 500, times=2),
    repair=lambda stack: stack.edit(stack.gunicorn_conf, "workers = 1", "workers = 3"),
    codes=(),
    says=("/report", "itself", "worker"),
    app=SELF_APP,
    worker_class="sync",
    timeout=2,
    layout="guide",
)
def only_worker_asks_itself(stack: Stack) -> None:
    """gunicorn#134: it waits for an answer that nobody is left to give."""
    stack.edit(stack.app_file, "BACKEND", stack.bind)


CUDA_APP = PLAIN_APP.replace("from flask", "import os\nfrom flask") + (
    """
MODEL_OF = os.getpid()

def encode():
    if os.getpid() != MODEL_OF:
        raise RuntimeError(
            "Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, "
            "you must use the 'spawn' start method"
        )
    return []

@app.post("/embed")
def embed():
    return jsonify(vectors=encode())
"""
)


def _load_in_each_worker(stack: Stack) -> None:
    stack.edit(stack.gunicorn_conf, "preload_app = True\n", "", apply=False)
    stack.edit(stack.app_file, "os.getpid() != MODEL_OF", "False")


@report(
    Kind.PART,
    "benoitc/gunicorn#3176",
    sees=lambda stack: always(stack, "/embed", 500, method="POST"),
    repair=_load_in_each_worker,
    codes=(),
    says=("Cannot re-initialize CUDA", "/embed", "preload_app"),
    app=CUDA_APP,
    workers=2,
    layout="guide",
    gunicorn_extra="preload_app = True\n",
)
def model_was_put_on_the_gpu_before_the_fork(_stack: Stack) -> None:
    """pytorch#68861, FlagEmbedding#1321: the master loads the model, and its children may not use it."""


ORDERS_APP = PLAIN_APP.replace("from flask", "import socket\nimport ssl\nfrom flask") + (
    """
connection = ssl.create_default_context(cafile="CA").wrap_socket(
    socket.create_connection(("ADDRESS", PORT)), server_hostname="gte.lab.example"
)

@app.get("/orders")
def orders():
    connection.sendall(b"q")
    if not connection.recv(1):
        raise ConnectionError("SSL SYSCALL error: EOF detected")
    return jsonify(orders=[])
"""
)


def _store(stack: Stack) -> int:
    """A store that answers over TLS, each client for itself; returns its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(stack.certificate, stack.private_key)
    listener = socket.create_server((stack.address, 0))
    stack.at_end(listener.close)

    def serve(raw: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(raw, server_side=True) as client:
            while client.recv(1):
                client.sendall(b"a")

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                raw, _ = listener.accept()
                threading.Thread(target=serve, args=(raw,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return int(listener.getsockname()[1])


@report(
    Kind.PART,
    "nautobot/nautobot#127",
    sees=lambda stack: 500 in {stack.request(path="/orders").status for _ in range(8)},
    repair=lambda stack: stack.edit(stack.gunicorn_conf, "preload_app = True\n", ""),
    codes=(),
    says=("/orders", "preload_app", "fork"),
    app=PLAIN_APP,
    workers=3,
    worker_class="sync",
    layout="guide",
    gunicorn_extra="preload_app = True\n",
)
def workers_share_a_connection(stack: Stack) -> None:
    """Wooey#31, taranis-ai#381: made before the fork, used by all; each spoils the others' encryption."""
    text = ORDERS_APP.replace("CA", str(stack.ca_file)).replace("ADDRESS", stack.address)
    stack.app_file.write_text(text.replace("PORT", str(_store(stack))))
    stack.restart_gunicorn()


# --- what the application meets ---------------------------------------------------------------------------------------

SQLITE_APP = PLAIN_APP.replace("from flask", "import sqlite3\nfrom flask") + (  # noqa: S608
    """
@app.post("/notes")
def notes():
    with sqlite3.connect("DATABASE", timeout=0.2) as database:
        database.execute("INSERT INTO notes VALUES ('x')")
    return jsonify(stored=True)
"""
)
WRITER = """
import pathlib, sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("CREATE TABLE notes (text)")
database.execute("BEGIN IMMEDIATE")
pathlib.Path(sys.argv[1] + ".held").touch()
while not pathlib.Path(sys.argv[1] + ".let-go").exists():
    time.sleep(0.05)
database.execute("COMMIT")
"""


@report(
    Kind.PART,
    "Gerapy/Gerapy#324",
    sees=lambda stack: always(stack, "/notes", 500, method="POST", times=3),
    repair=lambda stack: (stack.directory / "notes.db.let-go").touch(),
    codes=("APP020", "APP004"),
    says=("database is locked", "/notes", "timeout"),
    app=SQLITE_APP,
    layout="guide",
)
def another_program_writes_into_the_database(stack: Stack) -> None:
    """opencodelists#2251, ansible-webui#6: one writer at a time, and the others wait for a while only."""
    database = stack.directory / "notes.db"
    stack.spawn(sys.executable, "-c", WRITER, str(database))
    wait_for(lambda: (stack.directory / "notes.db.held").exists(), "the other writer", within=10)
    stack.edit(stack.app_file, "DATABASE", str(database))


NOTES_APP = PLAIN_APP + (
    """
@app.post("/notes")
def notes():
    with open("NOTES/note.txt", "w") as file:
        file.write("note")
    return jsonify(kept=True)
"""
)


def _may_write(stack: Stack) -> None:
    stack.launcher = []
    stack.restart_gunicorn()


@report(
    Kind.PART,
    "NixOS/nixpkgs#280588",
    sees=lambda stack: always(stack, "/notes", 500, method="POST"),
    repair=_may_write,
    codes=("APP020", "APP004"),
    says=("Read-only file system", "/notes", "ReadWritePaths"),
    impossible=needs_root,
    app=NOTES_APP,
    layout="guide",
)
def unit_may_not_write_there(stack: Stack) -> None:
    """ultimate-ca-manager#349: ProtectSystem=strict, and the directory is not among ReadWritePaths."""
    notes = stack.directory / "notes"
    notes.mkdir()
    command = f'mount --bind {notes} {notes} && mount -o remount,ro,bind {notes} && exec "$@"'
    stack.launcher = ["unshare", "--mount", "sh", "-c", command, "sh"]
    stack.edit(stack.app_file, "NOTES", str(notes))


NAMED_APP = PLAIN_APP + (
    """
@app.get("/report")
def report():
    return "rows", 200, {"Content-Disposition": "attachment; filename=月报.csv"}
"""
)


@report(
    Kind.PART,
    "viur-framework/viur-core#546",
    sees=lambda stack: {stack.request(path="/report").status for _ in range(4)} == {500},
    repair=lambda stack: stack.edit(stack.app_file, "月报.csv", "report.csv"),
    codes=("APP020", "APP004"),
    says=("InvalidResponseHeader", "Content-Disposition", "/report", "filename*"),
    app=NAMED_APP,
    layout="guide",
)
def name_of_the_file_is_chinese(_stack: Stack) -> None:
    """frappe#7677, flask#2766: a header is latin-1, and the development server was not so strict."""


LENGTH_APP = FASTAPI + (
    """

from fastapi import Response


@app.get("/report")
async def report():
    return Response("x" * 4000, headers={"Content-Length": "1000"})
"""
)


def _report_is_cut_off(stack: Stack) -> bool:
    answers = [stack.request(path="/report") for _ in range(5)]
    return all(answer.error or answer.status != 200 or len(answer.body) != 4000 for answer in answers)


@report(
    Kind.APPLICATION,
    "trallnag/prometheus-fastapi-instrumentator#327",
    sees=_report_is_cut_off,
    repair=lambda stack: stack.edit(stack.app_file, '"Content-Length": "1000"', '"Content-Length": "4000"'),
    codes=(),
    says=("/report", "declared Content-Length", "do not copy it"),
    app=LENGTH_APP,
    worker_class=UVICORN_WORKER,
    layout="guide",
)
def answer_is_longer_than_it_says(_stack: Stack) -> None:
    """django-revproxy#187, marimo#4532: the body was changed on its way, and its length was not."""


def _bind_as_before(stack: Stack) -> None:
    stack.gunicorn_conf.write_text(stack.gunicorn_conf.read_text() + f"bind = {stack.bind!r}\n")
    stack.restart_gunicorn()


@report(
    Kind.FIX,
    "benoitc/gunicorn#2247",
    sees=answers(502),
    repair=_bind_as_before,
    codes=(),
    says=("PORT=", "0.0.0.0:", "environment"),
    app=PLAIN_APP,
    layout="guide",
)
def variable_moves_gunicorn_to_another_port(stack: Stack) -> None:
    """platformsh-docs#816: without a bind, gunicorn takes PORT from its environment and listens everywhere."""
    port = stack.free_port()
    stack.stop_gunicorn()
    stack.edit(stack.gunicorn_conf, f"bind = {stack.bind!r}\n", "", apply=False)
    stack.set_service_environment(PORT=str(port))
    stack.start_gunicorn(wait="nothing")
    stack.wait_until_listening(f"127.0.0.1:{port}")


# --- unusual, and healthy ---------------------------------------------------------------------------------------------

SEARCH_APP = PLAIN_APP + (
    """
@app.get("/search/<words>")
def search(words):
    return jsonify(length=len(words))
"""
)


@healthy(
    "ossec/ossec-hids#898",
    serves=lambda stack: stack.request(path="/search/" + "x" * 300).status == 200,
    app=SEARCH_APP,
    layout="guide",
)
def paths_are_longer_than_a_file_s_name(stack: Stack) -> None:
    """pow#534: nginx looks for a file of that name first and says that it is too long; the service answers."""
    _files_before_the_service(stack, "$uri")
    for _ in range(10):
        stack.request(path="/search/" + "x" * 300)


@healthy(
    "nginx-proxy/acme-companion#1197",
    serves=lambda stack: stack.predict().status == 200,
    app=PLAIN_APP,
    layout="guide",
)
def authority_answers_no_questions_any_more(stack: Stack) -> None:
    """hestiacp#5071, WordOps#740: the certificate names no responder, and nginx warns at each start."""
    lines = "    ssl_stapling on;\n    ssl_stapling_verify on;\n    location / {"
    stack.edit(stack.site_file, "    location / {", lines)


@healthy(
    "digitalocean/nginxconfig.io#379",
    serves=lambda stack: stack.predict().status == 200,
    app=PLAIN_APP,
    layout="guide",
)
def clients_hang_up_in_the_handshake(stack: Stack) -> None:
    """Scanners ask what is spoken there, and are gone before they know."""
    for _ in range(10):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=stack.domain)
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        with socket.create_connection(stack.https, 5) as raw:
            raw.sendall(outgoing.read())
            raw.recv(1)
    stack.predict()
