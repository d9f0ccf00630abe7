"""Compare two states of the host. Pure; `ops/baselines/authors.py` finds the author of a change."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Callable, Iterator, Mapping

from ops.baselines.state import Baseline, FileState
from ops.facts.changes import Change, ChangedLines, ChangeKind, PlaceKind
from ops.interpret.changed_text import changed_lines
from ops.text.sanitize import without_controls

# A time further in the future than this, seconds, is a wrong clock's: the change gets no time.
FUTURE = 60.0
MAX_LINE_CHARS = 300
# Values that are seen all or not at all: a name that was added or removed is a change.
_COMPLETE = (PlaceKind.PACKAGE,)

Content = Callable[[str], bytes | None]


def compare(
    before: Baseline,
    after: Baseline,
    text_before: Content,
    text_after: Content,
    removed_at: Mapping[str, float | None],
    since: float,
) -> tuple[Change, ...]:
    """Return the changes, oldest first, those without a time last.

    ``text_before``, ``text_after`` return a content by its digest. ``removed_at``: the removed paths, with times. A
    file that is not in ``before`` is a change if ``before`` lists its directory (`_is_listed`), or if its ctime is
    later than ``since`` (Unix seconds); any other is merely read for the first time."""
    changes = [
        *_files(before, after, text_before, text_after, removed_at, since),
        *_values(before, after),
    ]
    return tuple(sorted(changes, key=lambda c: (c.time is None, c.time or 0.0, c.what)))


def _files(
    before: Baseline,
    after: Baseline,
    text_before: Content,
    text_after: Content,
    removed_at: Mapping[str, float | None],
    since: float,
) -> Iterator[Change]:
    for path, old in before.files.items():
        new = after.files.get(path)
        if new is not None:
            if new.meaning != old.meaning:
                yield _changed(path, old, new, text_before, text_after, since, after.taken_at)
        elif path in removed_at:
            lines, _ = _lines(old, None, text_before, text_after)
            at = _plausible(removed_at[path], after.taken_at)
            yield Change(place=old.place, what=path, kind=ChangeKind.REMOVED, time=at, lines=lines)
    for path, new in after.files.items():
        if path not in before.files and (new.ctime / 1e9 > since or _is_listed(path, new.place, before)):
            lines, is_harmless = _lines(None, new, text_before, text_after)
            at = _plausible(_time(new, since), after.taken_at)
            yield Change(
                place=new.place,
                what=path,
                kind=ChangeKind.ADDED,
                time=at,
                lines=lines,
                is_harmless=is_harmless,
            )


def _is_listed(path: str, place: PlaceKind, before: Baseline) -> bool:
    """Whether ``before`` would have the file, had it been there: its directory was listed, or, of the application, the
    tree above a directory that is new itself. The clock may have been wrong since."""
    directories = before.directories.keys()
    if place is not PlaceKind.APPLICATION:
        return path.rpartition("/")[0] in directories
    return any(path.startswith(f"{directory}/") for directory in directories)


def _changed(
    path: str,
    old: FileState,
    new: FileState,
    text_before: Content,
    text_after: Content,
    since: float,
    now: float,
) -> Change:
    at = _plausible(_time(new, since), now)
    if old.digest != new.digest:
        lines, is_harmless = _lines(old, new, text_before, text_after)
        is_linked = old.link != new.link
        return Change(
            place=new.place,
            what=path,
            kind=ChangeKind.CONTENT,
            time=at,
            before=old.link if is_linked else "",
            after=new.link if is_linked else "",
            lines=lines,
            is_harmless=is_harmless,
        )
    if old.link != new.link:
        return Change(
            place=new.place, what=path, kind=ChangeKind.LINK, time=at, before=old.link, after=new.link or path
        )
    # A change of owner or mode sets only the inode's ctime (inode(7)).
    at = _plausible(new.ctime / 1e9, now)
    return Change(
        place=new.place, what=path, kind=ChangeKind.ACCESS, time=at, before=_access(old), after=_access(new)
    )


def _time(file: FileState, since: float) -> float:
    """Return when the content arrived here. A copy may keep an older mtime; then use the inode's ctime."""
    return file.mtime / 1e9 if file.mtime / 1e9 > since else file.ctime / 1e9


def _plausible(at: float | None, now: float) -> float | None:
    return at if at is not None and 0 < at < now + FUTURE else None


def _lines(
    old: FileState | None, new: FileState | None, text_before: Content, text_after: Content
) -> tuple[tuple[ChangedLines, ...], bool]:
    """Return the lines that differ, and whether they are only comments; no lines if one of the texts was not kept."""
    texts: list[str] = []
    for file, content in ((old, text_before), (new, text_after)):
        if file is None:
            texts.append("")
            continue
        read = content(file.digest) if file.is_kept else None
        if read is None:
            return (), False
        texts.append(read.decode("utf-8", "replace"))
    place = (new or old).place  # type: ignore[union-attr]  # at least one is not None
    hunks, is_harmless = changed_lines(texts[0], texts[1], place)
    return tuple(_bounded(hunk) for hunk in hunks), is_harmless


def _bounded(hunk: ChangedLines) -> ChangedLines:
    def short(lines: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(without_controls(line[:MAX_LINE_CHARS]) for line in lines)

    return ChangedLines(line=hunk.line, before=short(hunk.before), after=short(hunk.after), names=hunk.names)


def _access(file: FileState) -> str:
    return f"{file.mode:04o} {_user(file.uid)}:{_group(file.gid)}"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _values(before: Baseline, after: Baseline) -> Iterator[Change]:
    for place, old in before.values.items():
        new = after.values.get(place)
        if new is None:
            continue
        names = {*old, *new} if place in _COMPLETE else old.keys() & new.keys()
        for name in sorted(names):
            if old.get(name) != new.get(name):
                yield Change(
                    place=place,
                    what=name,
                    kind=ChangeKind.VALUE,
                    before=old.get(name, ""),
                    after=new.get(name, ""),
                )
