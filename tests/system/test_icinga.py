"""Debian's Icinga 2 loads the command definitions; NRPE's lines name commands that exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from ops.cli.main import commands
from tests.system.conftest import ROOT

SERVICES = ("gte-ops doctor", "gte-ops site", "gte-ops certificates", "gte-ops watchdog", "gte-ops backup")
SITE = """
const NodeName = "test"
const ZoneName = NodeName
const PluginDir = "/usr/lib/nagios/plugins"
include <itl>
include "{commands}"
object Endpoint NodeName {{ }}
object Zone ZoneName {{ endpoints = [ NodeName ] }}
object Host "web1" {{
  check_command = "dummy"
  vars.gte_ops = true
  vars.gte_ops_url = "https://gte-api.example.com"
  vars.gte_ops_endpoints = [ "a.example.com", "b.example.com" ]
}}
"""


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that Icinga's own user may reach and write to."""
    made = Path("/var/tmp") / tmp_path_factory.mktemp("icinga").name
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(mode=0o755)
    shutil.chown(made, "nagios")
    return made


def test_icinga_loads_the_commands_and_gives_a_host_its_services(directory: Path) -> None:
    own = directory / "gte-ops.conf"
    shutil.copy(ROOT / "deploy/icinga2/gte-ops.conf", own)
    config = directory / "icinga2.conf"
    config.write_text(SITE.format(commands=own))
    places = [f"-D{name}={directory}" for name in ("DataDir", "CacheDir", "LogDir", "InitRunDir", "SpoolDir")]
    try:
        ran = subprocess.run(
            ["icinga2", "daemon", "-C", "-c", str(config), *places],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        shutil.rmtree(directory)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"Instantiated {len(SERVICES)} Services" in ran.stdout
    assert "warning" not in ran.stdout


def test_every_command_of_icinga_and_nrpe_exists_with_its_options() -> None:
    nrpe = re.findall(r"^command\[\w+\]=(.*)", (ROOT / "deploy/nrpe/gte-ops.cfg").read_text(), re.MULTILINE)
    icinga = re.findall(
        r"command = \[ GteOpsProgram, (.*) \]", (ROOT / "deploy/icinga2/gte-ops.conf").read_text()
    )
    lines = [shlex.split(line.partition("gte-ops ")[2]) for line in nrpe]
    lines += [[word.strip('", ') for word in line.split(",")] for line in icinga]
    assert len(lines) == 4 + len(SERVICES)
    for words in lines:
        command: click.Command = commands
        for word in words[: words.index("--format")]:
            assert isinstance(command, click.Group)
            subcommand = command.get_command(click.Context(command), word)
            assert subcommand is not None, words
            command = subcommand
        assert words[-2:] == ["--format", "nagios"]
        assert "--format" in {name for option in command.params for name in option.opts}
