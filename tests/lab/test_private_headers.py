"""A service whose paths want a key: the doctor and the watchdog show it to the service, and to nobody else."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import psutil
import pytest

from tests.lab.applications import KEY_FOR_HEALTH, Application, write_minimal_config
from tests.lab.stack import Report, Stack

KEY = "lab-key"
EVERYTHING = Application("a key for everything", KEY_FOR_HEALTH.format(everything=True), "sync")


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with EVERYTHING.stack() as up:
        write_minimal_config(up, EVERYTHING)
        yield up


def doctor(stack: Stack, key: str | None, *, mode: int = 0o600) -> Report:
    """What the doctor says with this key in the file of headers; None: no file is named."""
    target = {name: value for name, value in stack.config["target"].items() if name != "headers_file"}
    path = stack.directory / "headers"
    if key is not None:
        path.write_text(f"X-Api-Key: {key}\n")
        path.chmod(mode)
        target["headers_file"] = str(path)
    stack.config["target"] = target
    stack.write_config()
    return stack.doctor()


def health(ran: Report) -> dict[str, str]:
    check: dict[str, str] = next(check for check in ran.report["checks"] if check["id"] == "app.health")
    return check


def test_the_right_key_makes_the_service_judged_and_green(stack: Stack) -> None:
    ran = doctor(stack, KEY)
    assert (ran.codes, ran.exit_code) == ([], 0), ran.stdout
    assert health(ran)["status"] == "pass", health(ran)
    assert KEY not in ran.stdout + ran.stderr


@pytest.mark.long
def test_a_wrong_key_is_said_to_be_refused_with_its_file(stack: Stack) -> None:
    ran = doctor(stack, "another-key")
    assert ran.codes == [], ran.stdout
    said = health(ran)["skipped_because"]
    assert "refuses the key" in said
    assert f"X-Api-Key of {stack.directory / 'headers'}" in said
    assert "another-key" not in ran.stdout + ran.stderr


@pytest.mark.long
def test_without_a_key_it_says_what_the_service_wants_and_which_setting_sends_one(stack: Stack) -> None:
    ran = doctor(stack, None)
    assert ran.codes == [], ran.stdout
    said = health(ran)["skipped_because"]
    assert "target.headers_file" in said
    assert "missing key" in said


@pytest.mark.long
def test_a_file_that_others_may_read_is_an_error_in_one_line(stack: Stack) -> None:
    ran = doctor(stack, KEY, mode=0o644)
    assert ran.exit_code not in (0, 1, 2), ran.stdout
    assert "chmod 600" in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stderr


STRANGER = """
import http.server, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open(sys.argv[2], "a") as file:
            file.write(str(self.headers))
        self.send_response(401)
        self.end_headers()

    do_POST = do_GET

host, port = sys.argv[1].rsplit(":", 1)
http.server.ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
"""


def test_a_stranger_at_the_service_s_address_is_not_shown_the_key(stack: Stack) -> None:
    doctor(stack, KEY)
    script, received = stack.directory / "stranger.py", stack.directory / "received.txt"
    script.write_text(STRANGER)
    stack.stop_gunicorn()
    process = psutil.Process(stack.spawn(sys.executable, str(script), stack.bind, str(received)))
    try:
        stack.wait_until_listening(stack.bind)
        stack.doctor()
        stack.gte_ops("watchdog", "--once", "--config", str(stack.config_file))
        assert "User-Agent" in received.read_text(), "it was asked"
        assert KEY not in received.read_text()
    finally:
        process.kill()
        stack.start_gunicorn()


@pytest.mark.long
def test_the_watchdog_asks_with_the_key(stack: Stack) -> None:
    doctor(stack, KEY)
    ran = stack.gte_ops("watchdog", "--once", "--format", "json", "--config", str(stack.config_file))
    assert ran.exit_code == 0, ran.stdout + ran.stderr
    assert "/health: 401" not in ran.stdout
    doctor(stack, "another-key")
    ran = stack.gte_ops("watchdog", "--once", "--format", "json", "--config", str(stack.config_file))
    assert ran.exit_code == 0, ran.stdout + ran.stderr
    assert "/health: 401" in ran.stdout
