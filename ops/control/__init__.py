"""Act on the service: start, restart, reload, signal. Shared by the watchdog and by `doctor --fix`.

Each function says what it does, what it needs, and what it raises if it could not; none decides whether to act.
"""
