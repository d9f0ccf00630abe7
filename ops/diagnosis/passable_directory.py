"""The step that lets a user through a directory, or to a file, that is closed to it."""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath

from ops.facts.files import AccessStep, Reader
from ops.text.language import Text

_HOMES = PurePosixPath("/home")
_ROOT_S = PurePosixPath("/root")


def let_in(step: AccessStep, reader: Reader, right: str = "x") -> str | Text:
    """The command that gives ``reader`` this right (``x`` or ``r``). A sentence for root's directory and for people's
    homes: they are closed by purpose, and chmod would open them to every user of the host."""
    place = shlex.quote(step.path)
    if reader.uid == step.uid:
        return f"chmod u+{right} {place}"
    if not is_somebody_s(step.path):
        return f"chmod o+{right} {place}"
    user = shlex.quote(reader.user)
    return Text(
        en=f"Better move what nginx is to reach out of {step.path}, which is closed on purpose, to /srv, /var/www or"
        f" /run. To let {reader.user} alone in (package acl): setfacl -m u:{user}:{right} {place}",
        zh=f"{step.path} 是有意不对外开放的：最好把 nginx 要访问的内容移到 /srv、/var/www 或 /run。"
        f"也可以只放行 {reader.user}（需要 acl 软件包）：setfacl -m u:{user}:{right} {place}",
    )


def is_somebody_s(path: str) -> bool:
    """Whether a path is root's directory, somebody's home, or in one of them."""
    place = PurePosixPath(path)
    return place.is_relative_to(_ROOT_S) or (place.is_relative_to(_HOMES) and place != _HOMES)
