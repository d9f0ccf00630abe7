"""Every certificate that matters on a host: what was found of each, and what was judged of it.

`Inventory` is plain data, filled by ``ops/collect/services/certificate_inventory.py``; `Review` is what
``ops/certificates/assess.py`` says of it and what the reports render.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ops.facts.base import Facts, NotSeen
from ops.facts.certificates import CertbotRuns, Certificate, ExpiryStage, KeyFile, Lineages, PemFile, Served
from ops.facts.safeguards import Schedule
from ops.facts.status import EXIT_CODES
from ops.facts.status import Status as Status
from ops.facts.target import ExpiryRule
from ops.text.language import Text


class Endpoint(Facts, frozen=True):
    """Somewhere TLS is served. ``name`` is asked for (SNI), empty for none; ``expected``: the certificate must cover
    it; ``starttls``: smtp, imap, pop3 or None; ``origin``: who named it; ``file``: the certificate configured."""

    address: str
    name: str
    expected: bool
    origin: str
    starttls: str | None = None
    file: str | None = None

    @property
    def where(self) -> str:
        """The address, with the protocol before TLS."""
        return f"{self.starttls}://{self.address}" if self.starttls else self.address


class ServedThere(Facts, frozen=True):
    """What an endpoint presents."""

    endpoint: Endpoint
    served: Served | NotSeen


class FilePair(Facts, frozen=True):
    """A certificate file with the key that belongs to it. ``used_by``: who names it; ``lineage``: certbot's name."""

    certificate: PemFile | NotSeen
    path: str
    key: KeyFile | NotSeen | None
    used_by: tuple[str, ...] = ()
    lineage: str | None = None


class Inventory(Facts, frozen=True):
    """All that was found. ``workers_started``: nginx's workers, Unix seconds; ``unseen``: what could not be looked at.

    ``complete`` is False where only named endpoints were asked for."""

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
    """Something to say of one certificate. ``severity`` None: good to know, no more."""

    text: Text
    severity: Status | None = None


@dataclass(frozen=True)
class Renewal:
    """Who renews a lineage and how that went. Times are Unix seconds."""

    jobs: tuple[str, ...]
    due_at: float | None = None
    last_renewed: float | None = None
    last_run: float | None = None
    failed_tries: int = 0
    reason: str = ""
    certbot: str | None = None


@dataclass(frozen=True)
class Judged:
    """One certificate. ``certificate`` None where none could be read; ``left``: seconds."""

    name: str
    source: Literal["file", "served"]
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
    """All certificates, the gravest first."""

    taken_at: float
    status: Status
    certificates: tuple[Judged, ...]
    unseen: tuple[NotSeen, ...] = field(default=())

    @property
    def exit_code(self) -> int:
        """As monitoring plugins have it: 0 ok, 1 warning, 2 critical, 3 unknown."""
        return EXIT_CODES[self.status]
