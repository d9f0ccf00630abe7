"""Probe the front door, the service and its upstreams over HTTP."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit, urlunsplit

from ops.collect.net.connection import CONNECT_SECONDS, Deadline, ShorterDeadline, proxy_line
from ops.collect.net.http_probe import (
    MAX_BODY_BYTES,
    PROXIED,
    HttpAnswer,
    ask,
    connect,
    exchange,
    host_header,
    sni,
    unverified_context,
    verified_context,
)
from ops.collect.net.private_headers import without_private
from ops.facts.base import NotSeen
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import REDIRECTS, Backend, Connection, Exchange, Front, Repeats, Upstreams
from ops.facts.target import Target
from ops.interpret.address import join_address, split_address
from ops.interpret.renewal import OWN_CHALLENGE
from ops.text.sanitize import safe_line

__all__ = ["Deadline", "connect", "exchange", "probe_backend", "probe_front", "probe_upstreams"]

MAX_HOPS = 10
# The health probe has the service to itself this long before the prediction is sent, in seconds: a single
# synchronous worker that is busy with our own prediction must not make /health look dead.
HEAD_START = 1.0
# The same for the other short requests.
QUICK_START = 0.5
# A request that had less time than this before the run's end does not count as unanswered, in seconds.
LEAST_WAIT = 0.2
# Several requests at once reach every worker; wait `REPEAT_WAIT` seconds for them.
REPEATS_PER_WORKER = 3
REPEAT_ROUNDS = 2
MAX_REPEATS = 16
REPEAT_WAIT = 3.0
NEXT_ROUND = 0.25
# Each upstream takes one thread for the time of one exchange.
MAX_UPSTREAMS = 32
# Werkzeug's interactive debugger serves its own script to every client of the application.
DEBUGGER_PATH = "/?__debugger__=yes&cmd=resource&f=debugger.js"
# Without a debugger, the answer is the application's first page; do not scan a whole page for secrets.
DEBUGGER_KEEPS = 300
_PREDICT_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}


class _Running:
    """A function run in its own thread; `result` waits for its return value."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._done = threading.Event()
        self._outcome: Any = NotSeen(reason="the probe did not finish")
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self._outcome = self._function()
        except Exception as error:  # noqa: BLE001  a defect of ours is reported, not raised into nowhere
            self._outcome = NotSeen(reason=safe_line(f"the probe failed: {type(error).__name__}: {error}"))
        finally:
            self._done.set()

    def result(self) -> Any:
        self._done.wait()
        return self._outcome

    def wait(self, seconds: float) -> None:
        self._done.wait(seconds)


class _Door:
    """One address of the front, with its protocols (PROXY, TLS) and headers."""

    def __init__(
        self,
        address: str,
        target: Target,
        patience: Deadline,
        *,
        is_plain: bool = False,
        private: Mapping[str, str] | None = None,
    ) -> None:
        self.address = address
        self._patience = patience
        is_proxied = target.plain_proxy_protocol if is_plain else target.front_proxy_protocol
        # If a balancer in front of this host ends TLS, send the header with the user's scheme.
        ends_before = not is_plain and target.url.startswith("https") and not target.front_tls
        has_tls = target.front_tls and target.url.startswith("https") and not is_plain
        self._context = unverified_context(target.client_certificate, target.client_key) if has_tls else False
        self._headers = PROXIED if ends_before else {}
        self._preface = proxy_line(address) if is_proxied else b""
        self._name = sni(target.domain)
        self._private = private or {}
        self._verified = (
            verified_context(target.ca_file, target.client_certificate, target.client_key)
            if self._private and has_tls and self._name
            else None
        )

    def ask(self, method: str, url: str, headers: Mapping[str, str] | None = None, **more: Any) -> HttpAnswer:
        """Send one request to this address, see `http_probe.ask`."""
        return ask(
            method,
            url,
            self.address,
            self._patience,
            **{
                "headers": {**self._headers, **(headers or {})},
                "tls": self._context,
                "server_name": self._name,
                "preface": self._preface,
                **more,
            },
        )

    def ask_with_key(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, **more: Any
    ) -> HttpAnswer:
        """Send one request: with the private headers if the server's certificate verifies, otherwise without them."""
        if self._verified is not None:
            secret = {**(headers or {}), **self._private}
            answer = self.ask(method, url, secret, tls=self._verified, **more)
            if answer.exchange.failure is not ProbeFailure.TLS:
                return HttpAnswer(without_private(answer.exchange, self._private), answer.location)
        return self.ask(method, url, headers, **more)


def probe_front(target: Target, patience: Deadline, headers: Mapping[str, str] | None = None) -> Front:
    """Probe the front door as users see it: plain HTTP, the health path, a prediction, the chain of redirects.
    ``headers``: private ones, for the health path and the prediction over verified TLS."""
    address = target.connect_to or _own_address(target.url)
    base = target.url.rstrip("/")
    plain_base = f"http://{_bracketed(target.domain)}"
    plain_address = target.plain_connect_to or join_address(split_address(address)[0], 80)
    door = _Door(address, target, patience, private=headers)
    plain_door = _Door(plain_address, target, patience, is_plain=True)
    doors = {"https": door, "http": plain_door if base.startswith("https") else door}
    connection = _Running(lambda: connect(address, patience.deadline, patience))
    health = _Running(lambda: door.ask_with_key("GET", base + target.health_path))
    plain = _Running(lambda: plain_door.ask("GET", plain_base + target.health_path))
    challenge = _Running(lambda: _challenge(target, doors))
    # One limit for connecting: if health cannot connect, the prediction does not wait as long again.
    connect_by = time.monotonic() + CONNECT_SECONDS
    health.wait(HEAD_START)
    predict = _Running(
        lambda: (
            door.ask_with_key(
                "POST",
                base + target.predict_path,
                _PREDICT_HEADERS,
                body=target.predict_body,
                connect_by=connect_by,
            ).exchange
        )
    )
    hops = _hops(health.result(), plain.result(), target.domain, doors)
    return Front(
        connection=_or_other(connection.result(), address),
        plain=_seen(plain.result(), patience),
        health=_seen(health.result(), patience),
        predict=_seen(predict.result(), patience),
        hops=hops,
        challenge=outcome if isinstance(outcome := challenge.result(), tuple) else (),
    )


def _challenge(target: Target, doors: Mapping[str, _Door]) -> tuple[Exchange, ...]:
    """Request an ACME challenge that does not exist, as an authority would: at port 80, following redirects."""
    if not target.certificate or not target.certificate.startswith(target.letsencrypt_dir.rstrip("/") + "/"):
        return ()
    # Digits only: a token that looks like a secret would be hidden in a bundle's logs and not be recognised as ours.
    token = f"{int.from_bytes(os.urandom(8)) % 10**10:010d}"
    url = f"http://{_bracketed(target.domain)}{OWN_CHALLENGE}{token}"
    hops: list[Exchange] = []
    while len(hops) < MAX_HOPS:
        answer = doors[urlsplit(url).scheme].ask("GET", url)
        hops.append(answer.exchange)
        following = _following(url, answer.location, target.domain) if _redirects(answer) else None
        if following is None or following in [hop.url for hop in hops]:
            break
        url = following
    return tuple(hops)


def _own_address(url: str) -> str:
    parts = urlsplit(url)
    return join_address(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _seen(outcome: object, patience: Deadline) -> Exchange | NotSeen:
    """Return the exchange, or NotSeen if the run ended before an answer could have come, as on a host whose processors
    are all busy. A wait that was cut stays an exchange: its detail gives the reason."""
    if isinstance(outcome, HttpAnswer):
        outcome = outcome.exchange
    if not isinstance(outcome, Exchange):
        return outcome if isinstance(outcome, NotSeen) else NotSeen(reason="the probe did not finish")
    if outcome.failure is ProbeFailure.TIMEOUT and outcome.elapsed < LEAST_WAIT and not patience.is_cut:
        return NotSeen(reason=f"no time was left to wait for an answer to {outcome.method} {outcome.url}")
    return outcome


def _or_other(outcome: object, address: str) -> Connection:
    if isinstance(outcome, Connection):
        return outcome
    reason = outcome.reason if isinstance(outcome, NotSeen) else "the probe did not finish"
    return Connection(address=address, failure=ProbeFailure.OTHER, detail=reason)


def _hops(health: object, plain: object, domain: str, doors: Mapping[str, _Door]) -> tuple[Exchange, ...]:
    """Return the chain of redirects: from the health URL, or from plain HTTP if only that redirects.

    A loop ends with a hop that repeats an earlier URL (the earlier answer again, not a second request)."""
    answers = {_normal(a.exchange.url): a for a in (plain, health) if isinstance(a, HttpAnswer)}
    current = next((a for a in (health, plain) if isinstance(a, HttpAnswer) and _redirects(a)), None)
    if current is None:
        return ()
    hops = [current.exchange]
    url = current.exchange.url
    visited_urls = {_normal(url)}
    while current is not None and _redirects(current) and len(hops) < MAX_HOPS:
        following = _following(url, current.location, domain)
        if following is None:
            break
        url = following
        normal_url = _normal(url)
        if normal_url not in answers:
            answers[normal_url] = doors[urlsplit(url).scheme].ask("GET", url)
        current = answers[normal_url]
        hops.append(current.exchange)
        if normal_url in visited_urls:
            break
        visited_urls.add(normal_url)
    return tuple(hops)


def _redirects(answer: HttpAnswer) -> bool:
    return answer.exchange.status in REDIRECTS and bool(answer.location)


def _following(url: str, location: str, domain: str) -> str | None:
    """Return the URL a redirect leads to, None for another host, another scheme or an invalid URL."""
    try:
        following = urljoin(url, location)
        parts = urlsplit(following)
        _ = parts.port
    except ValueError:
        return None
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme not in ("http", "https") or host != domain.lower().rstrip("."):
        return None
    return urlunsplit((parts.scheme, parts.netloc, parts.path or "/", parts.query, ""))


def _normal(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{host_header(url).lower()}{parts.path or '/'}?{parts.query}"


def probe_backend(
    target: Target,
    patience: Deadline,
    *,
    repeat: bool = False,
    headers: Mapping[str, str] | None = None,
) -> Backend:
    """Probe the service itself, bypassing nginx: health first and alone, then the short requests, then a prediction.

    ``repeat``: also request the health path several times, so that every worker is reached; ``headers``: private ones,
    sent with every request."""
    address = target.backend
    connection = connect(address, patience.deadline, patience)
    if connection.failure is not None:
        missing = NotSeen(reason=f"nothing to ask: {connection.detail}")
        return Backend(
            address=address,
            connection=connection,
            health=missing,
            ready=missing,
            predict=missing,
            debugger=missing,
        )

    private = headers or {}

    def send(method: str, path: str, within: Deadline, more: Mapping[str, str], **rest: Any) -> Exchange:
        answer = exchange(
            method, base + path, address, within, headers={**more, **PROXIED, **private}, **rest
        )
        return without_private(answer, private) if private else answer

    def get(path: str, within: Deadline = patience, keep_bytes: int = MAX_BODY_BYTES) -> _Running:
        return _Running(lambda: send("GET", path, within, {}, keep_bytes=keep_bytes))

    # The URL's scheme is the connection's (plain); the header carries the user's scheme, as nginx sends it.
    base = f"http://{_bracketed(target.domain)}"
    health = get(target.health_path)
    health.wait(HEAD_START)
    ready = get(target.ready_path)
    debugger = get(DEBUGGER_PATH, keep_bytes=DEBUGGER_KEEPS)
    quick = time.monotonic() + QUICK_START
    ready.wait(QUICK_START)
    debugger.wait(max(0.0, quick - time.monotonic()))

    def ask_prediction() -> Exchange:
        return send("POST", target.predict_path, patience, _PREDICT_HEADERS, body=target.predict_body)

    repeats = _Running(lambda: _ask_again(get, target, patience)) if repeat else None
    predict = _Running(ask_prediction).result()
    again = {}
    if isinstance(predict, Exchange) and predict.status == 200 and predict.elapsed > target.slow_after_s:
        # The first may have warmed up the service, or waited behind the front door's prediction for a single worker.
        again["predict_again"] = _Running(ask_prediction).result()
    return Backend(
        address=address,
        connection=connection,
        health=_seen(health.result(), patience),
        ready=_seen(ready.result(), patience),
        predict=_seen(predict, patience),
        debugger=_seen(debugger.result(), patience),
        repeats=repeat_answers
        if repeats and isinstance(repeat_answers := repeats.result(), Repeats)
        else None,
        **again,
    )


def _ask_again(get: Callable[[str, Deadline], _Running], target: Target, patience: Deadline) -> Repeats:
    """Request the health path in rounds, several at once: while one worker is busy, another with a free thread takes
    the next request."""
    shorter = ShorterDeadline(patience, time.monotonic() + REPEAT_WAIT)
    running: list[_Running] = []
    for _ in range(REPEAT_ROUNDS):
        requests = [
            get(target.health_path, shorter)
            for _ in range(min(REPEATS_PER_WORKER * len(target.gunicorn_workers), MAX_REPEATS))
        ]
        next_round = time.monotonic() + NEXT_ROUND
        for one in requests:
            one.wait(max(0.0, next_round - time.monotonic()))
        running += requests
    outcomes = [outcome for one in running if isinstance(outcome := one.result(), Exchange)]
    return Repeats(
        answered=tuple(outcome.elapsed for outcome in outcomes if outcome.status is not None),
        unanswered=tuple(outcome.elapsed for outcome in outcomes if outcome.failure is ProbeFailure.TIMEOUT),
    )


def probe_upstreams(target: Target, patience: Deadline) -> Upstreams:
    """Request the health path at every other address nginx proxies this site to, and connect to the addresses of the
    sites that were not chosen."""
    url = f"http://{_bracketed(target.domain)}{target.health_path}"
    others = [address for address in dict.fromkeys(target.upstreams) if address != target.backend]

    def ask(address: str) -> _Running:
        return _Running(lambda: exchange("GET", url, address, patience, headers=PROXIED))

    def dial(address: str) -> _Running:
        return _Running(lambda: connect(address, patience.deadline, patience))

    running = {address: ask(address) for address in others[:MAX_UPSTREAMS]}
    sites = dict.fromkeys(site.address for site in target.other_sites)
    dialled = [dial(address) for address in list(sites)[:MAX_UPSTREAMS]]
    answers = {address: task.result() for address, task in running.items()}
    return Upstreams(
        answers={a: answer for a, answer in answers.items() if isinstance(answer, Exchange)},
        others=tuple(c for task in dialled if isinstance(c := task.result(), Connection)),
    )
