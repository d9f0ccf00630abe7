"""The stacks of a process's threads: from py-spy if it is installed, otherwise from the kernel.

Two equal dumps some seconds apart show that nothing moves. Only threads that work on a request are compared: a worker's
main loop moves in any case. Where an event loop serves, its thread is the main one, and it is at work while the loop
runs a request or any other callback: a request that awaits is on no stack.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ops.files.programs import trusted_program
from ops.supervision.state import LoopWork

DUMP_SECONDS = 5.0
MAX_DUMP_CHARS = 256 * 1024
# A frame of gunicorn's workers that is on the stack exactly while a request is processed (sync, gthread, 20.1 to 27).
# py-spy puts the name of the class before it if it knows that.
_REQUEST_FRAME = re.compile(r"^\s+(?:\w+\.)*handle_request \(", re.MULTILINE)
# The same for event loops: uvicorn's protocols on asyncio and uvloop, gunicorn's own (asgi), Tornado's, and the
# greenlets of gevent and eventlet, whose hub is on the stack while they all wait.
_LOOP_REQUEST_FRAME = re.compile(
    r"^\s+(?:[\w<>]+\.)*(?:run_asgi \(\S*uvicorn/|_handle_\w+ \(\S*gunicorn/asgi/|handle_request \(\S*tornado/"
    r"|handle_request \(\S*gunicorn/workers/(?:base_async|ggevent|geventlet|gtornado)\.py)",
    re.MULTILINE,
)
# asyncio has this frame on the stack exactly while it runs a callback (asyncio/events.py, Handle).
_CALLBACK_FRAME = re.compile(r"^\s+(?:Handle\.)?_run \(\S*asyncio/events\.py", re.MULTILINE)
# An application that is still being started: its worker boots.
_BOOT_FRAME = re.compile(r"/lifespan(?:/on)?\.py|\bload_wsgi \(|\bload \(\S*uvicorn/config\.py")
_THREAD = re.compile(r"^Thread .*$", re.MULTILINE)


@dataclass(frozen=True)
class Stacks:
    """``text`` for people; ``digest`` of the stacks that are compared, empty if nothing could be read.

    ``at_work``: the stacks of the threads that work on a request, by thread id; empty if they cannot be identified.
    ``loop_work``: what the event loop in the main thread runs, which is then at work too."""

    text: str
    digest: str
    at_work: dict[str, str] = field(default_factory=dict)
    loop_work: LoopWork = LoopWork.NONE

    def digest_of(self, threads: Iterable[str]) -> str:
        """The digest of the stacks of some of the threads at work."""
        return _digest("threads", [self.at_work[thread] for thread in sorted(threads)])


def find_py_spy() -> str | None:
    """py-spy beside this interpreter, otherwise on the PATH if no other user can have put it there; or None."""
    beside = Path(sys.executable).with_name("py-spy")
    return trusted_program(str(beside) if beside.exists() else "py-spy")


def dump(pid: int) -> Stacks:
    """The stacks of ``pid``. Never raises; if nothing can be read, ``text`` says so."""
    program = find_py_spy()
    if program is not None:
        # --nonblocking does not halt the process, but may read a stack while it changes: then try again with a halt.
        for options in (["--nonblocking"], []):
            text = _run([program, "dump", *options, "--pid", str(pid)])
            if text is not None and _THREAD.search(text):
                return read_stacks(text, pid)
    return _kernel_facts(pid)


def read_stacks(text: str, pid: int) -> Stacks:
    """py-spy's output for process ``pid``."""
    every = _by_thread(text)
    at_work = {thread: stack for thread, stack in every.items() if _REQUEST_FRAME.search(stack)}
    # A thread's id is the process's only in the main thread; an application's own loops run in others.
    main = str(pid)
    work = _loop_work(every.get(main, ""))
    if work != LoopWork.NONE:
        at_work[main] = every[main]
    return Stacks(text, _digest("python", sorted((at_work or every).values())), at_work, work)


def _loop_work(stack: str) -> LoopWork:
    if _LOOP_REQUEST_FRAME.search(stack):
        return LoopWork.REQUEST
    if _CALLBACK_FRAME.search(stack) and not _BOOT_FRAME.search(stack):
        return LoopWork.CALLBACK
    return LoopWork.NONE


def _run(command: list[str]) -> str | None:
    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=DUMP_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout[:MAX_DUMP_CHARS] if result.returncode == 0 else None


def _by_thread(text: str) -> dict[str, str]:
    """py-spy's output by thread: on Linux it uses the kernel's thread id."""
    starts = [match.start() for match in _THREAD.finditer(text)]
    threads = [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]
    # Whether a thread happened to wait or run says nothing about its position in the code.
    stacks = [re.sub(r" \((?:idle|active)[^)]*\)", "", thread, count=1).strip() for thread in threads]
    return {stack.split(maxsplit=2)[1].rstrip(":"): stack for stack in stacks}


def _kernel_facts(pid: int) -> Stacks:
    """What each thread waits for in the kernel (proc(5): wchan, syscall, stack), as far as it can be read."""
    lines: list[str] = []
    readable = False
    try:
        tasks = sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda task: int(task.name))
    except OSError as error:
        return Stacks(f"process {pid}: {error.strerror}\n", "")
    for task in tasks[:512]:
        facts = []
        for name in ("wchan", "syscall", "stack"):
            try:
                content = (task / name).read_text(errors="replace").strip()
            except OSError as error:
                content = f"({error.strerror})"
            else:
                readable = readable or name == "syscall"
            facts.append(f"{name}: {content}")
        lines.append(f"thread {task.name}\n  " + "\n  ".join(facts))
    text = "\n".join(lines) + "\n"
    return Stacks(text[:MAX_DUMP_CHARS], _digest("kernel", lines) if readable else "")


def _digest(kind: str, stacks: list[str]) -> str:
    return f"{kind}:{hashlib.sha256(chr(0).join(stacks).encode()).hexdigest()[:32]}"
