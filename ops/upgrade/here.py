"""An upgrade of this host: from the settings and what was asked for to the parts of a run."""

from __future__ import annotations

import time
from pathlib import Path, PurePosixPath

from ops.collect.surroundings import look_around
from ops.deployment.values import LOOK_SECONDS, deployment_from
from ops.errors import UsageError
from ops.installation.host import EXTRAS, HostTree, StepError
from ops.installation.inputs import plain_argument
from ops.installation.plan import SETTINGS_FILE
from ops.installation.store import InstallStore
from ops.settings import Settings
from ops.text.language import Text
from ops.text.sanitize import safe_line
from ops.upgrade.run import Upgrader, UpgradeSource
from ops.upgrade.service import RunningService
from ops.upgrade.versions import Versions, newest_wheel, parsed

# Its gunicorn takes its settings from variables (service/gunicorn_conf.py), so another one can run beside it.
_OWN_CONFIGURATION = "service.gunicorn_conf"


def upgrader_here(settings: Settings, settings_file: Path | None, seconds: float) -> Upgrader:
    """The parts of an upgrade on this host. Raises StepError for an application that is not this package's."""
    host = HostTree()
    store = InstallStore(host.root)
    around = look_around(settings, time.monotonic() + LOOK_SECONDS)
    deployment = deployment_from(settings, settings_file, around)
    programs = PurePosixPath(deployment.programs)
    if (
        _OWN_CONFIGURATION not in deployment.gunicorn_arguments
        or PurePosixPath(deployment.gte_ops).parent != programs
    ):
        raise StepError(
            Text(
                en=f"upgrade knows the service of gte-ops in one environment with it; here gunicorn is in {programs}"
                f" with {deployment.gunicorn_arguments}, gte-ops is {deployment.gte_ops}; nothing was changed: upgrade"
                " the application by its own means",
                zh=f"upgrade 只适用于与 gte-ops 在同一环境中的 gte-ops 服务；本机的 gunicorn 位于 {programs}，参数为"
                f" {deployment.gunicorn_arguments}，gte-ops 是 {deployment.gte_ops}；未作任何改动："
                "请按应用自己的方式升级",
            )
        )
    link = Path(programs).parent
    service = RunningService(settings, deployment, around.target, host, seconds)
    unit = Path(deployment.unit_dir, deployment.unit) if host.has_systemd else None
    return Upgrader(
        host,
        store,
        Versions(host, store, link),
        service,
        str(settings_file.resolve()) if settings_file else SETTINGS_FILE,
        unit,
    )


def source_here(
    upgrader: Upgrader, version: str | None, wheel: Path | None, wheels: Path | None, extras: str | None
) -> UpgradeSource:
    """What to upgrade to. Raises UsageError, StepError."""
    host, current = upgrader.host, upgrader.versions.current
    names = tuple(filter(None, extras.split(","))) if extras is not None else host.extras(current)
    unknown = [name for name in names if name not in EXTRAS]
    if unknown:
        raise UsageError(
            Text(
                en=f"--extras: no extra {unknown[0]!r}; there are {', '.join(EXTRAS)}",
                zh=f"--extras：没有名为 {unknown[0]!r} 的 extra；可用的有 {', '.join(EXTRAS)}",
            )
        )
    brackets = f"[{','.join(names)}]" if names else ""
    place = wheels.resolve() if wheels else None
    if wheel is not None:
        parts = wheel.name.split("-")
        if len(parts) < 5 or parts[0] != "gte_ops" or wheel.suffix != ".whl":
            raise UsageError(Text(en=f"{wheel}: no wheel of gte-ops", zh=f"{wheel}：不是 gte-ops 的 wheel"))
        return UpgradeSource(parts[1], f"gte-ops{brackets} @ {wheel.resolve().as_uri()}", place)
    plain_argument("VERSION", version)
    if version is None:
        version = _newest(host, current, place)
    elif parsed(version) is None:
        raise UsageError(
            Text(
                en=f"VERSION: {safe_line(version, 80)} is no version, such as 0.3.0",
                zh=f"VERSION：{safe_line(version, 80)} 不是版本号（例如 0.3.0）",
            )
        )
    return UpgradeSource(version, f"gte-ops{brackets}=={version}", place)


def _newest(host: HostTree, current: Path, place: Path | None) -> str:
    """The newest release of the wheelhouse or the index. A pre-release, or an older version, is for a person to name.
    Raises StepError."""
    where = str(place) if place else "pip"
    version = newest_wheel(place) if place else host.resolved(current, "gte-ops", None).get("gte-ops")
    newest = parsed(version) if version is not None else None
    if version is None or newest is None or newest.is_prerelease:
        raise StepError(
            Text(
                en=f"{where}: no release of gte-ops (gte_ops-*.whl); nothing was changed: name VERSION for a"
                " pre-release",
                zh=f"{where}：没有 gte-ops 的正式版本（gte_ops-*.whl）；未作任何改动：如需预发布版本，请写明 VERSION",
            )
        )
    present = parsed(host.version(current))
    if present is not None and newest < present:
        raise StepError(
            Text(
                en=f"{where}: nothing newer there: the newest is {version}, {present} is present; nothing was changed:"
                f" name VERSION to go back, gte-ops upgrade {version}",
                zh=f"{where}：没有更新的版本：其中最新的是 {version}，当前是 {present}；未作任何改动："
                f"若要退回该版本，请写明 VERSION：gte-ops upgrade {version}",
            )
        )
    return version
