"""Fixtures: the files that lie over the image's, a host that serves, and one as Debian leaves it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.emulated import emulated
from tests.hosts.layer import PYTHONS, make_environment, make_layer
from tests.hosts.machine import Machine, clear_up


@pytest.fixture(scope="session")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    clear_up()
    directory = tmp_path_factory.mktemp("host-layer")
    yield make_layer(directory)
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def suite() -> str:
    """Debian's release on the hosts of a module; those that are tried on several have it as a parameter."""
    return "bookworm"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, suite: str) -> Iterator[Path]:
    """gte-ops in its own Python environment, which hosts have at /opt/gte-api/venv."""
    directory = tmp_path_factory.mktemp("host-environment")
    yield make_environment(directory, PYTHONS[suite])
    shutil.rmtree(directory)


@pytest.fixture
def machine(layer: Path) -> Iterator[Machine]:
    """A fresh host with the service, ready behind nginx."""
    with Machine(layer) as host:
        host.wait_until_serving()
        yield host


@pytest.fixture
def bare() -> Iterator[Machine]:
    """A fresh host without anything of this project."""
    with Machine() as host:
        yield host


@pytest.fixture(scope="session")
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The one virtual machine of a run, with the service: whoever changes it, undoes that."""
    with emulated(tmp_path_factory.mktemp("vm-environment")) as host:
        yield host
