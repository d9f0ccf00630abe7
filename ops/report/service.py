"""What `gte-ops service` shows: what became of the service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ops.facts.status import Status
from ops.report.model import CommandReport, ReportLine
from ops.service import Readiness, ServiceAction, ServiceResult
from ops.text.language import COLON, Language, Text
from ops.text.sanitize import safe_line

_STATES = {
    Readiness.READY: (Text(en="ready", zh="已就绪"), Status.OK),
    Readiness.STARTING: (Text(en="runs, and is not ready", zh="在运行，尚未就绪"), Status.WARN),
    Readiness.STOPPED: (Text(en="stopped", zh="已停止"), Status.FAIL),
}
_UNCHANGED = Text(en="; it was so before", zh="；此前已是如此")
_PROCESS = Text(en=" (process {})", zh="（进程 {}）")
_STALE = Text(en="stale pidfile {}", zh="失效的 pidfile {}")
_REMOVED = Text(en=" removed", zh=" 已删除")
_PAUSED = Text(
    en="The watchdog leaves it stopped until gte-ops service start, at most for seven days.",
    zh="在 gte-ops service start 之前，watchdog 不会启动它，最长七天。",
)


class ServiceReport(CommandReport):
    """What `gte-ops service ACTION` did, or found."""

    def __init__(self, result: ServiceResult) -> None:
        self.result = result
        self.command = f"service {result.action}"

    @property
    def status(self) -> Status:
        """OK if the service is as was asked; for `status`: FAIL stopped, WARN not ready."""
        if self.result.action is ServiceAction.STOP:
            return Status.OK if self.result.state is Readiness.STOPPED else Status.FAIL
        return _STATES[self.result.state][1]

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """One line for the service; before it one for each stale pidfile."""
        result = self.result
        for stale in result.stale:
            removed = "" if stale.failure else _REMOVED.to(language)
            yield ReportLine(_STALE.to(language).format(safe_line(stale.path)) + removed)
        words = _STATES[result.state][0].to(language)
        process = _PROCESS.to(language).format(result.master) if result.master else ""
        is_same = not result.changed and result.action is not ServiceAction.STATUS
        same = _UNCHANGED.to(language) if is_same else ""
        yield ReportLine(
            f"{words}{process}{same}", lead=safe_line(result.unit or result.backend) + COLON.to(language)
        )
        if result.action is ServiceAction.STOP and result.unit is None:
            yield ReportLine(_PAUSED.to(language))

    def document(self, language: Language) -> dict[str, Any]:  # noqa: ARG002
        """``action``, ``state``, ``changed``, ``backend``, ``master``, ``unit``, ``stale_pidfiles``."""
        result = self.result
        return {
            "action": result.action,
            "state": result.state,
            "changed": result.changed,
            "backend": result.backend,
            "master": result.master,
            "unit": result.unit,
            "stale_pidfiles": [stale.path for stale in result.stale],
        }
