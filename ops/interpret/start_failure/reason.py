"""Why the last start failed, by the messages of gunicorn, Python, a shell or a supervisor.

A rule is a pattern for one part of the reading (the exception, gunicorn's own error, its errors about the address)
and the kind that it proves; its named groups are the facts. The first match decides. A message without a match is of
kind ``UNKNOWN``: it is only quoted.
"""

from __future__ import annotations

from ops.facts.start import LastStart, StartWords
from ops.interpret.start_failure.exception_rules import by_trace
from ops.interpret.start_failure.kind import LOADING, VAGUE, Kind, Proof, StartFailure
from ops.interpret.start_failure.master_errors import by_address, by_error
from ops.interpret.start_failure.supervisor_account import account_failure
from ops.interpret.start_failure.words import StartReading, read_start
from ops.interpret.start_failure.worker_ends import by_ends, by_lines

# Sources written within this many seconds of the newest belong to the same start.
SAME_START = 90.0


def start_failure(last: LastStart, since: float = 0.0) -> StartFailure | None:
    """Return why the last start failed; None if no log has a failed start.

    ``since``: when the service is known to have last served (Unix seconds); older lines belong to another start."""
    readings = [(words, read_start(words.lines)) for words in last.words if words.time >= since]
    failing = [(words, reading) for words, reading in readings if reading.has_failed]
    newest = max((words.time for words, _ in failing), default=0.0)
    best: StartFailure | None = None
    for words, reading in failing:
        if words.time < newest - SAME_START:
            continue
        best = _clearer(best, _of_reading(words, reading, last))
    for account in last.supervisors:
        by_account = account_failure(account)
        if by_account is not None and (account.time or newest or since) >= max(since, newest - SAME_START):
            best = _clearer(best, by_account)
    return best


def _clearer(best: StartFailure | None, other: StartFailure) -> StartFailure:
    """Return ``best``, unless only ``other`` shows the defect."""
    return other if best is None or (best.kind in VAGUE and other.kind not in VAGUE) else best


def _of_reading(words: StartWords, reading: StartReading, last: LastStart) -> StartFailure:
    proof = (
        by_error(reading, last)
        or by_address(reading)
        or by_trace(reading, last)
        or by_lines(reading)
        or by_ends(reading, last)
    )
    is_traced = bool(reading.traces) and not any(t.is_master for t in reading.traces[-1:])
    ends_of_workers = (reading.reason or "").startswith(("Worker failed", "App failed")) or reading.loops
    if proof is None:
        lines = [line for line in reading.tail if "Worker exiting" not in line]
        proof = Proof(Kind.UNKNOWN, lines[-1].strip() if lines else "?")
    is_preload = bool(reading.traces) and any(
        frame[0].endswith("gunicorn/arbiter.py") and frame[2] == "setup"
        for frame in reading.traces[-1].frames
    )
    # gunicorn reads its configuration before the master runs: a fault in that file fails no worker.
    is_loading = "config" not in proof.values and (
        proof.kind in LOADING
        or is_preload
        or (is_traced and proof.kind not in _MASTER)
        or (proof.kind is Kind.UNKNOWN and ends_of_workers)
    )
    return StartFailure(
        proof.kind,
        proof.quote,
        words.source,
        words.time,
        proof.where,
        proof.values,
        is_loading,
        len(reading.ends),
    )


_MASTER = frozenset(Kind) - LOADING - {Kind.UNKNOWN}
