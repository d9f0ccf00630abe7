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
from ops.upgrade.run import Upgrader, UpgradeSource
from ops.upgrade.service import RunningService
from ops.upgrade.versions import Versions, newest_wheel

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
        version = newest_wheel(place) if place else host.resolved(current, "gte-ops", None).get("gte-ops")
    if version is None:
        raise StepError(
            Text(
                en=f"{place}: no wheel gte_ops-*.whl; nothing was changed",
                zh=f"{place}：没有 gte_ops-*.whl；未作任何改动",
            )
        )
    return UpgradeSource(version, f"gte-ops{brackets}=={version}", place)
