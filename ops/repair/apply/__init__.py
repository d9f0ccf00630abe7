"""Apply a remedy: verify its reason once more, act, and wait until the effect shows.

One applier for each area. Whatever acts on a process or replaces a file is shared with the watchdog and with `render`.
"""

from __future__ import annotations

from ops.diagnosis.steps import with_settings
from ops.errors import OpsError
from ops.repair.apply.exchange import FileExchanger
from ops.repair.apply.files import apply_to_files
from ops.repair.apply.gunicorn import GunicornApplier
from ops.repair.apply.nginx import NginxApplier
from ops.repair.apply.session import AppliedChange, NotAppliedError, RepairSession, blocked
from ops.repair.audit_log import AuditStep
from ops.repair.model import (
    Action,
    Area,
    ChangeMode,
    CreateBackup,
    EditNginx,
    ExchangeFiles,
    InstallRotation,
    MendPidfile,
    Outcome,
    ReloadNginx,
    Remedy,
    RemedyResult,
    ReopenLogs,
    StartNginx,
)
from ops.settings import SettingsFile
from ops.text.language import Text
from ops.text.reasons import reason
from ops.text.sanitize import safe_line


class Applier:
    """Applies remedies on this host, one after the other."""

    def __init__(self, session: RepairSession) -> None:
        self.session = session
        self._gunicorn, self._nginx = GunicornApplier(session), NginxApplier(session)
        self._files = FileExchanger(session, self._gunicorn, self._nginx)

    def apply(self, remedy: Remedy) -> RemedyResult:
        """Apply ``remedy``, with every step in the audit log. Raises OpsError if the log cannot be written."""
        action = remedy.action
        assert action is not None  # noqa: S101  a remedy without one is not applied
        facts = {
            "code": remedy.cause.code,
            "safety": remedy.safety,
            "action": type(action).__name__,
            "what": remedy.what.en,
        }
        audit_log = self.session.audit_log
        audit_log.note(AuditStep.BEGUN, **facts)
        try:
            result = self._result(remedy, action)
        except BaseException as error:
            audit_log.note(AuditStep.INTERRUPTED, **facts, detail=type(error).__name__)
            raise
        audit_log.note(
            AuditStep.DONE,
            **facts,
            outcome=result.outcome,
            before=result.before.en,
            after=result.after.en,
            kept=list(result.copies),
            detail=result.detail.en if result.detail else "",
        )
        return result

    def _result(self, remedy: Remedy, action: Action) -> RemedyResult:
        try:
            if action.area is not Area.FILES:
                hold = self.session.hold()
                if hold.refusal is not None:
                    raise blocked(hold.refusal.en, hold.refusal.zh)
            change = self._dispatch(action, remedy)
        except NotAppliedError as ended:
            return RemedyResult(remedy, ended.outcome, self._detail(ended.detail))
        except OpsError as error:
            words = Text(en=safe_line(error.words.en), zh=safe_line(error.words.to("zh")))
            return RemedyResult(remedy, Outcome.FAILED, self._detail(words))
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            return RemedyResult(
                remedy, Outcome.FAILED, reason(safe_line(f"{where}{error.strerror or error}"))
            )
        return RemedyResult(
            remedy, Outcome.APPLIED, change.detail, change.before, change.after, change.copies
        )

    def _detail(self, words: Text) -> Text:
        """``words`` with every gte-ops command made to read this run's configuration."""
        path = self.session.settings_path
        return with_settings(words, SettingsFile(path).config_argument)

    def _dispatch(self, action: Action, remedy: Remedy) -> AppliedChange:
        match action:
            case ExchangeFiles():
                return self._files.apply(action, remedy.cause)
            case StartNginx() | ReloadNginx() | EditNginx():
                return self._nginx.apply(action)
            case ReopenLogs() | MendPidfile() | ChangeMode() | InstallRotation() | CreateBackup():
                return apply_to_files(action, self.session)
            case _:
                return self._gunicorn.apply(action)
