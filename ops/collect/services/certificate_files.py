"""Certificate and key files on disk: those that nginx would load, and the authorities beside them."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ops.facts.base import NotSeen
from ops.facts.certificates import (
    Certificate,
    Certificates,
    FileProblem,
    KeyFile,
    PemDefect,
    PemFile,
    RevocationList,
)
from ops.facts.nginx import NginxConfig
from ops.facts.target import Target
from ops.files.bounded_read import read_regular_file
from ops.interpret.pem import bad_marker, has_no_lines, read_pem, whole_file_defect
from ops.interpret.site import find_site
from ops.interpret.x509 import CertificateSet, certificate_der, defect_words, revocation_lists, spki_hash
from ops.text.sanitize import safe_line

MAX_FILE_BYTES = 1 << 20
MAX_CERTIFICATES = 50
# Limits on files read beside the certificate; a directory of a thousand files is a store, not a lineage.
MAX_NEARBY = 20
MAX_LISTED = 1000
NEARBY_SUFFIXES = (".pem", ".crt", ".cer", ".ca-bundle")
KEY_SUFFIXES = (".pem", ".key")
# nginx accepts these instead of a path (ngx_ssl_certificate): data in the configuration, a key in a device, a variable.
_NO_PATH = re.compile(r"^(?:data|engine|store):|\$")
_KEY_LINE = re.compile(rb"-----(BEGIN|END) ([A-Z0-9 ]{0,40})PRIVATE KEY-----")


def certificate_files(target: Target, config: NginxConfig | NotSeen) -> Certificates:
    """Return the files named by the target, the authorities beside the certificate, the lists of ssl_crl, and, if
    certificate and key do not match, files beside them that do."""
    certificate_set = CertificateSet()
    leaf = pem_file(target.certificate, certificate_set) if target.certificate else _unnamed("certificate")
    key = key_file(target.private_key) if target.private_key else _unnamed("private key")
    nearby = tuple(_nearby(target, certificate_set))
    files = Certificates(
        leaf=_signed(leaf, certificate_set),
        key=key,
        nearby=nearby,
        revocations=tuple(_revocations(target, config)),
    )
    if not isinstance(leaf, PemFile) or not isinstance(key, KeyFile) or not leaf.certificates:
        return files
    if key.public_key is None or key.public_key == leaf.certificates[0].public_key:
        return files
    return msgspec.structs.replace(
        files,
        other_keys=tuple(_keys_of(leaf.certificates[0].public_key, leaf, key)),
        other_certificates=tuple(_certificates_of(key.public_key, leaf, key)),
    )


def _revocations(target: Target, config: NginxConfig | NotSeen) -> Iterator[RevocationList]:
    """Yield the lists in the files of ssl_crl; a file that cannot be read has none."""
    site = None if isinstance(config, NotSeen) else find_site(config, target.domain, target.backend)
    if site is None or isinstance(config, NotSeen):
        return
    folder = Path(config.file).parent  # ngx_conf_full_name
    for line in site.server.effective("ssl_crl")[-1:]:
        for name in line.args[:1]:
            path = str(folder / name)
            with contextlib.suppress(OSError, ValueError):
                yield from revocation_lists(
                    read_regular_file(path, MAX_FILE_BYTES).content, safe_line(path, 1000)
                )


def _signed(file: PemFile | NotSeen, certificate_set: CertificateSet) -> PemFile | NotSeen:
    """Return ``file`` with the known certificate that signed each of its own."""
    if isinstance(file, NotSeen):
        return file
    return msgspec.structs.replace(file, certificates=tuple(map(certificate_set.signed, file.certificates)))


def is_path(text: str) -> bool:
    """Return whether nginx reads this value of ssl_certificate as the path of a file."""
    return not _NO_PATH.search(text)


def _unnamed(what: str) -> NotSeen:
    return NotSeen(reason=f"no {what} file is configured", is_lasting=True)


def pem_file(path: str, certificate_set: CertificateSet | None = None) -> PemFile | NotSeen:
    """Return the certificates in the file at ``path``; its faults are in ``problem`` and ``defects``.

    ``certificate_set``: the set to add them to, so that the caller can find signers later; without it, signers are
    found among the file's own certificates."""
    if _NO_PATH.search(path):
        return NotSeen(reason=safe_line(f"{path} is not the path of a file"))
    display_path, resolved = safe_line(path, 1000), _resolved(path)
    try:
        read = read_regular_file(path, MAX_FILE_BYTES)
    except PermissionError as error:
        if os.geteuid() != 0:
            return NotSeen(reason=_denied(path, error), needs_root=True)
        return PemFile(
            path=display_path, resolved=resolved, problem=FileProblem.UNREADABLE, detail=_denied(path, error)
        )
    except (OSError, ValueError) as error:
        why, words = _problem(path, error)
        return PemFile(path=display_path, resolved=resolved, problem=why, detail=words)
    file = PemFile(path=display_path, resolved=resolved, modified=read.modified, mode=read.mode)
    problem, detail = _content_problem(read.content, read.is_whole)
    if problem is not None:
        return msgspec.structs.replace(file, problem=problem, detail=detail)
    own = CertificateSet() if certificate_set is None else certificate_set
    file = _with_content(file, read.content, own)
    if certificate_set is None:
        file = msgspec.structs.replace(file, certificates=tuple(map(own.signed, file.certificates)))
    return file


def _with_content(file: PemFile, content: bytes, certificate_set: CertificateSet) -> PemFile:
    """Return ``file`` with the content of its PEM blocks."""
    certificates: list[Certificate] = []
    places: list[tuple[int, int]] = []
    defects: list[PemDefect] = []
    hidden: list[Certificate] = []
    detail, key, number = "", None, 0
    for block in () if has_no_lines(content) else read_pem(content):
        if block.is_key and key is None and block.der is not None:
            key = _public_half(content)[0]
        if not block.is_certificate or number >= MAX_CERTIFICATES:
            continue
        number += not block.is_hidden
        try:
            facts = certificate_set.add(certificate_der(block)) if block.der is not None else None
        except ValueError as error:
            if not block.is_hidden:
                detail = detail or safe_line(f"certificate {number} cannot be read: {error}")
            continue
        if block.defect is not None and (facts is not None or not block.is_hidden):
            defects.append(block.defect)
            if not block.is_hidden:
                detail = detail or f"certificate {number} {defect_words(block.defect)}"
        if facts is not None and block.is_hidden:
            hidden.append(facts)
        elif facts is not None:
            certificates.append(facts)
            places.append((block.line, block.last_line))
    whole = (bad_marker if certificates or defects else whole_file_defect)(content)
    if not certificates and not detail:
        detail = _instead(content)
    return msgspec.structs.replace(
        file,
        certificates=tuple(certificates),
        hidden=tuple(hidden),
        places=tuple(places),
        defects=(*defects, *((whole,) if whole else ())),
        problem=FileProblem.NOT_PEM if detail else None,
        detail=detail,
        key=key,
    )


def key_file(path: str) -> KeyFile | NotSeen:
    """Return the facts about the private key at ``path`` without keeping any part of it."""
    if _NO_PATH.search(path):
        return NotSeen(reason=safe_line(f"{path} is not the path of a file"))
    display_path, resolved = safe_line(path, 1000), _resolved(path)
    modified, mode = _status(path)
    try:
        content = read_regular_file(path, MAX_FILE_BYTES)
    except PermissionError as error:
        problem, detail = FileProblem.UNREADABLE, _denied(path, error)
    except (OSError, ValueError) as error:
        problem, detail = _problem(path, error)
    else:
        trouble, detail = _content_problem(content.content, content.is_whole)
        public_key: str | None = None
        defects: tuple[PemDefect, ...] = ()
        if trouble is None:
            public_key, trouble, detail = _public_half(content.content)
            defects = _key_defects(content.content)
            if defects and trouble is None:
                trouble, detail = FileProblem.NOT_PEM, f"the private key {defect_words(defects[0])}"
        return KeyFile(
            path=display_path,
            resolved=resolved,
            modified=content.modified,
            mode=content.mode,
            public_key=public_key,
            problem=trouble,
            detail=detail,
            defects=defects,
        )
    return KeyFile(
        path=display_path, resolved=resolved, modified=modified, mode=mode, problem=problem, detail=detail
    )


def _public_half(content: bytes) -> tuple[str | None, FileProblem | None, str]:
    """Return the hash of the key's public half, or the problem and its detail. Neither holds any part of the key."""
    block = _key_block(content)
    if block is None:
        return None, FileProblem.NOT_PEM, _instead(content)
    if b"ENCRYPTED PRIVATE KEY-----" in block or b"Proc-Type: 4,ENCRYPTED" in block:
        return None, FileProblem.ENCRYPTED, "the key is encrypted: nginx needs ssl_password_file to read it"
    try:
        # Only the public half is needed: proving the primes of an RSA key takes a twentieth of a second for each key.
        key = load_pem_private_key(block + b"\n", password=None, unsafe_skip_rsa_key_validation=True)
        return spki_hash(key.public_key()), None, ""
    except TypeError:
        return None, FileProblem.ENCRYPTED, "the key is encrypted: nginx needs ssl_password_file to read it"
    except (ValueError, UnsupportedAlgorithm) as error:
        # The error's words name positions in ASN.1, never key material; still, its type is enough.
        return (
            None,
            FileProblem.NOT_PEM,
            f"the private key in it is damaged or of an unknown kind ({type(error).__name__})",
        )


def _key_defects(content: bytes) -> tuple[PemDefect, ...]:
    """Return the defect that keeps OpenSSL from reading the file's private key: none if one key is intact."""
    keys = [block for block in read_pem(content) if block.is_key]
    if any(block.defect is None for block in keys):
        return ()
    if not keys:
        whole = whole_file_defect(content)
        return () if whole is None else (whole,)
    # Only defects of the PEM lines count here: `_public_half` reports a key that is undecodable or of another kind.
    return tuple(block.defect for block in keys if block.defect is not None)[:1]


def _key_block(content: bytes) -> bytes | None:
    """Return the first private key's PEM block that has an end, in one pass, however many BEGIN lines there are."""
    lines = list(_KEY_LINE.finditer(content))
    ends: dict[bytes, re.Match[bytes]] = {}
    block = None
    for line in reversed(lines):
        if line[1] == b"END":
            ends[line[2]] = line
        elif line[2] in ends:
            block = content[line.start() : ends[line[2]].end()]
    return block


def _content_problem(content: bytes, is_whole: bool) -> tuple[FileProblem | None, str]:
    if not content.strip():
        return FileProblem.EMPTY, "the file is empty"
    if not is_whole:
        return FileProblem.NOT_PEM, f"the file is larger than {MAX_FILE_BYTES >> 20} MiB"
    return None, ""


def _instead(content: bytes) -> str:
    """Describe the content of a file without the wanted PEM block, as far as it can be recognised."""
    if re.match(rb"\x30[\x80-\x84]", content):
        return "it is DER, not PEM (openssl x509 -inform der converts it)"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or content[:200].count(b"\0") > 20:
        return "it is binary or UTF-16 text, not PEM"
    kinds = sorted(
        {
            label.decode("ascii", "replace")
            for label in re.findall(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----", content)
        }
    )
    if kinds:
        return f"it holds {', '.join(kinds)} instead"
    return "there is no PEM block in it"


def _problem(path: str, error: OSError | ValueError) -> tuple[FileProblem, str]:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        link = _dangling(path)
        if link:
            return FileProblem.DANGLING, safe_line(
                f"{link} is a symbolic link to something that does not exist"
            )
        return FileProblem.MISSING, safe_line(f"{path} does not exist")
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return FileProblem.UNREADABLE, safe_line(f"{path}: {words.lower()}")


def _dangling(path: str) -> str | None:
    """Return the first symbolic link on the way to ``path`` whose target does not exist."""
    places = (*reversed(Path(path).parents), Path(path))
    with contextlib.suppress(OSError, ValueError):
        return next((str(place) for place in places if place.is_symlink() and not place.exists()), None)
    return None


def _denied(path: str, error: PermissionError) -> str:
    return safe_line(f"{error.filename or path}: permission denied for this user")


def _real(path: str | Path) -> str:
    """Return ``path`` with its links resolved as far as possible."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return str(path)


def _resolved(path: str) -> str:
    return safe_line(_real(path), 1000)


def _status(path: str) -> tuple[float | None, int | None]:
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None, None
    return status.st_mtime, stat.S_IMODE(status.st_mode)


# --- files beside the certificate ---


def _nearby(target: Target, certificate_set: CertificateSet) -> Iterator[PemFile]:
    """Yield the PEM files with authorities in the certificate's directory, as named and as resolved."""
    if not target.certificate or _NO_PATH.search(target.certificate):
        return
    certificate = target.certificate
    # certbot's lineage first: chain.pem holds exactly the intermediates.
    first = str(Path(certificate).with_name("chain.pem"))
    for path in _beside((certificate,), NEARBY_SUFFIXES, but=(certificate,), first=(first,)):
        file = pem_file(path, certificate_set)
        if isinstance(file, PemFile) and any(c.is_authority for c in file.certificates):
            yield file


def _keys_of(public_key: str, leaf: PemFile, key: KeyFile) -> Iterator[KeyFile]:
    """Yield the private keys beside the pair that belong to a certificate with ``public_key``."""
    for path in _beside((key.path, leaf.path), KEY_SUFFIXES, but=(key.path,)):
        other_key = key_file(path)
        if isinstance(other_key, KeyFile) and other_key.public_key == public_key:
            yield other_key


def _certificates_of(public_key: str, leaf: PemFile, key: KeyFile) -> Iterator[PemFile]:
    """Yield the certificates beside the pair that belong to the key of ``public_key``, the most complete file first."""
    files = [
        file
        for path in _beside((leaf.path, key.path), NEARBY_SUFFIXES, but=(leaf.path,))
        if isinstance(file := pem_file(path), PemFile)
        and file.certificates
        and file.problem is None
        and file.certificates[0].public_key == public_key
    ]
    yield from sorted(files, key=lambda file: -len(file.certificates))


def _beside(
    paths: tuple[str, ...], suffixes: tuple[str, ...], *, but: tuple[str, ...], first: tuple[str, ...] = ()
) -> Iterator[str]:
    """Yield at most `MAX_NEARBY` files with one of ``suffixes`` in the directories of ``paths``, as named and as
    resolved; each file once, none of ``but``, those in ``first`` first."""
    real_paths = {_real(path) for path in but}
    count = 0
    for path in (*first, *_candidates(paths, suffixes)):
        real = _real(path)
        if real in real_paths:
            continue
        real_paths.add(real)
        count += 1
        if count > MAX_NEARBY:
            return
        yield path


def _candidates(paths: tuple[str, ...], suffixes: tuple[str, ...]) -> Iterator[str]:
    places = (place for path in paths for place in (Path(path).parent, Path(_real(path)).parent))
    for directory in dict.fromkeys(places):
        try:
            with os.scandir(directory) as entries:
                names = sorted(entry.name for _, entry in zip(range(MAX_LISTED), entries, strict=False))
        except (OSError, ValueError):
            continue
        yield from (str(directory / name) for name in names if name.lower().endswith(suffixes))
