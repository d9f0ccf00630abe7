"""A change of a file's content for display: a unified diff of text, without secrets."""

from __future__ import annotations

import difflib
import posixpath
from collections.abc import Iterator

from ops.text.language import Text
from ops.text.sanitize import without_controls, without_secrets

MAX_FILE_BYTES = 256 << 10
MAX_LINES = 400
MAX_LINE_CHARS = 500

_PRIVATE = Text(en="content not shown: only its owner may read it", zh="内容不显示：该文件仅属主可读")
_NOT_TEXT = Text(en="content not shown: not a text, or a large one", zh="内容不显示：不是文本，或过大")


def is_private(path: str, *modes: int) -> bool:
    """Whether a file's content is private to its owner: by its mode, before or after, or by its name."""
    name = posixpath.basename(path)
    return (
        any(not mode & 0o007 for mode in modes)
        or name.startswith(("privkey", "private_key"))
        or name.endswith(".key")
    )


def content_difference(
    path: str, before: bytes, after: bytes, modes: tuple[int, ...], *, source: str = "backup"
) -> Iterator[str | Text]:
    """The lines of a unified diff, fit for a terminal, or the reason why there are none. ``source``: what the new
    content comes from, for the diff's heading."""
    if is_private(path, *modes) or b"PRIVATE KEY-----" in before + after:
        yield _PRIVATE
        return
    try:
        old, new = before.decode(), after.decode()
    except UnicodeDecodeError:
        old = new = "\0"
    if "\0" in old + new or max(len(before), len(after)) > MAX_FILE_BYTES:
        yield _NOT_TEXT
        return
    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), f"{path} (now)", f"{path} ({source})", lineterm=""
    )
    for number, line in enumerate(lines):
        if number >= MAX_LINES:
            yield "…"
            return
        yield without_secrets(without_controls(line))[:MAX_LINE_CHARS]
