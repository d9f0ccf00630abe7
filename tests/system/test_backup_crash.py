"""Killed at any instant, with a full disk or a failing one: earlier backups are intact and listed, and nothing half is
ever taken for a backup."""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyrage
import pytest

from ops.archive.encryption import encrypt
from ops.archive.error import ArchiveError
from ops.archive.listing import list_backups
from ops.archive.name import checksum_path
from ops.archive.reading import open_archive
from ops.archive.writing import compressed, tar_stream
from ops.backups.verify import verify
from tests.system import killed_backup
from tests.system.backup_host import REPOSITORY, Host, lay_out
from tests.unit.archive.made_archive import CONTENTS, sample

KILLS, KILLS_IN_CI = 1000, 20
FLIPS, FLIPS_IN_CI = 1000, 50
SEED = 20261122


def assert_sound(host: Host, first: Path, content: bytes) -> int:
    """The first backup is as it was, every listed one is good through and through; returns how many there are."""
    assert first.read_bytes() == content
    listed = list_backups(host.backups)
    assert first in [each.path for each in listed]
    for each in listed:
        assert each.good is True, each
        assert checksum_path(each.path).exists()
        found = verify(each.path, (), None)
        assert found.good is True, found.problems
        assert found.opened
    return len(listed)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = lay_out(tmp_path / "host")
    # Some hundreds of kilobytes that do not compress: writing takes long enough to be met.
    bulk = made.root / "bulk"
    bulk.mkdir()
    for number in range(30):
        (bulk / f"{number}").write_bytes(random.Random(number).randbytes(40_000))
    # Two places, so that pruning is a part of what is killed.
    made.configure(include=[str(bulk)], keep={"daily": 1, "weekly": 0, "monthly": 0})
    looked = killed_backup.ops.backup.make_plan  # type: ignore[attr-defined]
    yield made
    killed_backup.ops.backup.make_plan = looked  # type: ignore[attr-defined]


def first_backup(host: Host) -> tuple[Path, bytes]:
    """A backup of its own host's name, so that no policy removes it."""
    assert killed_backup.create(host.config) == 0
    (made,) = host.archives()
    kept = made.with_name("gte-ops-elsewhere-20260101T000000Z.tar.zst")
    digest = checksum_path(made).read_text().split()[0]
    made.rename(kept)
    checksum_path(made).unlink()
    checksum_path(kept).write_text(f"{digest}  {kept.name}\n")
    return kept, kept.read_bytes()


@pytest.mark.parametrize("count", [KILLS_IN_CI, pytest.param(KILLS, marks=pytest.mark.long)])
def test_killed_at_any_instant(host: Host, count: int) -> None:
    killed_backup.prepare(host.config)
    first, content = first_backup(host)
    chance = random.Random(SEED)
    begun = time.monotonic()
    assert killed_backup.create(host.config) == 0
    length = time.monotonic() - begun
    killed, finished, left = 0, 0, 0
    for number in range(count):
        child = os.fork()
        if child == 0:
            os._exit(killed_backup.create(host.config))
        time.sleep(chance.uniform(0, 1.2 * length))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        finished += not os.WIFSIGNALED(status)
        left += any(p.name.endswith(".partial") for p in host.backups.iterdir())
        assert_sound(host, first, content)
        if number % 10 == 9:
            # Whatever was left, the next run makes a backup and cleans up.
            assert killed_backup.create(host.config) == 0
            assert not [p for p in host.backups.iterdir() if p.name.endswith(".partial")]
    print(f"{killed} killed, {finished} were done before, {left} with a partial file")  # noqa: T201
    assert killed > count / 3
    assert left or count < KILLS


# --- at each system call -----------------------------------------------------------------------------------------

CALLS = (
    "mkdir",
    "openat",
    "write",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "unlink",
    "chmod",
    "fadvise64",
    "flock",
)


def traced(host: Host, inject: str, log: Path) -> subprocess.CompletedProcess[str]:
    command = ["strace", "-qq", "-o", str(log), "-e", f"trace={','.join(CALLS)}"]
    command += ["-e", f"inject={inject}"] if inject else []
    return subprocess.run(
        [*command, sys.executable, "-m", "tests.system.killed_backup", str(host.root)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=REPOSITORY,
    )


def calls_in(log: Path, directory: Path) -> list[tuple[str, int]]:
    """Each system call on the backups, as its name and which one of that name it is."""
    counts: dict[str, int] = {}
    found = []
    ours: set[str] = set()
    for line in log.read_text().splitlines():
        match = re.match(r"(\w+)\((.*)", line)
        if match is None:
            continue
        name, rest = match[1], match[2]
        counts[name] = counts.get(name, 0) + 1
        descriptor = rest.partition(",")[0].partition(")")[0]
        touched = str(directory) in rest or descriptor in ours
        if name == "openat" and (opened := re.search(r"= (\d+)$", line)):
            (ours.add if str(directory) in rest else ours.discard)(opened[1])
        if touched:
            found.append((name, counts[name]))
    return found


def can_trace() -> bool:
    if shutil.which("strace") is None:
        return False
    return (
        subprocess.run(
            ["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True, check=False
        ).returncode
        == 0
    )


needs_strace = pytest.mark.skipif(not can_trace(), reason="strace is not installed or may not trace here")


@pytest.mark.long
@needs_strace
@pytest.mark.parametrize(
    ("what", "code"),
    [("signal=SIGKILL", None), ("error=ENOSPC", 2), ("error=EIO", 2)],
    ids=["kill", "ENOSPC", "EIO"],
)
def test_at_each_system_call_on_the_backups(host: Host, tmp_path: Path, what: str, code: int | None) -> None:
    killed_backup.prepare(host.config)
    first, content = first_backup(host)
    log = tmp_path / "log"
    assert traced(host, "", log).returncode == 0
    places = calls_in(log, host.backups)
    assert len(places) > 15, log.read_text()
    met = 0
    for name, number in places:
        done = traced(host, f"{name}:{what}:when={number}", log)
        injected = "INJECTED" in log.read_text() or done.returncode < 0
        met += injected
        assert_sound(host, first, content)
        # The system may refuse to drop its cache: then the cache is what is read back.
        if code is not None and injected and name != "fadvise64":
            assert done.returncode != 0, (name, number, done.stderr)
            assert "Traceback" not in done.stderr
            assert not [p for p in host.backups.iterdir() if p.name.endswith(".partial")] or name == "unlink"
    print(f"{len(places)} system calls, {met} met")  # noqa: T201
    assert met > 0.8 * len(places)


@needs_strace
def test_a_source_that_cannot_be_read_ends_it(host: Host, tmp_path: Path) -> None:
    killed_backup.prepare(host.config)
    first, content = first_backup(host)
    log = tmp_path / "log"
    done = subprocess.run(
        ["strace", "-qq", "-o", str(log), "-P", str(host.root / "bulk" / "7"), "-e", "inject=read:error=EIO",
         sys.executable, "-m", "tests.system.killed_backup", str(host.root)],
        capture_output=True, text=True, check=False, timeout=120, cwd=REPOSITORY,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "no backup was made" in done.stderr
    assert "Input/output error" in done.stderr
    assert assert_sound(host, first, content) == 1


# --- a full disk -------------------------------------------------------------------------------------------------


def test_a_full_disk(host: Host) -> None:
    """Every size of disk from nothing to enough: a small tmpfs in a mount namespace of its own."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root, for a mount namespace")
    script = Path(__file__).with_name("full_disk.py")
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-m", f"tests.system.{script.stem}", str(host.root)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=REPOSITORY,
    )
    if "cannot mount" in done.stdout:
        pytest.skip("a tmpfs may not be mounted here")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"[1-9]\d* refused, [1-9]\d* made", done.stdout), done.stdout


# --- damage ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
@pytest.mark.parametrize("count", [FLIPS_IN_CI, pytest.param(FLIPS, marks=pytest.mark.long)])
def test_every_flipped_bit_and_every_cut_is_found(tmp_path: Path, count: int, encrypted: bool) -> None:
    """Of the archive and of its checksum file, without any key."""
    identity = pyrage.x25519.Identity.generate()
    path = tmp_path / f"gte-ops-a-20260101T000000Z.tar.zst{'.age' if encrypted else ''}"
    chunks = compressed(tar_stream(sample(), lambda entry: [CONTENTS[entry.path]]), "zst")
    with path.open("wb") as file:
        if encrypted:
            encrypt(chunks, file, [identity.to_public()])
        else:
            file.writelines(chunks)
    good = path.read_bytes()
    line = f"{hashlib.sha256(good).hexdigest()}  {path.name}\n".encode()
    beside = checksum_path(path)
    beside.write_bytes(line)
    assert verify(path, (), None).good is True
    chance = random.Random(SEED)
    missed = []
    for number in range(count):
        target, content = (path, good) if number % 10 else (beside, line)
        if number % 3 == 2:
            damaged = content[: chance.randrange(len(content))]
        else:
            place = chance.randrange(8 * len(content))
            flipped = bytearray(content)
            flipped[place // 8] ^= 1 << place % 8
            damaged = bytes(flipped)
        target.write_bytes(damaged)
        if verify(path, (), None).good is not False:
            missed.append((target.name, number))
        target.write_bytes(content)
    assert not missed
    assert verify(path, (), None).good is True


@pytest.mark.parametrize("count", [FLIPS_IN_CI, pytest.param(FLIPS, marks=pytest.mark.long)])
def test_damage_is_never_handed_out_as_content_even_without_the_checksum(tmp_path: Path, count: int) -> None:
    """What the archive's own sums let pass changes nothing that would be restored."""
    path = tmp_path / "gte-ops-a-20260101T000000Z.tar.zst"
    good = b"".join(compressed(tar_stream(sample(), lambda entry: [CONTENTS[entry.path]]), "zst"))
    chance = random.Random(SEED)
    found = 0
    for _ in range(count):
        damaged = bytearray(good)
        place = chance.randrange(8 * len(good))
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            with open_archive(path) as archive:
                read = {
                    m.entry.path: b"".join(m.chunks()) for m in archive.members() if m.entry.kind == "file"
                }
            assert archive.manifest == sample()
            assert read == CONTENTS
        except ArchiveError:
            found += 1
    assert found > 0.95 * count
