"""The production model's files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from ops.finding import Evidence, Finding, Severity, check, quote
from ops.language import Text
from ops.snapshot import Backend, Exchange, ModelFiles, NotSeen, Target
from ops.topology.answers import serves


@check(
    "model.directory", "MOD001", "MOD002", "MOD003", en="the model's files are in place", zh="模型文件就位"
)
def directory(model: ModelFiles, target: Target, backend: Backend | NotSeen) -> Iterator[Finding]:
    """MOD001 missing, MOD002 one directory too deep, MOD003 still an archive. Warn where another engine serves."""
    severity: Severity | None = (
        None if isinstance(backend, NotSeen) or not _is_ready(backend, target) else "warn"
    )
    if not model.exists or (model.is_directory and not model.entries):
        if model.archives:
            archive = model.archives[0]
            yield Finding(
                "MOD003",
                (
                    Evidence(archive, Text(en="an archive", zh="压缩包")),
                    Evidence(
                        model.path,
                        Text(en="empty", zh="空目录")
                        if model.exists
                        else Text(en="does not exist", zh="不存在"),
                    ),
                ),
                {"archive": archive},
                severity=severity,
            )
            return
        if not model.exists:
            yield Finding("MOD001", (quote(model.path, "No such file or directory"),), severity=severity)
        return
    if model.nested and not model.has_config:
        nested = str(PurePosixPath(model.path) / PurePosixPath(model.path).name)
        yield Finding(
            "MOD002", (quote("ls", f"{nested}/config.json"),), {"nested_dir": nested}, severity=severity
        )


def _is_ready(backend: Backend, target: Target) -> bool:
    """Whether /ready says so; where there is no such path, whether a prediction comes."""
    if isinstance(backend.ready, Exchange) and backend.ready.status == 200:
        return True
    unknown = not isinstance(backend.ready, Exchange) or backend.ready.status == 404
    return unknown and serves(backend, target)


CHECKS = (directory,)
