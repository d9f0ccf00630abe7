"""The dashboard against Grafana's own generated types (grafana-foundation-sdk), and its queries as data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.unit.deployment.test_prometheus_rules import SUFFIXES, documented_metrics
from tests.unit.test_documents import ROOT

FOLDER = ROOT / "deploy" / "grafana"
DASHBOARD = json.loads((FOLDER / "gte-ops.dashboard.json").read_text(encoding="utf-8"))
# Fields of the Prometheus data source's annotations, and two that Grafana writes itself: not in the types.
OF_A_DATA_SOURCE = re.compile(r"\.annotations\.list\[\d+\]\.|\.templating\.list\[\d+\]\.definition$")
QUESTIONS = ("Is it up?", "Who is affected?", "Since when?", "What changed?", "What runs out?")


def lost(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Paths of what the types do not know, and so dropped or changed."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in before:
            if name in after:
                yield from lost(before[name], after[name], f"{path}.{name}")
            else:
                yield f"{path}.{name}"
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from lost(one, other, f"{path}[{number}]")
    elif before != after:
        yield path


def test_grafanas_own_types_know_every_field_of_the_dashboard() -> None:
    plugins.register_default_plugins()
    known = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(DASHBOARD)))
    assert [path for path in lost(DASHBOARD, known) if not OF_A_DATA_SOURCE.match(path)] == []


def test_one_screen_answers_the_five_questions() -> None:
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert [title.split("? ")[0] + "?" for title in rows] == list(QUESTIONS)
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    assert max(place["y"] + place["h"] for place in places) <= 40
    cells = [
        (x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])
    ]
    assert len(cells) == len(set(cells)), "two panels overlap"
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)


def queries() -> list[str]:
    """Every PromQL expression of the dashboard."""
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    return panels + annotation_queries()


def annotation_queries() -> list[str]:
    """The expressions that mark what changed."""
    return [one["expr"] for one in DASHBOARD["annotations"]["list"] if "expr" in one]


@pytest.mark.parametrize("query", queries())
def test_a_query_asks_for_documented_metrics_of_the_chosen_hosts(query: str) -> None:
    names = {SUFFIXES.sub("", name) for name in re.findall(r"\bgte_\w+", re.sub(r'"[^"]*"', "", query))}
    assert names <= set(documented_metrics())
    assert "$instance" in query or "ALERTS" in query


@pytest.mark.parametrize("path", sorted(FOLDER.glob("provisioning/*.yml")), ids=lambda path: path.name)
def test_a_provisioning_file_is_of_version_1(path: Any) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert content["apiVersion"] == 1
    assert content.get("providers") or content.get("datasources")
