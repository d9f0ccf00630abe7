"""Notifying systemd of the watchdog's progress (sd_notify(3)), without its library: one datagram each."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from ops.text.sanitize import safe_line

_OWN_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class NotifySocket:
    """The socket named in $NOTIFY_SOCKET; without it, every call does nothing. The variables are removed from this
    process's environment, so that its children do not inherit them."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        values = dict(os.environ) if environ is None else environ
        if environ is None:
            # No child of the watchdog speaks for it (sd_notify(3), unset_environment).
            for variable in _OWN_VARIABLES:
                os.environ.pop(variable, None)
        name = values.get("NOTIFY_SOCKET", "")
        # An at sign stands for the zero byte of an abstract socket (sd_notify(3), Environment).
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self.watchdog_seconds = _watchdog_seconds(values)

    @property
    def is_there(self) -> bool:
        """Whether systemd wants notifications."""
        return bool(self._address)

    def ready(self) -> None:
        """The first cycle is complete: the watchdog is up."""
        self._send("READY=1")

    def status(self, words: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={safe_line(words, 200)}")

    def alive(self) -> None:
        """A cycle has completed: the watchdog does not hang."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """The configuration is being read again (Type=notify-reload wants the moment too)."""
        self._send("RELOADING=1")

    def stopping(self) -> None:
        """An orderly end has begun."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(1.0)
                sock.sendto(message.encode(), self._address)
        except OSError:
            return  # nobody listens any more; the watchdog's work goes on


def _watchdog_seconds(values: Mapping[str, str]) -> float | None:
    """How long systemd waits for a sign of life, seconds ($WATCHDOG_USEC, if $WATCHDOG_PID is this process)."""
    pid = values.get("WATCHDOG_PID")
    if pid and pid != str(os.getpid()):
        return None
    try:
        return int(values["WATCHDOG_USEC"]) / 1e6 or None
    except (KeyError, ValueError):
        return None
