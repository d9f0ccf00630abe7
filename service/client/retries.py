"""Whether, when and how often a call is repeated."""

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from .errors import GteError, UnavailableError


@dataclass(frozen=True)
class Patience:
    """Time-outs and repetitions; in seconds.

    ``total`` bounds a call with all its repetitions and pauses. A pause without ``Retry-After`` is random, between 0
    and ``first_pause`` doubled with each repetition, at most ``longest_pause``. If the service asks for more than
    ``longest_pause``, the call is not repeated.
    """

    connect: float = 5.0
    read: float = 60.0
    total: float = 120.0
    repetitions: int = 4
    first_pause: float = 0.5
    longest_pause: float = 30.0


@dataclass(frozen=True)
class Clock:
    """Time and randomness, which tests replace."""

    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    sleep: Callable[[float], None] = time.sleep
    uniform: Callable[[float, float], float] = random.uniform


DEFAULT_PATIENCE = Patience()
SYSTEM_CLOCK = Clock()


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds from ``now`` that a ``Retry-After`` asks for (RFC 9110, 10.2.3: seconds or a date); None if it is
    malformed."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        # Longer than any wait, and too many digits for a float.
        return float(text) if len(text) < 10 else math.inf
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if moment.tzinfo is None:  # "-0000": UTC without a known zone
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def pause_before_next(error: GteError, attempt: int, patience: Patience, clock: Clock) -> float | None:
    """Seconds until the next attempt; None if another attempt is useless."""
    most = min(patience.longest_pause, patience.first_pause * 2**attempt)
    asked = error.retry_after if isinstance(error, UnavailableError) else None
    if asked is None:
        # A missing model will still be missing in a minute; a loading one comes with Retry-After.
        if isinstance(error, UnavailableError) and error.code == "model_unavailable":
            return None
        return clock.uniform(0.0, most)
    if asked > patience.longest_pause:
        return None
    # Clients that were refused together should not return together.
    return asked + clock.uniform(0.0, most)
