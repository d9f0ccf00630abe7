"""Download a model from ModelScope's hub into its directory, if the operator asks for it (``GTE_MODEL_DOWNLOAD``).

The download runs in a process of its own (``process``), because no web worker imports modelscope. This is the worker's
side: start it, report its progress, try again.
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
from service.engines.interface import EngineKind, EngineUnavailableError, UnavailableReason

_log = logging.getLogger("service")

# Receives what requests for the model get meanwhile: how far the download is, or why it failed.
Report = Callable[[EngineUnavailableError], None]

# Archives that people who copy models leave beside the directory.
_ARCHIVE_ENDINGS = (".zip", ".tar", ".tgz", ".tbz2", ".txz", ".7z", ".rar", ".tar.gz", ".tar.xz", ".tar.bz2")
_FIRST_PAUSE, _LONGEST_PAUSE = (
    10.0,
    600.0,
)  # seconds before an attempt that follows a failed one; doubled each time
_LOG_EVERY = 10.0  # seconds between two lines about the progress


@dataclass(frozen=True)
class Source:
    """A model of the hub, and the variable that names its directory."""

    kind: EngineKind
    variable: str
    model: str

    def command(self) -> str:
        """The command that does it by hand."""
        return f'modelscope download --model {self.model} --local_dir "${self.variable}"'


def may_download(directory: Path) -> bool:
    """Whether a download would replace nothing at ``directory``: it is missing or empty, and beside it there is no
    archive that somebody may be about to unpack."""
    try:
        place = directory.resolve()
        is_free = not any(place.iterdir()) if place.is_dir() else not os.path.lexists(place)
    except (OSError, RuntimeError):
        return False
    return is_free and archive_beside(directory) is None


def archive_beside(directory: Path) -> Path | None:
    """An archive of the same name as ``directory``, beside it."""
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


def fetch(
    source: Source, directory: Path, report: Report, pause: Callable[[float], None] = time.sleep
) -> None:
    """Fill ``directory``, however many attempts that takes, and return once it is filled.

    ``report`` is called with the progress (reason ``loading``) and with each failed attempt (``model_missing``). The
    calling thread must live as long: the kernel kills the download when the thread that started it ends.
    """
    seconds = _FIRST_PAUSE
    while (failure := _attempt(source, directory, report)) is not None:
        detail, cause = failure
        # Without a path, because it goes to clients.
        detail = f"{source.variable}: {source.model} could not be downloaded: {detail}"
        detail += f"; tried again in {seconds:.0f} s. By hand: {source.command()}"
        report(EngineUnavailableError(source.kind, UnavailableReason.MODEL_MISSING, detail))
        _log.error("model_missing: %s%s", detail, f" [{cause}]" if cause else "")
        pause(seconds)
        seconds = min(2 * seconds, _LONGEST_PAUSE)
    _log.info("%s=%s: %s is downloaded", source.variable, directory, source.model)


def _attempt(source: Source, directory: Path, report: Report) -> tuple[str, str] | None:
    """One attempt. None if it succeeded, else its failure for clients, and more detail for the log."""
    arguments = [str(os.getpid()), source.kind, source.model, str(directory)]
    try:
        process, channel = child_process.start(
            ("-m", "service.engines.download.process"),
            arguments,
            {"TQDM_DISABLE": "1"},  # the error log needs lines, not progress bars
        )
    except OSError as error:
        return f"its process could not be started ({error.strerror})", ""
    progress = _Progress(source, report)
    failure = None
    try:
        with channel.makefile("rb") as lines:
            for message in _messages(lines):
                if message["state"] == "done":
                    return None
                if message["state"] == "failed":
                    failure = str(message["detail"]), str(message["cause"])
                    break
                progress.update(message)
    finally:
        status = child_process.end_of_lost(process, channel, within=1.0)
    if failure is None:
        end = "was stopped" if status is None else f"ended with status {status}"
        if status is not None and status < 0:
            end = f"was ended by {signal.Signals(-status).name}"
        failure = f"its process {end}", ""
    return failure


def _messages(lines: Any) -> Iterator[dict[str, Any]]:
    try:
        for line in lines:
            if line.endswith(b"\n"):
                yield json.loads(line)
    except ConnectionResetError:
        return


class _Progress:
    """Passes an attempt's progress on: each message to ``report``, some of them to the log."""

    def __init__(self, source: Source, report: Report) -> None:
        self._source = source
        self._report = report
        self._logged = -_LOG_EVERY
        self._last: tuple[float, int] | None = None
        self._state = ""

    def update(self, message: dict[str, Any]) -> None:
        bytes_done, total, state = int(message["done"]), int(message["total"]), str(message["state"])
        how_far = (
            f", {bytes_done / 1e6:.0f} of {total / 1e6:.0f} MB ({bytes_done * 100 // total} %)"
            if total
            else ""
        )
        by = " by another process" if state == "waiting" else ""
        detail = f"{self._source.variable}: {self._source.model} is being downloaded{by}{how_far}"
        self._report(EngineUnavailableError(self._source.kind, UnavailableReason.LOADING, detail))
        now = time.monotonic()
        if now - self._logged >= _LOG_EVERY or state != self._state:
            rate = (
                f", {(bytes_done - self._last[1]) / (now - self._last[0]) / 1e6:.1f} MB/s"
                if self._last
                else ""
            )
            _log.info("%s%s", detail, rate)
            self._logged, self._last, self._state = now, (now, bytes_done), state
