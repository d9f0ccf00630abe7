"""No false alarm on a healthy host, however unusual."""

from __future__ import annotations

import pytest

from service.keys import key_file
from tests.lab.healthy import VARIANTS, Variant
from tests.lab.stack import Stack
from tests.lab.waiting import wait_for


# In CI every tenth variant; the others with scripts/test --long.
@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(variant, id=variant.name, marks=[pytest.mark.long] if number % 10 else [])
        for number, variant in enumerate(VARIANTS)
    ],
)
def test_a_healthy_host_is_green(variant: Variant) -> None:
    with Stack(**variant.stack) as stack:
        variant.arrange(stack)
        wait_for(lambda: variant.serves(stack), "its clients to be served", within=15)
        ran = stack.doctor()
    assert (ran.codes, ran.report.get("symptoms"), ran.exit_code) == ([], [], 0), ran.stderr
    assert ran.report["status"] == "ok"


def test_a_service_that_wants_a_key_is_green() -> None:
    with Stack() as stack:
        keys = stack.directory / "keys.json"
        key, kept = key_file.new_key("somebody")
        key_file.write(keys, [kept])
        stack.set_service_environment(GTE_API_KEYS_FILE=str(keys))
        stack.restart_gunicorn()
        assert stack.predict().status == 401
        assert stack.predict(headers={"Authorization": f"Bearer {key}"}).status == 200
        ran = stack.doctor()
    assert (ran.codes, ran.report.get("symptoms"), ran.exit_code) == ([], [], 0), ran.stderr
    assert ran.report["status"] == "ok"
