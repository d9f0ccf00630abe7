"""Streams of events that nginx gathers in its buffers.

Source: nginx documentation, ngx_http_proxy_module (proxy_buffering, X-Accel-Buffering)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ops.diagnosis.finding import Evidence, Finding, check, quote
from ops.diagnosis.steps import put_before_line, replaced_statement
from ops.facts.logs import Logs
from ops.facts.nginx import NginxConfig
from ops.facts.target import Target
from ops.interpret.site import find_site
from ops.interpret.traffic import users_traffic
from ops.text.language import Text

# Of a route for the root, or of parameters alone: such an end has every path.
_OF_ANY_PATH = re.compile(r"(?:/\[\^/\]\+)*")


@check("nginx.streams", "NGX088", en="streams of events pass nginx at once", zh="事件流能及时通过 nginx")
def streams(logs: Logs, nginx_config: NginxConfig, target: Target) -> Iterator[Finding]:
    """NGX088: clients ask for a path whose route in the application's source answers with text/event-stream, and nginx
    buffers answers there."""
    site = find_site(nginx_config, target.domain, target.backend)
    if site is None:
        return
    for stream in logs.event_streams:
        if stream.forbids_buffering or _OF_ANY_PATH.fullmatch(stream.pattern):
            continue
        for located in users_traffic(logs):
            for item in located.traffic.answers:
                location = site.server.location_for(item.path)
                if (
                    item.status >= "400"
                    or location is None
                    or not re.search(f"{stream.pattern}/?$", item.path)
                ):
                    continue
                passes = location.effective("proxy_pass")
                written = location.effective("proxy_buffering")
                if not passes or (written and written[-1].args[:1] == ("off",)):
                    continue
                beside = written[-1] if written else passes[-1]
                where = beside.where
                yield Finding(
                    "NGX088",
                    (
                        quote(stream.where, stream.written),
                        quote(located.path, f"{item.count} x {item.method} {item.path} {item.status}"),
                        quote(where, "proxy_buffering on")
                        if written
                        else Evidence(
                            where,
                            Text(
                                en=f"{passes[-1].name} {' '.join(passes[-1].args)}: proxy_buffering is on, the default",
                                zh=f"{passes[-1].name} {' '.join(passes[-1].args)}：proxy_buffering 默认开启",
                            ),
                        ),
                    ),
                    {"request": f"{item.method} {item.path}", "where": where, "source": stream.where},
                    fix=(
                        Text(
                            en=f"Switch buffering off for the stream: proxy_buffering off; at {where}, or let the"
                            f" application send X-Accel-Buffering: no ({stream.where})",
                            zh=f"为事件流关闭缓冲：在 {where} 写 proxy_buffering off;，"
                            f"或让应用发送 X-Accel-Buffering: no（{stream.where}）",
                        ),
                        replaced_statement(where, "proxy_buffering", "proxy_buffering off;")
                        if written
                        else put_before_line(where, "proxy_buffering off;"),
                        target.test_nginx,
                        target.reload_nginx,
                    ),
                )
                return


CHECKS = (streams,)
