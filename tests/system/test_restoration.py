"""Restoring: wholly new or wholly old, in every directory, whatever fails."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from ops.archive.manifest import ManifestEntry
from ops.backups.restore import journal as journals
from ops.backups.restore.apply import Restoration, RestoreError, RestorePreview, RestoreValidation, look
from ops.backups.restore.authority import is_packaged
from ops.backups.restore.journal import only_restore, read_journal, recover
from ops.backups.restore.plan import Owners, Present, lacking_accounts, make_plan
from ops.errors import UsageError
from ops.files.entry_kind import EntryKind
from ops.files.nofollow_tree import EscapeError, FileEntry, NoFollowTree
from tests.lab.authority import Authority, write_lineage
from tests.lab.waiting import wait_for
from tests.system.made_backup import facts_of, make_backup

DOMAIN = "gte.example"
AUTHORITY = Authority()


def lay_out(root: Path, version: str) -> None:
    """A small host: nginx, a lineage, a cron entry. ``version`` old is the later one, with more renewals."""
    (root / "etc/nginx/conf.d").mkdir(parents=True, exist_ok=True)
    (root / "etc/cron.d").mkdir(exist_ok=True)
    (root / "etc/nginx/nginx.conf").write_text(f"# {version}\nevents {{}}\n")
    (root / "etc/nginx/conf.d/site.conf").write_text(f"# site of the {version} host\n")
    (root / "etc/cron.d/certbot").write_text(f"# {version}\n")
    (root / "etc/cron.d/certbot").chmod(0o644 if version == "new" else 0o600)
    (root / "etc/same").write_text("the same in both")
    for number in range(1, 2 if version == "new" else 4):
        write_lineage(root / "etc/letsencrypt", DOMAIN, AUTHORITY.issue([DOMAIN]), version=number)
    (root / "etc/letsencrypt/archive").chmod(0o700 if version == "new" else 0o755)


@dataclass
class Host:
    """``root`` as it is (old), and a backup that restores it to ``new``."""

    root: Path
    archive: Path
    new: Path
    old_facts: dict[str, tuple[object, ...]]
    wanted: dict[str, tuple[object, ...]]

    def tree(self) -> NoFollowTree:
        return NoFollowTree(self.root)

    def look(self, *paths: str) -> RestorePreview:
        tree = self.tree()
        try:
            return look(tree, self.archive, (), paths)
        finally:
            tree.close()

    def restore(self, *paths: str, confirmation: RestoreValidation | None = None) -> None:
        tree = self.tree()
        try:
            prospect = look(tree, self.archive, (), paths)
            with only_restore(self.root):
                Restoration(tree, self.root, prospect).run(lambda: None, confirmation)
        finally:
            tree.close()

    def facts(self) -> dict[str, tuple[object, ...]]:
        return facts_of(self.root)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory where there is room for that: thousands of fsync calls are not what is tested here."""
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="gte-restoration-", dir=place) as directory:
        yield Path(directory)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    new, root = tmp_path / "new", tmp_path / "host"
    lay_out(new, "new")
    lay_out(root, "old")
    (new / "etc/nginx/snippets").mkdir()
    (new / "etc/nginx/snippets/deep.conf").write_text("# only in the backup\n")
    (new / "etc/nginx/snippets").chmod(0o750)
    (root / "etc/nginx/conf.d/later.conf").write_text("# only on the host\n")
    archive = make_backup(new, tmp_path / "backups")
    wanted = facts_of(new)
    later = root / "etc/nginx/conf.d/later.conf"
    wanted["etc/nginx/conf.d/later.conf"] = facts_of(root)["etc/nginx/conf.d/later.conf"]
    assert later.exists()
    return Host(root, archive, new, facts_of(root), wanted)


def test_everything_is_restored_with_mode_owner_and_links(host: Host) -> None:
    if os.geteuid() == 0:
        os.chown(host.new / "etc/cron.d/certbot", 1, 1)
        host.archive = make_backup(host.new, host.archive.parent)
        host.wanted["etc/cron.d/certbot"] = facts_of(host.new)["etc/cron.d/certbot"]
    host.restore()
    assert host.facts() == host.wanted
    assert (host.root / f"etc/letsencrypt/live/{DOMAIN}/privkey.pem").is_symlink()
    assert host.look().plan.is_empty


def test_the_time_of_a_file_is_restored(host: Host) -> None:
    host.restore()
    for name in ("etc/nginx/nginx.conf", f"etc/letsencrypt/archive/{DOMAIN}/cert1.pem"):
        assert (host.root / name).stat().st_mtime_ns == (host.new / name).stat().st_mtime_ns


def test_certbots_archive_is_replaced_so_that_no_newer_file_is_left_to_link_to(host: Host) -> None:
    archive = host.root / f"etc/letsencrypt/archive/{DOMAIN}"
    assert (archive / "privkey3.pem").exists()
    changes = {(c.path, c.difference) for c in host.look().plan.changes}
    assert (f"etc/letsencrypt/archive/{DOMAIN}/privkey3.pem", "surplus") in changes
    host.restore()
    assert sorted(p.name for p in archive.iterdir()) == [
        "cert1.pem", "chain1.pem", "fullchain1.pem", "privkey1.pem",
    ]  # fmt: skip


def test_other_directories_are_merged_and_what_is_not_in_the_backup_is_named(host: Host) -> None:
    assert host.look().plan.untouched == ("etc/nginx/conf.d/later.conf",)
    host.restore()
    assert (host.root / "etc/nginx/conf.d/later.conf").read_text() == "# only on the host\n"


def test_chosen_paths_alone_are_restored(host: Host) -> None:
    host.restore("/etc/nginx/nginx.conf")
    expected = host.old_facts | {"etc/nginx/nginx.conf": host.wanted["etc/nginx/nginx.conf"]}
    assert host.facts() == expected
    host.restore("/etc/nginx/snippets/deep.conf")
    assert host.facts()["etc/nginx/snippets/deep.conf"] == host.wanted["etc/nginx/snippets/deep.conf"]
    with pytest.raises(UsageError, match=r"^/etc/shadow is not in this backup"):
        host.look("/etc/shadow")


def test_onto_an_empty_directory(host: Host, tmp_path: Path) -> None:
    host.root = tmp_path / "empty"
    host.root.mkdir()
    host.restore()
    assert host.facts() == facts_of(host.new)


@pytest.mark.parametrize("kind", ["directory", "file", "link"])
def test_whatever_stands_in_the_way_is_exchanged(host: Host, kind: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    target = host.root / "etc/nginx/nginx.conf"
    target.unlink()
    if kind == "directory":
        target.mkdir()
        (target / "inside").write_text("x")
    elif kind == "link":
        target.symlink_to(outside)
    else:
        (host.root / "etc/nginx/snippets").write_text("a file where a directory was")
    host.restore()
    assert host.facts() == host.wanted
    assert outside.read_text() == "untouched"


@pytest.mark.parametrize("target", ["absolute", "climbing"])
def test_a_link_that_leads_out_of_the_root_is_refused(host: Host, target: str, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (host.root / "etc/nginx").rename(tmp_path / "moved")
    written = str(outside) if target == "absolute" else "../../outside"
    (host.root / "etc/nginx").symlink_to(written)
    before = host.facts()
    with pytest.raises(EscapeError, match="out of"):
        host.restore()
    assert list(outside.iterdir()) == []
    assert host.facts() == before


def test_a_link_that_stays_in_the_root_is_followed_and_stays(host: Host) -> None:
    (host.root / "etc/nginx").rename(host.root / "nginx-there")
    (host.root / "etc/nginx").symlink_to("../nginx-there")
    host.restore()
    assert (host.root / "etc/nginx").is_symlink()
    assert (host.root / "nginx-there/nginx.conf").read_text() == "# new\nevents {}\n"


@pytest.mark.parametrize("stage", ["test", "apply"])
def test_what_is_not_confirmed_is_put_back_byte_for_byte(host: Host, stage: str) -> None:
    said = []
    confirmation = RestoreValidation(
        test=lambda: "nginx -t fails: unknown directive" if stage == "test" else None,
        apply=lambda: said.append("apply") or "/health answers 502",  # type: ignore[func-returns-value]
        reapply=lambda: said.append("reapply") or None,  # type: ignore[func-returns-value]
    )
    with pytest.raises(
        RestoreError, match=r"refused: (nginx -t fails|/health answers).*everything is as it was$"
    ):
        host.restore(confirmation=confirmation)
    assert host.facts() == host.old_facts
    assert said == ([] if stage == "test" else ["apply", "reapply"])


def test_it_is_confirmed_on_the_new_files(host: Host) -> None:
    seen = []

    def apply() -> None:
        seen.append((host.root / "etc/nginx/nginx.conf").read_text())

    host.restore(confirmation=RestoreValidation(test=lambda: None, apply=apply, reapply=lambda: None))
    assert seen == ["# new\nevents {}\n"]
    assert host.facts() == host.wanted


def test_a_reader_meets_the_old_or_the_new_at_every_moment(host: Host) -> None:
    """Also while everything is put back; a link and a directory of certbot's among them."""
    names = ("etc/nginx/nginx.conf", f"etc/letsencrypt/live/{DOMAIN}/privkey.pem")
    allowed = {name: {facts[name][3] for facts in (host.old_facts, host.wanted)} for name in names}
    archive = host.root / f"etc/letsencrypt/archive/{DOMAIN}"
    allowed_names = {
        frozenset(Path(n).name for n in facts if n.startswith(f"etc/letsencrypt/archive/{DOMAIN}/"))
        for facts in (host.old_facts, host.wanted)
    }
    ended = threading.Event()
    wrong: list[object] = []
    met: set[object] = set()

    def watch() -> None:
        while not ended.is_set():
            try:
                text = (host.root / names[0]).read_bytes()
                link = os.readlink(host.root / names[1])  # noqa: PTH115
                opened = os.open(archive, os.O_RDONLY)
                listed = frozenset(os.listdir(opened))  # noqa: PTH208
                # The old directory may be exchanged and emptied between its opening and its listing.
                moved = os.fstat(opened).st_ino != archive.stat().st_ino
                os.close(opened)
            except OSError as error:
                wrong.append(error)
                return
            if moved:
                continue
            met.update((text, link, listed))
            if text not in allowed[names[0]] or link not in allowed[names[1]] or listed not in allowed_names:
                wrong.append((text, link, listed))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:

        def refuse() -> str:
            wait_for(lambda: len(met) == 6 or wrong, "the reader to meet old and new")
            return "no"

        refusal = RestoreValidation(test=refuse, apply=lambda: None, reapply=lambda: None)
        for _ in range(3):
            with pytest.raises(RestoreError):
                host.restore(confirmation=refusal)
        host.restore()
    finally:
        ended.set()
        watcher.join()
    assert wrong == []


def test_an_interruption_puts_everything_back(host: Host) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    confirmation = RestoreValidation(test=lambda: None, apply=interrupted, reapply=lambda: None)
    with pytest.raises(KeyboardInterrupt):
        host.restore(confirmation=confirmation)
    assert host.facts() == host.old_facts


def test_a_file_that_somebody_changes_meanwhile_stops_the_restore(host: Host) -> None:
    tree = host.tree()
    prospect = look(tree, host.archive, (), ())
    restoration = Restoration(tree, host.root, prospect)

    def change() -> None:
        (host.root / "etc/nginx/nginx.conf").write_text("# edited just now")

    with (
        only_restore(host.root),
        pytest.raises(RestoreError, match=r"nginx\.conf was changed by somebody else"),
    ):
        restoration.run(change, None)
    tree.close()
    changed = host.facts()
    assert changed.pop("etc/nginx/nginx.conf")[3] == b"# edited just now"
    assert changed == {k: v for k, v in host.old_facts.items() if k != "etc/nginx/nginx.conf"}


def test_one_restore_at_a_time(host: Host) -> None:
    with only_restore(host.root), pytest.raises(journals.RestoreLockedError):
        host.restore()
    assert host.facts() == host.old_facts


def test_a_damaged_archive_changes_nothing(host: Host) -> None:
    content = bytearray(host.archive.read_bytes())
    content[len(content) // 2] ^= 1
    host.archive.write_bytes(content)
    with pytest.raises(Exception, match=r"damaged|refused"):
        host.restore()
    assert host.facts() == host.old_facts


@pytest.mark.parametrize("call", ["exchange", "move", "set_facts", "sync", "make_link", "make_directory"])
def test_a_disk_that_fails_at_any_call_leaves_everything_as_it_was(host: Host, call: str) -> None:
    """The first, second, ... call fails, until one run comes through."""
    real = getattr(NoFollowTree, call)
    for number in range(1, 100):
        calls = 0

        def failing(self: NoFollowTree, *args: Any, number: int = number, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == number:
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(args[0]))
            return real(self, *args, **options)

        with mock.patch.object(NoFollowTree, call, failing):
            try:
                host.restore()
            except RestoreError as error:
                assert str(error).endswith("everything is as it was")  # noqa: PT017
                assert "\n" not in str(error)  # noqa: PT017
            else:
                if calls < number:
                    break
                # Behind the decision an error only leaves something to be removed by the next run.
                recover(host.root)
                assert host.facts() == host.wanted
                continue
        assert host.facts() == host.old_facts, number
    assert number > 1
    assert host.facts() == host.wanted


def test_without_exchange_files_are_replaced_and_put_back(host: Host) -> None:
    """File systems without RENAME_EXCHANGE; a directory of certbot's is then refused in a clear line."""

    def unsupported(_tree: NoFollowTree, path: str, _other: str) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)

    with mock.patch.object(NoFollowTree, "exchange", unsupported):
        with pytest.raises(RestoreError, match="cannot exchange directories"):
            host.restore()
        assert host.facts() == host.old_facts
        confirmation = RestoreValidation(test=lambda: "no", apply=lambda: None, reapply=lambda: None)
        with pytest.raises(RestoreError, match="everything is as it was"):
            host.restore("/etc/nginx", confirmation=confirmation)
        assert host.facts() == host.old_facts
        host.restore("/etc/nginx")
    assert (host.root / "etc/nginx/nginx.conf").read_text() == "# new\nevents {}\n"


def test_a_path_that_was_changed_after_the_kill_is_left_to_who_changed_it(host: Host) -> None:
    tree = host.tree()
    restoration = Restoration(tree, host.root, look(tree, host.archive, (), ()))
    restoration._stage()
    restoration._exchange()
    later = host.root / "etc/nginx/nginx.conf"
    later.unlink()
    later.write_text("# mended by hand")
    tree.close()
    recovery = recover(host.root)
    assert recovery is not None
    assert recovery.left == (str(later),)
    facts = host.facts()
    assert facts.pop("etc/nginx/nginx.conf")[3] == b"# mended by hand"
    assert facts == {k: v for k, v in host.old_facts.items() if k != "etc/nginx/nginx.conf"}
    assert read_journal(host.root) is None


def test_owners_that_cannot_be_set_are_counted_and_change_nothing() -> None:
    entry = ManifestEntry(
        path="a", kind=EntryKind.FILE, mode=0o600, uid=4321, gid=1, modified_ns=0, sha256="0" * 64
    )
    found = FileEntry(EntryKind.FILE, 0o600, 1, 1, 0, 0, 1, 1)
    owners = Owners({}, {}, may_set=False)
    plan = make_plan([entry], {"a": Present(found, "0" * 64)}, (), owners)
    assert (plan.is_empty, plan.owners_kept) == (True, 1)


def test_an_owner_that_this_host_lacks_is_named_and_nobody_elses_number_gets_its_files() -> None:
    """A fresh host: the number of the service's account belongs to another one there."""

    def owned(path: str, owner: str, uid: int) -> ManifestEntry:
        return ManifestEntry(
            path=path,
            kind=EntryKind.FILE,
            mode=0o600,
            uid=uid,
            gid=0,
            owner=owner,
            group="root",
            modified_ns=0,
        )

    owners = Owners({"root": 0, "postgres": 998}, {"root": 0}, may_set=True)
    entries = [owned("a", "gte-api", 998), owned("b", "prometheus", 997), owned("c", "root", 0)]
    assert [owners.wanted(entry)[0] for entry in entries] == [0, 997, 0]
    words = [account.words.en for account in lacking_accounts(entries, owners)]
    assert words == [
        "there is no user gte-api here: 998 is postgres's here, so root gets its 1 files; "
        "`useradd --system gte-api`, then restore again",
        "there is no user prometheus here: its 1 files get its number, 997; "
        "`useradd --system prometheus`, then restore again",
    ]


def test_what_cannot_be_written_is_left_and_named_and_the_rest_is_restored(host: Host) -> None:
    """certbot#8897: one link into a read-only file system, and the whole restore was refused."""
    with mock.patch.object(NoFollowTree, "is_read_only", lambda _tree, path: path.startswith("etc/cron.d")):
        prospect = host.look()
        host.restore()
    refusals = {item.path: item.reason.en for item in prospect.plan.refused}
    assert refusals
    assert all(path.startswith("etc/cron.d") for path in refusals)
    assert all("read-only file system" in reason for reason in refusals.values())
    assert (host.root / "etc/nginx/nginx.conf").read_text() == "# new\nevents {}\n"


def test_a_file_of_a_package_is_not_restored_over() -> None:
    assert is_packaged("/usr/share/nginx/modules-available/mod-http-geoip.conf")
    assert is_packaged("/snap/certbot/current/certbot.conf")
    assert not is_packaged("/usr/local/bin/deploy.sh")
    assert not is_packaged("/lib/systemd/system/gte-api.service")
    assert not is_packaged("/etc/nginx/mime.types")


def test_who_is_not_root_restores_all_but_the_owners(host: Host) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make files of two owners")
    os.chown(host.new / "etc/cron.d/certbot", 1, 1)
    host.archive = make_backup(host.new, host.archive.parent)
    with mock.patch("os.geteuid", return_value=1000), mock.patch("os.chown", side_effect=PermissionError):
        assert host.look().plan.owners_kept == 1
        host.restore()
        assert host.look().plan.is_empty
    assert host.facts() == host.wanted


@pytest.mark.parametrize("runs", [20, pytest.param(1000, marks=pytest.mark.long)])
def test_a_restore_killed_at_random_points_is_wholly_old_or_wholly_new_after_the_next_run(
    runs: int, tmp_path: Path
) -> None:
    """SIGKILL, also to the runs that recover; the rule by which they do: ops/backups/restore/journal.py."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.system.killed_restores", str(runs), "4"],
        cwd=Path(__file__).parents[2],
        # The whole of it on a disk.
        env=os.environ | ({"TMPDIR": str(tmp_path)} if runs < 100 else {}),
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    counts = json.loads(ran.stdout)
    assert counts["killed"] == runs
    assert counts["wholly old"] + counts.get("wholly new", 0) == runs + counts.get("ended before the kill", 0)
    if runs > 100:
        assert min(counts[n] for n in ("found exchanging", "found preparing", "recoveries killed")) > 0
