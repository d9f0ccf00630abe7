"""Two independent faults: both named, nothing else, and the one that hurts users first."""

from __future__ import annotations

import pytest

from tests.lab.faults.case import Case
from tests.lab.faults.double import PAIRS
from tests.lab.trial import tried

# Every third in CI; the whole with scripts/test --long.
SAMPLE = PAIRS[::3]


def both_are_named(pair: tuple[Case, Case]) -> None:
    ran = tried(*pair)
    told = f"{ran.codes} {ran.report.get('symptoms')} {ran.stderr}"
    expected = {case.code for case in pair} | {code for case in pair for code in case.beside}
    assert set(ran.codes) == expected, told
    severities = [cause["severity"] for cause in ran.report["causes"]]
    assert severities == sorted(severities), f"what hurts users stands first: {told}"
    assert not [symptom for symptom in ran.report["symptoms"] if not symptom["explained_by"]], told


def names(pair: tuple[Case, Case]) -> str:
    return "+".join(case.name for case in pair)


@pytest.mark.parametrize("pair", SAMPLE, ids=names)
def test_both_are_named(pair: tuple[Case, Case]) -> None:
    both_are_named(pair)


@pytest.mark.long
@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair not in SAMPLE], ids=names)
def test_both_are_named_in_the_rest(pair: tuple[Case, Case]) -> None:
    both_are_named(pair)
