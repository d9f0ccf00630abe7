"""A restore lets other commands act while it asks a person, and then does only what it has shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest

from ops.backups.restore import run as module
from ops.errors import OpsError
from ops.files.host_lock import VARIABLE, HostLockedError, only_change
from ops.settings import BackupSettings, Settings
from ops.text.language import Text

Restore = Callable[[Callable[[], bool]], MagicMock]


@pytest.fixture
def shown() -> list[str]:
    """What the restore would change, at each look."""
    return ["a", "a"]


@pytest.fixture
def restore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: list[str]) -> Restore:
    """Restore an archive that nobody signed, with one answer to both questions; what carries it out."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "lock"))
    for name in ("_recover", "_archive", "_tree", "_preview", "signature_of"):
        monkeypatch.setattr(module, name, MagicMock())
    monkeypatch.setattr(module, "refuse_bad", lambda *_: None, raising=False)
    monkeypatch.setattr(module, "reason_to_doubt", lambda *_: Text(en="unsigned", zh="未签名"))

    def look(*_: object) -> SimpleNamespace:
        return SimpleNamespace(plan=SimpleNamespace(is_empty=False, changes=shown.pop(0)), places={})

    monkeypatch.setattr(module, "look", look)
    carry_out = MagicMock()
    monkeypatch.setattr(module, "_carry_out", carry_out)
    settings = Settings(backup=BackupSettings(dir=str(tmp_path / "backups")))

    def run(answer: Callable[[], bool]) -> MagicMock:
        module.restore(settings, None, (), vouch=lambda _: answer(), ask=lambda _: answer())
        return carry_out

    return run


def act() -> bool:
    """Another command changes the host while the person thinks."""
    with only_change():
        return True


def test_another_command_may_act_meanwhile(restore: Restore, shown: list[str]) -> None:
    assert restore(act).called
    assert shown == []


def test_undisturbed_it_does_not_look_again(restore: Restore, shown: list[str]) -> None:
    assert restore(lambda: True).called
    assert shown == ["a"]


def test_it_changes_nothing_that_was_not_shown(restore: Restore, shown: list[str]) -> None:
    shown[1] = "b"
    with pytest.raises(OpsError, match="while you were asked; nothing was restored"):
        restore(act)


def test_while_it_acts_nobody_else_does(restore: Restore, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[HostLockedError] = []

    def carry_out(*_: object, **__: object) -> None:
        with pytest.raises(HostLockedError) as error, only_change():
            pass
        refused.append(error.value)

    monkeypatch.setattr(module, "_carry_out", carry_out)
    restore(lambda: True)
    assert refused
