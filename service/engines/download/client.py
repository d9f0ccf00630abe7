"""A model's directory that is filled from ModelScope's hub, where the operator asks for that (``GTE_MODEL_DOWNLOAD``),
as the worker sees it: started, told of, and tried again.

The download itself is a process of its own (``download_process``): no worker imports modelscope.
"""

import json
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.engines import child_process
from service.engines.interface import EngineUnavailableError, Reason, Slot

_log = logging.getLogger("service")

# Who asks for a model that is not there yet, or cannot be, is told this.
Tell = Callable[[EngineUnavailableError], None]

# What people who copy models leave beside the directory.
_ARCHIVE_ENDINGS = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".7z", ".rar", ".tar.gz", ".tar.xz", ".tar.bz2")
_FIRST_PAUSE, _LONGEST_PAUSE = (
    10.0,
    600.0,
)  # seconds before an attempt that follows a failed one; doubled each time
_LOG_EVERY = 10.0  # seconds between two lines about the progress


@dataclass(frozen=True)
class Source:
    """A model of the hub, and the variable that names its directory."""

    slot: Slot
    variable: str
    model: str

    def command(self) -> str:
        """What an operator types to do it by hand."""
        return f'modelscope download --model {self.model} --local_dir "${self.variable}"'


def is_wanted(directory: Path) -> bool:
    """Whether there is nothing at ``directory`` that a download would replace: it is missing or empty, and no archive
    lies beside it for somebody to unpack."""
    try:
        place = directory.resolve()
        is_free = not any(place.iterdir()) if place.is_dir() else not os.path.lexists(place)
    except (OSError, RuntimeError):
        return False
    return is_free and archive_beside(directory) is None


def archive_beside(directory: Path) -> Path | None:
    """An archive that is named as ``directory`` is and lies where it should."""
    name = directory.name.lower()
    try:
        beside = sorted(directory.parent.iterdir())
    except OSError:
        return None
    for path in beside:
        rest = path.name.lower().removeprefix(name)
        if path.name.lower().startswith(name) and rest.endswith(_ARCHIVE_ENDINGS):
            return path
    return None


def fetch(source: Source, directory: Path, tell: Tell, pause: Callable[[float], None] = time.sleep) -> None:
    """Fill ``directory``, however many attempts that takes, and return once it is filled.

    ``tell`` hears how far it is (reason ``loading``), and why an attempt failed (``model_missing``). For a thread that
    does not end before: the kernel kills the download when the thread that started it ends.
    """
    seconds = _FIRST_PAUSE
    while (failure := _attempt(source, directory, tell)) is not None:
        detail, cause = failure
        # No path in it: it goes to clients.
        detail = f"{source.variable}: {source.model} could not be downloaded: {detail}"
        detail += f"; tried again in {seconds:.0f} s. By hand: {source.command()}"
        tell(EngineUnavailableError(source.slot, "model_missing", detail))
        _log.error("model_missing: %s%s", detail, f" [{cause}]" if cause else "")
        pause(seconds)
        seconds = min(2 * seconds, _LONGEST_PAUSE)
    _log.info("%s=%s: %s is downloaded", source.variable, directory, source.model)


def _attempt(source: Source, directory: Path, tell: Tell) -> tuple[str, str] | None:
    """One download; None, or what a client may know of its failure, and what else the log should."""
    arguments = [str(os.getpid()), source.slot, source.model, str(directory)]
    try:
        process, channel = child_process.start(
            ("-m", "service.engines.download.process"),
            arguments,
            {"TQDM_DISABLE": "1"},  # progress bars: the error log gets lines
        )
    except OSError as error:
        return f"its process could not be started ({error.strerror})", ""
    progress = _Progress(source, tell)
    failure = None
    try:
        with channel.makefile("rb") as lines:
            for said in _messages(lines):
                if said["state"] == "done":
                    return None
                if said["state"] == "failed":
                    failure = str(said["detail"]), str(said["cause"])
                    break
                progress.hear(said)
    finally:
        status = child_process.end_of_lost(process, channel, within=1.0)
    if failure is None:
        ended = "was stopped" if status is None else f"ended with status {status}"
        if status is not None and status < 0:
            ended = f"was ended by {signal.Signals(-status).name}"
        failure = f"its process {ended}", ""
    return failure


def _messages(lines: Any) -> Iterator[dict[str, Any]]:
    try:
        for line in lines:
            if line.endswith(b"\n"):
                yield json.loads(line)
    except ConnectionResetError:
        return


class _Progress:
    """What an attempt says of itself, passed on: to who asks at once, to the log now and then."""

    def __init__(self, source: Source, tell: Tell) -> None:
        self._source = source
        self._tell = tell
        self._logged = -_LOG_EVERY
        self._last: tuple[float, int] | None = None
        self._state = ""

    def hear(self, said: dict[str, Any]) -> None:
        done, total, state = int(said["done"]), int(said["total"]), str(said["state"])
        how_far = f", {done / 1e6:.0f} of {total / 1e6:.0f} MB ({done * 100 // total} %)" if total else ""
        by = " by another process" if state == "waiting" else ""
        reason: Reason = "loading"
        detail = f"{self._source.variable}: {self._source.model} is being downloaded{by}{how_far}"
        self._tell(EngineUnavailableError(self._source.slot, reason, detail))
        now = time.monotonic()
        if now - self._logged >= _LOG_EVERY or state != self._state:
            rate = f", {(done - self._last[1]) / (now - self._last[0]) / 1e6:.1f} MB/s" if self._last else ""
            _log.info("%s%s", detail, rate)
            self._logged, self._last, self._state = now, (now, done), state
