"""DingTalk's custom robot (open.dingtalk.com/document/robots/custom-robot-access)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

from ops.notifications.webhook_bot import Address, BotRequest, Vendor
from ops.text.language import Text

# A robot that sends more than 20 messages in a minute is blocked for ten minutes.
_SILENCED_S = 600.0


def signature(secret: str, timestamp_ms: int) -> str:
    """Base64 of HMAC-SHA256, keyed with the secret, over ``timestamp\\nsecret``; goes, percent-encoded, into the
    query."""
    signed = hmac.new(secret.encode(), f"{timestamp_ms}\n{secret}".encode(), hashlib.sha256)
    return base64.b64encode(signed.digest()).decode()


def _compose(address: Address, text: str, now: float) -> BotRequest:
    query = {"access_token": address.token}
    if address.secret:
        timestamp_ms = round(now * 1000)
        query |= {"timestamp": str(timestamp_ms), "sign": signature(address.secret, timestamp_ms)}
    mentions = {"atMobiles": list(address.mentions), "isAtAll": False}
    return BotRequest("/robot/send", query, {"msgtype": "text", "text": {"content": text}, "at": mentions})


DINGTALK = Vendor(
    name="DingTalk",
    schema="dingtalk",
    host="https://oapi.dingtalk.com",
    native=re.compile(
        r"https://oapi\.dingtalk\.com/robot/send/?\?(?:.*&)?access_token=(?P<token>[^&#]+)", re.I
    ),
    token_form=re.compile(r"[A-Za-z0-9_-]{1,128}"),
    max_bytes=18000,  # the whole request may have 20000 bytes
    signs=True,
    codes=("errcode",),
    words=("errmsg",),
    pauses={-1: 60.0, 130101: _SILENCED_S, 410100: _SILENCED_S, 90030: 3600.0, 88: 60.0},
    hints=(
        (
            re.compile(r"310000.*(?:sign|timestamp|签名)", re.I),
            Text(en="check the secret, and this host's clock", zh="请检查加签密钥以及本机时间"),
        ),
        (
            re.compile(r"310000.*(?:keyword|关键词)", re.I),
            Text(
                en="the robot demands a keyword: make gte-ops one of them",
                zh="机器人要求关键词：请添加 gte-ops",
            ),
        ),
        (
            re.compile(r"310000.*(?:\bip\b|whitelist|白名单)", re.I),
            Text(
                en="add this host's public address to the robot's list", zh="请将本机公网 IP 加入机器人白名单"
            ),
        ),
        (
            re.compile(r"\b(?:300001|300005|400101|400106)\b|token is not exist", re.I),
            Text(en="check the access_token", zh="请检查 access_token"),
        ),
    ),
    compose=_compose,
)
