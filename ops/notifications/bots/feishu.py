"""Feishu's and Lark's custom bot (open.feishu.cn/document/client-docs/bot-v3/add-custom-bot)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import replace
from typing import Any

from ops.notifications.webhook_bot import Address, BotRequest, Vendor
from ops.text.language import Text

# Text messages interpret this tag; a log line quoted in a message must not notify the whole group.
_AT_TAG = re.compile(r"<(?=/?at\b)", re.IGNORECASE)


def signature(secret: str, timestamp_s: int) -> str:
    """Base64 of HMAC-SHA256 over nothing, keyed with ``timestamp\\nsecret``: unlike DingTalk's, the two are the key."""
    return base64.b64encode(
        hmac.new(f"{timestamp_s}\n{secret}".encode(), b"", hashlib.sha256).digest()
    ).decode()


def _compose(address: Address, text: str, now: float) -> BotRequest:
    document: dict[str, Any] = {"msg_type": "text", "content": {"text": _AT_TAG.sub("< ", text)}}
    if address.secret:
        timestamp_s = int(now)
        document |= {"timestamp": str(timestamp_s), "sign": signature(address.secret, timestamp_s)}
    return BotRequest(f"/open-apis/bot/v2/hook/{address.token}", {}, document)


FEISHU = Vendor(
    name="Feishu",
    schema="feishu",
    host="https://open.feishu.cn",
    native=re.compile(r"https://open\.feishu\.cn/open-apis/bot/v2/hook/(?P<token>[^/?#]+)", re.I),
    token_form=re.compile(r"[A-Za-z0-9_-]{1,128}"),
    max_bytes=18000,  # the whole request may have 20 KB
    signs=True,
    # The first generation of bots answered StatusCode, today's answer code; a success has both.
    codes=("code", "StatusCode"),
    words=("msg", "StatusMessage"),
    # 9499 is both 'too many request' and 'Bad Request': the message decides (delivery_result.temporary_words).
    pauses={11232: 60.0, 11233: 60.0, 99991400: 60.0, 230020: 60.0, 2200: 30.0},
    hints=(
        (
            re.compile(r"\b19021\b|sign match fail", re.I),
            Text(en="check the secret, and this host's clock", zh="请检查签名密钥以及本机时间"),
        ),
        (
            re.compile(r"\b19024\b|Key ?Words? Not Found", re.I),
            Text(
                en="the bot demands a keyword: make gte-ops one of them",
                zh="机器人要求关键词：请添加 gte-ops",
            ),
        ),
        (
            re.compile(r"\b19022\b|Ip Not Allowed", re.I),
            Text(
                en="add this host's public address to the bot's list", zh="请将本机公网 IP 加入机器人白名单"
            ),
        ),
        (
            re.compile(r"\b19001\b|access token invalid", re.I),
            Text(en="check the end of the webhook's URL", zh="请检查 webhook 地址末尾的 token"),
        ),
    ),
    compose=_compose,
)

LARK = replace(
    FEISHU,
    name="Lark",
    schema="lark",
    host="https://open.larksuite.com",
    native=re.compile(r"https://open\.larksuite\.com/open-apis/bot/v2/hook/(?P<token>[^/?#]+)", re.I),
)
