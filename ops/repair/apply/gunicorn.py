"""Apply remedies to gunicorn: start, restart, reload, end a stuck worker, continue, edit its configuration."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path

from ops.control.pidfile import Stale
from ops.control.reload import can_reload, reload_gunicorn
from ops.control.restart import RestartError, Supervisor, find_supervisor, restart, start_unhindered
from ops.control.signals import is_alive, wait_until_gone
from ops.control.worker import continue_process, kill_worker
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
    pid_list,
    pids_of,
    refused,
)
from ops.repair.model import (
    Continue,
    EditGunicorn,
    EndWorker,
    ReloadGunicorn,
    RestartGunicorn,
    StartGunicorn,
)
from ops.supervision import escalation, observe
from ops.supervision.evidence_capture import EvidenceCapture, named_logs
from ops.supervision.evidence_store import EvidenceDirectory, directory_name
from ops.supervision.health import assess, remembered
from ops.supervision.observation import Observation
from ops.supervision.rules import rules_from
from ops.supervision.state import Action as WatchdogAction
from ops.supervision.state import WatchdogState
from ops.supervision.state_store import StateStore, clocks
from ops.text.language import Text

# A service that daemonises has no master for a moment; gone for longer, it has ended again.
ABSENT_SECONDS = 8.0
WORKER_REPLACED_WITHIN = 10.0
# Two dumps some seconds apart prove a worker stuck; the first look only begins to measure its CPU.
PROOF_LOOKS = 5

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
                return self._running(f"master {action.master.pid}")
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
        look = self._observe()
        if look.master is not None:
            raise not_needed(
                f"a gunicorn master runs by now (process {look.master.pid})",
                f"gunicorn 主进程已在运行（进程 {look.master.pid}）",
            )
        if not observe.is_free(look.backend):
            raise blocked(f"another program holds {look.backend}", f"{look.backend} 被别的程序占用")
        start_unhindered(supervisor, self.settings, self._log_stale_pidfile)
        self._wait_for_the_service()
        return self._running(f"no master; {look.backend} is free")

    def _restart_and_wait(self, master: ProcessRef | None) -> None:
        """End what is left of the service, start it, and wait for it."""
        supervisor = self._supervisor()
        state = self._state()
        look = observe.observe(self.settings, state).look
        self._keep_evidence("restart", [*([master.pid] if master else []), *(w.pid for w in look.workers)])
        restart(
            supervisor,
            self.settings,
            master=master,
            workers={*state.subject.workers, *(ProcessRef(w.pid, w.start_ticks) for w in look.workers)},
            reacts=_answers(look),
            is_free=lambda: observe.is_free(look.backend),
            tell=self._log_stale_pidfile,
        )
        self._wait_for_the_service()

    def _log_stale_pidfile(self, stale: Stale) -> None:
        self.session.audit_log.note(
            "stale pidfile", path=stale.path, detail=stale.detail, kept=stale.kept or ""
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
        return observe.observe(self.settings, self._state()).look

    def _wait_for_the_service(self) -> None:
        """Wait until the service answers, and reports itself ready if it has such a report; or until its master has
        ended."""
        self.session.tell(Text(en="waiting for the service to answer", zh="正在等待服务响应"))
        absent = 0

        def is_settled() -> bool:
            nonlocal absent
            look = self._observe()
            absent = absent + 1 if look.master is None else 0
            return absent * POLL_SECONDS > ABSENT_SECONDS or _serves(look)

        self.session.wait_until(is_settled)

    def _running(self, before: str) -> AppliedChange:
        look = self._observe()
        if look.master is None:
            output = self.session.output
            raise failed(
                f"it was started, and has ended again; see its error log and {output}",
                f"启动后又退出了，请看错误日志和 {output}",
            )
        answer = "no answer yet" if isinstance(look.health, NotSeen) else f"/health {look.health.status}"
        return AppliedChange(before, f"master {look.master.pid}, {answer}")

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
        return AppliedChange(f"workers {pid_list(before)}", f"workers {pid_list(after)}")

    def _edit(self, action: EditGunicorn) -> AppliedChange:
        self._supervisor()
        must_be_alive(action.master)
        place = Path(action.edit.path).resolve()
        must_be_roots(place)
        must_be_unchanged(place, action.edit.before)
        served_before = _serves(self._observe())
        copy = keep_copy(place, hidden=True)
        self.session.audit_log.note("edit", path=str(place), kept=str(copy))
        try:
            replace_content(place, action.edit.after)
            try:
                self._restart_and_wait(action.master)
            except RestartError as error:
                raise _does_not_start(str(error), str(error)) from None
            if served_before and not _serves(self._observe()):
                raise _does_not_start("it does not become ready", "一直没有就绪")
        except BaseException:
            with undisturbed():
                copy.replace(place)
                flush_directory(place.parent)
                self.session.audit_log.note("put back", path=str(place))
            look = self._observe()
            master = ProcessRef(look.master.pid, look.master.start_ticks) if look.master else None
            if master != action.master:
                with contextlib.suppress(OpsError, NotAppliedError):
                    self._restart_and_wait(master)
            raise
        change = self._running(f"master {action.master.pid}")
        return AppliedChange(change.before, f"{place} edited; {change.after}", copies=(str(copy),))

    # --- one worker ---------------------------------------------------------------------------------------------------

    def _end_worker(self, action: EndWorker) -> AppliedChange:
        if not self.session.hold().locked:
            raise blocked(
                "a resident watchdog runs here: it ends a stuck worker itself, on its own proof",
                "本机有常驻的 watchdog：它会按自己的证据结束卡死的工作进程",
            )
        store = StateStore(Path(self.settings.watchdog.state_file))
        rules = rules_from(self.settings)
        memory = store.load(clocks())
        proof = EvidenceCapture(self.settings, self.session.settings_path, rules, self._evidence_root())
        for _ in range(PROOF_LOOKS):
            observed = observe.observe(self.settings, memory)
            look, memory.subject = observed.look, observed.subject
            memory = remembered(look, memory, rules, None)
            verdict = assess(look, memory, rules)
            if verdict.wants_dumps:
                memory = proof.dump(verdict, look, memory)
                verdict = assess(look, memory, rules)
                proof.keep_stacks(verdict, look, memory)
            worker = next((w for w in verdict.workers if w.identity.pid == action.pid), None)
            if worker is None or worker.is_stuck or worker.kind in ("idle", "busy"):
                break
            self.session.tell(Text(en="proving that it will not come back", zh="正在确认它不会自行恢复"))
            time.sleep(rules.dump_gap)
        if worker is None or not worker.is_stuck or look.master is None:
            raise not_needed(
                f"the watchdog has no proof (any more) that worker {action.pid} is stuck",
                f"没有（或不再有）证明工作进程 {action.pid} 卡死的证据",
            )
        proof.complete(look, memory, patient=False)
        evidence = proof.path or self._keep_evidence(verdict.fault, [look.master.pid, action.pid])
        # Recorded as the watchdog's action: it counts against the budget, and the doctor knows who sent the SIGKILL.
        done = WatchdogAction(
            at=look.clocks.boottime,
            wall=look.clocks.wall,
            rung="kill_worker",
            fault=verdict.fault,
            pid=action.pid,
            outcome="recovered",
        )
        store.save(escalation.acted(memory, rules, done, 0.0))
        kill_worker(worker.identity)
        if wait_until_gone((worker.identity,), WORKER_REPLACED_WITHIN):
            raise failed(
                f"process {action.pid} survives SIGKILL (uninterruptible sleep)",
                f"进程 {action.pid} 处于不可中断睡眠，SIGKILL 也无法结束",
            )
        known = {w.pid for w in look.workers}
        master = look.master.pid
        self.session.wait_until(lambda: set(observe.children(master)) - known)
        self._wait_for_the_service()
        after = observe.children(master)
        return AppliedChange(
            f"worker {action.pid} {worker.kind} for {worker.seconds:.0f} s; evidence in {evidence}",
            f"workers {pid_list(after)}",
        )

    def _evidence_root(self) -> Path:
        """Where the watchdog keeps its evidence."""
        state = Path(self.settings.watchdog.state_file)
        configured = self.settings.watchdog.evidence_dir
        return Path(configured) if configured else state.with_name(f"{state.stem}-evidence")

    def _keep_evidence(self, fault: str, pids: Iterable[int]) -> str:
        """Keep what only the moment before the change shows; returns the directory."""
        root = self._evidence_root()
        evidence = EvidenceDirectory(root, directory_name(time.time(), fault or "fix", root))
        evidence.put_processes(pids)
        evidence.put_log_tails(named_logs(self.settings, self._state().subject))
        return str(evidence.path)


def _continue(action: Continue) -> AppliedChange:
    stopped = [p for p in action.processes if is_alive(p) and _process_state(p.pid) == "stopped"]
    if not stopped:
        raise not_needed("none of them is stopped any more", "这些进程都已不再被挂起")
    for process in stopped:
        continue_process(process)
    return AppliedChange(f"stopped: {pids_of(stopped)}", f"continued: {pids_of(stopped)}")


def _process_state(pid: int) -> str:
    process = observe.seen(pid)
    return process.state if process is not None else ""


def _does_not_start(en: str, zh: str) -> NotAppliedError:
    return refused(
        f"with it the service did not come up ({en}); the old file is back, and the service restarted",
        f"修改后服务起不来（{zh}）；原文件已恢复，并已重启服务",
    )


def _answers(look: Observation) -> bool:
    return not isinstance(look.health, NotSeen) and look.health.status is not None


def _serves(look: Observation) -> bool:
    """Whether the service answers, and does not report that it is still loading."""
    return _answers(look) and not _is_loading(look.ready)


def _is_loading(ready: Exchange | NotSeen) -> bool:
    report = ready.json() if isinstance(ready, Exchange) and ready.status == 503 else None
    return isinstance(report, dict) and report.get("reason") == "loading"
