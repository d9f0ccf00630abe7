"""JSON according to RFC 8259 and I-JSON (RFC 7493), stricter than Python's parser.

Python accepts ``NaN``, keeps the last of two equal keys, turns ``1e999`` into infinity and accepts a lone surrogate
in a string, which fails wherever the string is next encoded. Each of these is the client's error: answer 400, instead
of a 500 later.
"""

import gc
import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

# An escaped surrogate, paired or not; only a body that has one is checked for lone ones.
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
# Windows' tools write a byte order mark before UTF-8; a parser may ignore it (RFC 8259, 8.1).
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class JsonError(ValueError):
    """The bytes are not acceptable JSON; the message says where or why, with no long quotation."""


def parse(body: bytes) -> Any:
    """The value in ``body`` (UTF-8, with or without a byte order mark).

    Raises:
        JsonError: not UTF-8, not JSON, a repeated key, NaN or infinity, nested too deeply, a lone surrogate.
    """
    body = body.removeprefix(_BYTE_ORDER_MARK)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JsonError(f"not UTF-8: byte {error.start} cannot be decoded") from None
    try:
        with _without_collection():
            value = json.loads(
                text, object_pairs_hook=_without_repeats, parse_constant=_no_constant, parse_float=_finite
            )
    except json.JSONDecodeError as error:
        raise JsonError(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise JsonError("nested too deeply") from None
    except JsonError:
        raise
    except ValueError:
        # The remaining case: an integer with more digits than Python converts.
        raise JsonError("a number has too many digits") from None
    if _SURROGATE_ESCAPE.search(body):
        _refuse_lone_surrogates(value)
    return value


@contextmanager
def _without_collection() -> Iterator[None]:
    """No search for garbage meanwhile: a value being read is none, and of 300,000 lists in a megabyte it is searched
    again and again, 0.2 s in which the parser keeps the interpreter lock."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        keys: set[str] = set()
        for key, _ in pairs:
            if key in keys:
                raise JsonError(f"the key {key[:40]!a} stands twice in one object")
            keys.add(key)
    return members


def _no_constant(name: str) -> NoReturn:
    raise JsonError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise JsonError("a number is too large")
    return number


def _refuse_lone_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise JsonError("a string holds half of a surrogate pair") from None
    except RecursionError:
        # Python can write a level or two less than it can read.
        raise JsonError("nested too deeply") from None
