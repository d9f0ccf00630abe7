"""What admission refuses."""


class EngineTimeoutError(Exception):
    """An engine took longer than a request may; the message says how long that is."""
