"""Causes that a machine like CI's cannot produce, as they were observed on one that could.

A file is named for its code and holds the sections of the snapshot (``ops.facts.snapshot.to_json``) in which the
cause shows; the rest of the host is the made, healthy one. Names and addresses of the machine it was recorded on are
replaced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_type_hints

import msgspec

from ops.facts.snapshot import Snapshot
from tests.unit.made_snapshot import but

# How each was obtained.
RECORDED = {
    "HST003": "A peer with a clock of its own needs a second machine. Here a whole stack was brought up on "
    "198.51.100.7, an address that no interface carries (ip route add local 198.51.100.0/24 dev lo): for the doctor it "
    "is another machine's. The collector ran under `faketime -f -10m`.",
    "NGX053": "An old worker counts after an hour, which no test waits. Here a real nginx was reloaded nine times while"
    " a backend held each request, and its processes were read; the times are as from a clock two hours later.",
    "OPS008": "The lab names its configuration (--config), and one that is named is read or refused. Here a run"
    " without it was started in a directory of user 65534's that held a gte-ops.toml.",
}


def recorded(code: str) -> Snapshot:
    """The made host with what was recorded of one cause."""
    sections = json.loads(Path(__file__).with_name(f"{code}.json").read_bytes())
    hints = get_type_hints(Snapshot)
    return but(**{name: msgspec.convert(value, hints[name]) for name, value in sections.items()})
