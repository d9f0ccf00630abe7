"""The alert rules as data: labels, both languages, pages that exist, names that cannot be mixed up."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.deployment.render import Deployment, render
from tests.unit.test_documents import ROOT, anchors_of

FOLDER = ROOT / "deploy" / "prometheus"
DOCS_URL = Deployment().docs_url
SCOPES = ("host", "site", "service", "part")
ALERTS: dict[str, Any] = {
    rule["alert"]: rule
    for group in yaml.safe_load((FOLDER / "gte-ops.rules.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}
METRIC_TABLES = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
# What Prometheus appends to a histogram's name.
SUFFIXES = re.compile(r"_(?:bucket|sum|count)$")


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_urgent_it_is_what_is_affected_and_on_which_host(name: str) -> None:
    labels, annotations = ALERTS[name]["labels"], ALERTS[name]["annotations"]
    assert labels["severity"] in ("critical", "warning")
    assert labels["scope"] in SCOPES
    host = "{{ $labels.job }}" if name == "GteNotConfigured" else "{{ $labels.instance }}"
    for text in ("summary", "description"):
        assert annotations[text]
        assert re.search(r"[\u4e00-\u9fff]", annotations[f"{text}_zh"])
    assert host in annotations["summary"]
    assert host in annotations["summary_zh"]


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_leads_to_a_page_that_exists(name: str) -> None:
    url = ALERTS[name]["annotations"]["runbook_url"]
    if "{{" in url:
        url = url.replace("{{ $labels.layer }}", "gunicorn").replace("{{ $labels.code | toLower }}", "gun001")
    assert url.startswith(f"{DOCS_URL}/")
    page, _, anchor = url.removeprefix(f"{DOCS_URL}/").partition("#")
    assert (ROOT / "docs" / page).is_file()
    assert not anchor or anchor in anchors_of(ROOT / "docs" / page)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_the_code_of_its_page_and_the_general_one_gives_way_to_it(name: str) -> None:
    _, _, anchor = ALERTS[name]["annotations"]["runbook_url"].partition("#")
    if name != "GteCause":
        assert ALERTS[name]["labels"].get("code", "") == anchor.upper()
    rules = yaml.safe_load((FOLDER / "gte-ops.alertmanager.yml").read_text(encoding="utf-8"))["inhibit_rules"]
    general = [rule for rule in rules if rule["target_matchers"] == ['alertname="GteCause"']]
    assert [(rule["source_matchers"], rule["equal"]) for rule in general] == [
        (['alertname!="GteCause"'], ["instance", "code"])
    ]


def test_every_alert_is_in_the_tests_beside_the_rules() -> None:
    tests = (FOLDER / "gte-ops.rules.test.yml").read_text(encoding="utf-8")
    assert set(re.findall(r'alertname="(\w+)"', tests)) == set(ALERTS)


def test_the_pages_are_where_the_operator_has_them() -> None:
    files = render("prometheus", Deployment(docs_url="https://wiki.example.org/ops"))
    rules = next(file.text for file in files if file.path.endswith("gte-ops.rules.yml"))
    assert "https://wiki.example.org/ops/causes/gunicorn.md#gun001" in rules
    assert DOCS_URL not in rules


def documented_metrics() -> list[str]:
    return sorted(set(re.findall(r"`(gte_\w+)`", METRIC_TABLES)))


def test_a_rule_names_only_metrics_that_are_documented() -> None:
    expressions = " ".join(re.sub(r'"[^"]*"', "", rule["expr"]) for rule in ALERTS.values())
    used = {SUFFIXES.sub("", name) for name in re.findall(r"\bgte_\w+", expressions)}
    assert used <= set(documented_metrics())


def letters_apart(one: str, other: str) -> int:
    """Levenshtein's distance."""
    row = list(range(len(other) + 1))
    for number, letter in enumerate(one, 1):
        before, row[0] = row[0], number
        for column, against in enumerate(other, 1):
            before, row[column] = (
                row[column],
                min(row[column] + 1, row[column - 1] + 1, before + (letter != against)),
            )
    return row[-1]


def test_no_two_metrics_have_names_that_are_a_letter_apart() -> None:
    names = documented_metrics()
    assert len(names) > 40
    close = [pair for pair in itertools.combinations(names, 2) if letters_apart(*pair) < 3]
    assert close == []


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_a_file_for_prometheus_is_yaml(path: Path) -> None:
    assert yaml.safe_load(path.read_text(encoding="utf-8"))
