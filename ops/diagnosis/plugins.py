"""Judges of Python packages, for what the conditions of docs/site-causes.md cannot say.

A package offers an entry point of the group ``gte_ops.checks`` (Python Packaging User Guide: entry points). It is
loaded only if ``doctor.plugins`` names it: its code runs as who runs the doctor. The object has:

- ``CAUSES``: TOML in the catalogue's form (`ops.diagnosis.catalogue`), codes as in `ops.diagnosis.site_causes.CODE`;
- ``CHECKS``: `ops.diagnosis.finding.Check` objects, made by its decorator ``check``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib.metadata import entry_points

import msgspec

from ops.diagnosis.catalogue import CauseEntry, made_entry
from ops.diagnosis.finding import Check
from ops.diagnosis.site_causes import CODE
from ops.errors import SettingsError
from ops.text.language import Text
from ops.text.sanitize import safe_line

GROUP = "gte_ops.checks"


class Plugins(msgspec.Struct, frozen=True):
    """What the configured packages add: their causes, and the checks that prove them."""

    entries: dict[str, CauseEntry] = msgspec.field(default_factory=dict)
    checks: tuple[Check, ...] = ()


def load_plugins(names: Sequence[str]) -> Plugins:
    """The causes and checks of the entry points ``names``. Raises SettingsError for one that does not exist, does not
    load or has another form."""
    offered = {point.name: point for point in entry_points(group=GROUP)}
    entries: dict[str, CauseEntry] = {}
    checks: list[Check] = []
    for name in names:
        if name not in offered:
            there = ", ".join(sorted(offered)) or "none"
            raise _error(
                name,
                f"no installed package offers it in the group {GROUP}; there is {there}",
                f"没有已安装的包在 {GROUP} 组中提供它；现有：{there}",
            )
        try:
            plugin = offered[name].load()
            entries |= _entries(name, plugin.CAUSES)
            checks += plugin.CHECKS
        except SettingsError:
            raise
        except Exception as error:  # noqa: BLE001  whatever a package's code raises
            words = safe_line(f"{type(error).__name__}: {error}")
            raise _error(name, f"does not load: {words}", f"无法加载：{words}") from None
    for check in checks:
        unknown = [code for code in check.codes if code not in entries]
        if unknown:
            raise _error(check.id, f"CAUSES has no {unknown[0]}", f"CAUSES 中没有 {unknown[0]}")
    return Plugins(entries, tuple(checks))


def _entries(name: str, source: str) -> dict[str, CauseEntry]:
    document = tomllib.loads(source)
    for code in document:
        if not CODE.fullmatch(code):
            raise _error(
                name,
                f"{safe_line(code, 60)!r} is no code: 4 to 12 capital letters and 3 digits",
                f"{safe_line(code, 60)!r} 不是代码：应为 4 到 12 个大写字母加 3 位数字",
            )
    return {code: made_entry(code, table) for code, table in document.items()}


def _error(name: str, en: str, zh: str) -> SettingsError:
    return SettingsError(Text(en=f"doctor.plugins: {name}: {en}", zh=f"doctor.plugins：{name}：{zh}"))
