"""nginx itself."""

from __future__ import annotations

import sys

from tests.lab.faults.case import answers, fault, meets, page
from tests.lab.stack import Stack

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
