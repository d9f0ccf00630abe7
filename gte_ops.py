"""Where the program `gte-ops` begins: outside the package `ops`, whose name another distribution on PyPI shares."""

from __future__ import annotations

import sys
from typing import NoReturn

# The tool's own trouble, as everywhere in gte-ops.
MISUSED = 3


def main() -> NoReturn:
    """Run `ops.cli`, or end with one line where the import finds another package of that name."""
    place = _other_package()
    if place is not None:
        sys.stderr.write(
            f"gte-ops: the Python package 'ops' is another project's here ({place}); install gte-ops in an "
            "environment of its own: pipx install gte-ops\n"
        )
        sys.exit(MISUSED)
    from ops.cli.main import main as run

    run()


def _other_package() -> str | None:
    """Where a package `ops` that is not gte-ops's lies; None where it is ours."""
    try:
        import ops
    except Exception as error:  # noqa: BLE001  whatever another project's code raises: ours raises nothing
        return f"{type(error).__name__}: {error}".splitlines()[0]
    if getattr(ops, "DISTRIBUTION", None) == "gte-ops":
        return None
    return ops.__file__ or str(next(iter(ops.__path__), "a directory"))


if __name__ == "__main__":
    main()
