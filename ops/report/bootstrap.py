"""What `gte-ops backup restore --bootstrap` shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ops.diagnosis.model import Status
from ops.report.installation import InstallationReport
from ops.report.model import CommandReport, ReportLine
from ops.report.restore import RestoreReport
from ops.text.language import Language, Text

if TYPE_CHECKING:
    from ops.installation.bootstrap import BootstrapResult

_ACCOUNTS = Text(en="accounts made: {}", zh="已创建账户：{}")
_SECONDS = Text(en="the host serves again; it took {:.0f} s", zh="主机已恢复服务，用时 {:.0f} 秒")


class BootstrapReport(CommandReport):
    """The restore, the accounts, the installation, and the time that they took."""

    command = "backup restore --bootstrap"

    def __init__(self, result: BootstrapResult) -> None:
        self._result = result
        self._restore = RestoreReport(result.restored, dry_run=False)
        self._install = InstallationReport(result.installed) if result.installed else None

    @property
    def status(self) -> Status:
        """warn if something is not as on the old host."""
        if self._restore.status is not Status.OK:
            return self._restore.status
        return self._install.status if self._install else Status.OK

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """What was restored, the accounts, what was installed, and the time."""
        yield from self._restore.lines(language)
        if self._result.accounts:
            yield ReportLine(_ACCOUNTS.to(language).format(", ".join(self._result.accounts)))
        if self._install is not None:
            yield from self._install.lines(language)
        yield ReportLine(_SECONDS.to(language).format(self._result.seconds))

    def document(self, language: Language) -> dict[str, Any]:
        """``restore``, ``install``: as of those commands; ``accounts``, ``seconds``."""
        return {
            "restore": self._restore.document(language),
            "accounts": list(self._result.accounts),
            "install": self._install.document(language) if self._install else None,
            "seconds": round(self._result.seconds, 1),
        }
