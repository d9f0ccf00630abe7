"""A remedy that does not help leaves every file as it was: content, owner, mode, time, and where links lead.

In each case the baseline holds a state that is as broken as the present one: what is put back cannot help.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.lab.change_scenarios import NEEDS_TOKEN, UNIT, with_unit
from tests.lab.changed import keep_baseline
from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.env import environment
from tests.lab.faults.gunicorn import written_later
from tests.lab.faults.start import fails_to_start
from tests.lab.stack import Stack
from tests.lab.test_way_back import wheel
from tests.lab.waiting import wait_for
from tests.lab.way_back import let_dates_pass, make_backup, repaired

Entry = tuple[object, ...]
# What changes by itself while a stack runs.
RUNNING = ("log", "run", "backups", "nginx/tmp", "wheels")
Step = Callable[[Stack], object]


def tree(stack: Stack) -> dict[str, Entry]:
    """Everything below the stack's directory that a remedy may change."""
    entries: dict[str, Entry] = {}
    for path in stack.directory.rglob("*"):
        name = str(path.relative_to(stack.directory))
        if name.startswith(RUNNING) or "__pycache__" in name:
            continue
        status = path.lstat()
        own: Entry = (stat.S_IFMT(status.st_mode), stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid)
        if path.is_symlink():
            entries[name] = (*own, str(path.readlink()))
        elif path.is_file():
            entries[name] = (*own, path.read_bytes(), status.st_mtime_ns)
        else:
            entries[name] = own
    return entries


@dataclass(frozen=True)
class Undo:
    """One kind of remedy. ``first``: the broken state that the baseline keeps; ``second``: the one that is repaired.
    ``is_in_tmp``: below a directory that every user writes to, where no file of a second owner is put back."""

    name: str
    code: str
    first: Step
    second: Step
    stack: dict[str, Any] = field(default_factory=dict)
    is_in_tmp: bool = True


def _down(stack: Stack) -> None:
    """The service needs a variable that nothing sets."""
    with_unit(stack)
    stack.config["gunicorn"]["start_command"] = stack.gunicorn_command()
    stack.write_config()
    (stack.systemd / f"{UNIT}.d").mkdir()
    stack.stop_gunicorn()
    stack.app_file.write_text(NEEDS_TOKEN)
    fails_to_start(stack)


def _unit(stack: Stack) -> Path:
    return stack.systemd / UNIT


def _drop_in(stack: Stack) -> Path:
    return stack.systemd / f"{UNIT}.d" / "override.conf"


def _variables(stack: Stack) -> Path:
    return stack.directory / "gte.env"


def _rule(stack: Stack) -> Path:
    return stack.logrotate / "gte-api"


def _sets(where: Callable[[Stack], Path], text: str) -> Step:
    """Appends ``text`` to a file, which may be new."""

    def write(stack: Stack) -> None:
        path = where(stack)
        path.write_text((path.read_text() if path.exists() else "") + text)

    return write


def _then(*steps: Step) -> Step:
    def run(stack: Stack) -> None:
        for step in steps:
            step(stack)

    return run


def _is_mode(mode: int) -> Step:
    return lambda stack: _rule(stack).chmod(mode)


def _may_not_read(stack: Stack) -> None:
    """The service runs as a root that may not read what is another user's alone."""
    stack.launcher = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *stack.launcher]
    stack.config["gunicorn"]["start_command"] = stack.gunicorn_command()
    stack.write_config()
    _belongs_to(65534, 0o600)(stack)
    stack.stop_gunicorn()
    stack.start_gunicorn(wait="nothing")
    wait_for(lambda: stack.request(path="/ready").status == 503, "the service to lack its model", within=30)


def _belongs_to(user: int, mode: int) -> Step:
    def change(stack: Stack) -> None:
        path = stack.model_dir / "config.json"
        os.chown(path, user, user)
        path.chmod(mode)

    return change


def _lists_certificates_at(minute: int) -> Step:
    """certbot is scheduled, and renews nothing."""
    line = f"{minute} 3 * * * root certbot certificates\n"
    return lambda stack: (stack.cron / "certbot").write_text(line)


def _requires(package: str) -> Step:
    def write(stack: Stack) -> None:
        stack.config["app"]["requires"] = ["flask", "gunicorn", package]
        stack.write_config()

    return write


def _expired(days: int) -> Step:
    """An expired certificate with a key of its own, and a backup that has both."""

    def replace(stack: Stack) -> None:
        end = datetime.now(UTC) - timedelta(days=days)
        stack.replace_certificate(not_before=end - timedelta(days=90), not_after=end)

    return replace


HANGS = """
import pathlib, threading
HANG = pathlib.Path(__file__).with_name("hang")
@app.before_request
def hang_on_demand():
    if HANG.exists():
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
"""

CASES = (
    Undo("unit", "GUN003", _down, _sets(_unit, "Environment=SHOP_COLOUR=red\n"), {"app": PLAIN_APP}),
    Undo(
        "drop_in",
        "GUN003",
        _then(_down, _sets(_drop_in, "[Service]\nEnvironment=SHOP_COLOUR=red\n")),
        _sets(_drop_in, "Environment=SHOP_SIZE=large\n"),
        {"app": PLAIN_APP},
    ),
    Undo(
        "new_drop_in",
        "GUN003",
        _down,
        _sets(_drop_in, "[Service]\nEnvironment=SHOP_COLOUR=red\n"),
        {"app": PLAIN_APP},
    ),
    Undo("environment_file", "GUN003", _down, _sets(_variables, "SHOP_COLOUR=red\n"), {"app": PLAIN_APP}),
    Undo(
        "environment_file_of_another_mode",
        "GUN003",
        _down,
        _then(_sets(_variables, "SHOP_COLOUR=red\n"), lambda stack: _variables(stack).chmod(0o640)),
        {"app": PLAIN_APP},
    ),
    Undo("mode", "OPS001", _is_mode(0o622), _is_mode(0o666)),
    Undo("owner", "MOD004", _may_not_read, _belongs_to(65533, 0o600), is_in_tmp=False),
    Undo("cron", "TLS011", _lists_certificates_at(17), _lists_certificates_at(18)),
    Undo("settings", "ENV001", _requires("shoptools-a"), _requires("shoptools-b")),
    Undo("certificate_pair", "TLS001", _then(_expired(9), make_backup), _expired(5)),
)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=() if case.name == "mode" else (pytest.mark.long,))
        for case in CASES
    ],
)
def test_what_does_not_help_leaves_the_tree_as_it_was(case: Undo, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.ExitStack() as ends:
        if not case.is_in_tmp:
            place = ends.enter_context(tempfile.TemporaryDirectory(dir=Path.home()))
            monkeypatch.setattr(tempfile, "tempdir", place)
        stack = ends.enter_context(Stack(**case.stack))
        case.first(stack)
        keep_baseline(stack)
        case.second(stack)
        before = tree(stack)
        document = repaired(stack, "--only", case.code)
        remedies = [item for item in document["fix"]["remedies"] if item["code"] == case.code]
        tried = [item for item in remedies if item["result"] == "refused"]
        assert tried, document["fix"]
        assert "did not help" in tried[0]["detail"] or "gunicorn" in tried[0]["detail"], tried
        assert tried[0]["what"].startswith("put back "), tried
        assert not [item for item in remedies if item["result"] == "applied"], document["fix"]
        assert tree(stack) == before


@pytest.mark.long
def test_a_package_that_does_not_help_is_taken_back() -> None:
    """The baseline's version lacks what the application imports, as the present one does."""
    with Stack(app=PLAIN_APP) as stack:
        wheels = stack.directory / "wheels"
        wheels.mkdir()
        wheel(wheels, "shoptools", "1.2")
        wheel(wheels, "shoptools", "2.0")
        packages = environment(stack)
        stack.set_service_environment(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheels))

        def install(version: str) -> None:
            pip = [stack.python, "-m", "pip", "-q", "install", f"shoptools=={version}"]
            subprocess.run(pip, check=True, env=stack.environment(), cwd="/", timeout=60)

        install("1.2")
        stack.config["gunicorn"]["start_command"] = stack.gunicorn_command()
        stack.write_config()
        stack.stop_gunicorn()
        stack.app_file.write_text(f"from shoptools import price\n{PLAIN_APP}")
        fails_to_start(stack)
        keep_baseline(stack)
        install("2.0")
        fails_to_start(stack)
        before = {path.name for path in packages.iterdir()}
        files = {name: entry for name, entry in tree(stack).items() if "/venv/" not in name}
        document = repaired(stack, "--only", "GUN003")
        results = [(item["result"], item["what"]) for item in document["fix"]["remedies"]]
        assert any(result == "refused" and "shoptools==1.2" in what for result, what in results), results
        assert {path.name for path in packages.iterdir()} == before
        assert (packages / "shoptools-2.0.dist-info").is_dir()
        assert {name: entry for name, entry in tree(stack).items() if "/venv/" not in name} == files


@pytest.mark.long
def test_a_start_that_fails_changes_no_file() -> None:
    with Stack(app=PLAIN_APP) as stack:
        stack.config["gunicorn"]["start_command"] = ["/bin/false"]
        stack.write_config()
        keep_baseline(stack)
        stack.kill_gunicorn()
        before = tree(stack)
        document = repaired(stack, "--only", "GUN001")
        assert "failed" in [item["result"] for item in document["fix"]["remedies"]], document["fix"]
        assert tree(stack) == before


def _undone(stack: Stack, document: dict[str, Any], code: str) -> dict[str, Any]:
    """Types what the report prints to undo the applied remedy of ``code``; how it is undone."""
    (remedy,) = [item for item in document["fix"]["remedies"] if item["code"] == code]
    assert remedy["result"] == "applied", document["fix"]
    way: dict[str, Any] = remedy["undo"]
    for command in way["commands"]:
        words = command.replace("gte-ops", shlex.join(stack.gte_ops_command()), 1)
        output = stack.logs / "undo.log"
        pid = stack.keeper.spawn(["sh", "-c", words], cwd=Path("/"), env=stack.environment(), output=output)
        wait_for(lambda: stack.keeper.exit_code(pid) is not None, command, within=60)  # noqa: B023
        assert stack.keeper.exit_code(pid) == 0, output.read_text()
    return way


@pytest.mark.long
def test_a_service_that_was_started_is_stopped_again_by_the_printed_command() -> None:
    with Stack(app=PLAIN_APP) as stack:
        stack.config["gunicorn"]["start_command"] = stack.gunicorn_command()
        stack.write_config()
        stack.stop_gunicorn()
        before = tree(stack)
        document = repaired(stack, "--only", "GUN001")
        assert stack.gunicorn_master is not None
        assert _undone(stack, document, "GUN001")["kind"] == "by_hand"
        wait_for(lambda: stack.gunicorn_master is None, "the service to stop", within=20)
        assert tree(stack) == before


@pytest.mark.long
def test_nginx_that_was_started_is_stopped_again_by_the_printed_command() -> None:
    with Stack(app=PLAIN_APP) as stack:
        stack.stop_nginx()
        before = tree(stack)
        document = repaired(stack, "--only", "NGX002")
        assert stack.predict().status == 200
        assert _undone(stack, document, "NGX002")["kind"] == "by_hand"
        wait_for(lambda: stack.nginx_master is None, "nginx to stop", within=20)
        assert tree(stack) == before


@pytest.mark.long
def test_a_restart_says_that_nothing_brings_the_ended_processes_back() -> None:
    """A master that answers nobody is ended: its pidfile goes, and stacks and logs of it are kept."""
    with Stack(app=PLAIN_APP) as stack:
        stack.config["gunicorn"]["start_command"] = stack.gunicorn_command()
        stack.write_config()
        old = stack.gunicorn_master
        assert old is not None
        stack.app_file.write_text(PLAIN_APP + HANGS)
        stack.restart_gunicorn()
        (stack.app_dir / "hang").touch()
        assert stack.predict(timeout=1.0).status is None
        (stack.app_dir / "hang").unlink()
        before = tree(stack)
        document = repaired(stack, "--only", "GUN007")
        way = _undone(stack, document, "GUN007")
        assert way == {"kind": "impossible", "what": way["what"], "commands": []}
        assert "cannot be undone" in way["what"]
        assert "pidfile" in way["what"]
        assert list(stack.directory.rglob("*restart*/")), "evidence of the ended processes"
        assert tree(stack) == before
        assert stack.predict().status == 200


@pytest.mark.long
def test_a_reload_that_gunicorn_refuses_leaves_workers_and_files() -> None:
    with Stack(app=PLAIN_APP) as stack:
        stack.config["gunicorn"]["start_command"] = stack.gunicorn_command()
        stack.write_config()
        workers = stack.gunicorn_workers
        stack.app_file.write_text(f"import a_package_nobody_has\n{PLAIN_APP}")
        written_later(stack, stack.app_file)
        let_dates_pass(stack)
        before = tree(stack)
        document = repaired(stack, "--only", "GUN011")
        assert [item["result"] for item in document["fix"]["remedies"]] == ["refused"], document["fix"]
        assert stack.gunicorn_workers == workers
        assert stack.predict().status == 200
        assert tree(stack) == before
