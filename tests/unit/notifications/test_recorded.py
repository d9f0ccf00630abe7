"""The outbox that the first version's watchdog wrote is read by this one, and its messages are still sent.

Recorded with 0.1.0 (see tests/unit/supervision/test_recorded.py); its one destination refused every connection.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec

from ops.notifications.ledger import due
from ops.notifications.store import Store

RECORDED = Path(__file__).parent / "recorded" / "watchdog-outbox"
DESTINATION = "bbb9a7efa1e63b1dadd3f1ff"


def test_the_first_versions_outbox_is_read(tmp_path: Path) -> None:
    path = tmp_path / "watchdog-outbox"
    shutil.copyfile(RECORDED, path)
    ledger = Store(path).read()
    assert [(entry.number, entry.message.kind) for entry in ledger.entries] == [
        (2, "recovered"),
        (4, "recovered"),
        (5, "page"),
    ]
    first = ledger.entries[0]
    assert (first.message.title.en, first.message.title.zh) == (
        "recovered: a worker is hung",
        "已恢复：有工作进程卡死",
    )
    assert first.began is not None
    assert first.began.kind == "trouble"
    assert first.pending == {DESTINATION: 0}
    assert list(ledger.opened) == ["watchdog"]
    assert ledger.opened["watchdog"].kinds == ["page"]
    assert (ledger.routes[DESTINATION].failures, ledger.routes[DESTINATION].not_before) == (
        1,
        1796019539.169645,
    )
    assert (ledger.next_number, len(ledger.queued_at), ledger.held.count) == (6, 5, 0)


def test_its_messages_are_due_once_the_pause_is_over() -> None:
    ledger = Store(RECORDED).read()
    assert due(ledger, [DESTINATION], 1796019539.0) == ({}, [])
    work, given_up = due(ledger, [DESTINATION], 1796019540.0)
    assert [entry.number for entry in work[DESTINATION]] == [2, 4, 5]
    assert given_up == []


def test_what_is_written_has_the_same_names_and_values() -> None:
    assert json.loads(msgspec.json.encode(Store(RECORDED).read())) == json.loads(RECORDED.read_bytes())
