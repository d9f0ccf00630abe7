"""How each remedy is undone: by the run itself, by a person's command, or not at all. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

from ops.diagnosis.steps import with_settings
from ops.repair.model import (
    Action,
    ChangeMode,
    Continue,
    CreateBackup,
    EditGunicorn,
    EditNginx,
    EndWorker,
    ExchangeFiles,
    InstallRotation,
    MendPidfile,
    ReloadGunicorn,
    ReloadNginx,
    Remedy,
    ReopenLogs,
    RestartGunicorn,
    StartGunicorn,
    StartNginx,
)
from ops.text.language import Text, verbatim

_SYSTEMCTL_START = "systemctl start "


class UndoKind(StrEnum):
    """Who undoes a remedy. The values are those of the JSON report."""

    AUTOMATIC = "automatic"
    """The run itself, if the remedy does not help."""
    BY_HAND = "by_hand"
    NOTHING = "nothing"
    """It leaves nothing behind that could be undone."""
    IMPOSSIBLE = "impossible"


@dataclass(frozen=True)
class Undo:
    """How a remedy is undone. ``commands``: what a person types for that, if commands do it."""

    kind: UndoKind
    words: Text
    commands: tuple[str, ...] = ()


_EXCHANGED = Text(
    en="if it does not help, every file is put back by itself; the changed ones are kept in any case",
    zh="没有效果就自动换回；改动过的文件无论如何都会保留一份",
)
_ENDED = Text(
    en="cannot be undone: the ended processes and the requests in them are lost; their stacks and logs are kept first",
    zh="无法撤销：被结束的进程及其处理中的请求不会恢复；结束前会先保存它们的调用栈和日志",
)
_PIDFILE_TOO = Text(
    en=f"{_ENDED.en}. A pidfile that they leave behind is removed; the new process writes its own",
    zh=f"{_ENDED.zh}。它们留下的 pidfile 会被删除，由新进程重新写入",
)
_LOADED = Text(
    en="what is loaded stays loaded: to undo it, put the former files back and reload once more",
    zh="已加载的内容会一直有效：要撤销，请恢复原来的文件，再重新加载一次",
)


def undo(remedy: Remedy, copies: Sequence[str] = ()) -> Undo | None:
    """How ``remedy`` is undone; None if it does nothing. ``copies``: the kept files, once it is applied."""
    if remedy.action is None:
        return None
    way = _undo(remedy.action, remedy.commands, copies)
    commands = (with_settings(verbatim(words), remedy.settings_file).en for words in way.commands)
    return replace(way, commands=tuple(commands))


def _undo(action: Action, commands: Sequence[str], copies: Sequence[str]) -> Undo:
    match action:
        case ExchangeFiles() | EditNginx() | EditGunicorn():
            return Undo(UndoKind.AUTOMATIC, _EXCHANGED)
        case RestartGunicorn():
            return Undo(UndoKind.IMPOSSIBLE, _PIDFILE_TOO)
        case EndWorker():
            return Undo(UndoKind.IMPOSSIBLE, _ENDED)
        case ReloadGunicorn() | ReloadNginx():
            return Undo(UndoKind.BY_HAND, _LOADED)
        case StartGunicorn():
            return Undo(
                UndoKind.BY_HAND, Text(en="stop it again", zh="再停止即可"), ("gte-ops service stop",)
            )
        case StartNginx():
            return Undo(
                UndoKind.BY_HAND,
                Text(en="stop it again", zh="再停止即可"),
                tuple(_nginx_stop(words) for words in commands[-1:]),
            )
        case Continue():
            pids = " ".join(str(process.pid) for process in action.processes)
            return Undo(
                UndoKind.BY_HAND, Text(en="suspend them again", zh="再次暂停即可"), (f"kill -STOP {pids}",)
            )
        case ReopenLogs():
            words = Text(
                en="nothing to undo: the former file keeps its lines", zh="无需撤销：原文件里的日志仍在"
            )
            return Undo(UndoKind.NOTHING, words)
        case CreateBackup():
            words = Text(en="nothing to undo: it adds a file", zh="无需撤销：只是多了一个文件")
            return Undo(UndoKind.NOTHING, words)
        case MendPidfile():
            return _pidfile(action)
        case ChangeMode():
            command = f"chmod {action.before:04o} {shlex.quote(action.path)}"
            return Undo(
                UndoKind.BY_HAND, Text(en="give the former mode back", zh="恢复原来的权限"), (command,)
            )
        case InstallRotation():
            return _rotation(action, copies)
        case _:
            assert_never(action)


def _nginx_stop(start: str) -> str:
    """The command that stops what ``start`` starts."""
    unit = start.removeprefix(_SYSTEMCTL_START)
    return f"systemctl stop {unit}" if unit != start else f"{start} -s quit"


def _pidfile(action: MendPidfile) -> Undo:
    """Root prints no command that writes to a file which another user named."""
    command = f"echo {action.number} > {shlex.quote(action.path)}"
    return Undo(
        UndoKind.BY_HAND,
        Text(
            en=f"write the former number, {action.number}, back: it is no process of this service",
            zh=f"写回原来的进程号 {action.number}：它并不是本服务的进程",
        ),
        (command,) if action.namer is None else (),
    )


def _rotation(action: InstallRotation, copies: Sequence[str]) -> Undo:
    new = [file.path for file in action.files if file.present is None]
    replaced = [file.path for file in action.files if file.present is not None]
    commands = [f"rm -- {shlex.quote(path)}" for path in new]
    commands += [
        f"mv -- {shlex.quote(copy)} {shlex.quote(path)}" for copy, path in zip(copies, replaced, strict=False)
    ]
    return Undo(
        UndoKind.BY_HAND,
        Text(
            en="remove the new rule; a rule that it replaced is kept beside it: move that back",
            zh="删除新规则；被替换的规则保留在旁边，移回即可",
        ),
        tuple(commands),
    )
