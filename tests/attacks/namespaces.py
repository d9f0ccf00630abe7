"""A test's body as root on a host of its own: mount, pid, network, IPC and host name namespaces that end with it.

The paths are a real host's (/etc/nginx, /run, /root, /var): what is written to them stays in memory, and the machine's
own files are seen below it. Every process that the body starts ends with the pid namespace, whatever became of it.

    @on_a_host_of_its_own
    def test_something(kind: str) -> None:
        ...  # runs as root, inside; arguments are JSON
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.system.guide_host import overlay, run

REPOSITORY = Path(__file__).resolve().parents[2]
NAMESPACES = ("--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--mount-proc", "--kill-child")
# A body that hangs is a failure, found by this deadline.
SECONDS = 100.0
# A report among the local variables has many thousand characters.
MAX_LINE = 2000


@functools.cache
def _missing() -> str | None:
    """Why namespaces cannot be made here; None where they can: by root, but not inside every container."""
    if os.geteuid() != 0:
        return "namespaces of its own need root"
    if wanted := [name for name in ("unshare", "ip", "setpriv", "gcc", "nginx") if not shutil.which(name)]:
        return f"not installed: {', '.join(wanted)}"
    tried = subprocess.run(["unshare", *NAMESPACES, "true"], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"no namespaces here: {tried.stderr.strip()}"


def on_a_host_of_its_own(body: Callable[..., None]) -> Callable[..., None]:
    """The test ``body``, run inside. Raises AssertionError with its traceback, local variables included."""

    @functools.wraps(body)
    def outside(**arguments: Any) -> None:
        if reason := _missing():
            pytest.skip(reason)
        name = Path(body.__code__.co_filename).relative_to(REPOSITORY).with_suffix("")
        command = [sys.executable, "-m", "tests.attacks.namespaces", ".".join(name.parts), body.__name__]
        try:
            ran = subprocess.run(
                ["unshare", *NAMESPACES, *command, json.dumps(arguments), *_namespaces()],
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as hung:
            said = (hung.stderr or b"").decode(errors="replace") if isinstance(hung.stderr, bytes) else ""
            pytest.fail(f"it did not end within {SECONDS:g} s\n{said}", pytrace=False)
        if ran.returncode != 0:
            pytest.fail(f"exit {ran.returncode}\n{ran.stdout}{ran.stderr}", pytrace=False)

    return outside


def _namespaces() -> list[str]:
    """The mount, pid and network namespaces of this process, as the kernel names them."""
    return [os.readlink(f"/proc/self/ns/{kind}") for kind in ("mnt", "pid", "net")]  # noqa: PTH115


def _make_private() -> None:
    """The host's places, private and as a package leaves them; loopback alone for a network."""
    if os.getpid() != 1:  # what follows would befall this machine
        raise AssertionError("not in namespaces of its own: this is started by unshare alone")
    os.umask(0o022)
    overlay("/etc", "/root", "/var", "/tmp", "/usr/lib", "/usr/local", "/usr/sbin")
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/srv")
    run("mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", "/dev/shm")
    Path("/run").chmod(0o755)
    Path("/tmp").chmod(0o1777)
    for place in ("/var/lib/gte-ops", "/var/backups/gte-ops", "/etc/gte-ops"):
        shutil.rmtree(place, ignore_errors=True)
    run("ip", "link", "set", "lo", "up")
    # The lab's stacks in a directory that is root's alone, as a service's are; /tmp is everybody's.
    Path("/srv/lab").mkdir()
    os.environ["TMPDIR"] = tempfile.tempdir = "/srv/lab"
    os.environ["LC_ALL"] = "C.UTF-8"
    os.environ["PATH"] = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    for name in [name for name in os.environ if name.startswith("GTE_") or name.lower().endswith("_proxy")]:
        del os.environ[name]


def _enter(module: str, name: str, arguments: dict[str, Any]) -> int:
    """Runs one body; 0 where it passed."""
    try:
        getattr(importlib.import_module(module), name).__wrapped__(**arguments)
    except BaseException as error:  # noqa: BLE001  a skip or an exit is no pass either
        lines = traceback.TracebackException.from_exception(error, capture_locals=True).format()
        sys.stderr.write("\n".join(line[:MAX_LINE] for part in lines for line in part.splitlines()) + "\n")
        return 1
    return 0


def _main() -> int:
    """The namespaces' first process: it reaps whatever is orphaned, until the body has ended.

    Raises SystemExit where any of the namespaces is the caller's own: what is mounted would stay with the machine."""
    theirs = sys.argv[4:]
    if len(theirs) != 3 or os.getpid() != 1 or set(theirs) & set(_namespaces()):
        raise SystemExit("only a test starts this, in namespaces of its own")
    _make_private()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = _enter(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(_main())
