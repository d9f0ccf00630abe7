"""A backup written by the first version is read by this one."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ops.archive.manifest import Pair
from ops.archive.name import backups_in
from ops.archive.reading import open_archive

# Written by `gte-ops backup create` 0.1.0 on a stack of the lab; its key is a throwaway one.
RECORDED = Path(__file__).parent / "recorded"
NAME = "gte-ops-vm-20261130T062128Z.tar.zst"
ROOT = "tmp/gte-lab-4u5m_zow"
LIVE = f"{ROOT}/letsencrypt/live/gte.lab.example"


def test_the_first_versions_name_is_a_backup() -> None:
    assert [(name.host, path.name) for name, path in backups_in(RECORDED)] == [("vm", NAME)]


def test_the_first_versions_archive_is_read_whole() -> None:
    with open_archive(RECORDED / NAME) as archive:
        manifest = archive.manifest
        contents = {member.entry.path: b"".join(member.chunks()) for member in archive.members()}
    assert manifest.host == "vm"
    assert manifest.versions["gte-ops"] == "0.1.0"
    assert manifest.letsencrypt_dir == f"/{ROOT}/letsencrypt"
    assert Pair(certificate=f"{LIVE}/fullchain.pem", key=f"{LIVE}/privkey.pem") in manifest.pairs
    assert manifest.nginx is not None
    assert manifest.nginx.config_file == f"/{ROOT}/nginx/nginx.conf"
    entries = {entry.path: entry for entry in manifest.entries}
    assert entries[f"{LIVE}/privkey.pem"].kind == "link"
    assert entries[f"{LIVE}/privkey.pem"].target == "../../archive/gte.lab.example/privkey1.pem"
    files = [entry for entry in manifest.entries if entry.kind == "file"]
    assert len(files) == 14
    for entry in files:
        assert hashlib.sha256(contents[entry.path]).hexdigest() == entry.sha256, entry.path
    assert b"proxy_pass" in contents[f"{ROOT}/nginx/conf.d/gte-api.conf"]
