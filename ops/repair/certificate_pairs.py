"""Certificate files that fit, found on this host: a pair in certbot's archive, and the intermediate beside a leaf."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from ops.archive.manifest import ManifestEntry
from ops.collect.services.certbot import STEMS
from ops.collect.services.certificate_files import key_file, pem_file
from ops.facts.base import NotSeen
from ops.facts.certificates import Certificate, Certificates, KeyFile, PemFile
from ops.facts.target import Target
from ops.files.bounded_read import read_regular_file
from ops.files.entry_kind import EntryKind
from ops.interpret.trust import covers, may_have_issued
from ops.repair.file_entry import file_entry
from ops.repair.model import Replacement
from ops.text.language import Text

MAX_VERSIONS = 200
MAX_BYTES = 1 << 20
_VERSION = re.compile(r"fullchain(\d{1,6})\.pem")


def archived_pair(target: Target, now: float) -> tuple[Replacement, ...]:
    """Return the links of the site's lineage that lead elsewhere than to the newest version whose key belongs to its
    certificate, that is valid ``now`` (Unix seconds) and covers the domain; none for a certificate of another kind."""
    live = Path(target.certificate or "/").parent
    root = Path(os.path.realpath(target.letsencrypt_dir))
    if live.parent.name != "live" or Path(os.path.realpath(live.parent.parent)) != root:
        return ()
    archive = root / "archive" / live.name
    for number in _versions(archive):
        paths = {stem: archive / f"{stem}{number}.pem" for stem in STEMS}
        if not all(path.is_file() and not path.is_symlink() for path in paths.values()):
            continue
        chain, key = pem_file(str(paths["fullchain"])), key_file(str(paths["privkey"]))
        if isinstance(chain, PemFile) and isinstance(key, KeyFile) and _fits(chain, key, target.domain, now):
            return tuple(_links(root / "live" / live.name, paths, number))
    return ()


def _versions(archive: Path) -> list[int]:
    try:
        names = [entry.name for entry, _ in zip(os.scandir(archive), range(MAX_VERSIONS), strict=False)]
    except OSError:
        return []
    return sorted((int(match[1]) for name in names if (match := _VERSION.fullmatch(name))), reverse=True)


def _fits(chain: PemFile, key: KeyFile, domain: str, now: float) -> bool:
    leaf = chain.certificates[0] if chain.certificates else None
    return (
        leaf is not None
        and not chain.defects
        and chain.problem is None
        and key.problem is None
        and key.public_key == leaf.public_key
        and leaf.not_before <= now < leaf.not_after
        and covers(leaf, domain)
    )


def _links(live: Path, paths: dict[str, Path], number: int) -> Iterator[Replacement]:
    source = Text(en=f"version {number} in certbot's archive", zh=f"certbot archive 中的第 {number} 版")
    for stem, path in paths.items():
        link = live / f"{stem}.pem"
        if os.path.realpath(link) == str(path) and link.is_symlink():
            continue
        entry = ManifestEntry(
            path=str(link).strip("/"),
            kind=EntryKind.LINK,
            mode=0o777,
            uid=os.geteuid(),
            gid=os.getegid(),
            modified_ns=path.stat().st_mtime_ns,
            target=os.path.relpath(path, live),
        )
        yield Replacement(str(link), entry, b"", source, None)


def with_intermediate(certificates: Certificates) -> Replacement | None:
    """Return the site's certificate followed by the intermediate that signed it, both as they lie beside each other, to
    replace the site's file; None if one is not found, or the file is so already."""
    leaf = certificates.leaf
    if not isinstance(leaf, PemFile):
        return None
    try:
        present = read_regular_file(leaf.resolved, MAX_BYTES).content
        site = _first_block(leaf, present) or _certificate_beside(leaf, certificates.key)
        if site is None:
            return None
        block, own = site
        found = next((file for file in certificates.nearby if _holds_its_intermediate(file, own, leaf)), None)
        if found is None:
            return None
        more = read_regular_file(found.resolved, MAX_BYTES).content
    except (OSError, ValueError):
        return None
    content = block.rstrip() + b"\n" + more
    entry = file_entry(leaf.resolved, content)
    source = Text(en=f"with the intermediate of {found.path}", zh=f"补上 {found.path} 中的中间证书")
    is_new = entry is not None and content != present
    return Replacement(leaf.resolved, entry, content, source, present) if is_new else None


_END = b"-----END CERTIFICATE-----"


def _first_block(leaf: PemFile, content: bytes) -> tuple[bytes, Certificate] | None:
    """The first block of the site's file and its certificate; None if that block is damaged."""
    last = leaf.places[0][1] if leaf.places else 0
    if not leaf.certificates or any(defect.begins <= last for defect in leaf.defects):
        return None
    return content[: content.find(_END) + len(_END)] if _END in content else content, leaf.certificates[0]


def _certificate_beside(leaf: PemFile, key: KeyFile | NotSeen) -> tuple[bytes, Certificate] | None:
    """certbot's certificate alone (cert.pem) beside its damaged fullchain.pem, if it is the key's. Raises OSError,
    ValueError."""
    chain = Path(leaf.resolved)
    if not chain.name.startswith("fullchain") or not isinstance(key, KeyFile):
        return None
    file = pem_file(str(chain.with_name(chain.name.replace("fullchain", "cert", 1))))
    if not isinstance(file, PemFile) or file.problem is not None or file.defects or not file.certificates:
        return None
    own = file.certificates[0]
    if own.public_key != key.public_key:
        return None
    return read_regular_file(file.resolved, MAX_BYTES).content, own


def _holds_its_intermediate(file: PemFile, own: Certificate, leaf: PemFile) -> bool:
    first = file.certificates[0] if file.certificates else None
    return first is not None and file.path != leaf.path and not file.defects and _is_intermediate(first, own)


def _is_intermediate(issuer: Certificate, certificate: Certificate) -> bool:
    return issuer.is_authority and not issuer.self_signed and may_have_issued(issuer, certificate)
