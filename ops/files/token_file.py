"""A file with the token that clients of a server on loopback must bear."""

from __future__ import annotations

import stat

from ops.errors import SettingsError
from ops.files.bounded_read import read_regular_file
from ops.text.language import Text
from ops.text.reasons import chinese
from ops.text.sanitize import safe_line

_MAX_TOKEN_BYTES = 4096
# Shorter than this it could be guessed.
_MIN_TOKEN_CHARS = 20


def read_token(path: str, setting: str) -> str:
    """The token in a file that only its owner may read. ``setting``: what named the file. Raises SettingsError; the
    error holds no token."""
    name = f"{setting} {safe_line(path, 400)}"
    try:
        file = read_regular_file(path, _MAX_TOKEN_BYTES)
    except (OSError, ValueError) as error:
        why = safe_line(getattr(error, "strerror", None) or str(error), 200)
        raise SettingsError(Text(en=f"{name}: {why}", zh=f"{name}：{chinese(why)}")) from None
    if stat.S_IMODE(file.mode) & 0o077:
        raise SettingsError(
            Text(
                en=f"{name} may be read or written by others: chmod 600",
                zh=f"{name} 可被他人读写：请 chmod 600",
            )
        )
    token = file.content.decode("utf-8", "replace").strip()
    if len(token) < _MIN_TOKEN_CHARS or not token.isascii() or not token.isprintable() or " " in token:
        raise SettingsError(
            Text(
                en=f"{name} must hold one word of {_MIN_TOKEN_CHARS} characters or more",
                zh=f"{name} 须只含一个至少 {_MIN_TOKEN_CHARS} 个字符的令牌",
            )
        )
    return token
