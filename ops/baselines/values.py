"""The baseline's values that are not files: packages, kernel, addresses, the served certificate, the start command.

They come from the snapshot and from files that are read quickly, such as package databases; no package manager runs."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ops.baselines.state import Ordinary
from ops.collect.host.environment import package_directories, packages_in
from ops.collect.process.boot_clock import boot_id
from ops.facts.certificates import Served
from ops.facts.changes import PlaceKind
from ops.facts.host import Processes
from ops.facts.machine import Machine
from ops.facts.nginx import NginxConfig
from ops.facts.probes import Backend, Exchange, Front, Resolution
from ops.facts.snapshot import Snapshot
from ops.facts.target import Target
from ops.files.bounded_read import read_regular_file
from ops.interpret.gunicorn import process_of
from ops.text.sanitize import safe_line, safe_words

DPKG_STATUS = "/var/lib/dpkg/status"
MAX_DPKG_BYTES = 32 << 20
# The packages that the service depends on, by Debian's names.
_HOST_PACKAGES = re.compile(
    rb"^Package: (nginx(?:-[a-z-]+)?|libnginx-mod-[a-z0-9-]+|openssl|libssl\d[\w.]*|python3(?:\.\d+)?|libc6"
    rb"|gunicorn|ca-certificates|certbot|logrotate|systemd)\n",
    re.MULTILINE,
)
_VERSION = re.compile(rb"^Version: (\S+)$", re.MULTILINE)
_INSTALLED = b"\nStatus: install ok installed\n"
_MAX_GIT_BYTES = 1 << 20

Values = dict[PlaceKind, dict[str, str]]


def find_values(snapshot: Snapshot, dpkg: dict[str, str]) -> Values:
    """Return the values of each place, without those that this run could not see. ``dpkg``: the host's packages."""
    values: Values = {PlaceKind.HOST: _host()}
    target = snapshot.target
    if isinstance(target, Target):
        values[PlaceKind.PACKAGE] = _packages(target)
        revision = git_revision(Path(target.app_dir))
        if revision:
            values[PlaceKind.APPLICATION] = {"git": revision}
        if isinstance(snapshot.processes, Processes):
            master = process_of(snapshot.processes, target.gunicorn_master)
            if master is not None and master.command:
                values[PlaceKind.COMMAND] = {"gunicorn": " ".join(safe_words(master.command))}
    if isinstance(snapshot.resolution, Resolution) and snapshot.resolution.addresses:
        addresses = ", ".join(sorted(snapshot.resolution.addresses))
        values[PlaceKind.ADDRESS] = {snapshot.resolution.name: addresses}
    if isinstance(snapshot.served, Served):
        values[PlaceKind.CERTIFICATE] = {"served": snapshot.served.chain[0].fingerprint}
    host_packages = dict(dpkg)
    if isinstance(snapshot.nginx_config, NginxConfig) and snapshot.nginx_config.version:
        host_packages["nginx -v"] = snapshot.nginx_config.version
    values[PlaceKind.HOST_PACKAGE] = host_packages
    return {place: readings for place, readings in values.items() if readings}


def ordinary(snapshot: Snapshot) -> Ordinary:
    """Return the usual values here, for `gte-ops baseline show`."""
    health = snapshot.backend.health if isinstance(snapshot.backend, Backend) else None
    predict = snapshot.front.predict if isinstance(snapshot.front, Front) else None
    return Ordinary(
        load=round(os.getloadavg()[0], 2) if isinstance(snapshot.machine, Machine) else None,
        health_seconds=_seconds(health),
        predict_seconds=_seconds(predict),
    )


def _seconds(answer: object) -> float | None:
    return round(answer.elapsed, 3) if isinstance(answer, Exchange) and answer.status is not None else None


def _host() -> dict[str, str]:
    boot = boot_id()
    return {"kernel": os.uname().release, **({"boot": boot} if boot else {})}


def _packages(target: Target) -> dict[str, str]:
    python = Path(target.python)
    return packages_in((*package_directories(python), Path(target.app_dir)))


def dpkg_packages() -> dict[str, str]:
    """Return the host's packages from dpkg's database (dpkg(1), /var/lib/dpkg/status); empty on other distributions."""
    try:
        content = read_regular_file(DPKG_STATUS, MAX_DPKG_BYTES).content
    except (OSError, ValueError):
        return {}
    packages = {}
    for match in _HOST_PACKAGES.finditer(content):
        end = content.find(b"\n\n", match.start())
        stanza = content[match.start() : end if end >= 0 else None]
        version = _VERSION.search(stanza)
        if version and _INSTALLED in stanza:
            packages[match[1].decode()] = safe_line(version[1].decode("ascii", "replace"), 100)
    return packages


def git_revision(directory: Path) -> str:
    """Return the commit checked out in ``directory`` or above it (gitrepository-layout(5)); empty if there is none."""
    for place in (directory, *list(directory.parents)[:3]):
        if (git := place / ".git").is_dir():
            head = _git_file(git / "HEAD")
            if not head.startswith("ref: "):
                return head if re.fullmatch(r"[0-9a-f]{40,64}", head) else ""
            name = head.removeprefix("ref: ")
            if ".." in name or name.startswith("/"):
                return ""
            commit = _git_file(git / name)
            if not commit:
                rows = _git_file(git / "packed-refs").splitlines()
                commit = next((row.split(" ")[0] for row in rows if row.endswith(f" {name}")), "")
            return commit if re.fullmatch(r"[0-9a-f]{40,64}", commit) else ""
    return ""


def _git_file(path: Path) -> str:
    try:
        return read_regular_file(str(path), _MAX_GIT_BYTES).content.decode("utf-8", "replace").strip()
    except (OSError, ValueError):
        return ""
