"""Upgrade: build, try out, switch, verify, and take back what does not serve."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from msgspec.structs import replace

from ops.errors import OpsError
from ops.files.signals import end_if_asked, undisturbed
from ops.installation.host import HostTree, StepError
from ops.installation.plan import WATCHDOG
from ops.installation.run import recover as recover_installation
from ops.installation.store import InstallStore, Stage, UpgradeRun
from ops.text.language import Text
from ops.text.reasons import system_error
from ops.upgrade.planned_files import PlannedFiles, planned_files
from ops.upgrade.versions import Versions, is_same_version, satisfies

# Floats of one model on one machine differ in their last digits, with the number of threads for example.
TOLERANCE = 1e-3


class UpgradeError(OpsError):
    """The service is what it was before; the message says why."""

    exit_code = 2


class RunAgainError(OpsError):
    """An upgrade was undone whose version runs this command: what imports from there must end before it is removed.

    ``program``: the present version's."""

    exit_code = 2

    def __init__(self, program: Path) -> None:
        super().__init__(
            Text(
                en=f"an upgrade that had been cut off was undone; run it again: {program}",
                zh=f"之前中断的升级已撤销；请再次运行：{program}",
            )
        )
        self.program = program


@dataclass(frozen=True)
class VersionAnswers:
    """What a client is told: the version that answers, and the result of the test prediction."""

    version: str
    prediction: Any


class UpgradedService(Protocol):
    """The running service, as an upgrade needs it."""

    def environment(self) -> Path | None:
        """The environment that the serving master runs in; None if the service does not run."""

    def check_handover(self) -> None:
        """Raise OpsError if the host would lose the service when the running master hands over."""

    def hold(self) -> AbstractContextManager[None]:
        """Keep the watchdog from acting meanwhile; may be entered again. Raises OpsError if it could act."""

    def try_out(self, environment: Path) -> VersionAnswers:
        """Start this version where nobody sends requests, and ask it. Raises OpsError."""

    def hand_over(self, environment: Path) -> None:
        """Have the running master hand over to one that runs in this environment, which the link leads to. Raises
        OpsError: the old one serves on."""

    def answers(self) -> VersionAnswers:
        """Ask as a client does, through nginx. Raises OpsError."""

    def settle(self) -> None:
        """Of a handover that was cut off leave one master."""

    def restart(self) -> None:
        """Restart the service: what cannot hand over. Requests are lost. Raises OpsError."""

    def restart_watchdog(self) -> None:
        """Have the watchdog run in the present version. Raises OpsError."""


@dataclass(frozen=True)
class UpgradeSource:
    """What to upgrade to. ``requirement``: for pip; ``wheels``: a directory in place of an index."""

    version: str
    requirement: str
    wheels: Path | None = None


@dataclass(frozen=True)
class UpgradeOptions:
    """``keep``: how many former versions stay; ``accepts_answers``: another result of the test prediction is no
    failure; ``is_forced``: also to the version that is present."""

    keep: int = 2
    accepts_answers: bool = False
    is_forced: bool = False


@dataclass(frozen=True)
class UpgradeResult:
    """What an upgrade did, or would do. ``packages``: each that differs, with both versions, None for missing;
    ``removed``: versions that were pruned; ``recovered``: what became of an upgrade that was cut off; ``restart_due``:
    the service's unit differs, which takes effect at its next restart; ``files``: what the version's own `install`
    would change, for a dry run."""

    former: str
    version: str
    environment: str
    commands: tuple[str, ...] = ()
    packages: tuple[tuple[str, str | None, str | None], ...] = ()
    removed: tuple[str, ...] = ()
    recovered: Text | None = None
    changed: bool = True
    restart_due: bool = False
    files: PlannedFiles = field(default_factory=PlannedFiles)
    is_dry: bool = False
    is_rollback: bool = False


@dataclass
class _Upgrade:
    """One run, under the lock."""

    host: HostTree
    store: InstallStore
    versions: Versions
    service: UpgradedService
    settings_file: str
    unit_file: Path | None
    options: UpgradeOptions
    recovered: Text | None = field(default=None)
    carried_on: UpgradeRun | None = field(default=None)
    undone: UpgradeRun | None = field(default=None)

    # --- what was cut off ---------------------------------------------------------------------------------------------

    def recover(self) -> None:
        """Undo or end an upgrade that was cut off."""
        recover_installation(self.host, self.store)
        run = self.store.upgrade()
        if run is None:
            return
        run = self.versions.end_conversion(run)
        target = Path(run.target)
        if run.stage is Stage.FINISH and self.versions.current == target:
            try:
                self._finish(run)
            except (OpsError, OSError) as error:
                # What cannot be carried on now may never be, and would be in the way of every later run.
                self._undo(run, error)
                return
            self.carried_on = run
            self.recovered = Text(
                en=f"An earlier upgrade to {target.name} was cut off after its switch; it was carried on.",
                zh=f"之前到 {target.name} 的升级在切换后中断，已继续完成。",
            )
            return
        self._undo(run)

    def _undo(self, run: UpgradeRun, error: OpsError | OSError | None = None) -> None:
        """Take back what was cut off, and say so; ``error``: why it could not be carried on."""
        with undisturbed():
            self._take_back(run)
        if run.stage is not Stage.BUILD:
            self.undone = run
        name = Path(run.target).name
        if error is None:
            self.recovered = Text(
                en=f"An earlier upgrade to {name} was cut off; it was undone.",
                zh=f"之前到 {name} 的升级中途中断，已撤销。",
            )
            return
        why = error.words if isinstance(error, OpsError) else system_error(error.filename or name, error)
        self.recovered = Text(
            en=f"An earlier upgrade to {name} was cut off after its switch and could not be carried on ({why.en}); it"
            " was undone.",
            zh=f"之前到 {name} 的升级在切换后中断，且无法继续完成（{why.zh}），已撤销。",
        )

    def _take_back(self, run: UpgradeRun) -> None:
        """The source serves again, and what this run made is gone. Raises OpsError if that fails: the next run tries
        again."""
        source, target = Path(run.source), Path(run.target)
        if run.stage is not Stage.BUILD:
            with self.service.hold():
                if self.versions.is_converted and self.versions.current != source:
                    self.versions.switch(source)
                self.service.settle()
                self._have_serving(source)
                if run.stage is Stage.FINISH:
                    self._install_files()
                self.service.restart_watchdog()
        if run.is_built and target not in (self.versions.current, self.service.environment()):
            if target == Path(sys.prefix):
                self.store.set_upgrade(replace(run, stage=Stage.BUILD))
                raise RunAgainError(self.versions.link / "bin/gte-ops")
            self.host.remove_tree(target)
        self.host.remove_directories((str(self.versions.directory),))
        self.store.set_upgrade(None)

    def _have_serving(self, environment: Path) -> None:
        """The link leads to ``environment``; have the service run in it."""
        serving = self.service.environment()
        if serving in (environment, None):
            return
        if not self.versions.is_converted or serving == self.versions.link:
            return  # its directory is reached by its former path still
        try:
            self.service.hand_over(environment)
        except OpsError:
            self.service.restart()

    # --- forward ------------------------------------------------------------------------------------------------------

    def to(self, target: Path, source: UpgradeSource | None) -> UpgradeResult:
        """Upgrade to ``target``, built from ``source``; without one it is there already."""
        host, versions = self.host, self.versions
        former, current = host.version(versions.current), versions.current
        run = UpgradeRun(str(current), str(target), is_built=source is not None)
        self.store.set_upgrade(run)
        # What fails is taken back before the watchdog may act.
        with contextlib.ExitStack() as hold:
            try:
                if source is not None:
                    host.build_environment(target, source.requirement, source.wheels)
                version = self._verified_version(target, source)
                before = self.service.answers()
                tried = self.service.try_out(target)
                self._compare(tried, version, before)
                unit = self._unit()
                end_if_asked()
                hold.enter_context(self.service.hold())
                run = self._switch(run, target)
                self._compare(self.service.answers(), version, before)
                run = replace(run, stage=Stage.FINISH)
                self.store.set_upgrade(run)
                packages = self._differences(Path(run.source), target)
                removed = self._finish(run)
            except BaseException as error:  # noqa: BLE001  whatever it was, the former version serves afterwards
                with undisturbed():
                    raise self._failed(error) from None
        return UpgradeResult(
            former,
            version,
            str(target),
            packages=packages,
            removed=tuple(map(str, removed)),
            recovered=self.recovered,
            restart_due=unit != self._unit(),
            is_rollback=source is None,
        )

    def _switch(self, run: UpgradeRun, target: Path) -> UpgradeRun:
        run = replace(run, stage=Stage.SWITCH)
        self.store.set_upgrade(run)
        run = self.versions.convert(run)
        source = Path(run.source)
        if self.service.environment() != source:
            # A master that was started by the link imports through it: what it imports later must be its own version.
            self.service.hand_over(source)
        self.versions.mark_left(source)
        self.versions.switch(target)
        self.service.hand_over(target)
        return run

    def _finish(self, run: UpgradeRun) -> tuple[Path, ...]:
        """After the switch: the version's own files, the watchdog, and fewer former versions. A journal that ends here
        is carried on by the next run."""
        self._install_files()
        self.service.restart_watchdog()
        in_use = (self.service.environment(), Path(run.source), Path(run.target))
        removed = self.versions.prune(self.options.keep, in_use)
        self.store.set_upgrade(None)
        return removed

    def _install_files(self) -> None:
        program = self.versions.link / "bin/gte-ops"
        self.host.install_files(program, self.settings_file, self.store)

    def _failed(self, error: BaseException) -> BaseException:
        """``error`` with what became of the service."""
        if isinstance(error, OSError):
            error = UpgradeError(system_error(error.filename or self.versions.directory, error))
        try:
            run = self.store.upgrade()
            if run is not None:
                self._take_back(self.versions.end_conversion(run))
        except (OpsError, OSError) as trouble:
            words = trouble.words if isinstance(trouble, OpsError) else Text(en=str(trouble), zh=str(trouble))
            back = Text(
                en=f"not taken back: {words.en}; the next run tries again",
                zh=f"未能撤回：{words.zh}；下次运行会再试",
            )
        else:
            back = Text(en="the former version serves", zh="原版本继续服务")
        if not isinstance(error, OpsError):
            return error
        return UpgradeError(Text(en=f"{error.words.en}; {back.en}", zh=f"{error.words.zh}；{back.zh}"))

    # --- verification -------------------------------------------------------------------------------------------------

    def _verified_version(self, target: Path, source: UpgradeSource | None) -> str:
        version = self.host.version(target)
        if not version or (source is not None and not satisfies(version, source.version)):
            wanted = source.version if source else "?"
            raise UpgradeError(
                Text(
                    en=f"{target} holds gte-ops {version or '(none)'}, not {wanted}",
                    zh=f"{target} 中是 gte-ops {version or '（无）'}，不是 {wanted}",
                )
            )
        return version

    def _compare(self, answers: VersionAnswers, version: str, before: VersionAnswers) -> None:
        if answers.version != version:
            raise UpgradeError(
                Text(
                    en=f"the service reports version {answers.version}, not {version}",
                    zh=f"服务报告的版本是 {answers.version}，不是 {version}",
                )
            )
        if not self.options.accepts_answers and not is_same(answers.prediction, before.prediction):
            raise UpgradeError(
                Text(
                    en=f"{version} answers the test prediction (target.predict_body) otherwise than {before.version};"
                    " if that is intended: --accept-answers",
                    zh=f"{version} 对测试预测（target.predict_body）的回答与 {before.version} 不同；"
                    "如果这是预期的：--accept-answers",
                )
            )

    def _differences(self, source: Path, target: Path) -> tuple[tuple[str, str | None, str | None], ...]:
        return differences(self.host.versions_of_packages(source), self.host.versions_of_packages(target))

    def _unit(self) -> bytes | None:
        if self.unit_file is None:
            return None
        with contextlib.suppress(OSError):
            return self.unit_file.read_bytes()
        return None


def differences(
    before: Mapping[str, str], after: Mapping[str, str]
) -> tuple[tuple[str, str | None, str | None], ...]:
    """The packages that differ, with both versions."""
    old, new = ({name.lower().replace("_", "-"): v for name, v in side.items()} for side in (before, after))
    return tuple(
        (name, old.get(name), new.get(name))
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    )


def is_same(one: Any, other: Any) -> bool:
    """Whether two results of the test prediction are the same, but for the last digits of numbers."""
    match one, other:
        case dict(), dict():
            return one.keys() == other.keys() and all(
                is_same(value, other[key]) for key, value in one.items()
            )
        case list(), list():
            return len(one) == len(other) and all(map(is_same, one, other))
        case bool(), bool():
            return one is other
        case ((int() | float()), (int() | float())):
            return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(one == other)


@dataclass(frozen=True)
class Upgrader:
    """Upgrades of one host. ``settings_file``: for the new version's `install`; ``unit_file``: the service's."""

    host: HostTree
    store: InstallStore
    versions: Versions
    service: UpgradedService
    settings_file: str
    unit_file: Path | None = None

    @contextlib.contextmanager
    def _alone(self, options: UpgradeOptions) -> Iterator[_Upgrade]:
        with self.store.locked():
            run = _Upgrade(
                self.host,
                self.store,
                self.versions,
                self.service,
                self.settings_file,
                self.unit_file,
                options,
            )
            run.recover()
            yield run

    def upgrade(self, source: UpgradeSource, options: UpgradeOptions) -> UpgradeResult:
        """Upgrade to ``source``. Raises OpsError: the former version serves, or the message says what is left."""
        with self._alone(options) as run:
            self._must_be_installed()
            current = self.versions.current
            version = self.host.version(current)
            if is_same_version(version, source.version) and not options.is_forced:
                return UpgradeResult(version, version, str(current), recovered=run.recovered, changed=False)
            self._must_run()
            return run.to(self.versions.free_place(source.version), source)

    def roll_back(self, options: UpgradeOptions) -> UpgradeResult:
        """Go back to the version that was present before. Raises OpsError as `upgrade` does."""
        with self._alone(options) as run:
            rolled_back = run.carried_on is not None and not run.carried_on.is_built
            if rolled_back or (run.undone is not None and run.undone.is_built):
                # What was asked for is done by now, and a further step back would go too far.
                current = self.versions.current
                version = self.host.version(current)
                return UpgradeResult(version, version, str(current), recovered=run.recovered, changed=False)
            target = self._former()
            self._must_run()
            return run.to(target, None)

    def recover(self) -> Text | None:
        """End or undo an upgrade that was cut off; what became of it, None if there was none."""
        if self.store.is_part_of_a_run or self.store.upgrade() is None:
            return None
        with self._alone(UpgradeOptions()) as run:
            return run.recovered

    def planned(self, source: UpgradeSource | None, options: UpgradeOptions) -> UpgradeResult:
        """What `upgrade`, or without a source `roll_back`, would do."""
        host, versions = self.host, self.versions
        self._must_be_installed()
        current = versions.current
        former = host.version(current)
        unfinished = self.store.upgrade()
        recovered = None
        if unfinished is not None:
            recovered = Text(
                en="An earlier upgrade was cut off; it will be undone or carried on first.",
                zh="之前的一次升级中途中断，将先撤销或继续完成。",
            )
        if source is None:
            target = self._former()
            after, version = host.versions_of_packages(target), host.version(target)
        else:
            target, version = versions.free_place(source.version), source.version
            if is_same_version(former, version) and not options.is_forced:
                return UpgradeResult(
                    former, former, str(current), recovered=recovered, changed=False, is_dry=True
                )
            after = host.resolved(current, source.requirement, source.wheels)
        before = {
            name: v
            for name, v in host.versions_of_packages(current).items()
            if name in after or source is None
        }
        code = target if source is None else (source.requirement, source.wheels)
        return UpgradeResult(
            former,
            version,
            str(target),
            commands=tuple(self._commands(target, source, options)),
            packages=differences(before, after),
            recovered=recovered,
            files=planned_files(host, versions.link / "bin/python3", code, self.settings_file),
            is_dry=True,
            is_rollback=source is None,
        )

    def _commands(self, target: Path, source: UpgradeSource | None, options: UpgradeOptions) -> Iterator[str]:
        link, current = self.versions.link, self.versions.current
        if source is not None:
            yield f"python3 -m venv {target}"
            wheels = f"--no-index --find-links {source.wheels} " if source.wheels else ""
            yield f"{target}/bin/python3 -m pip install {wheels}{source.requirement}"
        yield f"{target}/bin/gunicorn, on a socket of its own: /ready, version, prediction"
        if not self.versions.is_converted:
            yield f"mv {link} {self.versions.original}; ln -s versions/{self.host.version(link)} {link}"
        yield f"ln -sfn versions/{target.name} {link}"
        yield "kill -USR2 MASTER; kill -TERM MASTER"
        yield f"{link}/bin/gte-ops install --config {self.settings_file} --keep-running"
        if self.host.has_systemd and self.host.is_active(WATCHDOG):
            yield f"systemctl restart {WATCHDOG}"
        former = (current, *(path for path in self.versions.others() if path != target))
        for path in former[options.keep :]:
            yield f"rm -r {path}"

    def _former(self) -> Path:
        others = self.versions.others()
        if not others:
            raise StepError(
                Text(
                    en=f"{self.versions.directory} has no other version; nothing was changed",
                    zh=f"{self.versions.directory} 中没有其他版本；未作任何改动",
                )
            )
        return others[0]

    def _must_be_installed(self) -> None:
        if self.store.record() is None or not self.host.version(self.versions.current):
            raise StepError(
                Text(
                    en=f"gte-ops install has not set up this host, or {self.versions.link} has no gte-ops; nothing was"
                    " changed: gte-ops install first",
                    zh=f"本机不是由 gte-ops install 安装的，或 {self.versions.link} 中没有 gte-ops；未作任何改动："
                    "请先运行 gte-ops install",
                )
            )

    def _must_run(self) -> None:
        if self.service.environment() is None:
            raise StepError(
                Text(
                    en="the service does not run, so nothing can be verified; nothing was changed: gte-ops service"
                    " start",
                    zh="服务没有运行，无法验证；未作任何改动：请先运行 gte-ops service start",
                )
            )
        self.service.check_handover()
