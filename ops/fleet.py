"""`gte-ops doctor --from-bundle DIRECTORY`: diagnose every bundle of a directory, and compare the hosts.

Bundles come from other machines, so each is read by a worker process with limits of time, memory and answer: a hostile
one ends its worker, becomes one line of the report, and the others go on.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import stat
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ops.diagnosis.fleet import FleetDiagnosis, RefusedBundle, compare_hosts
from ops.diagnosis.host_traits import HostDiagnosis, host_diagnosis
from ops.diagnosis.model import Cause, Symptom
from ops.doctor import chosen_checks, diagnose_read_bundle
from ops.errors import OpsError
from ops.facts.bundle import read_bundle
from ops.text.language import COLON, Text
from ops.text.reasons import chinese
from ops.text.sanitize import safe_line

SUFFIXES = (".json", ".json.gz")
MAX_BUNDLES = 2000
MAX_ENTRIES = 20_000
# One bundle takes a tenth of a second; with thirty processes for two processors, some seconds.
BUNDLE_SECONDS = 30.0
TOTAL_SECONDS = 600.0
MAX_WORKER_BYTES = 1 << 30
MAX_ANSWER_BYTES = 1 << 20
MAX_TOTAL_BYTES = 256 << 20
MAX_WORKERS = 8
_CHUNK = 1 << 16
_LENGTH = 4


def diagnose_bundles(
    directory: Path,
    *,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    workers: int | None = None,
    bundle_seconds: float = BUNDLE_SECONDS,
    total_seconds: float = TOTAL_SECONDS,
) -> FleetDiagnosis:
    """Diagnose each bundle of ``directory`` (``*.json``, ``*.json.gz``), in ``workers`` processes (default: one a
    processor). Raises OpsError if the directory cannot be read; UsageError for a check that does not exist."""
    started = time.monotonic()
    # Once for all bundles, and before the workers: an unknown check is no bundle's fault.
    chosen_checks(only, skip)
    files, passed_over, refused = _files(directory)
    pool = _Pool(
        directory,
        (tuple(only), tuple(skip)),
        min(workers or len(os.sched_getaffinity(0)), MAX_WORKERS, len(files) or 1),
        bundle_seconds,
        started + total_seconds,
    )
    hosts, problems = pool.run(files)
    return compare_hosts(hosts, (*refused, *problems), passed_over, time.monotonic() - started)


def _files(directory: Path) -> tuple[list[str], int, list[RefusedBundle]]:
    """The names of the bundles, sorted; how many entries are none by their name; those that are not read."""
    names: list[str] = []
    passed_over = 0
    refused: list[RefusedBundle] = []
    try:
        with os.scandir(directory) as entries:
            for number, entry in enumerate(entries):
                if number >= MAX_ENTRIES or not entry.name.endswith(SUFFIXES):
                    passed_over += 1
                elif stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
                    names.append(entry.name)
                else:
                    why = Text(en="no regular file", zh="不是普通文件")
                    refused.append(RefusedBundle(safe_line(entry.name, 200), why))
    except OSError as error:
        raise OpsError(
            Text(
                en=f"{directory}: cannot be read: {error.strerror}; check the path and its mode",
                zh=f"{directory}：无法读取：{chinese(error.strerror)}；请检查路径及其权限",
            )
        ) from None
    names.sort()
    for name in names[MAX_BUNDLES:]:
        why = Text(
            en=f"one run reads {MAX_BUNDLES} bundles: split the directory",
            zh=f"一次运行最多读取 {MAX_BUNDLES} 个诊断包：请分成多个目录",
        )
        refused.append(RefusedBundle(safe_line(name, 200), why))
    return names[:MAX_BUNDLES], passed_over, refused


# --- the worker -------------------------------------------------------------------------------------------------------


class _Reply(msgspec.Struct, frozen=True):
    """What a worker sends: one of the two."""

    host: HostDiagnosis | None = None
    refused: RefusedBundle | None = None


def _examine(directory: Path, name: str, only: Sequence[str], skip: Sequence[str]) -> _Reply:
    shown = safe_line(name, 200)
    try:
        bundle = read_bundle(directory / name)
        diagnosis = diagnose_read_bundle(bundle, only=only, skip=skip)
        host = host_diagnosis(shown, bundle.snapshot, diagnosis)
    except OpsError as error:
        # The report names the file already.
        message, path = error.words, directory / name
        reason = Text(
            en=message.en.removeprefix(f"{path}{COLON.en}"),
            zh=message.to("zh").removeprefix(f"{path}{COLON.zh}"),
        )
        return _Reply(refused=RefusedBundle(shown, reason))
    except MemoryError:
        return _Reply(refused=RefusedBundle(shown, _TOO_LARGE))
    except Exception as error:  # noqa: BLE001  a defect that one bundle meets must not stop the others
        words = safe_line(f"{type(error).__name__}: {error}", 200)
        reason = Text(en=f"a defect of gte-ops: {words}", zh=f"gte-ops 自身缺陷：{words}")
        return _Reply(refused=RefusedBundle(shown, reason))
    return _Reply(host=_translated(host))


_TOO_LARGE = Text(
    en=f"reading it takes more than {MAX_WORKER_BYTES >> 20} MiB of memory",
    zh=f"读取它需要超过 {MAX_WORKER_BYTES >> 20} MiB 内存",
)


def _translated(host: HostDiagnosis) -> HostDiagnosis:
    """Its reasons in both languages: they do not travel as reasons (`ops.text.reasons`)."""
    return msgspec.structs.replace(
        host,
        causes=tuple(_cause(cause) for cause in host.causes),
        symptoms=tuple(
            Symptom(item.id, _text(item.summary), item.explained_by, next=item.next[:5])
            for item in host.symptoms
        ),
    )


def _cause(cause: Cause) -> Cause:
    evidence = tuple(
        msgspec.structs.replace(piece, detail=_text(piece.detail)) for piece in cause.evidence[:20]
    )
    return msgspec.structs.replace(cause, summary=_text(cause.summary), evidence=evidence)


def _text(words: Text) -> Text:
    return Text(en=words.en, zh=words.to("zh"))


def _serve(requests: int, answers: int, directory: Path, files: Sequence[str], selection: _Selection) -> None:
    """Answer for each number that arrives; end with the pipe, or once memory ran out."""
    size = resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[0])
    limit = size + MAX_WORKER_BYTES
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))
    while len(number := os.read(requests, _LENGTH)) == _LENGTH:
        name = files[int.from_bytes(number, "big")]
        reply = _examine(directory, name, *selection)
        try:
            content = msgspec.msgpack.encode(reply)
        except MemoryError:
            reply = _Reply(refused=RefusedBundle(safe_line(name, 200), _TOO_LARGE))
            content = msgspec.msgpack.encode(reply)
        if len(content) > MAX_ANSWER_BYTES:
            why = Text(
                en=f"what follows from it is larger than {MAX_ANSWER_BYTES >> 20} MiB",
                zh=f"由它得出的结果超过 {MAX_ANSWER_BYTES >> 20} MiB",
            )
            reply = _Reply(refused=RefusedBundle(safe_line(name, 200), why))
            content = msgspec.msgpack.encode(reply)
        rest = memoryview(len(content).to_bytes(_LENGTH, "big") + content)
        while rest:
            rest = rest[os.write(answers, rest) :]
        if reply.refused is not None and reply.refused.reason == _TOO_LARGE:
            return


_Selection = tuple[tuple[str, ...], tuple[str, ...]]


class _Worker:
    """One worker process, seen from the parent."""

    def __init__(self, directory: Path, files: Sequence[str], selection: _Selection) -> None:
        requests, self._requests = os.pipe()
        self.answers, answers = os.pipe()
        self.number: int | None = None
        self.deadline = 0.0
        self.content = bytearray()
        self._pid = os.fork()
        if self._pid == 0:
            code = 1
            try:
                os.close(self._requests)
                os.close(self.answers)
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                _serve(requests, answers, directory, files, selection)
                code = 0
            finally:
                # Not the parent's exit handlers, nor its buffers.
                os._exit(code)
        os.close(requests)
        os.close(answers)

    def ask(self, number: int, deadline: float) -> None:
        """Have bundle ``number`` diagnosed by ``deadline`` (monotonic seconds)."""
        self.number, self.deadline = number, deadline
        self.content.clear()
        with contextlib.suppress(BrokenPipeError):
            os.write(self._requests, number.to_bytes(_LENGTH, "big"))

    def reply(self) -> _Reply | None:
        """The answer, if it has arrived whole."""
        length = int.from_bytes(self.content[:_LENGTH], "big")
        if len(self.content) < _LENGTH or len(self.content) < _LENGTH + length:
            return None
        return msgspec.msgpack.decode(self.content[_LENGTH:], type=_Reply)

    def end(self) -> None:
        """End the process and reap it."""
        os.close(self._requests)
        os.close(self.answers)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


class _Pool:
    """Several workers, each with one bundle at a time; one that hangs or dies is replaced."""

    def __init__(
        self, directory: Path, selection: _Selection, size: int, bundle_seconds: float, end: float
    ) -> None:
        self._directory, self._selection, self._size = directory, selection, size
        self._bundle_seconds, self._end = bundle_seconds, end
        self._workers: list[_Worker] = []
        self._hosts: list[HostDiagnosis] = []
        self._refused: list[RefusedBundle] = []
        self._bytes = 0

    def run(self, files: Sequence[str]) -> tuple[list[HostDiagnosis], list[RefusedBundle]]:
        """Diagnose ``files``."""
        waiting = deque(range(len(files)))
        try:
            while waiting or any(worker.number is not None for worker in self._workers):
                self._give_out(waiting, files)
                self._collect(files)
        finally:
            for worker in self._workers:
                worker.end()
        return self._hosts, self._refused

    def _give_out(self, waiting: deque[int], files: Sequence[str]) -> None:
        now = time.monotonic()
        if waiting and (now >= self._end or self._bytes > MAX_TOTAL_BYTES):
            why = Text(
                en="not diagnosed: the others have used up the run's time or memory; split the directory",
                zh="未诊断：其他诊断包已用完本次运行的时间或内存；请分成多个目录",
            )
            self._refused += [RefusedBundle(safe_line(files[number], 200), why) for number in waiting]
            waiting.clear()
        while len(self._workers) < min(self._size, len(waiting)):
            self._workers.append(_Worker(self._directory, files, self._selection))
        for worker in self._workers:
            if worker.number is None and waiting:
                worker.ask(waiting.popleft(), min(now + self._bundle_seconds, self._end))

    def _collect(self, files: Sequence[str]) -> None:
        """Wait for something of the workers, or for the first of their deadlines."""
        busy = {worker.answers: worker for worker in self._workers if worker.number is not None}
        if not busy:
            return
        patience = max(0.0, min(worker.deadline for worker in busy.values()) - time.monotonic())
        for descriptor in select.select(list(busy), [], [], patience)[0]:
            self._receive(busy[descriptor], files)
        now = time.monotonic()
        for worker in busy.values():
            if worker.number is not None and now >= worker.deadline:
                why = Text(
                    en=f"diagnosing it takes longer than {self._bundle_seconds:g} s",
                    zh=f"诊断它超过 {self._bundle_seconds:g} 秒",
                )
                self._replace(worker, files, why)

    def _receive(self, worker: _Worker, files: Sequence[str]) -> None:
        chunk = os.read(worker.answers, _CHUNK)
        if not chunk:
            why = Text(en="the process that read it ended by itself", zh="读取它的进程意外结束")
            self._replace(worker, files, why)
            return
        worker.content += chunk
        self._bytes += len(chunk)
        reply = worker.reply()
        if reply is None:
            return
        worker.number = None
        if reply.host is not None:
            self._hosts.append(reply.host)
        elif reply.refused is not None:
            self._refused.append(reply.refused)
        if reply.refused is not None and reply.refused.reason == _TOO_LARGE:
            self._dismiss(worker)

    def _replace(self, worker: _Worker, files: Sequence[str], why: Text) -> None:
        """Give up on the worker's bundle and end it; the next bundle starts another."""
        if worker.number is not None:
            self._refused.append(RefusedBundle(safe_line(files[worker.number], 200), why))
        self._dismiss(worker)

    def _dismiss(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.end()
