"""Durations as people write them: 15m, 10s, 36h, 7d."""

from __future__ import annotations

import re

import msgspec

UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)\s*%")
_CHINESE_UNITS = {"ms": "毫秒", "s": "秒", "m": "分钟", "h": "小时", "d": "天"}
_SHOWN = re.compile(r"([<>+-]? ?\d+(?:\.\d+)?) ?(ms|s|m|h|d)")
_FORM = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(ms|s|m|h|d)?")


class Seconds(float):
    """A length of time in seconds."""


class Margin(msgspec.Struct, frozen=True):
    """Time left: so many seconds, or a share (0 to 1) of a whole that is known later."""

    seconds: float | None = None
    share: float | None = None

    def of(self, whole: float) -> float:
        """The seconds it stands for where the whole lasts ``whole`` seconds."""
        return self.seconds if self.seconds is not None else (self.share or 0.0) * whole


def parse_margin(value: str | int | float) -> Margin:
    """A duration as `parse_duration` takes it, or ``"25%"``. Raises ValueError for anything else."""
    match = _PERCENT.fullmatch(str(value).strip())
    if match and float(match[1]) <= 100:
        return Margin(share=float(match[1]) / 100)
    try:
        return Margin(seconds=parse_duration(value))
    except ValueError:
        raise ValueError(f"{value!r} is no time left; write it like 20d, 36h or 25%") from None


def parse_duration(value: str | int | float) -> Seconds:
    """Seconds from ``"15m"``, ``"10s"``, ``"36h"``, ``"7d"``, ``"250ms"`` or a bare number of seconds.

    Raises ValueError for anything else, negative values included.
    """
    match = _FORM.fullmatch(str(value).strip()) if not isinstance(value, bool) else None
    if match is None:
        raise ValueError(f"{value!r} is not a duration; write it like 10s, 15m, 36h or 7d")
    return Seconds(float(match[1]) * UNIT_SECONDS[match[2] or "s"])


def age(seconds: float) -> str:
    """A duration in its largest sensible unit: ``3d``, ``5h``, ``12m``, ``8s``."""
    for unit in ("d", "h", "m"):
        if abs(seconds) >= 2 * UNIT_SECONDS[unit]:
            return f"{seconds / UNIT_SECONDS[unit]:.0f}{unit}"
    return f"{seconds:.1f}s" if abs(seconds) < 10 else f"{seconds:.0f}s"


def in_chinese_units(words: str) -> str:
    """A duration as `age` writes it with its unit in Chinese: ``3d`` is ``3 天``; other words as they are."""
    match = _SHOWN.fullmatch(words)
    return f"{match[1]} {_CHINESE_UNITS[match[2]]}" if match else words


def age_zh(seconds: float) -> str:
    """`age` for a Chinese text: ``3 天``, ``5 小时``, ``12 分钟``, ``8.0 秒``."""
    return in_chinese_units(age(seconds))
