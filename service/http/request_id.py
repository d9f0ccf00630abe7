"""The identifier of a request in its answer, in the log, and in the client's own records."""

import os
import re
from collections import deque

HEADER = "X-Request-ID"

# Bounded, and safe in a log line, a header and a shell.
_WELL_FORMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


_AT_ONCE = 64
# Each call to the kernel gives the interpreter lock away.
_unused: deque[str] = deque()
os.register_at_fork(after_in_child=_unused.clear)


def choose(offered: str | None) -> str:
    """``offered`` if it is well-formed (1 to 64 ASCII letters, digits, ``.``, ``_``, ``-``), else a new
    one."""
    if offered is not None and _WELL_FORMED.fullmatch(offered):
        return offered
    try:
        return _unused.popleft()
    except IndexError:
        new = os.urandom(16 * _AT_ONCE).hex()
        _unused.extend(new[start : start + 32] for start in range(32, len(new), 32))
        return new[:32]
