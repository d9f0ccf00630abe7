"""The Ansible collection as data: every variable is described, no secret is logged."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
COLLECTION = ROOT / "deploy" / "ansible"
ROLES = sorted(path.name for path in (COLLECTION / "roles").iterdir())


def read(*parts: str) -> Any:
    return yaml.safe_load(COLLECTION.joinpath(*parts).read_text(encoding="utf-8"))


def test_the_collection_has_the_version_of_gte_ops() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert read("galaxy.yml")["version"] == project["version"]


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_of_a_role_is_described_with_its_default(role: str) -> None:
    described: dict[str, Any] = {}
    for entry in read("roles", role, "meta", "argument_specs.yml")["argument_specs"].values():
        described |= entry["options"]
    for name, value in read("roles", role, "defaults", "main.yml").items():
        assert described[name]["description"]
        if "{{" not in str(value):
            assert described[name]["default"] == value


@pytest.mark.parametrize("role", ROLES)
def test_every_entry_that_is_described_has_its_tasks(role: str) -> None:
    for entry in read("roles", role, "meta", "argument_specs.yml")["argument_specs"]:
        assert (COLLECTION / "roles" / role / "tasks" / f"{entry}.yml").is_file()


def test_what_writes_settings_or_variables_logs_nothing_and_nobody_else_may_read_it() -> None:
    writing = [
        task
        for role in ROLES
        for task in read("roles", role, "tasks", "main.yml")
        if {"ansible.builtin.template", "ansible.builtin.copy"} & set(task)
    ]
    assert len(writing) == 2
    for task in writing:
        module = task.get("ansible.builtin.template") or task["ansible.builtin.copy"]
        assert (task["no_log"], task["diff"], module["mode"]) == (True, False, "0600")
