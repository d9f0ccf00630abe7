"""The Ansible collection on hosts of our own: wheels to install, an inventory, and ansible-playbook over ssh."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hosts.fleet import PORT, Fleet
from tests.hosts.host import HOME, KEY
from tests.hosts.layer import DOMAIN, REPOSITORY, settings_text
from tests.hosts.machine import Machine
from tests.lab.authority import Authority

PLAYBOOK_SECONDS = 1500.0
PAIR = "/etc/ssl/gte"
WHEELS = "/srv/wheels"
SECRET = "hunter2-of-the-robot"
SERVICE_SECRET = "hunter3-of-the-service"


@dataclass(frozen=True)
class Played:
    """One run of a playbook. ``recap``: the counts (ok, changed, failed, unreachable ...) by host."""

    exit_code: int
    output: str
    recap: Mapping[str, Mapping[str, int]]

    def total(self, name: str) -> int:
        """One count over all hosts."""
        return sum(counts[name] for counts in self.recap.values())


def wheels_layer(directory: Path, wheelhouse: Path) -> Path:
    """A layer with the wheels that gte-ops requires, and none of gte-ops itself, in WHEELS."""
    place = directory / WHEELS.lstrip("/")
    place.mkdir(parents=True)
    for wheel in wheelhouse.glob("*.whl"):
        if not wheel.name.startswith("gte_ops-"):
            os.link(wheel, place / wheel.name)
    return directory


class AnsibleFleet(Fleet):
    """Three bare hosts and a bare balancer with a certificate each, and the controller: this machine, by ssh."""

    packages = "python3-apt"

    def __init__(self, layer: Path, directory: Path) -> None:
        super().__init__(layer)
        self.directory = directory
        self.settings: dict[str, Any] = {}

    def prepare(self) -> None:
        """The certificate on each host, the collection and the inventory on the controller."""
        authority = Authority()
        issued = authority.issue([DOMAIN])
        for machine in (*self.hosts, self.balancer):
            machine.write(f"{PAIR}/chain.pem", issued.fullchain_pem.decode())
            machine.write(f"{PAIR}/key.pem", issued.key_pem.decode())
            machine.write(f"{PAIR}/ca.pem", authority.root.pem.decode())
            machine.sh(f"chmod 600 {PAIR}/key.pem")
        self._run("ansible-galaxy", "collection", "install", str(REPOSITORY / "deploy/ansible"))
        serving = settings_text(bind="{{ gte_ops_address }}", pair=PAIR)
        common = {
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(KEY),
            "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
            "ansible_python_interpreter": "/usr/bin/python3",
            "gte_ops_pip_environment": {
                "PIP_NO_INDEX": "1",
                "PIP_FIND_LINKS": WHEELS,
                "PIP_NO_CACHE_DIR": "1",
            },
            "gte_ops_bundles": str(self.directory / "bundles"),
            "gte_ops_controller_command": str(Path(sys.executable).with_name("gte-ops")),
            "gte_ops_config": f'{serving}\n[notify]\nurls = ["json://robot:{SECRET}@127.0.0.1:9/"]\n',
            "gte_api_environment": {
                "GTE_ENGINE": "embedded",
                "GTE_BIND": "{{ gte_ops_address }}",
                "ROBOT_TOKEN": SERVICE_SECRET,
            },
        }
        groups = {
            "gte_api": {
                "hosts": {host.name: {"ansible_host": host.address} for host in self.hosts},
                "vars": {"gte_ops_address": f"{{{{ ansible_host }}}}:{PORT}"},
            },
            "gte_balancer": {
                "hosts": {self.balancer.name: {"ansible_host": self.balancer.address}},
                "vars": {"gte_ops_config": settings_text(bind="", pair=PAIR)},
            },
        }
        # JSON is YAML.
        self.inventory.write_text(json.dumps({"all": {"vars": common}, **groups}))

    @property
    def inventory(self) -> Path:
        """The one inventory."""
        return self.directory / "inventory.yml"

    def play(self, name: str, *options: str, **variables: str) -> Played:
        """Run one of the collection's playbooks."""
        extra = [word for item in variables.items() for word in ("-e", "=".join(item))]
        ran = self._run(
            "ansible-playbook",
            "-i",
            str(self.inventory),
            f"gte_ops.gte_ops.{name}",
            *options,
            *extra,
            check=False,
        )
        output = ran.stdout + ran.stderr
        recap = {
            match["host"]: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", match["counts"])}
            for match in re.finditer(
                r"(?m)^(?P<host>\S+)\s+: (?P<counts>ok=.*)$", output.partition("PLAY RECAP")[2]
            )
        }
        return Played(ran.returncode, output, recap)

    def _run(self, program: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        facts = json.loads((HOME / "hosts" / self.balancer.name / "host.json").read_text())
        own = {
            "ANSIBLE_HOME": str(self.directory / "ansible"),
            "ANSIBLE_COLLECTIONS_PATH": str(self.directory / "ansible/collections"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_HOST_KEY_CHECKING": "0",
            "LC_ALL": "C.UTF-8",
        }
        return subprocess.run(
            ["ip", "netns", "exec", facts["bridge"], str(Path(sys.executable).with_name(program)), *words],
            cwd=self.directory,
            env=os.environ | own,
            capture_output=True,
            text=True,
            check=check,
            timeout=PLAYBOOK_SECONDS,
        )

    def _start(self) -> None:
        """Nothing runs yet: the playbook installs it."""

    def _balance(self) -> None:
        self.prepare()

    def admit_load(self) -> None:
        """All clients are one address, whose rate is not what is tested."""
        self.balancer.sh(
            "sed -i 's,rate=60r/m,rate=60000r/m,; s,burst=20 ,burst=1000 ,' /etc/nginx/conf.d/gte-api.conf"
            " && nginx -t && systemctl reload nginx"
        )

    def versions(self) -> list[str]:
        """What each host's own service says of its version; empty for none."""
        return [self._version(host) for host in self.hosts]

    def _version(self, host: Machine) -> str:
        answer = host.sh(f"curl -s -m 5 http://{host.address}:{PORT}/health", check=False)
        return str(json.loads(answer)["version"]) if answer.startswith("{") else ""
