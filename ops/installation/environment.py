"""Copy a Python environment to another place: its programs name their interpreter by its path (venv)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_MAX_SCRIPT_BYTES = 1 << 20


def copy_environment(source: Path, target: Path) -> None:
    """Copy ``source`` to ``target``, which does not exist: files as hard links, so that it costs no space, and what
    names the old place in bin and pyvenv.cfg with the new one. Raises OSError."""
    for folder, names, files in os.walk(source):
        place = target / Path(folder).relative_to(source)
        place.mkdir(parents=True)
        shutil.copystat(folder, place)
        for name in [*(name for name in names if Path(folder, name).is_symlink()), *files]:
            _copy(Path(folder, name), place / name, source, target)


def _copy(file: Path, new: Path, source: Path, target: Path) -> None:
    if file.is_symlink():
        link = os.readlink(file)  # noqa: PTH115
        new.symlink_to(link.replace(f"{source}/", f"{target}/", 1) if link.startswith(f"{source}/") else link)
        return
    names_its_place = file.parent == source / "bin" or file == source / "pyvenv.cfg"
    if names_its_place and file.stat().st_size <= _MAX_SCRIPT_BYTES:
        content = file.read_bytes()
        if not content.startswith(b"\x7fELF"):
            new.write_bytes(content.replace(os.fsencode(source), os.fsencode(target)))
            shutil.copystat(file, new)
            return
    os.link(file, new)
