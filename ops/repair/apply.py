"""Doing a remedy: its reason looked at once more, then done, then looked after until it shows.

Everything that acts on a process or takes a file's place comes from where the watchdog and `render` take it too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from ops.backups.nginx_probe import ReloadError, health_problem, reload_nginx
from ops.backups.restore.validate import first_error, serving_now
from ops.collect.run import Surroundings, look_around
from ops.collect.services.nginx import read_pidfile, test_command, test_config
from ops.control.pidfile import Stale
from ops.control.reload import can_reload, reload_gunicorn
from ops.control.restart import RestartError, Supervisor, find_supervisor, restart, start, start_unhindered
from ops.control.signals import is_alive, send, wait_until_gone
from ops.control.worker import continue_process, kill_worker
from ops.deployment.install import install, keep_copy, present_text, reason_not_to_replace
from ops.deployment.render import RenderedFile
from ops.errors import OpsError
from ops.facts.base import NotSeen
from ops.facts.host import Processes
from ops.facts.nginx import NginxConfig
from ops.facts.probes import Exchange
from ops.files.atomic_file import flush_directory, replace_content
from ops.files.nofollow import resolve, trusted_users
from ops.files.ownership import distrust
from ops.files.signals import undisturbed
from ops.interpret.nginx import nginx_workers
from ops.interpret.process_ref import ProcessRef
from ops.repair.audit_log import AuditLog
from ops.repair.model import (
    Action,
    ChangeMode,
    Continue,
    CreateBackup,
    EditGunicorn,
    EditNginx,
    EndWorker,
    InstallRotation,
    MendPidfile,
    ReloadGunicorn,
    ReloadNginx,
    Remedy,
    ReopenLogs,
    RestartGunicorn,
    StartGunicorn,
    StartNginx,
    Treated,
)
from ops.repair.pidfile import put_pidfile
from ops.repair.watchdog_hold import WatchdogHold
from ops.settings import Settings
from ops.supervision import escalation, observe
from ops.supervision.evidence_capture import EvidenceCapture, named_logs
from ops.supervision.evidence_store import EvidenceDirectory, directory_name
from ops.supervision.health import assess, remembered
from ops.supervision.observation import Observation
from ops.supervision.rules import rules_from
from ops.supervision.state import Action as WatchdogAction
from ops.supervision.state import WatchdogState
from ops.supervision.state_store import StateStore, clocks
from ops.text.language import Text, verbatim
from ops.text.sanitize import safe_line

LOOK_SECONDS = 8.0
TEST_SECONDS = 15.0
RELOAD_SECONDS = 15.0
NGINX_STARTS_WITHIN = 15.0
HEALTH_SECONDS = 3.0
LOGS_REOPEN_WITHIN = 10.0
WORKER_REPLACED_WITHIN = 10.0
LOOK_AGAIN = 0.2
# Two dumps some seconds apart prove a worker stuck; the first look only begins to measure its CPU.
PROVING_LOOKS = 5


class _EndedError(Exception):
    """A remedy came to an end without having been applied; ``detail`` says why."""

    def __init__(self, detail: Text) -> None:
        super().__init__(detail.en)
        self.detail = detail


class _UnneededError(_EndedError):
    """Its reason has gone meanwhile."""


class _HeldError(_EndedError):
    """It must not be done now."""


class _RepairRefusedError(_EndedError):
    """nginx or the service did not take it; everything is as it was."""


@dataclass(frozen=True)
class _Done:
    before: str = ""
    after: str = ""
    kept: tuple[str, ...] = ()
    detail: Text | None = None


class Applier:
    """Applies remedies here. ``tell`` hears what is waited for; ``truce`` is asked before processes are touched."""

    def __init__(
        self,
        settings: Settings,
        settings_path: Path | None,
        record: AuditLog,
        truce: Callable[[], WatchdogHold],
        tell: Callable[[Text], None],
    ) -> None:
        self.settings, self.settings_path = settings, settings_path
        self.record, self.truce, self.tell = record, truce, tell
        self._output = record.path.with_name("fix-start-output.log")

    def apply(self, remedy: Remedy) -> Treated:
        """Do it, and say what became of it. Every step stands in the record. Raises OpsError where that fails."""
        action = remedy.action
        assert action is not None  # noqa: S101  a remedy without one is not applied
        facts = {
            "code": remedy.cause.code,
            "safety": remedy.safety,
            "action": type(action).__name__,
            "what": remedy.what.en,
        }
        self.record.note("begun", **facts)
        try:
            treated = self._treated(remedy, action)
        except BaseException as error:
            self.record.note("interrupted", **facts, detail=type(error).__name__)
            raise
        self.record.note(
            "done",
            **facts,
            outcome=treated.result,
            before=treated.before,
            after=treated.after,
            kept=list(treated.kept),
            detail=treated.detail.en if treated.detail else "",
        )
        return treated

    def _treated(self, remedy: Remedy, action: Action) -> Treated:
        try:
            if action.area != "files":
                truce = self.truce()
                if truce.refusal is not None:
                    raise _HeldError(truce.refusal)
            done = self._do(action)
        except _UnneededError as ended:
            return Treated(remedy, "unneeded", ended.detail)
        except _HeldError as ended:
            return Treated(remedy, "held", ended.detail)
        except _RepairRefusedError as ended:
            return Treated(remedy, "refused", ended.detail)
        except OpsError as error:
            return Treated(remedy, "failed", verbatim(safe_line(str(error))))
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            return Treated(remedy, "failed", verbatim(safe_line(f"{where}{error.strerror or error}")))
        return Treated(remedy, "applied", done.detail, done.before, done.after, done.kept)

    def _do(self, action: Action) -> _Done:
        match action:
            case StartGunicorn():
                return self._start_gunicorn()
            case RestartGunicorn():
                return self._restart_gunicorn(action)
            case ReloadGunicorn():
                return self._reload_gunicorn(action)
            case EndWorker():
                return self._end_worker(action)
            case Continue():
                return _continue(action)
            case StartNginx():
                return self._start_nginx(action)
            case ReloadNginx():
                return self._reload_nginx(action)
            case EditNginx():
                return self._edit_nginx(action)
            case EditGunicorn():
                return self._edit_gunicorn(action)
            case ReopenLogs():
                return _reopen_logs(action)
            case MendPidfile():
                return _mend_pidfile(action)
            case ChangeMode():
                return _change_mode(action)
            case InstallRotation():
                return _install_rotation(action)
            case CreateBackup():
                return self._create_backup()

    # --- gunicorn -----------------------------------------------------------------------------------------------------

    def _start_gunicorn(self) -> _Done:
        supervisor = self._supervisor()
        look = observe.observe(self.settings, self._memory()).look
        if look.master is not None:
            raise _UnneededError(
                Text(
                    en=f"a gunicorn master runs by now (process {look.master.pid})",
                    zh=f"gunicorn 主进程已在运行（进程 {look.master.pid}）",
                )
            )
        if not observe.is_free(look.backend):
            raise _HeldError(
                Text(en=f"another program holds {look.backend}", zh=f"{look.backend} 被别的程序占用")
            )
        start_unhindered(supervisor, self.settings, self._note_stale)
        self._wait_for_the_service()
        return self._running(f"no master; {look.backend} is free")

    def _restart_gunicorn(self, action: RestartGunicorn) -> _Done:
        _must_be_alive(action.master)
        self._restart(action.master)
        return self._running(f"master {action.master.pid}")

    def _restart(self, master: ProcessRef | None) -> None:
        """Take down what is left of the service, start it, and wait for it."""
        supervisor = self._supervisor()
        memory = self._memory()
        look = observe.observe(self.settings, memory).look
        self._keep_evidence("restart", [*([master.pid] if master else []), *(w.pid for w in look.workers)])
        restart(
            supervisor,
            self.settings,
            master=master,
            workers={*memory.subject.workers, *(ProcessRef(w.pid, w.start_ticks) for w in look.workers)},
            reacts=_answers(look),
            is_free=lambda: observe.is_free(look.backend),
            tell=self._note_stale,
        )
        self._wait_for_the_service()

    def _note_stale(self, stale: Stale) -> None:
        """A pidfile that was in the way stands in the record."""
        self.record.note("stale pidfile", path=stale.path, detail=stale.detail, kept=stale.kept or "")

    def _edit_gunicorn(self, action: EditGunicorn) -> _Done:
        self._supervisor()
        _must_be_alive(action.master)
        place = Path(action.edit.path).resolve()
        _must_be_roots(place)
        if place.read_bytes() != action.edit.before:
            raise _HeldError(Text(en=f"{place} has changed meanwhile", zh=f"{place} 刚被改动过"))
        did_serve = _serves(observe.observe(self.settings, self._memory()).look)
        kept = keep_copy(place, hidden=True)
        self.record.note("edit", path=str(place), kept=str(kept))
        try:
            replace_content(place, action.edit.after)
            try:
                self._restart(action.master)
            except RestartError as error:
                raise _no_start(str(error)) from None
            if did_serve and not _serves(observe.observe(self.settings, self._memory()).look):
                raise _no_start("it does not become ready")
        except BaseException:
            with undisturbed():
                kept.replace(place)
                flush_directory(place.parent)
                self.record.note("put back", path=str(place))
            look = observe.observe(self.settings, self._memory()).look
            now = ProcessRef(look.master.pid, look.master.start_ticks) if look.master else None
            if now != action.master:
                with contextlib.suppress(OpsError):
                    self._restart(now)
            raise
        done = self._running(f"master {action.master.pid}")
        return _Done(done.before, f"{place} edited; {done.after}", kept=(str(kept),))

    def _reload_gunicorn(self, action: ReloadGunicorn) -> _Done:
        _must_be_alive(action.master)
        before = set(observe.children(action.master.pid))
        if not before & set(action.workers):
            raise _UnneededError(
                Text(en="its workers have been replaced meanwhile", zh="工作进程已经更换过了")
            )
        config = observe.config_file(self.settings, self._memory().subject.cwd)
        if not can_reload(config, tuple(before)):
            raise _HeldError(
                Text(
                    en="memory does not carry both generations of workers, or the configuration cannot be read",
                    zh="内存容不下新旧两代工作进程，或配置文件无法读取",
                )
            )
        reload_gunicorn(action.master)
        self._wait_until(
            lambda: not before & set(observe.children(action.master.pid)) or not is_alive(action.master)
        )
        if not is_alive(action.master):
            raise OpsError(f"gunicorn's master {action.master.pid} ended at the reload; see its error log")
        self._wait_for_the_service()
        after = observe.children(action.master.pid)
        return _Done(f"workers {_pids(before)}", f"workers {_pids(after)}")

    def _end_worker(self, action: EndWorker) -> _Done:
        if not self.truce().locked:
            raise _HeldError(
                Text(
                    en="a watchdog is resident here: it ends a stuck worker itself, on its own proof",
                    zh="本机有常驻的 watchdog：它会按自己的证据结束卡死的工作进程",
                )
            )
        ledger = StateStore(Path(self.settings.watchdog.state_file))
        rules = rules_from(self.settings)
        memory = ledger.load(clocks())
        proof = EvidenceCapture(self.settings, self.settings_path, rules, self._evidence_root())
        for _ in range(PROVING_LOOKS):
            sight = observe.observe(self.settings, memory)
            look, memory.subject = sight.look, sight.subject
            memory = remembered(look, memory, rules, None)
            verdict = assess(look, memory, rules)
            if verdict.wants_dumps:
                memory = proof.dump(verdict, look, memory)
                verdict = assess(look, memory, rules)
                proof.keep_stacks(verdict, look, memory)
            found = next((w for w in verdict.workers if w.identity.pid == action.pid), None)
            if found is None or found.is_stuck or found.kind in ("idle", "busy"):
                break
            self.tell(Text(en="proving that it will not come back", zh="正在确认它不会自行恢复"))
            time.sleep(rules.dump_gap)
        if found is None or not found.is_stuck or look.master is None:
            raise _UnneededError(
                Text(
                    en=f"the watchdog's proof against worker {action.pid} is not there (any more)",
                    zh=f"没有（或不再有）证明工作进程 {action.pid} 卡死的证据",
                )
            )
        proof.complete(look, memory, patient=False)
        evidence = proof.path or self._keep_evidence(verdict.fault, [look.master.pid, action.pid])
        # Written down as the watchdog's own: it counts against the budget, and the doctor knows who sent the SIGKILL.
        done = WatchdogAction(
            at=look.clocks.boottime,
            wall=look.clocks.wall,
            rung="kill_worker",
            fault=verdict.fault,
            pid=action.pid,
            outcome="recovered",
        )
        ledger.save(escalation.acted(memory, rules, done, 0.0))
        kill_worker(found.identity)
        left = wait_until_gone((found.identity,), WORKER_REPLACED_WITHIN)
        if left:
            raise OpsError(f"process {action.pid} survives SIGKILL (uninterruptible sleep)")
        known = {w.pid for w in look.workers}
        master = look.master.pid
        self._wait_until(lambda: set(observe.children(master)) - known)
        self._wait_for_the_service()
        after = observe.children(master)
        return _Done(
            f"worker {action.pid} {found.kind} for {found.seconds:.0f} s; evidence in {evidence}",
            f"workers {_pids(after)}",
        )

    def _evidence_root(self) -> Path:
        """Where the watchdog keeps its own."""
        state = Path(self.settings.watchdog.state_file)
        kept = self.settings.watchdog.evidence_dir
        return Path(kept) if kept else state.with_name(f"{state.stem}-evidence")

    def _keep_evidence(self, fault: str, pids: Iterable[int]) -> str:
        """What only the moment before shows; returns the directory."""
        root = self._evidence_root()
        evidence = EvidenceDirectory(root, directory_name(time.time(), fault or "fix", root))
        evidence.put_processes(pids)
        subject = self._memory().subject
        evidence.put_log_tails(named_logs(self.settings, subject))
        return str(evidence.path)

    def _supervisor(self) -> Supervisor:
        supervisor = find_supervisor(self.settings, self._output)
        if supervisor is None:
            raise OpsError("nothing here can start the service: set gunicorn.start_command")
        return supervisor

    def _memory(self) -> WatchdogState:
        return StateStore(Path(self.settings.watchdog.state_file)).load(clocks())

    def _wait_for_the_service(self) -> None:
        """Until it answers, and says that it is ready where it says anything; its master's end ends the wait."""
        self.tell(Text(en="waiting for the service to answer", zh="正在等待服务响应"))
        absent = 0

        def settled() -> bool:
            nonlocal absent
            look = observe.observe(self.settings, self._memory()).look
            absent = absent + 1 if look.master is None else 0
            # A service that daemonises has no master for a moment.
            if absent * LOOK_AGAIN > LOOK_SECONDS:
                return True
            return _serves(look)

        self._wait_until(settled)

    def _wait_until(self, is_so: Callable[[], object]) -> None:
        give_up = time.monotonic() + float(self.settings.app.boot_deadline)
        while not is_so() and time.monotonic() < give_up:
            time.sleep(LOOK_AGAIN)

    def _running(self, before: str) -> _Done:
        look = observe.observe(self.settings, self._memory()).look
        if look.master is None:
            raise OpsError(f"it was started, and has ended again; see its error log and {self._output}")
        answer = "no answer yet" if isinstance(look.health, NotSeen) else f"/health {look.health.status}"
        return _Done(before, f"master {look.master.pid}, {answer}")

    # --- nginx --------------------------------------------------------------------------------------------------------

    def _around(self) -> Surroundings:
        return look_around(self.settings, time.monotonic() + LOOK_SECONDS)

    def _start_nginx(self, action: StartNginx) -> _Done:
        around = self._around()
        if masters := serving_now(around):
            raise _UnneededError(
                Text(
                    en=f"nginx runs by now ({_pids_of(masters)})", zh=f"nginx 已在运行（{_pids_of(masters)}）"
                )
            )
        if (problem := _test(around)) is not None:
            _refuse_by_test(problem)
        config = around.config
        assert isinstance(config, NginxConfig)  # noqa: S101  it has just been tested
        argv = tuple(word for word in test_command(config, around.build) if word != "-t")
        started = start(Supervisor(action.unit, () if action.unit else argv, None, self._output))
        give_up = time.monotonic() + NGINX_STARTS_WITHIN
        while not serving_now(around := self._around()):
            code = started.poll() if started else None
            if code or time.monotonic() > give_up:
                raise OpsError(f"nginx did not come up; see {self._output} and its error log")
            time.sleep(LOOK_AGAIN)
        return _Done("no nginx master", f"master {_pids_of(serving_now(around))}")

    def _reload_nginx(self, action: ReloadNginx) -> _Done:
        around = self._around()
        masters = _same_masters(around, action.masters)
        before = _workers(around, masters)
        if action.workers and not before & set(action.workers):
            raise _UnneededError(Text(en="nginx has been reloaded meanwhile", zh="nginx 已重新加载过"))
        if (problem := _test(around)) is not None:
            _refuse_by_test(problem)
        reload_nginx(masters, around.target.nginx_error_logs, time.monotonic() + RELOAD_SECONDS)
        # New workers come first; the old ones have yet to hear that they are to end.
        self._wait_until(lambda: not before & _workers(self._around(), masters))
        after = _workers(self._around(), masters)
        return _Done(f"workers {_pids(before)}", f"workers {_pids(after)}")

    def _edit_nginx(self, action: EditNginx) -> _Done:
        around = self._around()
        masters = _same_masters(around, action.masters)
        if (problem := _test(around)) is not None:
            raise _HeldError(
                Text(
                    en=f"nginx -t fails already, mend that first: {problem}",
                    zh=f"nginx -t 本来就不通过，请先修复：{problem}",
                )
            )
        places = [Path(edit.path).resolve() for edit in action.edits]
        for edit, place in zip(action.edits, places, strict=True):
            _must_be_roots(place)
            if place.read_bytes() != edit.before:
                raise _HeldError(Text(en=f"{place} has changed meanwhile", zh=f"{place} 刚被改动过"))
        ill_before = health_problem(around.target, time.monotonic() + HEALTH_SECONDS)
        copies: list[tuple[Path, Path]] = []
        taken_up = False
        try:
            for edit, place in zip(action.edits, places, strict=True):
                copies.append((keep_copy(place, hidden=True), place))
                self.record.note("edit", path=str(place), kept=str(copies[-1][0]))
                replace_content(place, edit.after)
            if (problem := _test(self._around())) is not None:
                _refuse_by_test(problem)
            taken_up = True
            try:
                reload_nginx(masters, around.target.nginx_error_logs, time.monotonic() + RELOAD_SECONDS)
            except ReloadError as error:
                raise _RepairRefusedError(
                    Text(en=f"{error}; the old file is back", zh=f"{error}；原文件已恢复")
                ) from None
            ill = health_problem(around.target, time.monotonic() + HEALTH_SECONDS)
            if ill is not None and ill_before is None:
                raise _RepairRefusedError(
                    Text(
                        en=f"with it the service did not answer any more ({ill}); the old file is back",
                        zh=f"修改后服务不再应答（{ill}）；原文件已恢复",
                    )
                )
        except BaseException:
            self._put_back(copies, masters if taken_up else (), around)
            raise
        return _Done(
            ", ".join(str(place) for place in places),
            "edited and reloaded",
            kept=tuple(str(kept) for kept, _ in copies),
        )

    def _put_back(
        self, copies: list[tuple[Path, Path]], masters: tuple[ProcessRef, ...], around: Surroundings
    ) -> None:
        """The old files take their places again: bytes, owner, mode, time. ``masters`` may have read the new ones."""
        with undisturbed():
            for kept, place in reversed(copies):
                kept.replace(place)
                flush_directory(place.parent)
                self.record.note("put back", path=str(place))
            with contextlib.suppress(OpsError):
                reload_nginx(masters, around.target.nginx_error_logs, time.monotonic() + RELOAD_SECONDS)

    # --- files --------------------------------------------------------------------------------------------------------

    def _create_backup(self) -> _Done:
        from ops.backup import create_backup

        made = create_backup(
            self.settings, self.settings_path, self.settings.backup.to, lambda _step, _done, _all: None
        )
        detail = None
        if made.failed_copies:
            words = "; ".join(f"{place}: {why}" for place, why in made.failed_copies.items())
            detail = Text(en=f"made, but not copied: {words}", zh=f"已生成，但未能复制：{words}")
        return _Done("", str(made.created.path), detail=detail)


def _continue(action: Continue) -> _Done:
    stopped = [p for p in action.processes if is_alive(p) and _state(p.pid) == "stopped"]
    if not stopped:
        raise _UnneededError(Text(en="none of them is stopped any more", zh="这些进程都已不再被挂起"))
    for process in stopped:
        continue_process(process)
    return _Done(f"stopped: {_pids_of(stopped)}", f"continued: {_pids_of(stopped)}")


def _state(pid: int) -> str:
    seen = observe.seen(pid)
    return seen.state if seen is not None else ""


def _reopen_logs(action: ReopenLogs) -> _Done:
    stale = [(pid, path) for pid, path in action.stale if _has_open(pid, path)]
    if not stale:
        raise _UnneededError(Text(en="nothing writes to it any more", zh="已没有进程写入"))
    for master in action.masters:
        send(master, signal.SIGUSR1)
    give_up = time.monotonic() + LOGS_REOPEN_WITHIN
    while any(_has_open(pid, path) for pid, path in stale):
        if time.monotonic() > give_up:
            raise OpsError(f"process {stale[0][0]} still writes to {stale[0][1]}: it did not follow USR1")
        time.sleep(0.05)
    return _Done(", ".join(f"{pid}: {path}" for pid, path in stale[:8]), "opened anew")


def _has_open(pid: int, link: str) -> bool:
    """Whether the process has this very file open; ``link`` as /proc/PID/fd shows it."""
    try:
        entries = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
    for entry in entries:
        with contextlib.suppress(OSError):
            if os.readlink(entry) == link:  # noqa: PTH115  not a path: it may end in " (deleted)"
                return True
    return False


def _mend_pidfile(action: MendPidfile) -> _Done:
    _must_be_alive(action.master)
    present = read_pidfile(action.path)
    if present.missing or present.pid == action.master.pid:
        raise _UnneededError(Text(en="it is right, or gone, by now", zh="现在已正确或已不存在"))
    changed = Text(en=f"{action.path} has changed meanwhile", zh=f"{action.path} 刚被改动过")
    if present.pid != action.found:
        raise _HeldError(changed)
    try:
        content = f"{action.master.pid}\n".encode() if action.keeps else None
        refusal = put_pidfile(action.path, action.found, action.namer, content)
    except FileNotFoundError:
        raise _HeldError(changed) from None
    if refusal is not None:
        raise _HeldError(Text(en=f"{action.path}: {refusal.en}", zh=f"{action.path}：{refusal.zh}"))
    return _Done(str(action.found), str(action.master.pid) if action.keeps else "removed")


def _change_mode(action: ChangeMode) -> _Done:
    found, entries = resolve(action.path)
    try:
        status = os.fstat(found)
        # Who has a say in what lies there has it done to a file of their own alone.
        exposed = distrust(entries[:-1], {*trusted_users(), status.st_uid})
        if exposed is not None or not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            why = exposed or "it is no regular file of one name"
            raise _HeldError(verbatim(safe_line(f"{action.path}: {why}")))
        mode = stat.S_IMODE(status.st_mode)
        # Bits are only ever taken away.
        wanted = mode & action.after
        if wanted == mode:
            raise _UnneededError(Text(en=f"its mode is {mode:04o} by now", zh=f"权限现在已是 {mode:04o}"))
        os.chmod(f"/proc/self/fd/{found}", wanted)  # noqa: PTH101  the very file that was looked at
    finally:
        os.close(found)
    return _Done(f"{mode:04o}", f"{wanted:04o}")


def _install_rotation(action: InstallRotation) -> _Done:
    for file in action.files:
        if present_text(Path(file.path)) != file.present:
            raise _HeldError(Text(en=f"{file.path} has changed meanwhile", zh=f"{file.path} 刚被改动过"))
    files = [RenderedFile(file.path, file.text, file.mode) for file in action.files]
    done = install("logrotate", files, Path("/"), ())
    return _Done(
        "",
        ", ".join(f"{item.path}: {item.state}" for item in done),
        kept=tuple(item.kept for item in done if item.kept),
        detail=Text(
            en="; ".join(reason.en for reason in action.left_out),
            zh="；".join(reason.zh for reason in action.left_out),
        )
        if action.left_out
        else None,
    )


# --- what several of them ask -----------------------------------------------------------------------------------------


def _must_be_roots(place: Path) -> None:
    if (why := reason_not_to_replace(place)) is not None:
        raise _HeldError(
            Text(
                en=f"root does not change what others have a say in: {why}",
                zh=f"root 不修改他人可改动的文件：{why}",
            )
        )


def _must_be_alive(process: ProcessRef) -> None:
    if not is_alive(process):
        raise _UnneededError(
            Text(en=f"process {process.pid} has ended meanwhile", zh=f"进程 {process.pid} 已经结束")
        )


def _same_masters(around: Surroundings, meant: tuple[ProcessRef, ...]) -> tuple[ProcessRef, ...]:
    now = serving_now(around)
    if set(now) != set(meant):
        raise _UnneededError(Text(en="nginx has been restarted meanwhile", zh="nginx 刚被重启过"))
    return now


def _workers(around: Surroundings, masters: Iterable[ProcessRef]) -> set[int]:
    if not isinstance(around.processes, Processes):
        return set()
    processes = around.processes.processes
    return {worker.pid for master in masters for worker in nginx_workers(processes, master.pid)}


def _test(around: Surroundings) -> str | None:
    """What `nginx -t` holds against the configuration; None where it passes."""
    if not isinstance(around.config, NginxConfig):
        return around.config.reason
    tested = test_config(around.config, around.build, TEST_SECONDS)
    if isinstance(tested, NotSeen):
        return tested.reason
    return None if tested.exit_code == 0 else first_error(tested)


def _refuse_by_test(problem: str) -> NoReturn:
    raise _RepairRefusedError(
        Text(
            en=f"nginx -t refuses: {problem}; everything is as it was",
            zh=f"nginx -t 不通过：{problem}；一切保持原样",
        )
    )


def _no_start(why: str) -> _RepairRefusedError:
    return _RepairRefusedError(
        Text(
            en=f"with it the service did not come up ({why}); the old file is back, and the service restarted",
            zh=f"修改后服务起不来（{why}）；原文件已恢复，并已重启服务",
        )
    )


def _answers(look: Observation) -> bool:
    return not isinstance(look.health, NotSeen) and look.health.status is not None


def _serves(look: Observation) -> bool:
    """Whether it answers, and does not say that it is still loading."""
    return _answers(look) and not _loads(look.ready)


def _loads(ready: Exchange | NotSeen) -> bool:
    told = ready.json() if isinstance(ready, Exchange) and ready.status == 503 else None
    return isinstance(told, dict) and told.get("reason") == "loading"


def _pids(pids: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(pids))) or "-"


def _pids_of(processes: Iterable[ProcessRef]) -> str:
    return _pids(process.pid for process in processes)
