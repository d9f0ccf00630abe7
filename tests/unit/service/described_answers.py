"""Whatever schemathesis makes of the API's description is answered as it says; run by test_openapi.py.

More of it: ``GTE_SCHEMATHESIS_EXAMPLES=1000 pytest tests/unit/service/described_answers.py``.
"""

import os
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, seed, settings

from tests.unit.service.test_openapi import application

EXAMPLES = int(os.environ.get("GTE_SCHEMATHESIS_EXAMPLES", "40"))

schema = schemathesis.openapi.from_wsgi("/openapi.json", application())


@schema.parametrize()
@seed(20261123)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
def test_every_answer_is_as_described(case: schemathesis.Case[Any]) -> None:
    # A 503 for a task that has no model is described, and no fault; a 500 never is.
    response = case.call_and_validate(excluded_checks=[schemathesis.checks.not_a_server_error])
    assert response.status_code < 500 or response.json()["code"] == "model_unavailable"
