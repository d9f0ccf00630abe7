"""Errors of admission."""


class EngineTimeoutError(Exception):
    """An engine took longer than a request may take; the message has the limit."""


class ClientGoneError(Exception):
    """The client closed its connection before its turn came, or between two steps of the work."""
