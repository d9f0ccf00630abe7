"""What robots answer, and what is made of it."""

from __future__ import annotations

# ?None
import hashlib
import json
from typing import Any

import pytest

from ops.notifications.bots import dingtalk, feishu
from ops.notifications.bots.dingtalk import DINGTALK
from ops.notifications.bots.feishu import FEISHU, LARK
from ops.notifications.bots.wecom import WECOM
from ops.notifications.delivery_result import DeliveryResult, judge_code, retry_after
from ops.notifications.webhook_bot import Address, Vendor, fitting, hint_for, read_answer, usable_endpoint

NOW = 1_795_300_000.0


def verdict(
    vendor: Vendor, answer: object, status: int = 200, headers: dict[str, str] | None = None
) -> DeliveryResult:
    code, words = read_answer(vendor, answer)
    return judge_code(
        status,
        headers or {},
        code,
        words,
        pauses=vendor.pauses,
        hint=hint_for(vendor, code, words),
        now=NOW,
    )


@pytest.mark.parametrize(
    ("vendor", "status", "answer", "outcome"),
    [
        (DINGTALK, 200, {"errcode": 0, "errmsg": "ok"}, "accepted"),
        (DINGTALK, 200, {"errcode": "0", "errmsg": "ok"}, "accepted"),
        (DINGTALK, 200, {"errcode": 310000, "errmsg": "sign not match"}, "refused"),
        (DINGTALK, 200, {"errcode": 310000, "errmsg": "keywords not in content"}, "refused"),
        (DINGTALK, 200, {"errcode": 300001, "errmsg": "token is not exist"}, "refused"),
        (DINGTALK, 200, {"errcode": 130101, "errmsg": "send too fast, exceed 20 times per minute"}, "failed"),
        (DINGTALK, 200, {"errcode": 410100, "errmsg": "发送速度太快而限流"}, "failed"),
        (DINGTALK, 200, {"errcode": -1, "errmsg": "系统繁忙"}, "failed"),
        (DINGTALK, 200, {"errcode": 99999, "errmsg": "something new"}, "refused"),
        (DINGTALK, 200, {"errcode": 99999, "errmsg": "request too frequently"}, "failed"),
        (FEISHU, 200, {"StatusCode": 0, "StatusMessage": "success"}, "accepted"),
        (FEISHU, 200, {"StatusCode": 0, "StatusMessage": "success", "code": 0, "msg": "success"}, "accepted"),
        (
            FEISHU,
            200,
            {"code": 19021, "msg": "sign match fail or timestamp is not within one hour"},
            "refused",
        ),
        (FEISHU, 200, {"code": 19024, "msg": "Key Words Not Found"}, "refused"),
        (FEISHU, 200, {"StatusCode": 19001, "StatusMessage": "param invalid"}, "refused"),
        (FEISHU, 200, {"StatusCode": 0, "code": 19024, "msg": "Key Words Not Found"}, "refused"),
        (FEISHU, 200, {"code": 9499, "msg": "too many request"}, "failed"),
        (FEISHU, 400, {"code": 9499, "msg": "Bad Request"}, "refused"),
        (FEISHU, 200, {"code": 11232, "msg": "frequency limited psm[lark]"}, "failed"),
        (FEISHU, 400, {"code": 11232, "msg": "frequency limited psm[lark]"}, "failed"),
        (LARK, 200, {"code": 19022, "msg": "Ip Not Allowed"}, "refused"),
        (WECOM, 200, {"errcode": 0, "errmsg": "ok"}, "accepted"),
        (WECOM, 200, {"errcode": 93000, "errmsg": "invalid webhook url, hint: [1]"}, "refused"),
        (WECOM, 200, {"errcode": 45009, "errmsg": "api freq out of limit"}, "failed"),
        (WECOM, 200, {"errcode": 45002, "errmsg": "content size exceed"}, "refused"),
        # Not the answer of such a robot: nothing says that it was accepted.
        (WECOM, 200, {}, "failed"),
        (WECOM, 200, None, "failed"),
        (WECOM, 200, [], "failed"),
        (WECOM, 200, {"errcode": True}, "failed"),
        (WECOM, 200, {"errcode": None}, "failed"),
        (WECOM, 204, None, "failed"),
        (DINGTALK, 302, None, "failed"),
        (DINGTALK, 403, None, "refused"),
        (DINGTALK, 404, None, "refused"),
        (DINGTALK, 408, None, "failed"),
        (DINGTALK, 429, None, "failed"),
        (DINGTALK, 502, None, "failed"),
        (DINGTALK, 502, {"errcode": 0}, "failed"),
    ],
)
def test_the_code_inside_decides(
    vendor: Vendor, status: int, answer: dict[str, Any] | None, outcome: str
) -> None:
    assert verdict(vendor, answer, status).outcome == outcome


def test_a_refusal_quotes_the_robot_and_says_what_to_look_at() -> None:
    reason = verdict(DINGTALK, {"errcode": 310000, "errmsg": "sign not match"}).reason
    assert "310000 sign not match" in reason.en
    assert "clock" in reason.en
    assert "本机时间" in reason.zh


def test_words_that_would_drive_the_terminal_are_not_shown() -> None:
    reason = verdict(WECOM, {"errcode": 1, "errmsg": "\x1b[2Jno\r\nno" + "x" * 5000}).reason.en
    assert "\x1b" not in reason
    assert "\n" not in reason
    assert len(reason) < 400


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "17"}, 17.0),
        ({"Retry-After": "999999"}, 3600.0),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "Mon, 01 Jan 1990 00:00:00 GMT"}, 0.0),
        ({"Retry-After": "Wed, 01 Jan 2098 00:00:00 GMT"}, 3600.0),
        ({"Retry-After": "Wed, 99 Jan 2098 00:00:00 GMT"}, None),
        ({"x-ogw-ratelimit-reset": "41"}, 41.0),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds
    assert verdict(DINGTALK, None, 429, headers).retry_after == seconds


def test_a_silenced_dingtalk_robot_is_left_alone_for_its_ten_minutes() -> None:
    assert verdict(DINGTALK, {"errcode": 130101, "errmsg": "send too fast"}).retry_after == 600


def by_hand(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA256 as RFC 2104 writes it down."""
    key = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key) + message).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in key) + inner).digest()


@pytest.mark.parametrize("secret", ["SEC0123456789abcdef", "x" * 80, "秘密"])
def test_signatures_against_the_rfc(secret: str) -> None:
    import base64

    expected = base64.b64encode(by_hand(secret.encode(), f"1795300000123\n{secret}".encode())).decode()
    assert dingtalk.signature(secret, 1795300000123) == expected
    expected = base64.b64encode(by_hand(f"1795300000\n{secret}".encode(), b"")).decode()
    assert feishu.signature(secret, 1795300000) == expected


def test_no_at_tag_in_a_quoted_log_line_summons_the_group() -> None:
    document = FEISHU.compose(Address("t"), 'log: <at user_id="all">x</at> <AT id=1>', NOW).document
    assert "<at" not in json.dumps(document).lower()


@pytest.mark.parametrize("limit", [10, 11, 12, 2048])
def test_text_is_cut_in_bytes_and_between_characters(limit: int) -> None:
    cut = fitting("服务" * 2000, limit)
    assert len(cut.encode()) <= limit
    assert cut.endswith("…")
    assert "\ufffd" not in cut
    assert fitting("short", limit) == "short"


@pytest.mark.parametrize(
    ("endpoint", "usable"),
    [
        ("https://relay.example.com", True),
        ("https://relay.example.com:8443/dingtalk", True),
        ("http://127.0.0.1:8080", True),
        ("http://localhost", True),
        ("http://[::1]:80", True),
        ("http://relay.example.com", False),
        ("http://127.evil.example.com", False),
        ("http://127.0.0.1.example.com", False),
        ("https://user:pass@relay.example.com", False),
        ("https://relay.example.com/?x=1", False),
        ("ftp://127.0.0.1", False),
        ("https://", False),
        ("https://relay:99999", False),
        ("//relay", False),
        ("", False),
    ],
)
def test_a_token_leaves_this_machine_over_tls_only(endpoint: str, usable: bool) -> None:
    assert usable_endpoint(endpoint) is usable
