"""`gte-ops doctor --fix` from the command line: what it shows, what it does, what it refuses, what it writes down."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator

import ops.doctor
from ops.cli.main import main
from ops.errors import OpsError
from ops.facts.snapshot import Snapshot
from ops.files.host_lock import HostLock, only_change
from ops.repair.apply.files import change_mode
from ops.repair.apply.session import NotAppliedError
from ops.repair.audit_log import AuditLog
from ops.repair.model import ChangeMode, Outcome
from ops.repair.watchdog_hold import hold_watchdog
from ops.settings import Settings, WatchdogSettings
from ops.supervision.state_store import Lock, Pause, StateStore, is_locked
from tests.unit.made_snapshot import HEALTHY, KEY_FILE, but, without_gunicorn

Run = Callable[..., tuple[int, str, str]]
SCHEMA = json.loads(files("ops.report.doctor").joinpath("doctor.schema.json").read_text())


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The doctor's command with a configuration whose state lies in ``tmp_path``."""
    monkeypatch.setattr("ops.repair.run.end_in_order", lambda: None)  # the signals are pytest's
    config = tmp_path / "gte-ops.toml"
    config.write_text(f'[watchdog]\nstate_file = "{tmp_path}/state/watchdog.json"\n')

    def command(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gte-ops", "doctor", "--config", str(config), *arguments])
        monkeypatch.setenv("LC_ALL", "C.UTF-8")
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return command


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A key file that everybody may read, on a host whose only trouble it is: seen as it really is at each look."""
    file = tmp_path / "privkey1.pem"
    file.write_text("not a key\n")
    file.chmod(0o644)

    def collect(*_: object, **__: object) -> Snapshot:
        key_file = msgspec.structs.replace(KEY_FILE, resolved=str(file), mode=file.stat().st_mode & 0o7777)
        return but(certificates__key=key_file)

    monkeypatch.setattr(ops.doctor, "collect", collect)
    return file


def mode(file: Path) -> int:
    return file.stat().st_mode & 0o7777


@pytest.mark.parametrize("arguments", [("--fix",), ("--fix", "--dry-run"), ("--fix=risky", "--dry-run")])
def test_without_a_terminal_or_consent_it_only_shows(run: Run, key: Path, arguments: tuple[str, ...]) -> None:
    code, out, _ = run(*arguments)
    assert code == 1
    assert mode(key) == 0o644
    assert not (key.parent / "state").exists()
    assert "TLS010" in out
    assert "chmod 6" in out
    assert "Nothing was changed" in out
    assert "--yes" in out.splitlines()[-1]


def test_with_yes_it_acts_looks_again_and_writes_it_down(run: Run, key: Path) -> None:
    code, out, _ = run("--fix=risky", "--yes")
    assert mode(key) == 0o600
    assert code == 0
    assert "fixed: TLS010" in out
    lines = [json.loads(line) for line in (key.parent / "state" / "fix.jsonl").read_text().splitlines()]
    assert lines[0]["step"] == "diagnosed"
    assert lines[-1]["step"] == "verified"
    assert lines[-1]["fixed"] == ["TLS010"]
    done = next(line for line in lines if line["step"] == "done")
    assert (done["code"], done["outcome"], done["before"]) == ("TLS010", "applied", "0644")
    assert {"time", "action", "safety", "after"} <= set(done)
    assert mode(key.parent / "state" / "fix.jsonl") == 0o600


def test_a_risky_one_is_not_touched_without_being_asked_for(
    run: Run, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.repair.context._key_group_is_owners", lambda _: False)
    code, out, _ = run("--fix", "--yes", "--format", "json")
    document = json.loads(out)
    Draft202012Validator(SCHEMA).validate(document)
    results = [(item["safety"], item["result"]) for item in document["fix"]["remedies"]]
    assert results == [("safe", "applied"), ("risky", "held")]
    assert mode(key) == 0o640
    assert document["fix"]["remaining"] == ["TLS010"]
    assert code == 1


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.usefixtures("key")
def test_its_document_is_valid_and_knows_every_key(run: Run, language: str) -> None:
    _, out, err = run("--fix", "--yes", "--format", "json", "--lang", language)
    document = json.loads(out)
    assert err == ""
    Draft202012Validator(SCHEMA).validate(document)
    # The other two are a bundle's.
    assert set(document) == set(SCHEMA["properties"]) - {"origin", "notice"}
    assert set(document["fix"]) == set(SCHEMA["$defs"]["fix"]["properties"])
    assert set(document["fix"]["remedies"][0]) == set(SCHEMA["$defs"]["remedy"]["properties"])
    assert document["fix"]["before"] == {"status": "warn", "causes": ["TLS010"]}


def test_a_cause_without_an_automatic_remedy_repeats_its_manual_one(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ops.doctor, "collect", lambda *_, **__: without_gunicorn())
    code, out, _ = run("--fix", "--yes")
    assert code == 2
    assert "gunicorn.start_command" in out
    shown = " ".join(out.partition("Remedies")[2].split())
    assert "by hand: 1. systemctl start gte-api.service" in shown


def test_a_healthy_host_has_nothing_to_mend(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops.doctor, "collect", lambda *_, **__: HEALTHY)
    code, out, _ = run("--fix", "--yes")
    assert code == 0
    assert "nothing to fix" in out


def test_without_its_record_nothing_is_done(run: Run, key: Path) -> None:
    (key.parent / "state").write_text("in the way")
    code, _, err = run("--fix", "--yes")
    assert code == 3
    assert "fix.jsonl" in err
    assert mode(key) == 0o644


def test_two_runs_do_not_act_at_once(run: Run, key: Path) -> None:
    with AuditLog(key.parent / "state" / "fix.jsonl"):
        code, _, err = run("--fix", "--yes")
    assert code == 3
    assert "another gte-ops doctor --fix" in err
    assert mode(key) == 0o644


# The made host in another process, so that it can have a terminal.
_AT_A_TERMINAL = """
import sys, msgspec, pathlib, ops.doctor
from tests.unit.made_snapshot import KEY_FILE, but
file = pathlib.Path(sys.argv.pop())
def collect(*_, **__):
    mode = file.stat().st_mode & 0o7777
    return but(certificates__key=msgspec.structs.replace(KEY_FILE, resolved=str(file), mode=mode))
ops.doctor.collect = collect
from ops.cli.main import main
main()
"""


@pytest.mark.parametrize(("answer", "after"), [("y", 0o600), ("n", 0o644)])
def test_at_a_terminal_each_remedy_is_asked_for(run: Run, key: Path, answer: str, after: int) -> None:
    del run  # its configuration is what is wanted
    config = key.parent / "gte-ops.toml"
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _AT_A_TERMINAL, "doctor", "--config", str(config), "--fix", str(key)],
        cwd=Path(__file__).parents[3],
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,  # where Python's input() puts its prompt
    )
    os.close(theirs)
    screen, has_answered = b"", False
    killer = threading.Timer(60, process.kill)  # a question that never comes must not hang the tests
    killer.start()
    try:
        while piece := os.read(ours, 4096):
            screen += piece
            if b"Do it?" in screen and not has_answered:
                has_answered = True
                assert mode(key) == 0o644
                os.write(ours, answer.encode() + b"\n")
    except OSError:
        pass  # the other end is closed: it has ended
    process.wait(timeout=60)
    killer.cancel()
    os.close(ours)
    assert has_answered, screen.decode()
    assert mode(key) == after
    assert process.returncode == (0 if answer == "y" else 1)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--yes",),
        ("--dry-run",),
        ("--fix", "--yes", "--dry-run"),
        ("--fix", "--format", "nagios"),
        ("--fix", "--bundle", "b.json"),
        ("--fix", "--from-bundle", "b.json"),
        ("--fix", "--watch", "5s"),
        ("--fix", "--wait-ok", "5s"),
        ("--fix=everything",),
    ],
)
def test_contradictions_are_usage_errors(run: Run, key: Path, arguments: tuple[str, ...]) -> None:
    code, out, err = run(*arguments)
    assert code == 3
    # Nagios reads standard output only.
    assert out == ("" if "nagios" not in arguments else f"GTE-OPS UNKNOWN: {err.removeprefix('gte-ops: ')}")
    assert err.startswith("gte-ops: ")
    assert mode(key) == 0o644


def test_an_interrupted_remedy_stands_in_the_record(
    run: Run, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_action: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ops.repair.apply.files.change_mode", interrupted)
    code, _, _ = run("--fix", "--yes")
    assert code == 130
    lines = [json.loads(line) for line in (key.parent / "state" / "fix.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == ["diagnosed", "begun", "interrupted"]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.usefixtures("key")
def test_what_a_killed_run_left_half_done_is_said_with_the_old_file(
    run: Run, tmp_path: Path, language: str
) -> None:
    (tmp_path / "state").mkdir()
    recorded = Path(__file__).with_name("recorded") / "fix-0.1.jsonl"
    (tmp_path / "state" / "fix.jsonl").write_bytes(recorded.read_bytes())
    _, out, _ = run("--fix", "--dry-run", "--lang", language)
    assert ("was cut off" if language == "en" else "中断") in out
    assert "NGX018" in out
    assert "/srv/lab/nginx/conf.d/.gte-api.conf.20261130T061659~" in out


# --- the watchdog -----------------------------------------------------------------------------------------------------


def _settings(folder: Path, interval: float = 1.0) -> Settings:
    return Settings(
        watchdog=WatchdogSettings(state_file=str(folder / "watchdog.json"), interval=interval)  # type: ignore[arg-type]
    )


def test_a_pause_of_somebody_s_is_respected_and_left(tmp_path: Path) -> None:
    ledger = StateStore(tmp_path / "watchdog.json")
    theirs = Pause(until=time.time() + 600, since=time.time(), by="mei")
    ledger.pause(theirs)
    with hold_watchdog(_settings(tmp_path)) as hold:
        assert hold.refusal is not None
        assert "mei" in hold.refusal.en
    assert ledger.paused(time.time()) == theirs


def test_a_watchdog_run_by_cron_is_locked_out_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "watchdog.json"
    with hold_watchdog(_settings(tmp_path)) as hold:
        assert hold.refusal is None
        assert hold.locked
        assert is_locked(path)
    assert not is_locked(path)


def test_a_resident_watchdog_that_does_not_come_to_rest_keeps_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.repair.watchdog_hold.CYCLE_SECONDS", -0.5)
    ledger = StateStore(tmp_path / "watchdog.json")
    with Lock(ledger.path):
        with hold_watchdog(_settings(tmp_path)) as hold:
            assert hold.refusal is not None
            assert ledger.paused(time.time()) is not None
        assert ledger.paused(time.time()) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's directory")
def test_the_record_is_not_kept_where_another_user_could_exchange_it(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 65534, 65534)
    with pytest.raises(OpsError, match="belongs to user 65534"), AuditLog(state / "fix.jsonl"):
        pass
    assert list(state.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's files")
@pytest.mark.parametrize("way", ["a link", "a directory's link", "a hard link"])
def test_no_permission_is_taken_from_a_file_on_another_users_path(tmp_path: Path, way: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("root's\n")
    victim.chmod(0o644)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    path = theirs / "victim"
    if way == "a link":
        path.symlink_to(victim)
        os.chown(path, 65534, 65534, follow_symlinks=False)
    elif way == "a directory's link":
        (theirs / "on").symlink_to(tmp_path)
        os.chown(theirs / "on", 65534, 65534, follow_symlinks=False)
        path = theirs / "on" / "victim"
    else:
        os.link(victim, path)
    os.chown(theirs, 65534, 65534)
    with pytest.raises(NotAppliedError) as ended:
        change_mode(ChangeMode(str(path), 0o644, 0o600))
    assert ended.value.outcome is Outcome.BLOCKED
    assert mode(victim) == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's files")
def test_a_users_own_key_in_its_own_directory_is_closed(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    own = theirs / "privkey.pem"
    own.write_text("a key\n")
    own.chmod(0o666)
    for path in (theirs, own):
        os.chown(path, 65534, 65534)
    change_mode(ChangeMode(str(own), 0o666, 0o600))
    assert mode(own) == 0o600


def test_the_record_never_follows_a_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine\n")
    (tmp_path / "fix.jsonl").symlink_to(victim)
    with pytest.raises(OpsError), AuditLog(tmp_path / "fix.jsonl"):
        pass
    assert victim.read_text() == "mine\n"


def answer_with(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], bool]) -> None:
    """Have a person at a terminal answer so."""
    for stream in ("stdin", "stdout"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", lambda *_, **__: answer())


@pytest.mark.parametrize("is_mended", [False, True])
def test_another_command_may_act_while_a_person_is_asked(
    run: Run, key: Path, monkeypatch: pytest.MonkeyPatch, is_mended: bool
) -> None:
    def answer() -> bool:
        with only_change():
            if is_mended:
                key.chmod(0o600)
        return True

    answer_with(monkeypatch, answer)
    code, out, _ = run("--fix=risky")
    assert code == 0
    assert mode(key) == 0o600
    assert ("while you were asked" in " ".join(out.split())) == is_mended


def test_after_a_yes_it_does_not_act_beside_another_command(
    run: Run, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.files.host_lock.SHORT_CHANGE_SECONDS", 0.0)
    with contextlib.ExitStack() as other:
        held: list[HostLock] = []

        def answer() -> bool:
            if not held:
                held.append(other.enter_context(only_change()))
            return True

        answer_with(monkeypatch, answer)
        _, out, _ = run("--fix=risky")
    assert mode(key) == 0o644
    assert "is changing this host" in " ".join(out.split())
