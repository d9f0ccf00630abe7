"""The Flask application's answers, asked past nginx."""

from __future__ import annotations

from collections.abc import Iterator

from ops.checks.log_reading import raised_in
from ops.finding import Evidence, Finding, check, quote
from ops.language import Text
from ops.snapshot import (
    AccessLog,
    Backend,
    Exchange,
    Log,
    Logs,
    NotSeen,
    Process,
    Processes,
    Target,
    Upstreams,
)
from ops.topology.answers import identity, is_prediction, serves
from ops.topology.gunicorn import foreign_holders, holder

_TRUE = ("1", "true", "yes", "on", "t")
# The toolkit's own service cannot be put into debug mode from outside (contract, service.md).
_IMMUNE = "gte"


@check("app.debugger", "APP001", en="no debugger is open", zh="调试器没有暴露")
def debugger(target: Target, backend: Backend, processes: Processes | NotSeen) -> Iterator[Finding]:
    """APP001: Werkzeug's debugger answers, or the served process runs with FLASK_DEBUG."""
    answer = backend.debugger
    if isinstance(answer, Exchange) and answer.status == 200 and "javascript" in answer.media_type:
        yield Finding(
            "APP001",
            (quote(f"GET {answer.url}", f"200 {answer.media_type}: {answer.body[:60]}"),),
            {"proof": "/?__debugger__=yes"},
        )
        return
    if isinstance(processes, NotSeen) or (
        isinstance(backend.health, Exchange) and identity(backend.health) == _IMMUNE
    ):
        return
    members = {target.gunicorn_master, *target.gunicorn_workers} - {None}
    for served in (p for p in processes.processes if p.pid in members):
        value = (served.environment or {}).get("FLASK_DEBUG", "")
        if value.lower() in _TRUE:
            yield Finding(
                "APP001",
                (quote(f"/proc/{served.pid}/environ", f"FLASK_DEBUG={value}"),),
                {"proof": f"FLASK_DEBUG={value}"},
            )
            return


@check("app.health", "APP002", en="the health endpoint reports success", zh="健康检查接口报告正常")
def health(target: Target, backend: Backend, processes: Processes | NotSeen) -> Iterator[Finding]:
    """APP002: the backend's health path answers an error. Where predictions work all the same, a warning."""
    answer = backend.health
    if not isinstance(processes, NotSeen) and foreign_holders(processes, target):
        return
    if not isinstance(answer, Exchange) or answer.status is None or answer.status < 400:
        return
    first = answer.body.partition("\n")[0][:160]
    yield Finding(
        "APP002",
        (quote(f"GET {target.backend}{target.health_path}", f"{answer.status} {first}"),),
        {"status": str(answer.status), "body": first or "-"},
        severity="warn" if serves(backend, target) else None,
    )


@check(
    "app.answers",
    "APP003",
    "APP004",
    en="predictions are answered in JSON, without exceptions",
    zh="预测接口返回 JSON 且无异常",
)
def answers(
    target: Target, backend: Backend, logs: Logs | NotSeen, processes: Processes | NotSeen
) -> Iterator[Finding]:
    """APP003: the backend answers the predict path with a page. APP004: 5xx with a traceback in its log."""
    if not isinstance(processes, NotSeen) and foreign_holders(processes, target):
        return
    answer = backend.predict
    source = f"POST {target.backend}{target.predict_path}"
    if (
        isinstance(answer, Exchange)
        and answer.status is not None
        and answer.is_html
        and answer.status not in range(300, 400)
    ):
        first = next((line.strip() for line in answer.body.splitlines() if line.strip()), "")[:120]
        yield Finding(
            "APP003",
            (quote(source, f"{answer.status} {answer.header('content-type')}: {first}"),),
            {"status": str(answer.status), "first_line": first},
        )
    if isinstance(logs, NotSeen) or not isinstance(logs.gunicorn_error, Log):
        return
    failing = isinstance(answer, Exchange) and answer.status is not None and answer.status >= 500
    access = logs.gunicorn_access
    failed = access.statuses.get("500", 0) if isinstance(access, AccessLog) else 0
    raised = [
        r
        for r in raised_in(logs.gunicorn_error)
        if "Exception in worker process" not in r.entry.text
        # gunicorn's sync worker raises SystemExit through handle_abort when it is timed out: that is GUN004.
        and "handle_abort" not in r.entry.text
        and not r.exception.startswith(("SystemExit", "KeyboardInterrupt"))
    ]
    if not raised or not (
        failing or (failed and not (isinstance(answer, Exchange) and is_prediction(answer, target)))
    ):
        return
    last = raised[-1]
    evidence = [
        quote(logs.gunicorn_error.path, last.entry.text.partition("\n")[0]),
        quote(last.where, last.exception),
    ]
    if failing and isinstance(answer, Exchange):
        evidence.insert(0, quote(source, str(answer.status)))
    yield Finding("APP004", tuple(evidence), {"exception": last.exception, "where": last.where})


@check(
    "app.server",
    "APP006",
    en="gunicorn serves, not the development server",
    zh="由 gunicorn 提供服务，而非开发服务器",
)
def server(
    target: Target, backend: Backend, upstreams: Upstreams | NotSeen, processes: Processes | NotSeen
) -> Iterator[Finding]:
    """APP006: the Server header is Werkzeug's, at the backend or at an address nginx proxies to."""
    candidates = [(target.backend, x) for x in (backend.health, backend.predict)]
    if not isinstance(upstreams, NotSeen):
        candidates += list(upstreams.answers.items())
    for address, answer in candidates:
        if not isinstance(answer, Exchange) or not answer.header("server").startswith("Werkzeug"):
            continue
        owner: Process | None = (
            next(iter(holder(processes, address)), None) if not isinstance(processes, NotSeen) else None
        )
        command = " ".join(owner.command)[:160] if owner else "?"
        yield Finding(
            "APP006",
            (
                quote(f"{answer.method} {address}", f"Server: {answer.header('server')}"),
                *((Evidence(f"pid {owner.pid}", Text(en=command, zh=command)),) if owner else ()),
            ),
            {"pid": str(owner.pid) if owner else "?", "command": command},
        )
        return


CHECKS = (debugger, health, answers, server)
