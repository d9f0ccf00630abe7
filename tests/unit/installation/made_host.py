"""A host below a scratch root whose programs are imitated: systemctl, nginx, useradd, pip. It can die at any change."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from ops.deployment.render import Deployment, DeploymentKind, RenderedFile
from ops.installation.host import HostTree, StepError
from ops.installation.issuance import AcmeAuthority, certbot_step
from ops.installation.plan import InstallFacts, plan
from ops.installation.steps import CertificateStep, Directory, Step
from ops.installation.throwaway import throwaway_pair

SETTINGS = RenderedFile("/etc/gte-ops/gte-ops.toml", '[target]\ndomain = "gte-api.example.com"\n')


class KilledError(BaseException):
    """The process that installs is killed: it does nothing more."""


class MadeHost(HostTree):
    """What its programs did is in files below ``root``/state, as on a host: it outlives the process.

    ``dies_at``: the change at which the process is killed, counted from 0; even numbers before the change, odd ones
    after it. ``fails``: a command's beginning that fails."""

    def __init__(self, root: Path, *, dies_at: int | None = None, fails: str = "") -> None:
        super().__init__(root)
        self.dies_at, self.fails = dies_at, fails
        self.moments = 0
        self.is_dead = False
        self.commands: list[str] = []
        self.ready = True
        self.state = root / "state"
        self.state.mkdir(exist_ok=True)

    @property
    def is_running(self) -> bool:
        return True

    @property
    def has_systemd(self) -> bool:
        return True

    def _moment(self) -> None:
        if self.is_dead or self.moments == self.dies_at:
            self.is_dead = True
            raise KilledError
        self.moments += 1

    def put(self, path: Path, content: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
        self._moment()
        super().put(path, content, mode, owner)
        self._moment()

    def remove(self, path: Path) -> None:
        self._moment()
        super().remove(path)
        self._moment()

    def link(self, path: Path, target: str) -> None:
        self._moment()
        super().link(path, target)
        self._moment()

    def make_directory(self, directory: Directory) -> None:
        self._moment()
        path = self.place(directory.path)
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(directory.mode)
        self._moment()

    def remove_directories(self, paths: Sequence[str]) -> None:
        self._moment()
        super().remove_directories(paths)
        self._moment()

    def remove_tree(self, path: Path) -> None:
        self._moment()
        super().remove_tree(path)
        self._moment()

    def validate(self, kind: DeploymentKind, files: Sequence[RenderedFile], *, is_final: bool) -> None:  # noqa: ARG002
        if self.fails == f"validate {kind}" and is_final:
            raise StepError(f"{kind} refuses it")

    # --- programs -----------------------------------------------------------------------------------------------------

    def run(
        self,
        *command: str,
        seconds: float = 0.0,  # noqa: ARG002
        variables: Sequence[tuple[str, str]] = (),  # noqa: ARG002
        allowed: Sequence[int] = (0,),  # noqa: ARG002
        descriptors: Sequence[int] = (),  # noqa: ARG002
    ) -> None:
        self._moment()
        words = " ".join(command)
        if self.fails and words.startswith(self.fails):
            raise StepError(f"{words}: failed")
        self.commands.append(words)
        self._do(command)
        self._moment()

    def _do(self, command: Sequence[str]) -> None:
        match list(command):
            case ["systemctl", "daemon-reload"]:
                self._set("known", self._units_on_disk())
            case ["systemctl", "enable", "--now", *units]:
                self._all_known(units)
                self._set("enabled", self.get("enabled") | set(units))
                self._set("active", self.get("active") | set(units))
                for unit in units:
                    stamp = self.root / f"var/lib/systemd/timers/stamp-{unit}"
                    if unit.endswith(".timer"):
                        stamp.touch()
            case ["systemctl", "stop", *units]:
                self._set("active", self.get("active") - set(units))
            case ["systemctl", "disable", *units]:
                self._set("enabled", self.get("enabled") - set(units))
            case ["systemctl", "restart", *units]:
                self._all_known(units)
            case ["systemctl", "reload", "nginx"]:
                assert "nginx.service" in self.get("active")
                self._set("served", self._nginx_on_disk())
            case ["nginx", "-t"]:
                self._must_have_its_certificate()
            case ["certbot", "certonly", *options]:
                self._issue(options[options.index("--domain") + 1])
            case ["systemd-sysusers", _]:
                self._set("accounts", self.get("accounts") | {"gte-api", "gte-ops"})
                self._set("groups", self.get("groups") | {"gte-api", "gte-ops"})
            case ["useradd", *_, name]:
                assert name not in self.get("accounts")
                self._set("accounts", self.get("accounts") | {name})
                self._set("groups", self.get("groups") | {name})
            case ["groupadd", "--system", name]:
                assert name not in self.get("groups")
                self._set("groups", self.get("groups") | {name})
            case ["userdel", name]:
                self._set("accounts", self.get("accounts") - {name})
                self._set("groups", self.get("groups") - {name})
            case ["groupdel", name]:
                self._set("groups", self.get("groups") - {name})
            case ["systemctl", "start", "gte-ops-backup.service"]:
                self._all_known(["gte-ops-backup.service"])
                directory = self.root / "var/backups/gte-ops"
                (directory / "gte-ops-made-20261130T220000Z.tar.zst").touch()
            case ["python3", "-m", "venv", directory]:
                python = self.root / directory.lstrip("/") / "bin/python3"
                python.parent.mkdir(parents=True)
                python.touch(0o755)
            case [python, "-m", "pip", "install", *_]:
                self._set("packages", {python})
            case _:
                raise AssertionError(f"not imitated: {command}")

    def _issue(self, domain: str) -> None:
        """Issue as certbot does, in several changes."""
        if not any("challenge" in line for line in self.get("served")):
            raise StepError("Detail: 404")
        pair = throwaway_pair(domain)
        above = self.root / "etc/letsencrypt"
        for name, text in {"fullchain.pem": pair.chain, "privkey.pem": pair.key}.items():
            (above / "live" / domain).mkdir(parents=True, exist_ok=True)
            (above / "live" / domain / name).write_text(text)
            self._moment()
        (above / "accounts").mkdir()
        (above / "renewal").mkdir()
        self._moment()
        (above / "renewal" / f"{domain}.conf").write_text("")

    def serves(
        self,
        address: str,  # noqa: ARG002
        domain: str,  # noqa: ARG002
        path: str,  # noqa: ARG002
        content: str,  # noqa: ARG002
        seconds: float = 0.0,  # noqa: ARG002
    ) -> bool:
        return any("challenge" in line for line in self.get("served"))

    def get(self, name: str) -> set[str]:
        """One set of what the programs keep."""
        file = self.state / name
        return set(file.read_text().splitlines()) if file.exists() else set()

    def _set(self, name: str, values: set[str]) -> None:
        (self.state / name).write_text("\n".join(sorted(values)))

    def _units_on_disk(self) -> set[str]:
        units = self.root / "etc/systemd/system"
        return {f"{path.name} {_digest(path)}" for path in units.glob("*") if path.is_file()}

    def _nginx_on_disk(self) -> set[str]:
        return {f"{path.name} {_digest(path)}" for path in (self.root / "etc/nginx").rglob("*.conf")}

    def _all_known(self, units: Sequence[str]) -> None:
        names = {line.split()[0] for line in self.get("known")}
        missing = {unit for unit in units if unit != "nginx.service"} - names
        if missing or self.get("known") != self._units_on_disk():
            raise StepError(f"Unit {sorted(missing)} not found.")
        if "gte-api.service" in units and not {"gte-api", "gte-ops"} <= self.get("accounts"):
            raise StepError("no such user")

    def _must_have_its_certificate(self) -> None:
        if not (self.root / "etc/nginx/nginx.conf").exists():
            raise StepError("no nginx.conf")

    def is_enabled(self, unit: str) -> bool:
        return unit in self.get("enabled")

    def is_active(self, unit: str) -> bool:
        return unit in self.get("active")

    def journal_line(self, unit: str) -> str:
        return f"{unit}: last words"

    def nginx_runs(self) -> bool:
        return self.is_active("nginx.service")

    def has_account(self, name: str) -> bool:
        return name in self.get("accounts")

    def has_group(self, name: str) -> bool:
        return name in self.get("groups")

    def login_of(self, name: str) -> tuple[str, str] | None:
        return ("/bin/bash", f"/home/{name}") if name in self.get("logins") else None

    def wait_until_ready(
        self,
        address: str,  # noqa: ARG002
        path: str,  # noqa: ARG002
        seconds: float,  # noqa: ARG002
        domain: str | None,  # noqa: ARG002
        payload: str | None = None,  # noqa: ARG002
    ) -> str | None:
        return None if self.ready and self.is_active("gte-api.service") else "no answer"


def bare_host(root: Path) -> MadeHost:
    """A host as Debian leaves it, with nginx serving its own page, and one file that the installation replaces."""
    for path, text in {
        "etc/nginx/nginx.conf": "events {}\n",
        "etc/logrotate.d/gte-api": "# by hand, long ago\n",
        "etc/hosts": "127.0.0.1 localhost\n",
    }.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (root / "etc/logrotate.d/gte-api").chmod(0o640)
    for directory in (
        "usr/local/bin",
        "var/lib/systemd/timers",
        "var/backups",
        "var/log/nginx",
        "var/cache",
        "var/www",
        "opt",
    ):
        (root / directory).mkdir(parents=True)
    host = MadeHost(root)
    for kind in ("accounts", "groups", "logins"):
        host._set(kind, set())
    host._set("active", {"nginx.service"})
    host._set("enabled", {"nginx.service"})
    host._set("served", host._nginx_on_disk())
    host._set("known", host._units_on_disk())
    return host


def steps(**facts: object) -> Sequence[Step]:
    """The plan for the example's values."""
    return plan(Deployment(), InstallFacts(settings=SETTINGS, **facts))  # type: ignore[arg-type]


def issuance() -> CertificateStep:
    """certbot's part for the example's values."""
    return certbot_step(
        Deployment().site,
        AcmeAuthority(server="https://acme.example/dir", ca_bundle="/etc/ssl/acme.pem"),
        letsencrypt="/etc/letsencrypt",
        site_file=Deployment().site_file,
        test=("nginx", "-t"),
        reload=("systemctl", "reload", "nginx"),
    )


def tree(root: Path) -> dict[str, str]:
    """Every path below ``root``, with what tells one from another."""
    entries = {}
    for folder, names, files in os.walk(root):
        for name in (*names, *files):
            path = Path(folder, name)
            mode = oct(path.lstat().st_mode)
            if path.is_symlink():
                entries[str(path.relative_to(root))] = f"{mode} -> {path.readlink()}"
            else:
                entries[str(path.relative_to(root))] = f"{mode} {_digest(path) if path.is_file() else ''}"
    return entries


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
