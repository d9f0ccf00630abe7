"""Check unix sockets from nginx's view: a process may have its own mounts (PrivateTmp=, a container)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from ops.facts.base import NotSeen
from ops.facts.nginx import SocketView
from ops.text.sanitize import without_controls

MAX_SOCKETS = 32


def socket_views(addresses: Iterable[str], nginx_pid: int | None) -> tuple[SocketView, ...] | NotSeen:
    """Whether each unix socket among ``addresses`` exists here, and in the view of nginx's master.

    NotSeen if there are any, and nginx does not run or its tree may not be read."""
    paths = [
        address.removeprefix("unix:") for address in dict.fromkeys(addresses) if address.startswith("unix:/")
    ]
    if not paths:
        return ()
    if nginx_pid is None:
        return NotSeen(reason="nginx does not run", is_lasting=True)
    try:
        os.stat(f"/proc/{nginx_pid}/root/")  # noqa: PTH116
    except OSError:
        return NotSeen(
            reason=f"the files of process {nginx_pid} may not be looked at", needs_root=os.geteuid() != 0
        )
    return tuple(
        SocketView(
            path=without_controls(path),
            nginx_pid=nginx_pid,
            is_here=_is_socket(path),
            is_nginx_s=_is_socket(f"/proc/{nginx_pid}/root{path}"),
        )
        for path in paths[:MAX_SOCKETS]
    )


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)  # noqa: PTH116
    except (OSError, ValueError):
        return False
