"""Staging a host's files below a scratch directory, prepared for a spare nginx that does not touch the host.

The staged nginx configuration is untrusted. It is parsed and rewritten directive by directive: directives that could
run code are refused before any nginx sees them, paths are redirected into the scratch directory, ports become free ones
on loopback, requests are passed to nobody, names are not resolved, and actions reserved for the host's own nginx are
left out. The nginx that loads it has no privileges and, if root starts it, no network (`ops.files.unprivileged`).

Sources: nginx documentation, core functionality and ngx_http_core_module; src/core/ngx_conf_file.c (which paths are
relative to the configuration's directory, and which to the prefix).
"""

from __future__ import annotations

import contextlib
import errno
import glob
import ipaddress
import os
import re
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ops.backups.nginx_directives import objection
from ops.backups.staging_directory import may_be_entered
from ops.collect.host_files import reads_file
from ops.errors import OpsError
from ops.files.nofollow import reason_not_to_trust
from ops.files.unprivileged import UnprivilegedAccount, drop_privileges, give, unprivileged_account
from ops.interpret.address import is_port
from ops.text.language import Text
from ops.text.reasons import chinese
from ops.text.sanitize import safe_line

LOOPBACK = "127.0.0.1"
MAX_FILE_BYTES = 4 << 20
# Of all files together; nested blocks, and nested includes.
MAX_BYTES = 16 << 20
MAX_DEPTH = 20
MAX_BLOCKS = 50
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
# The spare nginx gets other values for these, or none: it has one worker, cannot become another user, and keeps the
# environment that it is given.
_REPLACED = frozenset(
    {"daemon", "debug_points", "env", "lock_file", "master_process", "pid", "user", "worker_processes"}
)
# Responses are not cached.
_LEFT_OUT = re.compile(r"(?:proxy|fastcgi|uwsgi|scgi)_store(?:_access)?")
# The content of these blocks is keys and values, not directives.
_TABLES = frozenset({"map", "geo", "geoip2", "types", "split_clients", "charset_map", "match"})
# Directives that name the destination of requests.
_PASSES = frozenset(
    {"proxy_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass", "grpc_pass", "memcached_pass", "pass"}
)
# Directives that name hosts, which nginx resolves while it reads them.
_NAMES_HOSTS = frozenset({"auth_http", "resolver", "set_real_ip_from"})
_URL = re.compile(r"(?P<scheme>[A-Za-z]+://)?(?P<host>\[[^\]]*\]|[^/:?]+)(?P<rest>.*)", re.DOTALL)
# The distributions' directories of nginx's modules; the built-in one comes from `nginx -V`.
_MODULE_DIRECTORIES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules")
# Patterns that glob(3) and Python's glob read differently.
_ODD_PATTERN = re.compile(r"\\|\[[.:=]")
_NO_PATH = re.compile(r"^(?:data|engine|store):|^\$|^(?:off|on)?$")
# Options of `listen` that make no sense on a spare port, or need a protocol that a plain client does not speak.
_DROPPED_OPTIONS = re.compile(
    r"^(?:ipv6only=.*|reuseport|fastopen=.*|setfib=.*|accept_filter=.*|proxy_protocol)$"
)

_PLAIN = re.compile(r"[A-Za-z0-9_./:*=$~^@%&?!|+,\[\]<>-]+")
_OPEN_QUOTE = re.compile(r'(?<!\\)((?:\\\\)*)"')


class ScratchError(OpsError):
    """The staged tree cannot be prepared; the message names the host's file that is the reason."""


class UntestedError(OpsError):
    """The configuration is given to no nginx; the message says why. The backup may be complete nevertheless."""


@dataclass(frozen=True)
class SpareNginx:
    """A staged configuration that a spare nginx can load.

    ``root`` represents the host's ``/``; ``run`` holds everything it writes; ``config_file`` is nginx.conf below
    ``root``. ``command`` starts it in the foreground; with ``-t`` appended, it only tests. ``addresses``: the host's
    listen addresses, as written, and their replacements. ``account``: the owner of the tree, as whom it runs."""

    root: Path
    run: Path
    config_file: Path
    command: tuple[str, ...]
    addresses: Mapping[str, str]
    account: UnprivilegedAccount | None = None

    def options(self, then: Callable[[], None] | None = None) -> dict[str, Any]:
        """The arguments of `subprocess.Popen` for running without privileges, network and this process's environment.
        ``then`` is called in the child before its program starts."""
        drop = drop_privileges(self.account, network=False)

        def enter() -> None:
            drop()
            if then is not None:
                then()

        environment = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "TZ") if name in os.environ}
        return {
            "stdin": subprocess.DEVNULL,
            "cwd": self.run,
            "env": {"PATH": os.defpath, **environment},
            "preexec_fn": enter,
        }

    def in_host_words(self, words: str) -> str:
        """``words`` with the host's paths in place of the scratch directory's."""
        return words.replace(f"{self.root}/", "/")


@dataclass(frozen=True)
class ScratchTest:
    """The result of ``nginx -t`` on a staged configuration, with the host's paths. ``passed`` is None if it did not run
    to its end; ``lines`` then say why."""

    passed: bool | None
    lines: tuple[str, ...]

    @property
    def reason(self) -> str:
        """The most informative line: the first error, else the first line."""
        errors = [line for line in self.lines if "[emerg]" in line]
        return next(iter((*errors, *self.lines)), "nginx -t said nothing")


def make_ready(
    root: Path, run: Path, config_file: str, *, prefix: str, binary: str, build: Mapping[str, str]
) -> SpareNginx:
    """Rewrite the nginx configuration staged below ``root`` for a spare nginx that writes only below ``run``.

    ``config_file`` and ``prefix`` are the host's (from `read_config` of ops.collect.services.nginx); ``build``: the
    result of `build_facts` for ``binary``. Symbolic links below ``root`` are rewritten to stay below it. If the caller
    is root, both trees are given to an account without privileges, which is to run it. Raises ScratchError if the
    configuration is missing or cannot be parsed, UntestedError if it may be given to no nginx, OSError if the disk
    fails."""
    # nginx does not change its working directory, but its paths must be valid whatever the caller's is.
    root, run = root.resolve(), run.resolve()
    run.mkdir(mode=0o700, parents=True, exist_ok=True)
    confine_links(root)
    staged = below(root, config_file)
    if not staged.is_file():
        raise ScratchError(
            Text(
                en=f"{config_file} is not in the backup; without it no nginx can be started from it",
                zh=f"{config_file} 不在备份中；缺少它就无法用此备份启动 nginx",
            )
        )
    configuration = _Staged(
        root, str(PurePosixPath(config_file).parent), prefix, _module_directories(build), [Path(binary)]
    )
    configuration.review(staged.resolve(), "main", 0)
    rewriting = _Rewriting(configuration, run, dict(build))
    rewriting.file(staged.resolve(), "main", 0)
    command = [binary, "-p", f"{run}/", "-c", str(staged)]
    if _version(build.get("version", "")) >= HAS_ERROR_LOG_OPTION:
        command += ["-e", str(run / "error.log")]
    account = unprivileged_account()
    for above in (root.parent, run.parent):
        if account is not None and not may_be_entered(above):
            raise OSError(errno.EACCES, "a user without privileges may not enter it; set TMPDIR", str(above))
    for tree in (root, run):
        give(tree, account)
    return SpareNginx(root, run, staged, tuple(command), dict(rewriting.addresses), account)


def try_configuration(spare: SpareNginx, timeout: float) -> ScratchTest:
    """``nginx -t`` on the staged configuration, for at most ``timeout`` seconds."""
    try:
        result = subprocess.run(
            [*spare.command, "-t"], capture_output=True, timeout=timeout, check=False, **spare.options()
        )
    except subprocess.TimeoutExpired:
        return ScratchTest(None, (f"nginx -t did not finish within {timeout:g} s",))
    except (OSError, subprocess.SubprocessError) as error:
        return ScratchTest(None, (not_started(spare, error),))
    output = spare.in_host_words(result.stderr.decode(errors="replace")).splitlines()[:MAX_LINES]
    lines = tuple(safe_line(line) for line in output)
    # Names of other hosts are not resolved; if one was missed, that says nothing about the configuration.
    is_lookup = result.returncode != 0 and any(
        "host not found" in line for line in lines if "[emerg]" in line
    )
    return ScratchTest(None if is_lookup else result.returncode == 0, lines)


def not_started(spare: SpareNginx, error: Exception) -> str:
    """Why the spare nginx did not start, in one line. SubprocessError: giving up the privileges failed."""
    if isinstance(error, OSError):
        return safe_line(f"{spare.command[0]} does not run: {error.strerror or error}")
    return "nginx cannot be run here without privileges and network: that takes CAP_SYS_ADMIN (unshare(2))"


def below(root: Path, path: str) -> Path:
    """The path below ``root`` of the host's absolute ``path``; ``..`` does not lead out of it."""
    return root / os.path.normpath("/" + path).lstrip("/")


def confine_links(root: Path) -> None:
    """Rewrite every symbolic link below ``root`` to lead where it would if ``root`` were the host's ``/``."""
    for directory, directories, files in os.walk(root):
        for name in (*directories, *files):
            link = Path(directory, name)
            if not link.is_symlink():
                continue
            destination = str(link.readlink())
            home = PurePosixPath("/") / link.parent.relative_to(root)
            target = below(root, str(home / destination))
            climbs = os.path.normpath(link.parent / destination) != str(target)
            if destination.startswith("/") or climbs:
                link.unlink()
                link.symlink_to(os.path.relpath(target, link.parent))


def _module_directories(build: Mapping[str, str]) -> tuple[str, ...]:
    """The directories of this host with the modules of the nginx in ``build``."""
    if "prefix" not in build:
        return _MODULE_DIRECTORIES
    prefix = PurePosixPath(build["prefix"])
    return (str(prefix / build.get("modules-path", "modules")), str(prefix / "modules"), *_MODULE_DIRECTORIES)


@dataclass
class _Staged:
    """The staged configuration as read, before it is rewritten.

    ``programs``: nginx, and the modules that it has loaded so far; ``contexts``: its files, and whether each is a table
    of values; ``upstreams``: names that are not hosts, in lower case."""

    root: Path
    config_directory: str
    prefix: str
    module_directories: tuple[str, ...]
    programs: list[Path]
    parsed: dict[Path, list[dict[str, Any]]] = field(default_factory=dict)
    contexts: dict[Path, bool] = field(default_factory=dict)
    upstreams: set[str] = field(default_factory=set)
    bytes_left: int = MAX_BYTES

    def shown(self, path: Path) -> str:
        """The path as on the host."""
        return "/" + str(path.relative_to(self.root))

    def review(self, path: Path, context: str, depth: int) -> None:
        """Read one staged file and its includes. Raises UntestedError for directives that no nginx may be given,
        ScratchError."""
        is_table = context in _TABLES
        if path in self.contexts:
            if self.contexts[path] != is_table:
                # In a table of values the words are not checked, and a file is rewritten only once.
                words = self.shown(path)
                raise UntestedError(
                    Text(
                        en=f"{words} is included as directives and as a table of values",
                        zh=f"{words} 既作为指令、又作为取值表被包含",
                    )
                )
            return
        self.bytes_left -= path.stat().st_size
        if depth > MAX_DEPTH or self.bytes_left < 0:
            raise _too_large(self.shown(path))
        self.contexts[path] = is_table
        self.parsed[path] = self._parse(path)
        self._review_block(path, self.parsed[path], context, depth)

    def _review_block(
        self, path: Path, nodes: list[dict[str, Any]], context: str, depth: int, blocks: int = 0
    ) -> None:
        if blocks > MAX_BLOCKS:
            raise _too_large(self.shown(path))
        for node in nodes:
            name, args = node["directive"], node["args"]
            if name == "include" and args:
                for included in filter(None, map(self.real, self.included(args[0]))):
                    self.review(included, context, depth + 1)
            elif context not in _TABLES:
                place = f"{self.shown(path)}:{node['line']}"
                if name == "load_module" and args:
                    self._review_module(args[0], place)
                elif (why := objection(name, args, place, self._understands)) is not None:
                    raise UntestedError(why)
                if name == "upstream" and args:
                    self.upstreams.add(args[0].lower())
            if node.get("block") is not None:
                self._review_block(path, node["block"], name, depth, blocks + 1)

    def _review_module(self, name: str, place: str) -> None:
        """Only modules of this host's own nginx, installed by root, are loaded."""
        module = self.module(name)
        directories = {os.path.realpath(each) for each in self.module_directories}
        why = Text(en="it is none of the modules of this host's nginx", zh="不是本机 nginx 自带的模块")
        if module.parent.as_posix() in directories and module.is_file():
            distrusted = reason_not_to_trust(str(module))
            if distrusted is None:
                self.programs.append(module)
                return
            why = Text(en=distrusted, zh=chinese(distrusted))
        statement = safe_line(f"{place} load_module {name}", 200)
        raise UntestedError(
            Text(en=f"it loads code ({statement}): {why.en}", zh=f"其中会加载代码（{statement}）：{why.zh}")
        )

    def _understands(self, name: str) -> bool:
        """Whether this nginx, or a module of it, may know a directive of this name: whether its file contains the word.
        A script that starts another program may know any."""
        word = name.encode(errors="replace") + b"\0"
        contents = (program.read_bytes() for program in self.programs)
        return any(word in content or not content.startswith(b"\x7fELF") for content in contents)

    def module(self, name: str) -> Path:
        """The host's file (never the archive's) of ``load_module``; its path is relative to the prefix."""
        return Path(os.path.realpath(PurePosixPath(self.prefix) / name))

    def included(self, pattern: str) -> list[Path]:
        """The staged paths of an include, as written and below the root. Raises UntestedError."""
        mapped = str(self.read(pattern))
        matches = sorted(glob.glob(mapped)) if glob.has_magic(mapped) else [mapped]  # noqa: PTH207  as nginx does
        if _ODD_PATTERN.search(pattern) or any(map(glob.has_magic, matches)):
            words = safe_line(pattern, 200)
            raise UntestedError(
                Text(
                    en=f"it includes files by an odd pattern ({words})",
                    zh=f"include 的匹配模式过于特殊（{words}）",
                )
            )
        return [Path(each) for each in matches]

    def real(self, path: Path) -> Path | None:
        """The file itself: a link may lead to one that another include names. None if there is none."""
        real = path.resolve()
        return real if real.is_file() and real.is_relative_to(self.root) else None

    def read(self, name: str) -> Path:
        """The staged path of a file relative to the configuration's directory."""
        return below(self.root, str(PurePosixPath(self.config_directory) / name))

    def _parse(self, path: Path) -> list[dict[str, Any]]:
        import crossplane

        host_path = self.shown(path)
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise ScratchError(
                    Text(
                        en=f"{host_path} is larger than 4 MiB; this is no nginx configuration",
                        zh=f"{host_path} 超过 4 MiB，不是 nginx 配置",
                    )
                )
            payload = crossplane.parse(
                str(path), single=True, catch_errors=True, check_ctx=False, check_args=False, strict=False
            )
        except (OSError, RecursionError, ValueError) as error:
            raise ScratchError(safe_line(f"{host_path} cannot be parsed: {error}")) from None
        for trouble in payload.get("errors", ()):
            words = str(trouble.get("error", "")).replace(str(path), host_path)
            raise ScratchError(safe_line(f"{host_path} cannot be parsed: {words}"))
        directives: list[dict[str, Any]] = payload["config"][0]["parsed"]
        return directives


def _too_large(name: str) -> UntestedError:
    words = safe_line(name, 200)
    return UntestedError(
        Text(en=f"{words} makes it too large, or nests too deeply", zh=f"{words} 使配置过大，或嵌套过深")
    )


@dataclass
class _Rewriting:
    staged: _Staged
    run: Path
    build: dict[str, str]
    addresses: dict[str, str] = field(default_factory=dict)
    written: set[Path] = field(default_factory=set)
    at_http: set[str] = field(default_factory=set)

    def file(self, path: Path, context: str, depth: int) -> None:
        """Rewrite one staged file and its includes."""
        if path in self.written:
            return
        self.written.add(path)
        tree = list(self._block(self.staged.parsed[path], context, depth))
        if context == "main" and depth == 0:
            tree = [*self._main(), *tree]
        _write(path, tree)

    def _block(self, nodes: list[dict[str, Any]], context: str, depth: int) -> Iterator[dict[str, Any]]:
        for node in nodes:
            name: str = node["directive"]
            if name == "include" and node["args"]:
                yield from self._include(node["args"][0], context, depth)
                continue
            if context not in _TABLES and not self._directive(node, name, context):
                continue
            if node.get("block") is not None:
                node["block"] = list(self._block(node["block"], name, depth))
                if name == "server" and context == "http":
                    self._listens_somewhere(node["block"])
                if name == "http":
                    node["block"] = [*self._http(), *node["block"]]
            yield node

    def _include(self, pattern: str, context: str, depth: int) -> Iterator[dict[str, Any]]:
        """Each file by its own name: nginx must read exactly the files that were checked."""
        for each in self.staged.included(pattern):
            if (real := self.staged.real(each)) is not None:
                self.file(real, context, depth + 1)
            yield _node("include", str(each))  # if there is none, nginx reports it

    def _directive(self, node: dict[str, Any], name: str, context: str) -> bool:
        """Rewrite one directive in place; False if it is to be left out."""
        args: list[str] = node["args"]
        if context == "http":
            self.at_http.add(name)
        if (context == "main" and name in _REPLACED) or _LEFT_OUT.fullmatch(name):
            return False
        if name == "load_module" and args:
            # Part of the program, not a saved file: the module of this host's nginx.
            node["args"] = [str(self.staged.module(args[0]))]
        elif reads_file(name) and args and not _NO_PATH.search(args[0]):
            node["args"] = [str(self.staged.read(args[0])), *args[1:]]
        elif name in _LOGS and args:
            node["args"] = [self._log(args[0]), *args[1:]]
        elif name in _WRITTEN and args and not _NO_PATH.search(args[0]):
            node["args"] = [str(self._written(args[0])), *args[1:]]
        elif name in ("root", "alias") and args and args[0].startswith("/"):
            path = below(self.staged.root, args[0])
            node["args"] = [str(path) if path.exists() else args[0]]
        elif name == "listen" and args and context == "server":
            node["args"] = [self._address(args[0]), *(o for o in args[1:] if not _DROPPED_OPTIONS.match(o))]
        elif name == "server" and context == "upstream" and args:
            options = (o for o in args[1:] if o != "resolve" and not o.startswith("service="))
            node["args"] = [self._nowhere, *options]
        elif name in _PASSES and args:
            node["args"] = [self._passed_nowhere(name, args[0], context), *args[1:]]
        elif name in _NAMES_HOSTS:
            node["args"] = [_without_name(arg) for arg in args]
        return True

    @property
    def _nowhere(self) -> str:
        """The replacement destination of requests: a socket on which nobody listens."""
        return f"unix:{self.run}/nowhere.sock"

    def _passed_nowhere(self, name: str, destination: str, context: str) -> str:
        """A destination that reaches nobody: an archive's configuration must not contact any service of this host or
        another."""
        scheme, separator, rest = (
            destination.partition("://") if "://" in destination else ("", "", destination)
        )
        if "$" in destination:
            # In stream, whose proxy_pass is in a server block, it is an address; in http it is a URL.
            default = "http://" if name == "proxy_pass" and context != "server" else ""
            return (f"{scheme}://" if separator and "$" not in scheme else default) + self._nowhere
        if _host_of(rest).lower() in self.staged.upstreams:
            return destination
        host, slash, path = rest.partition("/")
        uri = rest.removeprefix("unix:").partition(":")[2] if host == "unix:" else slash + path
        return f"{scheme}{separator}{self._nowhere}" + (f":{uri}" if uri else "")

    def _written(self, path_word: str) -> Path:
        path = below(self.run, str(PurePosixPath(self.staged.prefix) / path_word))
        if "$" not in str(path.parent):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def _log(self, destination: str) -> str:
        if destination in ("off", "stderr") or destination.startswith("memory:"):
            return destination
        # A drill does not write to the system log.
        return str(self._written("/syslog.log" if destination.startswith("syslog:") else destination))

    def _address(self, address: str) -> str:
        """A spare address for one of the host's; the same for the same."""
        key = _address_key(address)
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
        yield _node("worker_processes", "1")
        yield _node("pid", str(self.run / "nginx.pid"))
        yield _node("lock_file", str(self.run / "nginx.lock"))
        yield _node("error_log", str(self.run / "error.log"))

    def _http(self) -> Iterator[dict[str, Any]]:
        """Directives that replace the compiled-in paths (``nginx -V``), which are the host's."""
        for kind in _TEMPORARY:
            option = f"http-{kind.replace('_', '-')}-temp-path"
            if option in self.build and f"{kind}_temp_path" not in self.at_http:
                yield _node(f"{kind}_temp_path", str(self._written(self.build[option])))
        if "access_log" not in self.at_http:
            yield _node("access_log", str(self.run / "access.log"))


def _node(name: str, *args: str) -> dict[str, Any]:
    return {"directive": name, "line": 0, "args": list(args)}


def _without_name(address: str) -> str:
    """Loopback instead of a host that nginx would resolve."""
    match = _URL.fullmatch(address)
    if match is None or "$" in address or "=" in address or _is_address(address):
        return address
    if match["host"] == "unix" or _is_address(match["host"]):
        return address
    return f"{match['scheme'] or ''}{LOOPBACK}{match['rest']}"


def _host_of(address: str) -> str:
    """The host in ``host``, ``host:port`` or ``[address]:port``."""
    match = _URL.fullmatch(address)
    return match["host"] if match else ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_network(host.strip("[]"), strict=False)
    except ValueError:
        return False
    return True


def _address_key(address: str) -> str:
    """A canonical spelling of an address: ``*:80``, ``[::]:80``, ``host:port``, ``unix:/path``."""
    if address.startswith("unix:"):
        return address
    if is_port(address):
        return f"*:{address}"
    host, colon, port = address.rpartition(":")
    if not colon or not is_port(port) or (address.startswith("[") and address.endswith("]")):
        host, port = address, "80"
    return f"{'*' if host in ('*', '0.0.0.0') else host}:{port}"  # noqa: S104


def _spare_port(addresses: Any) -> int:
    """A free port of loopback that was not handed out before."""
    ports = {address.rpartition(":")[2] for address in addresses}
    with contextlib.ExitStack() as stack:
        while True:
            probe = stack.enter_context(socket.socket())
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
            if str(port) not in ports:
                return port


def _write(path: Path, tree: list[dict[str, Any]]) -> None:
    # A read-only file is replaced all the same.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".gte-ops-")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.writelines(_lines(tree, ""))
    os.replace(name, path)  # noqa: PTH105


def _lines(tree: list[dict[str, Any]], margin: str) -> Iterator[str]:
    """The tree as text. Not crossplane.build, which leaves a word that begins with # unquoted: a comment to nginx."""
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


def _word(value: str) -> str:
    """One word as nginx reads it back (ngx_conf_read_token); the lexer kept all backslashes but those of quotes."""
    if _PLAIN.fullmatch(value):
        return value
    return '"' + _OPEN_QUOTE.sub(r"\1\"", value) + '"'


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdecimal())
