"""The running service as an upgrade needs it: by its unit or its pidfile, through nginx, beside its watchdog."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil

from ops.collect.net.connection import Deadline
from ops.collect.net.http_probe import exchange
from ops.collect.net.private_headers import read_private_headers
from ops.collect.process.start_time import start_ticks
from ops.control.handover import (
    end_predecessor,
    end_successor,
    environment_of,
    start_successor,
    successor_of,
    workers_of,
)
from ops.control.launch import read_launch
from ops.control.reload import can_reload
from ops.control.restart import control_unit
from ops.control.trial import trial
from ops.deployment.render import Deployment
from ops.facts.probes import Exchange
from ops.facts.target import Target
from ops.files.bounded_read import read_regular_file
from ops.installation.host import HostTree
from ops.installation.plan import WATCHDOG
from ops.interpret.process_ref import ProcessRef
from ops.repair.watchdog_hold import keep_watchdog_at_rest
from ops.settings import Settings
from ops.supervision import observe
from ops.supervision.state_store import StateStore, clocks
from ops.text.language import Text
from ops.text.sanitize import safe_line
from ops.upgrade.run import UpgradeError, VersionAnswers

ASK_SECONDS = 30.0
SYSTEMD_SECONDS = 20.0
_POLL = 0.1
_TICKS = os.sysconf("SC_CLK_TCK")
_MAX_RECORD_BYTES = 4096
_UNLIMITED = ("", "infinity", "[not set]")


class RunningService:
    """`ops.upgrade.run.UpgradedService` on this host. ``seconds``: how long a version may take to become ready."""

    def __init__(
        self, settings: Settings, deployment: Deployment, target: Target, host: HostTree, seconds: float
    ) -> None:
        self.settings, self.deployment, self.target, self.host = settings, deployment, target, host
        self.seconds = seconds
        self.pidfile = Path(deployment.gunicorn_pidfile)
        self._ready_after = 0.0
        self._is_held = False

    # --- processes ----------------------------------------------------------------------------------------------------

    def _master(self) -> ProcessRef | None:
        """The master that serves; of a handover under way the old one."""
        if self.host.has_systemd:
            pid = int(self.host.property(self.deployment.unit, "MainPID") or 0)
            return ProcessRef(pid, start_ticks(pid)) if pid else None
        store = StateStore(Path(self.settings.watchdog.state_file))
        master = observe.observe(self.settings, store.load(clocks())).observation.master
        if master is None:
            return None
        found = ProcessRef(master.pid, master.start_ticks)
        with contextlib.suppress(psutil.Error):
            parent = psutil.Process(found.pid).parent()
            older = ProcessRef(parent.pid, start_ticks(parent.pid)) if parent is not None else None
            if older is not None and successor_of(older) == found:
                return older
        return found

    def environment(self) -> Path | None:
        """By the interpreter's path of the serving master."""
        master = self._master()
        return environment_of(master) if master is not None else None

    def check_handover(self) -> None:
        """systemd takes the successor for the main process by the unit's PIDFile= alone (systemd.service(5)); without
        it the unit ends with the old master. Raises UpgradeError."""
        if not self.host.has_systemd:
            return
        unit = self.deployment.unit
        pidfile = self.host.property(unit, "PIDFile")
        if not pidfile or Path(pidfile).resolve() != self.pidfile.resolve():
            raise UpgradeError(
                Text(
                    en=f"{unit} has no PIDFile={self.pidfile}, so systemd would stop the service at the handover;"
                    " nothing was changed: run gte-ops install, which corrects the unit and restarts it once, then"
                    " again",
                    zh=f"{unit} 没有 PIDFile={self.pidfile}，移交时 systemd 会停止服务；未作任何改动："
                    "请先运行 gte-ops install（它会更正该 unit 并重启一次），然后重试",
                )
            )

    def _must_have_master(self) -> ProcessRef:
        master = self._master()
        if master is None:
            raise UpgradeError(Text(en="the service does not run", zh="服务没有运行"))
        return master

    def hand_over(self, environment: Path) -> None:
        """By USR2; the old master ends once each worker of the new one is ready."""
        master = self._must_have_master()
        end_successor(master)
        successor = start_successor(master, environment, self._is_ready, self.seconds)
        end_predecessor(master, successor, self.pidfile)
        self._wait_for_systemd(successor)

    def _is_ready(self, worker: int) -> bool:
        """Whether a worker has created its application, and has had the time that the trial took to load its models."""
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - start_ticks(worker) / _TICKS
        if age < self._ready_after:
            return False
        with contextlib.suppress(OSError, ValueError, msgspec.MsgspecError, AttributeError):
            path = Path(self.deployment.progress_dir, f"{worker}.json")
            record = msgspec.json.decode(read_regular_file(str(path), _MAX_RECORD_BYTES).content)
            return str(record.get("phase", "")).strip() != "booting"
        return False

    def _wait_for_systemd(self, successor: ProcessRef) -> None:
        """The unit's main process is the successor now. Raises UpgradeError."""
        if not self.host.has_systemd:
            return
        unit = self.deployment.unit
        deadline = time.monotonic() + SYSTEMD_SECONDS
        while (main := self.host.property(unit, "MainPID")) != str(successor.pid):
            if time.monotonic() > deadline:
                raise UpgradeError(
                    Text(
                        en=f"systemd takes process {main} for {unit}, not the new gunicorn {successor.pid}",
                        zh=f"systemd 认为 {unit} 的主进程是 {main}，而不是新的 gunicorn {successor.pid}",
                    )
                )
            time.sleep(_POLL)

    def settle(self) -> None:
        """End the older one, if the pidfile names the newer already; else the newer."""
        master = self._master()
        successor = successor_of(master) if master is not None else None
        if master is None or successor is None:
            return
        with contextlib.suppress(OSError, ValueError):
            if int(read_regular_file(str(self.pidfile), _MAX_RECORD_BYTES).content) == successor.pid:
                end_predecessor(master, successor, self.pidfile)
                self._wait_for_systemd(successor)
                return
        end_successor(master)

    def restart(self) -> None:
        """By its unit; without systemd it is left to a person."""
        if self.host.has_systemd:
            control_unit("restart", self.deployment.unit)
            self._wait_until_answering()
            return
        raise UpgradeError(
            Text(
                en="the running gunicorn cannot hand over: gte-ops service restart",
                zh="正在运行的 gunicorn 无法移交：请运行 gte-ops service restart",
            )
        )

    def _wait_until_answering(self) -> None:
        why = self.host.wait_until_ready(
            self.deployment.site.backend, self.settings.target.ready_path, self.seconds, None
        )
        if why is not None:
            raise UpgradeError(Text(en=safe_line(why), zh=safe_line(why)))

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """A pause of the watchdog, which ends by itself if this process is killed. Raises NotHeldError. May be entered
        again meanwhile."""
        if self._is_held:
            yield
            return
        with keep_watchdog_at_rest(self.settings):
            self._is_held = True
            try:
                yield
            finally:
                self._is_held = False

    def restart_watchdog(self) -> None:
        """If it runs: what it imports from now on is the present version's."""
        if self.host.has_systemd and self.host.is_active(WATCHDOG):
            self.host.run("systemctl", "restart", WATCHDOG)

    # --- questions ----------------------------------------------------------------------------------------------------

    def try_out(self, environment: Path) -> VersionAnswers:
        """One worker on a socket of its own, as the running master's account with its environment."""
        master = self._must_have_master()
        launch = read_launch(master.pid)
        if launch is None:
            raise UpgradeError(
                Text(
                    en=f"how process {master.pid} was started cannot be read: run it as root",
                    zh=f"无法读取进程 {master.pid} 的启动方式：请以 root 运行",
                )
            )
        self._must_have_memory(master)
        began = time.monotonic()
        program = environment / "bin/gunicorn"
        with trial(
            program, self.deployment.gunicorn_arguments, launch, self._serves, self.seconds
        ) as address:
            self._ready_after = time.monotonic() - began
            return self._answers_at(address)

    def _must_have_memory(self, master: ProcessRef) -> None:
        """Both versions run at once for a while. Raises UpgradeError."""
        workers = workers_of(master)
        fits = can_reload(None, (master.pid, *workers))
        limit = self.host.property(self.deployment.unit, "MemoryMax") if self.host.has_systemd else ""
        if limit not in _UNLIMITED:
            current = self.host.property(self.deployment.unit, "MemoryCurrent")
            fits = fits and (not current.isdigit() or 2 * int(current) < int(limit))
        if not fits:
            raise UpgradeError(
                Text(
                    en="memory does not hold both versions at once (free memory, MemoryMax=)",
                    zh="内存容不下两个版本同时运行（可用内存、MemoryMax=）",
                )
            )

    def _serves(self, address: str) -> bool:
        path = self.settings.target.ready_path
        return self._ask("GET", path, address).status == 200

    def answers(self) -> VersionAnswers:
        """Through nginx: ready, version, prediction. What needs a private header is asked of gunicorn itself."""
        front = self._front("GET", self.target.ready_path)
        _must_be_ok(front)
        health = self._front("GET", self.target.health_path)
        _must_be_ok(health)
        backend = self.deployment.site.backend
        if self.settings.target.headers_file:
            return VersionAnswers(_version(health), self._prediction(backend))
        answer = self._front("POST", self.target.predict_path, self.target.predict_body)
        return VersionAnswers(_version(health), self._result(answer))

    def _answers_at(self, address: str) -> VersionAnswers:
        health = self._ask("GET", self.settings.target.health_path, address)
        _must_be_ok(health)
        return VersionAnswers(_version(health), self._prediction(address))

    def _prediction(self, address: str) -> object:
        target = self.settings.target
        return self._result(self._ask("POST", target.predict_path, address, target.predict_body))

    def _result(self, answer: Exchange) -> object:
        _must_be_ok(answer)
        body = answer.json()
        key = self.settings.target.expect_key
        if not isinstance(body, dict) or key not in body:
            raise UpgradeError(
                Text(
                    en=f"{answer.url}: the answer to the test prediction has no {key!r}",
                    zh=f"{answer.url}：测试预测的响应中没有 {key!r}",
                )
            )
        return body[key]

    def _ask(self, method: str, path: str, address: str, body: str | None = None) -> Exchange:
        """Of gunicorn itself."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if self.settings.target.headers_file:
            headers |= dict(read_private_headers(self.settings.target.headers_file).headers)
        url = f"http://{self.deployment.site.domain}{path}"
        deadline = Deadline(time.monotonic() + ASK_SECONDS)
        return exchange(method, url, address, deadline, body=body, headers=headers)

    def _front(self, method: str, path: str, body: str | None = None) -> Exchange:
        """Of nginx, as a client on this host."""
        target = self.target
        headers = {"Content-Type": "application/json"} if body is not None else {}
        return exchange(
            method,
            target.url.rstrip("/") + path,
            target.connect_to or "",
            Deadline(time.monotonic() + ASK_SECONDS),
            body=body,
            headers=headers,
            server_name=target.domain,
        )


def _version(answer: Exchange) -> str:
    body = answer.json()
    return str(body.get("version", "")) if isinstance(body, dict) else ""


def _must_be_ok(answer: Exchange) -> None:
    if answer.status != 200:
        words = safe_line(
            str(answer.detail or answer.failure)
            if answer.status is None
            else f"HTTP {answer.status} {answer.body}",
            300,
        )
        raise UpgradeError(Text(en=f"{answer.url}: {words}", zh=f"{answer.url}：{words}"))
