"""What `gte-ops render` shows: files, what would change, what became of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ops.deployment.install import FileChange, Installed
from ops.deployment.render import DeploymentKind, RenderedFile
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
