"""Prints the versions of uv.lock as pip takes them with --constraint: one line a package, its markers behind it.

Without hashes: on a machine without a GPU pip takes another build of torch than the one that uv.lock has. With hashes:
``uv sync --frozen --extra embedded``.
"""

# ruff: noqa: T201  printing is what it is for

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LOCK = Path(__file__).resolve().parents[1] / "uv.lock"


def constraints(lock: dict[str, Any]) -> Iterator[str]:
    """A line for each package from a registry; one that several Pythons have in several versions has several."""
    for package in lock["package"]:
        if "registry" in package["source"]:
            markers = " or ".join(f"({marker})" for marker in package.get("resolution-markers", ()))
            yield f"{package['name']}=={package['version']}" + (f" ; {markers}" if markers else "")


if __name__ == "__main__":
    print("\n".join(constraints(tomllib.loads(LOCK.read_text(encoding="utf-8")))))
