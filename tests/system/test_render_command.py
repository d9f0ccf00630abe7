"""`gte-ops render` on a real host: what it finds, what it installs, and what it refuses."""

from __future__ import annotations

import difflib
import importlib.metadata
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.stack import Report, Stack


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A healthy host."""
    with Stack() as up:
        yield up


def run(stack: Stack, *arguments: str) -> Report:
    return stack.gte_ops("render", *arguments, "--config", str(stack.config_file))


def installed(stack: Stack, *arguments: str) -> dict[str, dict[str, str | None]]:
    ran = run(stack, *arguments, "--install", "--format", "json")
    assert ran.exit_code == 0, ran.stderr
    return {Path(row["path"]).name: row for row in json.loads(ran.stdout)["files"]}


def test_rotation_is_installed_once_and_what_was_there_is_kept(stack: Stack) -> None:
    rule = stack.logrotate / "gte-api"
    before = rule.read_text()
    diff = run(stack, "logrotate", "--dry-run")
    assert f"--- {rule}" in diff.stdout
    assert rule.read_text() == before
    row = installed(stack, "logrotate")["gte-api"]
    assert row["state"] == "changed"
    assert Path(str(row["kept"])).read_text() == before
    assert rule.stat().st_mode & 0o777 == 0o644
    assert str(stack.gunicorn_access_log) in rule.read_text()
    assert installed(stack, "logrotate")["gte-api"]["state"] == "unchanged"
    assert run(stack, "logrotate", "--dry-run").stdout == ""
    assert run(stack, "logrotate").stdout == rule.read_text()
    # logrotate passes over the kept copy: the log would stand in two rules.
    ran = subprocess.run(
        ["logrotate", "-d", "-s", os.devnull, str(stack.logrotate)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "error:" not in ran.stderr
    assert stack.doctor().codes == []


def test_the_site_is_replaced_and_nginx_takes_it(stack: Stack) -> None:
    stack.edit(stack.site_file, "client_max_body_size  1m;", "client_max_body_size  2m;")
    row = installed(stack, "nginx")["gte-api.conf"]
    assert row["state"] == "changed"
    assert "client_max_body_size  1m;" in stack.site_file.read_text()
    stack.reload_nginx()
    assert stack.predict().status == 200


def test_a_site_that_nginx_refuses_is_taken_back(stack: Stack) -> None:
    before = {path: path.read_text() for path in stack.nginx_dir.rglob("*.conf")}
    stack.config["tls"]["certificate"] = str(stack.directory / "none.pem")
    stack.write_config()
    try:
        ran = run(stack, "nginx", "--install")
    finally:
        stack.config["tls"]["certificate"] = str(stack.certificate)
        stack.write_config()
    assert ran.exit_code == 2
    assert "none.pem" in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert {path: path.read_text() for path in stack.nginx_dir.rglob("*.conf")} == before


@pytest.mark.parametrize("kind", ["systemd", "cron", "logrotate", "nginx", "prometheus"])
def test_an_image_gets_its_files_below_its_root_alone(stack: Stack, kind: str, tmp_path: Path) -> None:
    config = tmp_path / "gte-ops.toml"
    config.write_text('[target]\ndomain = "nlp.example.org"\n')
    root = tmp_path / "image"
    root.mkdir()
    ran = stack.gte_ops("render", kind, "--install", "--root", str(root), "--config", str(config))
    assert ran.exit_code == 0, ran.stderr
    files = [path for path in root.rglob("*") if path.is_file()]
    assert files
    again = stack.gte_ops("render", kind, "--install", "--root", str(root), "--config", str(config))
    assert {line.partition(" ")[0] for line in again.stdout.splitlines()} == {"unchanged"}
    words = "".join(path.read_text() for path in files)
    assert str(stack.directory) not in words
    if kind == "nginx":
        assert "server_name nlp.example.org;" in words


def test_an_image_whose_nginx_rule_takes_the_logs_keeps_it(stack: Stack, tmp_path: Path) -> None:
    rules = tmp_path / "etc" / "logrotate.d"
    rules.mkdir(parents=True)
    (rules / "nginx").write_text("/var/log/nginx/*.log {\n    daily\n}\n")
    config = tmp_path / "gte-ops.toml"
    config.write_text("")
    stack.gte_ops("render", "logrotate", "--install", "--root", str(tmp_path), "--config", str(config))
    text = (rules / "gte-api").read_text()
    assert "# /var/log/nginx/gte-access.log: /etc/logrotate.d/nginx rotates it." in text
    assert "\n/var/log/gte-api/access.log\n" in text


def test_misuse_is_one_line_and_changes_nothing(stack: Stack) -> None:
    stack.config["gunicorn"]["pidfile"] = "/run/a b.pid"
    stack.write_config()
    try:
        ran = run(stack, "logrotate", "--install")
    finally:
        stack.config["gunicorn"]["pidfile"] = str(stack.gunicorn_pidfile)
        stack.write_config()
    assert (ran.exit_code, len(ran.stderr.splitlines())) == (3, 1)
    assert "gunicorn_pidfile" in ran.stderr
    assert run(stack, "logrotate", "--root", "/tmp").exit_code == 3
    assert run(stack, "apache").exit_code == 3


def test_promtool_takes_the_rules_and_the_scrape_configuration(tmp_path: Path) -> None:
    folder = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
    scrape = tmp_path / "prometheus.yml"
    scrape.write_text((folder / "gte-ops.scrape.yml").read_text())
    for command in (("rules", folder / "gte-ops.rules.yml"), ("config", scrape)):
        ran = subprocess.run(
            ["promtool", "check", *map(str, command)], capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_alert_fires_for_its_fault_ends_with_it_and_names_the_host() -> None:
    """The tests that are shipped beside the rules: they know every rule."""
    folder = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"
    ran = subprocess.run(
        ["promtool", "test", "rules", "gte-ops.rules.test.yml"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_versions_of_the_tool_and_of_what_it_watches(stack: Stack) -> None:
    ran = stack.gte_ops("version", "--format", "json", "--config", str(stack.config_file))
    found = json.loads(ran.stdout)
    assert found.pop("schema_version") == 1
    assert found.pop("status") == "ok"
    assert {"gte-ops", "python", "nginx", "gunicorn"} <= set(found)
    assert found["gunicorn"] == importlib.metadata.version("gunicorn")
    plain = stack.gte_ops("version", "--config", str(stack.config_file)).stdout
    assert [line.split() for line in plain.splitlines()] == [[name, number] for name, number in found.items()]


def test_a_diff_is_what_diff_would_say(stack: Stack) -> None:
    rule = stack.logrotate / "gte-api"
    wanted = run(stack, "logrotate").stdout
    rule.write_text("/old.log {\n}\n")
    expected = difflib.unified_diff(
        rule.read_text().splitlines(True), wanted.splitlines(True), str(rule), str(rule)
    )
    assert run(stack, "logrotate", "--dry-run").stdout == "".join(expected)
