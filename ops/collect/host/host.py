"""The machine the doctor runs on."""

from __future__ import annotations

import getpass
import os
import socket
import time
from pathlib import Path

import psutil

from ops.facts.host import Host


def host() -> Host:
    """The caller's user, and this machine's name, addresses, init and UTC offset."""
    addresses = {
        entry.address.partition("%")[0]
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family in (socket.AF_INET, socket.AF_INET6)
    }
    return Host(
        hostname=socket.gethostname(),
        addresses=tuple(sorted(addresses)),
        user=_user(),
        is_root=os.geteuid() == 0,
        # sd_booted(3): this directory exists if and only if systemd is the init.
        has_systemd=Path("/run/systemd/system").is_dir(),
        utc_offset=time.localtime().tm_gmtoff,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())
