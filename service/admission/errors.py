"""Errors of admission."""


class EngineTimeoutError(Exception):
    """An engine took longer than a request may take; the message has the limit."""
