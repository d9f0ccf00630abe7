"""What a User-Agent says its sender is: the operating system of a browser, else the program. Pure."""

from __future__ import annotations

import re
from functools import lru_cache

MAX_KIND_CHARS = 40

# Health checks and monitoring: they ask from one address by nature.
_MONITOR = re.compile(
    r"kube-probe|prometheus|blackbox|check_http|check_curl|monitoring-plugins|nagios|icinga|zabbix|uptime|pingdom"
    r"|healthcheck|health-check|googlehc|googlestackdriver|haproxy|consul|netdata|datadog|telegraf|statuscake"
    r"|site24x7|slbhealth|tengine|site-monitor",
    re.IGNORECASE,
)
# With these an operator asks from the host itself.
_OF_OPERATORS = frozenset(
    {"curl", "wget", "httpie", "postmanruntime", "insomnia", "ab", "hey", "wrk", "apachebench"}
)
_ROBOT = re.compile(r"compatible; ([A-Za-z][\w.-]*)")
# The order matters: Android names Linux, and an iPhone "like Mac OS X".
_SYSTEMS = (
    "iPhone",
    "iPad",
    "HarmonyOS",
    "Android",
    "Windows",
    "Macintosh",
    "Linux",
)
_PROGRAM = re.compile(r"[A-Za-z][\w.+-]*")


@lru_cache(maxsize=1024)
def is_monitor(agent: str) -> bool:
    """Whether a program that watches services says so."""
    return _MONITOR.search(agent) is not None


@lru_cache(maxsize=1024)
def agent_kind(agent: str) -> str:
    """Return a browser's system (``Windows``), else the program (``okhttp``); empty if the agent tells nothing about
    who asks: none, or a program with which operators ask."""
    robot = _ROBOT.search(agent)
    if robot is not None:
        return robot[1].lower()[:MAX_KIND_CHARS]
    if agent.startswith("Mozilla/"):
        return next((system for system in _SYSTEMS if system in agent), "")
    program = _PROGRAM.match(agent)
    name = program[0].lower()[:MAX_KIND_CHARS] if program is not None else ""
    return "" if name in _OF_OPERATORS else name


def is_system(kind: str) -> bool:
    """Whether a kind is a browser's system: two of them are two machines."""
    return kind in _SYSTEMS
