"""An upgrade ends in the new version or in the former one, wherever it fails or is killed."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

import pytest

from ops.errors import OpsError, UsageError
from ops.installation.run import install, uninstall
from ops.installation.store import InstallLockedError, InstallStore, Stage, UpgradeRun
from ops.report.upgrade import UpgradeReport
from ops.upgrade.here import source_here
from ops.upgrade.run import RunAgainError, UpgradeOptions, differences, is_same
from ops.upgrade.versions import newest_wheel, satisfies
from tests.unit.installation.made_host import SETTINGS, KilledError, tree
from tests.unit.upgrade.made_service import (
    FIRST,
    LINK,
    NO_START,
    REFUSED_FILES,
    WRONG_ANSWERS,
    WRONG_FRONT,
    MadeService,
    VersionedHost,
    host_with_a_version,
    make_environment,
    source,
    steps_of,
    upgrader,
)
from tests.unit.upgrade.random_life import Life

OPTIONS = UpgradeOptions()


@pytest.fixture(autouse=True)
def _no_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk outlives these processes anyway."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def installed_host(root: Path) -> VersionedHost:
    """A host that serves in its first version."""
    host = host_with_a_version(root)
    install(partial(steps_of, FIRST), host, InstallStore(root))
    return host


def assert_serves(host: VersionedHost, version: str) -> None:
    """This version serves, from its own place, with its own files, and its watchdog watches."""
    run = upgrader(VersionedHost(host.root))
    assert run.service.answers().version == version
    assert host.version(host.root / LINK) == version
    assert f"# as {version} writes it" in (host.root / "etc/gte-ops/gte-ops.toml").read_text()
    assert not host.get("successor")
    assert InstallStore(host.root).upgrade() is None
    place = (host.root / LINK).resolve()
    program = (place / "bin/gunicorn").read_text()
    assert program == f"#!{place}/bin/python3\n"


def test_an_upgrade_and_the_way_back_and_an_uninstallation(tmp_path: Path) -> None:
    host = host_with_a_version(tmp_path)
    before = tree(tmp_path)
    install(partial(steps_of, FIRST), host, InstallStore(tmp_path))
    run = upgrader(host)
    result = run.upgrade(source("2.0"), OPTIONS)
    assert (result.former, result.version, result.changed) == (FIRST, "2.0", True)
    assert_serves(host, "2.0")
    assert (tmp_path / LINK).readlink() == Path("versions/2.0")
    assert not run.upgrade(source("2.0"), OPTIONS).changed
    assert run.roll_back(OPTIONS).version == FIRST
    assert_serves(host, FIRST)
    assert run.roll_back(OPTIONS).version == "2.0"
    assert_serves(host, "2.0")
    uninstall(host, InstallStore(tmp_path), purge=True)
    after = tree(tmp_path)
    assert {path for path, _ in before.items() ^ after.items()} <= {
        "state/serving",
        "state/successor",
        "state/watched by",
    }


def test_a_dry_run_shows_steps_and_packages_and_changes_nothing(tmp_path: Path) -> None:
    host = installed_host(tmp_path)
    before, commands = tree(tmp_path), list(host.commands)
    result = upgrader(host).planned(source("2.0"), OPTIONS)
    assert result.packages == (("gte-ops", FIRST, "2.0"),)
    assert any("USR2" in command for command in result.commands)
    settings = next(step for step in result.files.steps if step.diff)
    assert settings.path == SETTINGS.path
    assert settings.diff.splitlines()[-2:] == ["-# as 1.0 writes it", "+# as 2.0 writes it"]
    assert (tree(tmp_path), host.commands) == (before, commands)


def test_a_dry_run_of_the_way_back_shows_what_the_former_version_changes(tmp_path: Path) -> None:
    host = installed_host(tmp_path)
    upgrader(host).upgrade(source("2.0"), OPTIONS)
    steps = upgrader(host).planned(None, OPTIONS).files.steps
    assert [step.diff.splitlines()[-1] for step in steps if step.path == SETTINGS.path] == [
        "+# as 1.0 writes it"
    ]


def test_a_dry_run_says_why_the_changes_of_a_version_cannot_be_told(tmp_path: Path) -> None:
    host = installed_host(tmp_path)
    result = upgrader(host).planned(source(f"2.0{NO_START}"), OPTIONS)
    assert result.files.unknown is not None
    assert "No module named" in result.files.unknown.en
    report = UpgradeReport(result)
    assert "before the version is built: ModuleNotFoundError" in "\n".join(
        line.words for line in report.lines("en")
    )


@pytest.mark.parametrize("answer", ["", "[]", '{"steps": 1}', '{"steps": [{"state": null}]}'])
def test_an_answer_that_is_none_is_no_change(tmp_path: Path, answer: str) -> None:
    host = installed_host(tmp_path)
    host.planned_install = lambda *_: answer  # type: ignore[method-assign]
    assert upgrader(host).planned(source("2.0"), OPTIONS).files.unknown is not None


def test_the_files_that_a_dry_run_shows_are_those_that_the_upgrade_changes(tmp_path: Path) -> None:
    host = installed_host(tmp_path)
    planned = upgrader(host).planned(source("2.0"), OPTIONS).files.steps
    before = tree(tmp_path / "etc")
    upgrader(host).upgrade(source("2.0"), OPTIONS)
    changed = {f"/etc/{path}" for path, _ in before.items() ^ tree(tmp_path / "etc").items()}
    assert {step.path for step in planned if step.diff} == changed


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("missing", "no such version"),
        (f"2.0{NO_START}", "does not start"),
        (f"2.0{WRONG_ANSWERS}", "otherwise than"),
        (f"2.0{WRONG_FRONT}", "otherwise than"),
        (f"2.0{REFUSED_FILES}", "refuses it"),
    ],
)
def test_a_version_that_does_not_serve_is_taken_back(tmp_path: Path, version: str, words: str) -> None:
    host = installed_host(tmp_path)
    with pytest.raises(OpsError, match=f"{words}.*the former version serves"):
        upgrader(host).upgrade(source(version), OPTIONS)
    assert not upgrader(host).service.was_restarted  # type: ignore[attr-defined]
    assert upgrader(host).service.answers().version == FIRST
    assert f"# as {FIRST} writes it" in (tmp_path / "etc/gte-ops/gte-ops.toml").read_text()
    assert not (tmp_path / "opt/gte-api/versions" / version).exists()
    upgrader(host).upgrade(source("3.0"), OPTIONS)
    assert_serves(host, "3.0")


def test_another_answer_is_taken_where_it_is_meant(tmp_path: Path) -> None:
    host = installed_host(tmp_path)
    run = upgrader(host)
    run.upgrade(source(f"2.0{WRONG_ANSWERS}"), UpgradeOptions(accepts_answers=True))
    assert_serves(host, f"2.0{WRONG_ANSWERS}")


def how_many_moments(root: Path) -> int:
    """Of an upgrade that succeeds."""
    host = installed_host(root)
    before = host.moments
    upgrader(host).upgrade(source("2.0"), OPTIONS)
    return host.moments - before


@pytest.mark.parametrize(
    "every", [pytest.param(13, id="sample"), pytest.param(1, id="all", marks=pytest.mark.long)]
)
def test_killed_at_every_moment_it_serves_and_the_next_run_ends_or_undoes_it(
    tmp_path: Path, every: int
) -> None:
    moments = how_many_moments(tmp_path / "counted")
    assert moments > 20
    for moment in range(0, moments, every):
        root = tmp_path / str(moment)
        installed_host(root)
        with pytest.raises(KilledError):
            upgrader(VersionedHost(root, dies_at=moment)).upgrade(source("2.0"), OPTIONS)
        host = VersionedHost(root)
        upgrader(host).service.answers()  # what serves has its files
        upgrader(host).recover()
        version = host.version(root / LINK)
        assert version in (FIRST, "2.0"), moment
        install(partial(steps_of, version), host, InstallStore(root), overwrite=True)
        assert upgrader(host).service.answers().version == version, moment
        upgrader(host).upgrade(source("3.0"), OPTIONS)
        assert_serves(host, "3.0")


def test_a_version_that_runs_the_command_is_removed_by_the_one_that_carries_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = installed_host(tmp_path)
    target = tmp_path / "opt/gte-api/versions/2.0"
    hand_over = MadeService.hand_over

    def die_at_the_switch(service: MadeService, environment: Path) -> None:
        if environment == target:
            dying.is_dead = True
            raise KilledError
        hand_over(service, environment)

    with monkeypatch.context() as patch:
        patch.setattr(MadeService, "hand_over", die_at_the_switch)
        with pytest.raises(KilledError):
            upgrader(dying).upgrade(source("2.0"), OPTIONS)
    host = VersionedHost(tmp_path)
    before = sys.prefix
    monkeypatch.setattr(sys, "prefix", str(target))
    with pytest.raises(RunAgainError) as error:
        upgrader(host).recover()
    assert error.value.program == tmp_path / LINK / "bin/gte-ops"
    assert target.is_dir()
    monkeypatch.setattr(sys, "prefix", before)
    upgrader(host).recover()
    assert not target.exists()
    assert_serves(host, FIRST)


def test_a_way_back_that_was_cut_off_after_its_switch_is_not_gone_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = installed_host(tmp_path)
    upgrader(dying).upgrade(source("2.0"), OPTIONS)

    def die(_: MadeService) -> None:
        dying.is_dead = True
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(MadeService, "restart_watchdog", die)
        with pytest.raises(KilledError):
            upgrader(dying).roll_back(OPTIONS)
    host = VersionedHost(tmp_path)
    result = upgrader(host).roll_back(OPTIONS)
    assert (result.version, result.changed) == (FIRST, False)
    assert result.recovered is not None
    assert_serves(host, FIRST)


def cut_off_at(root: Path, version: str, stage: Stage) -> None:
    """Kill an upgrade to ``version`` as it enters this stage."""
    dying = installed_host(root)
    set_upgrade = InstallStore.set_upgrade

    def die_afterwards(store: InstallStore, run: UpgradeRun | None) -> None:
        set_upgrade(store, run)
        if run is not None and run.stage is stage:
            dying.is_dead = True
            raise KilledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InstallStore, "set_upgrade", die_afterwards)
        with pytest.raises(KilledError):
            upgrader(dying).upgrade(source(version), OPTIONS)


@pytest.mark.parametrize("purge", [False, True])
@pytest.mark.parametrize("stage", Stage)
def test_an_uninstallation_removes_what_an_upgrade_that_was_cut_off_has_built(
    tmp_path: Path, stage: Stage, purge: bool
) -> None:
    cut_off_at(tmp_path, "2.0", stage)
    half_built = tmp_path / "opt/gte-api/versions/2.0/bin"
    half_built.mkdir(parents=True, exist_ok=True)  # killed while pip was at work
    host, store = VersionedHost(tmp_path), InstallStore(tmp_path)
    uninstall(host, store, purge=purge)
    assert store.upgrade() is None
    assert not half_built.parents[1].exists()
    assert host.version(tmp_path / LINK) == FIRST
    assert not (tmp_path / LINK).is_symlink()


@pytest.mark.parametrize("command", ["rollback", "upgrade", "recover"])
def test_an_upgrade_that_was_cut_off_and_cannot_be_carried_on_is_undone(tmp_path: Path, command: str) -> None:
    cut_off_at(tmp_path, f"2.0{REFUSED_FILES}", Stage.FINISH)
    run = upgrader(VersionedHost(tmp_path))
    if command == "recover":
        words = run.recover()
    elif command == "rollback":
        result = run.roll_back(OPTIONS)
        assert (result.version, result.changed) == (FIRST, False)
        words = result.recovered
    else:
        words = run.upgrade(source("3.0"), OPTIONS).recovered
    assert words is not None
    assert "refuses it" in words.en
    assert "undone" in words.en
    assert_serves(VersionedHost(tmp_path), "3.0" if command == "upgrade" else FIRST)
    assert not (tmp_path / f"opt/gte-api/versions/2.0{REFUSED_FILES}").exists()


def test_a_way_back_after_an_upgrade_that_was_cut_off_at_its_switch_goes_one_step(tmp_path: Path) -> None:
    cut_off_at(tmp_path, "2.0", Stage.SWITCH)
    result = upgrader(VersionedHost(tmp_path)).roll_back(OPTIONS)
    assert (result.version, result.changed) == (FIRST, False)
    assert_serves(VersionedHost(tmp_path), FIRST)


def test_old_versions_are_removed_but_so_many(tmp_path: Path) -> None:
    host = installed_host(tmp_path)
    run = upgrader(host)
    for number in range(2, 7):
        run.upgrade(source(f"{number}.0"), UpgradeOptions(keep=2))
    assert [path.name for path in run.versions.others()] == ["5.0", "4.0"]
    assert_serves(host, "6.0")


def test_one_at_a_time(tmp_path: Path) -> None:
    host = installed_host(tmp_path)
    with InstallStore(tmp_path).locked():
        with pytest.raises(InstallLockedError):
            upgrader(host).upgrade(source("2.0"), OPTIONS)
        with pytest.raises(InstallLockedError):
            uninstall(host, InstallStore(tmp_path), purge=False)


def test_without_an_installation_or_another_version_nothing_is_done(tmp_path: Path) -> None:
    host = host_with_a_version(tmp_path)
    with pytest.raises(OpsError, match="gte-ops install first"):
        upgrader(host).upgrade(source("2.0"), OPTIONS)
    install(partial(steps_of, FIRST), host, InstallStore(tmp_path))
    with pytest.raises(OpsError, match="no other version"):
        upgrader(host).roll_back(OPTIONS)


@pytest.mark.parametrize(
    ("operations", "seed"),
    [
        pytest.param(12, 1, id="sample"),
        *(pytest.param(200, seed, id=f"seed {seed}", marks=pytest.mark.long) for seed in range(2, 8)),
    ],
)
def test_random_lives_leave_a_working_or_an_untouched_host(
    tmp_path: Path, operations: int, seed: int
) -> None:
    counts = Life(tmp_path, seed).live(operations)
    assert counts["working"] + counts["untouched"] + counts["only data left"] > operations / 2


def test_answers_are_the_same_but_for_last_digits() -> None:
    assert is_same({"scores": [0.5, 1], "label": "a"}, {"scores": [0.50001, 1], "label": "a"})
    assert not is_same({"scores": [0.5]}, {"scores": [0.6]})
    assert not is_same({"label": "a"}, {"label": "b"})
    assert not is_same([1], [1, 2])


def test_packages_that_differ() -> None:
    assert differences({"A_b": "1", "c": "1"}, {"a-b": "1", "c": "2", "d": "3"}) == (
        ("c", "1", "2"),
        ("d", None, "3"),
    )


def test_the_newest_wheel_is_the_highest_version(tmp_path: Path) -> None:
    make_wheels(tmp_path, "0.9.0", "0.10.0", "0.2.0", "0.11.0rc1", "0.12.0.dev3")
    assert newest_wheel(tmp_path) == "0.10.0"


def make_wheels(directory: Path, *versions: str) -> None:
    directory.mkdir(exist_ok=True)
    for version in versions:
        (directory / f"gte_ops-{version}-py3-none-any.whl").touch()


def test_a_version_may_be_written_shorter(tmp_path: Path) -> None:
    host = installed_host(tmp_path)
    run = upgrader(host)
    assert not run.upgrade(source("1"), OPTIONS).changed
    assert not run.planned(source("1.0.0"), OPTIONS).changed
    run.upgrade(source("2.0"), OPTIONS)
    make_environment(tmp_path / "built", "3.0.0")
    assert satisfies(host.version(tmp_path / "built"), "3")
    assert satisfies("3.0.0+local", "3.0")
    assert not satisfies("3.0.1", "3.0")
    assert not satisfies("3.0.0", "3.0.0+local")


def test_a_version_that_is_written_shorter_is_the_one_that_was_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = installed_host(tmp_path)
    build = VersionedHost.build_environment

    def build_exactly(self: VersionedHost, directory: Path, requirement: str, wheels: Path | None) -> None:
        build(self, directory, f"{requirement}.0", wheels)  # as pip finds 2.0 for ==2

    monkeypatch.setattr(VersionedHost, "build_environment", build_exactly)
    assert upgrader(host).upgrade(source("2"), OPTIONS).version == "2.0"
    assert_serves(host, "2.0")


@pytest.mark.parametrize(
    ("wheels", "words"),
    [(["0.9"], "nothing newer.*0.9.*1.0 is present"), (["2.0rc1"], "no release"), ([], "no release")],
)
def test_no_older_version_and_no_pre_release_is_taken_unless_it_is_named(
    tmp_path: Path, wheels: list[str], words: str
) -> None:
    run = upgrader(installed_host(tmp_path / "host"))
    make_wheels(tmp_path / "wheels", *wheels)
    with pytest.raises(OpsError, match=f"{words}.*nothing was changed"):
        source_here(run, None, None, tmp_path / "wheels", "")
    for version in wheels:
        assert source_here(run, version, None, tmp_path / "wheels", "").version == version


def test_what_is_no_version_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    run = upgrader(installed_host(tmp_path))
    with pytest.raises(UsageError, match="newest is no version"):
        source_here(run, "newest", None, None, "")
