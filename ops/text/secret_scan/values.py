"""Where the value under a name begins and ends, and whether it can be a secret at all. Every step reads on: linear."""

from __future__ import annotations

import re
from itertools import islice
from typing import NamedTuple

from ops.text.secret_scan import HIDDEN
from ops.text.secret_scan.names import Strength, strength_of


class Value(NamedTuple):
    """A value in a text: where it is from, without its quotes, and up to where reading goes on."""

    start: int
    end: int
    after: int
    is_quoted: bool = False


# A quotation mark as deep as it is escaped: ", \", \\\", and as HTML, URLs and Chinese write it.
_OPENING = re.compile(
    r"""(?:[bBrRuUfF@]{1,2}(?=["']))?(?P<mark>\"{3}|'{3}|\\*+["'`]|&quot;|&apos;|&\#0?3[49];|&\#x2[27];|%2[27]|[“‘「『])"""
)
_CLOSING = {"“": "”", "‘": "’", "「": "」", "『": "』"}
_PLAIN = {
    '"': re.compile(r'(?:[^"\\]++|\\.)*+"', re.DOTALL),
    "'": re.compile(r"(?:[^'\\]++|\\.)*+'", re.DOTALL),
    "`": re.compile(r"(?:[^`\\]++|\\.)*+`", re.DOTALL),
}
_LINE = re.compile(r"[^\r\n]*+")
# What is put together: "abc" "def", 'a'"b", "a" + "b".
_NEXT_STRING = re.compile(r"""[ \t]*+(?:\+[ \t]*+|\\?\r?\n[ \t]*+)?(?=["'])""")
# A bare value ends at a blank, and at a mark behind which something else begins.
_BARE = re.compile(
    r"""(?:
      [^\s&,;"'`<>()\[\]{}\\|，；。、）】」』”’]++
    | &(?!amp;|quot;|apos;|lt;|gt;|\#|&|[\w.%\[\]-]{1,40}=)
    | [,;](?![\s"']|\Z|[\w.$-]{1,40}[ ]?[=:])
    | ["'`](?![\s,;:)\]}>|\\]|\Z)
    | [)\]}](?![\s,;:.)\]}"'`>|\\]|\Z)
    | [(\[{|]
    | <(?![/A-Za-z!])
    | >(?!\s|\Z)
    | \\(?!["'`nrt\\]|\Z)
    )++""",
    re.VERBOSE,
)
_BRACKETS = re.compile(r"[\[\](){}]")
# A list or object with more of them is hidden to the end of its line.
MAX_BRACKETS = 200
_CLOSED_BY = {"[": "]", "{": "}", "(": ")"}
_HIDDEN_ALREADY = re.compile(r"\*{3}(?![^\s&,;:\"'`<>()\[\]{}\\|%，；。、）】」』”’@=])")


def value_at(words: str, at: int, *, to_line_end: bool = False) -> Value | None:
    """The value that begins at ``at``; None where there is none. ``to_line_end``: a bare one may hold blanks."""
    if at >= len(words) or _HIDDEN_ALREADY.match(words, at):
        return None
    if (reference := _REFERENCE.match(words, at)) and _REFERENCE_END.match(words, reference.end()):
        return None
    if opening := _OPENING.match(words, at):
        return _quoted(words, opening)
    if words[at] in _CLOSED_BY:
        group = _group(words, at)
        # {vault}abc: no list, but the beginning of a word
        glued = _BARE.match(words, group.after)
        return Value(at, glued.end(), glued.end()) if glued else group
    if to_line_end:
        line = _LINE.match(words, at)
        end = line.end() if line else at
        end = at + len(words[at:end].rstrip())
        return Value(at, end, end) if end > at else None
    bare = _BARE.match(words, at)
    return Value(at, bare.end(), bare.end()) if bare else None


def _quoted(words: str, opening: re.Match[str]) -> Value:
    mark, start = opening["mark"], opening.end()
    if mark in _PLAIN:
        closing = _PLAIN[mark].match(words, start)
        end = closing.end() - 1 if closing else -1
    else:
        mark = _CLOSING.get(mark, mark)
        end = words.find(mark, start)
    if end < 0:  # cut off
        line = _LINE.match(words, start)
        end = line.end() if line else len(words)
        return Value(start, end, end, is_quoted=True)
    after = end + len(mark)
    while mark in _PLAIN and (more := _NEXT_STRING.match(words, after)):
        further = _PLAIN[words[more.end()]].match(words, more.end() + 1)
        if further is None or words[further.end() : further.end() + 1] in ("=", ":"):
            break
        end, after = further.end() - 1, further.end()
        if words[end] != words[start - 1]:
            end = after
    return Value(start, end, after, is_quoted=True)


def _group(words: str, at: int) -> Value:
    """A list or object, brackets included; where it does not end, its line."""
    depth = 0
    for bracket in islice(_BRACKETS.finditer(words, at), MAX_BRACKETS):
        depth += 1 if bracket[0] in _CLOSED_BY else -1
        if depth == 0:
            return Value(at, bracket.end(), bracket.end())
    end = at + len(words[at:].partition("\n")[0].rstrip("\r"))
    return Value(at, end, end)


# A longer value under a name that may announce a secret is one.
MAX_JUDGED_CHARS = 1000

# --- what cannot be a secret ---------------------------------------------------------------------------------------

_CONSTANTS = re.compile(
    r"""(?i)(?:true|false|yes|no|on|off|none|null|nil|undefined|empty|unset|required|optional|missing|invalid|expired
    |incorrect|wrong|sent|used|accepted|verified|mismatch|rejected|unauthorized|forbidden|denied|disabled|enabled|unchanged|unknown|default
    |ok|failed|set|changed|not[ ]set
    |redacted|filtered|hidden|masked|str|string|int|bytes|bool|object|secretstr|basic|bearer|-|\.\.\.|…
    |<\w[\w -]{0,20}>|\[(?:filtered|redacted|hidden|masked|removed)\]"""
    r"""|[*•●]{1,64}|x{3,64}|无|空|未设置|必填|错误|无效|过期)[.。!！]?""",
    re.VERBOSE,
)
# What stands for a value that is elsewhere: ${DB_PASSWORD}, $http_x_api_key, %(password)s, os.environ["X"].
_REFERENCE = re.compile(
    r"""(?:Bearer[ ]|Basic[ ])?(?:
    \$\{[A-Za-z_][\w.:-]{0,80}\} | \$[A-Z][A-Z0-9_]{1,80}
    | \$(?:http|arg|cookie|upstream|sent|request|ssl|remote|proxy|server|host|uri|jwt|auth)_?[a-z0-9_]{0,80}
    | %\(\w{1,80}\)s | %[sdr] | \{\{[ ]?[\w.]{1,80}[ ]?\}\} | \{[\w.]{0,40}\} | \$\([\w ./-]{1,120}\) | %\w{1,80}%
    | (?:os\.)?(?:environ\[|environ\.get\(|getenv\(|env\()["']?\w{1,80}["']?[\])]
    | (?:self|settings|config|cfg|args|options|request|os|app|current_app)(?:\.[A-Za-z_]\w{0,60}){1,6}(?:\(\))?
    )""",
    re.VERBOSE,
)
_REFERENCE_END = re.compile(r"""[\s,;"'`&)\]}>]|\Z""")
_ROOTS = "app|bin|boot|data|dev|etc|home|lib|lib64|media|mnt|opt|proc|root|run|sbin|snap|srv|sys|tmp|usr|var"
_PATH = re.compile(rf"(?:file:(?://)?)?/(?:{_ROOTS})(?:/[\w.+@~*<>-]{{1,255}})+/?")
_FILE = re.compile(r"[\w./+@~-]{1,300}+")
_KEY_FILES = (
    ".pem", ".key", ".crt", ".cer", ".csr", ".p12", ".pfx", ".jks", ".htpasswd", ".gpg", ".age", ".pub",
)  # fmt: skip
# What a secret is made with, or kept as, and no secret: hmac=sha256, password_encryption: scram-sha-256.
_ALGORITHM = re.compile(
    r"(?:hashlib\.)?(?:(?:hmac|pbkdf2|scram|ecdsa|rsa|ssl|tls)[-_]?)*(?:(?:sha|md|aes|rsa|hs|rs|es|ps|ed|ssl|tls|blake|chacha|utf|base|ipv"
    r"|http|oauth|argon|fido|x)[-_]?\d[\w.-]{0,12}|bcrypt|scrypt|argon2(?:id|i|d)|pbkdf2|scram|hmac|ecdsa|crypt|plain|trust|peer|ldap)",
    re.IGNORECASE,
)
_DATE_OR_VERSION = re.compile(r"v?\d{1,4}(?:[-./:]\d{1,6}){1,4}\S{0,12}", re.IGNORECASE)
_SHORT_NUMBER = re.compile(r"[+-]?\d{1,5}(?:\.\d{1,6})?[smhd%]?")


def is_secret(name: str, value: object) -> bool:
    """Whether what stands under ``name`` in plain data (JSON, a header, an option) is a secret."""
    strength = strength_of(name.lstrip("-"))
    if isinstance(value, dict | list | tuple):
        return strength >= Strength.STRONG and bool(value)
    if isinstance(value, bool) or value is None:
        return False
    return strength > Strength.NONE and not is_harmless(str(value), strength)


def is_harmless(value: str, strength: Strength) -> bool:
    """Whether what stands under a sensitive name is no secret: a constant, a reference, a file's path, a count."""
    value = value.strip()
    if not value or (HIDDEN in value and not value.replace(HIDDEN, "").strip("/?&=:@. ")):
        return True
    if len(value) <= 400 and (
        _CONSTANTS.fullmatch(value)
        or _REFERENCE.fullmatch(value)
        or _ALGORITHM.fullmatch(value)
        or _is_path(value)
    ):
        return True
    # Whatever stands there: judging it again for every name in it would take its length squared.
    if len(value) > MAX_JUDGED_CHARS:
        return False
    if strength == Strength.CODE:
        return not _is_code(value)
    if strength < Strength.PASSWORD and _SHORT_NUMBER.fullmatch(value):
        return True
    if strength == Strength.WEAK:
        return not looks_random(value)
    if strength == Strength.KEY:
        return not _is_generated(value)
    return False


def _is_code(value: str) -> bool:
    """PIN=1234, 安全码：a1b2c3d4; not pin=18, pin: PA5, 验证码：6 位."""
    digits = sum(character.isdigit() for character in value)
    return (digits >= 4 or (digits > 0 and len(value) >= 8)) and not _DATE_OR_VERSION.fullmatch(value)


def _is_generated(value: str) -> bool:
    """Letters and digits, and no expression of a program."""
    if len(value) < 8 or any(c.isspace() or c in "()[]{}" for c in value):
        return False
    has_both = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
    return has_both and not any(p.fullmatch(value) for p in (_DATE_OR_VERSION, _QUANTITY, _CALL))


def looks_chosen(value: str) -> bool:
    """Whether a word of a sentence, directly behind the word password, is one: letters and digits mixed, or a long
    number. Algorithms, dates, versions, sizes and files are words of the sentence."""
    if not 6 <= len(value) <= 200 or not value.isascii() or any(c.isspace() for c in value):
        return False
    if value.isdigit():
        return True
    if not any(c.isdigit() for c in value) or not any(c.isalpha() for c in value):
        return False
    ordinary = _ALGORITHM, _DATE_OR_VERSION, _QUANTITY, _CALL
    return not (any(pattern.fullmatch(value) for pattern in ordinary) or "/" in value or _is_path(value))


_QUANTITY = re.compile(r"\d+[-_]?[A-Za-z]+")
_CALL = re.compile(r"[\w.]+\([^)]*\)?|[\w-]+\.[a-z]{1,4}")


def _is_path(value: str) -> bool:
    """Whether a value names a file: what an operator needs to see of a key is where it lies."""
    if _PATH.fullmatch(value):
        return True
    return value.endswith(_KEY_FILES) and _FILE.fullmatch(value) is not None


def looks_random(value: str) -> bool:
    """Whether an ambiguous value is more likely a key than a word: letters and digits mixed, and not a version, a path,
    a size or a model's name."""
    value = value.strip()
    if len(value) < 8 or not value.isascii() or any(c.isspace() for c in value) or _is_path(value):
        return False
    digits = sum(c.isdigit() for c in value)
    letters = sum(c.isalpha() for c in value)
    if not digits or not letters:
        return False
    if len(_RUNS.findall(value)) < 4:
        return False
    return digits >= 2 or (any(c.isupper() for c in value) and any(c.islower() for c in value))


_RUNS = re.compile(r"[a-z]+|[A-Z]+|[0-9]+")
