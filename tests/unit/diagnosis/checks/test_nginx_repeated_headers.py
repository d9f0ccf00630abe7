"""Headers that must come once."""

from __future__ import annotations

import msgspec
import pytest

from ops.facts.probes import Exchange
from ops.facts.snapshot import Snapshot
from tests.unit.diagnosis.checks.cases import Case, fires, found, hold, quiet
from tests.unit.made_snapshot import AT_BACKEND, HEALTH, SITE, SITE_FILE, but, exchange, nginx_config

ORIGIN = ("Access-Control-Allow-Origin", "*")
ADDING = SITE.replace(
    'proxy_set_header Connection "";',
    'proxy_set_header Connection ""; add_header access-control-allow-origin * always;',
)


def with_header(answer: Exchange, count: int) -> Exchange:
    """``answer`` with the header so often."""
    return msgspec.structs.replace(answer, headers=(*answer.headers, *(ORIGIN,) * count))


def told(whole: int, own: int, site: str = ADDING) -> Snapshot:
    """Users get the header so often, the service sends it so often."""
    return but(
        front__health=with_header(exchange(200, HEALTH), whole),
        backend__health=with_header(exchange(200, HEALTH, **AT_BACKEND), own),
        nginx_config=nginx_config(site),
    )


CASES = [
    fires(
        "NGX047",
        "the service sends it, nginx adds it",
        told(2, 1),
        "Access-Control-Allow-Origin: * | *",
        f"{SITE_FILE}:",
        "add_header access-control-allow-origin * always",
        severity="warn",
        facts={"header": "Access-Control-Allow-Origin", "path": "/health"},
    ),
    quiet("NGX047", "nginx alone sends it", told(1, 0)),
    quiet("NGX047", "the service alone sends it", told(1, 1, SITE)),
    quiet("NGX047", "the service sends it twice by itself", told(2, 2, SITE)),
    quiet("NGX047", "twice, and nginx adds none there", told(2, 1, SITE)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_case(case: Case) -> None:
    hold(case)


def test_the_service_s_own_is_hidden() -> None:
    steps = [str(step) for step in found(told(2, 1))["NGX047"].fix or ()]
    assert "proxy_hide_header Access-Control-Allow-Origin;" in steps[0]
