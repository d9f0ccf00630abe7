"""The collection's own tasks on this machine: paths below a directory, and programs of the test in the place of
gte-ops, pip and systemctl. Runs that fail in between, and what the next run does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.hosts.layer import REPOSITORY

pytestmark = pytest.mark.long
# `fail.WORD`: calls with this word fail; `doctor`: the status of each report, in order.
GTE_OPS = r"""#!/bin/sh
echo "$*" >> ROOT/calls
for word in "$@"; do [ -e "ROOT/fail.$word" ] && { echo "refused $word" >&2; exit 4; }; done
case "$1" in
    service) ROOT/restarted ;;
    deploy | install) echo '{"changed": false}' ;;
    upgrade) ROOT/package "$@"; echo '{"changed": true}' ;;
    doctor)
        status=$(head -n 1 ROOT/doctor); sed -i 1d ROOT/doctor
        while [ $# -gt 0 ]; do [ "$1" = --bundle ] && echo '{}' > "$2"; shift; done
        [ "$status" = none ] && { echo "no such host" >&2; exit 3; }
        echo '{"status": "'"$status"'", "causes": [], "symptoms": [], "unseen": []}'
        case "$status" in ok) exit 0 ;; warn) exit 1 ;; fail) exit 2 ;; esac
        exit 3 ;;
esac
"""
RESTARTED = """#!/bin/sh
for name in InactiveExit ExecMainStart; do date -u "+${name}Timestamp=%a %F %T.%6N UTC"; done > ROOT/began
"""
# Of `upgrade`: the version of the wheel, or of before, is the package's.
PACKAGE = """#!/bin/sh
case "$*" in
    *--rollback*) version=$(cat ROOT/before) ;;
    *) version=$(echo "$*" | sed 's/.*gte_ops-\\([^-]*\\)-.*/\\1/') ;;
esac
cp ROOT/version ROOT/before; echo "$version" > ROOT/version
sed -i "s/^Version: .*/Version: $version/" ROOT/venv/lib/python3*/site-packages/gte_ops-0.2.0.dist-info/METADATA
"""
SYSTEMCTL = """#!/bin/sh
case "$*" in
    *gte-api.service*) echo ActiveState=active; echo LoadState=loaded; cat ROOT/began ;;
    *) echo ActiveState=inactive; echo InactiveExitTimestamp= ;;
esac
"""
PIP = """#!/bin/sh
echo "pip $*" >> ROOT/calls
"""


class Controller:
    """A directory that is the host, and ansible-playbook with a connection to this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        venv = root / "venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
        (packages,) = venv.glob("lib/python3*/site-packages")
        self.package = packages / "gte_ops-0.2.0.dist-info"
        self.package.mkdir()
        (self.package / "METADATA").write_text("Metadata-Version: 2.1\nName: gte-ops\nVersion: 0.2.0\n")
        (self.package / "RECORD").write_text("gte_ops-0.2.0.dist-info/RECORD,,\n")
        (root / "version").write_text("0.2.0\n")
        (root / "bin").mkdir()
        for path, text in (
            ("venv/bin/gte-ops", GTE_OPS),
            ("venv/bin/pip", PIP),
            ("bin/systemctl", SYSTEMCTL),
            ("restarted", RESTARTED),
            ("package", PACKAGE),
        ):
            (root / path).write_text(text.replace("ROOT", str(root)))
            (root / path).chmod(0o755)
        self.roles = root / "ansible_collections/gte_ops/gte_ops"
        shutil.copytree(REPOSITORY / "deploy/ansible", self.roles)
        for tasks in self.roles.glob("roles/*/tasks/*.yml"):
            text = re.sub(r"(?m)^ +(owner|group): .*\n", "", tasks.read_text())
            tasks.write_text(text.replace("/etc/gte-", f"{root}/gte-"))
        self.variables: dict[str, Any] = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "gte_ops_system_packages": [],
            "gte_ops_venv": str(venv),
            "gte_ops_releases": str(root / "releases"),
            "gte_ops_bundles": str(root / "bundles"),
            "gte_ops_config": "",
            "gte_ops_address": "192.0.2.1:8000",
            "gte_ops_balancers": ["one"],
            "gte_api_environment": {"GTE_ENGINE": "embedded"},
        }
        self.began(time.time() + 1)
        self.doctor("ok")

    def began(self, at: float, master: float | None = None) -> None:
        """The unit started at a time, and its main process at another one if it has been handed over to."""
        lines = (
            f"{name}Timestamp={datetime.fromtimestamp(when, UTC):%a %Y-%m-%d %H:%M:%S.%f UTC}\n"
            for name, when in (("InactiveExit", at), ("ExecMainStart", master or at))
        )
        (self.root / "began").write_text("".join(lines))

    def doctor(self, *statuses: str) -> None:
        (self.root / "doctor").write_text("".join(f"{status}\n" for status in statuses))

    def play(self, role: str, tasks: str = "main", **variables: Any) -> tuple[int, str, list[str]]:
        """Run one entry of a role. The exit code, what Ansible printed, and the calls of programs."""
        (self.root / "calls").write_text("")
        play = {
            "hosts": "one",
            "gather_facts": False,
            "tasks": [
                {"ansible.builtin.include_role": {"name": f"gte_ops.gte_ops.{role}", "tasks_from": tasks}}
            ],
        }
        (self.root / "play.yml").write_text(yaml.safe_dump([play]))
        hosts = {"all": {"hosts": {"one": self.variables}}}
        (self.root / "hosts.yml").write_text(yaml.safe_dump(hosts))
        (self.root / "extra.yml").write_text(yaml.safe_dump(variables))
        program = Path(sys.executable).with_name("ansible-playbook")
        ran = subprocess.run(
            [str(program), "-i", "hosts.yml", "play.yml", "-e", "@extra.yml"],
            cwd=self.root,
            env=os.environ
            | {
                "PATH": f"{self.root}/bin:{os.environ['PATH']}",
                "ANSIBLE_HOME": str(self.root / "home"),
                "ANSIBLE_COLLECTIONS_PATH": str(self.root),
                "ANSIBLE_NOCOLOR": "1",
                "LC_ALL": "C.UTF-8",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        calls = (self.root / "calls").read_text().splitlines()
        (self.root / "output").write_text(ran.stdout + ran.stderr)
        return ran.returncode, " ".join((ran.stdout + ran.stderr).split()), calls


@pytest.fixture
def controller(tmp_path: Path) -> Controller:
    return Controller(tmp_path)


def restarts(calls: list[str]) -> int:
    return sum(call.startswith("service restart") for call in calls)


def test_a_setting_whose_run_fails_before_the_restart_is_loaded_by_the_next_run_and_once(
    controller: Controller,
) -> None:
    (controller.root / "fail.install").touch()
    code, output, calls = controller.play("gte_api")
    assert (code, restarts(calls)) == (2, 0), output
    controller.began(time.time() - 60)
    (controller.root / "fail.install").unlink()
    code, output, calls = controller.play("gte_api")
    assert (code, restarts(calls)) == (0, 1), output
    code, output, calls = controller.play("gte_api")
    assert (code, restarts(calls)) == (0, 0), output
    assert "changed=0" in output


def test_a_package_newer_than_the_process_is_loaded_though_this_run_did_not_install_it(
    controller: Controller,
) -> None:
    controller.play("gte_api")
    controller.began(time.time())
    os.utime(controller.package / "RECORD", (time.time() + 2, time.time() + 2))
    code, output, calls = controller.play("gte_api")
    assert (code, restarts(calls)) == (0, 1), output


def test_a_boolean_is_written_as_the_service_reads_it(controller: Controller) -> None:
    environment = {"GTE_A": True, "GTE_B": False, "GTE_C": "on", "GTE_D": 4}
    code, output, _ = controller.play("gte_api", gte_api_environment=environment)
    assert code == 0, output
    written = (controller.root / "gte-api/environment").read_text().splitlines()[1:]
    assert written == ["GTE_A=1", "GTE_B=0", "GTE_C=on", "GTE_D=4"]


def test_a_value_that_is_no_line_is_refused_by_name_alone(controller: Controller) -> None:
    environment = {"GTE_A": "fine", "GTE_B": ["hidden"], "GTE_C": "two\nhidden", "GTE_D": None}
    code, output, calls = controller.play("gte_api", "upgrade", gte_api_environment=environment)
    assert (code, calls) == (2, []), output
    assert "GTE_B, GTE_C, GTE_D" in output
    assert "hidden" not in output


def test_a_wheel_and_a_version_that_differ_are_refused_before_the_drain(controller: Controller) -> None:
    controller.variables["gte_ops_version"] = "0.2.0"
    for role, tasks in (("gte_api", "upgrade"), ("gte_api", "main"), ("gte_ops", "balancer")):
        code, output, calls = controller.play(role, tasks, gte_ops_wheel="/x/gte_ops-0.3.0-py3-none-any.whl")
        assert (code, calls) == (2, []), output
        assert "-e gte_ops_version=0.3.0" in output
    code, output, calls = controller.play("gte_api", "upgrade", gte_ops_wheel="/x/newest.whl")
    assert (code, calls) == (2, []), output


def test_a_wheel_alone_is_the_version_that_an_upgrade_installs(controller: Controller) -> None:
    wheel = controller.root / "gte_ops-0.3.0-py3-none-any.whl"
    wheel.touch()
    code, output, calls = controller.play("gte_api", "upgrade", gte_ops_wheel=str(wheel))
    assert code == 0, output
    assert [call.split()[0] for call in calls if "check" not in call] == [
        *("deploy", "upgrade", "install", "service", "doctor", "deploy")
    ]
    assert f"--wheel {controller.root}/releases/{wheel.name}" in " ".join(calls)


def test_a_service_that_was_handed_over_to_its_package_is_restarted_for_a_setting_alone(
    controller: Controller,
) -> None:
    controller.play("gte_api")
    now = time.time()
    controller.began(now - 60, now + 5)
    os.utime(controller.root / "gte-api/environment", (now - 120, now - 120))
    code, output, calls = controller.play("gte_api")
    assert (code, restarts(calls)) == (0, 0), output
    os.utime(controller.root / "gte-api/environment", (now, now))
    code, output, calls = controller.play("gte_api")
    assert (code, restarts(calls)) == (0, 1), output


def upgraded(controller: Controller) -> tuple[int, str, list[str]]:
    """An upgrade to a wheel's version, its exit code, output, and the actions."""
    wheel = controller.root / "gte_ops-0.3.0-py3-none-any.whl"
    wheel.touch()
    code, output, calls = controller.play("gte_api", "upgrade", gte_ops_wheel=str(wheel))
    return (
        code,
        output,
        [" ".join(call.split()[:2]) for call in calls if call.startswith(("deploy", "upgrade"))],
    )


def test_an_upgraded_host_that_cannot_be_judged_stays_out_and_is_not_rolled_back(
    controller: Controller,
) -> None:
    controller.doctor("unknown", "unknown")
    code, output, actions = upgraded(controller)
    assert (code, actions) == (2, ["deploy drain", "upgrade --wait"]), output
    assert "one has 0.3.0 and could not be judged" in output
    assert "not rolled back" in output
    assert "stays out of every balancer" in output
    assert "Hosts after it were not touched" in output
    controller.doctor("ok")
    code, output, actions = upgraded(controller)
    assert (code, actions) == (0, ["deploy drain", "deploy undrain"]), output


def test_an_upgraded_host_that_is_broken_goes_back_and_serves(controller: Controller) -> None:
    controller.doctor("fail")
    code, output, actions = upgraded(controller)
    assert (code, actions) == (
        2,
        ["deploy drain", "upgrade --wait", "upgrade --rollback", "deploy undrain"],
    ), output
    assert "It has 0.2.0 again and serves" in output


def test_an_upgrade_that_takes_itself_back_is_not_rolled_back_once_more(controller: Controller) -> None:
    (controller.root / "fail.upgrade").touch()
    code, output, actions = upgraded(controller)
    assert (code, actions) == (2, ["deploy drain", "upgrade --wait", "deploy undrain"]), output
    assert "refused upgrade" in output
    assert "It has 0.2.0 again and serves" in output


@pytest.mark.parametrize(
    ("statuses", "code", "runs"),
    [
        (("warn",), 0, 1),
        (("unknown", "ok"), 0, 2),
        (("unknown", "unknown"), 2, 2),
        (("fail",), 2, 1),
        (("none",), 2, 1),
    ],
)
def test_a_host_that_could_not_be_judged_in_time_is_given_more(
    controller: Controller, statuses: tuple[str, ...], code: int, runs: int
) -> None:
    controller.doctor(*statuses)
    ended, output, calls = controller.play("gte_ops", "doctor")
    assert (ended, len(calls)) == (code, runs), output
    assert runs == 1 or "--budget 5m" in calls[1]


def test_a_bundle_is_fetched_from_a_host_that_could_not_be_judged(controller: Controller) -> None:
    controller.doctor("unknown")
    code, output, _ = controller.play("gte_ops", "bundle")
    assert code == 0, output
    assert (controller.root / "bundles/one.json").is_file()
    (controller.root / "fail.doctor").touch()
    code, output, _ = controller.play("gte_ops", "bundle")
    assert code == 2
    assert "refused doctor" in output


def test_bundles_of_hosts_that_could_not_be_judged_are_reported(controller: Controller) -> None:
    controller.doctor("unknown")
    command = {"gte_ops_controller_command": f"{controller.root}/venv/bin/gte-ops"}
    code, output, _ = controller.play("gte_ops", "diagnose", **command)
    assert code == 0, output
    assert "unknown" in output


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("drain", "may still be in some balancers or in all of them"),
        ("install", "stays out of every balancer"),
        ("undrain", "may be in some balancers and out of others"),
    ],
)
def test_a_failed_upgrade_says_whether_the_balancer_still_has_the_host(
    controller: Controller, word: str, words: str
) -> None:
    (controller.root / f"fail.{word}").touch()
    code, output, _ = controller.play("gte_api", "upgrade")
    assert code == 2
    assert words in output
    assert f"refused {word}" in output
