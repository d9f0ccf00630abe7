"""Judges of the Python environment that the service runs in."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ops.diagnosis.checks.log_reading import raised_in
from ops.diagnosis.finding import Evidence, Finding, NotJudgedError, Severity, check, quote
from ops.facts.base import NotSeen
from ops.facts.files import Environment
from ops.facts.gunicorn import Gunicorn
from ops.facts.host import Processes
from ops.facts.logs import Log, Logs
from ops.facts.probes import Backend, Exchange
from ops.facts.target import Target
from ops.interpret.gunicorn import process_of, worker_class
from ops.interpret.packages import WORKER_PACKAGES, required_name, worker_package
from ops.interpret.service_name import serves
from ops.interpret.target import WRITTEN
from ops.text.language import Text

MODEL = ("torch", "transformers", "modelscope")
# Modules whose distribution has the same name.
KNOWN = frozenset({"flask", *MODEL, *WORKER_PACKAGES})
# The first modelscope that loads the model (contract, ENV002).
FLOORS = {"modelscope": "1.12.0"}
_NO_MODULE = re.compile(r"No module named '([\w.]+)'")


@check("env.packages", "ENV001", en="the service's packages are installed", zh="服务需要的包都已安装")
def packages(
    environment: Environment,
    target: Target,
    gunicorn: Gunicorn | NotSeen,
    processes: Processes | NotSeen,
    backend: Backend | NotSeen,
    logs: Logs | NotSeen,
) -> Iterator[Finding]:
    """ENV001: a package that `app.requires` lists has no metadata in the service's environment.

    Without such a list, only packages proven to be needed: gunicorn, the package of its worker class, a package whose
    import failed at the start, and the GTE model's packages if the service is set up to serve it. An application that
    answers has its own packages, wherever they are installed."""
    needed: tuple[str, ...]
    is_configured = target.origin.get("python") == WRITTEN
    proofs: tuple[Evidence, ...] = ()
    severity: Severity | None = None
    if environment.required is not None:
        needed = environment.required
    elif _answers(backend):
        needed = ("gunicorn",)
    else:
        import_failures = _missed_at_start(environment, logs)
        needed = ("gunicorn", *_worker_package(target, gunicorn, processes), *import_failures)
        proofs = tuple(import_failures.values())
    missing = [name for name in dict.fromkeys(needed) if required_name(name) not in environment.packages]
    if "gunicorn" in missing and not is_configured:
        # A guessed interpreter without gunicorn is wrong, or at least unconfirmed: it proves nothing.
        reason = f"whether the service runs on {environment.python}, which has no gunicorn: set app.python"
        raise NotJudgedError(NotSeen(reason=reason))
    if environment.required is None and (why := _serves_the_model(target, backend, logs)):
        for_model = [name for name in MODEL if name not in environment.packages and name not in missing]
        if for_model and not missing and not isinstance(backend, NotSeen) and _ready(backend, target):
            severity = Severity.WARN
        missing += for_model
        proofs = tuple(dict.fromkeys((*proofs, why)))
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
                *proofs,
            ),
            {"packages": ", ".join(missing)},
            severity=severity,
        )


def _answers(backend: Backend | NotSeen) -> bool:
    """Whether the application itself answers, a refusal included: then it has been imported."""
    answers = () if isinstance(backend, NotSeen) else (backend.health, backend.predict)
    return any(isinstance(answer, Exchange) and (answer.status or 500) < 500 for answer in answers)


def _worker_package(
    target: Target, gunicorn: Gunicorn | NotSeen, processes: Processes | NotSeen
) -> tuple[str, ...]:
    """The package that provides the worker class, by gunicorn's command line and configuration file."""
    master = None if isinstance(processes, NotSeen) else process_of(processes, target.gunicorn_master)
    package = worker_package(worker_class(master, None if isinstance(gunicorn, NotSeen) else gunicorn.config))
    return (package,) if package else ()


def _missed_at_start(environment: Environment, logs: Logs | NotSeen) -> dict[str, Evidence]:
    """The known, not installed distribution whose module the last exception could not import, with the log's line."""
    if isinstance(logs, NotSeen) or not isinstance(logs.gunicorn_error, Log):
        return {}
    raised = raised_in(logs.gunicorn_error)
    module = _NO_MODULE.search(raised[-1].exception) if raised else None
    name = module[1].partition(".")[0] if module else ""
    if name not in KNOWN or name in environment.packages:
        return {}
    return {name: quote(raised[-1].where, raised[-1].exception)}


def _ready(backend: Backend, target: Target) -> bool:
    return (isinstance(backend.ready, Exchange) and backend.ready.status == 200) or serves(backend, target)


def _serves_the_model(target: Target, backend: Backend | NotSeen, logs: Logs | NotSeen) -> Evidence | None:
    """Proof that the service is set up to serve the GTE model: its health answer says so, or it failed to import one of
    the model's packages."""
    if target.model_dir is None:
        return None
    health = None if isinstance(backend, NotSeen) else backend.health
    body = health.json() if isinstance(health, Exchange) else None
    if isinstance(body, dict) and body.get("engine") == "gte":
        return quote(f"GET {target.backend}{target.health_path}", "engine: gte")
    if not isinstance(logs, NotSeen) and isinstance(logs.gunicorn_error, Log):
        for raised in reversed(raised_in(logs.gunicorn_error)):
            match = _NO_MODULE.search(raised.exception)
            if match and match[1].partition(".")[0] in MODEL:
                return quote(raised.where, raised.exception)
    return None


@check("env.versions", "ENV002", en="the service's packages are new enough", zh="依赖包版本满足要求")
def versions(environment: Environment) -> Iterator[Finding]:
    """ENV002: an installed version is older than the oldest that works."""
    for name, floor in FLOORS.items():
        installed = environment.packages.get(name)
        if not installed:
            continue
        from packaging.version import InvalidVersion, Version

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
    """ENV003: torch is a CUDA build, by its tag or, without a tag, by the libraries installed for it, and there is no
    NVIDIA device. (PyPI's wheel for Linux is a CUDA build without a tag.)"""
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
