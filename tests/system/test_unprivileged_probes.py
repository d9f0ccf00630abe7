"""What peers send is parsed by a process that is not root, and the doctor sees the same."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from ops.collect.net import probes
from ops.collect.net.prober import Prober, _may_everybody_read
from ops.facts.base import NotSeen
from ops.facts.probes import Front
from ops.files.unprivileged import unprivileged_account
from tests.lab.authority import self_signed
from tests.lab.faults import CASES
from tests.lab.stack import Stack
from tests.lab.trial import broken
from tests.lab.waiting import wait_for
from tests.system.peer import peer, says
from tests.unit.made_snapshot import TARGET

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to give up")
FAULTS = [next(c for c in CASES if c.name == name) for name in ("gunicorn_is_killed", "certificate_expired")]


def shape(report: dict[str, object]) -> dict[str, object]:
    """What does not change from run to run."""
    checks = [(c["id"], c["status"]) for c in report["checks"]]  # type: ignore[attr-defined]
    causes = [(c["code"], c["severity"], c["explains"]) for c in report["causes"]]  # type: ignore[attr-defined]
    symptoms = [s["id"] for s in report["symptoms"]]  # type: ignore[attr-defined]
    return {"status": report["status"], "checks": checks, "causes": causes, "symptoms": symptoms}


@as_root
@pytest.mark.parametrize("case", FAULTS, ids=lambda case: case.name)
def test_a_fault_is_seen_as_root_would_see_it(case: object) -> None:
    with broken(case) as stack:  # type: ignore[arg-type]
        assert shape(stack.doctor("--unprivileged-probes").report) == shape(stack.doctor().report)


@as_root
def test_a_healthy_host_is_seen_as_root_would_see_it_over_a_unix_socket_too() -> None:
    with Stack(unix_socket=True) as stack:
        assert shape(stack.doctor("--unprivileged-probes").report) == shape(stack.doctor().report)


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@as_root
def test_who_dials_and_parses_is_not_root_and_ends_with_its_parent(silent: socket.socket) -> None:
    address = f"127.0.0.1:{silent.getsockname()[1]}"
    program = f"""
import sys, threading
from ops.collect.net.prober import Prober, _may_everybody_read
from ops.files.unprivileged import unprivileged_account
import time
prober = Prober(unprivileged_account(), time.monotonic() + 60)
threading.Thread(target=lambda: prober.ask("served", words=({address!r}, "x", None), deadline=time.monotonic() + 60),
                 daemon=True).start()
print(prober._pid, flush=True)
sys.stdin.read()
"""
    started = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert started.stdin is not None
    assert started.stdout is not None
    child = psutil.Process(int(started.stdout.readline()))
    silent.settimeout(20)
    accepted, _ = silent.accept()
    with accepted:
        dialling = [c.laddr.port for c in child.net_connections("tcp") if c.raddr]
        assert dialling == [accepted.getpeername()[1]]
        status = Path(f"/proc/{child.pid}/status").read_text()
        facts = dict(line.split(":", 1) for line in status.splitlines())
        assert "0" not in facts["Uid"].split() + facts["Gid"].split() + facts["Groups"].split()
        assert int(facts["CapEff"], 16) == 0
        started.kill()
        started.wait()
        wait_for(lambda: not child.is_running() or child.status() == "zombie", "the child to end")


PAGE = """{"status": "北京", "note": "password=hunter2 https://user:hunter2@gte.example",
"html": "<input name='token' value='hunter2'>", "command": "mysql -phunter2 --password hunter2"}""".encode(
    "gbk"
)


@as_root
def test_nothing_is_imported_once_privileges_are_given_up(tmp_path: Path) -> None:
    """Python and the package may lie where the child cannot read."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=gbk\r\nContent-Length: %d\r\n\r\n"
    record = tmp_path / "imports"
    program = """
import os, sys, time
import msgspec
from ops.collect.net.prober import Prober
from ops.facts.base import NotSeen
from ops.facts.target import Target
from ops.files.unprivileged import unprivileged_account

record = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
def hook(event, arguments):
    path = str(arguments[0]) if event in ("import", "open") else ""
    code = event == "import" or path.startswith((sys.base_prefix, sys.prefix, os.getcwd()))
    if path and code and os.geteuid():
        os.write(record, f"{event} {path}\\n".encode())
sys.addaudithook(hook)
target = msgspec.json.decode(sys.argv[2], type=Target)
secure = sys.argv[3]
until = time.monotonic() + 20
prober = Prober(unprivileged_account(), until)
plain = target.connect_to
results = [
    prober.ask("front", target=target),
    prober.ask("front", target=msgspec.structs.replace(target, url="https://gte.example", connect_to=secure)),
    prober.ask("backend", target=target, repeat=True),
    prober.ask("upstreams", target=target),
    prober.ask("served", words=(secure, "gte.example", None), deadline=until),
    prober.ask("old_tls", words=(secure, "gte.example"), deadline=until),
    prober.ask("other_door", words=(secure, "gte.example", None, "ECDSA"), deadline=until),
    prober.ask("other_door", words=(secure, "gte.example", None, ""), deadline=until),
    prober.ask("resolve", words=("bücher.localhost", "127.0.0.1:1"), deadline=time.monotonic() + 1),
    prober.ask("host_names", words=("localhost",)),
]
prober.close()
sys.stdout.buffer.write(msgspec.json.encode(results))
"""
    issued = self_signed(["gte.example"])
    (tmp_path / "pair.pem").write_bytes(issued.pem + issued.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")
    page = says(head % len(PAGE) + PAGE)
    with peer(page) as plain, peer(page, tls=context) as secure:
        target = msgspec.structs.replace(
            TARGET,
            url="http://gte.example",
            connect_to=plain,
            plain_connect_to=plain,
            backend=plain,
            upstreams=(plain,),
        )
        command = [sys.executable, "-c", program, str(record), msgspec.json.encode(target).decode(), secure]
        output = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert record.read_text() == ""
    assert output.count("北京") >= 6
    assert "hunter2" not in output
    assert "the probe failed" not in output


@as_root
def test_a_cut_ends_what_the_other_process_waits_for(silent: socket.socket) -> None:
    account = unprivileged_account()
    assert account is not None
    prober = Prober(account, time.monotonic() + 60)
    try:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        target = msgspec.structs.replace(TARGET, connect_to=address, plain_connect_to=address)
        results: list[object] = []
        asking = threading.Thread(target=lambda: results.append(prober.ask("front", target=target)))
        asking.start()
        silent.settimeout(20)
        accepted, _ = silent.accept()
        prober.patience.cut("the test has seen enough")
        asking.join(20)
        accepted.close()
        (front,) = results
        assert isinstance(front, Front)
        assert "the test has seen enough" in str(front)
    finally:
        prober.close()


@as_root
def test_a_child_that_is_gone_is_said_and_not_waited_for() -> None:
    account = unprivileged_account()
    assert account is not None
    prober = Prober(account, time.monotonic() + 60)
    psutil.Process(prober._pid).kill()
    answer = prober.ask("old_tls", words=("127.0.0.1:1", "x"), deadline=time.monotonic() + 5)
    assert isinstance(answer, NotSeen)
    assert "did not answer" in answer.reason
    prober.close()


@pytest.mark.parametrize(("spoiled", "mode"), [("ca.pem", 0o600), (".", 0o700), (None, 0)])
def test_a_root_that_only_root_reads_is_read_by_root(spoiled: str | None, mode: int) -> None:
    directory = Path(tempfile.mkdtemp(dir="/var/tmp"))  # pytest's own is root's alone
    try:
        (directory / "ca.pem").write_text("")
        (directory / "ca.pem").chmod(0o644)
        directory.chmod(0o755)
        if spoiled:
            (directory / spoiled).chmod(mode)
        assert _may_everybody_read(str(directory / "ca.pem")) is (spoiled is None)
    finally:
        shutil.rmtree(directory)


def test_every_probe_has_a_type_of_its_result() -> None:
    words = {"other_door": ("127.0.0.1:1", "x", None, "")}
    for what in probes.RESULTS:
        asked = probes.ProbeRequest(
            number=1, what=what, target=None, words=words.get(what, ("127.0.0.1:1", "x", None))
        )
        answer = probes.probe(asked, probes.Probes(time.monotonic() + 0.5).patience)
        msgspec.json.decode(msgspec.json.encode(answer), type=probes.RESULTS[what])
