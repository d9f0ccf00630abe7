"""Apply remedies to gunicorn: start, restart, reload, end a stuck worker, continue, edit its configuration."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

from ops.control.pidfile import Stale
from ops.control.reload import can_reload, reload_gunicorn
from ops.control.restart import (
    RestartError,
    Supervisor,
    check_config,
    find_supervisor,
    restart,
    start_unhindered,
)
from ops.control.signals import is_alive
from ops.control.worker import continue_process
from ops.deployment.install import keep_copy
from ops.errors import OpsError
from ops.facts.base import NotSeen
from ops.facts.probes import Exchange
from ops.files.atomic_file import flush_directory, replace_content
from ops.files.signals import undisturbed
from ops.interpret.process_ref import ProcessRef
from ops.repair.apply.session import (
    POLL_SECONDS,
    AppliedChange,
    NotAppliedError,
    RepairSession,
    blocked,
    failed,
    must_be_alive,
    must_be_roots,
    must_be_unchanged,
    not_needed,
    pids_of,
    refused,
    workers_words,
)
from ops.repair.audit_log import AuditStep
from ops.repair.model import (
    Continue,
    EditGunicorn,
    EndWorker,
    ReloadGunicorn,
    RestartGunicorn,
    StartGunicorn,
)
from ops.supervision import observe
from ops.supervision.end_worker import end_stuck_worker
from ops.supervision.evidence_capture import evidence_root, named_logs
from ops.supervision.evidence_store import EvidenceDirectory, directory_name
from ops.supervision.health.assessment import WorkerCondition
from ops.supervision.observation import Observation, RunState
from ops.supervision.state import WatchdogState
from ops.supervision.state_store import StateStore, clocks
from ops.text.language import Text, verbatim

# A service that daemonises has no master for a moment; gone for longer, it has ended again.
ABSENT_SECONDS = 8.0

# How a worker was stuck before it was ended.
STUCK_CONDITIONS = {
    WorkerCondition.BOOT_HUNG: Text(en="stuck while booting", zh="卡在启动阶段"),
    WorkerCondition.STOPPED: Text(en="stopped", zh="被暂停"),
    WorkerCondition.HUNG: Text(en="stuck", zh="卡死"),
    WorkerCondition.BLOCKED: Text(en="event loop blocked", zh="事件循环阻塞"),
    WorkerCondition.LIVELOCK: Text(en="spinning", zh="空转"),
    WorkerCondition.PARTIALLY_STUCK: Text(en="some threads stuck", zh="部分线程卡住"),
    WorkerCondition.LEAKING: Text(en="leaking memory", zh="内存泄漏"),
}

GunicornAction = StartGunicorn | RestartGunicorn | ReloadGunicorn | EndWorker | Continue | EditGunicorn


class GunicornApplier:
    """Acts on the service by the means of the watchdog."""

    def __init__(self, session: RepairSession) -> None:
        self.session, self.settings = session, session.settings

    def apply(self, action: GunicornAction) -> AppliedChange:
        """Apply ``action``. Raises NotAppliedError, OpsError, OSError."""
        match action:
            case StartGunicorn():
                return self._start()
            case RestartGunicorn():
                must_be_alive(action.master)
                self._restart_and_wait(action.master)
                return self._serving(_master_words(action.master.pid))
            case ReloadGunicorn():
                return self._reload(action)
            case EndWorker():
                return self._end_worker(action)
            case Continue():
                return _continue(action)
            case EditGunicorn():
                return self._edit(action)

    # --- start and restart --------------------------------------------------------------------------------------------

    def _start(self) -> AppliedChange:
        supervisor = self._supervisor()
        observation = self._observe()
        if observation.master is not None:
            raise not_needed(
                f"a gunicorn master runs by now (process {observation.master.pid})",
                f"gunicorn 主进程已在运行（进程 {observation.master.pid}）",
            )
        if not observe.is_free(observation.backend):
            raise blocked(
                f"another program holds {observation.backend}", f"{observation.backend} 被别的程序占用"
            )
        start_unhindered(supervisor, self.settings, self._log_stale_pidfile)
        self._wait_for_the_service()
        return self._serving(
            Text(en=f"no master; {observation.backend} is free", zh=f"没有主进程，{observation.backend} 空闲")
        )

    def restart_from_anew(self) -> None:
        """Restart the service, or start it if no master runs, and wait for it. Raises NotAppliedError, OpsError."""
        observation = self._observe()
        running = observation.master
        self._restart_and_wait(ProcessRef(running.pid, running.start_ticks) if running else None)
        self._serving(verbatim(""))

    def _restart_and_wait(self, master: ProcessRef | None) -> None:
        """End what is left of the service, start it, and wait for it."""
        supervisor = self._supervisor()
        state = self._state()
        observation = observe.observe(self.settings, state).observation
        self._keep_evidence(
            "restart", [*([master.pid] if master else []), *(w.pid for w in observation.workers)]
        )
        restart(
            supervisor,
            self.settings,
            master=master,
            workers={
                *state.subject.workers,
                *(ProcessRef(w.pid, w.start_ticks) for w in observation.workers),
            },
            reacts=_answers(observation),
            is_free=lambda: observe.is_free(observation.backend),
            tell=self._log_stale_pidfile,
        )
        self._wait_for_the_service()

    def _log_stale_pidfile(self, stale: Stale) -> None:
        self.session.audit_log.note(
            AuditStep.STALE_PIDFILE, path=stale.path, detail=stale.detail, kept=stale.failure or ""
        )

    def _supervisor(self) -> Supervisor:
        supervisor = find_supervisor(self.settings, self.session.output)
        if supervisor is None:
            raise failed(
                "nothing here can start the service: set gunicorn.start_command",
                "这里没有启动服务的办法：请设置 gunicorn.start_command",
            )
        return supervisor

    def _state(self) -> WatchdogState:
        return StateStore(Path(self.settings.watchdog.state_file)).load(clocks())

    def _observe(self) -> Observation:
        return observe.observe(self.settings, self._state()).observation

    def _wait_for_the_service(self) -> None:
        """Wait until the service answers, and reports itself ready if it has such a report; or until its master has
        ended."""
        self.session.tell(Text(en="waiting for the service to answer", zh="正在等待服务响应"))
        absent = 0

        def is_settled() -> bool:
            nonlocal absent
            observation = self._observe()
            absent = absent + 1 if observation.master is None else 0
            return absent * POLL_SECONDS > ABSENT_SECONDS or _serves(observation)

        self.session.wait_until(is_settled)

    def _serving(self, before: Text) -> AppliedChange:
        """What became of the service. Raises NotAppliedError if it has ended again, or answers no client."""
        observation = self._observe()
        if observation.master is None:
            output = self.session.output
            raise failed(
                f"it was started, and has ended again; see its error log and {output}",
                f"启动后又退出了，请看错误日志和 {output}",
            )
        master, health = observation.master.pid, observation.health
        if isinstance(health, NotSeen) or health.status is None:
            seconds = f"{float(self.settings.app.boot_deadline):g}"
            raise failed(
                f"it was started (process {master}), and answers nobody within {seconds} s; see its error log",
                f"已启动（进程 {master}），但 {seconds} 秒内没有应答任何请求，请看错误日志",
            )
        words = _master_words(master)
        path = self.settings.target.health_path
        return AppliedChange(
            before,
            Text(en=f"{words.en}, {path} {health.status}", zh=f"{words.zh}，{path} {health.status}"),
        )

    # --- reload and edit ----------------------------------------------------------------------------------------------

    def _reload(self, action: ReloadGunicorn) -> AppliedChange:
        must_be_alive(action.master)
        before = set(observe.children(action.master.pid))
        if not before & set(action.workers):
            raise not_needed("its workers have been replaced meanwhile", "工作进程已经更换过了")
        config = observe.config_file(self.settings, self._state().subject.cwd)
        if not can_reload(config, tuple(before)):
            raise blocked(
                "memory does not hold both generations of workers, or the configuration cannot be read",
                "内存容不下新旧两代工作进程，或配置文件无法读取",
            )
        if (problem := check_config(self._supervisor())) is not None:
            raise refused(
                f"gunicorn --check-config: {problem}; the service runs on as it is",
                f"gunicorn --check-config：{problem}；服务保持原样继续运行",
            )
        reload_gunicorn(action.master)
        self.session.wait_until(
            lambda: not before & set(observe.children(action.master.pid)) or not is_alive(action.master)
        )
        if not is_alive(action.master):
            raise failed(
                f"gunicorn's master {action.master.pid} ended at the reload; see its error log",
                f"gunicorn 主进程 {action.master.pid} 在重新加载时退出了，请看错误日志",
            )
        self._wait_for_the_service()
        after = observe.children(action.master.pid)
        return AppliedChange(workers_words(before), workers_words(after))

    def _edit(self, action: EditGunicorn) -> AppliedChange:
        self._supervisor()
        must_be_alive(action.master)
        place = Path(action.edit.path).resolve()
        must_be_roots(place)
        must_be_unchanged(place, action.edit.before)
        served_before = _serves(self._observe())
        copy = keep_copy(place, hidden=True)
        self.session.audit_log.note(AuditStep.EDIT, path=str(place), kept=str(copy))
        try:
            replace_content(place, action.edit.after)
            try:
                self._restart_and_wait(action.master)
            except RestartError as error:
                raise _does_not_start(error.words.en, error.words.to("zh")) from None
            if served_before and not _serves(self._observe()):
                raise _does_not_start("it does not become ready", "一直没有就绪")
        except BaseException:
            with undisturbed():
                copy.replace(place)
                flush_directory(place.parent)
                self.session.audit_log.note(AuditStep.PUT_BACK, path=str(place))
            observation = self._observe()
            running = observation.master
            master = ProcessRef(running.pid, running.start_ticks) if running else None
            if master != action.master:
                with contextlib.suppress(OpsError, NotAppliedError):
                    self._restart_and_wait(master)
            raise
        change = self._serving(_master_words(action.master.pid))
        after = change.after
        return AppliedChange(
            change.before,
            Text(en=f"{place} edited; {after.en}", zh=f"已修改 {place}；{after.zh}"),
            copies=(str(copy),),
        )

    # --- one worker ---------------------------------------------------------------------------------------------------

    def _end_worker(self, action: EndWorker) -> AppliedChange:
        if not self.session.hold().locked:
            raise blocked(
                "a resident watchdog runs here: it ends a stuck worker itself, on its own proof",
                "本机有常驻的 watchdog：它会按自己的证据结束卡死的工作进程",
            )
        ended = end_stuck_worker(
            self.settings,
            self.session.settings_path,
            action.pid,
            lambda: self.session.tell(
                Text(en="proving that it will not come back", zh="正在确认它不会自行恢复")
            ),
        )
        if ended is None:
            raise not_needed(
                f"the watchdog has no proof (any more) that worker {action.pid} is stuck",
                f"没有（或不再有）证明工作进程 {action.pid} 卡死的证据",
            )
        if ended.survived:
            raise failed(
                f"process {action.pid} survives SIGKILL (uninterruptible sleep)",
                f"进程 {action.pid} 处于不可中断睡眠，SIGKILL 也无法结束",
            )
        self.session.wait_until(lambda: set(observe.children(ended.master.pid)) - ended.workers)
        self._wait_for_the_service()
        worker = ended.worker
        stuck = STUCK_CONDITIONS.get(worker.condition, verbatim(worker.condition))
        return AppliedChange(
            Text(
                en=f"worker {action.pid}: {stuck.en} for {worker.seconds:.0f} s; evidence in {ended.evidence}",
                zh=f"工作进程 {action.pid}：{stuck.zh} {worker.seconds:.0f} 秒，证据在 {ended.evidence}",
            ),
            workers_words(observe.children(ended.master.pid)),
        )

    def _keep_evidence(self, fault: str, pids: Iterable[int]) -> str:
        """Keep what only the moment before the change shows; returns the directory."""
        root = evidence_root(self.settings)
        evidence = EvidenceDirectory(root, directory_name(time.time(), fault or "fix", root))
        evidence.put_processes(pids)
        evidence.put_log_tails(named_logs(self.settings, self._state().subject))
        return str(evidence.path)


def _continue(action: Continue) -> AppliedChange:
    stopped = [p for p in action.processes if is_alive(p) and _run_state(p.pid) == RunState.STOPPED]
    if not stopped:
        raise not_needed("none of them is stopped any more", "这些进程都已不再被暂停")
    for process in stopped:
        continue_process(process)
    pids = pids_of(stopped)
    return AppliedChange(
        Text(en=f"stopped: {pids}", zh=f"被暂停：{pids}"),
        Text(en=f"continued: {pids}", zh=f"已继续运行：{pids}"),
    )


def _master_words(pid: int) -> Text:
    return Text(en=f"master {pid}", zh=f"主进程 {pid}")


def _run_state(pid: int) -> RunState | None:
    process = observe.process_state(pid)
    return process.state if process is not None else None


def _does_not_start(en: str, zh: str) -> NotAppliedError:
    return refused(
        f"with it the service did not come up ({en}); the old file is back, and the service restarted",
        f"修改后服务起不来（{zh}）；原文件已恢复，并已重启服务",
    )


def _answers(observation: Observation) -> bool:
    return not isinstance(observation.health, NotSeen) and observation.health.status is not None


def _serves(observation: Observation) -> bool:
    """Whether the service answers, and does not report that it is still loading."""
    return _answers(observation) and not _is_loading(observation.ready)


def _is_loading(ready: Exchange | NotSeen) -> bool:
    report = ready.json() if isinstance(ready, Exchange) and ready.status == 503 else None
    return isinstance(report, dict) and report.get("reason") == "loading"
