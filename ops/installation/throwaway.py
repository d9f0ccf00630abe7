"""A throwaway authority and one certificate of it, for tests: nobody trusts it but those who are given its root."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAYS = 90


@dataclass(frozen=True)
class ThrowawayPair:
    """PEM texts: the authority's certificate, the server's with it, and the server's private key."""

    authority: str
    chain: str
    key: str


def throwaway_pair(domain: str) -> ThrowawayPair:
    """A certificate for ``domain``, valid for 90 days. The authority's key is forgotten: it issues no other
    (RFC 5280)."""
    start = datetime.now(UTC) - timedelta(hours=1)
    end = start + timedelta(days=DAYS)
    issuer_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Throwaway authority of {domain}")])
    usage = {
        "digital_signature": False, "content_commitment": False, "key_encipherment": False, "data_encipherment": False,
        "key_agreement": False, "key_cert_sign": False, "crl_sign": False, "encipher_only": False,
        "decipher_only": False,
    }  # fmt: skip
    issuer_id = x509.SubjectKeyIdentifier.from_public_key(issuer_key.public_key())
    authority = (
        x509.CertificateBuilder(
            issuer_name, issuer_name, issuer_key.public_key(), x509.random_serial_number()
        )
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(**usage | {"key_cert_sign": True, "crl_sign": True}), critical=True)
        .add_extension(issuer_id, critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    # A common name holds 64 characters (RFC 5280, ub-common-name); the name that counts is the subjectAltName.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domain)] if len(domain) <= 64 else [])
    certificate = (
        x509.CertificateBuilder(issuer_name, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=not list(subject))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage | {"digital_signature": True}), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id), critical=False
        )
        .sign(issuer_key, hashes.SHA256())
    )
    form = serialization.Encoding.PEM
    authority_text = authority.public_bytes(form).decode()
    key_text = key.private_bytes(
        form, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return ThrowawayPair(authority_text, certificate.public_bytes(form).decode() + authority_text, key_text)
