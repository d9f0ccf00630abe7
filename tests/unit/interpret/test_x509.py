"""Certificates as facts."""

import contextlib
import hashlib
import ipaddress
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID
from hypothesis import example, given
from hypothesis import strategies as st

from ops.interpret.x509 import (
    CertificateSet,
    certificate_facts,
    certificate_from_der,
    pem_blocks,
    revocation_lists,
    spki_hash,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())


def made(
    key: Any = KEY,
    subject: str = "leaf",
    issuer: str = "issuer",
    names: list[x509.GeneralName] | None = None,
    start: datetime = START,
    end: datetime = START + timedelta(days=90),
    authority: bool = False,
    access: list[x509.AccessDescription] | None = None,
) -> bytes:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(255)
        .not_valid_before(start)
        .not_valid_after(end)
    )
    if names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if authority:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    if access is not None:
        builder = builder.add_extension(x509.AuthorityInformationAccess(access), critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)


def test_the_basic_facts() -> None:
    der = made()
    facts = certificate_from_der(der)
    assert (facts.subject, facts.issuer, facts.serial) == ("CN=leaf", "CN=issuer", "ff")
    assert (facts.not_before, facts.not_after) == (START.timestamp(), START.timestamp() + 90 * 86400)
    assert facts.fingerprint == hashlib.sha256(der).hexdigest()
    assert facts.public_key == spki_hash(KEY.public_key())
    assert (facts.names, facts.self_signed, facts.is_authority) == ((), False, False)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (KEY, "EC secp256r1"),
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519"),
        (rsa.generate_private_key(65537, 2048), "RSA 2048"),
    ],
    ids=["ec", "ed25519", "rsa"],
)
def test_kinds_of_keys(key: Any, kind: str) -> None:
    facts = certificate_from_der(made(key=key, issuer="leaf"))
    assert facts.key_type == kind
    assert facts.self_signed
    assert facts.public_key == spki_hash(key.public_key())


def test_the_same_name_under_another_key_is_not_self_signed() -> None:
    der = bytearray(made(issuer="leaf"))
    der[-1] ^= 1  # the signature's last byte
    assert not certificate_from_der(bytes(der)).self_signed


def test_names_in_all_their_forms() -> None:
    facts = certificate_from_der(
        made(
            names=[
                x509.DNSName("gte.example"),
                x509.DNSName("*.gte.example"),
                x509.DNSName("xn--fiqs8s.example"),
                x509.IPAddress(ipaddress.ip_address("203.0.113.7")),
                x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
                x509.RFC822Name("someone@gte.example"),
            ]
        )
    )
    assert facts.names == (
        "gte.example",
        "*.gte.example",
        "xn--fiqs8s.example",
        "203.0.113.7",
        "2001:db8::1",
    )


def test_dates_at_the_ends_of_time() -> None:
    facts = certificate_from_der(
        made(start=datetime(1950, 1, 1, tzinfo=UTC), end=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    )
    assert facts.not_before < 0
    assert facts.not_after == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()


def test_an_authority() -> None:
    assert certificate_from_der(made(authority=True)).is_authority


def test_where_the_issuer_is_fetched() -> None:
    def named(method: x509.ObjectIdentifier, url: str) -> x509.AccessDescription:
        return x509.AccessDescription(method, x509.UniformResourceIdentifier(url))

    ocsp = named(AuthorityInformationAccessOID.OCSP, "http://ocsp.example")
    directory = named(AuthorityInformationAccessOID.CA_ISSUERS, "ldap://x.example/cn=ca")
    web = named(AuthorityInformationAccessOID.CA_ISSUERS, "http://r12.i.example/")
    assert certificate_from_der(made(access=[ocsp, directory, web])).issuer_url == "http://r12.i.example/"
    assert certificate_from_der(made(access=[ocsp, directory])).issuer_url == ""
    assert certificate_from_der(made()).issuer_url == ""


def test_hostile_names_are_made_harmless() -> None:
    facts = certificate_from_der(
        made(subject="\x1b[31mred\u202e", names=[x509.DNSName("\x1b]0;owned\x07gte.example")])
    )
    assert "\x1b" not in facts.subject + "".join(facts.names)
    assert "\u202e" not in facts.subject


def test_unreadable_names_are_not_taken_for_none() -> None:
    der = made(names=[x509.DNSName("gte.example")])
    # The name's own tag (dNSName, [2]) becomes one that subjectAltName does not know.
    broken = der.replace(b"\x82\x0bgte.example", b"\x9f\x0bgte.example")
    assert broken != der
    with pytest.raises(ValueError):  # noqa: PT011  the words are cryptography's
        certificate_from_der(broken)


@given(st.integers(0, 400), st.integers(0, 255))
@example(11, 1)  # a version that X.509 does not have
def test_no_damage_raises_anything_but_value_error(place: int, value: int) -> None:
    der = bytearray(made(names=[x509.DNSName("gte.example")], authority=True))
    der[place % len(der)] = value
    with contextlib.suppress(ValueError):
        certificate_from_der(bytes(der))


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_value_error(content: bytes) -> None:
    for function in (certificate_from_der, lambda c: list(pem_blocks(b"-----BEGIN CERTIFICATE-----\n" + c))):
        with contextlib.suppress(ValueError):
            function(content)


ISSUER, RENEWED, STRANGER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))


def authority_certificate(key: Any, identifier: bool = True, issuer: str = "issuer") -> bytes:
    builder = _named("issuer", issuer, key)
    if identifier:
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def issued(issuer: Any, identifier: Any = None) -> bytes:
    """A leaf that ``issuer`` signed, with the key identifier of ``identifier``."""
    builder = _named("leaf", "issuer", KEY)
    if identifier is not None:
        extension = x509.AuthorityKeyIdentifier.from_issuer_public_key(identifier.public_key())
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(issuer, hashes.SHA256()).public_bytes(Encoding.DER)


def _named(subject: str, issuer: str, key: Any) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(START)
        .not_valid_after(START + timedelta(days=90))
    )


@pytest.mark.parametrize(
    ("leaf", "others", "signer"),
    [
        (issued(ISSUER, ISSUER), [authority_certificate(ISSUER)], 0),
        (issued(ISSUER), [authority_certificate(ISSUER)], 0),
        (issued(ISSUER), [authority_certificate(STRANGER), authority_certificate(ISSUER)], 1),
        (issued(ISSUER, ISSUER), [authority_certificate(RENEWED), authority_certificate(ISSUER)], 1),
        (issued(ISSUER, ISSUER), [authority_certificate(STRANGER)], None),
        (issued(ISSUER), [authority_certificate(STRANGER)], None),
        (issued(ISSUER, ISSUER), [authority_certificate(ISSUER, identifier=False)], 0),
        (issued(ISSUER, ISSUER), [], None),
    ],
    ids=[
        "the key identifier",
        "no identifier: the signature",
        "two of one name: the signature",
        "renewed under a new key",
        "the same name, another key",
        "the same name, another key, no identifier",
        "an issuer without identifier",
        "no issuer",
    ],
)
def test_who_signed_a_certificate(leaf: bytes, others: list[bytes], signer: int | None) -> None:
    known = CertificateSet()
    facts = known.add(leaf)
    issuers = [known.add(other) for other in others]
    assert known.signed(facts).signed_by == ("" if signer is None else issuers[signer].fingerprint)


def test_a_certificate_with_its_issuers_identifier_needs_no_bindings() -> None:
    """Loading them took a fortieth of the healthy doctor's run."""
    script = """
import sys
from ops.interpret.x509 import CertificateSet
known = CertificateSet()
leaf, issuer = (known.add(bytes.fromhex(der)) for der in sys.argv[1:])
assert known.signed(leaf).signed_by == issuer.fingerprint
assert "cryptography.hazmat.backends.openssl.backend" not in sys.modules
"""
    arguments = [issued(ISSUER, ISSUER).hex(), authority_certificate(ISSUER, issuer="root").hex()]
    subprocess.run([sys.executable, "-c", script, *arguments], check=True)


def _listed(issuer: str, until: datetime) -> bytes:
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .last_update(START)
        .next_update(until)
    )
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM)


def test_each_list_of_revoked_certificates_says_until_when_it_counts() -> None:
    days = [START + timedelta(days=n) for n in (3, 30)]
    junk = b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"
    found = revocation_lists(_listed("A", days[0]) + junk + _listed("B", days[1]), "/etc/x.crl")
    assert [(item.path, item.issuer, item.next_update) for item in found] == [
        ("/etc/x.crl", "CN=A", days[0].timestamp()),
        ("/etc/x.crl", "CN=B", days[1].timestamp()),
    ]
    assert revocation_lists(b"no list", "/etc/x.crl") == ()


def test_purposes_and_the_demand_for_a_stapled_answer() -> None:
    plain = x509.load_der_x509_certificate(made())
    builder = (
        x509.CertificateBuilder(
            plain.issuer, plain.subject, plain.public_key(), 7, START, START + timedelta(days=9)
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.TLSFeature([x509.TLSFeatureType.status_request]), critical=False)
    )
    facts = certificate_facts(builder.sign(KEY, hashes.SHA256()))
    assert (facts.purposes, facts.must_staple) == (("clientAuth",), True)
    assert (certificate_facts(plain).purposes, certificate_facts(plain).must_staple) == ((), False)
