"""Where each of gunicorn's settings is made, as the fixes tell it."""

from __future__ import annotations

import msgspec
import pytest

from ops.diagnosis.catalogue import catalogue
from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import diagnose, host_values
from ops.diagnosis.gunicorn_places import with_places
from ops.facts.base import NotSeen
from ops.facts.host import Process
from ops.facts.snapshot import Snapshot
from ops.facts.units import UnitEnvironmentFile
from ops.text.language import Text
from tests.unit.made_snapshot import (
    GUNICORN_CONF,
    GUNICORN_MASTER,
    GUNICORN_PROCESSES,
    NGINX_PROCESSES,
    but,
    gunicorn_config,
    processes,
    unit,
    units,
)

FILE = UnitEnvironmentFile(path="/etc/default/gte-api")


def started(*words: str, variables: str = "", files: tuple[UnitEnvironmentFile, ...] = (FILE,)) -> Snapshot:
    """The master runs with these words and GUNICORN_CMD_ARGS, in a unit with a file of variables."""

    def changed(one: Process) -> Process:
        if one.pid != GUNICORN_MASTER:
            return one
        command = ("/opt/venv/bin/gunicorn", *words, "app:app")
        return msgspec.structs.replace(
            one, command=command, environment={"GUNICORN_CMD_ARGS": variables} if variables else {}
        )

    return but(
        processes=processes(NGINX_PROCESSES, tuple(map(changed, GUNICORN_PROCESSES))),
        gunicorn__config=gunicorn_config(workers=2),
        units=units(unit(file="/etc/systemd/system/gte-api.service", environment_files=files)),
    )


def without_a_file(snapshot: Snapshot) -> Snapshot:
    """gunicorn has no configuration file."""
    return but(snapshot, target__gunicorn_config_file=None, gunicorn__config=NotSeen(reason="-"))


@pytest.mark.parametrize(
    ("snapshot", "name", "place"),
    [
        (started(), "workers", f"{GUNICORN_CONF}:1"),
        (started(), "timeout", GUNICORN_CONF),
        (without_a_file(started()), "timeout", "gte-api.service: ExecStart= ... --timeout"),
        (without_a_file(but(started(), units=NotSeen(reason="-"))), "timeout", "gunicorn ... --timeout"),
        (started("--timeout", "60"), "timeout", "gte-api.service: ExecStart= ... --timeout"),
        (started("-w", "4"), "workers", "gte-api.service: ExecStart= ... --workers"),
        (started(variables="--timeout 60"), "timeout", f"{FILE.path}: GUNICORN_CMD_ARGS=--timeout"),
        (
            started(variables="--timeout 60", files=()),
            "timeout",
            "gte-api.service: Environment=GUNICORN_CMD_ARGS=--timeout",
        ),
        (started("-c", "python:shop.conf"), "timeout", "python:shop.conf"),
        (started("-c", "python:shop.conf", "--reload"), "reload", "gte-api.service: ExecStart= ... --reload"),
        (started("-c", "python:service.gunicorn_conf"), "timeout", f"{FILE.path}: GTE_TIMEOUT="),
        (
            started("-c", "python:service.gunicorn_conf"),
            "preload_app",
            f"{FILE.path}: GUNICORN_CMD_ARGS=--preload",
        ),
    ],
)
def test_a_setting_is_told_for_the_place_that_is_in_use(snapshot: Snapshot, name: str, place: str) -> None:
    assert host_values(snapshot)[f"{name}_place"] == place


def test_both_languages_name_the_place() -> None:
    values = host_values(started("--timeout", "60"))
    step = catalogue().entry("GUN004").fix_with(values)[1]
    assert "raise timeout (gte-api.service: ExecStart= ... --timeout)" in step.en
    assert "timeout（gte-api.service: ExecStart= ... --timeout）" in step.zh


def test_a_judge_s_own_sentence_names_it_too_and_no_other_brace_is_touched() -> None:
    sentence = Text(en="Set bind ({bind_place}) {name}", zh="把 bind（{bind_place}）{name}")
    assert with_places(sentence, {"bind_place": "/f:1", "name": "x"}).en == "Set bind (/f:1) {name}"
    assert with_places(sentence, {}).zh == "把 bind（gunicorn 的配置）{name}"


@pytest.mark.parametrize(
    ("snapshot", "verify"),
    [
        (started("-c", "python:shop.conf", "--reload"), f"ps -o args= -p {GUNICORN_MASTER}"),
        (
            started("-c", "python:shop.conf", variables="--reload"),
            f"tr '\\0' '\\n' </proc/{GUNICORN_MASTER}/environ | grep '^GUNICORN_CMD_ARGS='",
        ),
    ],
)
def test_what_shows_a_setting_shows_it_where_it_is(snapshot: Snapshot, verify: str) -> None:
    (cause,) = [one for one in diagnose(snapshot, CHECKS).causes if one.code == "GUN009"]
    assert cause.verify.en == verify
