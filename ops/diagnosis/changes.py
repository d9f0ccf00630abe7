"""Find the changes that can have led to a proven cause.

A change is never a cause by itself. It belongs to a cause's proof if the catalogue lists its place (``places``) for the
cause and, if several changes fit, the evidence names it. The time between the change and the outage does not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import IntEnum

import msgspec
from msgspec.structs import replace

from ops.diagnosis.catalogue import Catalogue
from ops.diagnosis.checks.nginx_timeouts import nginx_seconds
from ops.diagnosis.finding import Evidence
from ops.diagnosis.model import Cause, RankedChange, Symptom
from ops.facts.base import NotSeen
from ops.facts.changes import Change, ChangedLines, ChangeKind, Changes, PlaceKind
from ops.facts.files import Application
from ops.facts.logs import AccessLog, Log, Logs
from ops.facts.nginx import Directive, NginxConfig
from ops.facts.snapshot import Snapshot
from ops.facts.target import Target
from ops.interpret.nginx import names_match, servers
from ops.interpret.site import find_site
from ops.text.language import Text, verbatim
from ops.text.sanitize import safe_line
from ops.text.timestamps import local_time

MAX_SHOWN_CHARS = 160
# Maximum number of changes shown beside an unexplained symptom.
MAX_TRY_NEXT = 3
# Causes of a service that does not run: what it has served with since it was loaded did not bring them about.
_STARTS = ("GUN001", "GUN003")
_LOADED_AT_START = (
    PlaceKind.GUNICORN,
    PlaceKind.COMMAND,
    PlaceKind.UNIT,
    PlaceKind.ENVIRONMENT_FILE,
    PlaceKind.APPLICATION,
    PlaceKind.PACKAGE,
    PlaceKind.MODEL,
)
_TEMPLATES = (".html", ".j2", ".jinja")
# A change of these kinds counts only if the evidence names it or nothing else fits: every host has hundreds.
_MANY = (PlaceKind.PACKAGE, PlaceKind.HOST_PACKAGE)
# A variable of an environment file or of Environment= (systemd.exec(5)), and its value without quotes.
_VARIABLE = re.compile(r"""(?:^|[\s"'=])([A-Z_][A-Z0-9_]*)=["']?([^\s"']*)""")
_MIN_NAME = 3
_OPTIONS = "GUNICORN_CMD_ARGS"
_OPTION = re.compile(r"--([a-z][a-z-]+)")
_MODULE = re.compile(r"""(?:No module named|cannot import name '\w+' from) ['"]([\w.]+)['"]""")
# Causes in which a time limit ends work that takes too long, and where that work is.
_PATIENCE = ("NGX007",)
_WORK = (PlaceKind.APPLICATION, PlaceKind.MODEL)
_LIMIT = re.compile(r"\s*proxy_read_timeout\s+([^\s;]+)\s*;")
# Shorter values and numbers are in any evidence: a status, a level, a worker's pid.
_MIN_VALUE = 6
_NUMBER = re.compile(r"[\d.,_+-]*")
# Longer values that are in any evidence, too: levels of a log, switches, the programs themselves.
_COMMON_VALUES = frozenset({"notice", "warning", "critical", "enabled", "disabled", "gunicorn", "python"})
# Directives of a unit that decide neither whether nor how the service serves (systemd.unit(5), systemd.exec(5),
# systemd.resource-control(5)).
_INERT_IN_UNITS = frozenset(
    {"Description", "Documentation", "Nice", "CPUWeight", "IOWeight", "IOSchedulingClass", "IOSchedulingPriority",
     "SyslogIdentifier", "SyslogFacility"}
)  # fmt: skip
_FAILED = re.compile(r"5\d\d|499|000")
_KINDS: dict[ChangeKind, Text] = {
    ChangeKind.ADDED: Text(en="added", zh="新增"),
    ChangeKind.REMOVED: Text(en="removed", zh="删除"),
    ChangeKind.CONTENT: Text(en="changed", zh="改动"),
    ChangeKind.ACCESS: Text(en="changed", zh="改动"),
    ChangeKind.LINK: Text(en="led elsewhere", zh="改变指向"),
    ChangeKind.VALUE: Text(en="changed", zh="改变"),
}


class ChangeReading(msgspec.Struct, frozen=True):
    """``causes`` and ``symptoms`` with their changes as evidence, and every change, those that fit a cause first."""

    causes: tuple[Cause, ...]
    symptoms: tuple[Symptom, ...]
    ranked: tuple[RankedChange, ...]


def read_changes(
    causes: Sequence[Cause],
    symptoms: Sequence[Symptom],
    changes: Changes,
    snapshot: Snapshot,
    utc_offset: int,
    all_causes: Catalogue,
) -> ChangeReading:
    """Add the changes to the causes and symptoms. Pure."""
    fits: dict[int, list[str]] = {}
    completed = []
    for cause in causes:
        indices = _fitting(changes.changes, cause, snapshot, all_causes, changes.usual_predict_s)
        for number in indices:
            fits.setdefault(number, []).append(cause.code)
        proof = tuple(change_evidence(changes.changes[n], snapshot.logs, utc_offset) for n in indices)
        completed.append(replace(cause, evidence=(*cause.evidence, *proof)) if proof else cause)
    open_symptoms = [symptom for symptom in symptoms if not symptom.explained_by]
    suspects = _suspects(changes.changes, open_symptoms, all_causes) if open_symptoms else {}
    order = sorted(
        range(len(changes.changes)),
        key=lambda n: (n not in fits, -suspects.get(n, 0), changes.changes[n].is_harmless),
    )
    ranked = tuple(RankedChange(changes.changes[n], tuple(fits.get(n, ()))) for n in order)
    next_changes = tuple(item.change for item in ranked if not item.change.is_harmless)[:MAX_TRY_NEXT]
    return ChangeReading(
        tuple(completed),
        tuple(_with_suspects(symptom, next_changes, snapshot.logs, utc_offset) for symptom in symptoms),
        ranked,
    )


def _with_suspects(
    symptom: Symptom, suspects: Sequence[Change], logs: Logs | NotSeen, utc_offset: int
) -> Symptom:
    """Add to an unexplained symptom the changes to look at and the command that shows them all."""
    if symptom.explained_by or not suspects:
        return symptom
    evidence = tuple(change_evidence(change, logs, utc_offset) for change in suspects)
    return replace(
        symptom,
        evidence=(*symptom.evidence, *evidence),
        next=(verbatim("gte-ops baseline diff"), *symptom.next),
    )


# --- which change fits ------------------------------------------------------------------------------------------------


class _Strength(IntEnum):
    """How closely a change belongs to a cause, by what points to it."""

    KIND = 1  # its kind of place can bring the cause about, as can everything else there
    STATEMENT = (
        2  # the catalogue lists what it changed (directive, setting, mode), or the evidence has its value
    )
    NAMED = 3  # the evidence names it


def _fitting(
    changes: Sequence[Change],
    cause: Cause,
    snapshot: Snapshot,
    all_causes: Catalogue,
    usual: float | None = None,
) -> list[int]:
    """The changes, by index, that can have led to ``cause``. ``usual``: how long a prediction took before, seconds.

    Of one kind of place, those that the evidence names exclude the others. What no evidence names and the catalogue
    lists only by its kind counts if nothing is named; of other kinds than the first, if no statement fits either."""
    places = all_causes.entry(cause.code).places
    strengths = _strengths(changes, cause, places, snapshot)
    strongest = max(strengths.values(), default=_Strength.KIND)
    first_kind = places[0].partition(":")[0] if places else ""
    selection = []
    for number, strength in strengths.items():
        kind = changes[number].place
        of_kind = max(strengths[n] for n in strengths if changes[n].place is kind)
        if _Strength.NAMED in (strength, of_kind):
            is_chosen = strength is _Strength.NAMED
        else:
            is_chosen = strength is strongest or strength is _Strength.STATEMENT
            is_chosen |= strongest is not _Strength.NAMED and kind == first_kind
        if is_chosen:
            selection.append(number)
    if cause.code in _PATIENCE and not _is_limit_enough([changes[n] for n in selection], usual):
        selection = [n for n in strengths if n in selection or changes[n].place in _WORK]
    # A package that no evidence names counts only if no other change fits.
    others = [n for n in selection if changes[n].place not in _MANY or strengths[n] is _Strength.NAMED]
    return others or selection


def _is_limit_enough(changes: Sequence[Change], usual: float | None) -> bool:
    """Whether the changed time limits alone can have ended what used to take ``usual`` seconds. A longer limit did not:
    then what takes longer now is guilty too."""
    limits = [
        nginx_seconds(match[1])
        for change in changes
        for hunk in change.lines
        for line in hunk.after
        if (match := _LIMIT.match(line))
    ]
    return usual is None or not limits or any(limit is None or limit <= usual for limit in limits)


def _strengths(
    changes: Sequence[Change], cause: Cause, places: Sequence[str], snapshot: Snapshot
) -> dict[int, _Strength]:
    """The changes that can have led to ``cause``, by index, the oldest first."""
    named = {n for n, change in enumerate(changes) if _is_named(change, cause)}
    text = _evidence_text(cause)
    # The code that the evidence names may read the variable: what it says now belongs to the evidence.
    text += "".join(
        line
        for n in named
        for hunk in changes[n].lines
        if can_bring_about(changes[n], places)
        for line in hunk.after
    )
    strengths = {}
    for number, change in enumerate(changes):
        if not can_bring_about(change, places):
            continue
        variables, values = _variables(change)
        if number in named or _has_word(text, variables):
            strengths[number] = _Strength.NAMED
        elif _sets_option(change, places):
            strengths[number] = _Strength.STATEMENT
        elif _is_used(change, snapshot):
            kinds_alone = [place for place in places if ":" not in place]
            is_of_kind = can_bring_about(change, kinds_alone) or _is_of_unknown_lines(change)
            # Another variable, or none, may have had the same value.
            is_of_kind = is_of_kind and not _has_word(text, values)
            if is_of_kind and cause.code in _STARTS and _has_served(change, snapshot):
                continue
            strengths[number] = _Strength.KIND if is_of_kind else _Strength.STATEMENT
    return strengths


def _has_served(change: Change, snapshot: Snapshot) -> bool:
    """Whether gunicorn started after the change, and answered users since: it has run with what changed."""
    logs = snapshot.logs
    if change.time is None or change.place not in _LOADED_AT_START or isinstance(logs, NotSeen):
        return False
    if not isinstance(logs.gunicorn_error, Log) or not isinstance(logs.nginx_access, AccessLog):
        return False
    starts = [
        entry.time
        for entry in logs.gunicorn_error.entries
        if "Booting worker" in entry.text and entry.time >= change.time
    ]
    traffic = logs.nginx_access.traffic
    answered = [answers.last for answers in traffic.answers if answers.status == "200"] if traffic else []
    return bool(starts) and max(answered, default=0.0) > min(starts)


def _is_of_unknown_lines(change: Change) -> bool:
    contents = (ChangeKind.ADDED, ChangeKind.REMOVED, ChangeKind.CONTENT)
    return change.kind in contents and not change.lines


def _evidence_text(cause: Cause) -> str:
    pieces = (f"{piece.source} {piece.detail.en}" for piece in cause.evidence)
    return "\n".join((cause.summary.en, *pieces, ""))


def _variables(change: Change) -> tuple[set[str], set[str]]:
    """The names of the variables that the change of an environment sets, drops or alters, and those of their values
    that are in no evidence by chance."""
    if change.place not in (PlaceKind.ENVIRONMENT_FILE, PlaceKind.UNIT):
        return set(), set()
    before, after = (
        {match.groups() for lines in side for line in lines for match in _VARIABLE.finditer(line)}
        for side in ([hunk.before for hunk in change.lines], [hunk.after for hunk in change.lines])
    )
    names = {name for name, _ in before ^ after if len(name) >= _MIN_NAME}
    values = {value for _, value in before} ^ {value for _, value in after}
    return names, set(filter(_is_telling, values))


def _sets_option(change: Change, places: Iterable[str]) -> bool:
    """Whether the change gives gunicorn one of the settings in ``places`` by GUNICORN_CMD_ARGS (its documentation,
    "Configuration Overview"), or takes it away."""
    if change.place not in (PlaceKind.ENVIRONMENT_FILE, PlaceKind.UNIT):
        return False
    lines = [line for hunk in change.lines for line in (*hunk.before, *hunk.after) if _OPTIONS in line]
    given = {
        match[1].replace("-", "_")
        for line in lines
        for match in _OPTION.finditer(line.partition(_OPTIONS)[2])
    }
    names = {
        name
        for place in places
        if place.startswith("gunicorn:")
        for name in place.partition(":")[2].split("|")
    }
    return bool(given & names)


def _is_telling(value: str) -> bool:
    return (
        len(value) >= _MIN_VALUE and not _NUMBER.fullmatch(value) and value.casefold() not in _COMMON_VALUES
    )


def _has_word(text: str, words: Iterable[str]) -> bool:
    return any(re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text) for word in words)


def can_bring_about(change: Change, places: Iterable[str]) -> bool:
    """Whether the change is at one of the catalogue's ``places`` (``KIND`` or ``KIND:NAME|NAME``).

    A change of access fits only a place that names ``access``."""
    if change.is_harmless:
        return False
    names = {name for lines in change.lines for name in lines.names} or {change.what}
    for place in places:
        kind, _, name_list = place.partition(":")
        if kind != change.place:
            continue
        place_names = frozenset(name_list.split("|")) if name_list else frozenset()
        if change.kind is ChangeKind.ACCESS:
            if "access" in place_names:
                return True
        elif not place_names - {"access"}:
            if not place_names:
                return True
        elif names & place_names or not (change.lines or change.kind is ChangeKind.VALUE):
            return True
    return False


def _is_used(change: Change, snapshot: Snapshot) -> bool:
    """Whether the service uses the changed thing, as far as is known: of the application's Python files, those that it
    imports, of its other files, no new ones; of a unit, what decides how the service runs; of nginx's configuration,
    lines outside of other sites' server blocks."""
    application, config, target = snapshot.application, snapshot.nginx_config, snapshot.target
    if change.place is PlaceKind.UNIT and change.lines:
        names = {name for hunk in change.lines for name in hunk.names}
        return not names or not names <= _INERT_IN_UNITS
    if change.place is PlaceKind.NGINX and isinstance(config, NginxConfig) and isinstance(target, Target):
        return not _is_of_other_site(change, config, target)
    if change.place is not PlaceKind.APPLICATION:
        return True
    if not change.what.endswith(".py"):
        # Nothing reads a new file but new code; a template's errors name it.
        return change.kind is not ChangeKind.ADDED and not change.what.endswith(_TEMPLATES)
    if change.kind is ChangeKind.REMOVED or not isinstance(application, Application):
        return True
    return any(module.path == change.what for module in application.modules)


def _is_of_other_site(change: Change, config: NginxConfig, target: Target) -> bool:
    """Whether every changed line is in a server block that neither serves the target nor has its name."""
    if not change.lines or change.kind is ChangeKind.REMOVED:
        return False
    own = find_site(config, target.domain, target.backend)
    others = [
        (server.blocks[0].line, _last_line(server.blocks[0], change.what))
        for server in servers(config)
        if server.blocks[0].file == change.what
        and not names_match(server, target.domain)
        and (own is None or server.where != own.server.where)
    ]
    return all(
        any(first <= number <= last for first, last in others)
        for hunk in change.lines
        for number, line in enumerate(hunk.after or ("",), hunk.line)
        if not line.lstrip().startswith("#") and (line.strip() or not hunk.after)
    )


def _last_line(block: Directive, file: str) -> int:
    """The last line of a block, estimated: the brace is on the line after its last directive."""
    inner = [_last_line(item, file) for item in block.block or () if item.file == file]
    return max(inner, default=block.line) + (block.block is not None)


def _is_named(change: Change, cause: Cause) -> bool:
    """Whether the cause's evidence or summary names the package or file; a line that it names must be changed."""
    words = _evidence_text(cause).splitlines()
    name = change.what
    if change.place is PlaceKind.APPLICATION and any(_lacks_module(text, name) for text in words):
        return True
    if "/" not in name:
        return any(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text, re.IGNORECASE) for text in words)
    places = (name, name.rpartition("/")[2])
    for text in words:
        for match in re.finditer(r"|".join(map(re.escape, places)), text):
            line = re.match(r":(\d+)|\W+line (\d+)", text[match.end() :])
            if line is None or not change.lines or _covers(change.lines, int(line[1] or line[2])):
                return True
    return False


def _lacks_module(text: str, path: str) -> bool:
    """Whether Python misses the module of ``path``, or a name in it: a file that is gone is in no traceback."""
    module = _MODULE.search(text)
    if module is None or not path.endswith(".py"):
        return False
    place = path.removesuffix(".py").removesuffix("/__init__")
    return place.endswith("/" + module[1].replace(".", "/"))


def _covers(hunks: Sequence[ChangedLines], line: int) -> bool:
    """Whether a changed piece includes ``line`` or is a few lines away: one statement may span several."""
    return any(hunk.line - 3 <= line <= hunk.line + len(hunk.after) + 3 for hunk in hunks)


def _suspects(
    changes: Sequence[Change], symptoms: Sequence[Symptom], all_causes: Catalogue
) -> dict[int, int]:
    """For each change, the number of causes that can explain ``symptoms`` and that the change could lead to."""
    met = {symptom.id for symptom in symptoms}
    counts: dict[int, int] = {}
    for code in all_causes.codes:
        entry = all_causes.entry(code)
        if not met.intersection(entry.explains):
            continue
        for number, change in enumerate(changes):
            if can_bring_about(change, entry.places):
                counts[number] = counts.get(number, 0) + 1
    return counts


# --- in words ---------------------------------------------------------------------------------------------------------


def change_evidence(change: Change, logs: Logs | NotSeen, utc_offset: int) -> Evidence:
    """One change as evidence: its place, time and author, the time to the next failed request, and both contents."""
    what, detail = change_place(change), change_words(change)
    when = _moment(change, logs, utc_offset)
    by = Text(en=f" ({change.by})" if change.by else "", zh=f"（{change.by}）" if change.by else "")
    return Evidence(
        what,
        Text(
            en=f"{_KINDS[change.kind].en}{when.en}{by.en}{f': {detail.en}' if detail.en else ''}",
            zh=f"{when.zh}{_KINDS[change.kind].zh}{by.zh}{f'：{detail.zh}' if detail.zh else ''}",
        ),
    )


def change_place(change: Change) -> str:
    """The file with its first changed line, or the name if the thing is no file."""
    line = f":{change.lines[0].line}" if change.lines and change.kind is ChangeKind.CONTENT else ""
    return f"{change.what}{line}"


def change_words(change: Change) -> Text:
    """The old and the new content in one line; empty if they are not known."""
    if change.kind in (ChangeKind.ACCESS, ChangeKind.LINK, ChangeKind.VALUE):
        return _became(change.before, change.after)
    if change.kind is ChangeKind.CONTENT and change.lines:
        first = change.lines[0]
        words = _became(_first(first.before), _first(first.after))
        more = sum(max(len(hunk.before), len(hunk.after)) for hunk in change.lines) - 1
        if more > 0:
            return Text(en=f"{words.en} (+{more} more lines)", zh=f"{words.zh}（另有 {more} 行）")
        return words
    if change.kind is ChangeKind.CONTENT and change.after:
        return _became(change.before, change.after)
    return Text(en="", zh="")


def _first(lines: Sequence[str]) -> str:
    return next((line.strip() for line in lines if line.strip()), "")


def _became(before: str, after: str) -> Text:
    old, new = safe_line(before, MAX_SHOWN_CHARS), safe_line(after, MAX_SHOWN_CHARS)
    if not old:
        return Text(en=f"`{new}` is new", zh=f"新增 `{new}`")
    if not new:
        return Text(en=f"`{old}` is gone", zh=f"`{old}` 已不存在")
    return Text(en=f"`{old}` became `{new}`", zh=f"`{old}` 变为 `{new}`")


def _moment(change: Change, logs: Logs | NotSeen, utc_offset: int) -> Text:
    if change.time is None:
        return Text(en="", zh="")
    at = local_time(change.time, utc_offset).strftime("%Y-%m-%d %H:%M:%S")
    onset = first_failure(logs, change.time)
    if onset is None:
        return Text(en=f" {at}", zh=f"{at} ")
    seconds = onset - change.time
    length = f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
    length_zh = f"{seconds:.0f} 秒" if seconds < 120 else f"{seconds / 60:.0f} 分钟"
    return Text(
        en=f" {at}, {length} before the first request that failed", zh=f"{at}（首个失败请求之前 {length_zh}）"
    )


def first_failure(logs: Logs | NotSeen, after: float) -> float | None:
    """When the first user's request failed at or after ``after`` (Unix seconds), by the access log; if that has no
    failure, the first error that nginx or gunicorn logged. None if requests failed before it too, or no log has it."""
    if isinstance(logs, NotSeen):
        return None
    access = logs.nginx_access
    if isinstance(access, AccessLog) and access.traffic is not None:
        failed = [answers.first for answers in access.traffic.answers if _FAILED.fullmatch(answers.status)]
        if failed:
            return min(failed) if min(failed) >= after - 1 else None
    errors = [
        entry.time
        for log in (*logs.nginx_errors.values(), logs.gunicorn_error)
        if isinstance(log, Log)
        for entry in log.entries
        if entry.level in ("error", "crit", "alert", "emerg", "critical")
    ]
    return min(errors) if errors and min(errors) >= after - 1 else None
