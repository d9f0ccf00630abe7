"""`gte-ops service`: start, stop, restart, reload and status of the service, by its unit or by its start command.

Never ends or signals what is not its own: processes are found by the watchdog's rules and addressed by pidfd."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ops.control.pidfile import Stale
from ops.control.reload import can_reload, reload_gunicorn
from ops.control.restart import (
    PORT_FREE_WITHIN,
    Supervisor,
    check_config,
    control_unit,
    find_supervisor,
    refusal,
    start_unhindered,
)
from ops.control.signals import end, kill
from ops.errors import OpsError
from ops.facts.base import NotSeen
from ops.facts.probes import Exchange
from ops.files.host_lock import only_change
from ops.interpret.process_ref import ProcessRef
from ops.settings import Settings
from ops.supervision import observe
from ops.supervision.observation import Observation
from ops.supervision.state_store import LONGEST_PAUSE, Lock, LockedError, Pause, StateStore, clocks
from ops.text.language import Text
from ops.text.sanitize import safe_line

BY = "gte-ops service stop"
POLL_SECONDS = 0.2
# A service that daemonises has no master for a moment; gone for longer, it has ended again.
ABSENT_SECONDS = 8.0
# Longer than a round of the watchdog from cron.
LOCK_SECONDS = 60.0


class ServiceError(OpsError):
    """The service is not in the state that was asked for."""

    exit_code = 2


class ServiceAction(StrEnum):
    """What is asked of the service."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"
    RELOAD = "reload"
    STATUS = "status"


class Readiness(StrEnum):
    """What the service is."""

    READY = "ready"
    STARTING = "starting"
    STOPPED = "stopped"


@dataclass(frozen=True)
class ServiceResult:
    """What became of the service. ``master``: its process; ``backend``: its address; ``unit``: what starts it, None for
    a start command; ``stale``: pidfiles that were in the way."""

    action: ServiceAction
    state: Readiness
    changed: bool
    backend: str
    master: int | None = None
    unit: str | None = None
    stale: tuple[Stale, ...] = ()


def control(action: ServiceAction, settings: Settings, seconds: float) -> ServiceResult:
    """Do what is asked, and wait at most ``seconds`` for its effect. Raises ServiceError, OpsError."""
    control_ = _Control(settings, seconds)
    if action is ServiceAction.STATUS:
        return control_.result(action, changed=False)
    with _alone(settings):
        match action:
            case ServiceAction.START:
                changed = control_.start()
            case ServiceAction.STOP:
                changed = control_.stop()
            case ServiceAction.RESTART:
                changed = control_.restart()
            case ServiceAction.RELOAD:
                changed = control_.reload()
        return control_.result(action, changed=changed)


class _Control:
    """The service by its supervisor."""

    def __init__(self, settings: Settings, seconds: float) -> None:
        self.settings, self.seconds = settings, seconds
        self.store = StateStore(Path(settings.watchdog.state_file))
        self.output = self.store.path.with_name("service-start-output.log")
        self.supervisor = find_supervisor(settings, self.output)
        self.stale: list[Stale] = []

    def observe(self) -> Observation:
        """The service as it is now."""
        return observe.observe(self.settings, self.store.load(clocks())).observation

    def result(self, action: ServiceAction, *, changed: bool) -> ServiceResult:
        """What the service is now."""
        observation = self.observe()
        state = Readiness.STOPPED
        if observation.master is not None:
            state = Readiness.READY if is_ready(observation) else Readiness.STARTING
        return ServiceResult(
            action,
            state,
            changed,
            observation.backend,
            observation.master.pid if observation.master else None,
            self.supervisor.unit if self.supervisor else None,
            tuple(self.stale),
        )

    # --- the actions --------------------------------------------------------------------------------------------------

    def start(self) -> bool:
        """Start the service unless it runs; whether it was started."""
        supervisor = self._must_be_startable()
        self._end_own_pause()
        observation = self.observe()
        if observation.master is not None:
            self._wait_until_ready()
            return False
        self._start(supervisor, observation)
        return True

    def stop(self) -> bool:
        """Stop the service; whether it ran. From here on the watchdog does not start it, until `start`."""
        observation = self.observe()
        if self.supervisor is not None and self.supervisor.unit is not None:
            control_unit("stop", self.supervisor.unit)
        else:
            self._pause()
            self._end(observation)
        return observation.master is not None

    def restart(self) -> bool:
        """Stop the service, wait until it has ended and its address is free, and start it."""
        supervisor = self._must_be_startable()
        self._end_own_pause()
        if supervisor.unit is not None:
            control_unit("restart", supervisor.unit)
            self._wait_until_ready()
            return True
        self._must_load(supervisor)
        observation = self.observe()
        self._end(observation)
        self._start(supervisor, self.observe())
        return True

    def reload(self) -> bool:
        """Have gunicorn start new workers with its present configuration, and wait for them."""
        observation = self.observe()
        if observation.master is None:
            raise ServiceError(
                Text(
                    en="the service does not run: gte-ops service start",
                    zh="服务没有运行：gte-ops service start",
                )
            )
        supervisor = self.supervisor
        if supervisor is not None and supervisor.unit is not None:
            control_unit("reload", supervisor.unit)
        else:
            if supervisor is not None:
                self._must_load(supervisor)
            workers = tuple(worker.pid for worker in observation.workers)
            if not can_reload(self.settings.gunicorn.config_file, workers):
                raise ServiceError(
                    Text(
                        en="not reloaded: memory does not hold both generations of workers, or gunicorn's "
                        "configuration cannot be read",
                        zh="未重新加载：内存容不下新旧两代工作进程，或无法读取 gunicorn 的配置",
                    )
                )
            reload_gunicorn(ProcessRef(observation.master.pid, observation.master.start_ticks))
        old = {(worker.pid, worker.start_ticks) for worker in observation.workers}
        self._wait(
            lambda now: is_ready(now) and not old & {(w.pid, w.start_ticks) for w in now.workers},
            Text(
                en="old workers are still there, or none is ready",
                zh="旧的工作进程仍在，或没有就绪的工作进程",
            ),
        )
        return True

    # --- steps --------------------------------------------------------------------------------------------------------

    def _must_be_startable(self) -> Supervisor:
        if self.supervisor is None:
            raise ServiceError(
                Text(
                    en="nothing here can start the service: there is no unit, and gunicorn.start_command is not set",
                    zh="没有可用的方式启动服务：既没有 unit，也没有设置 gunicorn.start_command",
                )
            )
        if (why_not := refusal(self.supervisor)) is not None:
            raise ServiceError(why_not)
        return self.supervisor

    def _must_load(self, supervisor: Supervisor) -> None:
        """Raises ServiceError, before anything is ended, if gunicorn does not take its configuration."""
        if (why_not := check_config(supervisor)) is not None:
            raise ServiceError(
                Text(
                    en=f"gunicorn --check-config fails: {why_not}; the service was left as it is",
                    zh=f"gunicorn --check-config 未通过：{why_not}；服务保持原样",
                )
            )

    def _start(self, supervisor: Supervisor, observation: Observation) -> None:
        if observation.master is None and not observe.is_free(observation.backend):
            raise ServiceError(
                Text(
                    en=f"{observation.backend} is held by {_holders(observation)}, which is not this service; "
                    "nothing was started or ended",
                    zh=f"{observation.backend} 被 {_holders(observation)} 占用，它不是本服务；没有启动或结束任何进程",
                )
            )
        start_unhindered(supervisor, self.settings, self.stale.append)
        self._wait_until_ready()

    def _end(self, observation: Observation) -> None:
        """Have the master end by itself, its requests with it; kill what is left, and wait for the address."""
        master = observation.master
        workers = [ProcessRef(worker.pid, worker.start_ticks) for worker in observation.workers]
        survivors = end([ProcessRef(master.pid, master.start_ticks)], self.seconds) if master else ()
        survivors += kill(workers)
        if survivors:
            raise ServiceError(
                Text(
                    en=f"process {survivors[0].pid} survives SIGKILL (uninterruptible sleep)",
                    zh=f"进程 {survivors[0].pid} 在 SIGKILL 后仍未结束（不可中断睡眠）",
                )
            )
        deadline = time.monotonic() + PORT_FREE_WITHIN
        while master is not None and not observe.is_free(observation.backend):
            if time.monotonic() > deadline:
                raise ServiceError(
                    Text(
                        en=f"the service has ended, and {observation.backend} is still held",
                        zh=f"服务已结束，但 {observation.backend} 仍被占用",
                    )
                )
            time.sleep(POLL_SECONDS)

    def _wait_until_ready(self) -> None:
        self._wait(is_ready, Text(en="it does not report ready", zh="尚未就绪"))

    def _wait(self, is_done: Callable[[Observation], bool], why: Text) -> None:
        deadline, absent_since = time.monotonic() + self.seconds, None
        while True:
            observation = self.observe()
            if is_done(observation):
                return
            now = time.monotonic()
            absent_since = None if observation.master is not None else (absent_since or now)
            if absent_since is not None and now - absent_since > ABSENT_SECONDS:
                raise ServiceError(
                    Text(
                        en=f"it was started, and has ended again; see its error log and {self.output}",
                        zh=f"启动后又退出了，请看错误日志和 {self.output}",
                    )
                )
            if now > deadline:
                raise ServiceError(
                    Text(
                        en=f"after {self.seconds:g} s: {why.en}; it was left running, see its error log",
                        zh=f"{self.seconds:g} 秒后：{why.zh}；进程保持运行，请看错误日志",
                    )
                )
            time.sleep(POLL_SECONDS)

    # --- the watchdog -------------------------------------------------------------------------------------------------

    def _pause(self) -> None:
        """Keep the watchdog from starting what was stopped: at most for as long as a pause may last."""
        now = time.time()
        if self.store.paused(now) is None:
            self.store.pause(Pause(until=now + LONGEST_PAUSE, since=now, by=BY))

    def _end_own_pause(self) -> None:
        pause = self.store.paused(time.time())
        if pause is not None and pause.by == BY:
            self.store.resume()


def is_ready(observation: Observation) -> bool:
    """Whether the service reports ready; one without such a report is ready once it answers its health check."""
    if observation.master is None:
        return False
    ready, health = observation.ready, observation.health
    if isinstance(ready, Exchange) and ready.status not in (None, 404):
        return ready.status == 200
    return isinstance(health, Exchange) and health.status == 200


def _holders(observation: Observation) -> str:
    if isinstance(observation.holders, NotSeen) or not observation.holders:
        return "?"
    holder = observation.holders[0]
    return safe_line(f"{holder.command} ({holder.pid})", 80)


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Keep other commands that change the host, and a round of the watchdog from cron, from acting at the same time.

    A resident watchdog holds its lock for ever; it sees the service as unhealthy for longer than a start takes before
    it acts."""
    path = Path(settings.watchdog.state_file)
    with only_change(LOCK_SECONDS), contextlib.ExitStack() as stack:
        with contextlib.suppress(LockedError):
            _take(stack, path, LOCK_SECONDS if _runs_from_cron(settings) else 0.0)
        yield


def _runs_from_cron(settings: Settings) -> bool:
    return any((Path(place) / "gte-ops-watchdog").is_file() for place in settings.schedule.cron)


def _take(stack: contextlib.ExitStack, path: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            stack.enter_context(Lock(path))
        except LockedError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(POLL_SECONDS)
        else:
            return
