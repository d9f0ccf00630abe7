"""nginx: its configuration on disk, the output of ``nginx -t``, its pidfile."""

from __future__ import annotations

import msgspec

from ops.facts.base import Facts


class Directive(Facts, frozen=True, cache_hash=True):
    """One directive of the configuration, includes resolved. ``block`` is None for a simple directive."""

    name: str
    args: tuple[str, ...]
    file: str
    line: int
    block: tuple[Directive, ...] | None = None

    @property
    def where(self) -> str:
        """Its place, ``FILE:LINE``."""
        return f"{self.file}:{self.line}"

    @property
    def written(self) -> str:
        """As in the configuration, without its block."""
        arguments = " ".join(self.args)
        if self.name == "if":
            arguments = f"({arguments})"
        return f"{self.name} {arguments}".strip()


class ParseError(Facts, frozen=True):
    """A place in the configuration that could not be parsed, or an included file that could not be read."""

    file: str
    line: int | None
    message: str
    permission: bool = False


class Include(Facts, frozen=True):
    """An include directive: its place, its pattern as an absolute path, and the names of the blocks around it, joined
    by spaces (empty: outside every block)."""

    where: str
    pattern: str
    context: str = ""


class UnloadedSite(Facts, frozen=True):
    """A file with server blocks that no include takes, and their names."""

    path: str
    names: tuple[str, ...]


class NginxConfig(Facts, frozen=True):
    """The configuration on disk as one tree. ``includes``: the directives that it was put together by, ``unloaded``:
    sites' files beside it that none of them takes. ``modified``: when each of its files was last changed;
    ``owner``: the user that the main file belongs to; ``distrusted``: why nginx is not run on it, None if it may
    be: users other than root and the caller could change its program, one of its files or code that it loads, or
    (``is_partly_read``) not all of it was read, so that it is not known who could change the rest."""

    binary: str | None
    version: str | None
    prefix: str
    file: str
    directives: tuple[Directive, ...]
    errors: tuple[ParseError, ...] = ()
    files: tuple[str, ...] = ()
    modified: dict[str, float] = msgspec.field(default_factory=dict)
    owner: int = 0
    distrusted: str | None = None
    is_partly_read: bool = False
    includes: tuple[Include, ...] = ()
    unloaded: tuple[UnloadedSite, ...] = ()

    def __hash__(self) -> int:
        return hash((self.file, self.directives))


class NginxTest(Facts, frozen=True):
    """``nginx -t``: its exit code and what it printed, line by line."""

    command: tuple[str, ...]
    exit_code: int
    lines: tuple[str, ...]


class Pidfile(Facts, frozen=True):
    """A pidfile. ``pid`` is None if it holds no number; ``missing``: it does not exist; ``uid``: its owner;
    ``is_alive``: some process has that pid, whichever it is; ``is_zombie``: that process has ended and was not
    reaped."""

    path: str
    pid: int | None = None
    missing: bool = False
    unreadable: str | None = None
    uid: int = 0
    is_alive: bool = False
    is_zombie: bool = False

    @property
    def is_in_the_way(self) -> bool:
        """Whether gunicorn refuses to start because of it: it takes any process with this pid, even a zombie, for a
        running instance (gunicorn, pidfile.py; kill(2))."""
        return self.is_alive or self.is_zombie


class SocketView(Facts, frozen=True):
    """A unix socket that nginx proxies to: whether it exists at this path for this process (``is_here``), and for
    nginx's master (``is_nginx_s``), which may have other mounts."""

    path: str
    nginx_pid: int
    is_here: bool
    is_nginx_s: bool
