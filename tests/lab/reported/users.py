"""What users meet who ask one after the other, or all at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from tests.lab.stack import Stack


def predicts(stack: Stack) -> bool:
    return stack.predict().status == 200


def always(stack: Stack, path: str, status: int, *, method: str = "GET", times: int = 4) -> bool:
    """Whether each of several requests is answered with this status."""
    return {stack.request(method, path).status for _ in range(times)} == {status}


def at_once(stack: Stack, path: str, clients: int) -> set[int | None]:
    """The statuses that so many clients get who ask at the same time."""
    with ThreadPoolExecutor(clients) as pool:
        return {answer.status for answer in pool.map(lambda _: stack.request(path=path), range(clients))}
