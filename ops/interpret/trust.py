"""Whether a certificate speaks for a name."""

from __future__ import annotations

from ops.facts.certificates import Certificate


def covers(certificate: Certificate, host: str) -> bool:
    """Whether a SAN matches ``host``; a wildcard stands for one label (RFC 9525, 6.3)."""
    host = host.lower().rstrip(".")
    return any(
        name.lower() == host
        or (name.startswith("*.") and "." in host and host.partition(".")[2] == name[2:].lower())
        for name in certificate.names
    )
