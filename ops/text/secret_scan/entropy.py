"""Words that look like random keys: long, of the alphabet of base64 or hex, and without any order in them.

Alphabets and thresholds are those of detect-secrets 1.5.0, plugins/high_entropy_strings.py (Apache-2.0). A short word
cannot reach its 4.5 bits a character (20 different characters have 4.3): it is measured by what its length allows.
"""

from __future__ import annotations

import math
import re
from collections import Counter

from ops.text.secret_scan import HIDDEN
from ops.text.secret_scan.values import looks_random

MIN_CHARS = 20
_BASE64_BITS = 4.5
_HEX_BITS = 3.0
# Of what a word of its length can have at most; and how often it changes between letters, capitals and digits.
_SHARE = 0.8
_CHANGES_PER_CHAR = 0.2

_CANDIDATE = re.compile(rf"[A-Za-z0-9+/_=-]{{{MIN_CHARS},}}")
_HEX = re.compile(r"[0-9A-Fa-f]+")
_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_PARTS = re.compile(r"[^_-]+")
_NAME_PART = 12
_CAMEL_CASE = re.compile(r"(?:[A-Z]{0,4}+[a-z]{3,}+)++[A-Z]{0,4}")
_ALPHABETS = ((re.compile("[a-z]"), 26), (re.compile("[A-Z]"), 26), (re.compile("[0-9]"), 10))
_CLASSES = re.compile(r"[a-z]+|[A-Z]+|[0-9]+")
_ROOTS = re.compile(
    r"(?:app|bin|boot|data|dev|etc|home|lib|lib64|media|mnt|opt|proc|root|run|sbin|snap|srv|sys|tmp|usr|var)\Z"
)


# What says that a digest follows; a MAC is none.
_BEFORE_DIGEST = re.compile(
    r"(?i)(?<![a-z])(?<!hmac[-_ ])(?:sha-?(?:1|224|256|384|512)|md5|blake2[bs]"
    r"|fingerprint|digest|checksum|etag|commit|revision)"
    r"""(?:sum)?["']?[\s:=(]{1,3}["']?(?:W/")?(?:sha\d{1,3}:)?\Z"""
)
_BEFORE = 40
# Hexadecimal, of a digest's length; as OpenSSH writes a fingerprint, in base64.
_DIGEST = re.compile(r"[0-9A-Fa-f]{32,128}|[A-Za-z0-9+/]{43}=?|[0-9A-Fa-f]{20,31}-[0-9A-Fa-f]{1,8}")
# A part of a web address's path: shorter ones are kept for names.
_URL_PATH = re.compile(r"(?<=://)[^\s/\"'<>]{1,255}+/[^\s\"'<>?#]++")
_SEGMENT = re.compile(r"(?<=/)[A-Za-z0-9_-]{12,}+(?=[/;,.)\]]|\Z)")


def without_random_words(words: str) -> str:
    """``words`` with everything that looks like a random key hidden. Paths, names, digests that are said to be some,
    and UUIDs outside the paths of URLs stay: who knows an address like https://hc-ping.com/UUID may use it."""
    if len(words) < MIN_CHARS:
        return words
    if "://" in words:
        words = _URL_PATH.sub(lambda path: _SEGMENT.sub(_segment, path[0]), words)
    return _CANDIDATE.sub(_replaced, words)


def _segment(segment: re.Match[str]) -> str:
    return HIDDEN if _UUID.fullmatch(segment[0]) or looks_random(segment[0]) else segment[0]


def _replaced(candidate: re.Match[str]) -> str:
    word = candidate[0]
    replacement = _judged(word)
    if replacement == word:
        return word
    # sha256=HEX is one word.
    name, equals, value = word.rpartition("=") if not word.endswith("=") else ("", "", word)
    before = candidate.string[max(0, candidate.start() - _BEFORE) : candidate.start()] + name + equals
    return word if _DIGEST.fullmatch(value) and _BEFORE_DIGEST.search(before) else replacement


def _judged(word: str) -> str:
    if _UUID.fullmatch(word):
        return word
    if "/" in word and not _is_rooted(word) and any(map(_UUID.fullmatch, word.split("/"))):
        return "/".join(HIDDEN if _UUID.fullmatch(part) else _judged(part) for part in word.split("/"))
    if "/" in word and _is_path(word):
        return "/".join(HIDDEN if is_random(part) else part for part in word.split("/"))
    # NAME=VALUE: the name is no part of it.
    name, equals, value = word.partition("=")
    if equals and value.strip("="):
        return f"{name}={HIDDEN}" if is_random(value) else word
    return HIDDEN if is_random(word) else word


def _is_rooted(word: str) -> bool:
    parts = [part for part in word.split("/") if part]
    return bool(parts) and _ROOTS.match(parts[0]) is not None


def _is_path(word: str) -> bool:
    parts = [part for part in word.split("/") if part]
    return _is_rooted(word) or (all(len(part) < MIN_CHARS for part in parts) and not is_random(word))


def is_random(word: str) -> bool:
    """Whether a word of at least `MIN_CHARS` looks like a key."""
    if len(word) < MIN_CHARS or _UUID.fullmatch(word):
        return False
    bits = shannon(word)
    if _HEX.fullmatch(word):
        # A number has less in it than its digits seem to say; the rule is detect-secrets' own.
        return bits - (1.2 / math.log2(len(word)) if word.isdigit() else 0.0) > _HEX_BITS
    if _CAMEL_CASE.fullmatch(word):
        return False  # ConnectionRefusedError
    if word.count("-") + word.count("_") >= 2 and max(map(len, _PARTS.findall(word)), default=0) < _NAME_PART:
        return False  # TLS_AES_256_GCM_SHA384, x86_64-linux-gnu
    alphabet = sum(size for kind, size in _ALPHABETS if kind.search(word))
    most = min(math.log2(len(word)), math.log2(max(alphabet, 2)))
    changes = len(_CLASSES.findall(word)) - 1
    return bits > min(_BASE64_BITS, _SHARE * most) and changes >= _CHANGES_PER_CHAR * len(word)


def shannon(word: str) -> float:
    """Bits a character."""
    size = len(word)
    return -sum(count / size * math.log2(count / size) for count in Counter(word).values())
