"""Who holds the door: nginx, but not this one; and what else stands at an address."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import answers
from tests.lab.reported.case import Kind, report
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for


def _second_nginx(stack: Stack) -> Path:
    """The configuration of an nginx that was built by hand once, for the same address."""
    other = stack.directory / "usr-local-nginx"
    other.mkdir()
    other.chmod(0o755)
    conf = other / "nginx.conf"
    user = next((line for line in stack.nginx_conf.read_text().splitlines() if line.startswith("user ")), "")
    temporary = "\n".join(
        f"{kind}_temp_path {other}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    conf.write_text(
        f"{user}\nworker_processes 1;\npid {other}/nginx.pid;\nerror_log {other}/error.log;\nevents {{ }}\n"
        f"http {{\n{temporary}\naccess_log {stack.logs}/other-access.log;\nserver {{\n"
        f"    listen {stack.address}:{stack.ports['https']} ssl;\n"
        f"    ssl_certificate {stack.certificate};\n    ssl_certificate_key {stack.private_key};\n"
        "    location / { return 404; }\n}\n}\n"
    )
    return conf


def _end_second_nginx(stack: Stack) -> None:
    other = stack.directory / "usr-local-nginx"
    pid = int((other / "nginx.pid").read_text())
    for process in stack.processes():
        if process.pid == pid:
            process.send_signal(signal.SIGTERM)
            wait_for(lambda: not process.is_running(), "the other nginx to end")  # noqa: B023
    stack.start_nginx()


@report(
    Kind.DOOR,
    "caktus/margarita#125",
    sees=answers(404),
    repair=_end_second_nginx,
    codes=("NET010", "NGX002", "NGX021"),
    says=("usr-local-nginx/nginx.conf", "98: Address already in use", "pid"),
    app=PLAIN_APP,
    layout="guide",
)
def another_nginx_of_this_host_holds_the_door(stack: Stack) -> None:
    """ansible-nginx-revproxy#5: the one that was started in February, with a configuration of its own."""
    stack.stop_nginx()
    conf = _second_nginx(stack)
    stack.spawn(stack.nginx_binary, "-p", str(conf.parent), "-c", str(conf))
    stack.wait_until_listening(f"{stack.address}:{stack.ports['https']}")
    stack.try_to_start_nginx()


OLD_APP = PLAIN_APP.replace('@app.post("/predict")', '@app.post("/classify")')


def _some_get_the_old(stack: Stack) -> bool:
    return {stack.predict().status for _ in range(12)} == {200, 404}


def _end_old_gunicorn(stack: Stack) -> None:
    for process in stack.processes():
        if "old:app" in process.cmdline():
            process.kill()
    wait_for(
        lambda: not any("old:app" in process.cmdline() for process in stack.processes()), "the old one's end"
    )


@report(
    Kind.DOOR,
    "heroku/python-getting-started#248",
    sees=_some_get_the_old,
    repair=_end_old_gunicorn,
    codes=(),
    says=("404", "old:app", "pid"),
    app=PLAIN_APP,
    layout="guide",
    gunicorn_extra="reuse_port = True",
    site={"rate": "6000r/m", "burst": "500"},
)
def old_gunicorn_shares_the_port(stack: Stack) -> None:
    """press#2396: with reuse_port a second master is refused by nobody; half of the users get the old application."""
    (stack.run / "old.py").write_text(OLD_APP)
    gunicorn = str(Path(sys.executable).with_name("gunicorn"))
    log = str(stack.logs / "old.log")
    stack.spawn(
        gunicorn,
        "--reuse-port",
        "-b",
        stack.bind,
        "--chdir",
        str(stack.run),
        "--error-logfile",
        log,
        "old:app",
    )
    old = stack.logs / "old.log"
    wait_for(lambda: old.exists() and "Booting worker" in old.read_text(), "the old one to serve", within=20)


def _https(stack: Stack) -> str:
    return f"listen {stack.address}:{stack.ports['https']} ssl;"


@report(
    Kind.DOOR,
    "debops/debops#2356",
    sees=lambda stack: stack.predict().error == "refused",
    repair=lambda stack: stack.edit(
        stack.site_file,
        f"listen [::1]:{stack.ports['https']} ssl;",
        f"listen [::1]:{stack.ports['https']} ssl;\n    {_https(stack)}",
    ),
    codes=("NET001",),
    says=("gte-api.conf:", "listen [::1]", "IPv4"),
    app=PLAIN_APP,
    layout="guide",
)
def door_is_open_over_ipv6_alone(stack: Stack) -> None:
    """ring-ansible#30, centminmod#36: listen [::] without ipv6only=off takes no IPv4."""
    stack.edit(stack.site_file, _https(stack), f"listen [::1]:{stack.ports['https']} ssl;")
