"""What is kept of an answer, and how a request is addressed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.collect.net.http_probe import MAX_KEPT_CHARS, host_header, kept_body


def test_short_json_is_kept_as_it_is() -> None:
    content = '{"result": {"entities": [{"text": "北京"}]}}'
    assert kept_body(content.encode(), "utf-8") == (content, "")


def test_long_json_stays_json() -> None:
    content = json.dumps({"result": {"embeddings": [[0.123456789] * 1024] * 4}, "model": "m" * 500}).encode()
    text, note = kept_body(content, None)
    assert len(text) <= MAX_KEPT_CHARS
    assert note
    value = json.loads(text)
    assert value["result"]["embeddings"][0][0] == 0.123456789
    assert value["model"].startswith("mmm")


@pytest.mark.parametrize("secret", ['"abcdefgh"', "12345", "[1]", '{"a": "b"}', "null"])
def test_hiding_a_secret_does_not_break_the_json(secret: str) -> None:
    text, _ = kept_body(f'{{"result": 1, "token": {secret}}}'.encode(), None)
    assert json.loads(text)["result"] == 1
    assert "abcdefgh" not in text


@pytest.mark.parametrize(
    ("content", "charset", "text"),
    [
        ("北京".encode("gbk"), "gbk", "北京"),
        ("北京".encode(), "no-such-charset", "北京"),
        (b"\xff\xfe", "utf-8", "\ufffd\ufffd"),
        (b"", None, ""),
        (b"<h1>502</h1>\x1b[31m\x00", "utf-8", "<h1>502</h1>"),
        (b"{not json", None, "{not json"),
        (b"[" * 60_000, None, "[" * 4095 + "…"),
    ],
)
def test_other_bodies(content: bytes, charset: str | None, text: str) -> None:
    assert kept_body(content, charset) == (text, "")


@given(
    st.binary(max_size=3000),
    st.sampled_from([None, "utf-8", "utf-16", "idna", "hex", "gb18030", "rot13", ""]),
)
def test_no_body_breaks_it(content: bytes, charset: str | None) -> None:
    text, _ = kept_body(content, charset)
    assert len(text) <= MAX_KEPT_CHARS
    assert "\x1b" not in text
    text.encode()


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://gte.example/health", "gte.example"),
        ("https://gte.example:443/", "gte.example"),
        ("https://gte.example:8443/", "gte.example:8443"),
        ("http://gte.example:80", "gte.example"),
        ("http://[2001:db8::1]:8080/", "[2001:db8::1]:8080"),
        ("https://203.0.113.7", "203.0.113.7"),
        ("https://服务.example/", "xn--zfr188b.example"),
    ],
)
def test_host(url: str, host: str) -> None:
    assert host_header(url) == host
