"""A bundle: one file with the snapshot, made on the broken host, which gives the same report anywhere."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

import msgspec

from ops import __version__
from ops.errors import OpsError
from ops.facts.snapshot import Snapshot
from ops.settings import Ignore
from ops.text.language import Text
from ops.text.reasons import chinese
from ops.text.sanitize import encodable, safe_line

# 2: with the changes since the last baseline, systemd's units and the site's own causes. Format 1 has none of them.
VERSION = 2
READABLE = (1, VERSION)
# A snapshot is a few hundred kilobytes; log excerpts are bounded when they are read.
MAX_BYTES = 64 << 20
_GZIP = b"\x1f\x8b"


class BundleError(OpsError):
    """A bundle that cannot be written or read. The message names the file, the reason and the remedy."""


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """``ignore``: the causes that the broken host's configuration ignores, so that the report is the same elsewhere."""

    bundle_version: int
    made_by: str
    snapshot: Snapshot
    ignore: tuple[Ignore, ...] = ()


class _BundleVersion(msgspec.Struct):
    """The part of a bundle that is read first, to know whether the rest is of this version."""

    bundle_version: int
    made_by: str = "an unknown version"


def write_bundle(path: Path, snapshot: Snapshot, ignore: tuple[Ignore, ...]) -> None:
    """Write ``snapshot``, mode 0600: as JSON that can be read and redacted by hand, compressed if the name ends in .gz.

    Raises BundleError; an existing file is never overwritten, and no half-written one is left."""
    content = msgspec.json.format(
        _encoded(Bundle(bundle_version=VERSION, made_by=__version__, snapshot=snapshot, ignore=ignore)),
        indent=1,
    )
    if path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise BundleError(
            Text(
                en=f"{path}: is there already; remove it or choose another name",
                zh=f"{path}：已存在；请删除它或另选文件名",
            )
        ) from None
    except OSError as error:
        raise BundleError(
            Text(
                en=f"{path}: cannot be written: {error.strerror}; choose a directory that can",
                zh=f"{path}：无法写入：{chinese(error.strerror)}；请换一个可写的目录",
            )
        ) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise BundleError(
                Text(
                    en=f"{path}: cannot be written: {error.strerror}; make room or choose another place",
                    zh=f"{path}：无法写入：{chinese(error.strerror)}；请腾出空间或换一个位置",
                )
            ) from None
        raise


def _encoded(bundle: Bundle) -> bytes:
    """``bundle`` as JSON, whatever names of files somebody chose."""
    try:
        return msgspec.json.encode(bundle)
    except UnicodeEncodeError:
        return msgspec.json.encode(_encodable(msgspec.to_builtins(bundle)))


def _encodable(value: object) -> object:
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value


def read_bundle(path: Path) -> Bundle:
    """The bundle in ``path``. Raises BundleError. The content is untrusted and only data."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BundleError(
            Text(
                en=f"{path}: cannot be read: {error.strerror}; check the path and its mode",
                zh=f"{path}：无法读取：{chinese(error.strerror)}；请检查路径及其权限",
            )
        ) from None
    if content.startswith(_GZIP):
        content = _decompressed(path, content)
    if len(content) > MAX_BYTES:
        raise BundleError(
            Text(
                en=f"{path}: larger than {MAX_BYTES >> 20} MiB; this is not a bundle of gte-ops doctor",
                zh=f"{path}：超过 {MAX_BYTES >> 20} MiB，不是 gte-ops doctor 的诊断包",
            )
        )
    try:
        version = msgspec.json.decode(content, type=_BundleVersion)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if not content.strip() or (content.startswith(b"{") and "truncated" in str(error)):
            raise _cut_off(path) from None
        raise BundleError(
            Text(
                en=f"{path}: not a bundle; make one with: gte-ops doctor --bundle FILE",
                zh=f"{path}：不是诊断包；请用 gte-ops doctor --bundle FILE 制作",
            )
        ) from None
    made_by = safe_line(version.made_by, 40)
    if version.bundle_version not in READABLE:
        raise BundleError(
            Text(
                en=f"{path}: a bundle of format {version.bundle_version}, made by gte-ops {made_by}; this is gte-ops"
                f" {__version__}, which reads up to format {VERSION}: use the version that made it",
                zh=f"{path}：格式为 {version.bundle_version} 的诊断包，由 gte-ops {made_by} 制作；当前 gte-ops"
                f" {__version__} 只能读取到格式 {VERSION}，请使用制作它的版本",
            )
        )
    try:
        return msgspec.json.decode(content, type=Bundle)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(
            Text(
                en=f"{path}: damaged, or changed by hand: {safe_line(str(error), 200)} (made by gte-ops {made_by},"
                f" this is {__version__})",
                zh=f"{path}：已损坏或被手工改动：{safe_line(str(error), 200)}（由 gte-ops {made_by} 制作，当前版本"
                f" {__version__}）",
            )
        ) from None


def _decompressed(path: Path, content: bytes) -> bytes:
    """The decompressed content, at most as large as a bundle may be. Raises BundleError."""
    decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        plain = decompressor.decompress(content, MAX_BYTES + 1)
    except zlib.error as error:
        raise BundleError(
            Text(
                en=f"{path}: damaged: {error}; copy it again from its host",
                zh=f"{path}：已损坏：{error}；请从源主机重新复制",
            )
        ) from None
    if not decompressor.eof and len(plain) <= MAX_BYTES:
        raise _cut_off(path)
    return plain


def _cut_off(path: Path) -> BundleError:
    return BundleError(
        Text(
            en=f"{path}: cut off; copy it again from its host",
            zh=f"{path}：文件不完整；请从源主机重新复制",
        )
    )
