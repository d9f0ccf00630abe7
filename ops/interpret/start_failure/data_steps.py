"""Steps against a start that lacks data: a file, a database, its tables, a service it connects to."""

from __future__ import annotations

import shlex
from pathlib import PurePosixPath

from ops.facts.start import LastStart
from ops.interpret.start_failure.kind import NOT_KNOWN, StartFailure
from ops.interpret.start_failure.place import StartPlace, show_line
from ops.text.language import Text, verbatim


def data_file(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    path = failure.values.get("path", NOT_KNOWN)
    whole = str(PurePosixPath(place.app_dir, path))
    python = place.python
    look = f"ls -l {shlex.quote(whole)}"
    if path.endswith(".json"):
        look = f"{python} -m json.tool {shlex.quote(whole)} /dev/null"
    return (
        verbatim(look),
        Text(
            f"Correct {whole}, or the path at {failure.at.en}: {failure.values.get('detail', failure.quote)}"
            + (
                ""
                if path.startswith("/")
                else "; the path is relative to the directory that gunicorn starts in"
            ),
            f"更正 {whole}，或 {failure.at.zh} 处的路径：{failure.values.get('detail', failure.quote)}"
            + ("" if path.startswith("/") else "；它是相对路径，从 gunicorn 的启动目录算起"),
        ),
    )


def database_file(failure: StartFailure, _last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    path = failure.values.get("path")
    whole = PurePosixPath(place.app_dir, path) if path else None
    inspection = (
        (verbatim(f"namei -l {shlex.quote(str(whole.parent))}"),) if whole else show_line(failure.where)
    )
    directory = str(whole.parent) if whole else "its directory"
    ort = str(whole.parent) if whole else "它所在的目录"
    return (
        *inspection,
        Text(
            f"Make {directory} where it is missing, and give it and the file to the service's user: SQLite writes its "
            "journal beside the file, so the directory has to be writable too",
            f"如果 {ort} 不存在就创建，并让服务用户拥有目录和文件：SQLite 要在文件旁写日志，目录也必须可写",
        ),
    )


def table(failure: StartFailure, last: LastStart, place: StartPlace) -> tuple[Text, ...]:
    python = shlex.quote(last.interpreter) if last.interpreter else place.python
    if last.migrations is None:
        return (
            *show_line(failure.where),
            Text(
                "Make the tables by the application's own command (its README), as the service's user, against the "
                "database that the service uses",
                "用应用自己的建表命令（见其 README），以服务用户身份，对服务所用的数据库执行",
            ),
        )
    return (
        Text(
            "As the service's user and with its environment, so that it is the service's own database:",
            "以服务用户身份、在服务的环境变量下执行，确保是服务所用的数据库：",
        ),
        verbatim(f"cd {shlex.quote(place.app_dir)} && {python} {last.migrations}"),
    )


def database_refuses(failure: StartFailure, _last: LastStart, _place: StartPlace) -> tuple[Text, ...]:
    return (
        *show_line(failure.where),
        Text(
            "Compare user, password and database in the application's settings with the database's own: "
            f"{failure.values.get('detail', failure.quote)}",
            f"核对应用配置里的用户、密码、库名与数据库的实际设置：{failure.values.get('detail', failure.quote)}",
        ),
    )


def connection(failure: StartFailure, _last: LastStart, _place: StartPlace) -> tuple[Text, ...]:
    peer = failure.values.get("peer")
    port = peer.rpartition(":")[2] if peer and ":" in peer else ""
    look = (verbatim(f"ss -ltnp | grep {shlex.quote(':' + port)}"),) if port.isdigit() else ()
    return (
        Text(
            f"Start what the application needs ({peer or 'the service at ' + failure.at.en}), or correct "
            "its address in the application's settings",
            f"先启动应用依赖的服务（{peer or failure.at.zh + ' 连接的服务'}），或更正应用配置里的地址",
        ),
        *look,
        Text(
            "For the next boot let the service start after it (After= and Wants= in the unit), or connect at "
            "the first request instead of at import",
            "为下次开机：让本服务在它之后启动（unit 的 After=、Wants=），或改为首次请求时再连接",
        ),
    )
