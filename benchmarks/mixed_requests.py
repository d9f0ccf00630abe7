"""Mixed requests while workers are renewed, servers are reloaded and the engine is killed: what is lost.

    python -m benchmarks.mixed_requests [--requests 10000] [--clients 16] [--minutes 15]

The real stack: nginx with HTTPS, gunicorn with the shipped configuration, LAC and rules as shipped, and the GTE engine
with a small made checkpoint, so that a start takes seconds. Every task and the OpenAI routes, half of the clients
through nginx on a connection for each request, half straight at gunicorn on connections that are kept. GTE_MAX_REQUESTS
renews the worker; gunicorn's master and nginx's get SIGHUP three times each, the engine's process SIGKILL twice.

A request that is answered 429, 502, 503 or 504 with ``Retry-After`` is sent again after that time, as any client may.
What is then not answered 200 is lost: no connection, a connection that breaks, another status, or no ``Retry-After``.
Exit status 1 if one is lost, if there were fewer renewals, reloads or kills than meant, or if the time was over.
"""

import argparse
import contextlib
import http.client
import itertools
import json
import os
import signal
import ssl
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil

from benchmarks.embedded_default import texts_of
from tests.lab.stack import Stack
from tests.made_checkpoint import SHORT, make

RENEWALS = 5
RETRIED = frozenset({"429", "502", "503", "504"})
ANSWER = 60.0  # seconds for one answer
REQUEST = 120.0  # seconds for a request with its retries
ENGINE = "service.engines.gte.process"


class Disturbance(StrEnum):
    """What is done to the stack."""

    GUNICORN = "gunicorn reloaded"
    NGINX = "nginx reloaded"
    KILL = "engine killed"


PLAN = (
    Disturbance.GUNICORN,
    Disturbance.NGINX,
    Disturbance.KILL,
    Disturbance.GUNICORN,
    Disturbance.NGINX,
    Disturbance.KILL,
    Disturbance.GUNICORN,
    Disturbance.NGINX,
)


@dataclass
class Outcomes:
    """What became of the requests so far. Thread-safe."""

    at_once: int = 0
    after_retry: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def done(self) -> int:
        """Requests that have come to an end."""
        return self.at_once + self.after_retry + sum(self.lost.values())

    def add(self, refusals: list[str], failure: str | None, seconds: float) -> None:
        """A request ended; ``failure``: why it is lost, or None."""
        with self.lock:
            self.refusals.update(refusals)
            self.slowest = max(self.slowest, seconds)
            if failure is not None:
                self.lost[failure] += 1
            elif refusals:
                self.after_retry += 1
            else:
                self.at_once += 1


@dataclass(frozen=True)
class Report:
    """One run."""

    outcomes: Outcomes
    disturbances: Counter[Disturbance]
    renewals: int
    seconds: float

    @property
    def is_whole(self) -> bool:
        """Whether everything that was meant to happen did."""
        return self.renewals >= RENEWALS and self.disturbances == Counter(PLAN)

    def text(self) -> str:
        """For a person."""
        outcomes = self.outcomes
        return (
            f"{outcomes.done} requests in {self.seconds:.0f} s, the slowest {outcomes.slowest:.1f} s: "
            f"{outcomes.at_once} answered at once, {outcomes.after_retry} after a retry "
            f"(refused with Retry-After: {dict(outcomes.refusals)}), {sum(outcomes.lost.values())} lost "
            f"{dict(outcomes.lost)}; {self.renewals} workers renewed, "
            + ", ".join(f"{name}: {count}" for name, count in self.disturbances.items())
        )


def mixed(texts: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Paths and bodies without end."""
    for number in itertools.count():
        text, other = texts[number % len(texts)], texts[(number + 7) % len(texts)]
        for task, parameters in (
            ("ner", {}),
            ("embedding", {}),
            ("relation", {}),
            ("similarity", {"candidates": [other, "北京"]}),
            ("event", {}),
            ("classification", {"labels": ["体育", "财经"]}),
            ("sentiment", {}),
            ("qa", {"question": "谁？"}),
        ):
            yield "/predict", {"task_type": task, "input_text": text, "parameters": parameters}
        yield "/v1/embeddings", {"model": "gte", "input": [text, other]}
        yield "/v1/rerank", {"model": "gte", "query": text, "documents": [other, "北京"]}


class Link:
    """One client's connection. For one thread."""

    def __init__(self, connect: Callable[[], http.client.HTTPConnection], *, is_kept: bool) -> None:
        self._connect = connect
        self._is_kept = is_kept
        self._connection = connect()

    def attempt(self, path: str, body: bytes) -> tuple[str, float | None]:
        """The status, or what broke, and the seconds of ``Retry-After``, if there are any."""
        try:
            self._connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return f"{type(error).__name__}: {error}", None
        if not self._is_kept:
            self.close()
        after = answer.getheader("Retry-After")
        return str(answer.status), float(after) if after and after.isdigit() else None

    def close(self) -> None:
        """Connect anew for the next request."""
        self._connection.close()
        self._connection = self._connect()


def ask(link: Link, path: str, body: dict[str, Any], outcomes: Outcomes) -> None:
    """One request, sent again for as long as the service asks for it."""
    content = json.dumps(body, ensure_ascii=False).encode()
    began = time.monotonic()
    refusals: list[str] = []
    while True:
        status, seconds = link.attempt(path, content)
        took = time.monotonic() - began
        if status == "200":
            outcomes.add(refusals, None, took)
            return
        if status not in RETRIED or seconds is None or took > REQUEST:
            outcomes.add(refusals, f"{path} {body.get('task_type', '')}: {status}", took)
            return
        refusals.append(status)
        time.sleep(seconds)


def links(stack: Stack, clients: int) -> list[Link]:
    """Half of them through nginx, half straight at gunicorn."""
    context = ssl.create_default_context(cafile=str(stack.ca_file))
    context.check_hostname = False

    def through_nginx() -> http.client.HTTPConnection:
        return _Named(*stack.https, stack.domain, context)

    def straight() -> http.client.HTTPConnection:
        return http.client.HTTPConnection(*stack.https[:1], stack.ports["backend"], timeout=ANSWER)

    return [
        Link(through_nginx, is_kept=False) if number % 2 else Link(straight, is_kept=True)
        for number in range(clients)
    ]


class _Named(http.client.HTTPSConnection):
    """To an address, by the name of the site."""

    def __init__(self, address: str, port: int, name: str, context: ssl.SSLContext) -> None:
        super().__init__(name, port, timeout=ANSWER, context=context)
        self._context_of_site = context
        self._address = address

    def connect(self) -> None:
        self.sock = self._create_connection((self._address, self.port), self.timeout)  # type: ignore[attr-defined]
        self.sock = self._context_of_site.wrap_socket(self.sock, server_hostname=self.host)


@contextlib.contextmanager
def serving(max_requests: int) -> Iterator[Stack]:
    """The stack, ready."""
    with tempfile.TemporaryDirectory() as work:
        settings = {
            "GTE_ENGINE": "auto",
            "GTE_MODEL_DIR": str(make(Path(work, "gte"), **SHORT)),  # type: ignore[arg-type]
            "GTE_PRECISION": "float32",
            "GTE_MAX_REQUESTS": str(max_requests),
            "GTE_MAX_REQUESTS_JITTER": "0",
        }
        # All clients have one address: nginx's limit for an address is not what is measured.
        site = {"rate": "60000r/m", "burst": "1000"}
        with Stack(service_environment=settings, site=site, wait="answering") as stack:
            stack.wait_for_gunicorn("ready", within=180.0)
            yield stack


def engine_of(stack: Stack) -> psutil.Process | None:
    """The engine: the fork of the forkserver."""
    for process in stack.processes():
        with contextlib.suppress(psutil.Error):
            parent = process.parent()
            if parent is not None and ENGINE in process.cmdline() and ENGINE in parent.cmdline():
                return process
    return None


class Disturber:
    """Does one thing of the plan after the other, evenly spread over the requests, and counts the workers."""

    def __init__(self, stack: Stack, outcomes: Outcomes, requests: int) -> None:
        self._stack = stack
        self._outcomes = outcomes
        self._step = requests / (len(PLAN) + 1)
        self._workers: set[int] = set()
        self._next = 0
        self.disturbances: Counter[Disturbance] = Counter()

    @property
    def renewals(self) -> int:
        """Workers that took another's place by themselves: a reload makes one too."""
        return max(0, len(self._workers) - 1 - self.disturbances[Disturbance.GUNICORN])

    def look(self) -> None:
        """Count, and do what is due, once the service is ready for it."""
        self._workers |= {worker.pid for worker in self._stack.gunicorn_workers}
        is_due = self._next < len(PLAN) and self._outcomes.done >= (self._next + 1) * self._step
        if is_due and self._act(PLAN[self._next]):
            self.disturbances[PLAN[self._next]] += 1
            self._next += 1

    def _act(self, disturbance: Disturbance) -> bool:
        match disturbance:
            case Disturbance.NGINX:
                master = self._stack.nginx_master
            case Disturbance.GUNICORN:
                master = self._stack.gunicorn_master
            case Disturbance.KILL:
                master = engine_of(self._stack)
        if master is None:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            master.send_signal(signal.SIGKILL if disturbance is Disturbance.KILL else signal.SIGHUP)
            return True
        return False


def run(requests: int, clients: int, seconds: float, progress: Callable[[str], object]) -> Report:
    """Send so many requests, for at most so many seconds."""
    outcomes = Outcomes()
    bodies = itertools.islice(mixed(texts_of(200, seed=1)), requests)
    turn = threading.Lock()
    # A little more than a part of the requests: a reload begins a worker's count anew.
    with serving(max(20, requests // (RENEWALS + 5))) as stack:
        began = time.monotonic()
        ends = began + seconds
        disturber = Disturber(stack, outcomes, requests)

        def client(link: Link) -> None:
            while time.monotonic() < ends:
                with turn:
                    request = next(bodies, None)
                if request is None:
                    break
                ask(link, *request, outcomes)

        shown = 0
        with ThreadPoolExecutor(clients) as pool:
            futures = [pool.submit(client, link) for link in links(stack, clients)]
            while not all(future.done() for future in futures):
                disturber.look()
                if outcomes.done >= shown + 500:
                    shown = outcomes.done
                    progress(f"{shown} after {time.monotonic() - began:.0f} s, {disturber.renewals} renewals")
                time.sleep(0.02)
            for future in futures:
                future.result()
        return Report(outcomes, disturber.disturbances, disturber.renewals, time.monotonic() - began)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--minutes", type=float, default=15.0)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    report = run(
        arguments.requests,
        arguments.clients,
        60 * arguments.minutes,
        lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(f"{time.strftime('%F')}, {os.cpu_count()} cores, load average at the start {load:.1f}")
    print(report.text())
    is_right = report.is_whole and report.outcomes.at_once + report.outcomes.after_retry == arguments.requests
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
