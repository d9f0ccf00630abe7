"""One trial: a stack is brought up, broken, a client meets it, and the doctor is asked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tests.lab.faults.case import Case
from tests.lab.stack import Report, Stack
from tests.lab.waiting import wait_for


@contextlib.contextmanager
def broken(*cases: Case, **stack: Any) -> Iterator[Stack]:
    """A stack with all of ``cases`` at once, each brought about in turn and met by a client.

    ``stack`` is how else it is brought up.

    Raises NotHereError where this machine does not let one be caused; AssertionError where no client meets it."""
    with Stack(**{name: value for case in cases for name, value in case.stack.items()}, **stack) as up:
        for case in cases:
            case.inject(up)
            wait_for(lambda: case.sees(up), f"a client to meet {case.name}", within=15, every=0.05)  # noqa: B023
        yield up


def tried(*cases: Case) -> Report:
    """What the doctor said with all of ``cases`` at once; see `broken`."""
    with broken(*cases) as stack:
        return stack.doctor(machine=any(case.code == "HST005" for case in cases))
