"""`backup create` on disks of every size, from nothing to enough. Run in a mount namespace of its own:

unshare --mount python -m tests.system.full_disk HOST
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from ops.archive.listing import list_backups
from tests.system import killed_backup
from tests.system.backup_host import Host

STEP, MOST = 96 << 10, 3 << 20


def main(host: Host) -> int:
    """0 where each run either made a good backup or none at all, and the first is as it was."""
    killed_backup.prepare(host.config)
    outside = host.root / "outside"
    refused = made = 0
    host.backups.mkdir(mode=0o700, exist_ok=True)
    assert killed_backup.create(host.config) == 0
    (first,) = host.archives()
    digest = first.with_name(f"{first.name}.sha256").read_text().split()[0]
    elsewhere = "gte-ops-elsewhere-20260101T000000Z.tar.zst"
    shutil.move(first, outside)
    for size in range(first_size(outside) + STEP, first_size(outside) + MOST, STEP):
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(host.backups)],
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            print("cannot mount")  # noqa: T201
            return 1
        try:
            kept = host.backups / elsewhere
            shutil.copy(outside, kept)
            kept.with_name(f"{elsewhere}.sha256").write_text(f"{digest}  {elsewhere}\n")
            code = killed_backup.create(host.config)
            listed = list_backups(host.backups)
            assert all(each.good for each in listed), listed
            assert kept in [each.path for each in listed]
            assert len(listed) == (2 if code == 0 else 1), (code, listed)
            assert not list(host.backups.glob("*.partial"))
            made, refused = made + (code == 0), refused + (code == 2)
            assert code in (0, 2)
        finally:
            subprocess.run(["umount", str(host.backups)], check=True)
    print(f"{refused} refused, {made} made")  # noqa: T201
    return 0


def first_size(path: Path) -> int:
    """Its size in whole pages, as a tmpfs counts, with some for its checksum and the lock."""
    return (path.stat().st_size // 4096 + 4) * 4096


if __name__ == "__main__":
    sys.exit(main(Host(Path(sys.argv[1]))))
