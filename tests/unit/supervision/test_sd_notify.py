"""The socket to systemd belongs to the watchdog's own process."""

from __future__ import annotations

import os

import pytest

from ops.supervision.sd_notify import NotifySocket


def test_children_do_not_inherit_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("WATCHDOG_USEC", "180000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    notify = NotifySocket()
    assert notify.is_there
    assert notify.watchdog_seconds == 180.0
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & set(os.environ)
