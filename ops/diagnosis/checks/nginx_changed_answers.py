"""Answers that users get in place of the service's own: another status, another user's, an older file's.

Sources: nginx documentation, ngx_http_core_module (error_page), ngx_http_proxy_module (proxy_intercept_errors,
proxy_cache_methods, proxy_cache_key), ngx_http_gzip_static_module."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from ops.diagnosis.checks.nginx_timeouts import nginx_seconds
from ops.diagnosis.finding import Evidence, Finding, check, quote
from ops.diagnosis.steps import replaced_in_line, replaced_statement
from ops.facts.base import NotSeen
from ops.facts.logs import Logs
from ops.facts.nginx import Directive, NginxConfig, NginxTest
from ops.facts.target import Target
from ops.facts.traffic import Answers
from ops.interpret.nginx import Scope
from ops.interpret.site import scope_for
from ops.interpret.traffic import LocatedTraffic, service_traffic, users_traffic
from ops.text.language import Text
from ops.text.sanitize import HIDDEN

# So many requests are no accident of one client.
_FEW = 3
# The default of open_file_cache_valid is 60 s; an old file for so long is one for a deployment's users.
_KEPT_LONG = 300.0
# Statuses that a client must see: it asks again later, logs in, corrects what it sent. A page in place of 404 is how
# single-page sites work.
_TOLD = re.compile(r"5\d\d|400|401|403|409|422|429")
_BODY = ("$request_body",)
_ABOUT_THE_BODY = re.compile(r"body|hash|md5|sha|digest|key|\$upstream|\$arg_", re.IGNORECASE)

_FORMS = {
    "utf-8": Text(en="UTF-8", zh="是 UTF-8"),
    "gb18030": Text(en="not UTF-8 (GBK, by their form)", zh="不是 UTF-8（看起来是 GBK）"),
    "other": Text(en="not UTF-8", zh="不是 UTF-8"),
}


class _Change(NamedTuple):
    """Why users get other answers than the service gives: the directive, in words, and the steps; how many of them."""

    given: int
    directive: Directive
    words: Text
    evidence: tuple[Evidence, ...]
    steps: tuple[str | Text, ...]


@check(
    "nginx.changed_answers",
    "NGX095",
    en="users get the answers that the service gives",
    zh="用户得到的就是后端给出的响应",
)
def changed_answers(
    nginx_config: NginxConfig, target: Target, logs: Logs, nginx_test: NginxTest | NotSeen
) -> Iterator[Finding]:
    """NGX095: nginx's log and the service's differ about the same requests, or a file's packed copy from the file, and
    a directive in force for the path makes the difference: an error called a success, the answer to one request's body
    given to others, an old copy, a file that is held open, a wrong charset."""
    own = service_traffic(logs)
    if isinstance(nginx_test, NginxTest) and nginx_test.exit_code != 0:
        return
    for located in users_traffic(logs)[:1]:
        for item in located.traffic.answers:
            scope = scope_for(nginx_config, target, item.path)
            if scope is None or item.count < _FEW or not "200" <= item.status < "400":
                continue
            change = _old_copy(item, logs, scope) or _held(item, logs, scope) or _called(item, logs, scope)
            if (
                change is None
                and own is not None
                and not own.traffic.is_conditional
                and not own.traffic.omitted
            ):
                change = _called_a_success(item, located, own, scope) or _of_another_body(item, own, scope)
            if change is None:
                continue
            yield Finding(
                "NGX095",
                (
                    quote(located.path, f"{item.count} x {item.method} {item.path} {item.status}"),
                    *change.evidence,
                    quote(change.directive.where, change.directive.written),
                ),
                {
                    "count": str(change.given),
                    "request": f"{item.method} {item.path}",
                    "where": change.directive.where,
                    "why": change.words,
                },
                fix=(*change.steps, target.test_nginx, target.reload_nginx),
            )
            return


def _same(item: Answers, located: LocatedTraffic) -> tuple[Answers, ...]:
    return tuple(a for a in located.traffic.answers if (a.method, a.path) == (item.method, item.path))


def _called_a_success(
    item: Answers, located: LocatedTraffic, own: LocatedTraffic, scope: Scope
) -> _Change | None:
    """The service fails, error_page has nginx answer another status, and no user sees the failure's."""
    if scope.value("proxy_intercept_errors") != "on":
        return None
    seen = {a.status for a in _same(item, located)}
    for failed in _same(item, own):
        if not _TOLD.fullmatch(failed.status) or failed.count < _FEW or failed.status in seen:
            continue
        page = next((line for line in scope.effective("error_page") if failed.status in line.args), None)
        answered = next((word for word in page.args if word.startswith("=")), "") if page else ""
        # A named location is another service to ask, as a spare one is; a status of its own is said on purpose.
        if page is None or page.args[-1].startswith("@") or not item.status.startswith("2"):
            continue
        if answered not in ("=", f"={item.status}"):
            continue
        return _Change(
            failed.count,
            page,
            Text(
                en=f"the service answered {failed.status}, and error_page at {page.where} makes it {item.status}"
                f" ({answered}): clients take the page for what they asked for",
                zh=f"后端返回的是 {failed.status}，{page.where} 的 error_page 改成了 {item.status}（{answered}）："
                "客户端会把这个页面当成正常结果",
            ),
            (quote(own.path, f"{failed.count} x {failed.method} {failed.path} {failed.status}"),),
            (
                Text(
                    en=f"Keep the status: error_page without {answered} ({page.where})",
                    zh=f"保留原状态码：{page.where} 的 error_page 不要写 {answered}",
                ),
                replaced_in_line(page.where, f" {answered} ", " "),
            ),
        )
    return None


def _of_another_body(item: Answers, own: LocatedTraffic, scope: Scope) -> _Change | None:
    """nginx answers POST from its cache, whose key says nothing of the body."""
    methods = scope.effective("proxy_cache_methods")
    key = " ".join(word for line in scope.effective("proxy_cache_key") for word in line.args)
    given = item.count - sum(a.count for a in _same(item, own) if a.status == item.status)
    if (
        item.method != "POST"
        or given < _FEW
        or scope.value("proxy_cache") in (None, "off")
        or not any("POST" in line.args for line in methods)
        or HIDDEN in key
        or _ABOUT_THE_BODY.search(key)
    ):
        return None
    line = methods[-1]
    return _Change(
        given,
        line,
        Text(
            en=f"nginx answered {given} of them from its cache ({line.written} at {line.where}), whose key"
            " says nothing of the body: whoever asks something else at this path gets an earlier answer",
            zh=f"其中 {given} 个由 nginx 从缓存返回（{line.where} 的 {line.written}），而缓存的键里没有"
            "请求体：在这个路径上问别的内容，得到的是先前的答案",
        ),
        (
            Evidence(
                own.path,
                Text(en=f"{item.count - given} of them", zh=f"其中 {item.count - given} 个"),
            ),
        ),
        (
            Text(
                en="Do not keep answers to POST (delete the line), or put the body into the key"
                " (proxy_cache_key ... $request_body; with client_body_buffer_size above its size); then empty the"
                " cache",
                zh="不要缓存 POST（删除该行），或把请求体放进键里（proxy_cache_key … $request_body，且"
                "client_body_buffer_size 大于请求体）；再清空缓存",
            ),
            replaced_statement(line.where, line.name, ""),
        ),
    )


def _old_copy(item: Answers, logs: Logs, scope: Scope) -> _Change | None:
    """gzip_static sends a packed copy whose content is not the file's."""
    lines = scope.effective("gzip_static")
    if not lines or lines[-1].args[:1] == ("off",):
        return None
    copy = next((file for file in logs.packed_files if file.request_path == item.path), None)
    if copy is None:
        return None
    packed = f"{copy.path}.gz"
    return _Change(
        item.count,
        lines[-1],
        Text(
            en=f"gzip_static at {lines[-1].where} sends {packed}, whose content is another than that of"
            f" {copy.path} beside it",
            zh=f"{lines[-1].where} 的 gzip_static 发送的是 {packed}，内容与旁边的 {copy.path} 不一致",
        ),
        (
            Evidence(
                packed,
                Text(
                    en=f"older than {copy.path} by {copy.age / 3600:.1f} h, and its checksum is another",
                    zh=f"比 {copy.path} 旧 {copy.age / 3600:.1f} 小时，校验和也不同",
                ),
            ),
        ),
        (
            Text(
                en="Pack the present file again, and have the deployment do so (or delete .gz files that it does not"
                " write anew)",
                zh="重新压缩现在的文件，并让部署流程每次都这样做（或删掉它不会重写的 .gz）",
            ),
            f"gzip -kf {copy.path}",
        ),
    )


def _held(item: Answers, logs: Logs, scope: Scope) -> _Change | None:
    """open_file_cache sends a file as it was before another took its place."""
    lines = scope.effective("open_file_cache")
    file = next((file for file in logs.held_files if file.request_path == item.path), None)
    valid = scope.effective("open_file_cache_valid")
    seconds = nginx_seconds(" ".join(valid[-1].args)) if valid else None
    if not lines or lines[-1].args[:1] == ("off",) or file is None or seconds is None:
        return None
    if seconds < _KEPT_LONG or file.age >= seconds:
        return None
    return _Change(
        item.count,
        valid[-1],
        Text(
            en=f"{file.path} was replaced {_ago(file.age)} ago, and a worker of nginx holds the old one open and sends"
            f" that for up to {' '.join(valid[-1].args)} (open_file_cache at {lines[-1].where})",
            zh=f"{file.path} 在 {_ago(file.age)}前已被替换，nginx 的工作进程仍打开着旧文件，最长 "
            f"{' '.join(valid[-1].args)} 内都发送旧内容（{lines[-1].where} 的 open_file_cache）",
        ),
        (
            quote(f"/proc/{file.pid}/fd", f"{file.path} (deleted)"),
            quote(lines[-1].where, lines[-1].written),
        ),
        (
            Text(
                en="Have nginx look again after a minute at most, and reload it after each deployment:",
                zh="让 nginx 最多一分钟就重新检查文件，并在每次部署后重新加载：",
            ),
            replaced_statement(valid[-1].where, valid[-1].name, "open_file_cache_valid 60s;"),
        ),
    )


def _ago(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds:.0f} s"


def _called(item: Answers, logs: Logs, scope: Scope) -> _Change | None:
    """charset says that a file's bytes are others than they are."""
    lines = scope.effective("charset")
    file = next((file for file in logs.text_files if file.request_path == item.path), None)
    source = scope.value("source_charset")
    if not lines or not lines[-1].args or file is None or source not in (None, lines[-1].args[0]):
        return None
    said = lines[-1].args[0].lower()
    is_utf8 = said in ("utf-8", "utf8")
    if file.encoding not in _FORMS or said == "off" or "$" in said or is_utf8 == (file.encoding == "utf-8"):
        return None
    # That bytes are no UTF-8 says nothing of which other encoding they have.
    if file.encoding != "utf-8" and not is_utf8:
        return None
    if scope.effective("charset_types") and not file.path.endswith((".html", ".htm")):
        return None
    line = lines[-1]
    return _Change(
        item.count,
        line,
        Text(
            en=f"{line.written} ({line.where}) tells browsers that {file.path} is {said}, and its bytes are"
            f" {_FORMS[file.encoding].en}: they show gibberish",
            zh=f"{line.where} 的 {line.written} 告诉浏览器 {file.path} 是 {said}，而内容"
            f"{_FORMS[file.encoding].zh}：页面显示为乱码",
        ),
        (Evidence(file.path, _FORMS[file.encoding]),),
        (
            Text(
                en="Say what the files are:",
                zh="改成文件真正的编码：",
            ),
            replaced_statement(line.where, "charset", "charset utf-8;"),
        )
        if file.encoding == "utf-8"
        else (
            Text(
                en=f"Find out which encoding {file.path} has, and write it in UTF-8, or give its location that charset"
                f" ({line.where})",
                zh=f"查清 {file.path} 的编码，转成 UTF-8，或在它的 location 写上该编码的 charset（{line.where}）",
            ),
        )
        if file.encoding != "gb18030"
        else (
            Text(
                en="Write the file in UTF-8, if it is GBK (look at the new one before it takes the old one's place), or"
                f" give its location charset gbk; ({line.where})",
                zh=f"如果文件是 GBK，转成 UTF-8（先检查新文件再替换），或在它的 location 写 charset gbk;"
                f"（{line.where}）",
            ),
            f"iconv -f gb18030 -t utf-8 {shlex.quote(file.path)} -o {shlex.quote(file.path + '.utf-8')}",
        ),
    )


CHECKS = (changed_answers,)
