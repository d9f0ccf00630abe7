"""Untrusted words: no control characters, no secrets, no endless lines."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ops.text.sanitize import MAX_QUOTE_CHARS, safe_line, safe_text, without_controls, without_secrets
from ops.text.secret_scan import signs


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;owned\x07title", "title"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq#0\x1b\\after", "after"),
        ("\x1b[", ""),
        ("a\x1bcb", "ab"),
        ("a\rb\x00c\x7fd\x85e\x9b31m", "abcde31m"),
        ("a\u202eb\u200bc\ufeffd\u2066e", "abcde"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("a\ud800b", "a\ufffdb"),
        ("北京😀é", "北京😀é"),
    ],
)
def test_escapes_and_controls_go_as_a_whole(written: str, shown: str) -> None:
    assert without_controls(written) == shown


@pytest.mark.parametrize(
    ("written", "secret"),
    [
        ("Authorization: Bearer abcdef1234567890", "abcdef1234567890"),
        ("authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("Proxy-Authorization=Digest-x9", "Digest-x9"),
        ("Cookie: session=s3cr3t; other=t0p", "t0p"),
        ("Set-Cookie: sid=s3cr3t", "s3cr3t"),
        ("POST /login?user=a&password=hunter2&x=1", "hunter2"),
        ('{"api_key": "s3cr3t-key"}', "s3cr3t-key"),
        ("DB_PASSWORD=hunter2", "hunter2"),
        ("AWS_SECRET_ACCESS_KEY=abc123", "abc123"),
        ("access_token: t0k3n", "t0k3n"),
        ("using bearer abcdefgh12345678", "abcdefgh12345678"),
        ("key sk-abcdEFGH1234 used", "abcdEFGH1234"),
        ("redis://user:hunter2@host/0", "hunter2"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "MIIE"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEcutoff", "MIIEcutoff"),
        ("pass\x00word=hunter2", "hunter2"),
        ("pass\x1b[0mword=hunter2", "hunter2"),
    ],
)
def test_secrets_are_hidden(written: str, secret: str) -> None:
    for shown in (safe_text(written), safe_line(written)):
        assert secret not in shown
        assert "***" in shown


@pytest.mark.parametrize(
    "written",
    [
        "connect() failed (111: Connection refused) while connecting to upstream",
        "https://gte-api.example.com:443/predict",
        "the token of a sentence",
        "tokens: counted",
        "/etc/letsencrypt/live/x/privkey.pem: No such file",
        "User-Agent: curl/8.5.0",
    ],
)
def test_what_is_no_secret_stays(written: str) -> None:
    assert safe_line(written) == written


def test_what_stands_around_a_secret_stays() -> None:
    assert safe_line("GET /x?token=abc&lang=zh HTTP/1.1") == "GET /x?token=***&lang=zh HTTP/1.1"
    assert safe_line("redis://user:hunter2@host/0") == "redis://user:***@host/0"


def test_length_is_bounded_and_the_cut_is_shown() -> None:
    assert safe_text("x" * 10_000) == "x" * (MAX_QUOTE_CHARS - 1) + "…"
    assert safe_line("字 " * 10_000, 10) == "字 字 字 字 字…"
    assert safe_text("x" * MAX_QUOTE_CHARS) == "x" * MAX_QUOTE_CHARS


def test_a_line_is_one_line_with_single_blanks() -> None:
    assert safe_line("  a\n\n b\t\r\n c ") == "a b c"
    assert safe_line("a \x00 b \x1b[0m c") == "a b c"


ANY_TEXT = st.text(st.characters(), max_size=120)
HOSTILE = st.lists(
    st.sampled_from(
        ["\x1b[", "\x1b]", "\x07", "\x1b\\", "\x9b", "m", ";", "\u202e", "password=", "Cookie: ", "bearer ", "\n",
         " ", "://u:p@", "sk-", "abcdefgh", "-----BEGIN PRIVATE KEY-----", "\ud800", "token: ", "authorization: basic "]
    ),
    max_size=12,
).map("".join)  # fmt: skip


@given(st.one_of(ANY_TEXT, HOSTILE))
@example("a \x00 b")
@example("Cookie: a\nb")
def test_nothing_that_moves_a_cursor_or_turns_text_is_left(written: str) -> None:
    for shown in (without_controls(written), safe_text(written), safe_line(written)):
        odd = [c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in "\n\t"]
        assert odd == []
        assert not set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f") & set(shown)
    assert not set("\n\t") & set(safe_line(written))


@given(st.one_of(ANY_TEXT, HOSTILE))
@example("a \x00 b")
@example("Cookie: a\nb")
def test_doing_it_twice_changes_nothing(written: str) -> None:
    for clean in (without_controls, without_secrets, safe_text, safe_line):
        assert clean(clean(written)) == clean(written)


@given(ANY_TEXT, st.integers(2, 50))
def test_no_quotation_is_longer_than_its_limit(written: str, limit: int) -> None:
    assert len(safe_text(written, limit)) <= limit
    assert len(safe_line(written, limit)) <= limit


@given(st.one_of(ANY_TEXT, HOSTILE))
@example("Authorization=abc")
@example("BEARER abcdefghij")
@example("sk-abcdefghij")
@example("-----BEGIN PRIVATE KEY-----\nabc")
def test_no_secret_is_without_a_sign_of_one(written: str) -> None:
    quick = without_secrets(written)
    with pytest.MonkeyPatch.context() as patched:
        for test in ("may_hold_secret", "has_form", "has_name", "has_program"):
            patched.setattr(signs, test, lambda words: True)  # noqa: ARG005
        assert without_secrets(written) == quick
