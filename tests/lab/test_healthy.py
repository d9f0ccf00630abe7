"""No false alarm on a healthy host, however unusual."""

from __future__ import annotations

import pytest

from tests.lab.healthy import VARIANTS, Variant
from tests.lab.stack import Stack


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_a_healthy_host_is_green(variant: Variant) -> None:
    with Stack(**variant.stack) as stack:
        variant.arrange(stack)
        assert stack.predict().status == 200
        ran = stack.doctor()
    assert (ran.codes, ran.report.get("symptoms"), ran.exit_code) == ([], [], 0), ran.stderr
    assert ran.report["status"] == "ok"
