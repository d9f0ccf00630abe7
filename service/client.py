"""A client of the service for Python programs.

    from service.client import GteClient

    with GteClient("https://gte-api.example.com", api_key=key) as client:
        client.ner("2022年北京冬奥会在北京举行")
        client.embed(thousands_of_texts)

One client serves any number of threads; each has its own connections. ``AsyncGteClient`` is for asyncio. The file needs
``requests`` and nothing of the service. ``docs/client.md`` describes which calls are repeated, when, and for how long.
"""

import asyncio
import contextlib
import functools
import ipaddress
import json
import math
import random
import socket
import threading
import time
import uuid
import weakref
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar
from urllib.parse import unquote, urlsplit

import requests
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy

Role = Literal["query", "passage"]
_T = TypeVar("_T")
_P = ParamSpec("_P")


# --- errors -----------------------------------------------------------------------------------------------


class GteError(Exception):
    """Any failure of a call. ``request_id`` identifies the request in the service's logs too."""

    def __init__(self, message: str, request_id: str) -> None:
        super().__init__(f"{message} (request {request_id})")
        self.request_id = request_id


class UnreachableError(GteError):
    """No answer: no connection, or one that broke."""


class TooSlowError(GteError):
    """A time-out expired, or the service gave up the prediction (504)."""


class BadAnswerError(GteError):
    """An answer that this service does not give: a page, a redirect, JSON of another form."""


class ApiError(GteError):
    """The service refused the request, or failed.

    ``status``: HTTP status code; ``code``: the service's (docs/api.md), empty if something in front of it answered;
    ``field``: the part of the request that is wrong, if one is; ``retry_after``: seconds, if the answer has it.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        request_id: str,
        *,
        field: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{status} {code or 'error'}: {detail}", request_id)
        self.status = status
        self.code = code
        self.detail = detail
        self.field = field
        self.retry_after = retry_after


class BadRequestError(ApiError):
    """The request is wrong (400, 404, 405, 413, 415): repeating it does not help."""


class UnauthorizedError(ApiError):
    """The API key is missing, wrong or revoked (401, 403)."""


class UnavailableError(ApiError):
    """The service cannot serve it now (429, 502, 503), not even after the repetitions."""


# --- results ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Span:
    """A part of the text: ``text == input_text[start:end]``, in Unicode characters. ``type`` may be empty."""

    text: str
    start: int
    end: int
    type: str = ""


@dataclass(frozen=True)
class Relation:
    """The relation ``predicate`` between ``subject`` and ``object``."""

    subject: Span
    predicate: str
    object: Span


@dataclass(frozen=True)
class Argument:
    """The participant in ``role`` of an event."""

    role: str
    span: Span


@dataclass(frozen=True)
class Event:
    """An event: the word that expresses it, and its participants."""

    type: str
    trigger: Span
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class Choice:
    """The label with the best score, and the score of each."""

    label: str
    score: float
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Answer:
    """A slice of the context that answers the question."""

    answer: str
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Prediction:
    """An unprocessed answer of ``/predict``. ``model`` names the engine that answered."""

    result: Mapping[str, Any]
    task_type: str
    model: str
    version: str
    timestamp: str
    request_id: str


@dataclass(frozen=True)
class State:
    """An answer of ``/health`` or ``/ready``. ``reason`` and ``detail`` explain a negative answer."""

    ok: bool
    reason: str | None
    detail: str
    members: Mapping[str, Any]


# --- settings ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Patience:
    """Time-outs and repetitions; in seconds.

    ``total`` bounds a call with all its repetitions and pauses. A pause without ``Retry-After`` is random, between 0
    and ``first_pause`` doubled with each repetition, at most ``longest_pause``. If the service asks for more than
    ``longest_pause``, the call is not repeated.
    """

    connect: float = 5.0
    read: float = 60.0
    total: float = 120.0
    repetitions: int = 4
    first_pause: float = 0.5
    longest_pause: float = 30.0


@dataclass(frozen=True)
class Clock:
    """Time and randomness, which tests replace."""

    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    sleep: Callable[[float], None] = time.sleep
    uniform: Callable[[float, float], float] = random.uniform


@dataclass(frozen=True)
class Limits:
    """Limits of one request: the service's defaults, until ``/tasks`` has answered its own."""

    max_batch: int = 2048
    max_batch_chars: int = 1024 * 1024
    max_body_bytes: int = 1024 * 1024


# What this client puts into one request at most, so that its answer comes in time and a repetition costs little.
_BATCH = 256  # texts
_BATCH_CHARS = 10_000  # Unicode characters

# The service gives no longer answer.
_MOST_BYTES = 256 * 1024 * 1024
_CHUNK = 65536
# The most that a request contains besides the texts, when they are counted against max_body_bytes.
_BESIDE_TEXTS = 4096
_AGAIN = frozenset({429, 502, 503})


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds from ``now`` that a ``Retry-After`` asks for (RFC 9110, 10.2.3: seconds or a date); None if it is
    malformed."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        # Longer than any wait, and too many digits for a float.
        return float(text) if len(text) < 10 else math.inf
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if moment.tzinfo is None:  # "-0000": UTC without a known zone
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def batches(texts: Iterable[str], limits: Limits) -> Iterator[list[str]]:
    """``texts`` in order, in the fewest batches within the limits and this client's own. A text that alone exceeds a
    limit of the service is a batch of its own, which the service refuses. Reads no further than the batch it gives."""
    most = min(limits.max_batch, _BATCH)
    most_chars = min(limits.max_batch_chars, _BATCH_CHARS)
    batch: list[str] = []
    characters = size = 0
    for text in texts:
        length = len(json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass")) + 2
        if batch and (
            len(batch) >= most
            or characters + len(text) > most_chars
            or size + length > limits.max_body_bytes - _BESIDE_TEXTS
        ):
            yield batch
            batch, characters, size = [], 0, 0
        batch.append(text)
        characters += len(text)
        size += length
    if batch:
        yield batch


# --- this host --------------------------------------------------------------------------------------------

# A resolver that does not answer: behind a proxy there may be none for the names of other networks.
_RESOLVE_SECONDS = 2.0
# RFC 1112, 4 and RFC 6666: no host has these. If bind() accepts them, it accepts any address (ip_nonlocal_bind).
_OWNED_BY_NOBODY = {socket.AF_INET: "240.0.0.1", socket.AF_INET6: "100::1"}
_ANY_PORT = 9


def is_this_host(host: str) -> bool:
    """Whether ``host``, a URL's, is this host: loopback, the unspecified address, or an address of an interface here.

    Names are resolved, in two seconds at most; a name that does not resolve counts as another host.
    """
    name = unquote(host).strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, 6.3: whatever a resolver answers
        return True
    return bool(name) and any(_is_own(*place) for place in _resolve(name))


def _resolve(name: str) -> list[tuple[int, Any]]:
    """Families and socket addresses of ``name``, inet_aton's spellings of an address (``127.1``) included."""
    with contextlib.suppress(OSError, ValueError):
        return _look_up(name, socket.AI_NUMERICHOST)
    addresses: list[tuple[int, Any]] = []

    def ask() -> None:
        with contextlib.suppress(OSError, ValueError):
            addresses.extend(_look_up(name, 0))

    # getaddrinfo(3) has no time limit.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_RESOLVE_SECONDS)
    return list(addresses)


def _look_up(name: str, flags: int) -> list[tuple[int, Any]]:
    answers = socket.getaddrinfo(name, _ANY_PORT, type=socket.SOCK_DGRAM, flags=flags)
    return [(family, place) for family, _, _, _, place in answers]


def _is_own(family: int, place: Any) -> bool:
    address = ipaddress.ip_address(str(place[0]).partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
        family, place = socket.AF_INET, (str(address), _ANY_PORT)
    if address.is_loopback or address.is_unspecified:
        return True
    nobody = _OWNED_BY_NOBODY.get(socket.AddressFamily(family))
    if nobody is None or address.is_multicast:
        return False
    if not _can_bind(family, (nobody, 0)):
        return _can_bind(family, (place[0], 0, *place[2:]))
    # connect(2) of a datagram socket sends nothing; for an address of this host the kernel chooses the same source
    # address.
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(place)
        return str(probe.getsockname()[0]).partition("%")[0] == str(address)
    return False


def _can_bind(family: int, place: Any) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(place)
    except OSError:
        return False
    return True


@functools.lru_cache(maxsize=64)
def _was_this_host(host: str, _minute: int) -> bool:
    return is_this_host(host)


class _DirectAdapter(HTTPAdapter):
    """Connects to this host without a proxy, whatever the environment says: texts and keys do not leave it."""

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        url = request.url or ""
        # A name is resolved once a minute, and only if a proxy would be used.
        if select_proxy(url, proxies) and _was_this_host(
            urlsplit(url).hostname or "", int(time.monotonic() // 60)
        ):
            proxies = None
        return super().send(request, stream, timeout, verify, cert, proxies)


# --- the client -------------------------------------------------------------------------------------------


class GteClient:
    """The service at one address. Thread-safe; close it, or use it as a context manager."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        patience: Patience = Patience(),
        verify: bool | str = True,
        clock: Clock = Clock(),
    ) -> None:
        """``base_url``: where nginx or the service listens, ``https://gte-api.example.com``.

        ``verify``: a file of certificate authorities instead of the usual ones; False disables the check.
        """
        if not base_url.startswith(("http://", "https://")):
            raise ValueError(f"base_url must begin with https:// or http://, got {base_url!r}")
        self._base = base_url.rstrip("/")
        self._key = api_key
        self._patience = patience
        self._verify = verify
        self._clock = clock
        self._local = threading.local()
        self._sessions: weakref.WeakSet[requests.Session] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._limits: Limits | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections of all threads. A later call opens new ones."""
        with self._lock:
            sessions, self._sessions = list(self._sessions), weakref.WeakSet()
            self._local = threading.local()
        for session in sessions:
            session.close()

    # Tasks. Each raises GteError: BadRequestError, UnauthorizedError, UnavailableError, TooSlowError, ...

    def ner(self, text: str) -> list[Span]:
        """The named entities of ``text``, in order."""
        return self._read("ner", text, {}, lambda result: [_span(entity) for entity in result["entities"]])

    def relation(self, text: str, **parameters: Any) -> list[Relation]:
        """The relations in ``text``."""
        return self._read(
            "relation",
            text,
            parameters,
            lambda result: [
                Relation(_span(one["subject"]), str(one["predicate"]), _span(one["object"]))
                for one in result["relations"]
            ],
        )

    def event(self, text: str, **parameters: Any) -> list[Event]:
        """The events in ``text``."""
        return self._read("event", text, parameters, lambda result: [_event(one) for one in result["events"]])

    def sentiment(self, text: str) -> Choice:
        """``positive``, ``negative`` or ``neutral``."""
        return self._read("sentiment", text, {}, _choice)

    def classify(self, text: str, labels: Sequence[str]) -> Choice:
        """Which of ``labels`` fits ``text`` best."""
        return self._read("classification", text, {"labels": list(labels)}, _choice)

    def answer(self, question: str, context: str) -> Answer:
        """The answer to ``question`` in ``context``."""
        return self._read(
            "qa",
            context,
            {"question": question},
            lambda result: Answer(
                str(result["answer"]), int(result["start"]), int(result["end"]), float(result["score"])
            ),
        )

    def similarity(self, text: str, candidates: Sequence[str]) -> list[float]:
        """The cosine of ``text`` with each of ``candidates``, in order. There may be any number of candidates."""
        if isinstance(candidates, str):
            raise TypeError("expected a list of texts, got one text")
        scores: list[float] = []
        limits = self._service_limits() if len(candidates) > 1 else Limits()
        for batch in batches(candidates, limits):
            with _within(len(candidates), len(scores), "parameters.candidates"):
                scores += self._list("similarity", "scores", batch, text, {"candidates": batch})
        return scores

    def embed(
        self, texts: str | Sequence[str], *, role: Role = "query", truncate: bool = False
    ) -> list[list[float]]:
        """A vector of length 1 for each text, in order. There may be any number of texts; they are sent in several
        requests.

        ``role``: ``query`` for texts to search with, ``passage`` for texts to search in. ``truncate``: truncate a text
        that is too long for the model instead of failing; ``predict`` reports which.
        """
        texts = [texts] if isinstance(texts, str) else texts
        if not texts:
            return []
        limits = self._service_limits() if len(texts) > 1 else Limits()
        return list(self._vectors(texts, len(texts), limits, _embedding_parameters(role, truncate)))

    def embed_stream(
        self, texts: Iterable[str], *, role: Role = "query", truncate: bool = False
    ) -> Iterator[list[float]]:
        """``embed`` for a list of any length, or a generator: the vectors one by one, in order, while the texts are
        read. At most one request's texts and vectors are in memory. If a request fails, the vectors before it have been
        given, and the error's ``field`` counts from the first text of all."""
        if isinstance(texts, str):
            raise TypeError("expected texts, got one text")
        return self._vectors(texts, None, None, _embedding_parameters(role, truncate))

    def predict(self, task_type: str, input_text: str | Sequence[str], **parameters: Any) -> Prediction:
        """Any task, with its unprocessed answer."""
        text = input_text if isinstance(input_text, str) else list(input_text)
        members, request_id = self._call(
            "POST", "/predict", {"task_type": task_type, "input_text": text, "parameters": parameters}
        )
        with _understood(request_id):
            return Prediction(
                result=dict(members["result"]),
                task_type=str(members["task_type"]),
                model=str(members["model"]),
                version=str(members["version"]),
                timestamp=str(members["timestamp"]),
                request_id=str(members["request_id"]),
            )

    # State

    def tasks(self) -> list[dict[str, Any]]:
        """The tasks of this deployment, the model behind each, and why another is unavailable."""
        members, request_id = self._call("GET", "/tasks")
        with _understood(request_id):
            return [dict(task) for task in members["tasks"]]

    def health(self) -> State:
        """Whether the service is alive. Not repeated: the question is about now."""
        members, _ = self._call("GET", "/health", repetitions=0)
        return State(members.get("status") == "ok", None, "", members)

    def ready(self) -> State:
        """Whether a prediction would be served now; a negative answer is no error. Not repeated."""
        members, _ = self._call("GET", "/ready", repetitions=0, also=frozenset({503}))
        return State(
            members.get("ready") is True, members.get("reason"), str(members.get("detail", "")), members
        )

    def _vectors(
        self,
        texts: Iterable[str],
        count: int | None,
        limits: Limits | None,
        parameters: dict[str, Any],
        done: int = 0,
    ) -> Iterator[list[float]]:
        """``count``: of the texts, if it is known. ``limits``: None to ask the service for them. ``done``: texts of the
        same list before these."""
        for batch in batches(texts, limits or self._service_limits()):
            with _within(count, done, "input_text"):
                vectors = self._list("embedding", "embeddings", batch, batch, parameters)
            done += len(batch)
            yield from vectors

    def _embedded(self, texts: list[str], parameters: dict[str, Any], done: int) -> list[list[float]]:
        return list(self._vectors(texts, None, None, parameters, done))

    def _service_limits(self) -> Limits:
        with self._lock:
            limits = self._limits
        if limits is not None:
            return limits
        members, request_id = self._call("GET", "/tasks")
        own_limits = members.get("limits", {})
        with _understood(request_id):
            limits = Limits(
                **{name: int(own_limits[name]) for name in Limits.__annotations__ if name in own_limits}
            )
        with self._lock:
            self._limits = limits
        return limits

    def _read(
        self,
        task_type: str,
        input_text: str | Sequence[str],
        parameters: dict[str, Any],
        result_of: Callable[[Mapping[str, Any]], _T],
    ) -> _T:
        prediction = self.predict(task_type, input_text, **parameters)
        with _understood(prediction.request_id):
            return result_of(prediction.result)

    def _list(
        self,
        task_type: str,
        member: str,
        batch: Sequence[str],
        input_text: str | Sequence[str],
        parameters: dict[str, Any],
    ) -> list[Any]:
        """The ``member`` of a result: one value for each text of ``batch``."""

        def values(result: Mapping[str, Any]) -> list[Any]:
            members = list(result[member])
            if len(members) != len(batch):
                raise ValueError(f"{len(members)} values for {len(batch)} texts")
            return members

        try:
            return self._read(task_type, input_text, parameters, values)
        except BadRequestError as error:
            if error.code in ("batch_too_large", "payload_too_large"):
                # The service may have been restarted with lower limits: the next call asks for them.
                with self._lock:
                    self._limits = None
            raise

    # One call: attempts until one succeeds, or the repetitions or the time are used up.

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        repetitions: int | None = None,
        also: frozenset[int] = frozenset(),
    ) -> tuple[dict[str, Any], str]:
        """The JSON object that the service answers with 200 or a status in ``also``, and the request's id."""
        request_id = uuid.uuid4().hex
        content = None if body is None else json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
        most = self._patience.repetitions if repetitions is None else repetitions
        deadline = self._clock.monotonic() + self._patience.total
        for attempt in range(most + 1):
            try:
                return self._attempt(method, path, content, request_id, deadline, also)
            except (UnreachableError, UnavailableError) as error:
                pause = self._pause(error, attempt)
                if attempt == most or pause is None or self._clock.monotonic() + pause >= deadline:
                    raise
            self._clock.sleep(pause)
        raise AssertionError("not reached")

    def _pause(self, error: GteError, attempt: int) -> float | None:
        """Seconds until the next attempt; None if another attempt is useless."""
        most = min(self._patience.longest_pause, self._patience.first_pause * 2**attempt)
        retry_after = error.retry_after if isinstance(error, UnavailableError) else None
        if retry_after is None:
            # A missing model will still be missing in a minute; a loading one comes with Retry-After.
            if isinstance(error, UnavailableError) and error.code == "model_unavailable":
                return None
            return self._clock.uniform(0.0, most)
        if retry_after > self._patience.longest_pause:
            return None
        # Clients that were refused together should not return together.
        return retry_after + self._clock.uniform(0.0, most)

    def _attempt(
        self,
        method: str,
        path: str,
        content: bytes | None,
        request_id: str,
        deadline: float,
        also: frozenset[int],
    ) -> tuple[dict[str, Any], str]:
        seconds_left = deadline - self._clock.monotonic()
        if seconds_left <= 0:
            raise TooSlowError(f"no answer within {self._patience.total:g} s", request_id)
        headers = {"X-Request-ID": request_id, "Accept": "application/json"}
        if content is not None:
            headers["Content-Type"] = "application/json"
        try:
            with self._session().request(
                method,
                self._base + path,
                data=content,
                headers=headers,
                timeout=(min(self._patience.connect, seconds_left), min(self._patience.read, seconds_left)),
                allow_redirects=False,
                stream=True,
            ) as response:
                received = self._body(response, request_id, deadline)
        except requests.ConnectTimeout as error:
            raise UnreachableError(f"{self._base}: no connection in time", request_id) from error
        except (requests.Timeout, urllib3.exceptions.ReadTimeoutError) as error:
            # Not repeated: the service may still be computing it, and would compute it twice.
            raise TooSlowError(f"{self._base}{path}: no answer in time", request_id) from error
        except (
            requests.ConnectionError,
            requests.exceptions.ChunkedEncodingError,
            urllib3.exceptions.HTTPError,
            OSError,
        ) as error:
            raise UnreachableError(f"{self._base}: {_reason(error)}", request_id) from error
        return self._judged(response, received, request_id, also)

    def _body(self, response: requests.Response, request_id: str, deadline: float) -> bytes:
        chunks = []
        size = 0
        while chunk := response.raw.read1(_CHUNK, decode_content=True):
            chunks.append(chunk)
            size += len(chunk)
            if size > _MOST_BYTES:
                raise BadAnswerError(f"an answer of more than {_MOST_BYTES} bytes", request_id)
            if self._clock.monotonic() > deadline:
                raise TooSlowError(f"the answer did not end within {self._patience.total:g} s", request_id)
        return b"".join(chunks)

    def _judged(
        self, response: requests.Response, received: bytes, request_id: str, also: frozenset[int]
    ) -> tuple[dict[str, Any], str]:
        if not received and "Content-Length" not in response.headers:
            # http.client accepts a truncated head.
            raise UnreachableError(f"{self._base}: the answer broke off", request_id)
        request_id = response.headers.get("X-Request-ID") or request_id
        status = response.status_code
        try:
            members = json.loads(received)
        except (ValueError, RecursionError):
            members = None
        if isinstance(members, dict) and (status == 200 or status in also):
            return members, request_id
        if status < 400:
            raise BadAnswerError(
                f"{status} {response.headers.get('Content-Type', '')}: not an answer of this service",
                request_id,
            )
        problem = members if isinstance(members, dict) else {}
        detail = str(problem.get("detail") or response.reason or "")
        if status == 504:
            raise TooSlowError(f"504: {detail}", request_id)
        kind: type[ApiError] = ApiError
        if status in _AGAIN:
            kind = UnavailableError
        elif status in (401, 403):
            kind = UnauthorizedError
        elif status < 500:
            kind = BadRequestError
        raise kind(
            status,
            str(problem.get("code") or ""),
            detail,
            request_id,
            field=problem.get("field"),
            retry_after=retry_after(response.headers.get("Retry-After"), self._clock.now()),
        )

    def _session(self) -> requests.Session:
        # requests does not guarantee that threads may share a session, so each has its own.
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.verify = self._verify
            for scheme in ("http://", "https://"):
                session.mount(scheme, _DirectAdapter())
            # Even without a key: otherwise requests would send credentials from ~/.netrc.
            session.auth = self._authorize
            with self._lock:
                self._local.session = session
                self._sessions.add(session)
        return session

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key is not None:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request


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
        patience: Patience = Patience(),
        verify: bool | str = True,
        clock: Clock = Clock(),
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
        parameters = _embedding_parameters(role, truncate)
        done = 0
        async for window in _windows(texts, _BATCH):
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


@contextlib.contextmanager
def _understood(request_id: str) -> Iterator[None]:
    """Turn the errors of an answer of another form into BadAnswerError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadAnswerError(
            f"the answer has not the form that it should: {type(error).__name__}: {error}", request_id
        ) from error


@contextlib.contextmanager
def _within(count: int | None, start: int, name: str) -> Iterator[None]:
    """Let an error name a text of a batch by its index among all ``count`` texts; None: nobody knows how many."""
    try:
        yield
    except ApiError as error:
        place, _, index = (error.field or "").rpartition(".")
        if place == name and index.isdigit():
            error.field = f"{name}.{start + int(index)}"
        elif error.field == name and error.code in ("text_too_long", "bad_request") and count != 1:
            error.field = f"{name}.{start}"  # the batch had one text
        raise


def _embedding_parameters(role: Role, truncate: bool) -> dict[str, Any]:
    return {"role": role, **({"truncate": True} if truncate else {})}


async def _windows(texts: AsyncIterable[str] | Iterable[str], most: int) -> AsyncIterator[list[str]]:
    """``texts`` in order, so many at a time."""
    window: list[str] = []
    if isinstance(texts, AsyncIterable):
        async for text in texts:
            window.append(text)
            if len(window) == most:
                yield window
                window = []
    else:
        for text in texts:
            window.append(text)
            if len(window) == most:
                yield window
                window = []
    if window:
        yield window


def _reason(error: BaseException) -> str:
    """The innermost message: requests and urllib3 wrap the system's in several layers."""
    inner = error
    while (deeper := inner.__cause__ or inner.__context__) is not None:
        inner = deeper
    return str(inner) or type(inner).__name__


def _span(members: Mapping[str, Any]) -> Span:
    return Span(
        str(members["text"]), int(members["start"]), int(members["end"]), str(members.get("type") or "")
    )


def _choice(result: Mapping[str, Any]) -> Choice:
    scores = {str(label): float(score) for label, score in result["scores"].items()}
    return Choice(str(result["label"]), float(result["score"]), scores)


def _event(members: Mapping[str, Any]) -> Event:
    return Event(
        str(members["type"]),
        _span(members["trigger"]),
        tuple(Argument(str(one["role"]), _span(one)) for one in members["arguments"]),
    )
