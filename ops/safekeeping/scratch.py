"""A host's files staged under a scratch directory, made ready for a spare nginx that touches nothing of the host.

The staged nginx configuration is read and written through the parser, directive by directive: paths lead into the
scratch directory, ports become spare ones of loopback, and what only the host's own nginx may do is left out.

Sources: nginx documentation, core functionality and ngx_http_core_module; src/core/ngx_conf_file.c (which paths are
relative to the configuration's directory, and which to the prefix).
"""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import re
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ops.errors import OpsError
from ops.quoting import safe_line
from ops.safekeeping.sources import reads_file
from ops.topology.address import is_port

LOOPBACK = "127.0.0.1"
MAX_FILE_BYTES = 4 << 20
MAX_DEPTH = 20
MAX_LINES = 40
# The option -e, which keeps nginx from opening the compiled-in error log (nginx's CHANGES, 1.19.5).
HAS_ERROR_LOG_OPTION = (1, 19, 5)

_LOGS = frozenset({"access_log", "error_log"})
# Directories that nginx makes and writes to, relative to the prefix.
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
_WRITTEN = frozenset(
    {
        *(f"{kind}_temp_path" for kind in _TEMPORARY),
        *(f"{kind}_cache_path" for kind in _TEMPORARY[1:]),
        "working_directory",
    }
)
# The spare nginx is told these in its own words.
_REPLACED = frozenset({"daemon", "lock_file", "master_process", "pid", "user"})
# What stands in these blocks are keys and values, not directives.
_TABLES = frozenset({"map", "geo", "types", "split_clients", "charset_map"})
_NO_PATH = re.compile(r"^(?:data|engine|store):|^\$|^(?:off|on)?$")
# Options of `listen` that make no sense on a spare port, or that a plain client would have to speak.
_DROPPED_OPTIONS = re.compile(
    r"^(?:ipv6only=.*|reuseport|fastopen=.*|setfib=.*|accept_filter=.*|proxy_protocol)$"
)

_PLAIN = re.compile(r"[A-Za-z0-9_./:*=$~^@%&?!|+,\[\]<>-]+")
_OPEN_QUOTE = re.compile(r'(?<!\\)((?:\\\\)*)"')


class ScratchError(OpsError):
    """The staged tree cannot be made ready; the message says which file of the host is the reason."""


@dataclass(frozen=True)
class SpareNginx:
    """A staged configuration that a spare nginx can load.

    ``root`` stands for the host's ``/``; ``run`` holds everything it writes; ``config_file`` is nginx.conf below
    ``root``. ``command`` starts it in the foreground; with ``-t`` behind, it only tests. ``addresses``: the host's
    listen addresses, as written, and what stands for them here."""

    root: Path
    run: Path
    config_file: Path
    command: tuple[str, ...]
    addresses: Mapping[str, str]

    def in_host_words(self, words: str) -> str:
        """``words`` with the host's paths in place of the scratch directory's."""
        return words.replace(f"{self.root}/", "/")


@dataclass(frozen=True)
class ScratchTest:
    """What ``nginx -t`` says of a staged configuration, its paths as on the host. ``passed`` is None where it was not
    run to its end; ``lines`` then say why."""

    passed: bool | None
    lines: tuple[str, ...]

    @property
    def reason(self) -> str:
        """The line that says most: the first error, else the first line."""
        errors = [line for line in self.lines if "[emerg]" in line]
        return next(iter((*errors, *self.lines)), "nginx -t said nothing")


def make_ready(
    root: Path, run: Path, config_file: str, *, prefix: str, binary: str, build: Mapping[str, str]
) -> SpareNginx:
    """Rewrites the nginx configuration staged below ``root`` for a spare nginx that writes below ``run`` alone.

    ``config_file`` and ``prefix`` are the host's (`ops.collect.nginx.read_config` tells them); ``build`` is what
    `ops.collect.nginx.build_facts` tells of ``binary``. Symbolic links below ``root`` are made to stay below it.
    Raises ScratchError where the configuration is missing or cannot be parsed, OSError where the disk refuses."""
    # nginx changes into no directory, but its paths must hold whatever the caller's is.
    root, run = root.resolve(), run.resolve()
    run.mkdir(mode=0o700, parents=True, exist_ok=True)
    confine_links(root)
    staged = below(root, config_file)
    if not staged.is_file():
        raise ScratchError(f"{config_file} is not in the backup; without it no nginx can be started from it")
    rewriting = _Rewriting(root, run, str(PurePosixPath(config_file).parent), prefix, dict(build))
    rewriting.file(staged, "main", 0)
    command = [binary, "-p", f"{run}/", "-c", str(staged)]
    if _version(build.get("version", "")) >= HAS_ERROR_LOG_OPTION:
        command += ["-e", str(run / "error.log")]
    return SpareNginx(root, run, staged, tuple(command), dict(rewriting.addresses))


def try_configuration(spare: SpareNginx, timeout: float) -> ScratchTest:
    """``nginx -t`` on the staged configuration, for at most ``timeout`` seconds."""
    try:
        done = subprocess.run(
            [*spare.command, "-t"],
            capture_output=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
            cwd=spare.run,
        )
    except subprocess.TimeoutExpired:
        return ScratchTest(None, (f"nginx -t did not finish within {timeout:g} s",))
    except OSError as error:
        return ScratchTest(None, (safe_line(f"{spare.command[0]} does not run: {error.strerror or error}"),))
    said = spare.in_host_words(done.stderr.decode(errors="replace")).splitlines()[:MAX_LINES]
    return ScratchTest(done.returncode == 0, tuple(safe_line(line) for line in said))


def below(root: Path, path: str) -> Path:
    """Where the host's absolute ``path`` lies below ``root``; ``..`` does not lead out of it."""
    return root / os.path.normpath("/" + path).lstrip("/")


def confine_links(root: Path) -> None:
    """Makes every symbolic link below ``root`` lead where it would lead were ``root`` the host's ``/``."""
    for directory, directories, files in os.walk(root):
        for name in (*directories, *files):
            link = Path(directory, name)
            if not link.is_symlink():
                continue
            written = str(link.readlink())
            home = PurePosixPath("/") / link.parent.relative_to(root)
            wanted = below(root, str(home / written))
            climbs = os.path.normpath(link.parent / written) != str(wanted)
            if written.startswith("/") or climbs:
                link.unlink()
                link.symlink_to(os.path.relpath(wanted, link.parent))


@dataclass
class _Rewriting:
    root: Path
    run: Path
    config_directory: str
    prefix: str
    build: dict[str, str]
    addresses: dict[str, str] = field(default_factory=dict)
    seen: set[Path] = field(default_factory=set)
    at_http: set[str] = field(default_factory=set)

    def file(self, path: Path, context: str, depth: int) -> None:
        """Rewrites one staged file and what it includes."""
        if path in self.seen or depth > MAX_DEPTH:
            return
        self.seen.add(path)
        tree = list(self._block(self._parsed(path), context, depth))
        if context == "main" and depth == 0:
            tree = [*self._main(), *tree]
        _write(path, tree)

    def _parsed(self, path: Path) -> list[dict[str, Any]]:
        import crossplane

        shown = "/" + str(path.relative_to(self.root))
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise ScratchError(f"{shown} is larger than 4 MiB; this is no nginx configuration")
            payload = crossplane.parse(
                str(path), single=True, catch_errors=True, check_ctx=False, check_args=False, strict=False
            )
        except (OSError, RecursionError, ValueError) as error:
            raise ScratchError(safe_line(f"{shown} cannot be parsed: {error}")) from None
        for trouble in payload.get("errors", ()):
            words = str(trouble.get("error", "")).replace(str(path), shown)
            raise ScratchError(safe_line(f"{shown} cannot be parsed: {words}"))
        parsed: list[dict[str, Any]] = payload["config"][0]["parsed"]
        return parsed

    def _block(self, nodes: list[dict[str, Any]], context: str, depth: int) -> Iterator[dict[str, Any]]:
        for node in nodes:
            name: str = node["directive"]
            if name == "include" and node["args"]:
                node["args"] = [self._include(node["args"][0], context, depth)]
            elif context not in _TABLES and not self._directive(node, name, context):
                continue
            if node.get("block") is not None:
                node["block"] = list(self._block(node["block"], name, depth))
                if name == "server" and context == "http":
                    self._listens_somewhere(node["block"])
                if name == "http":
                    node["block"] = [*self._http(), *node["block"]]
            yield node

    def _include(self, pattern: str, context: str, depth: int) -> str:
        mapped = str(self._read(pattern))
        for found in sorted(glob.glob(mapped)):  # noqa: PTH207  an absolute pattern, by the rules of glob(3) as nginx
            # A link may lead to a file that another include names by itself.
            real = Path(os.path.realpath(found))
            if real.is_file() and real.is_relative_to(self.root):
                self.file(real, context, depth + 1)
        return mapped

    def _directive(self, node: dict[str, Any], name: str, context: str) -> bool:
        """Rewrites one directive in place; False where it is to be left out."""
        args: list[str] = node["args"]
        if context == "http":
            self.at_http.add(name)
        if context == "main" and name in _REPLACED:
            return name == "user" and _is_known_user(args)
        if name == "load_module" and args:
            # A program's part, not a kept file: the module of the nginx that runs here.
            node["args"] = [str(PurePosixPath(self.prefix) / args[0])]
        elif reads_file(name) and name != "js_import" and args and not _NO_PATH.search(args[0]):
            node["args"] = [str(self._read(args[0])), *args[1:]]
        elif name == "js_import" and args:
            node["args"] = [*args[:-1], str(self._read(args[-1]))]
        elif name in _LOGS and args:
            node["args"] = [self._log(args[0]), *args[1:]]
        elif name in _WRITTEN and args and not _NO_PATH.search(args[0]):
            node["args"] = [str(self._written(args[0])), *args[1:]]
        elif name in ("root", "alias") and args and args[0].startswith("/"):
            kept = below(self.root, args[0])
            node["args"] = [str(kept) if kept.exists() else args[0]]
        elif name == "listen" and args and context == "server":
            node["args"] = [self._address(args[0]), *(o for o in args[1:] if not _DROPPED_OPTIONS.match(o))]
        return True

    def _read(self, written: str) -> Path:
        return below(self.root, str(PurePosixPath(self.config_directory) / written))

    def _written(self, written: str) -> Path:
        path = below(self.run, str(PurePosixPath(self.prefix) / written))
        if "$" not in str(path.parent):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def _log(self, written: str) -> str:
        if written in ("off", "stderr") or written.startswith("memory:"):
            return written
        # A drill is none of the system log's business.
        return str(self._written("/syslog.log" if written.startswith("syslog:") else written))

    def _address(self, written: str) -> str:
        """A spare address for one of the host's; the same for the same."""
        key = _address_key(written)
        if key not in self.addresses:
            if key.startswith("unix:"):
                self.addresses[key] = f"unix:{self.run}/{len(self.addresses)}.sock"
            else:
                self.addresses[key] = f"{LOOPBACK}:{_spare_port(self.addresses.values())}"
        return self.addresses[key]

    def _listens_somewhere(self, block: list[dict[str, Any]]) -> None:
        """A server without listen takes port 80 of every address (ngx_http_core_module, listen)."""
        if not any(node["directive"] in ("listen", "include") for node in block):
            block.insert(0, _node("listen", self._address("80")))

    def _main(self) -> Iterator[dict[str, Any]]:
        yield _node("daemon", "off")
        yield _node("pid", str(self.run / "nginx.pid"))
        yield _node("lock_file", str(self.run / "nginx.lock"))
        yield _node("error_log", str(self.run / "error.log"))

    def _http(self) -> Iterator[dict[str, Any]]:
        """In place of the compiled-in paths (``nginx -V``), which are the host's."""
        for kind in _TEMPORARY:
            option = f"http-{kind.replace('_', '-')}-temp-path"
            if option in self.build and f"{kind}_temp_path" not in self.at_http:
                yield _node(f"{kind}_temp_path", str(self._written(self.build[option])))
        if "access_log" not in self.at_http:
            yield _node("access_log", str(self.run / "access.log"))


def _node(name: str, *args: str) -> dict[str, Any]:
    return {"directive": name, "line": 0, "args": list(args)}


def _is_known_user(args: list[str]) -> bool:
    # nginx takes no notice of `user` unless it is root, and says so each time.
    if os.geteuid() != 0 or not args:
        return False
    try:
        pwd.getpwnam(args[0])
    except KeyError:
        return False
    return True


def _address_key(written: str) -> str:
    """One spelling for one address of nginx's: ``*:80``, ``[::]:80``, ``host:port``, ``unix:/path``."""
    if written.startswith("unix:"):
        return written
    if is_port(written):
        return f"*:{written}"
    host, colon, port = written.rpartition(":")
    if not colon or not is_port(port) or (written.startswith("[") and written.endswith("]")):
        host, port = written, "80"
    return f"{'*' if host in ('*', '0.0.0.0') else host}:{port}"  # noqa: S104


def _spare_port(taken: Any) -> int:
    """A port of loopback that nothing holds now, and that was not given away before."""
    given = {address.rpartition(":")[2] for address in taken}
    with contextlib.ExitStack() as held:
        while True:
            probe = held.enter_context(socket.socket())
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
            if str(port) not in given:
                return port


def _write(path: Path, tree: list[dict[str, Any]]) -> None:
    # A file that may only be read is replaced all the same.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".gte-ops-")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.writelines(_lines(tree, ""))
    os.replace(name, path)  # noqa: PTH105


def _lines(tree: list[dict[str, Any]], margin: str) -> Iterator[str]:
    """The tree as text. Not crossplane.build: that leaves a word that begins with # unquoted, a comment to nginx."""
    import crossplane

    for node in tree:
        name, args, block = node["directive"], node["args"], node.get("block")
        if name.endswith("_by_lua_block"):
            yield crossplane.build([node]) + "\n"
            continue
        words = [_word(name), *(["("] if name == "if" else []), *map(_word, args)]
        words += [")"] if name == "if" else []
        if block is None:
            yield f"{margin}{' '.join(words)};\n"
        else:
            yield f"{margin}{' '.join(words)} {{\n"
            yield from _lines(block, margin + "    ")
            yield f"{margin}}}\n"


def _word(written: str) -> str:
    """One word as nginx reads it back (ngx_conf_read_token); the lexer kept all backslashes but those of quotes."""
    if _PLAIN.fullmatch(written):
        return written
    return '"' + _OPEN_QUOTE.sub(r"\1\"", written) + '"'


def _version(written: str) -> tuple[int, ...]:
    return tuple(int(part) for part in written.split(".") if part.isdecimal())
