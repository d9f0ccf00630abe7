"""The real stack on free loopback ports, everything under one directory: to be looked at, broken and taken down.

nginx (``deploy/nginx``, or the guide's site), gunicorn with the service or any other application, a name server, a
certificate authority, and the gte-ops.toml that describes exactly this stack. Nothing of it is a stand-in.

    with Stack() as stack:
        stack.kill_gunicorn()
        assert stack.request(path="/health").status == 502
        assert stack.doctor().first == "GUN001"
"""

from __future__ import annotations

import contextlib
import functools
import grp
import hashlib
import json
import os
import platform
import pwd
import secrets
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import psutil

from ops.archive.checksum import checksum_line
from ops.archive.manifest import Manifest, ManifestEntry
from ops.archive.name import ArchiveName, checksum_path
from ops.archive.writing import compressed, tar_stream
from ops.collect.process.bound_sockets import accept_queues
from ops.deployment.render import NginxSite, render_nginx
from ops.files.entry_kind import EntryKind
from ops.files.host_lock import VARIABLE
from tests.lab.authority import Authority, Issued, write_lineage
from tests.lab.client import Answer, Client, connect
from tests.lab.guide import Trap, guide_gunicorn_conf, guide_site
from tests.lab.keeper import Keeper
from tests.lab.resolver import Resolver
from tests.lab.waiting import NotInTimeError, wait_for

REPOSITORY = Path(__file__).resolve().parents[2]
MIME_TYPES = Path("/etc/nginx/mime.types")
MODEL = "nlp_gte_sentence-embedding_chinese-large"
PREDICTION = {"task_type": "ner", "input_text": "2022年北京冬奥会在北京举行"}

Door = Literal["https", "http", "backend"]
Wait = Literal["ready", "answering", "listening", "nothing"]


class StackError(AssertionError):
    """The stack could not be brought where it should be; the message ends with what its logs say."""


@dataclass(frozen=True)
class Report:
    """What one run of the doctor said: its JSON, exit code, standard error, and how long it took in seconds."""

    report: dict[str, Any]
    exit_code: int
    seconds: float
    stdout: str
    stderr: str

    @property
    def codes(self) -> list[str]:
        """The causes' codes, in order."""
        return [cause["code"] for cause in self.report.get("causes", [])]

    @property
    def first(self) -> str | None:
        """The code to fix first, None where there is no cause."""
        return next(iter(self.codes), None)


class Stack:
    """One stack, up between ``with`` and its end. Every attribute that is a path may be read and written to.

    Everything runs under ``address``, a loopback address of this stack's own: no port of it can meet another stack's,
    nor a client's, so a stopped server's port stays free.
    """

    def __init__(
        self,
        *,
        layout: Literal["deploy", "guide"] = "deploy",
        traps: Collection[Trap] = (),
        app: str | None = None,
        app_progress: bool = False,
        workers: int = 1,
        threads: int | None = None,
        worker_class: str | None = None,
        timeout: int | None = None,
        unix_socket: bool = False,
        gunicorn_extra: str = "",
        gunicorn_args: Sequence[str] = (),
        service_environment: Mapping[str, str] | None = None,
        site: Mapping[str, Any] | None = None,
        nginx_extra: str = "",
        nginx_binary: str = "nginx",
        domain: str = "gte.lab.example",
        names: Sequence[str] | None = None,
        key: str = "ecdsa",
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        address: str | None = None,
        ports: Mapping[str, int] | None = None,
        wait: Wait | None = None,
    ) -> None:
        """Says what to bring up; nothing happens before ``with``.

        layout, traps: our own configuration, or the guide's with some of its traps (``tests/lab/guide.py``).
        app: source of another application (a module with ``app``) to serve in place of the service;
            app_progress keeps the service's hooks, and so its progress records, around it.
        workers, threads, worker_class, timeout, gunicorn_extra: gunicorn's configuration; gunicorn_args: further
            command line; unix_socket: bind there instead of a port; service_environment: more GTE_* variables.
        site: values of ``NginxSite`` (deployment.render) to override; nginx_extra: text for nginx.conf's http level.
        names, key, not_before, not_after: the certificate's (``Authority.issue``), names by default the domain.
        address, ports: fixed ones in place of a fresh address and free ports ("https", "http", "backend", "dns").
        wait: until when ``with`` waits: /ready says so (the default), anything answers over HTTP (the default with
            ``app``), the port listens, or not at all; then gunicorn may fail to start.
        """
        self.domain = domain
        self.address = address or _fresh_address()
        self.nginx_binary = nginx_binary
        self.layout = layout
        self.service = app is None
        self._traps, self._app, self._app_progress = traps, app, app_progress
        self._workers, self._threads, self._worker_class, self._timeout = (
            workers,
            threads,
            worker_class,
            timeout,
        )
        self._unix_socket, self._gunicorn_extra, self._gunicorn_args = (
            unix_socket,
            gunicorn_extra,
            gunicorn_args,
        )
        self._service_environment = dict(service_environment or {})
        self._site_overrides, self._nginx_extra = dict(site or {}), nginx_extra
        self._issue_arguments = {"kind": key, "not_before": not_before, "not_after": not_after}
        self._names = list(names) if names is not None else [domain]
        self._fixed_ports = dict(ports or {})
        self._wait: Wait = wait or ("ready" if app is None else "answering")
        self._closing = contextlib.ExitStack()
        self._certificates = 0
        self._gunicorn_pid: int | None = None
        # Put before gunicorn's command line: setpriv, say.
        self.launcher: list[str] = []
        self.python = sys.executable
        self.seconds_to_start = 0.0

    # --- up and down ------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Brings everything up. Raises StackError, with the logs' last lines, when that fails; nothing is left then."""
        started = time.monotonic()
        try:
            self._bring_up()
        except BaseException:
            self.close()
            raise
        self.seconds_to_start = time.monotonic() - started
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Takes everything down and removes the directory."""
        self.close()

    def close(self) -> None:
        """Ends every process of this stack, whatever state it is in, and removes the directory. Safe to call twice."""
        self._closing.close()

    def _bring_up(self) -> None:
        # Open to nginx's workers, which run as nobody where the stack runs as root.
        self.directory = Path(tempfile.mkdtemp(prefix="gte-lab-"))
        self.keeper = Keeper(self.directory)
        self._closing.callback(self.keeper.close)
        self.directory.chmod(0o755)
        self._lay_out()
        self.resolver = Resolver(self.keeper, self.address, self.ports["dns"], self.logs)
        self._closing.callback(self.resolver.close)
        self.start_gunicorn(wait="nothing")  # the slowest: the others come up beside it
        self.resolver.answer(self.domain, self.address)
        self.start_nginx()
        self.wait_for_gunicorn(self._wait)

    def _lay_out(self) -> None:
        self.nginx_dir = self._folder("nginx")
        self.logs = self._folder("log")
        self.run = self._folder("run")
        self.app_dir = self._folder("build")
        self.letsencrypt = self._folder("letsencrypt")
        self.challenges = self._folder("challenges")
        self.cron = self._folder("cron.d")
        self.systemd = self._folder("systemd")
        self.logrotate = self._folder("logrotate.d")
        self.backups = self._folder("backups")
        self.progress_dir = self._folder("run/progress")
        self.model_dir = self._folder(f"build/iic/{MODEL}")
        self.ports = self._choose_ports()
        self.https = (self.address, self.ports["https"])
        self.http = (self.address, self.ports["http"])
        self.backend: tuple[str, int] | str = (
            str(self.run / "gunicorn.sock") if self._unix_socket else (self.address, self.ports["backend"])
        )
        self.url = f"https://{self.domain}:{self.ports['https']}"
        self.bind = (
            self.backend if isinstance(self.backend, str) else f"{self.address}:{self.ports['backend']}"
        )
        if self._unix_socket:
            self.bind = f"unix:{self.bind}"
        self.nginx_conf = self.nginx_dir / "nginx.conf"
        self.nginx_pidfile = self.run / "nginx.pid"
        self.nginx_access_log = self.logs / "gte-access.log"
        self.nginx_error_log = self.logs / "gte-error.log"
        self.nginx_main_error_log = self.logs / "nginx-error.log"
        self.gunicorn_conf = self.app_dir / "gunicorn.conf.py"
        self.gunicorn_pidfile = self.run / "gte-gunicorn.pid"
        self.gunicorn_access_log = self.logs / "gte-gunicorn-access.log"
        self.gunicorn_error_log = self.logs / "gte-gunicorn-error.log"
        self.gunicorn_output = self.logs / "gunicorn-output.log"
        self._write_certificate()
        self._write_nginx()
        self._write_application()
        self._write_model()
        self._write_safeguards()
        self.write_backup()
        self.config_file = self.directory / "gte-ops.toml"
        self.config = self._settings()
        self.write_config()

    def _folder(self, name: str) -> Path:
        folder = self.directory / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _choose_ports(self) -> dict[str, int]:
        """Free ports of this stack's address, as the kernel gives them; all held until all are known."""
        with contextlib.ExitStack() as held:
            ports = {}
            for name in ("https", "http", "backend", "dns"):
                kind = socket.SOCK_DGRAM if name == "dns" else socket.SOCK_STREAM
                taken = held.enter_context(socket.socket(socket.AF_INET, kind))
                taken.bind((self.address, 0))
                ports[name] = self._fixed_ports.get(name, taken.getsockname()[1])
            return ports

    # --- files ------------------------------------------------------------------------------------------------------

    def _write_certificate(self) -> None:
        self.authority = Authority()
        self.ca_file = self.directory / "ca.pem"
        self.ca_file.write_bytes(self.authority.root.pem)
        live = self.letsencrypt / "live" / self.domain
        self.certificate, self.private_key = live / "fullchain.pem", live / "privkey.pem"
        self._lay_down(self.authority.issue(self._names, **self._issue_arguments))  # type: ignore[arg-type]

    def _lay_down(self, issued: Issued) -> None:
        self._certificates += 1
        self.issued = issued
        write_lineage(self.letsencrypt, self.domain, issued, version=self._certificates)

    def _write_nginx(self) -> None:
        self.site = replace(
            NginxSite(
                domain=self.domain,
                http=f"{self.address}:{self.ports['http']}",
                https=f"{self.address}:{self.ports['https']}",
                public_url=self.url,
                backend=self.bind,
                certificate=str(self.certificate),
                private_key=str(self.private_key),
                access_log=str(self.nginx_access_log),
                error_log=str(self.nginx_error_log),
                challenge_root=str(self.challenges),
            ),
            **self._site_overrides,
        )
        texts = render_nginx(self.site)
        if self.layout == "guide":
            texts = {"conf.d/gte-api.conf": guide_site(self.site, self._traps)}
        for path, text in texts.items():
            file = self.nginx_dir / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        self.site_file = self.nginx_dir / "conf.d" / "gte-api.conf"
        temporary = self._folder("nginx/tmp")
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        self.nginx_conf.write_text(
            "\n".join(
                [
                    *([f"user {_worker_user()};"] if os.geteuid() == 0 else []),
                    "worker_processes 1;",
                    f"pid {self.nginx_pidfile};",
                    f"error_log {self.nginx_main_error_log};",
                    "events {",
                    "    worker_connections 512;",
                    "}",
                    "http {",
                    "    default_type application/octet-stream;",
                    f"    access_log {self.logs / 'nginx-access.log'};",
                    *(f"    {kind}_temp_path {temporary / kind};" for kind in kinds),
                    *([self._nginx_extra] if self._nginx_extra else []),
                    f"    include {self.nginx_dir}/conf.d/*.conf;",
                    # As every distribution's nginx.conf has it.
                    *([f"    include {MIME_TYPES};"] if MIME_TYPES.exists() else []),
                    "}",
                    "",
                ]
            )
        )

    def _write_application(self) -> None:
        lines = []
        if self.service or self._app_progress:
            lines.append("from service.gunicorn_conf import *")
        else:
            lines += ["capture_output = True", "control_socket_disable = True"]
            lines += ["max_requests = 1000", "max_requests_jitter = 100"]
        lines += [
            f"bind = {self.bind!r}",
            f"pidfile = {str(self.gunicorn_pidfile)!r}",
            f"accesslog = {str(self.gunicorn_access_log)!r}",
            f"errorlog = {str(self.gunicorn_error_log)!r}",
            f"workers = {self._workers}",
        ]
        if self._worker_class:
            lines.append(f"worker_class = {self._worker_class!r}")
        if self._timeout:
            lines.append(f"timeout = {self._timeout}")
        if self._threads and not self.service:
            lines.append(f"threads = {self._threads}")
        extra = self._gunicorn_extra
        if self.layout == "guide":
            extra = guide_gunicorn_conf(self._traps) + extra
        self.gunicorn_conf.write_text("\n".join([*lines, extra, ""]))
        self.app_file = self.app_dir / "app.py"
        self.wsgi = "app:app"
        if self._app is not None:
            self.app_file.write_text(self._app)
        elif self.layout == "guide":
            self.app_file.write_text("from service.app import create_app\n\napp = create_app()\n")
        else:
            self.wsgi = "service.app:create_app()"

    def _write_model(self) -> None:
        """A model directory of the right shape: the GTE model's files, a few bytes each, and well formed."""
        tensors = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
        contents = {
            "config.json": b'{"model_type": "bert", "hidden_size": 1024}',
            "configuration.json": b'{"framework": "pytorch", "task": "sentence-embedding"}',
            "tokenizer_config.json": b'{"do_lower_case": true}',
            "vocab.txt": b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n",
            "model.safetensors": struct.pack("<Q", len(tensors)) + tensors + b"\0" * 4,
        }
        for name, content in contents.items():
            (self.model_dir / name).write_bytes(content)

    def _write_safeguards(self) -> None:
        """What a well-kept host has beside its service: renewal, watchdog, rotation, and below a backup."""
        (self.cron / "certbot").write_text("17 */12 * * * root certbot -q renew\n")
        (self.cron / "gte-ops").write_text("* * * * * root gte-ops watchdog --once\n")
        (self.logrotate / "gte-api").write_text(
            f"{self.logs}/*.log {{\n    daily\n    rotate 14\n    compress\n    delaycompress\n    missingok\n"
            f"    postrotate\n        kill -USR1 $(cat {self.nginx_pidfile})\n"
            f"        kill -USR1 $(cat {self.gunicorn_pidfile})\n    endscript\n}}\n"
        )

    def write_backup(self, *, ago: float = 3600.0) -> Path:
        """A good backup so many seconds old; returns its path."""
        name = ArchiveName(
            created_at=float(int(time.time() - ago)),
            number=1,
            host=platform.node(),
            compression="gz",
            encrypted=False,
        )
        path = self.backups / str(name)
        content = _small_backup()
        path.write_bytes(content)
        checksum_path(path).write_bytes(checksum_line(hashlib.sha256(content).hexdigest(), path.name))
        return path

    def _settings(self) -> dict[str, dict[str, Any]]:
        return {
            "target": {
                "domain": self.domain,
                "url": self.url,
                "connect_to": f"{self.address}:{self.ports['https']}",
                "connect_to_http": f"{self.address}:{self.ports['http']}",
                "expected_addresses": [self.address],
                "resolver": f"{self.address}:{self.ports['dns']}",
            },
            "app": {
                "dir": str(self.app_dir),
                "python": sys.executable,
                "wsgi": self.wsgi,
                "requires": ["flask", "gunicorn"],
                "progress_dir": str(self.progress_dir),
            },
            "gunicorn": {
                "bind": self.bind,
                "config_file": str(self.gunicorn_conf),
                "pidfile": str(self.gunicorn_pidfile),
                "access_log": str(self.gunicorn_access_log),
                "error_log": str(self.gunicorn_error_log),
                "start_command": self.gunicorn_command(),
            },
            "nginx": {
                "binary": self.nginx_binary,
                "config_file": str(self.nginx_conf),
                "site_file": str(self.site_file),
                "pidfile": str(self.nginx_pidfile),
                "access_log": str(self.nginx_access_log),
                "error_log": str(self.nginx_error_log),
            },
            "tls": {
                "certificate": str(self.certificate),
                "private_key": str(self.private_key),
                "letsencrypt_dir": str(self.letsencrypt),
                "ca_file": str(self.ca_file),
            },
            "model": {"dir": str(self.model_dir)},
            "logrotate": {"config_files": [str(self.logrotate / "gte-api")]},
            "schedule": {"cron": [str(self.cron)], "systemd": [str(self.systemd)]},
            "backup": {"dir": str(self.backups)},
            "watchdog": {"state_file": str(self.run / "watchdog.json")},
        }

    def write_config(self) -> None:
        """Writes ``config`` (tables of keys) to ``config_file``; call it after changing the former."""
        tables = (
            "\n".join(
                [
                    f"[{table}]",
                    *(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in keys.items()),
                ]
            )
            for table, keys in self.config.items()
        )
        self.config_file.write_text("\n\n".join(tables) + "\n", encoding="utf-8")

    def edit(self, path: Path, old: str, new: str, *, apply: bool = True) -> None:
        """Replaces ``old`` by ``new``, wherever it stands in a configuration file, and has it taken up.

        nginx is reloaded for its own files, gunicorn restarted for its, unless ``apply`` is False.
        Raises StackError when ``old`` is not there.
        """
        text = path.read_text(encoding="utf-8")
        if old not in text:
            raise StackError(f"{path.name} does not hold {old!r}")
        path.write_text(text.replace(old, new), encoding="utf-8")
        if apply and path.is_relative_to(self.nginx_dir):
            self.reload_nginx()
        elif apply:
            self.restart_gunicorn()

    def become(
        self,
        *,
        traps: Collection[Trap] = (),
        app: str | None = None,
        site: Mapping[str, Any] | None = None,
        gunicorn_extra: str = "",
        gunicorn_args: Sequence[str] = (),
        service_environment: Mapping[str, str] | None = None,
        timeout: int | None = None,
        **_same: Any,
    ) -> None:
        """Deploys other values of ``__init__``'s over the ones that run: writes nginx's and the application's files
        anew, reloads nginx and restarts gunicorn. ``_same``: values that this stack has already."""
        self._traps, self._app, self._timeout = traps, app, timeout
        self._site_overrides, self._gunicorn_extra = dict(site or {}), gunicorn_extra
        self._gunicorn_args = gunicorn_args
        self._service_environment = dict(service_environment or {})
        self._write_nginx()
        self._write_application()
        self.reload_nginx()
        self.stop_gunicorn()
        self.start_gunicorn()

    def replace_certificate(
        self,
        issued: Issued | None = None,
        *,
        reload: bool = True,
        names: Sequence[str] | None = None,
        **arguments: Any,
    ) -> Issued:
        """Puts another certificate where nginx looks, as a renewal does, and reloads nginx unless told not to.

        Without ``issued`` one is issued for ``names`` (by default the present ones); ``arguments`` as for
        ``Authority.issue``.
        """
        issued = issued or self.authority.issue(names or self._names, **arguments)
        self._lay_down(issued)
        if reload:
            self.reload_nginx()
        return issued

    # --- nginx ------------------------------------------------------------------------------------------------------

    def nginx_command(self, *arguments: str) -> list[str]:
        """nginx's command line for this stack's prefix and configuration."""
        return [self.nginx_binary, "-p", str(self.nginx_dir), "-c", str(self.nginx_conf), *arguments]

    def start_nginx(self) -> None:
        """Starts nginx as distributions do: the command returns once it listens.

        Raises StackError with what it said.
        """
        output = self.logs / "nginx-output.log"
        pid = self.keeper.spawn(
            self.nginx_command(), cwd=self.directory, env=self.environment(), output=output
        )
        wait_for(lambda: self.keeper.exit_code(pid) is not None, "nginx to start")
        if self.keeper.exit_code(pid):
            raise self._failure("nginx did not start", output)
        wait_for(lambda: self.nginx_workers, "nginx's workers")

    def stop_nginx(self) -> None:
        """Stops it in order, and waits until it is gone."""
        master = self.nginx_master
        if master:
            self._end([master, *self.nginx_workers], signal.SIGTERM, only_first=True)

    def kill_nginx(self) -> None:
        """SIGKILL to master and workers at once: the pidfile stays."""
        if master := self.nginx_master:
            self._end([master, *self.nginx_workers], signal.SIGKILL)

    def restart_nginx(self) -> None:
        """Stop and start."""
        self.stop_nginx()
        self.start_nginx()

    def reload_nginx(self, *, expect_failure: bool = False) -> None:
        """SIGHUP, as `systemctl reload nginx`, until new workers run and the old are gone.

        With ``expect_failure`` until nginx has refused the configuration, and the old workers serve on.
        """
        master, before = self.nginx_master, self.nginx_workers
        if master is None:
            raise self._failure("nginx does not run", self.nginx_main_error_log)
        position = self.nginx_main_error_log.stat().st_size
        master.send_signal(signal.SIGHUP)
        if expect_failure:
            wait_for(lambda: "[emerg]" in self._written_since(position), "nginx to refuse its configuration")
            return
        wait_for(
            lambda: (
                "[emerg]" in self._written_since(position)
                or (self.nginx_workers and not set(before) & set(self.nginx_workers))
            ),
            "nginx to reload",
        )
        if "[emerg]" in self._written_since(position):
            raise self._failure("nginx refused to reload", self.nginx_main_error_log)

    def _written_since(self, position: int) -> str:
        with self.nginx_main_error_log.open(errors="replace") as file:
            file.seek(position)
            return file.read()

    @property
    def nginx_master(self) -> psutil.Process | None:
        """The master that the pidfile names, None when it is gone."""
        return self._process(self.nginx_pidfile)

    @property
    def nginx_workers(self) -> list[psutil.Process]:
        """The master's live children."""
        return _live_children(self.nginx_master)

    # --- gunicorn ---------------------------------------------------------------------------------------------------

    def gunicorn_command(self) -> list[str]:
        """gunicorn's command line, by the script beside the service's interpreter as on a host."""
        script = Path(self.python).with_name("gunicorn")
        launcher = [str(script)] if script.exists() else [self.python, "-m", "gunicorn"]
        return [*self.launcher, *launcher, "-c", str(self.gunicorn_conf), *self._gunicorn_args, self.wsgi]

    def start_gunicorn(self, *, wait: Wait | None = None) -> None:
        """Starts it, and waits as the stack was told to, or as ``wait`` says."""
        self._gunicorn_pid = self.keeper.spawn(
            self.gunicorn_command(), cwd=self.app_dir, env=self.environment(), output=self.gunicorn_output
        )
        self.wait_for_gunicorn(wait or self._wait)

    def wait_for_gunicorn(self, state: Wait, *, within: float = 30.0) -> None:
        """Waits for ``state``. Raises StackError with the log's end when gunicorn ends first, or takes too long."""
        if state == "nothing":
            return
        checks = {"ready": self._is_ready, "answering": self._answers, "listening": self._listens}
        deadline = time.monotonic() + within
        while not checks[state]():
            if self._gunicorn_failed() or time.monotonic() > deadline:
                raise self._failure(
                    f"gunicorn did not come to be {state}", self.gunicorn_output, self.gunicorn_error_log
                )
            time.sleep(0.01)

    def stop_gunicorn(self) -> None:
        """SIGTERM to the master, and waits until master and workers are gone; after 10 s they are killed."""
        if master := self.gunicorn_master:
            self._end([master, *self.gunicorn_workers], signal.SIGTERM, only_first=True)

    def restart_gunicorn(self) -> None:
        """Stop, start, and wait as the stack was told to."""
        self.stop_gunicorn()
        self.start_gunicorn()

    def reload_gunicorn(self) -> None:
        """SIGHUP, as `systemctl reload`, until new workers run and the old are gone."""
        before = self.gunicorn_workers
        self.signal_gunicorn(signal.SIGHUP)
        wait_for(
            lambda: self.gunicorn_workers and not set(before) & set(self.gunicorn_workers),
            "gunicorn to reload",
            within=30,
        )

    def kill_gunicorn(self, number: signal.Signals = signal.SIGKILL) -> None:
        """A signal that ends it, to master and workers at once, until they are gone. SIGKILL leaves the pidfile."""
        if master := self.gunicorn_master:
            self._end([master, *self.gunicorn_workers], number)

    def signal_gunicorn(self, number: signal.Signals) -> None:
        """A signal to the master alone. Raises StackError when there is none."""
        if (master := self.gunicorn_master) is None:
            raise self._failure("gunicorn does not run", self.gunicorn_error_log)
        master.send_signal(number)

    def signal_workers(self, number: signal.Signals, *, count: int | None = None) -> list[int]:
        """A signal to all workers or the first ``count``; returns their process ids."""
        chosen = self.gunicorn_workers[:count]
        for worker in chosen:
            worker.send_signal(number)
        return [worker.pid for worker in chosen]

    @property
    def gunicorn_master(self) -> psutil.Process | None:
        """The master that was started last, None when it is gone. A daemon is found by its pidfile."""
        started = None if self._gunicorn_pid is None else self._own(self._gunicorn_pid)
        return started or self._process(self.gunicorn_pidfile)

    @property
    def gunicorn_workers(self) -> list[psutil.Process]:
        """The master's live children, the oldest first."""
        return _live_children(self.gunicorn_master)

    def _gunicorn_failed(self) -> bool:
        code = None if self._gunicorn_pid is None else self.keeper.exit_code(self._gunicorn_pid)
        return code is not None and (code != 0 or self.layout != "guide")

    def _is_ready(self) -> bool:
        # /ready is one worker's word; the records have each worker's.
        phases = [record["phase"] for record in self.progress()]
        return (
            phases == ["ready"] * self._workers and self.request(path="/ready", door="backend").status == 200
        )

    def progress(self) -> list[dict[str, Any]]:
        """The workers' progress records that can be read just now."""
        records = []
        for file in self.progress_dir.glob("[0-9]*.json"):
            with contextlib.suppress(OSError, ValueError):
                records.append(json.loads(file.read_bytes()))
        return records

    def _answers(self) -> bool:
        return self.request(path="/health", door="backend", timeout=2.0).status is not None

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), connect(self.backend, 1.0):
            return True
        return False

    # --- what faults are made of ------------------------------------------------------------------------------------

    def free_port(self) -> int:
        """A port of this stack's address that nothing holds."""
        with socket.socket() as probe:
            probe.bind((self.address, 0))
            return int(probe.getsockname()[1])

    def hold(self, held: socket.socket) -> None:
        """Keeps a socket open until the stack ends."""
        self._closing.enter_context(held)

    def at_end(self, callback: Callable[[], object]) -> None:
        """Has ``callback`` called when the stack ends, before anything of it is taken down."""
        self._closing.callback(callback)

    def spawn(self, *argv: str, cwd: Path | None = None) -> int:
        """Starts another program beside the stack, ended with it; returns its process id."""
        return self.keeper.spawn(
            argv, cwd=cwd or self.run, env=self.environment(), output=self.logs / "beside-output.log"
        )

    def listens(self, address: str) -> bool:
        """Whether anything accepts connections at ``host:port``."""
        host, _, port = address.rpartition(":")
        with contextlib.suppress(OSError), connect((host, int(port)), 1.0):
            return True
        return False

    def wait_until_listening(self, address: str) -> None:
        """Waits for somebody to accept connections at ``host:port``."""
        wait_for(lambda: self.listens(address), f"somebody to listen at {address}", within=20)

    def try_to_start_nginx(self) -> None:
        """Starts nginx with a configuration it will refuse. Raises StackError where it takes it."""
        with contextlib.suppress(StackError):
            self.start_nginx()
            raise AssertionError("nginx took the configuration")

    def set_service_environment(self, **variables: str) -> None:
        """Changes the service's variables; they count from its next start."""
        self._service_environment |= variables

    def gunicorn_said(self) -> str:
        """Everything in gunicorn's error log and on its standard output."""
        logs = (self.gunicorn_error_log, self.gunicorn_output)
        return "\n".join(log.read_text(errors="replace") for log in logs if log.exists())

    def queued(self) -> int | None:
        """Connections that wait to be accepted at gunicorn's port."""
        return next((n for a, n in accept_queues().items() if a == self.bind), None)

    def load(self, clients: int) -> None:
        """Closed-loop predictions at the backend by so many clients, until the stack ends."""
        ended = threading.Event()

        def ask() -> None:
            while not ended.is_set():
                self.predict(door="backend", timeout=30.0)

        threads = [threading.Thread(target=ask, daemon=True) for _ in range(clients)]
        for thread in threads:
            thread.start()
        self._closing.callback(ended.set)

    # --- asking -----------------------------------------------------------------------------------------------------

    @property
    def client(self) -> Client:
        """A client that trusts this stack's root and asks for its domain."""
        return Client(self.domain, str(self.ca_file))

    def request(
        self, method: str = "GET", path: str = "/health", *, door: Door = "https", **arguments: Any
    ) -> Answer:
        """One request at a door: nginx's HTTPS or HTTP port, or gunicorn itself.

        ``arguments`` as for ``Client.request``.
        """
        where = {"https": self.https, "http": self.http, "backend": self.backend}[door]
        return self.client.request(where, method, path, tls=door == "https", **arguments)

    def predict(self, **arguments: Any) -> Answer:
        """The example's prediction, by the front door unless ``door`` says otherwise."""
        return self.request("POST", "/predict", json_body=PREDICTION, **arguments)

    def doctor(
        self,
        *arguments: str,
        config: bool = True,
        environment: Mapping[str, str] | None = None,
        machine: bool = False,
    ) -> Report:
        """Runs `gte-ops doctor --format json` on this stack as a command of its own, and returns what it said.

        Whether the hypervisor takes CPU time from this very machine (HST005) is asked only with ``machine``: on a
        busy host it is true now and then, and no fault of the stack.

        A run that writes no JSON has an empty ``report``; its trouble stands in ``stderr``.
        """
        ran = self.gte_ops(
            "doctor", *(["--config", str(self.config_file)] if config else []), "--format", "json", *arguments,
            *(() if machine or {"--skip", "--only"} & set(arguments) else ("--skip", "HST005")),
            environment=environment,
        )  # fmt: skip
        try:
            report = json.loads(ran.stdout)
        except ValueError:
            report = {}
        return replace(ran, report=report)

    def gte_ops(
        self, *arguments: str, environment: Mapping[str, str] | None = None, timeout: float = 60.0
    ) -> Report:
        """Runs any gte-ops command, as its users do. Raises subprocess.TimeoutExpired after ``timeout`` seconds."""
        started = time.monotonic()
        ran = subprocess.run(
            self.gte_ops_command(*arguments),
            cwd=self.directory,
            env=self.environment() | dict(environment or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Report({}, ran.returncode, time.monotonic() - started, ran.stdout, ran.stderr)

    def gte_ops_command(self, *arguments: str) -> list[str]:
        """The command line of gte-ops from this tree, on this interpreter."""
        return [sys.executable, "-m", "ops.cli", *arguments]

    def environment(self) -> dict[str, str]:
        """What every process of this stack gets: no more than is needed, so that no test depends on the caller's."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        kept["PATH"] = os.pathsep.join([kept.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
        service = {
            "GTE_ENGINE": "embedded",
            "GTE_PROGRESS_DIR": str(self.progress_dir),
            "GTE_METRICS_DIR": str(self.run / "metrics"),
        }
        # gunicorn turns a sync worker with more than one thread into gthread (its documentation, "threads").
        if threads := self._threads or (1 if self._worker_class == "sync" else None):
            service["GTE_THREADS"] = str(threads)
        own = {"LC_ALL": "C.UTF-8", "PYTHONPATH": str(REPOSITORY), VARIABLE: str(self.run / "gte-ops.lock")}
        return kept | own | service | self._service_environment

    # --- processes --------------------------------------------------------------------------------------------------

    def processes(self) -> list[psutil.Process]:
        """Every live process of this stack."""
        return [p for p in _children(psutil.Process(self.keeper.pid), recursive=True) if _alive(p)]

    def _process(self, pidfile: Path) -> psutil.Process | None:
        try:
            return self._own(int(pidfile.read_text()))
        except (OSError, ValueError):
            return None

    def _own(self, pid: int) -> psutil.Process | None:
        """The process, if it lives and is this stack's: whose id it may have become meanwhile is not touched."""
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            if _alive(process) and any(parent.pid == self.keeper.pid for parent in process.parents()):
                return process
        return None

    def _end(
        self, processes: list[psutil.Process], number: signal.Signals, *, only_first: bool = False
    ) -> None:
        for process in processes[:1] if only_first else processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        with contextlib.suppress(NotInTimeError):
            wait_for(lambda: not any(map(_alive, processes)), "an end", within=10)
            return
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        wait_for(lambda: not any(map(_alive, processes)), "an end after SIGKILL", within=5)

    def _failure(self, what: str, *logs: Path) -> StackError:
        said = [f"--- {log.name}\n{_tail(log)}" for log in logs if log.exists()]
        return StackError("\n".join([what, *said]))


@functools.cache
def _small_backup() -> bytes:
    """An archive of one file."""
    content = b"events {}\n"
    entry = ManifestEntry(
        path="etc/nginx.conf",
        kind=EntryKind.FILE,
        mode=0o644,
        uid=0,
        gid=0,
        modified_ns=0,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    folder = ManifestEntry(path="etc", kind=EntryKind.DIRECTORY, mode=0o755, uid=0, gid=0, modified_ns=0)
    manifest = Manifest(
        created_at=time.time(), host=platform.node(), versions={}, asked=(), entries=(folder, entry)
    )
    return b"".join(compressed(tar_stream(manifest, lambda _: [content]), "gz"))


def _fresh_address() -> str:
    # The whole of 127.0.0.0/8 is loopback on Linux. Outgoing connections come from 127.0.0.1, so their ports cannot
    # collide with this stack's either. 23 random bits for the few stacks that run side by side.
    number = secrets.randbelow(1 << 23) | 1 << 23
    return f"127.{number >> 16}.{number >> 8 & 255}.{max(1, number & 255)}"


def _worker_user() -> str:
    nobody = pwd.getpwnam("nobody")
    return f"nobody {grp.getgrgid(nobody.pw_gid).gr_name}"


def _alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _children(process: psutil.Process, *, recursive: bool = False) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return process.children(recursive=recursive)
    return []


def _live_children(process: psutil.Process | None) -> list[psutil.Process]:
    return [child for child in _children(process) if _alive(child)] if process else []


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
