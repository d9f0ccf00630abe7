"""The systemd units of the service and of its safeguards, as systemd itself describes them (`systemctl show`)."""

from __future__ import annotations

import msgspec

from ops.facts.base import Facts


class UnitEnvironmentFile(Facts, frozen=True):
    """A file that EnvironmentFile= names. ``is_optional``: the name begins with a hyphen; ``error``: why it cannot be
    read, empty if it can be, or if only root may see that."""

    path: str
    is_optional: bool = False
    error: str = ""


class UnitSandbox(Facts, frozen=True):
    """What a unit's processes may not write, or not see (systemd.exec(5)), by the setting's own values.

    ``system``, ``home``: ProtectSystem= and ProtectHome=. ``writable``, ``read_only``, ``inaccessible``, ``bound``:
    ReadWritePaths= and the settings of these names, BindPaths= among the last. ``missing``: of all these the paths that
    the unit cannot be started without, and that are not there."""

    system: str = "no"
    home: str = "no"
    writable: tuple[str, ...] = ()
    read_only: tuple[str, ...] = ()
    inaccessible: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    private_network: bool = False


class UnitObstacle(Facts, frozen=True):
    """Another unit that keeps a unit from being started, and its state in systemd's words."""

    name: str
    state: str


class UnwritablePlace(Facts, frozen=True):
    """A path that a unit's program writes to, and the setting of its sandbox that forbids it. ``stops_the_start``: the
    service does not start without it. ``is_directory``: it is a directory, or is to be one; else a file."""

    path: str
    setting: str
    stops_the_start: bool = False
    is_directory: bool = False


class Unit(Facts, frozen=True):
    """One unit, by systemd's own words (org.freedesktop.systemd1(5)).

    ``load``: loaded, not-found, masked, bad-setting, error; ``load_error``: why it could not be loaded. ``active``,
    ``sub``, ``result``: ActiveState, SubState, Result. ``status``: of the main process's last exit, None if it has not
    ended; ``signal``: the signal's number that ended it. ``file_state``: enabled, disabled, static, masked, ...;
    ``needs_reload``: its file or drop-ins have changed since systemd read them. ``changed``: when its state last
    changed, Unix seconds. ``restart``: the policy of Restart=; ``restarts``: how often systemd restarted it by itself.
    ``environment``: its variables by name; the values only of those that say where logs, pidfile and records are, else
    empty. ``memory_max`` in bytes and ``open_files``: None without a limit. ``triggers``: the unit that a timer or a
    socket starts; ``triggered_by``: the reverse. ``references``: files that still name a unit that is not there;
    ``unread``: why it is not known whether the journal does, empty if it is.
    ``words``: the last lines of its journal, if it is in trouble. ``own_directories``: those that systemd makes for its
    user. ``log``: one of the service's logs that its user could not write, and ``log_error`` why; empty if it could, or
    if that was not seen. ``unmet``: its conditions (Condition...=, Assert...=) that do not hold, and ``was_skipped``:
    systemd found so at the last start. ``requires``: the units without which it is not started; ``is_queued``: its
    start waits. ``obstacles``: of a unit that is down, those units that are not there, masked or failed, or, if it is
    queued, whose start it waits for. ``unwritable``: where its program writes and its sandbox forbids that."""

    name: str
    load: str
    active: str
    sub: str = ""
    result: str = "success"
    load_error: str = ""
    kind: str = ""
    status: int | None = None
    signal: int | None = None
    file_state: str = ""
    needs_reload: bool = False
    file: str = ""
    drop_ins: tuple[str, ...] = ()
    changed: float | None = None
    restart: str = "no"
    restarts: int = 0
    main_pid: int | None = None
    program: str = ""
    program_error: str = ""
    directory: str = ""
    directory_error: str = ""
    user: str = ""
    group: str = ""
    account_error: str = ""
    is_dynamic_user: bool = False
    environment: dict[str, str] = msgspec.field(default_factory=dict)
    environment_files: tuple[UnitEnvironmentFile, ...] = ()
    private_tmp: bool = False
    root: str = ""
    memory_max: int | None = None
    open_files: int | None = None
    triggers: tuple[str, ...] = ()
    triggered_by: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    unread: str = ""
    words: tuple[str, ...] = ()
    own_directories: tuple[str, ...] = ()
    log: str = ""
    log_error: str = ""
    unmet: tuple[str, ...] = ()
    was_skipped: bool = False
    requires: tuple[str, ...] = ()
    is_queued: bool = False
    obstacles: tuple[UnitObstacle, ...] = ()
    sandbox: UnitSandbox = UnitSandbox()
    unwritable: tuple[UnwritablePlace, ...] = ()


class Units(Facts, frozen=True):
    """The units that matter here; empty where systemd is not the init. ``service``: the name of the unit that runs the
    service; ``nginx``: nginx's; ``watchdog``: the watchdog's."""

    units: tuple[Unit, ...]
    service: str = ""
    nginx: str = ""
    watchdog: str = ""

    def unit(self, name: str) -> Unit | None:
        """The unit of this name; None if it was not asked for."""
        return next((unit for unit in self.units if unit.name == name), None)
