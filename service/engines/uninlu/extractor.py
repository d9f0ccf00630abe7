"""The extractor: requests in a line, and one thread that puts them to the engine and replaces it when it is lost."""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, get_args

from service.engines.forkserver.client import PAUSES, Loss, LostError, Template
from service.engines.interface import EngineUnavailableError, TextSpan, WindowExceededError
from service.engines.uninlu.checkpoint import MODEL
from service.engines.uninlu.engine import SLOT, UninluEngine, UninluLaunch
from service.engines.uninlu.queue import RequestQueue, too_slow
from service.monitoring import metrics

_log = logging.getLogger("service")

_LOOK = 0.25  # seconds between two looks at an idle engine
_GRACE = 5.0  # seconds after which a request that the engine should have given up by itself counts as stuck


class UniNlu:
    """The extractor. Any thread may ask; requests are answered one after the other."""

    def __init__(
        self, launch: UninluLaunch, *, seconds: float, wait: float, client_is_gone: Callable[[], bool]
    ) -> None:
        """Load the model. ``seconds``: the most that the model may take for a request; ``wait``: see ``RequestQueue``.

        Raises:
            EngineUnavailableError: it cannot be loaded.
        """
        self.name = f"{MODEL} (GTE_UNINLU_DIR)"
        self._client_is_gone = client_is_gone
        self._seconds = seconds
        self.line = RequestQueue(wait, seconds)
        try:
            self._templates = _Templates(launch)
            try:
                self._engine = self._templates.engine()
            except BaseException:
                self._templates.end()
                raise
        except LostError as lost:
            _log.error("%s", lost)
            detail = "the extractor's process was lost while it loaded the model: see the error log"
            raise EngineUnavailableError(SLOT, "load_failed", detail) from None
        metrics.expect_restarts(SLOT, get_args(Loss))
        metrics.ENGINE_LOAD.labels(SLOT).set(self._templates.seconds)
        threading.Thread(target=self._run, name="extractor", daemon=True).start()

    @property
    def pids(self) -> tuple[int | None, int]:
        """The template (None while there is none) and the engine."""
        return self._templates.pid, self._engine.pid

    def paths(self, text: str, schema: dict[str, Any], *, every_prefix: bool = False) -> list[list[TextSpan]]:
        """See ``Extractor.paths``."""
        found = self._ask("paths", text=text, schema=schema, every_prefix=every_prefix)
        return [[TextSpan(**one) for one in path] for path in found]

    def choose(self, text: str, labels: Sequence[str], question: str) -> dict[str, float]:
        """See ``Extractor.choose``."""
        self._require_scores()
        scores: dict[str, float] = self._ask("choose", text=text, labels=list(labels), question=question)
        return scores

    def find(self, text: str, question: str) -> tuple[TextSpan, float]:
        """See ``Extractor.find``."""
        self._require_scores()
        found = self._ask("find", text=text, question=question)
        score = found.pop("score")
        return TextSpan(**found), float(score)

    def failure(self) -> EngineUnavailableError | None:
        """Why it computes nothing now, or None. Requests may come all the same: they wait."""
        return self.line.failure

    def _require_scores(self) -> None:
        # A pipeline that comes with a model's own code may keep its scores elsewhere; an even split would be made up.
        if not self._engine.has_scores:
            raise EngineUnavailableError(
                SLOT,
                "load_failed",
                f"the model in GTE_UNINLU_DIR tells no scores, which this task needs: use {MODEL}",
            )

    def _ask(self, method: str, **arguments: Any) -> Any:
        answer = self.line.submit({"method": method, **arguments}, self._client_is_gone)
        failure = answer.pop("failure", None)
        if failure == "timeout":
            raise too_slow(self._seconds)
        if failure == "window":
            raise WindowExceededError(**answer)
        if failure is not None:
            raise RuntimeError(f"the extractor failed with {failure}")
        return answer["answer"]

    def _run(self) -> None:
        while True:
            is_waiting = self.line.wait(_LOOK)
            try:
                self._keep_alive()
                if is_waiting:
                    self._serve_next()
            except Exception:  # noqa: BLE001  whoever waits must not wait for ever
                _log.exception("the extractor's thread failed and goes on")
                time.sleep(_LOOK)

    def _keep_alive(self) -> None:
        lost = self._engine.idle_loss()
        if lost is not None:
            self._replace(lost)
        elif self._templates.renew():
            # Of the old template's engine nothing is shared any more, and it is nobody's child.
            self._engine.end()
            self._engine = self._started_again()

    def _serve_next(self) -> None:
        taken = self.line.take()
        if taken is None:
            return
        job, seconds = taken
        began = time.monotonic()
        try:
            answer = self._engine.ask({"seconds": seconds, **job.request}, seconds + _GRACE)
        except LostError as lost:
            detail = "the extractor's process was lost with this request and is being started again"
            self.line.fail(job, EngineUnavailableError(SLOT, "loading", detail))
            self._replace(lost)
        except BaseException as error:
            self.line.fail(job, RuntimeError(f"the extractor failed with {type(error).__name__}"))
            raise
        else:
            self.line.answer(job, answer)
            metrics.BATCH_SECONDS.labels(SLOT).observe(time.monotonic() - began)
            metrics.BATCH_SIZE.labels(SLOT).observe(1)

    def _replace(self, lost: LostError) -> None:
        began = time.monotonic()
        self.line.failure = EngineUnavailableError(
            SLOT, "loading", "the extractor's process was lost and is being started again"
        )
        _log.error("%s; it is started again", lost)
        self._engine = self._started_again()
        self.line.failure = None
        metrics.ENGINE_RESTARTS.labels(SLOT, lost.reason).inc()
        _log.warning(
            "the extractor is back after %.1f s (process %d)", time.monotonic() - began, self._engine.pid
        )

    def _started_again(self) -> UninluEngine:
        for pause in itertools.chain(PAUSES, itertools.repeat(PAUSES[-1])):
            time.sleep(pause)
            try:
                return self._templates.engine()
            except (LostError, EngineUnavailableError, OSError) as error:
                _log.error("the extractor cannot be started again: %s", _told(error))
        raise AssertionError("the pauses never end")


class _Templates:
    """The template, and the next one where it is lost, which is loaded while the old one's engine serves on."""

    def __init__(self, launch: UninluLaunch) -> None:
        """See ``Template``."""
        self._launch = launch
        self._current: Template | None = launch.template()
        self._next: Future[Template] = Future()
        self.seconds = float(self._current.said["seconds"])

    @property
    def pid(self) -> int | None:
        """The template's process, or None while there is none."""
        current = self._current
        return current.pid if current else None

    def renew(self) -> bool:
        """Look after it; whether another has come in place of a lost one."""
        if self._current is None:
            return self._next.done() and self._has_taken_next()
        if self._current.is_lost():
            _log.error("the extractor's template, process %d, was lost; another is loaded", self._current.pid)
            self._current.end()
            self._current = None
            self._next = Future()
            threading.Thread(target=self._load, args=(self._next,), name="template", daemon=True).start()
        return False

    def engine(self) -> UninluEngine:
        """A new engine, once there is a template. See ``UninluEngine``."""
        self.renew()
        if self._current is None:
            self._has_taken_next()
        assert self._current is not None  # noqa: S101  for mypy
        return UninluEngine(self._current, may_sleep=self._launch.trusts_code)

    def end(self) -> None:
        """End the template."""
        if self._current is not None:
            self._current.end()

    def _has_taken_next(self) -> bool:
        self._current = self._next.result()
        return True

    def _load(self, into: Future[Template]) -> None:
        for pause in itertools.chain(PAUSES, itertools.repeat(PAUSES[-1])):
            time.sleep(pause)
            try:
                into.set_result(self._launch.template())
            except (LostError, EngineUnavailableError, OSError) as error:
                _log.error("the extractor's template cannot be loaded: %s", _told(error))
            else:
                return


def _told(error: Exception) -> str:
    return error.detail if isinstance(error, EngineUnavailableError) else str(error)
