"""The files that the baseline holds: those that the doctor reads, by kind of place. Finding them reads only
directories, and the units for the files that they name."""

from __future__ import annotations

import glob
import os
import posixpath
from collections.abc import Iterator, Sequence

import msgspec

from ops.collect import host_files
from ops.facts.changes import PlaceKind
from ops.facts.nginx import NginxConfig
from ops.facts.safeguards import Rotation
from ops.facts.snapshot import Snapshot
from ops.facts.target import Target
from ops.files.bounded_read import read_regular_file
from ops.settings import Settings

MAX_UNIT_BYTES = 1 << 20
MAX_LISTED = 200
# Limits for the application: files, inspected directory entries, depth.
MAX_CODE_FILES = 600
MAX_ENTRIES = 6000
MAX_DEPTH = 6
CODE_SUFFIXES = (
    ".py",
    ".pyi",
    ".toml",
    ".ini",
    ".cfg",
    ".conf",
    ".yaml",
    ".yml",
    ".json",
    ".env",
    ".sh",
    ".txt",
    ".html",
)
_NO_CODE = ("__pycache__", "node_modules", "site-packages", "dist-packages", "logs", "log", "tmp", "run")
HOST_FILES = ("/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/sysctl.conf")


class Sources(msgspec.Struct, frozen=True):
    """``files``: the kind of place of each path; ``directories``: those in which a new file is a change."""

    files: dict[str, PlaceKind]
    directories: tuple[str, ...]


def find_sources(snapshot: Snapshot, settings: Settings, settings_file: str | None) -> Sources:
    """Find the files of this host. Files that this run could not locate are missing here, but stay in the baseline."""
    files: dict[str, PlaceKind] = {}
    directories: dict[str, None] = {}
    own_unit = settings.gunicorn.unit

    def add(place: PlaceKind, paths: Iterator[str]) -> None:
        for path in paths:
            if path.startswith("/"):
                files.setdefault(posixpath.normpath(path), place)

    if isinstance(snapshot.nginx_config, NginxConfig):
        config = snapshot.nginx_config
        keys = {path for pair in host_files.nginx_key_pairs(config) for path in pair}
        add(PlaceKind.CERTIFICATE, iter(sorted(keys)))
        add(PlaceKind.NGINX, (source.path for source in host_files.nginx_wanted(config, None)))
        directories.update(dict.fromkeys(posixpath.dirname(path) for path in (config.file, *config.files)))
    target = snapshot.target
    if isinstance(target, Target):
        add(PlaceKind.CERTIFICATE, filter(None, (target.certificate, target.private_key)))
        add(PlaceKind.RENEWAL, _certbot(target.letsencrypt_dir))
        add(PlaceKind.GUNICORN, _gunicorn(settings, target))
        for kind, path in _units(settings):
            add(kind, iter((path,)))
        add(PlaceKind.MODEL, _model(target.model_dir))
        code = tuple(_code(target.app_dir, target.model_dir, directories))
        add(PlaceKind.APPLICATION, iter(code))
    directories.update(dict.fromkeys(f"{place}/{own_unit}.d" for place in settings.schedule.systemd))
    rotation = snapshot.rotation
    rules = rotation.files if isinstance(rotation, Rotation) else ()
    add(PlaceKind.LOGROTATE, iter((*settings.logrotate.config_files, *rules)))
    for directory in settings.schedule.cron:
        add(PlaceKind.CRON, _listed(directory))
    if settings_file:
        add(PlaceKind.SETTINGS, iter((os.path.abspath(settings_file),)))  # noqa: PTH100  links are to be kept
    add(PlaceKind.HOST, iter(HOST_FILES))
    # A file that was removed is still known from the baseline. Path.is_file raises where a directory is closed.
    present = {path: place for path, place in files.items() if os.path.isfile(path)}  # noqa: PTH113
    return Sources(present, tuple(directories))


def _certbot(directory: str) -> Iterator[str]:
    yield posixpath.join(directory, "cli.ini")
    yield from sorted(glob.glob(f"{glob.escape(directory)}/renewal/*.conf"))[:MAX_LISTED]  # noqa: PTH207


def _gunicorn(settings: Settings, target: Target) -> Iterator[str]:
    if target.gunicorn_config_file:
        yield posixpath.join(target.app_dir, target.gunicorn_config_file)
    for source in host_files.start_command_wanted(settings.gunicorn.start_command):
        yield source.path
    yield posixpath.join(target.app_dir, "start-prod.sh")


def _units(settings: Settings) -> Iterator[tuple[PlaceKind, str]]:
    """Yield the service's unit and nginx's, their drop-ins, and the environment files that the service's unit names."""
    own, places = settings.gunicorn.unit, settings.schedule.systemd
    for unit in filter(None, (own, "nginx.service")):
        for place in places:
            path = posixpath.join(place, unit)
            drop_ins = sorted(glob.glob(f"{glob.escape(path)}.d/*.conf"))[:MAX_LISTED]  # noqa: PTH207
            for file in (path, *drop_ins):
                yield PlaceKind.UNIT, file
                if unit == own:
                    for source in host_files.environment_files(_text(file)):
                        yield PlaceKind.ENVIRONMENT_FILE, source.path


def _text(path: str) -> str:
    try:
        return read_regular_file(path, MAX_UNIT_BYTES).content.decode("utf-8", "replace")
    except (OSError, ValueError):
        return ""


def _model(directory: str | None) -> Iterator[str]:
    from ops.collect.services.model import MAX_FILES, is_loaded

    if directory:
        names = [name for name in _names(directory) if is_loaded(name)]
        yield from (posixpath.join(directory, name) for name in names[:MAX_FILES])


def _listed(place: str) -> Iterator[str]:
    """Yield the files in the directory ``place``, or ``place`` itself if it is a file."""
    names = _names(place)
    yield from (posixpath.join(place, name) for name in names[:MAX_LISTED]) if names else (place,)


def _names(directory: str) -> Sequence[str]:
    try:
        return sorted(entry.name for entry in os.scandir(directory) if not entry.name.startswith("."))
    except (OSError, ValueError):
        return ()


def _code(root: str, model: str | None, directories: dict[str, None]) -> Iterator[str]:
    """Yield the application's files below ``root``, without virtual environments, caches and the model. Add the
    directories that hold code to ``directories``."""
    waiting, entries, count = [(root, 0)], 0, 0
    while waiting and entries < MAX_ENTRIES and count < MAX_CODE_FILES:
        directory, depth = waiting.pop(0)
        try:
            content = sorted(os.scandir(directory), key=lambda entry: entry.name)
        except (OSError, ValueError):
            continue
        if any(entry.name == "pyvenv.cfg" for entry in content):
            continue
        has_code = False
        for entry in content:
            entries += 1
            path = posixpath.join(directory, entry.name)
            if entry.name.startswith(".") and entry.name != ".env":
                continue
            if entry.is_dir(follow_symlinks=False):
                if depth < MAX_DEPTH and entry.name not in _NO_CODE and path != model:
                    waiting.append((path, depth + 1))
            elif entry.name.endswith(CODE_SUFFIXES):
                has_code = True
                count += 1
                yield path
        if has_code and (depth > 0 or not any(e.name.endswith((".log", ".pid", ".sock")) for e in content)):
            directories[directory] = None
