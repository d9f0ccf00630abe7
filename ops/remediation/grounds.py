"""What planning needs beside the snapshot: read only where a cause asks for it."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shlex
from collections.abc import Collection
from pathlib import Path

from ops.collect.regular_file import read_regular_file
from ops.errors import OpsError
from ops.quoting import without_controls, without_secrets
from ops.remediation.planning import Grounds
from ops.remediation.record import record_path
from ops.remedies.restart import find_supervisor
from ops.remedy import NewFile
from ops.settings import Settings
from ops.snapshot import Certificates, Gunicorn, GunicornConfig, KeyFile, NginxConfig, Snapshot

MAX_FILE_BYTES = 4 << 20
_EDITED = {"NGX005", "NGX006", "NGX018"}


def gather(
    settings: Settings, settings_path: Path | None, snapshot: Snapshot, codes: Collection[str]
) -> Grounds:
    """The grounds for the remedies of ``codes``."""
    supervisor = find_supervisor(settings, record_path(settings))
    start = None
    if supervisor is not None:
        start = f"systemctl start {supervisor.unit}" if supervisor.unit else shlex.join(supervisor.argv)
    files: dict[str, bytes] = {}
    if _EDITED.intersection(codes) and isinstance(snapshot.nginx_config, NginxConfig):
        for file in snapshot.nginx_config.files:
            with contextlib.suppress(OSError, ValueError):
                files[file] = read_regular_file(file, MAX_FILE_BYTES).content
    gunicorn = snapshot.gunicorn
    if "GUN008" in codes and isinstance(gunicorn, Gunicorn) and isinstance(gunicorn.config, GunicornConfig):
        with contextlib.suppress(OSError, ValueError):
            path = gunicorn.config.path
            files[path] = read_regular_file(path, MAX_FILE_BYTES).content
    rotation: tuple[NewFile, ...] | str = "it was not asked for"
    lines: tuple[str, ...] = ()
    if "OPS001" in codes:
        rotation, lines = _rotation(settings, settings_path)
    return Grounds(files, start, rotation, lines, "TLS010" in codes and _key_group_is_owners(snapshot))


def _rotation(
    settings: Settings, settings_path: Path | None
) -> tuple[tuple[NewFile, ...] | str, tuple[str, ...]]:
    """Our rule as `gte-ops render logrotate` makes it, and the diff from what is there."""
    from ops.deployment import deployment_here
    from ops.install import changes
    from ops.render import render

    try:
        rendered = render("logrotate", deployment_here(settings, settings_path))
        lines = tuple(
            without_secrets(without_controls(line.rstrip("\n"))) for line in changes(rendered, Path("/"))
        )
        files = []
        for file in rendered:
            path = Path(file.path)
            present = path.read_text(encoding="utf-8") if path.exists() else None
            files.append(NewFile(file.path, file.text, file.mode, present))
    except (OpsError, OSError, UnicodeDecodeError) as error:
        return str(error), ()
    return tuple(files), lines


def _key_group_is_owners(snapshot: Snapshot) -> bool:
    """Whether the private key's group holds nobody but the key's owner: closing it to the group locks nobody out."""
    certificates = snapshot.certificates
    key = certificates.key if isinstance(certificates, Certificates) else None
    if not isinstance(key, KeyFile):
        return False
    try:
        status = os.stat(key.resolved)  # noqa: PTH116  a string from the snapshot
        owner = pwd.getpwuid(status.st_uid).pw_name
        members = set(grp.getgrgid(status.st_gid).gr_mem)
    except (OSError, KeyError):
        return False
    members |= {user.pw_name for user in pwd.getpwall() if user.pw_gid == status.st_gid}
    return members <= {owner}
