"""What explains an exception of a request: a file, a limit, the process that runs the code, or what is around it."""

from __future__ import annotations

from msgspec import structs

from ops.diagnosis.checks.app_files import FileRefusal, file_refusal, process_limit
from ops.diagnosis.checks.app_process import (
    Circumstances,
    circumstances,
    naming_variable,
    process_refusal,
    variable_steps,
)
from ops.diagnosis.checks.app_surroundings import surroundings
from ops.diagnosis.checks.gunicorn_configuration import is_preloaded
from ops.diagnosis.checks.held_descriptors import closing_step, held_evidence
from ops.diagnosis.checks.host import FULL, free_share
from ops.diagnosis.checks.log_reading import (
    Raised,
    earlier_exceptions,
    innermost_own,
    is_own_code,
    package_frame,
)
from ops.diagnosis.finding import Evidence, quote
from ops.facts.base import NotSeen
from ops.facts.gunicorn import Gunicorn
from ops.facts.host import Processes
from ops.facts.logs import Logs
from ops.facts.machine import Machine
from ops.facts.target import Target
from ops.interpret.gunicorn import process_of
from ops.text.language import Text


def running_circumstances(
    logs: Logs | NotSeen, gunicorn: Gunicorn | NotSeen, processes: Processes | NotSeen, target: Target
) -> Circumstances:
    """How the gunicorn that runs runs the service's code."""
    master = None if isinstance(processes, NotSeen) else process_of(processes, target.gunicorn_master)
    preloads = master is not None and isinstance(gunicorn, Gunicorn) and is_preloaded(master, gunicorn.config)
    return circumstances(master, gunicorn, logs, is_preloaded=preloads)


def explanation(
    raised: Raised, logs: Logs, machine: Machine | NotSeen, around: Circumstances, target: Target
) -> FileRefusal | None:
    """Return what explains an exception, or else one that it was raised from; None if the line that raised it is what
    there is to say."""
    is_full = isinstance(machine, Machine) and any(free_share(fs) < FULL for fs in machine.file_systems)
    around = around._replace(is_disk_full=is_full)
    for exception in (raised.exception, *earlier_exceptions(raised.entry.text)):
        one = structs.replace(raised, exception=exception)
        if (found := _of_one(one, logs, machine, around, target)) is not None:
            return found
    return None


def _of_one(
    raised: Raised, logs: Logs, machine: Machine | NotSeen, around: Circumstances, target: Target
) -> FileRefusal | None:
    refused = file_refusal(raised.exception, logs, target)
    if refused is not None:
        return _by_variable(refused, raised.exception, around, target)
    limit = process_limit(raised.exception, machine, target)
    if limit is not None:
        return _with_what_is_held(limit, raised.exception, around)
    return process_refusal(raised, around, target) or surroundings(
        raised.exception, target, is_preloaded=around.is_preloaded
    )


def _with_what_is_held(limit: FileRefusal, exception: str, around: Circumstances) -> FileRefusal:
    """Add what the process holds open, if its descriptors are used up."""
    if around.given is None or "Too many open files" not in exception:
        return limit
    return limit._replace(
        evidence=(*limit.evidence, *held_evidence(around.given)),
        fix=(*closing_step(around.given), *limit.fix),
    )


def at_the_line(raised: Raised) -> tuple[Evidence, ...]:
    """The application's line that was running, and the package that it had called, as the traceback has them."""
    line, called = innermost_own(raised.entry.text), package_frame(raised.entry.text)
    own = (quote(raised.where, line),) if line and is_own_code(raised.where) else ()
    package = (
        (Evidence(called, Text(en="the package's code that it called", zh="它调用的依赖包代码")),)
        if called
        else ()
    )
    return (*own, *package)


def _by_variable(refused: FileRefusal, exception: str, around: Circumstances, target: Target) -> FileRefusal:
    """Add the variable of the environment that leads to the refused file, if one does."""
    found = naming_variable(exception, around)
    if found is None:
        return refused
    evidence, step = variable_steps(*found)
    return FileRefusal(
        (*refused.evidence, evidence),
        Text(
            en=f"{refused.words.en}; the variable {found[0]} leads there",
            zh=f"{refused.words.zh}；环境变量 {found[0]} 指向那里",
        ),
        (*refused.fix, step, target.restart_command),
    )
