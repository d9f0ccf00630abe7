"""`gte-ops service` on a host without systemd: what is asked for is so when the command ends, and nothing else."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.lab.stack import Stack


@pytest.fixture(scope="module")
def running() -> Iterator[Stack]:
    with Stack() as made:
        yield made


@pytest.fixture
def stack(running: Stack) -> Iterator[Stack]:
    """A service that runs; afterwards as it was configured."""
    configuration = running.gunicorn_conf.read_text()
    service(running, "start")
    yield running
    running.gunicorn_conf.write_text(configuration)
    service(running, "stop")


def service(stack: Stack, action: str, *options: str, exit_code: int = 0) -> dict[str, Any]:
    ran = stack.gte_ops("service", action, *options, "--format", "json", "--config", str(stack.config_file))
    assert ran.exit_code == exit_code, ran.stdout + ran.stderr
    document: dict[str, Any] = json.loads(ran.stdout)
    return document


def test_each_command_has_its_effect_before_it_ends(stack: Stack) -> None:
    first = service(stack, "status")
    assert (first["state"], first["unit"]) == ("ready", None)
    assert service(stack, "start") | {"action": "status"} == first | {"changed": False}, "it runs already"

    reloaded = service(stack, "reload")
    assert (reloaded["state"], reloaded["master"]) == ("ready", first["master"])

    restarted = service(stack, "restart")
    assert restarted["state"] == "ready"
    assert restarted["master"] != first["master"]
    assert stack.request(path="/health", door="backend").status == 200

    stopped = service(stack, "stop")
    assert (stopped["state"], stopped["changed"]) == ("stopped", True)
    stack.gte_ops("watchdog", "--once", "--config", str(stack.config_file))
    assert service(stack, "status", exit_code=2)["state"] == "stopped", "the watchdog leaves it so"
    assert service(stack, "stop")["changed"] is False

    assert service(stack, "start")["state"] == "ready"
    watched = json.loads(
        stack.gte_ops("watchdog", "status", "--format", "json", "--config", str(stack.config_file)).stdout
    )
    assert not watched.get("paused_until"), "the watchdog is at work again"


@pytest.mark.long
def test_a_pidfile_that_names_another_program_is_removed_and_the_program_lives(stack: Stack) -> None:
    service(stack, "stop")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        stack.gunicorn_pidfile.write_text(f"{other.pid}\n")
        assert service(stack, "start")["stale_pidfiles"] == [str(stack.gunicorn_pidfile)]
        service(stack, "stop")
        assert other.poll() is None
        other.communicate(b"\n")


@pytest.mark.long
def test_an_address_that_another_program_holds_is_left_to_it(stack: Stack) -> None:
    service(stack, "stop")
    host, _, port = stack.bind.rpartition(":")
    with socket.create_server((host, int(port))) as held:
        for action in ("start", "restart"):
            error = service(stack, action, exit_code=2)["error"]["message"]
            assert "nothing was started or ended" in error
        assert held.fileno() >= 0


@pytest.mark.long
def test_a_configuration_that_does_not_load_leaves_the_service_as_it_is(stack: Stack) -> None:
    before = service(stack, "status")
    with stack.gunicorn_conf.open("a") as config:
        config.write("\nimport no_such_module\n")
    for action in ("restart", "reload"):
        assert "the service was left as it is" in service(stack, action, exit_code=2)["error"]["message"]
    assert service(stack, "status")["master"] == before["master"]


@pytest.mark.long
def test_of_several_starts_at_once_one_starts_it(stack: Stack) -> None:
    service(stack, "stop")
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda _: service(stack, "start"), range(3)))
    assert sorted(result["changed"] for result in results) == [False, False, True]
    assert len({result["master"] for result in results}) == 1
