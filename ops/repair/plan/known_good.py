"""Put back what was good: the remedy of a cause whose proof contains a changed file. Pure."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Sequence

import msgspec

from ops.backups.restore.difference import content_difference
from ops.facts.changes import Change, PlaceKind
from ops.facts.nginx import NginxConfig
from ops.files.entry_kind import EntryKind
from ops.repair.model import ExchangeFiles, PackageVersion, Remedy, Replacement, Safety
from ops.repair.plan.case import Case
from ops.text.language import Text
from ops.text.sanitize import safe_line
from ops.text.timestamps import local_time

# A change made so short a time ago, seconds, is still somebody's work in hand.
MINUTES_AGO = 3600.0
# Programs whose changes are nobody's decision about this very file.
_PROGRAMS = ("certbot", "dpkg", "apt", "rpm")
_OF_NGINX = (PlaceKind.NGINX, PlaceKind.CERTIFICATE)
_OF_GUNICORN = (
    PlaceKind.GUNICORN,
    PlaceKind.COMMAND,
    PlaceKind.UNIT,
    PlaceKind.ENVIRONMENT_FILE,
    PlaceKind.APPLICATION,
    PlaceKind.MODEL,
)
_LAYERS_OF_GUNICORN = ("GUN", "APP", "ENV", "MOD")
_MAX_NAMED = 3
_INTERRUPTS = Text(
    en="the service is restarted while it serves: requests in progress are lost",
    zh="服务正常时会被重启，处理中的请求会丢失",
)
_SERVED = Text(en="users are served now", zh="用户目前正常")


def put_back(case: Case) -> Iterator[Remedy]:
    """The remedy for the changes that belong to the cause's proof; none if their former content is nowhere."""
    former_files = case.context.known_good
    changes = [
        item.change
        for item in case.context.changes
        if case.cause.code in item.fits and item.change.what in former_files
    ]
    if any(change.place is PlaceKind.CERTIFICATE for change in changes):
        # A certificate and its key go together.
        others = (item.change for item in case.context.changes if case.cause.code not in item.fits)
        changes += [c for c in others if c.place is PlaceKind.CERTIFICATE and c.what in former_files]
    files = tuple({file.path: file for change in changes for file in former_files[change.what]}.values())
    if not files:
        yield from _start_as_before(case)
        yield from _install_as_before(case)
        return
    nginx = any(change.place in _OF_NGINX for change in changes)
    gunicorn = any(change.place in _OF_GUNICORN for change in changes) or (
        # gte-ops.toml says how the service is started.
        case.cause.code.startswith(_LAYERS_OF_GUNICORN)
        and any(change.place is PlaceKind.SETTINGS for change in changes)
    )
    lines = [line for file in files for line in replacement_lines(file)]
    if nginx and case.untested is not None and not _mends_distrust(case, files):
        yield case.by_hand(case.untested, lines)
        return
    is_served = case.cause.severity != "fail"
    risk = _risk(changes, case, is_served=is_served, gunicorn=gunicorn)
    yield case.remedy(
        Safety.RISKY if risk else Safety.SAFE,
        ExchangeFiles(files, nginx, gunicorn, interrupts=is_served),
        _what(files, changes, case),
        risk=risk,
        diff=lines,
    )


def _start_as_before(case: Case) -> Iterator[Remedy]:
    """The service runs with another command line than its start command gives it: restart it with that."""
    fitting = [item.change for item in case.context.changes if case.cause.code in item.fits]
    commands = [change for change in fitting if change.place is PlaceKind.COMMAND]
    if not commands or case.context.start is None:
        return
    made = _made(commands[-1], case)
    yield case.remedy(
        Safety.RISKY,
        ExchangeFiles((), nginx=False, gunicorn=True, interrupts=case.cause.severity != "fail"),
        Text(
            en=f"restart the service with its start command: its command line has changed ({made.en})",
            zh=f"用启动命令重启服务：它的命令行已改变（{made.zh}）",
        ),
        risk=_INTERRUPTS,
        commands=(case.context.start,),
    )


def _install_as_before(case: Case) -> Iterator[Remedy]:
    """Packages of the service's environment that are gone, or of another version: install what the baseline had."""
    packages = tuple(
        PackageVersion(item.change.what, item.change.before, item.change.after)
        for item in case.context.changes
        if case.cause.code in item.fits and item.change.place is PlaceKind.PACKAGE and item.change.before
    )
    if not packages:
        return
    python = case.target.python
    wanted = [f"{package.name}=={package.version}" for package in packages]
    yield case.remedy(
        Safety.RISKY,
        ExchangeFiles(
            (),
            nginx=False,
            gunicorn=True,
            interrupts=case.cause.severity != "fail",
            packages=packages,
            python=python,
        ),
        Text(
            en=f"install {', '.join(wanted)} with {python}, as the baseline had it, and restart the service",
            zh=f"用 {python} 安装 {'、'.join(wanted)}（基线中的版本），再重启服务",
        ),
        risk=Text(
            en="it takes the package from the network, as pip is configured here",
            zh="会按本机 pip 的配置从网络获取软件包",
        ),
        commands=tuple(
            f"{shlex.quote(python)} -m pip install --no-deps {shlex.quote(words)}" for words in wanted
        ),
    )


def _mends_distrust(case: Case, files: Sequence[Replacement]) -> bool:
    """Whether what root does not trust is a file that is put back: nginx is run after that alone."""
    config = case.snapshot.nginx_config
    why = config.distrusted if isinstance(config, NginxConfig) else None
    return why is not None and any(f"{file.path} " in f"{why} " for file in files)


def _what(files: Sequence[Replacement], changes: Sequence[Change], case: Case) -> Text:
    paths = [safe_line(file.path) for file in files[:_MAX_NAMED]]
    more = len(files) - len(paths)
    sources = dict.fromkeys((file.source.en, file.source.zh) for file in files)
    descriptions = [_made(change, case) for change in changes[:_MAX_NAMED]]
    return Text(
        en=f"put back {', '.join(paths)}{f' and {more} more' if more else ''} as it was while the service was healthy"
        f" ({', '.join(en for en, _ in sources)}); changed {', '.join(words.en for words in descriptions)}",
        zh=f"恢复 {'、'.join(paths)}{f' 等 {len(files)} 个文件' if more else ''} 到服务正常时的内容"
        f"（{'、'.join(zh for _, zh in sources)}）；改动：{'、'.join(words.zh for words in descriptions)}",
    )


def _made(change: Change, case: Case) -> Text:
    """When a change was made, and by whom."""
    at = (
        local_time(change.time, case.context.utc_offset).strftime("%Y-%m-%d %H:%M:%S")
        if change.time is not None
        else ""
    )
    by = safe_line(change.by)
    return Text(
        en=f"{at or 'at an unknown time'} by {by or 'an unknown hand'}",
        zh=f"{at or '时间不详'}，{by or '不知由谁'}",
    )


def _risk(changes: Sequence[Change], case: Case, *, is_served: bool, gunicorn: bool) -> Text | None:
    """Why putting back is risky; None if the changes are old or a program's own, and users are affected."""
    recent = [
        change
        for change in changes
        if not change.by.startswith(_PROGRAMS)
        and (change.time is None or case.context.now - _placed(change, case) < MINUTES_AGO)
    ]
    if recent:
        last = recent[-1]
        if last.time is not None:
            last = msgspec.structs.replace(last, time=_placed(last, case))
        description = _made(last, case)
        return Text(en=f"it undoes what was changed {description.en}", zh=f"会撤销这次改动：{description.zh}")
    if is_served:
        return _INTERRUPTS if gunicorn else _SERVED
    return None


def _placed(change: Change, case: Case) -> float:
    """When the file came to its place: one that was moved there, or copied with its times, was written earlier."""
    return max(change.time or 0.0, case.context.placed.get(change.what, 0.0))


def replacement_lines(file: Replacement) -> Iterator[str]:
    """The change of one file as lines of a diff, without secrets; a sentence where the content is not shown."""
    path = safe_line(file.path)
    if file.entry is None:
        yield f"--- {path} (now)"
        yield "+++ /dev/null"
        return
    if file.entry.kind is EntryKind.LINK:
        yield f"--- {path} (now)"
        yield f"+++ {path} -> {safe_line(file.entry.target)}"
        return
    if file.content == file.present:
        yield f"+++ {path}: mode {file.entry.mode:04o}, owner {file.entry.uid}:{file.entry.gid}"
        return
    shown = content_difference(
        path, file.present or b"", file.content, (file.entry.mode,), source=file.source.en
    )
    for line in shown:
        # What is not shown is shown by its hashes.
        yield line if isinstance(line, str) else f"{path}: {_hash(file.present)} -> {_hash(file.content)}"


def _hash(content: bytes | None) -> str:
    return f"SHA-256 {hashlib.sha256(content).hexdigest()[:12]}" if content is not None else "-"
