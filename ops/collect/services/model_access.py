"""The service's credentials, and the permissions on the path to the model's files."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

from ops.collect.services.model import MAX_FILES, is_loaded
from ops.facts.base import NotSeen
from ops.facts.files import AccessStep, ModelAccess, Reader
from ops.facts.target import Target
from ops.text.sanitize import safe_line

# capabilities(7): either lets a process read regardless of the modes.
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2


def model_access(target: Target, unit: str = "") -> ModelAccess | NotSeen:
    """Return owners and modes from the root to every file of the model, and the credentials of the service's worker; if
    none runs, those with which systemd would start ``unit``."""
    if not target.model_dir:
        return NotSeen(reason="no model directory is configured", is_lasting=True)
    pids = (*target.gunicorn_workers, *((target.gunicorn_master,) if target.gunicorn_master else ()))
    reader = next((each for pid in pids if (each := reader_of(pid)) is not None), None)
    outcome = _reader_of_unit(unit) if reader is None else reader
    if isinstance(outcome, NotSeen):
        return outcome
    steps, complete = ways_into(Path(os.path.normpath(target.model_dir)))
    return ModelAccess(reader=outcome, steps=steps, complete=complete)


def _reader_of_unit(name: str) -> Reader | NotSeen:
    """With which credentials systemd would start the unit."""
    from ops.collect.services.units import SECONDS, SYSTEMD_RUNS, parse_units, show_units

    nobody = NotSeen(reason="the service has no process, so its user is unknown")
    if not name or not SYSTEMD_RUNS.is_dir():
        return nobody
    printed = show_units((name,), ("LoadState", "User", "Group", "DynamicUser"), SECONDS)
    if isinstance(printed, NotSeen):
        return printed
    unit = next(parse_units(printed, (name,)), None)
    if unit is None or unit.load != "loaded" or unit.is_dynamic_user:
        return nobody
    return reader_of_account(unit.user or "0", unit.group) or nobody


def reader_of(pid: int) -> Reader | None:
    """Return the credentials that decide a process's access to files (proc(5), status; credentials(7)); None if the
    process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except OSError:
        return None
    facts = {name: words.split() for name, _, words in (line.partition(":") for line in lines)}
    try:
        # The fields are real, effective, saved and file system id.
        uid, gid = int(facts["Uid"][3]), int(facts["Gid"][3])
        capabilities = int(facts["CapEff"][0], 16)
        groups = tuple(dict.fromkeys((gid, *(int(word) for word in facts["Groups"]))))
    except (KeyError, IndexError, ValueError):
        return None
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    return Reader(
        pid=pid,
        user=safe_line(user),
        uid=uid,
        gids=groups,
        overrides=bool(capabilities & (1 << _CAP_DAC_OVERRIDE | 1 << _CAP_DAC_READ_SEARCH)),
    )


def reader_of_account(user: str, group: str = "") -> Reader | None:
    """Return the credentials that systemd starts a process of ``user`` with (systemd.exec(5), User=, Group=); None if
    this host does not have the account."""
    try:
        account = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
        gid = account.pw_gid
        if group:
            gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
        groups = os.getgrouplist(account.pw_name, gid)
    except (KeyError, OverflowError, OSError):
        return None
    return Reader(
        pid=0,
        user=safe_line(account.pw_name),
        uid=account.pw_uid,
        gids=tuple(groups),
        overrides=account.pw_uid == 0,
    )


def ways_into(directory: Path) -> tuple[tuple[AccessStep, ...], bool]:
    """Return every directory and file that loading the model touches, following links; False if some were not seen."""
    steps: dict[str, AccessStep] = {}
    complete = walk(directory, steps)
    if str(directory) in steps and steps[str(directory)].is_directory:
        try:
            with os.scandir(directory) as entries:
                names = sorted(entry.name for entry in entries if is_loaded(entry.name))
        except OSError:
            return tuple(steps.values()), False
        for name in names[:MAX_FILES]:
            complete = walk(directory / name, steps) and complete
    return tuple(steps.values()), complete


def walk(path: Path, steps: dict[str, AccessStep]) -> bool:
    """Add the steps from the root to ``path``, and to its link's target, to ``steps``. Return False if one could not be
    inspected."""
    places = [*reversed(path.parents), path]
    try:
        real = path.resolve()
    except (OSError, RuntimeError):
        real = path
    if real != path:
        places += [*reversed(real.parents), real]
    for place in places:
        if str(place) in steps:
            continue
        try:
            status = place.stat()
            has_acl = "system.posix_acl_access" in os.listxattr(place)
        except (FileNotFoundError, NotADirectoryError):
            return True  # a missing file is a different cause
        except PermissionError:
            return False
        except OSError:  # the file system has no such attributes
            has_acl = False
        steps[str(place)] = AccessStep(
            path=safe_line(str(place), 1000),
            is_directory=stat.S_ISDIR(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            mode=stat.S_IMODE(status.st_mode),
            has_acl=has_acl,
            changed=status.st_ctime,
        )
    return True
