"""English reasons in the reader's language: why something was not seen, and messages that others word."""

from __future__ import annotations

from ops.text.language import Language, Text


class Reason(Text, frozen=True):
    """An English reason, translated only when it is read: the forms take longer to load than a diagnosis."""

    def to(self, language: Language) -> str:
        """The reason in ``language``; in English if it has no known form."""
        if language == "en":
            return self.en
        from ops.text.reason_forms import in_chinese

        return in_chinese(self.en) or self.zh


def chinese(words: object) -> str:
    """An English reason in Chinese; as it is if it has no known form. For a message that quotes one."""
    return reason(str(words)).to("zh")


def root_hint(error: OSError) -> Text:
    """The advice to run it as root, if the system refused it for want of a permission (EACCES, EPERM); empty otherwise,
    for root is no help on a full disk."""
    if isinstance(error, PermissionError):
        return Text(en="; run it as root", zh="；请以 root 运行")
    return Text(en="", zh="")


def system_error(where: object, error: OSError, consequence: Text | None = None) -> Text:
    """``where``, the system's own words, what follows from it, and the advice of `root_hint`, on one line."""
    hint, then = root_hint(error), consequence or Text(en="", zh="")
    words = str(error.strerror or error)
    return Text(
        en=f"{where}: {words}{then.en}{hint.en}", zh=f"{where}：{chinese(words)}{then.to('zh')}{hint.zh}"
    )


NOTHING_CHANGED = Text(en="; nothing was changed", zh="；未作任何改动")


def reason(words: str) -> Reason:
    """An English sentence of the facts, as a reason."""
    return Reason(en=words, zh=words)
