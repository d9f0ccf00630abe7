"""A program's lines in /var/log/syslog or messages, as if it had a log file of its own."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ops.collect.logs.tail import LogTail

# The default files of rsyslog and syslog-ng: Debian's, then Red Hat's.
PLACES = ("/var/log/syslog", "/var/log/messages")
# The time stamps of RFC 3164 and RFC 5424; nginx repeats the host in the messages that it sends to /dev/log.
_LINE = re.compile(
    rb"(?:<\d{1,3}>)?(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)) (\S+) "
    rb"(?:\1 )?([^\s\[:]{1,80})(?:\[(\d{1,10})\])?: ?(.*)",
    re.DOTALL,
)


@dataclass
class SyslogTail:
    """A program's lines newest first, like `LogTail`. ``tags``: its names in the file, ``pids``: its processes.

    Raises OSError or ValueError if the file cannot be read."""

    file: str
    since: float
    limit: int
    tags: Sequence[str]
    pids: Collection[int] = ()
    path: str = ""
    _tail: LogTail = field(init=False)

    def __post_init__(self) -> None:
        self._tail = LogTail(self.file, self.since, self.limit)
        self.path = self.file

    @property
    def size(self) -> int:
        """The file's size, bytes."""
        return self._tail.size

    @property
    def modified(self) -> float:
        """When the file was last written to (Unix seconds)."""
        return self._tail.modified

    @property
    def is_whole(self) -> bool:
        """As `LogTail.is_whole`."""
        return self._tail.is_whole

    def lines(self) -> Iterator[bytes]:
        """Each of the program's lines, newest first, without the prefix that syslog adds."""
        for line in self._tail.lines():
            yield from syslog_line(line, self.tags, self.pids)


def syslog_line(line: bytes, tags: Sequence[str], pids: Collection[int]) -> list[bytes]:
    """The program's own lines in one line of the file, newest first; none if it is another program's."""
    match = _LINE.match(line)
    if match is None:
        return []
    tag = match[2].decode("utf-8", "replace")
    is_ours = any(tag == own_tag or tag.startswith(f"{own_tag}.") for own_tag in tags)
    if not is_ours and not (match[3] is not None and int(match[3]) in pids):
        return []
    # rsyslog writes control characters as # and three octal digits (its parser.escapeControlCharactersOnReceive).
    return list(reversed(match[4].replace(b"#011", b"\t").split(b"#012")))


def syslog_file() -> str | None:
    """The file that this host's syslog writes; None if there is none."""
    return next((place for place in PLACES if Path(place).is_file()), None)
