"""Secrets by the names they stand under, in any text: logs, configurations, JSON, HTML, command lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from ops.text.secret_scan import HIDDEN
from ops.text.secret_scan.encodings import decoded, is_coded
from ops.text.secret_scan.names import CHINESE_STEMS, MAX_NAME_CHARS, Strength, strength_of
from ops.text.secret_scan.values import Value, is_harmless, looks_chosen, looks_random, value_at

_PAIRED = (
    r"(?:api|access|account|auth|private|secret|session|signing|encryption|master|connection|service|shared|cipher|fernet"
    r"|verification|security|one-time|login|sms|recovery|activation|pass|pin|unseal|license|root)"
)
# Where a name may be; what it is called in full is read from here.
_STEM = (
    rf"(?i:(?P<pair>{_PAIRED}[ ](?:keys?|id|string|token|secret|code|phrase|word))"
    rf"|pass|pwd|pswd?|pw|secret|token|cred|dsn|auth|cookie"
    rf"|sess|sid|\b[as]k\b|jwt|bearer|signature|sign|sig|otp|csrf|xsrf|contrase|connection|key|hmac|salt|pepper|(?<![a-z])pin|kek|dek|psk|cv[vc]|code)"
)
# The Chinese names double the time that it takes to compile: ASCII is searched without them.
_ASCII_STEM = re.compile(rf"{_STEM}|(?P<chinese>(?!))")


@lru_cache(maxsize=1)
def _any_stem() -> re.Pattern[str]:
    return re.compile(f"{_STEM}|(?P<chinese>{CHINESE_STEMS})")


_NAME_END = re.compile(rf"(?:[\w-]|\.(?=\w)){{0,{MAX_NAME_CHARS}}}+")
_NAME_REST = re.compile(r"[\w.-]*+")
# What closes the name: a quote as deep as it is escaped, a bracket, a remark in parentheses.
_CLOSERS = re.compile(
    r"""(?:\\*+["'`]|&quot;|&\#0?3[49];|&\#x2[27];|%2[27]|[”’」』】])?(?:\[\w{0,20}\])?[\])]{0,2}+"""
    r"""(?:[ ]?[（(][^()（）\n=:："']{0,40}[)）]"""
    r"""|[ ](?:provided|given|used|received|supplied|value|[0-9]{1,2}(?=[ ]?[:=])))?"""
)
_SEPARATOR = re.compile(
    r"""[ \t]{0,16}+(?P<op>:=|=>|={1,3}|!=|->|:{1,2}|[：＝→⇒∶꞉]|\+=|\|=|%(?:25){0,3}3[dDaA]|\\u003[dDaA])"""
    r"""(?:[ \t]{0,64}+|(?P<newline>\s{0,64}+)(?=["'{\[]|\\"))"""
)
_CHINESE_LINK = re.compile(
    r"""[ \t]{0,8}+(?:[（(][^()（）\n]{0,40}[)）][ \t]{0,8}+)?"""
    r"""(?:(?P<op>[:：=＝])|(?:已?(?:重置|更新|设置|修改|改|设)?(?:是|为|為|成))[:：]?)[ \t]{0,16}+"""
)
# A value directly behind the name: the password (X) is wrong, 密码“X”错误.
_IN_MARKS = re.compile(
    r"""(?:[ \t]?[(（\[【「『<“‘"']|(?P<comma>[,，][ ]?))"""
    r"""(?P<value>[^\s,，=()（）\[\]【】「」『』<>“”‘’"']{4,200}+)(?(comma)[,，]|[)）\]】」』>”’"'])"""
)
_CHINESE_PROSE = re.compile("请|請|错|不|未|已|过|正|长度|失|为空|必|由|见|与|和|或|中|在|的")
# Directly behind the name, without a separator.
_TAG_END = re.compile(r"[ \t]*+/?>|(?:\s*+[\w:-]{1,40}=(?:\"[^\"<>]{0,200}\"|'[^'<>]{0,200}'))*+\s*+>")
_TAGS = re.compile(r"(?:(?:\s|\\+[nrt]){0,64}+<[^<>]{0,200}>)++(?:\s|\\+[nrt]){0,64}+")
_CLOSED_TAG = re.compile(r"(?:\s|\\+[nrt]){0,64}+</")
_UP_TO_TAG = re.compile(r"[^<]*+")
_BLANK = re.compile(r"[ \t]{1,64}+(?=[^\s])")
_IS = re.compile(
    r"[ \t]{1,8}+(?:is|was|are|will be)(?:[ ](?:incorrect|wrong|invalid|rejected|not valid|now|set to))?:?[ \t]{1,8}+",
    re.IGNORECASE,
)
_PAIR = re.compile(r""",[ \t\n]{0,16}+(?=[bBuU]?["'])""")
_NAMED_VALUE = re.compile(
    r"""[ \t]*+(?:,|\r?\n|(?:\\+r)?\\+n)?\s{0,64}+\\*+["']?(?:value|val|content|text|data|stringValue|default)"""
    r"""\\*+["']?\s{0,8}+[:=]\s{0,16}+""",
    re.IGNORECASE,
)
_NAMING = re.compile(r"""(?:name|key)["']?[ ]{0,4}[:=][ ]{0,4}["']?$""", re.IGNORECASE)
_CALL = re.compile(r"""\([ ]{0,4}(?=[bBrRuUfF]?["'])""")
_ENDED = re.compile(r"""[ \t]*+;""")
_SETTERS = re.compile(
    r"""(?:^|[\s;{("'`])(?:ENV|ARG|SetEnv|PassEnv|RequestHeader\ set|set|setenv|setx|export|env|const|let|var
    |proxy_set_header|grpc_set_header|more_set_headers|add_header|more_set_input_headers|fastcgi_param|uwsgi_param
    |scgi_param|proxy_set_body|auth_request_set|config\ set|configure\ set|requirepass|masterauth)[ \t]{1,8}[$"']?$""",
    re.VERBOSE | re.IGNORECASE,
)
_LINE_START = re.compile(
    r"(?:^|[\r\n])[ \t]*(?:export[ \t]+|-[ \t]+|#[ \t]*|set[ \t]+|var[ \t]+|const[ \t]+|let[ \t]+)?[\"']?$"
)
_COMPLAINT = re.compile(
    r"(?i:unexpected|invalid|illegal|unknown|bad|missing|end of|no|valid|an?|the|your)[ \t]+$"
)
_BLOCK_SCALAR = re.compile(
    r"[|>][+-]?\d?[ \t]*\r?\n(?P<indent>[ \t]+)[^\n]*(?:\n(?:(?P=indent)[^\n]*|[ \t]*(?=\n|\Z)))*"
)
# The same as one line of a string literal, its line breaks escaped.
_ESCAPED_SCALAR = re.compile(r"[|>][+-]?\d?[ \t]*(?:\\+r)?\\+n[^\r\n\"'`]*")
_SCHEMES = re.compile(r"(?i)(?:basic|bearer|token|negotiate|ntlm|apikey|api-key|key|custom|jwt|dpop)[ \t]++")
_TO_END_SCHEMES = re.compile(
    r"(?i)(?:digest|aws4-hmac-sha256|oauth|signature|hawk|hmac\w*|acs3-\S+|tc3-\S+|sharedkey\w*)[ \t:]"
)
# Within a value that is percent-encoded as a whole: & " ' , }
_CODED_END = re.compile(r"%(?:25){0,3}(?:2[267cC]|7[dD])")
_LINE = re.compile(r"[^\r\n]*+")
# PASSWORD=correct horse battery staple
_PHRASE_REST = re.compile(r"(?:[ ][A-Za-z]{2,20}){2,10}+(?=[ \t]*(?:[\r\n]|\Z))")
_QUOTES = ("'", '"', "`")
_ANNOTATED = re.compile(r"[ \t]{0,8}+(?:\|[ \t]{0,8}+\w{1,40}[ \t]{0,8}+)?=[ \t]{0,8}+(?![=])")


def without_named_secrets(words: str) -> str:
    """``words`` with the values hidden that stand under a name which announces a secret."""
    if not is_coded(words):
        return _joined(words, _named_secrets(words))
    plain, places = decoded(words)
    return _joined(
        words, ((places[a], places[b], replacement) for a, b, replacement in _named_secrets(plain))
    )


def _joined(words: str, spans: Iterable[tuple[int, int, str]]) -> str:
    parts: list[str] = []
    position = 0
    for start, end, replacement in spans:
        parts += (words[position:start], replacement)
        position = end
    return "".join((*parts, words[position:])) if parts else words


def _named_secrets(words: str) -> Iterator[tuple[int, int, str]]:
    """The spans to replace, in order, with what to show there."""
    position = at = 0
    stems = _ASCII_STEM if words.isascii() else _any_stem()
    while (stem := stems.search(words, at)) is not None:
        at = stem.end()
        for start, end, replacement in _found(words, stem, position):
            if start >= position:
                yield start, end, replacement
                position = end
        if not stem["chinese"] and (rest := _NAME_REST.match(words, at)):
            at = rest.end()
        at = max(position, at)


def _found(words: str, stem: re.Match[str], position: int) -> Iterator[tuple[int, int, str]]:
    """The spans to replace for the name that ``stem`` is part of, with what to show there."""
    if stem["chinese"]:
        yield from _chinese(words, stem)
        return
    start = stem.start()
    lowest = max(position, start - MAX_NAME_CHARS)
    while start > lowest and (words[start - 1].isalnum() or words[start - 1] in "_-."):
        start -= 1
    full = _NAME_END.match(words, stem.end())
    end = full.end() if full else stem.end()
    name = words[start:end].lstrip("-.")
    strength = strength_of(name)
    if strength == Strength.NONE:
        return
    is_option = words[start] == "-"
    before = words[max(0, start - 48) : start]
    if strength == Strength.STRONG and _COMPLAINT.search(before):
        strength = Strength.WEAK
    yield from _behind(words, name, strength, before, end, is_option=is_option)


def _behind(
    words: str, name: str, strength: Strength, before: str, end: int, *, is_option: bool
) -> Iterator[tuple[int, int, str]]:
    closers = _CLOSERS.match(words, end)
    name_end = closers.end() if closers else end
    is_json = words[end : end + 1] == '"' and before.endswith('"')
    separator = _SEPARATOR.match(words, name_end)
    if separator is not None:
        if _is_no_name(before, separator):
            return
        yield from _assigned(words, name, strength, before, separator, is_json=is_json)
        return
    if before.endswith(("<", ":", "</")) and before.rstrip(":").rpartition("<")[
        2
    ].isalnum() | before.endswith("<"):
        if tag := _TAG_END.match(words, end):
            yield from _shown(words, _text(words, tag.end()), strength)
        return
    if _CLOSED_TAG.match(words, name_end) and (tags := _TAGS.match(words, name_end)):
        inner = _SEPARATOR.match(words, tags.end())
        further = _TAGS.match(words, inner.end()) if inner else None
        last = further or inner or tags
        yield from _shown(words, _text(words, last.end()), strength)
        return
    if strength > Strength.WEAK and (marked := _in_marks(words, end, strength)):
        yield from _shown(words, marked, strength)
        return
    is_closed = name_end > end
    if (is_closed or _NAMING.search(before)) and (beside := _NAMED_VALUE.match(words, name_end)):
        yield from _shown(words, value_at(words, beside.end()), strength, quote=is_json)
        return
    if is_closed:
        if (
            (pair := _PAIR.match(words, name_end))
            and before[-2:-1] in ("(", "[")
            and before[-1:] in ("'", '"')
        ):
            value = value_at(words, pair.end())
            if value and words[value.after : value.after + 1] in (")", "]"):
                yield from _shown(words, value, strength)
        return
    if call := _CALL.match(words, end):
        yield from _shown(words, value_at(words, call.end()), strength)
        return
    yield from _after_blank(words, name, strength, before, end, is_option=is_option)


def _after_blank(
    words: str, name: str, strength: Strength, before: str, end: int, *, is_option: bool
) -> Iterator[tuple[int, int, str]]:
    """``--password VALUE``, ``fastcgi_param DB_PASSWORD VALUE;``, ``password is 'VALUE'``."""
    if verb := _IS.match(words, end):
        value = value_at(words, verb.end())
        if value and (value.is_quoted or _is_told(words[value.start : value.end], strength)):
            yield from _shown(words, value, strength)
        return
    blank = _BLANK.match(words, end)
    value = value_at(words, blank.end()) if blank and words[blank.end()] not in "([{" else None
    if value is None:
        return
    word = words[value.start : value.end]
    if word.startswith("-"):
        return
    if is_option:
        yield from _shown(words, value, strength)
        return
    if (
        _SETTERS.search(before)
        or (_ENDED.match(words, value.after) and not word.isalpha())
        or (value.is_quoted and strength == Strength.PASSWORD)
        or _is_told(word, strength)
        or name.lower() in ("requirepass", "masterauth")
    ):
        yield from _shown(words, value, strength)


def _is_told(word: str, strength: Strength) -> bool:
    """Whether a word directly behind a name is a secret rather than a word of the sentence."""
    if strength == Strength.CODE:
        return (word.isdigit() or looks_chosen(word)) and not is_harmless(word, strength)
    return looks_random(word) or (strength == Strength.PASSWORD and looks_chosen(word))


def _in_marks(words: str, at: int, strength: Strength) -> Value | None:
    marked = _IN_MARKS.match(words, at)
    if marked is None or not (_is_told(marked["value"], strength) or looks_chosen(marked["value"])):
        return None
    return Value(marked.start("value"), marked.end("value"), marked.end())


def _assigned(
    words: str, name: str, strength: Strength, before: str, separator: re.Match[str], *, is_json: bool
) -> Iterator[tuple[int, int, str]]:
    at = separator.end()
    lowered = name.lower().replace("_", "-")
    if words[at : at + 1] not in ("{", "["):
        if lowered.endswith("authorization"):
            yield from _authorization(words, at, before, strength)
            return
        if lowered.endswith("cookie") and (
            lowered in ("cookie", "set-cookie") or "cookie:" in words[at - 10 : at].lower()
        ):
            yield from _header_to_end(words, at, before, strength)
            return
    if block := _BLOCK_SCALAR.match(words, at) or _ESCAPED_SCALAR.match(words, at):
        yield at, block.end(), HIDDEN
        return
    is_config = words[separator.start()].isspace() or words[at - 1].isspace()
    is_line = separator["op"] in (":", "=", "：", "＝", ":=") and bool(_LINE_START.search(before))
    if strength <= Strength.KEY and words[at : at + 1] in ("[", "{", "("):
        return
    value = value_at(words, at, to_line_end=is_line and is_config and strength > Strength.KEY)
    if value is None:
        return
    if separator["op"].startswith("%"):
        coded = _CODED_END.search(words, value.start, value.end)
        value = Value(value.start, coded.start(), coded.start()) if coded else value
    elif is_line and not value.is_quoted:
        if is_config:
            value = _shortened(words, value, strength)
        elif phrase := _PHRASE_REST.match(words, value.after):
            value = Value(value.start, phrase.end(), phrase.end())
    yield from _shown(words, value, strength, quote=is_json)
    # password: str = "hunter2"
    if separator["op"] == ":" and not value.is_quoted and (more := _ANNOTATED.match(words, value.after)):
        yield from _shown(words, value_at(words, more.end()), strength)


def _shortened(words: str, value: Value, strength: Strength) -> Value:
    """A bare value that is a whole line: its first word alone, where that says that nothing secret stands there."""
    first = value_at(words, value.start)
    text = words[value.start : value.end]
    if first is None or first.end >= value.end or not is_harmless(words[first.start : first.end], strength):
        stop = text.find(HIDDEN)
        if stop > 0 and first is not None:
            return first
        return value
    return first


def _is_no_name(before: str, separator: re.Match[str]) -> bool:
    """A host in a URL (http://token-api:8000), a file in a path (/etc/secrets: Permission denied)."""
    colon = separator["op"] in (":", "::")
    return colon and before.endswith(("/", "@"))


def _authorization(words: str, at: int, before: str, strength: Strength) -> Iterator[tuple[int, int, str]]:
    value = value_at(words, at)
    if value is None or value.is_quoted:
        yield from _shown(words, value, strength)
        return
    if _TO_END_SCHEMES.match(words, at):
        yield from _header_to_end(words, at, before, strength)
        return
    if scheme := _SCHEMES.match(words, at):
        inner = value_at(words, scheme.end())
        if inner is not None and not is_harmless(words[at : inner.end], strength):
            yield at, inner.end, HIDDEN
            return
        if inner is None and words.startswith(HIDDEN, scheme.end()):
            return
    yield from _shown(words, value, strength)
    # An unknown scheme's parameter.
    blank = _BLANK.match(words, value.after)
    further = value_at(words, blank.end()) if blank else None
    if further is not None and looks_random(words[further.start : further.end]):
        yield further.start, further.end, HIDDEN


def _header_to_end(words: str, at: int, before: str, strength: Strength) -> Iterator[tuple[int, int, str]]:
    """A header's value with all its parameters: to the quote around the header, else to the end of its line."""
    value = value_at(words, at)
    if value is not None and value.is_quoted:
        yield from _shown(words, value, strength)
        return
    line = _LINE.match(words, at)
    around = before[-1:]
    text = line[0] if line else ""
    if around in _QUOTES:
        text = text.partition(around)[0].rstrip("\\")
    end = at + len(text.rstrip())
    yield from _shown(words, Value(at, end, end), strength)


def _chinese(words: str, stem: re.Match[str]) -> Iterator[tuple[int, int, str]]:
    closers = _CLOSERS.match(words, stem.end())
    end = closers.end() if closers else stem.end()
    link = _CHINESE_LINK.match(words, end)
    strength = strength_of(stem[0])
    if link is None:
        blank = _BLANK.match(words, end)
        value = _in_marks(words, stem.end(), strength) or (value_at(words, blank.end()) if blank else None)
        if value is not None and _is_told(words[value.start : value.end], strength):
            yield from _shown(words, value, strength)
        return
    value = value_at(words, link.end())
    if value is None:
        return
    # 密码为空, 密码：请重试
    is_prose = link["op"] is None or _CHINESE_PROSE.match(words, value.start)
    if is_prose and not value.is_quoted and not words[value.start].isascii():
        return
    yield from _shown(words, value, strength)


def _text(words: str, at: int) -> Value | None:
    """The text up to the next tag."""
    text = _UP_TO_TAG.match(words, at)
    if text is None or not text[0].strip() or text[0].strip() == HIDDEN:
        return None
    return Value(at, at + len(text[0].rstrip()), text.end())


def _shown(
    words: str, value: Value | None, strength: Strength, *, quote: bool = False
) -> Iterator[tuple[int, int, str]]:
    if value is None:
        return
    text = words[value.start : value.end]
    if text == HIDDEN or is_harmless(text, strength):
        return
    # JSON stays JSON, so that judges can read it.
    yield value.start, value.end, f'"{HIDDEN}"' if quote and not value.is_quoted else HIDDEN
