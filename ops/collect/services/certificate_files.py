"""Certificate and key files on disk: what nginx would load, and authorities that lie beside them."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ops.facts.base import NotSeen
from ops.facts.certificates import Certificate, Certificates, KeyFile, PemFile
from ops.facts.target import Target
from ops.files.bounded_read import read_regular_file
from ops.interpret.x509 import certificate_from_der, pem_blocks, spki_hash
from ops.text.sanitize import safe_line

MAX_FILE_BYTES = 1 << 20
MAX_CERTIFICATES = 50
# Files looked at beside the certificate; a directory of a thousand is a store, not a lineage.
MAX_NEARBY = 20
MAX_LISTED = 1000
NEARBY_SUFFIXES = (".pem", ".crt", ".cer", ".ca-bundle")
# nginx takes these instead of a path (ngx_ssl_certificate): data in the configuration, a key in a device, a variable.
_NO_PATH = re.compile(r"^(?:data|engine|store):|\$")
_KEY_LINE = re.compile(rb"-----(BEGIN|END) ([A-Z0-9 ]{0,40})PRIVATE KEY-----")


def certificate_files(target: Target) -> Certificates:
    """The files named by the target, and the authorities beside the certificate."""
    leaf = pem_file(target.certificate) if target.certificate else _unnamed("certificate")
    key = key_file(target.private_key) if target.private_key else _unnamed("private key")
    return Certificates(leaf=leaf, key=key, nearby=tuple(_nearby(target)))


def is_path(written: str) -> bool:
    """Whether nginx takes this value of ssl_certificate for the path of a file."""
    return not _NO_PATH.search(written)


def _unnamed(what: str) -> NotSeen:
    return NotSeen(reason=f"no {what} file is configured")


def pem_file(path: str) -> PemFile | NotSeen:
    """The certificates in the file at ``path``; what is wrong with it stands in ``problem``."""
    if _NO_PATH.search(path):
        return NotSeen(reason=safe_line(f"{path} is not the path of a file"))
    shown, resolved = safe_line(path, 1000), _resolved(path)
    try:
        read = read_regular_file(path, MAX_FILE_BYTES)
    except PermissionError as error:
        if os.geteuid() != 0:
            return NotSeen(reason=_denied(path, error), needs_root=True)
        return PemFile(path=shown, resolved=resolved, problem="unreadable", detail=_denied(path, error))
    except (OSError, ValueError) as error:
        why, words = _problem(path, error)
        return PemFile(path=shown, resolved=resolved, problem=why, detail=words)
    certificates: list[Certificate] = []
    problem, detail = _content_problem(read.content, read.is_whole)
    if problem is None:
        try:
            for number, der in enumerate(pem_blocks(read.content), 1):
                if number > MAX_CERTIFICATES:
                    break
                try:
                    certificates.append(certificate_from_der(der))
                except ValueError as error:
                    raise ValueError(f"certificate {number} cannot be read: {error}") from None
        except ValueError as error:
            problem, detail = "not_pem", safe_line(str(error))
        else:
            if not certificates:
                problem, detail = "not_pem", _instead(read.content)
    return PemFile(
        path=shown,
        resolved=resolved,
        modified=read.modified,
        certificates=tuple(certificates),
        problem=problem,
        detail=detail,
    )


def key_file(path: str) -> KeyFile | NotSeen:
    """What can be told of the private key at ``path`` without keeping a word of it."""
    if _NO_PATH.search(path):
        return NotSeen(reason=safe_line(f"{path} is not the path of a file"))
    shown, resolved = safe_line(path, 1000), _resolved(path)
    modified, mode = _status(path)
    try:
        content = read_regular_file(path, MAX_FILE_BYTES)
    except PermissionError as error:
        problem, detail = "unreadable", _denied(path, error)
    except (OSError, ValueError) as error:
        problem, detail = _problem(path, error)
    else:
        trouble, detail = _content_problem(content.content, content.is_whole)
        public_key = None
        if trouble is None:
            public_key, trouble, detail = _public_half(content.content)
        return KeyFile(
            path=shown,
            resolved=resolved,
            modified=content.modified,
            mode=content.mode,
            public_key=public_key,
            problem=trouble,
            detail=detail,
        )
    return KeyFile(
        path=shown, resolved=resolved, modified=modified, mode=mode, problem=problem, detail=detail
    )


def _public_half(content: bytes) -> tuple[str | None, str | None, str]:
    """The hash of the key's public half, or the problem and its detail. No word of the key goes into either."""
    block = _key_block(content)
    if block is None:
        return None, "not_pem", _instead(content)
    if b"ENCRYPTED PRIVATE KEY-----" in block or b"Proc-Type: 4,ENCRYPTED" in block:
        return None, "encrypted", "the key is encrypted: nginx needs ssl_password_file to read it"
    try:
        # The public half alone is wanted: proving an RSA key's primes would take a twentieth of a second each.
        key = load_pem_private_key(block + b"\n", password=None, unsafe_skip_rsa_key_validation=True)
        return spki_hash(key.public_key()), None, ""
    except TypeError:
        return None, "encrypted", "the key is encrypted: nginx needs ssl_password_file to read it"
    except (ValueError, UnsupportedAlgorithm) as error:
        # The error's own words name ASN.1 places, never key material; its kind is enough all the same.
        return (
            None,
            "not_pem",
            f"the private key in it is damaged or of an unknown kind ({type(error).__name__})",
        )


def _key_block(content: bytes) -> bytes | None:
    """The first private key's PEM block that has an end, in one pass: however many beginnings there are."""
    lines = list(_KEY_LINE.finditer(content))
    ends: dict[bytes, re.Match[bytes]] = {}
    block = None
    for line in reversed(lines):
        if line[1] == b"END":
            ends[line[2]] = line
        elif line[2] in ends:
            block = content[line.start() : ends[line[2]].end()]
    return block


def _content_problem(content: bytes, is_whole: bool) -> tuple[str | None, str]:
    if not content.strip():
        return "empty", "the file is empty"
    if not is_whole:
        return "not_pem", f"the file is larger than {MAX_FILE_BYTES >> 20} MiB"
    return None, ""


def _instead(content: bytes) -> str:
    """What a file without the wanted PEM block is, as far as it can be told."""
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


def _problem(path: str, error: OSError | ValueError) -> tuple[str, str]:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        link = _dangling(path)
        if link:
            return "dangling", safe_line(f"{link} is a symbolic link to something that does not exist")
        return "missing", safe_line(f"{path} does not exist")
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return "unreadable", safe_line(f"{path}: {words.lower()}")


def _dangling(path: str) -> str | None:
    """The first symbolic link on the way to ``path`` whose target is not there."""
    places = (*reversed(Path(path).parents), Path(path))
    with contextlib.suppress(OSError, ValueError):
        return next((str(place) for place in places if place.is_symlink() and not place.exists()), None)
    return None


def _denied(path: str, error: PermissionError) -> str:
    return safe_line(f"{error.filename or path}: permission denied for this user")


def _real(path: str | Path) -> str:
    """``path`` with its links followed as far as they lead."""
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


# --- authorities beside the certificate ---


def _nearby(target: Target) -> Iterator[PemFile]:
    """Authorities in PEM files of the certificate's directory, as named and as resolved."""
    if not target.certificate or _NO_PATH.search(target.certificate):
        return
    seen = {_real(target.certificate)}
    count = 0
    for path in _candidates(target):
        real = _real(path)
        if real in seen:
            continue
        seen.add(real)
        count += 1
        if count > MAX_NEARBY:
            return
        found = pem_file(path)
        if isinstance(found, PemFile) and any(c.is_authority for c in found.certificates):
            yield found


def _candidates(target: Target) -> Iterator[str]:
    assert target.certificate is not None  # noqa: S101  asked before
    named = Path(target.certificate)
    # certbot's lineage first: chain.pem holds exactly the intermediates.
    yield str(named.with_name("chain.pem"))
    for directory in dict.fromkeys((named.parent, Path(_real(target.certificate)).parent)):
        try:
            with os.scandir(directory) as entries:
                names = sorted(entry.name for _, entry in zip(range(MAX_LISTED), entries, strict=False))
        except (OSError, ValueError):
            continue
        yield from (str(directory / name) for name in names if name.lower().endswith(NEARBY_SUFFIXES))
