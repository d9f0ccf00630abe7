"""Secrets in the attributes of HTML and XML: ``<input name="password" value="...">``."""

from __future__ import annotations

import re

from ops.text.secret_scan import HIDDEN
from ops.text.secret_scan.names import Strength, strength_of
from ops.text.secret_scan.values import is_harmless

_TAG = re.compile(r"<[A-Za-z][\w:-]{0,40}+\s[^<>]{0,4000}+>?(?:(?<=[^/]>)[^<]*+)?")
_ATTRIBUTE = re.compile(
    r"""([\w:.-]{1,60}+)(\s{0,8}+=\s{0,8}+)(?:(\\*+["'])(.*?)\3|([^\s"'>]{1,1000}+))""", re.DOTALL
)
_NAMING = frozenset(("name", "id", "key", "type", "property", "for", "autocomplete", "itemprop"))
_BEARING = frozenset(("value", "content", "data-value", "data", "placeholder-value", "defaultvalue"))


def without_attribute_secrets(words: str) -> str:
    """``words`` with the values hidden of elements whose name, id or type announces a secret."""
    if "<" not in words or "=" not in words:
        return words
    return _TAG.sub(_cleaned, words)


def _cleaned(element: re.Match[str]) -> str:
    tag, closing, text = element[0].partition(">")
    naming = [
        (match[1].lower(), strength_of(match[4] or match[5] or ""))
        for match in _ATTRIBUTE.finditer(tag)
        if match[1].lower() in _NAMING
    ]
    strength = max((strength for _, strength in naming), default=Strength.NONE)
    if strength == Strength.NONE:
        return element[0]
    has_value = False

    def cleaned(attribute: re.Match[str]) -> str:
        nonlocal has_value
        if attribute[1].lower() not in _BEARING:
            return attribute[0]
        has_value = True
        if is_harmless(attribute[4] or attribute[5] or "", strength):
            return attribute[0]
        mark = attribute[3] or ""
        return f"{attribute[1]}{attribute[2]}{mark}{HIDDEN}{mark}"

    tag = _ATTRIBUTE.sub(cleaned, tag)
    # <entry key="password">VALUE</entry>
    names_text = any(kind in ("name", "key") and name_strength for kind, name_strength in naming)
    if names_text and not has_value and text.strip() and not is_harmless(text, strength):
        text = HIDDEN
    return tag + closing + text
