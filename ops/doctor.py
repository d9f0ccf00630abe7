"""`gte-ops doctor`: settings --> collect --> Snapshot --> judge --> Findings --> diagnose --> Causes --> report."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ops.collect.run import collect
from ops.diagnosis.catalogue import CauseEntry, catalogue, is_command
from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import diagnose, with_duration
from ops.diagnosis.finding import Check, Finding
from ops.diagnosis.model import Cause, Diagnosis, Status
from ops.errors import OpsError, SettingsError, UsageError
from ops.facts.base import NotSeen
from ops.facts.snapshot import Snapshot
from ops.settings import Ignore, Settings
from ops.text.language import Text, verbatim
from ops.text.sanitize import safe_line

if TYPE_CHECKING:
    from ops.baselines.keep import HostState
    from ops.baselines.store import Stored
    from ops.diagnosis.site_causes import SiteCauseDefinition
    from ops.facts.bundle import Bundle
    from ops.settings import SettingsFile

# How long `--wait-ok` waits before it looks again, seconds.
BETWEEN_LOOKS = 0.5


class Examination(msgspec.Struct, frozen=True):
    """What was seen, and what follows from it."""

    snapshot: Snapshot
    diagnosis: Diagnosis


def examine(
    settings: Settings,
    *,
    since: float,
    budget: float,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    bundle: Path | None = None,
    hide_clients: bool = False,
    passed_over: Sequence[str] = (),
    settings_file: str | None = None,
    settings_path: Path | None = None,
    unprivileged: bool = False,
    keeps_baseline: bool = True,
    compares_baseline: bool = True,
) -> Examination:
    """Look at this host and say what is wrong with it.

    ``since``: how far back logs count (seconds); ``budget``: the whole run's length (seconds); ``only`` and ``skip``:
    ids of checks, their layers (``tls``) or codes of causes; ``bundle``: where to write what was seen, redacted, and
    then that is what is judged; ``passed_over``: configuration files that were not read, each with why;
    ``settings_file``: what printed gte-ops commands need after --config; ``settings_path``: the file that was read;
    ``unprivileged``: whether the network is probed by a process that is not root; ``keeps_baseline``: whether a healthy
    host is remembered, where baselines are kept; ``compares_baseline``: whether it is compared with what is remembered.
    Raises UsageError for a check or code that does not exist, BundleError."""
    started = time.monotonic()
    own = site_causes(settings)
    checks = chosen_checks(only, skip, own.checks)
    _refuse_unknown_ignores(settings.doctor.ignore, [code for check in own.checks for code in check.codes])
    snapshot = msgspec.structs.replace(
        collect(settings, since, budget, unprivileged=unprivileged, site_causes=own.definitions),
        passed_over=tuple(map(safe_line, (*passed_over, *own.refused))),
        settings_file=settings_file,
    )
    present = _compared(snapshot, settings, settings_path) if compares_baseline else None
    if present is not None:
        from ops.baselines.keep import changes_since

        snapshot = msgspec.structs.replace(
            snapshot, changes=changes_since(present, settings, snapshot.target)
        )
    whole = snapshot
    if bundle is not None:
        from ops.facts.bundle import write_bundle
        from ops.interpret.redaction import redacted

        # What is judged here is what is judged elsewhere: the two reports are the same.
        snapshot = redacted(snapshot, hide_clients=hide_clients)
        write_bundle(bundle, snapshot, settings.doctor.ignore)
    diagnosis = diagnose(snapshot, checks, settings.doctor.ignore, own.entries)
    if present is not None and keeps_baseline and not only and not skip and is_good(diagnosis):
        from ops.baselines.keep import keep_if_changed

        # What can be written neither helps nor hurts this run.
        with contextlib.suppress(OpsError):
            keep_if_changed(present, whole, settings)
    return Examination(snapshot, with_duration(diagnosis, time.monotonic() - started))


def examine_from_outside(
    settings: Settings, url: str, *, budget: float, only: Sequence[str] = (), skip: Sequence[str] = ()
) -> Diagnosis:
    """Say what the front door at ``url`` shows of another host; nothing of this machine is judged.

    ``budget``: the whole run's length, seconds. Raises UsageError for a URL or a check that does not exist."""
    from ops.collect.outside import collect_from_outside
    from ops.diagnosis.outside import at_the_door, seen_from_outside
    from ops.interpret.outside import outside_url

    started = time.monotonic()
    url = outside_url(url)
    checks = at_the_door(chosen_checks(only, skip), url)
    snapshot = collect_from_outside(settings, url, budget)
    diagnosis = seen_from_outside(diagnose(snapshot, checks), snapshot)
    return with_duration(diagnosis, time.monotonic() - started)


class OwnCauses(msgspec.Struct, frozen=True):
    """What a site adds to the catalogue: the ``definitions`` of its files, the files that are ``refused``, each with
    the reason, the ``checks`` that prove its causes, and the ``entries`` of the packages that it names."""

    definitions: tuple[SiteCauseDefinition, ...] = ()
    refused: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    entries: dict[str, CauseEntry] = msgspec.field(default_factory=dict)


def site_causes(settings: Settings) -> OwnCauses:
    """The causes that the site defines itself (docs/site-causes.md). Raises SettingsError for a package that
    ``doctor.plugins`` names and that does not load."""
    own = OwnCauses()
    if os.path.lexists(settings.doctor.causes_dir):
        from ops.collect.site_causes import read_site_causes
        from ops.diagnosis.site_causes import site_checks

        files = read_site_causes(settings.doctor.causes_dir)
        own = OwnCauses(files.definitions, files.refused, site_checks(files.definitions))
    if settings.doctor.plugins:
        from ops.diagnosis.plugins import load_plugins

        plugins = load_plugins(settings.doctor.plugins)
        own = msgspec.structs.replace(own, checks=own.checks + plugins.checks, entries=plugins.entries)
    return own


def is_good(diagnosis: Diagnosis) -> bool:
    """Whether the host may be remembered as it is: no user is affected, and all that takes was seen."""
    return diagnosis.status in (Status.OK, Status.WARN) and not diagnosis.symptoms


def _compared(snapshot: Snapshot, settings: Settings, settings_path: Path | None) -> HostState | None:
    """The host beside its baseline; None where none is kept, or this user may not read it."""
    from ops.baselines.directory import baseline_directory

    if not os.access(baseline_directory(settings), os.R_OK):
        return None
    from ops.baselines.keep import look
    from ops.baselines.store import BaselineStore

    if not BaselineStore(baseline_directory(settings)).may_read():
        return None
    with contextlib.suppress(OSError):
        return look(snapshot, settings, settings_path, "doctor")
    return None


def examine_for_baseline(
    settings: Settings, file: SettingsFile, *, unprivileged: bool = False
) -> Examination:
    """The host as the settings ask for it, without comparing or recording it: the caller does. Raises UsageError."""
    return examine(
        settings,
        since=settings.doctor.since,
        budget=settings.doctor.budget,
        settings_file=file.config_argument,
        settings_path=file.path,
        unprivileged=unprivileged,
        compares_baseline=False,
    )


class AcceptedBaseline(msgspec.Struct, frozen=True):
    """What became of the wish to remember the host.

    ``stored``: None where users are affected; ``pending``: files that were changed and that no process has loaded, of
    which the former content stays."""

    stored: Stored | None
    pending: tuple[str, ...] = ()


def accept_baseline(
    settings: Settings, file: SettingsFile, by: str, *, force: bool = False, unprivileged: bool = False
) -> AcceptedBaseline:
    """Remember the host as it is, if the doctor finds no user affected; ``force``: in any case, and as it is on disk.

    ``by``: whose wish it is (watchdog, accept, restore). Raises BaselineError."""
    from ops.baselines.directory import baseline_directory
    from ops.baselines.keep import look, not_loaded, record
    from ops.baselines.store import BaselineStore

    BaselineStore(baseline_directory(settings)).refuse_shared()
    examination = examine_for_baseline(settings, file, unprivileged=unprivileged)
    if not force and not is_good(examination.diagnosis):
        return AcceptedBaseline(None)
    present = look(examination.snapshot, settings, file.path, by)
    pending = () if force else not_loaded(present, examination.snapshot)
    return AcceptedBaseline(record(present, examination.snapshot, settings, everything=force), pending)


def diagnose_bundle(path: Path, *, only: Sequence[str] = (), skip: Sequence[str] = ()) -> Diagnosis:
    """What is wrong with the host that the bundle in ``path`` was made on. Raises BundleError, UsageError."""
    from ops.facts.bundle import read_bundle

    return diagnose_read_bundle(read_bundle(path), only=only, skip=skip)


def diagnose_read_bundle(bundle: Bundle, *, only: Sequence[str] = (), skip: Sequence[str] = ()) -> Diagnosis:
    """What is wrong with the host that ``bundle`` was made on. Raises UsageError."""
    started = time.monotonic()
    own: tuple[Check, ...] = ()
    if not isinstance(bundle.snapshot.site_causes, NotSeen):
        from ops.diagnosis.site_causes import site_checks
        from ops.diagnosis.site_causes_file import definitions_in

        own = site_checks(definitions_in(bundle.snapshot.site_causes))
    checks = chosen_checks(only, skip, own)
    diagnosis = diagnose(bundle.snapshot, checks, bundle.ignore)
    causes = tuple(
        cause if cause.code in catalogue().codes else _of_bundle(cause) for cause in diagnosis.causes
    )
    diagnosis = msgspec.structs.replace(diagnosis, causes=causes, is_from_bundle=True)
    return with_duration(diagnosis, time.monotonic() - started)


def _of_bundle(cause: Cause) -> Cause:
    """A cause that the bundle defines: whoever made it chose its commands, so that each is a comment to a shell."""
    advice = Text(
        en="The bundle defines this cause, not gte-ops: read its commands before you run one.",
        zh="这个原因由诊断包定义，不是 gte-ops 自带的：运行其中的命令前请先看清楚。",
    )
    return msgspec.structs.replace(
        cause,
        verify=_as_comment(cause.verify),
        fix=(advice, *(_as_comment(step) if is_command(step) else step for step in cause.fix)),
    )


def _as_comment(command: Text) -> Text:
    return verbatim(f"# {' '.join(command.en.split())}")


def wait_until_ok(look: Callable[[], Diagnosis], patience: float) -> Diagnosis:
    """Look until nothing fails and nothing is unjudged, or ``patience`` (seconds) is over; the last diagnosis."""
    give_up = time.monotonic() + patience
    while True:
        diagnosis = look()
        if diagnosis.status in (Status.OK, Status.WARN) or time.monotonic() + BETWEEN_LOOKS >= give_up:
            return diagnosis
        time.sleep(BETWEEN_LOOKS)


def _refuse_unknown_ignores(ignore: Sequence[Ignore], own: Sequence[str]) -> None:
    for entry in ignore:
        if entry.code not in (codes := (*catalogue().codes, *own)):
            import difflib  # only a mistyped code needs it

            near = difflib.get_close_matches(entry.code, codes, n=3, cutoff=0.5)
            raise SettingsError(
                Text(
                    en=f"doctor.ignore: no cause is called {entry.code!r}"
                    + (f"; the nearest are {', '.join(near)}" if near else "; gte-ops explain lists them"),
                    zh=f"doctor.ignore：没有名为 {entry.code!r} 的故障代码"
                    + (f"；最接近的是 {'、'.join(near)}" if near else "；gte-ops explain 列出全部代码"),
                )
            )


def chosen_checks(only: Sequence[str], skip: Sequence[str], own: Sequence[Check] = ()) -> tuple[Check, ...]:
    """The checks that ``only`` selects, without what ``skip`` does; a code selects that one cause of its check.
    ``own``: the site's own checks. Raises UsageError for an unknown id."""
    checks = (*CHECKS, *own)
    for selector in (*only, *skip):
        if not any(_selects(selector, check) for check in checks):
            names = [name for check in checks for name in (check.id, *check.codes)]
            near = _nearest(selector, names)
            layers = _layers(checks)
            raise UsageError(
                Text(
                    en=f"no check or cause is called {selector!r}"
                    + (f"; the nearest are {', '.join(near)}" if near else f"; layers: {', '.join(layers)}"),
                    zh=f"没有名为 {selector!r} 的检查项或故障代码"
                    + (f"；最接近的是 {'、'.join(near)}" if near else f"；可选的层：{'、'.join(layers)}"),
                )
            )
    selection = ((check, tuple(c for c in check.codes if _wants(c, check, only, skip))) for check in checks)
    return tuple(
        check if codes == check.codes else narrowed(check, codes) for check, codes in selection if codes
    )


def _nearest(selector: str, names: Sequence[str]) -> list[str]:
    """The three names that are most like ``selector``; among equals, those declared first."""
    import difflib  # only a mistyped name needs it

    alike = {name: difflib.SequenceMatcher(None, name, selector).ratio() for name in names}
    return sorted((name for name in alike if alike[name] >= 0.5), key=lambda name: -alike[name])[:3]


def narrowed(check: Check, codes: tuple[str, ...]) -> Check:
    """``check``, with only the findings that bear one of ``codes``."""

    def judge(**inputs: Any) -> Iterator[Finding]:
        return (finding for finding in check.judge(**inputs) if finding.code in codes)

    return msgspec.structs.replace(check, codes=codes, judge=judge)


def _wants(code: str, check: Check, only: Sequence[str], skip: Sequence[str]) -> bool:
    def named(words: Sequence[str]) -> bool:
        return any(word == code or (word not in check.codes and _selects(word, check)) for word in words)

    return (not only or named(only)) and not named(skip)


def _selects(selector: str, check: Check) -> bool:
    return selector == check.id or check.id.startswith(f"{selector}.") or selector in check.codes


def _layers(checks: Sequence[Check]) -> list[str]:
    return list(dict.fromkeys(check.id.partition(".")[0] for check in checks))
