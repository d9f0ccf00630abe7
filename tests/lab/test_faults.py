"""Each fault, really caused: a client meets it, and the doctor names its cause first and no unproven one beside it."""

from __future__ import annotations

import pytest

from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import diagnose
from tests.hosts.faults import FAULTS
from tests.lab.faults import CASES
from tests.lab.faults.case import Case, NotHereError
from tests.lab.recorded import RECORDED, recorded
from tests.lab.trial import tried

_FIRST = {case.code: case for case in reversed(CASES)}
# In CI every tenth code; each of them has cases of its judge among the unit tests.
_IN_CI = sorted(_FIRST)[::10]
# Of those that could be taken for two causes, a sample: the others with scripts/test --long.
_SAMPLE = (
    "gunicorn_is_down_behind_a_wrong_port",
    "health_fails_because_the_model_did_not_load",
    "nginx_is_stopped",  # its own `nginx -t` must not answer the doctor's probes
)


def _each(case: Case) -> object:
    """One case of every tenth code in CI; the others with scripts/test --long."""
    first = case.code in _IN_CI and _FIRST[case.code] is case
    marks = () if first or case.name in _SAMPLE else (pytest.mark.long,)
    return pytest.param(case, id=f"{case.code}-{case.name}", marks=marks)


@pytest.mark.parametrize("case", map(_each, CASES))
def test_the_first_cause_is_the_fault(case: Case) -> None:
    if reason := case.impossible():
        pytest.skip(reason)
    try:
        ran = tried(case)
    except NotHereError as reason:
        pytest.skip(str(reason))
    told = f"{ran.codes} {ran.report.get('symptoms')} {ran.stderr}"
    assert ran.first == case.first, told
    assert set(ran.codes) == {case.code} | case.beside, told
    cause = next(cause for cause in ran.report["causes"] if cause["code"] == case.code)
    assert cause["severity"] == case.severity, told
    assert case.explains <= set(cause["explains"]), cause["explains"]
    assert cause["evidence"]
    assert cause["verify"]
    assert cause["fix"]
    words = "\n".join((cause["summary"], *cause["fix"]))
    assert not [wanted for wanted in case.says if wanted not in words], words
    assert ran.exit_code == {"warn": 1, "fail": 2}[ran.report["status"]]
    unexplained = [symptom["id"] for symptom in ran.report["symptoms"] if not symptom["explained_by"]]
    assert not unexplained, told


@pytest.mark.parametrize("code", RECORDED)
def test_what_was_recorded_elsewhere_is_the_first_cause(code: str) -> None:
    assert [cause.code for cause in diagnose(recorded(code), CHECKS).causes] == [code]


def test_every_cause_a_check_can_name_has_a_case() -> None:
    nameable = {code for check in CHECKS for code in check.codes}
    on_hosts = {fault.code for fault in FAULTS}
    assert nameable == {case.code for case in CASES} | set(RECORDED) | on_hosts
    assert not {case.code for case in CASES} & set(RECORDED), "what can be caused is caused, not recorded"
