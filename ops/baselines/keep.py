"""Use case: compare with the last baseline (`changes_since`), and record the present state (`record`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from ops import __version__
from ops.baselines import values as values_of_host
from ops.baselines.capture import capture, directory_times, removal_time
from ops.baselines.directory import baseline_directory
from ops.baselines.rpm import database_files, rpm_packages
from ops.baselines.sources import find_sources
from ops.baselines.state import Baseline
from ops.baselines.store import BaselineStore, Stored
from ops.facts.base import NotSeen
from ops.facts.changes import Change, Changes, PlaceKind
from ops.facts.snapshot import Snapshot
from ops.facts.target import Target
from ops.settings import Settings

MAX_CHANGES = 200


class HostState(msgspec.Struct, frozen=True):
    """The host now. ``texts``: contents that were read, by digest; ``missing``: paths of the baseline that no longer
    exist; ``before``: the baseline to compare with, None if there is none."""

    baseline: Baseline
    texts: dict[str, bytes]
    missing: tuple[str, ...]
    before: Stored | None


def look(
    snapshot: Snapshot,
    settings: Settings,
    settings_file: Path | None,
    by: str,
    *,
    against: Stored | None = None,
) -> HostState:
    """Return the state of the host as ``snapshot`` found it, with the baseline ``against``, by default the newest.

    Raises PermissionError if the store may not be read."""
    before = against or BaselineStore(baseline_directory(settings)).latest()
    sources = find_sources(snapshot, settings, None if settings_file is None else str(settings_file))
    baseline_before = before.baseline if before else None
    places = dict(sources.files)
    if baseline_before is not None:
        # Also inspect files that this run could not locate: the fault may be in what leads to them.
        places = {path: file.place for path, file in baseline_before.files.items()} | places
    captured = capture(
        places,
        baseline_before.files if baseline_before else {},
        baseline_before.looked_at if baseline_before else 0.0,
    )
    directories = {*sources.directories, *(baseline_before.directories if baseline_before else ())}
    databases = (values_of_host.DPKG_STATUS, *database_files())
    times = directory_times((*sorted(directories.difference(databases)), *databases))
    baseline = Baseline(
        made_by=__version__,
        taken_at=snapshot.taken_at,
        looked_at=snapshot.taken_at,
        by=by,
        files=captured.files,
        values=values_of_host.find_values(snapshot, _host_packages(baseline_before, times, databases)),
        directories=times,
        ordinary=values_of_host.ordinary(snapshot),
    )
    missing = tuple(
        path for path in captured.missing if baseline_before is not None and path in baseline_before.files
    )
    return HostState(baseline, captured.texts, missing, before)


def _host_packages(
    baseline_before: Baseline | None, times: Mapping[str, int], databases: Sequence[str]
) -> dict[str, str]:
    """Return the host's packages; the known ones if no database of dpkg or rpm has changed since."""
    present = {path: times[path] for path in databases if path in times}
    before = baseline_before.directories if baseline_before is not None else {}
    if (
        baseline_before is not None
        and present
        and all(before.get(path) == at for path, at in present.items())
    ):
        packages = baseline_before.values.get(PlaceKind.HOST_PACKAGE, {})
        return {name: version for name, version in packages.items() if name != "nginx -v"}
    rpm = {name: package.version for name, package in rpm_packages().items()}
    return rpm | values_of_host.dpkg_packages()


def changes_since(present: HostState, settings: Settings, target: Target | NotSeen) -> Changes | NotSeen:
    """Return what differs from ``present.before``; NotSeen if there is no baseline."""
    if present.before is None:
        return NotSeen(reason="no baseline has been recorded", is_lasting=True)
    before, confirmed_at = present.before.baseline, present.before.confirmed_at
    store = BaselineStore(baseline_directory(settings))
    if before.id == present.baseline.id:
        return Changes(taken_at=before.taken_at, confirmed_at=confirmed_at, by=before.by)
    # Imported only if something differs: an unchanged host does not need difflib.
    from ops.baselines.authors import with_authors
    from ops.baselines.compare import compare

    def text_now(digest: str) -> bytes | None:
        return present.texts.get(digest) or store.text(digest)

    differences = compare(
        before,
        present.baseline,
        store.text,
        text_now,
        {path: removal_time(path) for path in present.missing},
        before.taken_at,
    )
    app_dir = target.app_dir if isinstance(target, Target) else None
    certbot = target.letsencrypt_dir if isinstance(target, Target) else None
    newest = with_authors(differences[-MAX_CHANGES:], app_dir, certbot, store.marks())
    return Changes(
        taken_at=before.taken_at,
        confirmed_at=confirmed_at,
        by=before.by,
        changes=newest,
        omitted=max(0, len(differences) - MAX_CHANGES),
        usual_predict_s=before.ordinary.predict_seconds,
    )


def changes_between(before: Stored, after: Stored, settings: Settings) -> tuple[Change, ...]:
    """Return the changes between two baselines."""
    from ops.baselines.compare import compare

    store = BaselineStore(baseline_directory(settings))
    removals = {path: None for path in before.baseline.files if path not in after.baseline.files}
    since = before.baseline.taken_at
    return compare(before.baseline, after.baseline, store.text, store.text, removals, since)


def not_loaded(present: HostState, snapshot: Snapshot) -> tuple[str, ...]:
    """Return the changed files that no process has loaded since."""
    if present.before is None:
        return ()
    from ops.baselines.in_effect import in_effect, loaded

    effective = in_effect(present.baseline, present.before.baseline, loaded(snapshot))
    return tuple(
        sorted(
            path
            for path in effective.files.keys() | present.baseline.files.keys()
            if effective.files.get(path) != present.baseline.files.get(path)
        )
    )


def record(present: HostState, snapshot: Snapshot, settings: Settings, *, everything: bool = False) -> Stored:
    """Make the present state, as far as it is in effect, the newest baseline; ``everything``: the state on disk.

    Raises BaselineError."""
    store = BaselineStore(baseline_directory(settings))
    baseline = present.baseline
    if present.before is not None and not everything:
        from ops.baselines.in_effect import in_effect, loaded

        baseline = in_effect(baseline, present.before.baseline, loaded(snapshot))
    return store.record(baseline, present.texts)


def keep_if_changed(present: HostState, snapshot: Snapshot, settings: Settings) -> None:
    """Record what differs or confirm the baseline after a healthy read-only run, if baselines are already kept here."""
    store = BaselineStore(baseline_directory(settings))
    if not store.may_write():
        return
    if present.before is not None and _is_same(present):
        store.confirm(present.before)
        return
    record(present, snapshot, settings)


def _is_same(present: HostState) -> bool:
    """Whether the stored state equals the present one. Signatures count: a stale one makes each run read its file."""
    before = present.before
    return (
        before is not None
        and before.baseline.files == present.baseline.files
        and before.baseline.values == present.baseline.values
        and before.baseline.directories == present.baseline.directories
    )
