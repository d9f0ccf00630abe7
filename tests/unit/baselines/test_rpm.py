"""The host's packages by a real database of rpm."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from ops.baselines import authors, keep
from ops.baselines.authors import with_authors
from ops.baselines.rpm import database_files, parse_packages, rpm_packages
from ops.baselines.state import Baseline
from ops.facts.changes import Change, ChangeKind, PlaceKind


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """An empty database."""
    directory = tmp_path / "rpmdb"
    directory.mkdir()
    subprocess.run(["rpm", "--dbpath", directory, "--initdb"], check=True, timeout=30)
    return directory


def install(database: Path, name: str, version: str) -> None:
    """Builds a package without files, and enters it into the database."""
    top = database.parent / "build"
    top.mkdir(exist_ok=True)
    specification = top / f"{name}.spec"
    specification.write_text(
        f"Name: {name}\nVersion: {version}\nRelease: 1\nSummary: x\nLicense: MIT\nBuildArch: noarch\n"
        "%description\nx\n%files\n"
    )
    build = ["rpmbuild", "-bb", "--quiet", "--define", f"_topdir {top}", str(specification)]
    subprocess.run(build, check=True, timeout=60, capture_output=True)
    (package,) = top.glob(f"RPMS/noarch/{name}-{version}-*.rpm")
    command = ["rpm", "--dbpath", str(database), "-U", "--nodeps", "--justdb", str(package)]
    subprocess.run(command, check=True, timeout=60, capture_output=True)


def test_versions_and_times_of_the_packages_that_the_service_depends_on(database: Path) -> None:
    began = int(time.time())
    install(database, "nginx", "1.24.0")
    install(database, "cowsay", "3.04")
    packages = rpm_packages([str(database)])
    assert {name: package.version for name, package in packages.items()} == {"nginx": "1.24.0-1"}
    assert began <= packages["nginx"].installed_at <= time.time()


def test_a_query_leaves_the_databases_times_and_an_upgrade_does_not(database: Path) -> None:
    install(database, "nginx", "1.24.0")

    def times() -> list[int]:
        return [Path(path).stat().st_mtime_ns for path in database_files([str(database)])]

    before = times()
    rpm_packages([str(database)])
    assert times() == before
    install(database, "nginx", "1.26.1")
    assert times() != before
    assert rpm_packages([str(database)])["nginx"].version == "1.26.1-1"


def test_no_database_is_no_package(tmp_path: Path) -> None:
    assert database_files([str(tmp_path)]) == ()
    assert rpm_packages([str(tmp_path)]) == {}


def test_of_a_name_that_is_installed_twice_the_last_counts_and_other_lines_are_ignored() -> None:
    printed = (
        "glibc\t2.34-60.el9\t100\nglibc\t2.34-83.el9\t200\nglibc\t2.34-60.el9\t150\n"
        "python3.11-devel\t3.11.7-1\t5\npackage nginx is not installed\nnginx\tx y\t7\n"
    )
    assert {name: package.version for name, package in parse_packages(printed).items()} == {
        "glibc": "2.34-83.el9"
    }


def test_the_time_of_an_upgrade_comes_from_the_database(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(database, "nginx", "1.26.1")
    monkeypatch.setattr(authors, "rpm_packages", lambda: rpm_packages([str(database)]))
    monkeypatch.setattr(authors, "DPKG_LOG", str(database / "none"))
    monkeypatch.setattr(authors, "sudo_commands", lambda _since: [])
    upgraded = Change(
        place=PlaceKind.HOST_PACKAGE, what="nginx", kind=ChangeKind.VALUE, before="1.24.0-1", after="1.26.1-1"
    )
    (change,) = with_authors([upgraded], None, None, [])
    assert change.time is not None
    assert abs(change.time - time.time()) < 60


def test_an_unchanged_database_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def packages(*_: object) -> dict[str, object]:
        calls.append("rpm")
        return {}

    monkeypatch.setattr(keep, "rpm_packages", packages)
    path = "/var/lib/rpm/rpmdb.sqlite"
    known: Mapping[PlaceKind, dict[str, str]] = {PlaceKind.HOST_PACKAGE: {"nginx": "1", "nginx -v": "1"}}
    before = Baseline(
        made_by="x",
        taken_at=0.0,
        looked_at=0.0,
        by="accept",
        files={},
        values=dict(known),
        directories={path: 5},
    )
    assert keep._host_packages(before, {path: 5}, [path]) == {"nginx": "1"}
    assert calls == []
    keep._host_packages(before, {path: 6}, [path])
    assert calls == ["rpm"]
