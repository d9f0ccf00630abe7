"""The service's systemd unit: why systemd does not run it, and near misses that are no fault of the unit."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from ops.diagnosis.checks.gunicorn_unit import unit_start
from ops.facts.safeguards import OpenLog
from ops.facts.snapshot import Snapshot
from ops.facts.start import LastStart, StartWords
from ops.facts.units import UnitEnvironmentFile, UnitObstacle, UnitSandbox, UnwritablePlace
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.made_snapshot import HEALTHY, NOW, but, unit, units, without_gunicorn

MISSING_FILE = UnitEnvironmentFile(path="/etc/gte-api/env", error="no such file or directory")
OPTIONAL_FILE = UnitEnvironmentFile(path="/etc/gte-api/env", is_optional=True, error=MISSING_FILE.error)
NO_FLASK = (
    "[2026-11-22 00:59:00 +0000] [77] [ERROR] Exception in worker process",
    "Traceback (most recent call last):",
    '  File "/opt/gte-api/app.py", line 1, in <module>',
    "    import flask",
    "ModuleNotFoundError: No module named 'flask'",
    "[2026-11-22 00:59:00 +0000] [77] [INFO] Worker exiting (pid: 77)",
    "[2026-11-22 00:59:00 +0000] [70] [ERROR] Reason: Worker failed to boot.",
)


def down(snapshot: Snapshot | None = None, **changes: Any) -> Snapshot:
    """gunicorn does not run, and its unit is in this state."""
    return but(snapshot or without_gunicorn(), units=units(unit(**changes)))


def failed(**changes: Any) -> Snapshot:
    return down(**{"active": "failed", "sub": "failed", "result": "exit-code"} | changes)


def told(*lines: str) -> Snapshot:
    words = StartWords(source="journalctl -u gte-api.service", time=NOW, lines=lines)
    return but(without_gunicorn(), last_start=LastStart(words=(words,)))


def stopped(**changes: Any) -> Snapshot:
    return down(active="inactive", sub="dead", **changes)


FAILED_OTHER = (UnitObstacle(name="data.service", state="failed"),)
STARTING = (UnitObstacle(name="data.service", state="start"),)
DENIED_LOG = UnwritablePlace(path="/srv/logs/error.log", setting="ProtectSystem=strict", stops_the_start=True)
DENIED_RECORDS = UnwritablePlace(path="/srv/progress", setting="ProtectSystem=strict", is_directory=True)
ALONE = UnitSandbox(private_network=True)
LIMIT = {"result": "start-limit-hit"}
CASES = [
    fires(
        "GUN030",
        "the file is gone, and a link of the boot still names it",
        down(load="not-found", active="inactive", sub="dead", references=("/etc/x.wants/gte-api.service",)),
        "still names it",
        severity="fail",
    ),
    fires(
        "GUN030",
        "systemd does not understand the file",
        down(load="bad-setting", active="inactive", sub="dead", load_error="Unit has a bad unit file setting."),
        "bad unit file setting",
    ),
    quiet("GUN030", "a host that starts the service in another way", down(load="not-found", active="inactive")),
    fires("GUN031", "masked", down(load="masked", active="inactive", sub="dead", file_state="masked")),
    fires(
        "GUN031",
        "masked until the next boot",
        down(load="masked", active="failed", sub="failed", file_state="masked-runtime"),
    ),
    quiet("GUN031", "disabled, and stopped in order", down(active="inactive", sub="dead", file_state="disabled")),
    fires("GUN032", "the start limit is reached, and nothing else is known", failed(**LIMIT, status=1)),
    fires("GUN032", "the program has been put back since", failed(**LIMIT, status=203)),
    fires("GUN032", "the directory has been put back since", failed(**LIMIT, status=200)),
    fires(
        "GUN032",
        "the limit is reached, and only the journal says so",
        failed(status=203, words=("gte-api.service: Start request repeated too quickly.",)),
    ),
    quiet("GUN032", "it failed once", failed(status=1, words=("gte-api.service: Failed with result 'exit-code'.",))),
    quiet(
        "GUN032",
        "the words of the last start name the defect",
        down(told(*NO_FLASK), active="failed", sub="failed", **LIMIT),
    ),
    quiet("GUN032", "the program is still missing", failed(**LIMIT, program_error="no such file or directory")),
    fires(
        "GUN033",
        "no such program",
        failed(status=203, program_error="no such file or directory"),
        "no such file or directory",
        facts={"program": "?", "unit": "gte-api.service"},
    ),
    fires("GUN033", "refused by the kernel for a reason that is not seen", failed(status=203)),
    quiet("GUN033", "the program itself ended with that status's neighbour", failed(status=202)),
    fires(
        "GUN034",
        "no such directory",
        failed(status=200, directory="/opt/gte", directory_error="no such file or directory"),
        facts={"directory": "/opt/gte", "reason": "no such file or directory"},
    ),
    fires("GUN034", "the unit's user may not enter it", failed(status=200, directory="/root/build")),
    quiet("GUN034", "a directory that is gone, of a service that was stopped", down(
        active="inactive", sub="dead", directory_error="no such file or directory"
    )),
    fires("GUN035", "no such user", failed(status=217, user="gteapi", account_error="no user gteapi")),
    fires("GUN035", "no such group", failed(status=216, group="gteapi", account_error="no group gteapi")),
    quiet("GUN035", "an account that systemd makes itself", failed(status=1, user="x", is_dynamic_user=True)),
    fires(
        "GUN036",
        "the file of variables is gone",
        failed(result="resources", environment_files=(MISSING_FILE,)),
        facts={"file": "/etc/gte-api/env", "reason": "no such file or directory"},
    ),
    fires("GUN036", "and the start limit is reached too", failed(**LIMIT, environment_files=(MISSING_FILE,))),
    quiet("GUN036", "a file that may be absent", failed(environment_files=(OPTIONAL_FILE,))),
    fires(
        "GUN037",
        "restarting for ever",
        down(active="activating", sub="auto-restart", result="exit-code", status=1, restarts=40),
        "NRestarts=40",
    ),
    fires("GUN037", "failed with a timeout", failed(result="timeout")),
    quiet("GUN037", "the words of the last start name the defect", down(
        told(*NO_FLASK), active="activating", sub="auto-restart", result="exit-code", restarts=9
    )),
    quiet("GUN037", "somebody stopped it", down(active="inactive", sub="dead")),
    quiet("GUN037", "it is on its way for the first time", down(active="activating", sub="start")),
    quiet("GUN037", "its memory ran out", failed(result="oom-kill")),
    fires("GUN050", "a condition is not met", stopped(
        unmet=("ConditionPathExists=/x",), was_skipped=True
    ), "ConditionPathExists=/x"),
    quiet("GUN050", "somebody stopped it, and no longer wants it started", stopped(unmet=("ConditionPathExists=!/x",))),
    fires("GUN050", "a unit that it requires has failed", stopped(obstacles=FAILED_OTHER), "failed", severity="fail"),
    fires("GUN050", "its start waits for another's", stopped(obstacles=STARTING, is_queued=True), "start"),
    fires("GUN050", "it failed, and what it requires is gone", failed(status=1, obstacles=FAILED_OTHER)),
    quiet("GUN050", "somebody stopped it", stopped()),
    quiet("GUN050", "it is on its way, and what it waited for is there", down(
        active="activating", sub="start", obstacles=STARTING
    )),
    fires("GUN051", "its sandbox names a path that is gone", failed(
        status=226, sandbox=UnitSandbox(missing=("/srv/data",))
    ), "is not there", severity="fail"),
    fires("GUN051", "and nothing else is known of it", failed(
        status=226, words=("gte-api.service: Failed to set up mount namespacing: /srv/data: No such file",)
    ), "mount namespacing: /srv/data"),
    fires("GUN051", "it may not write its log", failed(status=1, unwritable=(DENIED_LOG,)), "ProtectSystem=strict"),
    quiet("GUN051", "it ends, and may not leave records", failed(status=1, unwritable=(DENIED_RECORDS,))),
    fires("GUN051", "it serves, and cannot be started again", but(
        units=units(unit(unwritable=(DENIED_LOG,)))
    ), "/srv/logs/error.log", severity="warn"),
    fires("GUN051", "it serves without records", but(units=units(unit(unwritable=(DENIED_RECORDS,)))), severity="warn"),
    quiet("GUN051", "it writes the file", but(
        units=units(unit(unwritable=(DENIED_LOG,))), open_logs=(OpenLog(900, DENIED_LOG.path, False, 1),)
    )),
    fires("GUN051", "it is up in a network of its own", but(
        without_gunicorn(), units=units(unit(sandbox=ALONE))
    ), "PrivateNetwork=yes", severity="fail"),
    quiet("GUN051", "its socket is systemd's", but(
        without_gunicorn(), units=units(unit(sandbox=ALONE, triggered_by=("gte-api.socket",)))
    )),
    quiet("GUN051", "a network of its own that is reached all the same", but(units=units(unit(sandbox=ALONE)))),
    fires("GUN038", "a drop-in was added under a running service", but(
        units=units(unit(needs_reload=True, drop_ins=("/etc/x.d/a.conf",)))
    ), "NeedDaemonReload", severity="warn"),
    fires("GUN038", "the unit was mended, and systemd has not read it", failed(
        status=203, needs_reload=True
    ), severity="fail"),
    quiet("GUN038", "nothing has changed", but(units=units())),
    *(
        quiet(code, "the service runs, whatever the unit of its name says", but(
            HEALTHY, units=units(unit(active="failed", sub="failed", result="exit-code", status=203))
        ))
        for code in ("GUN030", "GUN031", "GUN032", "GUN033", "GUN034", "GUN035", "GUN036", "GUN037", "GUN050")
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def test_a_stopped_unit_is_told_from_a_failed_one() -> None:
    finding = found(down(active="inactive", sub="dead"))["GUN001"]
    assert "it was stopped, it did not fail" in " ".join(item.detail.en for item in finding.evidence)


def test_where_systemd_is_not_the_init_nothing_is_said() -> None:
    assert not [code for code in found(without_gunicorn()) if code in {case.code for case in CASES}]


def denied(path: str, *, is_directory: bool = False, **changes: Any) -> tuple[str, ...]:
    """The steps, in English, for a place that a service that is up may not write."""
    place = UnwritablePlace(path=path, setting="ProtectSystem=strict", is_directory=is_directory)
    steps = found(but(units=units(unit(unwritable=(place,), **changes))))["GUN051"].fix or ()
    return tuple(step if isinstance(step, str) else step.en for step in steps)


def test_the_steps_open_the_sandbox_for_the_directory_of_the_log() -> None:
    steps = found(failed(status=1, unwritable=(DENIED_LOG,)))["GUN051"].fix or ()
    file = "/etc/systemd/system/gte-api.service.d/writable.conf"
    assert f"printf '%s\\n' '' '[Service]' ReadWritePaths=-/srv/logs >>{file}" in steps


def test_a_directory_that_the_sandbox_is_opened_for_is_there_before_the_restart() -> None:
    steps = denied("/srv/app.d", is_directory=True, user="gte-api", group="www-data")
    made = "test -d /srv/app.d || install -d -o gte-api -g www-data -m 0750 /srv/app.d"
    assert steps.index(made) < steps.index("systemctl restart gte-api.service")
    assert any("ReadWritePaths=-/srv/app.d " in step for step in steps), "a start without it fails, else"


@pytest.mark.parametrize(
    ("path", "is_directory"),
    [
        ("/gte.pid", False),
        ("/run/gte.pid", False),
        ("/var/log/x", False),
        ("/var", True),
        ("/srv/a b/x.log", False),
    ],
)
def test_no_sandbox_is_opened_for_the_directories_of_all_programs(path: str, is_directory: bool) -> None:
    steps = denied(path, is_directory=is_directory, user="gte-api")
    assert not [step for step in steps if "ReadWritePaths=-" in step or "install" in step]
    assert any(f"Name a place for {path} in a directory of the service's own" in step for step in steps)


def test_what_an_earlier_step_opened_stays_open(tmp_path: Path) -> None:
    for path in ("/srv/one", "/srv/two"):
        for step in denied(path, is_directory=True):
            if "/etc/systemd/system" in step:
                command = step.replace("/etc/systemd/system", str(tmp_path))
                subprocess.run(["/bin/sh", "-c", command], check=True)
    written = (tmp_path / "gte-api.service.d/writable.conf").read_text().splitlines()
    assert [line for line in written if "=" in line] == [
        "ReadWritePaths=-/srv/one",
        "ReadWritePaths=-/srv/two",
    ]
    assert written.count("[Service]") == 2


def commands_for_its_log(log: str, error: str) -> list[str]:
    """The commands of preflight's GUN018: the unit's user may not write this log."""
    snapshot = but(units=units(unit(user="gte-api", log=log, log_error=error)))
    findings = unit_start.judge(**unit_start.inputs(snapshot))
    (finding,) = (each for each in findings if each.code == "GUN018")
    return [step for step in finding.fix or () if isinstance(step, str)]


@pytest.mark.parametrize("log", ["/var/log/error.log", "/srv/error.log"])
def test_no_directory_of_all_programs_becomes_the_service_s_own_for_its_log(log: str) -> None:
    assert commands_for_its_log(log, "gte-api may not write there") == []


def test_a_directory_of_a_log_that_is_there_keeps_its_owner() -> None:
    commands = commands_for_its_log("/srv/logs/error.log", "gte-api may not write /srv/logs")
    assert commands == ["test -d /srv/logs || install -d -o gte-api -m 0750 /srv/logs"]
