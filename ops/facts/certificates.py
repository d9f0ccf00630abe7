"""Certificates, served and on disk, and certbot's lineages."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from ops.facts.base import Facts, NotSeen
from ops.facts.probe_failure import ProbeFailure


class Certificate(Facts, frozen=True):
    """One X.509 certificate. ``public_key`` and ``fingerprint`` are SHA-256 in hex; names are as in the SAN.

    ``key_id``, ``issuer_key_id``: the identifiers of its own and of its issuer's key, in hex, if it has them (RFC 5280,
    4.2.1.1 and 4.2.1.2). ``signed_by``: the fingerprint of the certificate in the same file or chain that signed it;
    empty if none of them did, None if that was not examined. ``purposes``: its extended key usages, none if it has no
    such limit (RFC 5280, 4.2.1.12); ``must_staple``: it demands a stapled OCSP answer (RFC 7633)."""

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
    key_id: str = ""
    issuer_key_id: str = ""
    signed_by: str | None = None
    purposes: tuple[str, ...] = ()
    must_staple: bool = False


class Served(Facts, frozen=True):
    """The chain that the front door presents for the name. ``trust_error``: OpenSSL's error for the chain, ignoring
    dates and names; None if it chains to a trusted root."""

    address: str
    server_name: str | None
    chain: tuple[Certificate, ...]
    protocol: str
    trust_error: str | None = None
    trust_code: int = 0


class OtherDoor(Facts, frozen=True):
    """Another way to the front door: another address of this host that the name resolves to, or another kind of key
    (``key``: RSA or ECDSA) at the same address. ``failure``: why there was no connection, as in `Connection`.
    ``files``: the certificates that server blocks listening there name."""

    address: str
    served: Served | NotSeen
    key: str = ""
    failure: ProbeFailure | None = None
    files: tuple[PemFile, ...] = ()


class OldTls(Facts, frozen=True):
    """The deprecated versions of TLS that the front door accepts: TLSv1, TLSv1.1."""

    address: str
    accepted: tuple[str, ...]


class ExpiryStage(StrEnum):
    """How near a certificate's end is; ``ops/interpret/expiry.py`` has the rule."""

    NOT_YET = "not_yet"  # it is not valid yet
    OK = "ok"
    DUE = "due"  # renewal is due
    WARN = "warn"
    FAIL = "fail"
    PAGE = "page"  # a person has to act
    EXPIRED = "expired"


class FileProblem(StrEnum):
    """Why a file could not be used. Only a link is dangling, only a key encrypted, only a renewal configuration
    malformed."""

    MISSING = "missing"
    DANGLING = "dangling"
    UNREADABLE = "unreadable"
    EMPTY = "empty"
    NOT_PEM = "not_pem"
    ENCRYPTED = "encrypted"
    MALFORMED = "malformed"


class PemDefectKind(StrEnum):
    """Defects in the lines of a PEM file."""

    JOINED = "joined"
    BEHIND_TEXT = "behind_text"
    INDENTED = "indented"
    ONE_LINE = "one_line"
    ESCAPED = "escaped"
    DASHES = "dashes"
    CARRIAGE_RETURNS = "carriage_returns"
    NO_END = "no_end"
    WRONG_END = "wrong_end"
    NOT_BASE64 = "not_base64"
    BLANK_LINE = "blank_line"
    CUT_OFF = "cut_off"
    DER = "der"
    UTF_16 = "utf_16"


class PemDefect(Facts, frozen=True):
    """A defect of a PEM file: its line, the label of its block, and the line where the block begins (0: no block).
    ``is_hidden``: OpenSSL silently skips that block; ``is_whole``: its content is complete nevertheless."""

    kind: PemDefectKind
    line: int
    label: str = ""
    begins: int = 0
    is_hidden: bool = False
    is_whole: bool = False


class PemFile(Facts, frozen=True):
    """A file of certificates. ``problem``: missing, dangling, unreadable, not_pem, empty.

    ``certificates``: as OpenSSL loads them; ``places``: the first and the last line of each; ``hidden``: those that it
    skips because of how they are written. ``key``: the hash of the public half of a private key in the same file.
    ``mode``: the file's permissions."""

    path: str
    resolved: str
    modified: float | None = None
    certificates: tuple[Certificate, ...] = ()
    problem: FileProblem | None = None
    detail: str = ""
    places: tuple[tuple[int, int], ...] = ()
    hidden: tuple[Certificate, ...] = ()
    defects: tuple[PemDefect, ...] = ()
    key: str | None = None
    mode: int | None = None


class KeyFile(Facts, frozen=True):
    """A private key file; only the hash of its public half is kept."""

    path: str
    resolved: str
    modified: float | None = None
    mode: int | None = None
    public_key: str | None = None
    problem: FileProblem | None = None
    detail: str = ""
    defects: tuple[PemDefect, ...] = ()


class RevocationList(Facts, frozen=True):
    """One list of revoked certificates (RFC 5280, 5) in a file. ``next_update``: until when it counts, None if it does
    not say."""

    path: str
    issuer: str
    next_update: float | None = None


class AcmePair(Facts, frozen=True):
    """A pair that an ACME client other than certbot keeps in its own ``directory``, and nginx does not read."""

    client: str
    directory: str
    certificate: PemFile
    key: KeyFile


class Certificates(Facts, frozen=True):
    """Certificate and key files of the site, and authorities found beside them.

    ``revocations``: the lists in the files of ssl_crl that are in force for the site.

    If certificate and key are not a pair, ``other_keys`` and ``other_certificates`` are the files beside them that
    match the certificate, and the key. ``elsewhere``: pairs for the site in the directories of ACME clients."""

    leaf: PemFile | NotSeen
    key: KeyFile | NotSeen
    nearby: tuple[PemFile, ...] = ()
    other_keys: tuple[KeyFile, ...] = ()
    other_certificates: tuple[PemFile, ...] = ()
    revocations: tuple[RevocationList, ...] = ()
    elsewhere: tuple[AcmePair, ...] = ()


class RenewalConf(Facts, frozen=True):
    """certbot's renewal configuration of a lineage (renewal/NAME.conf). ``files``: its paths of certificate, key and
    chain, by stem. ``hooks`` by kind: pre, post, deploy. ``renew_before``: seconds, None if certbot's own rule applies.
    ``own_port``: of certbot's own server, for its authenticator standalone.
    ``problem``: missing, unreadable, malformed."""

    path: str
    version: str | None = None
    archive_dir: str | None = None
    files: dict[str, str] = msgspec.field(default_factory=dict)
    authenticator: str | None = None
    server: str | None = None
    logs_dir: str | None = None
    webroot: str | None = None
    renew_before: float | None = None
    autorenew: bool = True
    own_port: int = 80
    hooks: dict[str, str] = msgspec.field(default_factory=dict)
    problem: FileProblem | None = None
    detail: str = ""


class ArchivedPair(Facts, frozen=True):
    """One complete version of a lineage in archive/NAME: cert, chain, fullchain and privkey with the same number.

    ``matches``: its key belongs to its certificate."""

    version: int
    certificate: Certificate
    matches: bool
    chain_path: str
    key_path: str


class Lineage(Facts, frozen=True):
    """One certificate that certbot keeps. ``linked``: the files in live/NAME are links into archive/NAME, as certbot
    requires. ``renewed``: when its newest certificate was written. ``outside``: links that lead out of certbot's
    directory and were not followed. ``newer``: complete versions in the archive that are newer than the one in
    live/NAME, the newest first."""

    name: str
    live: str
    linked: bool
    certificate: PemFile | NotSeen
    key: KeyFile | NotSeen
    renewal: RenewalConf
    renewed: float | None = None
    outside: tuple[str, ...] = ()
    newer: tuple[ArchivedPair, ...] = ()


class Lineages(Facts, frozen=True):
    """certbot's directory. ``others``: the first of the lineages beside ``lineages``, if one was asked for;
    ``deploy_hooks``: the programs in renewal-hooks/deploy; ``pre_hooks``: those in
    renewal-hooks/pre, read only if a lineage is renewed by certbot's own server."""

    directory: str
    lineages: tuple[Lineage, ...]
    others: tuple[Lineage, ...] = ()
    deploy_hooks: tuple[str, ...] = ()
    pre_hooks: tuple[str, ...] = ()


class RenewalOutcome(StrEnum):
    """How an attempt to renew a lineage ended. The values are in bundles."""

    RENEWED = "renewed"
    FAILED = "failed"
    NOT_DUE = "not_due"


class RenewalAttempt(Facts, frozen=True):
    """One lineage in one run of certbot, by certbot's log. ``reason``: certbot's own words, the authority's detail
    first."""

    lineage: str
    time: float
    outcome: RenewalOutcome
    reason: str = ""


class CertbotRuns(Facts, frozen=True):
    """certbot's runs according to its logs. ``since``: the time of the oldest line that was read; ``version``: the last
    run's."""

    path: str
    last_run: float | None
    version: str | None
    attempts: tuple[RenewalAttempt, ...]
    since: float | None = None
