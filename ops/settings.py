"""gte-ops.toml as typed settings.

Every key is optional. ``None`` means: find it on the host; where nothing is found, the deployment guide's
own value is used (``ops/interpret/target.py``).
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints
from urllib.parse import urlsplit

import msgspec

from ops.errors import SettingsError
from ops.files.bounded_read import read_regular_file
from ops.files.nofollow import reason_not_to_trust
from ops.text.duration import Seconds, parse_duration, parse_margin

DEFAULT_PREDICT_BODY = '{"task_type": "ner", "input_text": "2022年北京冬奥会在北京举行"}'
SEARCH_PATH = ("./gte-ops.toml", "/etc/gte-ops/gte-ops.toml")
# A configuration is written by hand; anything larger is a mistake or an attack on memory.
MAX_FILE_BYTES = 1 << 20


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the file."""


class TargetSettings(Section, frozen=True):
    """What users reach, and how to reach it from here."""

    domain: str | None = None
    url: str | None = None
    connect_to: str | None = None
    connect_to_http: str | None = None
    expected_addresses: tuple[str, ...] = ()
    resolver: str | None = None
    health_path: str = "/health"
    ready_path: str = "/ready"
    predict_path: str = "/predict"
    predict_body: str = DEFAULT_PREDICT_BODY
    expect_key: str = "result"
    slow_after_s: float = 3.0


class Ignore(Section, frozen=True):
    """A cause that is known and accepted: why, and through which day. From the day after it counts again."""

    code: str
    reason: str
    until: date


class DoctorSettings(Section, frozen=True):
    """How far back the doctor looks, how long it may take, and which causes it sets aside."""

    since: Seconds = Seconds(900)
    budget: Seconds = Seconds(10)
    ignore: tuple[Ignore, ...] = ()


class AppSettings(Section, frozen=True):
    """The application and the interpreter it runs on."""

    dir: str | None = None
    python: str | None = None
    wsgi: str = "app:app"
    # None: flask and gunicorn, and what the GTE model needs where it is served.
    requires: tuple[str, ...] | None = None
    progress_dir: str | None = None
    request_deadline: Seconds = Seconds(120)
    boot_deadline: Seconds = Seconds(300)


class GunicornSettings(Section, frozen=True):
    """Where gunicorn listens, logs and is started from."""

    bind: str | None = None
    config_file: str | None = None
    pidfile: str | None = None
    access_log: str | None = None
    error_log: str | None = None
    control_socket: str = ""
    unit: str = "gte-api.service"
    start_command: str | list[str] = ""


class NginxSettings(Section, frozen=True):
    """Which nginx, and its files."""

    binary: str = "nginx"
    config_file: str | None = None
    site_file: str | None = None
    pidfile: str | None = None
    access_log: str | None = None
    error_log: str | None = None


class TlsThreshold(Section, frozen=True):
    """When certificates for some names are told as ending soon. ``names``: patterns as a shell has them, tried on every
    name in the certificate; ``warn`` and ``fail``: time left (``20d``) or share of the lifetime (``25%``)."""

    names: tuple[str, ...]
    warn: str | None = None
    fail: str | None = None


class TlsSettings(Section, frozen=True):
    """The certificate on disk, what to trust, and which further endpoints `cert check` looks at."""

    certificate: str | None = None
    private_key: str | None = None
    letsencrypt_dir: str = "/etc/letsencrypt"
    letsencrypt_logs: str | None = None
    ca_file: str = ""
    endpoints: tuple[str, ...] = ()
    thresholds: tuple[TlsThreshold, ...] = ()


class ModelSettings(Section, frozen=True):
    """Where the production model's files lie."""

    dir: str | None = None


class LogrotateSettings(Section, frozen=True):
    """The rotation rules in use."""

    config_files: tuple[str, ...] = ("/etc/logrotate.d/nginx", "/etc/logrotate.d/gte-api")


class ScheduleSettings(Section, frozen=True):
    """Where timers and cron entries are looked for."""

    cron: tuple[str, ...] = ("/etc/crontab", "/etc/cron.d", "/var/spool/cron/crontabs")
    systemd: tuple[str, ...] = ("/etc/systemd/system", "/lib/systemd/system")


class Keep(Section, frozen=True):
    """How many backups of each kind are kept."""

    daily: int = 7
    weekly: int = 4
    monthly: int = 6


class BackupSettings(Section, frozen=True):
    """Where backups go, what they hold beside what is found by itself (paths, globs), how they are packed, and how many
    stay. ``to``: where each is copied off the host. ``signing_key``: the SSH private key that signs each, or the public
    key of one that an agent holds; ``allowed_signers``: whose signature counts (ssh-keygen(1), ALLOWED SIGNERS), and
    that there must be one. Empty: none."""

    dir: str = "/var/backups/gte-ops"
    max_age: Seconds = Seconds(36 * 3600)
    keep: Keep = Keep()
    recipients: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    compression: Literal["zst", "gz"] = "zst"
    to: tuple[str, ...] = ()
    signing_key: str = ""
    allowed_signers: str = ""


class Restarts(Section, frozen=True):
    """How many restarts are allowed in how long."""

    budget: int = 3
    within: Seconds = Seconds(1800)


class WatchdogSettings(Section, frozen=True):
    """How often the watchdog looks and when it acts. Evidence and metrics go beside the state unless told elsewhere."""

    interval: Seconds = Seconds(15)
    failures: int = 3
    restarts: Restarts = Restarts()
    state_file: str = "/var/lib/gte-ops/watchdog.json"
    evidence_dir: str | None = None
    metrics_file: str | None = None


class NotifySettings(Section, frozen=True):
    """Who is told."""

    urls: tuple[str, ...] = ()


class Settings(Section, frozen=True):
    """The whole file. ``path`` is where it was read from, None without one."""

    target: TargetSettings = TargetSettings()
    doctor: DoctorSettings = DoctorSettings()
    app: AppSettings = AppSettings()
    gunicorn: GunicornSettings = GunicornSettings()
    nginx: NginxSettings = NginxSettings()
    tls: TlsSettings = TlsSettings()
    model: ModelSettings = ModelSettings()
    logrotate: LogrotateSettings = LogrotateSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    backup: BackupSettings = BackupSettings()
    watchdog: WatchdogSettings = WatchdogSettings()
    notify: NotifySettings = NotifySettings()


class SettingsFile(msgspec.Struct, frozen=True):
    """Which file is read, None for none, and those that are not though they are there: each as one line, with why."""

    path: Path | None
    passed_over: tuple[str, ...] = ()


def find_settings_file(option: str | None, environ: Mapping[str, str] | None = None) -> SettingsFile:
    """The file to read: --config, $GTE_OPS_CONFIG, ./gte-ops.toml, /etc/gte-ops/gte-ops.toml; None if none is there.

    One that is only looked for and that others than root and the caller could have written is passed over. Raises
    SettingsError when a file was named that does not exist.
    """
    values = os.environ if environ is None else environ
    for named, origin in ((option, "--config"), (values.get("GTE_OPS_CONFIG"), "$GTE_OPS_CONFIG")):
        if named:
            if not Path(named).exists():
                raise SettingsError(f"{named}: no such file (named by {origin}); check the path")
            return SettingsFile(Path(named))
    passed_over: list[str] = []
    for name in SEARCH_PATH:
        if Path(name).exists():
            why = reason_not_to_read(Path(name))
            if why is None:
                return SettingsFile(Path(name), tuple(passed_over))
            passed_over.append(f"{Path(name).absolute()}: not read: {why}")
    return SettingsFile(None, tuple(passed_over))


def reason_not_to_read(path: Path) -> str | None:
    """Why somebody else than root and the caller decides what a configuration says; None where nobody does.

    It names programs that are run. As with ssh's and logrotate's, it and its directory must not be others' to write."""
    places = dict.fromkeys((path.absolute().parent, Path(os.path.realpath(path)).parent))
    reasons = (reason_not_to_trust(str(place), listed=True) for place in places)
    return next(filter(None, (reason_not_to_trust(str(path.absolute())), *reasons)), None)


def load_settings(path: Path | None) -> Settings:
    """The settings in ``path``, or all defaults for None.

    Raises SettingsError naming the file, the key or line, and what would be right; also for a file that others than
    root and the caller could have written.
    """
    if path is None:
        return Settings()
    if path.exists() and (why_not := reason_not_to_read(path)) is not None:
        raise SettingsError(
            f"{path}: not read: {why_not}, and what it names is run; give both to root, or to who runs this:"
            " chown and chmod go-w"
        )
    try:
        read = read_regular_file(str(path), MAX_FILE_BYTES)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise SettingsError(f"{path}: cannot be read: {why}; check the path and its mode") from None
    if not read.is_whole:
        raise SettingsError(f"{path}: larger than 1 MiB; this is not a gte-ops.toml")
    return parse_settings(read.content, str(path))


def parse_settings(content: bytes, name: str) -> Settings:
    """Typed settings from the bytes of a TOML file called ``name``. Raises SettingsError."""
    try:
        document = tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SettingsError(f"{name}: line {line}: not UTF-8 text; save the file as UTF-8") from None
    except ValueError as error:  # TOMLDecodeError, and int's own for a number of thousands of digits
        raise SettingsError(f"{name}: not valid TOML: {error}") from None
    except RecursionError:
        raise SettingsError(f"{name}: nested too deeply; this is not a gte-ops.toml") from None
    _refuse_unknown_keys(document, Settings, name, "")
    try:
        settings = msgspec.convert(document, Settings, dec_hook=_decode_seconds)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        key = where.rstrip("`") or "the file"
        raise SettingsError(f"{name}: {key}: {what[:1].lower()}{what[1:]}") from None
    _refuse_dead_ends(settings.target, name)
    _refuse_no_margins(settings.tls, name)
    return settings


def _refuse_dead_ends(target: TargetSettings, name: str) -> None:
    """Raises SettingsError for a name, a URL or an address that nobody could dial."""
    if target.domain and not is_host(target.domain):
        raise SettingsError(
            f"{name}: target.domain: {target.domain!r} is no host name; write it like gte-api.example.com"
        )
    if target.url:
        try:
            parts = urlsplit(target.url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            right = "https://gte-api.example.com"
            raise SettingsError(
                f"{name}: target.url: {target.url!r} cannot be dialled; write it like {right}"
            )
    for key, address in (("connect_to", target.connect_to), ("connect_to_http", target.connect_to_http)):
        host, _, port = (address or "").rpartition(":")
        if address and not (host and port.isdecimal()):
            raise SettingsError(
                f"{name}: target.{key}: {address!r} names no port; write it like 127.0.0.1:8443"
            )


def _refuse_no_margins(tls: TlsSettings, name: str) -> None:
    """Raises SettingsError for a threshold that is neither a time left nor a share."""
    for number, rule in enumerate(tls.thresholds):
        for key, written in (("warn", rule.warn), ("fail", rule.fail)):
            try:
                if written is not None:
                    parse_margin(written)
            except ValueError as error:
                raise SettingsError(f"{name}: tls.thresholds[{number}].{key}: {error}") from None


def is_host(written: str) -> bool:
    """Whether this can stand as a URL's host, an IPv6 address in brackets."""
    try:
        parts = urlsplit(f"https://[{written}]" if ":" in written else f"https://{written}")
    except ValueError:
        return False
    return parts.hostname == written.lower() and " " not in written


def _decode_seconds(kind: type, value: Any) -> Seconds:
    if kind is Seconds and isinstance(value, str | int | float):
        return parse_duration(value)
    raise ValueError(f"{value!r} is not a duration; write it like 10s, 15m, 36h or 7d")


def _refuse_unknown_keys(table: Mapping[str, Any], kind: type[Section], name: str, prefix: str) -> None:
    hints = get_type_hints(kind)
    for key, value in table.items():
        if key not in hints:
            raise SettingsError(f"{name}: unknown key {prefix}{key}{_nearest(key, hints, prefix)}")
        inner = next((k for k in (hints[key], *get_args(hints[key])) if _is_section(k)), None)
        if inner is not None:
            for entry in value if isinstance(value, list) else (value,):
                if isinstance(entry, dict):
                    _refuse_unknown_keys(entry, inner, name, f"{prefix}{key}.")


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)


def _nearest(key: str, hints: Mapping[str, Any], prefix: str) -> str:
    close = difflib.get_close_matches(key, hints, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {prefix}{close[0]}?"
    elsewhere = [
        f"{section}.{key}"
        for section, kind in get_type_hints(Settings).items()
        if _is_section(kind) and key in get_type_hints(kind)
    ]
    if elsewhere:
        return f"; did you mean {elsewhere[0]}?"
    return f"; known here: {', '.join(sorted(hints))}"
