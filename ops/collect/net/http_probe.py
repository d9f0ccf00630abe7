"""Send one HTTP request and return the raw answer.

It follows no redirect, uses no proxy of the environment and keeps no cookie; no peer, however hostile, makes
an exchange last beyond its deadline or grow beyond its size limit.
"""

from __future__ import annotations

import codecs
import contextlib
import http.client
import json
import ssl
import time
from collections.abc import Mapping
from email.message import Message
from typing import Any, NamedTuple, cast
from urllib.parse import quote, urlsplit, urlunsplit

from ops import __version__
from ops.collect.net.connection import (
    Deadline,
    DialledConnection,
    OutOfTimeError,
    dial,
    failure_of,
    reason_of,
)
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Connection, Exchange
from ops.text.sanitize import HIDDEN, safe_line, safe_text, without_controls

USER_AGENT = f"gte-ops-doctor/{__version__}"
MAX_BODY_BYTES = 64 * 1024
MAX_KEPT_CHARS = 4096
# Read limit for one answer: the share for the head is larger than any real head.
MAX_ANSWER_BYTES = MAX_BODY_BYTES + 256 * 1024
MAX_KEPT_HEADERS = 64
MAX_HEADER_CHARS = 2000
MAX_CONTENT_TYPE_CHARS = 500
# Python's own encodings, which no web server names; some take seconds to decode a body of `MAX_BODY_BYTES`.
_NO_CHARSETS = ("idna", "punycode", "raw_unicode_escape", "unicode_escape")
# Time limit for a body after its first part, in seconds; until then only the deadline counts.
BODY_SECONDS = 2.0
_SECRET_HEADERS = (
    "set-cookie",
    "set-cookie2",
    "cookie",
    "authorization",
    "proxy-authorization",
    "www-authenticate",
)
_CONNECT_FAILURES = (
    ProbeFailure.REFUSED,
    ProbeFailure.TIMEOUT,
    ProbeFailure.UNREACHABLE,
    ProbeFailure.MISSING,
    ProbeFailure.PERMISSION,
)
_EXCHANGE_FAILURES = (*_CONNECT_FAILURES, ProbeFailure.RESET)


def connect(address: str, deadline: float, patience: Deadline | None = None) -> Connection:
    """Connect once to ``ip:port``, ``[v6]:port`` or ``unix:/path``, until ``deadline`` (time.monotonic)."""
    started = time.monotonic()
    try:
        dial(address, patience or Deadline(deadline), limit=0, deadline=deadline).close()
    except OSError as error:
        failure = failure_of(error)
        elapsed = time.monotonic() - started
        return Connection(
            address=address,
            failure=failure if failure in _CONNECT_FAILURES else ProbeFailure.OTHER,
            detail=_waited(error, "connect", elapsed),
            elapsed=elapsed,
        )
    return Connection(address=address, elapsed=time.monotonic() - started)


# The URL's scheme is the connection's (plain); the header carries the user's scheme, as nginx and balancers send it.
PROXIED = {"X-Forwarded-Proto": "https"}


def exchange(
    method: str,
    url: str,
    address: str,
    patience: Deadline,
    *,
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
    tls: bool | ssl.SSLContext | None = None,
    server_name: str | None = None,
    connect_by: float | None = None,
    preface: bytes = b"",
    keep_bytes: int = MAX_BODY_BYTES,
) -> Exchange:
    """Send one request for ``url`` to ``address`` and return the exchange: see `ask`."""
    return ask(
        method,
        url,
        address,
        patience,
        body=body,
        headers=headers,
        tls=tls,
        server_name=server_name,
        connect_by=connect_by,
        preface=preface,
        keep_bytes=keep_bytes,
    ).exchange


class HttpAnswer(NamedTuple):
    """An exchange, and its Location as received: the exchange itself may have secrets in it hidden."""

    exchange: Exchange
    location: str = ""


class _Request(NamedTuple):
    """One request, its address, its start (time.monotonic), and the number of bytes of the answer's body to keep."""

    method: str
    url: str
    address: str
    started: float
    keep_bytes: int

    def failed(self, failure: ProbeFailure, detail: str) -> HttpAnswer:
        """Return the answer that records a failed exchange."""
        return HttpAnswer(
            Exchange(
                method=self.method,
                url=safe_line(self.url, MAX_HEADER_CHARS),
                address=self.address,
                failure=failure,
                detail=detail,
                elapsed=time.monotonic() - self.started,
            )
        )


def ask(
    method: str,
    url: str,
    address: str,
    patience: Deadline,
    *,
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
    tls: bool | ssl.SSLContext | None = None,
    server_name: str | None = None,
    connect_by: float | None = None,
    preface: bytes = b"",
    keep_bytes: int = MAX_BODY_BYTES,
) -> HttpAnswer:
    """Send one request for ``url`` to ``address`` and return the answer.

    ``tls``: None decides by the URL's scheme, True wraps without verifying (ops/collect/net/tls.py checks trust),
    a context is used as it is. ``server_name``: the SNI, by default the URL's host. ``connect_by``: the deadline for
    connecting alone (time.monotonic). ``preface``: sent before anything else (`proxy_line`);
    ``keep_bytes``: how much of the body is used after reading it."""
    request = _Request(method, url, address, time.monotonic(), keep_bytes)
    phase = _Phase()
    wire: DialledConnection | None = None
    try:
        parts = urlsplit(url)
        wire = dial(address, patience, MAX_ANSWER_BYTES, connect_by)
        if preface:
            wire.sendall(preface)
        if tls or (tls is None and parts.scheme == "https"):
            phase.name = "TLS handshake"
            context = tls if isinstance(tls, ssl.SSLContext) else unverified_context()
            wire.start_tls(context, server_name or sni(parts.hostname))
        phase.name = "answer"
        connection = http.client.HTTPConnection("localhost")
        connection.sock = cast(Any, wire)
        _send(connection, method, url, body, headers or {})
        # Not connection.getresponse(): it closes the connection before the body is read.
        response = http.client.HTTPResponse(cast(Any, wire), method=method)
        response.begin()
        patience.count_answer()
        return _read(request, response, wire)
    except (
        OSError,
        http.client.HTTPException,
        ValueError,
        LookupError,
        ArithmeticError,
        RecursionError,
    ) as error:
        # The last four: http.client and the e-mail parser below it raise them for unforeseen answers.
        return request.failed(*_failure(error, phase.name, wire, time.monotonic() - request.started))
    finally:
        if wire is not None:
            wire.close()


def _failure(
    error: Exception, phase: str, wire: DialledConnection | None, elapsed: float
) -> tuple[ProbeFailure, str]:
    """Return the kind of a failure, and its words. ``phase``: the step that failed."""
    if isinstance(error, ssl.SSLError):
        return ProbeFailure.TLS, f"{phase}: {_tls_words(error)}"
    if isinstance(error, http.client.HTTPException):
        silent = wire is not None and wire.is_ended and not wire.received
        if isinstance(error, http.client.RemoteDisconnected) or silent:
            return ProbeFailure.CLOSED, "the peer closed the connection without an answer"
        return ProbeFailure.MALFORMED, safe_line(f"not an HTTP answer: {type(error).__name__}: {error}")
    if isinstance(error, OSError):
        failure = failure_of(error)
        if phase == "TLS handshake" and failure is ProbeFailure.RESET:
            return ProbeFailure.TLS, "TLS handshake: the peer reset the connection"
        kind = failure if failure in _EXCHANGE_FAILURES else ProbeFailure.UNREACHABLE
        return kind, _waited(error, phase, elapsed)
    return ProbeFailure.MALFORMED, safe_line(f"{phase}: {type(error).__name__}: {error}")


class _Phase:
    name = "connect"


def _send(
    connection: http.client.HTTPConnection,
    method: str,
    url: str,
    body: bytes | str | None,
    headers: Mapping[str, str],
) -> None:
    parts = urlsplit(url)
    # RFC 9112 3.2.1: the origin form; percent-encode what is not ASCII, as browsers do.
    path = quote(urlunsplit(("", "", parts.path or "/", parts.query, "")), safe="/%?=&:+,;@!$'()*~[]")
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    content = body.encode() if isinstance(body, str) else body
    own_headers = {
        "Host": host_header(url),
        "User-Agent": USER_AGENT,
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    if content is not None:
        own_headers["Content-Length"] = str(len(content))
    names = {name.lower() for name in headers}
    for name, value in (
        *((n, v) for n, v in own_headers.items() if n.lower() not in names),
        *headers.items(),
    ):
        connection.putheader(name, value)
    # A server may answer and close before it has read the body (413); its answer can still be read.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.endheaders(content)


def _read(request: _Request, response: http.client.HTTPResponse, wire: DialledConnection) -> HttpAnswer:
    # http.client mistakes the end of the stream for the end of the head.
    if wire.is_ended or wire.is_cut_off:
        return request.failed(
            ProbeFailure.CLOSED, "the peer closed the connection in the middle of the answer's head"
        )
    content, elapsed, trouble = _body(response, wire, request.started)
    text, shortened = kept_body(content[: request.keep_bytes], _charset(response.headers.get("Content-Type")))
    exchange = Exchange(
        method=request.method,
        url=safe_line(request.url, MAX_HEADER_CHARS),
        address=request.address,
        detail="; ".join(filter(None, (trouble, shortened))),
        status=response.status,
        headers=_kept_headers(response.getheaders()),
        body=text,
        elapsed=elapsed,
    )
    return HttpAnswer(exchange, str(response.headers.get("Location") or "")[: 4 * MAX_HEADER_CHARS])


def _body(
    response: http.client.HTTPResponse, wire: DialledConnection, started: float
) -> tuple[bytes, float, str]:
    """Return the beginning of the body, the seconds until its first part, and a description of any fault."""
    content = bytearray()
    length = response.length
    elapsed = time.monotonic() - started
    trouble = ""
    try:
        while len(content) < MAX_BODY_BYTES:
            piece = response.read1(MAX_BODY_BYTES - len(content))
            if not content:
                elapsed = time.monotonic() - started
                wire.deadline = min(wire.deadline, time.monotonic() + BODY_SECONDS)
            if not piece:
                break
            content += piece
    except OutOfTimeError:
        trouble = f"the body was not complete after {time.monotonic() - started:.1f} s"
    except (http.client.HTTPException, OSError, ValueError) as error:
        trouble = safe_line(f"the body broke off: {type(error).__name__}: {error}")
    if not trouble and length is not None and len(content) < min(length, MAX_BODY_BYTES):
        trouble = f"the body ended after {len(content)} of {length} bytes"
    return bytes(content), elapsed, trouble


def _charset(content_type: str | None) -> str | None:
    """Return the charset of a Content-Type. Parse only the beginning of the value: parsing takes quadratic time."""
    message = Message()
    message["Content-Type"] = " ".join((content_type or "")[:MAX_CONTENT_TYPE_CHARS].split())
    try:
        return message.get_content_charset()
    except (LookupError, ValueError):
        return None


def kept_body(content: bytes, charset: str | None) -> tuple[str, str]:
    """Return the kept part of a body (at most `MAX_KEPT_CHARS`, no controls, no secrets) and a note on shortened JSON.

    JSON stays JSON, so that judges can read it: if it is too long, lists and strings are shortened."""
    try:
        name = codecs.lookup(charset or "utf-8").name.replace("-", "_")
        whole = content.decode("utf-8" if name in _NO_CHARSETS else name, "replace")
    except (LookupError, ValueError):
        whole = content.decode("utf-8", "replace")
    text = safe_text(whole, MAX_KEPT_CHARS)
    if whole.lstrip()[:1] not in ("{", "["):
        return text, ""
    try:
        value = json.loads(whole)
    except (ValueError, RecursionError):
        return text, ""
    if len(whole) <= MAX_KEPT_CHARS and _is_json(text):
        return text, ""
    for length in (8, 3, 1):
        short = json.dumps(_shortened(value, length), ensure_ascii=False)
        if len(short) <= MAX_KEPT_CHARS:
            return without_controls(short), "the JSON is shown shortened"
    return text, ""


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _shortened(value: Any, length: int, depth: int = 12) -> Any:
    from ops.text.secret_scan.values import is_secret

    if isinstance(value, str):
        return safe_text(value, 25 * length)
    if depth <= 0 and isinstance(value, dict | list):
        return None
    if isinstance(value, list):
        return [_shortened(item, length, depth - 1) for item in value[:length]]
    if isinstance(value, dict):
        return {
            safe_line(key, 80): HIDDEN if is_secret(key, inner) else _shortened(inner, length, depth - 1)
            for key, inner in list(value.items())[: 8 * length]
        }
    return value


def _kept_headers(headers: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (
            safe_line(name, 100),
            HIDDEN if name.lower() in _SECRET_HEADERS else safe_line(str(value), MAX_HEADER_CHARS),
        )
        for name, value in headers[:MAX_KEPT_HEADERS]
    )


def host_header(url: str) -> str:
    """Return the Host field for ``url`` (RFC 9110 7.2): the name in IDNA, the port if not the scheme's default."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not host.isascii():
        host = sni(host) or quote(host)
    port = parts.port
    default = {"http": 80, "https": 443}.get(parts.scheme)
    if ":" in host:
        host = f"[{host}]"
    return host if port is None or port == default else f"{host}:{port}"


def sni(host: str | None) -> str | None:
    """Return ``host`` as TLS sends it (RFC 6066 3): no final dot, IDNA. Python itself leaves out IP literals."""
    host = (host or "").rstrip(".")
    if host.isascii():
        return host or None
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return None


def unverified_context(certificate: str | None = None, key: str | None = None) -> ssl.SSLContext:
    """Return a context that accepts any certificate: only the answer matters here, trust is judged elsewhere.

    ``certificate`` and ``key``: files of the client certificate for a server that requests one. Ignore files that
    cannot be loaded: the server's own answer reports what is missing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    if certificate:
        with contextlib.suppress(OSError, ValueError):
            context.load_cert_chain(certificate, key, password="")
    return context


def verified_context(
    ca_file: str | None, certificate: str | None = None, key: str | None = None
) -> ssl.SSLContext | None:
    """Return a context that accepts only a valid certificate for the server's name, by the system's roots and
    ``ca_file``; None if those cannot be loaded."""
    try:
        context = ssl.create_default_context()
        if ca_file:
            context.load_verify_locations(cafile=ca_file)
    except (OSError, ValueError):
        return None
    context.set_alpn_protocols(["http/1.1"])
    if certificate:
        with contextlib.suppress(OSError, ValueError):
            context.load_cert_chain(certificate, key, password="")
    return context


def _tls_words(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLEOFError):
        return "the peer closed the connection"
    return safe_line((error.reason or str(error)).replace("_", " ").lower())


def _waited(error: OSError, phase: str, elapsed: float) -> str:
    if isinstance(error, OutOfTimeError):
        early = str(error) if str(error).startswith("wait ended") else ""
        return f"no {_AWAITED.get(phase, phase)} within {elapsed:.1f} s" + (f" ({early})" if early else "")
    return f"{phase}: {reason_of(error)}" if phase != "answer" else reason_of(error)


_AWAITED = {"connect": "connection"}
