"""The engine process as its worker sees it: started, asked one request at a time, and started again when it is lost."""

import json
import logging
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from service import metrics
from service.engines import engine_process
from service.engines.interface import EngineTimeoutError, EngineUnavailableError, Slot, Span
from service.engines.uninlu.checkpoint import MODEL

_log = logging.getLogger("service")

SLOT: Slot = "extractor"
_LOAD_TIMEOUT = 300.0  # seconds; a cold disk is slow
# The weights lie there; nothing is to be looked up elsewhere.
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
_GRACE = 5.0  # seconds after which a process that should have given up by itself counts as stuck
_RESTART_PAUSE, _LONGEST_PAUSE = (
    1.0,
    60.0,
)  # seconds before a start that follows a failed one; doubled each time


class _LostError(Exception):
    """The process has ended or was stuck and has been killed; the word says which."""


class UniNlu:
    """The extractor. Any thread may ask; requests are answered one after the other."""

    def __init__(self, directory: Path, *, threads: int, seconds: float, trusts_code: bool) -> None:
        """Start the process and wait until the model is loaded. ``seconds``: the most a request may take.

        Raises:
            EngineUnavailableError: it cannot be loaded.
        """
        self.name = f"{MODEL} (GTE_UNINLU_DIR)"
        self._arguments = [str(directory), str(os.getpid()), str(threads), str(int(trusts_code))]
        self._seconds = seconds
        self._turn = threading.Lock()
        self._is_away = False
        self._start()

    def paths(self, text: str, schema: dict[str, Any], *, every_prefix: bool = False) -> list[list[Span]]:
        """See ``Extractor.paths``."""
        found = self._ask("paths", text=text, schema=schema, every_prefix=every_prefix)
        return [[Span(**one) for one in path] for path in found]

    def choose(self, text: str, labels: Sequence[str], question: str) -> dict[str, float]:
        """See ``Extractor.choose``."""
        self._require_scores()
        scores: dict[str, float] = self._ask("choose", text=text, labels=list(labels), question=question)
        return scores

    def find(self, text: str, question: str) -> tuple[Span, float]:
        """See ``Extractor.find``."""
        self._require_scores()
        found = self._ask("find", text=text, question=question)
        score = found.pop("score")
        return Span(**found), float(score)

    def failure(self) -> EngineUnavailableError | None:
        """Why it computes nothing now, or None."""
        if not self._is_away:
            return None
        return EngineUnavailableError(
            SLOT, "loading", "the extractor's process ended and is being started again"
        )

    def _require_scores(self) -> None:
        # A pipeline that comes with a model's own code may keep its scores elsewhere; an even split would be made up.
        if not self._has_scores:
            raise EngineUnavailableError(
                SLOT,
                "load_failed",
                f"the model in GTE_UNINLU_DIR tells no scores, which this task needs: use {MODEL}",
            )

    def _ask(self, method: str, **arguments: Any) -> Any:
        deadline = time.monotonic() + self._seconds
        if not self._turn.acquire(timeout=self._seconds):
            raise EngineTimeoutError(f"the extractor had no turn within {self._seconds:g} s")
        try:
            away = self.failure()
            if away is not None:
                raise away
            began = time.monotonic()
            request = {"method": method, "seconds": deadline - began, **arguments}
            answer = self._exchange(request, deadline + _GRACE)
            metrics.BATCH_SECONDS.labels(SLOT).observe(time.monotonic() - began)
            metrics.BATCH_SIZE.labels(SLOT).observe(1)
        except _LostError as lost:
            self._is_away = True
            metrics.ENGINE_RESTARTS.labels(SLOT, str(lost)).inc()
            _log.error("the extractor's process %s; it is being started again", lost)
            threading.Thread(target=self._restart, name="extractor", daemon=True).start()
            if str(lost) == "stuck":
                raise EngineTimeoutError(f"the extractor took more than {self._seconds:g} s") from None
            raise EngineUnavailableError(
                SLOT, "loading", "the extractor's process ended while it held this request"
            ) from None
        finally:
            self._turn.release()
        if answer.get("failure") == "timeout":
            raise EngineTimeoutError(
                f"the extractor took more than {self._seconds:g} s: a shorter text or a smaller schema takes less"
            )
        if "failure" in answer:
            raise RuntimeError(f"the extractor failed with {answer['failure']}")
        return answer["answer"]

    def _start(self) -> None:
        self._process, self._channel = engine_process.start(
            ("-m", "service.engines.uninlu.process"), self._arguments, _OFFLINE
        )
        self._arrived = bytearray()
        try:
            said = self._receive(time.monotonic() + _LOAD_TIMEOUT)
        except _LostError as lost:
            raise EngineUnavailableError(
                SLOT, "load_failed", f"the extractor's process was {lost} while it loaded: see the error log"
            ) from None
        if not said["ready"]:
            engine_process.end(self._process, self._channel)
            raise EngineUnavailableError(SLOT, said["reason"], said["detail"])
        self._has_scores = bool(said["has_scores"])
        metrics.ENGINE_LOAD.labels(SLOT).set(said["seconds"])

    def _restart(self) -> None:
        pause = _RESTART_PAUSE
        while True:
            try:
                self._start()
            except EngineUnavailableError as failure:
                _log.error("the extractor cannot be started again: %s", failure.detail)
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                self._is_away = False
                return

    def _exchange(self, request: dict[str, Any], deadline: float) -> dict[str, Any]:
        line = json.dumps(request, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
        try:
            self._channel.settimeout(_GRACE)
            self._channel.sendall(line)
        except OSError:
            raise self._lost() from None
        return self._receive(deadline)

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self._arrived:
            try:
                self._channel.settimeout(max(0.001, deadline - time.monotonic()))
                part = self._channel.recv(1 << 16)
            except TimeoutError:
                engine_process.end(self._process, self._channel)
                raise _LostError("stuck") from None
            except OSError:
                part = b""
            if not part:
                raise self._lost()
            self._arrived += part
        line, _, rest = bytes(self._arrived).partition(b"\n")
        self._arrived = bytearray(rest)
        answer: dict[str, Any] = json.loads(line.decode("utf-8", "surrogatepass"))
        return answer

    def _lost(self) -> _LostError:
        status = engine_process.end_of_lost(self._process, self._channel, within=0.5)
        return _LostError("killed" if status is not None and status < 0 else "ended")
