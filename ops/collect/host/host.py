"""The machine the doctor runs on."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import psutil

from ops.facts.host import Host
from ops.files.own_user import own_user_name


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
        user=own_user_name() or str(os.geteuid()),
        is_root=os.geteuid() == 0,
        # sd_booted(3): this directory exists if and only if systemd is the init.
        has_systemd=Path("/run/systemd/system").is_dir(),
        utc_offset=time.localtime().tm_gmtoff,
    )
