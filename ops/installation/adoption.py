"""`gte-ops adopt`: a host set up by hand gets the service of `gte-ops install` beside its own, which then ends."""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from ops.collect.services.units import show_units
from ops.collect.surroundings import Surroundings, look_around
from ops.control.launch import read_launch
from ops.deployment.install import RefusedError
from ops.deployment.render import Deployment, RenderedFile
from ops.deployment.running_gunicorn import running_gunicorn
from ops.deployment.values import deployment_from
from ops.diagnosis.model import Cause
from ops.doctor import examine
from ops.errors import UsageError
from ops.facts.base import NotSeen
from ops.facts.host import Process
from ops.facts.nginx import NginxConfig
from ops.files.bounded_read import read_regular_file
from ops.installation.former import former_service, starters
from ops.installation.host import HostTree
from ops.installation.inputs import InstallOptions, steps_here
from ops.installation.plan import SETTINGS_FILE
from ops.installation.run import UninstallResult, planned_uninstall, uninstall
from ops.installation.steps import (
    DrainStep,
    FileStep,
    FormerService,
    Phase,
    ReadyStep,
    Record,
    RetireStep,
    Step,
    UndoRetire,
)
from ops.installation.store import InstallStore
from ops.interpret.nginx import servers
from ops.settings import MAX_FILE_BYTES, Settings, parse_settings
from ops.text.language import Text
from ops.text.sanitize import safe_line

ENVIRONMENT_FILE = "/etc/gte-api/environment"
OWN_UNIT = "gte-api.service"
SPARE_UNIT = "gte-api-adopted.service"
SOCKET = "unix:/run/gte-api/gunicorn.sock"
PREDICTION = '{"task_type": "ner", "input_text": "2022年北京冬奥会在北京举行"}'
LOOK_SECONDS = 10.0
# Longer than the site's proxy_read_timeout: a worker of nginx may have such a request.
DRAIN_SECONDS = 150.0
_SECTION = re.compile(r"(?m)^\s*\[(?P<name>[^\[\]]+)\]\s*(?:#.*)?$")
# Set in the unit, or of one process.
_NOT_KEPT = re.compile(r"GTE_(?:BIND|PIDFILE|PROGRESS_DIR|METRICS_DIR|ACCESS_LOG|ERROR_LOG|CONTROL_SOCKET)")
_PLAIN_VALUE = re.compile(r"[\w@%+=:,./ -]*")
_HOMES = ("/root/", "/home/")


@dataclass(frozen=True, kw_only=True)
class Adoption:
    """``former``: the service that runs; ``steps``: what is done; ``settings``: the gte-ops.toml; ``notes``: what a
    person must look at."""

    former: FormerService
    steps: tuple[Step, ...]
    settings: Settings
    notes: tuple[Text, ...] = ()


def is_adopted(record: Record | None) -> bool:
    """Whether what is installed took over from a former service."""
    return record is not None and any(isinstance(item, UndoRetire) for item in record.undo)


def adoption_plan(
    settings: Settings, settings_file: Path | None, options: InstallOptions, host: HostTree, prediction: str
) -> tuple[tuple[Step, ...], tuple[Text, ...]]:
    """The steps of `adopt`, or of `install` if the host is adopted already; and what a person must look at.

    Raises UsageError, RefusedError."""
    if is_adopted(InstallStore(host.root).record()):
        path = Path(SETTINGS_FILE)
        content = read_regular_file(str(path), MAX_FILE_BYTES).content
        return steps_here(parse_settings(content, str(path)), path, options, host), ()
    adopted = adoption(settings, settings_file, options, host, prediction)
    return adopted.steps, adopted.notes


def adoption(
    settings: Settings, settings_file: Path | None, options: InstallOptions, host: HostTree, prediction: str
) -> Adoption:
    """What `adopt` does on this host. Raises UsageError, RefusedError: nothing was changed."""
    if not host.has_systemd:
        raise UsageError(
            Text(
                en="adopt starts the new service by systemd, which is not process 1 here",
                zh="adopt 用 systemd 启动新服务，而本机的 1 号进程不是 systemd",
            )
        )
    around = look_around(settings, time.monotonic() + LOOK_SECONDS)
    master = running_gunicorn(settings, around)
    if master is None:
        raise _refused(
            "there is no gunicorn here that is the host's service; gte-ops install sets one up",
            "本机没有可确认为本服务的 gunicorn；可用 gte-ops install 安装",
        )
    _refuse_own(master, host)
    former = _former(settings, around, master)
    _refuse_shared_site(around)
    unit = SPARE_UNIT if host.place(f"/etc/systemd/system/{OWN_UNIT}").exists() else OWN_UNIT
    text = _settings_text(settings_file, around, unit)
    adopted = parse_settings(text.encode(), SETTINGS_FILE)
    deployment = _deployment(adopted, around)
    _refuse_unreachable(deployment)
    base = steps_here(adopted, None, options, host, deployment)
    mode = 0o600 if settings_file is not None and not settings_file.stat().st_mode & 0o077 else 0o644
    site = deployment.site
    front = site.https if ":" in site.https else f"127.0.0.1:{site.https}"
    started = starters(host.root, master.cwd or around.target.app_dir)
    path, seconds = around.target.predict_path, options.ready_seconds
    further: list[Step] = [
        FileStep(
            phase=Phase.SETTINGS, file=RenderedFile(SETTINGS_FILE, text, mode), is_data=settings_file is None
        ),
        *_environment(master, around, host),
        *_model(around, deployment),
        ReadyStep(phase=Phase.READY, address=site.backend, path=path, seconds=seconds, payload=prediction),
        DrainStep(file=deployment.site_file, seconds=DRAIN_SECONDS),
        ReadyStep(
            phase=Phase.FRONT,
            address=front,
            path=path,
            seconds=seconds,
            domain=site.domain,
            payload=prediction,
        ),
        *(FileStep(phase=Phase.STARTERS, file=file) for file in started.files),
        RetireStep(former=former, file=deployment.site_file, seconds=DRAIN_SECONDS),
    ]
    steps = tuple(sorted((*base, *further), key=lambda step: step.phase))
    return Adoption(former=former, steps=steps, settings=adopted, notes=started.undecided)


def traps(settings: Settings, settings_file: Path | None) -> tuple[Cause, ...]:
    """What the doctor finds on the host as it is."""
    diagnosis = examine(
        settings,
        since=settings.doctor.since,
        budget=settings.doctor.budget,
        settings_path=settings_file,
        keeps_baseline=False,
        compares_baseline=False,
    ).diagnosis
    return diagnosis.causes


def undo(host: HostTree, store: InstallStore, *, purge: bool, is_dry: bool) -> UninstallResult:
    """The former service serves again, and the host is as it was before `adopt`. Data stays, unless ``purge``.

    Raises RefusedError where nothing was adopted."""
    if store.unfinished() is None and not is_adopted(store.record()):
        raise _refused(
            "this host was not adopted: gte-ops uninstall removes an installation",
            "本机不是由 adopt 接管的：移除安装请用 gte-ops uninstall",
        )
    return planned_uninstall(store, purge=purge) if is_dry else uninstall(host, store, purge=purge)


# --- what is refused --------------------------------------------------------------------------------------------------


def _refused(en: str, zh: str) -> RefusedError:
    return RefusedError(Text(en=f"{en}; nothing was changed", zh=f"{zh}；未作任何改动"))


def _refuse_own(master: Process, host: HostTree) -> None:
    """A service of gte-ops's own unit has nothing to be taken over: install adds what it lacks."""
    if master.unit not in (OWN_UNIT, SPARE_UNIT):
        return
    try:
        unit = read_regular_file(
            str(host.place(f"/etc/systemd/system/{master.unit}")), MAX_FILE_BYTES
        ).content
    except OSError:
        return
    if b"service.gunicorn_conf" in unit:
        raise _refused(
            f"{master.unit} is gte-ops's own unit: gte-ops install adds what this host lacks",
            f"{master.unit} 已是 gte-ops 自己的 unit：缺少的部分由 gte-ops install 补齐",
        )


def _refuse_shared_site(around: Surroundings) -> None:
    """The site's file is replaced: other names in it would no longer be served."""
    target, config = around.target, around.config
    if not isinstance(config, NginxConfig) or target.site_file is None:
        return
    others = {
        name
        for server in servers(config)
        if server.where.rpartition(":")[0] == target.site_file
        for name in server.names
        if name not in ("", "_", target.domain) and not name.endswith(".invalid")
    }
    if others:
        names = safe_line(", ".join(sorted(others)), 200)
        raise _refused(
            f"{target.site_file} has other sites too ({names}): move them to a file of their own first",
            f"{target.site_file} 中还有其他站点（{names}）：请先把它们移到单独的文件",
        )


def _refuse_unreachable(deployment: Deployment) -> None:
    """The service's account must reach its programs: /root is closed to it."""
    closed = next(
        (
            str(place)
            for place in (Path(deployment.programs), *Path(deployment.programs).parents)
            if not place.is_dir() or not place.stat().st_mode & 0o001
        ),
        None,
    )
    if closed is not None:
        raise _refused(
            f"{closed}: the account gte-api cannot reach {deployment.programs}: install gte-ops in /opt/gte-api/venv",
            f"{closed}：账户 gte-api 无法访问 {deployment.programs}：请把 gte-ops 装在 /opt/gte-api/venv",
        )


# --- what is taken over -----------------------------------------------------------------------------------------------


def _former(settings: Settings, around: Surroundings, master: Process) -> FormerService:
    command = settings.gunicorn.start_command
    try:
        start_command = tuple(shlex.split(command) if isinstance(command, str) else command)
    except ValueError:
        start_command = ()
    main_pid, is_enabled = _unit_of(master)
    former = former_service(
        master, around.target.backend, start_command, main_pid=main_pid, is_enabled=is_enabled
    )
    if former is None:
        raise _refused(
            f"process {master.pid} hides how it was started: say it in gunicorn.start_command, for the way back",
            f"进程 {master.pid} 看不出是怎样启动的：请写在 gunicorn.start_command 中，以便撤销",
        )
    return former


def _unit_of(master: Process) -> tuple[int, bool]:
    """The main process of the unit in whose control group the master is, and whether that starts at boot."""
    if master.unit is None:
        return 0, False
    printed = show_units((master.unit,), ("MainPID", "UnitFileState"), LOOK_SECONDS)
    if isinstance(printed, NotSeen):
        return 0, False
    values = dict(line.partition("=")[::2] for line in printed.splitlines())
    pid = values.get("MainPID", "0")
    return int(pid) if pid.isdecimal() else 0, values.get("UnitFileState") == "enabled"


def _settings_text(settings_file: Path | None, around: Surroundings, unit: str) -> str:
    """The host's gte-ops.toml, or a new one, with the place of the new service in it."""
    text = ""
    if settings_file is not None:
        text = read_regular_file(str(settings_file), MAX_FILE_BYTES).content.decode()
    target = around.target
    programs = Path(sys.executable).parent
    values: dict[str, dict[str, str | None]] = {
        "target": {"domain": target.domain},
        "app": {
            "dir": str(programs.parent.parent),
            "python": str(programs / Path(sys.executable).name),
            "wsgi": "service.app:create_app()",
            "progress_dir": Deployment().progress_dir,
            "requires": None,
        },
        "gunicorn": {
            "unit": unit,
            "bind": SOCKET,
            "pidfile": Deployment().gunicorn_pidfile,
            "access_log": Deployment().gunicorn_access_log,
            "error_log": Deployment().gunicorn_error_log,
            "config_file": None,
            "start_command": None,
        },
        "nginx": {"site_file": _real(target.site_file)},
        "tls": {"certificate": target.certificate, "private_key": target.private_key},
        "model": {"dir": target.model_dir if target.origin.get("model_dir") else None},
    }
    for section, pairs in values.items():
        text = with_values(text, section, pairs)
    return text


def _real(path: str | None) -> str | None:
    """A site is enabled by a link (sites-enabled): its file is what is replaced."""
    return os.path.realpath(path) if path is not None else None


def with_values(text: str, section: str, values: Mapping[str, str | None]) -> str:
    """A TOML text with these strings below ``[section]``; None: without that key. Comments and all else stay.

    Values over several lines are not understood: what comes of it is parsed, so that an error is seen."""
    headers = list(_SECTION.finditer(text))
    at = next((index for index, match in enumerate(headers) if match["name"].strip() == section), None)
    lines = [f"{key} = {_toml(value)}\n" for key, value in values.items() if value is not None]
    if at is None:
        separator = "" if not text or text.endswith("\n\n") else "\n" if text.endswith("\n") else "\n\n"
        return f"{text}{separator}[{section}]\n{''.join(lines)}" if lines else text
    begin = headers[at].end() + 1
    end = headers[at + 1].start() if at + 1 < len(headers) else len(text)
    names = "|".join(map(re.escape, values))
    body = re.sub(rf"(?m)^[ \t]*(?:{names})[ \t]*=.*\n?", "", text[begin:end])
    return f"{text[:begin]}{''.join(lines)}{body}{text[end:]}"


def _toml(value: str) -> str:
    if not _PLAIN_VALUE.fullmatch(value.replace("(", "").replace(")", "")):
        raise UsageError(
            Text(
                en=f"{safe_line(value)!r}: not written into gte-ops.toml; use plain characters",
                zh=f"{safe_line(value)!r}：不会写入 gte-ops.toml；请使用普通字符",
            )
        )
    return f'"{value}"'


def _deployment(adopted: Settings, around: Surroundings) -> Deployment:
    """The values of the new service: nothing of the former gunicorn but what nginx and the settings say."""
    nobody = msgspec.structs.replace(
        around,
        gunicorn=msgspec.structs.replace(
            around.gunicorn,
            config=NotSeen(reason="it belongs to the former service"),
            pidfile=NotSeen(reason="it belongs to the former service"),
        ),
        target=msgspec.structs.replace(
            around.target,
            gunicorn_master=None,
            gunicorn_workers=(),
            gunicorn_pidfile=None,
            gunicorn_log_namer=None,
        ),
    )
    deployment = deployment_from(adopted, Path(SETTINGS_FILE), nobody)
    return replace(deployment, gunicorn_note=None)


def _environment(master: Process, around: Surroundings, host: HostTree) -> Iterator[FileStep]:
    """The service's variables: those that the former one was started with, and where its model is."""
    if host.place(ENVIRONMENT_FILE).exists():
        return
    values: dict[str, str] = {}
    launch = read_launch(master.pid)
    for name, value in (launch.variables if launch else {}).items():
        key, word = os.fsdecode(name), os.fsdecode(value)
        if (
            re.fullmatch(r"GTE_[A-Z_]+", key)
            and not _NOT_KEPT.fullmatch(key)
            and _PLAIN_VALUE.fullmatch(word)
        ):
            values[key] = word
    model = around.target.model_dir
    if model and around.target.origin.get("model_dir") and _has_files(model) and "GTE_ENGINE" not in values:
        values.setdefault("GTE_MODEL_DIR", model)
    text = "".join(f'{key}="{value}"\n' for key, value in sorted(values.items()))
    if text:
        yield FileStep(phase=Phase.SETTINGS, file=RenderedFile(ENVIRONMENT_FILE, text, 0o600), is_data=True)


def _has_files(directory: str) -> bool:
    """Whether there are weights, and not only a configuration."""
    try:
        return any(path.suffix in (".bin", ".safetensors") for path in Path(directory).iterdir())
    except OSError:
        return False


def _model(around: Surroundings, deployment: Deployment) -> Iterator[FileStep]:
    """A drop-in that shows the service its model and no more of a home directory."""
    model = around.target.model_dir
    if not model or not model.startswith(_HOMES) or not _has_files(model):
        return
    if not _is_plain(model):
        raise _refused(
            f"{safe_line(model)}: a unit cannot name it; move the model to a plain path",
            f"{safe_line(model)}：unit 文件无法写这个路径；请把模型移到普通路径",
        )
    yield FileStep(
        phase=Phase.UNITS,
        file=RenderedFile(
            f"{deployment.unit_dir}/{deployment.unit}.d/model.conf",
            "# Of gte-ops adopt: the model stays where it is.\n"
            f"[Service]\nProtectHome=tmpfs\nBindReadOnlyPaths={model}\n",
        ),
    )


def _is_plain(path: str) -> bool:
    """Whether systemd reads a path literally."""
    return re.fullmatch(r"[\w@+=,./-]+", path) is not None
