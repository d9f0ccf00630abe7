"""What differs between two states, and what of the files on disk is in effect."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pytest

from ops.baselines.compare import compare
from ops.baselines.in_effect import Loaded, in_effect
from ops.baselines.state import Baseline, FileState
from ops.facts.changes import Change, ChangeKind, PlaceKind

TAKEN = 10_000.0
NOW = 20_000.0
TEXTS: dict[str, bytes] = {}


def text(
    content: str, *, at: float = 5_000.0, place: PlaceKind = PlaceKind.NGINX, **facts: object
) -> FileState:
    """A file with ``content``, written and changed ``at`` (Unix seconds)."""
    digest = hashlib.sha256(content.encode()).hexdigest()
    TEXTS[digest] = content.encode()
    nanoseconds = int(at * 1e9)
    values = {
        "place": place, "size": len(content), "mtime": nanoseconds, "ctime": nanoseconds, "inode": 1, "mode": 0o644,
        "uid": 0, "gid": 0, "digest": digest, "is_kept": True,
    }  # fmt: skip
    return FileState(**{**values, **facts})  # type: ignore[arg-type]


def state(
    files: Mapping[str, FileState],
    values: Mapping[PlaceKind, dict[str, str]] | None = None,
    directories: Mapping[str, int] | None = None,
    taken_at: float = TAKEN,
) -> Baseline:
    return Baseline(
        made_by="test",
        taken_at=taken_at,
        looked_at=taken_at,
        by="accept",
        files=dict(files),
        values=dict(values or {}),
        directories=dict(directories or {}),
    )


def changes(
    before: Baseline, after: Baseline, removed: Mapping[str, float | None] | None = None
) -> tuple[Change, ...]:
    return compare(before, after, TEXTS.get, TEXTS.get, removed or {}, TAKEN)


def test_a_changed_text_is_told_with_its_lines_and_its_time() -> None:
    before = state({"/n.conf": text("a;\nlisten 80;\n")})
    after = state({"/n.conf": text("a;\nlisten 81;\n", at=15_000.0)}, taken_at=NOW)
    (change,) = changes(before, after)
    assert (change.kind, change.what, change.time) == (ChangeKind.CONTENT, "/n.conf", 15_000.0)
    assert [(h.line, h.before, h.after, h.names) for h in change.lines] == [
        (2, ("listen 80;",), ("listen 81;",), ("listen",))
    ]


def test_a_touched_file_and_one_that_was_changed_back_are_no_changes() -> None:
    before = state({"/n.conf": text("a;\n")})
    assert changes(before, state({"/n.conf": text("a;\n", at=15_000.0, inode=9)}, taken_at=NOW)) == ()


def test_a_copy_that_brought_its_own_time_along_is_dated_by_the_inode() -> None:
    before = state({"/n.conf": text("a;\n")})
    after = state({"/n.conf": text("b;\n", at=4_000.0, ctime=int(16_000e9))}, taken_at=NOW)
    assert changes(before, after)[0].time == 16_000.0


def test_a_time_that_no_right_clock_can_have_is_none() -> None:
    before = state({"/n.conf": text("a;\n")})
    after = state({"/n.conf": text("b;\n", at=NOW + 86400)}, taken_at=NOW)
    assert changes(before, after)[0].time is None


def test_an_owner_or_mode_alone_is_a_change_of_access() -> None:
    before = state({"/key.pem": text("k")})
    after = state({"/key.pem": text("k", mode=0o600, ctime=int(15_000e9))}, taken_at=NOW)
    (change,) = changes(before, after)
    assert (change.kind, change.before, change.after) == (
        ChangeKind.ACCESS,
        "0644 root:root",
        "0600 root:root",
    )
    assert change.time == 15_000.0


def test_what_is_gone_is_told_and_what_was_not_seen_is_not() -> None:
    before = state({"/gone": text("a;\n"), "/unseen": text("b;\n")})
    (change,) = changes(before, state({}, taken_at=NOW), {"/gone": 15_000.0})
    assert (change.what, change.kind, change.time) == ("/gone", ChangeKind.REMOVED, 15_000.0)


def test_a_new_file_is_a_change_and_one_that_is_read_for_the_first_time_is_not() -> None:
    before = state({}, directories={"/etc/nginx/conf.d": 1})
    after = state(
        {
            "/etc/nginx/conf.d/new.conf": text("a;\n", at=4_000.0),  # in a directory that was looked through
            "/srv/app/new.py": text("a = 1\n", at=15_000.0, place=PlaceKind.APPLICATION),
            "/srv/app/old.py": text("a = 1\n", at=4_000.0, place=PlaceKind.APPLICATION),
        },
        taken_at=NOW,
    )
    assert {change.what for change in changes(before, after)} == {
        "/etc/nginx/conf.d/new.conf",
        "/srv/app/new.py",
    }


def test_values_that_were_not_seen_are_no_change_but_a_package_that_is_gone_is() -> None:
    before = state(
        {}, {PlaceKind.PACKAGE: {"flask": "3.1", "pip": "24"}, PlaceKind.ADDRESS: {"x": "1.2.3.4"}}
    )
    after = state({}, {PlaceKind.PACKAGE: {"pip": "25"}})
    assert [(c.what, c.before, c.after) for c in changes(before, after)] == [
        ("flask", "3.1", ""),
        ("pip", "24", "25"),
    ]


def test_changes_are_in_the_order_of_their_times() -> None:
    before = state({f"/{n}": text("a;\n") for n in range(3)})
    after = state({f"/{n}": text("b;\n", at=15_000.0 - n) for n in range(3)}, taken_at=NOW)
    assert [change.what for change in changes(before, after)] == ["/2", "/1", "/0"]


# --- what is in effect ------------------------------------------------------------------------------------------------

LOADED = Loaded(nginx=12_000.0, workers=13_000.0, master=11_000.0)


@pytest.mark.parametrize(
    ("place", "at", "is_taken"),
    [
        (PlaceKind.NGINX, 11_900.0, True),
        (PlaceKind.NGINX, 12_100.0, False),
        (PlaceKind.CERTIFICATE, 12_100.0, False),
        (PlaceKind.APPLICATION, 12_900.0, True),
        (PlaceKind.APPLICATION, 13_100.0, False),
        (PlaceKind.UNIT, 11_100.0, False),
        (PlaceKind.LOGROTATE, 19_000.0, True),  # read at each run
    ],
)
def test_a_file_counts_once_the_process_that_reads_it_has_loaded_it(
    place: PlaceKind, at: float, is_taken: bool
) -> None:
    before = state({"/f": text("a;\n", place=place)})
    present = state({"/f": text("b;\n", at=at, place=place)}, taken_at=NOW)
    baseline = in_effect(present, before, LOADED)
    assert baseline.files["/f"] == (present if is_taken else before).files["/f"]


def test_a_new_file_of_nginx_that_is_not_loaded_is_left_out() -> None:
    present = state({"/n.conf": text("a;\n", at=12_100.0)}, taken_at=NOW)
    assert in_effect(present, state({}), LOADED).files == {}


def test_a_removed_file_of_nginx_stays_until_the_reload() -> None:
    before = state({"/c/n.conf": text("a;\n")}, directories={"/c": 1})
    for changed_at, stays in ((12_100.0, True), (11_900.0, False)):
        present = state({}, directories={"/c": int(changed_at * 1e9)}, taken_at=NOW)
        assert ("/c/n.conf" in in_effect(present, before, LOADED).files) is stays


@pytest.mark.parametrize(("place", "is_change"), [(PlaceKind.APPLICATION, True), (PlaceKind.NGINX, False)])
def test_a_file_in_a_new_directory_is_a_change_though_the_clock_was_set_back_since(
    place: PlaceKind, is_change: bool
) -> None:
    """The baseline is dated later than the file; the application's tree was listed whole, nginx's was not."""
    before = state({}, directories={"/srv/app": 1})
    after = state({"/srv/app/tools/report.py": text("new\n", at=TAKEN - 3600, place=place)}, taken_at=NOW)
    changes = compare(before, after, TEXTS.get, TEXTS.get, {}, TAKEN)
    assert [change.what for change in changes] == (["/srv/app/tools/report.py"] if is_change else [])
