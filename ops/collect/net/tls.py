"""The certificate chain that the front door presents, and OpenSSL's verdict on its trust alone."""

from __future__ import annotations

import contextlib
import functools
import os
import ssl
import time
import warnings

import msgspec

from ops.collect.net.connection import (
    Deadline,
    DialledConnection,
    OutOfTimeError,
    dial,
    failure_of,
    proxy_line,
    reason_of,
)
from ops.collect.net.http_probe import connect, exchange, sni
from ops.facts.base import NotSeen
from ops.facts.certificates import Certificate, OldTls, OtherDoor, Served
from ops.facts.probe_failure import ProbeFailure
from ops.interpret.address import split_address
from ops.interpret.x509 import CertificateSet
from ops.text.sanitize import safe_line

# OpenSSL's X509_V_FLAG_NO_CHECK_TIME (x509_vfy.h): dates are judged separately, so that an expired certificate
# under a private root shows both faults.
NO_CHECK_TIME = 0x200000
# A handshake carries the chain; nginx's own limit on what a peer may send is 100 KiB (OpenSSL's max_cert_list).
MAX_HANDSHAKE_BYTES = 1 << 20
MAX_CHAIN = 16
# Trust is unknown. OpenSSL's own codes are never negative.
NO_ROOTS = -1


def served_certificate(
    address: str,
    server_name: str,
    ca_file: str | None,
    deadline: float,
    *,
    trust: Trust | None = None,
    starttls: str | None = None,
    proxied: bool = False,
) -> Served | NotSeen:
    """Return the chain served at ``address`` for ``server_name``, verified against the system's roots and ``ca_file``.

    The judges check the dates and the name. ``trust_code`` is OpenSSL's (0: chains to a trusted root), or
    `NO_ROOTS` if this host has no roots. ``trust``: those roots, already read; ``starttls``: smtp, imap
    or pop3; ``proxied``: send the PROXY protocol's line first. NotSeen if no handshake succeeds by
    ``deadline``."""
    patience = Deadline(deadline)
    plainly = functools.partial(_handshake, proxied=proxied)
    shake = plainly if starttls is None else functools.partial(_mail_handshake, starttls)
    verdict_code, verdict = 0, None
    roots = trust or _trust_at_hand(ca_file)
    session = shake(address, server_name, roots.context, patience)
    if isinstance(session, ssl.SSLCertVerificationError) and trust is None:
        # The system's file of all roots is read only now: more roots can turn distrust into trust, never the reverse.
        roots = trust_of(ca_file)
        session = shake(address, server_name, roots.context, patience)
    if isinstance(session, ssl.SSLCertVerificationError):
        verdict_code, verdict = session.verify_code, safe_line(str(session.verify_message))
        # OpenSSL does not hand out the chain of a refused connection: connect again without verifying.
        session = shake(address, server_name, _unverifying(), patience)
    if not isinstance(session, _Session):
        return NotSeen(reason=_why_not(session, address, patience))
    if verdict_code and not roots.has_roots:
        verdict_code, verdict = NO_ROOTS, "this host has no root certificates to compare with"
    if verdict is not None and roots.trouble:
        verdict = f"{verdict}; {roots.trouble}"
    chain = _chain(session.chain)
    if isinstance(chain, NotSeen):
        return chain
    return Served(
        address=address,
        server_name=sni(server_name),
        chain=chain,
        protocol=session.protocol,
        trust_error=verdict,
        trust_code=verdict_code,
    )


# A server may have one certificate for each kind of key; these TLS 1.2 cipher strings (ciphers(1)) select each kind.
KEY_CIPHERS = {"RSA": "aRSA", "ECDSA": "aECDSA"}


def other_door(
    address: str,
    server_name: str,
    ca_file: str | None,
    deadline: float,
    *,
    key: str = "",
    proxied: bool = False,
) -> OtherDoor:
    """Return the chain presented at ``address``; with ``key``, to a client that accepts only that kind of key.

    The kind is requested in TLS 1.2, whose ciphers name it: `ssl` cannot choose the signatures of 1.3."""
    if key:
        served = _served_with(address, server_name, ca_file, Deadline(deadline), key, proxied=proxied)
        return OtherDoor(address=address, key=key, served=served)
    connection = connect(address, deadline)
    if connection.failure is not None:
        return OtherDoor(
            address=address, failure=connection.failure, served=NotSeen(reason=connection.detail)
        )
    served = served_certificate(address, server_name, ca_file, deadline, proxied=proxied)
    return OtherDoor(address=address, served=served)


def _served_with(
    address: str, server_name: str, ca_file: str | None, patience: Deadline, key: str, *, proxied: bool
) -> Served | NotSeen:
    trust = trust_of(ca_file)
    session: _Session | OSError | ValueError | None = None
    code, error = 0, None
    for context in (trust.context, _unverifying()):
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(KEY_CIPHERS[key])
        session = _handshake(address, server_name, context, patience, proxied=proxied)
        if not isinstance(session, ssl.SSLCertVerificationError):
            break
        code, error = session.verify_code, safe_line(str(session.verify_message))
    if not isinstance(session, _Session):
        assert session is not None  # noqa: S101  there are two contexts
        return NotSeen(reason=safe_line(f"no handshake with a key of kind {key}: {_words(session)}"))
    chain = _chain(session.chain)
    if isinstance(chain, NotSeen):
        return chain
    is_conclusive = trust.has_roots or not code
    return Served(
        address=address,
        server_name=sni(server_name),
        chain=chain,
        protocol=session.protocol,
        trust_error=error if is_conclusive else None,
        trust_code=code if is_conclusive else NO_ROOTS,
    )


def old_tls(address: str, server_name: str, deadline: float, *, proxied: bool = False) -> OldTls | NotSeen:
    """Return the withdrawn TLS versions (RFC 8996) that the server at ``address`` still accepts.

    NotSeen if none was accepted and one could not be tried: nothing answers, or this host's OpenSSL lacks it."""
    patience = Deadline(deadline)
    accepted: list[str] = []
    trouble = ""
    for name, version in (("TLSv1", ssl.TLSVersion.TLSv1), ("TLSv1.1", ssl.TLSVersion.TLSv1_1)):
        context = _unverifying()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                # OpenSSL 3 allows the old versions only at security level 0 (SSL_CTX_set_security_level).
                context.set_ciphers("DEFAULT:@SECLEVEL=0")
                context.minimum_version = context.maximum_version = version
            except (ssl.SSLError, ValueError) as error:
                trouble = safe_line(f"this host cannot speak {name}: {_words(error)}")
                continue
        outcome = _handshake(address, server_name, context, patience, proxied=proxied)
        if isinstance(outcome, _Session):
            accepted.append(name)
        elif isinstance(outcome, ssl.SSLError) and outcome.reason in (
            "NO_PROTOCOLS_AVAILABLE",
            "INTERNAL_ERROR",
        ):
            trouble = f"this host's OpenSSL has no {name}"
        elif not isinstance(outcome, ssl.SSLError) and not (
            isinstance(outcome, OSError) and failure_of(outcome) is ProbeFailure.RESET
        ):
            trouble = safe_line(f"no TLS connection to {address}: {_words(outcome)}")
            break
    return (
        NotSeen(reason=trouble)
        if trouble and not accepted
        else OldTls(address=address, accepted=tuple(accepted))
    )


class Trust(msgspec.Struct, frozen=True):
    """The roots that chains are verified against. ``trouble``: why the configured authority is unusable, or empty."""

    context: ssl.SSLContext
    has_roots: bool
    trouble: str


def trust_of(ca_file: str | None) -> Trust:
    """Load the system's roots and ``ca_file``. Call it once for many endpoints."""
    context = _verifying()
    context.load_default_certs()
    trouble = _add(ca_file, context)
    places = ssl.get_default_verify_paths()
    # OpenSSL reads a directory of roots only while it verifies a chain, so the store's statistics leave it out.
    has_roots = bool(context.cert_store_stats()["x509_ca"]) or _has_entries(places.capath)
    return Trust(context, has_roots, trouble)


def _trust_at_hand(ca_file: str | None) -> Trust:
    """Load ``ca_file`` and the system's directory of roots, in which OpenSSL finds a root by its name's hash. Leave out
    the system's single file of all roots: reading it costs more than the handshake."""
    context = _verifying()
    if capath := ssl.get_default_verify_paths().capath:
        with contextlib.suppress(OSError):
            context.load_verify_locations(capath=capath)
    trouble = _add(ca_file, context)
    return Trust(context, has_roots=True, trouble=trouble)


def _verifying() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.set_alpn_protocols(["http/1.1"])
    context.verify_flags = ssl.VerifyFlags(context.verify_flags | NO_CHECK_TIME)
    return context


def _add(ca_file: str | None, context: ssl.SSLContext) -> str:
    """Make ``context`` trust ``ca_file`` too. Return why that failed, or an empty string."""
    try:
        if ca_file:
            context.load_verify_locations(cafile=ca_file)
    except (OSError, ValueError) as error:
        return safe_line(f"tls.ca_file {ca_file} is of no use: {_words(error)}")
    return ""


def _has_entries(directory: str | None) -> bool:
    try:
        return bool(directory and os.listdir(directory))  # noqa: PTH208  names alone are wanted
    except OSError:
        return False


def _unverifying() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


class _Session(msgspec.Struct, frozen=True):
    chain: tuple[bytes, ...]
    protocol: str


def _handshake(
    address: str, server_name: str, context: ssl.SSLContext, patience: Deadline, *, proxied: bool = False
) -> _Session | OSError | ValueError:
    wire: DialledConnection | None = None
    try:
        wire = dial(address, patience, MAX_HANDSHAKE_BYTES)
        if proxied:
            wire.sendall(proxy_line(address))
        wire.start_tls(context, sni(server_name))
        secured = wire.tls
        assert secured is not None  # noqa: S101  start_tls raises or leaves one
        return _Session(_sent_chain(secured), secured.version() or "")
    except (OSError, ValueError) as error:
        return error
    finally:
        if wire is not None:
            wire.close()


def _mail_handshake(
    protocol: str, address: str, server_name: str, context: ssl.SSLContext, patience: Deadline
) -> _Session | OSError | ValueError:
    """Do the same inside a mail protocol. The SNI is the dialled host, as mail clients send it."""
    # Imported only here: importing Python's mail clients takes longer than a handshake.
    from ops.collect.net.starttls import secured

    del server_name
    host, port = split_address(address)
    seconds = patience.deadline - time.monotonic()
    if seconds <= 0:
        return OutOfTimeError("deadline passed")
    try:
        with secured(protocol, host, port, context, seconds) as tls:
            return _Session(_sent_chain(tls), tls.version() or "")
    except (OSError, ValueError) as error:
        return error


def _sent_chain(secured: ssl.SSLSocket) -> tuple[bytes, ...]:
    """Return the chain the server sent, leaf first, as DER. The method is public since Python 3.13; the C object has
    had it since 3.10."""
    public = getattr(secured, "get_unverified_chain", None)
    if public is not None:
        return tuple(bytes(der) for der in public()[:MAX_CHAIN])
    inner = getattr(secured, "_sslobj", None)
    hidden = getattr(inner, "get_unverified_chain", None)
    if hidden is not None:
        return tuple(certificate.public_bytes(2) for certificate in (hidden() or ())[:MAX_CHAIN])
    leaf = secured.getpeercert(binary_form=True)
    return (leaf,) if leaf else ()


def _chain(ders: tuple[bytes, ...]) -> tuple[Certificate, ...] | NotSeen:
    chain: list[Certificate] = []
    certificates = CertificateSet()
    for der in ders:
        try:
            chain.append(certificates.add(der))
        except ValueError as error:
            if not chain:
                return NotSeen(reason=safe_line(f"the served certificate cannot be read: {error}"))
    return (
        tuple(map(certificates.signed, chain))
        if chain
        else NotSeen(reason="the server presented no certificate")
    )


def _why_not(error: OSError | ValueError, address: str, patience: Deadline) -> str:
    """Return why the handshake failed, in one line."""
    if isinstance(error, OutOfTimeError):
        return f"no TLS handshake with {address} in time: {error}"
    if isinstance(error, ssl.SSLError):
        if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
            return _other_protocol(address, patience)
        return safe_line(f"the TLS handshake with {address} fails: {_words(error)}")
    if isinstance(error, OSError) and failure_of(error) is ProbeFailure.RESET:
        return f"{address} reset the connection during the TLS handshake"
    return safe_line(f"no TLS connection to {address}: {_words(error)}")


def _other_protocol(address: str, patience: Deadline) -> str:
    short = min(patience.deadline, time.monotonic() + 1)
    answer = exchange("HEAD", "http://localhost/", address, Deadline(short), tls=False)
    if answer.failure is None:
        return f"{address} speaks plain HTTP, not TLS"
    return f"what answers at {address} is not TLS"


def _words(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLEOFError):
        return "the peer closed the connection"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return reason_of(error) if isinstance(error, OSError) else safe_line(str(error))
