"""Response headers that must come once, but come from both the service and nginx.

Sources: Fetch standard, CORS check (one Access-Control-Allow-Origin); RFC 9110, 5.3; nginx documentation,
ngx_http_headers_module (add_header does not replace the service's headers)."""

from __future__ import annotations

from collections.abc import Iterator

from ops.diagnosis.finding import Finding, check, quote
from ops.diagnosis.steps import put_before_line
from ops.facts.nginx import NginxConfig
from ops.facts.probes import Backend, Exchange, Front
from ops.facts.target import Target
from ops.interpret.site import scope_for

# Browsers refuse two values of any of these, or use neither.
_ONCE = (
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Credentials",
    "Content-Type",
    "Strict-Transport-Security",
    "X-Frame-Options",
)


@check(
    "nginx.repeated_headers",
    "NGX047",
    en="headers that must come once do so",
    zh="只应出现一次的响应头没有重复",
)
def repeated(front: Front, backend: Backend, target: Target, nginx_config: NginxConfig) -> Iterator[Finding]:
    """NGX047: the service sends a header once, and users get it twice because nginx adds it too."""
    for path, whole, own in (
        (target.predict_path, front.predict, backend.predict),
        (target.health_path, front.health, backend.health),
    ):
        if not isinstance(whole, Exchange) or not isinstance(own, Exchange):
            continue
        for name in _ONCE:
            values = _values(whole, name)
            if len(values) < 2 or len(_values(own, name)) != 1:
                continue
            scope = scope_for(nginx_config, target, path)
            added = [
                d
                for d in (scope.effective("add_header") if scope else ())
                if len(d.args) > 1 and d.args[0].lower() == name.lower()
            ]
            if not added:
                continue
            line = added[0]
            place = line.where
            yield Finding(
                "NGX047",
                (
                    quote(whole.url, f"{name}: {' | '.join(values)}"),
                    quote(own.url, f"{name}: {_values(own, name)[0]}"),
                    quote(place, f"add_header {' '.join(line.args)}"),
                ),
                {"header": name, "path": path, "where": place},
                fix=(
                    put_before_line(place, f"proxy_hide_header {name};"),
                    target.test_nginx,
                    target.reload_nginx,
                ),
            )
            return


def _values(answer: Exchange, name: str) -> list[str]:
    return [value for key, value in answer.headers if key.lower() == name.lower()]


CHECKS = (repeated,)
