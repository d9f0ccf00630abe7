"""Steps against a start that the host ends: directories, accounts, permissions, limits, programs."""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath

from ops.facts.start import LastStart, ServiceManager
from ops.interpret.start_failure.kind import NOT_KNOWN, Kind, StartFailure
from ops.interpret.start_failure.place import StartPlace, setting_words, show_line
from ops.text.language import Text, verbatim


def directory(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    """Return the steps that create a directory that must exist before the start."""
    path = failure.values.get("path")
    if path is None:
        unit = failure.values.get("unit", place.unit or NOT_KNOWN)
        return (
            verbatim(f"systemctl cat {shlex.quote(unit)}"),
            Text(
                "Make the directories that its StandardOutput=, StandardError= and PIDFile= lines name",
                "创建其中 StandardOutput=、StandardError=、PIDFile= 所指文件的目录",
            ),
        )
    directory = path if failure.kind is Kind.PIDFILE_DIRECTORY else str(PurePosixPath(path).parent)
    steps = [verbatim(f"mkdir -p {shlex.quote(directory)}")]
    in_run = directory.startswith(("/run/", "/var/run/"))
    name = PurePosixPath(directory).name
    if place.unit:
        kind = (
            "RuntimeDirectory" if in_run else "LogsDirectory" if directory.startswith("/var/log/") else None
        )
        if kind:
            steps.append(
                Text(
                    f"For the next boot: {kind}={name} in the unit", f"为下次开机：在 unit 里写 {kind}={name}"
                )
            )
    elif failure.kind in (Kind.PIDFILE_DIRECTORY, Kind.SOCKET_DIRECTORY):
        steps.append(
            Text(
                f"A directory below /run is gone after each boot: RuntimeDirectory={name} in a unit, or a line "
                "in /etc/tmpfiles.d, makes it anew",
                f"/run 下的目录每次开机都会消失：在 unit 里写 RuntimeDirectory={name}，或在 /etc/tmpfiles.d "
                "加一行，自动重建",
            )
        )
    steps.append(
        Text(
            f"It belongs to the service's user: chown USER {directory}",
            f"目录要归服务的用户所有：chown 用户 {directory}",
        )
    )
    return tuple(steps)


def forbidden(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    name = failure.values.get("path")
    if name is None:
        return (
            *show_line(failure.where),
            Text(
                f"Give the service's user what {failure.at.en} opens; which user that is: User= in the unit, "
                f"{setting_words(place, 'user').en}",
                f"让服务的用户能访问 {failure.at.zh} 打开的对象；用户见 unit 的 User= 或 "
                f"{setting_words(place, 'user').zh}",
            ),
        )
    path = str(PurePosixPath(place.app_dir, name))
    return (
        verbatim(f"namei -l {shlex.quote(path)}"),
        Text(
            f"Give the service's user access to {path} (chown, chmod), as far as it needs; which user that is: "
            f"User= in the unit, {setting_words(place, 'user').en}",
            f"让服务的用户能访问 {path}（chown、chmod），够用即可；用户见 unit 的 User= 或 "
            f"{setting_words(place, 'user').zh}",
        ),
    )


def account(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    name = failure.values.get("name", NOT_KNOWN)
    is_group = failure.kind is Kind.GROUP
    by_unit = "unit" in failure.values
    setting = "Group=" if is_group else "User="
    where = (
        f"{setting} in {failure.values['unit']}"
        if by_unit
        else setting_words(place, "group" if is_group else "user").en
    )
    ort = (
        f"{failure.values['unit']} 的 {setting}"
        if by_unit
        else setting_words(place, "group" if is_group else "user").zh
    )
    command = f"{'groupadd' if is_group else 'useradd'} --system {shlex.quote(name)}"
    return (
        Text(
            f"Correct {where}, or create it{f': {command}' if name != NOT_KNOWN else ''}",
            f"更正 {ort}，或创建它{f'：{command}' if name != NOT_KNOWN else ''}",
        ),
    )


def not_root(_failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    setting = setting_words(place, "user, group")
    return (
        Text(
            f"Start it as root, or as that very user, or drop {setting.en}",
            f"以 root 或该用户启动，或去掉 {setting.zh}",
        ),
    )


def work_directory(failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    path = failure.values.get("path")
    program = next(
        (a for a in last.supervisors if a.manager is ServiceManager.SUPERVISORD and path == a.directory), None
    )
    if program is not None and path:
        section = f"[program:{program.unit}]"
        return (
            verbatim(f"namei -l {shlex.quote(path)}"),
            Text(
                f"Correct directory= in {section} of {program.config}, or bring the directory back",
                f"更正 {program.config} 的 {section} 里的 directory=，或恢复该目录",
            ),
            verbatim(f"{program.control} update"),
        )
    where = (
        f"WorkingDirectory= in {failure.values['unit']}"
        if "unit" in failure.values
        else setting_words(place, "chdir").en
    )
    ort = (
        f"{failure.values['unit']} 的 WorkingDirectory="
        if "unit" in failure.values
        else setting_words(place, "chdir").zh
    )
    inspection = (verbatim(f"namei -l {shlex.quote(path)}"),) if path else ()
    return (*inspection, Text(f"Correct {where}, or bring the directory back", f"更正 {ort}，或恢复该目录"))


def file(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    path = failure.values.get("path", NOT_KNOWN)
    relative = not path.startswith("/")
    return (
        Text(
            f"Bring {path} back, or correct the path at {failure.at.en}"
            + (
                "; it is relative to the directory that gunicorn is started in (WorkingDirectory=, chdir: "
                f"{place.app_dir})"
                if relative
                else ""
            ),
            f"恢复 {path}，或更正 {failure.at.zh} 处的路径"
            + (
                f"；它是相对路径，从 gunicorn 的启动目录算起（WorkingDirectory=、chdir：{place.app_dir}）"
                if relative
                else ""
            ),
        ),
    )


def read_only(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    path = failure.values.get("path") or failure.values.get("address") or place.app_dir
    return (
        verbatim(f"findmnt -T {shlex.quote(path)}"),
        Text(
            "If the unit has ProtectSystem=, allow the place with ReadWritePaths=; if the kernel remounted it "
            "read-only, look at dmesg and the disk first",
            "如果 unit 设了 ProtectSystem=，用 ReadWritePaths= 放行；如果是内核改为只读挂载，先看 dmesg 和磁盘",
        ),
    )


def disk(_failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    return (
        verbatim(f"df -h {shlex.quote(place.app_dir)} /tmp /run"),
        Text("Free space where the words above say", "按上面的报错清出空间"),
    )


def library(failure: StartFailure, _last: LastStart, _place: StartPlace) -> tuple[Text, ...]:
    library = failure.values.get("library", NOT_KNOWN)
    return (
        verbatim(f"ldconfig -p | grep {shlex.quote(library.partition('.so')[0])}"),
        Text(
            f"Install the system package that holds {library} (apt-file search, dnf provides), or the Python "
            "package built for this host (libcudart, libcublas: the CPU build of torch)",
            f"安装含 {library} 的系统包（apt-file search、dnf provides），或安装适合本机的 Python "
            "包（libcudart、libcublas：torch 的 CPU 版）",
        ),
    )


def memory(_failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    setting = setting_words(place, "workers")
    return (
        verbatim("free -m; dmesg | grep -iE 'out of memory|oom-kill' | tail -n 3"),
        Text(
            f"Fewer workers, or preload_app = True so that they share the model: {setting.en}"
            + ("; MemoryMax= of the unit, if that is the limit" if place.unit else ""),
            f"减少 workers，或设 preload_app = True 共享模型：{setting.zh}"
            + ("；如果是 unit 的 MemoryMax= 限制，调大它" if place.unit else ""),
        ),
    )


def crashed(_failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    python = shlex.quote(last.interpreter) if last.interpreter else place.python
    module = place.wsgi.partition(":")[0]
    return (
        Text("See where it crashes:", "看崩溃在哪里："),
        verbatim(
            f"cd {shlex.quote(place.app_dir)} && {python} -X faulthandler -c {shlex.quote(f'import {module}')}"
        ),
        Text("Reinstall the package that the last frames name", "重装最后几帧所在的包"),
    )


def slow(_failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    setting = setting_words(place, "timeout")
    return (
        Text(
            f"Raise {setting.en} above the time that loading takes, or load once before the workers: "
            "preload_app = True",
            f"把 {setting.zh} 调到大于加载时间，或在 fork 前加载一次：preload_app = True",
        ),
    )


def open_files(_failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    if place.unit:
        return (
            verbatim(f"systemctl edit {place.unit}"),
            Text("There, below [Service]: LimitNOFILE=65536", "在其中的 [Service] 下写：LimitNOFILE=65536"),
        )
    where = place.script or "the start"
    ort = place.script or "启动处"
    return (Text(f"Raise the limit in {where}: ulimit -n 65536", f"在 {ort} 调高上限：ulimit -n 65536"),)


def program(failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    path = failure.values.get("path")
    where = failure.values.get("unit") or place.unit or place.script or place.start
    if failure.kind is Kind.NO_GUNICORN:
        python = shlex.quote(last.interpreter) if last.interpreter else place.python
        return (
            Text(
                f"Start it with the interpreter of the service's own virtual environment ({where}), or install "
                "gunicorn there:",
                f"用服务自己虚拟环境的解释器启动（{where}），或在其中安装 gunicorn：",
            ),
            verbatim(f"{python} -m pip install gunicorn"),
        )
    inspection = (
        (verbatim(f"ls -l {shlex.quote(path)}; head -n 1 {shlex.quote(path)}"),)
        if path and path.startswith("/")
        else ()
    )
    if failure.kind is Kind.NOT_EXECUTABLE:
        return (
            *inspection,
            *((verbatim(f"chmod a+x {shlex.quote(path)}"),) if path and path.startswith("/") else ()),
        )
    venv = str(PurePosixPath(path).parent.parent) if path and "/bin/" in path else None
    advice = Text(
        f"Correct the path in {where}; a script of a virtual environment that was moved or copied names its old "
        "place: make it anew"
        + (
            f": python3 -m venv --clear {shlex.quote(venv)} and pip install -r requirements.txt"
            if venv
            else ""
        ),
        f"更正 {where} 里的路径；移动或复制过的虚拟环境，脚本首行仍指向旧位置，需重建"
        + (
            f"：python3 -m venv --clear {shlex.quote(venv)}，再 pip install -r requirements.txt"
            if venv
            else ""
        ),
    )
    return (*inspection, advice)


def extension(failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    """Return the steps that put a compiled module for this Python in place of another's."""
    python = shlex.quote(last.interpreter) if last.interpreter else place.python
    package, path = failure.values.get("package", NOT_KNOWN), failure.values.get("path", NOT_KNOWN)
    return (
        verbatim(f"{python} -c 'import sysconfig; print(sysconfig.get_config_var(\"EXT_SUFFIX\"))'"),
        Text(
            f"The ending of {path} must be that one. Install the package anew with the service's own Python:"
            f" {python} -m "
            f"pip install --force-reinstall --no-cache-dir {package}; packages are not copied from another host,"
            " another "
            "Python or a build for another system (pip download --platform)",
            f"{path} 的后缀必须与它一致。用服务自己的 Python 重装该包：{python} -m pip install --force-reinstall "
            f"--no-cache-dir {package}；不要从别的主机、别的 Python 或别的平台的构建（pip download --platform）复制包",
        ),
    )


def old_environment(failure: StartFailure, _last: LastStart, _place: StartPlace) -> tuple[Text, ...]:
    """Return the steps that make a virtual environment anew for the system's present Python."""
    path = PurePosixPath(failure.values.get("path", NOT_KNOWN))
    environment = path.parent.parent
    return (
        verbatim(f"ls -l {shlex.quote(str(environment / 'bin'))} {shlex.quote(str(path.parent))}"),
        Text(
            f"Make the environment anew with the present Python, and install everything: python3 -m venv --clear "
            f"{environment}, then {environment}/bin/pip install -r requirements.txt. Or install {path.name} again"
            " beside "
            f"it, and make the environment with that one ({path.name} -m venv --upgrade {environment})",
            f"用现在的 Python 重建该环境并重装所有包：python3 -m venv --clear {environment}，再 {environment}/bin/pip "
            f"install -r requirements.txt。或装回 {path.name}，用它重建环境（{path.name} -m venv --upgrade"
            f" {environment}）",
        ),
    )


def standard_library(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    """Return the steps for a Python that does not find its standard library."""
    where = place.unit or place.script or place.start
    if home := failure.values.get("home"):
        return (
            Text(
                f"Take PYTHONHOME ({home}) out of the service's environment: Environment= and EnvironmentFile= of its "
                f"unit, environment= in supervisord.conf, or an export in {where}; a virtual environment needs none",
                f"从服务的环境里去掉 PYTHONHOME（{home}）：unit 的 Environment= 与 EnvironmentFile=、"
                "supervisord.conf 的 "
                f"environment=，或 {where} 里的 export；虚拟环境不需要它",
            ),
        )
    return (
        verbatim(f"{place.python} -c 'import sys; print(sys.prefix)'"),
        Text(
            "The interpreter was moved, removed in part, or its package is damaged: install it anew (apt-get install "
            "--reinstall libpython3-stdlib), then make the virtual environment anew",
            "解释器被移动、部分删除，或软件包损坏：重装它（apt-get install --reinstall libpython3-stdlib），再重建虚"
            "拟环境",
        ),
    )


def limit(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    unit = failure.values.get("unit", place.unit or NOT_KNOWN)
    return (
        verbatim(f"journalctl -u {shlex.quote(unit)} -n 50 --no-pager"),
        Text("Fix what those lines say, then:", "先解决这些行里的问题，然后："),
    )


def look(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    """Return the steps for an unknown cause: show more of the log, and quote the message."""
    unit = failure.values.get("unit") or place.unit
    is_file = failure.source.startswith("/")
    look = (
        f"tail -n 60 {shlex.quote(failure.source)}"
        if is_file
        else f"journalctl -u {shlex.quote(unit)} -n 60 --no-pager"
        if unit
        else None
    )
    return (
        *((verbatim(look),) if look else ()),
        Text(
            f"Fix what it says ({failure.quote[:160]}) before the next start",
            f"先解决它说的问题（{failure.quote[:160]}），再启动",
        ),
    )
