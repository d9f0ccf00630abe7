"""What `gte-ops upgrade` shows: the versions, the steps of a dry run, the packages that differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ops.facts.status import Status
from ops.report.installation import planned_state
from ops.report.model import CommandReport, ReportLine, command_line
from ops.text.language import Language, Text
from ops.upgrade.planned_files import PlannedFiles
from ops.upgrade.run import UpgradeResult

_UNCHANGED = Text(en="Nothing to do: {} is the present version.", zh="无需改动：当前版本就是 {}。")
_DONE = Text(en="Upgraded from {} to {}: {}", zh="已从 {} 升级到 {}：{}")
_BACK = Text(en="Back from {} to {}: {}", zh="已从 {} 回到 {}：{}")
_WOULD = Text(en="From {} to {}: {}", zh="将从 {} 换到 {}：{}")
_PACKAGES = Text(en="Packages that differ:", zh="有变化的软件包：")
_NONE = Text(en="(none)", zh="（无）")
_FILES = Text(
    en="What that install changes on this host, by the new version's own dry run:",
    zh="该 install 将在本机作的改动（由新版本自己演练得出）：",
)
_NO_FILES = Text(en="That install changes no file of this host.", zh="该 install 不改动本机的任何文件。")
_UNKNOWN = Text(
    en="What that install changes on this host cannot be told before the version is built: {}",
    zh="在构建该版本之前，无法得知该 install 将在本机作哪些改动：{}",
)
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
        if result.is_dry and result.changed:
            yield from _planned(result.files, language)
        for path in result.removed:
            yield ReportLine(_REMOVED.to(language).format(path))
        if result.restart_due:
            yield ReportLine(_RESTART.to(language))
        if result.is_dry:
            yield ReportLine(_DRY.to(language))
        elif result.changed and not result.is_rollback:
            yield ReportLine(_WAY_BACK.to(language))

    def document(self, language: Language) -> dict[str, Any]:
        """``from``, ``to``, ``environment``, ``changed``, ``packages``, ``steps``, ``files``: what the version's own
        install changes, ``files_unknown``: why that cannot be told, ``removed``, ``restart_due``."""
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
            "files": [
                {"path": step.path, "state": step.state, "diff": step.diff, "commands": list(step.commands)}
                for step in result.files.steps
            ],
            "files_unknown": result.files.unknown.to(language) if result.files.unknown else None,
            "removed": list(result.removed),
            "restart_due": result.restart_due,
        }


def _planned(files: PlannedFiles, language: Language) -> Iterator[ReportLine]:
    """What the new version's `install` would change: diffs and commands."""
    if files.unknown is not None:
        yield ReportLine(_UNKNOWN.to(language).format(files.unknown.to(language)), is_warning=True)
        return
    yield ReportLine((_FILES if files.steps else _NO_FILES).to(language))
    for step in files.steps:
        if step.path is not None:
            yield ReportLine(step.path, lead=f"{planned_state(step.state, language)}: ", indent=2)
        for line in step.diff.splitlines():
            yield ReportLine(line, indent=4, is_verbatim=True)
        for command in step.commands:
            yield command_line(command, indent=4)
