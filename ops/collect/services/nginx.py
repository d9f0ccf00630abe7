"""Read nginx's configuration from disk, and test it with ``nginx -t``."""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import re
import shlex
import signal
import stat
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import msgspec

from ops.collect.process.process_status import is_running, is_zombie
from ops.collect.services.nginx_unloaded import unloaded_sites
from ops.facts.base import NotSeen
from ops.facts.host import Process
from ops.facts.nginx import Directive, Include, NginxConfig, NginxTest, ParseError, Pidfile
from ops.files.bounded_read import UntrustedFileError, open_regular_file, read_regular_file
from ops.files.nofollow import reason_not_to_trust, resolve, trusted_users
from ops.files.ownership import distrust
from ops.files.presence import is_file
from ops.files.programs import reason_not_to_run, search
from ops.files.restored_metadata import restored_metadata
from ops.files.throwaway_mounts import NoThrowawayError, discarding_writes
from ops.interpret import nginx as nginx_topology
from ops.interpret.log_format import MAX_FORMAT_CHARS
from ops.interpret.nginx import loaded_code
from ops.text.sanitize import safe_line, show_invisible, without_controls

_USUAL_PLACES = (
    "/usr/sbin/nginx",
    "/usr/local/sbin/nginx",
    "/usr/local/nginx/sbin/nginx",
    "/opt/nginx/sbin/nginx",
)
# The defaults of configure (nginx documentation, 'Building nginx from Sources').
_COMPILED_IN = {
    "prefix": "/usr/local/nginx",
    "conf-path": "conf/nginx.conf",
    "pid-path": "logs/nginx.pid",
    "error-log-path": "logs/error.log",
    "http-log-path": "logs/access.log",
    "lock-path": "logs/nginx.lock",
    "http-client-body-temp-path": "client_body_temp",
    **{f"http-{name}-temp-path": f"{name}_temp" for name in ("proxy", "fastcgi", "uwsgi", "scgi")},
}
GUIDE_CONFIG_FILE = "/etc/nginx/nginx.conf"
# Limits for all files together; a directive counts each time its file is included.
MAX_FILE_BYTES = 4 << 20
MAX_DIRECTIVES = 200_000
INCLUDE_COUNTS_FOR = 20
# Limits on nested blocks, nested includes, files one pattern may match, and errors reported.
MAX_DEPTH = 50
MAX_INCLUDES = 20
MAX_LISTED = 10_000
MAX_ERRORS = 100
# Patterns that Python's glob and nginx's glob(3) read alike: names, *, ?, and sets of plain characters.
_PLAIN_PATTERN = re.compile(r"(?:[^][\\]|\[[\w.][\w.-]*\])*")
_NAMES_A_FILE = re.compile(r"\b(?:include|load_module)\s+([^;{}\s]+)\s*;")
# Directives whose first argument `nginx -t` may create as a file, or as a directory.
_CREATED_FILES = ("error_log", "access_log", "pid", "lock_file")
# Endings of nginx's lines about a file that it may not open or create: EPERM, EACCES, EROFS.
_REFUSED_TO_OPEN = ("(1: Operation not permitted)", "(13: Permission denied)", "(30: Read-only file system)")
_CREATED_DIRECTORIES = (
    *(f"{name}_temp_path" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")),
    *(f"{name}_cache_path" for name in ("proxy", "fastcgi", "uwsgi", "scgi")),
)


def find_binary(name: str, masters: Iterable[Process]) -> str | None:
    """Return the nginx program: the running master's own, else one in PATH or the usual places, else None. Prefer one
    that only root and the caller may change."""
    running = [master.executable for master in masters if master.executable] if name == "nginx" else []
    usual = _USUAL_PLACES if name == "nginx" else ()
    candidates = (*running, search(name), *usual)
    programs = [place for place in dict.fromkeys(candidates) if place and Path(place).exists()]
    return next((place for place in programs if reason_not_to_run(place) is None), next(iter(programs), None))


def build_facts(binary: str, timeout: float) -> dict[str, str]:
    """Run ``nginx -V`` and return version and compiled-in paths, by configure option; empty if it does not run, or is
    not run because users other than root and the caller may change it."""
    if reason_not_to_run(binary) is not None:
        return {}
    try:
        process = subprocess.run([binary, "-V"], capture_output=True, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return parse_build(process.stderr.decode(errors="replace"))


def parse_build(printed: str) -> dict[str, str]:
    """Parse the output of ``nginx -V``: ``version`` and each ``--name=value``. Paths stay as compiled in: a relative
    one is relative to the prefix. Options that were not given to configure have their defaults."""
    facts = {}
    if match := re.search(r"nginx version: \S*?/([0-9.]+)", printed):
        facts["version"] = match[1]
    arguments = printed.partition("configure arguments:")[2]
    try:
        words = shlex.split(arguments)
    except ValueError:
        words = arguments.split()
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name.startswith("--"):
            facts[name[2:]] = value
    return _COMPILED_IN | facts if "configure arguments:" in printed else facts


def read_config(
    binary: str | None, build: dict[str, str], file: str | None, masters: Iterable[Process]
) -> NginxConfig | NotSeen:
    """Return the configuration with its includes, as one tree.

    ``file``: the path in the settings; without it, use the running master's ``-c``, the compiled-in path, the path
    beside the binary, or the guide's path. Of several masters the one that was started with ``file`` counts."""
    started = [flags for master in masters if (flags := _flags(master.command))]
    running = next((flags for flags in started if file and flags.get("-c") == file), next(iter(started), {}))
    prefix = running.get("-p") or build.get("prefix") or "/etc/nginx"
    name = file or running.get("-c") or build.get("conf-path") or _beside(binary) or GUIDE_CONFIG_FILE
    if not name.startswith("/"):
        name = str(Path(prefix) / name)
    if not Path(name).exists():
        return NotSeen(reason=f"{name} does not exist", is_lasting=not masters)
    if file and running.get("-c") not in (None, file):
        prefix = build.get("prefix") or prefix
    return parse_config(name, prefix, binary, build.get("version"))


def _beside(binary: str | None) -> str | None:
    """Return the configuration of an nginx that did not run ``-V``, in the layout that its sources install (``sbin``
    beside ``conf``)."""
    beside = Path(binary).parent.parent / "conf" / "nginx.conf" if binary else None
    return str(beside) if beside and is_file(beside) else None


def parse_config(name: str, prefix: str, binary: str | None, version: str | None) -> NginxConfig | NotSeen:
    """Parse the file ``name`` and its includes with crossplane."""
    reading = _NginxReading(name)
    try:
        nodes = reading.parse(name)
    except PermissionError:
        return NotSeen(reason=f"{name} may not be read", needs_root=True)
    except (OSError, ValueError) as error:
        return NotSeen(reason=safe_line(f"{name} cannot be parsed: {error}"))
    directives = tuple(reading.tree(nodes, name, ()))
    reading.look_behind_errors()
    config = NginxConfig(
        binary=binary,
        version=version,
        prefix=prefix,
        file=name,
        directives=directives,
        errors=tuple(reading.errors),
        files=tuple(map(without_controls, reading.parsed)),
        modified=_modified(reading.parsed),
        owner=reading.owner,
        includes=tuple(reading.includes),
        unloaded=unloaded_sites(name, reading.listings, reading.parsed),
    )
    why = _distrusted(config, reading)
    partly = why is None and bool(reading.unread)
    return msgspec.structs.replace(
        config, distrusted=safe_line(reading.unread[0]) if partly else why, is_partly_read=partly
    )


def _format_word(argument: str) -> str:
    """Return a word of a log_format within its own limit: it may be long, and holds variable names, not values."""
    return without_controls(argument)[:MAX_FORMAT_CHARS]


def _modified(files: Iterable[str]) -> dict[str, float]:
    times = {}
    for file in files:
        with contextlib.suppress(OSError, ValueError):
            times[safe_line(file, 1000)] = Path(file).stat().st_mtime
    return times


def _distrusted(config: NginxConfig, reading: _NginxReading) -> str | None:
    """Return why nginx must not run on a configuration (`NginxConfig.distrusted`), or None: code that another user puts
    there would run as the user that runs nginx."""
    code = (path for path in loaded_code(config) if os.path.lexists(path))
    programs = (reason_not_to_run(path) for path in filter(None, (config.binary,)))
    reasons = (*programs, *map(reason_not_to_trust, (*reading.parsed, *code)))
    listing_reasons = (reason_not_to_trust(path, listed=True) for path in reading.listings)
    absent = (_who_could_make(path) for path in reading.absent)
    why = next(filter(None, itertools.chain(reading.refused, reasons, listing_reasons, absent)), None)
    return None if why is None else safe_line(why)


def _matching(pattern: str) -> tuple[list[str], list[str]]:
    """Return the files that an include names (at most one above the limit), and the directories it searches."""
    if not glob.has_magic(pattern):
        return [pattern], []
    # The pattern may be absolute and follows glob(3): Path.glob does not accept it.
    names = sorted(islice(glob.iglob(pattern), MAX_LISTED + 1))  # noqa: PTH207
    directories = islice(glob.iglob(os.path.dirname(pattern)), MAX_LISTED)  # noqa: PTH120, PTH207
    return names, list(directories)


def _who_could_make(path: str) -> str | None:
    """Return why a user other than root and the caller could create the file at ``path``; None if nobody could."""
    above = Path(path).parent
    while not os.path.lexists(above) and above != above.parent:
        above = above.parent
    return reason_not_to_trust(str(above), listed=True)


class _NginxReading:
    """The reading of one configuration: its files, their errors, and the remaining limits.

    crossplane reads one file at a time and follows no include itself: it would open pipes and devices, and files that
    include each other twice on each of twenty levels would expand to a million."""

    def __init__(self, main: str) -> None:
        self.parsed: dict[str, list[dict[str, Any]]] = {}
        self.errors: list[ParseError] = []
        self.listings: dict[str, None] = {}
        self.includes: list[Include] = []
        # Includes that nginx may follow but this reading did not: refused for their owner, absent so far, and unread
        # for one of our limits or a pattern that glob(3) reads differently.
        self.refused: list[str] = []
        self.absent: list[str] = []
        self.unread: list[str] = []
        self.broken: list[str] = []
        self.owner = 0
        self._directory = Path(main).parent
        self._blocks: list[str] = []
        self._bytes_left = MAX_FILE_BYTES
        self._directives_left = MAX_DIRECTIVES

    def parse(self, file: str) -> list[dict[str, Any]]:
        """Parse one file and return its statements; add what crossplane could not parse to ``errors``.

        Raises OSError if it is not a readable file, ValueError if it is too large."""
        import crossplane

        if file in self.parsed:
            return self.parsed[file]
        with open_regular_file(file) as descriptor_file:
            status = os.fstat(descriptor_file.fileno())
            if status.st_size > self._bytes_left:
                raise ValueError(f"it makes the configuration larger than {MAX_FILE_BYTES >> 20} MiB")
            self._bytes_left -= status.st_size
            if not self.parsed:
                self.owner = status.st_uid
            # Parse the open descriptor: by now the name may belong to a pipe.
            place = f"/proc/self/fd/{descriptor_file.fileno()}"
            payload = crossplane.parse(
                place, single=True, catch_errors=True, check_ctx=False, check_args=False, strict=False
            )
        for error in payload["errors"]:
            self._tell(file, error.get("line"), str(error.get("error", "")).replace(place, file))
        if payload["errors"]:
            self.broken.append(file)
        statements: list[dict[str, Any]] = payload["config"][0]["parsed"]
        self.parsed[file] = statements
        return statements

    def tree(
        self, nodes: list[dict[str, Any]], file: str, around: tuple[str, ...], depth: int = 0
    ) -> Iterator[Directive]:
        """Yield the directives of ``nodes`` with includes resolved. ``around``: the files that include ``file``."""
        display_file = without_controls(file)  # the snapshot's JSON cannot hold a name that is not UTF-8
        for node in nodes:
            if self._directives_left <= 0:
                return
            is_include = node["directive"] == "include" and node["args"] and "block" not in node
            self._directives_left -= INCLUDE_COUNTS_FOR if is_include else 1
            if self._directives_left <= 0:
                self._tell(file, node["line"], f"there are more than {MAX_DIRECTIVES} directives")
                self.unread.append(f"{file}:{node['line']}: what follows was not read")
                return
            if is_include:
                yield from self._included(node, file, around, depth)
                continue
            block = node.get("block")
            if block is not None and depth >= MAX_DEPTH:
                self._tell(file, node["line"], f"it is nested deeper than {MAX_DEPTH} blocks")
                self.unread.append(f"{file}:{node['line']}: the block was not read")
                block = []
            name = safe_line(node["directive"])
            yield Directive(
                name=name,
                args=tuple(
                    map(_format_word if node["directive"] == "log_format" else safe_line, node["args"])
                ),
                file=display_file,
                line=node["line"],
                block=None if block is None else self._inside(name, block, file, around, depth),
            )

    def _inside(
        self, name: str, nodes: list[dict[str, Any]], file: str, around: tuple[str, ...], depth: int
    ) -> tuple[Directive, ...]:
        """The directives of the block ``name``."""
        self._blocks.append(name)
        inner = tuple(self.tree(nodes, file, around, depth + 1))
        self._blocks.pop()
        return inner

    def _included(
        self, node: dict[str, Any], file: str, around: tuple[str, ...], depth: int
    ) -> Iterator[Directive]:
        pattern = str(self._directory / node["args"][0])
        if not _PLAIN_PATTERN.fullmatch(pattern):
            self.unread.append(f"{file}:{node['line']}: {pattern} matches what nginx makes of it")
        if len(self.includes) < MAX_LISTED:
            place = f"{without_controls(file)}:{node['line']}"
            self.includes.append(Include(place, safe_line(pattern, 1000), " ".join(self._blocks)))
        names, directories = _matching(pattern)
        self.listings.update(dict.fromkeys(directories))
        if len(names) > MAX_LISTED:
            self.unread.append(f"{file}:{node['line']}: {pattern} matches more than {MAX_LISTED} files")
            del names[MAX_LISTED:]
        for name in names:
            if name == file or name in around or len(around) >= MAX_INCLUDES:
                if name != file and name not in around:
                    self.unread.append(f"{name} was not read: it is included too deeply")
                self._tell(file, node["line"], f"{name} is included by itself, or too deeply")
                continue
            try:
                nodes = self.parse(name)
            except (OSError, ValueError) as error:
                self._tell(file, node["line"], f"{name}: {error}")
                self._remember_unread(name, error)
                continue
            yield from self.tree(nodes, name, (*around, file), depth)

    def _remember_unread(self, name: str, error: OSError | ValueError) -> None:
        words = getattr(error, "strerror", None) or error
        if isinstance(error, FileNotFoundError):
            self.absent.append(name)
        elif isinstance(error, UntrustedFileError):
            self.refused.append(f"{name}: {words}")
        elif not isinstance(error, PermissionError):  # nginx, run by the same user, may not read it either
            self.unread.append(f"{name} was not read: {words}")

    def look_behind_errors(self) -> None:
        """Search files that crossplane could not parse for includes and modules, as text: nginx may read further."""
        for file in self.broken:
            text = read_regular_file(file, MAX_FILE_BYTES).content.decode(errors="replace")
            for match in _NAMES_A_FILE.finditer(text):
                pattern = str(self._directory / match[1].strip("\"'"))
                if not _PLAIN_PATTERN.fullmatch(pattern):
                    self.unread.append(f"{file}: {pattern} stands behind what could not be parsed")
                    continue
                names, directories = _matching(pattern)
                self.listings.update(dict.fromkeys(directories))
                for name in names:
                    if not os.path.lexists(name):
                        self.absent.append(name)
                    elif (why := reason_not_to_trust(name)) is not None:
                        self.refused.append(why)
                    elif name not in self.parsed and match[0].startswith("include"):
                        self._follow(name, file)

    def _follow(self, name: str, file: str) -> None:
        """Read the files that ``name`` includes in its turn, only to check their owners."""
        try:
            deque(self.tree(self.parse(name), name, (file,)), maxlen=0)
        except (OSError, ValueError) as error:
            self._remember_unread(name, error)

    def _tell(self, file: str, line: int | None, message: str) -> None:
        if len(self.errors) < MAX_ERRORS:
            denied = "Permission denied" in message
            error = ParseError(file=safe_line(file), line=line, message=safe_line(message), permission=denied)
            self.errors.append(error)


def _flags(command: tuple[str, ...]) -> dict[str, str]:
    """Return the ``-c`` and ``-p`` of a running nginx: its title repeats its command line as one string."""
    words = " ".join(command).partition("master process")[2].split()
    return {flag: value for flag, value in pairwise(words) if flag in ("-c", "-p")}


def test_config(config: NginxConfig, build: dict[str, str], timeout: float) -> NginxTest | NotSeen:
    """Run ``nginx -t`` on the configuration, and leave the host as it was.

    nginx opens (and so creates) its logs, pidfile and temporary directories even when it only tests, writes its
    errors into its error log, and gives the directories to its user (ngx_create_paths). As root, run the test where all
    writes are discarded. If that is not possible, remove what the test created and restore the metadata it changed."""
    if config.binary is None:
        return NotSeen(reason="nginx's program was not found", is_lasting=True)
    if config.distrusted is not None:
        return NotSeen(reason=f"nginx -t was not run: {config.distrusted}", is_refused=True)
    command = test_command(config, build)
    try:
        process = _thrown_away(command, config, build, timeout) or _put_back(command, config, build, timeout)
    except subprocess.TimeoutExpired:
        return NotSeen(reason=f"nginx -t did not finish within {timeout:.1f} s")
    except OSError as error:
        return NotSeen(reason=safe_line(f"{config.binary} does not run: {error.strerror}"))
    # Not splitlines: it takes some of the characters that are to be shown for ends of lines.
    lines = [
        show_invisible(line) if "unknown directive" in line else line
        for line in process.stderr.decode(errors="replace").split("\n")[:40]
    ]
    if process.returncode != 0 and _is_confined():
        for line in lines:
            if "[emerg]" in line and line.endswith(_REFUSED_TO_OPEN):
                return NotSeen(
                    reason=safe_line(f"nginx -t may not open its files in this unit's sandbox: {line}"),
                    is_lasting=True,
                )
    return NginxTest(
        command=command, exit_code=process.returncode, lines=tuple(safe_line(line) for line in lines)
    )


def _thrown_away(
    command: tuple[str, ...], config: NginxConfig, build: dict[str, str], timeout: float
) -> subprocess.CompletedProcess[bytes] | None:
    """Run the test where its writes are discarded; None if that is not possible: it requires root, and a kernel and a
    sandbox that allow it. Raises TimeoutExpired."""
    if os.geteuid() != 0:
        return None
    touched = [str(path) for path in _would_create(config, build)]
    files = [path for path in touched if is_file(path)]
    others = [path for path in touched if path not in files]
    try:
        isolate = discarding_writes((str(Path(os.path.realpath(path)).parent) for path in others), files)
        process = _run(command, timeout, isolate)
    except subprocess.TimeoutExpired:
        raise
    except (NoThrowawayError, subprocess.SubprocessError, OSError, ValueError):
        return None
    return None if process.returncode == -signal.SIGSYS else process


def _put_back(
    command: tuple[str, ...], config: NginxConfig, build: dict[str, str], timeout: float
) -> subprocess.CompletedProcess[bytes]:
    """Run the test on the host's own files; then remove the empty ones it created, and restore owner, mode and times of
    the others. Raises TimeoutExpired, OSError."""
    touched = list(_would_create(config, build))
    absent = [path for path in touched if not path.exists()]
    with restored_metadata((*touched, *(path.parent for path in touched))):
        try:
            return _run(command, timeout, None)
        finally:
            for path in absent:
                _remove_empty(path)


def _run(
    command: tuple[str, ...], timeout: float, isolate: Callable[[], None] | None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command,
        capture_output=True,
        timeout=timeout,
        check=False,
        stdin=subprocess.DEVNULL,
        preexec_fn=isolate,
    )


def _is_confined() -> bool:
    """Return whether this process runs in a sandbox, even as root: all ours set no_new_privs (proc(5), NoNewPrivs)."""
    try:
        return "\nNoNewPrivs:\t1\n" in Path("/proc/self/status").read_text()
    except OSError:
        return False


def test_command(config: NginxConfig, build: dict[str, str]) -> tuple[str, ...]:
    """Return the ``nginx -t`` command that tests exactly this file; without options if the defaults select it."""
    command = [config.binary or "nginx", "-t"]
    if config.prefix != build.get("prefix", config.prefix):
        command += ["-p", config.prefix]
    if config.file != nginx_topology.compiled_path(build, "conf-path", config.prefix):
        command += ["-c", config.file]
    return tuple(command)


def _would_create(config: NginxConfig, build: dict[str, str]) -> Iterator[Path]:
    def walk(directives: Iterable[Directive]) -> Iterator[str]:
        for directive in directives:
            if directive.name in (*_CREATED_FILES, *_CREATED_DIRECTORIES) and directive.args:
                yield directive.args[0]
            if directive.name == "listen" and directive.args and directive.args[0].startswith("unix:/"):
                yield directive.args[0].removeprefix("unix:")  # nginx binds it and removes it again
            yield from walk(directive.block or ())

    compiled = (
        value for name, value in build.items() if name.endswith(("-path", "-log-path")) and "temp" in name
    )
    defaults = (
        build[name] for name in ("pid-path", "error-log-path", "http-log-path", "lock-path") if name in build
    )
    for name in {*walk(config.directives), *compiled, *defaults}:
        if not name.startswith(("syslog:", "memory:")) and name not in ("off", "stderr") and "$" not in name:
            yield Path(config.prefix) / name


def _remove_empty(path: Path) -> None:
    """Remove an empty file or directory that the test created. Keep it in a directory that other users may change: they
    may have put another one there since."""
    try:
        directory, entries = resolve(str(path.parent))
    except (OSError, ValueError):
        return
    try:
        if distrust(entries, trusted_users(), listed=True) is not None:
            return
        facts = os.stat(path.name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISDIR(facts.st_mode):
            os.rmdir(path.name, dir_fd=directory)
        elif stat.S_ISREG(facts.st_mode) and facts.st_size == 0 and time.time() - facts.st_ctime < 60:
            os.unlink(path.name, dir_fd=directory)
    except OSError:
        return  # never created, or already in use
    finally:
        os.close(directory)


def read_pidfile(path: str) -> Pidfile:
    """Return the process id in ``path``, and whether that process is alive."""
    try:
        read = read_regular_file(path, 64)
    except FileNotFoundError:
        return Pidfile(path=path, missing=True)
    except (OSError, ValueError) as error:
        return Pidfile(path=path, unreadable=getattr(error, "strerror", None) or str(error))
    words = read.content.split()
    pid = int(words[0]) if words and words[0].isdigit() else 0
    # Linux: PID_MAX_LIMIT is 2^22; a number above it is no process id.
    if not 0 < pid <= 1 << 22:
        return Pidfile(path=path, uid=read.uid)
    return Pidfile(path=path, pid=pid, uid=read.uid, is_alive=is_running(pid), is_zombie=is_zombie(pid))
