"""What the watchdog's journal says of messages that cannot be sent as they are configured."""

import io
import json
from pathlib import Path

import pytest

from ops.notifications import notify
from ops.notifications.notify import MessageKind
from ops.settings import NotifySettings
from ops.supervision.alerts import Notifier, WatchdogJournal
from ops.text.language import Text


def _lines(tmp_path: Path, ca_file: str, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    """The journal of a watchdog that has one message to send."""
    # Sending has its own tests, and takes seconds to give up.
    monkeypatch.setattr(notify.Outbox, "deliver", lambda *_arguments: ())
    written = io.StringIO()
    settings = NotifySettings(urls=("json://127.0.0.1:9/",), ca_file=ca_file)
    notifier = Notifier(tmp_path / "outbox.json", settings, "en", WatchdogJournal(written))
    notifier.notify("down", MessageKind.TROUBLE, Text(en="down", zh="down"), Text(en="", zh=""), 0.0)
    notifier.deliver_beside()
    notifier.finish(10)
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_roots_that_are_of_no_use_are_named_before_the_message_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = tmp_path / "roots.pem"
    roots.write_text("not a certificate\n")
    said = [line for line in _lines(tmp_path, str(roots), monkeypatch) if line["event"] == "notify_unusable"]
    assert len(said) == 1
    assert str(roots) in str(said[0]["detail"])


def test_without_further_roots_nothing_is_said_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not [line for line in _lines(tmp_path, "", monkeypatch) if line["event"] == "notify_unusable"]
