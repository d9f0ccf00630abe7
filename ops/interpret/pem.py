"""Split a PEM file into blocks as OpenSSL does, line by line, and find malformed lines.

RFC 7468 and OpenSSL's PEM_read_bio: a block begins on a line that holds only its BEGIN marker and trailing blanks.
OpenSSL does not recognize a BEGIN marker anywhere else, and skips that block without an error.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Iterator

import msgspec

from ops.facts.certificates import PemDefect, PemDefectKind

# RFC 7468 labels, and the older ones that OpenSSL still accepts (PEM_STRING_X509, _OLD, _TRUSTED).
CERTIFICATE_LABELS = ("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE")
MAX_BLOCKS = 500
_MARKER = re.compile(rb"-----(BEGIN|END) ([A-Z0-9 ]{1,40})-----")
# A marker damaged by a word processor or by copying: other dashes, or not five of them.
_BAD_MARKER = re.compile(
    "^(?!-----BEGIN [A-Z0-9 ]{1,40}-----\\s*$)[-\u2010-\u2015\u2212]{1,12} ?"
    "BEGIN ((?:TRUSTED |X509 )?CERTIFICATE|[A-Z ]{0,20}PRIVATE KEY) ?[-\u2010-\u2015\u2212]{1,12}[ \\t\\r]*$",
    re.MULTILINE,
)
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/=\s]")
_BLANK_LINE = re.compile(rb"\n[ \t\r]*\n")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class PemBlock(msgspec.Struct, frozen=True):
    """One block. ``line`` and ``last_line``: the lines of its BEGIN and of its end, from 1. ``der``: its content, None
    if that cannot be decoded. ``is_hidden``: OpenSSL does not recognize its BEGIN."""

    label: str
    line: int
    last_line: int
    der: bytes | None
    defect: PemDefect | None = None
    is_hidden: bool = False

    @property
    def is_certificate(self) -> bool:
        """Whether its label is a certificate's."""
        return self.label in CERTIFICATE_LABELS

    @property
    def is_key(self) -> bool:
        """Whether its label is a private key's."""
        return self.label.endswith("PRIVATE KEY")


class _Open(msgspec.Struct):
    label: bytes
    line: int
    begins: int  # where the body begins
    start: PemDefectKind | None = None


def read_pem(content: bytes) -> tuple[PemBlock, ...]:
    """Return the blocks of ``content`` in order, at most `MAX_BLOCKS`, without those that are commented out."""
    blocks = []
    for block in _blocks(content):
        blocks.append(block)
        if len(blocks) >= MAX_BLOCKS:
            break
    return tuple(blocks)


def whole_file_defect(content: bytes) -> PemDefect | None:
    """Return the defect of the whole file (its encoding, its line ends) or of a BEGIN marker; None if it has none."""
    if re.match(rb"\x30[\x80-\x84]", content):
        return PemDefect(kind=PemDefectKind.DER, line=1)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or content[:200].count(b"\0") > 20:
        return PemDefect(kind=PemDefectKind.UTF_16, line=1)
    if _MARKER.search(content) is None:
        return bad_marker(content)
    if has_no_lines(content):
        return PemDefect(kind=PemDefectKind.CARRIAGE_RETURNS, line=1)
    return bad_marker(content)


def has_no_lines(content: bytes) -> bool:
    """Whether its line ends are carriage returns alone: OpenSSL reads that as one long line."""
    words = content.strip()
    return b"\n" not in words and b"\r" in words


def bad_marker(content: bytes) -> PemDefect | None:
    """Return the defect of the first malformed BEGIN marker; None if there is none."""
    text = content.decode("utf-8", "replace")
    if (match := _BAD_MARKER.search(text)) is None:
        return None
    return PemDefect(
        kind=PemDefectKind.DASHES, line=text.count("\n", 0, match.start()) + 1, label=match[1].strip()
    )


def _blocks(content: bytes) -> Iterator[PemBlock]:
    current: _Open | None = None
    swallowed = False
    line, position = 1, 0
    for marker in _MARKER.finditer(content):
        line += content.count(b"\n", position, marker.start())
        position = marker.start()
        label = marker[2]
        if marker[1] == b"BEGIN":
            joined = _is_behind_an_end(content, marker.start())
            is_open = current is not None
            if current is not None:
                # Its END is missing: OpenSSL reads through the next block up to the END of that block.
                yield _block(
                    content, current, marker.start(), line - 1, PemDefectKind.NO_END, hidden=swallowed
                )
            swallowed = is_open and not swallowed
            if _is_commented(content, marker.start()):
                current, swallowed = None, False
                continue
            current = _Open(label, line, marker.end(), _start_defect(content, marker, joined=joined))
        elif current is not None:
            wrong = None if label == current.label else PemDefectKind.WRONG_END
            yield _block(content, current, marker.start(), line, wrong, hidden=swallowed)
            current, swallowed = None, False
    if current is not None:
        last = line + content.count(b"\n", position, len(content.rstrip()))
        yield _block(content, current, len(content), last, PemDefectKind.NO_END, hidden=swallowed)


def _line_before(content: bytes, at: int) -> bytes:
    """Return the text before ``at`` on its line: the last 400 bytes at most."""
    begin = content.rfind(b"\n", max(0, at - 400), at) + 1
    return content[max(begin, at - 400) : at].removeprefix(_BYTE_ORDER_MARK)


def _is_commented(content: bytes, at: int) -> bool:
    return _line_before(content, at).lstrip().startswith((b"#", b";", b"//"))


def _is_behind_an_end(content: bytes, at: int) -> bool:
    return _line_before(content, at).rstrip().endswith(b"-----")


def _start_defect(content: bytes, marker: re.Match[bytes], *, joined: bool) -> PemDefectKind | None:
    before = _line_before(content, marker.start())
    if joined:
        return PemDefectKind.JOINED
    if before.rstrip().endswith(rb"\n"):
        return PemDefectKind.ESCAPED
    if before.strip():
        return PemDefectKind.BEHIND_TEXT
    if before:
        return PemDefectKind.INDENTED
    end = content.find(b"\n", marker.end())
    rest = content[marker.end() : end if end >= 0 else len(content)]
    return PemDefectKind.ONE_LINE if rest[:200].strip() else None


# OpenSSL skips a block that has one of these defects.
_HIDING = (
    PemDefectKind.BEHIND_TEXT,
    PemDefectKind.INDENTED,
    PemDefectKind.ONE_LINE,
    PemDefectKind.ESCAPED,
)


def _block(
    content: bytes, begin: _Open, end: int, last: int, ending: PemDefectKind | None, *, hidden: bool
) -> PemBlock:
    body = content[begin.begins : end]
    label = begin.label.decode("ascii")
    if rb"\n" in body[:200]:
        body, begin.start = body.replace(rb"\n", b"\n"), PemDefectKind.ESCAPED
    der, fault, offset = _decoded(body)
    kind, line = begin.start, begin.line
    if kind is None and ending is not None:
        kind, line = ending, last
    elif kind is None and fault is not None:
        kind, line = fault, begin.line + body.count(b"\n", 0, offset)
    is_hidden = hidden or begin.start in _HIDING
    return PemBlock(
        label=label,
        line=begin.line,
        last_line=last,
        der=der,
        defect=None
        if kind is None
        else PemDefect(
            kind=kind,
            line=line,
            label=label,
            begins=begin.line,
            is_hidden=is_hidden,
            is_whole=der is not None,
        ),
        is_hidden=is_hidden,
    )


def _decoded(body: bytes) -> tuple[bytes | None, PemDefectKind | None, int]:
    """Decode ``body``: return its DER, its defect, and the byte of ``body`` at which the defect is. An encrypted key
    (RFC 1421 headers) is not decoded."""
    if b"Proc-Type:" in body[:200]:
        return None, None, 0
    if bad := _NOT_BASE64.search(body):
        return None, PemDefectKind.NOT_BASE64, bad.start()
    try:
        der = a2b_base64(body)
    except Base64Error:
        return None, PemDefectKind.CUT_OFF, len(body.rstrip())
    if _length(der) > len(der):
        return None, PemDefectKind.CUT_OFF, len(body.rstrip())
    if blank := _BLANK_LINE.search(body.strip()):
        return der, PemDefectKind.BLANK_LINE, len(body) - len(body.lstrip()) + blank.start() + 1
    return der, None, 0


def _length(der: bytes) -> int:
    """Return the length of the first DER element by its own header (X.690 8.1.3); 0 if the header has none."""
    if len(der) < 2:
        return 0
    if der[1] < 0x80:
        return 2 + der[1]
    count = der[1] & 0x7F
    return 2 + count + int.from_bytes(der[2 : 2 + count], "big") if count else 0


def first_element(der: bytes) -> bytes:
    """Return the first DER element of ``der``: OpenSSL's TRUSTED form appends its own settings to the certificate."""
    return der[: _length(der) or len(der)]
