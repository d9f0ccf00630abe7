"""The identifier of a request in its answer, in the log, and in the client's own records."""

import os
import re

HEADER = "X-Request-ID"

# Bounded, and safe in a log line, a header and a shell.
_WELL_FORMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


def choose(offered: str | None) -> str:
    """``offered`` if it is well-formed (1 to 64 ASCII letters, digits, ``.``, ``_``, ``-``), else a new
    one."""
    if offered is not None and _WELL_FORMED.fullmatch(offered):
        return offered
    return os.urandom(16).hex()
