"""Where the program `gte-ops` begins: outside the package `ops`, whose name another distribution on PyPI shares."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

# The tool's own trouble, as everywhere in gte-ops.
MISUSED = 3
INTERRUPTED = 130


def main() -> NoReturn:
    """Run `ops.cli`, or end with one line where the import finds another package of that name."""
    try:
        _open_standard_streams()
        _main()
    except KeyboardInterrupt:
        # During the imports: nothing is open yet that would have to be put away.
        os._exit(INTERRUPTED)


def _open_standard_streams() -> None:
    """Open /dev/null where the caller closed a standard stream (`gte-ops doctor >&-`): otherwise the first file that
    this program opens has the number of standard output, and everything printed goes into it."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            # The numbers below are open: the lowest that is free is this one (open(2)).
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115  for the whole run


def _main() -> NoReturn:
    place = _other_package()
    if place is not None:
        sys.stderr.write(
            f"gte-ops: the Python package 'ops' is another project's here ({place}); install gte-ops in an "
            "environment of its own: pipx install gte-ops\n"
        )
        sys.exit(MISUSED)
    try:
        from ops.cli.main import main as run
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "ops"):
            raise
        # The client alone needs none of them: pip install --no-deps (docs/client.md).
        sys.stderr.write(
            f"gte-ops: {missing} is not installed: pip install gte-ops\n"
            f"gte-ops: 没有安装 {missing}：pip install gte-ops\n"
        )
        sys.exit(MISUSED)
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
