"""Steps against a start that lacks a variable, by what starts the service."""

from __future__ import annotations

import shlex

from ops.facts.start import LastStart, ServiceManager, SupervisorAccount
from ops.interpret.start_failure.kind import Kind, StartFailure
from ops.interpret.start_failure.place import StartPlace, show_line
from ops.text.language import Text, verbatim


def variable(failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    """Return the steps: show the line that reads the variable, set it for this host's start, check that it is set."""
    names = [name.strip() for name in failure.values.get("name", "?").split(",")]
    source = next((f for f in last.environment_files if set(names) <= set(f.names)), None)
    steps = [*show_line(failure.where)]
    if source is not None and failure.kind is Kind.VARIABLE:
        steps.append(
            Text(
                f"{source.path} sets it, but nothing gives that file to the service:",
                f"{source.path} 里设置了它，但服务启动时没有读这个文件：",
            )
        )
    return (*steps, *set_at_the_start(names, source.path if source else None, failure, last, place))


_LOGIN = Text(
    "A variable that is set in a login shell (.bashrc, export) does not reach the service",
    "在登录 shell 里设置的变量（.bashrc、export）到不了服务进程",
)


def set_at_the_start(
    names: list[str], file: str | None, failure: StartFailure, last: LastStart, place: StartPlace
) -> tuple[Text, ...]:
    """Return the steps that set the variables where this host starts the service. ``file``: one that sets them all."""
    if place.unit:
        return _in_unit(place.unit, names, file)
    program = next((a for a in last.supervisors if a.manager is ServiceManager.SUPERVISORD), None)
    if program is not None:
        return _in_program(program, names)
    if place.script:
        return _in_script(place.script, names, file)
    return _by_hand(names, failure, place)


def _in_unit(unit: str, names: list[str], file: str | None) -> tuple[Text, ...]:
    assignments = " ".join(f"{name}=VALUE" for name in names)
    by_file = f"EnvironmentFile={file}" if file else f"Environment={assignments}"
    has_it = (
        f"tr '\\0' '\\n' </proc/$(systemctl show -p MainPID --value {unit})/environ | "
        f"grep -cE '^({'|'.join(names)})='"
    )
    return (
        verbatim(f"systemctl edit {unit}"),
        Text(
            f"There, below [Service]: {by_file}"
            + ("" if file else " (a secret: EnvironmentFile= with a file of mode 0600)"),
            f"在其中的 [Service] 下写：{by_file}"
            + ("" if file else "（机密请写进权限 0600 的文件，用 EnvironmentFile=）"),
        ),
        Text(
            f"{_LOGIN.en}; whether it has it, after the start, without showing it: {has_it}",
            f"{_LOGIN.zh}；启动后检查是否生效（不显示值）：{has_it}",
        ),
    )


def _in_program(program: SupervisorAccount, names: list[str]) -> tuple[Text, ...]:
    quoted = ",".join(f'{name}="VALUE"' for name in names)
    config = Text(program.config or "supervisord's configuration", program.config or "supervisord 配置")
    return (
        Text(
            f"In [program:{program.unit}] of {config.en}: environment={quoted} (a % in a value is written %%)",
            f"在 {config.zh} 的 [program:{program.unit}] 里写：environment={quoted}（值里的 % 写成 %%）",
        ),
        _LOGIN,
        verbatim(f"{program.control} update"),
    )


def _in_script(script: str, names: list[str], file: str | None) -> tuple[Text, ...]:
    lines = "; ".join(f"export {name}=VALUE" for name in names)
    if file:
        lines = f"set -a; . {shlex.quote(file)}; set +a"
    return (
        Text(
            f"Set it in the environment of the start: in {script}, above the line that starts gunicorn: {lines}",
            f"在启动环境里设置：在 {script} 中启动 gunicorn 的那一行之前写 {lines}",
        ),
        _LOGIN,
    )


def _by_hand(names: list[str], failure: StartFailure, place: StartPlace) -> tuple[Text, ...]:
    raw_env = ", ".join(f'"{name}=VALUE"' for name in names)
    assignments = " ".join(f"{name}=VALUE" for name in names)
    if "config" in failure.values:
        return (
            Text(
                "The configuration file itself reads it, before raw_env counts: set it in the environment of the "
                f"start: env {assignments} {place.start}",
                f"是配置文件自己读取它，此时 raw_env 尚未生效：在启动环境里设置：env {assignments} {place.start}",
            ),
            _LOGIN,
        )
    return (
        Text(
            f"Set it in the environment that gunicorn starts with: raw_env = [{raw_env}] in "
            f"{place.config or 'its configuration'}, or, where a unit starts it, Environment={assignments} below"
            " [Service]",
            f"在 gunicorn 的启动环境里设置：{place.config or '配置文件'} 里写 raw_env = [{raw_env}]；"
            f"如果由 systemd unit 启动，则在 [Service] 下写 Environment={assignments}",
        ),
        _LOGIN,
    )
