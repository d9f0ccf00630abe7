"""What the service's processes were given when they started."""

from __future__ import annotations

import msgspec

from ops.facts.base import Facts

# Variables by which Python and widespread libraries find their files (their documentation).
PLACES = frozenset(
    {
        "CURL_CA_BUNDLE", "HF_HOME", "HF_HUB_CACHE", "HOME", "MODELSCOPE_CACHE", "MPLCONFIGDIR", "NLTK_DATA",
        "NUMBA_CACHE_DIR", "PYTHONTZPATH", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR", "SSL_CERT_FILE", "TEMP",
        "TMP", "TMPDIR", "TORCH_HOME", "TRANSFORMERS_CACHE", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME",
    }
)  # fmt: skip


class ServiceProcess(Facts, frozen=True):
    """One process of the service, read if the application raises or its workers exceed the timeout.

    ``variables``: those of its environment that lead to files or proxies, by name; ``outputs``: where file descriptors
    1 and 2 lead (``/dev/pts/0 (deleted)``: a terminal that is gone); ``temporary``: the directory of Python's tempfile,
    None if that may not be looked at, ``temporary_bytes``: the size of its file system; ``master_threads``: the number
    of gunicorn's master's threads, None if not seen; ``path``: its PATH; ``programs``: those that an exception names
    and that are in no directory of it, with where else they are, empty if nowhere that was looked at;
    ``shared_memory``: what its /dev/shm is like; ``held``: what its descriptors lead to, if many lead to the same, and
    how many: ``10.0.0.5:6379 CLOSE_WAIT``, ``/srv/app/a.log``."""

    pid: int
    variables: dict[str, str] = msgspec.field(default_factory=dict)
    outputs: dict[str, str] = msgspec.field(default_factory=dict)
    temporary: str | None = "/tmp"  # noqa: S108  tempfile's own default
    temporary_bytes: int | None = None
    master_threads: int | None = None
    path: str | None = None
    programs: dict[str, str] = msgspec.field(default_factory=dict)
    shared_memory: str | None = None
    held: dict[str, int] = msgspec.field(default_factory=dict)
