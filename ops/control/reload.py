"""Reload gunicorn by SIGHUP to the master: it starts new workers, then ends the old ones."""

from __future__ import annotations

import signal

from ops.collect.services.gunicorn import read_config
from ops.control.signals import send
from ops.facts.gunicorn import GunicornConfig
from ops.interpret.process_ref import ProcessRef

# Both generations of workers run at once, and the machine needs some memory besides.
HEADROOM = 1.2


def reload_gunicorn(master: ProcessRef) -> None:
    """Send SIGHUP. Ask `can_reload` first: a master whose configuration no longer loads ends at a reload.

    Raises GoneError, NotAllowedError."""
    send(master, signal.SIGHUP)


def can_reload(config_file: str | None, workers: tuple[int, ...]) -> bool:
    """Whether memory holds both generations of workers, and the configuration on disk can be read."""
    if config_file:
        config = read_config(config_file)
        if not isinstance(config, GunicornConfig) or config.missing or config.error:
            return False
    import psutil

    resident = 0
    for pid in workers:
        try:
            resident += psutil.Process(pid).memory_info().rss
        except psutil.Error:
            continue
    return bool(psutil.virtual_memory().available > HEADROOM * resident)
