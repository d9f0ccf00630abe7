"""nginx's configuration as it lies on disk, and what ``nginx -t`` says of it."""

from __future__ import annotations

import contextlib
import itertools
import re
import shlex
import shutil
import stat
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ops.quoting import safe_line
from ops.snapshot import Directive, NginxConfig, NginxTest, NotSeen, ParseError, Pidfile, Process

_USUAL_PLACES = (
    "/usr/sbin/nginx",
    "/usr/local/sbin/nginx",
    "/usr/local/nginx/sbin/nginx",
    "/opt/nginx/sbin/nginx",
)
GUIDE_CONFIG_FILE = "/etc/nginx/nginx.conf"
MAX_FILE_BYTES = 4 << 20
MAX_DEPTH = 20
# Directives whose first argument `nginx -t` may create as a file, or as a directory.
_CREATED_FILES = ("error_log", "access_log", "pid", "lock_file")
_CREATED_DIRECTORIES = tuple(
    f"{name}_temp_path" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
)


def find_binary(name: str, masters: Iterable[Process]) -> str | None:
    """The nginx program: the running master's own, what PATH or the usual places hold, else None."""
    running = [master.executable for master in masters if master.executable]
    if name == "nginx" and running and Path(running[0]).exists():
        return running[0]
    return shutil.which(name) or next(
        (place for place in _USUAL_PLACES if name == "nginx" and Path(place).exists()), None
    )


def build_facts(binary: str, timeout: float) -> dict[str, str]:
    """``nginx -V``: version and the compiled-in paths, by configure option; empty where it does not run."""
    try:
        done = subprocess.run([binary, "-V"], capture_output=True, timeout=timeout, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return parse_build(done.stderr.decode(errors="replace"))


def parse_build(printed: str) -> dict[str, str]:
    """The facts in what ``nginx -V`` printed: ``version`` and each ``--name=value``."""
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
    return facts


def read_config(
    binary: str | None, build: dict[str, str], file: str | None, masters: Iterable[Process]
) -> NginxConfig | NotSeen:
    """The configuration with its includes, as one tree.

    ``file``: what settings name; else the running master's ``-c``, the compiled-in path, the guide's path."""
    running = next((flags for master in masters if (flags := _flags(master.command))), {})
    prefix = running.get("-p") or build.get("prefix") or "/etc/nginx"
    name = file or running.get("-c") or build.get("conf-path") or GUIDE_CONFIG_FILE
    if not name.startswith("/"):
        name = str(Path(prefix) / name)
    if not Path(name).exists():
        return NotSeen(reason=f"{name} does not exist")
    if file and running.get("-c") not in (None, file):
        prefix = build.get("prefix") or prefix
    return parse_config(name, prefix, binary, build.get("version"))


def parse_config(name: str, prefix: str, binary: str | None, version: str | None) -> NginxConfig | NotSeen:
    """The tree below the file ``name``, by crossplane."""
    import crossplane

    try:
        if Path(name).stat().st_size > MAX_FILE_BYTES:
            return NotSeen(reason=f"{name} is larger than 4 MiB")
        payload = crossplane.parse(name, catch_errors=True, check_ctx=False, check_args=False, strict=False)
    except PermissionError:
        return NotSeen(reason=f"{name} may not be read", needs_root=True)
    except (OSError, RecursionError, ValueError) as error:
        return NotSeen(reason=safe_line(f"{name} cannot be parsed: {error}"))
    configs: list[dict[str, Any]] = payload["config"]
    errors = tuple(
        ParseError(
            file=safe_line(str(error.get("file", name))),
            line=error.get("line"),
            message=safe_line(str(error.get("error", ""))),
            permission="Permission denied" in str(error.get("error", "")),
        )
        for error in payload.get("errors", [])
    )
    if not configs or (not configs[0]["parsed"] and errors and errors[0].permission):
        return NotSeen(reason=f"{name} may not be read", needs_root=True)
    return NginxConfig(
        binary=binary,
        version=version,
        prefix=prefix,
        file=name,
        directives=tuple(_tree(configs[0]["parsed"], configs, name, 0)),
        errors=errors,
        files=tuple(config["file"] for config in configs),
        modified=_modified(config["file"] for config in configs),
    )


def _modified(files: Iterable[str]) -> dict[str, float]:
    found = {}
    for file in files:
        with contextlib.suppress(OSError, ValueError):
            found[safe_line(file, 1000)] = Path(file).stat().st_mtime
    return found


def _tree(
    parsed: list[dict[str, Any]], configs: list[dict[str, Any]], file: str, depth: int
) -> Iterator[Directive]:
    for node in parsed:
        if node["directive"] == "#":
            continue
        if "includes" in node:
            for index in node["includes"] if depth < MAX_DEPTH else ():
                yield from _tree(configs[index]["parsed"], configs, configs[index]["file"], depth + 1)
            continue
        block = node.get("block")
        yield Directive(
            name=safe_line(node["directive"]),
            args=tuple(safe_line(arg) for arg in node["args"]),
            file=file,
            line=node["line"],
            block=None if block is None else tuple(_tree(block, configs, file, depth)),
        )


def _flags(command: tuple[str, ...]) -> dict[str, str]:
    """The ``-c`` and ``-p`` of a running nginx: its title repeats its command line as one string."""
    words = " ".join(command).partition("master process")[2].split()
    return {flag: value for flag, value in itertools.pairwise(words) if flag in ("-c", "-p")}


def test_config(config: NginxConfig, build: dict[str, str], timeout: float) -> NginxTest | NotSeen:
    """Run ``nginx -t`` on the configuration and remove whatever empty file or directory it left behind.

    nginx opens (and so creates) its logs, pidfile and temporary directories even when it only tests."""
    if config.binary is None:
        return NotSeen(reason="nginx's program was not found")
    command = test_command(config, build)
    absent = [path for path in _would_create(config, build) if not path.exists()]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=timeout, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return NotSeen(reason=f"nginx -t did not finish within {timeout:.1f} s")
    except OSError as error:
        return NotSeen(reason=safe_line(f"{config.binary} does not run: {error.strerror}"))
    finally:
        for path in absent:
            _remove_empty(path)
    lines = done.stderr.decode(errors="replace").splitlines()[:40]
    return NginxTest(
        command=command, exit_code=done.returncode, lines=tuple(safe_line(line) for line in lines)
    )


def test_command(config: NginxConfig, build: dict[str, str]) -> tuple[str, ...]:
    """The ``nginx -t`` that tests exactly this file; without options where the defaults name it already."""
    command = [config.binary or "nginx", "-t"]
    if config.prefix != build.get("prefix", config.prefix):
        command += ["-p", config.prefix]
    if config.file != build.get("conf-path"):
        command += ["-c", config.file]
    return tuple(command)


def _would_create(config: NginxConfig, build: dict[str, str]) -> Iterator[Path]:
    def walk(directives: Iterable[Directive]) -> Iterator[str]:
        for directive in directives:
            if directive.name in (*_CREATED_FILES, *_CREATED_DIRECTORIES) and directive.args:
                yield directive.args[0]
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
    try:
        facts = path.lstat()
        if stat.S_ISDIR(facts.st_mode):
            path.rmdir()
        elif stat.S_ISREG(facts.st_mode) and facts.st_size == 0 and time.time() - facts.st_ctime < 60:
            path.unlink()
    except OSError:
        return  # never created, or already in use: nothing of ours


def read_pidfile(path: str) -> Pidfile:
    """The process id in ``path``."""
    try:
        with Path(path).open("rb") as file:
            words = file.read(64).split()
    except FileNotFoundError:
        return Pidfile(path=path, missing=True)
    except OSError as error:
        return Pidfile(path=path, unreadable=error.strerror or str(error))
    return Pidfile(path=path, pid=int(words[0]) if words and words[0].isdigit() else None)
