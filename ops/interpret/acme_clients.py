"""Clients of ACME authorities other than certbot: which jobs run them, and where they keep accounts, keys and DNS
credentials.

Sources: acme.sh's wiki ('How to install', 'Options and Params'); lego's documentation (--path); dehydrated's example
configuration (BASEDIR, CONFIG); getssl's README (-w)."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping

import msgspec

from ops.facts.safeguards import Schedule
from ops.interpret.schedule import Job, jobs_running

ROOT_HOME = "/root"


class _Kind(msgspec.Struct, frozen=True):
    """One program. ``options`` name directories, ``files`` a file in one; ``usual``: its directories otherwise."""

    name: str
    runs: re.Pattern[str]
    options: tuple[str, ...]
    usual: tuple[str, ...]
    files: tuple[str, ...] = ()


_KINDS = (
    _Kind(
        "acme.sh",
        re.compile(r"\bacme\.sh\b[\"']?[^;|&\n]*\s--(?:cron|renew-all|renew)\b"),
        ("--home", "--config-home", "--cert-home"),
        ("~/.acme.sh",),
    ),
    _Kind(
        "lego",
        re.compile(r"\blego\b[^;|&\n]*\s(?:renew|run)\b"),
        ("--path",),
        ("~/.lego", "/etc/lego", "/var/lib/lego"),
    ),
    _Kind(
        "dehydrated",
        re.compile(r"\bdehydrated\b[^;|&\n]*\s(?:-c|--cron)\b"),
        (),
        ("/etc/dehydrated", "/var/lib/dehydrated"),
        ("-f", "--config"),
    ),
    _Kind(
        "getssl",
        re.compile(r"\bgetssl\b[^;|&\n]*\s(?:-\w*[au]\w*|--all|--upgrade|\w[\w-]*\.[\w.-]+)(?:\s|$)"),
        ("-w",),
        ("~/.getssl", "/etc/getssl"),
    ),
)


class AcmeClient(msgspec.Struct, frozen=True):
    """A client that is scheduled or has its directory here. ``directories``: those that its jobs name, else the usual
    ones; ``jobs``: what runs it, idle or not; ``is_named``: a job names the directories; ``installed``: the files that
    it copies certificates to."""

    name: str
    directories: tuple[str, ...]
    jobs: tuple[Job, ...] = ()
    is_named: bool = False
    installed: tuple[str, ...] = ()


def acme_clients(
    schedule: Schedule, homes: Mapping[str, str], *, has_systemd: bool
) -> tuple[AcmeClient, ...]:
    """Every known client, with the jobs that run it. ``homes``: the home directory of each user with a crontab."""
    users = {f"{entry.file}:{entry.line}": entry.user for entry in schedule.cron}
    clients = []
    for kind in _KINDS:
        jobs = tuple(jobs_running(schedule, kind.runs, has_systemd=has_systemd))
        home_of = {job.where: homes.get(users.get(job.where, "root"), ROOT_HOME) for job in jobs}
        named = [place for job in jobs for place in _named(kind, job.command, home_of[job.where])]
        usual = [
            _at(home, place) for home in dict.fromkeys((*home_of.values(), ROOT_HOME)) for place in kind.usual
        ]
        directories = tuple(dict.fromkeys(named or usual))
        clients.append(AcmeClient(kind.name, directories, jobs, is_named=bool(named)))
    return tuple(clients)


def client_of(path: str, real_path: str, clients: tuple[AcmeClient, ...]) -> AcmeClient | None:
    """The client that writes a certificate: in its directory, by the configured or the resolved path, or where it was
    told to install it; None if none of them does."""
    for client in clients:
        if path in client.installed:
            return client
        for directory in client.directories:
            if path.startswith(f"{directory}/") or real_path.startswith(f"{directory}/"):
                return client
    return None


def _named(kind: _Kind, command: str, home: str) -> list[str]:
    words = _words(command)
    places = []
    for word, following in zip(words, (*words[1:], ""), strict=True):
        option, equals, value = word.partition("=")
        if option in (*kind.options, *kind.files):
            place = _at(home, value if equals else following)
            if place.startswith("/"):
                places.append(posixpath.dirname(place) if option in kind.files else place.rstrip("/"))
        elif kind.name == "acme.sh" and word.endswith("/acme.sh"):
            # Its own directory holds its accounts, unless an option names another.
            places.append(posixpath.dirname(_at(home, word)))
    return [place for place in places if place.startswith("/") and place.count("/") > 1]


def _at(home: str, place: str) -> str:
    for prefix in ("~/", "$HOME/", "${HOME}/"):
        if place.startswith(prefix):
            return posixpath.join(home, place.removeprefix(prefix))
    return place


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:
        return command.split()
