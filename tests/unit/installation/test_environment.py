"""The Python environment of an installation, made by pip from a directory of wheels; and the throwaway certificate."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ops.errors import OpsError
from ops.installation.host import HostTree
from ops.installation.run import install, uninstall
from ops.installation.steps import EnvironmentStep, StepState
from ops.installation.store import InstallStore
from ops.installation.throwaway import throwaway_pair
from tests.lab.waiting import wait_for


def wheel(directory: Path, name: str, version: str, requires: str = "") -> None:
    """Write a wheel without a module (PEP 427)."""
    about = f"{name}-{version}.dist-info"
    needed = f"Requires-Dist: {requires}\n" if requires else ""
    with zipfile.ZipFile(directory / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(
            f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}"
        )
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")


class RunningHost(HostTree):
    """A tree that counts as the running host: only there is an environment made."""

    @property
    def is_running(self) -> bool:
        return True

    @property
    def has_systemd(self) -> bool:
        return False


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="a directory below /tmp is root's own only for root")
def test_an_environment_is_made_from_wheels_alone_and_removed_again(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel(wheels, "served", "1.0", "packaging")
    steps = (
        EnvironmentStep(directory=str(tmp_path / "opt/venv"), requirement="served==1.0", wheels=str(wheels)),
    )
    host, store = RunningHost(tmp_path), InstallStore(tmp_path)
    with pytest.raises(OpsError, match="everything is as it was"):
        install(lambda: steps, host, store)  # a wheel that it requires is missing
    assert not (tmp_path / "opt").exists()
    wheel(wheels, "packaging", "99.0")
    (result,) = install(lambda: steps, host, store).assessed
    assert result.state is StepState.DUE
    assert set(host.packages(steps[0].python)) >= {"served", "packaging"}
    uninstall(host, store, purge=False)
    assert not (tmp_path / "opt").exists()


def test_a_throwaway_pair_belongs_together_and_is_the_authoritys() -> None:
    pair = throwaway_pair("gte.example.org")
    leaf, above = x509.load_pem_x509_certificates(pair.chain.encode())
    (authority,) = x509.load_pem_x509_certificates(pair.authority.encode())
    assert above == authority
    leaf.verify_directly_issued_by(authority)
    key = load_pem_private_key(pair.key.encode(), None)
    assert key.public_key() == leaf.public_key()
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["gte.example.org"]


def test_a_program_that_takes_too_long_ends_with_what_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(OpsError, match="timed out"):
        HostTree().run("sh", "-c", f"sleep 60 & echo $! >{pid}; wait", seconds=1.0)
    child = Path("/proc", pid.read_text().strip(), "stat")

    def has_ended() -> bool:
        return not child.exists() or child.read_text().rpartition(")")[2].split()[0] in "ZX"

    wait_for(has_ended, "the program's own child to end", within=10)
