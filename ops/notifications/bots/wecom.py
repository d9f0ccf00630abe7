"""WeCom's group robot (developer.work.weixin.qq.com/document/path/91770)."""

from __future__ import annotations

import re

from ops.notifications.webhook_bot import Address, BotRequest, Vendor
from ops.text.language import Text


def _compose(address: Address, text: str, now: float) -> BotRequest:  # noqa: ARG001  (this vendor signs nothing)
    content: dict[str, object] = {"content": text}
    if address.mentions:
        content["mentioned_mobile_list"] = list(address.mentions)
    return BotRequest("/cgi-bin/webhook/send", {"key": address.token}, {"msgtype": "text", "text": content})


WECOM = Vendor(
    name="WeCom",
    schema="wecombot",
    host="https://qyapi.weixin.qq.com",
    native=re.compile(
        r"https://qyapi\.weixin\.qq\.com/cgi-bin/webhook/send/?\?(?:.*&)?key=(?P<token>[^&#]+)", re.I
    ),
    token_form=re.compile(r"[A-Za-z0-9_-]{1,128}"),
    max_bytes=2048,
    signs=False,
    codes=("errcode",),
    words=("errmsg",),
    # 20 messages a minute; -1 is 'system busy' and 45033 'too many at once' (path/90313, the global codes).
    pauses={-1: 30.0, 45009: 60.0, 45033: 30.0},
    hints=(
        (
            re.compile(r"\b93000\b|invalid webhook url", re.I),
            Text(en="check the key at the end of the webhook's URL", zh="请检查 webhook 地址中的 key"),
        ),
        (
            re.compile(r"\b(?:93004|93008)\b"),
            Text(en="the robot is disabled or no longer in the group", zh="机器人已停用或不在群中"),
        ),
    ),
    compose=_compose,
)
