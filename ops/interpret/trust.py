"""Check whether a certificate covers a name, and find its issuers."""

from __future__ import annotations

from collections.abc import Sequence

from ops.facts.certificates import Certificate, PemFile

# Let's Encrypt's staging environment: its intermediates' organisation, and the older ones' name; Pebble's.
_TRIAL_ISSUERS = ("(STAGING)", "FAKE LE ", "PEBBLE ")


def covers(certificate: Certificate, host: str) -> bool:
    """Whether a SAN matches ``host``; a wildcard matches one label (RFC 9525, 6.3)."""
    host = host.lower().rstrip(".")
    return any(
        name.lower() == host
        or (name.startswith("*.") and "." in host and host.partition(".")[2] == name[2:].lower())
        for name in certificate.names
    )


def may_take_over(new: Certificate, served: Certificate, host: str, at: float) -> bool:
    """Whether ``new`` may be served for ``host`` in place of ``served``: valid, for longer, for that name, and of no
    authority that browsers refuse by its own words (RFC 8555, 7.1: Let's Encrypt's staging environment)."""
    return (
        new.not_before <= at < new.not_after
        and new.not_after > served.not_after
        and covers(new, host)
        and not new.self_signed
        and not any(words in new.issuer.upper() for words in _TRIAL_ISSUERS)
    )


def may_have_issued(issuer: Certificate, certificate: Certificate) -> bool:
    """Whether ``issuer`` may have signed ``certificate``, by names and key identifiers (RFC 5280, 4.1.2.4, 4.2.1.1)."""
    if certificate.signed_by and certificate.signed_by == issuer.fingerprint:
        return True
    key_ids = issuer.key_id, certificate.issuer_key_id
    return issuer.subject == certificate.issuer and (not all(key_ids) or key_ids[0] == key_ids[1])


def signed_path(chain: Sequence[Certificate]) -> tuple[Certificate, ...]:
    """Return the first certificate of ``chain`` and its successive issuers, as far as ``chain`` contains them.

    Issuers are matched by signature if the signatures were checked, else by name."""
    path = [chain[0]]
    while not path[-1].self_signed and (issuer := _signer(path[-1], chain)) not in (None, *path):
        assert issuer is not None  # noqa: S101  for mypy: None is in the tuple above
        path.append(issuer)
    return tuple(path)


def _signer(certificate: Certificate, chain: Sequence[Certificate]) -> Certificate | None:
    if certificate.signed_by is not None:
        return next((c for c in chain if c.fingerprint == certificate.signed_by), None)
    return next((c for c in chain[1:] if may_have_issued(c, certificate)), None)


def place_in(file: PemFile, fingerprint: str) -> tuple[int, int] | None:
    """Return the first and the last line of a certificate in ``file``; None if it is not there."""
    pairs = zip(file.certificates, file.places, strict=False)
    return next((place for certificate, place in pairs if certificate.fingerprint == fingerprint), None)
