"""A throwaway certificate authority: root, intermediate and leaf, with any name, dates and kind of key.

The profile follows RFC 5280 and what public authorities issue today (90 days, names in subjectAltName), so that what
the lab serves differs from a public certificate only in its root.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def new_key(kind: str = "ecdsa") -> PrivateKey:
    """A fresh key: ``ecdsa`` (P-256, in under a millisecond) or ``rsa`` (2048 bits, some tenths of a second)."""
    if kind == "ecdsa":
        return ec.generate_private_key(ec.SECP256R1())
    if kind == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    raise ValueError(f"kind of key {kind!r}: 'ecdsa' or 'rsa'")


@dataclass(frozen=True)
class Issued:
    """A certificate, its key, and the certificates above it without the root."""

    certificate: x509.Certificate
    key: PrivateKey
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def pem(self) -> bytes:
        """The certificate alone (certbot's cert.pem)."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def chain_pem(self) -> bytes:
        """What stands above it (certbot's chain.pem)."""
        return b"".join(above.public_bytes(serialization.Encoding.PEM) for above in self.chain)

    @property
    def fullchain_pem(self) -> bytes:
        """The certificate and what stands above it (certbot's fullchain.pem)."""
        return self.pem + self.chain_pem

    @property
    def key_pem(self) -> bytes:
        """The private key, PKCS #8, not encrypted (certbot's privkey.pem)."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


class Authority:
    """A root and an intermediate that issue leaves. Each instance is a different, untrusted-elsewhere authority."""

    def __init__(self, name: str = "GTE Lab") -> None:
        """Makes both certificates, valid from a day ago for ten years."""
        self.root = self._issue_authority(f"{name} Root", issuer=None, path_length=1)
        self.intermediate = self._issue_authority(f"{name} Intermediate", issuer=self.root, path_length=0)

    def issue(
        self,
        names: Sequence[str],
        *,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        kind: str = "ecdsa",
        key: PrivateKey | None = None,
        client: bool = False,
    ) -> Issued:
        """A server's certificate (with ``client`` a client's) for ``names``: DNS names, wildcards, or IP addresses.

        Valid for 90 days from yesterday unless told otherwise; ``not_after`` may be past: dates are taken as they
        are. With ``key`` that key is certified again (certbot's ``--reuse-key``).
        """
        key = key or new_key(kind)
        start = not_before or datetime.now(UTC) - timedelta(days=1)
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])] if names else []))
            .issuer_name(self.intermediate.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(not_after or start + timedelta(days=90))
            .add_extension(
                x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.intermediate.key.public_key()),
                critical=False,
            )
            .sign(self.intermediate.key, hashes.SHA256())
        )
        return Issued(certificate, key, (self.intermediate.certificate,))

    def _issue_authority(self, name: str, *, issuer: Issued | None, path_length: int) -> Issued:
        key = new_key()
        signer = issuer.key if issuer else key
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        start = datetime.now(UTC) - timedelta(days=1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
            .add_extension(_key_usage(ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
            )
        )
        return Issued(builder.sign(signer, hashes.SHA256()), key)


def self_signed(names: Sequence[str]) -> Issued:
    """A certificate signed by its own key, as `openssl req -x509` makes: trusted by nobody."""
    key = new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    start = datetime.now(UTC) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Issued(certificate, key)


def write_lineage(directory: Path, name: str, issued: Issued, *, version: int = 1) -> Path:
    """Lays ``issued`` down as certbot does, and returns the live directory.

    Files in archive/NAME/, symbolic links to them in live/NAME/, renewal/NAME.conf beside
    (eff-certbot.readthedocs.io, "Where are my certificates?"). A higher ``version`` is a renewal: the links move on.
    """
    archive, live = directory / "archive" / name, directory / "live" / name
    for folder in (archive, live, directory / "renewal"):
        folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "cert": issued.pem,
        "chain": issued.chain_pem,
        "fullchain": issued.fullchain_pem,
        "privkey": issued.key_pem,
    }
    for stem, content in contents.items():
        file = archive / f"{stem}{version}.pem"
        file.touch(mode=0o600 if stem == "privkey" else 0o644)
        file.write_bytes(content)
        link = live / f"{stem}.pem"
        moved = link.with_suffix(".new")
        moved.unlink(missing_ok=True)
        moved.symlink_to(Path("..", "..", "archive", name, file.name))
        moved.replace(link)
    renewal = [f"archive_dir = {archive}", *(f"{stem} = {live}/{stem}.pem" for stem in contents)]
    renewal += ["[renewalparams]", "authenticator = webroot", "server = https://acme.invalid/directory"]
    (directory / "renewal" / f"{name}.conf").write_text("\n".join(renewal) + "\n")
    return live


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
