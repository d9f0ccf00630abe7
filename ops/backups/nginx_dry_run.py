"""`nginx -t` on a backup's tree, restored into a scratch directory of its own."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ops.archive.encryption import Identity
from ops.archive.manifest import Manifest
from ops.archive.reading import open_archive
from ops.backups.staging import UntestedError, make_ready, try_configuration
from ops.backups.staging_directory import scratch_directory
from ops.collect.services.nginx import build_facts, find_binary
from ops.errors import OpsError
from ops.files.entry_kind import EntryKind
from ops.files.programs import reason_not_to_run
from ops.text.language import Text

SECONDS = 30.0
# Configuration files are smaller; data from backup.include is not needed to load them.
MAX_FILE_BYTES = 64 << 20


def try_nginx(
    path: Path, manifest: Manifest, identities: Sequence[Identity], *, program: str
) -> tuple[bool | None, Text]:
    """Whether nginx loads the configuration in the archive, as far as that can be tried here; and its output.

    ``program``: this host's nginx, by name or path. A program named by the manifest is never run."""
    use = manifest.nginx
    if use is None:
        return None, Text(en="there is no nginx configuration in it", zh="其中没有 nginx 配置")
    host = host_nginx(program)
    if isinstance(host, Text):
        return None, Text(en=f"nginx -t was not run: {host.en}", zh=f"未能运行 nginx -t：{host.zh}")
    try:
        with scratch_directory() as scratch:
            unpack(path, identities, scratch / "root", MAX_FILE_BYTES)
            spare = make_ready(
                scratch / "root",
                scratch / "run",
                use.config_file,
                prefix=use.prefix,
                binary=host.binary,
                build=host.build,
            )
            test = try_configuration(spare, SECONDS)
    except OSError as error:
        words = f"{error.filename or 'scratch'}: {error.strerror or error}"
        return None, Text(en=f"nginx -t was not run: {words}", zh=f"未能运行 nginx -t：{words}")
    except UntestedError as error:
        return None, untested(error)
    except OpsError as error:
        return False, error.words
    if test.passed is None:
        return None, Text(en=f"nginx -t was not run: {test.reason}", zh=f"未能运行 nginx -t：{test.reason}")
    if not test.passed:
        return False, Text(en=f"nginx -t: {test.reason}", zh=f"nginx -t 未通过：{test.reason}")
    return True, Text(en="nginx -t on the restored tree", zh="在恢复出的目录树上运行 nginx -t")


def untested(error: UntestedError) -> Text:
    """The sentence that a configuration was not given to nginx, and why."""
    return Text(en=f"not tested by nginx: {error.words.en}", zh=f"未经 nginx 测试：{error.words.to('zh')}")


class HostNginx(msgspec.Struct, frozen=True):
    """This host's nginx, and the facts of ``nginx -V``."""

    binary: str
    build: dict[str, str]


def host_nginx(program: str) -> HostNginx | Text:
    """The nginx for trying archives, or the reason why there is none."""
    binary = find_binary(program, ())
    if binary is None:
        return Text(en="nginx is not installed here", zh="本机未安装 nginx")
    if (why := reason_not_to_run(binary)) is not None:
        return Text(en=f"{binary} is not trusted: {why}", zh=f"不信任 {binary}：{why}")
    build = build_facts(binary, timeout=5.0)
    if not build:
        return Text(en=f"{binary} -V does not say what it is", zh=f"{binary} -V 没有可用的输出")
    return HostNginx(binary, build)


def unpack(path: Path, identities: Sequence[Identity], root: Path, largest: int) -> None:
    """Write the archive's tree below ``root``, which must not exist yet, readable only by this user: owners and modes
    are not restored. Files larger than ``largest`` bytes are left out. Raises ArchiveError; OSError, ENOSPC also if it
    would take more than half of the free space: a small archive may expand to fill a disk.

    The reader has checked that nothing is below a link and that no path contains '..', so plain paths are safe here."""
    root.mkdir(mode=0o700)
    with open_archive(path, identities) as archive:
        needed = sum(entry.size for entry in archive.manifest.entries if entry.size <= largest)
        if needed > shutil.disk_usage(root).free // 2:
            raise OSError(errno.ENOSPC, f"its {needed} bytes are more than half of the free space", str(root))
        for member in archive.members():
            place = root / member.entry.path
            if member.entry.kind == EntryKind.DIRECTORY:
                place.mkdir(mode=0o700)
            elif member.entry.kind == EntryKind.LINK:
                place.symlink_to(member.entry.target)
            elif member.entry.size <= largest:
                descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.writelines(member.chunks())
