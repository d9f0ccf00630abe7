"""Judge of log files that gunicorn names but does not own: they are not read, and that is reported."""

from __future__ import annotations

from collections.abc import Iterator

from ops.diagnosis.finding import Evidence, Finding, check
from ops.facts.base import NotSeen
from ops.facts.logs import Logs
from ops.facts.target import Target
from ops.text.language import Text
from ops.text.reasons import reason


@check("gunicorn.logs", "GUN018", en="gunicorn's logs are its own", zh="gunicorn 的日志归它自己所有")
def logs_of_its_own(target: Target, logs: Logs) -> Iterator[Finding]:
    """GUN018: gunicorn names a log that its user may not write, or that is behind another user's symbolic link."""
    logs_by_path = {
        target.gunicorn_error_log: logs.gunicorn_error,
        target.gunicorn_access_log: logs.gunicorn_access,
    }
    refusals = [log for log in logs_by_path.values() if isinstance(log, NotSeen) and log.is_refused]
    if refusals:
        facts: dict[str, str | Text] = {
            "why": reason(refusals[0].reason),
            "pid": str(target.gunicorn_master or "?"),
        }
        evidence = tuple(Evidence("gte-ops", reason(log.reason)) for log in refusals)
        yield Finding("GUN018", evidence, facts)


CHECKS = (logs_of_its_own,)
