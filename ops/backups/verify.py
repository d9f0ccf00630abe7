"""Proving that a backup could be restored, without restoring it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ops.archive.checksum import checksum_problem
from ops.archive.encryption import Identity
from ops.archive.error import ArchiveError, LockedArchiveError
from ops.archive.manifest import Manifest, loose_links, resolve
from ops.archive.name import checksum_path
from ops.archive.pair import MAX_PEM_BYTES, pair_problem
from ops.archive.reading import open_archive
from ops.backups.authenticity import unsigned_words
from ops.backups.signature import SignatureCheck, SignatureState
from ops.files.entry_kind import EntryKind
from ops.text.language import Text, verbatim
from ops.text.reasons import chinese, reason

MAX_SHOWN_LINKS = 20


@dataclass
class Verified:
    """The result. ``opened``: every byte of its content was read; ``problems``: why it is not good; ``notes``: other
    remarks; ``checks``: the checks that passed; ``signature``: the result of its check, None if no signer is known."""

    path: Path
    opened: bool = False
    encrypted: bool = False
    manifest: Manifest | None = None
    signature: SignatureCheck | None = None
    checks: list[Text] = field(default_factory=list)
    problems: list[Text] = field(default_factory=list)
    notes: list[Text] = field(default_factory=list)

    @property
    def good(self) -> bool | None:
        """None if nothing could be compared."""
        if self.problems:
            return False
        return True if self.checks else None


TreeTest = Callable[[Path, Manifest, Sequence[Identity]], tuple[bool | None, Text]]


def verify(
    path: Path,
    identities: Sequence[Identity],
    nginx_test: TreeTest | None,
    signature: SignatureCheck | None = None,
    *,
    unsigned: bool = False,
) -> Verified:
    """Verify the archive at ``path``.

    ``nginx_test`` restores the tree into a scratch directory and lets nginx test it; None skips that. ``signature``:
    the result of its check, which must be good, or missing if ``unsigned``. Raises OpsError for identities that do not
    open it; a broken archive raises nothing."""
    verified = Verified(path, signature=signature)
    _check_sum(verified)
    if signature is not None:
        _judge_signature(verified, signature, unsigned=unsigned)
    if verified.problems:
        return verified  # whatever it contains, it was changed since it was made
    try:
        contents = _read_through(verified, identities)
    except LockedArchiveError:
        if identities:
            raise
        verified.encrypted = True
        verified.notes.append(
            Text(
                en="it is encrypted: without the identity nothing more than its SHA-256 was checked (--identity FILE)",
                zh="已加密：没有私钥，只核对了 SHA-256（用 --identity FILE 指定私钥文件）",
            )
        )
        return verified
    except ArchiveError as error:
        verified.problems.append(reason(error.reason))
        return verified
    assert verified.manifest is not None  # noqa: S101  it was read
    verified.opened = True
    _check_pairs(verified, verified.manifest, contents)
    _check_links(verified, verified.manifest)
    for source in verified.manifest.missing:
        verified.notes.append(
            Text(
                en=f"{source.path} was to be saved and is not in it: {source.missing}",
                zh=f"{source.path} 应备份但不在其中：{chinese(source.missing)}",
            )
        )
    if nginx_test is not None and verified.manifest.nginx is not None and not verified.problems:
        verdict, words = nginx_test(path, verified.manifest, identities)
        {True: verified.checks, False: verified.problems, None: verified.notes}[verdict].append(words)
    return verified


def _judge_signature(verified: Verified, signature: SignatureCheck, *, unsigned: bool) -> None:
    if signature.state == SignatureState.GOOD:
        words = Text(en=f"signature of {signature.detail}", zh=f"{signature.detail} 的签名")
        verified.checks.append(words)
    elif signature.state == SignatureState.BAD:
        words = Text(
            en=f"its signature is bad: {signature.detail}", zh=f"签名无效：{chinese(signature.detail)}"
        )
        verified.problems.append(words)
    else:
        (verified.notes if unsigned else verified.problems).append(unsigned_words())


def _check_sum(verified: Verified) -> None:
    try:
        problem = checksum_problem(verified.path)
    except FileNotFoundError:
        if not verified.path.exists():
            verified.problems.append(Text(en="it does not exist", zh="文件不存在"))
            return
        name = checksum_path(verified.path).name
        verified.notes.append(
            Text(
                en=f"{name} is not beside it: its bytes cannot be compared with what was made",
                zh=f"旁边没有 {name}，无法核对归档本身",
            )
        )
        return
    except OSError as error:
        words = error.strerror or str(error)
        verified.problems.append(Text(en=f"it cannot be read: {words}", zh=f"无法读取：{chinese(words)}"))
        return
    if problem:
        verified.problems.append(reason(problem))
    else:
        verified.checks.append(Text(en="SHA-256 of the archive", zh="归档的 SHA-256"))


def _read_through(verified: Verified, identities: Sequence[Identity]) -> dict[str, bytes]:
    """Read every byte; return the contents of the key pairs' files, by path."""
    contents: dict[str, bytes] = {}
    with open_archive(verified.path, identities) as archive:
        manifest = verified.manifest = archive.manifest
        verified.encrypted = archive.encrypted
        by_path = {entry.path: entry for entry in manifest.entries}
        needed = {resolve(name, by_path) for pair in manifest.pairs for name in (pair.certificate, pair.key)}
        for member in archive.members():
            if member.entry.path in needed and member.entry.size <= MAX_PEM_BYTES:
                contents[member.entry.path] = b"".join(member.chunks())
    files = sum(entry.kind == EntryKind.FILE for entry in manifest.entries)
    verified.checks.append(
        Text(en=f"manifest and the SHA-256 of {files} files", zh=f"清单与 {files} 个文件的 SHA-256")
    )
    return contents


def _check_pairs(verified: Verified, manifest: Manifest, contents: dict[str, bytes]) -> None:
    by_path = {entry.path: entry for entry in manifest.entries}
    for pair in manifest.pairs:
        parts = [contents.get(resolve(name, by_path) or "") for name in (pair.certificate, pair.key)]
        if parts[0] is None or parts[1] is None:
            problem: str | None = "the certificate or its key is not in the archive"
        else:
            problem = pair_problem(parts[0], parts[1])
        if problem:
            verified.problems.append(verbatim(f"/{pair.certificate}, /{pair.key}: {problem}"))
    if manifest.pairs and not verified.problems:
        count = len(manifest.pairs)
        verified.checks.append(Text(en=f"{count} certificates with their keys", zh=f"{count} 对证书与私钥"))


def _check_links(verified: Verified, manifest: Manifest) -> None:
    live = f"{manifest.letsencrypt_dir.strip('/')}/live/"
    loose = list(loose_links(manifest.entries))
    for entry, why in loose[:MAX_SHOWN_LINKS]:
        words = Text(
            en=f"/{entry.path} -> {entry.target}: {why}",
            zh=f"/{entry.path} -> {entry.target}：{chinese(why)}",
        )
        (verified.problems if entry.path.startswith(live) else verified.notes).append(words)
    if len(loose) > MAX_SHOWN_LINKS:
        count = len(loose) - MAX_SHOWN_LINKS
        verified.notes.append(Text(en=f"and {count} more links of this kind", zh=f"另有 {count} 个同类链接"))
    links = sum(entry.kind == EntryKind.LINK for entry in manifest.entries) - len(loose)
    if links:
        verified.checks.append(
            Text(en=f"{links} links lead to what is in it", zh=f"{links} 个链接的目标都在其中")
        )
