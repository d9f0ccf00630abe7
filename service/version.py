"""The version of the distribution this service runs from."""

from functools import cache
from importlib import metadata
from pathlib import Path


@cache
def version() -> str:
    """The version of the installed ``gte-ops``, or of the checkout, or ``"unknown"``."""
    try:
        return metadata.version("gte-ops")
    except metadata.PackageNotFoundError:
        return _of_checkout(Path(__file__).parent.parent / "pyproject.toml")


def _of_checkout(pyproject: Path) -> str:
    import tomllib

    try:
        project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
        return str(project["version"])
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return "unknown"
