"""What changed since the service was last healthy: the guilty change is part of the proof, the innocent ones are not,
though they were made closer to the outage."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.changed import (
    GUILTY,
    ChangeReport,
    changed,
    keep_baseline,
    told_of,
)
from tests.lab.faults import CASES
from tests.lab.faults.case import Case
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for
from tests.system.made_backup import make_backup

_BY_NAME = {case.name: case for case in CASES}


def _each(name: str) -> object:
    marks = () if name == "proxy_pass_names_the_wrong_port" else (pytest.mark.long,)
    return pytest.param(_BY_NAME[name], GUILTY[name], id=f"{_BY_NAME[name].code}-{name}", marks=marks)


@pytest.mark.parametrize(("case", "guilty"), [_each(name) for name in GUILTY])
def test_the_guilty_change_is_named_among_five_innocent_later_ones(case: Case, guilty: str) -> None:
    told = told_of(case)
    shown = f"{told.items} {told.ran.codes} {told.ran.stderr}"
    assert any(guilty in what for what in told.fitting(case.code)), shown
    assert not told.blamed & told.innocent, shown
    assert len(told.innocent) == 5
    assert {item["what"] for item in told.items} >= told.innocent, shown
    assert guilty in told.evidence(case.code), shown


# --- what no single file shows ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def healthy(**arguments: object) -> Iterator[Stack]:
    """A stack with a baseline."""
    with Stack(**arguments) as stack:  # type: ignore[arg-type]
        keep_baseline(stack)
        yield stack


@pytest.mark.long
def test_a_comment_is_told_as_one_and_belongs_to_no_proof() -> None:
    with healthy() as stack:
        stack.edit(stack.site_file, "upstream gte", "# the service\nupstream gte", apply=False)
        stack.kill_gunicorn()
        ran = stack.doctor("--skip", "NGX004,HST005")
        (item,) = ran.report["changes"]["items"]
        assert (item["comments_only"], item["fits"]) == (True, [])


# --- keeping it -------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_a_file_that_is_not_loaded_yet_keeps_its_former_content_until_the_reload() -> None:
    with healthy() as stack:
        wrong = f"server {stack.address}:{stack.free_port()};"
        stack.edit(stack.site_file, f"server {stack.bind};", wrong, apply=False)
        # Healthy, for nginx serves by what it has loaded.
        ran = stack.gte_ops("baseline", "accept", "--config", str(stack.config_file))
        assert (ran.exit_code, str(stack.site_file) in ran.stdout) == (0, True), ran.stdout
        stack.reload_nginx()
        wait_for(lambda: stack.predict().status == 502, "a client to meet the reload")
        told = ChangeReport(stack.doctor(), frozenset())
        assert told.fitting("NGX005") == {str(stack.site_file)}


@pytest.mark.long
def test_a_healthy_doctor_renews_the_baseline_and_a_failing_one_does_not() -> None:
    with healthy() as stack:
        stack.edit(stack.site_file, "keepalive 32;", "keepalive 8;")
        assert [item["what"] for item in stack.doctor(machine=True).report["changes"]["items"]] == [
            str(stack.site_file)
        ]
        assert stack.doctor(machine=True).report["changes"]["items"] == []
        stack.edit(stack.site_file, f"server {stack.bind};", f"server {stack.address}:{stack.free_port()};")
        wait_for(lambda: stack.predict().status == 502, "a client to meet it")
        for _ in range(2):
            assert [item["what"] for item in stack.doctor(machine=True).report["changes"]["items"]] == [
                str(stack.site_file)
            ]
        refused = stack.gte_ops("baseline", "accept", "--config", str(stack.config_file))
        assert refused.exit_code == 2
        assert "not recorded" in refused.stdout


@pytest.mark.long
def test_what_a_restore_put_back_is_the_baseline() -> None:
    with healthy() as stack:
        parts = tuple(str(path).lstrip("/") for path in (stack.nginx_dir, stack.letsencrypt, stack.cron))
        stack.edit(stack.site_file, "keepalive 32;", "keepalive 24;")
        shutil.rmtree(stack.backups)
        stack.backups.mkdir()
        make_backup(
            Path("/"),
            stack.backups,
            created_at=1_700_000_000,
            only=parts,
            letsencrypt_dir=str(stack.letsencrypt),
        )
        stack.edit(stack.site_file, "keepalive 24;", "keepalive 8;")
        config = str(stack.config_file)
        ran = stack.gte_ops("backup", "restore", "--config", config, "--yes", "--unsigned")
        assert ran.exit_code == 0, f"{ran.stdout}{ran.stderr}"
        listed = json.loads(stack.gte_ops("baseline", "list", "--config", config, "--format", "json").stdout)
        assert [baseline["by"] for baseline in listed["baselines"]] == ["restore", "accept"]
        assert stack.doctor().report["changes"]["items"] == []


@pytest.mark.long
def test_a_marked_deployment_is_named_beside_its_changes() -> None:
    with healthy() as stack:
        config = str(stack.config_file)
        assert stack.gte_ops("deploy", "mark", "release 2.4", "--config", config).exit_code == 0
        stack.edit(stack.site_file, f"server {stack.bind};", f"server {stack.address}:{stack.free_port()};")
        wait_for(lambda: stack.predict().status == 502, "a client to meet the deployment")
        ran = stack.doctor()
        (item,) = ran.report["changes"]["items"]
        assert item["by"].startswith("gte-ops deploy mark release 2.4")
        assert "release 2.4" in ChangeReport(ran, frozenset()).evidence("NGX005")


@pytest.mark.long
def test_a_bundle_is_diagnosed_elsewhere_with_its_changes() -> None:
    with changed(_BY_NAME["proxy_pass_names_the_wrong_port"]) as (stack, _):
        bundle = stack.directory / "bundle.json.gz"
        here = stack.doctor("--bundle", str(bundle))
        there = stack.doctor("--from-bundle", str(bundle), config=False)
        assert here.report["changes"] == there.report["changes"]
        assert here.report["causes"] == there.report["causes"]
        assert here.report["changes"]["items"][0]["fits"] == ["NGX005"]
