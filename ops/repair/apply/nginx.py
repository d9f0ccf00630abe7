"""Apply remedies to nginx: start it, reload it, edit its configuration."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from ops.backups.nginx_probe import ReloadError, health_problem, reload_nginx
from ops.backups.restore.validate import first_error, serving_now
from ops.collect.services.nginx import test_command, test_config
from ops.collect.surroundings import Surroundings, look_around
from ops.control.restart import Supervisor, start
from ops.deployment.install import keep_copy
from ops.errors import OpsError
from ops.facts.base import NotSeen
from ops.facts.host import Processes
from ops.facts.nginx import NginxConfig
from ops.files.atomic_file import flush_directory, replace_content
from ops.files.signals import undisturbed
from ops.interpret.nginx import nginx_workers
from ops.interpret.process_ref import ProcessRef
from ops.repair.apply.session import (
    POLL_SECONDS,
    AppliedChange,
    RepairSession,
    blocked,
    failed,
    must_be_roots,
    must_be_unchanged,
    not_needed,
    pids_of,
    refused,
    workers_words,
)
from ops.repair.audit_log import AuditStep
from ops.repair.model import EditNginx, ReloadNginx, StartNginx
from ops.text.language import Text, verbatim
from ops.text.reasons import reason

LOOK_SECONDS = 8.0
TEST_SECONDS = 15.0
RELOAD_SECONDS = 15.0
STARTS_WITHIN = 15.0
HEALTH_SECONDS = 3.0


class NginxApplier:
    """Starts nginx, reloads it, or edits its files."""

    def __init__(self, session: RepairSession) -> None:
        self.session = session

    def apply(self, action: StartNginx | ReloadNginx | EditNginx) -> AppliedChange:
        """Apply ``action``. Raises NotAppliedError, OpsError, OSError."""
        match action:
            case StartNginx():
                return self._start(action)
            case ReloadNginx():
                return self._reload(action)
            case EditNginx():
                return self._edit(action)

    def look_around(self) -> Surroundings:
        """The host now."""
        return look_around(self.session.settings, time.monotonic() + LOOK_SECONDS)

    def problem(self) -> str | None:
        """The first error of `nginx -t` on the files as they are; None if it passes."""
        return _test(self.look_around())

    def _start(self, action: StartNginx) -> AppliedChange:
        around = self.look_around()
        if masters := serving_now(around):
            raise not_needed(
                f"nginx runs by now ({pids_of(masters)})", f"nginx 已在运行（{pids_of(masters)}）"
            )
        if (problem := _test(around)) is not None:
            _refuse_by_test(problem)
        config = around.config
        assert isinstance(config, NginxConfig)  # noqa: S101  it has just been tested
        argv = tuple(word for word in test_command(config, around.build) if word != "-t")
        output = self.session.output
        process = start(Supervisor(action.unit, () if action.unit else argv, None, output))
        give_up = time.monotonic() + STARTS_WITHIN
        while not serving_now(around := self.look_around()):
            code = process.poll() if process else None
            if code or time.monotonic() > give_up:
                raise failed(
                    f"nginx did not come up; see {output} and its error log",
                    f"nginx 没有起来，请看 {output} 和它的错误日志",
                )
            time.sleep(POLL_SECONDS)
        masters = serving_now(around)
        return AppliedChange(
            Text(en="no nginx master", zh="没有 nginx 主进程"),
            Text(en=f"master {pids_of(masters)}", zh=f"主进程 {pids_of(masters)}"),
        )

    def _reload(self, action: ReloadNginx) -> AppliedChange:
        around = self.look_around()
        masters = _same_masters(around, action.masters)
        before = _workers(around, masters)
        if action.workers and not before & set(action.workers):
            raise not_needed("nginx has been reloaded meanwhile", "nginx 已重新加载过")
        if (problem := _test(around)) is not None:
            _refuse_by_test(problem)
        reload_nginx(masters, around.target.nginx_error_logs, time.monotonic() + RELOAD_SECONDS)
        # nginx starts the new workers before it tells the old ones to end.
        self.session.wait_until(lambda: not before & _workers(self.look_around(), masters))
        after = _workers(self.look_around(), masters)
        return AppliedChange(workers_words(before), workers_words(after))

    def _edit(self, action: EditNginx) -> AppliedChange:
        around = self.look_around()
        masters = _same_masters(around, action.masters)
        if (problem := _test(around)) is not None:
            raise blocked(
                f"nginx -t fails already, fix that first: {problem}",
                f"nginx -t 本来就不通过，请先修复：{reason(problem).to('zh')}",
            )
        places = [Path(edit.path).resolve() for edit in action.edits]
        for edit, place in zip(action.edits, places, strict=True):
            must_be_roots(place)
            must_be_unchanged(place, edit.before)
        problem_before = health_problem(around.target, time.monotonic() + HEALTH_SECONDS)
        copies: list[tuple[Path, Path]] = []
        is_loaded = False
        try:
            for edit, place in zip(action.edits, places, strict=True):
                copies.append((keep_copy(place, hidden=True), place))
                self.session.audit_log.note(AuditStep.EDIT, path=str(place), kept=str(copies[-1][0]))
                replace_content(place, edit.after)
            if (problem := _test(self.look_around())) is not None:
                _refuse_by_test(problem)
            is_loaded = True
            try:
                reload_nginx(masters, around.target.nginx_error_logs, time.monotonic() + RELOAD_SECONDS)
            except ReloadError as error:
                raise refused(
                    f"{error}; the old file is back", f"{reason(str(error)).to('zh')}；原文件已恢复"
                ) from None
            problem = health_problem(around.target, time.monotonic() + HEALTH_SECONDS)
            if problem is not None and problem_before is None:
                raise refused(
                    f"with it the service did not answer any more ({problem}); the old file is back",
                    f"修改后服务不再应答（{problem}）；原文件已恢复",
                )
        except BaseException:
            self._put_back(copies, masters if is_loaded else (), around)
            raise
        return AppliedChange(
            verbatim(", ".join(str(place) for place in places)),
            Text(en="edited and reloaded", zh="已修改并重新加载"),
            copies=tuple(str(copy) for copy, _ in copies),
        )

    def _put_back(
        self, copies: list[tuple[Path, Path]], masters: tuple[ProcessRef, ...], around: Surroundings
    ) -> None:
        """Restore the old files: bytes, owner, mode, time. Reload ``masters``, which may have read the new ones."""
        with undisturbed():
            for copy, place in reversed(copies):
                copy.replace(place)
                flush_directory(place.parent)
                self.session.audit_log.note(AuditStep.PUT_BACK, path=str(place))
            with contextlib.suppress(OpsError):
                reload_nginx(masters, around.target.nginx_error_logs, time.monotonic() + RELOAD_SECONDS)


def _same_masters(around: Surroundings, expected: tuple[ProcessRef, ...]) -> tuple[ProcessRef, ...]:
    masters = serving_now(around)
    if set(masters) != set(expected):
        raise not_needed("nginx has been restarted meanwhile", "nginx 刚被重启过")
    return masters


def _workers(around: Surroundings, masters: Iterable[ProcessRef]) -> set[int]:
    if not isinstance(around.processes, Processes):
        return set()
    processes = around.processes.processes
    return {worker.pid for master in masters for worker in nginx_workers(processes, master.pid)}


def _test(around: Surroundings) -> str | None:
    """The first error of `nginx -t`; None if it passes."""
    if not isinstance(around.config, NginxConfig):
        return around.config.reason
    result = test_config(around.config, around.build, TEST_SECONDS)
    if isinstance(result, NotSeen):
        return result.reason
    return None if result.exit_code == 0 else first_error(result)


def _refuse_by_test(problem: str) -> NoReturn:
    raise refused(
        f"nginx -t refuses: {problem}; everything is as it was",
        f"nginx -t 不通过：{reason(problem).to('zh')}；一切保持原样",
    )
