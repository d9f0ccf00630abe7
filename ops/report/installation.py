"""What `gte-ops install` and `uninstall` show: each step, what it finds or did, diffs and commands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ops.diagnosis.model import Cause
from ops.facts.status import Status
from ops.installation.run import InstallResult, UninstallResult
from ops.installation.steps import (
    AccountsStep,
    Assessed,
    BackupStep,
    CertificateStep,
    DataStep,
    DirectoriesStep,
    DrainStep,
    EnableStep,
    EnvironmentStep,
    FileStep,
    FormerService,
    LinkStep,
    NginxStep,
    ReadyStep,
    RetireStep,
    StepState,
    Undo,
    UndoAccounts,
    UndoCertificate,
    UndoData,
    UndoDirectories,
    UndoDrain,
    UndoEnable,
    UndoEnvironment,
    UndoFile,
    UndoLink,
    UndoNginx,
    UndoRetire,
    UndoUnits,
    UndoVersions,
)
from ops.report.model import BLANK, CommandReport, ReportLine, command_line
from ops.report.sentences import sentence
from ops.text.language import COLON, Language, Text
from ops.text.sanitize import safe_line

_DONE = {
    StepState.NEW: Text(en="installed", zh="已安装"),
    StepState.CHANGED: Text(en="replaced", zh="已替换"),
    StepState.DUE: Text(en="done", zh="已完成"),
    StepState.UNCHANGED: Text(en="as before", zh="未变"),
    StepState.EDITED: Text(en="EDITED BY HAND, left alone", zh="被手工修改过，未改动"),
}
_PLANNED = {
    StepState.NEW: Text(en="new", zh="新增"),
    StepState.CHANGED: Text(en="changes", zh="将改动"),
    StepState.DUE: Text(en="run", zh="将运行"),
    StepState.UNCHANGED: Text(en="as before", zh="未变"),
    StepState.EDITED: Text(en="EDITED BY HAND, left alone", zh="被手工修改过，不会改动"),
}
_UNCHANGED = Text(
    en="Nothing to do: the host is as gte-ops.toml says.", zh="无需改动：主机与 gte-ops.toml 一致。"
)
_DRY = Text(en="Dry run: nothing was changed.", zh="演练：未作任何改动。")
_RECOVERED = Text(
    en="An earlier run had been cut off; it was undone first.", zh="之前的一次运行中途中断，已先行撤销。"
)
_CUT_OFF = Text(
    en="An earlier run was cut off; it will be undone first.", zh="之前的一次运行中途中断，将先行撤销。"
)
_OVERWRITE = Text(
    en="--overwrite replaces what was edited by hand, and keeps a copy.",
    zh="--overwrite 会替换手工修改过的文件，并保留副本。",
)
_FAILED = Text(en="FAILED", zh="失败")
_NO_BACKUP = Text(
    en="The service is set up, but has no backup: gte-ops backup create says why; the next install tries again.",
    zh="服务已安装，但还没有备份：gte-ops backup create 会说明原因；下次 install 会再试。",
)
_LOGIN = Text(
    en="; {} is an account that somebody may log in to (shell {}, home {}), and is used as it is",
    zh="；{} 是可登录的账户（shell {}，主目录 {}），将照原样使用",
)
_KEPT = Text(en=" (before: {})", zh="（原文件：{}）")


def planned_state(state: str, language: Language) -> str:
    """What a dry run says of a step; a state that another version knows is shown as it is."""
    words = {known.value: words for known, words in _PLANNED.items()}.get(state)
    return words.to(language) if words else state


class InstallationReport(CommandReport):
    """What `gte-ops install` did, or would do."""

    command = "install"

    def __init__(self, result: InstallResult) -> None:
        self.result = result
        if result.is_dry:
            self.command = "install --dry-run"

    @property
    def status(self) -> Status:
        """WARN if files that were edited by hand are not as the settings say, or the first backup could not be made."""
        return Status.WARN if self.result.edited or self.result.no_backup else Status.OK

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """A line for each step that changes something; on a dry run diffs and commands."""
        result = self.result
        if result.undone:
            yield ReportLine((_CUT_OFF if result.is_dry else _RECOVERED).to(language))
        kept = dict(result.kept)
        words = _PLANNED if result.is_dry else _DONE
        for item in result.assessed:
            is_quiet = item.state is StepState.UNCHANGED and not item.logins
            if is_quiet or isinstance(item.step, DataStep | DrainStep):
                continue
            path = _path(item)
            before = _KEPT.to(language).format(kept[path]) if path in kept else ""
            lead = words[item.state]
            if isinstance(item.step, BackupStep) and result.no_backup is not None:
                lead = _FAILED
                before = COLON.to(language) + result.no_backup.to(language)
            yield ReportLine(
                f"{step_title(item, language)}{before}", lead=lead.to(language) + COLON.to(language)
            )
            if result.is_dry or item.state is StepState.EDITED:
                for line in item.diff:
                    yield ReportLine(line.rstrip("\n"), indent=2, is_verbatim=True)
            for command in item.commands if result.is_dry else ():
                yield command_line(command, indent=2)
        if not result.has_changes and not result.edited:
            yield ReportLine(_UNCHANGED.to(language))
        if result.edited:
            yield BLANK
            yield ReportLine(_OVERWRITE.to(language))
        if result.no_backup is not None:
            yield BLANK
            yield ReportLine(_NO_BACKUP.to(language))
        if result.is_dry:
            yield ReportLine(_DRY.to(language))

    def document(self, language: Language) -> dict[str, Any]:
        """``steps``: title, state, path, diff, commands, kept; ``recovered``; ``dry_run``; ``no_backup``: why the first
        backup could not be made."""
        kept = dict(self.result.kept)
        return {
            "dry_run": self.result.is_dry,
            "recovered": self.result.undone,
            "changed": self.result.has_changes,
            "no_backup": self.result.no_backup.to(language) if self.result.no_backup else None,
            "steps": [
                {
                    "step": step_title(item, language),
                    "state": item.state,
                    "path": _path(item),
                    "diff": "".join(item.diff),
                    "commands": list(item.commands),
                    "kept": kept.get(_path(item) or ""),
                }
                for item in self.result.assessed
            ],
        }


def _path(item: Assessed) -> str | None:
    step = item.step
    if isinstance(step, FileStep):
        return step.file.path
    return step.path if isinstance(step, LinkStep) else None


def step_title(item: Assessed, language: Language) -> str:
    """What a step makes, in a few words."""
    step = item.step
    match step:
        case FileStep():
            return step.file.path
        case LinkStep():
            return f"{step.path} -> {step.target}"
        case DataStep():
            return Text(en="data directories", zh="数据目录").to(language)
        case EnvironmentStep():
            words = Text(en="Python environment {} with {}", zh="Python 环境 {}，含 {}")
            return words.to(language).format(step.directory, step.requirement)
        case AccountsStep():
            title = Text(en="accounts {}", zh="账户 {}").to(language).format(" ".join(step.names))
            return title + "".join(
                _LOGIN.to(language).format(*map(safe_line, login)) for login in item.logins
            )
        case DirectoriesStep():
            return Text(en="directories", zh="目录").to(language)
        case EnableStep():
            return (
                Text(en="start and enable {}", zh="启动并启用 {}").to(language).format(" ".join(step.units))
            )
        case NginxStep():
            return Text(en="nginx takes up its configuration", zh="nginx 加载配置").to(language)
        case CertificateStep():
            words = Text(en="certificate for {}: {}", zh="{} 的证书：{}")
            return words.to(language).format(step.domain, step.certificate)
        case BackupStep():
            return Text(en="first backup in {}", zh="首个备份，位于 {}").to(language).format(step.directory)
        case RetireStep():
            words = Text(en="the former service ends: {}", zh="原来的服务结束：{}")
            return words.to(language).format(former_title(step.former, language))
        case DrainStep():
            return Text(en="nginx's former workers end", zh="nginx 原来的工作进程结束").to(language)
        case ReadyStep():
            where = f"https://{step.domain}" if step.domain else step.address
            return Text(en="{} answers {}", zh="{} 对 {} 作出应答").to(language).format(where, step.path)
    return Text(en="systemd reads its units", zh="systemd 重新读取 unit").to(language)


def former_title(service: FormerService, language: Language) -> str:
    """Which service it is: its unit or its command, and where it listens."""
    words = Text(en="{} at {}", zh="{}，位于 {}")
    return words.to(language).format(service.unit or " ".join(service.argv), service.address)


_TRAPS = Text(en="On this host, before anything is changed:", zh="改动之前，本机存在的问题：")
_NO_TRAPS = Text(en="The doctor finds nothing wrong on this host.", zh="doctor 未发现本机有问题。")
_NOTES = Text(en="For a person to look at:", zh="需要人工查看：")
_ADOPTED = Text(
    en="Undo: gte-ops adopt --undo. What is left: gte-ops doctor.",
    zh="撤销：gte-ops adopt --undo。尚存的问题：gte-ops doctor。",
)


class AdoptionReport(InstallationReport):
    """What `gte-ops adopt` found, and did or would do. ``traps``: the doctor's causes, None for a host that is adopted
    already; ``notes``: what adopt leaves to a person."""

    command = "adopt"

    def __init__(
        self, result: InstallResult, traps: Sequence[Cause] | None, notes: Sequence[Text] = ()
    ) -> None:
        super().__init__(result)
        self.traps = traps
        self.notes = tuple(notes)
        self.command = "adopt --dry-run" if result.is_dry else "adopt"

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """The traps, the steps, and what is left to a person."""
        if self.traps is not None:
            yield ReportLine((_TRAPS if self.traps else _NO_TRAPS).to(language))
            for cause in self.traps:
                yield ReportLine(
                    sentence(cause.title, language), lead=cause.code + COLON.to(language), indent=2
                )
            yield BLANK
        yield from super().lines(language)
        if self.notes:
            yield BLANK
            yield ReportLine(_NOTES.to(language))
            for note in self.notes:
                yield ReportLine(note.to(language), indent=2)
        if self.traps is not None and not self.result.is_dry:
            yield ReportLine(_ADOPTED.to(language))

    def document(self, language: Language) -> dict[str, Any]:
        """``traps``: code and title of each; ``notes``: what is left to a person; and what `install` has."""
        return {
            "notes": [note.to(language) for note in self.notes],
            "traps": [
                {"code": cause.code, "title": sentence(cause.title, language)} for cause in self.traps or ()
            ],
            **super().document(language),
        }


_NOTHING = Text(en="Nothing is installed.", zh="没有已安装的内容。")
_COPIED = Text(en="Edited by hand, kept as {}", zh="手工修改过，副本保存为 {}")
_STAYS = Text(en="Stays (--purge removes it): {}", zh="保留（--purge 可删除）：{}")
_TROUBLE = Text(en="Not undone: {}. Run the command again.", zh="未能撤销：{}。请再次运行该命令。")
_UNDONE = Text(en="undone", zh="已撤销")
_TO_UNDO = Text(en="undo", zh="将撤销")


class UninstallationReport(CommandReport):
    """What `gte-ops uninstall` undid."""

    command = "uninstall"

    def __init__(self, result: UninstallResult) -> None:
        self.result = result

    @property
    def status(self) -> Status:
        """FAIL if something could not be undone."""
        return Status.FAIL if self.result.troubles else Status.OK

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """A line for each step that was undone, what stays, and what failed."""
        result = self.result
        lead = (_TO_UNDO if result.is_dry else _UNDONE).to(language) + COLON.to(language)
        for item in result.undone:
            yield ReportLine(undo_title(item, language), lead=lead)
        if not result.undone and not result.troubles:
            yield ReportLine(_NOTHING.to(language))
        for path in result.copies:
            yield ReportLine(_COPIED.to(language).format(path))
        if result.data:
            yield ReportLine(_STAYS.to(language).format(" ".join(result.data)))
        for trouble in result.troubles:
            yield ReportLine(_TROUBLE.to(language).format(trouble.to(language)), is_warning=True)
        if result.is_dry:
            yield ReportLine(_DRY.to(language))

    def document(self, language: Language) -> dict[str, Any]:
        """``undone``, ``copies``, ``data``, ``troubles``."""
        result = self.result
        return {
            "dry_run": result.is_dry,
            "undone": [undo_title(item, language) for item in result.undone],
            "copies": list(result.copies),
            "data": list(result.data),
            "troubles": [trouble.to(language) for trouble in result.troubles],
        }


def undo_title(item: Undo, language: Language) -> str:
    """What is undone, in a few words."""
    match item:
        case UndoFile():
            before = Text(en=" (the former file is back)", zh="（已恢复原文件）").to(language)
            return f"{item.path}{before if item.original else ''}"
        case UndoLink():
            return item.path
        case UndoData():
            return " ".join(item.paths)
        case UndoEnvironment():
            return Text(en="Python environment {}", zh="Python 环境 {}").to(language).format(item.directory)
        case UndoVersions():
            return Text(en="versions in {}", zh="{} 中的各版本").to(language).format(item.directory)
        case UndoAccounts():
            names = " ".join(dict.fromkeys((*item.names, *item.groups)))
            return Text(en="accounts {}", zh="账户 {}").to(language).format(names)
        case UndoDirectories():
            return Text(en="empty directories", zh="空目录").to(language)
        case UndoUnits():
            return Text(en="systemd reads its units", zh="systemd 重新读取 unit").to(language)
        case UndoEnable():
            return (
                Text(en="stop and disable {}", zh="停止并禁用 {}")
                .to(language)
                .format(" ".join(dict.fromkeys((*item.stopped, *item.disabled))))
            )
        case UndoDrain():
            return Text(en="nginx's former workers end", zh="nginx 原来的工作进程结束").to(language)
        case UndoRetire():
            words = Text(en="the former service serves again: {}", zh="原来的服务重新提供服务：{}")
            return words.to(language).format(former_title(item.former, language))
        case UndoCertificate():
            return Text(en="certificate: {}", zh="证书：{}").to(language).format(" ".join(item.own))
        case UndoNginx():
            return Text(en="nginx takes up its configuration", zh="nginx 加载配置").to(language)
