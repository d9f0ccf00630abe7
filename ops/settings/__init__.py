"""gte-ops.toml as typed settings.

Every key is optional. ``None`` means: find it on the host; where nothing is found, the deployment guide's
own value is used (``ops/interpret/target.py``).

What a key means stands beside it, in both languages. Annotations are evaluated at import, for which they are compiled,
and not from strings when the first file is read: with this many texts that takes longer.
"""

from ops.settings.doctor import MAX_BUDGET, MIN_BUDGET, DoctorSettings, Ignore, McpSettings
from ops.settings.document import Settings, parse_document, parse_settings, settings_errors
from ops.settings.file import (
    MAX_FILE_BYTES,
    SEARCH_PATH,
    SettingsFile,
    bounded_content,
    find_settings_file,
    load_settings,
    read_settings_file,
    reason_not_to_read,
)
from ops.settings.key import Section
from ops.settings.safeguards import (
    BackupSettings,
    Keep,
    NotifySettings,
    PingSettings,
    TlsSettings,
    TlsThreshold,
    WatchdogSettings,
)
from ops.settings.target import (
    DEFAULT_PREDICT_BODY,
    AppSettings,
    GunicornSettings,
    LogrotateSettings,
    ModelSettings,
    NginxSettings,
    ScheduleSettings,
    TargetSettings,
    UpstreamSettings,
)
from ops.settings.usable_values import MAX_URL_CHARS, is_host

__all__ = [
    "DEFAULT_PREDICT_BODY",
    "MAX_BUDGET",
    "MAX_FILE_BYTES",
    "MAX_URL_CHARS",
    "MIN_BUDGET",
    "SEARCH_PATH",
    "AppSettings",
    "BackupSettings",
    "DoctorSettings",
    "GunicornSettings",
    "Ignore",
    "Keep",
    "LogrotateSettings",
    "McpSettings",
    "ModelSettings",
    "NginxSettings",
    "NotifySettings",
    "PingSettings",
    "ScheduleSettings",
    "Section",
    "Settings",
    "SettingsFile",
    "TargetSettings",
    "TlsSettings",
    "TlsThreshold",
    "UpstreamSettings",
    "WatchdogSettings",
    "bounded_content",
    "find_settings_file",
    "is_host",
    "load_settings",
    "parse_document",
    "parse_settings",
    "read_settings_file",
    "reason_not_to_read",
    "settings_errors",
]
