"""Judges of the production model's files."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import PurePosixPath

from ops.diagnosis.finding import Evidence, Finding, NotJudgedError, Severity, check, quote
from ops.facts.base import NotSeen
from ops.facts.files import ModelAccess, ModelFile, ModelFiles, ModelProblem
from ops.facts.host import Processes
from ops.facts.probes import Activity, Backend, Exchange
from ops.facts.target import Target
from ops.interpret.access import READ, SEARCH, may
from ops.interpret.service_name import serves
from ops.text.duration import age, age_zh
from ops.text.language import Text
from ops.text.sanitize import safe_line


@check(
    "model.directory", "MOD001", "MOD002", "MOD003", en="the model's files are in place", zh="模型文件就位"
)
def directory(model: ModelFiles, target: Target, backend: Backend | NotSeen) -> Iterator[Finding]:
    """MOD001: missing. MOD002: one directory too deep. MOD003: still an archive. A warning if another engine serves."""
    severity = _severity(backend, target)
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
                fix=_unpacked(archive, target),
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


def _unpacked(archive: str, target: Target) -> tuple[str | Text, ...] | None:
    """The commands that unpack an archive, whether or not its files lie below a directory; None for the catalogue's."""
    if target.model_dir is None:
        return None
    source, directory = shlex.quote(archive), shlex.quote(target.model_dir)
    unpack = (
        f"{target.python_command or 'python3'} -m zipfile -e {source} {directory}"
        if archive.endswith(".zip")
        else f"tar --no-same-owner -xf {source} -C {directory}"
    )
    return (
        f"mkdir -p -- {directory} && {unpack}",
        f"[ -e {directory}/config.json ] || find {directory} -mindepth 2 -maxdepth 2 -exec mv -t {directory} -- {{}} +",
        target.restart_command,
    )


@check("model.access", "MOD004", en="the service may read the model", zh="服务有权读取模型")
def access(model_access: ModelAccess, target: Target, backend: Backend | NotSeen) -> Iterator[Finding]:
    """MOD004: the mode bits deny the service's user a file of the model, or a directory on its path."""
    reader = model_access.reader
    verdicts = [
        (step, may(reader, step, SEARCH if step.is_directory else READ)) for step in model_access.steps
    ]
    denied = next((step for step, permission in verdicts if permission is False), None)
    if denied is not None:
        right = Text(en="search", zh="进入") if denied.is_directory else Text(en="read", zh="读取")
        yield Finding(
            "MOD004",
            (
                quote(f"stat {denied.path}", f"{denied.mode:04o}, uid {denied.uid}, gid {denied.gid}"),
                Evidence(
                    f"pid {reader.pid}" if reader.pid else "systemd",
                    Text(
                        en=f"runs as {reader.user} (uid {reader.uid}, groups {_listed(reader.gids)}), "
                        f"which may not {right.en} it",
                        zh=f"以 {reader.user}（uid {reader.uid}，组 {_listed(reader.gids)}）运行，无权{right.zh}",
                    ),
                ),
            ),
            {"path": denied.path, "user": reader.user},
            severity=_severity(backend, target),
        )
        return
    unclear = next((step for step, permission in verdicts if permission is None), None)
    if unclear is not None:
        raise NotJudgedError(NotSeen(reason=f"{unclear.path} has an access control list (see getfacl)"))
    if not model_access.complete:
        raise NotJudgedError(NotSeen(reason="the whole way to the model's files", needs_root=True))


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers[:8]))


_PROBLEMS = {
    ModelProblem.EMPTY: Text(en="it is empty (0 bytes)", zh="是空文件（0 字节）"),
    ModelProblem.LFS_POINTER: Text(
        en="it is a Git LFS pointer, not the content", zh="只是 Git LFS 指针文件，不是真正的内容"
    ),
    ModelProblem.TRUNCATED: Text(en="it is cut off", zh="内容不完整，被截断"),
    ModelProblem.OVERLONG: Text(en="it is longer than its header says", zh="比文件头声明的要长"),
    ModelProblem.NOT_JSON: Text(en="it is not valid JSON", zh="不是合法的 JSON"),
    ModelProblem.ABSENT: Text(en="it is not there", zh="文件不存在"),
}


@check("model.files", "MOD005", en="the model's files are complete", zh="模型文件完整")
def files(model: ModelFiles, target: Target, backend: Backend | NotSeen) -> Iterator[Finding]:
    """MOD005: a file is empty, a Git LFS pointer, not as long as its header says, not JSON, or absent but indexed."""
    broken = [(file, _words(file, file.problem)) for file in model.files if file.problem in _PROBLEMS]
    if broken:
        first, words = broken[0]
        yield Finding(
            "MOD005",
            tuple(Evidence(file.path, problem) for file, problem in broken[:8]),
            {"path": first.path, "problem": words.en},
            summary=Text(
                en=f"Model file {first.path}: {words.en}.", zh=f"模型文件 {first.path} 有问题：{words.zh}。"
            ),
            severity=_severity(backend, target),
            fix=_fetched_again(first, words, target),
        )
        return
    unread = next((file for file in model.files if file.problem is ModelProblem.UNREADABLE), None)
    if unread is not None:
        raise NotJudgedError(NotSeen(reason=f"{unread.path}: {unread.detail}", needs_root=True))


def _fetched_again(file: ModelFile, problem: Text, target: Target) -> tuple[str | Text, ...]:
    """The steps to download a file of the model again from the model's source."""
    directory = target.model_dir or str(PurePosixPath(file.path).parent)
    name = (
        str(PurePosixPath(file.path).relative_to(directory)) if file.path.startswith(directory) else file.path
    )
    hub, _, model = (target.model_source or "").partition(":")
    fetch: str | Text
    if file.problem is ModelProblem.LFS_POINTER:
        fetch = f"git -C {shlex.quote(directory)} lfs pull --include {shlex.quote(name)}"
    elif hub == "modelscope":
        words = (model, shlex.quote(name), shlex.quote(directory))
        fetch = "modelscope download --model {} {} --local_dir {}".format(*map(str, words))
    elif hub == "huggingface":
        fetch = f"hf download {shlex.quote(model)} {shlex.quote(name)} --local-dir {shlex.quote(directory)}"
    else:
        source = target.model_source
        en = (
            f" from {source.rstrip('/')}/{name}"
            if source
            else "; gte-ops does not know the source: set model.source in gte-ops.toml"
        )
        zh = (
            f"：{source.rstrip('/')}/{name}"
            if source
            else "；gte-ops 不知道下载来源：请在 gte-ops.toml 里设置 model.source"
        )
        fetch = Text(
            en=f"Fetch {file.path} again ({problem.en}){en}", zh=f"重新下载 {file.path}（{problem.zh}）{zh}"
        )
    compare = Text(
        en="Save it under another name, compare size and SHA-256 with the source's, then rename it",
        zh="先存成别的文件名，与来源处的大小和 SHA-256 核对后再改名",
    )
    by_hub = isinstance(fetch, str)
    return (fetch, *(() if by_hub else (compare,)), target.restart_command)


def _words(file: ModelFile, problem: ModelProblem) -> Text:
    words = _PROBLEMS[problem]
    more = f" ({file.detail})" if file.detail else ""
    return Text(en=words.en + more, zh=words.zh + more)


# Reasons of /ready (contract, service.md) that waiting does not resolve.
_LASTING = ("model_missing", "load_failed")


@check("model.loaded", "MOD006", en="the service has loaded its model", zh="服务已加载模型")
def loaded(
    target: Target,
    backend: Backend,
    processes: Processes | NotSeen,
    activity: Activity | NotSeen,
    taken_at: float,
) -> Iterator[Finding]:
    """MOD006: /ready reports that the model is missing or failed to load, or still loads it after the boot deadline.

    A worker that is booting by its own record is GUN017."""
    answer = backend.ready
    document = answer.json() if isinstance(answer, Exchange) and answer.status == 503 else None
    if not isinstance(answer, Exchange) or not isinstance(document, dict):
        return
    reason = str(document.get("reason") or "")
    evidence = [quote(f"GET {target.backend}{target.ready_path}", f"503 {answer.body.strip()}"[:300])]
    if reason == "loading":
        workers = (
            []
            if isinstance(processes, NotSeen)
            else [p for p in processes.processes if p.pid in target.gunicorn_workers]
        )
        youngest = min((taken_at - worker.started for worker in workers), default=0.0)
        records = () if isinstance(activity, NotSeen) else activity.progress
        if youngest <= target.boot_deadline or any(record.phase == "booting" for record in records):
            return
        evidence.append(
            Evidence(
                "ps",
                Text(
                    en=f"every worker has run for {age(youngest)} or longer",
                    zh=f"每个工作进程都已运行 {age_zh(youngest)}以上",
                ),
            )
        )
    elif reason not in _LASTING:
        return
    detail = str(document.get("detail") or "")
    yield Finding(
        "MOD006",
        tuple(evidence),
        {"reason": safe_line(f"{reason}: {detail}" if detail else reason, 200)},
    )


def _severity(backend: Backend | NotSeen, target: Target) -> Severity | None:
    """WARN if the service is ready nevertheless: another engine serves."""
    return None if isinstance(backend, NotSeen) or not _is_ready(backend, target) else Severity.WARN


def _is_ready(backend: Backend, target: Target) -> bool:
    """Whether /ready answers 200; if there is no such path, whether a prediction is answered."""
    if isinstance(backend.ready, Exchange) and backend.ready.status == 200:
        return True
    unknown = not isinstance(backend.ready, Exchange) or backend.ready.status == 404
    return unknown and serves(backend, target)


CHECKS = (directory, access, files, loaded)
