"""Unusual hosts that are healthy: what people asked about, and were told that it is as it should be."""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
import threading

from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.tls import in_days
from tests.lab.reported.case import healthy
from tests.lab.reported.users import predicts
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for

POLLING_APP = PLAIN_APP.replace("from flask", "import time\nfrom flask") + (
    """
@app.get("/poll")
def poll():
    time.sleep(3)
    return jsonify(events=[])
"""
)


def _send_odd_hello(stack: Stack) -> None:
    """A ClientHello whose key share is of a group that it does not list, as scanners send."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=stack.domain)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    assert b"\x00\x1d\x00\x17" in hello
    with socket.create_connection(stack.https, 5) as raw:
        raw.sendall(hello.replace(b"\x00\x1d\x00\x17", b"\x01\x04\x00\x17", 1))
        raw.recv(100)


@healthy("nginx/nginx#1107", serves=predicts, app=PLAIN_APP, layout="guide")
def scanners_send_odd_handshakes(stack: Stack) -> None:
    """AzuraCast#7916, tengine#780: nginx calls it [crit], and no user has met it."""
    for _ in range(5):
        _send_odd_hello(stack)
    wait_for(lambda: "[crit]" in _errors(stack), "nginx to say so")
    assert "SSL_do_handshake() failed" in _errors(stack)


def _errors(stack: Stack) -> str:
    logs = (stack.nginx_error_log, stack.nginx_main_error_log)
    return "\n".join(log.read_text() for log in logs if log.exists())


@healthy("slact/nchan#466", serves=predicts, app=POLLING_APP, worker_class="gthread", threads=16)
def long_polls_end_with_the_page(stack: Stack) -> None:
    """apisix#4715: a long poll is ended by the client, at each change of the page."""
    threads = [threading.Thread(target=lambda: stack.request(path="/poll", timeout=1.0)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(5):
        stack.predict()


@healthy("benoitc/gunicorn#1670", serves=predicts, app=PLAIN_APP, layout="guide")
def gunicorn_was_exchanged_while_it_ran(stack: Stack) -> None:
    """unicornherder#32, gunicorn#1267: USR2, and QUIT to the old master once the new one serves."""
    old = stack.gunicorn_master
    assert old is not None
    old.send_signal(signal.SIGUSR2)
    second = stack.gunicorn_pidfile.with_name(f"{stack.gunicorn_pidfile.name}.2")
    wait_for(second.exists, "the new master", within=20)
    wait_for(
        lambda: stack.gunicorn_error_log.read_text().count("Booting worker") == 2, "its worker", within=20
    )
    old.send_signal(signal.SIGQUIT)
    wait_for(lambda: not old.is_running() and not second.exists(), "the new master's promotion", within=20)


@healthy("SteveLTN/https-portal#292", serves=predicts, app=PLAIN_APP, layout="guide")
def strangers_meet_an_expired_dummy(stack: Stack) -> None:
    """nginx-proxy#1462, btcpayserver-docker#1127: the default server's certificate is nobody's, and is old."""
    dummy = stack.authority.issue(["dummy.invalid"], not_before=in_days(-400), not_after=in_days(-35))
    (stack.run / "dummy.pem").write_bytes(dummy.pem)
    (stack.run / "dummy.key").touch(mode=0o600)
    (stack.run / "dummy.key").write_bytes(dummy.key_pem)
    (stack.nginx_dir / "conf.d" / "000-default.conf").write_text(
        f"server {{ listen {stack.address}:{stack.ports['https']} ssl default_server; server_name _;\n"
        f"ssl_certificate {stack.run}/dummy.pem; ssl_certificate_key {stack.run}/dummy.key; return 444; }}\n"
    )
    stack.reload_nginx()


@healthy("nginx/nginx-gateway-fabric#4462", serves=predicts, app=PLAIN_APP, layout="guide")
def strangers_are_rejected(stack: Stack) -> None:
    """docker-swag#131: who asks for another name, or for none, gets no handshake."""
    (stack.nginx_dir / "conf.d" / "000-default.conf").write_text(
        f"server {{ listen {stack.address}:{stack.ports['https']} ssl default_server; ssl_reject_handshake on; }}\n"
    )
    stack.reload_nginx()
    for name in ("other.example", "mail.other.example"):
        stack.client.request(stack.https, "GET", "/", tls=True, host=name)


BELOW = """location /gte/ {
        proxy_pass http://gte_backend/;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-Proto $scheme;
    }"""


@healthy(
    "fastapi/fastapi#1294",
    serves=lambda stack: stack.request("POST", "/gte/predict", json_body={}).status == 200,
    app=PLAIN_APP,
    layout="guide",
)
def service_lives_below_a_path(stack: Stack) -> None:
    """starlette#3293: the prefix is taken away on purpose, and everything else is another site's."""
    stack.edit(
        stack.site_file,
        "location / {\n        limit_req",
        "location /unused {\n        limit_req",
        apply=False,
    )
    text = "    location /unused {"
    stack.edit(stack.site_file, text, f"    {BELOW}\n{text}", apply=False)
    (stack.directory / "site").mkdir()
    stack.edit(
        stack.site_file, text, f"    location / {{ root {stack.directory}/site; }}\n{text}", apply=True
    )
    stack.config["target"] |= {
        "health_path": "/gte/health",
        "ready_path": "/gte/ready",
        "predict_path": "/gte/predict",
    }
    stack.write_config()
