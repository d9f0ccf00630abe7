"""The place of a failed start on this host, and the words that the steps against it share."""

from __future__ import annotations

import re
import shlex

import msgspec

from ops.facts.start import LastStart
from ops.interpret.start_failure.import_rules import requirement_of
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


def python_of(last: LastStart, place: StartPlace) -> str:
    """The interpreter that the lines of the last start show, else the service's, as a command."""
    return shlex.quote(last.interpreter) if last.interpreter else place.python


def of_package(module: str, python: str) -> Text:
    """How to install the package of a module that the requirements do not name: by its name on PyPI where that is
    known. Another's name is not guessed, for whoever registered it would run code as whoever installs it."""
    install = f"{python} -m pip install"
    if known := requirement_of(module):
        return Text(
            f"If {module} is a package's: install it for the service's own interpreter, for PyPI's {known}: "
            f"{install} {shlex.quote(known)}",
            f"如果 {module} 来自第三方包：用服务自己的解释器安装，PyPI 上的 {known}：{install} {shlex.quote(known)}",
        )
    return Text(
        f"If {module} is a package's: look up which one has it (the application's documentation, pip freeze where it "
        f"works), for it may be called otherwise; {install} {module} only if that is its name",
        f"如果 {module} 来自第三方包：先查清是哪个包（应用的文档，或在能用的环境里 pip freeze），包名可能不同；"
        f"确认同名后才用 {install} {module}",
    )


def show_line(where: str | None) -> tuple[Text, ...]:
    """Return the command that shows the line ``where``."""
    path, _, line = (where or "").rpartition(":")
    if not line.isdigit() or not path.startswith("/"):
        return ()
    return (verbatim(f"sed -n {line}p {shlex.quote(path)}"),)
