"""Judges of the Flask application's answers, requested directly, not through nginx."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ops.diagnosis.checks.log_reading import package_frame, raised_by_requests, raised_in
from ops.diagnosis.finding import Evidence, Finding, NotJudgedError, Severity, check, quote
from ops.facts.base import NotSeen
from ops.facts.gunicorn import Gunicorn
from ops.facts.host import Process, Processes
from ops.facts.logs import AccessLog, Log, Logs
from ops.facts.machine import Machine
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Activity, Backend, Exchange, Upstreams
from ops.facts.target import Target
from ops.interpret.gunicorn import foreign_holders, holder
from ops.interpret.service_name import is_own, is_prediction, refuses_guessed_prediction, serves
from ops.text.language import Text, in_seconds
from ops.text.sanitize import safe_line

_TRUE = ("1", "true", "yes", "on", "t")


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
    # The toolkit's own service cannot be put into debug mode from outside (contract, service.md).
    if isinstance(processes, NotSeen) or is_own(backend):
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
def health(
    target: Target, backend: Backend, processes: Processes | NotSeen, logs: Logs | NotSeen
) -> Iterator[Finding]:
    """APP002: the backend's health path answers an error. A warning if predictions work nevertheless.

    A refusal (4xx) shows that the application runs. It counts only if the service is the toolkit's own, or if the path
    was configured and no key is required (401, 403)."""
    answer = backend.health
    if not isinstance(processes, NotSeen) and foreign_holders(processes, target):
        return
    if not isinstance(answer, Exchange) or answer.status is None or answer.status < 400:
        return
    if answer.status < 500 and not is_own(backend):
        wants_key = answer.status in (401, 403)
        if wants_key or target.origin.get("health_path", "default") == "default":
            why = (
                _about_the_key(answer, target)
                if wants_key
                else "the application may have another: set target.health_path"
            )
            raise NotJudgedError(NotSeen(reason=f"{target.health_path} answers {answer.status}: {why}"))
    if _raises_as_predictions_do(target, backend, logs):
        return  # APP004 reports the exception
    first = answer.body.partition("\n")[0][:160]
    yield Finding(
        "APP002",
        (quote(f"GET {target.backend}{target.health_path}", f"{answer.status} {first}"),),
        {"status": str(answer.status), "body": first or "-"},
        severity=Severity.WARN if serves(backend, target) else None,
    )


def _about_the_key(answer: Exchange, target: Target) -> str:
    """Say that the health path requires a key, and which one the probe sent, or why it sent none."""
    if answer.private_headers:
        names = ", ".join(answer.private_headers)
        return f"it refuses the key that target.headers_file holds ({names} of {target.headers_file})"
    if target.headers_unread:
        return f"it wants a key: {target.headers_unread}"
    if target.headers_file is not None:
        return "it wants a key; what target.headers_file holds goes to the service's own gunicorn alone"
    line = safe_line(answer.body.partition("\n")[0], 100)
    return f"it wants a key: target.headers_file sends one. The answer: {line}" if line else "it wants a key"


def _raises_as_predictions_do(target: Target, backend: Backend, logs: Logs | NotSeen) -> bool:
    """Whether the same exception, specific to neither path, fails both health and predictions."""
    failed = all(
        isinstance(answer, Exchange) and answer.status == 500 for answer in (backend.health, backend.predict)
    )
    if not failed or isinstance(logs, NotSeen) or not isinstance(logs.gunicorn_error, Log):
        return False
    newest = {
        path: raised
        for raised in raised_in(logs.gunicorn_error)
        for path in (target.health_path, target.predict_path)
        if path in raised.entry.text.partition("\n")[0].replace("[", " ").split()
    }
    health, predict = newest.get(target.health_path), newest.get(target.predict_path)
    if health is not None and predict is not None:
        return health.exception == predict.exception
    # uvicorn names no path: "Exception in ASGI application".
    last = list(raised_in(logs.gunicorn_error))[-2:]
    return not newest and len(last) == 2 and last[0].exception == last[1].exception


# Exceptions that a server logs if it calls the application through the wrong interface.
_FACTORY = re.compile(
    r"TypeError: (?:\w+\.)*(\w+)\(\) takes (?:no|[01] positional) arguments? ?(?:but|\().*given"
)
_ASGI = re.compile(r"TypeError: .*missing \d+ required positional arguments?: .*'send'")
_WSGI = re.compile(r"TypeError: .*missing \d+ required positional arguments?: .*'start_response'")


def _interface(exception: str, target: Target) -> tuple[Text, tuple[str | Text, ...]] | None:
    """A sentence and the steps if server and application use different interfaces; otherwise None."""
    conf = target.gunicorn_config_file or target.restart_command
    if match := _FACTORY.match(exception):
        name = match[1]
        return (
            Text(
                en=f"gunicorn serves the function {name}, which makes the application, in place of what it makes:"
                f" {exception}.",
                zh=f"gunicorn 加载的是创建应用的函数 {name}，而不是它创建的应用：{exception}。",
            ),
            (
                Text(
                    en=f"Have gunicorn call it: MODULE:{name}() in place of MODULE:{name}, in quotes, at the end of its"
                    f" command line or in wsgi_app of {conf}",
                    zh=f"让 gunicorn 调用它：命令行末尾（或 {conf} 的 wsgi_app）把 模块:{name} 改为"
                    f" '模块:{name}()'，要加引号",
                ),
                target.restart_command,
            ),
        )
    if _ASGI.match(exception):
        return (
            Text(
                en=f"The application speaks ASGI, the workers WSGI: {exception}.",
                zh=f"应用是 ASGI 接口，工作进程却按 WSGI 调用它：{exception}。",
            ),
            (
                Text(
                    en=f"In {conf} set worker_class = 'uvicorn.workers.UvicornWorker' (on the command line: -k)",
                    zh=f"在 {conf} 里设置 worker_class = 'uvicorn.workers.UvicornWorker'（命令行参数为 -k）",
                ),
                f"{target.python_command or target.python} -m pip install uvicorn",
                target.restart_command,
            ),
        )
    if _WSGI.match(exception):
        return (
            Text(
                en=f"The application speaks WSGI, the workers ASGI: {exception}.",
                zh=f"应用是 WSGI 接口，工作进程却按 ASGI 调用它：{exception}。",
            ),
            (
                Text(
                    en=f"In {conf} set worker_class = 'gthread' (on the command line: -k)",
                    zh=f"在 {conf} 里设置 worker_class = 'gthread'（命令行参数为 -k）",
                ),
                target.restart_command,
            ),
        )
    return None


# A request line or headers over a limit of gunicorn's: the application never sees the request (RFC 6585, 5).
_SERVERS_OWN = (414, 431)


@check(
    "app.answers",
    "APP003",
    "APP004",
    en="predictions are answered in JSON, without exceptions",
    zh="预测接口返回 JSON 且无异常",
)
def answers(
    target: Target,
    backend: Backend,
    logs: Logs | NotSeen,
    processes: Processes | NotSeen,
    machine: Machine | NotSeen,
    gunicorn: Gunicorn | NotSeen,
) -> Iterator[Finding]:
    """APP003: the backend answers the predict path with an HTML page. APP004: 5xx with a traceback in its log."""
    if not isinstance(processes, NotSeen) and foreign_holders(processes, target):
        return
    answer = backend.predict
    if refuses_guessed_prediction(backend, target):
        status = answer.status if isinstance(answer, Exchange) else None
        raise NotJudgedError(
            NotSeen(
                reason=f"the application itself answers {status} to the test prediction, which may not be one of its"
                " own: set target.predict_path and target.predict_body"
            )
        )
    page = _page(answer)
    if page is not None:
        status, media_type, first = page
        yield Finding(
            "APP003",
            (quote(_predict_source(target), f"{status} {media_type}: {first}"),),
            {"status": str(status), "first_line": first},
        )
    if isinstance(logs, NotSeen) or not isinstance(logs.gunicorn_error, Log):
        return
    failing = isinstance(answer, Exchange) and answer.status is not None and answer.status >= 500
    access = logs.gunicorn_access
    failed = access.statuses.get("500", 0) if isinstance(access, AccessLog) else 0
    raised = raised_by_requests(logs.gunicorn_error)
    if not raised or not (
        failing or (failed and not (isinstance(answer, Exchange) and is_prediction(answer, target)))
    ):
        return
    last = raised[-1]
    evidence = [
        quote(logs.gunicorn_error.path, last.entry.text.partition("\n")[0]),
        quote(last.where, last.exception),
    ]
    frame = package_frame(last.entry.text)
    if frame is not None:
        evidence.append(Evidence(frame, Text(en="the package that this line calls", zh="该行调用的软件包")))
    if failing and isinstance(answer, Exchange):
        evidence.insert(0, quote(_predict_source(target), str(answer.status)))
    misfit = _interface(last.exception, target) if "/site-packages/" in last.where else None
    # Its many patterns are compiled for a service that raises, not for each healthy run.
    from ops.diagnosis.checks.app_exceptions import explanation, running_circumstances

    around = running_circumstances(logs, gunicorn, processes, target)
    refusal = explanation(last, logs, machine, around, target)
    if refusal is not None:
        words, evidence = refusal.words, [*evidence, *refusal.evidence]
        misfit = (
            Text(
                en=f"Predictions fail with {last.exception}: {words.en}.",
                zh=f"预测失败（{last.exception}）：{words.zh}。",
            ),
            refusal.fix,
        )
    yield Finding(
        "APP004",
        tuple(evidence),
        {"exception": last.exception, "where": last.where},
        summary=misfit[0] if misfit else None,
        fix=misfit[1] if misfit else None,
    )


def _predict_source(target: Target) -> str:
    return f"POST {target.backend}{target.predict_path}"


def _page(answer: Exchange | NotSeen) -> tuple[int, str, str] | None:
    """Status, media type and first line, if the predict path is answered with an HTML page of the application's."""
    if (
        isinstance(answer, NotSeen)
        or answer.status is None
        or not answer.is_html
        or answer.status in range(300, 400)
        or answer.status in _SERVERS_OWN
    ):
        return None
    first = next((line.strip() for line in answer.body.splitlines() if line.strip()), "")[:120]
    return answer.status, answer.header("content-type"), first


@check(
    "app.server",
    "APP006",
    en="gunicorn serves, not the development server",
    zh="由 gunicorn 提供服务，而非开发服务器",
)
def server(
    target: Target, backend: Backend, upstreams: Upstreams | NotSeen, processes: Processes | NotSeen
) -> Iterator[Finding]:
    """APP006: the backend, or an address that nginx proxies to, sends Werkzeug's Server header."""
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


@check("app.contract", "APP007", en="the answer to a prediction is one", zh="预测接口返回的是预测结果")
def contract(target: Target, backend: Backend, processes: Processes | NotSeen) -> Iterator[Finding]:
    """APP007: 200 with a body that violates the contract. An HTML page is APP003."""
    if not isinstance(processes, NotSeen) and foreign_holders(processes, target):
        return
    answer = backend.predict
    if (
        not isinstance(answer, Exchange)
        or answer.status != 200
        or answer.is_html
        or is_prediction(answer, target)
        or answer.header("server").startswith("Werkzeug")
    ):
        return
    problem = _problem(answer, target.expect_key)
    yield Finding(
        "APP007",
        (
            quote(
                f"POST {target.backend}{target.predict_path}",
                f"200 {answer.media_type or '-'}: {answer.body.partition(chr(10))[0][:120]}",
            ),
        ),
        {"problem": problem.en},
        summary=Text(
            en=f"{target.predict_path} answers 200, but {problem.en}.",
            zh=f"{target.predict_path} 返回 200，但{problem.zh}。",
        ),
    )


def _problem(answer: Exchange, key: str) -> Text:
    """Say what the body lacks."""
    body = answer.json()
    if isinstance(body, dict):
        there = ", ".join(sorted(map(str, body))[:8]) or "-"
        return Text(
            en=f'its JSON has no "{key}" (it has: {there})', zh=f"JSON 里没有 {key} 这个键（只有：{there}）"
        )
    if not answer.body:
        return Text(en="the body is empty", zh="响应体是空的")
    if body is None and not answer.body.lstrip().startswith(("{", "[")):
        return Text(en="the body is no JSON", zh="响应体不是 JSON")
    return Text(en=f'its JSON is no object with "{key}"', zh=f"JSON 不是带有 {key} 的对象")


@check("app.speed", "APP005", en="predictions are quick at the service itself", zh="后端预测速度正常")
def speed(
    target: Target, backend: Backend, activity: Activity | NotSeen, logs: Logs | NotSeen, taken_at: float
) -> Iterator[Finding]:
    """APP005: a warm prediction, requested directly, takes longer than slow_after_s, and no requests are queued.

    A prediction is warm if another was answered before it, in this run or by the service's log."""
    first, again = backend.predict, backend.predict_again
    if (
        not isinstance(first, Exchange)
        or not is_prediction(first, target)
        or first.elapsed <= target.slow_after_s
    ):
        return
    if isinstance(activity, Activity) and any(activity.queued):
        return  # requests waited in the queue: GUN006
    slow = again
    if not isinstance(again, Exchange) or (
        again.failure is ProbeFailure.TIMEOUT and again.elapsed <= target.slow_after_s
    ):
        if not _predicted_before(logs, taken_at):
            raise NotJudgedError(
                NotSeen(
                    reason=f"a prediction took {first.elapsed:.1f} s, but a second, warm one did not fit in the budget "
                    "(--budget)"
                )
            )
        slow = first
    assert isinstance(slow, Exchange)  # noqa: S101  either of the two
    if slow.elapsed <= target.slow_after_s:
        return
    took = in_seconds(f"{slow.elapsed:.1f}")
    if slow.failure is ProbeFailure.TIMEOUT:
        took = Text(en=f"> {took.en}", zh=f"> {took.zh}")
    yield Finding(
        "APP005",
        (
            quote(
                f"POST {target.backend}{target.predict_path}",
                f"{', '.join(f'{x.elapsed:.1f} s' for x in (first, again) if isinstance(x, Exchange))}; "
                f"slow_after_s = {target.slow_after_s:g}",
            ),
        ),
        {"took": took},
    )


def _predicted_before(logs: Logs | NotSeen, now: float) -> bool:
    """Whether the service's log has a prediction from before this run."""
    log = logs.gunicorn_access if isinstance(logs, Logs) else None
    return isinstance(log, AccessLog) and log.first_prediction is not None and log.first_prediction < int(now)


CHECKS = (debugger, health, answers, server, contract, speed)
