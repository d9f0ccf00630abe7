"""Gather what planning needs beside the snapshot, each part only for a cause that needs it."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ops.control.restart import GRACE, find_supervisor
from ops.deployment.install import present_text, reason_not_to_replace
from ops.diagnosis.model import Diagnosis
from ops.errors import OpsError
from ops.facts.certificates import Certificates, KeyFile
from ops.facts.changes import Change, PlaceKind
from ops.facts.gunicorn import Gunicorn, GunicornConfig
from ops.facts.nginx import NginxConfig
from ops.facts.snapshot import Snapshot
from ops.facts.target import Target
from ops.files.bounded_read import read_regular_file
from ops.repair.audit_log import audit_log_path
from ops.repair.file_entry import file_entry
from ops.repair.model import NewFile, RepairContext, Replacement
from ops.settings import Settings
from ops.text.sanitize import without_controls, without_secrets

MAX_FILE_BYTES = 4 << 20
_EDITED = {"HST004", "NGX003", "NGX005", "NGX006", "NGX010", "NGX014", "NGX018", "TLS006", "TLS007"}
# Their remedy is the newest pair in certbot's archive that fits.
# A certificate's file without the intermediate that it needs, or damaged.
_CHAIN = {"TLS006", "TLS020", "TLS021"}
_PAIR = {"TLS001", "TLS003", "TLS004", "TLS007", "TLS012", "TLS021", "TLS022", "TLS023"}


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
    is_printed = any("sed -i" in step.en for cause in diagnosis.causes for step in cause.fix)
    if (is_printed or _EDITED.intersection(codes)) and isinstance(snapshot.nginx_config, NginxConfig):
        for file in snapshot.nginx_config.files:
            with contextlib.suppress(OSError, ValueError):
                files[file] = read_regular_file(file, MAX_FILE_BYTES).content
    gunicorn = snapshot.gunicorn
    if (
        (is_printed or "GUN008" in codes)
        and isinstance(gunicorn, Gunicorn)
        and isinstance(gunicorn.config, GunicornConfig)
    ):
        with contextlib.suppress(OSError, ValueError):
            path = gunicorn.config.path
            files[path] = read_regular_file(path, MAX_FILE_BYTES).content
    if is_printed and isinstance(snapshot.target, Target):
        for path in filter(None, (snapshot.target.certificate, snapshot.target.private_key)):
            with contextlib.suppress(OSError, ValueError):
                files[path] = read_regular_file(path, MAX_FILE_BYTES).content
    reasons = {file: reason_not_to_replace(Path(file).resolve()) for file in files}
    real = {file: str(Path(file).resolve()) for file in files}
    entries = {path: entry for path in real.values() if (entry := file_entry(path, b"")) is not None}
    known_good = _known_good(settings, diagnosis)
    context = RepairContext(
        files=files,
        start=start,
        key_group_is_owners="TLS010" in codes and _key_group_is_owners(snapshot),
        not_edited={file: why for file, why in reasons.items() if why is not None},
        pidfile=settings.gunicorn.pidfile,
        settings_file=snapshot.settings_file if isinstance(snapshot.settings_file, str) else None,
        grace_seconds=GRACE,
        changes=diagnosis.changes,
        known_good=known_good,
        placed=_placed(known_good),
        entries=entries,
        real=real,
        **_without_past(snapshot, diagnosis, files, real, is_printed=is_printed),
        now=diagnosis.started_at,
        utc_offset=diagnosis.utc_offset,
    )
    return _with_rotation(context, settings, settings_path) if "OPS001" in codes else context


def _certificates_too(diagnosis: Diagnosis) -> list[Change]:
    """The changes that belong to a proof; with one certificate all others: a pair is put back together."""
    fitting = [item.change for item in diagnosis.changes if item.fits]
    if any(change.place is PlaceKind.CERTIFICATE for change in fitting):
        others = (item.change for item in diagnosis.changes if not item.fits)
        fitting += [change for change in others if change.place is PlaceKind.CERTIFICATE]
    return fitting


def _known_good(settings: Settings, diagnosis: Diagnosis) -> dict[str, tuple[Replacement, ...]]:
    """What to put back of the changes that belong to a cause's proof."""
    fitting = _certificates_too(diagnosis)
    if not fitting:
        return {}
    from ops.repair.known_good import find_known_good

    return find_known_good(settings, fitting, diagnosis.utc_offset)


def _placed(paths: Iterable[str]) -> dict[str, float]:
    """When each file came to its place."""
    placed = {}
    for path in paths:
        with contextlib.suppress(OSError):
            placed[path] = Path(path).lstat().st_ctime
    return placed


def _without_past(
    snapshot: Snapshot,
    diagnosis: Diagnosis,
    files: Mapping[str, bytes],
    real: Mapping[str, str],
    *,
    is_printed: bool,
) -> dict[str, Any]:
    """What mends a cause by what lies on the host now: printed edits, certbot's archive, the intermediate."""
    target = snapshot.target
    codes = {cause.code for cause in diagnosis.causes}
    parts: dict[str, Any] = {}
    if not isinstance(target, Target):
        return parts
    if is_printed:
        from ops.repair.printed_edits import printed_edits

        edits = {cause.code: printed_edits(cause, target, files, real) for cause in diagnosis.causes}
        parts["printed"] = {code: edit for code, edit in edits.items() if edit}
    if (_PAIR | _CHAIN) & codes:
        from ops.repair.certificate_pairs import archived_pair, with_intermediate

        if _PAIR & codes:
            parts["pair"] = archived_pair(target, diagnosis.started_at)
        if _CHAIN & codes and isinstance(snapshot.certificates, Certificates):
            parts["with_intermediate"] = with_intermediate(snapshot.certificates)
    return parts


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
