"""The scenarios of change: the guilty change belongs to the proof, and of five later innocent ones none does."""

from __future__ import annotations

import pytest

from tests.lab.change_scenarios import Scenario, run_scenario
from tests.lab.further_scenarios import SCENARIOS

IN_CI = "upgrade_reads_the_same_file_otherwise"


def _each(chosen: Scenario) -> object:
    marks = () if chosen.name == IN_CI else (pytest.mark.long,)
    return pytest.param(chosen, id=f"{chosen.code}-{chosen.name}", marks=marks)


@pytest.mark.parametrize("chosen", [_each(chosen) for chosen in SCENARIOS])
def test_the_guilty_change_is_named_and_the_innocent_are_not(chosen: Scenario) -> None:
    result = run_scenario(chosen)
    assert result.is_right, result


def test_there_are_thirty_scenarios_and_each_has_a_name_of_its_own() -> None:
    names = {chosen.name for chosen in SCENARIOS}
    assert len(SCENARIOS) == len(names) >= 30
