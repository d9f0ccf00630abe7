"""Decide which processes, files and records to trust, and for which users.

A command line and a title are a process's own memory, a pidfile and a record are the content of a file: their owner
can write anything there. The kernel's facts (user, namespaces, owner and mode of a file) are proof. The rule: no
untrusted statement makes root do something that the user behind the statement could not have done.

``caller`` is the effective user id of the run that collected the facts; root and the caller are trusted.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import PurePosixPath

from ops.facts.host import Process, Processes
from ops.files.ownership import ROOT


class Standing(StrEnum):
    """The scope in which a process is trusted: the host, the files of its own user, or its container alone."""

    HOST = "host"
    USER = "user"
    CONTAINER = "container"


def standing(process: Process, caller: int) -> Standing:
    """Return the scope of trust: the host for a process of root or the caller that is in no container.

    A set-user-ID program is not trusted for the host: the user that started it chose its title."""
    if process.is_nested or process.has_other_root:
        return Standing.CONTAINER
    if process.uid is None:  # a snapshot from before the user id was recorded
        return Standing.HOST if process.user == "root" else Standing.USER
    if process.uid in (ROOT, caller) and not process.is_setuid:
        return Standing.HOST
    return Standing.USER


def speaks_for_host(process: Process, caller: int) -> bool:
    """Whether a process is trusted about the host's programs and configurations."""
    return standing(process, caller) is Standing.HOST


def speaks_for(process: Process, owner: int, caller: int) -> bool:
    """Whether a process is trusted about the files of user ``owner``: the host's for all users."""
    where = standing(process, caller)
    of_user = where is Standing.USER and process.uid == owner and not process.is_setuid
    return where is Standing.HOST or of_user


def may_name(owner: int, process_uid: int, caller: int) -> bool:
    """Whether a file of user ``owner`` (a pidfile, a progress record) may name a process of ``process_uid``: a file of
    root or the caller may name any process, another user's file only a process of that user."""
    return owner in (ROOT, caller, process_uid)


# --- nginx --------------------------------------------------------------------------------------------------------

# The names of nginx's program and of well-known builds of it; a suffix may follow.
_NGINX_PROGRAMS = ("nginx", "openresty", "angie", "tengine", "freenginx")


def is_nginx_program(executable: str | None) -> bool:
    """Whether a process's program may be nginx; true if it was not seen."""
    if executable is None:
        return True
    # The kernel marks the executable of a replaced program (proc(5), /proc/pid/exe).
    return PurePosixPath(executable.removesuffix(" (deleted)")).name.startswith(_NGINX_PROGRAMS)


def posing_as_nginx(processes: Processes) -> tuple[tuple[Process, Standing], ...]:
    """Return the processes with the title of nginx's master that are not trusted for the host's nginx, each with its
    scope of trust.

    A process in another network namespace serves none of this host's addresses, and counts as a container's: a drill
    starts such an nginx from a backup."""
    impostors = []
    for process in processes.processes:
        if not " ".join(process.command).strip().startswith("nginx: master process"):
            continue
        where = standing(process, processes.caller)
        if where is Standing.USER and process.has_other_network:
            impostors.append((process, Standing.CONTAINER))
        elif where is not Standing.HOST:
            impostors.append((process, where))
        elif not is_nginx_program(process.executable):
            impostors.append((process, Standing.USER))
    return tuple(impostors)
