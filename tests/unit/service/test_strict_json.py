"""What is JSON to the service, and what is refused."""

import bisect
import gc
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http.strict_json import JsonError, parse

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(VALUES, st.booleans())
def test_every_json_value_is_read_as_python_reads_it(value: object, ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    assert parse(body) == json.loads(body)


@given(st.binary())
def test_any_bytes_are_read_or_refused_and_nothing_else(body: bytes) -> None:
    try:
        value = parse(body)
    except JsonError:
        return
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "line 1"),
        (b'{"a": 1, "a": 1}', "stands twice"),
        (b'[{"b": {"a": 1, "a": 2}}]', "stands twice"),
        (b"NaN", "NaN"),
        (b"-Infinity", "-Infinity"),
        (b"[1e400]", "too large"),
        (b"9" * 5000, "digits"),
        (b"[" * 100_000, "deep"),
        (b'"\xe4\xb8"', "UTF-8"),
        (rb'"\ud800"', "surrogate"),
        (rb'{"\udfff": 1}', "surrogate"),
    ],
)
def test_what_is_refused_and_why(body: bytes, words: str) -> None:
    with pytest.raises(JsonError, match=words):
        parse(body)


def test_a_byte_order_mark_before_the_body_is_ignored() -> None:
    """Windows PowerShell sends one."""
    assert parse(b'\xef\xbb\xbf{"a": "\xe5\xad\x97"}') == {"a": "字"}


@pytest.mark.parametrize("body", [b"\xef\xbb\xbf", b"\xef\xbb\xbf\xef\xbb\xbf{}", b"{}\xef\xbb\xbf"])
def test_a_byte_order_mark_anywhere_else_is_refused(body: bytes) -> None:
    with pytest.raises(JsonError):
        parse(body)


def test_a_surrogate_pair_is_one_character() -> None:
    assert parse(rb'"\ud83d\ude00"') == "\N{GRINNING FACE}"


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_a_body_of_any_depth_is_read_or_refused(opening: bytes, closing: bytes) -> None:
    """Also at the depths that can just be read, with a surrogate pair that has to be looked at."""

    def is_read(depth: int) -> bool:
        try:
            parse(b'["\\ud83d\\ude00",' + opening * depth + b"1" + closing * depth + b"]")
        except JsonError:
            return False
        return True

    # How deep a parser reads is each Python's own: about 1,000 levels in 3.11, ten times that in 3.13.
    refused = next(depth for depth in (2**power for power in range(8, 20)) if not is_read(depth))
    limit = bisect.bisect_left(range(refused), 1, lo=refused // 2, key=lambda depth: not is_read(depth))
    answers = [is_read(depth) for depth in range(limit - 60, limit + 60)]
    assert 0 < answers.count(False) < 120


@pytest.mark.parametrize("unit", ["[]", "{}", '"a"', "1", "1.5", '{"a":"b"}', "[[[[]]]]"])
def test_no_garbage_is_searched_for_while_a_megabyte_of_small_values_is_read(unit: str) -> None:
    """The parser keeps the interpreter lock: with the garbage collector's searches it took 0.2 s for empty lists."""
    body = ('{"input": [' + ",".join([unit] * (1_000_000 // (len(unit) + 1))) + "]}").encode()
    searches: list[str] = []

    def note(phase: str, _info: dict[str, int]) -> None:
        searches.append(phase)

    gc.callbacks.append(note)
    try:
        value = parse(body)
        during = len(searches)
        json.loads(body)
    finally:
        gc.callbacks.remove(note)
    assert len(value["input"]) > 90_000
    # The reading that follows is searched where the values are containers: the note works.
    assert len(searches) > during or unit in ('"a"', "1", "1.5")
    assert during <= 2, "one search, begun before the reading, may end in it"
    assert gc.isenabled()
