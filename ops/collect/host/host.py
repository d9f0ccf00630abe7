"""The machine the doctor runs on."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import psutil

from ops.facts.host import Host
from ops.files.own_user import own_user_name
from ops.text.sanitize import safe_line


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
        software=_software(),
    )


def _software() -> dict[str, str]:
    """The versions that this process itself runs on; on a host that was set up by the guide they are the service's and
    nginx's too."""
    import platform
    import ssl

    try:
        system = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        system = ""
    found = {
        "kernel": os.uname().release,
        "system": system,
        "libc": " ".join(platform.libc_ver()),
        "openssl": ssl.OPENSSL_VERSION,
        "python": platform.python_version(),
    }
    return {name: safe_line(words, 100) for name, words in found.items() if words.strip()}
