"""Healthy hosts that look unusual: none of them may be blamed for anything.

A new one is one function, as for the faults:

    @healthy(unix_socket=True)
    def upstream_is_a_unix_socket(stack: Stack) -> None:
        "Bound to a socket file."
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.authority import Authority
from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.tls import second_pair
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for

Arrange = Callable[[Stack], None]
Serves = Callable[[Stack], bool]


def predicts(stack: Stack) -> bool:
    """The front door answers a prediction."""
    return stack.predict().status == 200


def predicts_behind(stack: Stack) -> bool:
    """The service predicts; the front door lets only those in whom it knows."""
    return stack.predict(door="backend").status == 200 and stack.predict().status != 200


@dataclass(frozen=True)
class Variant:
    """One healthy host: how its stack is brought up, what is done to it then, and how it is met by its clients."""

    name: str
    arrange: Arrange
    stack: dict[str, Any] = field(default_factory=dict)
    serves: Serves = predicts


def healthy(*, serves: Serves = predicts, **stack: Any) -> Callable[[Arrange], Variant]:
    """Declare a healthy variant."""
    return lambda arrange: Variant(arrange.__name__, arrange, stack, serves)


@healthy()
def as_deployed(_stack: Stack) -> None:
    """deploy/nginx and the service, untouched."""


@healthy(layout="guide")
def as_the_guide_lays_it_out(_stack: Stack) -> None:
    """The guide's site and daemon, its traps mended."""


@healthy(unix_socket=True)
def upstream_is_a_unix_socket(_stack: Stack) -> None:
    """Bound to a socket file."""


@healthy(key="rsa")
def certificate_is_rsa(_stack: Stack) -> None:
    """RSA in place of ECDSA."""


@healthy(names=["*.lab.example"])
def certificate_is_a_wildcard(_stack: Stack) -> None:
    """The name is one label below the wildcard."""


@healthy(names=["other.example", "gte.lab.example", "third.example"])
def certificate_names_several_hosts(_stack: Stack) -> None:
    """Ours is the second."""


@healthy(app=PLAIN_APP, worker_class="sync", workers=2)
def another_application_serves(_stack: Stack) -> None:
    """Any Flask application, without our service's records."""


@healthy(service_environment={"FLASK_DEBUG": "1"})
def service_ignores_flask_debug(_stack: Stack) -> None:
    """The variable is set, and our service cannot be put into debug mode by it."""


@healthy(layout="guide")
def several_server_blocks(stack: Stack) -> None:
    listen = f"{stack.address}:{stack.ports['https']} ssl"
    files = f"ssl_certificate {stack.certificate}; ssl_certificate_key {stack.private_key};"
    for name in ("a-first", "z-last"):
        (stack.nginx_dir / "conf.d" / f"{name}.conf").write_text(
            f"server {{ listen {listen}; server_name {name}.lab.example; {files} location / {{ return 404; }} }}\n"
        )
    stack.reload_nginx()


@healthy(layout="guide")
def locations_are_included(stack: Stack) -> None:
    text = stack.site_file.read_text()
    start = text.index("    location / {")
    end = text.index("    }\n", start) + len("    }\n")
    (stack.nginx_dir / "proxied.inc").write_text(text[start:end])
    stack.site_file.write_text(text[:start] + f"    include {stack.nginx_dir}/proxied.inc;\n" + text[end:])
    stack.reload_nginx()


@healthy(layout="guide")
def server_name_is_a_wildcard(stack: Stack) -> None:
    stack.edit(stack.site_file, f"server_name {stack.domain};", "server_name *.lab.example;")


@healthy(layout="guide")
def site_is_the_catch_all(stack: Stack) -> None:
    stack.edit(stack.site_file, f"server_name {stack.domain};", "server_name _;")


@healthy()
def another_site_is_down(stack: Stack) -> None:
    """Somebody else's upstream on the same nginx."""
    listen = f"{stack.address}:{stack.free_port()}"
    (stack.nginx_dir / "conf.d" / "other.conf").write_text(
        f"server {{ listen {listen}; server_name other.example;\n"
        f"location / {{ proxy_pass http://{stack.address}:{stack.free_port()}; }} }}\n"
    )
    stack.reload_nginx()


@healthy()
def errors_are_old(stack: Stack) -> None:
    """Yesterday's trouble in today's logs."""
    day_ago = time.time() - 86_400
    nginx_time = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(day_ago))
    gunicorn_time = time.strftime("%Y-%m-%d %H:%M:%S +0000", time.gmtime(day_ago))
    _prepend(
        stack.nginx_error_log,
        f'{nginx_time} [error] 7#7: *1 limiting requests, excess: 20.1 by zone "gte_api", client: 127.0.0.1\n'
        f"{nginx_time} [error] 7#7: *2 upstream timed out (110: Connection timed out) while reading response header\n"
        f"{nginx_time} [error] 7#7: *3 connect() failed (111: Connection refused) while connecting to upstream\n"
        f"{nginx_time} [alert] 7#7: 512 worker_connections are not enough\n"
        f"{nginx_time} [error] 7#7: *4 upstream prematurely closed connection while reading response header\n"
        f'{nginx_time} [crit] 7#7: *5 pwrite() "/var/x" failed (28: No space left on device)\n'
        f"{nginx_time} [crit] 7#7: *6 connect() failed (13: Permission denied) while connecting to upstream\n",
    )
    _prepend(
        stack.gunicorn_error_log,
        f"[{gunicorn_time}] [7] [CRITICAL] WORKER TIMEOUT (pid:8)\n"
        f"[{gunicorn_time}] [7] [ERROR] Exception in worker process\n"
        "Traceback (most recent call last):\n"
        '  File "app.py", line 3, in <module>\n'
        "ModuleNotFoundError: No module named 'torch'\n"
        f"[{gunicorn_time}] [7] [ERROR] Reason: Worker failed to boot.\n"
        f"[{gunicorn_time}] [7] [ERROR] Connection in use: ('127.0.0.1', 8000)\n",
    )


@healthy()
def trouble_is_over(stack: Stack) -> None:
    """A restart a moment ago: refused connections and a restart stand in the logs, inside the window."""
    stack.stop_gunicorn()
    stack.predict()
    stack.start_gunicorn()


@healthy(unix_socket=True)
def socket_mode_was_mended(stack: Stack) -> None:
    """nginx was forbidden to connect a moment ago, inside the window."""
    socket = Path(str(stack.backend))
    mode = socket.stat().st_mode
    socket.chmod(0)
    assert os.geteuid() != 0 or stack.predict().status == 502
    socket.chmod(mode)
    # The log knows whole seconds only: what is said in the doctor's own first second counts as said to it.
    mended = int(time.time())
    wait_for(lambda: int(time.time()) > mended, "the second to end")


@healthy(layout="guide")
def upgrades_are_mapped(stack: Stack) -> None:
    """Connection: upgrade for those who ask for it alone; edited and reloaded at once."""
    text = stack.site_file.read_text()
    stack.site_file.write_text("map $http_upgrade $connection_upgrade { default upgrade; '' ''; }\n" + text)
    stack.edit(
        stack.site_file,
        'proxy_set_header Connection "";',
        "proxy_set_header Upgrade $http_upgrade;\n        proxy_set_header Connection $connection_upgrade;",
    )


@healthy()
def certificate_was_renewed_and_reloaded(stack: Stack) -> None:
    stack.replace_certificate()


@healthy()
def certificate_was_renewed_a_moment_ago(stack: Stack) -> None:
    """The hook that reloads nginx is still to run."""
    stack.replace_certificate(reload=False)


@healthy()
def certificate_is_renewed_by_hand(stack: Stack) -> None:
    """A private authority's, copied to where certbot would have it; nothing is scheduled, and certbot knows nothing."""
    live = stack.certificate.parent
    for name in ("cert", "chain", "fullchain", "privkey"):
        link = live / f"{name}.pem"
        content = link.read_bytes()
        link.unlink()
        link.touch(mode=0o600)
        link.write_bytes(content)
    shutil.rmtree(stack.letsencrypt / "archive")
    shutil.rmtree(stack.letsencrypt / "renewal")
    (stack.cron / "certbot").unlink()


@healthy()
def renewal_runs_from_a_script(stack: Stack) -> None:
    """A cron entry of the operator's own, in place of the package's."""
    script = stack.directory / "nightly.sh"
    script.write_text("#!/bin/sh\nset -e\ncertbot renew --quiet\n")
    script.chmod(0o755)
    (stack.cron / "certbot").write_text(f"@daily root {script}\n")


@healthy()
def logs_hold_junk(stack: Stack) -> None:
    for log in (stack.nginx_error_log, stack.gunicorn_error_log, stack.nginx_access_log):
        with log.open("ab") as file:
            file.write(b"\x1b[2J\x1b]0;gotcha\x07 \x00\xff\xfe not a log line \x9b31m\n" * 50)


@healthy()
def logs_are_missing(stack: Stack) -> None:
    """gte-ops.toml names logs that nobody writes."""
    stack.config["gunicorn"] |= {
        name: str(stack.logs / f"none-{name}.log") for name in ("error_log", "access_log")
    }
    stack.config["nginx"]["access_log"] = str(stack.logs / "none.log")
    stack.write_config()


@healthy()
def logs_were_rotated(stack: Stack) -> None:
    """By logrotate itself, with the rule of this host."""
    for _ in range(2):
        rotated = subprocess.run(
            ["logrotate", "-f", "-s", str(stack.run / "logrotate"), str(stack.logrotate / "gte-api")],
            capture_output=True,
            check=False,
        )
        assert rotated.returncode == 0, rotated.stderr
        wait_for(stack.nginx_error_log.exists, "nginx to open its logs anew")
        stack.predict()


@healthy()
def another_gunicorn_runs_beside(stack: Stack) -> None:
    """Another team's service, with its own master and port."""
    folder = stack.directory / "other"
    folder.mkdir()
    (folder / "app.py").write_text(PLAIN_APP)
    bind = f"{stack.address}:{stack.free_port()}"
    stack.spawn(
        sys.executable, "-m", "gunicorn", "--bind", bind, "--no-control-socket", "app:app", cwd=folder
    )
    stack.wait_until_listening(bind)


@healthy()
def backups_are_plain_tar_files(stack: Stack) -> None:
    """Made by a script of the host's own, links and what they lead to together."""
    for path in stack.backups.iterdir():
        path.unlink()
    subprocess.run(
        [
            "tar",
            "-czf",
            str(stack.backups / "host.tar.gz"),
            "-C",
            str(stack.directory),
            "letsencrypt",
            "nginx",
        ],
        check=True,
    )


@healthy()
def watchdog_runs_by_cron(stack: Stack) -> None:
    stack.gte_ops("watchdog", "--once", "--config", str(stack.config_file))


@healthy(workers=2)
def two_workers(_stack: Stack) -> None:
    """Two copies of the service."""


@healthy()
def almost_nothing_is_configured(stack: Stack) -> None:
    """All that cannot be guessed: the free ports of this lab, the private authority, where its safeguards lie."""
    for table in ("app", "gunicorn", "model"):
        del stack.config[table]
    stack.config["nginx"] = {"config_file": str(stack.nginx_conf)}
    stack.config["tls"] = {"ca_file": str(stack.ca_file)}
    stack.write_config()


# --- doors that let in only whom they know ---


def _in_site(stack: Stack, directives: str) -> None:
    """Puts directives into the site's server block."""
    name = f"server_name {stack.domain};"
    stack.edit(stack.site_file, name, f"{name}\n    {directives}")


def _in_location(stack: Stack, directives: str) -> None:
    """Puts directives into the location that proxies."""
    stack.edit(stack.site_file, "    location / {\n", f"    location / {{\n        {directives}\n")


def predicts_through_a_balancer(stack: Stack) -> bool:
    """A client whose connection begins with the PROXY protocol's line."""
    line = f"PROXY TCP4 192.0.2.7 {stack.address} 40000 {stack.ports['https']}\r\n"
    return stack.predict(preface=line.encode()).status == 200


@healthy(serves=predicts_through_a_balancer)
def balancer_speaks_the_proxy_protocol(stack: Stack) -> None:
    """nginx listens with proxy_protocol, for HTTPS and for plain HTTP."""
    text = stack.site_file.read_text()
    https, http = (f"{stack.address}:{stack.ports[name]}" for name in ("https", "http"))
    text = text.replace(f"listen {https} ssl", f"listen {https} ssl proxy_protocol")
    stack.site_file.write_text(text.replace(f"listen {http}", f"listen {http} proxy_protocol"))
    stack.restart_nginx()


def predicts_in_the_clear(stack: Stack) -> bool:
    """A balancer that ends TLS asks plainly, and says what the user spoke."""
    return stack.predict(door="http", headers={"X-Forwarded-Proto": "https"}).status == 200


@healthy(layout="guide", serves=predicts_in_the_clear)
def balancer_ends_tls(stack: Stack) -> None:
    """nginx has no TLS of its own: a balancer before this host has."""
    stack.site_file.write_text(
        f"server {{ listen {stack.address}:{stack.ports['http']}; server_name {stack.domain};\n"
        f"access_log {stack.nginx_access_log}; error_log {stack.nginx_error_log} warn;\n"
        "proxy_read_timeout 120s; proxy_http_version 1.1; proxy_set_header Connection '';\n"
        "proxy_set_header Host $host; proxy_set_header X-Forwarded-Proto $http_x_forwarded_proto;\n"
        f"location / {{ proxy_pass http://{stack.bind}; }} }}\n"
    )
    stack.restart_nginx()
    stack.config["target"] |= {
        "url": f"https://{stack.domain}",
        "connect_to": f"{stack.address}:{stack.ports['http']}",
    }
    stack.write_config()


def _want_client_certificates(stack: Stack, mode: str = "on") -> Authority:
    authority = Authority("Clients")
    roots = stack.directory / "clients.pem"
    roots.write_bytes(authority.intermediate.pem + authority.root.pem)
    _in_site(stack, f"ssl_client_certificate {roots}; ssl_verify_depth 3; ssl_verify_client {mode};")
    return authority


@healthy(serves=predicts_behind)
def client_certificates_are_wanted(stack: Stack) -> None:
    _want_client_certificates(stack)


@healthy(serves=predicts_behind)
def client_certificates_are_wanted_by_a_condition(stack: Stack) -> None:
    _want_client_certificates(stack, "optional")
    stack.edit(
        stack.site_file,
        "ssl_session_timeout",
        "if ($ssl_client_verify != SUCCESS) { return 403; } ssl_session_timeout",
    )


@healthy(serves=predicts_behind)
def client_certificate_of_the_doctor_is_configured(stack: Stack) -> None:
    issued = _want_client_certificates(stack).issue(["doctor"], client=True)
    shown = stack.directory / "doctor.pem"
    shown.touch(mode=0o600)
    shown.write_bytes(issued.fullchain_pem + issued.key_pem)
    stack.config["tls"]["client_certificate"] = str(shown)
    stack.write_config()


@healthy(serves=predicts_behind)
def password_is_wanted(stack: Stack) -> None:
    users = stack.nginx_dir / "users"
    users.write_text("somebody:{PLAIN}secret\n")
    _in_site(stack, f"auth_basic 'Members'; auth_basic_user_file {users};")


@healthy(serves=predicts_behind)
def loopback_is_shut_out(stack: Stack) -> None:
    _in_site(stack, "allow 10.0.0.0/8; deny all;")


@healthy(serves=predicts_behind)
def another_program_decides_who_is_let_in(stack: Stack) -> None:
    _in_site(stack, "auth_request /allowed; location = /allowed { internal; return 401; }")


@healthy(serves=predicts_behind)
def maintenance_page_is_on(stack: Stack) -> None:
    page = stack.directory / "maintenance"
    page.touch()
    _in_site(stack, f"if (-f {page}) {{ return 503; }}")


@healthy(layout="guide", nginx_extra="limit_req_zone $server_name zone=strict:1m rate=6r/m;")
def rate_limit_is_strict(stack: Stack) -> None:
    """One request in ten seconds: the doctor's own second one is refused."""
    _in_location(stack, "limit_req zone=strict;")


KEY_APP = (
    PLAIN_APP
    + """
import flask

@app.before_request
def wants_a_key():
    if flask.request.path != "/health" and flask.request.headers.get("X-Key") != "sesame":
        return flask.jsonify(detail="Not authenticated"), {status}
"""
)


def predicts_with_a_key(stack: Stack) -> bool:
    """The application's own clients have a key."""
    return stack.predict(headers={"X-Key": "sesame"}).status == 200


@healthy(app=KEY_APP.replace("{status}", "401"), worker_class="sync", serves=predicts_with_a_key)
def application_wants_a_key_and_says_401_without_a_challenge(_stack: Stack) -> None:
    """JSON without WWW-Authenticate."""


@healthy(app=KEY_APP.replace("{status}", "403"), worker_class="sync", serves=predicts_with_a_key)
def application_wants_a_key_and_says_403(_stack: Stack) -> None:
    """As FastAPI's HTTPBearer did."""


@healthy(app=PLAIN_APP)
def scanners_and_refused_clients_pass_by(stack: Stack) -> None:
    """404 for what is not there, 401, 405 and 429: the client's, not the service's."""
    for path in ("/wp-login.php", "/.env", "/admin/config.php", "/phpmyadmin/"):
        assert stack.request(path=path).status in (403, 404)
    assert stack.request(path="/predict").status == 405
    for _ in range(5):
        stack.request("POST", "/nothing", json_body={})


@healthy(layout="guide", app=PLAIN_APP)
def a_maintenance_page_was_shown(stack: Stack) -> None:
    """nginx's own 503 for one path, which no request reaches the service by."""
    stack.edit(
        stack.site_file, "    location / {", "    location /maintenance { return 503; }\n    location / {"
    )
    for _ in range(6):
        assert stack.request(path="/maintenance").status == 503


@healthy(app=PLAIN_APP)
def the_service_was_deployed_anew(stack: Stack) -> None:
    """A row of 502 while it was down, a moment ago."""
    stack.stop_gunicorn()
    for _ in range(5):
        assert stack.predict().status == 502
    stack.start_gunicorn()
    for _ in range(5):
        assert stack.predict().status == 200


@healthy(app=PLAIN_APP, layout="guide")
def another_site_fails_in_a_log_of_its_own(stack: Stack) -> None:
    """500 for another application's users."""
    listen = f"{stack.address}:{stack.free_port()}"
    (stack.nginx_dir / "conf.d" / "other.conf").write_text(
        f"server {{ listen {listen}; server_name other.example; access_log {stack.logs}/other.log;\n"
        f"error_log {stack.logs}/other-error.log; location / {{ return 500; }} }}\n"
    )
    stack.reload_nginx()
    host, _, port = listen.rpartition(":")
    for _ in range(5):
        assert (
            stack.client.request((host, int(port)), "GET", "/", tls=False, host="other.example").status == 500
        )


@healthy(
    app=PLAIN_APP, layout="guide", nginx_extra='    log_format j escape=json \'{"t":"$msec","s":$status}\';'
)
def requests_are_logged_as_json(stack: Stack) -> None:
    """Two values of each request, and no more."""
    stack.edit(
        stack.site_file, f"access_log {stack.nginx_access_log};", f"access_log {stack.nginx_access_log} j;"
    )
    for _ in range(5):
        stack.predict()


@healthy(layout="guide")
def name_has_both_families(stack: Stack) -> None:
    """A and AAAA, and a listen for each."""
    https = f"{stack.address}:{stack.ports['https']}"
    stack.edit(
        stack.site_file,
        f"listen {https} ssl;",
        f"listen {https} ssl; listen [::1]:{stack.ports['https']} ssl;",
    )
    stack.resolver.answer(stack.domain, stack.address, "::1")
    stack.config["target"]["expected_addresses"] = [stack.address, "::1"]
    stack.write_config()


@healthy(layout="guide")
def certificates_of_both_kinds_of_key(stack: Stack) -> None:
    """RSA beside ECDSA."""
    second_pair(stack, "rsa")


VARIANTS: tuple[Variant, ...] = tuple(value for value in globals().values() if isinstance(value, Variant))


def _prepend(log: Any, text: str) -> None:
    log.write_text(text + log.read_text())
