"""The host's units are made from the host's own word: no user's gunicorn decides what another account runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attacks import attacker
from tests.attacks.host import CONFIG, gte_ops, guide_host, start_nginx
from tests.attacks.namespaces import on_a_host_of_its_own
from tests.lab.waiting import wait_for

NAMELESS = 231072
KINDS = ("systemd", "cron", "logrotate", "nginx", "prometheus")
# A gunicorn by its title; it listens where it is told to.
PROGRAM = """
import socket, sys, time
held = socket.create_server(("127.0.0.1", int(sys.argv[-1]))) if sys.argv[-1].isdecimal() else None
time.sleep(1000)
"""


def configure(text: str) -> None:
    CONFIG.parent.mkdir(parents=True, exist_ok=True)
    CONFIG.write_text(text)


def gunicorn(uid: int, *words: str, listens: int | None = None, cwd: Path | None = None) -> None:
    """A user's own gunicorn, with its program, configuration, logs and pidfile in that user's directory."""
    home = attacker.place("bin", uid=uid)
    (home / "python3").symlink_to("/usr/bin/python3")
    attacker.write(home / "gunicorn", PROGRAM, uid=uid, mode=0o755)
    conf = attacker.write(home / "gunicorn.conf.py", "daemon = True\n", uid=uid)
    logs = [f"--{kind}-logfile={home}/{kind}.log" for kind in ("access", "error")]
    port = [str(listens)] if listens else []
    command = [
        str(home / "python3"),
        str(home / "gunicorn"),
        "-c",
        str(conf),
        *logs,
        *words,
        "app:app",
        *port,
    ]
    attacker.start(home / "python3", command, uid=uid, cwd=cwd or home)
    if listens:
        wait_for(lambda: f":{listens:04X} " in Path("/proc/net/tcp").read_text(), "it to listen")


def rendered(kind: str) -> tuple[str, str]:
    ran = gte_ops("render", kind)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout, ran.stderr


def of_service(text: str) -> list[str]:
    """The lines of the service's own unit."""
    return text.partition("gte-api.service\n")[2].partition("# ---- ")[0].splitlines()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("uid", [attacker.UID, NAMELESS], ids=["nobody", "without a name"])
@pytest.mark.parametrize("settings", ["", "[gunicorn]\nbind = '127.0.0.1:8000'\n"], ids=["empty", "bind"])
@on_a_host_of_its_own
def test_a_users_gunicorn_decides_nothing(kind: str, uid: int, settings: str) -> None:
    """It runs alone on the machine, and only it says that it is the service."""
    guide_host()
    configure(settings)
    gunicorn(uid, "-b", "127.0.0.1:8000", "--pid=/srv/attacker/bin/pid")
    text, said = rendered(kind)
    if kind == "logrotate" and not settings:
        # Its own logs may be rotated on its word, by logrotate as that very user.
        named = [line for line in text.splitlines() if "/srv/attacker" in line]
        if uid == NAMELESS:
            assert all(line.startswith("# ") and "is not rotated" in line for line in named)
            return
        assert named == ["/srv/attacker/bin/access.log", "/srv/attacker/bin/error.log"]
        assert "    su nobody nogroup\n" in text
        return
    assert "/srv/attacker" not in text
    assert "User=nobody" not in text
    assert str(uid) not in text
    if kind == "systemd":
        assert "User=gte-api" in of_service(text)
        assert settings or "calls itself gunicorn, and nothing else says that it is the service" in said


@pytest.mark.parametrize("uid", [attacker.UID, NAMELESS], ids=["nobody", "without a name"])
@on_a_host_of_its_own
def test_who_holds_the_services_address_speaks_for_its_own_user_alone(uid: int) -> None:
    """The unit runs the user's program as that user; what root writes and runs is not its to say."""
    guide_host()
    configure("[gunicorn]\nbind = '127.0.0.1:8000'\n")
    gunicorn(uid, "--pid=/etc/gunicorn.pid", listens=8000)
    text, said = rendered("systemd")
    service = of_service(text)
    assert any("/srv/attacker/bin/gunicorn" in line for line in service)
    assert f"User={'nobody' if uid == attacker.UID else uid}" in service
    assert f"Group={'nogroup' if uid == attacker.UID else uid}" in service
    assert "/srv/attacker" not in text.replace("\n".join(service), "")
    assert "ReadWritePaths=-/etc" not in text.splitlines()
    assert "(process " in said
    assert "make sure that it is the service" in said
    for kind in ("cron", "nginx", "prometheus"):
        assert "/srv/attacker" not in rendered(kind)[0]


@on_a_host_of_its_own
def test_a_users_gunicorn_elsewhere_is_not_where_nginx_sends_requests() -> None:
    guide_host()
    configure("")
    start_nginx()
    gunicorn(attacker.UID, "-b", "127.0.0.1:9000", listens=9000)
    text, _ = rendered("nginx")
    assert "9000" not in text
    assert "server 127.0.0.1:8000;" in text


@pytest.mark.parametrize(
    "settings",
    [
        "[app]\ndir = '/srv/attacker/bin'\n",
        "[gunicorn]\nconfig_file = '/srv/attacker/bin/gunicorn.conf.py'\n",
        "[gunicorn]\nbind = '127.0.0.1:8000'\n",
        "",
        "[app]\ndir = '/srv'\n",
    ],
    ids=["its directory", "its file", "its address", "nginx's upstream", "a hardened host"],
)
@on_a_host_of_its_own
def test_a_service_users_own_gunicorn_keeps_its_user(settings: str) -> None:
    """The configuration or nginx says where the service is, and it is there."""
    guide_host()
    configure(settings)
    start_nginx()
    gunicorn(1000, listens=8000, cwd=Path("/srv") if "'/srv'" in settings else None)
    text, _ = rendered("systemd")
    service = of_service(text)
    assert any(line.startswith("User=") and line != "User=gte-api" for line in service), text
    assert any(line.startswith("ExecStart=/srv/attacker/bin/gunicorn ") for line in service), text


@on_a_host_of_its_own
def test_a_gunicorn_of_roots_speaks_for_the_host() -> None:
    guide_host()
    configure("")
    gunicorn(0)
    text, said = rendered("systemd")
    assert any("/srv/attacker/bin/gunicorn" in line for line in of_service(text))
    assert "calls itself" not in said
