"""Convert X.509 certificates from DER or PEM to facts (`ops.facts.certificates.Certificate`)."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from ops.facts.certificates import Certificate, PemDefect, PemDefectKind, RevocationList
from ops.interpret.pem import PemBlock, first_element, read_pem
from ops.text.sanitize import safe_line

MAX_NAMES = 500
MAX_LISTS = 50


def pem_blocks(content: bytes) -> Iterator[bytes]:
    """Yield the DER of every certificate in ``content`` that OpenSSL loads, in order. Raises ValueError at the first
    damaged one."""
    visible = (block for block in read_pem(content) if block.is_certificate and not block.is_hidden)
    for number, block in enumerate(visible, 1):
        if block.defect is not None:
            raise ValueError(f"certificate {number} {defect_words(block.defect)}")
        if block.der is not None:
            yield certificate_der(block)


_WORDS = {
    PemDefectKind.JOINED: "begins behind the END of the block before it: BEGIN needs a line of its own",
    PemDefectKind.BEHIND_TEXT: "begins behind other text: BEGIN needs a line of its own",
    PemDefectKind.INDENTED: "is indented: BEGIN has to stand at the beginning of its line",
    PemDefectKind.ONE_LINE: "has no line break behind BEGIN",
    PemDefectKind.ESCAPED: "has \\n in place of line breaks",
    PemDefectKind.NO_END: "has no END line: the file is cut off",
    PemDefectKind.WRONG_END: "ends with the END of another label",
    PemDefectKind.NOT_BASE64: "holds characters that are not base64",
    PemDefectKind.BLANK_LINE: "holds a blank line",
    PemDefectKind.CUT_OFF: "is not base64 to its end: it is cut off",
    PemDefectKind.DASHES: "does not begin with five hyphens, BEGIN and five hyphens",
    PemDefectKind.CARRIAGE_RETURNS: "has carriage returns alone for line breaks",
    PemDefectKind.DER: "is DER, not PEM (openssl x509 -inform der converts it)",
    PemDefectKind.UTF_16: "is binary or UTF-16 text, not PEM",
}


def defect_words(defect: PemDefect) -> str:
    """Return a description of the defect, as a predicate."""
    return _WORDS[defect.kind]


def certificate_der(block: PemBlock) -> bytes:
    """Return the DER of the certificate alone, from a decoded block."""
    der = block.der or b""
    return first_element(der) if block.label.startswith("TRUSTED") else der


def certificate_from_der(der: bytes) -> Certificate:
    """Return the facts of one certificate. Raises ValueError if it cannot be read."""
    return _read(der)[1]


# The same chain is read from a connection, from files and from certbot's lineage.
@lru_cache(maxsize=64)
def _read(der: bytes) -> tuple[x509.Certificate, Certificate]:
    with warnings.catch_warnings():
        # Old certificates break small rules (serial zero, v1 with extensions), which do not matter here.
        warnings.simplefilter("ignore")
        try:
            certificate = x509.load_der_x509_certificate(der)
            return certificate, certificate_facts(certificate)
        except _UNREADABLE as error:
            raise ValueError(safe_line(f"{type(error).__name__}: {error}")) from None


class CertificateSet:
    """The certificates of one file or one connection, to find the signer of each among them."""

    def __init__(self) -> None:
        self._known: dict[str, x509.Certificate] = {}

    def add(self, der: bytes) -> Certificate:
        """Add a certificate and return its facts. Raises ValueError if it cannot be read."""
        certificate, facts = _read(der)
        self._known.setdefault(facts.fingerprint, certificate)
        return facts

    def signed(self, facts: Certificate) -> Certificate:
        """Return ``facts`` with ``signed_by``; call this after all are added.

        The one certificate that has the issuer's name and key identifier (RFC 5280 4.2.1.1) is the issuer: the
        signature is not computed, which loads OpenSSL's bindings (10 ms) and proves no more; a handshake checks it. In
        all other cases the signature decides, or the name if it cannot be checked (algorithm unknown or disabled)."""
        certificate = self._known.get(facts.fingerprint)
        if certificate is None:
            return facts
        if facts.self_signed:
            return msgspec.structs.replace(facts, signed_by=facts.fingerprint)
        issuers = {
            fingerprint: other
            for fingerprint, other in self._known.items()
            if fingerprint != facts.fingerprint and other.subject == certificate.issuer
        }
        key_id = facts.issuer_key_id
        if key_id and len(issuers) == 1:
            ((fingerprint, other),) = issuers.items()
            if _key_id(other, x509.SubjectKeyIdentifier, "digest") == key_id:
                return msgspec.structs.replace(facts, signed_by=fingerprint)
        for fingerprint, other in issuers.items():
            try:
                certificate.verify_directly_issued_by(other)
            except InvalidSignature:
                continue
            except (ValueError, TypeError, UnsupportedAlgorithm):
                pass
            return msgspec.structs.replace(facts, signed_by=fingerprint)
        return msgspec.structs.replace(facts, signed_by="")


# The errors of cryptography, besides ValueError, for a certificate that it cannot read.
_UNREADABLE = (
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    UnsupportedAlgorithm,
    TypeError,
    OverflowError,
)


def certificate_facts(certificate: x509.Certificate) -> Certificate:
    """Return the facts of one certificate. Raises ValueError if its basic fields cannot be read."""
    der = certificate.public_bytes(Encoding.DER)
    return Certificate(
        subject=_name(certificate, "subject"),
        issuer=_name(certificate, "issuer"),
        names=_names(certificate),
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
        fingerprint=hashlib.sha256(der).hexdigest(),
        public_key=_public_key_hash(certificate),
        self_signed=_is_self_signed(certificate),
        is_authority=_is_authority(certificate),
        serial=f"{certificate.serial_number:x}",
        key_type=_key_type(certificate),
        issuer_url=_issuer_url(certificate),
        key_id=_key_id(certificate, x509.SubjectKeyIdentifier, "digest"),
        issuer_key_id=_key_id(certificate, x509.AuthorityKeyIdentifier, "key_identifier"),
        purposes=_purposes(certificate),
        must_staple=_must_staple(certificate),
    )


# RFC 5280, 4.2.1.12: the names that openssl.cnf has for the usual purposes.
_PURPOSES = {
    ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth",
    ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth",
    ExtendedKeyUsageOID.CODE_SIGNING: "codeSigning",
    ExtendedKeyUsageOID.EMAIL_PROTECTION: "emailProtection",
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE: "anyExtendedKeyUsage",
}


def _purposes(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError, *_UNREADABLE):
        return ()
    return tuple(_PURPOSES.get(usage, usage.dotted_string) for usage in list(usages)[:10])


def _must_staple(certificate: x509.Certificate) -> bool:
    try:
        features = certificate.extensions.get_extension_for_class(x509.TLSFeature).value
    except (x509.ExtensionNotFound, ValueError, *_UNREADABLE):
        return False
    return x509.TLSFeatureType.status_request in features


def revocation_lists(content: bytes, path: str) -> tuple[RevocationList, ...]:
    """Return the lists of revoked certificates in a PEM file; those that cannot be read are left out."""
    begin, end = b"-----BEGIN X509 CRL-----", b"-----END X509 CRL-----"
    found: list[RevocationList] = []
    for block in content.split(begin)[1 : MAX_LISTS + 1]:
        try:
            listed = x509.load_pem_x509_crl(begin + block.partition(end)[0] + end)
            until = listed.next_update_utc
            found.append(
                RevocationList(
                    path=path,
                    issuer=safe_line(listed.issuer.rfc4514_string()),
                    next_update=until.timestamp() if until else None,
                )
            )
        except (ValueError, *_UNREADABLE):
            continue
    return tuple(found)


def _key_id(certificate: x509.Certificate, extension: Any, field: str) -> str:
    try:
        value = getattr(certificate.extensions.get_extension_for_class(extension).value, field)
    except (x509.ExtensionNotFound, ValueError, *_UNREADABLE):
        return ""
    return bytes(value).hex() if value else ""


def spki_hash(public_key: object) -> str:
    """Return the SHA-256, in hex, of a public key's SubjectPublicKeyInfo: it is equal for a key and its certificate.
    Raises ValueError for a key without that form."""
    try:
        der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined]
    except (AttributeError, UnsupportedAlgorithm, TypeError) as error:
        raise ValueError(f"the key has no public form: {error}") from None
    return hashlib.sha256(der).hexdigest()


def _name(certificate: x509.Certificate, which: str) -> str:
    try:
        return safe_line(getattr(certificate, which).rfc4514_string())
    except (ValueError, TypeError, UnicodeError):
        return "(unreadable name)"


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    # RFC 9525 6: only subjectAltName counts; the subject's common name does not.
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return ()
    except (ValueError, TypeError, UnicodeError):
        return ()
    names = [str(name.value) for name in alternatives if isinstance(name, x509.DNSName | x509.IPAddress)]
    return tuple(safe_line(name, 255) for name in names[:MAX_NAMES])


def _public_key_hash(certificate: x509.Certificate) -> str:
    try:
        return spki_hash(certificate.public_key())
    except (ValueError, UnsupportedAlgorithm):
        # cryptography does not know this type of key: the empty hash never equals that of a known key.
        return ""


def _is_self_signed(certificate: x509.Certificate) -> bool:
    try:
        if certificate.subject != certificate.issuer:
            return False
        certificate.verify_directly_issued_by(certificate)
    except InvalidSignature:
        return False
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The signature cannot be checked here (SHA-1 under a strict policy, an unknown algorithm): the names decide.
        return certificate.subject == certificate.issuer
    return True


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False


def _issuer_url(certificate: x509.Certificate) -> str:
    """Return the URL of the issuer's own certificate (caIssuers, RFC 5280 4.2.2.1); empty if there is none."""
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return ""
    places = (
        entry.access_location
        for entry in access
        if entry.access_method == AuthorityInformationAccessOID.CA_ISSUERS
    )
    return next((safe_line(place.value, 300) for place in places if _is_web(place)), "")


def _is_web(place: x509.GeneralName) -> bool:
    # The field may also contain an LDAP address or a directory name.
    return isinstance(place, x509.UniformResourceIdentifier) and place.value.startswith(
        ("http://", "https://")
    )


def _key_type(certificate: x509.Certificate) -> str:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "unknown"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    return type(key).__name__.removeprefix("_").removesuffix("PublicKey")
