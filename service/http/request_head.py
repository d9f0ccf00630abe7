"""The head of a request (RFC 9112, 2.1), as far as it decides what becomes of the request before it gets a thread."""

import re

_FIELD = re.compile(
    r"\r\n(connection|content-length|transfer-encoding|expect|authorization|origin|user-agent|x-forwarded-for"
    r"|x-request-id)[ \t]*:([^\r\n]*)",
    re.ASCII | re.IGNORECASE,
)
_PLAIN = re.compile(rb"[^\r\n\0]+\r\n(?:[!#$%&'*+.^`|~0-9A-Za-z-]+:[^\r\n\0]*\r\n)*\r\n")
_CLOSE = re.compile(r"\bclose\b", re.ASCII | re.IGNORECASE)


class RequestHead:
    """What is read of a head: its line, and the fields named above, as they were sent: gunicorn's parser has not looked
    at them."""

    __slots__ = ("_text", "fields", "method", "path", "protocol", "raw")

    def __init__(self, raw: bytes) -> None:
        """``raw``: up to and with the empty line; empty if it has not arrived."""
        self.raw = raw
        self._text = text = raw.decode("latin-1")
        self.method, target, self.protocol = (*text[: text.find("\r\n")].split(" ", 2), "", "")[:3]
        # Without the query, which may contain what people searched for.
        self.path = target.partition("?")[0]
        # By names in lower case, of several the last; values without the blanks around them.
        self.fields = {name.lower(): value.strip(" \t") for name, value in _FIELD.findall(text)}

    def values(self, name: str) -> list[str]:
        """Of each field of this name, in the order in which they were sent."""
        return [value.strip(" \t") for field, value in _FIELD.findall(self._text) if field.lower() == name]

    @property
    def is_plainly_framed(self) -> bool:
        """Whether every recipient finds the same end of this request: no line is folded or malformed, and there is at
        most one length, a number, or one coding, chunked, and not both (RFC 9112, 6.3)."""
        framing = self.fields.keys() & {"content-length", "transfer-encoding"}
        if not _PLAIN.fullmatch(self.raw) or len(framing) > 1:
            return False
        lengths = self.values("content-length") if "content-length" in framing else ["0"]
        codings = self.values("transfer-encoding") if "transfer-encoding" in framing else ["chunked"]
        return (
            len(lengths) == 1 and lengths[0].isdecimal() and [one.lower() for one in codings] == ["chunked"]
        )

    @property
    def closes(self) -> bool:
        """Whether the connection takes no further request after this one (RFC 9112, 9.3)."""
        if self.protocol != "HTTP/1.1":
            return True
        return "connection" in self.fields and any(map(_CLOSE.search, self.values("connection")))
