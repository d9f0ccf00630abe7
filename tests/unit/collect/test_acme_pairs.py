"""What other ACME clients keep for the site, found where each of them lays it out."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ops.collect.services.acme_pairs import acme_pairs
from ops.facts.safeguards import CronEntry, Schedule
from ops.facts.target import Target
from tests.lab.authority import Authority
from tests.unit.made_snapshot import DOMAIN, TARGET


def scheduled(command: str) -> Schedule:
    entry = CronEntry(file="/etc/cron.d/acme", line=1, when="11 0 * * *", user="root", command=command)
    return Schedule(cron=(entry,), timers=())


def reads(certificate: Path | str) -> Target:
    return msgspec.structs.replace(TARGET, certificate=str(certificate))


@pytest.mark.parametrize(
    ("command", "chain", "key"),
    [
        ("HOME/acme.sh --cron --home HOME", f"{DOMAIN}_ecc/fullchain.cer", f"{DOMAIN}_ecc/{DOMAIN}.key"),
        ("HOME/acme.sh --cron --home HOME", f"{DOMAIN}/fullchain.cer", f"{DOMAIN}/{DOMAIN}.key"),
        ("lego --path HOME renew", f"certificates/{DOMAIN}.crt", f"certificates/{DOMAIN}.key"),
        ("dehydrated --cron -f HOME/config", f"certs/{DOMAIN}/fullchain.pem", f"certs/{DOMAIN}/privkey.pem"),
    ],
)
def test_each_client_s_pair_is_found(tmp_path: Path, command: str, chain: str, key: str) -> None:
    issued = Authority().issue([DOMAIN])
    for name, content in ((chain, issued.fullchain_pem), (key, issued.key_pem)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    schedule = scheduled(command.replace("HOME", str(tmp_path)))
    (pair,) = acme_pairs(reads("/etc/nginx/ssl/site.pem"), schedule, has_systemd=False)
    assert pair.certificate.path == str(tmp_path / chain)
    assert pair.key.public_key == pair.certificate.certificates[0].public_key
    assert acme_pairs(reads(tmp_path / chain), schedule, has_systemd=False) == (), "nginx reads it itself"
    assert acme_pairs(TARGET, schedule, has_systemd=False) == (), "the site's is certbot's"
