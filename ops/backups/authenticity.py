"""Whether an operator of this host made an archive, as far as that can be determined without asking."""

from __future__ import annotations

from pathlib import Path

from ops.archive.checksum import hash_stream
from ops.backups.made_here import was_made_here
from ops.backups.signature import SignatureCheck, SignatureError, SignatureState
from ops.files.nofollow import reason_not_to_trust
from ops.text.language import Text
from ops.text.sanitize import safe_line


def reason_to_doubt(archive: Path, signature: SignatureCheck | None, backups: Path) -> Text | None:
    """Why somebody has to vouch for ``archive`` before its files are restored on this host; None if nobody has to.

    ``signature``: the result of its check, None if no signer is known; then the list in ``backups`` decides. Raises
    SignatureError for a bad one, OSError."""
    if signature is not None:
        refuse_bad(archive, signature)
    if signature is not None and signature.state == SignatureState.MISSING:
        return unsigned_words()
    # It is read more than once, so others must not be able to change it in between.
    if (why := reason_not_to_trust(str(archive))) is not None:
        words = safe_line(why)
        return Text(
            en=f"others may change it while it is read ({words})", zh=f"他人可能在读取时改动它（{words}）"
        )
    if signature is not None:
        return None
    with archive.open("rb", buffering=0) as content:
        digest = hash_stream(content)
    if was_made_here(backups, digest):
        return None
    return Text(en="it is not signed, and was not made on this host", zh="没有签名，也不是本机制作的")


def unsigned_words() -> Text:
    """The sentence for a missing signature."""
    return Text(
        en="it is not signed, and backup.allowed_signers asks for a signature",
        zh="没有签名，而 backup.allowed_signers 要求签名",
    )


def refuse_bad(archive: Path, signature: SignatureCheck) -> None:
    """Raises SignatureError for a bad signature."""
    if signature.state == SignatureState.BAD:
        raise SignatureError(
            Text(
                en=f"{archive}: its signature is bad: {signature.detail}; nothing of it was used",
                zh=f"{archive}：签名无效：{signature.detail}；未使用其中任何内容",
            )
        )
