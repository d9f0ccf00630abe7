"""What differs on this host from the last state in which the service was healthy."""

from __future__ import annotations

from enum import StrEnum

from ops.facts.base import Facts


class PlaceKind(StrEnum):
    """A kind of place whose change can bring about a cause. The catalogue names them (``places``)."""

    NGINX = "nginx"  # its configuration, all files that it includes or reads
    CERTIFICATE = "certificate"  # certificates and keys, and the fingerprint that is served
    RENEWAL = "renewal"  # certbot's renewal/*.conf and cli.ini
    GUNICORN = "gunicorn"  # its configuration file and the scripts of its start command
    COMMAND = "command"  # the command line that gunicorn was started with
    UNIT = "unit"  # the service's unit and its drop-ins
    ENVIRONMENT_FILE = "environment_file"  # what EnvironmentFile= names
    APPLICATION = "application"  # the application's code and its revision
    MODEL = "model"
    PACKAGE = "package"  # of the service's Python environment
    HOST_PACKAGE = "host_package"  # nginx, openssl, python and gunicorn as the host's packages
    HOST = "host"  # /etc/hosts, /etc/resolv.conf and their kind; the kernel; boots
    ADDRESS = "address"  # what the service's name resolves to
    CRON = "cron"
    LOGROTATE = "logrotate"
    SETTINGS = "settings"  # gte-ops.toml


class ChangeKind(StrEnum):
    """How something changed. ACCESS: its owner or mode alone; LINK: where a link leads; VALUE: no file, but a value."""

    ADDED = "added"
    REMOVED = "removed"
    CONTENT = "content"
    ACCESS = "access"
    LINK = "link"
    VALUE = "value"


class ChangedLines(Facts, frozen=True):
    """Lines that follow one another and were replaced.

    ``line``: number of the first of them in the present file; where they were removed, of the line that now stands
    there. ``names``: of the statements they belong to: a directive of nginx, a setting, a key."""

    line: int
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


class Change(Facts, frozen=True):
    """One thing that differs. ``what``: a path, a package, a name; ``time``: Unix seconds, None if nothing tells it;
    ``by``: the program or person that the host knows to have made it, empty if it does not.

    ``before`` and ``after``: values, owners and modes, where links lead. ``lines``: of a text that was kept; empty if
    it was not. ``is_harmless``: comments and blank lines alone."""

    place: PlaceKind
    what: str
    kind: ChangeKind
    time: float | None = None
    by: str = ""
    before: str = ""
    after: str = ""
    lines: tuple[ChangedLines, ...] = ()
    is_harmless: bool = False


class Changes(Facts, frozen=True):
    """All that differs from the last baseline.

    ``taken_at``: when that state was first recorded, ``confirmed_at``: when the service was last healthy with it,
    ``by``: who recorded it (watchdog, doctor, accept, restore, reload). ``omitted``: changes beyond the bound;
    ``usual_predict_s``: how long a prediction took then, seconds."""

    taken_at: float
    confirmed_at: float
    by: str
    changes: tuple[Change, ...] = ()
    omitted: int = 0
    usual_predict_s: float | None = None
