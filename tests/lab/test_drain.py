"""`gte-ops deploy drain` and `undrain` on a real nginx: no request fails, and a failure leaves all as it was."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ops import drain as module
from ops.baselines.directory import baseline_directory
from ops.cli.main import commands
from ops.deployment.install import accepted_by_nginx
from ops.drain import DrainAction, DrainError, DrainResult
from ops.errors import OpsError
from ops.files import host_lock
from ops.files.host_lock import only_change
from ops.settings import load_settings
from tests.lab.second_host import add_second_host
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for

UPSTREAM = "snippets/gte-api-upstream.conf"


@pytest.fixture(scope="module")
def two_servers() -> Iterator[tuple[Stack, Path, str]]:
    with Stack() as stack:
        second = add_second_host(stack, version="0.0.9")
        file = stack.nginx_dir / UPSTREAM
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"server {stack.bind} max_fails=1;\nserver {second} max_fails=1;\n")
        both = f"server {stack.bind};\n    server {second};"
        stack.edit(stack.site_file, both, f"include {UPSTREAM};")
        yield stack, file, second


@pytest.fixture
def balanced(two_servers: tuple[Stack, Path, str]) -> Iterator[tuple[Stack, Path, str]]:
    """A stack whose upstream is a file of two servers; the file, the second server's address."""
    stack, file, _ = two_servers
    before, site = file.read_text(), stack.site_file.read_text()
    yield two_servers
    file.write_text(before)
    stack.site_file.write_text(site)  # a rendered one listens on port 80, which may be another's
    stack.reload_nginx()


def deploy(stack: Stack, *words: str) -> tuple[int, dict[str, object], str]:
    ran = stack.gte_ops("deploy", *words, "--config", str(stack.config_file), "--format", "json")
    return ran.exit_code, json.loads(ran.stdout), ran.stderr


def drain_here(stack: Stack, host: str, *, dry_run: bool = False) -> DrainResult:
    """The same in this process, so that a test can step in."""
    settings = load_settings(stack.config_file)
    return module.drain(settings, stack.config_file, host, DrainAction.DRAIN, dry_run=dry_run)


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
    assert not list(file.parent.glob(".*")), "the lock is left"


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
    nobody = f"server {stack.bind};\nserver {dead};\nserver {second} down;\n"
    file.write_text(nobody)
    exit_code, report, _ = deploy(stack, "drain", stack.bind)
    assert exit_code == 2
    assert f"no other server answers ({dead}: " in json.dumps(report)
    assert file.read_text() == nobody


def test_a_primary_is_drained_while_its_backup_serves_and_a_link_stays_one(
    balanced: tuple[Stack, Path, str],
) -> None:
    stack, file, second = balanced
    real = file.with_name("by-hand.conf")
    file.rename(real)
    file.symlink_to(real.name)
    text = f"server {stack.bind}; server {second} # the older model\n  backup;\r\n"
    real.write_text(text, newline="")
    try:
        exit_code, report, error = deploy(stack, "drain", stack.address)
        assert exit_code == 3, "two servers have that address"
        exit_code, report, error = deploy(stack, "drain", stack.bind)
        assert (exit_code, report["serving"]) == (0, [second]), error
        assert versions(stack) == {"0.0.9"}
        assert deploy(stack, "undrain", stack.bind)[0] == 0
        assert real.read_bytes().decode() == text
        assert file.is_symlink()
    finally:
        file.unlink()
        real.rename(file)


def test_a_configuration_that_nginx_refuses_beforehand_leaves_the_file(
    balanced: tuple[Stack, Path, str],
) -> None:
    stack, file, second = balanced
    before = file.read_text()
    broken = stack.site_file.with_name("broken.conf")
    broken.write_text("no_such_directive on;\n")
    exit_code, report, _ = deploy(stack, "drain", second)
    assert exit_code == 2, report
    assert "nginx refuses its configuration as it is: " in json.dumps(report)
    assert "no_such_directive" in json.dumps(report)
    assert file.read_text() == before
    broken.unlink()
    assert stack.request(path="/health").status == 200


def test_of_two_runs_at_once_neither_loses_the_change_of_the_other(
    balanced: tuple[Stack, Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, file, second = balanced
    third = f"{stack.address}:{stack.free_port()}"
    file.write_text(f"{file.read_text()}server {third} max_fails=1;\n")
    results: list[DrainResult] = []
    other = threading.Thread(target=lambda: results.append(drain_here(stack, third)))

    def refused_while_another_begins(_command: Sequence[str]) -> None:
        monkeypatch.setattr(module, "accepted_by_nginx", accepted_by_nginx)
        other.start()
        other.join(2)  # it waits for this run; if it did not, it would end in this time
        raise OpsError("nginx refuses it")

    monkeypatch.setattr(module, "accepted_by_nginx", refused_while_another_begins)
    with pytest.raises(OpsError, match="nginx refuses it; the old file is back and loaded"):
        drain_here(stack, second)
    other.join(30)
    assert [(item.changed, item.serving) for item in results] == [(True, (stack.bind, second))]
    assert file.read_text().count(" down;") == 1


def test_render_waits_for_a_drain_and_keeps_what_it_took_out(
    balanced: tuple[Stack, Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, file, second = balanced
    hosts = "".join(f'[[nginx.upstream]]\naddress = "{address}"\n' for address in (stack.bind, second))
    config = stack.directory / "balancer.toml"
    config.write_text(f"{stack.config_file.read_text()}\n{hosts}")
    asking = threading.Event()
    results: list[Result] = []

    @contextlib.contextmanager
    def only_change_after_asking(within: float) -> Iterator[None]:
        asking.set()
        with only_change(within):
            yield

    monkeypatch.setattr(host_lock, "only_change", only_change_after_asking)
    words = ("render", "nginx", "--install", "--config", str(config))
    run = threading.Thread(target=lambda: results.append(CliRunner().invoke(commands, words)))
    with only_change():
        run.start()
        assert asking.wait(30)
        run.join(2)  # it waits for this run; if it did not, it would end in this time
        assert run.is_alive()
        file.write_text(file.read_text().replace(f"{second} max_fails=1", f"{second} max_fails=1 down"))
    run.join(60)
    assert f"server {second} max_fails=1 fail_timeout=10s down;" in file.read_text(), results[0].output


def test_a_file_that_another_changed_meanwhile_is_not_put_back(
    balanced: tuple[Stack, Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, file, second = balanced
    by_hand = file.read_text().replace("max_fails=1", "max_fails=3")

    def refused(_command: Sequence[str]) -> None:
        file.write_text(by_hand)
        raise OpsError("nginx refuses it")

    monkeypatch.setattr(module, "accepted_by_nginx", refused)
    with pytest.raises(OpsError, match="was changed by another meanwhile and stays"):
        drain_here(stack, second)
    assert file.read_text() == by_hand


def test_what_a_killed_run_wrote_is_loaded_by_the_next(balanced: tuple[Stack, Path, str]) -> None:
    stack, file, second = balanced
    file.write_text(file.read_text().replace(f"{second} max_fails=1", f"{second} max_fails=1 down"))
    assert len(versions(stack)) == 2
    exit_code, report, error = deploy(stack, "drain", second)
    assert (exit_code, report["changed"]) == (0, False), error
    assert "0.0.9" not in versions(stack)


def test_a_run_that_is_ended_puts_the_file_back(balanced: tuple[Stack, Path, str]) -> None:
    stack, file, second = balanced
    dead = f"{stack.address}:{stack.free_port()}"
    before = f"server {dead};\nserver {second};\n"
    file.write_text(before)
    words = ("deploy", "drain", second, "--force", "--config", str(stack.config_file))
    # No client is served by what is left: it asks again and again.
    with subprocess.Popen(
        stack.gte_ops_command(*words),
        cwd=stack.directory,
        env=stack.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as run:
        wait_for(lambda: " down;" in file.read_text(), "the new file")
        run.send_signal(signal.SIGTERM)
        assert run.wait(30) == 130
    assert file.read_text() == before


def test_a_file_that_the_site_s_upstream_does_not_include_is_refused(
    balanced: tuple[Stack, Path, str],
) -> None:
    stack, file, second = balanced
    before, included = file.read_text(), f"include {UPSTREAM};"
    stack.edit(stack.site_file, included, f"server {stack.bind};")
    try:
        for dry_run in (True, False):
            with pytest.raises(DrainError, match="no upstream that the site passes to includes it"):
                drain_here(stack, second, dry_run=dry_run)
    finally:
        stack.edit(stack.site_file, f"server {stack.bind};", included)
    assert file.read_text() == before


def test_a_host_that_was_moved_and_not_recorded_is_no_failure(balanced: tuple[Stack, Path, str]) -> None:
    stack, file, second = balanced
    directory = baseline_directory(load_settings(stack.config_file))
    aside = directory.with_name("aside")
    if directory.exists():
        directory.rename(aside)
    directory.touch()
    try:
        exit_code, report, error = deploy(stack, "drain", second)
    finally:
        directory.unlink()
        if aside.exists():
            aside.rename(directory)
    assert (exit_code, report["changed"]) == (0, True), error
    assert report["unrecorded"]
    assert f"{second} max_fails=1 down;" in file.read_text()
