"""The newest good backup, and the check of its signature."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ops.archive.listing import judge
from ops.archive.name import backups_in
from ops.backups.create import BackupError
from ops.backups.signature import SignatureCheck, check_signature
from ops.errors import OpsError
from ops.settings import Settings
from ops.text.language import Text
from ops.text.reasons import chinese


def newest_good(settings: Settings) -> Path:
    """The newest backup that is unchanged since it was made. Raises OpsError if there is none."""
    return newest(settings)[0]


def newest(settings: Settings) -> tuple[Path, dict[Path, Text]]:
    """The newest good backup, and the newer ones that are not good, each with the reason. Raises OpsError."""
    passed_over: dict[Path, Text] = {}
    directory = Path(settings.backup.dir)
    with suppress(FileNotFoundError):
        try:
            for name, path in backups_in(directory):
                good, reason = judge(path, encrypted=name.encrypted)
                if good:
                    return path, passed_over
                passed_over[path] = reason
        except PermissionError as error:
            raise OpsError(
                Text(
                    en=f"{directory}: {error.strerror}; run it as root",
                    zh=f"{directory}: {chinese(error.strerror)}；请以 root 运行",
                )
            ) from None
    first_ones = list(passed_over.items())[:3]
    broken = "".join(f"; {path.name}: {reason.en}" for path, reason in first_ones)
    broken_zh = "".join(f"；{path.name}：{reason.to('zh')}" for path, reason in first_ones)
    raise BackupError(
        Text(
            en=f"{directory}: there is no good backup in it{broken}; make one: gte-ops backup create",
            zh=f"{directory}: 没有完好的备份{broken_zh}；请用 gte-ops backup create 制作一份",
        )
    )


def signature_of(settings: Settings, archive: Path) -> SignatureCheck | None:
    """The check of the signature of ``archive``, None if no signer is known. Raises OpsError."""
    signers = settings.backup.allowed_signers
    return check_signature(archive, signers) if signers else None
