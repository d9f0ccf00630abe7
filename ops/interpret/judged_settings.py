"""The gunicorn settings that checks read, and the values that may go into a snapshot."""

from __future__ import annotations

import re

import msgspec

from ops.facts.gunicorn import ConfigValue
from ops.text.sanitize import HIDDEN, safe_line

MAX_SOURCE_CHARS = 120

_NUMBERS = frozenset({"graceful_timeout", "max_requests", "threads", "timeout"})
_SWITCHES = frozenset({"daemon", "preload_app", "reload"})
_WORDS = frozenset({"access_log_format", "accesslog", "certfile", "errorlog", "pidfile", "worker_class"})
# The settings whose values are read; for every other name its line number is enough.
_FORWARDING = {
    # Addresses and networks; "*" for all.
    "forwarded_allow_ips": re.compile(r"[0-9A-Fa-f.:/*,\s]{0,400}"),
    "header_map": re.compile(r"\s*(?:drop|refuse|dangerous)\s*", re.IGNORECASE),
    # Names of headers.
    "forwarder_headers": re.compile(r"[A-Za-z0-9_,\s-]{0,400}"),
}
JUDGED_SETTINGS = _NUMBERS | _SWITCHES | _WORDS | _FORWARDING.keys() | {"bind"}
_UNKNOWN = "..."
# gunicorn accepts numbers and switches as strings too (gunicorn/config.py: validate_pos_int, validate_bool).
_NUMBER = re.compile(r"\s*[+-]?\d{1,9}(?:\.\d{1,6})?\s*")
_SWITCH = re.compile(r"\s*(?:true|false|yes|no|on|off|0|1|)\s*", re.IGNORECASE)
# HOST:PORT, unix:PATH, fd://NUMBER
_ADDRESS = re.compile(r"[^\s:@]{0,255}|(?:unix|fd):\S{1,255}|[^\s@]{0,255}:\d{0,5}")


def without_private_value(name: str, value: ConfigValue) -> ConfigValue:
    """Return an assignment as a snapshot contains it: any name that is not judged may hold a password."""
    # True, False and None hold no secret.
    if value.known and (value.value is None or isinstance(value.value, bool)):
        return value
    if name in JUDGED_SETTINGS:
        # An expression may hold a secret, and so may a value that gunicorn would refuse.
        if value.known and _is_of_its_type(name, value.value):
            return msgspec.structs.replace(value, source=safe_line(repr(value.value), MAX_SOURCE_CHARS))
        return ConfigValue(line=value.line, known=False, source=_UNKNOWN)
    if name == "raw_env" and isinstance(value.value, list):
        names = [f"{str(item).partition('=')[0]}={HIDDEN}" for item in value.value]
        return ConfigValue(
            line=value.line, known=True, value=names, source=safe_line(repr(names), MAX_SOURCE_CHARS)
        )
    return ConfigValue(line=value.line, known=False)


def _is_of_its_type(name: str, value: object) -> bool:
    """Whether a value is a number, or has the form that gunicorn accepts for the setting."""
    if isinstance(value, list):
        return name == "bind" and all(_is_of_its_type(name, one) for one in value)
    if not isinstance(value, str):
        return isinstance(value, int | float)
    if name in _FORWARDING:
        return _FORWARDING[name].fullmatch(value) is not None
    if name == "bind":
        return _ADDRESS.fullmatch(value) is not None
    return name in _WORDS or (_NUMBER if name in _NUMBERS else _SWITCH).fullmatch(value) is not None
