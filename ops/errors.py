"""The toolkit's own errors. Every message says what failed, on what, and the next step."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ops.text.language import Text


class ErrorKind(StrEnum):
    """What a program may want to tell apart (``error.kind`` in docs/json.md)."""

    USAGE = "usage"
    SETTINGS = "settings"
    FAILED = "failed"
    DECLINED = "declined"
    LOCKED = "locked"
    INTERRUPTED = "interrupted"
    DEFECT = "defect"


class OpsError(Exception):
    """The toolkit could not do what was asked. ``exit_code``: the command's.

    The message is one line in both languages; a plain string is an English reason (`ops.text.reasons`). ``str()`` gives
    the English, for logs."""

    exit_code = 3
    kind = ErrorKind.FAILED

    def __init__(self, words: Text | str) -> None:
        super().__init__(words if isinstance(words, str) else words.en)
        self._words = words

    @property
    def words(self) -> Text:
        """The message in both languages."""
        from ops.text.reasons import reason

        return reason(self._words) if isinstance(self._words, str) else self._words


class SettingsError(OpsError):
    """gte-ops.toml cannot be used as it stands."""

    kind = ErrorKind.SETTINGS


class UsageError(OpsError):
    """An option's value makes no sense. ``command``: the one whose --help says what is possible."""

    kind = ErrorKind.USAGE
    command = ""
