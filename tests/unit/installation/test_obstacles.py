"""What would keep an installation from serving is told before anything is changed, and nothing else is refused."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from ops.deployment.install import RefusedError
from ops.deployment.render import Deployment, NginxSite
from ops.errors import OpsError
from ops.facts.host import Listener, Process, Processes
from ops.facts.nginx import Directive
from ops.installation.obstacles import foreign_sites, taken_addresses
from ops.installation.run import InstallInterruptedError, install, uninstall
from ops.installation.store import InstallStore
from ops.settings import NginxSettings, Settings
from tests.unit.installation.made_host import MadeHost, bare_host, steps, tree
from tests.unit.made_snapshot import directives, nginx_config

DOMAIN = "gte-api.example.com"


def holder(address: str, *command: str, unit: str | None = None, name: str = "") -> Processes:
    """One process that listens at ``address``."""
    process = Process(700, 1, name or command[0], command, "root", "running", 0.0, unit=unit)
    return Processes((process,), (Listener(address, (700,)),))


def taken(table: Processes, *, has_systemd: bool = True, **site: str) -> list[str]:
    deployment = Deployment(site=NginxSite(**site))  # type: ignore[arg-type]
    return [words.en for words in taken_addresses(deployment, table, has_systemd=has_systemd)]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("0.0.0.0:443", "port 443 is taken by caddy run (process 700), so nginx cannot listen there"),
        ("[::]:443", "port 443 is taken"),
        ("192.0.2.1:443", "port 443 is taken"),
        ("0.0.0.0:80", "port 80 is taken"),
        ("127.0.0.1:8000", "127.0.0.1:8000 is taken by caddy run (process 700), so gte-api.service cannot"),
        ("0.0.0.0:8000", "127.0.0.1:8000 is taken"),
    ],
)
def test_an_address_that_another_program_has_is_named_with_its_holder(address: str, words: str) -> None:
    (told,) = taken(holder(address, "caddy", "run", unit="caddy.service"))
    assert told.startswith(words)
    assert "nothing was changed: stop it (systemctl stop caddy.service)" in told


@pytest.mark.parametrize(
    "table",
    [
        holder("0.0.0.0:443", "nginx: master process", name="nginx"),
        holder("127.0.0.1:8443", "caddy", "run"),
        holder("192.0.2.1:8000", "caddy", "run"),
        holder("127.0.0.1:8000", "gunicorn: master [x]", unit="gte-api.service"),
        Processes((), (Listener("0.0.0.0:443", ()),)),
        Processes((), (Listener("0.0.0.0:443", (1,)),)),
    ],
)
def test_what_is_in_nobodys_way_is_not_refused(table: Processes) -> None:
    assert taken(table) == []


def of_unit(pid: int, ppid: int, program: str, unit: str | None = None, **known: Any) -> Process:
    return Process(
        pid,
        ppid,
        program,
        (program, "-x"),
        "root",
        "running",
        0.0,
        executable=f"/bin/{program}",
        unit=unit,
        **known,
    )


PROXY = of_unit(7, 6, "docker-proxy", "docker.service")
CONMON = msgspec.structs.replace(of_unit(7, 1, "conmon"), command=("conmon", "-c", "4f0c", "-n", "shop"))


@pytest.mark.parametrize(
    ("processes", "ended"),
    [
        (
            (PROXY, of_unit(6, 1, "dockerd", "docker.service")),
            "docker stop $(docker ps -q --filter publish=80)",
        ),
        (
            (of_unit(7, 5, "caddy", "docker.service", container="4f0c1d2e3a4b"),),
            "docker stop 4f0c1d2e3a4b || ",
        ),
        ((of_unit(7, 5, "caddy", is_nested=True),), "the container that has the port (docker ps, podman ps"),
        ((CONMON,), "(podman stop shop)"),
        ((of_unit(7, 5, "rootlessport", uid=1000),), "runuser -l root -c 'podman stop $(podman ps --format"),
        ((of_unit(7, 5, "lxd", "snap.lxd.daemon.service"),), "the container that has the port (docker ps"),
        ((of_unit(7, 1, "caddy", "caddy.service"),), "(systemctl stop caddy.service)"),
        (
            (of_unit(6, 1, "apache2", "apache2.service"), of_unit(7, 6, "apache2", "apache2.service")),
            "stop apache2.s",
        ),
        (
            (of_unit(6, 1, "cron", "cron.service"), of_unit(7, 6, "caddy", "cron.service")),
            "kill 7; its unit cron.service may",
        ),
        ((of_unit(7, 6, "caddy", "supervisor.service"),), "kill 7; its unit supervisor.service may"),
        (
            (of_unit(7, 1, "caddy", "all.service"), of_unit(8, 1, "redis", "all.service")),
            "kill 7; its unit all.service may",
        ),
        ((of_unit(7, 6, "caddy"),), "(kill 7)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "by",
)
def test_what_ends_the_holder_ends_nothing_else(processes: tuple[Process, ...], ended: str) -> None:
    others = (Listener("127.0.0.1:6379", (8,)),)
    table = Processes(processes, (Listener("0.0.0.0:80", (7,)), *others))
    deployment = Deployment(site=NginxSite())
    (told,) = taken_addresses(deployment, table, has_systemd=True)
    assert ended in told.en
    command = ended.rpartition("(")[2].partition(";")[0].rstrip(")")
    assert command in told.zh
    assert "docker.service" not in told.en


def test_a_socket_unit_is_stopped_with_its_service() -> None:
    table = Processes((of_unit(7, 1, "caddy", "caddy.service"),), (Listener("[::]:443", (1, 7)),))
    (told,) = taken(table)
    assert "systemctl stop $(systemctl show -p TriggeredBy --value caddy.service) caddy.service" in told


def test_a_site_at_one_address_is_not_in_the_way_of_another_address() -> None:
    table = holder("192.0.2.1:443", "caddy", "run")
    assert taken(table, https="192.0.2.2:443") == []
    assert len(taken(table, https="192.0.2.1:443")) == 1


def test_a_gunicorn_of_another_unit_is_for_adopt_and_without_systemd_it_is_the_service() -> None:
    table = holder("127.0.0.1:8000", "gunicorn: master [app:app]", unit="old.service")
    (told,) = taken(table)
    assert "gte-ops adopt" in told
    assert taken(table, has_systemd=False) == []


def site(names: str, file: str = "/etc/nginx/conf.d/shop.conf") -> list[str]:
    """What is said of a file of nginx with a site for ``names``, where ours is to be at its usual place."""
    return told_of(names, file, Settings(), Deployment().site_file)


def told_of(names: str, file: str, settings: Settings, site_file: str) -> list[str]:
    block = directives(f"server {{ listen 80; server_name {names}; }}", file)
    http = Directive(name="http", args=(), file="/etc/nginx/nginx.conf", line=4, block=block)
    config = nginx_config(directives=(http,))
    deployment = Deployment(site_file=site_file)
    return [words.en for words in foreign_sites(settings, deployment, config)]


def test_a_site_of_the_same_name_is_not_replaced_unasked() -> None:
    (told,) = site(DOMAIN)
    assert told.startswith(f"/etc/nginx/conf.d/shop.conf is a site for {DOMAIN} already; nothing was changed")
    assert 'site_file = "/etc/nginx/conf.d/shop.conf"' in told
    assert site("shop.example") == []
    # Found as the site's file, and nobody has said that it may be replaced.
    shop = "/etc/nginx/conf.d/shop.conf"
    assert len(told_of(DOMAIN, shop, Settings(), shop)) == 1


def test_a_file_that_the_settings_name_is_replaced_unless_it_has_other_sites() -> None:
    shop = "/etc/nginx/conf.d/shop.conf"
    settings = Settings(nginx=NginxSettings(site_file=shop))
    assert told_of(DOMAIN, shop, settings, shop) == []
    (told,) = told_of(f"{DOMAIN} shop.example", shop, settings, shop)
    assert "other sites too (shop.example)" in told


def test_our_own_usual_place_and_the_challenges_site_are_no_obstacle() -> None:
    usual = Deployment().site_file
    assert told_of(DOMAIN, usual, Settings(), usual) == []
    assert site(DOMAIN, "/etc/nginx/conf.d/00-gte-ops-challenge.conf") == []


def test_a_disk_without_room_is_refused_before_anything_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = bare_host(tmp_path)
    before = tree(tmp_path)
    full = SimpleNamespace(f_bavail=3, f_frsize=1024, f_files=100, f_favail=50)
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    with pytest.raises(RefusedError, match=r"3 KiB are free there, .* nothing was changed: make room"):
        install(steps, host, InstallStore(tmp_path))
    full.f_bavail, full.f_favail = 1 << 30, 0
    with pytest.raises(RefusedError, match=r"0 KiB are free"):
        install(steps, host, InstallStore(tmp_path))
    assert (tree(tmp_path), host.commands) == (before, [])


def test_an_interrupted_installation_says_that_everything_is_as_it_was(tmp_path: Path) -> None:
    bare_host(tmp_path)
    before = tree(tmp_path)

    class Interrupted(MadeHost):
        """Ctrl-C while nginx tests its configuration."""

        is_over = False

        def run(self, *command: str, **options: object) -> None:
            if command == ("nginx", "-t") and not self.is_over:
                self.is_over = True
                raise KeyboardInterrupt
            super().run(*command, **options)  # type: ignore[arg-type]

    with pytest.raises(InstallInterruptedError, match="interrupted; everything is as it was") as error:
        install(steps, Interrupted(tmp_path), InstallStore(tmp_path))
    assert isinstance(error.value, OpsError)
    assert error.value.exit_code == 130
    assert tree(tmp_path) == before


def fill_up_at(moment: int, patch: pytest.MonkeyPatch) -> None:
    """One write to the disk fails, counted from 1."""
    fsync = os.fsync
    left = [moment]

    def full(descriptor: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    patch.setattr(os, "fsync", full)


@pytest.mark.parametrize("moment", [2, 40, 41, 42])
def test_a_disk_that_fills_up_is_named_and_everything_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    bare_host(tmp_path)
    before = tree(tmp_path)
    fill_up_at(moment, monkeypatch)
    with pytest.raises(OpsError, match=r"/\S+: No space left on device; (everything is as it|nothing) was"):
        install(steps, MadeHost(tmp_path), InstallStore(tmp_path))
    uninstall(MadeHost(tmp_path), InstallStore(tmp_path), purge=True)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("moment", range(1, 8))
def test_a_disk_that_is_full_when_an_installation_is_undone_is_named_and_the_next_run_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    host = bare_host(tmp_path)
    before = tree(tmp_path)
    install(steps, host, InstallStore(tmp_path))
    with monkeypatch.context() as patch:
        fill_up_at(moment, patch)
        try:
            (trouble,) = uninstall(host, InstallStore(tmp_path), purge=True).troubles
        except OpsError as error:
            trouble = error.words
    assert re.search(r"/\S+: No space left on device", trouble.en)
    uninstall(host, InstallStore(tmp_path), purge=True)
    assert tree(tmp_path) == before
