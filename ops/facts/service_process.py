"""What the service's processes were given when they started."""

from __future__ import annotations

import msgspec

from ops.facts.base import Facts


class ServiceProcess(Facts, frozen=True):
    """One process of the service, read if the application raises or its workers exceed the timeout.

    ``variables``: those of its environment that lead to files or proxies, by name; ``outputs``: where file descriptors
    1 and 2 lead (``/dev/pts/0 (deleted)``: a terminal that is gone); ``temporary``: the directory of Python's tempfile,
    ``temporary_bytes``: the size of its file system; ``master_threads``: the number of gunicorn's master's threads,
    None if not seen."""

    pid: int
    variables: dict[str, str] = msgspec.field(default_factory=dict)
    outputs: dict[str, str] = msgspec.field(default_factory=dict)
    temporary: str = "/tmp"  # noqa: S108  tempfile's own default
    temporary_bytes: int | None = None
    master_threads: int | None = None
