"""Gather what planning needs beside the snapshot, each part only for a cause that needs it."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shlex
from dataclasses import replace
from pathlib import Path

from ops.control.restart import GRACE, find_supervisor
from ops.deployment.install import present_text, reason_not_to_replace
from ops.diagnosis.model import Diagnosis
from ops.errors import OpsError
from ops.facts.certificates import Certificates, KeyFile
from ops.facts.gunicorn import Gunicorn, GunicornConfig
from ops.facts.nginx import NginxConfig
from ops.facts.snapshot import Snapshot
from ops.files.bounded_read import read_regular_file
from ops.repair.audit_log import audit_log_path
from ops.repair.model import KnownGood, NewFile, RepairContext
from ops.settings import Settings
from ops.text.sanitize import without_controls, without_secrets

MAX_FILE_BYTES = 4 << 20
_EDITED = {"NGX005", "NGX006", "NGX018"}


def gather(
    settings: Settings, settings_path: Path | None, snapshot: Snapshot, diagnosis: Diagnosis
) -> RepairContext:
    """The context of the remedies of the diagnosis's causes."""
    codes = {cause.code for cause in diagnosis.causes}
    supervisor = find_supervisor(settings, audit_log_path(settings))
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
    reasons = {file: reason_not_to_replace(Path(file).resolve()) for file in files}
    context = RepairContext(
        files=files,
        start=start,
        key_group_is_owners="TLS010" in codes and _key_group_is_owners(snapshot),
        not_edited={file: why for file, why in reasons.items() if why is not None},
        pidfile=settings.gunicorn.pidfile,
        settings_file=snapshot.settings_file if isinstance(snapshot.settings_file, str) else None,
        grace_seconds=GRACE,
        changes=diagnosis.changes,
        known_good=_known_good(settings, diagnosis),
        now=diagnosis.started_at,
        utc_offset=diagnosis.utc_offset,
    )
    return _with_rotation(context, settings, settings_path) if "OPS001" in codes else context


def _known_good(settings: Settings, diagnosis: Diagnosis) -> dict[str, tuple[KnownGood, ...]]:
    """What to put back of the changes that belong to a cause's proof."""
    fitting = [item.change for item in diagnosis.changes if item.fits]
    if not fitting:
        return {}
    from ops.repair.known_good import find_known_good

    return find_known_good(settings, fitting, diagnosis.utc_offset)


def _with_rotation(context: RepairContext, settings: Settings, settings_path: Path | None) -> RepairContext:
    """``context`` with our rule as `gte-ops render logrotate` makes it, and its diff to the present files."""
    from ops.deployment.install import changes
    from ops.deployment.render import render
    from ops.deployment.values import deployment_here

    try:
        deployment = deployment_here(settings, settings_path)
        rendered = render("logrotate", deployment)
        lines = tuple(
            without_secrets(without_controls(line.rstrip("\n"))) for line in changes(rendered, Path("/"))
        )
        files = tuple(
            NewFile(file.path, file.text, file.mode, present_text(Path(file.path))) for file in rendered
        )
    except (OpsError, OSError, UnicodeDecodeError) as error:
        return replace(context, rotation=str(error))
    return replace(context, rotation=files, rotation_diff=lines, not_rotated=deployment.not_rotated)


def _key_group_is_owners(snapshot: Snapshot) -> bool:
    """Whether the private key's group has no member but the key's owner: closing it to the group locks nobody out."""
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
