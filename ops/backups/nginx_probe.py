"""Whether nginx serves the files on disk: its TLS sites, their leaves, its reload, the health behind it."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ops.collect.net.connection import Deadline
from ops.collect.net.http_probe import exchange
from ops.collect.net.tls import served_certificate
from ops.control.signals import is_alive, send
from ops.errors import OpsError
from ops.facts.base import NotSeen
from ops.facts.nginx import NginxConfig
from ops.facts.probes import Exchange
from ops.facts.target import Target
from ops.files.bounded_read import read_regular_file
from ops.interpret.address import join_address
from ops.interpret.nginx import Server, chosen_server, parse_listen, servers
from ops.interpret.process_ref import ProcessRef
from ops.interpret.x509 import certificate_from_der, pem_blocks

MAX_CERTIFICATE_BYTES = 1 << 20
HANDSHAKE_SECONDS = 3.0
HEALTH_SECONDS = 5.0
READY_SECONDS = 2.0
ASK_AGAIN = 0.1
# nginx tries a taken port five times, half a second apart, before it logs this (ngx_open_listening_sockets).
_STILL = "still could not bind()"
# What gunicorn answers to a request that it cannot parse, and nginx to one that it cannot hand on. A service that is
# busy, loads its models or has no such path answers something else, and that is no fault of nginx's files.
_NOT_HANDED_ON = (400, 502, 504)


@dataclass(frozen=True)
class ProbedSite:
    """One name that nginx serves by TLS. ``address``: where to connect; ``certificates``: the files of which it
    presents one."""

    name: str
    address: str
    certificates: tuple[str, ...]


def tls_sites(config: NginxConfig) -> Iterator[ProbedSite]:
    """One site for each server block with a certificate and a name of its own."""
    everyone = servers(config)
    for server in everyone:
        if server.value("ssl_reject_handshake") == "on":
            continue
        files = tuple(
            str(PurePosixPath(config.file).parent / d.args[0])
            for d in server.effective("ssl_certificate")
            if d.args and not d.args[0].startswith("data:") and "$" not in d.args[0]
        )
        for address, name in _doors(server):
            host, port = address
            if files and chosen_server(everyone, host, port, name) is server:
                yield ProbedSite(name, join_address("127.0.0.1" if host == "*" else host, port), files)
                break


def _doors(server: Server) -> Iterator[tuple[tuple[str, int], str]]:
    on = any(d.args == ("on",) for d in server.own("ssl"))
    for directive in server.own("listen"):
        listen = parse_listen(directive.args) if directive.args else None
        # With proxy_protocol nginx expects another protocol; quic is not TCP.
        other = {"proxy_protocol", "quic", "udp"} & set(directive.args)
        if listen is None or not listen.port or other or not (listen.ssl or on):
            continue
        for name in server.names:
            if name.startswith(("*.", ".")):
                yield (listen.host, listen.port), f"gte-ops-check.{name.lstrip('*.')}"
            elif name not in ("", "_") and not name.startswith("~") and "*" not in name:
                yield (listen.host, listen.port), name


def leaf_fingerprint(path: str) -> str:
    """SHA-256, in hex, of the first certificate in a file. Raises OSError, ValueError."""
    for der in pem_blocks(read_regular_file(path, MAX_CERTIFICATE_BYTES).content):
        return certificate_from_der(der).fingerprint
    raise ValueError(f"{path}: there is no certificate in it")


def leaf_problem(site: ProbedSite, deadline: float, *, is_settled: bool = False) -> str | None:
    """Why ``site`` does not present the leaf on disk, None if it does; tried until ``deadline`` (monotonic).
    ``is_settled``: nginx is not being reloaded, so that one answer tells, and has all of the time."""
    try:
        fingerprints = {leaf_fingerprint(path) for path in site.certificates}
    except (OSError, ValueError) as error:
        return f"{site.name}: the certificate on disk cannot be read: {error}"
    while True:
        soon = deadline if is_settled else min(deadline, time.monotonic() + HANDSHAKE_SECONDS)
        served = served_certificate(site.address, site.name, None, soon)
        if not isinstance(served, NotSeen) and served.chain[0].fingerprint in fingerprints:
            return None
        is_answer = not isinstance(served, NotSeen)
        if (is_settled and is_answer) or time.monotonic() + ASK_AGAIN > deadline:
            break
        time.sleep(ASK_AGAIN)
    if isinstance(served, NotSeen):
        return f"{site.name}: {served.reason}"
    return (
        f"{site.name}: {site.address} serves the certificate {served.chain[0].fingerprint[:16]}…,"
        f" and {site.certificates[0]} holds {min(fingerprints)[:16]}…"
    )


def health_problem(target: Target, deadline: float) -> str | None:
    """Why the service does not answer through nginx, None if it does: 200 at its health path, and its own answer,
    whichever, at its ready path, for nginx may answer the health path itself."""
    while True:
        problem = _problem_now(target, deadline)
        if problem is None or time.monotonic() + ASK_AGAIN > deadline:
            return problem
        time.sleep(ASK_AGAIN)


def _problem_now(target: Target, deadline: float) -> str | None:
    health = _asked(target, target.health_path, min(deadline, time.monotonic() + HEALTH_SECONDS))
    if health.status != 200:
        said = health.detail if health.status is None else f"answers {health.status}"
        return f"{health.url}: {said}"
    ready = _asked(target, target.ready_path, min(deadline, time.monotonic() + READY_SECONDS))
    return f"{ready.url}: answers {ready.status}" if ready.status in _NOT_HANDED_ON else None


def _asked(target: Target, path: str, deadline: float) -> Exchange:
    url = target.url.rstrip("/") + path
    return exchange("GET", url, target.connect_to or "", Deadline(deadline), server_name=target.domain)


class ReloadError(OpsError):
    """nginx did not start to use its new configuration."""


def reload_nginx(masters: Sequence[ProcessRef], error_logs: Iterable[str], deadline: float) -> None:
    """SIGHUP to each master, until it has new workers (nginx documentation, Controlling nginx).

    Raises ReloadError if none appear by ``deadline``, with the error log's line; NotAllowedError."""
    logs = [(Path(path), _size(path)) for path in error_logs]
    before = {master: _workers(master) for master in masters}
    for master in masters:
        send(master, signal.SIGHUP)
    for master, old in before.items():
        while not _workers(master) - old:
            if not is_alive(master):
                raise ReloadError(f"nginx (process {master.pid}) ended at its reload{_said(logs)}")
            complaint = _said(logs)
            if complaint or time.monotonic() > deadline:
                raise ReloadError(f"nginx kept its old configuration at the reload{complaint}")
            time.sleep(0.02)


def _workers(master: ProcessRef) -> set[int]:
    import psutil

    try:
        children = psutil.Process(master.pid).children()
    except psutil.Error:
        return set()
    workers = set()
    for child in children:
        try:
            if "shutting down" not in " ".join(child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                workers.add(child.pid)
        except psutil.Error:
            continue
    return workers


def emergency(line: str) -> str:
    """The text after [emerg] in a line of nginx's log, without the process's number; empty if there is none."""
    return re.sub(r"^\d+#\d+: ", "", line.partition("[emerg]")[2].strip())


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def _said(logs: Iterable[tuple[Path, int]]) -> str:
    """The first [emerg] line since then, after a colon, once nginx has given up."""
    for path, size in logs:
        try:
            with path.open("rb") as file:
                file.seek(size)
                lines = file.read(1 << 16).decode(errors="replace").splitlines()
        except OSError:
            continue
        errors = [emergency(line) for line in lines if "[emerg]" in line]
        if errors and (_STILL in errors[-1] or "bind()" not in errors[0]):
            return f": {errors[0]}"
    return ""
