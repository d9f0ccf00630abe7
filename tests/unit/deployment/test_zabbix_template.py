"""The Zabbix template against the structure that Zabbix documents for an export of 6.0 (manual, template export)."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

import yaml

from tests.unit.deployment.test_prometheus_rules import documented_metrics
from tests.unit.test_documents import ROOT

EXPORT = yaml.safe_load((ROOT / "deploy/zabbix/gte-ops.template.yaml").read_text(encoding="utf-8"))[
    "zabbix_export"
]
(TEMPLATE,) = EXPORT["templates"]
# What each element must have, and what else it may have.
ITEM = {"uuid", "name", "type", "key"}
ITEM_MORE = {
    "delay", "history", "trends", "value_type", "units", "url", "timeout", "preprocessing", "master_item", "triggers",
    "trigger_prototypes",
}  # fmt: skip
RULE_MORE = {"delay", "item_prototypes", "master_item", "lld_macro_paths", "preprocessing"}
TRIGGER = {"uuid", "expression", "name", "priority"}
PRIORITIES = {"NOT_CLASSIFIED", "INFO", "WARNING", "AVERAGE", "HIGH", "DISASTER"}
STEPS = {"PROMETHEUS_PATTERN": 3, "PROMETHEUS_TO_JSON": 1}


def items() -> Iterator[dict[str, Any]]:
    yield from TEMPLATE["items"]
    for rule in TEMPLATE["discovery_rules"]:
        yield from rule["item_prototypes"]


def triggers() -> Iterator[dict[str, Any]]:
    for item in items():
        yield from item.get("triggers", item.get("trigger_prototypes", []))


def test_every_element_has_what_it_needs_and_nothing_that_zabbix_does_not_know() -> None:
    assert set(EXPORT) == {"version", "groups", "templates"}
    assert EXPORT["version"] == "6.0"
    assert set(TEMPLATE) == {
        "uuid", "template", "name", "description", "groups", "items", "discovery_rules", "macros",
    }  # fmt: skip
    assert {group["name"] for group in TEMPLATE["groups"]} <= {group["name"] for group in EXPORT["groups"]}
    for item in items():
        assert set(item) >= ITEM
        assert set(item) <= ITEM | ITEM_MORE
        assert item["type"] in ("HTTP_AGENT", "DEPENDENT")
        assert item["value_type"] in ("FLOAT", "TEXT")
    for rule in TEMPLATE["discovery_rules"]:
        assert set(rule) <= ITEM | RULE_MORE
    for trigger in triggers():
        assert set(trigger) == TRIGGER
        assert trigger["priority"] in PRIORITIES
    for macro in TEMPLATE["macros"]:
        assert re.fullmatch(r"\{\$[A-Z0-9_.]+\}", macro["macro"])


def test_what_it_refers_to_is_there() -> None:
    keys = {item["key"] for item in items()}
    assert len(keys) == len(list(items()))
    for element in (*items(), *TEMPLATE["discovery_rules"]):
        assert element["type"] != "DEPENDENT" or element["master_item"]["key"] in keys
    for trigger in triggers():
        named = re.findall(r"/gte-ops/([a-z_.]+(?:\[[^\]]*\])?)", trigger["expression"])
        assert named
        assert set(named) <= keys
    macros = {macro["macro"] for macro in TEMPLATE["macros"]}
    assert set(re.findall(r"\{\$[A-Z.]+\}", yaml.safe_dump(TEMPLATE))) == macros


def test_identifiers_are_of_version_4_and_each_is_its_own() -> None:
    identifiers = re.findall(r"uuid: (\w+)", yaml.safe_dump(EXPORT))
    assert len(set(identifiers)) == len(identifiers)
    assert all(uuid.UUID(one).version == 4 for one in identifiers)


def test_it_reads_only_metrics_that_are_documented() -> None:
    steps = [
        step for one in (*items(), *TEMPLATE["discovery_rules"]) for step in one.get("preprocessing", [])
    ]
    assert len(steps) > 10
    for step in steps:
        assert len(step["parameters"]) == STEPS[step["type"]]
        name = re.match(r"gte_\w+", step["parameters"][0])
        assert name is not None
        assert name[0] in documented_metrics()
