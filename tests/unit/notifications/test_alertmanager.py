"""Alertmanager's JSON as messages: the same trouble has the same key, and nothing of it is trusted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ops.notifications.alertmanager import MAX_ALERTS, WebhookError, messages, read_notification
from ops.notifications.message import MAX_BODY_CHARS, MAX_TITLE_CHARS, MessageKind, bounded

NOW = 1_900_000_000.0


def alert(status: str = "firing", **changes: Any) -> dict[str, Any]:
    return {
        "status": status,
        "labels": {"alertname": "GteSiteDown", "instance": "web1", "severity": "critical"},
        "annotations": {
            "summary": "web1: down",
            "summary_zh": "web1：不可用",
            "runbook_url": "https://w.example/a",
        },
        "startsAt": "2026-11-30T18:00:00.123456789Z",
        "endsAt": "0001-01-01T00:00:00Z",
        **changes,
    }


def read(*alerts: Any, **more: Any) -> Any:
    return messages(read_notification(json.dumps({"version": "4", "alerts": alerts, **more}).encode()), NOW)


def test_an_alert_is_told_in_both_languages_with_its_host_and_page() -> None:
    (message,) = read(alert())
    assert message.kind is MessageKind.PAGE
    assert (message.title.en, message.title.zh) == ("web1: down", "web1：不可用")
    assert "instance=web1" in message.body.en
    assert "https://w.example/a" in message.body.zh


def test_a_warning_pages_nobody() -> None:
    labels = {"alertname": "GteDiskLow", "severity": "warning"}
    assert read(alert(labels=labels))[0].kind is MessageKind.TROUBLE


def test_the_end_of_an_alert_has_its_key_and_comes_first() -> None:
    other = alert(labels={"alertname": "Other", "severity": "warning"})
    first, second = read(other, alert("resolved", endsAt="2026-11-30T18:05:00Z"))
    assert first.kind is MessageKind.RECOVERED
    assert first.key == read(alert())[0].key != second.key
    assert first.title.zh == "已恢复：web1：不可用"
    assert first.at < NOW


@pytest.mark.parametrize(
    "words", ["", "soon", "9999-99-99", "2999-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "\0"]
)
def test_a_time_that_is_none_is_now(words: str) -> None:
    assert read(alert(startsAt=words))[0].at == NOW


def test_what_alertmanager_cut_off_is_said() -> None:
    assert "7 more alerts" in read(alert(), truncatedAlerts=7)[0].body.en


def test_hostile_words_are_bounded_and_never_raw() -> None:
    evil = "\x1b[2J\u202e password=hunter2secret " + "x" * 500_000
    labels = {"alertname": evil, "severity": evil, "token": "ghp_" + "a" * 36}
    (message,) = map(bounded, read(alert(labels=labels, annotations={"summary": evil, "description": evil})))
    for text in (message.title.en, message.title.zh, message.body.en, message.body.zh):
        assert not {"\x1b", "\u202e", "\0"} & set(text)
        assert "hunter2secret" not in text
    assert len(message.title.en) <= MAX_TITLE_CHARS
    assert len(message.body.en) <= MAX_BODY_CHARS
    assert len(message.key) < 50


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"{}",
        b'{"alerts": 3}',
        b'{"alerts": [{"status": "sideways"}]}',
        b'{"alerts": [{"status": "firing", "labels": {"a": 1}}]}',
        b"\xff\xfe",
        b"[" * 100_000,
        json.dumps({"alerts": [alert()] * (MAX_ALERTS + 1)}).encode(),
        json.dumps({"alerts": [alert(labels={f"l{n}": "v" for n in range(200)})]}).encode(),
    ],
)
def test_what_is_not_alertmanagers_is_refused(body: bytes) -> None:
    with pytest.raises(WebhookError):
        read_notification(body)
