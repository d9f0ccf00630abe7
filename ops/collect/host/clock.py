"""The offset of this machine's clock, as its time daemon measured it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from ops.facts.base import NotSeen
from ops.facts.machine import Clock
from ops.files.programs import refused_program, trusted_program
from ops.text.sanitize import safe_line

SECONDS = 1.0
_SPAN = re.compile(r"([+-]?\d{1,15}(?:\.\d{1,15})?)\s{0,8}(us|ms|s|min|h|d|month|y|w)\b")
# systemd.time(7), as timedatectl prints a time span.
_UNITS = {
    "us": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "min": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
    "month": 2629800.0,
    "y": 31557600.0,
}


def clocks() -> tuple[Clock, ...] | NotSeen:
    """The last measurements of chrony and systemd-timesyncd, if they run; NotSeen if there is none because they did not
    answer in time, or users other than root and the caller may change one of their programs."""
    asked = [(_said("chronyc", "-c", "tracking"), parse_chrony)]
    # If systemd is not the init, no process answers timedatectl (sd_booted(3)).
    if Path("/run/systemd/timesync").is_dir():
        asked.append((_said("timedatectl", "timesync-status"), parse_timesync))
    measurements = [parse(output) for output, parse in asked if isinstance(output, str)]
    late = next((output for output, _ in asked if isinstance(output, NotSeen)), None)
    if not any(measurements) and late is not None:
        return late
    reasons = filter(None, map(refused_program, ("chronyc", "timedatectl")))
    if not measurements and (reason := next(reasons, None)) is not None:
        return NotSeen(reason=safe_line(reason), is_refused=True)
    return tuple(clock for clock in measurements if clock is not None)


def parse_chrony(output: str) -> Clock | None:
    """Parse ``chronyc -c tracking``: the fifth field is the clock's offset from NTP time, in seconds; the last is the
    leap status (chronyc(1))."""
    fields = output.strip().split(",")
    try:
        offset = float(fields[4])
    except (IndexError, ValueError):
        return None
    synchronised = fields[-1].strip().lower() != "not synchronised"
    return Clock(source="chronyc tracking", offset=offset, synchronised=synchronised)


def parse_timesync(output: str) -> Clock | None:
    """Parse ``timedatectl timesync-status``: the line that begins with Offset holds a time span."""
    line = next((line for line in output.splitlines() if line.strip().startswith("Offset:")), None)
    if line is None:
        return None
    text = line.partition(":")[2].strip()
    spans = _SPAN.findall(text)
    if not spans:
        return None
    size = sum(abs(float(number)) * _UNITS[unit] for number, unit in spans)
    offset = -size if text.startswith("-") else size
    return Clock(source="timedatectl timesync-status", offset=offset, synchronised=True)


def _said(name: str, *arguments: str) -> str | NotSeen | None:
    """The program's output; None if it is not there, or says that it knows nothing."""
    program = trusted_program(name)
    if program is None:
        return None
    try:
        process = subprocess.run(
            [program, *arguments], capture_output=True, timeout=SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return NotSeen(reason=f"{name} did not answer in time")
    except OSError:
        return None
    return process.stdout.decode(errors="replace")[:4000] if process.returncode == 0 else None
