"""`nginx -t` on a backup's tree, restored into a scratch directory of its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ops.archive.encryption import Identity
from ops.archive.manifest import Manifest
from ops.archive.reading import open_archive
from ops.collect.nginx import build_facts, find_binary
from ops.errors import OpsError
from ops.language import Text
from ops.safekeeping.scratch import make_ready, try_configuration

SECONDS = 30.0
# A configuration's own files are smaller; data that backup.include names is not needed to load it.
MAX_FILE_BYTES = 64 << 20


def try_nginx(path: Path, manifest: Manifest, identities: Sequence[Identity]) -> tuple[bool | None, Text]:
    """Whether nginx loads the configuration in the archive, as far as that can be tried here; and what it said."""
    use = manifest.nginx
    if use is None:
        return None, Text(en="there is no nginx configuration in it", zh="其中没有 nginx 配置")
    binary = find_binary(use.binary if os.path.exists(use.binary) else "nginx", ())  # noqa: PTH110
    if binary is None:
        return None, Text(
            en="nginx is not installed here: nginx -t was not run", zh="本机没有安装 nginx，未能运行 nginx -t"
        )
    # mkdtemp makes it 0700: there are keys in it.
    with tempfile.TemporaryDirectory(prefix="gte-ops-verify-") as scratch:
        root, run = Path(scratch, "root"), Path(scratch, "run")
        try:
            unpack(path, identities, root, MAX_FILE_BYTES)
            spare = make_ready(
                root,
                run,
                use.config_file,
                prefix=use.prefix,
                binary=binary,
                build=build_facts(binary, timeout=5.0),
            )
            test = try_configuration(spare, SECONDS)
        except OSError as error:
            words = error.strerror or str(error)
            return None, Text(
                en=f"nginx -t was not run: {words} in {scratch}", zh=f"未能运行 nginx -t：{scratch}：{words}"
            )
        except OpsError as error:
            return False, Text(en=str(error), zh=str(error))
    if test.passed is None:
        return None, Text(en=f"nginx -t was not run: {test.reason}", zh=f"未能运行 nginx -t：{test.reason}")
    if not test.passed:
        return False, Text(en=f"nginx -t: {test.reason}", zh=f"nginx -t 未通过：{test.reason}")
    return True, Text(en="nginx -t on the restored tree", zh="在恢复出的目录树上运行 nginx -t")


def unpack(path: Path, identities: Sequence[Identity], root: Path, largest: int) -> None:
    """Writes the archive's tree below ``root``, which must not exist yet, for this user's eyes alone: owners and modes
    are not put back. Files larger than ``largest`` bytes are left out. Raises ArchiveError, OSError.

    The reader has seen to it that nothing lies below a link and no path climbs, so plain names are safe here."""
    root.mkdir(mode=0o700)
    with open_archive(path, identities) as archive:
        for member in archive.members():
            place = root / member.entry.path
            if member.entry.kind == "directory":
                place.mkdir(mode=0o700)
            elif member.entry.kind == "link":
                place.symlink_to(member.entry.target)
            elif member.entry.size <= largest:
                descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.writelines(member.chunks())
