"""Put back what was good: where the content comes from, and what the plan says of it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path

import msgspec
import pytest

from ops.archive.manifest import Manifest, ManifestEntry
from ops.archive.name import ArchiveName
from ops.archive.writing import compressed, tar_stream
from ops.baselines.capture import capture
from ops.baselines.directory import baseline_directory
from ops.baselines.state import Baseline
from ops.baselines.store import BaselineStore
from ops.diagnosis.catalogue import catalogue
from ops.diagnosis.model import Cause, RankedChange
from ops.facts.changes import Change, ChangeKind, PlaceKind
from ops.files.entry_kind import EntryKind
from ops.repair.apply.packages import set_version
from ops.repair.apply.session import NotAppliedError
from ops.repair.known_good import find_known_good
from ops.repair.model import ExchangeFiles, ReloadNginx, Remedy, RepairContext, Replacement, Safety
from ops.repair.plan import plan
from ops.settings import Settings
from ops.text.language import Text, verbatim
from ops.text.timestamps import local_time
from tests.unit.made_snapshot import HEALTHY, NOW, SITE, SITE_FILE

KEY = "-----BEGIN PRIVATE KEY-----\nMIGH0\n-----END PRIVATE KEY-----\n"


def settings_in(directory: Path) -> Settings:
    """Settings whose baselines and backups lie in ``directory``."""
    settings = Settings()
    replace = msgspec.structs.replace
    return replace(
        settings,
        watchdog=replace(settings.watchdog, state_file=str(directory / "state" / "watchdog.json")),
        backup=replace(settings.backup, dir=str(directory / "backups")),
    )


def remember(settings: Settings, *paths: Path, place: PlaceKind = PlaceKind.NGINX) -> None:
    """Make the present state of ``paths`` the baseline."""
    captured = capture({str(path): place for path in paths}, {}, 0.0)
    baseline = Baseline(
        made_by="test", taken_at=NOW, looked_at=NOW, by="accept", files=captured.files, values={}
    )
    BaselineStore(baseline_directory(settings)).record(baseline, captured.texts)


def changed(path: Path, kind: ChangeKind = ChangeKind.CONTENT) -> Change:
    return Change(place=PlaceKind.NGINX, what=str(path), kind=kind, time=NOW - 60)


def found(settings: Settings, path: Path, kind: ChangeKind = ChangeKind.CONTENT) -> list[Replacement]:
    """What is to be put back for one changed path."""
    return list(find_known_good(settings, [changed(path, kind)], 0).get(str(path), ()))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    tmp_path.chmod(0o700)
    return settings_in(tmp_path)


def test_a_text_comes_from_the_baseline_with_owner_and_mode(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "site.conf"
    file.write_text("listen 80;\n")
    file.chmod(0o640)
    remember(settings, file)
    file.write_text("listen 81;\n")
    file.chmod(0o600)
    (good,) = found(settings, file)
    assert good.content == b"listen 80;\n"
    assert good.present == b"listen 81;\n"
    assert good.entry is not None
    assert (good.entry.mode, good.entry.uid) == (0o640, os.getuid())
    assert "baseline" in good.source.en


def test_a_removed_file_is_known_too(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "site.conf"
    file.write_text("listen 80;\n")
    remember(settings, file)
    file.unlink()
    (good,) = found(settings, file, ChangeKind.REMOVED)
    assert (good.content, good.present) == (b"listen 80;\n", None)


def test_a_file_that_was_not_there_is_set_aside(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "site.conf"
    file.write_text("listen 80;\n")
    remember(settings, file)
    new = tmp_path / "more.conf"
    new.write_text("deny all;\n")
    (good,) = found(settings, new, ChangeKind.ADDED)
    assert good.entry is None


def backed_up(settings: Settings, name: str, content: bytes) -> None:
    """A backup with one file."""
    entry = ManifestEntry(
        path=name,
        kind=EntryKind.FILE,
        mode=0o600,
        uid=0,
        gid=0,
        modified_ns=0,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    manifest = Manifest(created_at=NOW, host="here", versions={}, asked=(), entries=(entry,))
    archive = ArchiveName(created_at=NOW, number=1, host="here", compression="gz", encrypted=False)
    directory = Path(settings.backup.dir)
    directory.mkdir(exist_ok=True, mode=0o700)
    chunks = compressed(tar_stream(manifest, lambda _: [content]), "gz")
    (directory / str(archive)).write_bytes(b"".join(chunks))


def test_a_key_comes_from_the_backup_whose_file_has_its_hash(settings: Settings, tmp_path: Path) -> None:
    key = tmp_path / "privkey.pem"
    key.write_text(KEY)
    key.chmod(0o600)
    remember(settings, key, place=PlaceKind.CERTIFICATE)
    key.write_text(KEY.replace("MIGH0", "MIGX0"))
    assert found(settings, key) == []
    backed_up(settings, "other.pem", b"another file\n")
    assert found(settings, key) == []
    backed_up(settings, "privkey.pem", KEY.encode())
    (good,) = found(settings, key)
    assert good.content == KEY.encode()
    assert "backup" in good.source.en
    assert good.entry is not None
    assert good.entry.mode == 0o600


def test_a_link_that_leads_elsewhere_is_made_anew(settings: Settings, tmp_path: Path) -> None:
    old, new, link = tmp_path / "cert1.pem", tmp_path / "cert2.pem", tmp_path / "cert.pem"
    old.write_text("one\n")
    new.write_text("two\n")
    link.symlink_to("cert1.pem")
    remember(settings, link, place=PlaceKind.CERTIFICATE)
    link.unlink()
    link.symlink_to("cert2.pem")
    (good,) = found(settings, link)
    assert good.entry is not None
    assert (good.entry.kind, good.entry.target) == ("link", "cert1.pem")
    old.unlink()
    assert [item.entry.kind for item in found(settings, link) if item.entry] == ["link", "file"]


def test_a_set_user_id_file_is_not_put_back(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "start.sh"
    file.write_text("#!/bin/sh\n")
    file.chmod(0o4755)
    remember(settings, file)
    file.write_text("#!/bin/sh\nexit\n")
    assert found(settings, file) == []


def test_without_a_baseline_nothing_is_known(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "site.conf"
    file.write_text("listen 80;\n")
    assert found(settings, file) == []


# --- the plan ---------------------------------------------------------------------------------------------------------


def cause(code: str, severity: str | None = None) -> Cause:
    entry = catalogue().entry(code)
    return Cause(
        code,
        severity or entry.severity,  # type: ignore[arg-type]
        entry.title,
        entry.summary,
        (),
        (),
        verbatim("true"),
        entry.fix,
    )


GOOD = Replacement(
    SITE_FILE,
    ManifestEntry(path=SITE_FILE.strip("/"), kind=EntryKind.FILE, mode=0o644, uid=0, gid=0, modified_ns=0),
    SITE.encode(),
    Text(en="the baseline of yesterday", zh="昨天的基线"),
    SITE.replace("8000", "8001").encode(),
)


def planned(
    code: str,
    *,
    ago: float = 60.0,
    by: str = "",
    severity: str | None = None,
    fits: str | None = None,
    placed: float | None = None,
) -> tuple[Remedy, ...]:
    """The remedies of a cause whose proof contains a changed site file."""
    change = Change(place=PlaceKind.NGINX, what=SITE_FILE, kind=ChangeKind.CONTENT, time=NOW - ago, by=by)
    context = RepairContext(
        files={SITE_FILE: SITE.encode()},
        changes=(RankedChange(change, (fits or code,)),),
        known_good={SITE_FILE: (GOOD,)},
        placed={} if placed is None else {SITE_FILE: NOW - placed},
        now=NOW,
    )
    return plan((cause(code, severity),), HEALTHY, context)


def test_what_was_good_comes_first_and_says_who_and_when() -> None:
    first, *_ = planned("NGX005", by="git: Li Lei: release")
    assert isinstance(first.action, ExchangeFiles)
    assert (first.action.nginx, first.action.gunicorn) == (True, False)
    assert first.safety is Safety.RISKY
    assert first.risk is not None
    for words in (first.risk.en, first.what.en, first.risk.zh, first.what.zh):
        assert "git: Li Lei: release" in words
        assert "2026" in words
    assert any(line.startswith("-") and "8001" in line for line in first.diff)
    assert any(line.startswith("+") and "8000" in line for line in first.diff)


@pytest.mark.parametrize(
    ("ago", "by", "severity", "safety"),
    [
        (60.0, "", "fail", Safety.RISKY),
        (60.0, "certbot", "fail", Safety.SAFE),
        (86400.0, "", "fail", Safety.SAFE),
        (86400.0, "", "warn", Safety.RISKY),
    ],
)
def test_it_is_risky_where_it_undoes_recent_work_or_users_are_served(
    ago: float, by: str, severity: str, safety: Safety
) -> None:
    first, *_ = planned("NGX030", ago=ago, by=by, severity=severity)
    assert first.safety is safety
    assert "an unknown hand" in first.what.en or by in first.what.en


def test_a_file_that_was_moved_into_place_a_minute_ago_is_recent_work() -> None:
    """mv, cp -p and rsync keep the time at which it was written."""
    first, *_ = planned("NGX030", ago=86400.0, severity="fail", placed=60.0)
    assert first.safety is Safety.RISKY
    assert first.risk is not None
    assert local_time(NOW - 60, 0).strftime("%Y-%m-%d %H:%M:%S") in first.risk.en
    first, *_ = planned("NGX030", ago=86400.0, severity="fail", placed=7200.0)
    assert first.safety is Safety.SAFE


def test_a_change_of_another_cause_is_not_undone() -> None:
    assert not any(isinstance(remedy.action, ExchangeFiles) for remedy in planned("NGX030", fits="NGX031"))


def test_what_somebody_wrote_and_nobody_loaded_is_loaded_first() -> None:
    first, *others = planned("NGX004")
    assert isinstance(first.action, ReloadNginx)
    assert [type(remedy.action) for remedy in others] == [ExchangeFiles]


def test_a_private_key_is_not_shown() -> None:
    key = dataclasses.replace(
        GOOD,
        path="/etc/ssl/privkey.pem",
        entry=ManifestEntry(
            path="etc/ssl/privkey.pem", kind=EntryKind.FILE, mode=0o600, uid=0, gid=0, modified_ns=0
        ),
        content=KEY.encode(),
        present=b"-----BEGIN PRIVATE KEY-----\nOTHER\n",
    )
    change = Change(place=PlaceKind.CERTIFICATE, what=key.path, kind=ChangeKind.CONTENT, time=NOW)
    context = RepairContext(
        changes=(RankedChange(change, ("TLS007",)),), known_good={key.path: (key,)}, now=NOW
    )
    remedy, *_ = plan((cause("TLS007"),), HEALTHY, context)
    assert isinstance(remedy.action, ExchangeFiles)
    assert "MIGH0" not in "".join(remedy.diff)
    assert "OTHER" not in "".join(remedy.diff)
    assert remedy.diff


def test_a_missing_package_is_installed_in_the_version_of_the_baseline() -> None:
    change = Change(place=PlaceKind.PACKAGE, what="shoptools", kind=ChangeKind.VALUE, before="1.2", after="")
    context = RepairContext(changes=(RankedChange(change, ("GUN003",)),), now=NOW)
    remedy, *_ = plan((cause("GUN003"),), HEALTHY, context)
    assert isinstance(remedy.action, ExchangeFiles)
    assert [(p.name, p.version, p.present) for p in remedy.action.packages] == [("shoptools", "1.2", "")]
    assert remedy.safety is Safety.RISKY
    assert remedy.commands[0].endswith("-m pip install --no-deps shoptools==1.2")


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An interpreter that notes what it is asked."""
    program = tmp_path / "venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/asked\ncase "$*" in *refused*) exit 1;; esac\n')
    program.chmod(0o755)
    return program


def test_pip_is_asked_for_exactly_this_version(python: Path, tmp_path: Path) -> None:
    set_version(str(python), "shoptools", "1.2")
    set_version(str(python), "shoptools", "")
    asked = [line.partition("check ")[2] for line in (tmp_path / "asked").read_text().splitlines()]
    assert asked == ["install --no-deps shoptools==1.2", "uninstall --yes shoptools"]


@pytest.mark.parametrize("name", ["--index-url=http://x", "a b", "refused"])
def test_what_is_no_package_or_fails_is_said(python: Path, name: str) -> None:
    with pytest.raises(NotAppliedError):
        set_version(str(python), name, "1.2")
