"""The place of a failed start on this host, and the words that the steps against it share."""

from __future__ import annotations

import re
import shlex

import msgspec

from ops.text.language import Text, verbatim

_UNIT = re.compile(r"systemctl (?:start|restart) ([\w.@:-]+)$")


class StartPlace(msgspec.Struct, frozen=True):
    """The start of the service on this host.

    ``start``: the command; ``begin``: the command to use after the fix, a restart if a master still runs; ``python``:
    the interpreter as a command; ``config``: gunicorn's configuration file."""

    start: str
    begin: str
    app_dir: str
    python: str
    wsgi: str
    config: str | None = None
    pidfile: str | None = None
    backend: str = ""
    listeners: str = ""

    @property
    def unit(self) -> str | None:
        """The systemd unit that starts the service; None without one."""
        match = _UNIT.match(self.start)
        return match[1] if match else None

    @property
    def script(self) -> str | None:
        """The script that starts the service; None without one."""
        try:
            words = shlex.split(self.start)
        except ValueError:
            return None
        return next((w for w in words if w.endswith(".sh") and w.startswith("/")), None)


def setting_words(place: StartPlace, name: str) -> Text:
    """Return the words for a setting of gunicorn's and its file."""
    file = place.config or place.start
    return Text(en=f"{name} in {file}", zh=f"{file} 里的 {name}")


def show_line(where: str | None) -> tuple[Text, ...]:
    """Return the command that shows the line ``where``."""
    path, _, line = (where or "").rpartition(":")
    if not line.isdigit() or not path.startswith("/"):
        return ()
    return (verbatim(f"sed -n {line}p {shlex.quote(path)}"),)
