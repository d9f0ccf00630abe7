"""``nginx -t`` from a unit: what its sandbox keeps it from opening says nothing of the configuration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ops.facts.base import NotSeen
from ops.facts.nginx import NginxTest

PROGRAM = """
import json, sys
from ops.collect.services import nginx
config = nginx.parse_config(sys.argv[1], sys.argv[2], "/usr/sbin/nginx", None)
found = nginx.test_config(config, {"prefix": sys.argv[2]}, 10)
print(json.dumps([type(found).__name__, getattr(found, "reason", ""), getattr(found, "exit_code", None)]))
"""


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has powers that a unit takes away")


def collected(directory: Path, text: str, *, confined: bool) -> tuple[str, str, int | None]:
    """What the collector makes of a configuration as root without root's power over others' files; ``confined``: and
    with no_new_privs, as our units do. The kind of fact, its reason, nginx's exit code."""
    file = directory / "nginx.conf"
    file.write_text(text)
    sandbox = ["setpriv", "--bounding-set", "-dac_override"] if os.geteuid() == 0 else ["setpriv"]
    ran = subprocess.run(
        [*sandbox, *(["--no-new-privs"] if confined else []), sys.executable, "-c", PROGRAM, file, directory],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    kind, reason, code = json.loads(ran.stdout)
    return kind, reason, code


def not_ours_to_write(directory: Path) -> str:
    """A configuration whose log lies in a directory of another user."""
    logs = directory / "logs"
    logs.mkdir(mode=0o755)
    os.chown(logs, 65534, 65534)
    return f"pid {directory}/pid;\nerror_log {logs}/error.log;\nevents {{}}\n"


@as_root
def test_a_file_that_the_sandbox_keeps_closed_is_no_fault_of_the_configuration(tmp_path: Path) -> None:
    kind, reason, _ = collected(tmp_path, not_ours_to_write(tmp_path), confined=True)
    assert kind == NotSeen.__name__
    assert "sandbox" in reason


@as_root
def test_outside_of_a_sandbox_it_is(tmp_path: Path) -> None:
    kind, _, code = collected(tmp_path, not_ours_to_write(tmp_path), confined=False)
    assert (kind, code) == (NginxTest.__name__, 1)


@pytest.mark.parametrize("confined", [True, False])
def test_a_broken_configuration_is_told_in_a_sandbox_too(tmp_path: Path, *, confined: bool) -> None:
    text = f"pid {tmp_path}/pid;\nerror_log {tmp_path}/error.log;\nevents {{}}\nno_such_directive on;\n"
    kind, _, code = collected(tmp_path, text, confined=confined)
    assert (kind, code) == (NginxTest.__name__, 1)
