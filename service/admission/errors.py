"""Errors of admission."""


class EngineTimeoutError(Exception):
    """An engine took longer than a request may take; the message has the limit."""


class ClientGoneError(Exception):
    """The client closed its connection before its turn came, or between two steps of the work."""


class DeadlineError(EngineTimeoutError):
    """The time of the whole prediction is over."""

    def __init__(self) -> None:
        super().__init__("the time of this prediction is over")
