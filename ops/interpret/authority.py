"""Whose word counts: which process, file or record may decide what this program does, and for whom.

A command line and a title are a process's own memory, a pidfile and a record are a file's content: each says what its
owner wants. What the kernel says of it (user, namespaces, owner and mode of a file) is proof. The rule: nobody's word
makes a run of root's do what its owner could not have done itself.

``caller`` is the effective user id of the run that looked; root's and the caller's own word is believed.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import PurePosixPath

from ops.facts.host import Process, Processes
from ops.files.ownership import ROOT


class Standing(StrEnum):
    """How far a process's word reaches: for the host, for its own user's files, or in its container alone."""

    HOST = "host"
    USER = "user"
    CONTAINER = "container"


def standing(process: Process, caller: int) -> Standing:
    """A process of root's or of the caller's among this host's own speaks for the host.

    Not one whose program is set-user-ID: whoever called it chose its title."""
    if process.is_nested or process.has_other_root:
        return Standing.CONTAINER
    if process.uid is None:  # a snapshot of before the user id was kept
        return Standing.HOST if process.user == "root" else Standing.USER
    if process.uid in (ROOT, caller) and not process.is_setuid:
        return Standing.HOST
    return Standing.USER


def speaks_for_host(process: Process, caller: int) -> bool:
    """Whether what a process says of programs and configurations is believed."""
    return standing(process, caller) is Standing.HOST


def speaks_for(process: Process, owner: int, caller: int) -> bool:
    """Whether a process is believed about the files of user ``owner``: its own user's, and the host's about all."""
    where = standing(process, caller)
    of_user = where is Standing.USER and process.uid == owner and not process.is_setuid
    return where is Standing.HOST or of_user


def may_name(owner: int, process_uid: int, caller: int) -> bool:
    """Whether a file of user ``owner`` (a pidfile, a progress record) may name a process of ``process_uid``: root's and
    the caller's any, another user's only that user's own."""
    return owner in (ROOT, caller, process_uid)


# --- nginx --------------------------------------------------------------------------------------------------------

# What the program of an nginx is called: its own name, or that of a well-known build of it, perhaps with a suffix.
_NGINX_PROGRAMS = ("nginx", "openresty", "angie", "tengine", "freenginx")


def is_nginx_program(executable: str | None) -> bool:
    """Whether a process's program may be an nginx; true where it was not seen. The kernel marks a replaced one."""
    if executable is None:
        return True
    return PurePosixPath(executable.removesuffix(" (deleted)")).name.startswith(_NGINX_PROGRAMS)


def posing_as_nginx(processes: Processes) -> tuple[tuple[Process, Standing], ...]:
    """The processes that call themselves nginx's master and do not speak for the host's nginx, and how far each one's
    word reaches.

    One in another network namespace serves none of this host's addresses, and is as a container's: the nginx that a
    drill starts from a backup is one."""
    found = []
    for process in processes.processes:
        if not " ".join(process.command).strip().startswith("nginx: master process"):
            continue
        where = standing(process, processes.caller)
        if where is Standing.USER and process.has_other_network:
            found.append((process, Standing.CONTAINER))
        elif where is not Standing.HOST:
            found.append((process, where))
        elif not is_nginx_program(process.executable):
            found.append((process, Standing.USER))
    return tuple(found)
