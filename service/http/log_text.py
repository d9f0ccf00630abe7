"""Text of a client's in the access log: no control character of it reaches a terminal that shows the log, and a log of
any encoding takes it."""

import re

# C0, DEL and whatever is not ASCII: WSGI decodes bytes as Latin-1 (PEP 3333), where 0x9b is CSI, the beginning of an
# escape sequence, and a log that was opened in another locale (GBK, POSIX) cannot take many of them.
_ESCAPED = re.compile(r"[^\x20-\x7e]")


def printable(text: str) -> str:
    """``text``, whose characters are bytes of a request, with all but printable ASCII as ``\\xNN``, as nginx writes
    them."""
    if text.isascii() and text.isprintable():
        return text
    return _ESCAPED.sub(lambda match: f"\\x{ord(match.group()):02X}", text)
