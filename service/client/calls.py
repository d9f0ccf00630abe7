"""One call: attempts until one succeeds, or the repetitions or the time are used up."""

import json
import uuid
from collections.abc import Mapping
from typing import Any

import requests
import urllib3.exceptions

from .connections import Connections
from .errors import (
    ApiError,
    BadAnswerError,
    BadRequestError,
    TooSlowError,
    UnauthorizedError,
    UnavailableError,
    UnreachableError,
)
from .retries import Clock, Patience, pause_before_next, retry_after

# The service gives no longer answer.
_MOST_BYTES = 256 * 1024 * 1024
_CHUNK = 65536
_AGAIN = frozenset({429, 502, 503})


class Calls:
    """Calls of the service at one address."""

    def __init__(self, base_url: str, connections: Connections, patience: Patience, clock: Clock) -> None:
        self._base = base_url.rstrip("/")
        self._connections = connections
        self._patience = patience
        self._clock = clock

    def json_of(
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
                pause = pause_before_next(error, attempt, self._patience, self._clock)
                if attempt == most or pause is None or self._clock.monotonic() + pause >= deadline:
                    raise
            self._clock.sleep(pause)
        raise AssertionError("not reached")

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
            with self._connections.session().request(
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


def _reason(error: BaseException) -> str:
    """The innermost message: requests and urllib3 wrap the system's in several layers."""
    inner = error
    while (deeper := inner.__cause__ or inner.__context__) is not None:
        inner = deeper
    return str(inner) or type(inner).__name__
