"""Faults from public reports: a client meets each, the doctor explains it, and finds nothing once it is repaired."""

from __future__ import annotations

import time

import pytest

from tests.lab.reported import REPORTED
from tests.lab.reported.case import Kind, Reported, Verdict, verdict
from tests.lab.stack import Stack
from tests.lab.test_looking_changes_nothing import Facts, changes, tree
from tests.lab.waiting import wait_for

# In CI: one of each kind, and a few more; the others with scripts/test --long.
_SAMPLE = (
    "database_belongs_to_another_user",
    "variable_needs_a_resolver",
)

# What the doctor is known to answer wrongly, and how; docs/accuracy.md has it too. A mend takes its line out.
_KNOWN_WRONG = {
    # nginx says at level info alone that it refused a version, and no access log has the attempt.
    "partner_s_program_speaks_an_older_tls": "nothing wrong",
}


def _each(reported: Reported) -> object:
    first = next(other for other in REPORTED if other.kind is reported.kind)
    sample = reported is first or reported.name in _SAMPLE
    marks = [] if sample else [pytest.mark.long]
    if known := _KNOWN_WRONG.get(reported.name):
        marks.append(pytest.mark.xfail(strict=True, reason=known))
    return pytest.param(reported, id=reported.name, marks=marks)


def _tree(stack: Stack, reported: Reported) -> Facts:
    """The host's files without those that its programs write anew all the time."""
    return {path: facts for path, facts in tree(stack).items() if path not in reported.rewritten}


def _settled(stack: Stack, reported: Reported) -> Facts:
    """The host's files once it leaves them alone by itself: a gunicorn that cannot start still makes its logs and
    removes its pidfile when its clients fail already."""
    before: Facts = {}

    def stays() -> bool:
        nonlocal before
        before, earlier = _tree(stack, reported), before
        return before == earlier

    wait_for(stays, "the host to leave its files alone", every=0.7)
    return before


def _serves(stack: Stack, reported: Reported) -> bool:
    """Whether the fault is gone, and the service is there again: while it starts, the fault cannot be met either."""
    # A repair may have moved the service's socket; and some applications raise for a path that they do not have.
    is_up = (
        stack.request(path="/health", door="backend").status is not None
        or stack.request(path="/health").status == 200
    )
    return is_up and not reported.sees(stack)


@pytest.mark.parametrize("reported", map(_each, REPORTED))
def test_a_reported_fault_is_explained_and_a_repaired_host_is_green(reported: Reported) -> None:
    if reason := reported.impossible():
        pytest.skip(reason)
    with Stack(**reported.stack) as stack:
        reported.inject(stack)
        wait_for(lambda: reported.sees(stack), f"a client to meet {reported.name}", within=15, every=0.05)
        before = _settled(stack, reported)
        ran = stack.doctor()
        assert changes(before, _tree(stack, reported)) == {}
        told = f"{ran.codes} {ran.report.get('symptoms')} {ran.report.get('causes')} {ran.stderr}"
        assert verdict(reported, ran) is Verdict.RIGHT, told
        if reported.kind is Kind.HEALTHY:
            return
        # Logs have whole seconds: a failure in the second of the repair may be of either side.
        last_failure = int(time.time())
        wait_for(lambda: time.time() >= last_failure + 1, "the second of the last failure to end", every=0.05)
        reported.repair(stack)
        wait_for(lambda: _serves(stack, reported), "the repaired host to serve", within=15, every=0.05)
        assert all(_serves(stack, reported) for _ in range(3)), "the users go on, and are served"
        again = stack.doctor()
        assert again.exit_code == 0, f"{again.codes} {again.report.get('causes')}"


def test_every_kind_has_three_reports_of_its_own() -> None:
    for kind in Kind:
        assert len([reported for reported in REPORTED if reported.kind is kind]) >= 3, kind
