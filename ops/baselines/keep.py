"""Use case: what differs from the last baseline (`changes_since`), and recording the present state (`record`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from ops import __version__
from ops.baselines import values as values_of_host
from ops.baselines.capture import capture, directory_times, removal_time
from ops.baselines.directory import baseline_directory
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
    """The host now. ``texts``: contents that were read, by digest; ``missing``: paths that are in the baseline, and at
    which nothing is; ``before``: the baseline it is held against, None if there is none."""

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
    """The state of the host as ``snapshot`` found it, beside the newest baseline or the one it is held ``against``.

    Raises PermissionError where the store may not be read."""
    before = against or BaselineStore(baseline_directory(settings)).latest()
    sources = find_sources(snapshot, settings, None if settings_file is None else str(settings_file))
    known = before.baseline if before else None
    places = dict(sources.files)
    if known is not None:
        # What this run could not locate is looked at all the same: what broke may be the very way to it.
        places = {path: file.place for path, file in known.files.items()} | places
    captured = capture(places, known.files if known else {}, known.looked_at if known else 0.0)
    directories = {*sources.directories, *(known.directories if known else ())}
    times = directory_times((*sorted(directories - {values_of_host.DPKG_STATUS}), values_of_host.DPKG_STATUS))
    baseline = Baseline(
        made_by=__version__,
        taken_at=snapshot.taken_at,
        looked_at=snapshot.taken_at,
        by=by,
        files=captured.files,
        values=values_of_host.find_values(snapshot, _dpkg(known, times)),
        directories=times,
        ordinary=values_of_host.ordinary(snapshot),
    )
    missing = tuple(path for path in captured.missing if known is not None and path in known.files)
    return HostState(baseline, captured.texts, missing, before)


def _dpkg(known: Baseline | None, times: Mapping[str, int]) -> dict[str, str]:
    """The host's packages; where dpkg has written nothing since, the ones that are known."""
    path = values_of_host.DPKG_STATUS
    if known is not None and path in times and known.directories.get(path) == times[path]:
        packages = known.values.get(PlaceKind.HOST_PACKAGE, {})
        return {name: version for name, version in packages.items() if name != "nginx -v"}
    return values_of_host.dpkg_packages()


def changes_since(present: HostState, settings: Settings, target: Target | NotSeen) -> Changes | NotSeen:
    """What differs from the newest baseline; NotSeen where there is none."""
    if present.before is None:
        return NotSeen(reason="no baseline has been recorded")
    before, confirmed_at = present.before.baseline, present.before.confirmed_at
    store = BaselineStore(baseline_directory(settings))
    if before.id == present.baseline.id:
        return Changes(taken_at=before.taken_at, confirmed_at=confirmed_at, by=before.by)
    # Only where something differs: difflib is not needed on a host as it was.
    from ops.baselines.authors import with_authors
    from ops.baselines.compare import compare

    def text_now(digest: str) -> bytes | None:
        return present.texts.get(digest) or store.text(digest)

    found = compare(
        before,
        present.baseline,
        store.text,
        text_now,
        {path: removal_time(path) for path in present.missing},
        before.taken_at,
    )
    app_dir = target.app_dir if isinstance(target, Target) else None
    certbot = target.letsencrypt_dir if isinstance(target, Target) else None
    kept = with_authors(found[-MAX_CHANGES:], app_dir, certbot, store.marks())
    return Changes(
        taken_at=before.taken_at,
        confirmed_at=confirmed_at,
        by=before.by,
        changes=kept,
        omitted=max(0, len(found) - MAX_CHANGES),
    )


def changes_between(before: Stored, after: Stored, settings: Settings) -> tuple[Change, ...]:
    """What differs between two baselines."""
    from ops.baselines.compare import compare

    store = BaselineStore(baseline_directory(settings))
    gone = {path: None for path in before.baseline.files if path not in after.baseline.files}
    since = before.baseline.taken_at
    return compare(before.baseline, after.baseline, store.text, store.text, gone, since)


def not_loaded(present: HostState, snapshot: Snapshot) -> tuple[str, ...]:
    """The files that were changed and that no process has loaded since."""
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
    """Make the present state the newest baseline, as far as it is in effect; ``everything``: as it is on disk.

    Raises BaselineError."""
    store = BaselineStore(baseline_directory(settings))
    baseline = present.baseline
    if present.before is not None and not everything:
        from ops.baselines.in_effect import in_effect, loaded

        baseline = in_effect(baseline, present.before.baseline, loaded(snapshot))
    return store.record(baseline, present.texts)


def keep_if_changed(present: HostState, snapshot: Snapshot, settings: Settings) -> None:
    """After a healthy run that only looks: record what differs, or confirm the baseline, where one is kept already."""
    store = BaselineStore(baseline_directory(settings))
    if not store.may_write():
        return
    if present.before is not None and _is_same(present):
        store.confirm(present.before)
        return
    record(present, snapshot, settings)


def _is_same(present: HostState) -> bool:
    """Whether the stored state still is the present one, its signatures included: then nothing is read twice."""
    before = present.before
    return (
        before is not None
        and before.baseline.files == present.baseline.files
        and before.baseline.values == present.baseline.values
        and before.baseline.directories == present.baseline.directories
    )
