"""The way back: `doctor --fix` puts back what was good, and undoes it where that does not help."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.lab.changed import keep_baseline
from tests.lab.faults.app import PLAIN_APP
from tests.lab.faults.case import Case
from tests.lab.faults.env import environment
from tests.lab.faults.gunicorn import setting_is_misspelt
from tests.lab.faults.host import nginx_may_open_few_files
from tests.lab.faults.nginx import (
    default_page_answers,
    limit_req_zone_stands_in_the_server_block,
    location_defeats_the_upstreams_keepalive,
    nginx_redirects_the_prediction,
    predictions_pass_though_the_file_sends_them_nowhere,
    proxy_pass_names_the_wrong_port,
    user_agent_filter_blocks_curl,
)
from tests.lab.faults.start import attribute_is_called_otherwise, fails_to_start
from tests.lab.faults.tls import (
    intermediate_is_not_in_the_file,
    intermediate_is_not_sent,
    key_belongs_to_another_certificate,
    key_is_indented,
    key_link_stayed_at_the_old_version,
    key_was_exchanged_under_a_running_nginx,
    links_stayed_at_the_old_version,
    tls_1_0_is_accepted,
    two_blocks_are_joined_without_a_newline,
)
from tests.lab.stack import Stack
from tests.lab.trial import broken
from tests.lab.waiting import wait_for
from tests.lab.way_back import repaired, try_way_back


def results(document: dict[str, Any], code: str) -> list[str]:
    """What became of a cause's remedies."""
    return [item["result"] for item in document["fix"]["remedies"] if item["code"] == code]


def status(path: Path) -> tuple[bytes, int, int, int, int]:
    """All that must be as it was."""
    found = path.stat()
    return path.read_bytes(), found.st_mode, found.st_uid, found.st_gid, found.st_mtime_ns


def test_a_changed_upstream_is_put_back_and_the_changed_file_kept() -> None:
    with Stack() as stack:
        before = status(stack.site_file)
        keep_baseline(stack)
        left = stack.backups / ".gte-ops-good-killed"
        left.mkdir()
        (left / "known-good.tar.gz").touch()
        proxy_pass_names_the_wrong_port.inject(stack)
        changed = stack.site_file.read_bytes()
        wait_for(lambda: stack.predict().status == 502, "a client to meet it", within=15)
        document = repaired(stack, "--only", "NGX005")
        (first, *others) = document["fix"]["remedies"]
        assert first["result"] == "applied", first
        assert first["safety"] == "risky"
        assert "undoes what was changed 20" in first["risk"]
        assert [item["result"] for item in others] == ["unneeded"]
        assert stack.predict().status == 200
        assert status(stack.site_file) == before
        assert [Path(kept).read_bytes() for kept in first["kept"]] == [changed]
        assert list((stack.backups / "before-restore").glob("*.tar.zst"))
        assert not list(stack.backups.glob(".gte-ops-good-*"))
        steps = [json.loads(line) for line in (stack.run / "fix.jsonl").read_text().splitlines()]
        assert [line["action"] for line in steps if line["step"] == "done"] == ["ExchangeFiles"]


def test_an_upstream_that_is_not_loaded_yet_is_mended_before_it_is() -> None:
    """An edited upstream that nginx has not loaded: the reload of the file as it is would turn every client away."""
    with Stack() as stack:
        predictions_pass_though_the_file_sends_them_nowhere.inject(stack)
        document = repaired(stack)
        assert results(document, "NGX004") == ["applied"]
        assert document["fix"]["remaining"] == []
        assert f"server {stack.bind};" in stack.site_file.read_text()
        assert stack.predict().status == 200


def test_what_does_not_help_is_undone_and_the_next_remedy_tried() -> None:
    with Stack() as stack:
        good = stack.site_file.read_text()
        proxy_pass_names_the_wrong_port.inject(stack)
        keep_baseline(stack)  # by --force: what it remembers is no better
        first_port = stack.site_file.read_text()
        second_port = good.replace(f"server {stack.bind}", f"server {stack.address}:{stack.free_port()}")
        stack.site_file.write_text(second_port)
        stack.reload_nginx()
        document = repaired(stack, "--only", "NGX005")
        assert results(document, "NGX005") == ["refused", "applied"], document["fix"]
        undone, edited = document["fix"]["remedies"]
        assert "did not help" in undone["detail"]
        assert undone["kept"] == []
        # The edit has found the file as it was before the attempt, and not the one that did not help.
        assert [Path(kept).read_text() for kept in edited["kept"]] == [second_port]
        assert first_port not in {path.read_text() for path in stack.site_file.parent.iterdir()}
        assert stack.predict().status == 200
        assert not (stack.backups / ".gte-ops-restore.json").exists()


@pytest.mark.long
def test_an_application_that_does_not_help_either_is_undone() -> None:
    with Stack(app=PLAIN_APP) as stack:
        stack.stop_gunicorn()
        stack.app_file.write_text("import a_package_nobody_has\n")
        keep_baseline(stack)
        stack.app_file.write_text("import another_package_nobody_has\n")
        stack.app_file.chmod(0o640)
        fails_to_start(stack)
        before = status(stack.app_file)
        document = repaired(stack)
        assert "refused" in results(document, "GUN003"), document["fix"]
        assert "applied" not in results(document, "GUN003")
        assert status(stack.app_file) == before
        assert stack.gunicorn_master is None


@pytest.mark.long
@pytest.mark.parametrize(
    "case",
    [
        attribute_is_called_otherwise,
        key_is_indented,
        key_link_stayed_at_the_old_version,
        predictions_pass_though_the_file_sends_them_nowhere,
        setting_is_misspelt,
    ],
    ids=lambda case: case.name,
)
def test_single_faults_are_mended_from_baseline_or_backup(case: Case) -> None:
    done = try_way_back(case)
    assert done.kind == "mended", done


@pytest.mark.long
@pytest.mark.parametrize(
    "case",
    [
        default_page_answers,
        intermediate_is_not_in_the_file,
        intermediate_is_not_sent,
        key_belongs_to_another_certificate,
        limit_req_zone_stands_in_the_server_block,
        links_stayed_at_the_old_version,
        location_defeats_the_upstreams_keepalive,
        nginx_may_open_few_files,
        nginx_redirects_the_prediction,
        tls_1_0_is_accepted,
        two_blocks_are_joined_without_a_newline,
        user_agent_filter_blocks_curl,
    ],
    ids=lambda case: case.name,
)
def test_what_needs_no_past_is_mended_without_one(case: Case) -> None:
    with broken(case) as stack:
        document = repaired(stack)
        assert "applied" in results(document, case.code), document["fix"]
        assert case.code in document["fix"]["fixed"], document["fix"]
        assert stack.predict().status == 200


@pytest.mark.long
def test_an_edit_that_does_not_help_is_undone() -> None:
    """A second filter refuses one of the clients: nothing in it could be left."""
    with broken(user_agent_filter_blocks_curl) as stack:
        text = stack.site_file.read_text()
        at = text.index("    location / {")
        again = "    if ($http_user_agent ~* (curl/8)) { return 403; }\n"
        stack.site_file.write_text(text[:at] + again + text[at:])
        stack.reload_nginx()
        before = status(stack.site_file)
        document = repaired(stack, "--only", "NGX010")
        assert results(document, "NGX010") == ["refused"], document["fix"]
        assert status(stack.site_file) == before
        agent = {"User-Agent": "python-requests/2.32.3"}
        assert stack.request(headers=agent).status == 403


@pytest.mark.long
def test_a_key_without_a_backup_is_not_invented() -> None:
    with Stack() as stack:
        keep_baseline(stack)
        key_was_exchanged_under_a_running_nginx.inject(stack)
        before = status(stack.private_key.resolve())
        document = repaired(stack)
        assert "applied" not in results(document, "TLS007")
        assert status(stack.private_key.resolve()) == before
        assert stack.predict().status == 200


def wheel(directory: Path, name: str, version: str) -> None:
    """A wheel of one module (PyPA, binary distribution format)."""
    info = f"{name}-{version}.dist-info"
    contents = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: lab\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(directory / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for path, content in contents.items():
            archive.writestr(path, content)


@pytest.mark.long
def test_a_missing_package_is_installed_as_the_baseline_had_it() -> None:
    with Stack(app=PLAIN_APP) as stack:
        wheels = stack.directory / "wheels"
        wheels.mkdir()
        wheel(wheels, "shoptools", "1.2")
        wheel(wheels, "shoptools", "2.0")
        environment(stack)
        stack.set_service_environment(PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheels))
        pip = [stack.python, "-m", "pip", "-q"]
        subprocess.run(
            [*pip, "install", "shoptools==1.2"], check=True, env=stack.environment(), cwd="/", timeout=60
        )
        stack.config["gunicorn"]["start_command"] = stack.gunicorn_command()
        stack.write_config()
        stack.app_file.write_text(f"import shoptools\n{PLAIN_APP}")
        stack.restart_gunicorn()
        keep_baseline(stack)
        stack.stop_gunicorn()
        subprocess.run(
            [*pip, "uninstall", "-y", "shoptools"], check=True, env=stack.environment(), cwd="/", timeout=60
        )
        fails_to_start(stack)
        document = repaired(stack)
        assert "applied" in [item["result"] for item in document["fix"]["remedies"]], document["fix"]
        assert stack.predict().status == 200
        assert list((stack.app_dir / "venv").glob("lib/*/site-packages/shoptools-1.2.dist-info"))
