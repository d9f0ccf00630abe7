"""Running a command of gte-ops for a tool: as a child, with a limit of time and of output.

A child rather than a call: a defect, a full memory or a hanging disk ends that one answer, and standard output, which
is the protocol's, is out of reach of the command.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import ops
from ops.mcp.answer import Answer, answer_of

# A document larger than this is none that a person would read either.
MAX_OUTPUT_BYTES = 8 << 20
# At most so many commands run at once; the others wait, and their wait counts.
AT_ONCE = 2
# How long a command may clean up when its time is over, seconds.
GRACE_S = 5.0
_places = threading.BoundedSemaphore(AT_ONCE)


class Toolkit:
    """The commands of gte-ops with one configuration file. ``language``: of the texts in documents."""

    def __init__(self, config: Path | None, language: str) -> None:
        self._options = ["--format", "json", "--lang", language]
        if config is not None:
            self._options += ["--config", str(config)]

    def run(
        self, words: Sequence[str], limit: float, *, options: Sequence[str] = (), places: Sequence[str] = ()
    ) -> Answer:
        """Run ``gte-ops WORDS OPTIONS -- PLACES`` for at most ``limit`` seconds.

        ``options`` are of the form ``--name=value`` and ``places`` stand behind ``--``, so that no value is taken for
        an option."""
        shown = " ".join(["gte-ops", *words, *options, *places, "--format", "json"])
        arguments = [*words, *self._options, *options, *(["--", *places] if places else [])]
        began = time.monotonic()
        if not _places.acquire(timeout=limit):
            return answer_of(shown, None, time.monotonic() - began, b"", "other commands are still running")
        try:
            return self._run(shown, arguments, began, began + limit)
        finally:
            _places.release()

    def _run(self, shown: str, arguments: Sequence[str], began: float, deadline: float) -> Answer:
        environment = {**os.environ, "PYTHONPATH": _module_path(), "PYTHONIOENCODING": "utf-8"}
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "ops.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            return answer_of(shown, None, 0.0, b"", f"it could not be started: {error.strerror}")
        late = threading.Event()

        def end_late() -> None:
            late.set()
            _end(process)

        timer = threading.Timer(max(0.0, deadline - time.monotonic()), end_late)
        timer.start()
        try:
            output, complaint = _read(process)
        finally:
            timer.cancel()
            _end(process)
            exit_code = process.wait()
        seconds = time.monotonic() - began
        if late.is_set():
            return answer_of(shown, None, seconds, b"", f"ended at its limit of {seconds:.0f} s")
        if exit_code < 0 or len(output) >= MAX_OUTPUT_BYTES:
            return answer_of(shown, None, seconds, b"", "ended by a signal, or it wrote too much")
        return answer_of(
            shown, exit_code, seconds, output, "" if output.strip() else complaint or "no output"
        )


def _read(process: subprocess.Popen[bytes]) -> tuple[bytes, str]:
    """Standard output, at most MAX_OUTPUT_BYTES, and the beginning of standard error."""
    complaints: list[bytes] = []

    def drain() -> None:
        with contextlib.suppress(OSError, ValueError):
            while process.stderr is not None and (piece := process.stderr.read1(4096)):  # type: ignore[attr-defined]
                if len(complaints) < 2:
                    complaints.append(piece)

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()
    output = b""
    if process.stdout is not None:
        output = process.stdout.read(MAX_OUTPUT_BYTES)
        if len(output) < MAX_OUTPUT_BYTES:
            process.wait()
    reader.join(1.0)
    return output, b"".join(complaints).decode(errors="replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the command and what it has started, if it runs: in order, and after GRACE_S by force."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        # It leads a session of its own and is not reaped yet: the group is certainly its own.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)


def _module_path() -> str:
    here = str(Path(ops.__file__).resolve().parent.parent)
    return os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
