"""A part of the requests fails, and the line that explains it is in the log."""

from __future__ import annotations

import os
import socket
import sqlite3
import ssl
from pathlib import Path

from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import answers
from tests.lab.reported.case import (
    Kind,
    add_location,
    needs_root,
    remove_location,
    report,
    without_root_s_rights,
)
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for

LOGIN_APP = (
    PLAIN_APP
    + """
@app.get("/login")
def login():
    answer = jsonify(user="alice")
    answer.set_cookie("session", "s" * 3900)
    answer.set_cookie("roles", "r" * 3900)
    return answer
"""
)

EXPORT_APP = (
    PLAIN_APP
    + """
@app.get("/export.zip")
def export():
    return "z" * 24_000_000, 200, {"Content-Type": "application/zip"}
"""
)

NOTES_APP = PLAIN_APP.replace("import Flask, jsonify", "import Flask, jsonify, request").replace(
    "from flask", "import sqlite3\nfrom flask"
) + (
    """
@app.route("/notes", methods=["GET", "POST"])
def notes():
    with sqlite3.connect(DATABASE) as database:
        if request.method == "POST":
            database.execute("create table if not exists notes (text)")
        return jsonify(tables=list(database.execute("pragma table_list")))
"""
)

CACHE_APP = PLAIN_APP.replace("from flask", "import socket\nfrom flask").replace(
    "    return jsonify(result={})",
    """    try:
        socket.create_connection(("127.0.0.1", 1), timeout=1).close()
    except OSError as error:
        return jsonify(error=f"Error 111 connecting to the cache at 127.0.0.1:1. {error.strerror}."), 500
    return jsonify(result={})""",
)


def _five_logins(stack: Stack) -> bool:
    return {stack.request(path="/login").status for _ in range(5)} == {502}


def _larger_buffers(stack: Stack) -> None:
    buffers = "proxy_buffer_size 16k;\n    proxy_buffers 8 16k;"
    stack.edit(stack.nginx_conf, "default_type", f"{buffers}\n    default_type")


@report(
    Kind.PART,
    "GSA/api.data.gov#461",
    sees=_five_logins,
    repair=_larger_buffers,
    codes=(),
    says=("upstream sent too big header", "proxy_buffer_size", "/login"),
    app=LOGIN_APP,
    layout="guide",
)
def cookies_are_larger_than_nginx_reads(_stack: Stack) -> None:
    """code-dot-org#12301, python-social-auth#527 and many: 502 for those who log in, and for nobody else."""


def _is_cut_off(stack: Stack) -> bool:
    """A client that takes its time gets less than Content-Length says."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.settimeout(10)
    raw.connect(stack.https)
    context = ssl.create_default_context(cafile=str(stack.ca_file))
    with context.wrap_socket(raw, server_hostname=stack.domain) as client:
        client.sendall(f"GET /export.zip HTTP/1.0\r\nHost: {stack.domain}\r\n\r\n".encode())
        wait_for(lambda: "[crit]" in stack.nginx_error_log.read_text(), "nginx to need its files")
        received = 0
        try:
            while part := client.recv(65536):
                received += len(part)
        except ssl.SSLError:  # closed in the middle
            pass
    return 0 < received < 24_000_000


def _give_proxy_files_to_nginx(stack: Stack) -> None:
    for path in [stack.nginx_dir / "tmp" / "proxy", *(stack.nginx_dir / "tmp" / "proxy").rglob("*")]:
        os.chown(path, 65534, 65534)
    (stack.nginx_dir / "tmp" / "proxy").chmod(0o700)


@report(
    Kind.PART,
    "linuxserver-archive/docker-letsencrypt#40",
    sees=_is_cut_off,
    repair=_give_proxy_files_to_nginx,
    codes=("NGX040",),
    says=("tmp/proxy", "Permission denied", "chown"),
    impossible=needs_root,
    app=EXPORT_APP,
    worker_class="gthread",
    threads=4,
    layout="guide",
)
def large_answers_are_cut_off(stack: Stack) -> None:
    """nginx/docker-nginx#101, awesome-web3#10: 200, and the file ends early; small answers are whole."""
    os.chown(stack.nginx_dir / "tmp" / "proxy", 0, 0)


def _writes_fail(stack: Stack) -> bool:
    written = [stack.request("POST", "/notes").status for _ in range(3)]
    return stack.request(path="/notes").status == 200 and written == [500] * 3


def _database(stack: Stack) -> Path:
    return stack.directory / "data" / "notes.sqlite3"


def _give_database_to_workers(stack: Stack) -> None:
    os.chown(_database(stack).parent, 0, 0)
    os.chown(_database(stack), 0, 0)


@report(
    Kind.PART,
    "babybuddy/babybuddy#411",
    sees=_writes_fail,
    repair=_give_database_to_workers,
    codes=("APP020",),
    says=("attempt to write a readonly database", "/notes", "chown"),
    impossible=needs_root,
    app=NOTES_APP,
)
def database_belongs_to_another_user(stack: Stack) -> None:
    """nginx/unit#163: pages are read, and every attempt to write fails."""
    database = _database(stack)
    database.parent.mkdir()
    with sqlite3.connect(database) as connection:
        connection.execute("create table users (name)")
    connection.close()
    os.chown(database, 65534, 65534)
    os.chown(database.parent, 65534, 65534)
    without_root_s_rights(stack)
    stack.edit(stack.app_file, "sqlite3.connect(DATABASE)", f"sqlite3.connect({str(database)!r})")


AUTH_REQUEST = """location = /_session {
        internal;
        proxy_pass http://gte_backend/session;
        proxy_pass_request_body off;
        proxy_set_header Content-Length "";
    }
    auth_request /_session;"""


@report(
    Kind.LINE,
    "linuxserver/reverse-proxy-confs#203",
    sees=answers(500),
    repair=lambda stack: remove_location(stack, AUTH_REQUEST),
    codes=(),
    says=("auth request unexpected status: 404", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def auth_request_is_answered_404(stack: Stack) -> None:
    """authentik#4207, nginx#941: whatever the subrequest answers but 2xx, 401 and 403 is a 500."""
    add_location(stack, AUTH_REQUEST)


@report(
    Kind.LINE,
    "TeamPiped/Piped#1104",
    sees=answers(502),
    repair=lambda stack: stack.edit(stack.site_file, "http://$backend:", f"http://{stack.address}:"),
    codes=(),
    says=("no resolver defined to resolve app.lab.example", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def variable_needs_a_resolver(stack: Stack) -> None:
    """atmosphere#239, nginx-proxy#703: a name in a variable is resolved at each request, by a resolver that is not
    there."""
    stack.edit(
        stack.site_file,
        "proxy_pass http://gte_backend;",
        f"set $backend app.lab.example;\n        proxy_pass http://$backend:{stack.ports['backend']};",
    )


def _single_page(stack: Stack) -> str:
    return f"location / {{\n        root {stack.directory}/dist;\n        try_files $uri /index.html;\n    }}"


def _proxy_again(stack: Stack) -> None:
    text = stack.site_file.read_text()
    stack.site_file.write_text(
        text.replace(_single_page(stack), "").replace("location /old {", "location / {")
    )
    stack.reload_nginx()


@report(
    Kind.LINE,
    "tmobile/pacbot#439",
    sees=answers(500),
    repair=_proxy_again,
    codes=(),
    says=("rewrite or internal redirection cycle", "index.html", "gte-api.conf:"),
    app=PLAIN_APP,
    layout="guide",
)
def built_pages_are_not_there(stack: Stack) -> None:
    """Github-Monitor#125, hassio-addons#2754: try_files falls back to a page that was never built."""
    stack.edit(
        stack.site_file, "location / {\n        limit_req", "location /old {\n        limit_req", apply=False
    )
    stack.edit(stack.site_file, "    location /old {", f"    {_single_page(stack)}\n    location /old {{")


@report(
    Kind.LINE,
    "pinterest/snappass#6",
    sees=answers(500),
    repair=lambda stack: stack.edit(stack.app_file, '("127.0.0.1", 1)', repr(stack.http)),
    codes=(),
    says=("Error 111 connecting to the cache at 127.0.0.1:1",),
    app=CACHE_APP,
)
def store_behind_the_service_is_down(_stack: Stack) -> None:
    """baseframe#62: the application catches it, and its answer is the one place where it is said."""
