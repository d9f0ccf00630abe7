"""One fault and its printed fix: each line that can be typed, run in order in the lab, and a client asked afterwards.

Advice is passed over: nobody thinks here. So is a line that would change this machine and not the stack (systemctl, a
package, certbot, a file of /etc): the fault then counts as not mended.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.lab.changed import keep_baseline
from tests.lab.faults.case import Case
from tests.lab.stack import Stack
from tests.lab.trial import broken
from tests.lab.waiting import NotInTimeError, wait_for
from tests.lab.way_back import healthy_stack, is_broken_from_the_start, let_dates_pass, make_backup, meets

LINE_SECONDS = 60.0
# A repair diagnoses several times.
REPAIR_SECONDS = 240.0
# A model is loaded after a restart, and a client is asked until it is served.
SERVED_WITHIN = 12.0
CONFIRMED_WITHIN = 40.0
NAMED_WITHIN = 90.0
_TOUCHES_THE_MACHINE = re.compile(
    r"\b(?:systemctl|timedatectl|setsebool|certbot|apt|yum|pip|modelscope|--install|useradd|journalctl|logrotate|mount)\b"
)
_SIGNALS = re.compile(
    r"(?:kill(?: -\w+)?(?: \d+)+|timeout \d+ tail --pid=\d+ -f /dev/null(?: \|\| kill -9 \d+)?)"
)


# Words above lines that are typed all the same: nothing to decide or to edit.
_ONLY_INTRODUCES = ("Restart it (", "gte-ops does it", "Or by hand: ")


@dataclass(frozen=True)
class Line:
    """One line of a fix. ``exit_code`` None: it was not run, ``why``; else ``why`` is the end of what it printed."""

    words: str
    exit_code: int | None = None
    why: str = ""

    @property
    def has_failed(self) -> bool:
        """Whether it ran and did not do what it says; a repair ends with the doctor's status."""
        return self.exit_code not in (None, 0) and not (" --fix" in self.words and self.exit_code == 1)


@dataclass(frozen=True)
class FixTrial:
    """What the lines did. ``lines``: without advice and without the last, which shows whether they worked: its exit
    code is ``confirmed``, None if the fault was still there. ``advice``: what a person is asked to see or decide.
    ``dry_run_end``: the last line of `doctor --fix --dry-run`, and ``dry_run_helps``: whether it is for what affects
    users."""

    code: str
    name: str
    lines: tuple[Line, ...]
    advice: tuple[str, ...]
    is_mended: bool
    confirmed: int | None
    dry_run_end: str = ""
    dry_run_helps: bool = True

    @property
    def kind(self) -> str:
        """mended; elsewhere: a line is not for the lab; person: advice has to be followed as well; else not mended."""
        if self.is_mended:
            return "mended"
        if any(line.exit_code is None for line in self.lines):
            return "elsewhere"
        return "person" if self.advice else "not mended"


def try_fix(case: Case, *, with_baseline: bool = False) -> FixTrial:
    """Cause ``case``, run the fix that the doctor prints first, and ask a client. ``with_baseline``: the watchdog kept
    a baseline and a timer a backup while the service was healthy. Raises NotHereError."""
    with _watched(case) if with_baseline else broken(case) as stack:
        _put_gte_ops_on_the_path(stack)
        _start_in_the_background(stack)
        causes = _causes(stack, case)
        cause = causes[0]
        advice = _advice(stack, cause["code"], cause["fix"])
        *lines, confirm = [step for step in cause["fix"] if step not in advice]
        dry_run_end, dry_run_helps = _dry_run(stack, causes)
        let_dates_pass(stack)
        ran = tuple(_run(stack, line) for line in lines)
        is_mended = any(line.exit_code is not None for line in ran) and _is_mended(stack, case)
        confirmed = _shell(stack, confirm, CONFIRMED_WITHIN) if is_mended else None
        asked = tuple(
            step for step in cause["fix"] if step in advice and not step.startswith(_ONLY_INTRODUCES)
        )
        return FixTrial(case.code, case.name, ran, asked, is_mended, confirmed, dry_run_end, dry_run_helps)


@contextlib.contextmanager
def _watched(case: Case) -> Iterator[Stack]:
    """A stack that was healthy and remembered before ``case`` was caused."""
    with healthy_stack(case) as stack:
        _start_in_the_background(stack)
        keep_baseline(stack)
        make_backup(stack)
        if is_broken_from_the_start(case):
            stack.become(**case.stack)
        case.inject(stack)
        wait_for(lambda: case.sees(stack), f"a client to meet {case.name}", within=15, every=0.05)
        yield stack


def _causes(stack: Stack, case: Case) -> list[dict[str, Any]]:
    """What the doctor names. On a busy machine one look may end before it has seen anything."""
    causes: list[dict[str, Any]] = []

    def names_something() -> bool:
        causes[:] = stack.doctor(machine=case.code == "HST005").report["causes"]
        return bool(causes)

    wait_for(names_something, "the doctor to name a cause", within=NAMED_WITHIN, every=1.0)
    return causes


def _dry_run(stack: Stack, causes: list[dict[str, Any]]) -> tuple[str, bool]:
    """The last line of a dry run without its mark, and whether it repairs a cause that affects users (any cause, if
    none does), or is a step of its fix."""
    ran = stack.gte_ops(
        "doctor", "--config", str(stack.config_file), "--skip", "HST005", "--fix", "--dry-run"
    )
    lines = [line.strip() for line in ran.stdout.splitlines() if line.strip()]
    end = re.sub(r"^(?:\d+\.|-|To apply it:) ", "", lines[-1]) if lines else ""
    hurting = [cause for cause in causes if cause["severity"] == "fail"] or causes
    if "--yes" not in end.split():
        # The first run printed `--fix` for what it repairs; the plan has the steps by hand.
        return end, end in {step for cause in hurting for step in cause["fix"]}
    plan = " ".join(lines)
    done = " ".join(re.findall(r"would do \d+ of \d+: ([^.]*)\.", plan))
    if "--fix=risky" in end.split():
        done += " ".join(re.findall(r"Only with --fix=risky: ([^.]*)\.", plan))
    return end, any(cause["code"] in done for cause in hurting)


def _advice(stack: Stack, code: str, fix: list[str]) -> set[str]:
    """The steps that are sentences: those that the Chinese report words otherwise; if it no longer has the cause, those
    that begin like a sentence."""
    chinese = stack.doctor("--lang", "zh").report["causes"]
    other = next((cause["fix"] for cause in chinese if cause["code"] == code), None)
    if other is None:
        return {step for step in fix if step[:1].isupper() or step.startswith("gte-ops does it")}
    return set(fix) - set(other)


def _put_gte_ops_on_the_path(stack: Stack) -> None:
    """A fix says `gte-ops`: here it is this tree's."""
    program = stack.directory / "bin" / "gte-ops"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-m", "ops.cli"])} "$@"\n')
    program.chmod(0o755)


def _start_in_the_background(stack: Stack) -> None:
    """The stack's start command as a script that returns, as an operator's does."""
    command = stack.gunicorn_command()
    if stack.config["gunicorn"].get("start_command") != command:
        return
    script = stack.directory / "start.sh"
    output = shlex.quote(str(stack.gunicorn_output))
    script.write_text(
        f"#!/bin/sh\ncd {shlex.quote(str(stack.app_dir))}\n{shlex.join(command)} >>{output} 2>&1 </dev/null &\n"
    )
    script.chmod(0o755)
    stack.config["gunicorn"]["start_command"] = [str(script)]
    stack.write_config()


def _run(stack: Stack, line: str) -> Line:
    if (why := _reason_not_to_run(stack, line)) is not None:
        return Line(line, why=why)
    exit_code = _shell(stack, line, REPAIR_SECONDS if " --fix" in line else LINE_SECONDS)
    return Line(line, exit_code, _last_words(stack) if exit_code else "")


def _reason_not_to_run(stack: Stack, line: str) -> str | None:
    if _TOUCHES_THE_MACHINE.search(line):
        return "it changes the machine, not the stack"
    if _SIGNALS.fullmatch(line):
        own = {process.pid for process in psutil.Process(stack.keeper.pid).children(recursive=True)}
        named = {int(word) for word in re.findall(r"(?<=[ =])\d{2,}(?=\s|$)", line.partition("||")[0])}
        strangers = {pid for pid in named if psutil.pid_exists(pid)} - own - {int(LINE_SECONDS)}
        return None if not strangers or line.startswith("timeout") else "the process is not of the stack"
    return None if str(stack.directory) in line else "it names nothing of the stack"


def _last_words(stack: Stack) -> str:
    lines = (stack.logs / "fix-lines.log").read_text(errors="replace").splitlines()
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


def _shell(stack: Stack, line: str, seconds: float) -> int:
    """Run a line as it stands, from a directory of no meaning; its exit code, 124 if it takes too long."""
    environment = stack.environment()
    environment["PATH"] = f"{stack.directory / 'bin'}:{environment['PATH']}"
    words = ["timeout", f"{seconds:g}", "sh", "-c", line]
    output = stack.logs / "fix-lines.log"
    with output.open("a") as log:
        log.write(f"$ {line}\n")
    pid = stack.keeper.spawn(words, cwd=Path("/"), env=environment, output=output)
    wait_for(lambda: stack.keeper.exit_code(pid) is not None, line, within=seconds + 10)
    return stack.keeper.exit_code(pid) or 0


def _is_mended(stack: Stack, case: Case) -> bool:
    """Whether a client gets its prediction, no longer meets a fault that affects users, and the doctor no longer names
    it. A client that meets a warning's fault is one that is served."""

    # An application of the case's own may want a key, which this client does not have.
    good = {200, 401, 403} if "app" in case.stack else {200}

    def is_served() -> bool:
        return stack.predict().status in good and (case.severity != "fail" or not meets(stack, case))

    try:
        wait_for(is_served, "a client to be served", within=SERVED_WITHIN, every=0.3)
    except (NotInTimeError, AssertionError, OSError, subprocess.SubprocessError):
        return False
    give_up = time.monotonic() + SERVED_WITHIN
    while case.code in stack.doctor("--only", case.code).codes:
        if time.monotonic() > give_up:
            return False
        time.sleep(0.5)
    # A reload answers at once, and old workers may have served the client.
    return is_served()
