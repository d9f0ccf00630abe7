"""What a local user without any privilege can have: programs, nginx modules, processes under any title.

Each payload writes its words to a file that root alone can write: who finds them there was run as root.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.lab.waiting import wait_for

UID = 65534
PLACE = Path("/srv/attacker")
_OWNED = Path("/root/owned")

_PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int count, char **words) {
    if (getenv("DECOY"))
        for (;;)
            pause();
    seteuid(getuid()); /* a set-user-ID program takes its caller's rights back */
    FILE *owned = fopen("/root/owned", "a");
    if (owned) {
        for (int i = 0; i < count; i++)
            fprintf(owned, "%s ", words[i]);
        fputs("\\n", owned);
        fclose(owned);
    }
    fputs("nginx version: nginx/9.9.9\\nconfigure arguments: --prefix=/srv/attacker "
          "--conf-path=/srv/attacker/nginx.conf\\n", stderr);
    return 0;
}
"""
_MODULE = """
#include <stdio.h>

__attribute__((constructor)) static void run(void) {
    FILE *owned = fopen("/root/owned", "a");
    if (owned) {
        fputs("module\\n", owned);
        fclose(owned);
    }
}
"""


def owned() -> list[str]:
    """What was run as root since the last question, a line each."""
    lines = _OWNED.read_text().splitlines() if _OWNED.exists() else []
    _OWNED.unlink(missing_ok=True)
    return lines


def place(name: str = "", *, uid: int = UID, mode: int = 0o755) -> Path:
    """A directory of the attacker's, made with those above it."""
    path = PLACE / name
    path.mkdir(parents=True, exist_ok=True)
    for directory in (path, *path.parents):
        if directory.is_relative_to(PLACE):
            os.chown(directory, UID, UID)
    os.chown(path, uid, uid)
    path.chmod(mode)
    return path


def shared(name: str, *, mode: int = 0o755) -> Path:
    """A directory of root's, with nothing but root's above it; ``mode`` says who else may write there."""
    path = Path("/srv/shared") / name
    path.mkdir(parents=True)
    path.chmod(mode)
    return path


def give(path: Path, *, uid: int = UID) -> Path:
    """Makes ``path`` the attacker's."""
    os.chown(path, uid, uid, follow_symlinks=False)
    return path


def write(path: Path, text: str, *, uid: int = UID, mode: int = 0o644) -> Path:
    """A file of the attacker's."""
    path.write_text(text)
    path.chmod(mode)
    return give(path, uid=uid)


def program(path: Path, *, uid: int = UID, mode: int = 0o755) -> Path:
    """A program that says it is nginx when it is asked, and waits when it is started as a decoy."""
    _compile(_PROGRAM, path)
    give(path, uid=uid)
    path.chmod(mode)
    return path


def module(path: Path, *, uid: int = UID) -> Path:
    """A shared object that runs when nginx loads it."""
    _compile(_MODULE, path, "-shared", "-fPIC")
    return give(path, uid=uid)


def _compile(source: str, path: Path, *options: str) -> None:
    command = ["gcc", "-w", "-O0", *options, "-x", "c", "-", "-o", str(path)]
    subprocess.run(command, input=source, text=True, check=True)


def start(
    executable: Path | str,
    words: Sequence[str],
    *,
    uid: int = UID,
    within: Sequence[str] = (),
    cwd: Path | str = "/",
    environment: Mapping[str, str] | None = None,
) -> int:
    """A process of ``executable`` whose command line is ``words``, the first its title; its pid.

    ``within``: what starts it, such as unshare with its options. It ends with the namespace."""
    shell = 'program=$1 title=$2; shift 2; exec -a "$title" "$program" "$@"'
    environ = {"DECOY": "1", "PATH": os.environ["PATH"], **(environment or {})}
    subprocess.Popen(
        [*within, "bash", "-c", shell, "bash", str(executable), *words],
        cwd=cwd,
        env=environ,
        user=uid,
        group=uid,
        extra_groups=[],
        stdin=subprocess.DEVNULL,
    )
    wanted = b"\0".join(word.encode() for word in words) + b"\0"
    wait_for(lambda: _pid_of(wanted), f"{words[0]!r} to run")
    return _pid_of(wanted)


def _pid_of(command: bytes) -> int:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cmdline").read_bytes() == command:
                return int(entry.name)
        except OSError:
            continue
    return 0


def decoy(executable: Path | str, title: str = "nginx: master process nginx", **options: object) -> int:
    """A process that calls itself nginx."""
    return start(executable, [title], **options)  # type: ignore[arg-type]
