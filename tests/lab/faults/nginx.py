"""nginx itself."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

from tests.lab.faults.case import answers, fault, meets, page
from tests.lab.faults.tls import in_days
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for

SLOW_APP = """
import time
from flask import Flask, jsonify, request

app = Flask(__name__)

@app.get("/health")
def health():
    return jsonify(status="ok", service="slow")

@app.post("/predict")
def predict():
    time.sleep(2.5)
    return jsonify(result={})
"""

# It takes the connection away from under gunicorn, and no worker ends.
HANGING_UP_APP = """
import socket
from flask import Flask, jsonify, request

app = Flask(__name__)

@app.get("/health")
def health():
    return jsonify(status="ok", service="hangs up")

@app.post("/predict")
def predict():
    request.environ["gunicorn.socket"].shutdown(socket.SHUT_RDWR)
    return jsonify(result={})
"""

SLASH_APP = """
from flask import Flask, jsonify

app = Flask(__name__)

@app.get("/health")
def health():
    return jsonify(status="ok", service="slash")

@app.post("/predict/")
def predict():
    return jsonify(result={})
"""


@fault("NGX001", sees=meets("refused"), explains=("NGX002",))
def nginx_is_not_installed(stack: Stack) -> None:
    # Taking the package off the machine would take it from every other test: the program's path is another here.
    stack.stop_nginx()
    stack.config["nginx"]["binary"] = str(stack.run / "nginx")
    stack.write_config()


@fault("NGX002", sees=meets("refused"))
def nginx_is_killed(stack: Stack) -> None:
    stack.kill_nginx()


@fault("NGX002", sees=meets("refused"))
def nginx_is_stopped(stack: Stack) -> None:
    stack.stop_nginx()


@fault("NGX002", sees=meets("refused"), says=("98: Address already in use", "Another process holds"))
def nginx_found_its_port_taken_at_its_last_start(stack: Stack) -> None:
    """streisand#91: another server had the port when nginx started, and has gone since; `nginx -t` finds nothing."""
    stack.stop_nginx()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(stack.https)
        other.listen()
        stack.try_to_start_nginx()


@fault("NGX003", sees=meets("refused"), explains=("NGX002",))
def configuration_has_a_typing_error(stack: Stack) -> None:
    stack.edit(stack.site_file, "proxy_pass ", "proxy_pas ", apply=False)
    stack.stop_nginx()
    stack.try_to_start_nginx()


@fault("NGX003", sees=meets("refused"), explains=("NGX002",), layout="guide")
def limit_req_zone_stands_in_the_server_block(stack: Stack) -> None:
    zone = next(
        line for line in stack.site_file.read_text().splitlines() if line.startswith("limit_req_zone")
    )
    stack.edit(stack.site_file, f"{zone}\n", "", apply=False)
    stack.edit(stack.site_file, "location / {", f"{zone}\n    location / {{", apply=False)
    stack.stop_nginx()
    stack.try_to_start_nginx()


@fault("NGX003", sees=lambda stack: stack.predict().status == 200, severity="warn")
def configuration_breaks_under_a_running_nginx(stack: Stack) -> None:
    stack.edit(stack.site_file, "proxy_read_timeout", "proxy_reed_timeout", apply=False)
    stack.reload_nginx(expect_failure=True)


@fault("NGX004", sees=lambda stack: stack.predict().status == 200, severity="warn")
def configuration_was_edited_without_a_reload(stack: Stack) -> None:
    stack.edit(stack.site_file, "proxy_read_timeout", "# longer\n    proxy_read_timeout", apply=False)
    touch_after_the_workers(stack, stack.site_file)


def touch_after_the_workers(stack: Stack, file: Path, seconds: float = 3.0) -> None:
    """Edited just after nginx started, and no later than now but for the 2 s that the doctor allows clocks: a time
    that is still to come tells nothing."""
    started = min(worker.create_time() for worker in stack.nginx_workers)
    os.utime(file, (started + seconds, started + seconds))


def put_in_place_with_its_old_time(stack: Stack, file: Path, old: str, new: str) -> None:
    """As `cp -p` or a restore does it: the file's time tells nothing."""
    before = file.stat().st_mtime
    stack.edit(file, old, new, apply=False)
    os.utime(file, (before, before))


@fault("NGX004", sees=lambda stack: stack.predict().status == 200, severity="warn")
def predictions_pass_though_the_file_sends_them_nowhere(stack: Stack) -> None:
    elsewhere = f"server {stack.address}:{stack.free_port()}"
    put_in_place_with_its_old_time(stack, stack.site_file, f"server {stack.bind}", elsewhere)


@fault("NGX004", sees=answers(502))
def mended_file_was_never_loaded(stack: Stack) -> None:
    wrong = f"server {stack.address}:{stack.free_port()}"
    stack.edit(stack.site_file, f"server {stack.bind}", wrong)
    put_in_place_with_its_old_time(stack, stack.site_file, wrong, f"server {stack.bind}")


@fault("NGX005", sees=answers(502))
def proxy_pass_names_the_wrong_port(stack: Stack) -> None:
    stack.edit(stack.site_file, f"server {stack.bind}", f"server {stack.address}:{stack.free_port()}")


@fault("NGX005", sees=answers(502), layout="guide")
def proxy_pass_names_a_socket_that_is_not_there(stack: Stack) -> None:
    stack.edit(stack.site_file, f"server {stack.bind}", f"server unix:{stack.run}/elsewhere.sock")


@fault("NGX005", sees=answers(502))
def gunicorn_was_moved_to_another_port(stack: Stack) -> None:
    elsewhere = f"{stack.address}:{stack.free_port()}"
    stack.stop_gunicorn()
    stack.edit(stack.gunicorn_conf, stack.bind, elsewhere, apply=False)
    stack.start_gunicorn(wait="nothing")
    stack.wait_until_listening(elsewhere)


@fault(
    "NGX006",
    sees=lambda stack: stack.request().text == "OK",
    severity="warn",
    # Its add_header puts a second Content-Type beside nginx's own.
    beside=("NGX047",),
    layout="guide",
    traps=["health answered by nginx"],
)
def nginx_answers_the_health_check_itself(_stack: Stack) -> None:
    """The guide's own location."""


@fault(
    "NGX007", sees=answers(504), app=SLOW_APP, site={"read_timeout": "1s"}, threads=4, worker_class="gthread"
)
def nginx_gives_up_before_the_backend_answers(_stack: Stack) -> None:
    """The application takes longer than proxy_read_timeout."""


@fault("NGX008", sees=answers(429), site={"rate": "1r/m", "burst": "1"})
def rate_limit_turns_requests_away(stack: Stack) -> None:
    for _ in range(12):
        stack.predict()
    # The clients are on the doctor's machine and the log has whole seconds: in the same one they could be its probes.
    last = int(time.time())
    wait_for(lambda: int(time.time()) > last, "another second of the log", within=2, every=0.02)


@fault(
    "NGX010",
    sees=lambda stack: stack.request(headers={"User-Agent": "curl/8.5.0"}).status == 403,
    layout="guide",
    traps=["user agent filter"],
)
def user_agent_filter_blocks_curl(_stack: Stack) -> None:
    """The guide's own filter, which refuses the client it tests with."""


@fault("NGX011", sees=lambda stack: "Welcome to nginx" in stack.request(path="/").text, layout="guide")
def default_page_answers(stack: Stack) -> None:
    root = stack.directory / "html"
    root.mkdir()
    root.chmod(0o755)
    (root / "index.html").write_text(
        "<!DOCTYPE html><title>Welcome to nginx!</title><h1>Welcome to nginx!</h1>"
    )
    default = (
        f"server {{ listen {stack.address}:{stack.ports['https']} ssl default_server; server_name _;\n"
        f"ssl_certificate {stack.certificate}; ssl_certificate_key {stack.private_key};\n"
        f"root {root}; }}\n"
    )
    (stack.nginx_dir / "conf.d" / "default.conf").write_text(default)
    stack.edit(stack.site_file, f"server_name {stack.domain};", "server_name gte.lab.exmaple;")


@fault("NGX011", sees=meets("Hostname mismatch"), explains=("TLS004",), layout="guide")
def another_site_answers_for_the_name(stack: Stack) -> None:
    issued = stack.authority.issue(["shop.lab.example"])
    (stack.run / "shop.pem").write_bytes(issued.fullchain_pem)
    (stack.run / "shop.key").write_bytes(issued.key_pem)
    (stack.nginx_dir / "conf.d" / "a-shop.conf").write_text(
        f"server {{ listen {stack.address}:{stack.ports['https']} ssl; server_name shop.lab.example;\n"
        f"ssl_certificate {stack.run}/shop.pem; ssl_certificate_key {stack.run}/shop.key;\n"
        "location / { return 404; } }\n"
    )
    stack.edit(stack.site_file, f"server_name {stack.domain};", "server_name gte-old.lab.example;")


@fault("NGX012", sees=page(501))
def proxy_pass_leads_to_another_program(stack: Stack) -> None:
    address = f"{stack.address}:{stack.free_port()}"
    host, _, port = address.rpartition(":")
    stack.spawn(sys.executable, "-m", "http.server", port, "--bind", host)
    stack.wait_until_listening(address)
    stack.edit(stack.site_file, f"server {stack.bind}", f"server {address}")


@fault(
    "NGX013",
    sees=lambda stack: stack.request().headers.get("Location") == f"{stack.url}/health",
    layout="guide",
)
def https_redirects_to_itself(stack: Stack) -> None:
    stack.edit(stack.site_file, "location / {", f"return 301 {stack.url}$request_uri;\n    location / {{")


@fault("NGX014", sees=answers(301))
def nginx_redirects_the_prediction(stack: Stack) -> None:
    stack.edit(
        stack.site_file,
        "location / {\n        limit_req",
        "location = /predict { return 301 /predict/; }\n    location / {\n        limit_req",
    )


@fault("NGX014", sees=answers(308), app=SLASH_APP)
def application_redirects_the_prediction(_stack: Stack) -> None:
    """Flask's route ends in a slash, the clients' URL does not."""


@fault("NGX009", sees=lambda stack: post_kilobytes(stack, 8) == 413, site={"max_body": "4k"})
def requests_are_larger_than_nginx_allows(_stack: Stack) -> None:
    """The limit is smaller than an ordinary batch."""


def post_kilobytes(stack: Stack, count: int) -> int | None:
    """The status of a prediction whose text has so many kilobytes."""
    body = {"task_type": "ner", "input_text": "北" * (count * 1024 // 3)}
    return stack.request("POST", "/predict", json_body=body).status


def hold_connections(stack: Stack, count: int) -> None:
    """Keeps connections open whose request has begun: nginx may not reuse those for others."""
    for _ in range(count):
        held = socket.create_connection(stack.http, timeout=2)
        held.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n")
        stack.hold(held)


@fault("NGX015", sees=lambda stack: stack.predict().status != 200)
def worker_connections_are_used_up(stack: Stack) -> None:
    # nginx tells of it in the log of the default server of the address: here somebody else's.
    log = stack.logs / "shop-error.log"
    (stack.nginx_dir / "conf.d" / "a-shop.conf").write_text(
        f"server {{ listen {stack.address}:{stack.ports['http']}; server_name shop.example;\n"
        f"error_log {log}; return 404; }}\n"
    )
    stack.edit(stack.nginx_conf, "worker_connections 512;", "worker_connections 10;")

    def is_short() -> bool:
        # One at a time: nginx takes back a connection on which it has not read anything yet.
        hold_connections(stack, 1)
        return "worker_connections are not enough" in log.read_text()

    wait_for(is_short, "nginx to run out of connections", every=0.05)


@fault("NGX016", sees=answers(502), unix_socket=True)
def socket_is_the_owners_alone(stack: Stack) -> None:
    # nginx's workers run as another user where the stack runs as root; elsewhere the owner is locked out too.
    Path(str(stack.backend)).chmod(0o600 if os.geteuid() == 0 else 0)


@fault(
    "NGX017",
    sees=lambda stack: stack.predict().status == 200,
    severity="warn",
    layout="guide",
    traps=["connection upgrade"],
)
def location_defeats_the_upstreams_keepalive(_stack: Stack) -> None:
    """The guide's own header, sent with every request."""


@fault("NGX019", sees=answers(502), app=HANGING_UP_APP, worker_class="sync")
def backend_hangs_up_before_it_answers(stack: Stack) -> None:
    stack.predict()


@fault(
    "NGX018",
    sees=lambda stack: 503 in {stack.predict().status for _ in range(40)},
    first="NGX008",
    severity="warn",
    beside=("NGX008",),
    layout="guide",
    traps=["limit_req answers 503"],
)
def rate_limit_answers_503(_stack: Stack) -> None:
    """The guide names no limit_req_status."""


def _only_root_makes_others_files() -> str | None:
    return None if os.geteuid() == 0 else "another user's files and processes need root"


def _predicts(stack: Stack) -> bool:
    return stack.predict().status == 200


@fault("NGX021", sees=_predicts, severity="warn", impossible=_only_root_makes_others_files)
def another_user_s_process_calls_itself_nginx(stack: Stack) -> None:
    """It names a configuration of its own: nothing of it is run, read or shown as a fix."""
    title = f"nginx: master process {sys.executable} -c {stack.directory}/theirs.conf"
    start = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    pid = stack.keeper.spawn(
        [*start, "bash", "-c", f"exec -a '{title}' sleep 600"],
        cwd=Path("/"),
        env={"PATH": os.defpath},
        output=stack.logs / "decoy.log",
    )
    wait_for(lambda: Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"nginx: master"), "its title")


@fault("NGX022", sees=_predicts, severity="warn", impossible=_only_root_makes_others_files)
def another_user_may_write_the_site_s_file(stack: Stack) -> None:
    os.chown(stack.site_file, 65534, 65534)


@fault("NGX020", sees=_predicts, severity="warn")
def worker_connections_are_above_the_open_files_limit(stack: Stack) -> None:
    stack.edit(stack.nginx_conf, "worker_processes 1;", "worker_processes auto;\nworker_rlimit_nofile 2048;")
    stack.edit(stack.nginx_conf, "worker_connections 512;", "worker_connections 4096;")


def _empty_the_pidfile(stack: Stack, content: str = "") -> None:
    """Puts something else into nginx's pidfile than its master, and the number back before the stack is taken down."""
    number = stack.nginx_pidfile.read_text()
    stack.nginx_pidfile.write_text(content)
    stack.at_end(lambda: stack.nginx_pidfile.write_text(number))


@fault("NGX050", sees=meets("expired"), explains=("TLS008", "TLS001"))
def pidfile_is_empty_and_the_renewal_is_not_taken_up(stack: Stack) -> None:
    """homeland-docker#50: nginx -s reload fails, so that what was renewed on disk is not served."""
    stack.replace_certificate(not_before=in_days(-91), not_after=in_days(-1))
    _empty_the_pidfile(stack)
    stack.replace_certificate(reload=False)


@fault("NGX051", sees=answers(502), unix_socket=True)
def socket_is_in_a_private_tmp(stack: Stack) -> None:
    """gunicorn#1524: the unit has PrivateTmp=true."""
    stack.stop_gunicorn()
    private = stack.run / "private"
    private.mkdir()
    socket_file = private / "gunicorn.sock"
    stack.edit(stack.site_file, str(stack.backend), str(socket_file))
    stack.edit(stack.gunicorn_conf, str(stack.backend), str(socket_file), apply=False)
    stack.config["gunicorn"]["bind"] = f"unix:{socket_file}"
    stack.write_config()
    own = f'mount -t tmpfs none {private} && exec "$0" "$@"'
    stack.launcher = ["unshare", "--mount", "--propagation", "private", "sh", "-c", own]
    stack.start_gunicorn(wait="nothing")
    wait_for(
        lambda: (master := stack.gunicorn_master) and Path(f"/proc/{master.pid}/root{socket_file}").exists(),
        "gunicorn to listen in its own namespace",
        within=20,
    )


def _stalled_upload(stack: Stack) -> str | None:
    """What a client meets whose body stops after its first byte."""
    return stack.request("POST", "/predict", body=b"{", headers={"Content-Length": "100"}).error


def _is_hung_up_on_before_it_speaks(stack: Stack) -> bool:
    with socket.create_connection(stack.https, timeout=5) as silent:
        try:
            return silent.recv(1) == b""
        except TimeoutError:
            return False


@fault("NGX070", sees=lambda stack: _stalled_upload(stack) == "closed", severity="warn")
def body_has_half_a_second_between_two_packets(stack: Stack) -> None:
    stack.edit(stack.site_file, "client_body_timeout   30s;", "client_body_timeout 500ms;")


@fault("NGX070", sees=_is_hung_up_on_before_it_speaks, severity="warn")
def headers_have_one_second_to_arrive(stack: Stack) -> None:
    # nginx reads them under the value of the address's default server: the name comes in them.
    stack.edit(stack.site_file, "client_header_timeout 15s;", "client_header_timeout 1;")


def _several_visitors_have_one_address(stack: Stack) -> bool:
    lines = [line for line in stack.nginx_access_log.read_text().splitlines() if "203.0.113." in line]
    return len(lines) >= 24 and len({line.split(" ")[0] for line in lines}) == 1


@fault(
    "NGX071",
    sees=_several_visitors_have_one_address,
    severity="warn",
    site={"rate": "100r/s", "burst": "200"},
    says=("set_real_ip_from 127.", "real_ip_header X-Forwarded-For"),
)
def a_tunnel_hides_the_visitors_addresses(stack: Stack) -> None:
    """A tunnel's agent connects from this host and sets X-Forwarded-For; nginx has no realip."""
    for number in range(24):
        visitor = {"X-Forwarded-For": f"203.0.113.{number % 5}", "User-Agent": "okhttp/4.12.0"}
        assert stack.predict(headers=visitor).status == 200


@fault(
    "NGX071",
    sees=lambda stack: stack.nginx_access_log.read_text().count(" 200 ") >= 24,
    severity="warn",
    site={"rate": "100r/s", "burst": "200"},
    says=("Windows", "set_real_ip_from 127."),
)
def a_forwarder_of_tcp_hides_the_visitors_addresses(stack: Stack) -> None:
    """It sets no header; browsers of several systems are behind it."""
    agents = (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64)",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)",
        "python-requests/2.32.3",
    )
    for number in range(24):
        assert stack.predict(headers={"User-Agent": agents[number % 3]}).status == 200
