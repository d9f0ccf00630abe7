"""Steps against a start that gunicorn's own settings end: worker class, address, pidfile, TLS files."""

from __future__ import annotations

import re
import shlex
import unicodedata

from ops.facts.start import LastStart
from ops.interpret.packages import worker_package
from ops.interpret.start_failure.import_rules import DASHES
from ops.interpret.start_failure.kind import NOT_KNOWN, Kind, StartFailure
from ops.interpret.start_failure.place import StartPlace, of_package, python_of, setting_words
from ops.text.language import Text, verbatim


def worker_directory(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    path = failure.values.get("path", NOT_KNOWN)
    setting = setting_words(place, "worker_tmp_dir")
    return (
        verbatim(f"mkdir -p {shlex.quote(path)}"),
        Text(
            f"It is gone after each boot if it is below /run or /dev/shm: then rather correct {setting.en} "
            "(/dev/shm itself, or drop the setting)",
            f"如果在 /run 或 /dev/shm 下，每次开机都会消失：应改为更正 {setting.zh}（写 /dev/shm 本身，或去掉该设置）",
        ),
    )


def worker_class(failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    name = failure.values.get("name", NOT_KNOWN)
    # gthread is part of gunicorn, so it needs a newer gunicorn.
    own = "gunicorn" if name == "gthread" else worker_package(name)
    module = re.sub(r"[^\w.-]", "", name.partition(".")[0]) or NOT_KNOWN
    detail = failure.values.get("detail", "")
    python = python_of(last, place)
    if match := re.search(r"No module named '([\w]+)", detail):
        module = match[1]
        own = (
            worker_package(f"{module}.")
            or worker_package(module)
            or ("gunicorn" if module == "gunicorn" else None)
        )
    if match := re.search(r"requires (\w+) ([\d.]+) or higher", detail):
        own = f"{match[1]}>={match[2]}"
    command = verbatim(f"{python} -m pip install {shlex.quote(own)}") if own else of_package(module, python)
    setting = setting_words(place, "worker_class")
    if "Entry point (" in detail and name in _REMOVED_CLASSES:
        return (
            Text(
                f"This version of gunicorn has no {name} workers any more, whatever is installed: choose another class "
                f"(gthread, or gevent with the package gevent): {setting.en}",
                f"这个版本的 gunicorn 已不再有 {name} 工作进程，装什么包都没用：换一个类（gthread，或装 gevent 包后用 "
                f"gevent）：{setting.zh}",
            ),
            *(
                [verbatim(f"sed -i {shlex.quote(_set_class(name))} {shlex.quote(place.config)}")]
                if place.config
                else []
            ),
        )
    return (
        Text(
            "Install what the worker class needs, for the service's own interpreter:",
            "用服务自己的解释器安装该工作进程类需要的包：",
        ),
        command,
        Text(
            f"Or choose a class that gunicorn brings along (sync, gthread): {setting.en}",
            f"或改用 gunicorn 自带的类（sync、gthread）：{setting.zh}",
        ),
    )


# gunicorn 27.0 removed the eventlet workers.
_REMOVED_CLASSES = ("eventlet",)


def _set_class(name: str) -> str:
    """Return the sed script that sets worker_class to gthread in place of ``name``."""
    return rf"s/^\(\s*worker_class\s*=\s*\)[\"']{name}[\"']/\1\"gthread\"/"


def configuration(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    path = failure.values.get("path", NOT_KNOWN)
    if failure.kind is Kind.CONFIG_MISSING:
        return (
            Text(
                f"Bring {path} back (from a backup or the repository), or correct -c where gunicorn is started: "
                f"{place.start}",
                f"恢复 {path}（从备份或仓库），或更正启动命令里的 -c：{place.start}",
            ),
        )
    return (Text(f"Correct {failure.at.en}: {failure.quote}", f"修复 {failure.at.zh}：{failure.quote}"),)


def invalid_setting(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    name = failure.values.get("name")
    setting = setting_words(place, name or "the setting")
    value = failure.values.get("value")
    return (
        Text(
            f"Correct {setting.en}{f' (now {value})' if value else ''}: {failure.quote}; an option on the "
            "command line or in GUNICORN_CMD_ARGS wins over the file",
            f"更正 {setting_words(place, name or '该设置').zh}{f'（现为 {value}）' if value else ''}："
            f"{failure.quote}；命令行和 GUNICORN_CMD_ARGS 优先于文件",
        ),
    )


def option(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    return (
        *_dashes(failure, place),
        Text(
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
        Text(
            f"{word} holds {dash} ({name}), which is no hyphen, so it is no option: in {started} type the two hyphens"
            " (--) again",
            f"{word} 里的 {dash}（{name}）不是连字符（hyphen），因此不算选项：在 {started} 里重新输入两个连字符（--）",
        ),
    )


def in_use(_failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    return (
        Text(
            "See who holds the address, and end it or wait until it has gone:",
            "先看谁占用了这个地址，结束它或等它退出：",
        ),
        verbatim(place.listeners or "ss -ltnp"),
    )


def bind(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    setting = setting_words(place, "bind")
    here = Text(
        f"Correct {setting.en}: an address of this host (127.0.0.1:PORT behind nginx); nginx proxies to "
        f"{place.backend}",
        f"更正 {setting.zh}：写本机的地址（在 nginx 之后用 127.0.0.1:端口）；nginx 转发到 {place.backend}",
    )
    if failure.kind is Kind.PORT_FORBIDDEN:
        return (
            Text(
                f"Bind a port of 1024 or higher ({setting.en}) and let nginx proxy to it"
                + (", or AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit" if place.unit else ""),
                f"绑定 1024 以上的端口（{setting.zh}），由 nginx 转发"
                + ("；或在 unit 里加 AmbientCapabilities=CAP_NET_BIND_SERVICE" if place.unit else ""),
            ),
        )
    if failure.kind is Kind.SOCKET_TOO_LONG:
        return (
            Text(
                f"Choose a shorter path, below /run: {setting.en}, and proxy_pass in nginx's site",
                f"换一个短路径，放在 /run 下：{setting.zh}，以及 nginx 站点里的 proxy_pass",
            ),
        )
    return (here, verbatim("ip -brief address"))


def pidfile_held(failure: StartFailure, _last: LastStart, _place: StartPlace) -> tuple[Text, ...]:
    path, pid = failure.values.get("path", NOT_KNOWN), failure.values.get("pid", NOT_KNOWN)
    return (
        Text(
            f"Make sure that process {pid} is no gunicorn of this service (it is left alone):",
            f"确认进程 {pid} 不是本服务的 gunicorn（不要动它）：",
        ),
        verbatim(f"ps -o pid,ppid,stat,lstart,args -p {shlex.quote(pid)}"),
        verbatim(f"rm -- {shlex.quote(path)}"),
    )


def tls_file(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    path = failure.values.get("path", NOT_KNOWN)
    setting = setting_words(place, "certfile, keyfile")
    return (
        Text(
            f"Bring {path} back or correct {setting.en}; behind nginx gunicorn needs no TLS of its own: drop both",
            f"恢复 {path} 或更正 {setting.zh}；在 nginx 之后 gunicorn 不需要自己的 TLS，可都去掉",
        ),
    )
