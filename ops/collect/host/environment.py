"""The Python environment that the service runs in, read from its packages' metadata; none of it is run."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterable
from pathlib import Path

from ops.facts.base import NotSeen
from ops.facts.files import Environment
from ops.facts.target import Target
from ops.files.bounded_read import read_regular_file
from ops.interpret.packages import WORKER_PACKAGES, normal_name
from ops.settings import AppSettings
from ops.text.sanitize import safe_line

# Packages that the encoder of the guide's service needs to serve its model, besides Flask and gunicorn.
MODEL_PACKAGES = ("torch", "transformers", "modelscope")
MAX_PACKAGES = 20_000
MAX_PATH_FILES = 64
# Size limit of a .pth file or a pyvenv.cfg.
MAX_LIST_BYTES = 65536
_VERSION_DIRECTORY = re.compile(r"python3(\.\d+)?t?$")
_NVIDIA_VENDOR = "0x10de"


def environment(target: Target, settings: AppSettings) -> Environment | NotSeen:
    """The packages that the service may need and that its interpreter finds, with their versions."""
    python = Path(target.python)
    if not python.exists():
        return NotSeen(reason=safe_line(f"{python} does not exist: which interpreter the service runs on"))
    directories = package_directories(python, _home(target))
    if not any(directory.is_dir() for directory in directories):
        return NotSeen(reason=safe_line(f"where {python} keeps its packages"))
    installed = packages_in((*directories, Path(target.app_dir)))
    required = tuple(safe_line(name, 100) for name in settings.requires or ())
    names = {
        normal_name(name) for name in (*required, "flask", "gunicorn", *WORKER_PACKAGES, *MODEL_PACKAGES)
    }
    return Environment(
        python=str(python),
        directories=tuple(safe_line(str(directory), 1000) for directory in directories),
        required=required if settings.requires is not None else None,
        packages={name: version for name, version in installed.items() if name in names},
        nvidia_packages=tuple(sorted(name for name in installed if name.startswith("nvidia-"))),
        nvidia_devices=nvidia_devices(),
    )


def _home(target: Target) -> Path | None:
    for pid in (*target.gunicorn_workers, target.gunicorn_master):
        try:
            return Path(pwd.getpwuid(Path(f"/proc/{pid}").stat().st_uid).pw_dir)
        except (OSError, KeyError):
            continue
    return None


def package_directories(python: Path, home: Path | None = None) -> tuple[Path, ...]:
    """The directories that an interpreter searches for packages (Python's documentation: site, venv), from files alone.

    ``home``: the home of its user, for packages installed by `pip install --user`."""
    prefix = python.parent.parent
    config = _venv_config(prefix / "pyvenv.cfg")
    if config is None:
        directories = _of_base(python)
        if home is not None:
            directories += [home / ".local" / "lib" / d.parent.name / "site-packages" for d in directories]
    else:
        directories = _below(prefix, "site-packages")
        if config.get("include-system-site-packages", "").lower() == "true" and config.get("home"):
            directories += _of_base(Path(config["home"]) / "python3")
    for directory in tuple(directories):
        directories += _path_files(directory)
    return tuple(dict.fromkeys(directories))


def _venv_config(path: Path) -> dict[str, str] | None:
    try:
        lines = read_regular_file(str(path), MAX_LIST_BYTES).content.decode(errors="replace").splitlines()
    except (OSError, ValueError):
        return None
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition("=") for line in lines)}


def _of_base(python: Path) -> list[Path]:
    """The package directories of an interpreter outside a virtual environment."""
    real = python.resolve()
    version = real.name if re.fullmatch(r"python3\.\d+", real.name) else ""
    directories = []
    # Debian separates its own packages from the administrator's (Debian Python Policy, 2.5).
    for prefix in dict.fromkeys((real.parent.parent, Path("/usr/local"))):
        if prefix == Path("/usr/local") != real.parent.parent and real.parent.parent != Path("/usr"):
            continue
        for kind in ("site-packages", "dist-packages"):
            directories += [
                directory
                for directory in _below(prefix, kind)
                if not version or directory.parent.name in (version, "python3")
            ]
    return directories


def _below(prefix: Path, kind: str) -> list[Path]:
    directories = []
    for lib in ("lib", "lib64"):
        try:
            names = sorted(entry.name for entry in os.scandir(prefix / lib))
        except OSError:
            continue
        directories += [prefix / lib / name / kind for name in names if _VERSION_DIRECTORY.match(name)]
    return [directory for directory in directories if directory.is_dir()]


def _path_files(directory: Path) -> list[Path]:
    """The directories that .pth files add (site: each line is a path, unless it begins with import)."""
    directories = []
    try:
        names = sorted(entry.name for entry in os.scandir(directory) if entry.name.endswith(".pth"))
    except OSError:
        return []
    for name in names[:MAX_PATH_FILES]:
        try:
            read = read_regular_file(str(directory / name), MAX_LIST_BYTES)
        except (OSError, ValueError):
            continue
        lines = read.content.decode(errors="replace").splitlines()
        for line in lines:
            if line.strip() and not line.startswith(("#", "import ", "import\t")) and "\0" not in line:
                added = directory / line.strip()
                if added.is_dir():
                    directories.append(added)
    return directories


def packages_in(directories: Iterable[Path]) -> dict[str, str]:
    """Version by name of every package with metadata in ``directories``; the first directory wins."""
    packages: dict[str, str] = {}
    for directory in directories:
        try:
            names = [entry.name for entry in os.scandir(directory)]
        except OSError:
            continue
        for name in names[:MAX_PACKAGES]:
            stem, dot, kind = name.rpartition(".")
            # pip prefixes a package with a tilde before it removes it.
            if not dot or kind not in ("dist-info", "egg-info", "egg-link") or name.startswith("~"):
                continue
            package, _, version = stem.partition("-")
            if kind == "egg-info":
                version = re.sub(r"-py3(\.\d+)?$", "", version)
            packages.setdefault(normal_name(package), safe_line(version, 100))
    return packages


def nvidia_devices() -> tuple[str, ...]:
    """Signs of an NVIDIA GPU: its devices, its driver, or a card of that vendor on the bus."""
    signs = [
        str(path)
        for pattern in ("nvidia[0-9]*", "nvidiactl", "nvmap", "dxg")
        for path in Path("/dev").glob(pattern)
    ]
    if Path("/proc/driver/nvidia").exists():
        signs.append("/proc/driver/nvidia")
    for vendor in sorted(Path("/sys/bus/pci/devices").glob("*/vendor"))[:512]:
        try:
            if vendor.read_text().strip() == _NVIDIA_VENDOR:
                signs.append(str(vendor.parent))
        except OSError:
            continue
    return tuple(signs)
