"""The file of `notify.ca_file`: roots that destinations may have beside the public ones."""

from __future__ import annotations

import re

from ops.errors import SettingsError
from ops.files.bounded_read import read_regular_file
from ops.text.language import Text
from ops.text.reasons import chinese
from ops.text.sanitize import safe_line

MAX_BYTES = 8 << 20
# OpenSSL finds a block only where its first line begins a line, and passes over what it does not find.
_BEGINS = re.compile(rb"^-----BEGIN ", re.MULTILINE)
_ENDS = re.compile(rb"^-----END ", re.MULTILINE)
_DAMAGED = Text(en="a block of it is damaged", zh="其中有损坏的证书块")
_NO_PEM = Text(en="no certificate in PEM form is in it", zh="其中没有 PEM 格式的证书")


def read_authorities(path: str) -> bytes:
    """The file's content, of which OpenSSL loads every block. Raises SettingsError if it is of no use as a whole: one
    damaged block would spoil every file that it is appended to. Its ``__cause__`` is a PermissionError if the caller
    may not read the file."""
    try:
        content = read_regular_file(path, MAX_BYTES).content
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        why = safe_line(said, 200)
        raise _of_no_use(path, Text(en=why, zh=chinese(why))) from error
    trouble = _trouble(path, content)
    if trouble is not None:
        raise _of_no_use(path, trouble)
    return content


def _trouble(path: str, content: bytes) -> Text | None:
    import ssl

    if b"-----BEGIN " not in content:
        return _NO_PEM
    if len(_BEGINS.findall(content)) != len(_ENDS.findall(content)):
        return _DAMAGED
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=path)
    except OSError:
        return _DAMAGED
    return None if context.cert_store_stats()["x509"] else _NO_PEM


def _of_no_use(path: str, why: Text) -> SettingsError:
    place = f"notify.ca_file {safe_line(path, 400)}"
    return SettingsError(
        Text(
            en=f"{place}: {why.en}; its roots are not trusted: name a file of whole PEM certificates"
            " (of DER: openssl x509 -inform DER -in ROOT.der -out ROOT.pem)",
            zh=f"{place}：{why.zh}；不信任其中的根证书：请指定由完整 PEM 证书组成的文件"
            "（DER 可转换：openssl x509 -inform DER -in ROOT.der -out ROOT.pem）",
        )
    )


def unusable_authorities(path: str) -> Text | None:
    """Why ``path`` is of no use; None if it can be used, or none is set."""
    try:
        if path:
            read_authorities(path)
    except SettingsError as error:
        return error.words
    return None
