"""Redact a snapshot before it leaves its host: remove credentials, query strings and, on request, clients' addresses.

Private keys never enter a snapshot. This module removes other secrets of logs, command lines and configurations: by
name and by form (`ops.text.secret_scan`), and by place. Facts that checks read keep their form, so that the same
causes are found.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from pathlib import PurePosixPath
from typing import Any

import msgspec

from ops.facts.changes import Changes
from ops.facts.gunicorn import Gunicorn, GunicornConfig
from ops.facts.host import Host, Process, Processes
from ops.facts.nginx import NginxConfig
from ops.facts.safeguards import Rotation, Schedule
from ops.facts.site_causes import SiteCauses
from ops.facts.snapshot import Snapshot
from ops.facts.target import Target
from ops.interpret.gunicorn import holder, is_gunicorn
from ops.interpret.judged_settings import without_private_value
from ops.interpret.nginx import nginx_workers, serving_masters, title
from ops.interpret.redaction_changes import redacted_changes
from ops.interpret.redaction_nginx import redacted_nginx
from ops.interpret.redaction_schedule import redacted_rotation, redacted_schedule
from ops.text.sanitize import HIDDEN, without_secrets
from ops.text.secret_scan.command_lines import without_secret_arguments
from ops.text.secret_scan.entropy import without_random_words
from ops.text.secret_scan.values import is_secret

# The query of a request line, a logged URL or a header: from '?' to the next blank, quote or bracket.
_QUERY = re.compile(r"(?<=[\w/.%~:+@-])\?[^\s\"'<>|)]+")
_ADDRESS = re.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7})(?![\w.])"
)
# Sections with text from requests; elsewhere a '?' is a pattern of nginx's or a placeholder.
_FROM_REQUESTS = ("logs", "front", "backend", "upstreams")
# Sections and fields with hashes, names and paths that are compared, or that identify a file.
_COMPARED = frozenset(
    {
        "host", "target", "certificates", "served", "elsewhere", "old_tls", "model", "model_access", "environment",
        "backups", "application", "machine", "open_logs", "footprint", "resolution",
        "fingerprint", "public_key", "serial", "subject", "issuer", "names", "path", "resolved", "file", "files",
        "name", "what",
    }
)  # fmt: skip
# The other names that may follow Set-Cookie in proxy_ignore_headers: no header's value.
_IGNORED_HEADERS = {"cache-control", "expires", "vary"}
# Fields with lists in which one word names the next: an option's argument, a header's value.
_WORDS_IN_PAIRS = ("args", "headers", "command", "commands")
_NAME = re.compile(r"-{0,2}[\w.-]{1,80}")
# The commands of the toolkit's own watchdog, which are kept.
_WATCHDOG_VERBS = ("pause", "resume", "status")


def redacted(snapshot: Snapshot, *, hide_clients: bool = False) -> Snapshot:
    """Return ``snapshot`` without secrets. ``hide_clients``: clients' addresses become ``client-1``, ``client-2``..."""
    plain = msgspec.to_builtins(_by_place(snapshot))
    own_addresses = snapshot.host.addresses if isinstance(snapshot.host, Host) else ()
    hide = _client_hider(own_addresses) if hide_clients else None
    for section, value in plain.items():
        clean = _Cleaning(from_requests=section in _FROM_REQUESTS, hide=hide)
        plain[section] = clean.value(value, hashes=section in _COMPARED)
    if isinstance(snapshot.site_causes, SiteCauses):
        # Conditions quote logs; a definition's patterns keep their form.
        clean = _Cleaning(from_requests=True, hide=hide)
        for cause in plain["site_causes"]["causes"]:
            cause["observations"] = clean.value(cause["observations"])
    return msgspec.convert(plain, type=Snapshot)


def redacted_plain(value: Any) -> Any:
    """Return plain data (`msgspec.to_builtins`) of any kind without secrets."""
    return _Cleaning(from_requests=False, hide=None).value(value)


def redacted_text(words: str) -> str:
    """Return a text without secrets and without words that look like keys."""
    return without_random_words(without_secrets(words))


class _Cleaning:
    """Redacts the strings of a section. ``from_requests``: query strings too and, by ``hide``, clients' addresses."""

    def __init__(self, *, from_requests: bool, hide: Callable[[str], str] | None) -> None:
        self._from_requests = from_requests
        self._hide = hide

    def value(self, value: Any, key: str = "", *, hashes: bool = False) -> Any:
        """Return ``value`` without secrets. ``key``: its field; ``hashes``: keep hashes, because they are compared."""
        if isinstance(value, str):
            return self._words(value, hashes=hashes)
        if isinstance(value, list | tuple):
            items = _without_paired(value) if key in _WORDS_IN_PAIRS else value
            return [self.value(item, key, hashes=hashes) for item in items]
        if isinstance(value, dict):
            return {
                name: HIDDEN
                if not hashes and isinstance(item, str) and is_secret(str(name), item)
                else self.value(item, str(name), hashes=hashes or name in _COMPARED)
                for name, item in value.items()
            }
        return value

    def _words(self, words: str, *, hashes: bool) -> str:
        words = without_secrets(words)
        if not hashes:
            words = without_random_words(words)
        if self._from_requests:
            words = _QUERY.sub("?" + HIDDEN, words)
            words = self._hide(words) if self._hide else words
        return words


def _without_paired(items: Iterable[Any]) -> list[Any]:
    """Hide the values in ``--token VALUE``, ``proxy_set_header Authorization VALUE``, ``("Set-Cookie", VALUE)``."""
    values = list(items)
    if not all(isinstance(item, str) for item in values):
        return values
    values = list(without_secret_arguments(values))
    for at, item in enumerate(values[:-1]):
        is_a_name = values[at + 1].lower() in _IGNORED_HEADERS
        if not is_a_name and _NAME.fullmatch(item) and is_secret(item, values[at + 1]):
            values[at + 1] = HIDDEN
    return values


# --- by place --------------------------------------------------------------------------------------------------------


def _by_place(snapshot: Snapshot) -> Snapshot:
    """Return ``snapshot`` without the parts of configurations and of foreign processes that are not read."""
    changes: dict[str, Any] = {}
    if isinstance(snapshot.nginx_config, NginxConfig):
        changes["nginx_config"] = redacted_nginx(snapshot.nginx_config)
    if isinstance(snapshot.gunicorn, Gunicorn) and isinstance(snapshot.gunicorn.config, GunicornConfig):
        config = snapshot.gunicorn.config
        assigned = {name: without_private_value(name, value) for name, value in config.assigned.items()}
        config = msgspec.structs.replace(config, assigned=assigned)
        changes["gunicorn"] = msgspec.structs.replace(snapshot.gunicorn, config=config)
    if isinstance(snapshot.schedule, Schedule):
        changes["schedule"] = redacted_schedule(snapshot.schedule)
    if isinstance(snapshot.rotation, Rotation):
        changes["rotation"] = redacted_rotation(snapshot.rotation)
    if isinstance(snapshot.changes, Changes):
        changes["changes"] = redacted_changes(snapshot.changes)
    if isinstance(snapshot.processes, Processes):
        ours = _own_processes(snapshot, snapshot.processes)
        processes = tuple(_own(p) if p.pid in ours else _foreign(p) for p in snapshot.processes.processes)
        changes["processes"] = msgspec.structs.replace(snapshot.processes, processes=processes)
    return msgspec.structs.replace(snapshot, **changes)


def _own_processes(snapshot: Snapshot, processes: Processes) -> set[int]:
    """Return the pids of the target's gunicorn, and of the nginx that serves it."""
    target = snapshot.target
    if not isinstance(target, Target):
        return set()
    ours = {pid for pid in (target.gunicorn_master, *target.gunicorn_workers) if pid is not None}
    # A second gunicorn at the service's address answers the service's users.
    sharing = [process for process in holder(processes, target.backend) if is_gunicorn(process)]
    ours |= {pid for process in sharing for pid in (process.pid, process.ppid) if pid > 1}
    for master in serving_masters(target, processes, snapshot.nginx_pidfile):
        ours |= {master.pid, *(worker.pid for worker in nginx_workers(processes.processes, master.pid))}
    return ours


def _own(process: Process) -> Process:
    """Hide secret arguments in GUNICORN_CMD_ARGS, which is a command line of gunicorn's."""
    arguments = (process.environment or {}).get("GUNICORN_CMD_ARGS", "")
    try:
        words = shlex.split(arguments)
    except ValueError:  # an unclosed quotation: hide it all
        words = [HIDDEN]
    plain_words = list(without_secret_arguments(("gunicorn", *words))[1:])
    if plain_words == words and HIDDEN not in words:
        return process
    environment = {**(process.environment or {}), "GUNICORN_CMD_ARGS": shlex.join(plain_words)}
    return msgspec.structs.replace(process, environment=environment)


def _foreign(process: Process) -> Process:
    """Reduce a foreign process to the facts that identify its program."""
    return msgspec.structs.replace(
        process,
        command=_kind(process),
        cwd=None,
        # The executable distinguishes nginx from a program that only has its title.
        executable=process.executable if title(process).startswith("nginx: ") else None,
        environment=None if process.environment is None else {},
    )


def _kind(process: Process) -> tuple[str, ...]:
    text = title(process)
    if text.startswith("nginx: master process"):
        # The configuration file in the title distinguishes masters.
        words = text.removeprefix("nginx: master process").split()
        file_words = [word for at, word in enumerate(words) if at == 0 or "-c" in words[at - 1 : at + 1]]
        return (" ".join(("nginx: master process", *file_words)),)
    if text.startswith("nginx: "):
        return ((re.match(r"nginx: [a-z ]{0,40}", text) or ["nginx:"])[0].strip(),)
    if is_gunicorn(process):
        return ("gunicorn",)
    if _is_watchdog(process):
        verbs = tuple(word for word in process.command if word in _WATCHDOG_VERBS)
        return ("gte-ops", "watchdog", *verbs[:1])
    first = process.command[0].split()[:1] if process.command else []
    return (PurePosixPath(first[0]).name or process.name,) if first else ()


def _is_watchdog(process: Process) -> bool:
    names = {PurePosixPath(word).name for word in process.command[:6]}
    return "watchdog" in process.command and bool(names & {"gte-ops", "ops.cli"})


# --- clients ---------------------------------------------------------------------------------------------------------


def _client_hider(own_addresses: tuple[str, ...]) -> Callable[[str], str]:
    """Return a function that gives each address a name of its own, except loopback and ``own_addresses``."""
    names: dict[str, str] = {}

    def name_of(match: re.Match[str]) -> str:
        text = match[0]
        try:
            address = ip_address(text)
        except ValueError:
            return text
        if address.is_loopback or address.is_unspecified or text in own_addresses:
            return text
        return names.setdefault(str(address), f"client-{len(names) + 1}")

    return lambda words: _ADDRESS.sub(name_of, words)
