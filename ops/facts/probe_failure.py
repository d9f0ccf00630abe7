"""The reasons why a probe failed."""

from __future__ import annotations

from enum import StrEnum


class ProbeFailure(StrEnum):
    """Why a probe failed, as it stands in a snapshot. `Resolution`, `Connection` and `Exchange` say which of them they
    may have."""

    # of a resolver's answer (RFC 1035, 4.1.1)
    NXDOMAIN = "nxdomain"
    NO_ADDRESS = "no_address"
    SERVFAIL = "servfail"
    # of a connection; REFUSED is also a resolver's own refusal
    REFUSED = "refused"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    MISSING = "missing"
    PERMISSION = "permission"
    OTHER = "other"
    # of an exchange
    RESET = "reset"
    CLOSED = "closed"
    TLS = "tls"
    MALFORMED = "malformed"
