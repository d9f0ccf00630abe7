"""The ACME clients beside certbot on this host: by what is scheduled, and by their own records of what they install."""

from __future__ import annotations

import pwd
from collections.abc import Iterator
from pathlib import Path

import msgspec

from ops.collect.host_files import ini_values
from ops.facts.safeguards import Schedule
from ops.files.bounded_read import read_regular_file
from ops.interpret.acme_clients import AcmeClient, acme_clients

MAX_BYTES = 64 << 10
MAX_RECORDS = 500
# acme.sh keeps in NAME/NAME.conf where it installs a certificate (its functions _installcert, _savedomainconf).
_INSTALLED = frozenset({"Le_RealCertPath", "Le_RealFullChainPath"})


def scheduled_clients(schedule: Schedule, *, has_systemd: bool) -> tuple[AcmeClient, ...]:
    """Every known client, with its jobs, its directories, and the files that it installs certificates to."""
    homes = {user.pw_name: user.pw_dir for user in pwd.getpwall()}
    return tuple(
        msgspec.structs.replace(client, installed=tuple(_installed(client)))
        for client in acme_clients(schedule, homes, has_systemd=has_systemd)
    )


def _installed(client: AcmeClient) -> Iterator[str]:
    for directory in client.directories:
        try:
            records = sorted(Path(directory).glob("*/*.conf"))[:MAX_RECORDS]
        except OSError:
            continue
        for record in records:
            try:
                text = read_regular_file(str(record), MAX_BYTES).content.decode("utf-8", "replace")
            except (OSError, ValueError):
                continue
            for key, value in ini_values(text):
                if key in _INSTALLED and value.startswith("/"):
                    yield value
