"""One X.509 certificate as facts: DER or PEM in, `ops.facts.certificates.Certificate` out."""

from __future__ import annotations

import hashlib
import re
import warnings
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Iterator

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AuthorityInformationAccessOID

from ops.facts.certificates import Certificate
from ops.text.sanitize import safe_line

MAX_NAMES = 500
# RFC 7468 labels, and the older ones OpenSSL still takes (PEM_STRING_X509, _OLD, _TRUSTED).
_BLOCK = re.compile(
    rb"-----BEGIN ((?:TRUSTED |X509 )?CERTIFICATE)-----[ \t]*\r?\n?(.*?)(?:-----END \1-----|(?=-----BEGIN )|\Z)",
    re.DOTALL,
)
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/=\s]")


def pem_blocks(content: bytes) -> Iterator[bytes]:
    """The DER of every certificate in ``content``, in order. Raises ValueError at the first that is damaged."""
    for number, block in enumerate(_BLOCK.finditer(content), 1):
        label, body = block[1], block[2]
        if not block[0].rstrip().endswith(b"-----END " + label + b"-----"):
            raise ValueError(f"certificate {number} has no END line: the file is cut off")
        if _NOT_BASE64.search(body):
            raise ValueError(f"certificate {number} holds characters that are not base64")
        try:
            der = a2b_base64(body)
        except Base64Error as error:
            raise ValueError(f"certificate {number} is not base64: {error}") from None
        # OpenSSL's TRUSTED form appends its own settings behind the certificate.
        yield _first_element(der) if label.startswith(b"TRUSTED") else der


def _first_element(der: bytes) -> bytes:
    """The first DER element of ``der`` (X.690 8.1.3)."""
    if len(der) < 2 or der[1] < 0x80:
        return der
    count = der[1] & 0x7F
    return der[: 2 + count + int.from_bytes(der[2 : 2 + count], "big")]


def certificate_from_der(der: bytes) -> Certificate:
    """The facts of one certificate. Raises ValueError where it cannot be read."""
    with warnings.catch_warnings():
        # Old certificates break small rules (serial zero, v1 with extensions); that is no news here.
        warnings.simplefilter("ignore")
        try:
            return certificate_facts(x509.load_der_x509_certificate(der))
        except _UNREADABLE as error:
            raise ValueError(safe_line(f"{type(error).__name__}: {error}")) from None


# What cryptography raises beside ValueError for a certificate it cannot take.
_UNREADABLE = (
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    UnsupportedAlgorithm,
    TypeError,
    OverflowError,
)


def certificate_facts(certificate: x509.Certificate) -> Certificate:
    """What is kept of one certificate. Raises ValueError where its basic fields cannot be read."""
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
    )


def spki_hash(public_key: object) -> str:
    """SHA-256, in hex, of a public key's SubjectPublicKeyInfo: what tells whether key and certificate belong
    together. Raises ValueError for a key without that form."""
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
        # A kind of key cryptography does not know: comparable to nothing, and never equal to a known one.
        return ""


def _is_self_signed(certificate: x509.Certificate) -> bool:
    try:
        if certificate.subject != certificate.issuer:
            return False
        certificate.verify_directly_issued_by(certificate)
    except InvalidSignature:
        return False
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The signature cannot be checked here (SHA-1 under a strict policy, an unknown algorithm); names decide.
        return certificate.subject == certificate.issuer
    return True


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False


def _issuer_url(certificate: x509.Certificate) -> str:
    """Where the issuer's own certificate is fetched (caIssuers, RFC 5280 4.2.2.1), empty where none is named."""
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
    # The field may hold an LDAP address or a directory name too.
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
