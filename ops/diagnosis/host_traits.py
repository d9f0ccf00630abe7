"""One host's traits: what may set it apart from other hosts.

A trait is one value: a directive, a setting, a version, a property of the certificate or the clock, a change since the
baseline. Pure; `ops/diagnosis/fleet.py` compares them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from ipaddress import ip_address
from typing import NamedTuple

import msgspec

from ops.diagnosis.changes import change_place, change_words
from ops.diagnosis.model import Cause, Diagnosis, RankedChange, Symptom
from ops.facts.base import NotSeen
from ops.facts.certificates import Lineages, Served
from ops.facts.changes import ChangeKind
from ops.facts.files import Environment, ModelFiles
from ops.facts.gunicorn import Gunicorn, GunicornConfig
from ops.facts.host import Host, Processes
from ops.facts.machine import Machine
from ops.facts.nginx import Directive, NginxConfig
from ops.facts.probes import Backend, Exchange
from ops.facts.snapshot import Snapshot
from ops.facts.status import Status
from ops.facts.target import Target
from ops.interpret.gunicorn import process_of
from ops.text.language import Text, verbatim
from ops.text.sanitize import safe_line, safe_words

# A deployed configuration has some hundred directives and packages.
MAX_TRAITS = 3000
MAX_VALUE_CHARS = 200
# How many causes and symptoms of a host are kept.
MAX_CAUSES = 50
# A clock that is off by more than this, seconds, is a trait of its host.
CLOCK_SECONDS = 1.0
FULL_SHARE = 0.05


class TraitKind(StrEnum):
    """What a trait is of, in the order in which traits are shown."""

    CHANGE = "change"
    NGINX = "nginx"
    GUNICORN = "gunicorn"
    COMMAND = "command"
    SERVICE = "service"
    MODEL = "model"
    PACKAGE = "package"
    PROGRAM = "program"
    SYSTEM = "system"
    CERTIFICATE = "certificate"
    RENEWAL = "renewal"
    CLOCK = "clock"
    MACHINE = "machine"


_CHANGE_WORDS: dict[ChangeKind, Text] = {
    ChangeKind.ADDED: Text(en="was added", zh="新增"),
    ChangeKind.REMOVED: Text(en="was removed", zh="已删除"),
    ChangeKind.CONTENT: Text(en="was changed", zh="有改动"),
    ChangeKind.ACCESS: Text(en="has another owner or mode", zh="属主或权限有变化"),
    ChangeKind.LINK: Text(en="leads elsewhere", zh="改变了指向"),
    ChangeKind.VALUE: Text(en="was changed", zh="有改动"),
}


class Trait(msgspec.Struct, frozen=True):
    """One value of one host. ``subject``: what the catalogue's places call it (a directive, a setting, a package);
    ``name``: the same with its context. The host's own names and addresses are replaced in ``value``."""

    kind: TraitKind
    name: str
    value: Text
    subject: str = ""


class HostDiagnosis(msgspec.Struct, frozen=True):
    """One host's diagnosis, without its checks, and its traits. ``file``: the bundle's name; ``kinds``: the kinds of
    traits that were seen on it; ``fitting``: for each cause, the changes that belong to its proof;
    ``identity``: its name and addresses, empty if they were not seen; ``clock_ahead``: by how many seconds its time
    daemon found the clock ahead of the true time (negative: behind), None if none measured it."""

    file: str
    name: str
    status: Status
    url: str
    taken_at: float
    utc_offset: int
    causes: tuple[Cause, ...]
    symptoms: tuple[Symptom, ...]
    traits: tuple[Trait, ...] = ()
    kinds: tuple[TraitKind, ...] = ()
    fitting: dict[str, tuple[Trait, ...]] = msgspec.field(default_factory=dict)
    omitted_causes: int = 0
    identity: tuple[str, ...] = ()
    clock_ahead: float | None = None

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of its causes."""
        return tuple(cause.code for cause in self.causes)


def host_diagnosis(file: str, snapshot: Snapshot, diagnosis: Diagnosis) -> HostDiagnosis:
    """What the comparison needs of one host, bounded."""
    host = snapshot.host
    hide = _own_words(snapshot)
    changes = [(item, _change_trait(item, hide)) for item in diagnosis.changes if not item.change.is_harmless]
    fitting: dict[str, tuple[Trait, ...]] = {}
    for item, trait in changes:
        for code in item.fits:
            fitting[code] = (*fitting.get(code, ()), trait)
    traits = dict.fromkeys(trait for _, trait in changes)
    kinds = [TraitKind.CHANGE] if diagnosis.last_good is not None else []
    for kind, values in _seen_traits(snapshot):
        kinds.append(kind)
        for subject, name, value in values:
            if len(traits) >= MAX_TRAITS:
                break
            words = verbatim(safe_line(hide(value), MAX_VALUE_CHARS))
            traits[Trait(kind, safe_line(hide(name), MAX_VALUE_CHARS), words, safe_line(subject, 80))] = None
    return HostDiagnosis(
        file=file,
        name=safe_line(host.hostname, 100) if isinstance(host, Host) else file,
        status=diagnosis.status,
        url=diagnosis.target.get("url", ""),
        taken_at=snapshot.taken_at,
        utc_offset=diagnosis.utc_offset,
        causes=diagnosis.causes[:MAX_CAUSES],
        symptoms=diagnosis.symptoms[:MAX_CAUSES],
        traits=tuple(traits),
        kinds=tuple(kinds),
        fitting=fitting,
        omitted_causes=max(0, len(diagnosis.causes) - MAX_CAUSES),
        identity=_identity(host),
        clock_ahead=_clock_ahead(snapshot.machine),
    )


def _identity(host: object) -> tuple[str, ...]:
    """A name alone is no host: many are called debian."""
    own = [address for address in host.addresses[:50] if _is_own(address)] if isinstance(host, Host) else []
    return (safe_line(host.hostname, 100), *sorted(own)) if isinstance(host, Host) and own else ()


class _OwnWords:
    """Replaces a host's own names and addresses, which no other host shares."""

    def __init__(self, words: Mapping[str, str]) -> None:
        self._words = words
        ordered = sorted((word for word in words if len(word) >= 3), key=lambda word: (-len(word), word))
        self._pattern = (
            re.compile(rf"(?<![\w.-])(?:{'|'.join(map(re.escape, ordered))})(?![\w-])") if ordered else None
        )

    def __call__(self, text: str) -> str:
        return self._pattern.sub(lambda match: self._words[match[0]], text) if self._pattern else text


def _own_words(snapshot: Snapshot) -> _OwnWords:
    words: dict[str, str] = {}
    if isinstance(snapshot.target, Target):
        words[snapshot.target.domain] = "DOMAIN"
    if isinstance(snapshot.host, Host):
        words |= {address: "ADDRESS" for address in snapshot.host.addresses[:50] if _is_own(address)}
        words[snapshot.host.hostname] = "HOST"
    return _OwnWords(words)


def _is_own(address: str) -> bool:
    try:
        return not ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _change_trait(item: RankedChange, hide: _OwnWords) -> Trait:
    change = item.change
    words = change_words(change)
    if not words.en:
        words = _CHANGE_WORDS[change.kind]
    value = Text(en=safe_line(hide(words.en), 400), zh=safe_line(hide(words.zh), 400))
    return Trait(
        TraitKind.CHANGE, safe_line(hide(change_place(change)), MAX_VALUE_CHARS), value, change.place
    )


class _Reading(NamedTuple):
    """One value: what the catalogue calls it, its name with the context, the value."""

    subject: str
    name: str
    value: str


def _seen_traits(snapshot: Snapshot) -> Iterator[tuple[TraitKind, Iterable[_Reading]]]:
    """The traits of each kind that could be seen."""
    if isinstance(snapshot.nginx_config, NginxConfig):
        yield TraitKind.NGINX, _directives(snapshot.nginx_config.directives, "", 0)
        if version := snapshot.nginx_config.version:
            yield TraitKind.PROGRAM, [_Reading("nginx", "nginx", version)]
    if isinstance(snapshot.host, Host) and snapshot.host.software:
        yield TraitKind.SYSTEM, _system(snapshot.host)
    if isinstance(snapshot.gunicorn, Gunicorn) and isinstance(snapshot.gunicorn.config, GunicornConfig):
        yield (
            TraitKind.GUNICORN,
            [
                _Reading(name, name, str(value.value) if value.known else value.source)
                for name, value in snapshot.gunicorn.config.assigned.items()
            ],
        )
    if isinstance(snapshot.target, Target) and isinstance(snapshot.processes, Processes):
        master = process_of(snapshot.processes, snapshot.target.gunicorn_master)
        if master is not None and master.command:
            yield (
                TraitKind.COMMAND,
                [
                    _Reading("gunicorn", "gunicorn", " ".join(safe_words(master.command[:100]))),
                    _Reading("gunicorn", "user", master.user),
                ],
            )
    if isinstance(snapshot.environment, Environment):
        packages = snapshot.environment.packages.items()
        yield TraitKind.PACKAGE, [_Reading(name, name, version) for name, version in packages]
    # A service that does not answer has no version: that is what is wrong, not what is different.
    if isinstance(snapshot.backend, Backend) and (answers := list(_service(snapshot.backend))):
        yield TraitKind.SERVICE, answers
    if isinstance(snapshot.model, ModelFiles):
        # Sizes tell one model from another; the content is not in a bundle.
        yield TraitKind.MODEL, [_Reading("", _file_name(f.path), f"{f.size} B") for f in snapshot.model.files]
    if isinstance(snapshot.served, Served) and snapshot.served.chain:
        yield TraitKind.CERTIFICATE, _certificate(snapshot.served, snapshot.taken_at)
    if isinstance(snapshot.lineages, Lineages):
        yield TraitKind.RENEWAL, _renewal(snapshot.lineages)
    if isinstance(snapshot.machine, Machine):
        if not isinstance(snapshot.machine.clocks, NotSeen):
            yield TraitKind.CLOCK, _clock(snapshot.machine)
        yield TraitKind.MACHINE, _machine(snapshot.machine)


def _directives(block: Sequence[Directive], context: str, depth: int) -> Iterator[_Reading]:
    if depth > 10:
        return
    for directive in block:
        arguments = " ".join(directive.args)
        place = f"{context} / {directive.name}" if context else directive.name
        if directive.block is None:
            yield _Reading(directive.name, place, arguments)
        else:
            yield from _directives(directive.block, f"{place} {arguments}".rstrip(), depth + 1)


def _service(backend: Backend) -> Iterator[_Reading]:
    for exchange, keys in ((backend.health, ("version", "engine")), (backend.predict, ("model", "version"))):
        body = exchange.json() if isinstance(exchange, Exchange) else None
        if isinstance(body, dict):
            for key in keys:
                if isinstance(body.get(key), str):
                    yield _Reading(key, f"{exchange.method} {key}", body[key])  # type: ignore[union-attr]


def _file_name(path: str) -> str:
    return path.rpartition("/")[2]


def _certificate(served: Served, now: float) -> Iterator[_Reading]:
    leaf = served.chain[0]
    yield _Reading("", "issuer", leaf.issuer)
    yield _Reading("", "key", leaf.key_type)
    yield _Reading("", "names", ", ".join(sorted(leaf.names)[:20]))
    yield _Reading("", "validity", "expired" if leaf.not_after < now else "valid")
    yield _Reading("", "chain", f"{len(served.chain)} certificates")
    yield _Reading("", "protocol", served.protocol)
    yield _Reading("", "trust", served.trust_error or "trusted")


def _renewal(lineages: Lineages) -> Iterator[_Reading]:
    yield _Reading("", "deploy hooks", ", ".join(map(_file_name, lineages.deploy_hooks)) or "none")
    for lineage in lineages.lineages[:50]:
        renewal = lineage.renewal
        yield _Reading("authenticator", f"{lineage.name} authenticator", renewal.authenticator or "none")
        yield _Reading("server", f"{lineage.name} server", renewal.server or "none")
        yield _Reading("autorenew", f"{lineage.name} autorenew", str(renewal.autorenew).lower())


def _clock(machine: Machine) -> Iterator[_Reading]:
    if isinstance(machine.clocks, NotSeen):
        return
    for clock in machine.clocks:
        state = "synchronised" if clock.synchronised else "not synchronised"
        yield _Reading("", clock.source, f"{state}, {_direction(clock.ahead)}")


def _direction(ahead: float) -> str:
    """In so few words that hosts whose clocks are wrong in one way have the same."""
    if abs(ahead) <= CLOCK_SECONDS:
        return "right"
    return "wrong: ahead" if ahead > 0 else "wrong: behind"


def _clock_ahead(machine: object) -> float | None:
    """By how many seconds the clock is ahead, by the first daemon that measured it; None if none did."""
    if not isinstance(machine, Machine) or isinstance(machine.clocks, NotSeen):
        return None
    return next((clock.ahead for clock in machine.clocks), None)


def _system(host: Host) -> Iterator[_Reading]:
    for name, words in host.software.items():
        yield _Reading(name, name, words)
    yield _Reading("", "time zone", f"UTC{host.utc_offset / 3600:+g} h")


def _machine(machine: Machine) -> Iterator[_Reading]:
    if not isinstance(machine.memory, NotSeen):
        yield _Reading("", "memory", f"{machine.memory.total / (1 << 30):.0f} GiB")
    for system in machine.file_systems:
        if system.total:
            yield _Reading(
                "",
                f"file system {system.mount}",
                f"less than {FULL_SHARE:.0%} free" if system.free < FULL_SHARE * system.total else "has room",
            )
