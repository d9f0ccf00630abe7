"""Steps against a start that ends because the kernel refuses a call to the service."""

from __future__ import annotations

import shlex

from ops.facts.start import ConfiguredAccount, LastStart
from ops.interpret.start_failure.kind import StartFailure
from ops.interpret.start_failure.place import StartPlace, show_line
from ops.text.language import Text, verbatim


def configured_account(last: LastStart) -> Text:
    """gunicorn's own settings of a user and a group, with their places, in brackets; empty without one."""
    settings = ", ".join(f"{each.setting} = {each.name} ({each.where})" for each in last.accounts)
    return (
        Text(f": gunicorn is to become {settings}", f"：gunicorn 要切换到 {settings}")
        if settings
        else Text("", "")
    )


def call_forbidden(failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    """Return the steps: show what the process may, then give it the capability, or take the call away."""
    capability, call = failure.values.get("capability"), failure.values.get("call")
    show = verbatim(
        f"systemctl show {shlex.quote(place.unit)} -p User -p Group -p CapabilityBoundingSet -p AmbientCapabilities"
        " -p NoNewPrivileges -p SystemCallFilter"
        if place.unit
        else "grep -E '^(Uid|Gid|NoNewPrivs|CapEff|CapBnd):' /proc/self/status"
    )
    look = show_line(failure.where)
    if "becomes" in failure.values and last.accounts:
        return (show, _become(last.accounts, capability or "", place))
    if capability is None:
        return (
            *look,
            show,
            Text(
                f"Give the service what {call or 'this call'} takes (its user, a capability, SystemCallFilter= of the"
                " unit), or take the call out of the application",
                f"让服务有权执行{f' {call}' if call else '这个调用'}（用户、能力、unit 的 SystemCallFilter=），"
                "或在应用里去掉该调用",
            ),
        )
    return (*look, show, _give(capability, call or "", place))


def _become(accounts: tuple[ConfiguredAccount, ...], capability: str, place: StartPlace) -> Text:
    settings = " and ".join(f"{each.setting} ({each.where})" for each in accounts)
    zh = "、".join(f"{each.setting}（{each.where}）" for each in accounts)
    user = next((each.name for each in accounts if each.setting == "user"), None)
    group = next((each.name for each in accounts if each.setting == "group"), None)
    if place.unit:
        lines = " and ".join(
            filter(None, (f"User={user}" if user else "", f"Group={group}" if group else ""))
        )
        return Text(
            f"Take {settings} out and let the unit start it so: {lines} below [Service] (systemctl edit {place.unit});"
            f" or, where root's master is wanted, let CapabilityBoundingSet= keep {_needed(capability)}",
            f"去掉 {zh}，改由 unit 以该账户启动：systemctl edit {place.unit}，在 [Service] 下写 {lines}；"
            f"如确实要由 root 主进程切换，则让 CapabilityBoundingSet= 保留 {_needed(capability)}",
        )
    return Text(
        f"Take {settings} out and start it as that account ({_as_account(user, group)}), or start it with"
        f" {_needed(capability)}: root alone is not enough where the capability was taken away (setpriv, docker"
        " --cap-drop, a unit's CapabilityBoundingSet=)",
        f"去掉 {zh}，改用该账户启动（{_as_account(user, group)}），或带着 {_needed(capability)} 启动：能力被去掉时"
        "（setpriv、docker --cap-drop、unit 的 CapabilityBoundingSet=），root 也不够",
    )


def _needed(capability: str) -> str:
    """The capabilities to become another user, which takes both."""
    return "CAP_SETUID CAP_SETGID" if capability in ("CAP_SETUID", "CAP_SETGID") else capability


def _as_account(user: str | None, group: str | None) -> str:
    words = ["runuser"]
    words += ["-u", shlex.quote(user)] if user else []
    words += ["-g", shlex.quote(group)] if group else []
    return " ".join(words) + " -- ..."


def _give(capability: str, call: str, place: StartPlace) -> Text:
    if place.unit:
        return Text(
            f"If {call} is wanted: AmbientCapabilities={capability} below [Service] (systemctl edit {place.unit}), and"
            f" {capability} in its CapabilityBoundingSet= if it has one; else take the call out of the application",
            f"如确需 {call}：systemctl edit {place.unit}，在 [Service] 下写 AmbientCapabilities={capability}（若设了 "
            f"CapabilityBoundingSet=，其中也要有 {capability}）；否则在应用里去掉该调用",
        )
    return Text(
        f"If {call} is wanted: start it with {capability} (setpriv --inh-caps=+x --ambient-caps=+x, docker --cap-add,"
        " AmbientCapabilities= of a unit); else take the call out of the application".replace(
            "+x", "+" + capability.removeprefix("CAP_").lower()
        ),
        f"如确需 {call}：带着 {capability} 启动（setpriv --inh-caps=+x --ambient-caps=+x、docker --cap-add、unit 的 "
        "AmbientCapabilities=）；否则在应用里去掉该调用".replace(
            "+x", "+" + capability.removeprefix("CAP_").lower()
        ),
    )
