"""Read logrotate's configuration, match its rules with logs, and decide which logs a rule of ours may rotate.

The language is logrotate(8)'s: one directive a line, paths or patterns before a block, shell between ``postrotate``
and ``endscript``. The parser keeps only what decides whether a log is rotated without losing lines.
"""

from __future__ import annotations

import fnmatch
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import PurePosixPath

import msgspec

from ops.facts.safeguards import RotationRule
from ops.files.ownership import ROOT, PathEntry, distrust, may_write
from ops.text.language import Text
from ops.text.sanitize import safe_line

_SCRIPTS = ("prerotate", "postrotate", "firstaction", "lastaction", "preremove")
# Options that `noX` switches off again (logrotate(8)).
_SWITCHES = (
    "compress",
    "delaycompress",
    "copytruncate",
    "copy",
    "create",
    "sharedscripts",
    "dateext",
    "shred",
    "mail",
    "olddir",
)
# Days between two rotations, by the rule's word for it (logrotate(8)).
_PERIODS = {"hourly": 1, "daily": 1, "weekly": 7, "monthly": 31, "yearly": 366}
# When a log is due: the last of these words holds, and a block's own replaces an inherited one.
_CRITERIA = (*_PERIODS, "size")
# Endings of files that logrotate ignores in an included directory (logrotate(8), tabooext).
TABOO = (
    ",v",
    ".cfsaved",
    ".disabled",
    ".dpkg-bak",
    ".dpkg-del",
    ".dpkg-dist",
    ".dpkg-new",
    ".dpkg-old",
    ".rpmnew",
    ".rpmorig",
    ".rpmsave",
    ".swp",
    ".ucf-dist",
    ".ucf-new",
    ".ucf-old",
    "~",
)


class Parsed(msgspec.Struct):
    """One file: its rules, its global options, and the paths it includes."""

    rules: list[RotationRule] = msgspec.field(default_factory=list)
    options: dict[str, str] = msgspec.field(default_factory=dict)
    includes: list[str] = msgspec.field(default_factory=list)


def parse(text: str, file: str, inherited: dict[str, str]) -> Parsed:
    """Parse ``text``. ``inherited``: the options in force at the place of its include; a block's own override them.

    Never raises: directives that it does not understand are skipped, because checks judge only what was read."""
    result = Parsed(options=dict(inherited))
    patterns: list[str] = []
    lines = _logical_lines(text)
    for number, line in lines:
        if line[0] in "/~\"'" or (patterns and line[0] == "{"):
            before, brace, after = line.partition("{")
            patterns += _words(before)
            if brace:
                result.rules.append(_block(file, number, tuple(patterns), after, lines, result.options))
                patterns = []
            continue
        name, _, value = _directive(line)
        if name == "include":
            result.includes.append(value)
        elif name in _SCRIPTS:
            _script(lines)
        else:
            _set(result.options, name, value)
    return result


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            yield number, stripped


def _block(
    file: str,
    number: int,
    patterns: tuple[str, ...],
    first: str,
    lines: Iterator[tuple[int, str]],
    inherited: dict[str, str],
) -> RotationRule:
    options, scripts = dict(inherited), {}
    line = first.strip()
    while True:
        body, brace, _ = line.partition("}")
        name, _, value = _directive(body.strip())
        if name in _SCRIPTS:
            scripts[name] = _script(lines)
        elif name:
            _set(options, name, value)
        if brace:
            break
        following = next(lines, None)
        if following is None:
            break
        line = following[1]
    return RotationRule(file=file, line=number, patterns=patterns, options=options, scripts=scripts)


def _script(lines: Iterator[tuple[int, str]]) -> str:
    script = []
    for _, line in lines:
        if line == "endscript":
            break
        script.append(line)
    return "\n".join(script)


def _directive(line: str) -> tuple[str, str, str]:
    """Split ``size 1M`` or ``size=1M`` into name, separator and value."""
    match = re.match(r"([A-Za-z]+)(\s*=\s*|\s+|$)(.*)", line)
    return (match[1].lower(), match[2], match[3].strip()) if match else ("", "", "")


def _set(options: dict[str, str], name: str, value: str) -> None:
    if name.startswith("no") and name[2:] in _SWITCHES:
        options.pop(name[2:], None)
        return
    if name in _CRITERIA:
        for other in _CRITERIA:
            options.pop(other, None)
    options[name] = value


def _words(text: str) -> list[str]:
    return [m[1] or m[2] or m[3] or "" for m in re.finditer(r"\"([^\"]*)\"|'([^']*)'|(\S+)", text)]


def covers(rule: RotationRule, log: str) -> bool:
    """Whether one of the rule's patterns matches the path, part by part as in glob(3)."""
    parts = PurePosixPath(log).parts
    return any(_matches(PurePosixPath(pattern).parts, parts) for pattern in rule.patterns)


def _matches(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    return len(pattern) == len(path) and all(
        fnmatch.fnmatchcase(part, glob) and (not part.startswith(".") or glob.startswith("."))
        for part, glob in zip(path, pattern, strict=True)
    )


def covering(rules: Iterable[RotationRule], paths: Iterable[str]) -> tuple[RotationRule, ...]:
    """Return the rules that match any of a log's ``paths`` (as configured, and with links resolved)."""
    names = tuple(paths)
    return tuple(rule for rule in rules if any(covers(rule, name) for name in names))


def tears_lines(rule: RotationRule) -> bool:
    """Whether lines written after the rotation are lost: the file is compressed, and there is no script to make the
    writer open the new one. Measured without a script: 59,685 of 63,000 lines lost."""
    has_script = any(rule.scripts.get(name) for name in ("postrotate", "lastaction"))
    return "compress" in rule.options and "copytruncate" not in rule.options and not has_script


def oldest_line_days(rule: RotationRule) -> int | None:
    """How old a log's first line may be, in days, if the rule has worked at all: three periods, and two days for a host
    that was off. None for a rule by size, which promises no time."""
    if rule.options.keys() & {"size", "minsize"}:
        return None
    periods = [days for name, days in _PERIODS.items() if name in rule.options]
    return 3 * min(periods) + 2 if periods else None


# --- a rule of our own ------------------------------------------------------------------------------------------------

# A path that logrotate reads as one plain name: no blank, quote or brace, no special character of glob(3).
_PLAIN_NAME = re.compile(r"/[A-Za-z0-9_@+=:,./~-]+")
USUAL_MODE = 0o640
_SYSTEM_LOGS = "/var/log"


class RotationAccount(msgspec.Struct, frozen=True):
    """A user and one of its groups: the ids, and the names for logrotate."""

    uid: int
    gid: int
    user: str
    group: str


class LogPlace(msgspec.Struct, frozen=True):
    """The present state of a log and its directory.

    ``directories``: every step to it, links included; ``file``: the log itself, None if it does not exist yet;
    ``links``: the number of its hard links; ``owner``: its owner and group. ``directory_owner``, ``directory_mode``:
    those of its directory."""

    path: str
    directories: tuple[PathEntry, ...]
    directory_owner: RotationAccount
    directory_mode: int
    file: PathEntry | None = None
    links: int = 1
    owner: RotationAccount | None = None


class LogTerms(msgspec.Struct, frozen=True):
    """The mode and owner of a new log (``create MODE OWNER GROUP``; without ``owner`` the old one's), and the user and
    group that logrotate runs as in its directory (``su``)."""

    mode: int = USUAL_MODE
    owner: tuple[str, str] | None = None
    su: tuple[str, str] | None = None


def name_refusal(path: str) -> Text | None:
    """Return the reason why a rule cannot name a log; None if it can."""
    if _PLAIN_NAME.fullmatch(path):
        return None
    return refused(
        repr(path),
        Text(
            en="its name has characters that logrotate gives a meaning",
            zh="名称里有 logrotate 会另作解释的字符",
        ),
    )


def log_terms(
    place: LogPlace,
    namer: int | None,
    trusted: Collection[int],
    writer: RotationAccount | None,
    groups: Sequence[RotationAccount],
    *,
    writer_is_given: bool = False,
) -> LogTerms | Text:
    """Return the terms for a log in our rule, or the reason to leave it out: a user must not get root's logrotate to
    rename or give away a file if that user could not do so itself.

    ``namer``: the user whose process named the log, None if settings did. ``writer``: the user that writes to it, if
    the host shows that; ``writer_is_given``: root's log becomes the writer's anyway (nginx's master does so).
    ``groups``: the log's owner (or ``writer`` if there is no log yet) in each of its groups, the primary one first. A
    log keeps its owner. If other users could replace files in its directory, logrotate runs there as the owner; as root
    only in the system's log directory (`_is_left_to_a_group`)."""
    refusal = name_refusal(place.path) or _file_refusal(place, namer, trusted)
    if refusal is not None:
        return refusal
    owner = place.owner or writer
    exposed = distrust(place.directories, trusted, listed=True)
    if exposed is not None and owner is not None and owner.uid not in trusted:
        there, gids = place.directory_owner, [member.gid for member in groups]
        if may_write(place.directory_mode, there.uid, there.gid, owner.uid, gids):
            # The new log must not go to a group that the user is not in.
            as_whom = next(
                (member for member in groups if member.gid == owner.gid), next(iter(groups), owner)
            )
            own = (as_whom.user, as_whom.group)
            return LogTerms(_mode(place.file), own, own)
    if place.owner is None and namer is not None and namer not in trusted:
        return refused(
            place.path,
            Text(
                en=f"it is not there, and user {namer} cannot make it",
                zh=f"文件不存在，而用户 {namer} 无权在那里创建",
            ),
        )
    terms = _among_roots(place, writer if writer_is_given else None)
    if exposed is None:
        return terms
    if _is_left_to_a_group(place, trusted):
        return msgspec.structs.replace(terms, su=("root", place.directory_owner.group))
    return refused(
        place.path,
        Text(
            en=f"logrotate would work as root where {exposed}",
            zh=f"logrotate 会以 root 身份在他人可改动的目录里操作：{exposed}",
        ),
    )


def _file_refusal(place: LogPlace, namer: int | None, trusted: Collection[int]) -> Text | None:
    steps = (*place.directories, *((place.file,) if place.file else ()))
    link = next((e for e in steps if stat.S_ISLNK(e.mode) and e.uid not in trusted), None)
    why = None
    if link is not None:
        why = Text(
            en=f"user {link.uid} made the link {link.path}", zh=f"链接 {link.path} 由用户 {link.uid} 创建"
        )
    elif place.file is None:
        return None
    elif not stat.S_ISREG(place.file.mode):
        why = Text(en="it is no regular file", zh="不是普通文件")
    elif place.links > 1:
        why = Text(en="the file has several names", zh="文件有多个硬链接")
    elif namer is not None and namer not in trusted and namer != place.file.uid:
        why = Text(
            en=f"user {namer} names a file of user {place.file.uid}",
            zh=f"用户 {namer} 指名的文件属于用户 {place.file.uid}",
        )
    return refused(place.path, why) if why else None


def _among_roots(place: LogPlace, account: RotationAccount | None) -> LogTerms:
    """Return the terms if no other user can replace the file. ``account``: the user that gets root's log anyway."""
    if account is not None and (place.owner is None or place.owner.uid == ROOT):
        return LogTerms(USUAL_MODE, (account.user, account.group))
    return LogTerms(_mode(place.file), (place.owner.user, place.owner.group) if place.owner else None)


def _is_left_to_a_group(place: LogPlace, trusted: Collection[int]) -> bool:
    """Whether the log is in the system's log directory, and only root and that directory's group may write there:
    Ubuntu's belongs to the group syslog, and its logrotate.conf has `su root adm`."""
    return (
        place.directories[-1].path == _SYSTEM_LOGS
        and place.directory_owner.uid == ROOT
        and not place.directory_mode & stat.S_IWOTH
        and distrust(place.directories[:-1], trusted) is None
    )


def _mode(file: PathEntry | None) -> int:
    """Return the log's mode without rights for others; its owner may read and write."""
    return USUAL_MODE if file is None else stat.S_IMODE(file.mode) & 0o660 | 0o600


def refused(path: str, why: Text) -> Text:
    """Return the line that explains why our rule leaves a log out."""
    name = safe_line(path)
    return Text(en=f"{name} is not rotated: {safe_line(why.en)}", zh=f"不轮转 {name}：{safe_line(why.zh)}")
