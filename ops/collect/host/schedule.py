"""The programs that this host starts by itself: cron entries, systemd timers, and services enabled at boot.

The files are parsed as cron and systemd do, as far as needed to tell whether anything runs a command: crontab(5),
cron(8) of Debian, run-parts(8), systemd.unit(5), systemd.timer(5). Nothing is executed.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from ops.facts.base import NotSeen
from ops.facts.safeguards import BootService, CronEntry, Schedule, Timer, WatchedUnit
from ops.files.bounded_read import read_regular_file
from ops.settings import ScheduleSettings
from ops.text.sanitize import safe_line, safe_text

MAX_FILE_BYTES = 256 << 10
# Names listed in one directory; Debian's /lib/systemd/system has about three hundred.
MAX_NAMES = 3000
MAX_ENTRIES = 500
MAX_ENTRIES_OF_FILE = 100
MAX_COMMAND_CHARS = 1000
MAX_SCRIPT_CHARS = 2000

_ASSIGNMENT = re.compile(r"^\s*[A-Za-z_][A-Za-z0-9_]*\s*=")
_NICKNAME = re.compile(r"^@(?:reboot|yearly|annually|monthly|weekly|daily|midnight|hourly)$")
# cron and run-parts skip other names: gte-ops.dpkg-old, gte-ops.toml.
_RUN_PARTS_NAME = re.compile(r"^[A-Za-z0-9_-]+$")
_RUN_PARTS = re.compile(r"\brun-parts(?:\s{1,40}-\S{1,100}){0,8}\s{1,40}(/[^\s;|&)}]+)")
_SHELL = re.compile(rb"^#!\s*/\S*(?:sh|env\s+\w*sh)\b")
_WANTS = (".wants", ".requires", ".upholds")


def schedule(settings: ScheduleSettings, *, has_watchdog: bool = False) -> Schedule:
    """Everything in the places that settings name. ``has_watchdog``: units with WatchdogSec= too. ``unseen`` lists the
    places that could not be read."""
    unseen: list[NotSeen] = []
    cron: list[CronEntry] = []
    for place in settings.cron:
        cron.extend(itertools.islice(_cron_place(place, unseen), MAX_ENTRIES - len(cron)))
    units = _Units.found(settings.systemd, unseen)
    return Schedule(
        cron=tuple(cron),
        timers=tuple(_timers(units)),
        services=tuple(_boot_services(units)),
        watched=tuple(_watched(units)) if has_watchdog else (),
        unseen=tuple(unseen),
    )


class ServiceUnit(NamedTuple):
    """A service's unit: its name, its file, the commands of ExecStart and the working directory (empty: none)."""

    name: str
    file: str
    commands: tuple[str, ...]
    directory: str


def service_units(places: Sequence[str]) -> Iterator[ServiceUnit]:
    """Yield every service of ``places``, the directories of unit files, whether enabled or not."""
    units = _Units.found(places, [])
    for name in sorted(units.files)[:MAX_NAMES]:
        if name.endswith(".service") and not units.is_masked(name):
            directory = units.values(name).get("Service.WorkingDirectory", [""])[-1].lstrip("-")
            yield ServiceUnit(name, str(units.files[name]), units.commands(name), directory)


# --- cron ---


def _cron_place(place: str, unseen: list[NotSeen]) -> Iterator[CronEntry]:
    try:
        names = sorted(os.listdir(place))[:MAX_NAMES]  # noqa: PTH208  only names are needed
    except NotADirectoryError:
        yield from _crontab(place, _is_users_own(Path(place).parent), unseen)
        return
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        unseen.append(_not_seen(place, error))
        return
    own = _is_users_own(Path(place))
    for name in names:
        if own or _RUN_PARTS_NAME.match(name):
            yield from _crontab(str(Path(place) / name), own, unseen)


def _is_users_own(directory: Path) -> bool:
    """Whether the files of ``directory`` are users' crontabs: named after the user, without a user column."""
    return directory.name == "crontabs" or directory.parts[-2:] == ("spool", "cron")


def _crontab(path: str, users_own: bool, unseen: list[NotSeen]) -> Iterator[CronEntry]:
    text, count = _text(path, unseen), 0
    for number, line in enumerate(text.splitlines(), 1):
        entry = parse_cron_line(line, path, number, users_own)
        if entry is None:
            continue
        count += 1
        if count > MAX_ENTRIES_OF_FILE:
            unseen.append(NotSeen(reason=safe_line(f"{path}: more than {MAX_ENTRIES_OF_FILE} entries")))
            return
        parts = _RUN_PARTS.search(entry.command)
        if parts:
            yield from _run_parts(parts[1], entry, unseen)
        yield entry


def parse_cron_line(line: str, path: str, number: int, users_own: bool) -> CronEntry | None:
    """Parse one line of a crontab; None for a comment, a variable, or a line that cron rejects.

    ``users_own``: a user's crontab, which has no user column."""
    words = line.strip()
    if not words or words.startswith("#") or _ASSIGNMENT.match(words):
        return None
    fields = words.split(None, 1 if words.startswith("@") else 5)
    count = 1 if words.startswith("@") else 5
    if len(fields) <= count or (count == 1 and not _NICKNAME.match(fields[0])):
        return None
    when, rest = " ".join(fields[:count]), fields[count]
    user = Path(path).name
    if not users_own:
        parts = rest.split(None, 1)
        if len(parts) < 2:
            return None
        user, rest = parts
    # An unescaped % ends the command; the rest is its standard input (crontab(5)).
    command = re.split(r"(?<!\\)%", rest, maxsplit=1)[0].replace("\\%", "%").strip()
    return CronEntry(
        file=path,
        line=number,
        when=safe_line(when, 100),
        user=safe_line(user, 100),
        command=safe_line(command, MAX_COMMAND_CHARS),
        script=_script_of(command),
    )


def _run_parts(directory: str, caller: CronEntry, unseen: list[NotSeen]) -> Iterator[CronEntry]:
    """The scripts that an entry runs through run-parts (/etc/cron.daily), as separate entries."""
    try:
        names = sorted(os.listdir(directory))[:MAX_NAMES]  # noqa: PTH208
    except FileNotFoundError:
        return
    except OSError as error:
        unseen.append(_not_seen(directory, error))
        return
    for name in names:
        path = Path(directory) / name
        if _RUN_PARTS_NAME.match(name) and os.access(path, os.X_OK):
            yield CronEntry(
                file=str(path),
                line=1,
                when=caller.when,
                user=caller.user,
                command=safe_line(str(path), MAX_COMMAND_CHARS),
                script=_script(str(path)),
            )


def _script_of(command: str) -> str:
    """The script that a command runs directly or through a shell; empty if there is none."""
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    paths = [word for word in words[:4] if word.startswith("/")]
    return next((script for path in paths[:2] if (script := _script(path))), "")


def _script(path: str) -> str:
    """The beginning of the shell script ``path`` without comments; empty for a binary or an unreadable file."""
    try:
        content = read_regular_file(path, MAX_FILE_BYTES).content
    except (OSError, ValueError):
        return ""
    if not _SHELL.match(content):
        return ""
    lines = (line.strip() for line in content.decode("utf-8", "replace").splitlines())
    return safe_text("\n".join(line for line in lines if line and line[0] != "#"), MAX_SCRIPT_CHARS)


# --- systemd ---


class _Units(msgspec.Struct):
    """Unit files by name (the first directory wins, as in systemd's load path), and the names of enabled units."""

    files: dict[str, Path] = msgspec.field(default_factory=dict)
    drop_ins: dict[str, list[Path]] = msgspec.field(default_factory=dict)
    enabled: set[str] = msgspec.field(default_factory=set)
    unseen: list[NotSeen] = msgspec.field(default_factory=list)

    @classmethod
    def found(cls, places: Sequence[str], unseen: list[NotSeen]) -> _Units:
        units = cls(unseen=unseen)
        for place in places:
            for path in units._listed(Path(place)):
                name = path.name
                if name.endswith((".timer", ".service")):
                    units.files.setdefault(name, path)
                elif name.endswith(_WANTS):
                    units.enabled.update(link.name for link in units._listed(path))
                elif name.endswith((".timer.d", ".service.d")):
                    units.drop_ins.setdefault(name.removesuffix(".d"), []).extend(
                        extra for extra in units._listed(path) if extra.suffix == ".conf"
                    )
        return units

    def _listed(self, directory: Path) -> list[Path]:
        try:
            return [directory / name for name in sorted(os.listdir(directory))[:MAX_NAMES]]  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            return []
        except (OSError, ValueError) as error:
            self.unseen.append(_not_seen(str(directory), error))
            return []

    def is_masked(self, name: str) -> bool:
        """Whether the unit is linked to /dev/null (systemctl mask)."""
        try:
            return name in self.files and self.files[name].readlink() == Path("/dev/null")
        except OSError:
            return False

    def values(self, name: str) -> dict[str, list[str]]:
        """The assignments of a unit with its drop-ins, by ``Section.Key``; an empty value resets the earlier ones."""
        paths = [self.files[name]] if name in self.files else []
        values: dict[str, list[str]] = {}
        for path in (*paths, *self.drop_ins.get(name, ())):
            for key, value in parse_unit(_text(str(path), self.unseen)):
                if value:
                    values.setdefault(key, []).append(value)
                else:
                    values.pop(key, None)
        return values

    def commands(self, name: str) -> tuple[str, ...]:
        """The commands that the service runs, without the prefixes of ExecStart (systemd.service(5))."""
        return tuple(
            safe_line(command.lstrip("@-:+!"), MAX_COMMAND_CHARS)
            for command in self.values(name).get("Service.ExecStart", ())
        )


def parse_unit(text: str) -> Iterator[tuple[str, str]]:
    """``Section.Key`` and the value of each assignment in a unit file; continued lines are joined."""
    section = ""
    for line in re.sub(r"\\\r?\n\s*", " ", text).splitlines():
        words = line.strip()
        if words.startswith("[") and words.endswith("]"):
            section = words[1:-1]
        elif words and words[0] not in "#;":
            key, equals, value = words.partition("=")
            if equals:
                yield f"{section}.{key.strip()}", value.strip()


def _timers(units: _Units) -> Iterator[Timer]:
    for name in sorted(units.files)[:MAX_NAMES]:
        if not name.endswith(".timer") or "@" in name:
            continue
        values = units.values(name)
        service = (values.get("Timer.Unit") or [name.removesuffix(".timer") + ".service"])[-1]
        commands = units.commands(service)
        yield Timer(
            name=safe_line(name, 200),
            file=str(units.files[name]),
            enabled=name in units.enabled and not units.is_masked(name) and not units.is_masked(service),
            when=tuple(
                safe_line(f"{key.removeprefix('Timer.')}={value}", 200)
                for key, texts in values.items()
                if key.startswith("Timer.On")
                for value in texts
            ),
            service=safe_line(service, 200),
            commands=commands,
            scripts=tuple(script for command in commands if (script := _script_of(command))),
        )


def _boot_services(units: _Units) -> Iterator[BootService]:
    for name in sorted(units.enabled)[:MAX_ENTRIES]:
        if name.endswith(".service") and name in units.files and not units.is_masked(name):
            yield BootService(
                name=safe_line(name, 200), file=str(units.files[name]), commands=units.commands(name)
            )


def _watched(units: _Units) -> Iterator[WatchedUnit]:
    for name in sorted(units.files)[:MAX_NAMES]:
        if not name.endswith(".service") or units.is_masked(name):
            continue
        for path in reversed((units.files[name], *units.drop_ins.get(name, ()))):
            lines = enumerate(_text(str(path), units.unseen).splitlines(), 1)
            line = next((n for n, words in lines if re.match(r"\s*WatchdogSec\s*=\s*[1-9]", words)), None)
            if line is not None:
                yield WatchedUnit(
                    name=safe_line(name, 200), file=str(path), line=line, commands=units.commands(name)
                )
                break


def _text(path: str, unseen: list[NotSeen]) -> str:
    try:
        return read_regular_file(path, MAX_FILE_BYTES).content.decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        if os.path.islink(path) and os.path.realpath(path) == "/dev/null":  # noqa: PTH114
            return ""
        unseen.append(_not_seen(path, error))
        return ""


def _not_seen(path: str, error: OSError | ValueError) -> NotSeen:
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return NotSeen(
        reason=safe_line(f"{path}: {words.lower()}"), needs_root=isinstance(error, PermissionError)
    )
