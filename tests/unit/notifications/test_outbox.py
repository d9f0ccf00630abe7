"""The outbox around its rules: the file, what happens where it cannot be used, and the deadline."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ops.notifications.delivery_result import ACCEPTED, DeliveryOutcome, DeliveryResult
from ops.notifications.message import MessageKind
from ops.notifications.notify import Message
from ops.notifications.outbox import Outbox

# ?None
from ops.notifications.worker import Report, Round
from ops.text.language import Text, verbatim

URLS = ("dingtalk://SECtopsecret@TokenToken", "feishu://OtherToken-1")
NOW = 1_795_300_000.0


def message(
    key: str = "GUN003", kind: MessageKind = MessageKind.TROUBLE, at: float = NOW, body: str = "proof"
) -> Message:
    return Message(key, kind, Text(en=f"{kind} {key}", zh=f"{kind} {key}"), verbatim(body), at)


class Post:
    """Stands for the process that sends: answers by URL, and remembers."""

    def __init__(self, **verdicts: DeliveryResult | None) -> None:
        self.verdicts = verdicts
        self.sent: list[tuple[str, str, str]] = []

    def __call__(self, work: Round, report: Callable[[Report], None]) -> None:
        for url, letters in work.routes:
            verdict = self.verdicts.get(url.partition(":")[0], ACCEPTED)
            for letter in letters:
                if verdict is None:
                    break
                self.sent.append((url, letter.title, letter.body))
                report(Report(letter.number, verdict, 0.1))
                if verdict.outcome == "failed":
                    break


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "outbox.json"


def test_a_message_waits_across_runs_and_is_delivered_once(path: Path) -> None:
    assert Outbox(path, URLS, "en").add(message(), NOW) == "queued"
    post = Post()
    deliveries = Outbox(path, URLS, "en", send=post).deliver(NOW, NOW + 10)
    assert [(item.index, item.outcome, item.destination) for item in deliveries] == [
        (0, "accepted", "dingtalk://***"),
        (1, "accepted", "feishu://***"),
    ]
    assert Outbox(path, URLS, "en", send=post).deliver(NOW + 99, NOW + 109) == ()
    assert len(post.sent) == 2
    assert post.sent[0][1] == "[gte-ops] trouble GUN003"


def test_the_file_is_private_and_holds_no_url(path: Path) -> None:
    outbox = Outbox(
        path, URLS, "en", send=Post(dingtalk=DeliveryResult(DeliveryOutcome.FAILED, verbatim("HTTP 502")))
    )
    outbox.add(message(body="password=hunter22 \x1b[2J"), NOW)
    outbox.deliver(NOW, NOW + 10)
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        for secret in ("SECtopsecret", "TokenToken", "OtherToken", "hunter22", "dingtalk:", "\x1b"):
            assert secret.encode() not in file.read_bytes()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "torn", [b"", b"{", b"[]", b"\xff\xfe", b'{"version":9}', b'{"entries":[{"number":"x"}]}', b"[" * 100_000]
)
def test_a_torn_file_is_set_aside_and_reported(path: Path, torn: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(torn)
    outbox = Outbox(path, URLS, "en", send=Post())
    outbox.deliver(NOW, NOW + 10)
    assert outbox.add(message(), NOW) == "queued"
    (aside,) = path.parent.glob("*.torn-*")
    assert aside.read_bytes() == torn
    (problem,) = outbox.problems()
    assert "set aside" in problem.en
    assert outbox.problems() == ()
    assert len(outbox.deliver(NOW, NOW + 10)) == 2


def test_torn_files_do_not_pile_up(path: Path) -> None:
    path.parent.mkdir()
    for n in range(12):
        (path.parent / f"outbox.json.torn-{n}").write_bytes(b"x")
    path.write_bytes(b"x")
    Outbox(path, URLS, "en").add(message(), NOW)
    assert len(list(path.parent.glob("*.torn-*"))) == 5


def test_where_nothing_can_be_written_people_are_told_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the directory should be")
    post = Post()
    outbox = Outbox(tmp_path / "state" / "outbox.json", URLS, "en", send=post)
    assert outbox.add(message(), NOW) == "queued"
    assert outbox.add(message(), NOW) == "known"
    assert [item.outcome for item in outbox.deliver(NOW, NOW + 10)] == ["accepted", "accepted"]
    assert outbox.deliver(NOW, NOW + 10) == ()
    (problem,) = outbox.problems()
    assert "sent from memory" in problem.en


def test_a_disk_that_was_full_gets_the_state_once_it_has_room(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = Outbox(path, URLS, "en", send=Post())
    real = os.fsync

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    outbox.add(message("ONE"), NOW)
    assert not path.exists()
    assert "No space left" in outbox.problems()[0].en
    monkeypatch.setattr(os, "fsync", real)
    outbox.add(message("TWO"), NOW)
    assert Outbox(path, URLS, "en").waiting() == 2
    assert [name.name for name in path.parent.iterdir() if name.suffix == ".new"] == []


def test_who_is_not_accepted_in_time_is_tried_again(path: Path) -> None:
    outbox = Outbox(path, URLS, "en", send=Post(dingtalk=None))
    outbox.add(message("ONE"), NOW)
    outbox.add(message("TWO"), NOW)
    by_index: dict[int, list[Any]] = {}
    for item in outbox.deliver(NOW, NOW + 10):
        by_index.setdefault(item.index, []).append(item)
    (hung,) = by_index[0]
    assert (hung.outcome, hung.key) == ("failed", "ONE")
    assert NOW + 14 < hung.retry_at < NOW + 40
    assert "no answer" in hung.reason.en
    assert [item.outcome for item in by_index[1]] == ["accepted", "accepted"]
    assert outbox.deliver(NOW + 5, NOW + 15) == ()


def test_a_recovery_tells_the_trouble_to_who_has_not_heard_of_it(path: Path) -> None:
    down = Post(dingtalk=DeliveryResult(DeliveryOutcome.FAILED, verbatim("HTTP 502")))
    outbox = Outbox(path, URLS, "zh", send=down)
    outbox.add(message(body="worker 4711 hangs"), NOW)
    outbox.deliver(NOW, NOW + 10)
    up = Post()
    outbox = Outbox(path, URLS, "zh", send=up)
    outbox.add(message(kind=MessageKind.RECOVERED, at=NOW + 600, body="replaced"), NOW + 600)
    outbox.deliver(NOW + 600, NOW + 610)
    (ding,) = [body for url, _, body in up.sent if url.startswith("dingtalk")]
    (feishu,) = [body for url, _, body in up.sent if url.startswith("feishu")]
    assert "worker 4711 hangs" in ding
    assert "worker 4711 hangs" not in feishu
    assert "replaced" in ding
    assert "replaced" in feishu


def test_a_late_message_says_that_it_is_late(path: Path) -> None:
    post = Post()
    outbox = Outbox(path, URLS[:1], "en", send=post)
    outbox.add(message(), NOW)
    outbox.deliver(NOW + 7200, NOW + 7210)
    assert "delivered 2h late" in post.sent[0][2]


def test_too_little_time_is_not_begun(path: Path) -> None:
    outbox = Outbox(path, URLS, "en", send=Post())
    outbox.add(message(), NOW)
    assert outbox.deliver(NOW, NOW + 1) == ()
    assert outbox.deliver(NOW, NOW - 100) == ()
    assert len(outbox.deliver(NOW, NOW + 10)) == 2


def test_while_one_delivers_another_neither_waits_nor_delivers(path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(work: Round, report: Callable[[Report], None]) -> None:
        begun.set()
        go_on.wait(10)
        Post()(work, report)

    first, second = Outbox(path, URLS, "en", send=slow), Outbox(path, URLS, "en", send=Post())
    first.add(message("ONE"), NOW)
    results = []
    thread = threading.Thread(target=lambda: results.append(first.deliver(NOW, NOW + 10)))
    thread.start()
    assert begun.wait(10)
    started = time.monotonic()
    assert second.add(message("TWO"), NOW) == "queued"
    assert second.deliver(NOW, NOW + 10) == ()
    assert time.monotonic() - started < 5
    go_on.set()
    thread.join()
    assert [item.key for item in results[0]] == ["ONE", "ONE"]
    assert [item.key for item in second.deliver(NOW, NOW + 10)] == ["TWO", "TWO"]


def test_a_process_that_cannot_be_started_is_a_failure_not_a_crash(path: Path) -> None:
    def none_left(_work: Round, _report: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    outbox = Outbox(path, URLS, "en", send=none_left)
    outbox.add(message(), NOW)
    deliveries = outbox.deliver(NOW, NOW + 10)
    assert {item.outcome for item in deliveries} == {"failed"}
    assert "Resource temporarily unavailable" in deliveries[0].reason.en


def test_no_destination_no_file(path: Path) -> None:
    outbox = Outbox(path, (), "en")
    assert outbox.add(message(), NOW) == "no-destination"
    assert outbox.deliver(NOW, NOW + 10) == ()
    assert not path.parent.exists()


def test_the_state_is_one_json_document(path: Path) -> None:
    Outbox(path, URLS, "en").add(message(), NOW)
    assert json.loads(path.read_bytes())["version"] == 1
