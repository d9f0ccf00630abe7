"""Judge of files that the application lets the web server send.

Sources: nginx documentation, ngx_http_proxy_module (X-Accel-Redirect); Apache's mod_xsendfile (X-Sendfile), of which
nginx knows nothing; documentation of Flask (USE_X_SENDFILE) and django-sendfile2."""

from __future__ import annotations

from collections.abc import Iterator

from ops.diagnosis.checks.log_reading import nginx_entries
from ops.diagnosis.finding import Finding, check, quote
from ops.facts.logs import Logs
from ops.facts.nginx import NginxConfig
from ops.facts.target import Target
from ops.facts.traffic import Answers
from ops.interpret.nginx import pattern_found
from ops.interpret.nginx_error_line import request_of
from ops.interpret.site import scope_for
from ops.interpret.traffic import general_path, users_traffic

# Fewer are one client's.
_FEW = 3


@check(
    "app.handed_over",
    "APP034",
    en="files that the application hands over are sent by nginx",
    zh="应用交给 nginx 发送的文件能够发出",
)
def handed_over(logs: Logs, nginx_config: NginxConfig, target: Target) -> Iterator[Finding]:
    """APP034: the source hands files over by X-Sendfile, nginx passes the path on to it, and users are sent nothing
    there: the path is that of a route that sends files, or nginx misses a body that was announced."""
    for located in users_traffic(logs) if logs.handed_over_files else ():
        for item in located.answers("200"):
            scope = scope_for(nginx_config, target, item.path)
            if (
                item.method != "GET"
                or item.count < _FEW
                or item.sent is None
                or item.sent.median != 0
                or scope is None
                or not scope.effective("proxy_pass")
            ):
                continue
            missed = [
                (path, entry)
                for path, entry in nginx_entries(logs, "prematurely closed connection while reading upstream")
                if (request := request_of(entry.text)) and general_path(request.path) == item.path
            ]
            if not missed and not _is_of_a_route(item, logs):
                continue
            source, passed = logs.handed_over_files[0], scope.effective("proxy_pass")[-1]
            yield Finding(
                "APP034",
                (
                    quote(source.where, source.written),
                    quote(located.path, f"{item.count} x GET {item.path} 200, 0 B"),
                    quote(passed.where, passed.written),
                    *(quote(path, entry.text.partition("\n")[0]) for path, entry in missed[-1:]),
                ),
                {
                    "count": str(item.count),
                    "path": item.path,
                    "source": source.where,
                    "written": source.written,
                    "where": passed.where,
                },
            )
            return


def _is_of_a_route(item: Answers, logs: Logs) -> bool:
    return any(
        route.pattern and pattern_found(f"^{route.pattern}/?$", item.path, ignore_case=False)
        for route in logs.handed_over_files
    )


CHECKS = (handed_over,)
