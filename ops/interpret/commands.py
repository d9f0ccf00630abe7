"""The command lines that start and reload the service and nginx on this host, for a person to type."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

import msgspec

from ops.facts.base import NotSeen
from ops.facts.gunicorn import GunicornConfig
from ops.facts.host import Host, Process
from ops.files.ownership import ROOT
from ops.interpret.authority import speaks_for_host
from ops.interpret.gunicorn import arguments, setting
from ops.interpret.nginx import compiled_path
from ops.settings import Settings

GUIDE_CONFIG_NAME = "gunicorn.conf.py"
GUIDE_START_SCRIPT = "start-prod.sh"
# Start commands of a supervisor that has a `restart` command as well (systemctl(1), service(8), docker(1)).
_SUPERVISED_START = re.compile(
    r"((?:sudo )?(?:systemctl|supervisorctl|docker|podman|rc-service \S+|service \S+|/etc/init\.d/\S+)"
    r"(?: -\S+)*) start\b"
)
# gunicorn's default (settings, graceful_timeout) and the additional time its master may take, seconds.
_GRACEFUL_SECONDS = 30
_MARGIN_SECONDS = 5


class FilesFound(msgspec.Struct, frozen=True):
    """Whether each of the guide's files exists on this host; a collector checked this for the target."""

    model_parent: bool = False
    start_script: bool = False
    unit: bool = False


def as_user_of(process: Process, words: str) -> str:
    """Return a command line that runs ``words`` as the process's user, because they come from that user's process."""
    return f"{_become(process)} sh -c {shlex.quote(words)}"


def _become(process: Process) -> str:
    user = process.user
    return _become_number(user) if user.isdigit() else f"runuser -u {shlex.quote(user)} --"


def _become_number(uid: int | str) -> str:
    """Return the prefix that runs a command as a user without a known name."""
    return f"setpriv --reuid={uid} --regid={uid} --clear-groups --"


def commands(
    settings: Settings,
    host: Host,
    files: FilesFound,
    config_file: str,
    binary: str,
    build: Mapping[str, str],
    app_dir: str,
    python: str,
    master: Process | None,
    config: GunicornConfig | NotSeen,
    *,
    caller: int,
    nginx_owner: int,
) -> dict[str, Any]:
    """Return values by the target's field: start_command, restart_command, start_nginx, reload_nginx, test_nginx,
    nginx_default_config, python_command.

    ``restart_command`` may have several lines, to be run in order. Commands that come from another user's gunicorn run
    as that user; so does nginx if its configuration is another user's (``nginx_owner``)."""
    own_user = master if master is not None and not speaks_for_host(master, caller) else None
    command = settings.gunicorn.start_command
    start = command if isinstance(command, str) else shlex.join(command)
    restart = _restart(start, master, config)
    if not start and host.has_systemd and files.unit:
        start, restart = (
            f"systemctl start {settings.gunicorn.unit}",
            f"systemctl restart {settings.gunicorn.unit}",
        )
    elif not start and files.start_script:
        start = f"bash {shlex.quote(f'{app_dir}/{GUIDE_START_SCRIPT}')}"
        if own_user is not None:
            start = as_user_of(own_user, start)
        restart = _restart(start, master, config)
    elif not start:
        file = (
            config.path
            if isinstance(config, GunicornConfig) and not config.missing
            else f"{app_dir}/{GUIDE_CONFIG_NAME}"
        )
        start = restart = f"cd {shlex.quote(app_dir)} && gunicorn -c {shlex.quote(file)} {settings.app.wsgi}"
        if own_user is not None:
            start = as_user_of(own_user, start)
        if master is not None:
            restart = f"kill -HUP {master.pid}"
    default_file = compiled_path(build, "conf-path") or "/etc/nginx/nginx.conf"
    options = "" if config_file == default_file else f" -c {shlex.quote(config_file)}"
    program = "nginx" if binary.endswith("/sbin/nginx") and not options else shlex.quote(binary)
    if nginx_owner not in (ROOT, caller):
        program = f"{_become_number(nginx_owner)} {program}"
    systemd_nginx = host.has_systemd and not options
    return {
        "start_command": start,
        "restart_command": restart,
        "start_nginx": "systemctl start nginx" if systemd_nginx else f"{program}{options}",
        "reload_nginx": "systemctl reload nginx" if systemd_nginx else f"{program}{options} -s reload",
        "test_nginx": f"{program} -t{options}",
        "nginx_default_config": default_file,
        "python_command": shlex.quote(python)
        if own_user is None
        else f"{_become(own_user)} {shlex.quote(python)}",
    }


def _restart(start: str, master: Process | None, config: GunicornConfig | NotSeen) -> str:
    """Return the commands that restart the service that ``start`` starts. Without a supervisor, ``start`` does nothing
    while the old master runs: the commands first end it and wait for it."""
    if match := _SUPERVISED_START.match(start):
        return f"{match[1]} restart{start[match.end() :]}"
    if master is None or not start:
        return start
    value = setting("graceful_timeout", "graceful-timeout", arguments(master), config)
    graceful = int(value) if isinstance(value, int) or (isinstance(value, str) and value.isdigit()) else None
    seconds = (_GRACEFUL_SECONDS if graceful is None else graceful) + _MARGIN_SECONDS
    pid = master.pid
    wait = f"timeout {seconds} tail --pid={pid} -f /dev/null || kill -9 {pid}"
    return "\n".join((f"kill {pid}", wait, start))
