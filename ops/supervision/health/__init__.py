"""What an observation means: pure functions from an observation and the watchdog's state to an assessment.

No clock is read and no process is touched. The rules, and the measurements behind them, are in docs/watchdog.md. The
first of them: a failed probe alone is never a reason to kill anything.
"""
