"""The server over HTTP: on loopback only, and only with the token."""

from __future__ import annotations

import hmac
import ipaddress
import stat
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from ops.errors import SettingsError, UsageError
from ops.files.bounded_read import read_regular_file
from ops.text.language import Text
from ops.text.reasons import chinese
from ops.text.sanitize import safe_line

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

_MAX_TOKEN_BYTES = 4096
# Shorter than this it could be guessed.
_MIN_TOKEN_CHARS = 20

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


def loopback_address(words: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` on loopback. Raises UsageError for every other address."""
    host, _, port = words.rpartition(":")
    host = host.strip("[]")
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(
            Text(
                en="--http takes an address of loopback and a port, like 127.0.0.1:8765",
                zh="--http 需要回环地址和端口，例如 127.0.0.1:8765",
            )
        )
    return host, int(port)


def read_token(path: str) -> str:
    """The token in a file that only its owner may read. Raises SettingsError; the error holds no token."""
    name = f"mcp.token_file {safe_line(path, 400)}"
    if not path:
        raise SettingsError(
            Text(
                en="mcp.token_file is not set: HTTP needs a token; make one: openssl rand -hex 32",
                zh="未设置 mcp.token_file：HTTP 方式需要令牌，可用 openssl rand -hex 32 生成",
            )
        )
    try:
        file = read_regular_file(path, _MAX_TOKEN_BYTES)
    except (OSError, ValueError) as error:
        why = safe_line(getattr(error, "strerror", None) or str(error), 200)
        raise SettingsError(Text(en=f"{name}: {why}", zh=f"{name}：{chinese(why)}")) from None
    if stat.S_IMODE(file.mode) & 0o077:
        raise SettingsError(
            Text(
                en=f"{name} may be read or written by others: chmod 600",
                zh=f"{name} 可被他人读写：请 chmod 600",
            )
        )
    token = file.content.decode("utf-8", "replace").strip()
    if len(token) < _MIN_TOKEN_CHARS or not token.isascii() or not token.isprintable() or " " in token:
        raise SettingsError(
            Text(
                en=f"{name} must hold one word of {_MIN_TOKEN_CHARS} characters or more",
                zh=f"{name} 须只含一个至少 {_MIN_TOKEN_CHARS} 个字符的令牌",
            )
        )
    return token


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
