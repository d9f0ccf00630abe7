"""Give the steps that fix a failed start on this host.

A step that is the same in both languages is a command that can be run unchanged; any other needs a person's decision.
"""

from __future__ import annotations

from collections.abc import Callable

from ops.facts.start import LastStart
from ops.interpret.start_failure import (
    code_steps,
    data_steps,
    gunicorn_steps,
    host_steps,
    privilege_steps,
    variable_steps,
)
from ops.interpret.start_failure.kind import NOT_KNOWN, Kind, StartFailure
from ops.interpret.start_failure.place import StartPlace
from ops.text.language import Text, verbatim

_Steps = Callable[[StartFailure, LastStart, StartPlace], tuple[Text, ...]]


def fix_for(failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    """Return the steps that fix the failed start; the last step starts the service."""
    written = _STEPS.get(failure.kind, host_steps.look)(failure, last, place)
    steps = tuple(step for step in written if NOT_KNOWN not in step.en) or host_steps.look(
        failure, last, place
    )
    limit = any(account.result == "start-limit-hit" for account in last.supervisors)
    reset = (verbatim(f"systemctl reset-failed {place.unit}"),) if limit and place.unit else ()
    return (*steps, *reset, verbatim(place.begin))


_STEPS: dict[Kind, _Steps] = {
    Kind.VARIABLE: variable_steps.variable,
    Kind.VARIABLE_VALUE: variable_steps.variable,
    Kind.SUBMODULE: code_steps.submodule,
    Kind.RELATIVE_IMPORT: code_steps.relative_import,
    Kind.DATA_FILE: data_steps.data_file,
    Kind.DATABASE_FILE: data_steps.database_file,
    Kind.TABLE: data_steps.table,
    Kind.DATABASE_REFUSES: data_steps.database_refuses,
    Kind.PORT_OF_ITS_OWN: code_steps.own_port,
    Kind.PARSES_ARGUMENTS: code_steps.arguments,
    Kind.WORKER_DIRECTORY: gunicorn_steps.worker_directory,
    Kind.SETTINGS: code_steps.correct,
    Kind.WSGI_MODULE: code_steps.wsgi_module,
    Kind.OWN_MODULE: code_steps.wsgi_module,
    Kind.PACKAGE: code_steps.package,
    Kind.VERSION_CLASH: code_steps.clash,
    Kind.CIRCULAR: code_steps.correct,
    Kind.OWN_NAME: code_steps.correct,
    Kind.HIDES: code_steps.hidden,
    Kind.ATTRIBUTE: code_steps.attribute,
    Kind.NOT_CALLABLE: code_steps.attribute,
    Kind.FACTORY_ARGUMENT: code_steps.factory,
    Kind.SYNTAX: code_steps.syntax,
    Kind.DAMAGED: code_steps.damaged,
    Kind.PICKLED: code_steps.pickled,
    Kind.SOURCE_ENCODING: code_steps.source_encoding,
    Kind.ENCODING: code_steps.encoding,
    Kind.WORKER_CLASS: gunicorn_steps.worker_class,
    Kind.CONFIG_MISSING: gunicorn_steps.configuration,
    Kind.CONFIG_FAILS: gunicorn_steps.configuration,
    Kind.SETTING_VALUE: gunicorn_steps.invalid_setting,
    Kind.OPTION: gunicorn_steps.option,
    Kind.ADDRESS_IN_USE: gunicorn_steps.in_use,
    Kind.ADDRESS_NOT_HERE: gunicorn_steps.bind,
    Kind.PORT_FORBIDDEN: gunicorn_steps.bind,
    Kind.ADDRESS_INVALID: gunicorn_steps.bind,
    Kind.HOST_UNKNOWN: gunicorn_steps.bind,
    Kind.SOCKET_DIRECTORY: host_steps.directory,
    Kind.SOCKET_FORBIDDEN: host_steps.forbidden,
    Kind.SOCKET_TOO_LONG: gunicorn_steps.bind,
    Kind.PIDFILE_HELD: gunicorn_steps.pidfile_held,
    Kind.PIDFILE_DIRECTORY: host_steps.directory,
    Kind.PIDFILE_FORBIDDEN: host_steps.forbidden,
    Kind.USER: host_steps.account,
    Kind.GROUP: host_steps.account,
    Kind.NOT_ROOT: host_steps.not_root,
    Kind.LOG_DIRECTORY: host_steps.directory,
    Kind.LOG_FORBIDDEN: host_steps.forbidden,
    Kind.DIRECTORY: host_steps.work_directory,
    Kind.TLS_FILE: gunicorn_steps.tls_file,
    Kind.CONNECTION: data_steps.connection,
    Kind.FILE: host_steps.file,
    Kind.FILE_FORBIDDEN: host_steps.forbidden,
    Kind.CALL_FORBIDDEN: privilege_steps.call_forbidden,
    Kind.READ_ONLY: host_steps.read_only,
    Kind.DISK_FULL: host_steps.disk,
    Kind.LIBRARY: host_steps.library,
    Kind.MEMORY: host_steps.memory,
    Kind.KILLED: host_steps.memory,
    Kind.CRASHED: host_steps.crashed,
    Kind.TOO_SLOW: host_steps.slow,
    Kind.OPEN_FILES: host_steps.open_files,
    Kind.RUNS_ITSELF: code_steps.runs_itself,
    Kind.EXITS: code_steps.exits,
    Kind.INTERPRETER: host_steps.program,
    Kind.PROGRAM: host_steps.program,
    Kind.NO_GUNICORN: host_steps.program,
    Kind.NOT_EXECUTABLE: host_steps.program,
    Kind.START_LIMIT: host_steps.limit,
    Kind.EXTENSION: host_steps.extension,
    Kind.OLD_ENVIRONMENT: host_steps.old_environment,
    Kind.NO_LIBRARY: host_steps.standard_library,
    Kind.EXCEPTION: code_steps.correct,
}
