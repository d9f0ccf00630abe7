"""Starts processes and answers for their end: however the test run dies, nothing of the lab outlives it.

Run as a process of its own (``Keeper`` below starts it). It makes itself the reaper of its descendants
(prctl(2), PR_SET_CHILD_SUBREAPER), so that a daemon that left its parent, its session and its group is still found.
When its standard input closes, which happens also when the test run is killed by SIGKILL, it kills them all and
removes the lab's directory.
One JSON object a line in, one out.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


class Keeper:
    """The other end of the process below: starts programs under it, and ends everything with it."""

    def __init__(self, directory: Path) -> None:
        """Starts the keeper of ``directory``, which is removed at the end.

        It is in its own session: Ctrl-C at the terminal reaches the test run alone, which ends things in order.
        """
        with (directory / "keeper.log").open("wb") as trouble:
            self._process = subprocess.Popen(
                [sys.executable, "-S", "-E", str(Path(__file__)), str(directory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=trouble,  # not the caller's, which would stay open as long as this runs
                start_new_session=True,
                text=True,
            )

    @property
    def pid(self) -> int:
        """The keeper's own process id: every process of the lab descends from it."""
        return self._process.pid

    def spawn(self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], output: Path) -> int:
        """Starts a program, standard output and error appended to ``output``, and returns its process id.

        Raises FileNotFoundError when the program is not there.
        """
        reply = self._ask({"argv": list(argv), "cwd": str(cwd), "env": dict(env), "output": str(output)})
        if "error" in reply:
            raise FileNotFoundError(reply["error"])
        return int(reply["pid"])

    def exit_code(self, pid: int) -> int | None:
        """How a program that was started here ended (negative: by that signal), None while it runs."""
        code = self._ask({"status": pid})["code"]
        return None if code is None else int(code)

    def close(self) -> None:
        """Kills everything, and returns when nothing is left. Safe to call twice."""
        if self._process.stdin and not self._process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait(timeout=20)
        if self._process.stdout:
            self._process.stdout.close()

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the keeper has no pipes")
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the keeper has gone")
        reply: dict[str, Any] = json.loads(line)
        return reply


def _descendants() -> list[int]:
    """Every live process below this one, from the parents in /proc/*/stat (proc(5))."""
    parents: dict[int, int] = {}
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            with contextlib.suppress(OSError):
                # The command name stands in parentheses and may hold anything; fields are counted from the last one.
                fields = (directory / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    parents[int(directory.name)] = int(fields[1])
    found: list[int] = []
    frontier = {os.getpid()}
    while frontier:
        frontier = {pid for pid, parent in parents.items() if parent in frontier}
        found += frontier
    return found


def _spawn(message: dict[str, Any]) -> dict[str, Any]:
    try:
        with Path(message["output"]).open("ab") as output:
            process = subprocess.Popen(
                message["argv"],
                cwd=message["cwd"],
                env=message["env"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                restore_signals=True,
            )
    except OSError as error:
        return {"error": str(error)}
    process.returncode = 0  # reaped in _reap, with the adopted ones
    return {"pid": process.pid}


def _reap(codes: dict[int, int]) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            codes[pid] = os.waitstatus_to_exitcode(status)


def _remove(directory: Path) -> None:
    import shutil  # only here: it would take a tenth of the keeper's start

    shutil.rmtree(directory, ignore_errors=True)


def main() -> None:
    """Serves requests until standard input closes, then kills all descendants."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)  # SIG_IGN would be inherited by what is started here
    codes: dict[int, int] = {}
    woken, waker = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ, "request")
    selector.register(woken, selectors.EVENT_READ, "child")
    buffer = b""
    while True:
        for key, _ in selector.select():
            if key.data == "child":
                os.read(woken, 4096)
                _reap(codes)
                continue
            received = os.read(0, 1 << 16)
            if not received:
                # Killing a parent can hand its newest child to us, so look again until nothing is left.
                while alive := _descendants():
                    for pid in alive:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                    _reap(codes)
                _remove(Path(sys.argv[1]))
                return
            buffer += received
            while b"\n" in buffer:
                line, _, buffer = buffer.partition(b"\n")
                message = json.loads(line)
                _reap(codes)
                if "status" in message:
                    reply: dict[str, Any] = {"code": codes.get(message["status"])}
                else:
                    reply = _spawn(message)
                    codes.pop(reply.get("pid", 0), None)  # an earlier process may have had this id
                sys.stdout.write(json.dumps(reply) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
