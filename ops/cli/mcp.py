"""`gte-ops mcp`: parse, serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ops.cli.help import BilingualCommand
from ops.cli.options import config_option, error_format_option, language_option, option, settings_and_path
from ops.errors import OpsError
from ops.text.language import Text

if TYPE_CHECKING:
    from ops.text.language import Language


@click.command(
    cls=BilingualCommand,
    zh="""供运维助手使用的 MCP 服务：doctor、explain、route、timeline 等只读工具。

    默认使用标准输入输出；--http 只监听回环地址，需要 mcp.token_file 中的令牌。需要安装 gte-ops[mcp]。""",
)
@config_option
@option(
    "--http",
    "address",
    metavar="HOST:PORT",
    en="Serve HTTP on loopback, with the token of mcp.token_file, instead of standard input and output.",
    zh="在回环地址上提供 HTTP（使用 mcp.token_file 的令牌），而不是标准输入输出。",
)
@error_format_option
@language_option
def mcp(config: str | None, address: str | None, language: Language) -> None:
    """Serve this host's answers to an assistant (MCP). 供运维助手使用的 MCP 服务。

    The tools are read-only; a repair is a plan, and applied only where mcp.allow_repair allows it. Needs gte-ops[mcp].

    \b
    Example:
      gte-ops mcp
      gte-ops mcp --http 127.0.0.1:8765
    """
    from ops.interpret.address import loopback_address
    from ops.mcp.http import read_token, serve_http

    settings, path = settings_and_path(config)
    place = (
        None
        if address is None
        else (loopback_address(address, "--http"), read_token(settings.mcp.token_file))
    )
    try:
        import mcp as sdk  # noqa: F401
    except ImportError:
        raise OpsError(
            Text(
                en="the MCP SDK is not installed: pip install 'gte-ops[mcp]'",
                zh="没有安装 MCP SDK：pip install 'gte-ops[mcp]'",
            )
        ) from None
    from ops.mcp.server import make_server

    server = make_server(settings, path.absolute() if path else None, language)
    if place is None:
        server.run("stdio")
    else:
        serve_http(server, *place)
