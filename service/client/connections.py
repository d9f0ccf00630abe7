"""The connections to the service, of each thread its own."""

import functools
import threading
import time
import weakref
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy

from .this_host import is_this_host


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


class Connections:
    """A session of requests for each thread: requests does not guarantee that threads may share one."""

    def __init__(self, api_key: str | None, verify: bool | str) -> None:
        self._key = api_key
        self._verify = verify
        self._local = threading.local()
        self._sessions: weakref.WeakSet[requests.Session] = weakref.WeakSet()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections of all threads. A later call opens new ones."""
        with self._lock:
            sessions, self._sessions = list(self._sessions), weakref.WeakSet()
            self._local = threading.local()
        for session in sessions:
            session.close()

    def session(self) -> requests.Session:
        """The calling thread's own."""
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
