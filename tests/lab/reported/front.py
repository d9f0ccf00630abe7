"""One of several is broken; and who holds the front door."""

from __future__ import annotations

import signal
import socket
import ssl
import sys
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import meets
from tests.lab.faults.tls import in_days
from tests.lab.reported.case import Kind, report
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for


def _ipv6_is_refused(stack: Stack) -> bool:
    return stack.client.request(("::1", stack.ports["https"]), "GET", "/health", tls=True).error == "refused"


def _listen_on_both(stack: Stack) -> None:
    ours = f"listen {stack.address}:{stack.ports['https']} ssl;"
    stack.edit(stack.site_file, ours, f"{ours}\n    listen [::1]:{stack.ports['https']} ssl;")


@report(
    Kind.EACH,
    "mahmoud/zerover#2",
    sees=_ipv6_is_refused,
    repair=_listen_on_both,
    codes=("NET001",),
    says=("::1", "listen [::"),
    layout="guide",
)
def nobody_listens_at_the_name_s_ipv6_address(stack: Stack) -> None:
    """centminmod#151, community-edition#23: the name has an AAAA record, the site one listen."""
    stack.resolver.answer(stack.domain, stack.address, "::1")
    del stack.config["target"]["connect_to"]
    stack.config["target"]["expected_addresses"] = [stack.address, "::1"]
    stack.write_config()


def _meets_rsa(stack: Stack) -> str:
    """What a client without ECDSA meets."""
    context = ssl.create_default_context(cafile=str(stack.ca_file))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+aRSA")
    try:
        with (
            socket.create_connection(stack.https, 5) as raw,
            context.wrap_socket(raw, server_hostname=stack.domain),
        ):
            return ""
    except ssl.SSLCertVerificationError as error:
        return error.verify_message


def _lay_rsa_down(stack: Stack, days: float) -> None:
    issued = stack.authority.issue(
        [stack.domain], kind="rsa", not_before=in_days(-89), not_after=in_days(days)
    )
    (stack.run / "rsa.pem").write_bytes(issued.fullchain_pem)
    (stack.run / "rsa.key").write_bytes(issued.key_pem)
    (stack.run / "rsa.key").chmod(0o600)


def _renew_rsa(stack: Stack) -> None:
    _lay_rsa_down(stack, 60)
    stack.reload_nginx()


@report(
    Kind.EACH,
    "certbot/certbot#2632",
    sees=lambda stack: "expired" in _meets_rsa(stack) and stack.predict().status == 200,
    repair=_renew_rsa,
    codes=("TLS001", "TLS025"),
    says=("RSA", "rsa.pem"),
    layout="guide",
)
def rsa_certificate_beside_the_ecdsa_one_has_expired(stack: Stack) -> None:
    """Two clients renew, one for each key; one of the two stopped."""
    _lay_rsa_down(stack, -1)
    key = f"ssl_certificate_key {stack.private_key};"
    rsa = f"ssl_certificate {stack.run}/rsa.pem;\n    ssl_certificate_key {stack.run}/rsa.key;"
    stack.edit(stack.site_file, key, f"{key}\n    {rsa}")


ANOTHER_APP = PLAIN_APP.replace('@app.post("/predict")', '@app.post("/basket")').replace("plain", "shop")


def _every_second_fails(stack: Stack) -> bool:
    return {stack.predict().status for _ in range(6)} == {200, 404}


def _one_server(stack: Stack) -> None:
    text = stack.site_file.read_text()
    line = next(line for line in text.splitlines() if line.endswith("# the second"))
    stack.edit(stack.site_file, f"{line}\n", "")


@report(
    Kind.EACH,
    "nginx-proxy/nginx-proxy#1081",
    sees=_every_second_fails,
    repair=_one_server,
    codes=("NGX012",),
    says=("404", "gte-api.conf:", "server "),
    app=PLAIN_APP,
    layout="guide",
)
def one_server_of_two_is_another_service(stack: Stack) -> None:
    """Every second request is answered 404, by somebody else's application at an old port."""
    other = f"{stack.address}:{stack.free_port()}"
    (stack.run / "shop.py").write_text(ANOTHER_APP)
    stack.spawn(
        str(Path(sys.executable).with_name("gunicorn")), "-b", other, "--chdir", str(stack.run), "shop:app"
    )
    stack.wait_until_listening(other)
    stack.edit(
        stack.site_file, f"server {stack.bind};", f"server {stack.bind};\n    server {other};  # the second"
    )


def _write_key(stack: Stack, encryption: serialization.KeySerializationEncryption) -> None:
    stack.private_key.resolve().write_bytes(
        stack.issued.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )
    )


def _decrypt(stack: Stack) -> None:
    _write_key(stack, serialization.NoEncryption())
    stack.start_nginx()


@report(
    Kind.EACH,
    "mailcow/mailcow-dockerized#3361",
    sees=meets("refused"),
    repair=_decrypt,
    codes=("TLS012", "TLS021"),
    says=("privkey.pem", "pass", "ssl_password_file"),
    layout="guide",
)
def key_has_a_pass_phrase(stack: Stack) -> None:
    """jumpserver#14463, zulip#334: typed in by hand at the last start, and nobody is there at this one."""
    _write_key(stack, serialization.BestAvailableEncryption(b"lab"))
    stack.stop_nginx()
    stack.try_to_start_nginx()


# --- the door ---------------------------------------------------------------------------------------------------------


def _end_the_orphans(stack: Stack) -> None:
    for process in stack.processes():
        if process.name() == "nginx":
            process.send_signal(signal.SIGQUIT)
    wait_for(lambda: not stack.listens(f"{stack.address}:{stack.ports['https']}"), "the old workers to go")
    stack.start_nginx()


@report(
    Kind.DOOR,
    "ClusterLabs/resource-agents#1553",
    sees=meets("expired"),
    repair=_end_the_orphans,
    codes=("NGX002", "NET010", "NGX050"),
    says=("worker", "98: Address already in use", "kill"),
    layout="guide",
)
def workers_of_a_killed_master_hold_the_door(stack: Stack) -> None:
    """klangk#1533, servy#784: they serve on with what they had, and nothing can be reloaded or started."""
    stack.replace_certificate(not_before=in_days(-91), not_after=in_days(-1))
    stack.replace_certificate(reload=False)
    master = stack.nginx_master
    assert master is not None
    master.kill()
    wait_for(lambda: stack.nginx_master is None, "the master to be gone")
    stack.try_to_start_nginx()


def _end_the_other(stack: Stack) -> None:
    for process in stack.processes():
        if "http.server" in process.cmdline():
            process.kill()
    wait_for(lambda: not stack.listens(f"{stack.address}:{stack.ports['http']}"), "the port to be free")
    stack.start_nginx()


@report(
    Kind.DOOR,
    "Fenrirthviti/stream-site#24",
    sees=meets("refused"),
    repair=_end_the_other,
    codes=("NGX002", "NET010", "NGX003"),
    says=("98: Address already in use", "http.server", "pid"),
    layout="guide",
)
def another_server_holds_the_port_for_plain_http(stack: Stack) -> None:
    """EasyEngine#10: Apache took port 80 at the boot; nginx does without neither port."""
    stack.stop_nginx()
    stack.spawn(sys.executable, "-m", "http.server", str(stack.ports["http"]), "--bind", stack.address)
    stack.wait_until_listening(f"{stack.address}:{stack.ports['http']}")
    stack.try_to_start_nginx()


def _remove_socket(stack: Stack) -> None:
    (stack.run / "front.sock").unlink()
    stack.start_nginx()


@report(
    Kind.DOOR,
    "XTLS/Xray-examples#68",
    sees=meets("refused"),
    repair=_remove_socket,
    codes=("NGX002", "NGX003"),
    says=("front.sock", "98: Address already in use", "rm "),
    layout="guide",
)
def socket_file_of_a_killed_nginx_is_left(stack: Stack) -> None:
    """Nobody listens at it, and nginx does not take its place; a boot helped the reporter."""
    http = f"listen {stack.address}:{stack.ports['http']};"
    stack.edit(stack.site_file, http, f"{http}\n    listen unix:{stack.run}/front.sock;")
    stack.kill_nginx()
    stack.try_to_start_nginx()
