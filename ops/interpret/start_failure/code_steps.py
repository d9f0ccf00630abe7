"""Steps against a start that the application's own code or its packages end."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import PurePosixPath

from ops.facts.start import LastStart
from ops.interpret.exception_words import explained
from ops.interpret.start_failure.import_rules import requirement_of
from ops.interpret.start_failure.kind import NOT_KNOWN, StartFailure
from ops.interpret.start_failure.place import StartPlace, of_package, python_of, setting_words, show_line
from ops.interpret.start_failure.variable_steps import set_at_the_start
from ops.text.language import Text, verbatim


def submodule(failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    values = failure.values
    module, directory = values.get("module", NOT_KNOWN), values.get("directory", NOT_KNOWN)
    if file := values.get("file"):
        choices = ", ".join(f"{module.partition('.')[0]}:{each}" for each in last.callables[:5])
        first = module.partition(".")[0]
        return (
            Text(
                f"Have gunicorn serve the file itself ({choices or f'{first}:NAME'}) in place of {place.wsgi}, in "
                f"{place.script or place.unit or place.start}; or rename {file}, if a package {first} is meant",
                f"让 gunicorn 直接加载这个文件（{choices or f'{first}:名称'}），而不是 {place.wsgi}，改 "
                f"{place.script or place.unit or place.start}；如果本来指的是包 {first}，则给 {file} 改名",
            ),
        )
    package = str(PurePosixPath(directory, *values.get("package", NOT_KNOWN).split(".")))
    listing = verbatim(f"ls -la {shlex.quote(package)}")
    if variable := values.get("variable"):
        names = [variable]
        return (
            listing,
            Text(
                f"{variable} names {module}: give it the module that is there, or bring the file back",
                f"{variable} 指定了 {module}：改成实际存在的模块，或恢复该文件",
            ),
            *show_line(failure.where),
            *set_at_the_start(names, None, failure, last, place)[:2],
        )
    return (
        listing,
        Text(
            f"Bring {module} back, or correct the import at {failure.where or place.wsgi}",
            f"恢复 {module}，或修正 {failure.where or place.wsgi} 处的导入",
        ),
    )


def relative_import(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    path = PurePosixPath((failure.where or f"{NOT_KNOWN}:0").rpartition(":")[0])
    package = path.parent
    name = place.wsgi.partition(":")[2] or "app"
    wsgi = f"{package.name}.{path.stem}:{name}"
    return (
        Text(
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


def own_port(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    port = failure.values.get("port")
    look = f"ss -ltnp | grep {shlex.quote(':' + port)}" if port else "ss -ltnp"
    return (
        verbatim(look),
        Text(
            f"If another program holds it: end that, or choose another port at {failure.at.en}. If it is a worker of "
            f"this service: bind it once, in the master (when_ready in {place.config or 'the configuration'}), or "
            "serve it by a route of the application",
            f"如果是别的程序占用：结束它，或在 {failure.at.zh} 换端口。如果是本服务的工作进程：只在主进程里监听一次"
            f"（{place.config or '配置文件'} 的 when_ready），或改由应用的一个路由提供",
        ),
    )


def arguments(failure: StartFailure, _last: LastStart, _place: StartPlace) -> tuple[Text, ...]:
    where = failure.where or NOT_KNOWN
    call = failure.values.get("call", "parse_args")
    return (
        *show_line(failure.where),
        Text(
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


def wsgi_module(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    if path := failure.values.get("path"):
        return (_module_of_path(path, place),)
    directory = failure.values.get("directory")
    module = failure.values.get("module", NOT_KNOWN)
    if directory and directory != place.app_dir:
        return (
            Text(
                f"{module} is in {directory}: set pythonpath = {directory!r} (or chdir) in "
                f"{place.config or place.start}",
                f"{module} 在 {directory}：在 {place.config or place.start} 里设置 pythonpath = "
                f"{directory!r}（或 chdir）",
            ),
        )
    if directory:
        return (
            Text(
                f"{module} is in {directory}, but gunicorn was started elsewhere: "
                + (
                    f"WorkingDirectory={directory} in the unit"
                    if place.unit
                    else f"chdir = {directory!r} in {place.config or place.start}"
                ),
                f"{module} 在 {directory}，但 gunicorn 是在别处启动的："
                + (
                    f"在 unit 里设置 WorkingDirectory={directory}"
                    if place.unit
                    else f"在 {place.config or place.start} 里设置 chdir = {directory!r}"
                ),
            ),
        )
    return (
        Text(
            f"There is no module {module} in {place.app_dir} or a directory in it: correct MODULE in MODULE:NAME "
            f"({place.wsgi}) where gunicorn is started, or bring the file back",
            f"{place.app_dir} 及其子目录里都没有模块 {module}：更正启动 gunicorn "
            f"处的“模块:名称”（{place.wsgi}），或恢复该文件",
        ),
        verbatim(f"ls -la {shlex.quote(place.app_dir)}"),
    )


def _module_of_path(path: str, place: StartPlace) -> Text:
    """How to name the module whose path gunicorn was given, and from where."""
    file = PurePosixPath(place.app_dir, path.removesuffix(".py"))
    start = PurePosixPath(place.app_dir) if file.is_relative_to(place.app_dir) else file.parent
    name = place.wsgi.partition(":")[2] or "app"
    wsgi = f"{'.'.join(file.relative_to(start).parts)}:{name}"
    where = place.script or place.unit or place.start
    return Text(
        f"gunicorn wants the name of a module, not its path: {wsgi} in place of {path}:{name} in {where}, and chdir = "
        f"{str(start)!r} in {place.config or 'its configuration'}"
        + (" (or WorkingDirectory= in the unit)" if place.unit else ""),
        f"gunicorn 要的是模块名，不是路径：在 {where} 里用 {wsgi} 代替 {path}:{name}，并在 "
        f"{place.config or '它的配置文件'} 里设 chdir = {str(start)!r}"
        + ("（或 unit 的 WorkingDirectory=）" if place.unit else ""),
    )


def package(failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    first = failure.values.get("module", NOT_KNOWN).partition(".")[0]
    name = requirement_of(first) or failure.values.get("package", NOT_KNOWN)
    command = f"{python_of(last, place)} -m pip install {shlex.quote(name)}"
    if failure.values.get("listed"):
        return (verbatim(command),)
    module = failure.values.get("module", NOT_KNOWN)
    return (
        of_package(module.partition(".")[0], python_of(last, place)),
        Text(
            f"If it is the application's own module: it is not in {place.app_dir}; bring it back, or "
            f"correct the import at {failure.at.en}",
            f"如果它是应用自己的模块：{place.app_dir} 里没有它，请恢复该文件，或修正 {failure.at.zh} 处的 import",
        ),
    )


def clash(failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    package, importer = failure.values.get("package", NOT_KNOWN), failure.values.get("importer")
    python = python_of(last, place)
    modules = [each for each in (importer, package) if each and each not in sys.stdlib_module_names]
    # Not by name: a package may be called otherwise than its module.
    installed = verbatim(
        _packages(python, f'f.parts[0].partition(".")[0] in {json.dumps(modules)}')
        if modules
        else f"{python} -V"
    )
    if importer:
        return (
            Text(
                f"{importer} needs another version of {package}: bring their packages to versions that fit, as the "
                "requirements have them, or upgrade the one of the first; which they are, and what they need:",
                f"{importer} 需要另一版本的 {package}：让两者所在包的版本匹配（按 requirements 安装），或升级前者；"
                "它们是哪些包、需要什么：",
            ),
            installed,
            verbatim(f"{python} -m pip check"),
        )
    needs = failure.where or NOT_KNOWN
    return (
        Text(
            f"{needs} needs another version of {package}: install the one it was written for, or change the "
            "import; which is installed:",
            f"{needs} 需要另一版本的 {package}：安装与之匹配的版本，或修改 import；当前安装的版本：",
        ),
        installed,
    )


def attribute(failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    module, name = failure.values.get("module", NOT_KNOWN), failure.values.get("name", NOT_KNOWN)
    if last.callables:
        choices = ", ".join(f"{module}:{each}" for each in last.callables[:5])
        return (
            Text(
                f"Have gunicorn serve what is there ({choices}) in place of {module}:{name}: "
                f"the end of its command line in {place.script or place.unit or 'the start command'}, or "
                f"{setting_words(place, 'wsgi_app').en}",
                f"让 gunicorn 加载实际存在的对象（{choices}），而不是 {module}:{name}："
                f"改 {place.script or place.unit or '启动命令'} 里命令行末尾，或 {setting_words(place, 'wsgi_app').zh}",
            ),
        )
    return (
        Text(
            f"Correct MODULE:NAME where gunicorn is started: module {module} has no {name}",
            f"更正启动 gunicorn 处的“模块:名称”：模块 {module} 里没有 {name}",
        ),
    )


def factory(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    name = failure.values.get("name", NOT_KNOWN)
    return (
        Text(
            f"Give {name} its arguments where gunicorn is started (MODULE:{name}(...)), or defaults in the "
            f"application ({place.wsgi})",
            f"在启动 gunicorn 处给 {name} 传参（模块:{name}(...)），或在应用里给出默认值（{place.wsgi}）",
        ),
    )


def correct(failure: StartFailure, _last: LastStart, _place: StartPlace) -> tuple[Text, ...]:
    """Return what the exception's own words ask for; else that the line is to be corrected."""
    if known := explained(failure.quote):
        return (known.step,)
    return (
        Text(f"Correct {failure.at.en}: {failure.quote}", f"修复 {failure.at.zh}：{failure.quote}"),
        _BEFORE,
    )


_BEFORE = Text(
    "If it began with the last deployment, go back to the version before",
    "如果是上次发布后开始的，先回滚到前一个版本",
)


def hidden(failure: StartFailure, _last: LastStart, _place: StartPlace) -> tuple[Text, ...]:
    path, module = failure.values.get("path", NOT_KNOWN), failure.values.get("module", NOT_KNOWN)
    other = f"{path.removesuffix('.py')}_own.py"
    return (
        verbatim(f"mv -- {shlex.quote(path)} {shlex.quote(other)}"),
        Text(
            f"Where the application means this file and not the package, write import {module}_own",
            f"应用里本来要导入这个文件（而不是包）的地方，改为 import {module}_own",
        ),
    )


def syntax(failure: StartFailure, _last: LastStart, _place: StartPlace) -> tuple[Text, ...]:
    path, line = failure.values.get("path", NOT_KNOWN), failure.values.get("line", "1")
    number = int(line) if line.isdigit() else 1
    return (
        Text(f"Correct {failure.at.en}: {failure.quote}", f"修复 {failure.at.zh}：{failure.quote}"),
        verbatim(f"sed -n {max(1, number - 2)},{number + 2}p {shlex.quote(path)}"),
        _BEFORE,
    )


def damaged(failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    path = failure.values.get("path")
    if path is not None and path.endswith("/__pycache__"):
        return (
            verbatim(f"rm -r -- {shlex.quote(path)}"),
            Text(
                "Python writes its compiled files anew; if that does not help, the source beside them is damaged",
                "Python 会重新生成编译文件；如果仍然失败，就是旁边的源文件损坏了",
            ),
        )
    back = (
        verbatim(_installed_again(python_of(last, place), path))
        if path and "-packages/" in path
        else Text(
            f"Bring {path or 'the damaged file'} back from the release or a backup (git checkout -- FILE, or gte-ops"
            " restore): a full disk or a power failure left it without its contents",
            f"从发布包或备份恢复 {path or '损坏的文件'}（git checkout -- 文件，或 gte-ops restore）："
            "磁盘写满或断电使它丢失了内容",
        )
    )
    return (
        verbatim(f"grep -rlP --include='*.py' '\\x00' {shlex.quote(place.app_dir)}"),
        back,
        Text(
            "See whether more is damaged, and why: df -h, and the kernel's words about the disk (dmesg -T | tail)",
            "检查是否还有其他文件损坏以及原因：df -h，以及内核关于磁盘的消息（dmesg -T | tail）",
        ),
    )


def _installed_again(python: str, path: str) -> str:
    """The command that installs the package again to which a file belongs, in the same version and without others: by
    what is installed, because a module's name is not its package's."""
    if path.startswith("/usr/lib/python3/dist-packages/"):
        return f"apt-get install --reinstall $(dpkg -S {shlex.quote(path)} | cut -d: -f1)"
    file = json.dumps(path.rpartition("-packages/")[2])
    return f"{python} -m pip install --force-reinstall --no-deps $({_packages(python, f'str(f) == {file}')})"


def _packages(python: str, condition: str) -> str:
    """The command that prints the installed packages, with versions, one of whose files ``f`` meets the condition."""
    code = (
        'import importlib.metadata as m; print(*set(d.metadata["Name"] + "==" + d.version for d in m.distributions()'
        f" if any({condition} for f in d.files or ())))"
    )
    return f"{python} -c {shlex.quote(code)}"


def pickled(failure: StartFailure, _last: LastStart, _place: StartPlace) -> tuple[Text, ...]:
    values, module = failure.values, failure.values.get("module", NOT_KNOWN)
    name = Text(values.get("name", "its classes"), values.get("name", "它的类"))
    file = Text(values.get("path", "the pickle"), values.get("path", "pickle 文件"))
    return (
        *show_line(failure.where),
        Text(
            f"A pickle names its classes by their modules, and for {file.en} that is {module}"
            + (" (the script that was run when it was saved)" if module == "__main__" else "")
            + f": put {name.en} into a module of the application, import it from there in the script that saves the"
            " model, and save it again",
            f"pickle 按“模块.类名”引用类，{file.zh} 引用的是 {module}"
            + ("（保存时直接运行的脚本）" if module == "__main__" else "")
            + f"：把 {name.zh} 放进应用的某个模块，让保存模型的脚本从那里导入，然后重新保存",
        ),
        Text(
            f"Or, until then, give that module the name before the file is loaded: import sys; import MODULE;"
            f" sys.modules['{module}'].{name.en} = MODULE.{name.en}"
            if module == "__main__"
            else f"Or bring the module {module} back: the version of its package with which the model was saved",
            f"或暂时在加载之前补上这个名字：import sys; import 模块; sys.modules['{module}'].{name.zh} = 模块.{name.zh}"
            if module == "__main__"
            else f"或恢复模块 {module}：安装保存模型时所用的那个版本的包",
        ),
    )


def source_encoding(failure: StartFailure, _last: LastStart, _place: StartPlace) -> tuple[Text, ...]:
    path = failure.values.get("path", NOT_KNOWN)
    return (
        Text(f"Convert {path} to UTF-8, for example from GBK:", f"把 {path} 转成 UTF-8，例如原为 GBK："),
        verbatim(f"iconv -f GBK -t UTF-8 {shlex.quote(path)} -o {shlex.quote(path + '.utf8')}"),
        Text(f"Look at {path}.utf8, then put it in the place of {path}", f"检查 {path}.utf8 后替换 {path}"),
    )


def encoding(failure: StartFailure, _last: LastStart, _place: StartPlace) -> tuple[Text, ...]:
    return (
        Text(
            f"Say the encoding where the file is opened ({failure.at.en}): encoding='utf-8'",
            f"在打开文件处（{failure.at.zh}）写明编码：encoding='utf-8'",
        ),
        Text(
            "Or start the service in a UTF-8 locale: LC_ALL=C.UTF-8 and PYTHONUTF8=1 in its environment",
            "或让服务在 UTF-8 环境中启动：环境变量 LC_ALL=C.UTF-8、PYTHONUTF8=1",
        ),
    )


def runs_itself(failure: StartFailure, last: LastStart, _place: StartPlace) -> tuple[Text, ...]:
    run = next(iter(last.runs), None)
    where = f"{run.path}:{run.line}" if run else failure.where or NOT_KNOWN
    call = run.call if run else "app.run"
    return (
        Text(
            f'Put {call}(...) at {where} below `if __name__ == "__main__":`, so that gunicorn only imports the '
            "module",
            f'把 {where} 处的 {call}(...) 放到 `if __name__ == "__main__":` 之下，让 gunicorn 只导入模块',
        ),
    )


def exits(_failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    python = python_of(last, place)
    module = re.sub(r"[^\w.]", "", place.wsgi.partition(":")[0])
    steps = [
        Text(
            f"See why {each.path}:{each.line} calls {each.call} and fix what it checks",
            f"看 {each.path}:{each.line} 为何调用 {each.call}，解决它检查的问题",
        )
        for each in last.exits[:3]
    ]
    return (
        *steps,
        Text(
            "What it says when it is imported by hand, in the service's environment:",
            "在服务的环境里手动导入，看它说什么：",
        ),
        verbatim(f"cd {shlex.quote(place.app_dir)} && {python} -c {shlex.quote(f'import {module}')}"),
    )
