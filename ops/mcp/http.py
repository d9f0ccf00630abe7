"""The server over HTTP: on loopback only, and only with the token."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from ops.errors import SettingsError
from ops.files import token_file
from ops.text.language import Text

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def read_token(path: str) -> str:
    """The token of mcp.token_file. Raises SettingsError; the error holds no token."""
    if not path:
        raise SettingsError(
            Text(
                en="mcp.token_file is not set: HTTP needs a token; make one: openssl rand -hex 32",
                zh="未设置 mcp.token_file：HTTP 方式需要令牌，可用 openssl rand -hex 32 生成",
            )
        )
    return token_file.read_token(path, "mcp.token_file")


def with_token(application: Application, token: str) -> Application:
    """``application`` for requests that bear ``token`` (RFC 6750); every other one gets 401."""
    expected = f"Bearer {token}".encode()

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
            if len(given) != 1 or not hmac.compare_digest(given[0], expected):
                headers = [(b"www-authenticate", b"Bearer"), (b"content-length", b"0")]
                await send({"type": "http.response.start", "status": 401, "headers": headers})
                await send({"type": "http.response.body", "body": b""})
                return
        elif scope["type"] != "lifespan":
            return
        await application(scope, receive, send)

    return checked


def serve_http(server: MCPServer, address: tuple[str, int], token: str) -> None:
    """Serve at http://ADDRESS/mcp until interrupted."""
    import uvicorn

    host, port = address
    application = with_token(server.streamable_http_app(host=host, max_request_body_size=1 << 20), token)
    uvicorn.run(application, host=host, port=port, log_level="error", access_log=False)
