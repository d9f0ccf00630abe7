"""Versions of this project as wheels, and the wheels that they require: what `gte-ops upgrade --wheelhouse` reads."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from tests.hosts.layer import REPOSITORY, needed_distributions

# What pip builds gte-ops with, in an environment of its own.
BUILD = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["build-system"]["requires"]
PRESENT = metadata.version("gte-ops")


def make_wheelhouse(directory: Path, python: str = "3.11") -> Path:
    """Wheels of what gte-ops[embedded] requires, and of gte-ops itself, in ``directory``."""
    directory.mkdir()
    names = needed_distributions("gte-ops[embedded]", python)
    pip = (sys.executable, "-m", "pip")
    subprocess.run(
        [
            *(*pip, "download", "--quiet", "--no-deps", "--dest", str(directory)),
            *("--python-version", python, "--only-binary=:all:"),
            *(f"{name}=={metadata.version(name)}" for name in names),
            *BUILD,
        ],
        check=True,
        timeout=600,
        capture_output=True,
    )
    source = copy_checkout(directory / "source")
    subprocess.run(
        [
            *pip,
            *("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(directory)),
            str(source),
        ],
        check=True,
        timeout=300,
        capture_output=True,
    )
    shutil.rmtree(source)
    return directory


def copy_checkout(directory: Path) -> Path:
    """This checkout as ``git clone`` would leave it in ``directory``, with what is not committed, without the tests."""
    listed = ("git", "-C", str(REPOSITORY), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in subprocess.run(listed, check=True, capture_output=True, text=True).stdout.split("\0"):
        if name and not name.startswith(("tests/", "benchmarks/")) and (REPOSITORY / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, directory / name)
    return directory


def add_version(wheels: Path, version: str, changes: Mapping[str, tuple[str, str]] | None = None) -> Path:
    """Another version of gte-ops beside the present one. ``changes``: in a file of it, one text for another."""
    (present,) = wheels.glob(f"gte_ops-{PRESENT}-*.whl")
    new = wheels / present.name.replace(PRESENT, version)
    with zipfile.ZipFile(present) as old, zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as archive:
        for item in old.infolist():
            content = old.read(item)
            if item.filename.endswith(".dist-info/METADATA"):
                content = content.replace(
                    f"\nVersion: {PRESENT}\n".encode(), f"\nVersion: {version}\n".encode()
                )
            if item.filename.endswith(".dist-info/RECORD"):
                content = content.replace(f"gte_ops-{PRESENT}".encode(), f"gte_ops-{version}".encode())
            before, after = (changes or {}).get(item.filename, ("", ""))
            if before:
                assert before.encode() in content, f"{item.filename}: no {before!r}"
                content = content.replace(before.encode(), after.encode())
            item.filename = item.filename.replace(f"gte_ops-{PRESENT}", f"gte_ops-{version}")
            archive.writestr(item, content)
    return new
