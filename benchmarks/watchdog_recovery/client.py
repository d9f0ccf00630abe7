"""The client that keeps asking, each request on a connection of its own as from nginx without keep-alive."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection
from dataclasses import dataclass, field

from benchmarks.watchdog_recovery.clock import now

# So many answers in a row, from as many workers as before the fault, are "every request served again".
IN_A_ROW = 20


@dataclass
class Asked:
    """One request. ``error`` is empty for an answer of 200; ``done`` is None while it is under way."""

    number: int
    sent: float
    done: float | None = None
    worker: int | None = None
    error: str = ""

    @property
    def answered(self) -> bool:
        """Whether it was answered with 200."""
        return self.done is not None and not self.error


@dataclass
class Client:
    """Asks ``path`` of the service ``rate`` times a second, whatever becomes of the earlier requests."""

    address: str
    port: int
    path: str
    rate: float
    patience: float
    asked: list[Asked] = field(default_factory=list)
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)

    async def keep_asking(self) -> None:
        """Until it is cancelled."""
        began, number = now(), 0
        while True:
            asked = Asked(number, now())
            self.asked.append(asked)
            task = asyncio.create_task(self._ask(asked))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
            number += 1
            await asyncio.sleep(max(0.0, began + number / self.rate - now()))

    async def finish(self) -> None:
        """Wait for the answers still to come."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def _ask(self, asked: Asked) -> None:
        try:
            status, worker = await asyncio.wait_for(
                exchange(self.address, self.port, f"{self.path}?{asked.number}"), self.patience
            )
            asked.worker = worker
            asked.error = "" if status == 200 else f"status {status}"
        except TimeoutError:
            asked.error = "time-out"
        except (OSError, EOFError, ValueError) as error:
            asked.error = type(error).__name__
        asked.done = now()


async def exchange(address: str, port: int, path: str) -> tuple[int, int | None]:
    """One GET: the status and the worker's pid. Raises OSError, EOFError or ValueError where there is no answer."""
    reader, writer = await asyncio.open_connection(address, port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
        await reader.readexactly(int(fields.get("content-length", "0")))
        worker = fields.get("x-worker")
        return int(lines[0].split()[1]), int(worker) if worker else None
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def served_again(asked: list[Asked], since: float, without: Collection[int], workers: int) -> float | None:
    """When, after ``since``, every request was served again by ``workers`` workers other than ``without``.

    That is the first answer of an unbroken row of at least ``IN_A_ROW``, in the order of sending; or, where that is
    later, the first answer in it of the last worker needed."""
    row: list[Asked] = []
    first_of: dict[int, float] = {}
    for request in asked:
        if request.sent < since:
            continue
        if not request.answered:
            row, first_of = [], {}
            continue
        assert request.done is not None
        row.append(request)
        if request.worker is not None and request.worker not in without:
            first_of.setdefault(request.worker, request.done)
        if len(row) >= IN_A_ROW and len(first_of) >= workers:
            assert row[0].done is not None
            return max(row[0].done, sorted(first_of.values())[workers - 1])
    return None
