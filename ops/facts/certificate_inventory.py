"""Every certificate that matters on a host: the facts about each, and the judgement.

`Inventory` is plain data, filled by ``ops/collect/services/certificate_inventory.py``; `Review` is the result of
``ops/certificates/assess.py``, which the reports render.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ops.facts.base import Facts, NotSeen
from ops.facts.certificates import CertbotRuns, Certificate, ExpiryStage, KeyFile, Lineages, PemFile, Served
from ops.facts.safeguards import Schedule
from ops.facts.status import EXIT_CODES
from ops.facts.status import Status as Status
from ops.facts.target import ExpiryRule
from ops.text.language import Text


class Endpoint(Facts, frozen=True):
    """A place where TLS is served. ``name``: sent as SNI, empty for none; ``expected``: the certificate must cover it;
    ``starttls``: smtp, imap, pop3 or None; ``origin``: the source of the endpoint; ``file``: the configured
    certificate; ``proxied``: a connection begins with a line of the PROXY protocol; ``key``: the kind of key to ask for
    (RSA, ECDSA), of a server with several certificates."""

    address: str
    name: str
    expected: bool
    origin: str
    starttls: str | None = None
    file: str | None = None
    proxied: bool = False
    key: str = ""

    @property
    def where(self) -> str:
        """The address, after the protocol that precedes TLS."""
        return f"{self.starttls}://{self.address}" if self.starttls else self.address


class ServedThere(Facts, frozen=True):
    """An endpoint, and the chain that it presents."""

    endpoint: Endpoint
    served: Served | NotSeen


class RenewalJob(Facts, frozen=True):
    """A scheduled job that renews. ``idle``: why it does nothing here, or None."""

    where: str
    command: str
    idle: str | None = None


class FilePair(Facts, frozen=True):
    """A certificate file with the key that belongs to it. ``used_by``: the configurations that name it; ``lineage``:
    certbot's name for it; ``client``: the other ACME client that writes it, and ``jobs``: what runs that client."""

    certificate: PemFile | NotSeen
    path: str
    key: KeyFile | NotSeen | None
    used_by: tuple[str, ...] = ()
    lineage: str | None = None
    client: str | None = None
    jobs: tuple[RenewalJob, ...] = ()


class Inventory(Facts, frozen=True):
    """All facts. ``workers_started``: start times of nginx's workers, Unix seconds; ``unseen``: what could not be
    examined.

    ``complete`` is False if only the endpoints of the command line were examined."""

    taken_at: float
    has_systemd: bool
    is_root: bool
    files: tuple[FilePair, ...]
    served: tuple[ServedThere, ...]
    lineages: Lineages | NotSeen
    runs: CertbotRuns | NotSeen
    schedule: Schedule | NotSeen
    rules: tuple[ExpiryRule, ...] = ()
    workers_started: tuple[float, ...] = ()
    unseen: tuple[NotSeen, ...] = ()
    complete: bool = True


@dataclass(frozen=True)
class Remark:
    """A remark on one certificate. ``severity`` None: for information only."""

    text: Text
    severity: Status | None = None


@dataclass(frozen=True)
class Renewal:
    """The jobs that renew a lineage, and their results. Times are Unix seconds."""

    jobs: tuple[str, ...]
    due_at: float | None = None
    last_renewed: float | None = None
    last_run: float | None = None
    failed_tries: int = 0
    reason: str = ""
    certbot: str | None = None


class CertificateSource(StrEnum):
    """Where a certificate was seen."""

    FILE = "file"
    SERVED = "served"


@dataclass(frozen=True)
class JudgedCertificate:
    """One certificate. ``certificate`` None if none could be read; ``left``: seconds until it ends."""

    name: str
    source: CertificateSource
    where: str
    status: Status
    certificate: Certificate | None = None
    stage: ExpiryStage | None = None
    left: float | None = None
    share: float | None = None
    warn_below: float | None = None
    fail_below: float | None = None
    reasons: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()
    chain_complete: bool | None = None
    key_matches: bool | None = None
    matches_disk: bool | None = None
    renewal: Renewal | None = None
    used_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Review:
    """All certificates, the most severe first."""

    taken_at: float
    status: Status
    certificates: tuple[JudgedCertificate, ...]
    unseen: tuple[NotSeen, ...] = field(default=())

    @property
    def exit_code(self) -> int:
        """The exit code of monitoring plugins: 0 ok, 1 warning, 2 critical, 3 unknown."""
        return EXIT_CODES[self.status]
