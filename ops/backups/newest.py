"""The newest good backup, and the check of its signature."""

from __future__ import annotations

import platform
import time
from contextlib import suppress
from pathlib import Path

from ops.archive.listing import judge
from ops.archive.name import backups_in, is_ahead, is_of_host
from ops.backups.create import BackupError
from ops.backups.signature import SignatureCheck, check_signature
from ops.errors import OpsError
from ops.settings import Settings
from ops.text.language import Text
from ops.text.reasons import chinese


def newest_good(settings: Settings) -> Path:
    """The newest backup of this host that is unchanged since it was made. Raises OpsError if there is none."""
    return newest(settings)[0]


def newest(settings: Settings) -> tuple[Path, dict[Path, Text]]:
    """The newest good backup of this host, and the newer files that are none, each with the reason: damaged, or with a
    time that lies ahead. Another host's is taken only by name. Raises OpsError if there is none."""
    passed_over: dict[Path, Text] = {}
    other_hosts: dict[str, Path] = {}
    directory, hostname, now = Path(settings.backup.dir), platform.node(), time.time()
    with suppress(FileNotFoundError):
        try:
            for name, path in backups_in(directory):
                if not is_of_host(name, hostname):
                    other_hosts.setdefault(name.host, path)
                    continue
                if is_ahead(name, now):
                    passed_over[path] = Text(en="its time is in the future", zh="备份时间晚于现在")
                    continue
                good, reason = judge(path, encrypted=name.encrypted)
                if good:
                    return path, passed_over
                passed_over[path] = reason
        except PermissionError as error:
            raise OpsError(
                Text(
                    en=f"{directory}: {error.strerror}; run it as root",
                    zh=f"{directory}：{chinese(error.strerror)}；请以 root 运行",
                )
            ) from None
    raise _none_good(directory, passed_over, other_hosts)


def _none_good(directory: Path, passed_over: dict[Path, Text], other_hosts: dict[str, Path]) -> BackupError:
    first_ones = list(passed_over.items())[:3]
    broken = "".join(f"; {path.name}: {reason.en}" for path, reason in first_ones)
    broken_zh = "".join(f"；{path.name}：{reason.to('zh')}" for path, reason in first_ones)
    if other_hosts:
        hosts, example = ", ".join(sorted(other_hosts)[:5]), next(iter(other_hosts.values())).name
        return BackupError(
            Text(
                en=f"{directory}: there is no good backup of this host in it{broken}; those of {hosts} are used only by"
                f" name, for example {example}",
                zh=f"{directory}：没有本机的完好备份{broken_zh}；{hosts} 的备份须指明文件名才会使用，例如 {example}",
            )
        )
    return BackupError(
        Text(
            en=f"{directory}: there is no good backup in it{broken}; make one: gte-ops backup create",
            zh=f"{directory}：没有完好的备份{broken_zh}；请用 gte-ops backup create 制作一份",
        )
    )


def signature_of(settings: Settings, archive: Path) -> SignatureCheck | None:
    """The check of the signature of ``archive``, None if no signer is known. Raises OpsError."""
    signers = settings.backup.allowed_signers
    return check_signature(archive, signers) if signers else None
