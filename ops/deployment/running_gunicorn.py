"""The running gunicorn that a unit may be made from, if it can be trusted to be the host's service.

A unit runs for the host, but any user can start a gunicorn. One of root or the caller is trusted. One of another user
is trusted only for its own user, and only if independent evidence shows that it is the service: it listens at the
address in the configuration or in nginx's, its pid is in the configured pidfile, or its user owns the configured
files."""

from __future__ import annotations

from pathlib import Path

from ops.collect.surroundings import Surroundings
from ops.facts.host import Process, Processes
from ops.facts.nginx import Pidfile
from ops.files.nofollow import trusted_users
from ops.interpret.address import same_address
from ops.interpret.authority import Standing, may_name, standing
from ops.interpret.gunicorn import config_path, listening_on, normal_bind, process_of, workers_of
from ops.settings import Settings
from ops.text.language import Text
from ops.text.sanitize import safe_line


def running_gunicorn(settings: Settings, around: Surroundings | None) -> Process | None:
    """The service's master, if its values may go into the host's units; None if none runs or they may not."""
    master, processes = _master(around), _processes(around)
    if around is None or master is None or processes is None:
        return None
    where = standing(master, processes.caller)
    if where is Standing.HOST:
        return master
    return master if where is Standing.USER and _is_the_service(settings, around, processes, master) else None


def located_gunicorn(around: Surroundings | None) -> Process | None:
    """The running master, whoever runs it, except in a container: it is trusted at least for its own user's files."""
    master, processes = _master(around), _processes(around)
    if master is None or processes is None or standing(master, processes.caller) is Standing.CONTAINER:
        return None
    return master


def gunicorn_note(settings: Settings, around: Surroundings | None) -> Text | None:
    """A remark on a gunicorn that belongs neither to root nor to the caller; None if there is none."""
    master, processes = _master(around), _processes(around)
    if master is None or processes is None or standing(master, processes.caller) is Standing.HOST:
        return None
    user = safe_line(master.user or str(master.uid), 40)
    if running_gunicorn(settings, around) is not None:
        return Text(
            en=f"the files follow the gunicorn that user {user} runs (process {master.pid}); make sure that it is the "
            "service",
            zh=f"文件依据用户 {user} 运行的 gunicorn（进程 {master.pid}）生成；请确认它就是本服务",
        )
    return Text(
        en=f"process {master.pid} of user {user} calls itself gunicorn, and nothing else says that it is the service: "
        "nothing of it goes into a unit; say in gte-ops.toml where the service is "
        "(gunicorn.bind, gunicorn.config_file, app.dir)",
        zh=f"用户 {user} 的进程 {master.pid} 自称 gunicorn，但没有其他依据表明它就是本服务：它的信息不会写进 unit；"
        "请在 gte-ops.toml 中说明服务的位置（gunicorn.bind、gunicorn.config_file、app.dir）",
    )


def _processes(around: Surroundings | None) -> Processes | None:
    return around.processes if around is not None and isinstance(around.processes, Processes) else None


def _master(around: Surroundings | None) -> Process | None:
    processes = _processes(around)
    if around is None or processes is None or around.target.gunicorn_master is None:
        return None
    return process_of(processes, around.target.gunicorn_master)


def _is_the_service(settings: Settings, around: Surroundings, processes: Processes, master: Process) -> bool:
    """Whether evidence other than the process's own values shows that it is the service."""
    owners = {uid for path in _configured(settings) if (uid := _owner(path)) is not None} - trusted_users()
    if owners and master.uid not in owners:
        return False
    pidfile = around.gunicorn.pidfile
    if settings.gunicorn.pidfile and isinstance(pidfile, Pidfile) and pidfile.pid == master.pid:
        return master.uid is None or may_name(pidfile.uid, master.uid, processes.caller)
    own = settings.gunicorn.config_file is not None and settings.gunicorn.config_file == config_path(master)
    if owners and (own or (settings.app.dir is not None and settings.app.dir == master.cwd)):
        return True
    expected = [normal_bind(settings.gunicorn.bind)] if settings.gunicorn.bind else []
    if around.target.nginx_config_owner in trusted_users():
        expected += around.target.upstreams
    pids = (master.pid, *(worker.pid for worker in workers_of(processes.processes, master.pid)))
    listening = listening_on(processes, pids)
    return any(same_address(address, bind) for address in listening for bind in expected)


def _configured(settings: Settings) -> tuple[str, ...]:
    return tuple(filter(None, (settings.app.dir, settings.gunicorn.config_file)))


def _owner(path: str) -> int | None:
    try:
        return Path(path).stat().st_uid
    except (OSError, ValueError):
        return None
