"""Causes that a site defines itself: their definitions and their judge.

A cause is proven if all its conditions hold. Pure: `ops.collect.site_causes` observes the conditions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from ops.diagnosis.catalogue import (
    Catalogue,
    CauseEntry,
    catalogue,
)
from ops.diagnosis.finding import Check, Evidence, Finding, NotJudgedError
from ops.errors import ErrorKind, OpsError
from ops.facts.base import NotSeen
from ops.facts.site_causes import ProofObservation, SiteCause, SiteCauses
from ops.facts.target import Target
from ops.text.duration import parse_duration
from ops.text.language import Text, verbatim

# The catalogue's own codes have three letters: a site's code is never one of a later version.
CODE = re.compile(r"[A-Z]{4,12}\d{3}")
# How far back a log is searched if `within` is not given, seconds.
DEFAULT_WITHIN = 900.0


TOO_SLOW = NotSeen(reason="the pattern takes too long on what is there: write it without nested repetition")


class SiteCauseError(OpsError):
    """A file of causes that cannot be used. The message names the file, the line, and what would be right."""

    kind = ErrorKind.SETTINGS


class ProofKind(StrEnum):
    """What a condition looks at: the key that names it."""

    LOG = "log"
    URL = "url"
    PROCESS = "process"
    FILE = "file"
    COMMAND = "command"


class ProofDefinition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One condition. Exactly one of the first five keys is set; it decides which of the others may be.

    ``present``: False turns the condition round (no such line, no answer, no process, no file). Durations as in
    gte-ops.toml (``15m``)."""

    log: str | None = None
    url: str | None = None
    process: str | None = None
    file: str | None = None
    command: tuple[str, ...] | None = None
    pattern: str | None = None
    within: str | float | None = None
    count: int | None = None
    present: bool | None = None
    status: int | str | tuple[int | str, ...] | None = None
    body: str | None = None
    timeout: str | float | None = None
    user: str | None = None
    older: str | float | None = None
    newer: str | float | None = None
    exit: int | tuple[int, ...] | None = None
    output: str | None = None

    @property
    def kind(self) -> ProofKind:
        """What the condition looks at. Raises StopIteration if no key names it."""
        return next(kind for kind in ProofKind if getattr(self, kind) is not None)

    @property
    def is_present(self) -> bool:
        """Whether what is looked for must be there."""
        return self.present is not False

    @property
    def patterns(self) -> tuple[str, ...]:
        """Every pattern of the condition."""
        name = self.process if self.process is not None else None
        return tuple(words for words in (self.pattern, self.body, self.output, name) if words is not None)

    def seconds(self, key: str, default: float) -> float:
        """The duration of ``key`` in seconds."""
        value = getattr(self, key)
        return default if value is None else float(parse_duration(value))

    def accepts_status(self, status: int) -> bool:
        """Whether ``status`` is one of those that the condition names; any is if it names none."""
        if self.status is None:
            return True
        listed = self.status if isinstance(self.status, tuple) else (self.status,)
        return any(status == item or f"{status // 100}xx" == item for item in listed)

    def accepts_exit(self, code: int) -> bool:
        """Whether an exit code is one of those that the condition names; 0 if it names none and no output either."""
        if self.exit is None:
            return self.output is not None or code == 0
        return code in self.exit if isinstance(self.exit, tuple) else code == self.exit


class SiteCauseDefinition(msgspec.Struct, frozen=True):
    """One cause of the site, checked. ``table``: as it was written."""

    code: str
    file: str
    table: dict[str, Any]
    entry: CauseEntry
    outranks: tuple[str, ...]
    proofs: tuple[ProofDefinition, ...]

    def observed(self, observations: Sequence[ProofObservation | NotSeen]) -> SiteCause:
        """The facts of this cause."""
        return SiteCause(
            code=self.code,
            file=self.file,
            definition=self.table,
            observations=tuple(observations),
        )


def extended_catalogue(
    definitions: Sequence[SiteCauseDefinition], base: Catalogue | None = None
) -> Catalogue:
    """``base`` (the catalogue) with the site's causes before its own."""
    return (base or catalogue()).extended(
        {definition.code: definition.entry for definition in definitions},
        tuple(f"{definition.code} > {other}" for definition in definitions for other in definition.outranks),
    )


def site_checks(definitions: Sequence[SiteCauseDefinition]) -> tuple[Check, ...]:
    """One check for each cause: proven if all its conditions hold, not judged if one was not seen and none fails."""
    return tuple(
        Check(
            f"site.{definition.code.lower()}",
            definition.entry.title,
            (definition.code,),
            ("site_causes",),
            (),
            _Judge(definition),
        )
        for definition in definitions
    )


class _Judge:
    def __init__(self, definition: SiteCauseDefinition) -> None:
        self._code = definition.code

    def __call__(self, site_causes: SiteCauses) -> Iterator[Finding]:
        cause = next((cause for cause in site_causes.causes if cause.code == self._code), None)
        if cause is None:
            raise NotJudgedError(NotSeen(reason="its conditions were not looked at"))
        observations = [item for item in cause.observations if isinstance(item, ProofObservation)]
        if not all(item.holds for item in observations):
            return
        for item in cause.observations:
            if isinstance(item, NotSeen):
                raise NotJudgedError(item)
        values: dict[str, str | Text] = {
            name: words for item in observations for name, words in item.values.items()
        }
        proof = (*(Evidence(item.source, verbatim(item.detail)) for item in observations), _origin(cause))
        yield Finding(self._code, proof, values)


def _origin(cause: SiteCause) -> Evidence:
    return Evidence(cause.file, Text(en=f"defines {cause.code}", zh=f"定义了 {cause.code}"))


def log_path(proof: ProofDefinition, target: Target) -> str | None:
    """The log that the condition reads: the target's if it is called by name; None if the target has none."""
    logs: dict[str | None, str | None] = {
        "nginx_error": next(iter(target.nginx_error_logs), None),
        "nginx_access": target.nginx_access_log,
        "gunicorn_error": target.gunicorn_error_log,
        "gunicorn_access": target.gunicorn_access_log,
    }
    return logs.get(proof.log, proof.log)
