"""Judges of the application by users' requests, for failures that the doctor's short prediction does not show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from ops.diagnosis.checks.app_files import FileRefusal, is_open_again
from ops.diagnosis.checks.app_refusals import long_requests
from ops.diagnosis.checks.gunicorn_configuration import with_number
from ops.diagnosis.checks.log_reading import (
    TOO_LONG,
    TROUBLE_LEVELS,
    Raised,
    entries_with,
    is_own_code,
    nginx_entries,
    raised_by_requests,
    require_nginx_log,
    service_logs,
)
from ops.diagnosis.checks.nginx_errors import of_this_site
from ops.diagnosis.checks.nginx_traffic import explained_by_mended_file
from ops.diagnosis.checks.past_failures import (
    belongs,
    is_of_before_the_start,
    is_of_earlier_worker,
    is_over,
    names_path,
)
from ops.diagnosis.finding import Evidence, Finding, NotJudgedError, check, quote
from ops.diagnosis.symptom_evidence import answer_words
from ops.facts.base import NotSeen
from ops.facts.gunicorn import Gunicorn, GunicornConfig
from ops.facts.host import Processes
from ops.facts.logs import Log, LogEntry, Logs
from ops.facts.machine import Machine
from ops.facts.nginx import NginxConfig
from ops.facts.probes import Backend, Exchange, Front
from ops.facts.status import Severity
from ops.facts.target import Target
from ops.facts.traffic import Answers
from ops.interpret.site import find_site
from ops.interpret.traffic import LocatedTraffic, all_traffic, judged_since, service_traffic, users_traffic
from ops.text.language import Text

# At or above this share of a route's requests, users are affected (fail); below it, a warning.
AFFECTED_SHARE = 0.01
# Single exceptions and hiccups of busy services stay below this share of a route's requests: nobody would read a
# nightly report of them.
NOTED_SHARE = 0.001
# Some clients leave by their own decision; this many, and this share, do not.
LEAVING_CLIENTS = 3
LEAVING_SHARE = 0.05
AFFECTED_LEAVING_SHARE = 0.2
# Seconds. A client that leaves sooner did not find the answer slow.
PATIENCE = 1.0
# Seconds between an access log's line and its traceback, at most: both write whole seconds, and the access log writes
# when the request ends.
SAME_REQUEST = 2.0
_QUOTED_LINES = 3
_LIMITS = re.compile(r"\((\d+) > (\d+)\)")


@check(
    "app.some_requests",
    "APP020",
    en="no request of users makes the application raise",
    zh="用户请求没有让应用抛出异常",
)
def some_requests(
    backend: Backend,
    logs: Logs,
    target: Target,
    machine: Machine | NotSeen,
    gunicorn: Gunicorn | NotSeen,
    processes: Processes | NotSeen,
) -> Iterator[Finding]:
    """APP020: answers with status 500 and their traceback, while the doctor's own prediction does not fail."""
    probe = backend.predict
    if isinstance(probe, Exchange) and (probe.failure or (probe.status or 0) >= 500):
        return  # APP004, or the cause that keeps the service from answering
    log = logs.gunicorn_error
    located, internal_errors = _failed(logs, "500")
    if not internal_errors or located is None:
        return
    failed = [
        item for item in internal_errors if not is_of_before_the_start(item, located.traffic.since, logs)
    ]
    if isinstance(log, NotSeen) and not logs.application:
        raise NotJudgedError(log)
    pairs = [
        (answers, item, own.path)
        for own in service_logs(logs)
        for item in _raised_while_serving(own, located.traffic.since, logs)
        for answers in failed
        if belongs(item, answers, SAME_REQUEST)
        and not is_over(item.exception, answers, located)
        and not is_open_again(item.exception, logs)
    ]
    if not pairs:
        return
    answers, newest, source = sorted(pairs, key=lambda pair: pair[1].entry.time)[-1]
    count = sum(item.count for item in failed)
    total = sum({(a.method, a.path): located.total_like(a) for a in failed}.values())
    # Its many patterns are compiled for a service that raises, not for each healthy run.
    from ops.diagnosis.checks.app_exceptions import at_the_line, explanation, running_circumstances

    around = running_circumstances(logs, gunicorn, processes, target)
    refusal = explanation(newest, logs, machine, around, target)
    in_package = refusal is None and not is_own_code(newest.where)
    yield Finding(
        "APP020",
        (
            quote(located.path, _tally(failed)),
            *(quote(located.path, line) for line in answers.newest[:1]),
            quote(source, newest.entry.text.partition("\n")[0]),
            quote(newest.where, newest.exception),
            *at_the_line(newest),
            *(refusal.evidence if refusal else ()),
        ),
        {
            "count": str(count),
            "total": str(total),
            "path": answers.path,
            "exception": newest.exception,
            "where": newest.where,
        },
        severity=Severity.FAIL if count >= AFFECTED_SHARE * total else Severity.WARN,
        summary=Text(
            en=f"{count} of {total} requests for {answers.path} failed with {newest.exception}: {refusal.words.en}.",
            zh=f"{answers.path} 的 {total} 个请求里有 {count} 个失败（{newest.exception}）：{refusal.words.zh}。",
        )
        if refusal
        else None,
        verify=f"grep -n -A 30 Traceback {shlex.quote(source)} | tail -n 40",
        fix=refusal.fix if refusal else _in_a_package(newest, target) if in_package else None,
    )


def _in_a_package(raised: Raised, target: Target) -> tuple[str | Text, ...]:
    """Steps if no line of the application is in the traceback: the package's line is not what is to be corrected."""
    return (
        Text(
            en=f"{raised.where} belongs to a package, and is not to be edited: it was given something by the"
            " application's code for that path, or meets something around it. Look for the exception's own words:"
            f" {raised.exception}",
            zh=f"{raised.where} 属于依赖包，不要改它：是应用为该路径写的代码传给了它什么，或者它遇到了环境问题。"
            f"按异常自己的说法查找：{raised.exception}",
        ),
        Text(
            en="If it began with the last deployment, go back to the version before",
            zh="如果是上次发布后开始的，先回滚到前一个版本",
        ),
        target.restart_command,
    )


def _raised_while_serving(log: Log, since: float, logs: Logs) -> list[Raised]:
    """The exceptions raised while serving requests, by the processes that serve now."""
    return [item for item in raised_by_requests(log) if not is_of_earlier_worker(item.entry, since, logs)]


def _failed(logs: Logs, *statuses: str) -> tuple[LocatedTraffic | None, tuple[Answers, ...]]:
    """The first log that has answers with any of ``statuses``, and these answers."""
    for located in all_traffic(logs):
        if answers := located.answers(*statuses):
            return located, answers
    return None, ()


def _tally(answers: Iterable[Answers]) -> str:
    return ", ".join(f"{item.count} x {item.method} {item.path} {item.status}" for item in list(answers)[:4])


@check("app.size_limit", "APP021", en="the application takes users' bodies", zh="应用没有拒收用户的请求体")
def size_limit(target: Target, logs: Logs, nginx_config: NginxConfig | NotSeen) -> Iterator[Finding]:
    """APP021: the service answers 413: its own log shows it, or nginx's access log has more than nginx's error log. Or
    it refuses long requests with 400, as some frameworks do."""
    own = service_traffic(logs)
    at_service = own.answers("413") if own else ()
    at_nginx = [(item, answers) for item in users_traffic(logs) for answers in item.answers("413")]
    if not at_service and not at_nginx:
        yield from long_requests(logs, target, nginx_config)
        return
    refused_by_nginx = of_this_site(
        nginx_entries(logs, "client intended to send too large body"), nginx_config, target
    )
    if not at_service:
        if own is not None:
            return  # the service's log has no 413: nginx answered
        require_nginx_log(logs)
        if sum(answers.count for _, answers in at_nginx) <= len(refused_by_nginx):
            return
    refusals = at_service or tuple(answers for _, answers in at_nginx)
    path = own.path if own and at_service else at_nginx[0][0].path
    evidence = [quote(path, _tally(refusals)), *(quote(path, line) for line in refusals[0].newest[:1])]
    evidence += [
        quote(item.path, line)
        for item, answers in at_nginx[:1]
        if item.path != path
        for line in answers.newest[:1]
    ]
    if not refused_by_nginx:
        evidence.append(
            Evidence(
                next(iter(logs.nginx_errors), "nginx"),
                Text(
                    en='no "client intended to send too large body": nginx let the request through',
                    zh="没有 client intended to send too large body：nginx 放行了这个请求",
                ),
            )
        )
    lengths = [answers.lengths.least for _, answers in at_nginx if answers.lengths is not None]
    if lengths:
        evidence.append(
            Evidence(
                "request_length",
                Text(
                    en=f"the smallest that was refused had {min(lengths):.0f} bytes",
                    zh=f"被拒绝的请求里最小的有 {min(lengths):.0f} 字节",
                ),
            )
        )
    yield Finding(
        "APP021",
        tuple(evidence),
        {"count": str(sum(answers.count for answers in refusals)), "path": refusals[0].path},
    )


@check(
    "app.header_limit",
    "APP022",
    en="request lines and headers fit the service's limits",
    zh="请求行和请求头没有超过后端的上限",
)
def header_limit(logs: Logs, target: Target, gunicorn: Gunicorn | NotSeen) -> Iterator[Finding]:
    """APP022: gunicorn refuses requests before the application sees them, and logs why in its error log."""
    log = logs.gunicorn_error
    since = judged_since(logs)
    entries = [
        entry for entry in entries_with(log, *TOO_LONG) if not is_of_earlier_worker(entry, since, logs)
    ]
    if not entries or isinstance(log, NotSeen):
        return
    located, refusals = _failed(logs, "414", "431", "400")
    newest = entries[-1]
    limits = _LIMITS.search(newest.text)
    if "Invalid HTTP request" in newest.text and not refusals:
        return  # a scanner's bytes at uvicorn: no HTTP request was refused
    setting = _limit_of(newest.text)
    yield Finding(
        "APP022",
        (
            quote(log.path, newest.text.partition("\n")[0]),
            *((quote(located.path, _tally(refusals)),) if located else ()),
            *((quote(located.path, line) for line in refusals[0].newest[:1]) if located else ()),
        ),
        {
            "count": str(len(entries)),
            "setting": setting,
            "limit": limits[2] if limits else _present(setting, gunicorn),
        },
        fix=_raised(setting, int(limits[1]) if limits else 0, target, gunicorn),
    )


# gunicorn's documentation, limit_request_line: at most 8190; nginx takes no longer line or header by default.
_RAISED = "8190"
# gunicorn's defaults of the limits that are no length: how many headers.
_COUNTS = {"limit_request_fields": "100"}


def _limit_of(words: str) -> str:
    """The setting whose limit a refusal is about (gunicorn: http/message.py)."""
    if "Invalid HTTP request" in words:
        return "h11_max_incomplete_event_size"
    if "Request Line" in words:
        return "limit_request_line"
    if re.search(r"limit request headers fields(?! size)", words):
        return "limit_request_fields"
    return "limit_request_field_size"


def _present(setting: str, gunicorn: Gunicorn | NotSeen) -> str:
    """The limit in force: as in gunicorn's file, else its default."""
    config = gunicorn.config if isinstance(gunicorn, Gunicorn) else None
    assigned = config.assigned.get(setting) if isinstance(config, GunicornConfig) else None
    if assigned is not None and isinstance(assigned.value, int) and assigned.value > 0:
        return str(assigned.value)
    return _COUNTS.get(setting, _RAISED)


def _raised(
    setting: str, length: int, target: Target, gunicorn: Gunicorn | NotSeen
) -> tuple[str | Text, ...] | None:
    """The steps that raise the limit in gunicorn's file; None if it is no setting of gunicorn's, is high enough, or
    what was refused is too long for any. ``length``: 0 if it is not known."""
    config = gunicorn.config if isinstance(gunicorn, Gunicorn) else None
    if not isinstance(config, GunicornConfig) or config.missing or not setting.startswith("limit_"):
        return None
    if length > int(_RAISED):
        return None
    present = config.assigned.get(setting)
    usual = _COUNTS.get(setting, _RAISED)
    if setting in _COUNTS and (present is None or int(_present(setting, gunicorn)) >= int(usual)):
        return None  # so many headers are no accident of the setting
    if present is None:
        # The default of the other limit is as high already (gunicorn's documentation, limit_request_field_size).
        if setting != "limit_request_line":
            return None
        line = f"printf '\\n{setting} = {_RAISED}\\n' >>{shlex.quote(config.path)}"
    else:
        return *with_number(config, setting, int(usual)), target.restart_command
    return line, target.restart_command


@check("app.waiting", "APP023", en="clients wait for their answers", zh="客户端能等到应答")
def waiting(logs: Logs, target: Target, nginx_config: NginxConfig | NotSeen) -> Iterator[Finding]:
    """APP023: a share of a route's clients leaves before the answer (499), after a wait if the log has times.

    A route whose requests are held open until there is something to say is left in this way by every client."""
    for located in users_traffic(logs):
        for group in located.answers("499"):
            from ops.interpret.held_requests import is_held_open

            if is_held_open(group, located, target, nginx_config):
                continue
            total = located.total_like(group)
            waited = group.seconds.median if group.seconds is not None else None
            # Without times it is unknown whether they waited: require twice the share.
            needed = LEAVING_SHARE if waited is not None else 2 * LEAVING_SHARE
            if group.count < LEAVING_CLIENTS or group.count < needed * total:
                continue
            if waited is not None and waited < PATIENCE:
                continue
            if waited is None and _are_taken_back(group, located):
                continue
            share = group.count / total
            own = service_traffic(logs)
            same = [
                item
                for item in (own.traffic.answers if own else ())
                if (item.method, item.path) == (group.method, group.path) and item.seconds is not None
            ]
            yield Finding(
                "APP023",
                (
                    quote(located.path, _tally([group])),
                    *(quote(located.path, line) for line in group.newest[:1]),
                    *(
                        quote(
                            own.path,
                            f"{item.status}: {item.seconds.median:.1f} s, max {item.seconds.most:.1f} s",
                        )
                        for item in same[:1]
                        if own is not None and item.seconds is not None
                    ),
                ),
                {
                    "count": str(group.count),
                    "total": str(total),
                    "path": f"{group.method} {group.path}",
                    "waited": "?" if waited is None else f"{waited:.1f} s",
                },
                severity=Severity.FAIL if share >= AFFECTED_LEAVING_SHARE else Severity.WARN,
                summary=None
                if waited is not None
                else Text(
                    en=f"{group.count} of {total} clients of {group.method} {group.path} left before they were"
                    " answered.",
                    zh=f"{group.method} {group.path} 的 {total} 个请求里，有 {group.count} 个客户端没等到应答"
                    "就断开了。",
                ),
            )
            return


def _are_taken_back(group: Answers, located: LocatedTraffic) -> bool:
    """Whether a page takes its own questions back, as at each key while a user types: its requests follow each other at
    once, and the last of each row, one for every few, is answered."""
    answered = sum(
        item.count
        for item in located.traffic.answers
        if (item.method, item.path) == (group.method, group.path) and item.status < "400"
    )
    return group.method == "GET" and 2 * group.quick >= group.count and 6 * answered >= group.count


@check("app.failing_share", "APP024", en="users' requests are answered", zh="用户请求都得到正常应答")
def failing_share(
    logs: Logs, target: Target, nginx_config: NginxConfig | NotSeen, front: Front | NotSeen
) -> Iterator[Finding]:
    """APP024: a share of users' requests fails (5xx) on the processes that serve now. Ranked last: any cause that can
    explain such answers has precedence.

    4xx are not counted: clients cause them (scanners, missing keys, rate limits). 503 counts only if the service
    answers at least half of the route's requests with it (and three): refusing some under load is its task. 502 and 504
    count if they occur among successes or continue: an ended series that only successes follow was a deployment."""
    traffic = (*users_traffic(logs)[:1], *all_traffic(logs)[:1])
    for located in traffic:
        failed = tuple(
            item
            for item in located.traffic.answers
            if _is_failure(item, located, logs, target) and not _is_past(item, located, logs)
        )
        if not failed:
            continue
        count = sum(item.count for item in failed)
        total = sum(item.count for item in located.traffic.answers) + located.traffic.omitted
        worst = max(failed, key=lambda item: item.count)
        yield Finding(
            "APP024",
            (
                quote(located.path, _tally(failed)),
                *(quote(located.path, line) for item in failed[:_QUOTED_LINES] for line in item.newest[:1]),
                *_answered(front, failed),
                *_said_meanwhile(logs, max(item.last for item in failed), target, nginx_config),
                *(
                    refused.evidence
                    if (refused := _refused_elsewhere(worst, logs, target, nginx_config))
                    else ()
                ),
            ),
            {
                "count": str(count),
                "total": str(total),
                "path": f"{worst.method} {worst.path}",
                "statuses": ", ".join(sorted({item.status for item in failed})),
            },
            fix=(refused.fix if refused else None)
            or _silent_django(failed, target)
            or _no_log_kept(logs, target),
        )
        return


_REFUSED_BY = re.compile(
    r'\(111: Connection refused\) while connecting to upstream.*?upstream: "(?:https?://)?([^/"]+)'
)


def _refused_elsewhere(
    failed: Answers, logs: Logs, target: Target, config: NginxConfig | NotSeen
) -> FileRefusal | None:
    """Where nginx sends these requests, if nobody listens there: the line of the location that takes them."""
    site = None if isinstance(config, NotSeen) else find_site(config, target.domain, target.backend)
    location = site.server.location_for(failed.path) if site and failed.status == "502" else None
    passed = next(iter(location.effective("proxy_pass")), None) if location else None
    words = [
        match[1]
        for _, entry in of_this_site(nginx_entries(logs, "(111: Connection refused)"), config, target)
        if names_path(entry, failed.path) and (match := _REFUSED_BY.search(entry.text))
    ]
    if passed is None or not words or words[-1] == target.backend:
        return None
    address = words[-1]
    return FileRefusal(
        (quote(passed.where, passed.written),),
        Text(en="", zh=""),
        (
            Text(
                en=f"Nobody listens at {address}, where {passed.where} sends {failed.path}: start what is to answer"
                " there, or correct the address",
                zh=f"{passed.where} 把 {failed.path} 转发到 {address}，而那里没有进程监听：启动应在那里应答的服务，"
                "或改正地址",
            ),
            target.test_nginx,
            target.reload_nginx,
        ),
    )


# The length of Django's page "Server Error (500)" (django/views/defaults.py).
_DJANGO_S_500 = 145.0


def _silent_django(failed: tuple[Answers, ...], target: Target) -> tuple[str | Text, ...] | None:
    """Return steps that make Django log what it raises; None unless all of a path's 500s are its page. With DEBUG off
    its default LOGGING sends tracebacks to ADMINS by mail alone (Django documentation, Default logging definition)."""
    silent = [
        item
        for item in failed
        if item.status == "500" and item.sent and item.sent.least == item.sent.most == _DJANGO_S_500
    ]
    if not silent:
        return None
    path = f"{silent[0].method} {silent[0].path}"
    setting = (
        'LOGGING = {"version": 1, "disable_existing_loggers": False, "handlers": {"console": {"class":'
        ' "logging.StreamHandler"}}, "loggers": {"django.request": {"handlers": ["console"], "level": "ERROR"}}}'
    )
    return (
        Text(
            en=f"The answers to {path} are as long as Django's page for an exception, and Django logs none by default"
            f" once DEBUG is off: it mails them to ADMINS. In its settings write {setting}; the next failure then"
            " leaves its traceback in gunicorn's error log",
            zh=f"{path} 的响应与 Django 的异常页面一样长；DEBUG 关闭后 Django 默认不记录异常，只发邮件给 ADMINS。在 "
            f"settings 里写 {setting}；下次失败就会在 gunicorn 错误日志里留下堆栈",
        ),
        target.restart_command,
    )


def _no_log_kept(logs: Logs, target: Target) -> tuple[str | Text, ...] | None:
    """Return steps to enable an error log if the service writes none; None for the catalogue's steps."""
    log = logs.gunicorn_error
    if not isinstance(log, NotSeen) or log.needs_root or logs.application:
        return None
    return (
        Text(
            en=f"No log says why they fail ({log.reason}). Set errorlog ({{errorlog_place}}) to a file, such as"
            " /var/log/NAME/error.log, and capture_output = True beside it; the next failure leaves its traceback"
            " there",
            zh=f"失败原因没有留在任何日志里（{log.reason}）。把 errorlog（{{errorlog_place}}）设为文件，例如"
            " /var/log/NAME/error.log，并在同一处设 capture_output = True；下次失败就会留下堆栈",
        ),
        target.restart_command,
    )


def _answered(front: Front | NotSeen, failed: tuple[Answers, ...]) -> Iterator[Evidence]:
    """Quote the answer to the doctor's own request if it failed like one of these."""
    if isinstance(front, NotSeen):
        return
    for probe in (front.predict, front.health):
        if isinstance(probe, Exchange) and any(
            (item.method, item.path, item.status)
            == (probe.method, urlsplit(probe.url).path, str(probe.status))
            for item in failed
        ):
            yield quote(f"{probe.method} {probe.url}", answer_words(probe))


def _is_failure(answers: Answers, located: LocatedTraffic, logs: Logs, target: Target) -> bool:
    if not answers.status.startswith("5") or answers.status == "501":
        return False
    total = located.total_like(answers)
    if answers.count < NOTED_SHARE * total:
        return False
    if answers.status == "503":
        if answers.path == target.ready_path and answers.followed:
            return False  # whoever asked waited for the service to be ready, and was told when it was
        own = service_traffic(logs)
        by_service = sum(
            item.count for item in (own.answers("503") if own else ()) if item.path == answers.path
        )
        return min(by_service, answers.count) >= max(3, total // 2)
    if answers.status in ("502", "504"):
        return answers.count >= 2 and not _is_over(answers, located)
    return True


def _is_past(answers: Answers, located: LocatedTraffic, logs: Logs) -> bool:
    """Whether such failures are irrelevant now: from before the start, or with a cause fixed since."""
    since = located.traffic.since
    if is_of_before_the_start(answers, since, logs) or explained_by_mended_file(answers, logs):
        return True
    log = logs.gunicorn_error
    raised = [
        item
        for item in (_raised_while_serving(log, since, logs) if isinstance(log, Log) else ())
        if belongs(item, answers, SAME_REQUEST)
    ]
    return bool(raised) and all(
        is_over(item.exception, answers, located) or is_open_again(item.exception, logs) for item in raised
    )


def _is_over(answers: Answers, located: LocatedTraffic) -> bool:
    """Whether the failures form one series that only successes follow."""
    successes = [
        item
        for item in located.traffic.answers
        if (item.method, item.path) == (answers.method, answers.path) and item.status < "400"
    ]
    probe_times = [
        probe.time for probe in located.traffic.probes if probe.path == answers.path and probe.status < "400"
    ]
    last = max((*(item.last for item in successes), *probe_times), default=0.0)
    are_among = any(item.first < answers.last and item.last > answers.first for item in successes)
    return last >= answers.last and not are_among


def _said_meanwhile(
    logs: Logs, time: float, target: Target, config: NginxConfig | NotSeen
) -> Iterator[Evidence]:
    """Quote both error logs from around the time of the newest failure."""
    nginx = [
        (path, entry)
        for path, entry in of_this_site(nginx_entries(logs, ""), config, target)
        if _is_near(entry, time)
    ]
    for path, entry in nginx[-1:]:
        yield quote(path, entry.text)
    log = logs.gunicorn_error
    near = [entry for entry in log.entries if _is_near(entry, time)] if isinstance(log, Log) else []
    if near and isinstance(log, Log):
        yield quote(log.path, near[-1].text.partition("\n")[0])


def _is_near(entry: LogEntry, time: float) -> bool:
    return abs(entry.time - time) <= SAME_REQUEST and entry.level in TROUBLE_LEVELS


CHECKS = (some_requests, size_limit, header_limit, waiting, failing_share)
