"""Healthy applications of other frameworks and workers: the doctor finds nothing to blame."""

from __future__ import annotations

import pytest

from tests.lab.applications import APPLICATIONS, Application, write_minimal_config


@pytest.mark.parametrize("application", APPLICATIONS, ids=lambda application: application.name)
def test_the_doctor_blames_nothing(application: Application) -> None:
    with application.stack() as stack:
        write_minimal_config(stack, application)
        ran = stack.doctor()
        assert ran.codes == [], ran.stdout
        assert ran.report["symptoms"] == []
        assert ran.exit_code == 0, ran.stdout
