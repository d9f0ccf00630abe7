"""The conditions of a site's causes on this host: real files, processes, commands and answers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from ops.collect.site_causes import (
    SiteCauseCollector,
    command_observation,
    file_observation,
    log_observation,
    process_observation,
    read_site_causes,
    url_observation,
)
from ops.diagnosis.site_causes import ProofDefinition
from ops.diagnosis.site_causes_file import parse_site_causes
from ops.facts.base import NotSeen
from ops.facts.site_causes import ProofObservation
from tests.unit.made_snapshot import TARGET

NOW = time.time()


def seen(observation: ProofObservation | NotSeen) -> ProofObservation:
    assert isinstance(observation, ProofObservation), observation
    return observation


def stamp(ago: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(NOW - ago))


# --- the directory ----------------------------------------------------------------------------------------------------

ONE = '[{code}]\n[{code}.en]\ntitle = "t"\nsummary = "s"\n[[{code}.proof]]\nprocess = "x"\n'


def test_every_file_of_the_directory_in_order(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text(ONE.format(code="TEAM002"))
    (tmp_path / "a.toml").write_text(ONE.format(code="TEAM001"))
    (tmp_path / "notes.txt").write_text("no cause")
    read = read_site_causes(str(tmp_path))
    assert ([one.code for one in read.definitions], read.refused) == (["TEAM001", "TEAM002"], ())


def test_a_broken_file_does_not_cost_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[TEAM001]\nx = 1\n")
    (tmp_path / "b.toml").write_text(ONE.format(code="TEAM002"))
    (tmp_path / "c.toml").write_text(ONE.format(code="TEAM002"))
    read = read_site_causes(str(tmp_path))
    assert [one.code for one in read.definitions] == ["TEAM002"]
    first, second = read.refused
    assert first.startswith(f"{tmp_path}/a.toml: line 2: object contains unknown field `x`")
    assert second == f"{tmp_path}/c.toml: TEAM002 is defined in {tmp_path}/b.toml already"


def test_no_directory_is_no_cause(tmp_path: Path) -> None:
    read = read_site_causes(str(tmp_path / "none"))
    assert (read.definitions, read.refused) == ((), ())


@pytest.mark.parametrize("what", ["file", "directory"])
def test_what_others_can_write_is_not_read(tmp_path: Path, what: str) -> None:
    file = tmp_path / "a.toml"
    file.write_text(ONE.format(code="TEAM001"))
    assert read_site_causes(str(tmp_path)).definitions
    (file if what == "file" else tmp_path).chmod(0o777)
    read = read_site_causes(str(tmp_path))
    assert read.definitions == ()
    assert "everybody may write" in read.refused[0]


# --- logs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def log(tmp_path: Path) -> Callable[..., str]:
    def log(*lines: str, age: float = 0.0) -> str:
        path = tmp_path / "app.log"
        path.write_text("".join(f"{line}\n" for line in lines))
        os.utime(path, (NOW - age, NOW - age))
        return str(path)

    return log


REFUSED = ProofDefinition(log="/x", pattern=r"server (?<server>\S+) refused", within="15m")


def test_the_newest_matching_line_within_the_time(log: Callable[..., str]) -> None:
    path = log(
        f"{stamp(60)} ERROR server a refused", f"{stamp(30)} ERROR server b refused", f"{stamp(5)} INFO done"
    )
    observation = seen(log_observation(REFUSED, path, NOW))
    assert (observation.holds, observation.values, observation.source) == (True, {"server": "b"}, path)
    assert observation.detail.endswith("server b refused")


def test_an_older_line_does_not_count(log: Callable[..., str]) -> None:
    path = log(f"{stamp(3600)} ERROR server a refused", f"{stamp(5)} INFO done")
    assert not seen(log_observation(REFUSED, path, NOW)).holds


def test_lines_without_a_time_count_by_the_files(log: Callable[..., str]) -> None:
    assert seen(log_observation(REFUSED, log("server a refused"), NOW)).holds
    assert not seen(log_observation(REFUSED, log("server a refused", age=3600), NOW)).holds


def test_enough_lines(log: Callable[..., str]) -> None:
    path = log(*[f"{stamp(20 - number)} server a refused" for number in range(3)])
    three = ProofDefinition(log="/x", pattern="refused", count=3)
    four = ProofDefinition(log="/x", pattern="refused", count=4)
    assert seen(log_observation(three, path, NOW)).holds
    assert not seen(log_observation(four, path, NOW)).holds


def test_a_line_that_is_missing(log: Callable[..., str]) -> None:
    silent = ProofDefinition(log="/x", pattern="heartbeat", present=False, within="5m")
    assert seen(log_observation(silent, log(f"{stamp(600)} heartbeat", f"{stamp(5)} x"), NOW)).holds
    assert not seen(log_observation(silent, log(f"{stamp(60)} heartbeat"), NOW)).holds


def test_a_line_may_stand_before_what_was_read(
    log: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.collect.site_causes.MAX_READ_BYTES", 4096)
    path = log(f"{stamp(60)} heartbeat", *[f"{stamp(5)} {'x' * 80}" for _ in range(200)])
    for is_present in (True, False):
        proof = ProofDefinition(log="/x", pattern="heartbeat", present=is_present, within="5m")
        observation = log_observation(proof, path, NOW)
        assert isinstance(observation, NotSeen)
        assert "only the last" in observation.reason


def test_a_pattern_that_backtracks_is_given_up(log: Callable[..., str]) -> None:
    endless = ProofDefinition(log="/x", pattern=r"(a|aa|a?)+$|(?:(x+x+)+y)")
    started = time.monotonic()
    observation = log_observation(endless, log(f"{stamp(5)} {'x' * 4000}!"), NOW)
    assert time.monotonic() - started < 3
    assert isinstance(observation, NotSeen) or not observation.holds


def test_a_log_that_is_not_there_is_not_seen(tmp_path: Path) -> None:
    observation = log_observation(REFUSED, str(tmp_path / "none.log"), NOW)
    assert isinstance(observation, NotSeen)
    assert "none.log" in observation.reason
    assert isinstance(log_observation(REFUSED, None, NOW), NotSeen)


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_files_presence_age_and_content(tmp_path: Path) -> None:
    path = tmp_path / "licence"
    path.write_text("valid = yes\nseats = 3\n")
    os.utime(path, (NOW - 7200, NOW - 7200))

    def holds(**what: Any) -> bool:
        return seen(file_observation(ProofDefinition(file=str(path), **what), NOW)).holds

    assert holds()
    assert not holds(present=False)
    assert holds(older="1h")
    assert not holds(older="3h")
    assert holds(newer="3h")
    assert not holds(newer="1h")
    assert holds(pattern="seats = [0-3]$")
    assert not holds(pattern="seats = 0")


def test_an_empty_line_matches(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("one\n\ntwo\n")
    assert seen(file_observation(ProofDefinition(file=str(path), pattern="^$"), NOW)).holds
    path.write_text("one\ntwo\n")
    assert not seen(file_observation(ProofDefinition(file=str(path), pattern="^$"), NOW)).holds


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = str(tmp_path / "none")
    assert seen(file_observation(ProofDefinition(file=path, present=False), NOW)).holds
    assert not seen(file_observation(ProofDefinition(file=path), NOW)).holds


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    observation = file_observation(ProofDefinition(file=str(tmp_path / "fifo"), pattern="x"), NOW)
    assert isinstance(observation, NotSeen)


# --- processes --------------------------------------------------------------------------------------------------------


def test_a_process_by_its_command_line() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()", "licence-agent-7731"], stdin=subprocess.PIPE)
    try:
        running = ProofDefinition(process=r"licence-agent-(?<number>\d+)")
        deadline = time.monotonic() + 10
        while not (observation := seen(process_observation(running))).holds:
            assert time.monotonic() < deadline
        assert observation.values == {"number": "7731"}
        assert f"pid {child.pid}" in observation.detail
        assert not seen(
            process_observation(ProofDefinition(process="licence-agent-7731", present=False))
        ).holds
        other = ProofDefinition(process="licence-agent-7731", user="nobody-of-this-name")
        assert not seen(process_observation(other)).holds
    finally:
        child.communicate(b"\n")
    assert seen(process_observation(ProofDefinition(process="licence-agent-7731", present=False))).holds


# --- commands ---------------------------------------------------------------------------------------------------------


def run(*command: str, **what: Any) -> ProofObservation | NotSeen:
    return command_observation(ProofDefinition(command=command, **what), time.monotonic() + 5)


def test_a_commands_exit_code_and_output() -> None:
    assert seen(run("/bin/true")).holds
    assert not seen(run("/bin/false")).holds
    assert seen(run("/bin/sh", "-c", "exit 3", exit=3)).holds
    assert seen(run("/bin/sh", "-c", "exit 3", exit=(2, 3))).holds
    observation = seen(run("/bin/sh", "-c", "echo seats: 0 >&2; exit 1", output=r"seats: (?<seats>\d+)"))
    assert (observation.holds, observation.values) == (True, {"seats": "0"})
    assert not seen(run("/bin/echo", "seats: 3", output="seats: 0")).holds


def test_an_empty_line_of_a_commands_output_matches() -> None:
    assert seen(run("/bin/sh", "-c", "echo one; echo", output="^$")).holds
    assert not seen(run("/bin/sh", "-c", "echo one", output="^$")).holds


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to drop")
def test_a_command_runs_as_a_user_that_owns_nothing() -> None:
    observation = seen(run("/usr/bin/id", "-u", output=r"^(?<uid>\d+)$"))
    assert observation.values["uid"] not in ("0", "")


def test_a_command_and_its_children_end_at_the_time_limit() -> None:
    started = time.monotonic()
    observation = run("/bin/sh", "-c", "sleep 61.7731 & sleep 61.7731", timeout="300ms")
    assert isinstance(observation, NotSeen)
    assert "did not finish within 0.3 s" in observation.reason
    assert time.monotonic() - started < 3
    left = ProofDefinition(process=r"sleep 61\.7731", present=False)
    while not seen(process_observation(left)).holds:
        assert time.monotonic() - started < 10


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a command an account of its own")
@pytest.mark.parametrize("end", ["exit 0", "sleep 61.9942"])
def test_what_a_command_starts_in_a_session_of_its_own_ends_too(end: str) -> None:
    run("/bin/sh", "-c", f"setsid sleep 61.9942 & {end}", timeout="500ms")
    left = ProofDefinition(process=r"^(setsid )?sleep 61\.9942", present=False)
    started = time.monotonic()
    while not seen(process_observation(left)).holds:
        assert time.monotonic() - started < 5


def test_a_command_cannot_fill_the_disk() -> None:
    """Its output ends at 64 KiB: SIGXFSZ (setrlimit(2), RLIMIT_FSIZE)."""
    observation = seen(run("/usr/bin/yes", exit=-signal.SIGXFSZ))
    assert observation.holds


def test_what_a_command_prints_behind_its_bound_is_not_seen() -> None:
    observation = run("/bin/sh", "-c", "exec seq 100000", output="^99999$")
    assert isinstance(observation, NotSeen)
    assert observation.reason == "/bin/sh prints more than 64 KiB"
    assert seen(run("/bin/sh", "-c", "exec seq 100000", output="^99$")).holds


def test_a_program_that_others_can_replace_is_not_run(tmp_path: Path) -> None:
    program = tmp_path / "check"
    program.write_text("#!/bin/sh\ntouch ran\n")
    program.chmod(0o777)
    observation = run(str(program))
    assert isinstance(observation, NotSeen)
    assert "everybody may write" in observation.reason


# --- URLs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503 if self.path == "/down" else 200)
            self.end_headers()
            self.wfile.write(b'{"licence": "expired", "seats": 0}')

        def log_message(self, *_: object) -> None:
            pass

    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


def test_an_answers_status_and_body(server: str) -> None:
    def holds(path: str, **what: Any) -> bool:
        return seen(url_observation(ProofDefinition(url=server + path, **what), time.monotonic() + 5)).holds

    assert holds("/")
    assert holds("/down", status=503)
    assert holds("/down", status="5xx")
    assert holds("/down", status=(500, 503))
    assert not holds("/", status="5xx")
    assert holds("/", body='"seats": 0')
    assert not holds("/", body='"seats": 1')
    assert not holds("/", present=False)


def test_no_answer(server: str) -> None:
    port = int(server.rpartition(":")[2])
    closed = ProofDefinition(url=f"http://127.0.0.2:{port}/", present=False, timeout="1s")
    assert seen(url_observation(closed, time.monotonic() + 5)).holds
    wanted = ProofDefinition(url=f"http://127.0.0.2:{port}/", status=503)
    assert not seen(url_observation(wanted, time.monotonic() + 5)).holds


# --- all together -----------------------------------------------------------------------------------------------------


def test_a_condition_that_takes_too_long_does_not_cost_the_others() -> None:
    source = (
        ONE.format(code="SITE001").replace('process = "x"', 'command = ["/bin/sleep", "30"]\ntimeout = "9s"')
        + '[[SITE001.proof]]\nfile = "/"\n'
    )
    definitions = parse_site_causes(source.encode(), "/f.toml")
    started = time.monotonic()
    collector = SiteCauseCollector(definitions, TARGET, NOW, started + 0.5)
    slow, quick = collector.wait().causes[0].observations
    assert time.monotonic() - started < 3
    assert isinstance(slow, NotSeen)
    assert seen(quick).holds
