"""What a unit's sandbox forbids to write (systemd.exec(5))."""

from __future__ import annotations

import pytest

from ops.facts.units import UnitSandbox
from ops.interpret.unit_sandbox import denied_by, is_everybody_s

STRICT = UnitSandbox(system="strict", writable=("/var/log/app",))


@pytest.mark.parametrize(
    ("sandbox", "path", "setting"),
    [
        (UnitSandbox(), "/srv/a.log", None),
        (UnitSandbox(system="yes"), "/etc/a", None),
        (UnitSandbox(system="yes"), "/usr/a", "ProtectSystem=yes"),
        (UnitSandbox(system="full"), "/etc/a", "ProtectSystem=full"),
        (UnitSandbox(system="full"), "/srv/a", None),
        (STRICT, "/srv/a", "ProtectSystem=strict"),
        (STRICT, "/var/log/app/error.log", None),
        (STRICT, "/var/log/apple/error.log", "ProtectSystem=strict"),
        (STRICT, "/dev/shm/a", None),
        (UnitSandbox(home="yes"), "/home/a/x.log", "ProtectHome=yes"),
        (UnitSandbox(home="yes", writable=("/home/a",)), "/home/a/x.log", "ProtectHome=yes"),
        (UnitSandbox(home="read-only", writable=("/home/a",)), "/home/a/x.log", None),
        (UnitSandbox(read_only=("/srv",), writable=("/srv/app",)), "/srv/app/a", None),
        (UnitSandbox(read_only=("/srv/app",), writable=("/srv",)), "/srv/app/a", "ReadOnlyPaths=/srv/app"),
        (UnitSandbox(read_only=("/srv",), writable=("/srv",)), "/srv/a", "ReadOnlyPaths=/srv"),
        (UnitSandbox(inaccessible=("/srv",)), "/srv/a", "InaccessiblePaths=/srv"),
    ],
)
def test_what_is_denied(sandbox: UnitSandbox, path: str, setting: str | None) -> None:
    assert denied_by(sandbox, path) == setting


@pytest.mark.parametrize(
    ("directory", "is_so"),
    [
        ("/", True),
        ("//", True),
        ("/run/", True),
        ("/srv/../run", True),
        ("/var/log", True),
        ("/var/backups", True),
        ("/usr/local/lib", True),
        ("/home/alice", True),
        ("/home/alice/app", False),
        ("/var/log/gte-api", False),
        ("/srv/logs", False),
        ("/backup", False),
        ("/running", False),
    ],
)
def test_a_directory_of_programs_of_every_kind(directory: str, *, is_so: bool) -> None:
    assert is_everybody_s(directory) is is_so
