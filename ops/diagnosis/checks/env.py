"""The Python environment the service runs in."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ops.diagnosis.checks.log_reading import raised_in
from ops.diagnosis.finding import Evidence, Finding, NotJudgedError, Severity, check, quote
from ops.facts.base import NotSeen
from ops.facts.files import Environment
from ops.facts.logs import Log, Logs
from ops.facts.probes import Backend, Exchange
from ops.facts.target import Target
from ops.interpret.service_name import serves
from ops.interpret.target import WRITTEN
from ops.text.language import Text

BASE = ("flask", "gunicorn")
MODEL = ("torch", "transformers", "modelscope")
# The first modelscope that loads the model (contract, ENV002).
FLOORS = {"modelscope": "1.12.0"}
_NO_MODULE = re.compile(r"No module named '([\w.]+)'")


@check("env.packages", "ENV001", en="the service's packages are installed", zh="服务需要的包都已安装")
def packages(
    environment: Environment, target: Target, backend: Backend | NotSeen, logs: Logs | NotSeen
) -> Iterator[Finding]:
    """ENV001: a package that `app.requires` lists has no metadata in the service's environment.

    Without such a list: Flask and gunicorn, and what the GTE model needs where the service is set up to serve it."""
    listed = environment.required is not None
    missing = [name for name in environment.required or BASE if _normal(name) not in environment.packages]
    written = target.origin.get("python") == WRITTEN
    if "gunicorn" in missing and not written:
        # A guess at the interpreter that cannot be right, or that nothing vouches for, proves nothing.
        reason = f"whether the service runs on {environment.python}, which has no gunicorn: set app.python"
        raise NotJudgedError(NotSeen(reason=reason))
    severity: Severity | None = None
    if not listed and (why := _serves_the_model(target, backend, logs)):
        for_model = [name for name in MODEL if name not in environment.packages]
        if for_model and not missing and not isinstance(backend, NotSeen) and _ready(backend, target):
            severity = "warn"
        missing += for_model
    else:
        why = None
    if missing:
        places = ", ".join(environment.directories[:3])
        yield Finding(
            "ENV001",
            (
                *(
                    Evidence(
                        environment.python, Text(en=f"no {name} in {places}", zh=f"{places} 里没有 {name}")
                    )
                    for name in missing[:8]
                ),
                *((why,) if why else ()),
            ),
            {"packages": ", ".join(missing)},
            severity=severity,
        )


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~;\[]", name, maxsplit=1)[0]).lower()


def _ready(backend: Backend, target: Target) -> bool:
    return (isinstance(backend.ready, Exchange) and backend.ready.status == 200) or serves(backend, target)


def _serves_the_model(target: Target, backend: Backend | NotSeen, logs: Logs | NotSeen) -> Evidence | None:
    """Proof that the GTE model directory is set up to be served: the service says so, or failed to import what it
    takes."""
    if target.model_dir is None:
        return None
    health = None if isinstance(backend, NotSeen) else backend.health
    body = health.json() if isinstance(health, Exchange) else None
    if isinstance(body, dict) and body.get("engine") == "gte":
        return quote(f"GET {target.backend}{target.health_path}", "engine: gte")
    if not isinstance(logs, NotSeen) and isinstance(logs.gunicorn_error, Log):
        for raised in reversed(raised_in(logs.gunicorn_error)):
            named = _NO_MODULE.search(raised.exception)
            if named and named[1].partition(".")[0] in MODEL:
                return quote(raised.where, raised.exception)
    return None


@check("env.versions", "ENV002", en="the service's packages are new enough", zh="依赖包版本满足要求")
def versions(environment: Environment) -> Iterator[Finding]:
    """ENV002: the installed version is below the floor."""
    from packaging.version import InvalidVersion, Version

    for name, floor in FLOORS.items():
        installed = environment.packages.get(name)
        if not installed:
            continue
        try:
            older = Version(installed) < Version(floor)
        except InvalidVersion:
            raise NotJudgedError(NotSeen(reason=f"{name}'s version {installed!r} is none")) from None
        if older:
            yield Finding(
                "ENV002",
                (quote(f"{environment.python}: {name}", installed),),
                {"package": name, "installed": installed, "needed": floor},
            )


@check("env.accelerator", "ENV003", en="torch's build suits this machine", zh="torch 的构建与机器相符")
def accelerator(environment: Environment) -> Iterator[Finding]:
    """ENV003: torch is a CUDA build, by its tag or, where it has none, by the libraries installed for it, and there is
    no NVIDIA device. (The wheel on PyPI for Linux is a CUDA build without a tag.)"""
    build = environment.packages.get("torch")
    if not build or environment.nvidia_devices:
        return
    tag = build.partition("+")[2]
    libraries = [name for name in environment.nvidia_packages if "cuda-runtime" in name or "cublas" in name]
    if tag.startswith("cu") or (not tag and libraries):
        more = f", {', '.join(libraries[:3])}" if libraries else ""
        yield Finding(
            "ENV003",
            (
                quote(f"{environment.python}: torch", f"{build}{more}"),
                Evidence(
                    "/dev, /proc/driver, /sys/bus/pci",
                    Text(en="no NVIDIA device", zh="没有 NVIDIA 设备"),
                ),
            ),
            {"build": build},
        )


CHECKS = (packages, versions, accelerator)
