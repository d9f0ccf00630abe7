"""A host whose programs are imitated, with versions beside one another, and the service that runs there."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from ops.deployment.render import Deployment, RenderedFile
from ops.installation.host import StepError
from ops.installation.plan import InstallFacts, plan
from ops.installation.run import dry_run, install
from ops.installation.steps import Step
from ops.installation.store import LOCK_VARIABLE, InstallStore
from ops.report.installation import InstallationReport
from ops.upgrade.run import Upgrader, UpgradeSource, VersionAnswers
from ops.upgrade.versions import Versions
from tests.unit.installation.made_host import SETTINGS, MadeHost, bare_host

LINK = "opt/gte-api/venv"
FIRST = "1.0"
# What is wrong with a version, by the end of its name.
NO_START, WRONG_ANSWERS, REFUSED_FILES, WRONG_FRONT = "+nostart", "+wrong", "+files", "+front"


def make_environment(directory: Path, version: str) -> None:
    """An environment as pip leaves it: it knows its own place."""
    (directory / "bin").mkdir(parents=True)
    (directory / "bin/gunicorn").write_text(f"#!{directory}/bin/python3\n")
    (directory / "VERSION").write_text(version)


def steps_of(version: str) -> Sequence[Step]:
    """The plan of a version: one of its files differs."""
    settings = RenderedFile(SETTINGS.path, f"{SETTINGS.text}# as {version} writes it\n")
    return plan(Deployment(), InstallFacts(settings=settings, keeps_running=True))


class VersionedHost(MadeHost):
    """With Python environments."""

    def _do(self, command: Sequence[str]) -> None:
        if command[:2] == ("systemctl", "stop") and "gte-api.service" in command:
            for name in ("serving", "successor"):
                self._set(name, set())  # all of the unit's processes end
        super()._do(command)

    def build_environment(self, directory: Path, requirement: str, wheels: Path | None) -> None:  # noqa: ARG002
        self._moment()
        (directory / "bin").mkdir(parents=True)
        self._moment()
        version = requirement.partition("==")[2]
        if version.startswith("missing"):
            raise StepError("pip: no such version")
        (directory / "bin/gunicorn").write_text(f"#!{directory}/bin/python3\n")
        (directory / "VERSION").write_text(version)
        self._moment()

    def version(self, environment: Path) -> str:
        file = environment / "VERSION"
        return file.read_text() if file.exists() else ""

    def versions_of_packages(self, environment: Path) -> dict[str, str]:
        return {"gte-ops": self.version(environment)}

    def resolved(self, environment: Path, requirement: str, wheels: Path | None) -> dict[str, str]:  # noqa: ARG002
        return {"gte-ops": requirement.partition("==")[2]}

    def packages_place(self, environment: Path) -> Path:
        return environment

    def unpack(self, python: Path, requirement: str, wheels: Path | None, directory: Path) -> None:  # noqa: ARG002
        (directory / "VERSION").write_text(requirement.partition("==")[2])

    def planned_install(self, python: Path, packages: Path, settings_file: str) -> str:  # noqa: ARG002
        version = self.version(packages)
        if version.endswith(NO_START):
            raise StepError("ModuleNotFoundError: No module named 'x'")
        result = dry_run(partial(steps_of, version), self, InstallStore(self.root))
        return json.dumps(InstallationReport(result).document("en"))

    def copy_environment(self, source: Path, target: Path) -> None:
        self._moment()
        super().copy_environment(source, target)
        self._moment()

    def exchange(self, path: Path, other: Path) -> None:
        self._moment()
        super().exchange(path, other)
        self._moment()

    def install_files(self, program: Path, settings_file: str, store: InstallStore) -> None:  # noqa: ARG002
        self._moment()
        version = self.version(program.parent.parent)
        os.environ[LOCK_VARIABLE] = str(store.lock)
        try:
            if version.endswith(REFUSED_FILES):
                raise StepError("nginx -t: refuses it")
            install(partial(steps_of, version), self, InstallStore(self.root), overwrite=True)
        finally:
            del os.environ[LOCK_VARIABLE]


class MadeService:
    """A service whose masters are two files: which environment serves, and which is about to."""

    def __init__(self, host: VersionedHost) -> None:
        self.host = host
        self.was_restarted = False
        self.holds = 0

    def _read(self, name: str) -> Path | None:
        return next((Path(line) for line in self.host.get(name)), None)

    def _write(self, name: str, value: Path | None) -> None:
        self.host._moment()
        self.host._set(name, {str(value)} if value else set())
        self.host._moment()

    def environment(self) -> Path | None:
        if not self.host.is_active("gte-api.service"):
            return None
        # systemd starts what the path leads to.
        return self._read("serving") or (self.host.root / LINK).resolve()

    def check_handover(self) -> None:
        """A made host has no systemd."""

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        self.holds += 1
        try:
            yield
        finally:
            self.holds -= 1

    def try_out(self, environment: Path) -> VersionAnswers:
        self.host._moment()
        version = self.host.version(environment)
        if version.endswith(NO_START):
            raise StepError("the new version does not start")
        return VersionAnswers(version, {"label": "bad" if version.endswith(WRONG_ANSWERS) else "good"})

    def hand_over(self, environment: Path) -> None:
        if (self.host.root / LINK).resolve() != environment:
            raise AssertionError("gunicorn becomes what the path leads to")
        assert self.holds, "a watchdog could take two masters for a fault"
        self._write("successor", environment)
        self._write("serving", environment)
        self._write("successor", None)

    def answers(self) -> VersionAnswers:
        environment = self.environment()
        assert environment is not None
        assert (environment / "bin/gunicorn").exists(), "an environment that serves was removed"
        version = self.host.version(environment)
        return VersionAnswers(version, {"label": "bad" if version.endswith(WRONG_FRONT) else "good"})

    def settle(self) -> None:
        self._write("successor", None)

    def restart(self) -> None:
        self.was_restarted = True
        self._write("serving", None)

    def restart_watchdog(self) -> None:
        self._write("watched by", (self.host.root / LINK).resolve())


def host_with_a_version(root: Path) -> VersionedHost:
    """As Debian leaves it, with an environment that was made by hand."""
    bare_host(root)
    make_environment(root / LINK, FIRST)
    return VersionedHost(root)


def upgrader(host: VersionedHost) -> Upgrader:
    """An upgrade there."""
    store = InstallStore(host.root)
    return Upgrader(host, store, Versions(host, store, host.root / LINK), MadeService(host), SETTINGS.path)


def source(version: str) -> UpgradeSource:
    """What to upgrade to."""
    return UpgradeSource(version, f"gte-ops=={version}")
