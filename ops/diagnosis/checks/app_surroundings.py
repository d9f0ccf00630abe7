"""Exceptions whose cause is not the line that raises them, by their own words."""

from __future__ import annotations

import re

from ops.diagnosis.checks.app_files import FileRefusal
from ops.facts.target import Target
from ops.interpret.exception_words import ExceptionKind, kind_of, known_kinds
from ops.text.language import Text

# What a connection's peer does, or its encryption, when two processes write to the one connection.
_OF_A_SHARED_CONNECTION = ExceptionKind(
    re.compile(
        r"(?i)bad.record.mac|decryption failed|SSL SYSCALL|SSLEOFError|EOF occurred in violation|lost synchronization"
        r"|packet sequence number|out of sync"
    ),
    Text(
        en="the workers most likely share one connection: preload_app is on, so what the application opens while it is"
        " imported was opened before the fork, once for all",
        zh="工作进程很可能共用同一条连接：preload_app 开着，应用导入时打开的连接在派生之前只建立了一次",
    ),
    Text(
        en="Have each worker open its own: take preload_app (--preload) out, or close what was opened in gunicorn's"
        " post_fork (SQLAlchemy: engine.dispose(close=False); Django: connections.close_all()), or connect at the first"
        " request",
        zh="让每个工作进程自己建立连接：去掉 preload_app（--preload），或在 gunicorn 的 post_fork 里关掉继承的连接"
        "（SQLAlchemy：engine.dispose(close=False)；Django：connections.close_all()），或在首个请求时再连接",
    ),
)


def surroundings(exception: str, target: Target, *, is_preloaded: bool = False) -> FileRefusal | None:
    """Return what is wrong around the code by ``exception``'s own words; None if they speak of nothing known.
    ``is_preloaded``: the master loads the application before it forks."""
    kinds = (*known_kinds(), _OF_A_SHARED_CONNECTION) if is_preloaded else known_kinds()
    kind = kind_of(exception, kinds)
    if kind is None:
        return None
    return FileRefusal((), kind.what, (kind.step, target.restart_command))
