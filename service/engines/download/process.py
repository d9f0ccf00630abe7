"""The download: ``python -m service.engines.download.process SOCKET PARENT KIND MODEL DIRECTORY``.

The files arrive in a directory of their own beside DIRECTORY, which is renamed to DIRECTORY once they are complete and
checked: a killed download is never mistaken for a model, and the next one resumes it. One process downloads at a time;
the others wait for its lock, which the kernel releases however it ends. Each line on the socket is JSON: the progress,
and finally ``done`` or ``failed``.
"""

import ctypes
import errno
import fcntl
import json
import logging
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.engines.child_process import leave_signals_to_the_worker
from service.engines.download import client
from service.engines.interface import EngineUnavailableError, not_installed

_PR_SET_PDEATHSIG = 1  # prctl(2)
_LOOK = 1.0  # seconds between two progress messages
_BESIDE_WEIGHTS = (
    "config.json",
    "configuration.json",
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
# The same weights in two formats: take the first that the hub has.
_WEIGHTS = (("model", ".safetensors"), ("pytorch_model", ".bin"))


class _FailedError(Exception):
    """Why there is no model; without paths, because it goes to clients."""


@dataclass(frozen=True)
class _RemoteFile:
    name: str
    size: int  # bytes


class _Channel:
    def __init__(self, number: int) -> None:
        self._socket = socket.socket(fileno=number)
        self._lock = threading.Lock()

    def say(self, **members: Any) -> None:
        try:
            with self._lock:
                self._socket.sendall(json.dumps(members, ensure_ascii=False).encode() + b"\n")
        except OSError:
            os._exit(0)  # the worker has ended


def main() -> None:
    """Download, and report the progress."""
    number, parent, kind, model, directory = sys.argv[1:6]
    # Die with the worker, however it dies.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        os._exit(0)
    leave_signals_to_the_worker()
    # The failure message contains what the hub's client would log.
    logging.disable()
    channel = _Channel(int(number))
    try:
        _fill(Path(directory).resolve(), kind, model, channel)
    except _FailedError as failure:
        cause = failure.__cause__
        channel.say(state="failed", detail=str(failure), cause=_line(cause) if cause else "")
    except Exception as error:  # noqa: BLE001  the hub's client fails in many ways; the worker must hear of each
        channel.say(state="failed", detail=_reason(error), cause=_line(_first(error)))
    else:
        channel.say(state="done")
    # _exit, because a normal exit waits for the threads of the hub's client.
    os._exit(0)


def _fill(target: Path, kind: str, model: str, channel: _Channel) -> None:
    if os.path.ismount(target):
        raise _FailedError(
            "a mount point cannot be replaced by what was downloaded beside it: name a directory in it"
        )
    staging = target.with_name(f".{target.name}.download")
    arriving = staging / "model"
    try:
        arriving.mkdir(parents=True, exist_ok=True)
        lock = os.open(staging / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _FailedError(
            f"nothing can be written beside the directory ({error.strerror}):"
            " it must belong to the service, and under systemd stand in ReadWritePaths"
        ) from error
    for _ in _while_taken(lock):
        channel.say(state="waiting", done=_bytes_in(arriving), total=_total(staging))
    # The previous owner of the lock may have completed the download and removed the directory.
    if client.may_download(target):
        arriving.mkdir(parents=True, exist_ok=True)
        files = _download(arriving, staging, model, channel)
        _check(arriving, files, kind)
        _keep(arriving, files)
        if target.exists():
            shutil.copymode(target, arriving)
        arriving.rename(target)
        _sync(target.parent)
    shutil.rmtree(staging, ignore_errors=True)


def _while_taken(lock: int) -> Iterator[None]:
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield
            time.sleep(_LOOK)
        else:
            return


def _download(arriving: Path, staging: Path, model: str, channel: _Channel) -> Sequence[_RemoteFile]:
    # The hub's client would keep its locks in the home directory, which a service may not have.
    os.environ["MODELSCOPE_CACHE"] = str(staging / "cache")
    try:
        from modelscope.hub.api import HubApi
        from modelscope.hub.snapshot_download import snapshot_download
    except ImportError as error:
        raise _FailedError(not_installed(error, "model")) from error
    files = needed(HubApi().get_model_files(model, recursive=True))
    total = sum(file.size for file in files)
    remaining = total - _bytes_in(arriving)
    free = shutil.disk_usage(staging).free
    if remaining > free:
        raise _FailedError(
            f"the disk is full: {remaining / 1e6:.0f} MB are needed, {free / 1e6:.0f} are free"
        )
    (staging / "total").write_text(str(total), encoding="ascii")
    is_over = threading.Event()

    def report() -> None:
        while not is_over.wait(_LOOK):
            channel.say(state="downloading", done=min(_bytes_in(arriving), total), total=total)

    channel.say(state="downloading", done=min(_bytes_in(arriving), total), total=total)
    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        snapshot_download(model, local_dir=str(arriving), allow_patterns=[file.name for file in files])
    finally:
        is_over.set()
        reporter.join()
    channel.say(state="checking", done=total, total=total)
    return files


def needed(listing: Sequence[dict[str, Any]]) -> Sequence[_RemoteFile]:
    """The needed ones of the hub's list of files, which must include a configuration and weights."""
    there = {
        str(entry["Path"]): _RemoteFile(str(entry["Path"]), int(entry.get("Size") or 0))
        for entry in listing
        if entry.get("Type") != "tree"
    }
    names = [name for name in _BESIDE_WEIGHTS if name in there]
    weights: list[str] = []
    for stem, ending in _WEIGHTS:
        index = f"{stem}{ending}.index.json"
        one, parts = f"{stem}{ending}", [n for n in there if n.startswith(f"{stem}-") and n.endswith(ending)]
        if one in there:
            weights = [one]
        elif index in there and parts:
            weights = [index, *sorted(parts)]
        if weights:
            break
    if "config.json" not in names or not weights:
        raise _FailedError("the hub's list of its files names no config.json or no weights")
    return [there[name] for name in [*names, *weights]]


def _check(arriving: Path, files: Sequence[_RemoteFile], kind: str) -> None:
    """Check that the files are complete. The hub's client has compared their hashes."""
    for file in files:
        path = arriving / file.name
        size = path.stat().st_size if path.is_file() else 0
        if size != file.size:
            path.unlink(missing_ok=True)
            raise _FailedError(f"{file.name} is not whole: {size} of {file.size} bytes")
    try:
        if kind == "encoder":
            from service.engines.gte import checkpoint

            checkpoint.require_model(arriving)
            checkpoint.read_configuration(arriving)
        else:
            from service.engines.uninlu import checkpoint as uninlu

            uninlu.require_model(arriving, trusts_code=False)
    except EngineUnavailableError as failure:
        raise _FailedError(f"what the hub has is no model for this service: {failure.detail}") from None


def _keep(arriving: Path, files: Sequence[_RemoteFile]) -> None:
    """Remove everything but ``files``, and flush them to the disk."""
    names = {file.name for file in files}
    for path in arriving.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name in names:
            _sync(path)
        else:
            path.unlink()
    _sync(arriving)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _bytes_in(directory: Path) -> int:
    total = 0
    for where, _, names in os.walk(directory):
        for name in names:
            try:
                total += (Path(where) / name).stat().st_size
            except OSError:  # it has just got its final name
                continue
    return total


def _total(staging: Path) -> int:
    try:
        return int((staging / "total").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _first(error: BaseException) -> BaseException:
    """The error of the first file of a failed download."""
    failures = getattr(error, "failed_files", None)
    return next(iter(failures.values())) if isinstance(failures, dict) and failures else error


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = _first(error)
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _reason(error: Exception) -> str:
    for link in _chain(error):
        if isinstance(link, OSError) and link.errno in (errno.ENOSPC, errno.EDQUOT):
            return "the disk is full"
        if isinstance(link, OSError) and link.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            return f"it cannot be written ({link.strerror})"
        if any(kind.__name__ == "FileIntegrityError" for kind in type(link).__mro__):
            return "what arrived is not what the hub announced"
        status = getattr(link, "status_code", None) or getattr(
            getattr(link, "response", None), "status_code", None
        )
        if isinstance(status, int) and status >= 400:
            return f"the hub answered {status}"
    return f"the hub could not be reached, or broke off ({type(_first(error)).__name__})"


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"


if __name__ == "__main__":
    main()
