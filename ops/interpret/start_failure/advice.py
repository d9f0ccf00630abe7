"""Explain a failed start in a sentence, and give the steps that fix it on this host.

A step that is the same in both languages is a command that can be run unchanged; any other needs a person's decision.
"""

from __future__ import annotations

import functools
import re
import shlex
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import msgspec

from ops.facts.start import LastStart, ServiceManager
from ops.interpret.packages import worker_package
from ops.interpret.start_failure.kinds import DASHES, Kind, StartFailure
from ops.text.language import Text, verbatim

_UNIT = re.compile(r"systemctl (?:start|restart) ([\w.@:-]+)$")


class StartPlace(msgspec.Struct, frozen=True):
    """The start of the service on this host.

    ``start``: the command; ``begin``: the command to use after the fix, a restart if a master still runs; ``python``:
    the interpreter as a command; ``config``: gunicorn's configuration file."""

    start: str
    begin: str
    app_dir: str
    python: str
    wsgi: str
    config: str | None = None
    pidfile: str | None = None
    backend: str = ""
    listeners: str = ""

    @property
    def unit(self) -> str | None:
        """The systemd unit that starts the service; None without one."""
        match = _UNIT.match(self.start)
        return match[1] if match else None

    @property
    def script(self) -> str | None:
        """The script that starts the service; None without one."""
        try:
            words = shlex.split(self.start)
        except ValueError:
            return None
        return next((w for w in words if w.endswith(".sh") and w.startswith("/")), None)


def _t(en: str, zh: str) -> Text:
    return Text(en=en, zh=zh)


def summary_of(failure: StartFailure, last: LastStart) -> Text:
    """Describe this start's failure in one sentence."""
    values = _values(failure, last)
    template = _sentences()[failure.kind]
    where = failure.where or ""
    en, zh = template.en, template.zh
    text = Text(en=_filled(en, values), zh=_filled(zh, values))
    if where and where not in text.en:
        text = Text(en=f"{text.en[:-1]} ({where}).", zh=f"{text.zh[:-1]}（{where}）。")
    if failure.count > 1:
        text = Text(
            en=f"{text.en[:-1]}; {failure.count} workers ended like that in a row.",
            zh=f"{text.zh[:-1]}；已有 {failure.count} 个工作进程接连这样退出。",
        )
    return text


def _filled(template: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], "?"), template)


def _values(failure: StartFailure, last: LastStart) -> dict[str, str]:
    holder = last.holder
    holder_en, holder_zh = "another program", "别的程序"
    if holder is not None:
        if holder.state == "zombie":
            holder_en, holder_zh = f"a zombie ({holder.name}, state Z)", f"僵尸进程（{holder.name}，状态 Z）"
        else:
            holder_en, holder_zh = holder.name, holder.name
    values = failure.values
    importer, names = values.get("importer"), ", ".join(last.callables[:5])
    versions = ", ".join(f"{name} {version}" for name, version in last.versions.items())
    call, last_words, unit = values.get("call"), values.get("said"), values.get("unit")
    call_text = f"{failure.where} ({call})" if call else ""
    return {
        "peer": "a service",
        "detail": "-",
        "where": failure.where or "?",
        "quote": failure.quote,
        "holder_en": holder_en,
        "holder_zh": holder_zh,
        "importer_en": f", which {importer} imports" if importer else "",
        "importer_zh": f"，而 {importer} 要导入它" if importer else "",
        "versions_en": f" (installed: {versions})" if versions else "",
        "versions_zh": f"（已安装：{versions}）" if versions else "",
        "names_en": f"; it has {names}" if names else "",
        "names_zh": f"；它有 {names}" if names else "",
        "setting": f"{values['name']} = {values.get('value', '?')}: " if "name" in values else "",
        "call_en": f"{call} at {failure.where}" if call else failure.quote,
        "call_said_en": f": {call_text} ends the process" if call else "",
        "call_said_zh": f"：{call_text} 结束了进程" if call else "",
        "said_en": f"; the last words before it: {last_words}" if last_words else "",
        "said_zh": f"；退出前的最后一句：{last_words}" if last_words else "",
        "interpreter_en": f" ({values['interpreter']})" if "interpreter" in values else "",
        "interpreter_zh": f"（{values['interpreter']}）" if "interpreter" in values else "",
        **_module_words(values),
        "path_en": f" {values['path']}" if "path" in values else "",
        "path_zh": f" {values['path']}" if "path" in values else "",
        "port_en": f" {values['port']}" if "port" in values else "",
        "port_zh": f" {values['port']}" if "port" in values else "",
        "unit_en": f" ({unit} names it)" if unit else "",
        "unit_zh": f"（由 {unit} 指定）" if unit else "",
        **values,
    }


def _module_words(values: Mapping[str, str]) -> dict[str, str]:
    """Return the words for a module missing from the application's own package: the reason, and what names it."""
    file, package, directory = values.get("file"), values.get("package", "?"), values.get("directory", "?")
    variable = values.get("variable")
    return {
        "variable_en": f", which {variable} names" if variable else "",
        "variable_zh": f"（由 {variable} 指定）" if variable else "",
        "reason_en": f"{file} is a file and no package"
        if file
        else f"the package {package} in {directory} does not hold it",
        "reason_zh": f"{file} 是文件，不是包" if file else f"{directory} 里的包 {package} 没有它",
    }


@functools.cache
def _sentences() -> dict[str, Text]:
    import tomllib

    read = tomllib.loads((Path(__file__).parent / "sentences.toml").read_text(encoding="utf-8"))
    return {kind: Text(en=words["en"], zh=words["zh"]) for kind, words in read.items()}


# --- the fix ---------------------------------------------------------------------------------------------------------

_Steps = Callable[[StartFailure, LastStart, StartPlace], tuple[Text, ...]]


def fix_for(failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    """Return the steps that fix the failed start; the last step starts the service."""
    steps = _STEPS.get(failure.kind, _look)(failure, last, place)
    limit = any(account.result == "start-limit-hit" for account in last.supervisors)
    reset = (verbatim(f"systemctl reset-failed {place.unit}"),) if limit and place.unit else ()
    return (*steps, *reset, verbatim(place.begin))


def _q(words: str) -> str:
    return shlex.quote(words)


def _setting(place: StartPlace, name: str) -> Text:
    """Return the words for a setting of gunicorn's and its file."""
    file = place.config or place.start
    return Text(en=f"{name} in {file}", zh=f"{file} 里的 {name}")


def _variable(failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    """Return the steps: show the line that reads the variable, set it for this host's start, check that it is set."""
    names = [name.strip() for name in failure.values.get("name", "?").split(",")]
    source = next((f for f in last.environment_files if set(names) <= set(f.names)), None)
    steps = [*_shown(failure.where)]
    if source is not None and failure.kind is Kind.VARIABLE:
        steps.append(
            _t(
                f"{source.path} sets it, but nothing gives that file to the service:",
                f"{source.path} 里设置了它，但服务启动时没有读这个文件：",
            )
        )
    return (*steps, *_set_at_the_start(names, source.path if source else None, failure, last, place))


def _shown(where: str | None) -> tuple[Text, ...]:
    """Return the command that shows the line ``where``."""
    path, _, line = (where or "").rpartition(":")
    if not line.isdigit() or not path.startswith("/"):
        return ()
    return (verbatim(f"sed -n {line}p {_q(path)}"),)


def _set_at_the_start(
    names: list[str], file: str | None, failure: StartFailure, last: LastStart, place: StartPlace
) -> tuple[Text, ...]:
    raw_env = ", ".join(f'"{name}=VALUE"' for name in names)
    assignments = " ".join(f"{name}=VALUE" for name in names)
    pattern = "|".join(names)
    login = _t(
        "A variable that is set in a login shell (.bashrc, export) does not reach the service",
        "在登录 shell 里设置的变量（.bashrc、export）到不了服务进程",
    )
    if place.unit:
        by_file = f"EnvironmentFile={file}" if file else f"Environment={assignments}"
        return (
            verbatim(f"systemctl edit {place.unit}"),
            _t(
                f"There, below [Service]: {by_file}"
                + ("" if file else " (a secret: EnvironmentFile= with a file of mode 0600)"),
                f"在其中的 [Service] 下写：{by_file}"
                + ("" if file else "（机密请写进权限 0600 的文件，用 EnvironmentFile=）"),
            ),
            _t(
                f"{login.en}; whether it has it, after the start, without showing it: "
                f"tr '\\0' '\\n' </proc/$(systemctl show -p MainPID --value {place.unit})/environ | "
                f"grep -cE '^({pattern})='",
                f"{login.zh}；启动后检查是否生效（不显示值）："
                f"tr '\\0' '\\n' </proc/$(systemctl show -p MainPID --value {place.unit})/environ | "
                f"grep -cE '^({pattern})='",
            ),
        )
    program = next((a for a in last.supervisors if a.manager is ServiceManager.SUPERVISORD), None)
    if program is not None:
        quoted = ",".join(f'{name}="VALUE"' for name in names)
        config = program.config or "supervisord's configuration"
        ort = program.config or "supervisord 配置"
        return (
            _t(
                f"In [program:{program.unit}] of {config}: environment={quoted} (a % in a value is written %%)",
                f"在 {ort} 的 [program:{program.unit}] 里写：environment={quoted}（值里的 % 写成 %%）",
            ),
            login,
            verbatim("supervisorctl update"),
        )
    if place.script:
        lines = "; ".join(f"export {name}=VALUE" for name in names)
        if file:
            lines = f"set -a; . {_q(file)}; set +a"
        return (
            _t(
                f"Set it in the environment of the start: in {place.script}, above the line that starts "
                f"gunicorn: {lines}",
                f"在启动环境里设置：在 {place.script} 中启动 gunicorn 的那一行之前写 {lines}",
            ),
            login,
        )
    if "config" in failure.values:
        return (
            _t(
                "The configuration file itself reads it, before raw_env counts: set it in the environment of the "
                f"start: env {assignments} {place.start}",
                f"是配置文件自己读取它，此时 raw_env 尚未生效：在启动环境里设置：env {assignments} {place.start}",
            ),
            login,
        )
    return (
        _t(
            f"Set it in the environment that gunicorn starts with: raw_env = [{raw_env}] in "
            f"{place.config or 'its configuration'}, or, where a unit starts it, Environment={assignments} below"
            " [Service]",
            f"在 gunicorn 的启动环境里设置：{place.config or '配置文件'} 里写 raw_env = [{raw_env}]；"
            f"如果由 systemd 单元启动，则在 [Service] 下写 Environment={assignments}",
        ),
        login,
    )


def _submodule(failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    values = failure.values
    module, directory = values.get("module", "?"), values.get("directory", "?")
    if file := values.get("file"):
        choices = ", ".join(f"{module.partition('.')[0]}:{each}" for each in last.callables[:5])
        first = module.partition(".")[0]
        return (
            _t(
                f"Have gunicorn serve the file itself ({choices or f'{first}:NAME'}) in place of {place.wsgi}, in "
                f"{place.script or place.unit or place.start}; or rename {file}, if a package {first} is meant",
                f"让 gunicorn 直接加载这个文件（{choices or f'{first}:名称'}），而不是 {place.wsgi}，改 "
                f"{place.script or place.unit or place.start}；如果本来指的是包 {first}，则给 {file} 改名",
            ),
        )
    package = str(PurePosixPath(directory, *values.get("package", "?").split(".")))
    listing = verbatim(f"ls -la {_q(package)}")
    if variable := values.get("variable"):
        names = [variable]
        return (
            listing,
            _t(
                f"{variable} names {module}: give it the module that is there, or bring the file back",
                f"{variable} 指定了 {module}：改成实际存在的模块，或恢复该文件",
            ),
            *_shown(failure.where),
            *_set_at_the_start(names, None, failure, last, place)[:2],
        )
    return (
        listing,
        _t(
            f"Bring {module} back, or correct the import at {failure.where or place.wsgi}",
            f"恢复 {module}，或修正 {failure.where or place.wsgi} 处的导入",
        ),
    )


def _relative_import(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    path = PurePosixPath((failure.where or place.app_dir + "/?").rpartition(":")[0])
    package = path.parent
    name = place.wsgi.partition(":")[2] or "app"
    wsgi = f"{package.name}.{path.stem}:{name}"
    return (
        _t(
            f"Start gunicorn in the directory above, with the package's name: chdir = {str(package.parent)!r} in "
            f"{place.config or place.start}"
            + (" (WorkingDirectory= in the unit)" if place.unit else "")
            + f", and {wsgi} in place of {place.wsgi}",
            f"在上一级目录启动 gunicorn，并带上包名：在 {place.config or place.start} 里设 chdir = "
            f"{str(package.parent)!r}"
            + ("（或 unit 的 WorkingDirectory=）" if place.unit else "")
            + f"，并把 {place.wsgi} 改成 {wsgi}",
        ),
    )


def _data_file(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    path = failure.values.get("path", "?")
    whole = str(PurePosixPath(place.app_dir, path))
    python = place.python
    look = f"ls -l {_q(whole)}"
    if path.endswith(".json"):
        look = f"{python} -m json.tool {_q(whole)} /dev/null"
    return (
        verbatim(look),
        _t(
            f"Correct {whole}, or the path at {failure.where}: {failure.values.get('detail', failure.quote)}"
            + (
                ""
                if path.startswith("/")
                else "; the path is relative to the directory that gunicorn starts in"
            ),
            f"更正 {whole}，或 {failure.where} 处的路径：{failure.values.get('detail', failure.quote)}"
            + ("" if path.startswith("/") else "；它是相对路径，从 gunicorn 的启动目录算起"),
        ),
    )


def _database_file(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    path = failure.values.get("path")
    whole = PurePosixPath(place.app_dir, path) if path else None
    inspection = (verbatim(f"namei -l {_q(str(whole.parent))}"),) if whole else _shown(failure.where)
    directory = str(whole.parent) if whole else "its directory"
    ort = str(whole.parent) if whole else "它所在的目录"
    return (
        *inspection,
        _t(
            f"Make {directory} where it is missing, and give it and the file to the service's user: SQLite writes its "
            "journal beside the file, so the directory has to be writable too",
            f"如果 {ort} 不存在就创建，并让服务用户拥有目录和文件：SQLite 要在文件旁写日志，目录也必须可写",
        ),
    )


def _table(failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    python = _q(last.interpreter) if last.interpreter else place.python
    if last.migrations is None:
        return (
            *_shown(failure.where),
            _t(
                "Make the tables by the application's own command (its README), as the service's user, against the "
                "database that the service uses",
                "用应用自己的建表命令（见其 README），以服务用户身份，对服务所用的数据库执行",
            ),
        )
    return (
        _t(
            "As the service's user and with its environment, so that it is the service's own database:",
            "以服务用户身份、在服务的环境变量下执行，确保是服务所用的数据库：",
        ),
        verbatim(f"cd {_q(place.app_dir)} && {python} {last.migrations}"),
    )


def _database_refuses(failure: StartFailure, _last: LastStart, _place: StartPlace) -> tuple[Text, ...]:
    return (
        *_shown(failure.where),
        _t(
            "Compare user, password and database in the application's settings with the database's own: "
            f"{failure.values.get('detail', failure.quote)}",
            f"核对应用配置里的用户、密码、库名与数据库的实际设置：{failure.values.get('detail', failure.quote)}",
        ),
    )


def _own_port(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    port = failure.values.get("port")
    look = f"ss -ltnp | grep {_q(':' + port)}" if port else "ss -ltnp"
    return (
        verbatim(look),
        _t(
            f"If another program holds it: end that, or choose another port at {failure.where}. If it is a worker of "
            f"this service: bind it once, in the master (when_ready in {place.config or 'the configuration'}), or "
            "serve it by a route of the application",
            f"如果是别的程序占用：结束它，或在 {failure.where} 换端口。如果是本服务的工作进程：只在主进程里监听一次"
            f"（{place.config or '配置文件'} 的 when_ready），或改由应用的一个路由提供",
        ),
    )


def _arguments(failure: StartFailure, _last: LastStart, _place: StartPlace) -> tuple[Text, ...]:
    where = failure.where or "?"
    call = failure.values.get("call", "parse_args")
    return (
        *_shown(failure.where),
        _t(
            f'Put {call}() at {where} below `if __name__ == "__main__":`, or call parse_known_args([]): gunicorn only '
            "imports the module; what the application needs comes from its environment"
            if failure.where
            else 'Put the call of parse_args() below `if __name__ == "__main__":`, or call parse_known_args([]): '
            "gunicorn only imports the module; what the application needs comes from its environment",
            f'把 {where} 处的 {call}() 放到 `if __name__ == "__main__":` 之下，或改用 parse_known_args([])：'
            "gunicorn 只导入模块，应用的参数改由环境变量提供"
            if failure.where
            else '把调用 parse_args() 的地方放到 `if __name__ == "__main__":` 之下，或改用 parse_known_args([])：'
            "gunicorn 只导入模块，应用的参数改由环境变量提供",
        ),
    )


def _worker_directory(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    path = failure.values.get("path", "?")
    setting = _setting(place, "worker_tmp_dir")
    return (
        verbatim(f"mkdir -p {_q(path)}"),
        _t(
            f"It is gone after each boot if it is below /run or /dev/shm: then rather correct {setting.en} "
            "(/dev/shm itself, or drop the setting)",
            f"如果在 /run 或 /dev/shm 下，每次开机都会消失：应改为更正 {setting.zh}（写 /dev/shm 本身，或去掉该设置）",
        ),
    )


def _wsgi_module(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    directory = failure.values.get("directory")
    module = failure.values.get("module", "?")
    if directory and directory != place.app_dir:
        return (
            _t(
                f"{module} is in {directory}: set pythonpath = {directory!r} (or chdir) in "
                f"{place.config or place.start}",
                f"{module} 在 {directory}：在 {place.config or place.start} 里设置 pythonpath = "
                f"{directory!r}（或 chdir）",
            ),
        )
    if directory:
        return (
            _t(
                f"{module} is in {directory}, but gunicorn was started elsewhere: "
                + (
                    f"WorkingDirectory={directory} in the unit"
                    if place.unit
                    else f"chdir = {directory!r} in {place.config}"
                ),
                f"{module} 在 {directory}，但 gunicorn 是在别处启动的："
                + (
                    f"在 unit 里设置 WorkingDirectory={directory}"
                    if place.unit
                    else f"在 {place.config} 里设置 chdir = {directory!r}"
                ),
            ),
        )
    return (
        _t(
            f"There is no module {module} in {place.app_dir} or a directory in it: correct MODULE in MODULE:NAME "
            f"({place.wsgi}) where gunicorn is started, or bring the file back",
            f"{place.app_dir} 及其子目录里都没有模块 {module}：更正启动 gunicorn "
            f"处的“模块:名称”（{place.wsgi}），或恢复该文件",
        ),
        verbatim(f"ls -la {_q(place.app_dir)}"),
    )


def _package(failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    name = failure.values.get("package", "?")
    python = _q(last.interpreter) if last.interpreter else place.python
    command = f"{python} -m pip install {_q(name)}"
    if failure.values.get("listed"):
        return (verbatim(command),)
    module = failure.values.get("module", "?")
    return (
        _t(
            f"If {module} is a package's: install it for the service's own interpreter, for PyPI's {name}: {command}",
            f"如果 {module} 来自第三方包：用服务自己的解释器安装，PyPI 上的 {name}：{command}",
        ),
        _t(
            f"If it is the application's own module: it is not in {place.app_dir}; bring it back, or "
            f"correct the import at {failure.where}",
            f"如果它是应用自己的模块：{place.app_dir} 里没有它，请恢复该文件，或修正 {failure.where} 处的 import",
        ),
    )


def _clash(failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    package, importer = failure.values.get("package", "?"), failure.values.get("importer")
    python = _q(last.interpreter) if last.interpreter else place.python
    needs = importer or failure.where or "?"
    if importer:
        return (
            _t(
                f"{importer} needs another version of {package}: bring both to versions that fit, as the "
                f"requirements have them, or upgrade {importer} ({python} -m pip install --upgrade {importer})",
                f"{importer} 需要另一版本的 {package}：让两者版本匹配（按 requirements 安装），或升级 "
                f"{importer}（{python} -m pip install --upgrade {importer}）",
            ),
            verbatim(f"{python} -m pip check"),
        )
    return (
        _t(
            f"{needs} needs another version of {package}: install the one it was written for, or change the "
            "import; which is installed:",
            f"{needs} 需要另一版本的 {package}：安装与之匹配的版本，或修改 import；当前安装的版本：",
        ),
        verbatim(f"{python} -m pip show {_q(package)}"),
    )


def _attribute(failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    module, name = failure.values.get("module", "?"), failure.values.get("name", "?")
    if last.callables:
        choices = ", ".join(f"{module}:{each}" for each in last.callables[:5])
        return (
            _t(
                f"Have gunicorn serve what is there ({choices}) in place of {module}:{name}: "
                f"the end of its command line in {place.script or place.unit or 'the start command'}, or "
                f"wsgi_app in {place.config}",
                f"让 gunicorn 加载实际存在的对象（{choices}），而不是 {module}:{name}："
                f"改 {place.script or place.unit or '启动命令'} 里命令行末尾，或 {place.config} 里的 wsgi_app",
            ),
        )
    return (
        _t(
            f"Correct MODULE:NAME where gunicorn is started: module {module} has no {name}",
            f"更正启动 gunicorn 处的“模块:名称”：模块 {module} 里没有 {name}",
        ),
    )


def _factory(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    name = failure.values.get("name", "?")
    return (
        _t(
            f"Give {name} its arguments where gunicorn is started (MODULE:{name}(...)), or defaults in the "
            f"application ({place.wsgi})",
            f"在启动 gunicorn 处给 {name} 传参（模块:{name}(...)），或在应用里给出默认值（{place.wsgi}）",
        ),
    )


def _correct(failure: StartFailure, _last: LastStart, _place: StartPlace) -> tuple[Text, ...]:
    return (
        _t(f"Correct {failure.where}: {failure.quote}", f"修复 {failure.where}：{failure.quote}"),
        _BEFORE,
    )


_BEFORE = _t(
    "If it began with the last deployment, go back to the version before",
    "如果是上次发布后开始的，先回滚到前一个版本",
)


def _hidden(failure: StartFailure, _last: LastStart, _place: StartPlace) -> tuple[Text, ...]:
    path, module = failure.values.get("path", "?"), failure.values.get("module", "?")
    other = f"{path.removesuffix('.py')}_own.py"
    return (
        verbatim(f"mv -- {_q(path)} {_q(other)}"),
        _t(
            f"Where the application means this file and not the package, write import {module}_own",
            f"应用里本来要导入这个文件（而不是包）的地方，改为 import {module}_own",
        ),
    )


def _syntax(failure: StartFailure, _last: LastStart, _place: StartPlace) -> tuple[Text, ...]:
    path, line = failure.values.get("path", "?"), failure.values.get("line", "1")
    number = int(line) if line.isdigit() else 1
    return (
        _t(f"Correct {failure.where}: {failure.quote}", f"修复 {failure.where}：{failure.quote}"),
        verbatim(f"sed -n {max(1, number - 2)},{number + 2}p {_q(path)}"),
        _BEFORE,
    )


def _source_encoding(failure: StartFailure, _last: LastStart, _place: StartPlace) -> tuple[Text, ...]:
    path = failure.values.get("path", "?")
    return (
        _t(f"Convert {path} to UTF-8, for example from GBK:", f"把 {path} 转成 UTF-8，例如原为 GBK："),
        verbatim(f"iconv -f GBK -t UTF-8 {_q(path)} -o {_q(path + '.utf8')}"),
        _t(f"Look at {path}.utf8, then put it in the place of {path}", f"检查 {path}.utf8 后替换 {path}"),
    )


def _encoding(failure: StartFailure, _last: LastStart, _place: StartPlace) -> tuple[Text, ...]:
    return (
        _t(
            f"Say the encoding where the file is opened ({failure.where}): encoding='utf-8'",
            f"在打开文件处（{failure.where}）写明编码：encoding='utf-8'",
        ),
        _t(
            "Or start the service in a UTF-8 locale: LC_ALL=C.UTF-8 and PYTHONUTF8=1 in its environment",
            "或让服务在 UTF-8 环境中启动：环境变量 LC_ALL=C.UTF-8、PYTHONUTF8=1",
        ),
    )


def _worker_class(failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    name = failure.values.get("name", "?")
    # gthread is part of gunicorn, so it needs a newer gunicorn.
    own = "gunicorn" if name == "gthread" else worker_package(name)
    package = own or re.sub(r"[^\w.-]", "", name.partition(".")[0]) or "?"
    detail = failure.values.get("detail", "")
    python = _q(last.interpreter) if last.interpreter else place.python
    if match := re.search(r"requires (\w+) ([\d.]+) or higher", detail):
        command = f"{python} -m pip install {_q(f'{match[1]}>={match[2]}')}"
    elif match := re.search(r"No module named '([\w]+)", detail):
        command = f"{python} -m pip install {_q(match[1])}"
    else:
        command = f"{python} -m pip install {_q(package)}"
    setting = _setting(place, "worker_class")
    if "Entry point (" in detail and name in _REMOVED_CLASSES:
        return (
            _t(
                f"This version of gunicorn has no {name} workers any more, whatever is installed: choose another class "
                f"(gthread, or gevent with the package gevent): {setting.en}",
                f"这个版本的 gunicorn 已不再有 {name} 工作进程，装什么包都没用：换一个类（gthread，或装 gevent 包后用 "
                f"gevent）：{setting.zh}",
            ),
            *([verbatim(f"sed -i {_q(_set_class(name))} {_q(place.config)}")] if place.config else []),
        )
    return (
        _t(
            "Install what the worker class needs, for the service's own interpreter:",
            "用服务自己的解释器安装该工作进程类需要的包：",
        ),
        verbatim(command),
        _t(
            f"Or choose a class that gunicorn brings along (sync, gthread): {setting.en}",
            f"或改用 gunicorn 自带的类（sync、gthread）：{setting.zh}",
        ),
    )


# gunicorn 27.0 removed the eventlet workers.
_REMOVED_CLASSES = ("eventlet",)


def _set_class(name: str) -> str:
    """Return the sed script that sets worker_class to gthread in place of ``name``."""
    return rf"s/^\(\s*worker_class\s*=\s*\)[\"']{name}[\"']/\1\"gthread\"/"


def _configuration(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    path = failure.values.get("path", "?")
    if failure.kind is Kind.CONFIG_MISSING:
        return (
            _t(
                f"Bring {path} back (from a backup or the repository), or correct -c where gunicorn is started: "
                f"{place.start}",
                f"恢复 {path}（从备份或仓库），或更正启动命令里的 -c：{place.start}",
            ),
        )
    return (_t(f"Correct {failure.where}: {failure.quote}", f"修复 {failure.where}：{failure.quote}"),)


def _invalid_setting(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    name = failure.values.get("name")
    setting = _setting(place, name or "the setting")
    value = failure.values.get("value")
    return (
        _t(
            f"Correct {setting.en}{f' (now {value})' if value else ''}: {failure.quote}; an option on the "
            "command line or in GUNICORN_CMD_ARGS wins over the file",
            f"更正 {_setting(place, name or '该设置').zh}{f'（现为 {value}）' if value else ''}："
            f"{failure.quote}；命令行和 GUNICORN_CMD_ARGS 优先于文件",
        ),
    )


def _option(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    return (
        *_dashes(failure, place),
        _t(
            f"Correct gunicorn's options where it is started ({place.script or place.unit or place.start}) or "
            f"in GUNICORN_CMD_ARGS: {failure.quote}",
            f"更正启动处（{place.script or place.unit or place.start}）或 GUNICORN_CMD_ARGS 里 gunicorn 的选项："
            f"{failure.quote}",
        ),
    )


def _dashes(failure: StartFailure, place: StartPlace) -> tuple[Text, ...]:
    """Say that an option begins with a dash that is no hyphen: an editor or a web page exchanged it."""
    word = failure.values.get("word") or failure.quote
    dash = next((character for character in word if character in DASHES), None)
    if dash is None:
        return ()
    name = f"U+{ord(dash):04X} {unicodedata.name(dash, '')}".strip()
    started = place.script or place.unit or place.start
    return (
        _t(
            f"{word} holds {dash} ({name}), which is no hyphen, so it is no option: in {started} type the two hyphens"
            " (--) again",
            f"{word} 里的 {dash}（{name}）不是连字符（hyphen），因此不算选项：在 {started} 里重新输入两个连字符（--）",
        ),
    )


def _in_use(_failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    return (
        _t(
            "See who holds the address, and end it or wait until it has gone:",
            "先看谁占用了这个地址，结束它或等它退出：",
        ),
        verbatim(place.listeners or "ss -ltnp"),
    )


def _bind(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    setting = _setting(place, "bind")
    here = _t(
        f"Correct {setting.en}: an address of this host (127.0.0.1:PORT behind nginx); nginx proxies to "
        f"{place.backend}",
        f"更正 {setting.zh}：写本机的地址（在 nginx 之后用 127.0.0.1:端口）；nginx 转发到 {place.backend}",
    )
    if failure.kind is Kind.PORT_FORBIDDEN:
        return (
            _t(
                f"Bind a port of 1024 or higher ({setting.en}) and let nginx proxy to it"
                + (", or AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit" if place.unit else ""),
                f"绑定 1024 以上的端口（{setting.zh}），由 nginx 转发"
                + ("；或在 unit 里加 AmbientCapabilities=CAP_NET_BIND_SERVICE" if place.unit else ""),
            ),
        )
    if failure.kind is Kind.SOCKET_TOO_LONG:
        return (
            _t(
                f"Choose a shorter path, below /run: {setting.en}, and proxy_pass in nginx's site",
                f"换一个短路径，放在 /run 下：{setting.zh}，以及 nginx 站点里的 proxy_pass",
            ),
        )
    return (here, verbatim("ip -brief address"))


def _directory(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    """Return the steps that create a directory that must exist before the start."""
    path = failure.values.get("path")
    if path is None:
        unit = failure.values.get("unit", place.unit or "?")
        return (
            verbatim(f"systemctl cat {_q(unit)}"),
            _t(
                "Make the directories that its StandardOutput=, StandardError= and PIDFile= lines name",
                "创建其中 StandardOutput=、StandardError=、PIDFile= 所指文件的目录",
            ),
        )
    directory = path if failure.kind is Kind.PIDFILE_DIRECTORY else str(PurePosixPath(path).parent)
    steps = [verbatim(f"mkdir -p {_q(directory)}")]
    in_run = directory.startswith(("/run/", "/var/run/"))
    name = PurePosixPath(directory).name
    if place.unit:
        kind = (
            "RuntimeDirectory" if in_run else "LogsDirectory" if directory.startswith("/var/log/") else None
        )
        if kind:
            steps.append(
                _t(f"For the next boot: {kind}={name} in the unit", f"为下次开机：在 unit 里写 {kind}={name}")
            )
    elif failure.kind in (Kind.PIDFILE_DIRECTORY, Kind.SOCKET_DIRECTORY):
        steps.append(
            _t(
                f"A directory below /run is gone after each boot: RuntimeDirectory={name} in a unit, or a line "
                "in /etc/tmpfiles.d, makes it anew",
                f"/run 下的目录每次开机都会消失：在 unit 里写 RuntimeDirectory={name}，或在 /etc/tmpfiles.d "
                "加一行，自动重建",
            )
        )
    steps.append(
        _t(
            f"It belongs to the service's user: chown USER {directory}",
            f"目录要归服务的用户所有：chown 用户 {directory}",
        )
    )
    return tuple(steps)


def _forbidden(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    path = str(PurePosixPath(place.app_dir, failure.values.get("path", "?")))
    return (
        verbatim(f"namei -l {_q(path)}"),
        _t(
            f"Give the service's user access to {path} (chown, chmod), as far as it needs; which user that is: "
            f"User= in the unit, user in {place.config}",
            f"让服务的用户能访问 {path}（chown、chmod），够用即可；用户见 unit 的 User= 或 {place.config} 的 user",
        ),
    )


def _pidfile_held(failure: StartFailure, _last: LastStart, _place: StartPlace) -> tuple[Text, ...]:
    path, pid = failure.values.get("path", "?"), failure.values.get("pid", "?")
    return (
        _t(
            f"Make sure that process {pid} is no gunicorn of this service (it is left alone):",
            f"确认进程 {pid} 不是本服务的 gunicorn（不要动它）：",
        ),
        verbatim(f"ps -o pid,ppid,stat,lstart,args -p {_q(pid)}"),
        verbatim(f"rm -- {_q(path)}"),
    )


def _account(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    name = failure.values.get("name", "?")
    is_group = failure.kind is Kind.GROUP
    by_unit = "unit" in failure.values
    setting = "Group=" if is_group else "User="
    where = (
        f"{setting} in {failure.values['unit']}"
        if by_unit
        else _setting(place, "group" if is_group else "user").en
    )
    ort = (
        f"{failure.values['unit']} 的 {setting}"
        if by_unit
        else _setting(place, "group" if is_group else "user").zh
    )
    command = f"{'groupadd' if is_group else 'useradd'} --system {_q(name)}"
    return (
        _t(
            f"Correct {where}, or create it{f': {command}' if name != '?' else ''}",
            f"更正 {ort}，或创建它{f'：{command}' if name != '?' else ''}",
        ),
    )


def _not_root(_failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    setting = _setting(place, "user, group")
    return (
        _t(
            f"Start it as root, or as that very user, or drop {setting.en}",
            f"以 root 或该用户启动，或去掉 {setting.zh}",
        ),
    )


def _work_directory(failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    path = failure.values.get("path")
    program = next(
        (a for a in last.supervisors if a.manager is ServiceManager.SUPERVISORD and path == a.directory), None
    )
    if program is not None and path:
        section = f"[program:{program.unit}]"
        return (
            verbatim(f"namei -l {_q(path)}"),
            _t(
                f"Correct directory= in {section} of {program.config}, or bring the directory back",
                f"更正 {program.config} 的 {section} 里的 directory=，或恢复该目录",
            ),
            verbatim("supervisorctl update"),
        )
    where = (
        f"WorkingDirectory= in {failure.values['unit']}"
        if "unit" in failure.values
        else _setting(place, "chdir").en
    )
    ort = (
        f"{failure.values['unit']} 的 WorkingDirectory="
        if "unit" in failure.values
        else _setting(place, "chdir").zh
    )
    inspection = (verbatim(f"namei -l {_q(path)}"),) if path else ()
    return (*inspection, _t(f"Correct {where}, or bring the directory back", f"更正 {ort}，或恢复该目录"))


def _connection(failure: StartFailure, _last: LastStart, _place: StartPlace) -> tuple[Text, ...]:
    peer = failure.values.get("peer")
    port = peer.rpartition(":")[2] if peer and ":" in peer else ""
    look = (verbatim(f"ss -ltnp | grep {_q(':' + port)}"),) if port.isdigit() else ()
    return (
        _t(
            f"Start what the application needs ({peer or 'the service at ' + str(failure.where)}), or correct "
            "its address in the application's settings",
            f"先启动应用依赖的服务（{peer or str(failure.where) + ' 处连接的服务'}），或更正应用配置里的地址",
        ),
        *look,
        _t(
            "For the next boot let the service start after it (After= and Wants= in the unit), or connect at "
            "the first request instead of at import",
            "为下次开机：让本服务在它之后启动（unit 的 After=、Wants=），或改为首次请求时再连接",
        ),
    )


def _file(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    path = failure.values.get("path", "?")
    relative = not path.startswith("/")
    return (
        _t(
            f"Bring {path} back, or correct the path at {failure.where}"
            + (
                "; it is relative to the directory that gunicorn is started in (WorkingDirectory=, chdir: "
                f"{place.app_dir})"
                if relative
                else ""
            ),
            f"恢复 {path}，或更正 {failure.where} 处的路径"
            + (
                f"；它是相对路径，从 gunicorn 的启动目录算起（WorkingDirectory=、chdir：{place.app_dir}）"
                if relative
                else ""
            ),
        ),
    )


def _read_only(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    path = failure.values.get("path") or failure.values.get("address") or place.app_dir
    return (
        verbatim(f"findmnt -T {_q(path)}"),
        _t(
            "If the unit has ProtectSystem=, allow the place with ReadWritePaths=; if the kernel remounted it "
            "read-only, look at dmesg and the disk first",
            "如果 unit 设了 ProtectSystem=，用 ReadWritePaths= 放行；如果是内核改为只读挂载，先看 dmesg 和磁盘",
        ),
    )


def _disk(_failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    return (
        verbatim(f"df -h {_q(place.app_dir)} /tmp /run"),
        _t("Free space where the words above say", "按上面的报错清出空间"),
    )


def _library(failure: StartFailure, _last: LastStart, _place: StartPlace) -> tuple[Text, ...]:
    library = failure.values.get("library", "?")
    return (
        verbatim(f"ldconfig -p | grep {_q(library.partition('.so')[0])}"),
        _t(
            f"Install the system package that holds {library} (apt-file search, dnf provides), or the Python "
            "package built for this host (libcudart, libcublas: the CPU build of torch)",
            f"安装含 {library} 的系统包（apt-file search、dnf provides），或安装适合本机的 Python "
            "包（libcudart、libcublas：torch 的 CPU 版）",
        ),
    )


def _memory(_failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    setting = _setting(place, "workers")
    return (
        verbatim("free -m; dmesg | grep -iE 'out of memory|oom-kill' | tail -n 3"),
        _t(
            f"Fewer workers, or preload_app = True so that they share the model: {setting.en}"
            + ("; MemoryMax= of the unit, if that is the limit" if place.unit else ""),
            f"减少 workers，或设 preload_app = True 共享模型：{setting.zh}"
            + ("；如果是 unit 的 MemoryMax= 限制，调大它" if place.unit else ""),
        ),
    )


def _crashed(_failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    python = _q(last.interpreter) if last.interpreter else place.python
    module = place.wsgi.partition(":")[0]
    return (
        _t("See where it crashes:", "看崩溃在哪里："),
        verbatim(f"cd {_q(place.app_dir)} && {python} -X faulthandler -c {_q(f'import {module}')}"),
        _t("Reinstall the package that the last frames name", "重装最后几帧所在的包"),
    )


def _slow(_failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    setting = _setting(place, "timeout")
    return (
        _t(
            f"Raise {setting.en} above the time that loading takes, or load once before the workers: "
            "preload_app = True",
            f"把 {setting.zh} 调到大于加载时间，或在 fork 前加载一次：preload_app = True",
        ),
    )


def _open_files(_failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    if place.unit:
        return (
            verbatim(f"systemctl edit {place.unit}"),
            _t("There, below [Service]: LimitNOFILE=65536", "在其中的 [Service] 下写：LimitNOFILE=65536"),
        )
    where = place.script or "the start"
    ort = place.script or "启动处"
    return (_t(f"Raise the limit in {where}: ulimit -n 65536", f"在 {ort} 调高上限：ulimit -n 65536"),)


def _runs_itself(failure: StartFailure, last: LastStart, _place: StartPlace) -> tuple[Text, ...]:
    run = next(iter(last.runs), None)
    where = f"{run.path}:{run.line}" if run else failure.where or "?"
    call = run.call if run else "app.run"
    return (
        _t(
            f'Put {call}(...) at {where} below `if __name__ == "__main__":`, so that gunicorn only imports the '
            "module",
            f'把 {where} 处的 {call}(...) 放到 `if __name__ == "__main__":` 之下，让 gunicorn 只导入模块',
        ),
    )


def _exits(_failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    python = _q(last.interpreter) if last.interpreter else place.python
    module = re.sub(r"[^\w.]", "", place.wsgi.partition(":")[0])
    steps = [
        _t(
            f"See why {each.path}:{each.line} calls {each.call} and fix what it checks",
            f"看 {each.path}:{each.line} 为何调用 {each.call}，解决它检查的问题",
        )
        for each in last.exits[:3]
    ]
    return (
        *steps,
        _t(
            "What it says when it is imported by hand, in the service's environment:",
            "在服务的环境里手动导入，看它说什么：",
        ),
        verbatim(f"cd {_q(place.app_dir)} && {python} -c {_q(f'import {module}')}"),
    )


def _program(failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    path = failure.values.get("path")
    where = failure.values.get("unit") or place.unit or place.script or place.start
    if failure.kind is Kind.NO_GUNICORN:
        python = _q(last.interpreter) if last.interpreter else place.python
        return (
            _t(
                f"Start it with the interpreter of the service's own virtual environment ({where}), or install "
                "gunicorn there:",
                f"用服务自己虚拟环境的解释器启动（{where}），或在其中安装 gunicorn：",
            ),
            verbatim(f"{python} -m pip install gunicorn"),
        )
    inspection = (
        (verbatim(f"ls -l {_q(path)}; head -n 1 {_q(path)}"),) if path and path.startswith("/") else ()
    )
    if failure.kind is Kind.NOT_EXECUTABLE:
        return (*inspection, *((verbatim(f"chmod a+x {_q(path)}"),) if path and path.startswith("/") else ()))
    venv = str(PurePosixPath(path).parent.parent) if path and "/bin/" in path else None
    advice = _t(
        f"Correct the path in {where}; a script of a virtual environment that was moved or copied names its old "
        "place: make it anew"
        + (f": python3 -m venv --clear {_q(venv)} and pip install -r requirements.txt" if venv else ""),
        f"更正 {where} 里的路径；移动或复制过的虚拟环境，脚本首行仍指向旧位置，需重建"
        + (f"：python3 -m venv --clear {_q(venv)}，再 pip install -r requirements.txt" if venv else ""),
    )
    return (*inspection, advice)


def _tls_file(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    path = failure.values.get("path", "?")
    setting = _setting(place, "certfile, keyfile")
    return (
        _t(
            f"Bring {path} back or correct {setting.en}; behind nginx gunicorn needs no TLS of its own: drop both",
            f"恢复 {path} 或更正 {setting.zh}；在 nginx 之后 gunicorn 不需要自己的 TLS，可都去掉",
        ),
    )


def _limit(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    unit = failure.values.get("unit", place.unit or "?")
    return (
        verbatim(f"journalctl -u {_q(unit)} -n 50 --no-pager"),
        _t("Fix what those lines say, then:", "先解决这些行里的问题，然后："),
    )


def _look(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    """Return the steps for an unknown cause: show more of the log, and quote the message."""
    unit = failure.values.get("unit") or place.unit
    is_file = failure.source.startswith("/")
    look = (
        f"tail -n 60 {_q(failure.source)}"
        if is_file
        else f"journalctl -u {_q(unit)} -n 60 --no-pager"
        if unit
        else None
    )
    return (
        *((verbatim(look),) if look else ()),
        _t(
            f"Fix what it says ({failure.quote[:160]}) before the next start",
            f"先解决它说的问题（{failure.quote[:160]}），再启动",
        ),
    )


_STEPS: dict[Kind, _Steps] = {
    Kind.VARIABLE: _variable,
    Kind.VARIABLE_VALUE: _variable,
    Kind.SUBMODULE: _submodule,
    Kind.RELATIVE_IMPORT: _relative_import,
    Kind.DATA_FILE: _data_file,
    Kind.DATABASE_FILE: _database_file,
    Kind.TABLE: _table,
    Kind.DATABASE_REFUSES: _database_refuses,
    Kind.PORT_OF_ITS_OWN: _own_port,
    Kind.PARSES_ARGUMENTS: _arguments,
    Kind.WORKER_DIRECTORY: _worker_directory,
    Kind.SETTINGS: _correct,
    Kind.WSGI_MODULE: _wsgi_module,
    Kind.OWN_MODULE: _wsgi_module,
    Kind.PACKAGE: _package,
    Kind.VERSION_CLASH: _clash,
    Kind.CIRCULAR: _correct,
    Kind.OWN_NAME: _correct,
    Kind.HIDES: _hidden,
    Kind.ATTRIBUTE: _attribute,
    Kind.NOT_CALLABLE: _attribute,
    Kind.FACTORY_ARGUMENT: _factory,
    Kind.SYNTAX: _syntax,
    Kind.SOURCE_ENCODING: _source_encoding,
    Kind.ENCODING: _encoding,
    Kind.WORKER_CLASS: _worker_class,
    Kind.CONFIG_MISSING: _configuration,
    Kind.CONFIG_FAILS: _configuration,
    Kind.SETTING_VALUE: _invalid_setting,
    Kind.OPTION: _option,
    Kind.ADDRESS_IN_USE: _in_use,
    Kind.ADDRESS_NOT_HERE: _bind,
    Kind.PORT_FORBIDDEN: _bind,
    Kind.ADDRESS_INVALID: _bind,
    Kind.HOST_UNKNOWN: _bind,
    Kind.SOCKET_DIRECTORY: _directory,
    Kind.SOCKET_FORBIDDEN: _forbidden,
    Kind.SOCKET_TOO_LONG: _bind,
    Kind.PIDFILE_HELD: _pidfile_held,
    Kind.PIDFILE_DIRECTORY: _directory,
    Kind.PIDFILE_FORBIDDEN: _forbidden,
    Kind.USER: _account,
    Kind.GROUP: _account,
    Kind.NOT_ROOT: _not_root,
    Kind.LOG_DIRECTORY: _directory,
    Kind.LOG_FORBIDDEN: _forbidden,
    Kind.DIRECTORY: _work_directory,
    Kind.TLS_FILE: _tls_file,
    Kind.CONNECTION: _connection,
    Kind.FILE: _file,
    Kind.FILE_FORBIDDEN: _forbidden,
    Kind.READ_ONLY: _read_only,
    Kind.DISK_FULL: _disk,
    Kind.LIBRARY: _library,
    Kind.MEMORY: _memory,
    Kind.KILLED: _memory,
    Kind.CRASHED: _crashed,
    Kind.TOO_SLOW: _slow,
    Kind.OPEN_FILES: _open_files,
    Kind.RUNS_ITSELF: _runs_itself,
    Kind.EXITS: _exits,
    Kind.INTERPRETER: _program,
    Kind.PROGRAM: _program,
    Kind.NO_GUNICORN: _program,
    Kind.NOT_EXECUTABLE: _program,
    Kind.START_LIMIT: _limit,
    Kind.EXCEPTION: _correct,
}
