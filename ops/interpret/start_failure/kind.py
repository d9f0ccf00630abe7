"""The kinds of defect that keep a service from starting, and what is known of one start that failed."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from ops.text.language import Text, verbatim

# Stands in a step for a fact that the log does not show; such a step is not given. No text has this code point.
NOT_KNOWN = "\ufdd0"


class Kind(StrEnum):
    """The kind of defect that kept the service from starting."""

    VARIABLE = "missing_variable"
    VARIABLE_VALUE = "malformed_variable"
    SETTINGS = "invalid_settings"
    OWN_MODULE = "module_not_on_path"
    WSGI_MODULE = "wsgi_module_not_found"
    SUBMODULE = "module_missing_in_own_package"
    RELATIVE_IMPORT = "relative_import_without_package"
    PACKAGE = "package_missing"
    VERSION_CLASH = "version_clash"
    CIRCULAR = "circular_import"
    OWN_NAME = "name_missing_in_own_module"
    HIDES = "own_file_hides_package"
    ATTRIBUTE = "attribute_missing"
    NOT_CALLABLE = "application_is_none"
    FACTORY_ARGUMENT = "factory_takes_arguments"
    SYNTAX = "syntax_error"
    DAMAGED = "module_damaged"
    PICKLED = "pickled_class_missing"
    SOURCE_ENCODING = "source_is_not_utf8"
    ENCODING = "wrong_encoding"
    WORKER_CLASS = "worker_class"
    WORKER_DIRECTORY = "worker_temporary_directory"
    CONFIG_MISSING = "configuration_file_missing"
    CONFIG_FAILS = "configuration_file_fails"
    SETTING_VALUE = "invalid_setting"
    OPTION = "invalid_option"
    ADDRESS_IN_USE = "address_in_use"
    ADDRESS_NOT_HERE = "address_not_of_this_host"
    PORT_FORBIDDEN = "port_needs_privilege"
    ADDRESS_INVALID = "invalid_address"
    HOST_UNKNOWN = "host_name_unknown"
    SOCKET_DIRECTORY = "socket_directory_missing"
    SOCKET_FORBIDDEN = "socket_not_writable"
    SOCKET_TOO_LONG = "socket_path_too_long"
    PIDFILE_HELD = "pidfile_names_living_process"
    PIDFILE_DIRECTORY = "pidfile_directory_missing"
    PIDFILE_FORBIDDEN = "pidfile_not_writable"
    USER = "no_such_user"
    GROUP = "no_such_group"
    NOT_ROOT = "user_needs_root"
    LOG_DIRECTORY = "log_directory_missing"
    LOG_FORBIDDEN = "log_not_writable"
    DIRECTORY = "working_directory"
    TLS_FILE = "tls_file_missing"
    CONNECTION = "connection_refused_at_import"
    FILE = "file_missing_at_import"
    FILE_FORBIDDEN = "file_not_readable"
    CALL_FORBIDDEN = "call_not_permitted"
    DATA_FILE = "file_not_as_expected"
    DATABASE_FILE = "database_file_not_opened"
    TABLE = "table_missing"
    DATABASE_REFUSES = "database_refuses"
    READ_ONLY = "read_only_file_system"
    DISK_FULL = "disk_full"
    LIBRARY = "shared_library_missing"
    MEMORY = "out_of_memory"
    KILLED = "killed_while_loading"
    CRASHED = "crashed_while_loading"
    TOO_SLOW = "loading_exceeds_timeout"
    OPEN_FILES = "too_many_open_files"
    RUNS_ITSELF = "application_runs_itself"
    PORT_OF_ITS_OWN = "application_binds_taken_port"
    PARSES_ARGUMENTS = "application_parses_arguments"
    EXITS = "application_exits"
    INTERPRETER = "interpreter_missing"
    PROGRAM = "program_missing"
    NO_GUNICORN = "gunicorn_not_installed"
    NOT_EXECUTABLE = "program_not_executable"
    START_LIMIT = "start_limit"
    EXTENSION = "extension_of_another_python"
    OLD_ENVIRONMENT = "environment_of_another_python"
    NO_LIBRARY = "python_without_its_library"
    EXCEPTION = "exception_at_import"
    UNKNOWN = "unknown"


# Defects that make a worker fail while it loads the application: GUN003. All others keep the master from running.
LOADING = frozenset(
    {
        Kind.VARIABLE, Kind.VARIABLE_VALUE, Kind.SETTINGS, Kind.SUBMODULE, Kind.RELATIVE_IMPORT, Kind.DATA_FILE,
        Kind.DATABASE_FILE, Kind.TABLE, Kind.DATABASE_REFUSES, Kind.PORT_OF_ITS_OWN, Kind.PARSES_ARGUMENTS,
        Kind.OWN_MODULE, Kind.WSGI_MODULE, Kind.PACKAGE, Kind.VERSION_CLASH,
        Kind.CIRCULAR, Kind.HIDES, Kind.OWN_NAME, Kind.ATTRIBUTE, Kind.NOT_CALLABLE, Kind.FACTORY_ARGUMENT, Kind.SYNTAX,
        Kind.DAMAGED, Kind.PICKLED,
        Kind.SOURCE_ENCODING, Kind.ENCODING, Kind.CONNECTION, Kind.FILE, Kind.FILE_FORBIDDEN, Kind.READ_ONLY,
        Kind.CALL_FORBIDDEN,
        Kind.DISK_FULL, Kind.LIBRARY, Kind.MEMORY, Kind.KILLED, Kind.CRASHED, Kind.TOO_SLOW, Kind.OPEN_FILES,
        Kind.RUNS_ITSELF, Kind.EXITS, Kind.EXCEPTION, Kind.EXTENSION,
    }
)  # fmt: skip
# Defects that may disappear by themselves: the next start may succeed without a fix.
PASSING = frozenset(
    {
        Kind.UNKNOWN, Kind.CONNECTION, Kind.ADDRESS_IN_USE, Kind.START_LIMIT, Kind.MEMORY, Kind.KILLED,
        Kind.HOST_UNKNOWN, Kind.PIDFILE_HELD, Kind.PORT_OF_ITS_OWN, Kind.DATABASE_REFUSES,
    }
)  # fmt: skip


class StartFailure(msgspec.Struct, frozen=True):
    """The reason for the failure of the last start. ``quote``: the message that proves it; ``source``: its log;
    ``time``: when it was written; ``where``: FILE:LINE in the application, if that is involved; ``values``: the kind's
    facts; ``is_loading``: a worker, or the master in its place, failed while it loaded the application; ``count``:
    the number of workers that ended."""

    kind: Kind
    quote: str
    source: str
    time: float
    where: str | None = None
    values: dict[str, str] = {}
    is_loading: bool = False
    count: int = 0

    @property
    def at(self) -> Text:
        """``where``, or words for it."""
        return verbatim(self.where) if self.where else Text("the place that fails", "出错处")


class Proof(msgspec.Struct, frozen=True):
    kind: Kind
    quote: str
    where: str | None = None
    values: dict[str, str] = {}


# Kinds that systemd reports before the program runs.
SYSTEMD_S = (Kind.PROGRAM, Kind.NOT_EXECUTABLE, Kind.INTERPRETER, Kind.DIRECTORY, Kind.USER, Kind.GROUP)
# Kinds that say that a start failed, and not why.
VAGUE = (Kind.UNKNOWN, Kind.EXITS, Kind.START_LIMIT)
Found = tuple[Kind, dict[str, str]] | None
