"""Apprise plug-ins for the chat robots that replace Apprise's own.

For dingtalk://, feishu://, lark:// and wecombot:// Apprise 2.2 checks only the HTTP status, so that a message refused
with HTTP 200 counts as delivered; and it does not sign for Feishu. These keep its URL forms and options. They are
registered as Apprise documents it for replacing a plug-in: `NotificationManager.add(..., force=True)`.
"""

from __future__ import annotations

import json
import re
import ssl
import time
from typing import Any, ClassVar
from urllib.parse import quote, unquote, urlencode

import requests
from apprise.manager_plugins import NotificationManager
from apprise.plugins.base import NotifyBase

from ops.notifications.bots.dingtalk import DINGTALK
from ops.notifications.bots.feishu import FEISHU, LARK
from ops.notifications.bots.wecom import WECOM
from ops.notifications.delivery_result import DeliveryOutcome, DeliveryResult, judge_code
from ops.notifications.webhook_bot import Address, Vendor, fitting, hint_for, read_answer, usable_endpoint
from ops.text.language import Text

# Apprise has types for only some of its functions, so it is treated as untyped.
_Base: Any = NotifyBase
_Manager: Any = NotificationManager

# A robot's answer has about a hundred bytes; a longer one comes from something else.
MAX_ANSWER_BYTES = 64 * 1024

_NO_AUTHORITIES = Text(
    en="the certificates that REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names are not there, or not readable without root",
    zh="REQUESTS_CA_BUNDLE 或 CURL_CA_BUNDLE 指定的证书不存在，或没有 root 权限无法读取",
)
_TIMED_OUT = Text(en="no answer within {:.0f} s", zh="{:.0f} 秒内没有应答")


class MalformedUrlError(Exception):
    """The URL has no usable token, secret or endpoint; the message says which, and quotes nothing of it."""


class RobotPlugin(_Base):  # type: ignore[misc]
    """One chat robot. ``verdict``: the result of the last message."""

    vendor: ClassVar[Vendor]
    # Apprise would put a carriage return between title and body for a peer without titles; `send` joins them itself.
    title_maxlen = 250
    body_maxlen = 1 << 20
    request_rate_per_sec = 0.0  # the outbox decides how often to send

    def __init__(
        self,
        token: str,
        secret: str | None = None,
        targets: list[str] | None = None,
        endpoint: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if not self.vendor.token_form.fullmatch(token or ""):
            raise MalformedUrlError("no usable token in it")
        if secret and not self.vendor.signs:
            raise MalformedUrlError(f"{self.vendor.name} robots know no secret")
        if endpoint and not usable_endpoint(endpoint):
            raise MalformedUrlError("endpoint= must be https://host[:port], or http:// on this machine")
        self.address = Address(token, secret or None, tuple(targets or ()))
        self.endpoint = (endpoint or self.vendor.host).rstrip("/")
        self.verdict: DeliveryResult | None = None

    def send(self, body: str, title: str = "", **_: Any) -> bool:
        """Post one text; True if the robot accepted it. Raises nothing; ``verdict`` has the error."""
        now = time.time()
        text = fitting(f"{title}\n{body}" if title else body, self.vendor.max_bytes)
        request = self.vendor.compose(self.address, text, now)
        try:
            status, headers, content = self._post(
                self.endpoint + quote(request.path),
                urlencode(request.query),
                json.dumps(request.document).encode(),
            )
        except (requests.RequestException, OSError) as error:
            self.verdict = DeliveryResult(DeliveryOutcome.FAILED, trouble(error, self.socket_read_timeout))
            return False
        try:
            document = json.loads(content)
        except (ValueError, RecursionError):
            document = None
        code, words = read_answer(self.vendor, document)
        self.verdict = judge_code(
            status,
            headers,
            code,
            words,
            pauses=self.vendor.pauses,
            hint=hint_for(self.vendor, code, words),
            now=now,
        )
        return self.verdict.outcome == DeliveryOutcome.ACCEPTED

    def _post(self, url: str, query: str, document: bytes) -> tuple[int, Any, bytes]:
        """Status, headers and the beginning of the body. Raises requests' exceptions."""
        with requests.post(
            f"{url}?{query}" if query else url,
            data=document,
            headers={"Content-Type": "application/json; charset=utf-8", "User-Agent": "gte-ops"},
            verify=self.verify_certificate,
            timeout=(self.socket_connect_timeout, self.socket_read_timeout),
            # The token is in the URL: do not send it to the target of a redirect.
            allow_redirects=False,
            stream=True,
        ) as answer:
            content = b""
            for chunk in answer.iter_content(4096):
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    break
            return answer.status_code, answer.headers, content[:MAX_ANSWER_BYTES]

    def url(self, privacy: bool = False, *_: Any, **__: Any) -> str:
        """The URL this was made of; with ``privacy``, its scheme alone."""
        if privacy:
            return f"{self.vendor.schema}://***/"
        parameters = {"endpoint": self.endpoint} if self.endpoint != self.vendor.host else {}
        secret = f"{quote(self.address.secret, safe='')}@" if self.address.secret else ""
        mentions = "/".join(self.address.mentions)
        query = urlencode({**parameters, **self.url_parameters(privacy=False)})
        plain_url = f"{self.vendor.schema}://{secret}{quote(self.address.token, safe='')}/{mentions}"
        return f"{plain_url}?{query}" if query else plain_url

    @property
    def url_identifier(self) -> tuple[str, str, str | None]:
        """The identity of this robot, for Apprise."""
        return (self.vendor.schema, self.address.token, self.address.secret)

    @classmethod
    def parse_url(cls, url: str) -> dict[str, Any] | None:
        """Arguments for the constructor from ``schema://[secret@]token[/phone...][?secret=&endpoint=&verify=]``."""
        results: dict[str, Any] | None = _Base.parse_url(url, verify_host=False)
        if not results:
            return None
        # Apprise has decoded the query's values, but neither host nor user.
        options = results.get("qsd") or {}
        results["token"] = options.get("token") or options.get("key") or unquote(results.get("host") or "")
        results["secret"] = options.get("secret") or unquote(results.get("user") or "")
        results["targets"] = [
            digits
            for piece in re.split(
                r"[/,]", f"{unquote(results.get('fullpath') or '')},{options.get('to') or ''}"
            )
            if re.fullmatch(r"\d{11,14}", digits := re.sub(r"[\s()+-]", "", piece))
        ]
        results["endpoint"] = options.get("endpoint") or ""
        return results

    @classmethod
    def parse_native_url(cls, url: str) -> dict[str, Any] | None:
        """The same from the webhook's URL as the vendor shows it, with ``secret=`` and the like appended by hand."""
        match = cls.vendor.native.match(url)
        if match is None:
            return None
        pieces = re.split(r"[?&]", url.partition("#")[0])[1:]
        options = "&".join(
            piece for piece in pieces if not re.match(r"(?i)(?:access_token|key|timestamp|sign)=", piece)
        )
        return cls.parse_url(f"{cls.vendor.schema}://{match['token']}/" + (f"?{options}" if options else ""))


class DingTalkPlugin(RobotPlugin):
    """dingtalk://"""

    vendor = DINGTALK
    service_name = DINGTALK.name
    secure_protocol = DINGTALK.schema


class FeishuPlugin(RobotPlugin):
    """feishu://"""

    vendor = FEISHU
    service_name = FEISHU.name
    secure_protocol = FEISHU.schema


class LarkPlugin(RobotPlugin):
    """lark://"""

    vendor = LARK
    service_name = LARK.name
    secure_protocol = LARK.schema


class WeComPlugin(RobotPlugin):
    """wecombot://"""

    vendor = WECOM
    service_name = WECOM.name
    secure_protocol = WECOM.schema


def register() -> None:
    """Put these in the place of Apprise's own, in this process."""
    manager: Any = _Manager()
    for plugin in (DingTalkPlugin, FeishuPlugin, LarkPlugin, WeComPlugin):
        manager.add(plugin, schemas=[plugin.vendor.schema], force=True)


def trouble(error: BaseException, waited: float) -> Text:
    """What went wrong on the way, without the library's words: those quote the URL."""
    chain: list[BaseException] = []
    pending: list[object] = [error]
    while pending and len(chain) < 12:
        current = pending.pop(0)
        if isinstance(current, BaseException) and current not in chain:
            chain.append(current)
            pending += [
                current.__cause__,
                current.__context__,
                getattr(current, "reason", None),
                *current.args,
            ]
    names = {type(link).__name__ for link in chain}
    if any(isinstance(link, ssl.SSLCertVerificationError) for link in chain):
        return Text(
            en="its certificate is not trusted here (notify.ca_file names further roots)",
            zh="对方证书不受本机信任（notify.ca_file 可指定更多根证书）",
        )
    # Requests' own words for a file or directory that it does not find or may not read.
    if any(isinstance(link, OSError) and "CA certificate bundle" in str(link) for link in chain):
        return _NO_AUTHORITIES
    if names & {"ProxyError"}:
        return Text(en="the proxy in the environment did not let it through", zh="环境变量中的代理未放行")
    if names & {"NameResolutionError", "gaierror"}:
        return Text(en="its name does not resolve", zh="域名无法解析")
    if names & {"ConnectTimeout", "ConnectTimeoutError"}:
        return Text(en="no connection: timed out", zh="连接超时")
    if names & {"ReadTimeout", "ReadTimeoutError", "TimeoutError", "timeout"}:
        return Text(en=_TIMED_OUT.en.format(waited), zh=_TIMED_OUT.zh.format(waited))
    if "ConnectionRefusedError" in names:
        return Text(en="connection refused", zh="连接被拒绝")
    if names & {
        "RemoteDisconnected",
        "ConnectionResetError",
        "BrokenPipeError",
        "IncompleteRead",
        "ProtocolError",
    }:
        return Text(en="the connection was dropped before an answer", zh="应答之前连接被断开")
    if any(isinstance(link, ssl.SSLError) for link in chain):
        return Text(en="no TLS with it", zh="TLS 握手失败")
    unreachable = next((link for link in chain if isinstance(link, OSError) and link.errno), None)
    detail = (
        (getattr(unreachable, "strerror", None) or type(error).__name__)
        if unreachable
        else type(error).__name__
    )
    return Text(en=f"not reached: {detail}", zh=f"无法到达：{detail}")
