"""What `gte-ops baseline` and `gte-ops deploy` report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from ops.baselines.state import Baseline, Mark
from ops.baselines.store import Stored
from ops.diagnosis.model import RankedChange, Status
from ops.facts.changes import Change, PlaceKind
from ops.report.changes import BY, all_changes, change_document, moment
from ops.report.model import CommandReport, ReportLine
from ops.report.sentences import sentence
from ops.text.language import Language, Text

KINDS: dict[PlaceKind, Text] = {
    PlaceKind.NGINX: Text(en="nginx's configuration", zh="nginx 配置"),
    PlaceKind.CERTIFICATE: Text(en="certificates and keys", zh="证书与私钥"),
    PlaceKind.RENEWAL: Text(en="certbot's settings", zh="certbot 设置"),
    PlaceKind.GUNICORN: Text(en="gunicorn's configuration", zh="gunicorn 配置"),
    PlaceKind.COMMAND: Text(en="start command", zh="启动命令"),
    PlaceKind.UNIT: Text(en="systemd units", zh="systemd unit"),
    PlaceKind.ENVIRONMENT_FILE: Text(en="environment files", zh="环境变量文件"),
    PlaceKind.APPLICATION: Text(en="application", zh="应用代码"),
    PlaceKind.MODEL: Text(en="model", zh="模型"),
    PlaceKind.PACKAGE: Text(en="Python packages", zh="Python 包"),
    PlaceKind.HOST_PACKAGE: Text(en="the host's packages", zh="系统软件包"),
    PlaceKind.HOST: Text(en="host", zh="主机"),
    PlaceKind.ADDRESS: Text(en="address of the name", zh="域名地址"),
    PlaceKind.CRON: Text(en="cron", zh="cron"),
    PlaceKind.LOGROTATE: Text(en="logrotate", zh="logrotate"),
    PlaceKind.SETTINGS: Text(en="gte-ops.toml", zh="gte-ops.toml"),
}
_STATE = Text(
    en="taken {taken}, last healthy {confirmed}, by {by}; files: {files}",
    zh="记录于 {taken}，最后健康于 {confirmed}，由 {by} 记录：{files} 个文件",
)
_NO_STATE = Text(
    en="no baseline is kept yet: gte-ops baseline accept records one while the service is healthy",
    zh="还没有基线：服务健康时运行 gte-ops baseline accept 即可记录",
)
_ACCEPTED = Text(en="baseline {number} recorded; files: {files}", zh="已记录基线 {number}：{files} 个文件")
_PENDING = Text(
    en="{path} was changed and is not loaded yet: its former content stays in the baseline",
    zh="{path} 已改动但尚未加载：基线中仍是原来的内容",
)
_REFUSED = Text(
    en="not recorded: the service is not healthy now; gte-ops doctor says why, --force records it all the same",
    zh="未记录：服务目前不健康；原因见 gte-ops doctor，--force 可强制记录",
)
_FILES = Text(en="files: {}", zh="{} 个文件")
_DEPLOYMENT = Text(en="deploy", zh="部署")
_MARKED = Text(en="deployment marked: {}", zh="已标记部署：{}")


def _offset() -> int:
    return time.localtime().tm_gmtoff


class BaselineListReport(CommandReport):
    """The states that are kept, the newest first, and the marked deployments."""

    command = "baseline list"

    def __init__(self, states: Sequence[Stored], marks: Sequence[Mark]) -> None:
        self._states, self._marks = states, marks

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """A line for each."""
        if not self._states:
            yield ReportLine(_NO_STATE.to(language))
        for stored in self._states:
            yield _state_line(stored, language)
        for mark in reversed(self._marks[-10:]):
            words = sentence(f"{mark.text} {f'({mark.by})' if mark.by else ''}", language)
            yield ReportLine(words, lead=f"{_DEPLOYMENT.to(language)}  {moment(mark.time, _offset())}  ")

    def document(self, language: Language) -> dict[str, Any]:
        """``baselines``: number, id, times (Unix seconds), by, files; ``deployments``: time, text, by."""
        return {
            "baselines": [_state_document(stored) for stored in self._states],
            "deployments": [
                {"time": mark.time, "text": sentence(mark.text, language), "by": sentence(mark.by, language)}
                for mark in self._marks
            ],
        }


class BaselineReport(CommandReport):
    """One state: how many files of each kind, and the values."""

    command = "baseline show"

    def __init__(self, stored: Stored) -> None:
        self._stored = stored

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """Files by kind, then values."""
        yield _state_line(self._stored, language)
        baseline = self._stored.baseline
        for kind in PlaceKind:
            paths = [path for path, file in baseline.files.items() if file.place is kind]
            values = baseline.values.get(kind, {})
            if paths or values:
                count = _FILES.to(language).format(len(paths)) if paths else ""
                yield ReportLine(count, lead=f"{KINDS[kind].to(language)}  ", lead_style="bold")
            for path in sorted(paths)[:40]:
                yield ReportLine(sentence(path, language), indent=3, is_verbatim=True)
            for name, value in sorted(values.items())[:40]:
                yield ReportLine(sentence(f"{name} = {value}", language), indent=3)
        yield from _ordinary_lines(baseline, language)

    def document(self, language: Language) -> dict[str, Any]:
        """``files``: by path: place, mode, owner, modified, sha256; ``values``; ``ordinary``."""
        baseline = self._stored.baseline
        return _state_document(self._stored) | {
            "files": {
                sentence(path, language): {
                    "place": file.place,
                    "mode": f"{file.mode:04o}",
                    "uid": file.uid,
                    "gid": file.gid,
                    "modified": file.mtime / 1e9,
                    "sha256": file.digest,
                    "content_kept": file.is_kept,
                }
                for path, file in baseline.files.items()
            },
            "values": {
                kind: {sentence(name, language): sentence(value, language) for name, value in values.items()}
                for kind, values in baseline.values.items()
            },
            "ordinary": {
                "load": baseline.ordinary.load,
                "health_seconds": baseline.ordinary.health_seconds,
                "predict_seconds": baseline.ordinary.predict_seconds,
            },
        }


class BaselineDiffReport(CommandReport):
    """What differs, with every changed line that is kept. Exit code and status are of no judgement."""

    command = "baseline diff"

    def __init__(self, before: Stored, changes: Sequence[Change]) -> None:
        self._before = before
        self._changes = tuple(RankedChange(change) for change in changes)

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """The state that is compared with, then each change."""
        yield _state_line(self._before, language)
        yield from all_changes(self._changes, _offset(), language)

    def document(self, language: Language) -> dict[str, Any]:
        """``baseline``, and ``changes`` as in the doctor's document."""
        return {
            "baseline": _state_document(self._before),
            "changes": [change_document(item, _offset(), language) for item in self._changes],
        }


class BaselineAcceptReport(CommandReport):
    """What `gte-ops baseline accept` recorded. ``stored`` None: nothing, because the service is not healthy."""

    command = "baseline accept"

    def __init__(self, stored: Stored | None, pending: Sequence[str] = ()) -> None:
        self._stored, self._pending = stored, pending

    @property
    def status(self) -> Status:
        """FAIL where nothing was recorded."""
        return Status.FAIL if self._stored is None else Status.OK

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """What was recorded, and which files are not loaded yet."""
        if self._stored is None:
            yield ReportLine(_REFUSED.to(language))
            return
        files = len(self._stored.baseline.files)
        yield ReportLine(_ACCEPTED.to(language).format(number=self._stored.number, files=files))
        for path in self._pending:
            yield ReportLine(sentence(_PENDING.to(language).format(path=path), language))

    def document(self, language: Language) -> dict[str, Any]:
        """``recorded``, the state, and ``not_loaded``: paths."""
        return {
            "recorded": self._stored is not None,
            "baseline": None if self._stored is None else _state_document(self._stored),
            "not_loaded": [sentence(path, language) for path in self._pending],
        }


class DeployMarkReport(CommandReport):
    """A deployment that was marked."""

    command = "deploy mark"

    def __init__(self, mark: Mark) -> None:
        self._mark = mark

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """One line."""
        words = f"{moment(self._mark.time, _offset())} {self._mark.text}".strip()
        yield ReportLine(sentence(_MARKED.to(language).format(words), language))

    def document(self, language: Language) -> dict[str, Any]:
        """The mark."""
        mark = self._mark
        return {"time": mark.time, "text": sentence(mark.text, language), "by": sentence(mark.by, language)}


def _state_line(stored: Stored, language: Language) -> ReportLine:
    baseline = stored.baseline
    words = _STATE.to(language).format(
        taken=moment(baseline.taken_at, _offset()),
        confirmed=moment(stored.confirmed_at, _offset()),
        by=BY.get(baseline.by, Text(en=baseline.by, zh=baseline.by)).to(language),
        files=len(baseline.files),
    )
    return ReportLine(sentence(words, language), lead=f"{stored.number}  ", lead_style="bold")


def _state_document(stored: Stored) -> dict[str, Any]:
    return {
        "number": stored.number,
        "id": stored.id,
        "taken_at": stored.baseline.taken_at,
        "confirmed_at": stored.confirmed_at,
        "by": stored.baseline.by,
        "file_count": len(stored.baseline.files),
    }


def _ordinary_lines(baseline: Baseline, language: Language) -> Iterator[ReportLine]:
    usual = baseline.ordinary
    for name, value in (
        (Text(en="load", zh="负载"), usual.load),
        (Text(en="/health, seconds", zh="/health 用时（秒）"), usual.health_seconds),
        (Text(en="prediction, seconds", zh="预测用时（秒）"), usual.predict_seconds),
    ):
        if value is not None:
            yield ReportLine(f"{value:g}", lead=f"{name.to(language)}  ", lead_style="bold")
