"""A trial beside the running service touches nothing of that service's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest

from ops.control.trial import trial_variables
from service.settings import PREFIX, ServerSettings, Settings, Variable, read_server_settings, read_settings

# What the service reads there; with GTE_MODEL_DOWNLOAD=1 the running service has filled them already.
READ_ONLY = {"GTE_MODEL_DIR", "GTE_UNINLU_DIR", "GTE_API_KEYS_FILE"}


def variables_that_name_a_place() -> Mapping[str, str]:
    """Each setting of the service whose example is a path or an address to listen at, with the example."""
    examples = {
        PREFIX + field.name.upper(): variable.example
        for kind in (Settings, ServerSettings)
        for field, variable in (
            (field, item)
            for field in fields(kind)
            for item in getattr(kind.__annotations__[field.name], "__metadata__", ())
            if isinstance(item, Variable)
        )
    }
    return {name: example for name, example in examples.items() if example.startswith(("/", "unix:/"))}


def test_the_settings_that_name_a_place_are_known() -> None:
    assert {"GTE_BIND", "GTE_CONTROL_SOCKET", "GTE_PIDFILE", "GTE_METRICS_DIR"} < set(
        variables_that_name_a_place()
    )


@pytest.mark.parametrize("name", sorted(set(variables_that_name_a_place()) - READ_ONLY))
def test_each_place_that_the_service_writes_to_is_the_trial_s_own(name: str, tmp_path: Path) -> None:
    place = variables_that_name_a_place()[name]
    trial = trial_variables({name.encode(): place.encode()}, tmp_path)
    value = trial[name.encode()].decode()
    assert value in ("-", "off") or value.removeprefix("unix:").startswith(f"{tmp_path}/")


def test_a_trial_of_a_service_with_a_control_socket_opens_none(tmp_path: Path) -> None:
    running = {
        b"GTE_CONTROL_SOCKET": b"/run/gte-api/control.sock",
        b"PROMETHEUS_MULTIPROC_DIR": b"/run/metrics",
    }
    environ = {k.decode(): v.decode() for k, v in trial_variables(running, tmp_path).items()}
    server = read_server_settings(environ)
    assert server.control_socket is None
    assert server.metrics_dir == f"{tmp_path}/metrics"
    assert "PROMETHEUS_MULTIPROC_DIR" not in environ
    assert read_settings(environ).progress_dir == tmp_path / "progress"
