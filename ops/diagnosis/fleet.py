"""Compare the diagnoses of many hosts: which share a cause, and what these have that the healthy have not.

Pure; `ops/fleet.py` reads the bundles, `ops/diagnosis/host_traits.py` says what is compared.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from ops.diagnosis.catalogue import catalogue
from ops.diagnosis.changes import can_bring_about
from ops.diagnosis.host_traits import HostDiagnosis, Trait, TraitKind
from ops.diagnosis.model import Cause
from ops.facts.changes import Change, ChangeKind, PlaceKind
from ops.facts.status import Severity, Status
from ops.text.language import Text

# How many shared traits a group shows.
MAX_SHARED = 10
# A value that some hosts in order have too is shown if chance would give it to so many of the group this seldom.
RARE_CHANCE = 0.02


_PLACES: dict[TraitKind, PlaceKind] = {
    TraitKind.NGINX: PlaceKind.NGINX,
    TraitKind.GUNICORN: PlaceKind.GUNICORN,
    TraitKind.COMMAND: PlaceKind.COMMAND,
    TraitKind.SERVICE: PlaceKind.APPLICATION,
    TraitKind.MODEL: PlaceKind.MODEL,
    TraitKind.PACKAGE: PlaceKind.PACKAGE,
    TraitKind.PROGRAM: PlaceKind.HOST_PACKAGE,
    TraitKind.SYSTEM: PlaceKind.HOST_PACKAGE,
    TraitKind.CERTIFICATE: PlaceKind.CERTIFICATE,
    TraitKind.RENEWAL: PlaceKind.RENEWAL,
}
_ORDER = {kind: number for number, kind in enumerate(TraitKind)}
ABSENT = Text(en="is not there", zh="不存在")


class RefusedBundle(msgspec.Struct, frozen=True):
    """A bundle that was not diagnosed, and why."""

    file: str
    reason: Text


class OlderBundle(msgspec.Struct, frozen=True):
    """A bundle of a host that has a later one, ``newer``: it is diagnosed, and counts in no comparison."""

    file: str
    name: str
    newer: str
    seconds: float


class SharedTrait(msgspec.Struct, frozen=True):
    """A trait of a group: on how many of its hosts, and on how many of those that it is compared with. ``usual``: the
    value that most of these have, None if they have none; ``fits``: the catalogue names it as a place where the cause
    comes about, or the cause's proof includes the change."""

    trait: Trait
    holders: int
    others: int
    usual: Text | None
    fits: bool


class HostGroup(msgspec.Struct, frozen=True):
    """The hosts with one cause; ``code`` is empty for all hosts whose users are affected. ``compared``: the number of
    hosts that are in order and without it; ``omitted``: shared traits beyond the bound."""

    code: str
    severity: Severity
    title: Text
    hosts: tuple[str, ...]
    compared: int
    shared: tuple[SharedTrait, ...]
    omitted: int = 0


class FleetDiagnosis(msgspec.Struct, frozen=True):
    """All hosts, those with affected users first, each by its latest bundle; the groups; what was not diagnosed.
    ``passed_over``: files whose names are not a bundle's."""

    hosts: tuple[HostDiagnosis, ...]
    groups: tuple[HostGroup, ...]
    refused: tuple[RefusedBundle, ...] = ()
    older: tuple[OlderBundle, ...] = ()
    passed_over: int = 0
    seconds: float = 0.0

    @property
    def status(self) -> Status:
        """The worst of the hosts'. A bundle that could not be read leaves its host unjudged."""
        statuses = {host.status for host in self.hosts}
        if self.refused or not self.hosts:
            statuses.add(Status.UNKNOWN)
        return next(s for s in (Status.FAIL, Status.UNKNOWN, Status.WARN, Status.OK) if s in statuses)


_SEVERITY_ORDER = {Status.FAIL: 0, Status.UNKNOWN: 1, Status.WARN: 2, Status.OK: 3}


def compare_hosts(
    hosts: Iterable[HostDiagnosis],
    refused: Sequence[RefusedBundle] = (),
    passed_over: int = 0,
    seconds: float = 0.0,
) -> FleetDiagnosis:
    """Order the hosts and form the groups. Pure."""
    hosts, older = _latest(hosts)
    ordered = tuple(sorted(hosts, key=lambda host: (_SEVERITY_ORDER[host.status], host.name, host.file)))
    return FleetDiagnosis(
        hosts=ordered,
        groups=tuple(_groups(ordered)),
        refused=tuple(refused),
        older=tuple(older),
        passed_over=passed_over,
        seconds=seconds,
    )


def _latest(hosts: Iterable[HostDiagnosis]) -> tuple[list[HostDiagnosis], list[OlderBundle]]:
    """Each host by its latest bundle, and the others of the same host."""
    latest: dict[tuple[str, ...], HostDiagnosis] = {}
    given = sorted(hosts, key=lambda host: (-host.taken_at, host.file))
    for host in given:
        latest.setdefault(host.identity or ("", host.file), host)
    newest = list(latest.values())
    kept = {host.file for host in newest}
    older = [
        OlderBundle(host.file, host.name, newer.file, newer.taken_at - host.taken_at)
        for host in given
        if host.file not in kept
        for newer in [latest[host.identity]]
    ]
    return newest, sorted(older, key=lambda item: item.file)


def _groups(hosts: Sequence[HostDiagnosis]) -> Iterator[HostGroup]:
    members: dict[str, list[HostDiagnosis]] = defaultdict(list)
    causes: dict[str, Cause] = {}
    for host in hosts:
        for cause in host.causes:
            members[cause.code].append(host)
            if cause.code not in causes or cause.severity is Severity.FAIL:
                causes[cause.code] = cause
    healthy = [host for host in hosts if host.status in (Status.OK, Status.WARN)]
    broken = [host for host in hosts if host.status is Status.FAIL]
    groups = [
        _group(code, causes[code].severity, causes[code].title, members[code], healthy) for code in causes
    ]
    failing = [group for group in groups if group.severity is Severity.FAIL]
    if len(broken) > 1 and not any(len(group.hosts) == len(broken) for group in failing):
        title = Text(en="Every host whose users are affected", zh="所有用户受影响的主机")
        yield _group("", Severity.FAIL, title, broken, healthy)
    yield from sorted(
        groups, key=lambda group: (group.severity is not Severity.FAIL, -len(group.hosts), group.code)
    )


def _group(
    code: str,
    severity: Severity,
    title: Text,
    members: Sequence[HostDiagnosis],
    healthy: Sequence[HostDiagnosis],
) -> HostGroup:
    compared = [host for host in healthy if code not in host.codes]
    shared = sorted(_shared(code, members, compared), key=_rank)
    return HostGroup(
        code=code,
        severity=severity,
        title=title,
        hosts=tuple(host.name for host in members),
        compared=len(compared),
        shared=tuple(shared[:MAX_SHARED]),
        omitted=max(0, len(shared) - MAX_SHARED),
    )


def _rank(item: SharedTrait) -> tuple[bool, bool, int, int, str]:
    """What fits the cause first, then what no healthy host has; a change before a value that differs."""
    return (not item.fits, item.others > 0, _ORDER[item.trait.kind], -item.holders, item.trait.name)


_Key = tuple[TraitKind, str]


class _Values:
    """The traits of several hosts, counted."""

    def __init__(self, hosts: Sequence[HostDiagnosis]) -> None:
        self.size = len(hosts)
        self.counts = Counter(trait for host in hosts for trait in host.traits)
        self.with_key = Counter(key for host in hosts for key in {(t.kind, t.name) for t in host.traits})
        self.seeing = Counter(kind for host in hosts for kind in host.kinds)
        self.by_key: dict[_Key, list[Trait]] = defaultdict(list)
        for trait in self.counts:
            self.by_key[trait.kind, trait.name].append(trait)

    def usual(self, key: _Key) -> Trait | None:
        """The value that most of the hosts have, if there is one."""
        return max(
            self.by_key.get(key, ()), key=lambda trait: (self.counts[trait], trait.value.en), default=None
        )


def _shared(
    code: str, members: Sequence[HostDiagnosis], compared: Sequence[HostDiagnosis]
) -> Iterator[SharedTrait]:
    here, there = _Values(members), _Values(compared)
    fitting = {trait for host in members for trait in host.fitting.get(code, ())}
    places = _places(code)
    for trait, holders in here.counts.items():
        if holders < _most(here.size):
            continue
        others = there.counts[trait]
        if trait.kind is TraitKind.CHANGE:
            if trait in fitting or others <= 0.5 * there.size:
                yield SharedTrait(trait, holders, others, None, trait in fitting)
            continue
        usual = there.usual((trait.kind, trait.name))
        is_rare = others <= 0.1 * there.size or _chance(holders, here.size, others, there.size) <= RARE_CHANCE
        if not is_rare or not _agrees(there, trait, usual):
            continue
        yield SharedTrait(trait, holders, others, usual.value if usual else None, _fits(trait, places))
    for trait, count in there.counts.items():
        key = (trait.kind, trait.name)
        is_seen = here.seeing[trait.kind] == here.size
        is_usual = trait.kind is not TraitKind.CHANGE and count >= 0.9 * there.size
        if is_usual and is_seen and not here.with_key[key]:
            absent = msgspec.structs.replace(trait, value=ABSENT)
            yield SharedTrait(absent, here.size, there.size - count, trait.value, _fits(trait, places))


def _chance(holders: int, size: int, others: int, compared: int) -> float:
    """How likely so many of ``size`` hosts, or more, were among the holders if they were drawn from all by chance (the
    tail of the hypergeometric distribution)."""
    total, marked = size + compared, holders + others
    ways = sum(
        math.comb(marked, number) * math.comb(total - marked, size - number)
        for number in range(holders, min(size, marked) + 1)
    )
    return ways / math.comb(total, size)


def _most(size: int) -> int:
    """How many of a group's hosts have to have what it is said to share: all of a few, most of many."""
    return size if size < 5 else math.ceil(0.8 * size)


def _agrees(there: _Values, trait: Trait, usual: Trait | None) -> bool:
    """Whether most of the hosts that are compared with have one value, or none: a value that is another on every host
    tells nothing."""
    without = there.seeing[trait.kind] - there.with_key[trait.kind, trait.name]
    return there.size > 0 and 2 * max(without, there.counts[usual] if usual else 0) >= there.size


def _places(code: str) -> tuple[str, ...]:
    all_causes = catalogue()
    return tuple(all_causes.entry(code).places) if code in all_causes.codes else ()


def _fits(trait: Trait, places: Sequence[str]) -> bool:
    """Whether the catalogue's places name it (`ops.diagnosis.changes`). A place without names counts for no trait: it
    would fit every directive."""
    place = _PLACES.get(trait.kind)
    if place is None:
        return False
    change = Change(place=place, what=trait.subject, kind=ChangeKind.VALUE)
    is_few = trait.kind not in (TraitKind.NGINX, TraitKind.PACKAGE)
    return can_bring_about(change, [item for item in places if is_few or ":" in item])
