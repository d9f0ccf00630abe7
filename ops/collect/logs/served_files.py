"""What nginx's workers send of files that users asked for: bytes of another charset than is said, files replaced since.

Only looked at where the configuration has `charset` or `open_file_cache`. Sources: nginx documentation,
ngx_http_charset_module, ngx_http_core_module (open_file_cache); proc(5), fd."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from ops.collect.logs.packed_files import PackedPlace
from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog
from ops.facts.traffic import HeldFile, TextFile
from ops.files.bounded_read import read_regular_file

MAX_FILES = 20
MAX_BYTES = 1 << 20
MAX_DESCRIPTORS = 4096
DELETED = " (deleted)"
OTHER = "other"
_TEXTS = (".html", ".htm", ".txt", ".xml", ".js")
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")


def asked_files(places: Iterable[PackedPlace], log: AccessLog | NotSeen) -> dict[str, str]:
    """The files that users were sent, by the path of their requests."""
    found = tuple(places)
    if not found or not isinstance(log, AccessLog) or log.traffic is None:
        return {}
    files: dict[str, str] = {}
    for item in log.traffic.answers:
        path = item.path
        place = max(
            (p for p in found if path.startswith(p.prefix)), key=lambda p: len(p.prefix), default=None
        )
        if (
            place is None
            or item.method != "GET"
            or item.status not in ("200", "304")
            or "*" in path
            or ".." in path
        ):
            continue
        files[path] = place.file(path) + ("index.html" if path.endswith("/") else "")
        if len(files) >= MAX_FILES:
            break
    return files


def text_files(files: dict[str, str]) -> tuple[TextFile, ...]:
    """Those of ``files`` whose bytes tell their encoding."""
    found = (
        TextFile(request_path=asked, path=path, encoding=encoding)
        for asked, path in files.items()
        if path.endswith(_TEXTS) and (encoding := _encoding(path))
    )
    return tuple(found)


def _encoding(path: str) -> str:
    """The encoding that the file's bytes have beyond doubt, OTHER if all that is certain is that it is not UTF-8; empty
    without one. A byte order mark goes before what the header says (HTML standard, 'determining the character
    encoding')."""
    try:
        content = read_regular_file(path, MAX_BYTES).content
    except (OSError, ValueError):
        return ""
    if content.isascii() or content.startswith(_MARKS) or len(content) >= MAX_BYTES:
        return ""
    if _is(content, "utf-8"):
        return "utf-8"
    # A few damaged bytes make no other encoding of it.
    read = content.decode("utf-8", "ignore").encode()
    if 2 * _marked(read) > _marked(content) or not _is(content, "gb18030"):
        return ""
    return "gb18030" if _is_common_chinese(content) else OTHER


def _is(content: bytes, encoding: str) -> bool:
    try:
        content.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _marked(content: bytes) -> int:
    return sum(byte >= 0x80 for byte in content)


def _is_common_chinese(content: bytes) -> bool:
    """Whether all is what Chinese is mostly written with (GB 2312: punctuation, the first level of Han), some of it
    from its second half, where Korean (EUC-KR) has nothing. Bytes of Big5, Shift JIS and EUC-JP make rare characters
    or kana."""
    pairs = [char.encode("gb18030") for char in content.decode("gb18030", "replace") if not char.isascii()]
    return all(
        len(pair) == 2 and pair[1] >= 0xA1 and (0xA1 <= pair[0] <= 0xA3 or 0xB0 <= pair[0] <= 0xD7)
        for pair in pairs
    ) and any(0xC9 <= pair[0] <= 0xD7 for pair in pairs)


def held_files(files: dict[str, str], workers: Iterable[int]) -> tuple[HeldFile, ...]:
    """Those of ``files`` that a worker of nginx holds open as they were: another lies at the path by now."""
    asked = {path: request for request, path in files.items()}
    held: dict[str, HeldFile] = {}
    for pid in workers if asked else ():
        for path in _deleted(pid):
            if path not in asked or path in held:
                continue
            try:
                status = os.stat(path)  # noqa: PTH116  one call, one fact
            except OSError:
                continue  # nothing lies there now
            held[path] = HeldFile(
                request_path=asked[path], path=path, pid=pid, age=max(0.0, time.time() - status.st_ctime)
            )
    return tuple(held.values())


def _deleted(pid: int) -> Iterator[str]:
    folder = Path(f"/proc/{pid}/fd")
    try:
        names = os.listdir(folder)  # noqa: PTH208  only names
    except OSError:
        return
    for name in names[:MAX_DESCRIPTORS]:
        try:
            link = os.readlink(folder / name)  # noqa: PTH115  not a path: it ends in " (deleted)"
        except OSError:
            continue
        if link.endswith(DELETED):
            yield link.removesuffix(DELETED)
