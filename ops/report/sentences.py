"""The words of a report, made safe once more: a diagnosis may come from a bundle that somebody else made."""

from __future__ import annotations

from collections import Counter
from typing import TextIO

from ops.diagnosis.catalogue import catalogue
from ops.diagnosis.model import Cause, Diagnosis, Status, Symptom
from ops.facts.base import UNFINISHED
from ops.facts.status import Severity
from ops.text.language import Language, Text
from ops.text.sanitize import safe_line, without_controls, without_secrets

MAX_SENTENCE_CHARS = 600

# Monitoring Plugins Development Guidelines, section 2.3.
STATUS_WORDS: dict[str, str] = {
    Status.OK: "OK",
    Status.WARN: "WARNING",
    Status.FAIL: "CRITICAL",
    Status.UNKNOWN: "UNKNOWN",
}
# The same for a person, in both languages.
STATUS_NAMES: dict[str, Text] = {
    Status.OK: Text(en="OK", zh="正常"),
    Status.WARN: Text(en="WARNING", zh="警告"),
    Status.FAIL: Text(en="CRITICAL", zh="故障"),
    Status.UNKNOWN: Text(en="UNKNOWN", zh="无法判断"),
}
STATUS_STYLES: dict[str, str] = {
    Status.OK: "bold green",
    Status.WARN: "bold yellow",
    Status.FAIL: "bold red",
    Status.UNKNOWN: "bold magenta",
}

# What a headline adds where not every check was made.
_GAPS = Text(en="; checks not made: {count} ({reason})", zh="；另有 {count} 项未能检查（{reason}）")
_MORE_REASONS = Text(en="; and {} more", zh="；及另外 {} 个原因")

_PLAIN = str.maketrans({"…": "...", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-"})


def sentence(words: Text | str, language: Language) -> str:
    """Prose or a quotation on one line, without control characters and secrets, bounded."""
    return safe_line(words if isinstance(words, str) else words.to(language), MAX_SENTENCE_CHARS)


def command(words: Text | str, language: Language) -> str:
    """A command on one line without control characters and secrets. It is never shortened: half a command is a
    dangerous one."""
    text = without_controls(words if isinstance(words, str) else words.to(language))
    return " ".join(without_secrets(text).splitlines())


def next_commands(symptom: Symptom, diagnosis: Diagnosis) -> tuple[str, ...]:
    """What to run next for a symptom that no cause explains; nothing for one that is explained."""
    all_causes = catalogue()
    if symptom.explained_by or symptom.id not in all_causes.symptoms:
        return ()
    commands = symptom.next or all_causes.next_commands(symptom.id, diagnosis.target)
    return tuple(command(words, "en") for words in commands)


def next_command(symptom: Symptom, diagnosis: Diagnosis) -> str | None:
    """The first of `next_commands`; None where there is none."""
    return next(iter(next_commands(symptom, diagnosis)), None)


def leading_cause(diagnosis: Diagnosis) -> Cause | None:
    """The cause the headline names: the first, unless users are hurt by something that it does not explain."""
    if diagnosis.status is Status.UNKNOWN or not diagnosis.causes:
        return None
    first = diagnosis.causes[0]
    return None if first.severity is Severity.WARN and unexplained(diagnosis) else first


def is_cut_short(diagnosis: Diagnosis) -> bool:
    """Whether the time was over before everything was seen."""
    reasons = (words.en if isinstance(words, Text) else words for _, words in diagnosis.unseen)
    return any(words.endswith(UNFINISHED) for words in reasons)


def gap_words(diagnosis: Diagnosis, language: Language) -> str:
    """The end of a headline that calls all well: how many checks were not made though there was something to judge,
    and why most of them; empty if all were."""
    reasons = Counter(sentence(c.skipped_because or "?", language) for c in diagnosis.checks if c.is_gap)
    if not reasons or diagnosis.status is not Status.OK:
        return ""
    first, others = reasons.most_common(1)[0][0], len(reasons) - 1
    more = _MORE_REASONS.to(language).format(others) if others else ""
    return _GAPS.to(language).format(count=reasons.total(), reason=first + more)


def unexplained(diagnosis: Diagnosis) -> tuple[Symptom, ...]:
    """The symptoms that no cause explains."""
    return tuple(symptom for symptom in diagnosis.symptoms if not symptom.explained_by)


def can_show(words: str, out: TextIO) -> bool:
    """Whether ``out``'s encoding has every character of ``words``."""
    try:
        words.encode(getattr(out, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def readable_language(language: Language, out: TextIO) -> Language:
    """``language``, or English where ``out`` cannot show Chinese: a page of question marks helps nobody."""
    return language if language == "en" or can_show("故障", out) else "en"


def showable(words: str, out: TextIO) -> str:
    """``words`` with what ``out``'s encoding lacks replaced, so that writing them cannot fail."""
    if can_show(words, out):
        return words
    encoding = getattr(out, "encoding", None) or "ascii"
    try:
        return words.translate(_PLAIN).encode(encoding, "replace").decode(encoding)
    except LookupError:
        return words.translate(_PLAIN).encode("ascii", "replace").decode("ascii")
