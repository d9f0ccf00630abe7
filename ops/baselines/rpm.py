"""The host's packages by rpm's database: names, versions, and the time of each installation."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ops.files.programs import trusted_program
from ops.text.sanitize import safe_line

# rpm moved its database in Fedora 36 and RHEL 10; the former place is a link to the new one.
DIRECTORIES = ("/usr/lib/sysimage/rpm", "/var/lib/rpm")
# SQLite with its log (rpm 4.16), ndb (SUSE), Berkeley DB.
DATABASE_NAMES = ("rpmdb.sqlite", "rpmdb.sqlite-wal", "Packages.db", "Packages")
# One query of some names on a busy host; a database that is locked by an upgrade is not waited for.
SECONDS = 3.0
# The packages that the service depends on, as Fedora, RHEL and SUSE name them.
_NAMES = (
    "nginx", "nginx-*", "openssl", "openssl-libs", "libopenssl*", "python3", "python3[0-9]*", "python3.[0-9]*", "glibc",
    "gunicorn", "python3-gunicorn", "ca-certificates", "certbot", "logrotate", "systemd",
)  # fmt: skip
_FORMAT = r"%{NAME}\t%{EVR}\t%{INSTALLTIME}\n"
_LINE = re.compile(r"([\w.+-]{1,200})\t([\w.+:~^-]{1,100})\t(\d{1,12})")
# Subpackages that match python3[0-9]*: python3.11-devel and the like.
_OTHER = re.compile(r"python3[\d.]*-(?!gunicorn)|nginx-(?:debug|doc|filesystem)")


class RpmPackage(NamedTuple):
    """One package: ``version``: epoch, version and release; ``installed_at``: Unix seconds."""

    version: str
    installed_at: float


def database_files(directories: Sequence[str] = DIRECTORIES) -> tuple[str, ...]:
    """The files of the database that are here, whose times show a change; none on other distributions."""
    for directory in directories:
        paths = tuple(str(path) for name in DATABASE_NAMES if (path := Path(directory, name)).is_file())
        if paths:
            return paths
    return ()


def rpm_packages(directories: Sequence[str] = DIRECTORIES) -> dict[str, RpmPackage]:
    """The packages that the service depends on; none without a database, or if rpm cannot be run."""
    files = database_files(directories)
    program = trusted_program("rpm") if files else None
    if program is None:
        return {}
    directory = files[0].rpartition("/")[0]
    try:
        ran = subprocess.run(
            [program, "--dbpath", directory, "-qa", "--queryformat", _FORMAT, *_NAMES],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    return parse_packages(ran.stdout.decode("utf-8", "replace"))


def parse_packages(printed: str) -> dict[str, RpmPackage]:
    """The packages of rpm's output; of a name that is installed twice, the one that came last."""
    packages: dict[str, RpmPackage] = {}
    for line in printed.splitlines():
        match = _LINE.fullmatch(line)
        if match is None or _OTHER.match(match[1]):
            continue
        package = RpmPackage(safe_line(match[2], 100), float(match[3]))
        if match[1] not in packages or packages[match[1]].installed_at < package.installed_at:
            packages[match[1]] = package
    return packages
