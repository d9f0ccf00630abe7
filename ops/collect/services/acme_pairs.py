"""Certificates for the site in the directories of ACME clients other than certbot.

Sources: acme.sh's wiki (NAME/ and NAME_ecc/: fullchain.cer, NAME.key); lego's documentation (certificates/NAME.crt);
dehydrated's README (certs/NAME/); getssl's README (NAME/fullchain.crt)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ops.collect.services.acme_clients import scheduled_clients
from ops.collect.services.certificate_files import key_file, pem_file
from ops.facts.base import NotSeen
from ops.facts.certificates import AcmePair, PemFile
from ops.facts.safeguards import Schedule
from ops.facts.target import Target

# Certificate and key below a client's directory, by the client's name.
_LAYOUTS = {
    "acme.sh": (
        ("{name}_ecc/fullchain.cer", "{name}_ecc/{name}.key"),
        ("{name}/fullchain.cer", "{name}/{name}.key"),
    ),
    "lego": (("certificates/{name}.crt", "certificates/{name}.key"),),
    "dehydrated": (("certs/{name}/fullchain.pem", "certs/{name}/privkey.pem"),),
    "getssl": (("{name}/fullchain.crt", "{name}/{name}.key"),),
}


def acme_pairs(target: Target, schedule: Schedule, *, has_systemd: bool) -> tuple[AcmePair, ...]:
    """Every such pair that nginx does not read itself; none if the site's certificate is certbot's, or where other
    users' directories may not be read."""
    own = target.certificate
    if own is None or "/" in target.domain or own.startswith(f"{target.letsencrypt_dir.rstrip('/')}/"):
        return ()
    return tuple(
        pair
        for client in scheduled_clients(schedule, has_systemd=has_systemd)
        for directory in client.directories
        for pair in _pairs(client.name, Path(directory), target.domain)
        if os.path.realpath(own) != pair.certificate.resolved
    )


def _pairs(client: str, directory: Path, domain: str) -> Iterator[AcmePair]:
    for names in _LAYOUTS.get(client, ()):
        chain, key = (directory / name.format(name=domain) for name in names)
        try:
            if not chain.is_file():
                continue
        except OSError:
            continue
        certificate, private = pem_file(str(chain)), key_file(str(key))
        if isinstance(certificate, PemFile) and certificate.certificates and not isinstance(private, NotSeen):
            yield AcmePair(client, str(directory), certificate, private)
