"""`gte-ops adopt`: a host set up by hand gets the service of `gte-ops install` beside its own, which then ends."""

from __future__ import annotations

import os
import re
import shlex
import stat
import sys
import time
import tomllib
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
from ops.installation.obstacles import other_names, shared_site
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
from ops.settings import MAX_FILE_BYTES, Settings, parse_settings
from ops.text.language import Text
from ops.text.sanitize import safe_line

ENVIRONMENT_FILE = "/etc/gte-api/environment"
OWN_UNIT = "gte-api.service"
SPARE_UNIT = "gte-api-adopted.service"
RUNTIME = "/run/gte-api"
# For as long as the former service uses the usual one: a unit's own is removed when it stops.
SPARE_RUNTIME = "/run/gte-api-adopted"
PREDICTION = '{"task_type": "ner", "input_text": "2022年北京冬奥会在北京举行"}'
LOOK_SECONDS = 10.0
# Longer than the site's proxy_read_timeout: a worker of nginx may have such a request.
DRAIN_SECONDS = 150.0
_SECTION = re.compile(r"(?m)^[ \t]*\[(?P<name>[^\[\]\n]+)\][ \t\r]*(?:#.*)?$")
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
    runtime = SPARE_RUNTIME if host.place(RUNTIME).exists() else RUNTIME
    text = _settings_text(settings_file, around, unit, runtime)
    adopted = parse_settings(text.encode(), SETTINGS_FILE)
    deployment = _deployment(adopted, around)
    _refuse_unreachable(deployment)
    base = steps_here(adopted, None, options, host, deployment)
    site = deployment.site
    front = site.https if ":" in site.https else f"127.0.0.1:{site.https}"
    variables, present = _variables(master, around), _present(host.place(ENVIRONMENT_FILE))
    environment: list[Step] = []
    if variables.text and present is None:
        file = RenderedFile(ENVIRONMENT_FILE, variables.text, 0o600)
        environment.append(FileStep(phase=Phase.SETTINGS, file=file, is_data=True))
    started = starters(host.root, master.cwd or around.target.app_dir)
    path, seconds = around.target.predict_path, options.ready_seconds
    further: list[Step] = [
        settings_step(settings_file, host.place(SETTINGS_FILE), text),
        *environment,
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
        *(FileStep(phase=Phase.STARTERS, file=file, keeps_owner=True) for file in started.files),
        RetireStep(former=former, file=deployment.site_file, seconds=DRAIN_SECONDS),
    ]
    steps = tuple(sorted((*base, *further), key=lambda step: step.phase))
    notes = (*environment_notes(variables, present), *_model_notes(around), *started.undecided)
    return Adoption(former=former, steps=steps, settings=adopted, notes=notes)


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
    if others := other_names(config, target.site_file, target.domain):
        raise RefusedError(shared_site(target.site_file, others))


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


def _settings_text(settings_file: Path | None, around: Surroundings, unit: str, runtime: str) -> str:
    """The host's gte-ops.toml, or a new one, with the place of the new service in it. ``runtime``: its directory below
    /run."""
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
            "progress_dir": f"{runtime}/progress",
            "requires": None,
        },
        "gunicorn": {
            "unit": unit,
            "bind": f"unix:{runtime}/gunicorn.sock",
            "pidfile": f"{runtime}/gunicorn.pid",
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


def settings_step(settings_file: Path | None, target: Path, text: str) -> FileStep:
    """The step that writes the settings. They keep owner and mode; at a new place nobody reads them who may not now."""
    mode = 0o644
    is_there = settings_file is not None and settings_file.resolve() == target.resolve()
    if settings_file is not None:
        mode = stat.S_IMODE(settings_file.stat().st_mode)
    if settings_file is not None and not is_there:
        mode = 0o600 | (mode & 0o044)
        if target.exists():
            mode &= 0o600 | target.stat().st_mode
    return FileStep(
        phase=Phase.SETTINGS,
        file=RenderedFile(SETTINGS_FILE, text, mode),
        is_data=settings_file is None,
        keeps_owner=is_there,
    )


def _real(path: str | None) -> str | None:
    """A site is enabled by a link (sites-enabled): its file is what is replaced."""
    return os.path.realpath(path) if path is not None else None


def with_values(text: str, section: str, values: Mapping[str, str | None]) -> str:
    """A TOML text with these strings below ``[section]``; None: without that key. Comments and all else stay.

    Only the usual form is edited, a key on a line below its header. Raises UsageError where another form comes of it
    than these values: dotted keys, an inline table, a value over several lines."""
    changed = _edited(text, section, values)
    expected = tomllib.loads(text)
    table = dict(expected.get(section, {}))
    for key, value in values.items():
        table.pop(key, None)
        if value is not None:
            table[key] = value
    if table or section in expected:
        expected[section] = table
    try:
        is_right = tomllib.loads(changed) == expected
    except tomllib.TOMLDecodeError:
        is_right = False
    if not is_right:
        raise UsageError(
            Text(
                en=f"gte-ops.toml: [{section}] is written in a form that adopt does not edit; write it as a line"
                f" [{section}] with one key = value on each line below; nothing was changed",
                zh=f"gte-ops.toml：[{section}] 的写法 adopt 无法修改；请写成单独一行 [{section}]，"
                "其下每行一个 key = value；未作任何改动",
            )
        )
    return changed


def _edited(text: str, section: str, values: Mapping[str, str | None]) -> str:
    if text and not text.endswith("\n"):
        text += "\n"
    headers = list(_SECTION.finditer(text))
    at = next((n for n, match in enumerate(headers) if match["name"].strip().strip("\"'") == section), None)
    lines = [f"{key} = {_toml(value)}\n" for key, value in values.items() if value is not None]
    if at is None:
        separator = "" if not text or text.endswith("\n\n") else "\n"
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


@dataclass(frozen=True)
class ServiceVariables:
    """``text``: an EnvironmentFile of systemd; ``lost``: the names of those that it cannot hold."""

    text: str
    lost: tuple[str, ...] = ()


def service_variables(variables: Mapping[bytes, bytes], model: str | None) -> ServiceVariables:
    """The service's variables: those that the former one was started with, and where its ``model`` is."""
    lines: dict[str, str] = {}
    lost: list[str] = []
    for name, value in variables.items():
        key, word = os.fsdecode(name), os.fsdecode(value)
        if not re.fullmatch(r"GTE_[A-Z0-9_]+", key) or _NOT_KEPT.fullmatch(key):
            continue
        if word.isprintable():
            lines[key] = word
        else:
            lost.append(key)
    if model and "GTE_ENGINE" not in lines:
        lines.setdefault("GTE_MODEL_DIR", model)
    text = "".join(f'{key}="{_escaped(word)}"\n' for key, word in sorted(lines.items()))
    return ServiceVariables(text, tuple(sorted(lost)))


def _escaped(word: str) -> str:
    """As systemd reads it between double quotes (systemd.exec(5), EnvironmentFile)."""
    return re.sub(r'(["\\`$])', r"\\\1", word)


def _variables(master: Process, around: Surroundings) -> ServiceVariables:
    launch = read_launch(master.pid)
    model = around.target.model_dir
    known = model if model and around.target.origin.get("model_dir") and _has_files(model) else None
    return service_variables(launch.variables if launch else {}, known)


def environment_notes(variables: ServiceVariables, present: str | None) -> tuple[Text, ...]:
    """The variables that a person must set. ``present``: the file that is there already, and stays as it is."""
    names = list(variables.lost)
    if present is not None:
        there = set(re.findall(r"(?m)^\s*(GTE_[A-Z0-9_]+)=", present))
        names += re.findall(r"(?m)^(GTE_[A-Z0-9_]+)=", variables.text)
        names = [name for name in names if name not in there]
    return tuple(
        Text(
            en=f"{ENVIRONMENT_FILE}: {name} of the former service is not taken over; set it there, then gte-ops"
            " service restart",
            zh=f"{ENVIRONMENT_FILE}：没有接管原来服务的 {name}；请在其中设置，然后运行 gte-ops service restart",
        )
        for name in names
    )


def _present(path: Path) -> str | None:
    try:
        return read_regular_file(str(path), MAX_FILE_BYTES).content.decode("utf-8", "replace")
    except FileNotFoundError:
        return None


def _model_notes(around: Surroundings) -> tuple[Text, ...]:
    """`upgrade` tries a version out beside the unit, whose namespace alone has the model."""
    model = around.target.model_dir
    if not model or not model.startswith(_HOMES) or not _has_files(model):
        return ()
    place = safe_line(model, 200)
    return (
        Text(
            en=f"{place}: gte-ops upgrade cannot try out a version with a model below a home directory; before the"
            f" first upgrade move it to /srv, set GTE_MODEL_DIR in {ENVIRONMENT_FILE} and model.dir in"
            f" {SETTINGS_FILE}, and gte-ops service restart",
            zh=f"{place}：模型位于主目录之下时，gte-ops upgrade 无法试运行新版本；首次升级前请把它移到 /srv，修改"
            f" {ENVIRONMENT_FILE} 中的 GTE_MODEL_DIR 和 {SETTINGS_FILE} 中的 model.dir，然后 gte-ops service restart",
        ),
    )


def _has_files(directory: str) -> bool:
    """Whether there are weights, and not only a configuration."""
    try:
        return any(path.suffix in (".bin", ".safetensors") for path in Path(directory).iterdir())
    except OSError:
        return False


def _model(around: Surroundings, deployment: Deployment) -> Iterator[FileStep]:
    """A drop-in that shows the service its model and no more of a home directory; none of it once that has moved."""
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
            f"[Service]\nProtectHome=tmpfs\nBindReadOnlyPaths=-{model}\n",
        ),
    )


def _is_plain(path: str) -> bool:
    """Whether systemd reads a path literally."""
    return re.fullmatch(r"[\w@+=,./-]+", path) is not None
