"""A report of every command, made by hand: with long paths, Chinese names, warnings and details."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from ops.archive.listing import ListedBackup
from ops.archive.manifest import Manifest, RequestedPath
from ops.archive.name import ArchiveName
from ops.backup import BackupOutcome
from ops.backups.create import Created
from ops.backups.drill import Drill
from ops.backups.restore.plan import Difference
from ops.backups.restore.run import Preview, PreviewLine, RestoreOutcome
from ops.backups.scan import Survey
from ops.backups.signature import SignatureCheck, SignatureState
from ops.backups.verify import Verified
from ops.baselines.state import Baseline, FileState, Mark, Ordinary
from ops.baselines.store import Stored
from ops.collect.nginx_route import RoutingFacts, compute_route
from ops.deployment.install import FileChange, Installed
from ops.deployment.render import RenderedFile
from ops.diagnosis.checklist import ConfirmationState, Confirmed, Preflight, PreflightItem
from ops.diagnosis.site_causes_file import parse_site_causes
from ops.drain import DrainAction, DrainResult
from ops.facts.base import NotSeen
from ops.facts.changes import Change, ChangedLines, ChangeKind, PlaceKind
from ops.facts.nginx import NginxConfig
from ops.facts.site_causes import ProofObservation
from ops.facts.status import Status
from ops.facts.target import Target
from ops.facts.timeline import EventKind, Gap, MinuteTraffic, TimelineEvent
from ops.installation.run import InstallResult, UninstallResult
from ops.installation.steps import (
    Assessed,
    EnableStep,
    FileStep,
    Original,
    Phase,
    StepState,
    UndoEnable,
    UndoFile,
)
from ops.interpret.routing.request import named_request
from ops.interpret.timeline import merged
from ops.notifications.message import MessageKind
from ops.notifications.notify import Delivery
from ops.repair.model import Outcome, Remedy, RemedyResult, Repair, Safety, StartGunicorn
from ops.report.backup import (
    BackupListReport,
    BackupPlanReport,
    CreatedReport,
    PinReport,
    PruneReport,
    VerifyReport,
)
from ops.report.baseline import (
    BaselineAcceptReport,
    BaselineDiffReport,
    BaselineListReport,
    BaselineReport,
    DeployMarkReport,
)
from ops.report.causes import CausesCheckReport, CausesTestReport
from ops.report.certificates import CertificateReport
from ops.report.config import ConfigCheck, ConfigCheckReport, SettingsReport
from ops.report.deployment import DeploymentDiffReport, DeploymentFilesReport, InstallReport
from ops.report.doctor.report import DoctorReport
from ops.report.drain import DrainReport
from ops.report.explain import CauseListReport, ExplanationReport
from ops.report.installation import AdoptionReport, InstallationReport, UninstallationReport
from ops.report.model import CommandReport
from ops.report.notify import NotifyReport
from ops.report.preflight import PreflightReport
from ops.report.repair import RepairReport
from ops.report.restore import DrillReport, RestoreReport
from ops.report.route import RouteReport
from ops.report.service import ServiceReport
from ops.report.timeline import TimelineReport
from ops.report.upgrade import UpgradeReport
from ops.report.version import VersionReport
from ops.report.watchdog import WatchdogChangeReport, WatchdogStatus, WatchdogStatusReport
from ops.service import Readiness, ServiceAction, ServiceResult
from ops.settings import Settings, SettingsFile
from ops.supervision.observation import Clocks
from ops.supervision.state import Fault, ServiceState, WatchdogState
from ops.text.language import Text, verbatim
from ops.upgrade.planned_files import PlannedFiles, PlannedStep
from ops.upgrade.run import UpgradeResult
from tests.unit.certificates.test_check import TROUBLE
from tests.unit.made_diagnosis import CHANGED, DOWN, HEALTHY, UNEXPLAINED
from tests.unit.made_snapshot import HEALTHY as HOST

# Wider than a narrow terminal, and with a name that is Chinese.
LONG_PATH = Path("/srv/applications/gte-inference/运维/backups/gte-ops-web1-20261122T030000Z.tar.zst.age")
_REASON = Text(
    en="the archive was written by another host and its checksum file is missing beside it",
    zh="该备份由另一台主机写入，旁边缺少校验和文件，因此无法确认其内容是否完整，也无法确认由谁制作",
)
_NAME = ArchiveName(1_795_309_200.0, 1, "web1", "zst", encrypted=True)


def _listed(good: bool | None) -> ListedBackup:
    return ListedBackup(_NAME, LONG_PATH, 123_456_789, good, _REASON)


def _created() -> CommandReport:
    manifest = Manifest(created_at=1_795_309_200.0, host="web1", versions={}, asked=(), entries=())
    missing = {"/etc/缺失.conf": "it does not exist"}
    created = Created(
        LONG_PATH, manifest, 1234, "0" * 64, encrypted=True, complaints=missing, unsigned="no such key"
    )
    return CreatedReport(BackupOutcome(created, [LONG_PATH], copied=["rclone:offsite:backups"]))


def _plan() -> CommandReport:
    survey = Survey(left_out={"/etc/letsencrypt/archive/旧": "it is not a regular file"})
    survey.asked.append(RequestedPath(path=str(LONG_PATH), what="nginx", missing="it does not exist"))
    return BackupPlanReport(survey)


def _verified(problem: bool) -> CommandReport:
    verified = Verified(
        LONG_PATH,
        opened=True,
        encrypted=True,
        signature=SignatureCheck(SignatureState.GOOD, "ops@example.com"),
    )
    verified.checks.append(Text(en="SHA-256", zh="SHA-256"))
    verified.notes.append(_REASON)
    if problem:
        verified.problems += [_REASON, _REASON]
    return VerifyReport(verified)


def _restored(*, dry_run: bool) -> CommandReport:
    line = PreviewLine(str(LONG_PATH), str(LONG_PATH), Difference.CONTENT, _REASON, ("-a", "+b"))
    preview = Preview(
        LONG_PATH, Path("/"), (line,), ("/etc/nginx/多余.conf",), 2, ((str(LONG_PATH), _REASON),)
    )
    return RestoreReport(RestoreOutcome(preview, None, not dry_run, LONG_PATH, [_REASON]), dry_run=dry_run)


def _drill() -> CommandReport:
    drill = Drill(LONG_PATH)
    drill.add("archive", Status.OK, _REASON.en, _REASON.zh)
    drill.add("served", Status.FAIL, _REASON.en, _REASON.zh)
    return DrillReport(drill)


def _delivery(outcome: Any) -> Delivery:
    return Delivery(
        key="test",
        kind=MessageKind.TEST,
        index=0,
        destination="dingtalk://***@***",
        outcome=outcome,
        reason=_REASON if outcome != "accepted" else verbatim(""),
        seconds=1.25,
    )


def _preflight() -> CommandReport:
    item = PreflightItem("nginx", Text(en="nginx's configuration", zh="nginx 配置"), ("nginx.configuration",))
    confirmed = [
        Confirmed(item, ConfirmationState.FAIL, DOWN.checks, DOWN.causes),
        Confirmed(item, ConfirmationState.UNCONFIRMED, DOWN.checks, ()),
        Confirmed(item, ConfirmationState.NOT_NEEDED, (), ()),
    ]
    return PreflightReport(Preflight(tuple(confirmed), DOWN))


def _watchdog_once() -> CommandReport:
    from ops.report.watchdog import WatchdogOnceReport

    # The report reads these and no more; a real one needs a service.
    assessment = SimpleNamespace(state=ServiceState.FAILING, fault=Fault.MASTER_GONE, detail=_REASON)
    step = SimpleNamespace(action=None, why=_REASON)
    outcome = SimpleNamespace(assessment=assessment, step=step, paused=True)
    watchdog = SimpleNamespace(language="en", state=SimpleNamespace(suspended=True))
    result = SimpleNamespace(outcome=outcome, acted=True, exit_code=2)
    return WatchdogOnceReport(cast(Any, watchdog), cast(Any, result))


def _route() -> CommandReport:
    config, target = HOST.nginx_config, HOST.target
    assert isinstance(config, NginxConfig)
    assert isinstance(target, Target)
    facts = RoutingFacts(config, target, {}, "web1", sees_files=False)
    return RouteReport(compute_route(config, named_request("POST", "/predict", target), facts))


def _watchdog_status() -> CommandReport:
    return WatchdogStatusReport(
        WatchdogStatus(
            WatchdogState(), None, False, Clocks(1_795_309_200.0, 900.0, 900.0), f"torn: {LONG_PATH}"
        )
    )


_BASELINE = Stored(
    12,
    "0123456789ab",
    1_795_309_200.0,
    Baseline(
        made_by="0.2.0",
        taken_at=1_795_300_000.0,
        looked_at=1_795_309_200.0,
        by="watchdog",
        files={str(LONG_PATH): FileState(PlaceKind.NGINX, 1, 1, 1, 1, 0o644, 0, 0, digest="0" * 64)},
        values={PlaceKind.PACKAGE: {"flask": "3.1.0"}},
        ordinary=Ordinary(0.5, 0.01, 0.2),
    ),
)
_CHANGES = (
    Change(
        place=PlaceKind.NGINX,
        what=str(LONG_PATH),
        kind=ChangeKind.CONTENT,
        time=1_795_309_000.0,
        by="gte-ops deploy mark 发布 2.4 (ops)",
        lines=(ChangedLines(line=12, before=("\tlisten 80;",), after=("\tlisten 81;", "\t# 中文")),),
    ),
    Change(place=PlaceKind.PACKAGE, what="flask", kind=ChangeKind.VALUE, before="3.0", after="3.1"),
)


_OWN_CAUSES = """
[SITE001]
[SITE001.en]
title = "The licence server refuses"
summary = "The licence server {server} refuses."
[[SITE001.proof]]
log = "/srv/app/app.log"
pattern = "(?<server>lic[0-9]) refused"
[[SITE001.proof]]
command = ["/usr/bin/licence-check"]
"""


def _causes_test() -> CommandReport:
    (definition,) = parse_site_causes(_OWN_CAUSES.encode(), str(LONG_PATH))
    seen = ProofObservation(
        holds=True, source="/srv/app/app.log", detail="lic1 refused", values={"server": "lic1"}
    )
    unseen = NotSeen(reason="/usr/bin/licence-check did not finish within 3.0 s")
    return CausesTestReport([(definition, definition.observed((seen, unseen)))])


def _causes_check() -> CommandReport:
    definitions = parse_site_causes(_OWN_CAUSES.encode(), str(LONG_PATH))
    return CausesCheckReport("/etc/gte-ops/causes.d", definitions, [_REASON])


_TIMELINE = merged(
    [
        TimelineEvent(time=1_795_300_100.0, kind=kind, source=str(LONG_PATH), words=_REASON, count=3)
        for kind in EventKind
    ],
    [MinuteTraffic(time=1_795_300_080.0, succeeded=3, failed=7)],
    1_795_300_000.0,
    1_795_303_600.0,
    8 * 3600,
    [
        Gap(
            source=str(LONG_PATH),
            since=1_795_300_000.0,
            until=1_795_300_060.0,
            reason="no access log is known",
        )
    ],
)

_FILES = (
    RenderedFile(path="/etc/nginx/conf.d/gte.conf", text="server {\n\tlisten 443;\n}\n", mode=0o644),
    RenderedFile(path="/etc/cron.d/gte-ops", text="# 每周\n", mode=0o644),
)


def _repair() -> CommandReport:
    cause = DOWN.causes[0]
    remedy = Remedy(cause, Safety.SAFE, _REASON, StartGunicorn(), commands=(f"systemctl start {LONG_PATH}",))
    result = RemedyResult(remedy, Outcome.FAILED, _REASON, copies=(str(LONG_PATH),))
    repair = Repair(Safety.SAFE, DOWN, (result,), HEALTHY, str(LONG_PATH))
    return RepairReport(repair, lambda level: f"gte-ops doctor --fix={level} --yes")


def _serving(action: ServiceAction) -> CommandReport:
    return ServiceReport(ServiceResult(action, Readiness.STARTING, False, "127.0.0.1:8000", 4711))


_UPGRADED = UpgradeResult(
    "0.2.0",
    "0.3.0",
    f"{LONG_PATH}/0.3.0",
    packages=(("flask", "3.0.0", "3.1.0"), ("jieba", None, "0.42")),
    removed=(str(LONG_PATH),),
    recovered=Text(en="An earlier upgrade was undone.", zh="之前的升级已撤销。"),
    restart_due=True,
)


def _installed(*, is_dry: bool) -> InstallResult:
    path = str(LONG_PATH)
    file = FileStep(phase=Phase.NGINX, file=RenderedFile(path, "x\n"), kind="nginx")
    assessed = (
        Assessed(file, StepState.CHANGED, ("--- a\n", "+++ b\n", "+x\n")),
        Assessed(file, StepState.EDITED, ("--- a\n", "+++ b\n", "-mine\n")),
        Assessed(
            EnableStep(phase=Phase.WATCH, units=("gte-ops-watchdog.service",)),
            StepState.DUE,
            (),
            ("systemctl enable --now gte-ops-watchdog.service",),
        ),
    )
    return InstallResult(assessed, ((path, "/var/lib/gte-ops/install/originals/0"),), True, is_dry)


_DRAINED = DrainResult(
    action=DrainAction.DRAIN,
    address="192.0.2.11:8000",
    file="/etc/nginx/snippets/gte-api-upstream.conf",
    changed=True,
    dry_run=False,
    before="server 192.0.2.11:8000;\nserver 192.0.2.12:8000;\n",
    after="server 192.0.2.11:8000 down;\nserver 192.0.2.12:8000;\n",
    serving=("192.0.2.12:8000",),
)


REPORTS: dict[str, Callable[[], CommandReport]] = {
    "doctor": lambda: DoctorReport(DOWN),
    "doctor, healthy": lambda: DoctorReport(HEALTHY),
    "doctor, unexplained": lambda: DoctorReport(UNEXPLAINED),
    "doctor --fix": _repair,
    "doctor, changed": lambda: DoctorReport(CHANGED),
    "baseline accept": lambda: BaselineAcceptReport(_BASELINE, (str(LONG_PATH),)),
    "baseline accept, refused": lambda: BaselineAcceptReport(None),
    "baseline list": lambda: BaselineListReport([_BASELINE], [Mark(1_795_309_000.0, "发布 2.4", "ops")]),
    "baseline list, none": lambda: BaselineListReport([], []),
    "baseline show": lambda: BaselineReport(_BASELINE),
    "baseline diff": lambda: BaselineDiffReport(_BASELINE, _CHANGES),
    "deploy drain": lambda: DrainReport(_DRAINED),
    "deploy drain, not recorded": lambda: DrainReport(
        msgspec.structs.replace(_DRAINED, unrecorded=Text(en="/x: No space left", zh="/x：空间不足"))
    ),
    "deploy undrain": lambda: DrainReport(
        msgspec.structs.replace(_DRAINED, action=DrainAction.UNDRAIN, dry_run=True)
    ),
    "deploy mark": lambda: DeployMarkReport(Mark(1_795_309_000.0, "发布 2.4", "ops")),
    "preflight": _preflight,
    "cert check": lambda: CertificateReport(TROUBLE),
    "explain": CauseListReport,
    "causes check": _causes_check,
    "causes test": _causes_test,
    "explain GUN012": functools.partial(ExplanationReport, "gun012"),
    "config show": lambda: SettingsReport(Settings(), SettingsFile(LONG_PATH), {}),
    "config check": lambda: ConfigCheckReport(ConfigCheck(str(LONG_PATH), (), (_REASON,))),
    "notify test": lambda: NotifyReport([_delivery("accepted"), _delivery("refused"), _delivery("failed")]),
    "route": _route,
    "timeline": lambda: TimelineReport(_TIMELINE),
    "timeline, empty": lambda: TimelineReport(merged([], [], 1_795_300_000.0, 1_795_303_600.0, 0)),
    "version": lambda: VersionReport({"gte-ops": "0.2.0", "nginx": "1.26.0"}),
    "watchdog --once": _watchdog_once,
    "watchdog status": _watchdog_status,
    "watchdog pause": lambda: WatchdogChangeReport(
        "pause", Text(en="paused until 10:00", zh="已暂停，至 10:00"), {"paused_until": 1.0}
    ),
    "backup create": _created,
    "backup create --dry-run": _plan,
    "backup list": lambda: BackupListReport(
        [
            (_listed(True), SignatureCheck(SignatureState.GOOD, "ops")),
            (_listed(False), None),
            (_listed(None), SignatureCheck(SignatureState.MISSING)),
        ],
        str(LONG_PATH.parent),
    ),
    "backup list, none": lambda: BackupListReport([], str(LONG_PATH.parent)),
    "backup verify": lambda: _verified(False),
    "backup verify, damaged": lambda: _verified(True),
    "backup pin": lambda: PinReport(LONG_PATH, pinned=True, changed=True),
    "backup unpin": lambda: PinReport(LONG_PATH, pinned=False, changed=False),
    "backup prune": lambda: PruneReport([LONG_PATH], dry_run=True),
    "backup restore": lambda: _restored(dry_run=False),
    "backup restore --dry-run": lambda: _restored(dry_run=True),
    "backup drill": _drill,
    "install": lambda: InstallationReport(_installed(is_dry=False)),
    "install --dry-run": lambda: InstallationReport(_installed(is_dry=True)),
    "adopt": lambda: AdoptionReport(
        _installed(is_dry=False),
        DOWN.causes,
        [Text(en="/etc/crontab:3: left alone", zh="/etc/crontab:3：未改动")],
    ),
    "adopt --dry-run": lambda: AdoptionReport(_installed(is_dry=True), ()),
    "upgrade": lambda: UpgradeReport(_UPGRADED),
    "upgrade --dry-run": lambda: UpgradeReport(
        replace(
            _UPGRADED,
            is_dry=True,
            commands=("kill -USR2 MASTER",),
            files=PlannedFiles(
                (PlannedStep("changed", str(LONG_PATH), "--- a\n+++ b\n+x\n", ("systemctl daemon-reload",)),)
            ),
        )
    ),
    "upgrade --dry-run, unknown": lambda: UpgradeReport(
        replace(
            _UPGRADED,
            is_dry=True,
            files=PlannedFiles(unknown=Text(en="pip: no such version", zh="pip：没有这个版本")),
        )
    ),
    "uninstall": lambda: UninstallationReport(
        UninstallResult(
            (
                UndoEnable(180, ("gte-ops-watchdog.service",), ("gte-ops-watchdog.service",)),
                UndoFile(140, str(LONG_PATH), "0" * 64, Original("1" * 64, 0o644, 0, 0, 0)),
            ),
            (f"{LONG_PATH}~",),
            ("/var/log/gte-api",),
            (Text(en="userdel: in use", zh="userdel：正在使用"),),
        )
    ),
    **{f"service {action}": functools.partial(_serving, action) for action in ServiceAction},
    "render nginx": lambda: DeploymentFilesReport("nginx", _FILES),
    "render nginx --dry-run": lambda: DeploymentDiffReport("nginx", ["--- a\n", "+++ b\n", "+\tx\n"]),
    "render nginx --install": lambda: InstallReport(
        "nginx", [Installed(str(LONG_PATH), FileChange.CHANGED, f"{LONG_PATH}~")], ["systemctl reload nginx"]
    ),
}
