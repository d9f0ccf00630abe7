"""What `gte-ops upgrade` shows: the versions, the steps of a dry run, the packages that differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ops.facts.status import Status
from ops.report.model import CommandReport, ReportLine, command_line
from ops.text.language import Language, Text
from ops.upgrade.run import UpgradeResult

_UNCHANGED = Text(en="Nothing to do: {} is the present version.", zh="无需改动：当前版本就是 {}。")
_DONE = Text(en="Upgraded from {} to {}: {}", zh="已从 {} 升级到 {}：{}")
_BACK = Text(en="Back from {} to {}: {}", zh="已从 {} 回到 {}：{}")
_WOULD = Text(en="From {} to {}: {}", zh="将从 {} 换到 {}：{}")
_PACKAGES = Text(en="Packages that differ:", zh="有变化的软件包：")
_NONE = Text(en="(none)", zh="（无）")
_REMOVED = Text(en="Removed: {}", zh="已移除：{}")
_RESTART = Text(
    en="The service's unit differs: what it says of sandbox and environment takes effect at the next restart"
    " (gte-ops service restart, which costs requests).",
    zh="服务的 unit 有变化：其中的沙箱与环境设置在下次重启时生效（gte-ops service restart，会丢失请求）。",
)
_WAY_BACK = Text(en="The way back: gte-ops upgrade --rollback", zh="如需退回：gte-ops upgrade --rollback")
_DRY = Text(en="Dry run: nothing was changed.", zh="演练：未作任何改动。")


class UpgradeReport(CommandReport):
    """What `gte-ops upgrade` did, or would do."""

    command = "upgrade"

    def __init__(self, result: UpgradeResult) -> None:
        self.result = result

    @property
    def status(self) -> Status:
        """OK: what fails is an error."""
        return Status.OK

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """The versions first."""
        result = self.result
        if result.recovered is not None:
            yield ReportLine(result.recovered.to(language))
        if not result.changed:
            yield ReportLine(_UNCHANGED.to(language).format(result.version))
        else:
            words = _WOULD if result.is_dry else _BACK if result.is_rollback else _DONE
            yield ReportLine(words.to(language).format(result.former, result.version, result.environment))
        for command in result.commands:
            yield command_line(command, indent=2)
        if result.packages:
            yield ReportLine(_PACKAGES.to(language))
        for name, before, after in result.packages:
            none = _NONE.to(language)
            yield ReportLine(f"{name} {before or none} -> {after or none}", indent=2, is_verbatim=True)
        for path in result.removed:
            yield ReportLine(_REMOVED.to(language).format(path))
        if result.restart_due:
            yield ReportLine(_RESTART.to(language))
        if result.is_dry:
            yield ReportLine(_DRY.to(language))
        elif result.changed and not result.is_rollback:
            yield ReportLine(_WAY_BACK.to(language))

    def document(self, language: Language) -> dict[str, Any]:
        """``from``, ``to``, ``environment``, ``changed``, ``packages``, ``steps``, ``removed``, ``restart_due``."""
        result = self.result
        return {
            "from": result.former,
            "to": result.version,
            "environment": result.environment,
            "changed": result.changed,
            "rollback": result.is_rollback,
            "dry_run": result.is_dry,
            "recovered": result.recovered.to(language) if result.recovered else None,
            "steps": list(result.commands),
            "packages": [
                {"name": name, "before": before, "after": after} for name, before, after in result.packages
            ],
            "removed": list(result.removed),
            "restart_due": result.restart_due,
        }
