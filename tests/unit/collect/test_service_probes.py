"""What exchanges with the service tell, and when they tell nothing."""

import time

import pytest

from ops.collect.net.connection import Deadline
from ops.collect.net.service_probes import LEAST_WAIT, _seen
from ops.facts.base import NotSeen
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Exchange


def unanswered(elapsed: float, failure: ProbeFailure = ProbeFailure.TIMEOUT) -> Exchange:
    return Exchange(
        method="POST",
        url="https://gte.example/predict",
        address="127.0.0.1:443",
        failure=failure,
        elapsed=elapsed,
    )


def test_who_was_not_given_the_time_to_answer_has_not_failed_to() -> None:
    """On a host whose processors are all busy the run's time may be over before the last request is sent."""
    outcome = _seen(unanswered(0.05), Deadline(time.monotonic()))
    assert isinstance(outcome, NotSeen)
    assert "POST https://gte.example/predict" in outcome.reason


@pytest.mark.parametrize(
    ("elapsed", "failure"),
    [
        (LEAST_WAIT, ProbeFailure.TIMEOUT),
        (8.0, ProbeFailure.TIMEOUT),
        (0.01, ProbeFailure.REFUSED),
        (0.01, ProbeFailure.CLOSED),
    ],
)
def test_what_was_waited_for_or_failed_by_itself_counts(elapsed: float, failure: ProbeFailure) -> None:
    exchange = unanswered(elapsed, failure)
    assert _seen(exchange, Deadline(time.monotonic())) is exchange


def test_a_wait_that_was_ended_early_for_a_reason_counts() -> None:
    patience = Deadline(time.monotonic() + 60)
    patience.cut("every worker is stopped")
    exchange = unanswered(0.05)
    assert _seen(exchange, patience) is exchange
