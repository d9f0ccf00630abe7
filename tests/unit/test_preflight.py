"""Preflight: what the first start needs is confirmed without a running service, or said not to be."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

import ops.preflight
from ops.cli.main import main
from ops.diagnosis.catalogue import catalogue
from ops.facts.base import NotSeen
from ops.facts.nginx import NginxTest
from ops.facts.snapshot import Snapshot
from ops.preflight import CONFIRMATIONS, confirm
from ops.report import render
from ops.report.preflight import PreflightReport
from ops.settings import ModelSettings, Settings
from tests.unit.made_snapshot import HEALTHY, but, without_gunicorn

SETTINGS = Settings(model=ModelSettings(dir="/root/build/iic/nlp_gte_sentence-embedding_chinese-large"))
BROKEN_NGINX = NginxTest(
    command=("nginx", "-t"),
    exit_code=1,
    lines=(
        'nginx: [emerg] "limit_req_zone" directive is not allowed here in /etc/nginx/conf.d/gte-api.conf:3',
    ),
)


def standings(snapshot: Snapshot, settings: Settings = SETTINGS) -> dict[str, str]:
    return {item.confirmation.id: item.standing for item in confirm(snapshot, settings).confirmed}


def test_a_service_that_is_not_started_yet_is_no_fault() -> None:
    result = confirm(without_gunicorn(), SETTINGS)
    assert result.diagnosis.causes == ()
    assert result.diagnosis.symptoms == ()


def test_the_guide_s_four_confirmations_come_first() -> None:
    assert [item.id for item in CONFIRMATIONS][:4] == ["model", "python", "nginx", "name"]


def test_every_code_is_of_the_catalogue_and_stands_once() -> None:
    codes = [code for item in CONFIRMATIONS for code in item.codes]
    assert len(codes) == len(set(codes))
    assert set(codes) <= set(catalogue().codes)


@pytest.mark.parametrize(
    ("snapshot", "failing", "code"),
    [
        (but(without_gunicorn(), model__exists=False, model__entries=()), "model", "MOD001"),
        (but(without_gunicorn(), nginx_test=BROKEN_NGINX), "nginx", "NGX003"),
        (but(without_gunicorn(), resolution__addresses=(), resolution__failure="nxdomain"), "name", "DNS001"),
    ],
)
def test_what_stands_in_the_way_is_named(snapshot: Snapshot, failing: str, code: str) -> None:
    result = confirm(snapshot, SETTINGS)
    failed = [item for item in result.confirmed if item.standing == "fail"]
    assert [item.confirmation.id for item in failed] == [failing]
    assert [cause.code for cause in failed[0].causes] == [code]
    assert (result.status, result.exit_code) == ("fail", 2)


def test_what_was_not_seen_is_not_confirmed() -> None:
    snapshot = but(without_gunicorn(), resolution=NotSeen(reason="timed out"))
    assert standings(snapshot)["name"] == "unconfirmed"
    assert confirm(snapshot, SETTINGS).exit_code == 3


def test_a_model_that_nobody_configured_is_not_needed() -> None:
    unseen = NotSeen(reason="no model directory is configured")
    snapshot = but(without_gunicorn(), model=unseen, model_access=unseen)
    assert standings(snapshot, Settings())["model"] == "not_needed"
    assert standings(snapshot, SETTINGS)["model"] == "unconfirmed"


@pytest.mark.parametrize(("language", "words"), [("en", "name and address"), ("zh", "域名与地址")])
def test_the_list_is_read_in_both_languages(language: str, words: str) -> None:
    out = io.StringIO()
    render("text", PreflightReport(confirm(HEALTHY, SETTINGS)), language, out)  # type: ignore[arg-type]
    assert words in out.getvalue()


def test_as_json_it_is_the_doctor_s_document_with_the_confirmations() -> None:
    out = io.StringIO()
    result = confirm(but(without_gunicorn(), nginx_test=BROKEN_NGINX), SETTINGS)
    render("json", PreflightReport(result), "en", out)
    document = json.loads(out.getvalue())
    assert document["status"] == "fail"
    assert [(c["id"], c["causes"]) for c in document["confirmations"] if c["status"] == "fail"] == [
        ("nginx", ["NGX003"])
    ]


@pytest.mark.parametrize(("snapshot", "code"), [(HEALTHY, 0), (but(nginx_test=BROKEN_NGINX), 2)])
def test_the_command_s_exit_code(
    snapshot: Snapshot,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    (tmp_path / "x.toml").write_text('[model]\ndir = "/root/build"\n')
    monkeypatch.setattr(ops.preflight, "collect", lambda *_: snapshot)
    monkeypatch.setattr(sys, "argv", ["gte-ops", "preflight", "--config", str(tmp_path / "x.toml")])
    with pytest.raises(SystemExit) as ended:
        main()
    out = capsys.readouterr().out
    # The environment is not seen on a made host: 3 stands for 'not confirmed' there.
    assert ended.value.code in ((0, 3) if code == 0 else (2,))
    assert ("NGX003" in out) is (code == 2)
