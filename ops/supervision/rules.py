"""The figures the watchdog judges and acts by, from gte-ops.toml."""

from __future__ import annotations

from dataclasses import dataclass

from ops.settings import Settings

# Between two stack dumps of one worker, seconds (operations.md 4b); less only where the deadline itself is short.
DUMP_GAP = 5.0
# Under this share of a core a worker's CPU is flat: a gthread worker's idle main loop uses under 1 %.
FLAT_SHARE = 0.05
# What is spinning or stuck beside healthy threads gets this many deadlines: it might still be at work.
PATIENT_DEADLINES = 3.0
# All workers suspect at once are overload, until nothing completed for this many deadlines.
OVERLOAD_DEADLINES = 2.0
CONTROL_FAILURES = 3
# Memory is about to run out below this share of it, and never above so many bytes.
SHORT_SHARE = 0.05
SHORT_BYTES = 512 << 20
# Between two looks, less growth than this is noise.
GROWTH_BYTES = 1 << 20
# A worker that eats memory gets this long to end its requests, seconds: the kernel would give it none.
MEMORY_GRACE = 10.0
# A master that was there and is missing for so long, seconds, is gone for good: no round need be counted. Whoever
# restarts a service by hand or by systemd is faster, or pauses the watchdog.
GONE_FOR = 1.0
# How soon the effect of a step is looked at again, and the soonest of any extra round, seconds.
LOOK_AGAIN = 0.5
# With no more than so many descriptors left a worker accepts nothing, or fails at the first file.
FEW_DESCRIPTORS = 3
LONGEST_BACK_OFF = 4 * 3600.0
HEALTHY_CLEARS = 600.0


@dataclass(frozen=True)
class Rules:
    """Seconds, and counts of rounds or actions."""

    request_deadline: float
    boot_deadline: float
    interval: float
    failures: int
    budget: int
    within: float

    @property
    def dump_gap(self) -> float:
        """Seconds between two stack dumps that are compared."""
        return min(DUMP_GAP, max(1.0, self.request_deadline / 2))

    @property
    def clears_after(self) -> float:
        """Healthy seconds after which earlier actions no longer count."""
        return min(HEALTHY_CLEARS, self.within)


def rules_from(settings: Settings) -> Rules:
    """The rules that a configuration sets."""
    watchdog = settings.watchdog
    return Rules(
        request_deadline=float(settings.app.request_deadline),
        boot_deadline=float(settings.app.boot_deadline),
        interval=max(1.0, float(watchdog.interval)),
        failures=max(1, watchdog.failures),
        budget=max(0, watchdog.restarts.budget),
        within=float(watchdog.restarts.within),
    )
