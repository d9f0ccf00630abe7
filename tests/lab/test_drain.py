"""`gte-ops deploy drain` and `undrain` on a real nginx: no request fails, and a failure leaves all as it was."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.second_host import add_second_host
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for

UPSTREAM = "snippets/gte-api-upstream.conf"


@pytest.fixture
def balanced() -> Iterator[tuple[Stack, Path, str]]:
    """A stack whose upstream is a file of two servers; the file, the second server's address."""
    with Stack() as stack:
        second = add_second_host(stack, version="0.0.9")
        file = stack.nginx_dir / UPSTREAM
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"server {stack.bind} max_fails=1;\nserver {second} max_fails=1;\n")
        both = f"server {stack.bind};\n    server {second};"
        stack.edit(stack.site_file, both, f"include {UPSTREAM};")
        yield stack, file, second


def deploy(stack: Stack, *words: str) -> tuple[int, dict[str, object], str]:
    ran = stack.gte_ops("deploy", *words, "--config", str(stack.config_file), "--format", "json")
    return ran.exit_code, json.loads(ran.stdout), ran.stderr


def versions(stack: Stack) -> set[str]:
    """Which servers answer a few requests in turn."""
    return {stack.request(path="/health").json()["version"] for _ in range(6)}


def test_a_host_is_taken_out_and_put_back_without_a_failed_request(balanced: tuple[Stack, Path, str]) -> None:
    stack, file, second = balanced
    before = file.read_text()
    assert len(versions(stack)) == 2
    statuses: list[int | None] = []
    ending = threading.Event()

    def ask() -> None:
        while not ending.is_set():
            statuses.append(stack.request(path="/health").status)

    client = threading.Thread(target=ask)
    client.start()
    try:
        exit_code, report, error = deploy(stack, "drain", second)
        assert (exit_code, report["changed"], report["serving"]) == (0, True, [stack.bind]), error
        assert "0.0.9" not in versions(stack)
        assert deploy(stack, "drain", second)[1]["changed"] is False
        assert deploy(stack, "undrain", second)[1]["serving"] == [stack.bind, second]
        wait_for(lambda: len(versions(stack)) == 2, "the second server to get requests again")
    finally:
        ending.set()
        client.join()
    assert file.read_text() == before
    assert len(statuses) > 10
    assert set(statuses) == {200}
    listed = json.loads(
        stack.gte_ops("baseline", "list", "--config", str(stack.config_file), "--format", "json").stdout
    )
    assert [item["text"] for item in listed["deployments"]] == [f"drain {second}", f"undrain {second}"]


def test_what_would_harm_users_is_refused_and_changes_nothing(balanced: tuple[Stack, Path, str]) -> None:
    stack, file, second = balanced
    before = file.read_text()
    assert deploy(stack, "drain", second, "--dry-run")[1]["diff"]
    assert file.read_text() == before
    assert deploy(stack, "drain", "192.0.2.99")[0] == 3
    dead = f"{stack.address}:{stack.free_port()}"
    file.write_text(f"{before}server {dead} down;\n")
    exit_code, report, _ = deploy(stack, "undrain", dead)
    assert exit_code == 2
    assert "it stays out" in json.dumps(report)
    file.write_text(before.replace(f"{second} max_fails=1", f"{second} max_fails=1 down"))
    exit_code, report, _ = deploy(stack, "drain", stack.bind)
    assert exit_code == 2
    assert "the last server" in json.dumps(report)


def test_a_configuration_that_nginx_refuses_puts_the_file_back(balanced: tuple[Stack, Path, str]) -> None:
    stack, file, second = balanced
    before = file.read_text()
    broken = stack.site_file.with_name("broken.conf")
    broken.write_text("no_such_directive on;\n")
    exit_code, report, _ = deploy(stack, "drain", second)
    assert exit_code == 2, report
    assert file.read_text() == before
    broken.unlink()
    assert stack.request(path="/health").status == 200
