"""Reaching the front door, and doors that should not be open."""

from __future__ import annotations

import contextlib
import socket
import sys

from tests.lab.faults.case import answers, fault, meets
from tests.lab.stack import Stack


@fault("NET001", sees=meets("refused"))
def nginx_listens_on_another_port(stack: Stack) -> None:
    elsewhere = stack.free_port()
    stack.edit(stack.site_file, f"{stack.address}:{stack.ports['https']}", f"{stack.address}:{elsewhere}")


@fault("NET002", sees=meets("timeout", timeout=0.5))
def connections_are_dropped(stack: Stack) -> None:
    # A packet filter is not to be had on every machine. A listening socket whose accept queue is full makes the
    # kernel drop the SYN just the same (tcp(7), listen(2)): the client hears nothing.
    full = socket.socket()
    full.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    stack.edit(
        stack.site_file,
        f"{stack.address}:{stack.ports['https']}",
        f"{stack.address}:{stack.free_port()}",
    )
    full.bind(stack.https)
    full.listen(0)
    stack.hold(full)
    for _ in range(4):
        waiting = socket.socket()
        waiting.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            waiting.connect(stack.https)
        stack.hold(waiting)


def reaches_the_backend(stack: Stack) -> bool:
    """A client from another address gets an answer without nginx."""
    answer = stack.client.request(("127.0.0.1", stack.ports["backend"]), "GET", "/health", tls=False)
    return answer.status == 200


@fault("NET003", sees=reaches_the_backend, severity="warn")
def backend_listens_everywhere(stack: Stack) -> None:
    stack.edit(stack.gunicorn_conf, f"bind = '{stack.address}:", "bind = '0.0.0.0:")


def serves_plain_http(stack: Stack) -> bool:
    """Plain HTTP answers with the service."""
    return stack.request(door="http").status == 200


@fault("NET004", sees=serves_plain_http, severity="warn", layout="guide")
def plain_http_is_served(stack: Stack) -> None:
    stack.edit(
        stack.site_file,
        f"return 301 {stack.url}$request_uri;",
        "location / { proxy_pass http://gte_backend; proxy_set_header Host $host; }",
    )


ANOTHER_SITE = """
import http.server, ssl, sys

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"<html><title>Another site</title></html>"
        self.send_response(404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_GET
    def log_message(self, *_): pass

address, port, certificate, key = sys.argv[1:5]
server = http.server.ThreadingHTTPServer((address, int(port)), Page)
if certificate != "-":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


def _another_site(stack: Stack, *, tls: bool = True) -> None:
    """Another program takes the front address and keeps it."""
    files = (str(stack.certificate), str(stack.private_key)) if tls else ("-", "-")
    stack.spawn(sys.executable, "-c", ANOTHER_SITE, stack.address, str(stack.ports["https"]), *files)
    stack.wait_until_listening(f"{stack.address}:{stack.ports['https']}")


@fault("NET010", sees=answers(404))
def another_server_holds_the_front_address(stack: Stack) -> None:
    """streisand#91: it was there first, and shares the certificate; nginx could not bind and does not run."""
    stack.stop_nginx()
    _another_site(stack)
    stack.try_to_start_nginx()


@fault("NET010", sees=meets("tls: "))
def another_server_speaks_plain_http_at_the_front_address(stack: Stack) -> None:
    stack.stop_nginx()
    _another_site(stack, tls=False)
    stack.try_to_start_nginx()


@fault("NET010", sees=answers(404))
def nginx_was_reloaded_away_from_a_port_that_another_took(stack: Stack) -> None:
    """nginx runs; while its file named another port, somebody took this one, and the reload could not bind it again."""
    elsewhere = stack.free_port()
    ours = f"{stack.address}:{stack.ports['https']}"
    stack.edit(stack.site_file, ours, f"{stack.address}:{elsewhere}")
    _another_site(stack)
    stack.edit(stack.site_file, f"{stack.address}:{elsewhere}", ours, apply=False)
    stack.reload_nginx(expect_failure=True)


@fault("NET020", sees=lambda stack: stack.predict().status == 200, severity="warn")
def one_of_two_services_is_down_and_nobody_said_which_is_meant(stack: Stack) -> None:
    """Two sites of one nginx, no word of either in gte-ops.toml: the one that runs is diagnosed, the other is named."""
    listen = f"{stack.address}:{stack.ports['https']} ssl"
    files = f"ssl_certificate {stack.certificate}; ssl_certificate_key {stack.private_key};"
    (stack.nginx_dir / "conf.d" / "a-shop.conf").write_text(
        f"server {{ listen {listen}; server_name shop.lab.example; {files}\n"
        f"location / {{ proxy_pass http://{stack.address}:{stack.free_port()}; }} }}\n"
    )
    stack.reload_nginx()
    del stack.config["target"]["domain"], stack.config["target"]["url"], stack.config["app"]["dir"]
    # Other stacks' gunicorns run on this machine: the pidfile alone tells which is this host's.
    stack.config["gunicorn"] = {"pidfile": str(stack.gunicorn_pidfile)}
    stack.write_config()


def refuses_ipv6(stack: Stack) -> bool:
    """A client that takes the name's IPv6 address."""
    answer = stack.client.request(("::1", stack.ports["https"]), "GET", "/health", tls=True)
    return answer.error == "refused"


@fault("NET011", sees=refuses_ipv6)
def name_has_an_ipv6_address_and_nginx_no_listen_for_it(stack: Stack) -> None:
    stack.resolver.answer(stack.domain, stack.address, "::1")
