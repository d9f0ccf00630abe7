"""Text of a client's in the access log: no control character of it reaches a terminal that shows the log."""

import re

# C0, DEL and C1: WSGI decodes bytes as Latin-1 (PEP 3333), where 0x9b is CSI, the beginning of an escape sequence.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """``text`` with its control characters as ``\\xNN``, as nginx writes them."""
    if text.isascii() and text.isprintable():
        return text
    return _CONTROLS.sub(lambda match: f"\\x{ord(match.group()):02X}", text)
