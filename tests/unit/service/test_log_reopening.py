"""The logs are reopened on USR1 (``gunicorn_patches``), but not while one of them is in use."""

import signal
from typing import Any

from service.gunicorn_patches import LogReopening


class Logs:
    """Reopens; ``during``: what happens meanwhile."""

    def __init__(self) -> None:
        self.times = 0
        self.is_busy = False
        self.during: list[Any] = []

    def reopen(self, _signum: int, _frame: Any) -> None:
        assert not self.is_busy, "a second one interrupted the first"
        self.is_busy = True
        self.times += 1
        while self.during:
            self.during.pop()()
        self.is_busy = False


def test_a_signal_reopens_at_once() -> None:
    logs = Logs()
    LogReopening(logs.reopen).handle(signal.SIGUSR1, None)
    assert logs.times == 1


def test_a_signal_during_one_is_a_further_one_after_it() -> None:
    logs = Logs()
    reopening = LogReopening(logs.reopen)
    logs.during = [lambda: reopening.handle(signal.SIGUSR1, None)] * 2
    reopening.handle(signal.SIGUSR1, None)
    assert logs.times == 2


def test_while_the_main_loop_writes_none_is_reopened_and_then_it_is() -> None:
    logs = Logs()
    reopening = LogReopening(logs.reopen)
    with reopening.held_off():
        for _ in range(3):
            reopening.handle(signal.SIGUSR1, None)
        assert logs.times == 0
    assert logs.times == 1
    with reopening.held_off():
        pass
    assert logs.times == 1
