"""A flag for each ``GTE_*`` variable, under the variable's own name and those that other servers use.

A flag sets its variable for the service that is started, so flags, systemd's ``EnvironmentFile=`` and a container's
environment say the same thing in the same words.
"""

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_args, get_type_hints

import click

from service.language import is_chinese
from service.settings import PREFIX, ServerSettings, Settings, Variable

_Command = TypeVar("_Command", bound=Callable[..., Any])

# What text-embeddings-inference (--model-id, --dtype, --max-client-batch-size, --max-batch-tokens, --payload-limit,
# --cors-allow-origin, --hostname, --port) and infinity (--model-id, --dtype, --host, --port) call the same things.
_OTHER_NAMES = {
    "model_dir": ("--model-id",),
    "precision": ("--dtype",),
    "api_keys_file": ("--api-keys",),
    "batch_tokens": ("--max-batch-tokens",),
    "max_batch": ("--max-client-batch-size",),
    "max_body_bytes": ("--payload-limit",),
    "cors_origins": ("--cors-allow-origin",),
}
# The ones that most people set, in the order of the help text; the others follow in the order of the settings.
_FIRST = ("model_dir", "precision", "bind", "workers", "api_keys_file", "model_threads", "threads")
_HOST, _PORT = "127.0.0.1", "8000"


@dataclass(frozen=True)
class Flag:
    """A setting's flag: its ``field``, its ``names``, the variable that it sets, and what that means."""

    field: str
    names: tuple[str, ...]
    is_switch: bool
    about: Variable

    @property
    def variable(self) -> str:
        """The environment variable."""
        return PREFIX + self.field.upper()

    @property
    def help(self) -> str:
        """The meaning and the variable, in the reader's language."""
        text = self.about.zh if is_chinese() else self.about.en
        return f"{text}  [{self.variable}]"


def _flags_of(group: type) -> dict[str, Flag]:
    flags = {}
    for field, hint in get_type_hints(group, include_extras=True).items():
        kind, *notes = get_args(hint)
        (about,) = (note for note in notes if isinstance(note, Variable))
        names = (f"--{field.replace('_', '-')}", *_OTHER_NAMES.get(field, ()))
        flags[field] = Flag(field, names, kind is bool, about)
    return flags


PREDICTION_FLAGS = _flags_of(Settings)
SERVER_FLAGS = _flags_of(ServerSettings)


def options(flags: Mapping[str, Flag]) -> Callable[[_Command], _Command]:
    """A decorator that gives a command these flags, the usual ones first."""
    order = [field for field in _FIRST if field in flags]
    order += [field for field in flags if field not in order]

    def decorate(command: _Command) -> _Command:
        for field in reversed(order):
            flag = flags[field]
            metavar = None if flag.is_switch else flag.about.example
            command = click.option(
                *flag.names, field, is_flag=flag.is_switch, default=None, metavar=metavar, help=flag.help
            )(command)
        return command

    return decorate


def environment(values: Mapping[str, Any], flags: Mapping[str, Flag]) -> dict[str, str]:
    """The variables that these values of flags set; a flag that was not given sets none."""
    given = {field: value for field, value in values.items() if field in flags and value is not None}
    return {
        flags[field].variable: "1" if value is True else str(value)
        for field, value in given.items()
        if value is not False
    }


def address(host: str | None, port: str | None, bind: str | None) -> str | None:
    """``--bind``, or the address that ``--host`` and ``--port`` make.

    Raises:
        click.UsageError: both were given.
    """
    if host is None and port is None:
        return bind
    if bind is not None:
        raise click.UsageError("--bind is the whole address: give it without --host and --port")
    name = host or _HOST
    if ":" in name and not name.startswith("["):
        name = f"[{name}]"
    return f"{name}:{port or _PORT}"


def in_flags(message: str, given: Mapping[str, str], flags: Mapping[str, Flag]) -> str:
    """An error of the settings, with the flag in place of the variable that the flag set."""
    for flag in flags.values():
        if flag.variable in given and message.startswith(f"{flag.variable}="):
            return message.replace(f"{flag.variable}=", f"{flag.names[0]} ", 1)
    return message


def address_in_use(bind: str) -> str | None:
    """Why gunicorn could not listen on ``bind`` (HOST:PORT or unix:PATH) now; None if it could, or if this cannot
    tell."""
    if bind.startswith("unix:"):
        return _socket_in_use(bind.removeprefix("unix:"))
    host, colon, port = bind.rpartition(":")
    if not colon or not port.isdigit():
        return None
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host.strip("[]") or "0.0.0.0",  # noqa: S104  what gunicorn makes of ":8000"
            int(port),
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except (OSError, OverflowError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def _socket_in_use(path: str) -> str | None:
    if not os.path.exists(path):  # noqa: PTH110  an abstract name is no path
        return None
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return None  # left behind by a server that has ended
    return "another server listens on it"
