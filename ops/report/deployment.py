"""What `gte-ops render` shows: files, what would change, what became of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ops.deployment.install import FileChange, Installed
from ops.deployment.removal import FileRemoval, RemovedFile
from ops.deployment.render import DeploymentKind, RenderedFile
from ops.facts.status import Status
from ops.report.model import CommandReport, ReportLine, command_line
from ops.text.language import Language, Text

_STATES = {
    FileChange.NEW: Text(en="installed", zh="已安装"),
    FileChange.CHANGED: Text(en="replaced", zh="已替换"),
    FileChange.UNCHANGED: Text(en="unchanged", zh="未变"),
}
_BEFORE = Text(en=" (before: {})", zh="（原文件：{}）")
_NEXT = Text(en="Next:", zh="接下来：")


class DeploymentFilesReport(CommandReport):
    """The rendered files: one as it is; several with their places between them, as comments."""

    def __init__(self, kind: DeploymentKind, files: Sequence[RenderedFile]) -> None:
        self.command = f"render {kind}"
        self._files = files

    def lines(self, language: Language) -> Iterator[ReportLine]:  # noqa: ARG002  files
        """The files' own lines."""
        for file in self._files:
            if len(self._files) > 1:
                yield ReportLine(f"# ---- {file.path}", is_verbatim=True)
            for line in file.text.removesuffix("\n").split("\n"):
                yield ReportLine(line, is_verbatim=True)

    def document(self, language: Language) -> dict[str, Any]:  # noqa: ARG002
        """``files``: path, mode, text."""
        return {
            "files": [
                {"path": file.path, "mode": f"{file.mode:04o}", "text": file.text} for file in self._files
            ]
        }


class DeploymentDiffReport(CommandReport):
    """What --install would change: the lines of a diff, none if nothing."""

    def __init__(self, kind: DeploymentKind, diff: Sequence[str]) -> None:
        self.command = f"render {kind} --dry-run"
        self._diff = "".join(diff)

    def lines(self, language: Language) -> Iterator[ReportLine]:  # noqa: ARG002
        """The diff."""
        for line in self._diff.removesuffix("\n").split("\n") if self._diff else ():
            yield ReportLine(line, is_verbatim=True)

    def document(self, language: Language) -> dict[str, Any]:  # noqa: ARG002
        """``diff``: as `diff -u` writes it; empty if nothing would change."""
        return {"dry_run": True, "diff": self._diff}


class InstallReport(CommandReport):
    """What became of each file, and what is left to do."""

    def __init__(self, kind: DeploymentKind, installed: Sequence[Installed], steps: Sequence[str]) -> None:
        self.command = f"render {kind} --install"
        self._installed = installed
        self._steps = steps

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """A line for each file, then the commands that are left to do."""
        for item in self._installed:
            before = _BEFORE.to(language).format(item.kept) if item.kept else ""
            yield ReportLine(f"{item.path}{before}", lead=f"{_STATES[item.state].to(language)} ")
        if self._steps:
            yield ReportLine(_NEXT.to(language))
        for step in self._steps:
            yield command_line(step, indent=2)

    def document(self, language: Language) -> dict[str, Any]:  # noqa: ARG002
        """``files``: path, state, kept; ``next``: commands."""
        return {
            "files": [
                {"path": item.path, "state": item.state, "kept": item.kept} for item in self._installed
            ],
            "next": list(self._steps),
        }


_REMOVALS = {
    FileRemoval.REMOVED: Text(en="removed", zh="已删除"),
    FileRemoval.ABSENT: Text(en="not there", zh="不存在"),
    FileRemoval.EDITED: Text(en="EDITED BY HAND, left alone", zh="被手工修改过，未删除"),
}
_TO_REMOVE = Text(en="would be removed", zh="将删除")
_COPY = Text(en="a former file is kept: {}", zh="保留的原文件：{}")


class RemovalReport(CommandReport):
    """What became of each file, or would, and what is left to do."""

    def __init__(
        self, kind: DeploymentKind, results: Sequence[RemovedFile], steps: Sequence[str], *, is_dry: bool
    ) -> None:
        self.command = f"render {kind} --remove{' --dry-run' if is_dry else ''}"
        self._results, self._steps, self._is_dry = results, steps, is_dry

    @property
    def status(self) -> Status:
        """WARN if edited files were left."""
        is_edited = any(item.state is FileRemoval.EDITED for item in self._results)
        return Status.WARN if is_edited else Status.OK

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """A line for each file, an edited one's difference, then the commands that are left to do."""
        for item in self._results:
            is_due = self._is_dry and item.state is FileRemoval.REMOVED
            words = _TO_REMOVE if is_due else _REMOVALS[item.state]
            yield ReportLine(item.path, lead=f"{words.to(language)} ")
            for line in item.diff:
                yield ReportLine(line.rstrip("\n"), indent=2, is_verbatim=True)
            for copy in item.copies:
                yield ReportLine(_COPY.to(language).format(copy), indent=2)
        if self._steps:
            yield ReportLine(_NEXT.to(language))
        for step in self._steps:
            yield command_line(step, indent=2)

    def document(self, language: Language) -> dict[str, Any]:  # noqa: ARG002
        """``files``: path, state, diff, copies; ``next``: commands."""
        return {
            "dry_run": self._is_dry,
            "files": [
                {
                    "path": item.path,
                    "state": item.state,
                    "diff": "".join(item.diff),
                    "copies": list(item.copies),
                }
                for item in self._results
            ],
            "next": list(self._steps),
        }
