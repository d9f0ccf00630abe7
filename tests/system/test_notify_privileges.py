"""Messages are sent by a process without privileges: it reads what strangers answer."""

import ctypes
import datetime
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ops.notifications.message import MessageKind
from ops.notifications.worker import Letter, Report, Round
from ops.notifications.worker_client import send_round
from tests.system.conftest import ROOT, eventually
from tests.system.peer import peer, request_of
from tests.system.robot_endpoint import Endpoint, mail_server, robot_endpoint
from tests.system.test_notify_command import RUN

IS_ROOT = os.geteuid() == 0
LETTER = Letter(0, "title", "body", MessageKind.TEST)
_CAP_SETUID, _PR_CAPBSET_DROP = 7, 24  # linux/capability.h, linux/prctl.h


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with robot_endpoint() as running:
        yield running


def send(*urls: str, within: float = 15.0) -> list[Report]:
    reports: list[Report] = []
    routes = tuple(
        (url, (Letter(number, "title", "body", MessageKind.TEST),)) for number, url in enumerate(urls)
    )
    send_round(Round(routes, within), reports.append)
    return sorted(reports, key=lambda report: report.number)


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def command_of(child: psutil.Process) -> list[str]:
    """Empty for one that has ended: another test's may just be waiting to be reaped."""
    try:
        return child.cmdline()
    except psutil.Error:
        return []


def test_who_speaks_to_a_peer_is_nobody(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GTE_BACKUP_PASSPHRASE", "only-for-the-parent")
    work = Round(((f"dingtalk://hang1?endpoint={endpoint.url}", (LETTER,)),), 20.0)
    reports: list[Report] = []
    thread = threading.Thread(target=send_round, args=(work, reports.append))
    thread.start()
    eventually(lambda: endpoint.posts, within=20)
    (sender,) = [
        child for child in psutil.Process().children() if "ops.notifications.worker" in command_of(child)
    ]
    status, environment = status_of(sender.pid), Path(f"/proc/{sender.pid}/environ").read_bytes()
    endpoint.over.set()
    thread.join(30)
    uids, groups = set(status["Uid"].split()), set(status["Gid"].split() + status["Groups"].split())
    assert status["NoNewPrivs"] == "1"
    assert b"only-for-the-parent" not in environment
    assert b"hang1" not in environment + " ".join(status).encode()
    if IS_ROOT:
        assert "0" not in uids | groups
        assert len(uids) == len(groups) == 1
        assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapAmb")} == {0}
    else:
        assert uids == {str(os.getuid())}


def test_neither_passwords_nor_plug_ins_of_roots_home_are_used(tmp_path: Path, endpoint: Endpoint) -> None:
    """Requests sends what ~/.netrc has for a host (still, for who is not root); ~/.apprise is Apprise's command's."""
    home = tmp_path / "home"
    told = tmp_path / "loaded"
    for place in (".apprise/plugins", ".config/apprise/plugins"):
        (home / place).mkdir(parents=True)
        (home / place / "own.py").write_text(f"open({str(told)!r}, 'w')\n")
    (home / ".netrc").write_text("machine 127.0.0.1 login admin password of-root\n")
    (home / ".netrc").chmod(0o600)
    done = notify_test(tmp_path, [f"wecombot://fine1?endpoint={endpoint.url}"], HOME=str(home))
    assert (done.returncode, done.stderr) == (0, "")
    assert ("Authorization" in endpoint.posts[0].headers) == (not IS_ROOT)
    assert not told.exists()


def test_where_root_cannot_be_given_up_nothing_is_sent(tmp_path: Path, endpoint: Endpoint) -> None:
    """As root of a unit without CAP_SETUID; who is not root has nothing to give up."""
    libc = ctypes.CDLL(None)

    def drop() -> None:
        if IS_ROOT:
            libc.prctl(_PR_CAPBSET_DROP, _CAP_SETUID, 0, 0, 0)

    done = notify_test(tmp_path, [f"wecombot://fine1?endpoint={endpoint.url}"], preexec_fn=drop)
    assert done.returncode == (2 if IS_ROOT else 0)
    assert ("cannot give up root (Operation not permitted); it needs CAP_SETUID" in done.stdout) == IS_ROOT
    assert len(endpoint.posts) == (0 if IS_ROOT else 1)


def notify_test(
    tmp_path: Path,
    urls: list[str],
    python: str = sys.executable,
    preexec_fn: Callable[[], Any] | None = None,
    ca_file: str = "",
    **environment: str,
) -> "subprocess.CompletedProcess[str]":
    config = tmp_path / "gte-ops.toml"
    trusted = f"ca_file = {json.dumps(ca_file)}\n" if ca_file else ""
    config.write_text(f"[notify]\nurls = {json.dumps(urls)}\n{trusted}", encoding="utf-8")
    return subprocess.run(
        [python, "-P", "-c", RUN, "test", "--config", str(config), "--lang", "en"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8", **environment},
        cwd=tmp_path,
        preexec_fn=preexec_fn,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def closed_installation(tmp_path: Path) -> tuple[str, str]:
    """Python with gte-ops and its packages in a directory that only its owner may enter, as in /root: interpreter,
    and where the toolkit is."""
    closed = tmp_path / "closed"
    packages = closed / "venv/lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    (closed / "venv/bin").mkdir(parents=True)
    packages.mkdir(parents=True)
    python = closed / "venv/bin/python"
    python.symlink_to(Path(sys.executable).resolve())
    home = Path(sys.executable).resolve().parent
    (closed / "venv/pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = false\n")
    (packages / "site-packages").symlink_to(sysconfig.get_path("purelib"))
    shutil.copytree(ROOT / "ops", closed / "source/ops", ignore=shutil.ignore_patterns("__pycache__"))
    closed.chmod(0o700)
    return str(python), str(closed / "source")


class Authority:
    """A certificate for 127.0.0.1 that is its own authority."""

    def __init__(self, directory: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "relay")])
        now = datetime.datetime.now(datetime.UTC)
        alternatives = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(alternatives, critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        directory.mkdir()
        self.path = directory / "authorities.pem"
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        keys = directory / "key.pem"
        keys.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(self.path, keys)
        directory.chmod(0o700)


def accepting(sock: socket.socket) -> None:
    request_of(sock)
    sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\n{"errcode":0}')


def test_packages_and_certificates_that_only_root_can_read_are_of_use(
    tmp_path: Path, endpoint: Endpoint, closed_installation: tuple[str, str]
) -> None:
    python, source = closed_installation
    authority = Authority(tmp_path / "authority")
    with peer(accepting, authority.tls) as address:
        port = address.rpartition(":")[2]
        done = notify_test(
            tmp_path,
            [
                f"dingtalk://fine1?endpoint={endpoint.url}",
                f"json://127.0.0.1:{endpoint.url.rpartition(':')[2]}/fine2",
                f"wecombot://fine3?endpoint=https://localhost:{port}",
                f"jsons://localhost:{port}/fine4",
            ],
            python,
            PYTHONPATH=source,
            REQUESTS_CA_BUNDLE=str(authority.path),
        )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "All 4 accepted" in done.stdout


def test_an_unknown_authority_is_still_unknown(tmp_path: Path, closed_installation: tuple[str, str]) -> None:
    python, source = closed_installation
    authority = Authority(tmp_path / "authority")
    with peer(accepting, authority.tls) as address:
        url = f"wecombot://fine1?endpoint=https://localhost:{address.rpartition(':')[2]}"
        done = notify_test(tmp_path, [url], python, PYTHONPATH=source)
    assert done.returncode == 2
    assert "its certificate is not trusted here" in done.stdout


def test_mail_is_sent_with_certificates_that_only_root_can_read(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    said: list[bytes] = []
    with peer(mail_server(said), authority.tls) as address:
        port = address.rpartition(":")[2]
        url = f"mailtos://localhost:{port}?smtp=localhost&mode=ssl&from=a@example.com&to=b@example.com"
        refused = notify_test(tmp_path, [url])
        accepted = notify_test(tmp_path, [url], SSL_CERT_FILE=str(authority.path))
    assert (refused.returncode, accepted.returncode) == (2, 0), refused.stdout + accepted.stdout
    assert any(line.upper().startswith(b"RCPT TO") for line in said)


@pytest.mark.parametrize("trusted_by", ["SSL_CERT_FILE", "notify.ca_file"])
def test_a_robot_and_mail_behind_an_authority_of_ones_own_are_trusted(
    tmp_path: Path, trusted_by: str
) -> None:
    authority = Authority(tmp_path / "authority")
    said: list[bytes] = []
    with peer(accepting, authority.tls) as robot, peer(mail_server(said), authority.tls) as mail:
        ports = [address.rpartition(":")[2] for address in (robot, mail)]
        urls = [
            f"wecombot://fine1?endpoint=https://localhost:{ports[0]}",
            f"mailtos://localhost:{ports[1]}?smtp=localhost&mode=ssl&from=a@example.com&to=b@example.com",
        ]
        if trusted_by == "SSL_CERT_FILE":
            done = notify_test(tmp_path, urls, SSL_CERT_FILE=str(authority.path))
        else:
            done = notify_test(tmp_path, urls, ca_file=str(authority.path))
    assert done.returncode == 0, done.stdout


def test_certificates_that_are_not_there_are_said_in_one_verdict(tmp_path: Path) -> None:
    done = notify_test(
        tmp_path,
        ["wecombot://fine1?endpoint=https://localhost:1"],
        REQUESTS_CA_BUNDLE=str(tmp_path / "none.pem"),
    )
    assert done.returncode == 2
    assert "the certificates that REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names are not there" in done.stdout


LATE_IMPORTS = """
import sys
from ops.notifications import proxy_bypass, sandbox
from ops.notifications.plugin import register
from ops.notifications.worker import Letter, Round, send_all
urls = sys.argv[1:]
proxy_bypass.install()
register()
sandbox.enter(urls)

class Finder:
    asked = []

    @classmethod
    def find_spec(cls, name, *_):
        cls.asked.append(name)

sys.meta_path.insert(0, Finder)
reports = []
send_all(Round(tuple((url, (Letter(0, "t", "服务", "page"),)) for url in urls), 20.0), reports.append)
print(len(reports), *Finder.asked)
"""


def test_nothing_is_imported_after_root_is_given_up(endpoint: Endpoint) -> None:
    port = endpoint.url.rpartition(":")[2]
    urls = [
        f"dingtalk://SECRET@fine1?endpoint={endpoint.url}",
        f"feishu://SECRET@page2?endpoint={endpoint.url}",
        "wecombot://fine3?endpoint=https://nobody.invalid",
        f"lark://fine4?endpoint=https://localhost:{port}",
        f"json://user:word@127.0.0.1:{port}/page5",
        f"xml://127.0.0.1:{port}/status500",
        f"form://127.0.0.1:{port}/fine7",
        f"gotify://127.0.0.1:{port}/TokenToken",
        f"ntfy://127.0.0.1:{port}/topic",
        "mailtos://user:word@localhost:1?smtp=127.0.0.1&from=a@example.com&to=b@example.com",
    ]
    with peer(mail_server([])) as address:
        host, _, mail_port = address.rpartition(":")
        urls.append(
            f"mailto://localhost:{mail_port}?smtp={host}&mode=insecure&from=a@example.com&to=b@example.com"
        )
        done = subprocess.run(
            [sys.executable, "-P", "-c", LATE_IMPORTS, *urls],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.stdout.split() == [str(len(urls))], done.stdout + done.stderr


@pytest.fixture
def lying_sender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the process that sends, one that a peer has taken over."""
    verdict = {
        "outcome": "failed",
        "reason": {"en": "a\x1b[31mb\n" + "x" * 5000, "zh": "令牌\u202e"},
        "retry_after": 1e300,
    }
    lines = [{"number": number, "verdict": verdict, "seconds": -1.0} for number in (0, 0, 7, -1)]
    output = tmp_path / "output"
    output.write_text("".join(json.dumps(line) + "\n" for line in lines) + "noise\n")
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\nexec cat {output}\n")
    script.chmod(0o755)
    monkeypatch.setattr("ops.notifications.worker_client.sys.executable", str(script))


@pytest.mark.usefixtures("lying_sender")
def test_what_the_process_says_is_not_believed_beyond_its_letters() -> None:
    (report,) = send("json://127.0.0.1:1/x")
    assert (report.number, report.seconds, report.verdict.retry_after) == (0, 0.0, 3600.0)
    assert report.verdict.reason.en.startswith("ab x")
    assert len(report.verdict.reason.en) <= 400
    assert "\u202e" not in report.verdict.reason.zh
