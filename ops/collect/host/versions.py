"""Versions of the programs that the toolkit watches, read without importing or starting them if possible."""

from __future__ import annotations

import glob
import os
import platform
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from ops import __version__
from ops.files.programs import search, trusted_program
from ops.text.sanitize import safe_line

_VERSIONED = re.compile(r"-(\d[0-9A-Za-z.]{0,60})(?:[-.][^/]{0,100})?\.(?:dist|egg)-info$")
OPENSSL_SECONDS = 3.0


def versions(nginx: str, service_pythons: Iterable[str]) -> dict[str, str]:
    """Versions by program; one that is not found is left out. ``nginx``: its version as ``nginx -V`` prints it;
    ``service_pythons``: the known paths of gunicorn's interpreter (in a virtual environment it is a link)."""
    places = [place for python in service_pythons for place in libraries(python)]
    by_program = {
        "gte-ops": __version__,
        "python": platform.python_version(),
        "nginx": nginx,
        "gunicorn": installed("gunicorn", places),
        "certbot": certbot_version(),
        "openssl": _openssl(),
    }
    return {name: version for name, version in by_program.items() if version}


def certbot_version() -> str:
    """certbot's version, from its package's metadata: starting it takes half a second. Empty if not found."""
    return installed("certbot", libraries(interpreter(search("certbot"))))


def interpreter(script: str | None) -> str | None:
    """The Python that a script's first line names."""
    if script is None:
        return None
    try:
        with Path(script).open("rb") as file:
            line = file.readline(300)
    except OSError:
        return None
    words = line[2:].split() if line.startswith(b"#!") else []
    return os.fsdecode(words[0]) if words else None


def libraries(python: str | None) -> list[str]:
    """The directories that may hold an interpreter's packages."""
    if python is None:
        return []
    beside = Path(python).parent.parent
    return [
        *glob.glob(f"{glob.escape(str(beside))}/lib/python3*/site-packages"),  # noqa: PTH207
        *glob.glob(f"{glob.escape(str(beside))}/local/lib/python3*/dist-packages"),  # noqa: PTH207
        f"{beside}/lib/python3/dist-packages",
    ]


def installed(package: str, places: Iterable[str]) -> str:
    """The version of a package, from the name of its metadata; empty if it is in none of ``places``."""
    for place in places:
        for path in glob.glob(f"{glob.escape(place)}/{package}-*-info"):  # noqa: PTH207
            if match := _VERSIONED.search(path):
                return match[1]
    return ""


def _openssl() -> str:
    """The version that the openssl program prints; empty if it is missing, not trusted or fails."""
    program = trusted_program("openssl")
    if program is None:
        return ""
    try:
        ran = subprocess.run(
            [program, "version"], capture_output=True, text=True, timeout=OPENSSL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    words = safe_line(ran.stdout, 100).split()
    return words[1] if len(words) > 1 else ""
