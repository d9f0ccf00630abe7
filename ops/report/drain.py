"""What `gte-ops deploy drain` and `undrain` report."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from ops.drain import DrainAction, DrainResult
from ops.report.model import CommandReport, ReportLine
from ops.report.sentences import sentence
from ops.text.language import Language, Text

_DONE: dict[DrainAction, Text] = {
    DrainAction.DRAIN: Text(
        en="{} gets no new requests; those that it has end in nginx's old workers",
        zh="{} 不再接收新请求；已有的请求在 nginx 的旧工作进程中完成",
    ),
    DrainAction.UNDRAIN: Text(en="{} gets requests again", zh="{} 重新接收请求"),
}
_UNCHANGED: dict[DrainAction, Text] = {
    DrainAction.DRAIN: Text(en="{} was drained already", zh="{} 本来就不接收请求"),
    DrainAction.UNDRAIN: Text(en="{} was not drained", zh="{} 本来就在接收请求"),
}
_UNRECORDED = Text(en="Not recorded among the deployments: {}", zh="未记入部署记录：{}")
_SERVING = Text(en="Serving: {}", zh="接收请求的服务器：{}")
_NONE = Text(en="none", zh="无")


class DrainReport(CommandReport):
    """One host, taken out or put back."""

    def __init__(self, result: DrainResult) -> None:
        self.command = f"deploy {result.action}"
        self._result = result

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """What became of the host, who serves; for a dry run the diff."""
        result = self._result
        diff = self._diff() if result.dry_run else []
        for line in diff:
            yield ReportLine(line, is_verbatim=True)
        if not diff:
            words = _DONE if result.changed else _UNCHANGED
            yield ReportLine(words[result.action].to(language).format(sentence(result.address, language)))
        serving = ", ".join(sentence(item, language) for item in result.serving) or _NONE.to(language)
        yield ReportLine(_SERVING.to(language).format(serving), style="dim")
        if result.unrecorded is not None:
            why = sentence(result.unrecorded, language)
            yield ReportLine(_UNRECORDED.to(language).format(why), is_warning=True)

    def document(self, language: Language) -> dict[str, Any]:
        """Action, address, file, what changed, who serves."""
        result = self._result
        return {
            "action": result.action,
            "address": sentence(result.address, language),
            "file": sentence(result.file, language),
            "dry_run": result.dry_run,
            "changed": result.changed,
            "diff": "".join(f"{line}\n" for line in self._diff()),
            "serving": [sentence(item, language) for item in result.serving],
            "unrecorded": sentence(result.unrecorded, language) if result.unrecorded else None,
        }

    def _diff(self) -> list[str]:
        before, after = self._result.before.splitlines(), self._result.after.splitlines()
        file = self._result.file
        return list(difflib.unified_diff(before, after, file, file, lineterm=""))
