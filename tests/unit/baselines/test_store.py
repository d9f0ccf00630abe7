"""The store: what is recorded is read back, torn files do not count, and it stays within its bounds."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from ops.baselines import store as store_module
from ops.baselines.state import Baseline, FileState, Mark
from ops.baselines.store import BaselineError, BaselineStore
from ops.facts.changes import PlaceKind


def file(digest: str = "0" * 64, **facts: object) -> FileState:
    values = {
        "place": PlaceKind.NGINX, "size": 1, "mtime": 1, "ctime": 1, "inode": 1, "mode": 0o644, "uid": 0, "gid": 0,
        "digest": digest, "is_kept": True,
    }  # fmt: skip
    return FileState(**{**values, **facts})  # type: ignore[arg-type]


def state(taken_at: float = 1000.0, **files: FileState) -> Baseline:
    return Baseline(
        made_by="test", taken_at=taken_at, looked_at=taken_at, by="accept", files=files, values={}
    )


def digest_of(number: int) -> str:
    return f"{number:064x}"


@pytest.fixture
def store(tmp_path: Path) -> BaselineStore:
    return BaselineStore(tmp_path / "baselines")


def test_what_is_recorded_is_read_back(store: BaselineStore) -> None:
    baseline = state(a=file(digest_of(1)))
    store.record(baseline, {digest_of(1): b"listen 443;\n"})
    latest = store.latest()
    assert latest.baseline == baseline
    assert store.text(digest_of(1)) == b"listen 443;\n"


def test_only_its_owner_may_read_it(store: BaselineStore) -> None:
    store.record(state(a=file(digest_of(1))), {digest_of(1): b"password\n"})
    store.mark(Mark(time=1.0, text="2.4"))
    for path in store.directory.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_the_same_state_is_one(store: BaselineStore) -> None:
    store.record(state(1000.0, a=file(digest_of(1))), {})
    # Touched: another time, another inode, the same content.
    again = store.record(state(2000.0, a=file(digest_of(1), mtime=9, inode=7)), {})
    assert again.number == 1
    assert [stored.baseline.taken_at for stored in store.all()] == [1000.0]
    assert store.latest().baseline.files["a"].mtime == 9


def test_a_state_that_comes_back_is_the_newest(store: BaselineStore) -> None:
    for number in (1, 2, 1):
        store.record(state(a=file(digest_of(number))), {digest_of(number): b"%d" % number})
    assert [stored.number for stored in store.all()] == [3, 2, 1]
    assert store.latest().baseline.files["a"].digest == digest_of(1)


def test_only_the_last_states_are_kept_and_the_texts_they_need(store: BaselineStore) -> None:
    for number in range(store_module.MAX_STATES + 5):
        store.record(state(a=file(digest_of(number))), {digest_of(number): b"%d" % number})
    assert len(store.all()) == store_module.MAX_STATES
    assert store.text(digest_of(0)) is None
    assert len(list((store.directory / "texts").iterdir())) == store_module.MAX_STATES


def test_the_texts_stay_within_their_bound(store: BaselineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MAX_TEXT_BYTES", 3000)
    for number in range(6):
        store.record(state(a=file(digest_of(number))), {digest_of(number): os.urandom(1000)})
    size = sum(path.stat().st_size for path in (store.directory / "texts").iterdir())
    assert size <= 3000
    assert store.text(store.latest().baseline.files["a"].digest) is not None


def test_a_torn_state_does_not_count(store: BaselineStore) -> None:
    for number in (1, 2):
        store.record(state(a=file(digest_of(number))), {})
    newest = store.names()[-1][2]
    newest.write_bytes(newest.read_bytes()[:20])
    assert store.latest().number == 1


def test_a_state_of_a_later_version_does_not_count(store: BaselineStore) -> None:
    store.record(state(), {})
    path = store.names()[-1][2]
    path.write_bytes(msgspec.json.encode({**msgspec.json.decode(path.read_bytes()), "version": 99}))
    assert store.latest() is None


def test_what_a_killed_writer_left_is_removed(store: BaselineStore) -> None:
    store.record(state(a=file(digest_of(1))), {digest_of(1): b"1"})
    left = [store.directory / "states/.000002-x.json.7.tmp", store.directory / "texts/.abc.7.tmp"]
    for path in left:
        path.write_text("half")
    store.record(state(a=file(digest_of(2))), {digest_of(2): b"2"})
    assert [path for path in left if path.exists()] == []


def test_a_link_in_place_of_a_state_or_a_text_is_not_believed_where_it_is_anothers(
    store: BaselineStore,
) -> None:
    store.record(state(a=file(digest_of(1))), {digest_of(1): b"1"})
    text = store.directory / "texts" / f"{digest_of(1)}.z"
    text.unlink()
    text.symlink_to("/dev/zero")
    assert store.text(digest_of(1)) is None


def test_a_directory_that_others_may_write_is_refused(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    store = BaselineStore(shared / "baselines")
    with pytest.raises(BaselineError, match="not used for baselines"):
        store.record(state(), {})
    assert not store.may_write()


def test_a_store_that_others_could_have_written_is_not_read(store: BaselineStore) -> None:
    store.record(state(), {})
    assert store.may_read()
    (store.directory / "states").chmod(0o777)
    assert not store.may_read()
    assert not store.may_write()


def test_why_a_directory_is_refused_is_said_in_chinese_too(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    with pytest.raises(BaselineError) as refused:
        BaselineStore(tmp_path / "shared").mark(Mark(time=1.0))
    assert "任何人都可以写" in refused.value.words.to("zh")


def test_root_is_not_asked_for_where_root_is_no_help(store: BaselineStore) -> None:
    store.directory.write_text("")
    with pytest.raises(BaselineError, match="cannot be written") as refused:
        store.mark(Mark(time=1.0))
    assert "as root" not in str(refused.value)


def test_a_link_that_leads_to_itself_is_no_store(store: BaselineStore) -> None:
    store.directory.mkdir()
    (store.directory / "states").symlink_to("states")
    assert store.all() == []
    with pytest.raises(BaselineError, match="cannot be written"):
        store.record(state(a=file()), {})


def test_a_doctor_that_only_looks_makes_no_store(store: BaselineStore) -> None:
    assert not store.may_write()
    store.record(state(), {})
    assert store.may_write()


def test_a_confirmation_changes_the_time_and_nothing_else(store: BaselineStore) -> None:
    store.record(state(), {})
    path = store.names()[-1][2]
    os.utime(path, (5.0, 5.0))
    before = path.read_bytes()
    stored = store.latest()
    assert stored is not None
    assert stored.confirmed_at == 5.0
    store.confirm(stored)
    assert store.latest().confirmed_at > 1e9
    assert path.read_bytes() == before


def test_marks_are_bounded_and_a_torn_line_costs_no_other(store: BaselineStore) -> None:
    for number in range(store_module.MAX_MARKS + 3):
        store.mark(Mark(time=float(number), text=str(number)))
    path = store.directory / "marks.jsonl"
    path.write_bytes(b"{torn\n" + path.read_bytes())
    marks = store.marks()
    assert len(marks) == store_module.MAX_MARKS
    assert marks[-1].text == str(store_module.MAX_MARKS + 2)
