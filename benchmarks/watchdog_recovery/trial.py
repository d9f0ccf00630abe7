"""One trial: the service comes up under one keeper, one fault is put in, and a client tells what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil

from benchmarks.watchdog_recovery.client import Asked, Client, exchange, served_again
from benchmarks.watchdog_recovery.clock import now
from benchmarks.watchdog_recovery.keepers import KEEPERS, POLL, actions, has_given_up, noticed
from benchmarks.watchdog_recovery.service import GUNICORN_TIMEOUT, THREADS, WORKERS, Event, Service

NEVER_AFTER = 45.0  # seconds after which a fault that is not mended counts as never mended
RATE, PATIENCE = 10.0, 5.0  # requests a second of the client; seconds it waits for each
# Saturation: /slow takes one second of a thread, so this is three times what all threads can do.
OVERLOAD_RATE, OVERLOAD_PATIENCE, OVERLOAD_SECONDS = 3.0 * WORKERS * THREADS, 15.0, 60.0
# Crash loop: the cause stays for so long. The budget's 30 minutes are shortened to as many seconds meanwhile, so that
# a trial sees gte-ops hold and try again; then the cause goes. `crash_loop_budget` keeps the 30 minutes.
LOOP_SECONDS, LOOP_WITHIN, MENDS_WITHIN = 60.0, 30, 90.0
FATAL_FOR = 15.0


@dataclass
class Trial:
    """What came of one trial. Times are seconds after the fault; None: did not happen in the time given."""

    fault: str
    keeper: str
    number: int
    load: float
    detected: float | None = None
    noticed: float | None = None
    served: float | None = None
    booted_after_action: float | None = None
    forked_after_action: float | None = None
    orphans: float | None = None
    asked: int = 0
    failed: int = 0
    lost: int = 0
    unneeded: int = 0
    actions: list[str] = field(default_factory=list)
    observed: float = 0.0
    gave_up: bool = False
    detail: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For one line of JSON."""
        return asdict(self)


class SetUpError(Exception):
    """The trial could not begin; it says nothing of the keeper."""


def run(fault: str, keeper: str, number: int) -> Trial:
    """One trial, from nothing to nothing. Raises SetUpError."""
    return asyncio.run(_run(fault, keeper, number))


async def _run(fault: str, keeper: str, number: int) -> Trial:
    trial = Trial(fault, keeper, number, round(os.getloadavg()[0], 2))
    service = Service()
    try:
        crash_loop = fault == "crash_loop"
        await asyncio.to_thread(KEEPERS[keeper].start, service, LOOP_WITHIN if crash_loop else 1800)
        await _wait_for(lambda: len(_ready(service)) >= WORKERS, "the workers", 30)
        await _wait_for(lambda: KEEPERS[keeper].settled(service), "the keeper", 30)
        # The fault comes at any moment between two polls; the same for each keeper in the same trial.
        await asyncio.sleep(random.Random(f"{fault} {number}").uniform(0.0, POLL))
        await FAULTS[fault](service, trial)
    finally:
        service.close()
    return trial


# --- faults -----------------------------------------------------------------------------------------------------------


async def _master_killed(service: Service, trial: Trial) -> None:
    async with _asking(service) as client:
        before, master = _ready(service), service.master()
        at = now()
        os.kill(master, signal.SIGKILL)
        orphans = asyncio.create_task(_gone(before, at))
        await _until_served(client, at, before, trial)
        trial.orphans = orphans.result() if orphans.done() else None
        orphans.cancel()
    _account(service, client, trial, at, needed=1, faulty=set())


async def _wedged_worker(service: Service, trial: Trial) -> None:
    async with _asking(service) as client:
        before = _ready(service)
        victim = random.Random(f"victim {trial.number}").choice(sorted(before))
        (service.home / "victim").write_text(str(victim))
        held: list[asyncio.Task[Any]] = []

        def stuck() -> list[float]:
            return [e.at for e in service.events() if e.what == "stuck"]

        give_up = now() + 20
        while len(stuck()) < THREADS:
            if now() > give_up:
                raise SetUpError("the worker would not be wedged")
            task = asyncio.create_task(exchange(service.address, service.port, "/stick"))
            held.append(task)
            await asyncio.wait({task}, timeout=0.15)
        at = stuck()[THREADS - 1]
        await _until_served(client, at, {victim}, trial)
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
    _account(service, client, trial, at, needed=1, faulty={victim})


async def _boot_hang(service: Service, trial: Trial) -> None:
    """A reload whose imports hang: SIGHUP, and each new worker's import waits for ever; the one after it would not."""
    async with _asking(service) as client:
        before = _ready(service)
        for number in range(WORKERS):
            (service.home / f"hang-{number}").touch()
        at = now()
        os.kill(service.master(), signal.SIGHUP)
        await _until_served(client, at, before, trial)
    _account(service, client, trial, at, needed=WORKERS, faulty=set())


async def _boot_hang_one(service: Service, trial: Trial) -> None:
    """One worker dies, and the import of the one in its place hangs; the other worker serves on."""
    async with _asking(service) as client:
        victim = min(_ready(service))
        (service.home / "hang-0").touch()
        at = now()
        os.kill(victim, signal.SIGKILL)
        await _until_served(client, at, {victim}, trial)
    _account(service, client, trial, at, needed=1, faulty={victim})


async def _saturation(service: Service, trial: Trial) -> None:
    client = Client(service.address, service.port, "/slow", OVERLOAD_RATE, OVERLOAD_PATIENCE)
    at = now()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(client.keep_asking(), OVERLOAD_SECONDS)
    done = actions(service, trial.keeper)
    await client.finish()
    trial.observed = OVERLOAD_SECONDS
    _account(service, client, trial, at, needed=0, faulty=set(), time_outs_count=False)
    # What a keeper does while the queue drains counts no longer: the load is over.
    trial.actions = [a.what for a in done if a.at >= at]
    trial.unneeded = len(trial.actions)


async def _crash_loop_budget(service: Service, trial: Trial) -> None:
    """The crash loop's first minute with gte-ops's own budget; that it mends is not waited for."""
    await _crash_loop(service, trial, mends_within=0.0)


async def _crash_loop(service: Service, trial: Trial, *, mends_within: float = MENDS_WITHIN) -> None:
    async with _asking(service) as client:
        before, master = _ready(service), service.master()
        broken = service.home / "broken"
        broken.touch()
        at = now()
        os.kill(master, signal.SIGKILL)
        await asyncio.sleep(LOOP_SECONDS)
        looped = actions(service, trial.keeper)
        mended_from = now()
        broken.unlink()
        limit = mends_within
        if trial.keeper == "gunicorn" or has_given_up(service):
            limit = min(limit, FATAL_FOR)  # nobody is left who would start it
        if limit:
            trial.served = await _served(client, mended_from, before, WORKERS, limit)
        trial.gave_up = has_given_up(service)
        trial.observed = LOOP_SECONDS
    served = trial.served
    _account(service, client, trial, at, needed=0, faulty=set())
    trial.served = served
    trial.actions = [a.what for a in looped if a.at >= at]
    trial.unneeded = 0
    trial.detail = f"starts at {', '.join(f'{a.at - at:.1f}' for a in looped if a.at >= at)}"


FAULTS = {
    "master_killed": _master_killed,
    "wedged_worker": _wedged_worker,
    "boot_hang": _boot_hang,
    "boot_hang_one": _boot_hang_one,
    "saturation": _saturation,
    "crash_loop": _crash_loop,
    "crash_loop_budget": _crash_loop_budget,
}


# --- watching ---------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _asking(service: Service) -> AsyncIterator[Client]:
    """A client at work from a second before what follows, until its last answer is in."""
    client = Client(service.address, service.port, "/work", RATE, PATIENCE)
    asking = asyncio.create_task(client.keep_asking())
    await asyncio.sleep(1.0)
    try:
        yield client
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await client.finish()


async def _until_served(client: Client, at: float, without: Collection[int], trial: Trial) -> None:
    trial.served = await _served(client, at, without, WORKERS, NEVER_AFTER)


async def _served(
    client: Client, since: float, without: Collection[int], workers: int, limit: float
) -> float | None:
    """Seconds after ``since`` until every request was served again, None if that did not come within ``limit``."""
    while now() < since + limit + 3.0:  # the row of answers takes its time
        again = served_again(client.asked, since, without, workers)
        if again is not None:
            return again - since if again - since <= limit else None
        await asyncio.sleep(0.2)
    return None


async def _gone(pids: Collection[int], since: float) -> float:
    """Seconds until none of these processes is left."""
    while any(psutil.pid_exists(pid) and _lives(pid) for pid in pids):
        await asyncio.sleep(0.05)
    return now() - since


def _lives(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


async def _wait_for(condition: Callable[[], bool], what: str, seconds: float) -> None:
    deadline = now() + seconds
    while not condition():
        if now() > deadline:
            raise SetUpError(f"waited {seconds:g} s in vain for {what}")
        await asyncio.sleep(0.05)


def _ready(service: Service) -> set[int]:
    """The workers that serve."""
    return {e.pid for e in service.events() if e.what == "ready" and _lives(e.pid)}


def _account(
    service: Service,
    client: Client,
    trial: Trial,
    at: float,
    *,
    needed: int,
    faulty: Collection[int],
    time_outs_count: bool = True,
) -> None:
    """Fill in what the ledger, the keeper's log and the client's notes say.

    A request is lost where the client got no answer although a worker that the fault had not touched had begun it."""
    events = service.events()
    done = [action for action in actions(service, trial.keeper) if action.at >= at]
    trial.actions = [action.what for action in done]
    trial.unneeded = max(0, len(done) - needed)
    trial.detected = done[0].at - at if done else None
    if trial.keeper == "gte-ops":
        first = noticed(service, at)
        trial.noticed = first - at if first is not None else None
    trial.observed = trial.observed or NEVER_AFTER
    after = [request for request in client.asked if request.sent >= at - GUNICORN_TIMEOUT]
    trial.asked = len(after)
    failed = [r for r in after if r.done is not None and r.done >= at and r.error]
    trial.failed = len(failed)
    begun = {e.request: e for e in events if e.what == "begin"}
    trial.lost = sum(_is_lost(r, begun.get(r.number), faulty, time_outs_count) for r in failed)
    if done:
        boots = [e for e in events if e.what == "boot" and e.at >= done[0].at]
        readies = [e for e in events if e.what == "ready" and e.at >= done[0].at]
        trial.forked_after_action = boots[0].at - done[0].at if boots else None
        trial.booted_after_action = readies[0].at - done[0].at if readies else None


def _is_lost(request: Asked, begun: Event | None, faulty: Collection[int], time_outs_count: bool) -> bool:
    """Whether a healthy worker had begun it, in time, and yet there was no answer."""
    if begun is None or begun.pid in faulty or request.done is None:
        return False
    if request.error == "time-out":
        # What was begun just before its client gave up had waited for a worker, and was late, not lost.
        return time_outs_count and begun.at < request.done - 1.0
    return begun.at < request.done
