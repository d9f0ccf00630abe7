"""Whether a certificate and a key belong together."""

from __future__ import annotations

import re

MAX_PEM_BYTES = 1 << 20
_KEY = re.compile(rb"-----BEGIN ([A-Z0-9 ]*)PRIVATE KEY-----.*?-----END \1PRIVATE KEY-----", re.DOTALL)


def pair_problem(certificate: bytes, key: bytes) -> str | None:
    """Why the PEM texts ``certificate`` (its first one counts, RFC 8446 4.4.2) and ``key`` are not a pair; None if they
    are, or if the key is encrypted and cannot be compared. The answer contains nothing of the key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from ops.interpret.x509 import certificate_from_der, pem_blocks, spki_hash

    try:
        der = next(pem_blocks(certificate), None)
        if der is None:
            return "the certificate file holds no certificate"
        certificate_public_key = certificate_from_der(der).public_key
    except ValueError as error:
        return f"the certificate cannot be read: {error}"
    block = _KEY.search(key)
    if block is None:
        return "the key file holds no private key"
    if b"ENCRYPTED" in block[0][:200]:
        return None
    try:
        key_public_key = spki_hash(load_pem_private_key(block[0] + b"\n", password=None).public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return "the private key cannot be read"
    return None if key_public_key == certificate_public_key else "key and certificate do not belong together"
