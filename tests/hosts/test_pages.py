"""The commands of the pages, taken out of them and run on a fresh host in their order. Both languages hold the same
commands (tests/unit/test_documents.py).

What a page takes for granted is made true of the host, so that its commands run as they stand: the name of its examples
resolves to the host, Let's Encrypt and a chat robot answer by their own names, and pip's index is a directory. What of
a page is not run, or needs a value, its own comments say (`tests/pages.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyrage
import pytest

from ops.deployment.render import NginxSite
from tests.hosts.internet import admit_backups, join_internet, messages, start_internet
from tests.hosts.layer import PYTHONS, REPOSITORY
from tests.hosts.machine import HostError, Machine
from tests.hosts.test_adoption import APPLICATION, GUNICORN, UNIT
from tests.hosts.wheelhouse import PRESENT, add_version, copy_checkout, make_wheelhouse
from tests.lab.authority import Authority
from tests.lab.guide import guide_site
from tests.pages import Block, blocks

pytestmark = pytest.mark.long

NAME = "api.example.org"
CHECKOUT = "/root/gte-ops"
# A version that the index has beside the present one.
NEW = "0.3.0"
# What gte-ops has left of itself, but for what the test brought.
LEFT_BEHIND = (
    "find / -xdev -name '*gte*' ! -path '/root/*' ! -path '/srv/wheels/*' ! -path '/proc/*' ! -path '/sys/*'"
)
# Installing what pip has to unpack and compile takes most of it.
BLOCK_SECONDS = 900.0
# A page's language, and the Debian that its commands are run on.
READERS = (("", "bookworm"), (".zh-CN", "trixie"))


@pytest.fixture(scope="module", params=READERS, ids=["en-bookworm", "zh-trixie"])
def reader(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, Path]:
    """The language's part of a page's name, a suite, and a layer with the checkout and what pip finds."""
    language, suite = request.param
    layer = tmp_path_factory.mktemp("pages-layer")
    (layer / "srv").mkdir()
    add_version(make_wheelhouse(layer / "srv/wheels", PYTHONS[suite]), NEW)
    copy_checkout(layer / CHECKOUT.lstrip("/"))
    (layer / "etc").mkdir()
    (layer / "etc/pip.conf").write_text("[global]\nno-index = true\nfind-links = /srv/wheels\n")
    return language, suite, layer


@pytest.fixture
def internet() -> Iterator[Machine]:
    with Machine() as machine:
        start_internet(machine)
        yield machine


@contextmanager
def fresh_host(reader: tuple[str, str, Path], internet: Machine) -> Iterator[Machine]:
    """A host as Debian leaves it, with the checkout, whose name the world resolves from now on."""
    _, suite, layer = reader
    with Machine(layer, suite=suite) as machine:
        machine.sh(f"echo '{machine.address} {NAME}' >>/etc/hosts")
        join_internet(machine, internet, NAME)
        # Where no terminal is, `certbot renew` waits up to eight minutes first.
        machine.sh("echo 'no-random-sleep-on-renew = true' >>/etc/letsencrypt/cli.ini")
        yield machine


def tried_blocks(page: str) -> list[Block]:
    """A page's blocks that are tried, in order."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    return [block for block in blocks(text) if not block.trial.reason]


def try_blocks(host: Machine, page: str, of_page: Sequence[Block]) -> None:
    """Run a page's blocks there as root, in the checkout. Raises HostError at the first command that fails, with the
    page's line."""
    for block in of_page:
        try:
            # A login's shell, as a person has it; no answer comes from a terminal.
            host.run("bash", "-l", "-c", _script(block), seconds=BLOCK_SECONDS)
        except HostError as error:
            raise HostError(f"{page}:{block.line}:\n{block.filled_in}\n{error}") from None


def _script(block: Block) -> str:
    trial, text = block.trial, block.filled_in
    if trial.file:
        return f"cat {'>>' if trial.is_appended else '>'}{trial.file} <<'END OF BLOCK'\n{text}END OF BLOCK\n"
    if trial.seconds:
        *before, last = text.splitlines()
        lines = [*before, f"status=0; timeout {trial.seconds} {last} || status=$?; test $status = 124"]
        text = "\n".join(lines)
    return f"cd {CHECKOUT}\nset -e -o pipefail\n{text}"


def assert_healthy(host: Machine) -> None:
    """No unit failed, and neither the doctor nor the certificate check has anything to say."""
    assert "0 loaded units" in host.sh("systemctl --failed")
    report = host.doctor()
    assert (report.exit_code, report.codes) == (0, []), report.stdout
    host.run("/usr/local/bin/gte-ops", "cert", "check")


def test_the_quickstart(reader: tuple[str, str, Path], internet: Machine) -> None:
    with fresh_host(reader, internet) as host:
        admit_backups(host, internet)
        page = f"docs/quickstart{reader[0]}.md"
        try_blocks(host, page, tried_blocks(page))
        assert_healthy(host)
        assert messages(internet)
        host.run("systemctl", "start", "gte-ops-backup.service")
        assert internet.sh("ls /var/backups/gte-ops"), "each backup is copied, too"


def test_upgrading(reader: tuple[str, str, Path], internet: Machine) -> None:
    quickstart, page = (f"docs/{name}{reader[0]}.md" for name in ("quickstart", "upgrade"))
    with fresh_host(reader, internet) as host:
        try_blocks(host, quickstart, tried_blocks(quickstart)[:3])
        try_blocks(host, page, tried_blocks(page))
        host.run("systemctl", "start", "gte-ops-backup.service")
        assert_healthy(host)
        assert {PRESENT, NEW}.issubset(host.sh("ls /opt/gte-api/versions").split())


def test_a_lost_host(reader: tuple[str, str, Path], internet: Machine) -> None:
    quickstart, page = (f"docs/{name}{reader[0]}.md" for name in ("quickstart", "recovery"))
    before, on_the_fresh_host, after = tried_blocks(page)
    identity = pyrage.x25519.Identity.generate()
    with fresh_host(reader, internet) as host:
        admit_backups(host, internet)
        try_blocks(host, quickstart, tried_blocks(quickstart)[:3])
        settings = f'\n[backup]\nrecipients = ["{identity.to_public()}"]\n'
        host.sh(f"echo '{settings}' >>/etc/gte-ops/gte-ops.toml")
        host.write("/root/identity.txt", f"{identity}\n")
        host.sh("chmod 600 /root/identity.txt")
        try_blocks(host, page, [before])
    with fresh_host(reader, internet) as host:
        kept = "/var/backups/gte-ops"
        for name in internet.sh(f"ls {kept}").split():
            content = internet.sh(f"base64 {kept}/{name}")
            host.write(f"/root/{name}.base64", content)
            host.sh(f"base64 -d /root/{name}.base64 >/root/{name}; rm /root/{name}.base64")
        host.write("/root/identity.txt", f"{identity}\n")
        try_blocks(host, page, [on_the_fresh_host, after])
        assert_healthy(host)
        host.sh(f"curl --silent --show-error --fail https://{NAME}/ready")


def test_the_readme_installing_and_uninstalling(reader: tuple[str, str, Path], internet: Machine) -> None:
    readme, quickstart, page, removal = (
        f"{name}{reader[0]}.md" for name in ("README", "docs/quickstart", "docs/install", "docs/uninstall")
    )
    *first, commands = tried_blocks(readme)
    install, service = tried_blocks(page)
    uninstall, purge, remove = tried_blocks(removal)
    (describe,) = (block for block in tried_blocks(quickstart) if "gte-ops.toml <<" in block.text)
    with fresh_host(reader, internet) as host:
        try_blocks(host, readme, first)
        try_blocks(host, quickstart, [describe])
        host.sh(f"mv /etc/gte-ops/gte-ops.toml {CHECKOUT}/")
        try_blocks(host, page, [install])
        assert_healthy(host)
        try_blocks(host, readme, [commands])
        assert_healthy(host)
        try_blocks(host, page, [service])
        assert host.show("gte-api", "ActiveState") == "inactive"
        host.write("/etc/gte-api/keys.json", "[]\n")
        try_blocks(host, removal, [uninstall])
        assert "0 loaded units" in host.sh("systemctl --failed")
        assert host.show("gte-api", "LoadState") == "not-found"
        assert host.sh("ls -d /etc/gte-api /var/backups/gte-ops /etc/letsencrypt/live/*")
        try_blocks(host, removal, [purge, remove])
        assert host.sh(LEFT_BEHIND).splitlines() == []
        assert "gte" not in host.sh("getent passwd; getent group")
        host.run("nginx", "-t")


def test_operating(reader: tuple[str, str, Path], internet: Machine) -> None:
    """Backups, certificates, the watchdog and restoring, on the host of the quickstart."""
    quickstart, backup, certificates, watchdog, restore = (
        f"docs/{name}{reader[0]}.md"
        for name in ("quickstart", "backup", "certificates", "watchdog", "restore")
    )
    commands, one_cycle, journal = tried_blocks(watchdog)
    with fresh_host(reader, internet) as host:
        try_blocks(host, quickstart, tried_blocks(quickstart)[:3])
        for page in (backup, certificates, restore):
            try_blocks(host, page, tried_blocks(page))
        try_blocks(host, watchdog, [commands, journal])
        host.run("systemctl", "stop", "gte-ops-watchdog")
        try_blocks(host, watchdog, [one_cycle])
        host.run("systemctl", "start", "gte-ops-watchdog")
        for unit in ("backup", "drill", "cert"):
            host.run("systemctl", "start", f"gte-ops-{unit}.service")
        assert_healthy(host)


def test_deploying_by_hand(reader: tuple[str, str, Path], internet: Machine) -> None:
    quickstart, page = (f"docs/{name}{reader[0]}.md" for name in ("quickstart", "deployment"))
    with fresh_host(reader, internet) as host:
        try_blocks(host, quickstart, tried_blocks(quickstart)[:2])
        try_blocks(host, page, tried_blocks(page))
        assert_healthy(host)
        host.run("certbot", "renew", "--dry-run")


def test_without_a_network(reader: tuple[str, str, Path], tmp_path: Path) -> None:
    quickstart, page = (f"docs/{name}{reader[0]}.md" for name in ("quickstart", "offline"))
    _, suite, layer = reader
    make, pair, install, upgrade, uninstall = tried_blocks(page)
    with Machine(layer, suite=suite) as host:
        try_blocks(host, page, [make])
        host.sh(
            f"cd {CHECKOUT} && cp /srv/wheels/gte_ops-{NEW}-*.whl wheelhouse && tar -cf wheelhouse-{NEW}.tar wheelhouse"
        )
        for name in ("wheelhouse.tar", "wheelhouse.tar.sha256", f"wheelhouse-{NEW}.tar"):
            host.copy_out(f"{CHECKOUT}/{name}", tmp_path)
    issued = (authority := Authority()).issue([NAME])
    with Machine(suite=suite) as host:
        host.sh(f"echo '{host.address} {NAME}' >>/etc/hosts; mkdir {CHECKOUT}")
        for file in sorted(tmp_path.iterdir()):
            host.copy_in(file, "/root")
        for path, content in (
            ("/etc/ssl/gte-api/fullchain.pem", issued.fullchain_pem),
            ("/etc/ssl/gte-api/privkey.pem", issued.key_pem),
            ("/etc/gte-ops/root.pem", authority.root.pem),
        ):
            host.write(path, content.decode())
        host.sh("chmod 600 /etc/ssl/gte-api/privkey.pem")
        try_blocks(
            host, quickstart, [block for block in tried_blocks(quickstart) if "gte-ops.toml <<" in block.text]
        )
        try_blocks(host, page, [pair, install])
        assert_healthy(host)
        try_blocks(host, page, [upgrade])
        assert_healthy(host)
        assert host.sh("readlink /opt/gte-api/venv").strip().endswith(NEW)
        try_blocks(host, page, [uninstall])
        assert host.show("gte-api", "LoadState") == "not-found"


def test_adopting(reader: tuple[str, str, Path], internet: Machine) -> None:
    page = f"docs/adopt{reader[0]}.md"
    adopt, undo = tried_blocks(page)
    with fresh_host(reader, internet) as host:
        set_up_by_the_guide(host)
        try_blocks(host, page, [adopt])
        assert_healthy(host)
        try_blocks(host, page, [undo])
        assert "0 loaded units" in host.sh("systemctl --failed")
        assert host.show("gte", "ActiveState") == "active"


def set_up_by_the_guide(host: Machine) -> None:
    """A service as people have it, with a unit, behind the guide's site, whose certificate certbot obtained."""
    for name, text in (("app.py", APPLICATION), ("gunicorn.conf.py", GUNICORN)):
        host.write(f"/root/build/{name}", text)
    host.write("/etc/systemd/system/gte.service", UNIT)
    live = f"/etc/letsencrypt/live/{NAME}"
    site = NginxSite(
        domain=NAME,
        public_url=f"https://{NAME}",
        certificate=f"{live}/fullchain.pem",
        private_key=f"{live}/privkey.pem",
        read_timeout="30s",
        max_body="50M",
    )
    host.write("/etc/nginx/conf.d/gte-api.conf", guide_site(site, ()))
    host.sh(
        "set -e; cd /root/build; python3 -m venv venv; venv/bin/pip --quiet install flask gunicorn;"
        " systemctl stop nginx;"
        f" certbot certonly --quiet --standalone -d {NAME} --email you@example.org --agree-tos;"
        " rm /etc/nginx/sites-enabled/default; nginx -t; systemctl start nginx; systemctl enable --now gte"
    )
