"""What a reported fault is made of, and how the doctor's answer to it is judged."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from types import ModuleType
from typing import Any

from tests.lab.faults.case import Inject, Sees
from tests.lab.stack import Report, Stack


class Kind(StrEnum):
    """Why a doctor that is right on its own faults is wrong on others'."""

    PART = "a part of the requests fails"
    LINE = "the explaining line is in the log"
    ROUTING = "nginx's routing"
    START = "a start that fails"
    FIX = "a fix that fits"
    EACH = "one of several is broken"
    DOOR = "the front door's holder"
    LOOKING = "looking must not hide it"
    CERTIFICATE = "certificates of all forms"
    LOG = "logs elsewhere"
    APPLICATION = "other applications and workers"
    HEALTHY = "unusual, and healthy"


class Verdict(StrEnum):
    """How far the doctor's answer goes."""

    RIGHT = "right"
    PARTLY = "partly"
    WRONG = "wrong"
    UNPROVEN = "not proven"
    NOTHING = "nothing wrong"
    FALSE_ALARM = "false alarm"


@dataclass(frozen=True)
class Reported:
    """One fault. ``codes``: those that would be right as the first cause; none where no code has to fit, and the
    symptom's own evidence is the proof. ``says``: words of the proof or the fix; ``rewritten``: the host's files that
    its programs write anew all the time."""

    name: str
    kind: Kind
    source: str
    inject: Inject
    sees: Sees
    repair: Inject
    codes: frozenset[str]
    says: tuple[str, ...]
    stack: dict[str, Any] = field(default_factory=dict)
    impossible: Callable[[], str | None] = lambda: None
    rewritten: tuple[str, ...] = ()


# What a test asks within a second, a site at the usual rate would refuse.
OPEN_DOOR = {"rate": "100r/s", "burst": "200"}


def report(
    kind: Kind,
    source: str,
    *,
    sees: Sees,
    repair: Inject,
    codes: tuple[str, ...],
    says: tuple[str, ...],
    impossible: Callable[[], str | None] = lambda: None,
    rewritten: tuple[str, ...] = (),
    **stack: Any,
) -> Callable[[Inject], Reported]:
    """Declare a fault: the function breaks the stack, ``sees`` is true once a client meets it, ``repair`` does what the
    reporter did. Its site takes as many requests as a test asks, unless ``site`` gives it another rate."""
    stack["site"] = OPEN_DOOR | stack.get("site", {})

    def declare(inject: Inject) -> Reported:
        name = inject.__name__
        return Reported(
            name, kind, source, inject, sees, repair, frozenset(codes), says, stack, impossible, rewritten
        )

    return declare


def healthy(source: str, *, serves: Sees, **stack: Any) -> Callable[[Inject], Reported]:
    """Declare a host on which nothing is wrong: the function makes it unusual, ``serves`` is true while its users are
    served, and nothing is to be repaired."""
    return report(Kind.HEALTHY, source, sees=serves, repair=lambda _: None, codes=(), says=(), **stack)


def reports_of(module: ModuleType) -> tuple[Reported, ...]:
    """The reports a module declares, in the order it does."""
    return tuple(value for value in vars(module).values() if isinstance(value, Reported))


def needs_root() -> str | None:
    """Why another user's files cannot be had."""
    return None if os.geteuid() == 0 else "another user than the stack's needs root"


def without_root_s_rights(stack: Stack) -> None:
    """From its next start on, gunicorn may open what belongs to its own user, as a service's user may. It stays user 0
    because this machine's Python may be root's alone."""
    stack.launcher = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def add_location(stack: Stack, text: str) -> None:
    """Puts lines before the site's ``location /``, and reloads nginx."""
    place = "    location / {\n        limit_req"
    stack.edit(stack.site_file, place, f"    {text}\n{place}")


def remove_location(stack: Stack, text: str) -> None:
    """Takes them out again."""
    stack.edit(stack.site_file, f"    {text}\n", "")


def verdict(reported: Reported, ran: Report) -> Verdict:
    """How far what was said goes.

    Right: the first cause is of the codes (or none is asked for) and it, or the symptom's evidence, has all the words.
    Partly: a cause of the codes anywhere, or all the words. Nothing: not one cause or symptom. On a healthy host,
    anything named is a false alarm.
    """
    causes = ran.report.get("causes", [])
    symptoms = ran.report.get("symptoms", [])
    if reported.kind is Kind.HEALTHY:
        return Verdict.FALSE_ALARM if causes or symptoms or ran.exit_code else Verdict.RIGHT
    if not causes and not symptoms:
        return Verdict.NOTHING
    proofs = [_text(cause) for cause in causes] + [_text(symptom) for symptom in symptoms]
    everything = "\n".join(proofs)
    has_words = [all(word in proof for word in reported.says) for proof in proofs]
    if causes and (not reported.codes or causes[0]["code"] in reported.codes) and has_words[0]:
        return Verdict.RIGHT
    if not reported.codes and not causes and any(has_words):
        return Verdict.RIGHT
    if all(word in everything for word in reported.says) or reported.codes & {c["code"] for c in causes}:
        return Verdict.PARTLY
    return Verdict.WRONG if causes else Verdict.UNPROVEN


def _text(part: object) -> str:
    """Every text of a cause or a symptom."""
    if isinstance(part, dict):
        return "\n".join(_text(value) for value in part.values())
    if isinstance(part, list):
        return "\n".join(map(_text, part))
    return str(part)
