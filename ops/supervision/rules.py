"""The limits by which the watchdog assesses and acts: constants, and those that gte-ops.toml sets."""

from __future__ import annotations

from dataclasses import dataclass

from ops.settings import Settings

# Between two stack dumps of one worker, seconds; less only if the request deadline itself is short.
DUMP_GAP = 5.0
# A worker that uses less than this share of a core has flat CPU: a gthread worker's idle main loop uses under 1 %.
FLAT_SHARE = 0.05
# A worker that computes, or has some healthy threads, gets this many deadlines: it might still be at work.
PATIENT_DEADLINES = 3.0
# If all workers are suspect at once, that is overload until nothing has completed for this many deadlines.
OVERLOAD_DEADLINES = 2.0
CONTROL_FAILURES = 3
# Memory is about to run out if less than this share of it is available, and never if more than these bytes are.
SHORT_SHARE = 0.05
SHORT_BYTES = 512 << 20
# Less growth than this between two observations is noise.
GROWTH_BYTES = 1 << 20
# A leaking worker gets this long to complete its requests, seconds: the kernel's OOM killer would give it no time.
MEMORY_GRACE = 10.0
# A master that had been there and is missing for so long, seconds, is gone for good: no failures need be counted.
# A restart by hand or by systemd is faster, or is done while the watchdog is paused.
GONE_FOR = 1.0
# Seconds until the effect of an action is observed; no extra cycle comes sooner.
LOOK_AGAIN = 0.5
# With no more descriptors left than this, a worker accepts no connection, or fails at the first file.
FEW_DESCRIPTORS = 3
LONGEST_BACK_OFF = 4 * 3600.0
HEALTHY_CLEARS = 600.0


@dataclass(frozen=True)
class Rules:
    """Seconds, except ``failures`` (cycles in a row) and ``budget`` (actions ``within`` that many seconds).
    ``starts_stopped``: a service whose unit somebody stopped is started too."""

    request_deadline: float
    boot_deadline: float
    interval: float
    failures: int
    budget: int
    within: float
    starts_stopped: bool = False

    @property
    def dump_gap(self) -> float:
        """Seconds between two stack dumps that are compared."""
        return min(DUMP_GAP, max(1.0, self.request_deadline / 2))

    @property
    def clears_after(self) -> float:
        """Healthy seconds after which earlier actions no longer count."""
        return min(HEALTHY_CLEARS, self.within)


def rules_from(settings: Settings) -> Rules:
    """The rules that the settings give."""
    watchdog = settings.watchdog
    return Rules(
        request_deadline=float(settings.app.request_deadline),
        boot_deadline=float(settings.app.boot_deadline),
        interval=max(1.0, float(watchdog.interval)),
        failures=max(1, watchdog.failures),
        budget=max(0, watchdog.restarts.budget),
        within=float(watchdog.restarts.within),
        starts_stopped=watchdog.start_stopped,
    )
