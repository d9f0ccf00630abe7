"""Findings, which judges yield, and the declaration of checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from ops.facts.base import NotSeen
from ops.facts.snapshot import Snapshot
from ops.facts.status import Severity as Severity
from ops.text.language import Text, verbatim

T = TypeVar("T")


class Evidence(msgspec.Struct, frozen=True):
    """One observation and its source."""

    source: str
    detail: Text


def quote(source: str, words: str) -> Evidence:
    """Return evidence in the source's own words, the same in both languages."""
    return Evidence(source, verbatim(words))


class Finding(msgspec.Struct, frozen=True):
    """A cause from the catalogue, proven on this host.

    ``facts`` fills the placeholders of the catalogue's summary, verify and fix; a `Text` if the languages differ.
    ``severity`` None means the catalogue's own. ``summary`` and ``fix`` None mean the catalogue's sentence and steps; a
    step of ``fix`` is a command (a string) or a sentence. ``explains`` None means every symptom the catalogue lists; a
    warning about the future explains no present symptom. ``kind`` is the particular defect, for programs, if the code
    covers several; ``subjects`` are those of several alike that it is about (servers of an upstream), as the
    configuration has them. ``fix_first``: steps in place of the first of the catalogue's, before its others; where
    gunicorn's settings are to be changed, a sentence has ``{timeout_place}`` and the like."""

    code: str
    evidence: tuple[Evidence, ...]
    facts: Mapping[str, str | Text] = msgspec.field(default_factory=dict)
    severity: Severity | None = None
    summary: Text | None = None
    verify: str | None = None
    fix: tuple[str | Text, ...] | None = None
    fix_first: tuple[str | Text, ...] = ()
    explains: tuple[str, ...] | None = None
    kind: str = ""
    subjects: tuple[str, ...] = ()


class NotJudgedError(Exception):
    """Something was not seen without which a judge cannot decide 'in order'."""

    def __init__(self, unseen: NotSeen) -> None:
        super().__init__(unseen.reason)
        self.unseen = unseen


def seen(value: T | NotSeen) -> T:
    """Return ``value``. Raises NotJudgedError if it was not seen."""
    if isinstance(value, NotSeen):
        raise NotJudgedError(value)
    return value


Judge = Callable[..., Iterator[Finding]]


class Check(msgspec.Struct, frozen=True):
    """One judgement over declared inputs.

    ``needs``: the snapshot's sections that the judge needs; if one was not seen, the check is skipped.
    ``optional_inputs``: the sections that it takes as they are, `NotSeen` included."""

    id: str
    title: Text
    codes: tuple[str, ...]
    needs: tuple[str, ...]
    optional_inputs: tuple[str, ...]
    judge: Judge

    def inputs(self, snapshot: Snapshot) -> dict[str, Any]:
        """The sections that the judge may read, and no others."""
        return {name: getattr(snapshot, name) for name in (*self.needs, *self.optional_inputs)}


def check(id: str, *codes: str, en: str, zh: str) -> Callable[[Judge], Check]:  # noqa: A002
    """Declare a check. The judge's parameters are its inputs: each has the name of a section of `Snapshot`, and one
    annotated ``X | NotSeen`` is passed on even if it was not seen."""

    def declare(judge: Judge) -> Check:
        # Do not resolve the annotations: for seventy checks that takes longer than all the judging.
        hints = {name: str(hint) for name, hint in judge.__annotations__.items() if name != "return"}
        optional_inputs = tuple(name for name, hint in hints.items() if "NotSeen" in hint.split(" | "))
        needs = tuple(name for name in hints if name not in optional_inputs)
        return Check(id, Text(en=en, zh=zh), codes, needs, optional_inputs, judge)

    return declare
