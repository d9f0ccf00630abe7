"""Who holds the front address; nginx's pidfile; a socket that nginx does not see."""

from __future__ import annotations

import msgspec
import pytest

from ops.diagnosis.catalogue import catalogue
from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import run_checks
from ops.facts.base import NotSeen
from ops.facts.host import Listener, Process
from ops.facts.nginx import Pidfile, SocketView
from ops.facts.probes import Exchange
from ops.facts.snapshot import Snapshot
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.made_snapshot import (
    GUNICORN_LISTENER,
    GUNICORN_MASTER,
    GUNICORN_PROCESSES,
    NGINX_LISTENERS,
    NGINX_MASTER,
    NGINX_PROCESSES,
    PREDICT,
    PREDICTION,
    SITE,
    but,
    entry,
    exchange,
    nginx_config,
    nginx_logs,
    page,
    process,
    processes,
    refused,
)

APACHE = process(612, 1, "/usr/sbin/apache2", "-k", "start", unit="apache2.service")
PROXY = process(
    640,
    611,
    "/usr/bin/docker-proxy",
    "-proto",
    "tcp",
    "-host-port",
    "443",
    "-container-ip",
    "172.17.0.2",
    "-container-port",
    "8443",
    unit="docker.service",
)
CONTAINER_S = process(
    655, 1, "nginx: master process nginx", is_nested=True, has_other_root=True, container="4f0c1d2e3a4b"
)

OTHER_MASTER = process(
    77, 1, "nginx: master process nginx -c /opt/other/nginx.conf", executable="/usr/local/nginx/sbin/nginx"
)
OTHER_WORKER = process(
    78, 77, "nginx: worker process", user="nobody", executable="/usr/local/nginx/sbin/nginx"
)
TAKEN = entry("bind() to 0.0.0.0:443 failed (98: Address already in use)", level="emerg")


def held_by(
    owner: Process, *others: Process, address: str = "0.0.0.0:443", listeners: tuple[Listener, ...] = ()
) -> Snapshot:
    """Another program answers at the front address."""
    return but(
        processes=processes(
            (owner, *others),
            GUNICORN_PROCESSES,
            listeners=(*listeners, Listener(address=address, pids=(owner.pid,)), GUNICORN_LISTENER),
        ),
        front__predict=page(404, "404 Not Found", **PREDICT),
        front__health=page(404, "404 Not Found"),
    )


SOCKET = "/tmp/gte.sock"
AT_SOCKET = SITE.replace("server 127.0.0.1:8000;", f"server unix:{SOCKET};")


def behind_a_socket(
    *, is_here: bool, is_nginx_s: bool, is_private: bool = True, answer: Exchange | None = None
) -> Snapshot:
    """The service listens at a unix socket, which is or is not where the path leads."""
    listening = Listener(address=f"unix:{SOCKET}", pids=(GUNICORN_MASTER,))
    host_processes = processes(listeners=NGINX_LISTENERS if is_private else (*NGINX_LISTENERS, listening))
    return but(
        nginx_config=nginx_config(AT_SOCKET),
        nginx_sockets=(
            SocketView(path=SOCKET, nginx_pid=NGINX_MASTER, is_here=is_here, is_nginx_s=is_nginx_s),
        ),
        processes=msgspec.structs.replace(host_processes, private=(listening,) if is_private else ()),
        front__predict=answer or page(502, "502 Bad Gateway", **PREDICT),
    )


def named(pidfile: Pidfile) -> Snapshot:
    return but(nginx_pidfile=pidfile)


CASES: list[Case] = [
    fires(
        "NET010",
        "nginx does not run, apache does",
        held_by(APACHE),
        "pid 612 (apache2, user root, apache2.service)",
        "no nginx master",
        severity="fail",
        facts={"pid": "612"},
    ),
    fires(
        "NET010", "a container's published port", held_by(PROXY), "port 8443 of the container at 172.17.0.2"
    ),
    fires("NET010", "a container's nginx is not this host's", held_by(CONTAINER_S), "container 4f0c1d2e3a4b"),
    fires(
        "NET010",
        "nginx runs, and does not listen there",
        held_by(APACHE, *NGINX_PROCESSES),
        "nginx runs, and does not listen there",
    ),
    fires(
        "NET010",
        "another nginx with a configuration of its own",
        held_by(
            process(
                77, 1, "nginx: master process nginx -c /opt/other/nginx.conf", executable="/usr/sbin/nginx"
            )
        ),
    ),
    fires(
        "NET010",
        "the first of its processes, which replaces the others",
        held_by(OTHER_WORKER, OTHER_MASTER),
        "user root): nginx: master process nginx -c /opt/other/nginx.conf",
        facts={"pid": "77"},
    ),
    fires(
        "NET010",
        "a child of Apache's",
        held_by(
            process(900, 612, "/usr/sbin/apache2", "-k", "start", executable="/usr/sbin/apache2"),
            msgspec.structs.replace(APACHE, executable="/usr/sbin/apache2"),
        ),
        facts={"pid": "612"},
    ),
    fires(
        "NET010",
        "nginx said that the port was taken",
        but(held_by(APACHE), logs__nginx_errors=nginx_logs(TAKEN)),
        "bind() to 0.0.0.0:443 failed (98: Address already in use)",
    ),
    fires(
        "NET010",
        "the very address goes before every address",
        held_by(
            APACHE,
            *NGINX_PROCESSES,
            address="127.0.0.1:443",
            listeners=(Listener(address="0.0.0.0:443", pids=(NGINX_MASTER,)),),
        ),
    ),
    quiet(
        "NET010",
        "predictions pass: it is a balancer of the operator's",
        but(processes=held_by(APACHE).processes),
    ),
    quiet(
        "NET010",
        "nginx holds it, and something else is wrong",
        but(front__predict=page(502, "502", **PREDICT)),
    ),
    quiet(
        "NET010",
        "nginx holds it in another family than the other program",
        held_by(
            APACHE,
            *NGINX_PROCESSES,
            address="[::1]:443",
            listeners=(Listener(address="0.0.0.0:443", pids=(NGINX_MASTER,)),),
        ),
    ),
    quiet("NET010", "whose it is was not seen", held_by(process(1, 0, "/sbin/init"))),
    quiet(
        "NET010",
        "nobody takes the connection",
        but(held_by(APACHE), front__connection=refused("127.0.0.1:443")),
    ),
    quiet(
        "NET010",
        "an nginx of this host of which nothing says that it is another one",
        held_by(process(78, 1, "nginx: master process nginx", executable="/usr/sbin/nginx")),
    ),
    fires(
        "NGX050",
        "the pidfile is empty",
        named(Pidfile(path="/run/nginx.pid")),
        "holds no process id",
        severity="warn",
        facts={"pidfile": "/run/nginx.pid", "pid": str(NGINX_MASTER)},
    ),
    fires("NGX050", "it is gone", named(Pidfile(path="/run/nginx.pid", missing=True)), "is not there"),
    fires(
        "NGX050",
        "it names one that has ended",
        named(Pidfile(path="/run/nginx.pid", pid=9)),
        "which has ended",
    ),
    fires(
        "NGX050",
        "it names another living one",
        named(Pidfile(path="/run/nginx.pid", pid=9, is_alive=True)),
        "another one",
    ),
    quiet("NGX050", "it names the master", named(Pidfile(path="/run/nginx.pid", pid=NGINX_MASTER))),
    quiet(
        "NGX050", "it cannot be read", named(Pidfile(path="/run/nginx.pid", unreadable="permission denied"))
    ),
    quiet(
        "NGX050",
        "the master was told of another pidfile",
        but(
            nginx_pidfile=Pidfile(path="/run/nginx.pid", missing=True),
            processes=processes(
                (process(NGINX_MASTER, 1, "nginx: master process nginx -g pid /run/n.pid; daemon on;"),),
                GUNICORN_PROCESSES,
            ),
        ),
    ),
    fires(
        "NGX051",
        "the service has a /tmp of its own",
        behind_a_socket(is_here=False, is_nginx_s=False),
        f"/proc/{GUNICORN_MASTER}/root{SOCKET}",
        severity="fail",
        facts={"socket": SOCKET, "pid": str(GUNICORN_MASTER)},
    ),
    fires(
        "NGX051",
        "nginx has one",
        behind_a_socket(is_here=True, is_nginx_s=False, is_private=False),
        f"/proc/{NGINX_MASTER}/root{SOCKET}",
    ),
    quiet("NGX051", "nginx sees it", behind_a_socket(is_here=True, is_nginx_s=True, is_private=False)),
    quiet(
        "NGX051",
        "nobody listens there: the service is down",
        but(behind_a_socket(is_here=False, is_nginx_s=False), processes__private=()),
    ),
    quiet(
        "NGX051",
        "predictions pass",
        behind_a_socket(is_here=False, is_nginx_s=False, answer=exchange(200, PREDICTION, **PREDICT)),
    ),
    quiet(
        "NGX051",
        "nginx proxies to another address",
        but(behind_a_socket(is_here=False, is_nginx_s=False), nginx_config=nginx_config()),
    ),
    quiet(
        "NGX050",
        "nginx does not run",
        but(
            nginx_pidfile=Pidfile(path="/run/nginx.pid", missing=True),
            processes=processes(GUNICORN_PROCESSES),
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def test_nginx_is_running_is_not_said_of_another_s_front_door() -> None:
    results, _ = run_checks(held_by(APACHE), CHECKS, catalogue())
    result = next(result for result in results if result.id == "nginx.process")
    assert result.status == "skip"
    assert result.skipped_because is not None
    assert "apache2" in result.skipped_because.en


def test_the_fix_stops_what_holds_the_address_by_what_it_is() -> None:
    def steps(snapshot: Snapshot) -> tuple[str, ...]:
        return tuple(step for step in found(snapshot)["NET010"].fix or () if isinstance(step, str))

    assert steps(held_by(APACHE)) == (
        "systemctl disable --now apache2.service",
        "nginx -t",
        "systemctl start nginx",
    )
    assert steps(held_by(PROXY))[0] == "docker stop $(docker ps -q --filter publish=443)"
    assert steps(held_by(CONTAINER_S))[0].startswith("docker stop 4f0c1d2e3a4b")
    by_cron = process(613, 600, "/opt/serve", unit="cron.service")
    assert steps(held_by(by_cron))[0] == "kill 613"
    assert steps(held_by(APACHE, *NGINX_PROCESSES))[-1] == "systemctl reload nginx"


def test_without_the_processes_nothing_is_said() -> None:
    assert not {"NET010", "NGX050"} & set(found(but(processes=NotSeen(reason="-"))))
