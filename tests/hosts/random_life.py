"""A real host's life at random: installs, upgrades good and bad, ways back and uninstalls, killed at random moments.

    python -m tests.hosts.random_life --operations 200 --seed 1

prints a line an operation and then the counts. A run that is killed ends with all of its processes at once (SIGKILL to
its control group); then the same is run again, or something else. Whatever came to its end leaves a host that works, or
one as it was: anything else is BROKEN, and ends the life. As root; the image is made the first time."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.hosts.layer import DOMAIN, PYTHONS, make_environment, settings_text
from tests.hosts.machine import GTE_OPS, Machine
from tests.hosts.test_install import LISTING, PAIR
from tests.hosts.test_upgrade import BREAKS, GOOD, REFUSED, SECOND, WRONG
from tests.hosts.wheelhouse import add_version, make_wheelhouse
from tests.lab.authority import Authority
from tests.unit.upgrade.random_life import Action

RUN_SECONDS = 900.0
STORE = "/var/lib/gte-ops/install"
LINK = "/opt/gte-api/venv"


class Outcome(StrEnum):
    """What the host is after a run that came to its end."""

    WORKING = "working"
    UNTOUCHED = "untouched"
    DATA_LEFT = "only data left"


_WEIGHTS = {
    Action.INSTALL: 6,
    Action.UPGRADE: 3,
    Action.BAD_UPGRADE: 1,
    Action.ROLLBACK: 3,
    Action.UNINSTALL: 2,
    Action.PURGE: 4,
}
# Seconds within which a run is killed; longer than it takes, so that some come to their end.
_WITHIN = {
    Action.INSTALL: 14.0,
    Action.UPGRADE: 75.0,
    Action.BAD_UPGRADE: 75.0,
    Action.ROLLBACK: 20.0,
    Action.UNINSTALL: 8.0,
    Action.PURGE: 8.0,
}
_STATE = f"""
for name in record.json journal.jsonl upgrade.json; do test -e {STORE}/$name && echo $name; done
test -L {LINK} && echo link
systemctl is-active --quiet gte-api.service && echo active
ls /etc/systemd/system | grep -q '^gte-' && echo units
systemctl --failed --plain --no-legend | awk '{{print "failed:" $1}}'
systemctl is-active --quiet nginx.service && echo nginx
test "$(pgrep --parent 1 --full 'bin/gunicorn -c python:service' | wc -l)" -gt 1 && echo masters
true
"""


class BrokenHostError(AssertionError):
    """The host neither works nor is as it was."""


@dataclass(frozen=True)
class Run:
    """One command on the host."""

    exit_code: int
    was_killed: bool
    words: str


class Life:
    """One host. ``counts``: what was done to it, and what came of it."""

    def __init__(self, host: Machine, seed: int) -> None:
        self.host, self.seed = host, seed
        self.random = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.number = 0
        self.untouched = host.sh(LISTING)

    def live(self, operations: int, deadline: float) -> Counter[str]:
        """So many operations, or until ``deadline`` (monotonic). Raises BrokenHostError."""
        while self.number < operations and time.monotonic() < deadline:
            self._operate()
        return self.counts

    def _operate(self) -> None:
        self.number += 1
        action = self._chosen()
        within = self.random.uniform(0.1, _WITHIN[action]) if self.random.random() < 0.6 else None
        run = self._run(action, within)
        self.counts[action] += 1
        meanwhile = ""
        if run.was_killed:
            self.counts["killed"] += 1
            meanwhile = self._examine_killed(action)
            if self.random.random() < 0.5:
                self._note(action, within, run, f"killed, {meanwhile}")
                return  # whatever comes next meets what is left
            run = self._run(action, None)
        if run.exit_code == 2 and "run it again" in run.words:
            run = self._run(action, None)
        self.counts[f"exit {run.exit_code}"] += 1
        outcome = self._examine(action, run)
        self.counts[outcome] += 1
        if meanwhile == "unfinished":
            self.counts["mended by the next run"] += 1
        self._note(action, within, run, f"{meanwhile}{' -> ' if meanwhile else ''}{outcome}")

    def _note(self, action: Action, within: float | None, run: Run, words: str) -> None:
        killed = f" within {within:.1f} s" if within is not None else ""
        said = run.words.strip().splitlines()[-1:] if run.exit_code else []
        sys.stdout.write(f"{self.number}: {action}{killed}: {words} {' '.join(said)[:160]}\n")
        sys.stdout.flush()

    def _chosen(self) -> Action:
        if "record.json" not in self._state() and self.random.random() < 0.7:
            return Action.INSTALL
        actions, weights = zip(*_WEIGHTS.items(), strict=True)
        return self.random.choices(actions, weights)[0]

    def _run(self, action: Action, within: float | None) -> Run:
        upgrade = ("upgrade", "--config", "/root/gte-ops.toml", "--wheelhouse", "/root/wheels")
        words: dict[Action, tuple[str, ...]] = {
            Action.INSTALL: ("install", "--config", "/root/gte-ops.toml"),
            Action.UPGRADE: (*upgrade, self.random.choice((GOOD, SECOND)), "--force"),
            Action.BAD_UPGRADE: (*upgrade, self.random.choice((WRONG, REFUSED)), "--force"),
            Action.ROLLBACK: ("upgrade", "--config", "/root/gte-ops.toml", "--rollback"),
            Action.UNINSTALL: ("uninstall",),
            Action.PURGE: ("uninstall", "--purge"),
        }
        unit = f"life-{self.number}-{time.monotonic_ns()}"
        limit = (
            ("--property=KillSignal=SIGKILL", f"--property=RuntimeMaxSec={within:.2f}")
            if within is not None
            else ()
        )
        ran = self.host.run(
            *("systemd-run", "--collect", "--wait", "--pipe", f"--unit={unit}", *limit),
            *("--setenv=PIP_NO_COMPILE=1", "--setenv=HOME=/root", "--setenv=LANG=C.UTF-8"),
            *(GTE_OPS, *words[action]),
            check=False,
            seconds=RUN_SECONDS,
        )
        said = "\n".join(
            line for line in ran.stderr.splitlines() if line.startswith(("gte-ops:", "Traceback"))
        )
        return Run(ran.returncode, "result: timeout" in ran.stderr, said or ran.stdout)

    # --- what the host is ---------------------------------------------------------------------------------------------

    def _state(self) -> set[str]:
        return set(self.host.sh(_STATE).split())

    def _examine_killed(self, action: Action) -> str:
        """Whether something is left to be mended; an upgrade that is killed never costs the service."""
        state = self._state()
        is_upgrade = action in (Action.UPGRADE, Action.BAD_UPGRADE, Action.ROLLBACK)
        is_installed = "record.json" in state and "journal.jsonl" not in state
        if is_upgrade and is_installed and "units" in state:
            self._must_be(action, {"no answer while an upgrade is cut off": self._ready() != "200"}, state)
        return "unfinished" if state & {"journal.jsonl", "upgrade.json"} else "nothing begun or all done"

    def _ready(self) -> str:
        """The status of /ready through nginx."""
        return self.host.sh(
            "curl --silent --insecure --output /dev/null --write-out '%{http_code}' --max-time 20"
            f" --resolve {DOMAIN}:443:127.0.0.1 https://{DOMAIN}/ready",
            check=False,
        )

    def _examine(self, action: Action, run: Run) -> Outcome:
        """Raises BrokenHostError."""
        state = self._state()
        wrong = {
            "a journal is left": bool(state & {"journal.jsonl", "upgrade.json"}),
            "units have failed": any(item.startswith("failed:") for item in state),
            "nginx is down": "nginx" not in state,
            "two masters": "masters" in state,
            "a defect": "Traceback" in run.words,
            "an unknown exit code": run.exit_code not in (0, 2),
        }
        if "units" in state:
            wrong |= self._not_working(state)
            outcome = Outcome.WORKING
        else:
            wrong["another environment"] = "link" in state
            wrong["the service runs"] = "active" in state
            outcome = Outcome.DATA_LEFT
            if "record.json" not in state:
                wrong["not as it was"] = self.host.sh(LISTING) != self.untouched
                outcome = Outcome.UNTOUCHED
        self._must_be(action, wrong, state, run)
        return outcome

    def _not_working(self, state: set[str]) -> dict[str, bool]:
        planned = self.host.run(
            GTE_OPS, "install", "--config", "/root/gte-ops.toml", "--dry-run", check=False
        )
        pid = self.host.show("gte-api.service", "MainPID")
        return {
            "the service is down": "active" not in state,
            "no answer through nginx": self._ready() != "200",
            "a step is due": "Nothing to do" not in planned.stdout,
            "the pidfile names another process": self.host.sh(
                "cat /run/gte-api/gunicorn.pid", check=False
            ).strip()
            != pid,
            "no watchdog": self.host.show("gte-ops-watchdog.service", "ActiveState") != "active",
        }

    def _must_be(
        self, action: Action, wrong: dict[str, bool], state: set[str], run: Run | None = None
    ) -> None:
        found = [words for words, is_so in wrong.items() if is_so]
        if not found:
            return
        shown = {"wrong": found, "state": sorted(state), "said": run.words[-1500:] if run else ""}
        if "not as it was" in found:
            after = set(self.host.sh(LISTING).splitlines())
            shown["differing"] = sorted(after ^ set(self.untouched.splitlines()))[:40]
        raise BrokenHostError(
            f"seed {self.seed}, operation {self.number} ({action}): {json.dumps(shown, indent=1)}"
        )


def prepare(host: Machine, wheels: Path) -> None:
    """A certificate, the settings and the wheels on a host as Debian leaves it."""
    # A directory of an overlay's lower layer has no name to exchange (overlayfs.rst, redirect_dir).
    host.sh("cd /opt/gte-api && cp -a venv copy && rm -r venv && mv copy venv", seconds=300)
    authority = Authority()
    issued = authority.issue([DOMAIN])
    host.write("/root/pair/chain.pem", issued.fullchain_pem.decode())
    host.write("/root/pair/key.pem", issued.key_pem.decode())
    host.write("/root/pair/ca.pem", authority.root.pem.decode())
    host.sh("chmod 600 /root/pair/key.pem")
    host.write("/root/gte-ops.toml", settings_text(pair=PAIR))
    host.copy_in(wheels, "/root")


def main() -> int:
    """Print the counts of one life; exit code 1 for a broken host, which stays up with --keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--operations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--suite", choices=sorted(PYTHONS), default="bookworm")
    parser.add_argument("--minutes", type=float, default=600.0)
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="gte-lives-"))
    python = PYTHONS[arguments.suite]
    environment = make_environment(work / "environment", python)
    wheels = make_wheelhouse(work / "wheels", python)
    for version in (GOOD, SECOND):
        add_version(wheels, version)
    for version in (WRONG, REFUSED):
        add_version(wheels, version, BREAKS[version])
    host = Machine(environment, suite=arguments.suite)
    host.__enter__()
    life = None
    is_broken = False
    try:
        prepare(host, wheels)
        life = Life(host, arguments.seed)
        life.live(arguments.operations, time.monotonic() + 60 * arguments.minutes)
    except BrokenHostError as error:
        is_broken = True
        life.counts["BROKEN"] += 1
        sys.stdout.write(f"BROKEN: {error}\n")
    finally:
        if life is not None:
            counts = {"operations": life.number, **dict(sorted(life.counts.items()))}
            sys.stdout.write(json.dumps(counts) + "\n")
        if is_broken and arguments.keep:
            sys.stdout.write(f"the host stays: tests/hosts/host.py exec {host.name} -- bash\n")
        else:
            host.__exit__(None, None, None)
            shutil.rmtree(work)
    return int(is_broken)


if __name__ == "__main__":
    sys.exit(main())
