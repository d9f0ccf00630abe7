"""Steps against a start that lacks a variable, by what starts the service."""

from __future__ import annotations

import shlex

from ops.facts.start import BadAssignment, Flaw, LastStart, ServiceManager, SupervisorAccount
from ops.interpret.start_failure.kind import NOT_KNOWN, Kind, StartFailure
from ops.interpret.start_failure.place import StartPlace, show_line
from ops.text.language import Text, verbatim


def variable(failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    """Return the steps: show the line that reads the variable, set it for this host's start, check that it is set."""
    names = [name.strip() for name in failure.values.get("name", NOT_KNOWN).split(",")]
    source = next((f for f in last.environment_files if set(names) <= set(f.names)), None)
    steps = [*show_line(failure.where)]
    if bad := written_badly(names, last):
        return (*steps, *(_rewritten(each) for each in bad))
    if source is not None and failure.kind is Kind.VARIABLE:
        steps.append(
            Text(
                f"{source.path} sets it, but nothing gives that file to the service:",
                f"{source.path} 里设置了它，但服务启动时没有读这个文件：",
            )
        )
    return (*steps, *set_at_the_start(names, source.path if source else None, failure, last, place))


def written_badly(names: list[str], last: LastStart) -> tuple[BadAssignment, ...]:
    """The places that set one of these variables, and are badly written."""
    return tuple(each for each in last.badly_written if each.name in names)


def _rewritten(bad: BadAssignment) -> Text:
    where, step = f"{bad.path}:{bad.line}", _FLAWS[bad.flaw][1]
    return Text(f"{where}, {bad.name}: {step.en}", f"{where} 的 {bad.name}：{step.zh}")


def flaw_words(bad: BadAssignment) -> Text:
    """What is wrong with the writing, in words that go on after the place."""
    return _FLAWS[bad.flaw][0]


_FLAWS: dict[Flaw, tuple[Text, Text]] = {
    Flaw.QUOTES: (
        Text("quotes stand in it that are part of the value", "值里带着引号，引号也成了值的一部分"),
        Text("take the inner quotes away; no shell reads this line", "去掉里层引号；读这一行的不是 shell"),
    ),
    Flaw.TYPED_QUOTES: (
        Text(
            "it has a word processor's quotes, which are part of the value",
            "用了弯引号（全角引号），它们成了值的一部分",
        ),
        Text("write straight quotes, or none", "改成英文直引号，或不加引号"),
    ),
    Flaw.SPACE: (
        Text("a space at its end or its beginning is part of the value", "首尾的空格成了值的一部分"),
        Text("take the space away", "去掉这个空格"),
    ),
    Flaw.CARRIAGE_RETURN: (
        Text(
            "a carriage return (CR, a Windows line end) is part of the value",
            "行尾的 CR（Windows 换行）成了值的一部分",
        ),
        Text("take it away: sed -i 's/\\r$//' FILE", "去掉它：sed -i 's/\\r$//' 文件"),
    ),
    Flaw.BOM: (
        Text(
            "a byte order mark before it makes another name of it, so it is not set",
            "名称前的 BOM 使它成了另一个名称，因此没有生效",
        ),
        Text(
            "save the file as UTF-8 without a byte order mark: sed -i '1s/^\\xEF\\xBB\\xBF//' FILE",
            "存成不带 BOM 的 UTF-8：sed -i '1s/^\\xEF\\xBB\\xBF//' 文件",
        ),
    ),
    Flaw.EXPORT: (
        Text(
            "'export' stands before it where no shell reads it, so it is not set",
            "前面写了 export，而读它的不是 shell，因此没有生效",
        ),
        Text("take 'export' away: NAME=VALUE", "去掉 export，只写 名称=值"),
    ),
    Flaw.DOLLAR: (
        Text("the shell replaces the $ in it", "值里的 $ 会被 shell 展开"),
        Text("put the value in single quotes, or write \\$", "用单引号括住值，或写成 \\$"),
    ),
    Flaw.REFERENCE: (
        Text("nothing replaces the ${...} or the command in it", "值里的 ${...} 或命令不会被展开"),
        Text("write the value itself", "直接写出值"),
    ),
    Flaw.COMMENT: (
        Text("the comment behind it is part of the value", "后面的注释成了值的一部分"),
        Text("put the comment on a line of its own", "把注释写到单独一行"),
    ),
    Flaw.SPLIT: (
        Text("the value ends at its first space", "值在第一个空格处被截断"),
        Text(
            'quote the whole assignment: Environment="NAME=VALUE"', '给整个赋值加引号：Environment="名称=值"'
        ),
    ),
    Flaw.PERCENT: (
        Text("systemd replaces the % in it", "值里的 % 会被 systemd 当作说明符替换"),
        Text("write each % as %%", "每个 % 都写成 %%"),
    ),
}

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
