"""Certificates, served and on disk, and certbot's lineages."""

from __future__ import annotations

import msgspec

from ops.facts.base import Facts, NotSeen


class Certificate(Facts, frozen=True):
    """One X.509 certificate. ``public_key`` and ``fingerprint`` are SHA-256 in hex; names are as in the SAN."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: float
    not_after: float
    fingerprint: str
    public_key: str
    self_signed: bool
    is_authority: bool
    serial: str
    key_type: str
    issuer_url: str = ""


class Served(Facts, frozen=True):
    """What the front door presents for the name. ``trust_error`` is OpenSSL's verdict on the chain, dates and name
    left out, None where it chains to a trusted root."""

    address: str
    server_name: str | None
    chain: tuple[Certificate, ...]
    protocol: str
    trust_error: str | None = None
    trust_code: int = 0


class OldTls(Facts, frozen=True):
    """Which withdrawn versions of TLS the front door shook hands with: TLSv1, TLSv1.1."""

    address: str
    accepted: tuple[str, ...]


class PemFile(Facts, frozen=True):
    """A file of certificates. ``problem``: missing, dangling, unreadable, not_pem, empty."""

    path: str
    resolved: str
    modified: float | None = None
    certificates: tuple[Certificate, ...] = ()
    problem: str | None = None
    detail: str = ""


class KeyFile(Facts, frozen=True):
    """A private key file; nothing of the key but the hash of its public half is kept."""

    path: str
    resolved: str
    modified: float | None = None
    mode: int | None = None
    public_key: str | None = None
    problem: str | None = None
    detail: str = ""


class Certificates(Facts, frozen=True):
    """Certificate and key files that belong to the site, and authorities found beside them."""

    leaf: PemFile | NotSeen
    key: KeyFile | NotSeen
    nearby: tuple[PemFile, ...] = ()


class RenewalConf(Facts, frozen=True):
    """certbot's account of how a lineage is renewed (renewal/NAME.conf). ``files``: where it says certificate, key and
    chain lie, by stem. ``hooks`` by kind: pre, post, deploy. ``renew_before``: seconds, None where certbot's own rule
    counts. ``problem``: missing, unreadable, malformed."""

    path: str
    version: str | None = None
    archive_dir: str | None = None
    files: dict[str, str] = msgspec.field(default_factory=dict)
    authenticator: str | None = None
    server: str | None = None
    logs_dir: str | None = None
    renew_before: float | None = None
    autorenew: bool = True
    hooks: dict[str, str] = msgspec.field(default_factory=dict)
    problem: str | None = None
    detail: str = ""


class Lineage(Facts, frozen=True):
    """One certificate that certbot keeps. ``linked``: the files in live/NAME are links into archive/NAME, as certbot
    makes them and demands. ``renewed``: when its newest certificate was written. ``outside``: what leads out of
    certbot's directory and was not followed."""

    name: str
    live: str
    linked: bool
    certificate: PemFile | NotSeen
    key: KeyFile | NotSeen
    renewal: RenewalConf
    renewed: float | None = None
    outside: tuple[str, ...] = ()


class Lineages(Facts, frozen=True):
    """certbot's directory. ``deploy_hooks``: the programs in renewal-hooks/deploy."""

    directory: str
    lineages: tuple[Lineage, ...]
    deploy_hooks: tuple[str, ...] = ()


class RenewalAttempt(Facts, frozen=True):
    """What certbot's log says of one lineage in one run. ``outcome``: renewed, failed, not_due; ``reason``: certbot's
    own words, the authority's detail first."""

    lineage: str
    time: float
    outcome: str
    reason: str = ""


class CertbotRuns(Facts, frozen=True):
    """certbot's runs that stand in its logs. ``since``: the oldest line that was read; ``version``: the last run's."""

    path: str
    last_run: float | None
    version: str | None
    attempts: tuple[RenewalAttempt, ...]
    since: float | None = None
