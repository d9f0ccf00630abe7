"""Durations as people write them, and the reader's language."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.text.duration import age, age_zh, in_chinese_units, parse_duration
from ops.text.language import Text, verbatim
from ops.text.locale_language import reader_language


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("15m", 900),
        ("10s", 10),
        ("36h", 129600),
        ("7d", 604800),
        ("250ms", 0.25),
        ("1.5h", 5400),
        ("90", 90),
        (90, 90),
        (2.5, 2.5),
        (" 10 s ", 10),
        ("0s", 0),
    ],
)
def test_durations_are_read(written: str | float, seconds: float) -> None:
    assert parse_duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written",
    ["", "s", "-1s", "1h30m", "10 minutes", "1e3", "inf", "nan", "10S", "1 0s", -1, True, float("nan")],
)
def test_what_is_no_duration_is_refused_with_the_form_that_is_right(written: str | float) -> None:
    with pytest.raises(ValueError, match="is not a duration; write it like 10s, 15m, 36h or 7d"):
        parse_duration(written)


@given(st.text(max_size=12))
def test_any_text_is_a_length_of_time_or_refused(written: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_duration(written) >= 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (3 * 86400, "3d"),
        (47 * 3600, "47h"),
        (5 * 3600, "5h"),
        (12 * 60, "12m"),
        (119, "119s"),
        (8, "8.0s"),
        (-7200, "-2h"),
    ],
)
def test_an_age_is_told_in_its_largest_sensible_unit(seconds: float, words: str) -> None:
    assert age(seconds) == words


@pytest.mark.parametrize(
    ("environ", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh_TW"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "", "LC_MESSAGES": ""}, "zh"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
    ],
)
def test_the_reader_s_language_is_the_locale_s_in_posix_order(environ: dict[str, str], language: str) -> None:
    assert reader_language(environ) == language


def test_a_text_is_told_in_either_language() -> None:
    assert (Text(en="down", zh="停机").to("zh"), Text(en="down", zh="停机").to("en")) == ("停机", "down")
    assert verbatim("/run/x") == Text(en="/run/x", zh="/run/x")


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("3d", "3 天"),
        ("-5m", "-5 分钟"),
        ("8.0s", "8.0 秒"),
        ("> 5.0 s", "> 5.0 秒"),
        ("250ms", "250 毫秒"),
        ("unknown", "unknown"),
    ],
)
def test_a_chinese_text_has_the_unit_of_a_duration_in_chinese(words: str, shown: str) -> None:
    assert in_chinese_units(words) == shown


def test_an_age_in_chinese_has_the_same_number() -> None:
    assert (age(7200.0), age_zh(7200.0)) == ("2h", "2 小时")
