"""``gte-api``: every setting has its flag, mistakes are named before anything starts, and a dry run starts nothing."""

import importlib.util
import json
import os
import re
import shlex
import socket
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.cli import check, flags, serve
from service.cli.main import main
from service.keys import key_file
from service.settings import ServerSettings, Settings, read_server_settings, read_settings
from service.tasks.registry import TASKS
from tests.system.conftest import free_port

ROOT = Path(__file__).parents[3]
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def run(*arguments: str, **variables: str) -> Result:
    """The command in this process, in an environment without ``GTE_*``."""
    clean = {name: None for name in os.environ if name.startswith("GTE_")}
    return CliRunner().invoke(main, arguments, env={**clean, **variables})


def dry_run(*arguments: str, **variables: str) -> dict[str, str]:
    """The variables of the line that a dry run prints."""
    bind = () if "--bind" in arguments or "--port" in arguments else ("--bind", f"127.0.0.1:{free_port()}")
    ran = run("serve", "--dry-run", *bind, *arguments, **variables)
    assert ran.exit_code == 0, ran.output
    words = shlex.split(ran.stdout)
    return dict(word.split("=", 1) for word in words if "=" in word)


def test_every_setting_has_a_flag_of_its_name() -> None:
    help_text = run("serve", "--help").output
    for group in (Settings, ServerSettings):
        for field in fields(group):
            assert f"--{field.name.replace('_', '-')}" in help_text, field.name
            assert f"GTE_{field.name.upper()}" in help_text, field.name
    assert "gte-api serve --model-dir /srv/gte --precision bfloat16" in help_text


def test_a_chinese_reader_gets_chinese_help() -> None:
    environment = {**os.environ, "LC_ALL": "zh_CN.UTF-8"}
    for command in ("serve", "check"):
        ran = subprocess.run(
            [sys.executable, "-m", "service.cli.main", command, "--help"],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        assert len(CHINESE.findall(ran.stdout)) > 100


@pytest.mark.parametrize(
    ("arguments", "variable", "value"),
    [
        (["--precision", "int8"], "GTE_PRECISION", "int8"),
        (["--dtype", "bfloat16"], "GTE_PRECISION", "bfloat16"),
        (["--max-client-batch-size", "64"], "GTE_MAX_BATCH", "64"),
        (["--max-batch-tokens", "1024"], "GTE_BATCH_TOKENS", "1024"),
        (["--payload-limit", "2000000"], "GTE_MAX_BODY_BYTES", "2000000"),
        (["--cors-allow-origin", "https://a.example"], "GTE_CORS_ORIGINS", "https://a.example"),
        (["--workers", "3"], "GTE_WORKERS", "3"),
        (["--trust-remote-code"], "GTE_TRUST_REMOTE_CODE", "1"),
    ],
)
def test_flags_of_other_servers_set_the_same_variable(
    arguments: list[str], variable: str, value: str
) -> None:
    assert dry_run(*arguments)[variable] == value


def test_a_flag_wins_over_the_environment_which_stays_otherwise() -> None:
    variables = dry_run("--max-batch", "7", GTE_MAX_BATCH="9", GTE_MAX_TEXT_CHARS="100")
    assert (variables["GTE_MAX_BATCH"], variables["GTE_MAX_TEXT_CHARS"]) == ("7", "100")


def test_host_and_port_are_the_address() -> None:
    port = str(free_port())
    assert dry_run("--port", port)["GTE_BIND"] == f"127.0.0.1:{port}"
    assert dry_run("--hostname", "127.0.0.1", "--port", port)["GTE_BIND"] == f"127.0.0.1:{port}"
    assert flags.address("::1", None, None) == "[::1]:8000"
    assert run("serve", "--bind", "127.0.0.1:1", "--port", "2").exit_code != 0


def refused(*arguments: str, **variables: str) -> list[str]:
    ran = run("serve", *arguments, **variables)
    assert ran.exit_code == 3, ran.output
    assert ran.stdout == ""
    return ran.stderr.splitlines()


def test_an_unusable_value_is_named_by_its_flag() -> None:
    assert refused("--max-batch", "many") == ["gte-api: --max-batch 'many': expected a whole number"]
    assert refused(GTE_MAX_BATCH="many") == ["gte-api: GTE_MAX_BATCH='many': expected a whole number"]


def test_a_chinese_reader_is_told_in_chinese_what_a_value_may_be() -> None:
    assert refused("--max-batch", "0", LC_ALL="zh_CN.UTF-8") == [
        "gte-api: --max-batch '0'：应为 1 到 2147483647 的整数"
    ]


def test_a_key_on_the_command_line_is_refused() -> None:
    (line,) = refused("--api-key", "gte_secret")
    assert "--api-keys FILE" in line
    assert "gte_secret" not in line


def test_every_obstacle_is_named_at_once_with_the_next_step(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        lines = refused(
            "--bind", address, "--api-keys", str(tmp_path / "keys.json"), "--model-dir", str(tmp_path / "gte")
        )
    text = "\n".join(lines)
    assert len(lines) == 3, text
    assert f"cannot listen on {address}: Address already in use" in text
    assert "service.keys --file" in text
    assert "modelscope download" in text


def test_a_socket_that_somebody_listens_on_is_in_use_and_one_left_behind_is_not(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        assert flags.address_in_use(f"unix:{path}") == "another server listens on it"
    assert flags.address_in_use(f"unix:{path}") is None
    assert flags.address_in_use(f"unix:{tmp_path}/none") is None


def test_a_module_of_the_same_name_where_gunicorn_starts_is_an_obstacle(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text("")
    settings, server = read_settings({}), read_server_settings({"GTE_BIND": f"127.0.0.1:{free_port()}"})
    (obstacle,) = serve.obstacles(settings, server, tmp_path)
    assert "start from another directory" in obstacle.en
    assert list(serve.obstacles(settings, server, ROOT)) == []


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in ("pydantic", "torch") else find(name)
    )
    lines = [message.en for message in serve.missing_packages(read_settings({"GTE_MODEL_DIR": "/srv/gte"}))]
    assert lines == [
        "pydantic is not installed: pip install 'gte-ops[service]'",
        "torch is not installed: pip install 'gte-ops[model]'",
    ]


def test_an_address_for_everybody_without_keys_is_warned_of(tmp_path: Path) -> None:
    settings = read_settings({})
    assert [str(line) for line in serve.warnings(settings, read_server_settings({}))] == []
    public = read_server_settings({"GTE_BIND": "0.0.0.0:8000"})
    (warning,) = serve.warnings(settings, public)
    assert "nginx" in warning.en
    key_file.add(tmp_path / "keys.json", "one")
    keyed = read_settings({"GTE_API_KEYS_FILE": str(tmp_path / "keys.json")})
    assert list(serve.warnings(keyed, public)) == []


def test_check_has_an_example_of_every_task() -> None:
    assert [example.task for example in check.EXAMPLES] == list(TASKS)


def test_check_without_a_model_says_which_tasks_fail_and_ends_with_1(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "service.cli.main", "check", "--json", "--seconds=0", f"--model-dir={tmp_path}/no"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 1, ran.stderr
    report = json.loads(ran.stdout)
    failed = {task["task"]: task["error"] for task in report["tasks"] if task["error"]}
    assert report["ok"] is False
    assert {"embedding", "similarity"} <= set(failed)
    assert "ner" not in failed
    assert "model_unavailable" in failed["embedding"]
