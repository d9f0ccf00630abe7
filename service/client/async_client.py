"""The client for asyncio."""

import asyncio
import functools
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from .batches import BATCH, windows
from .results import Answer, Choice, Event, Prediction, Relation, Span, State
from .retries import DEFAULT_PATIENCE, SYSTEM_CLOCK, Clock, Patience
from .sync_client import GteClient, Role, embedding_parameters

_T = TypeVar("_T")
_P = ParamSpec("_P")


class AsyncGteClient:
    """``GteClient`` for asyncio: the same calls, to be awaited. Close it, or use it as an asynchronous context manager.

    Each call runs in one of ``most`` threads, further ones wait for a thread; the event loop is never blocked. A
    cancelled call returns at once, but runs to its end in its thread: the service may still compute it.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        patience: Patience = DEFAULT_PATIENCE,
        verify: bool | str = True,
        clock: Clock = SYSTEM_CLOCK,
        most: int = 16,
    ) -> None:
        """``most``: concurrent requests. The others: see ``GteClient``."""
        self._client = GteClient(base_url, api_key=api_key, patience=patience, verify=verify, clock=clock)
        self._threads = ThreadPoolExecutor(most, thread_name_prefix="gte-client")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Calls that have not begun are cancelled; later calls fail."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    async def ner(self, text: str) -> list[Span]:
        """See ``GteClient.ner``."""
        return await self._run(self._client.ner, text)

    async def relation(self, text: str, **parameters: Any) -> list[Relation]:
        """See ``GteClient.relation``."""
        return await self._run(self._client.relation, text, **parameters)

    async def event(self, text: str, **parameters: Any) -> list[Event]:
        """See ``GteClient.event``."""
        return await self._run(self._client.event, text, **parameters)

    async def sentiment(self, text: str) -> Choice:
        """See ``GteClient.sentiment``."""
        return await self._run(self._client.sentiment, text)

    async def classify(self, text: str, labels: Sequence[str]) -> Choice:
        """See ``GteClient.classify``."""
        return await self._run(self._client.classify, text, labels)

    async def answer(self, question: str, context: str) -> Answer:
        """See ``GteClient.answer``."""
        return await self._run(self._client.answer, question, context)

    async def similarity(self, text: str, candidates: Sequence[str]) -> list[float]:
        """See ``GteClient.similarity``."""
        return await self._run(self._client.similarity, text, candidates)

    async def embed(
        self, texts: str | Sequence[str], *, role: Role = "query", truncate: bool = False
    ) -> list[list[float]]:
        """See ``GteClient.embed``."""
        return await self._run(self._client.embed, texts, role=role, truncate=truncate)

    async def embed_stream(
        self,
        texts: AsyncIterable[str] | Iterable[str],
        *,
        role: Role = "query",
        truncate: bool = False,
    ) -> AsyncIterator[list[float]]:
        """See ``GteClient.embed_stream``; the texts may come from an asynchronous generator."""
        if isinstance(texts, str):
            raise TypeError("expected texts, got one text")
        parameters = embedding_parameters(role, truncate)
        done = 0
        async for window in windows(texts, BATCH):
            for vector in await self._run(self._client._embedded, window, parameters, done):
                yield vector
            done += len(window)

    async def predict(self, task_type: str, input_text: str | Sequence[str], **parameters: Any) -> Prediction:
        """See ``GteClient.predict``."""
        return await self._run(self._client.predict, task_type, input_text, **parameters)

    async def tasks(self) -> list[dict[str, Any]]:
        """See ``GteClient.tasks``."""
        return await self._run(self._client.tasks)

    async def health(self) -> State:
        """See ``GteClient.health``."""
        return await self._run(self._client.health)

    async def ready(self) -> State:
        """See ``GteClient.ready``."""
        return await self._run(self._client.ready)

    async def _run(self, call: Callable[_P, _T], *arguments: _P.args, **keywords: _P.kwargs) -> _T:
        bound = functools.partial(call, *arguments, **keywords)
        return await asyncio.get_running_loop().run_in_executor(self._threads, bound)
