"""One target for each parser: bytes in, nothing out; whatever it raises is a defect.

A target does with the bytes what the doctor does with a file, an answer or a bundle: reads them, judges what was read,
and shows it. Only the parser's own refusal (BundleError, ArchiveError, ManifestError, ValueError where it is promised)
is caught."""

from __future__ import annotations

import copy
import io
import itertools
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from ops.archive import manifest as manifests
from ops.archive.error import ArchiveError
from ops.archive.name import host_part, parse_name
from ops.archive.reading import open_archive
from ops.collect.host.schedule import parse_cron_line, parse_unit
from ops.collect.logs.service_logs import read_logs
from ops.collect.net.connection import Deadline
from ops.collect.net.http_probe import exchange
from ops.collect.services.certbot import parse_certbot_log, parse_renewal_conf
from ops.collect.services.certificate_files import key_file, pem_file
from ops.collect.services.gunicorn import read_config, read_progress
from ops.collect.services.nginx import parse_build, parse_config, read_pidfile
from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import diagnose
from ops.facts.bundle import BundleError, read_bundle
from ops.facts.certificates import Certificates, PemFile
from ops.facts.nginx import NginxConfig
from ops.facts.snapshot import Snapshot, from_json, to_json
from ops.facts.target import Target
from ops.interpret import logrotate
from ops.interpret.redaction import redacted
from ops.interpret.site import SiteReading, find_site, public_name
from ops.report import FORMATS, render
from ops.report.doctor.report import DoctorReport
from tests.unit.made_snapshot import HEALTHY, NOW, but

Parse = Callable[[bytes], None]
TARGETS: dict[str, Parse] = {}


def target(parse: Parse) -> Parse:
    """Registers a target by its function's name."""
    TARGETS[parse.__name__] = parse
    return parse


@cache
def room() -> Path:
    """A directory for the file under test; one for each process."""
    kept = tempfile.TemporaryDirectory(prefix="gte-ops-fuzz-")
    _ROOMS.append(kept)
    return Path(kept.name)


_ROOMS: list[tempfile.TemporaryDirectory[str]] = []


def written(name: str, content: bytes) -> str:
    """The path of a file with this content."""
    path = room() / name
    path.write_bytes(content)
    return str(path)


# Judging takes twenty times as long as reading: the long run judges the first of so many snapshots.
JUDGE_ONE_OF = 1
_read = itertools.count()


def judged(make: Callable[[], Snapshot]) -> None:
    """The snapshot travels, and no judge stumbles over it."""
    if next(_read) % JUDGE_ONE_OF:
        return
    snapshot = make()
    assert to_json(from_json(to_json(snapshot))) == to_json(snapshot)
    failed = [f"{r.id}: {r.summary}" for r in diagnose(snapshot, CHECKS).checks if r.status == "error"]
    assert failed == []


def one_line(error: Exception) -> None:
    """A refusal is told in one line."""
    assert "\n" not in str(error)


@target
def nginx_configuration(content: bytes) -> None:
    """The main file includes itself and its neighbours, where the content says so."""
    found = parse_config(written("nginx.conf", content), str(room()), None, "1.22.1")
    if isinstance(found, NginxConfig):
        site = find_site(found, "gte-api.example.com", "127.0.0.1:8000")
        reading = SiteReading(found, {}, site)
        reading.upstreams()
        reading.error_logs()
        reading.front(443, ssl=True)
        if site is not None:
            public_name(site.server)
            for path in ("/", "/predict", "/health"):
                site.server.location_for(path)
    judged(lambda: but(nginx_config=found))


@target
def nginx_build(content: bytes) -> None:
    """What `nginx -V` printed."""
    parse_build(content.decode(errors="replace"))


def _logs(content: bytes) -> None:
    path = written("some.log", content)
    assert isinstance(HEALTHY.target, Target)
    named = msgspec.structs.replace(
        HEALTHY.target,
        nginx_error_logs=(path,),
        nginx_access_log=path,
        gunicorn_error_log=path,
        gunicorn_access_log=path,
    )
    logs = read_logs(named, NOW - 900, NOW)
    judged(lambda: redacted(but(logs=logs)))


@target
def logs(content: bytes) -> None:
    """The same bytes as nginx's and gunicorn's error log and access log."""
    _logs(content)


@target
def recent_log_lines(content: bytes) -> None:
    """Each line behind a time inside the window, as all four logs write it."""
    stamps = (
        b"2026/11/22 10:59:00 [error] 7#7: ",
        b"[2026-11-22 10:59:00 +0000] [7] [ERROR] ",
        b'{"time": 1795344000, ',
    )
    lines = content.split(b"\n")
    _logs(b"\n".join(stamp + line for stamp, line in zip(itertools.cycle(stamps), lines, strict=False)))


@target
def gunicorn_configuration(content: bytes) -> None:
    """gunicorn.conf.py, read and never run."""
    found = read_config(written("gunicorn.conf.py", content))
    judged(lambda: but(gunicorn__config=found))


@target
def progress_record(content: bytes) -> None:
    """A worker's own account, and a pidfile."""
    directory = room() / "progress"
    directory.mkdir(exist_ok=True)
    (directory / "1.json").write_bytes(content)
    read_progress(str(directory))
    read_pidfile(written("x.pid", content))


@target
def pem(content: bytes) -> None:
    """The same bytes as a certificate's file and as a key's."""
    path = written("x.pem", content)
    leaf, key = pem_file(path), key_file(path)
    nearby = (leaf,) if isinstance(leaf, PemFile) else ()
    judged(lambda: but(certificates=Certificates(leaf=leaf, key=key, nearby=nearby)))


@cache
def _peer() -> tuple[str, list[bytes]]:
    """A listener on loopback that answers every connection with what lies in the list, and closes."""
    listener = socket.create_server(("127.0.0.1", 0))
    answer: list[bytes] = []

    def serve() -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(5)
                try:
                    connection.recv(65536)
                    connection.sendall(answer[0])
                except OSError:  # it had enough
                    pass

    threading.Thread(target=serve, daemon=True).start()
    return f"127.0.0.1:{listener.getsockname()[1]}", answer


@target
def http_answer(content: bytes) -> None:
    """What a peer sends for an answer, whole."""
    address, answer = _peer()
    answer[:] = [content]
    got = exchange("GET", "http://gte-api.example.com/health", address, Deadline(time.monotonic() + 20))
    got.json()
    judged(lambda: but(front__health=got, front__predict=got, backend__health=got, backend__predict=got))


def _shown(snapshot: Snapshot) -> None:
    if next(_read) % JUDGE_ONE_OF:
        return
    diagnosis = diagnose(snapshot, CHECKS)
    for form in FORMATS:
        for language in ("en", "zh"):
            page = io.StringIO()
            render(form, DoctorReport(diagnosis), language, page, False)
            text = page.getvalue()
            text.encode()
            assert "\x1b" not in text


@target
def bundle(content: bytes) -> None:
    """A file given to --from-bundle."""
    try:
        found = read_bundle(Path(written("bundle.json", content)))
    except BundleError as error:
        one_line(error)
        return
    _shown(found.snapshot)


Place = tuple[Any, Any]


def _places(value: Any) -> list[Place]:
    """Every container and key below ``value``, in order."""
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    found = []
    for key in keys:
        found.append((value, key))
        found += _places(value[key])
    return found


_WORDS: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1 << 62,
    -1e300,
    1e300,
    "",
    "\x1b[31m",
    "\ufffd",
    "²",
    "a" * 5000,
    [],
    {},
    "/",
    "$x",
    "unix:",
)


@target
def changed_bundle(content: bytes) -> None:
    """A bundle of a healthy host in which some values were exchanged: four bytes each say where, and for what."""
    plain = msgspec.to_builtins(HEALTHY)
    pristine = _places(msgspec.to_builtins(HEALTHY))
    for at in range(0, min(len(content), 40) - 3, 4):
        places = _places(plain)
        container, key = places[int.from_bytes(content[at : at + 2], "big") % len(places)]
        choice = content[at + 2]
        container[key] = (
            _WORDS[choice % len(_WORDS)]
            if choice < 128
            else copy.deepcopy(pristine[int.from_bytes(content[at + 2 : at + 4], "big") % len(pristine)][0])
        )
    bundle(msgspec.json.encode({"bundle_version": 1, "made_by": "x", "snapshot": plain}))


@target
def manifest(content: bytes) -> None:
    """The manifest of a backup."""
    try:
        found = manifests.decode(content)
    except manifests.ManifestError as error:
        one_line(error)
        return
    list(manifests.loose_links(found.entries))


@target
def archive(content: bytes) -> None:
    """A backup's file."""
    try:
        with open_archive(Path(written("backup", content))) as opened:
            for member in opened.members():
                for _ in member.chunks():
                    pass
    except ArchiveError as error:
        one_line(error)


@target
def archive_name(content: bytes) -> None:
    """A file's name in the directory of backups."""
    name = content.decode("utf-8", "surrogateescape")
    found = parse_name(name)
    assert found is None or str(found).split("-") == name.split("-")
    assert parse_name(f"gte-ops-{host_part(name)}-20261122T224500Z.tar.zst") is not None


@target
def schedules(content: bytes) -> None:
    """A crontab, a systemd unit, logrotate's rules, certbot's log and its renewal configuration."""
    text = content.decode("utf-8", "replace")
    for number, line in enumerate(text.splitlines(), 1):
        parse_cron_line(line, "/etc/crontab", number, False)
    list(parse_unit(text))
    for rule in logrotate.parse(text, "/etc/logrotate.d/x", {}).rules:
        logrotate.covers(rule, "/var/log/nginx/access.log")
    parse_renewal_conf(text, "/etc/letsencrypt/renewal/x.conf")
    parse_certbot_log(text, "/var/log/letsencrypt/letsencrypt.log")
