"""Starts that fail without a traceback: gunicorn's words about the application object, and workers that end."""

from __future__ import annotations

import re

from ops.facts.start import LastStart
from ops.interpret.start_failure.kind import Kind, Proof
from ops.interpret.start_failure.variable_rules import exit_for_a_variable
from ops.interpret.start_failure.words import Ended, StartReading


def by_lines(reading: StartReading) -> Proof | None:
    """Classify the messages that gunicorn prints, without a traceback, about a wrong application object."""
    for line in reversed(reading.tail):
        if match := re.search(r"Failed to find attribute '(\w+)' in '([\w.]+)'", line):
            return Proof(Kind.ATTRIBUTE, line.strip(), None, {"name": match[1], "module": match[2]})
        if match := re.search(
            r"Failed to find application object(?:: '?([\w.():]+?)'?| '([^']+)' in '([\w.]+)')$", line
        ):
            name, module = (match[2], match[3]) if match[3] else (match[1], "")
            return Proof(Kind.NOT_CALLABLE if not match[3] else Kind.ATTRIBUTE, line.strip(), None,
                          {"name": name or "", "module": module})  # fmt: skip
        if match := re.match(r"TypeError: (\w+)\(\) (missing|takes)", line):
            return Proof(Kind.FACTORY_ARGUMENT, line.strip(), None, {"name": match[1]})
        if "Application object must be callable" in line or "Failed to parse" in line:
            return Proof(Kind.NOT_CALLABLE, line.strip())
    return None


def by_ends(reading: StartReading, last: LastStart) -> Proof | None:
    newest = reading.ends[-1] if reading.ends else None
    run = next(iter(last.runs), None)
    if reading.serves_itself or (run and newest and (newest.code == 1 or newest.timed_out)):
        code = newest.code if newest else None
        quote = reading.serves_itself or f"Worker exited with code {code}"
        values = {"call": run.call} if run else {}
        return Proof(Kind.RUNS_ITSELF, quote, f"{run.path}:{run.line}" if run else None, values)
    if newest is None:
        return None
    if newest.code is not None:
        before = _said_before(reading, newest)
        if newest.code == 2 and before and re.match(r"\S+: error: ", before):
            parses = next((e for e in last.exits if e.call.endswith("parse_args")), None)
            place = f"{parses.path}:{parses.line}" if parses else None
            values = {"call": parses.call if parses else "parse_args"}
            return Proof(Kind.PARSES_ARGUMENTS, before, place, values)
        exits = next((e for e in last.exits if not e.call.endswith("parse_args")), None)
        quote = f"Worker (pid:{newest.pid}) exited with code {newest.code}"
        if by_variable := exit_for_a_variable(last, before, f"{exits.path}:{exits.line}" if exits else None):
            kind, values = by_variable
            return Proof(kind, before or quote, values.pop("where", None), values)
        values = {
            "code": str(newest.code),
            **({"call": exits.call} if exits else {}),
            **({"said": before} if before else {}),
        }
        return Proof(Kind.EXITS, quote, f"{exits.path}:{exits.line}" if exits else None, values)
    if newest.timed_out:
        return Proof(
            Kind.TOO_SLOW, f"WORKER TIMEOUT (pid:{newest.pid})", None, {"after": f"{newest.after:.0f}"}
        )
    signal = newest.signal or "?"
    kind = Kind.KILLED if signal in ("SIGKILL", "9") else Kind.CRASHED
    return Proof(kind, f"Worker (pid:{newest.pid}) was sent {signal}", None, {"signal": signal})


def _said_before(reading: StartReading, ended: Ended) -> str | None:
    """Return the application's last line before this worker ended.

    Lines behind gunicorn's last word on that worker belong to the next one, which may be in the middle of its own."""
    words = re.compile(rf"\(pid: ?{ended.pid}\)")
    end = next((at for at in reversed(range(len(reading.tail))) if words.search(reading.tail[at])), None)
    for line in reversed(reading.tail[:end]):
        if not re.match(r"\[\d{4}-", line) and line.strip():
            return line.strip()[:200]
    return None
