"""`gte-ops route`: parse, call, render."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.cli.help import BilingualCommand
from ops.cli.options import config_option, language_option, option, report_format_option, settings_from, show
from ops.errors import UsageError
from ops.text.language import Text
from ops.text.reasons import chinese

if TYPE_CHECKING:
    from ops.text.language import Language

UNKNOWN = 3
_METHOD = re.compile(r"[A-Z][A-Z-]{0,30}")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,200})\s*:[ \t]*([^\x00-\x1f\x7f]{0,8000})")


def _headers(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    headers = []
    for value in values:
        match = _HEADER.fullmatch(value)
        if match is None:
            raise click.BadParameter(f"{value!r} is no header: write NAME: VALUE")
        headers.append((match[1], match[2].strip()))
    return tuple(headers)


@click.command(
    cls=BilingualCommand,
    zh="""显示 nginx 如何处理一个请求，并指出配置的文件和行号。

    从磁盘上的配置算出 server 块、location、重写、proxy_pass、后端收到的 URI 和请求头、限制和超时；不发送任何请求。不写
    METHOD 时为 GET。PATH 是本服务站点的路径。退出码：0 已算出最终结果，3 无法从配置得知或配置读不出来。""",
)
@click.argument("words", nargs=-1, metavar="[METHOD] URL|PATH")
@config_option
@report_format_option
@language_option
@option(
    "--header",
    "headers",
    multiple=True,
    callback=_headers,
    metavar="NAME:VALUE",
    en="A request header; may be given several times.",
    zh="一个请求头，可以给出多次。",
)
@option(
    "--address",
    metavar="IP[:PORT]",
    en="Where the request is sent; default: where the site is reached.",
    zh="请求发往的地址，默认为站点的地址。",
)
@option(
    "--client",
    metavar="IP",
    en="The client's address, for allow and deny.",
    zh="客户端地址，用于 allow 和 deny。",
)
@option(
    "--body-size",
    type=click.IntRange(0, 1 << 50),
    metavar="BYTES",
    en="The length of the body.",
    zh="请求体的字节数。",
)
@option(
    "--from-bundle",
    type=click.Path(path_type=Path),
    metavar="FILE",
    en="Look at the host that FILE was made on.",
    zh="查看生成 FILE 的那台主机。",
)
def route(
    words: tuple[str, ...],
    config: str | None,
    form: str,
    language: Language,
    headers: tuple[tuple[str, str], ...],
    address: str | None,
    client: str | None,
    body_size: int | None,
    from_bundle: Path | None,
) -> None:
    """Show what nginx does with a request, with FILE:LINE. 显示 nginx 如何处理一个请求，并指出配置的文件和行号。

    Server block, location, rewrites, proxy_pass, the URI and headers that the service gets, limits and time-outs:
    computed from the configuration on disk; no request is sent. Without METHOD: GET. A PATH is one of this service's
    site. Exit code: 0 computed to its end, 3 the configuration does not decide it or cannot be read.

    \b
    Example:
      gte-ops route POST /predict
      gte-ops route https://gte-api.example.com/health --header 'User-Agent: curl/8.5.0'
      gte-ops route POST /predict --body-size 20000000 --client 203.0.113.9
      gte-ops route /static/app.js --format json --from-bundle host7.json.gz
    """
    from ops.collect.nginx_route import bundled_facts, compute_route, routing_facts
    from ops.errors import OpsError
    from ops.facts.nginx import NginxConfig
    from ops.interpret.routing.model import OutcomeKind
    from ops.interpret.routing.request import RequestError, named_request
    from ops.interpret.routing.upstream import is_address
    from ops.report.route import RouteReport

    method, place = _method_and_place(words)
    if client is not None and not is_address(client):
        raise UsageError(
            Text(en=f"--client: {client!r} is no IP address", zh=f"--client：{client!r} 不是 IP 地址")
        )
    if from_bundle is not None:
        facts = bundled_facts(from_bundle)
    else:
        settings = settings_from(config)
        facts = routing_facts(settings, settings.doctor.budget)
    if not isinstance(facts.config, NginxConfig):
        raise OpsError(
            Text(
                en=f"nginx's configuration: {facts.config.reason}",
                zh=f"nginx 的配置：{chinese(facts.config.reason)}",
            )
        )
    try:
        request = named_request(
            method,
            place,
            facts.target,
            headers=headers,
            address=address,
            client=client,
            body_length=body_size,
        )
    except RequestError as error:
        raise UsageError(str(error)) from None
    computed = compute_route(facts.config, request, facts)
    show(form, RouteReport(computed), language)
    sys.exit(UNKNOWN if computed.outcome.kind is OutcomeKind.UNKNOWN else 0)


def _method_and_place(words: tuple[str, ...]) -> tuple[str, str]:
    """Raises UsageError."""
    if len(words) == 1:
        return "GET", words[0]
    if len(words) != 2:
        raise UsageError(
            Text(
                en="give a URL or a path, and before it the method if it is not GET: POST /predict",
                zh="请给出 URL 或路径；方法不是 GET 时写在前面：POST /predict",
            )
        )
    if not _METHOD.fullmatch(words[0].upper()):
        raise UsageError(
            Text(
                en=f"{words[0]!r} is no method: GET, POST, ...",
                zh=f"{words[0]!r} 不是请求方法：应为 GET、POST 等",
            )
        )
    return words[0].upper(), words[1]
