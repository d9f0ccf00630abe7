"""A PEM file's blocks and what is wrong with its lines."""

from __future__ import annotations

import pytest

from ops.facts.certificates import PemDefectKind
from ops.interpret.pem import PemBlock, read_pem, whole_file_defect

# Two blocks of a DER element each, three lines a block: what they hold does not matter here.
FIRST = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n"
SECOND = "-----BEGIN CERTIFICATE-----\nMAMCAQI=\n-----END CERTIFICATE-----\n"


def faults(text: str) -> list[tuple[PemDefectKind, int]]:
    """What is wrong, and at which line."""
    return [(b.defect.kind, b.defect.line) for b in read_pem(text.encode()) if b.defect is not None]


def loaded(text: str) -> list[PemBlock]:
    """The blocks OpenSSL sees."""
    return [block for block in read_pem(text.encode()) if not block.is_hidden]


@pytest.mark.parametrize(
    "text",
    [
        FIRST + SECOND,
        (FIRST + SECOND).replace("\n", "\r\n"),
        "\ufeff" + FIRST + SECOND,
        "subject=/CN=x\nissuer=/CN=y\n" + FIRST + "\n\n  \n" + SECOND,
        FIRST.replace("\n", "  \n") + SECOND,
        FIRST.replace("\n-----END", "-----END") + SECOND,
        FIRST + SECOND.rstrip(),
        "# " + FIRST.replace("\n", "\n# ")[:-2] + FIRST + SECOND,
    ],
    ids=[
        "plain",
        "crlf",
        "byte-order mark",
        "text before",
        "blanks behind",
        "END glued",
        "no last newline",
        "comment",
    ],
)
def test_what_openssl_takes_is_no_fault(text: str) -> None:
    assert faults(text) == []
    assert [block.der for block in loaded(text)] == [b"0\x03\x02\x01\x01", b"0\x03\x02\x01\x02"]


@pytest.mark.parametrize(
    ("text", "kind", "line"),
    [
        (FIRST.rstrip() + SECOND, PemDefectKind.JOINED, 3),
        ("cert: " + FIRST + SECOND, PemDefectKind.BEHIND_TEXT, 1),
        (FIRST + "\t" + SECOND, PemDefectKind.INDENTED, 4),
        (FIRST.replace("\n", "") + "\n" + SECOND, PemDefectKind.ONE_LINE, 1),
        (FIRST.replace("\n", r"\n") + "\n" + SECOND, PemDefectKind.ESCAPED, 1),
        (FIRST.replace("-----END CERTIFICATE-----\n", "") + SECOND, PemDefectKind.NO_END, 2),
        (FIRST + SECOND[:-26], PemDefectKind.NO_END, 5),
        (FIRST + SECOND.replace("END CERTIFICATE", "END PUBLIC KEY"), PemDefectKind.WRONG_END, 6),
        (FIRST + SECOND.replace("MAMC", "MA!C"), PemDefectKind.NOT_BASE64, 5),
        (FIRST + SECOND.replace("MAMCAQI=", "MAMC\n\nAQI="), PemDefectKind.BLANK_LINE, 6),
        (FIRST + SECOND.replace("MAMCAQI=", "MAMC"), PemDefectKind.CUT_OFF, 5),
        (FIRST + SECOND.replace("MAMCAQI=", "MAMCAQI"), PemDefectKind.CUT_OFF, 5),
    ],
)
def test_each_fault_is_named_with_its_line(text: str, kind: PemDefectKind, line: int) -> None:
    assert faults(text) == [(kind, line)]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"0\x82\x01\x0a\x02", PemDefectKind.DER),
        (FIRST.encode("utf-16"), PemDefectKind.UTF_16),
        (FIRST.replace("\n", "\r").encode(), PemDefectKind.CARRIAGE_RETURNS),
        (FIRST.replace("-----BEGIN", "\u2013" * 5 + "BEGIN").encode(), PemDefectKind.DASHES),
        (FIRST.replace("-----BEGIN", "----BEGIN").encode(), PemDefectKind.DASHES),
    ],
)
def test_a_file_that_is_wrong_as_a_whole(content: bytes, kind: PemDefectKind) -> None:
    fault = whole_file_defect(content)
    assert fault is not None
    assert fault.kind is kind


def test_a_block_that_begins_anywhere_else_is_not_loaded() -> None:
    assert [block.line for block in loaded(FIRST + "  " + SECOND)] == [1]


def test_a_block_without_an_end_takes_the_next_one_with_it() -> None:
    assert [block.line for block in loaded(FIRST.replace("-----END CERTIFICATE-----\n", "") + SECOND)] == [1]


def test_lines_of_each_block_are_its_own() -> None:
    blocks = read_pem(("a note\n" + FIRST + SECOND).encode())
    assert [(block.line, block.last_line) for block in blocks] == [(2, 4), (5, 7)]


def test_a_key_s_block_is_told_from_a_certificate_s() -> None:
    text = "-----BEGIN EC PRIVATE KEY-----\nMAMCAQE=\n-----END EC PRIVATE KEY-----\n" + FIRST
    assert [(block.is_key, block.is_certificate) for block in read_pem(text.encode())] == [
        (True, False),
        (False, True),
    ]
