"""Which remedy each proven cause has on this host: a pure function of the diagnosis and what was seen.

What is safe changes nothing that somebody decided, and either helps or leaves things as they were. Everything else is
risky, or for a person alone.
"""

from __future__ import annotations

import ast
import difflib
import posixpath
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ops.diagnosis.checks.gunicorn import ignored_settings
from ops.diagnosis.checks.gunicorn_settings import KNOWN_SETTINGS
from ops.diagnosis.model import Cause
from ops.facts.certificates import Certificates, KeyFile
from ops.facts.gunicorn import Gunicorn, GunicornConfig
from ops.facts.host import Process, Processes
from ops.facts.nginx import NginxConfig, Pidfile
from ops.facts.probes import Activity, Exchange, Front, Upstreams
from ops.facts.safeguards import Rotation
from ops.facts.snapshot import Snapshot
from ops.facts.target import Target
from ops.files.ownership import ROOT
from ops.interpret import gunicorn as gunicorn_topology
from ops.interpret import nginx as nginx_topology
from ops.interpret.authority import Standing, standing
from ops.interpret.commands import as_user_of
from ops.interpret.logrotate import parse
from ops.interpret.process_ref import ProcessRef
from ops.interpret.progress import stuck_for
from ops.interpret.service_name import is_prediction
from ops.interpret.site import find_site
from ops.repair.model import (
    Action,
    ChangeMode,
    Continue,
    CreateBackup,
    EditGunicorn,
    EditNginx,
    EndWorker,
    FileEdit,
    InstallRotation,
    MendPidfile,
    NewFile,
    ReloadGunicorn,
    ReloadNginx,
    Remedy,
    ReopenLogs,
    RestartGunicorn,
    Safety,
    StartGunicorn,
    StartNginx,
)
from ops.repair.nginx_text import NotLocatedError, insert_before, replace_argument, replace_statement
from ops.text.language import Text
from ops.text.sanitize import without_controls, without_secrets

STATUS_429 = "limit_req_status 429;"
_DEFAULT_LIMIT_STATUS = "503"
# How /proc/PID/fd shows a file that has been removed (proc(5)).
DELETED = " (deleted)"
_SYSTEMCTL_START = "systemctl start "


@dataclass(frozen=True)
class Grounds:
    """What planning needs beside the snapshot.

    ``files``: contents of nginx's and gunicorn's configuration files. ``start``: the command the service is started
    with, None where nobody knows one. ``rotation``: our logrotate rule for this host, or why there is none;
    ``rotation_diff``: what it would change; ``not_rotated``: why logs are left out of it. ``key_group_is_owners``: the
    private key's group has no other member than the key's owner. ``not_edited``: by file, why root does not change it.
    ``pidfile``: gunicorn's as settings name it."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    start: str | None = None
    rotation: tuple[NewFile, ...] | str = "it was not made"
    rotation_diff: tuple[str, ...] = ()
    not_rotated: tuple[Text, ...] = ()
    key_group_is_owners: bool = False
    not_edited: Mapping[str, str] = field(default_factory=dict)
    pidfile: str | None = None


@dataclass(frozen=True)
class _Case:
    """One cause to be mended, and all that is known."""

    cause: Cause
    snapshot: Snapshot
    target: Target
    grounds: Grounds

    def remedy(
        self,
        safety: Safety,
        action: Action,
        what: Text,
        *,
        risk: Text | None = None,
        commands: Sequence[str] = (),
        diff: Sequence[str] = (),
    ) -> Remedy:
        return Remedy(self.cause, safety, what, action, risk, tuple(commands), tuple(diff))

    def by_hand(self, why: Text, diff: Sequence[str] = ()) -> Remedy:
        return Remedy(self.cause, None, why, None, diff=tuple(diff))

    @property
    def master(self) -> Process | None:
        """gunicorn's master."""
        processes = self.snapshot.processes
        if not isinstance(processes, Processes):
            return None
        return gunicorn_topology.process_of(processes, self.target.gunicorn_master)

    @property
    def caller(self) -> int:
        """The user whose run saw it."""
        processes = self.snapshot.processes
        return processes.caller if isinstance(processes, Processes) else ROOT

    @property
    def untested(self) -> Text | None:
        """Why nginx is not run, nor its files changed, by root; None where it is."""
        config = self.snapshot.nginx_config
        if not isinstance(config, NginxConfig) or config.distrusted is None:
            return None
        return Text(
            en=f"nginx -t must not be run as root here, and nothing is done without it: {config.distrusted}",
            zh=f"这里不能以 root 运行 nginx -t，没有它就不动手：{config.distrusted}",
        )

    @property
    def nginx(self) -> tuple[Process, ...]:
        """nginx's masters that serve this configuration."""
        processes = self.snapshot.processes
        if not isinstance(processes, Processes):
            return ()
        return tuple(nginx_topology.serving_masters(self.target, processes, self.snapshot.nginx_pidfile))


_NO_PLAN = Text(
    en="there is no automatic remedy: it takes a person's judgement",
    zh="没有自动修复，需要人来判断",
)
_NO_NGINX = Text(
    en="no running nginx was found that serves this configuration", zh="没有找到使用此配置的 nginx 进程"
)
_NO_MASTER = Text(en="gunicorn's master process was not seen", zh="没有看到 gunicorn 主进程")
_NO_START = Text(
    en="nothing here says how the service is started: set gunicorn.start_command, or install its unit",
    zh="不知道服务怎么启动：请设置 gunicorn.start_command，或安装 systemd 单元",
)


def _not_edited(why: str) -> Text:
    return Text(
        en=f"root does not change what others have a say in ({why}); the change, for its owner to make:",
        zh=f"root 不修改他人可改动的文件（{why}）；请由属主自行修改：",
    )


_INTERRUPTS = Text(
    en="requests in progress are lost, and the service is away until it has started again",
    zh="处理中的请求会丢失，启动完成前服务不可用",
)


def plan(causes: Sequence[Cause], snapshot: Snapshot, grounds: Grounds) -> tuple[Remedy, ...]:
    """The remedies of ``causes``, in their order. A cause without an automatic one has a remedy without action."""
    if not isinstance(snapshot.target, Target):
        return ()
    found: list[Remedy] = []
    for cause in causes:
        planner = PLANNERS.get(cause.code)
        case = _Case(cause, snapshot, snapshot.target, grounds)
        found += planner(case) if planner else (case.by_hand(_NO_PLAN),)
    return tuple(found)


# --- gunicorn ---------------------------------------------------------------------------------------------------------


def _start_gunicorn(case: _Case) -> Iterator[Remedy]:
    if case.grounds.start is None:
        yield case.by_hand(_NO_START)
        return
    yield case.remedy(
        "safe",
        StartGunicorn(),
        Text(en="start the service", zh="启动服务"),
        commands=(case.grounds.start,),
    )


def _mend_pidfile(case: _Case) -> Iterator[Remedy]:
    gunicorn, master = case.snapshot.gunicorn, case.master
    if not isinstance(gunicorn, Gunicorn) or not isinstance(gunicorn.pidfile, Pidfile) or master is None:
        yield case.by_hand(_NO_MASTER)
        return
    pidfile = gunicorn.pidfile
    whose = standing(master, case.caller)
    if whose is Standing.CONTAINER:
        yield case.by_hand(
            Text(
                en="gunicorn runs in a container: its paths are not this host's",
                zh="gunicorn 在容器里：它的路径不是本机的",
            )
        )
        return
    if pidfile.pid is None:
        yield case.by_hand(
            Text(
                en=f"{pidfile.path} holds no process id: what it is, a person must say",
                zh=f"{pidfile.path} 里不是进程号：它究竟是什么，需要人来判断",
            )
        )
        return
    told = gunicorn_topology.arguments(master)
    written = gunicorn_topology.setting("pidfile", "pid", told, gunicorn.config)
    keeps = isinstance(written, str) and _below(master.cwd, written) == pidfile.path
    named_by_settings = case.grounds.pidfile == pidfile.path
    namer = None if named_by_settings or whose is Standing.HOST else master.uid
    action = MendPidfile(pidfile.path, pidfile.pid, _identity(master), keeps, namer)
    path = shlex.quote(pidfile.path)

    def typed(words: str) -> str:
        return words if namer is None else as_user_of(master, words)

    if keeps:
        yield case.remedy(
            "safe",
            action,
            Text(
                en=f"write the master's pid, {master.pid}, into {pidfile.path}, which gunicorn itself keeps",
                zh=f"把主进程号 {master.pid} 写回 gunicorn 自己的 {pidfile.path}",
            ),
            commands=(typed(f"echo {master.pid} > {path}"),),
        )
        return
    yield case.remedy(
        "safe",
        action,
        Text(
            en=f"remove {pidfile.path}: the running gunicorn does not keep it",
            zh=f"删除 {pidfile.path}：运行中的 gunicorn 并不维护它",
        ),
        commands=(typed(f"rm {path}"),),
    )


def _continue_or_restart(case: _Case) -> Iterator[Remedy]:
    """What is stopped (state T) is let run on; what hangs otherwise takes a restart."""
    processes = case.snapshot.processes
    seen = processes.processes if isinstance(processes, Processes) else ()
    ours = (case.target.gunicorn_master, *case.target.gunicorn_workers)
    stopped = tuple(p for p in seen if p.pid in ours and p.state == "stopped")
    if stopped:
        pids = " ".join(str(p.pid) for p in stopped)
        yield case.remedy(
            "safe",
            Continue(tuple(map(_identity, stopped))),
            Text(
                en=f"let the stopped processes run on ({pids}): nothing in progress is lost",
                zh=f"让被挂起的进程继续运行（{pids}）：不会丢失处理中的请求",
            ),
            commands=(f"kill -CONT {pids}",),
        )
        return
    yield from _restart_gunicorn(case)


def _restart_gunicorn(case: _Case) -> Iterator[Remedy]:
    master = case.master
    if case.grounds.start is None or master is None:
        yield case.by_hand(_NO_START if master else _NO_MASTER)
        return
    yield case.remedy(
        "risky",
        RestartGunicorn(_identity(master)),
        Text(en="restart the service", zh="重启服务"),
        risk=_INTERRUPTS,
        commands=(f"kill {master.pid}", case.grounds.start),
    )


def _take_up_change(case: _Case) -> Iterator[Remedy]:
    """GUN011: new workers read the changed files, but not where the master has loaded the application (preload_app)."""
    master, gunicorn = case.master, case.snapshot.gunicorn
    if master is None or not isinstance(gunicorn, Gunicorn):
        yield case.by_hand(_NO_MASTER)
        return
    told = gunicorn_topology.arguments(master)
    if gunicorn_topology.setting("preload_app", "preload", told, gunicorn.config):
        yield from _restart_gunicorn(case)
        return
    yield case.remedy(
        "risky",
        ReloadGunicorn(_identity(master), case.target.gunicorn_workers),
        Text(
            en="have gunicorn start new workers from the files as they are now",
            zh="让 gunicorn 用现在的文件启动新的工作进程",
        ),
        risk=Text(
            en="the change goes live: look at it first",
            zh="改动会立即上线：请先确认改了什么",
        ),
        commands=(f"kill -HUP {master.pid}",),
    )


def _rename_settings(case: _Case) -> Iterator[Remedy]:
    """GUN008: each name that gunicorn does not know becomes the setting that was meant, where that is beyond doubt."""
    gunicorn, master = case.snapshot.gunicorn, case.master
    config = gunicorn.config if isinstance(gunicorn, Gunicorn) else None
    if not isinstance(config, GunicornConfig) or master is None or case.grounds.start is None:
        yield case.by_hand(_NO_START if master else _NO_MASTER)
        return
    before = case.grounds.files.get(config.path, b"")
    text = before.decode("utf-8", "surrogateescape")
    renamed: dict[str, str] = {}
    for name, meant in ignored_settings(config).items():
        if meant in KNOWN_SETTINGS and meant not in config.assigned and meant not in renamed.values():
            changed = _renamed(text, config.assigned[name].line, name, meant)
            if changed is not None:
                text, renamed[name] = changed, meant
    if not renamed:
        yield case.by_hand(_NO_PLAN)
        return
    edit = FileEdit(config.path, before, text.encode("utf-8", "surrogateescape"))
    if (why := case.grounds.not_edited.get(config.path)) is not None:
        yield case.by_hand(_not_edited(why), tuple(difference(edit)))
        return
    names = ", ".join(f"{name} -> {meant}" for name, meant in renamed.items())
    yield case.remedy(
        "risky",
        EditGunicorn(edit, _identity(master)),
        Text(
            en=f"rename in {config.path}: {names}; restart the service, or put the old file back",
            zh=f"在 {config.path} 里改名：{names}；然后重启服务，起不来就恢复原文件",
        ),
        risk=Text(
            en="what was ignored takes effect, and the service is away until it has started again",
            zh="之前被忽略的设置会生效；启动完成前服务不可用",
        ),
        commands=(f"kill {master.pid}", case.grounds.start),
        diff=tuple(difference(edit)),
    )


def _renamed(text: str, line: int, name: str, meant: str) -> str | None:
    """``text`` with the name assigned on ``line`` replaced; None where it is not there, or nothing loads then."""
    lines = text.splitlines(keepends=True)
    if not 0 < line <= len(lines):
        return None
    changed, count = re.subn(
        rf"^(\s*){re.escape(name)}(?=\s*(?::[^=]*)?=)", rf"\g<1>{meant}", lines[line - 1]
    )
    lines[line - 1] = changed
    try:
        ast.parse("".join(lines))
    except (SyntaxError, ValueError, RecursionError):
        return None
    return "".join(lines) if count else None


def _end_worker(case: _Case) -> Iterator[Remedy]:
    """The workers the watchdog would end too; its own proof is asked for again at the moment of acting."""
    stuck = _stuck_workers(case)
    if not stuck:
        yield case.by_hand(_NO_PLAN)
    for pid in stuck:
        yield case.remedy(
            "risky",
            EndWorker(pid),
            Text(
                en=f"keep the evidence, then end the stuck worker {pid}: gunicorn starts another",
                zh=f"保留证据，然后结束卡死的工作进程 {pid}：gunicorn 会补一个",
            ),
            risk=Text(en="what it works on is lost", zh="它正在处理的请求会丢失"),
            commands=(f"py-spy dump --nonblocking --pid {pid}", f"kill -9 {pid}"),
        )


def _stuck_workers(case: _Case) -> tuple[int, ...]:
    """Past the deadline by their own records, or past the boot deadline without ever having been ready."""
    activity, processes = case.snapshot.activity, case.snapshot.processes
    if not isinstance(activity, Activity) or not isinstance(processes, Processes):
        return ()
    now = case.snapshot.taken_at + activity.seconds
    ours = set(case.target.gunicorn_workers)  # a record names whatever process its writer likes
    if case.cause.code == "GUN015":
        deadline = case.target.request_deadline
        return tuple(
            r.pid for r in activity.progress if r.pid in ours and stuck_for(r, now, deadline) is not None
        )
    old = {p.pid for p in processes.processes if now - p.started > case.target.boot_deadline}
    booting = {r.pid for r in activity.progress if r.phase == "booting"}
    booting |= {w.pid for w in activity.workers if w.has_beaten is False}
    return tuple(sorted(ours & old & booting))


# --- nginx ------------------------------------------------------------------------------------------------------------


def _start_nginx(case: _Case) -> Iterator[Remedy]:
    config = case.snapshot.nginx_config
    start = case.target.start_nginx
    unit = start.removeprefix(_SYSTEMCTL_START) if start.startswith(_SYSTEMCTL_START) else None
    if not isinstance(config, NginxConfig):
        yield case.by_hand(
            Text(
                en=f"its configuration was not read: {config.reason}", zh=f"没有读到它的配置：{config.reason}"
            )
        )
        return
    if case.untested is not None:
        yield case.by_hand(case.untested)
        return
    main = nginx_topology.Scope((nginx_topology.main_block(config),))
    if unit is None and main.value("daemon") == "off":
        yield case.by_hand(
            Text(
                en="`daemon off;`: another program is meant to start and hold this nginx",
                zh="配置了 daemon off;：这个 nginx 由别的程序启动和托管",
            )
        )
        return
    yield case.remedy(
        "safe",
        StartNginx(unit),
        Text(en="start nginx, if its configuration passes nginx -t", zh="nginx -t 通过后启动 nginx"),
        commands=(case.target.test_nginx, start),
    )


def _reload_nginx(case: _Case) -> Iterator[Remedy]:
    masters = case.nginx
    if not masters or case.untested is not None:
        yield case.by_hand(case.untested or _NO_NGINX)
        return
    hurts = _reload_hurts(case)
    yield case.remedy(
        "risky" if hurts else "safe",
        ReloadNginx(tuple(map(_identity, masters)), _nginx_workers(case)),
        Text(en="reload nginx, if its configuration passes nginx -t", zh="nginx -t 通过后重新加载 nginx"),
        risk=hurts,
        commands=(case.target.test_nginx, case.target.reload_nginx),
    )


def _reload_hurts(case: _Case) -> Text | None:
    """Why taking up the files on disk would hurt users who are served now: they lead predictions nowhere."""
    front, config, upstreams = case.snapshot.front, case.snapshot.nginx_config, case.snapshot.upstreams
    if not isinstance(front, Front) or not isinstance(config, NginxConfig):
        return None
    if not isinstance(front.predict, Exchange) or not is_prediction(front.predict, case.target):
        return None
    site = find_site(config, case.target.domain, case.target.backend)
    if site is None:
        return Text(
            en=f"users are served now, and the files on disk have no site for {case.target.domain} any more",
            zh=f"用户目前正常，而磁盘上的配置已没有 {case.target.domain} 的站点",
        )
    passed = nginx_topology.proxy_pass_for(config, site.server, case.target.predict_path)
    if passed is None or not passed.determined or not isinstance(upstreams, Upstreams):
        return None
    answers = [upstreams.answers.get(address) for address in passed.addresses]
    if answers and all(answer is not None and answer.failure for answer in answers):
        return Text(
            en=f"users are served now, and the file on disk sends them to {', '.join(passed.addresses)},"
            " where nobody answers",
            zh=f"用户目前正常，而磁盘上的配置会把请求转到 {'、'.join(passed.addresses)}，那里无人应答",
        )
    return None


def _answer_429(case: _Case) -> Iterator[Remedy]:
    config = case.snapshot.nginx_config
    server = _site_server(case)
    if not isinstance(config, NginxConfig) or server is None:
        yield case.by_hand(_NO_PLAN)
        return
    places: dict[tuple[str, int], str] = {}
    written_so = False
    scopes: tuple[nginx_topology.Scope, ...] = (server, *server.locations())
    for scope in scopes:
        limits, statuses = scope.effective("limit_req"), scope.effective("limit_req_status")
        if not limits or (scope.value("limit_req_status") or _DEFAULT_LIMIT_STATUS) != _DEFAULT_LIMIT_STATUS:
            continue
        directive = statuses[-1] if statuses else limits[0]
        places[directive.file, directive.line] = directive.name
        written_so = written_so or bool(statuses)

    def edited(text: str, line: int, name: str) -> str:
        change = insert_before if name == "limit_req" else replace_statement
        return change(text, line, name, STATUS_429)

    risk = (
        Text(en="somebody wrote 503 there on purpose", zh="那里的 503 是有人特意写的") if written_so else None
    )
    what = Text(
        en="have the rate limit answer 429: test it with nginx -t, reload, or put the old file back",
        zh="让限流返回 429：先用 nginx -t 检验再重新加载，不通过就恢复原文件",
    )
    yield _nginx_edit(case, places, edited, what, risk)


def _proxy_to_the_service(case: _Case) -> Iterator[Remedy]:
    """NGX005: the one dead address becomes the one where the service listens."""
    config, server = case.snapshot.nginx_config, _site_server(case)
    passed = (
        nginx_topology.proxy_pass_for(config, server, case.target.predict_path)
        if isinstance(config, NginxConfig) and server
        else None
    )
    if passed is None or len(passed.addresses) != 1:
        yield case.by_hand(_NO_PLAN)
        return
    backend, dead = case.target.backend, passed.addresses[0]
    if passed.upstream is not None:
        members = [
            d
            for d in passed.upstream.block or ()
            if d.name == "server" and d.args and nginx_topology.normal_address(d.args[0]) == dead
        ]
        places = {(d.file, d.line): "server" for d in members}
        old = {(d.file, d.line): d.args[0] for d in members}
        new = dict.fromkeys(places, backend)
    else:
        file, _, line = passed.where.rpartition(":")
        scheme, mark, rest = passed.written.partition("://")
        authority = rest.partition("/")[0]
        if not mark or backend.startswith("unix:") or authority.startswith("unix:"):
            yield case.by_hand(_NO_PLAN)
            return
        places = {(file, int(line)): "proxy_pass"}
        old = {(file, int(line)): passed.written}
        new = {(file, int(line)): f"{scheme}://{backend}{rest[len(authority) :]}"}
    by_line = {line: (old[file, line], new[file, line]) for file, line in places}

    def edited(text: str, line: int, name: str) -> str:
        return replace_argument(text, line, name, *by_line[line])

    yield _nginx_edit(
        case,
        places,
        edited,
        Text(
            en=f"proxy to {backend}, where the service listens, in place of {dead}",
            zh=f"改为转发到服务实际监听的 {backend}（原为 {dead}）",
        ),
        Text(
            en="it may be gunicorn's address that is wrong, and not nginx's",
            zh="写错的也可能是 gunicorn 的地址，而不是 nginx 的",
        ),
    )


def _ask_the_service_for_health(case: _Case) -> Iterator[Remedy]:
    """NGX006: the location proxies as predictions do."""
    config, server = case.snapshot.nginx_config, _site_server(case)
    location = server.location_for(case.target.health_path) if server else None
    returns = location.first_own("return") if location else None
    passed = (
        nginx_topology.proxy_pass_for(config, server, case.target.predict_path)
        if isinstance(config, NginxConfig) and server
        else None
    )
    plain = passed is not None and passed.determined and "$" not in passed.written
    if returns is None or passed is None or not plain or "/" in passed.written.partition("://")[2]:
        yield case.by_hand(_NO_PLAN)
        return
    statement = f"proxy_pass {passed.written};"

    def edited(text: str, line: int, name: str) -> str:
        return replace_statement(text, line, name, statement)

    yield _nginx_edit(
        case,
        {(returns.file, returns.line): "return"},
        edited,
        Text(en="pass health checks on to the service", zh="把健康检查转发给服务"),
        Text(
            en="whoever relies on this answer will see the service's real state",
            zh="依赖这个固定应答的监控会开始看到服务的真实状态",
        ),
    )


def _nginx_edit(
    case: _Case,
    places: Mapping[tuple[str, int], str],
    edited: Callable[[str, int, str], str],
    what: Text,
    risk: Text | None,
) -> Remedy:
    """One remedy that edits the directives at ``places`` (file and line, with their names)."""
    before: dict[str, bytes] = {}
    texts: dict[str, str] = {}
    try:
        # From below: an edit moves only the lines behind it.
        for (file, line), name in sorted(places.items(), reverse=True):
            if file not in case.grounds.files:
                raise NotLocatedError(f"{file} was not read")
            before.setdefault(file, case.grounds.files[file])
            text = texts.get(file) or before[file].decode("utf-8", "surrogateescape")
            texts[file] = edited(text, line, name)
    except NotLocatedError as error:
        return case.by_hand(Text(en=f"it is not edited automatically: {error}", zh=f"不自动修改：{error}"))
    if not texts or not case.nginx:
        return case.by_hand(_NO_PLAN if not texts else _NO_NGINX)
    # The reload takes up whatever else has changed on disk.
    risk = risk or _reload_hurts(case)
    edits = tuple(
        FileEdit(file, before[file], text.encode("utf-8", "surrogateescape")) for file, text in texts.items()
    )
    why = next((case.grounds.not_edited[file] for file in texts if file in case.grounds.not_edited), None)
    if why is not None or case.untested is not None:
        lines = [line for edit in edits for line in difference(edit)]
        return case.by_hand(_not_edited(why) if why else case.untested or _NO_PLAN, lines)
    return case.remedy(
        "risky" if risk else "safe",
        EditNginx(edits, tuple(map(_identity, case.nginx))),
        what,
        risk=risk,
        commands=(case.target.test_nginx, case.target.reload_nginx),
        diff=tuple(line for edit in edits for line in difference(edit)),
    )


def difference(edit: FileEdit) -> Iterator[str]:
    """The edit as the lines of a unified diff, fit for a terminal and without secrets."""
    old, new = (content.decode("utf-8", "replace").splitlines() for content in (edit.before, edit.after))
    for line in difflib.unified_diff(old, new, edit.path, edit.path, lineterm="", n=2):
        yield without_secrets(without_controls(line))


def _site_server(case: _Case) -> nginx_topology.Server | None:
    config = case.snapshot.nginx_config
    if not isinstance(config, NginxConfig):
        return None
    site = find_site(config, case.target.domain, case.target.backend)
    return site.server if site else None


def _nginx_workers(case: _Case) -> tuple[int, ...]:
    processes = case.snapshot.processes
    if not isinstance(processes, Processes):
        return ()
    return tuple(
        worker.pid
        for master in case.nginx
        for worker in nginx_topology.nginx_workers(processes.processes, master.pid)
    )


# --- files ------------------------------------------------------------------------------------------------------------


def _close_key(case: _Case) -> Iterator[Remedy]:
    """What everybody may do with the key is taken away; what its group may, only where that is nobody else."""
    certificates = case.snapshot.certificates
    key = certificates.key if isinstance(certificates, Certificates) else None
    if not isinstance(key, KeyFile) or key.mode is None:
        yield case.by_hand(_NO_PLAN)
        return
    closed, owners = key.mode & 0o660, key.mode & 0o600
    alone = case.grounds.key_group_is_owners
    if key.mode & 0o007 or alone:
        after = owners if alone else closed
        yield case.remedy(
            "safe",
            ChangeMode(key.resolved, key.mode, after),
            Text(
                en=f"mode {key.mode:04o} of {key.resolved} becomes {after:04o}",
                zh=f"{key.resolved} 的权限由 {key.mode:04o} 改为 {after:04o}",
            ),
            commands=(f"chmod {after:o} {shlex.quote(key.resolved)}",),
        )
    if key.mode & 0o040 and not alone:
        yield case.remedy(
            "risky",
            ChangeMode(key.resolved, closed, owners),
            Text(
                en=f"mode {closed:04o} of {key.resolved} becomes {owners:04o}",
                zh=f"{key.resolved} 的权限由 {closed:04o} 改为 {owners:04o}",
            ),
            risk=Text(
                en="another program may read the key by its group",
                zh="别的程序可能靠属组读取这个私钥",
            ),
            commands=(f"chmod {owners:o} {shlex.quote(key.resolved)}",),
        )


def _reopen_logs(case: _Case) -> Iterator[Remedy]:
    processes, rotation = case.snapshot.processes, case.snapshot.rotation
    open_logs = case.snapshot.open_logs
    if (
        not isinstance(processes, Processes)
        or not isinstance(rotation, Rotation)
        or not isinstance(open_logs, tuple)
    ):
        yield case.by_hand(_NO_PLAN)
        return
    current = {log.resolved for log in rotation.logs}
    stale = tuple(
        (o.pid, o.path + DELETED if o.deleted else o.path)
        for o in open_logs
        if o.deleted or o.path not in current
    )
    writers = {pid for pid, _ in stale}
    masters = [
        master
        for master in (*case.nginx, *((case.master,) if case.master else ()))
        if master.pid in writers or any(p.pid in writers for p in processes.processes if p.ppid == master.pid)
    ]
    if not masters:
        yield case.by_hand(Text(en="who writes to it has no master here", zh="找不到写入者的主进程"))
        return
    pids = " ".join(str(master.pid) for master in masters)
    yield case.remedy(
        "safe",
        ReopenLogs(tuple(map(_identity, masters)), stale),
        Text(en=f"have process {pids} open its logs anew", zh=f"让进程 {pids} 重新打开日志"),
        commands=(f"kill -USR1 {pids}",),
    )


def _install_rotation(case: _Case) -> Iterator[Remedy]:
    files = case.grounds.rotation
    if isinstance(files, str):
        yield case.by_hand(
            Text(
                en=f"our logrotate rule cannot be made here: {files}", zh=f"无法生成 logrotate 规则：{files}"
            )
        )
        return
    changed = tuple(file for file in files if file.present != file.text)
    if not changed:
        yield case.by_hand(
            Text(
                en="our logrotate rule is in place already; another one is in its way",
                zh="我们的 logrotate 规则已在位，是别的规则与它冲突",
            )
        )
        return
    if not any(parse(file.text, file.path, {}).rules for file in changed):
        yield case.by_hand(
            Text(
                en="; ".join(reason.en for reason in case.grounds.not_rotated),
                zh="；".join(reason.zh for reason in case.grounds.not_rotated),
            )
            if case.grounds.not_rotated
            else _NO_PLAN
        )
        return
    paths = ", ".join(file.path for file in changed)
    left_out = case.grounds.not_rotated
    replaced = any(file.present is not None for file in changed)
    yield case.remedy(
        "risky" if replaced else "safe",
        InstallRotation(changed, left_out),
        Text(
            en="; ".join((f"install our logrotate rule: {paths}", *(reason.en for reason in left_out))),
            zh="；".join((f"安装 logrotate 规则：{paths}", *(reason.zh for reason in left_out))),
        ),
        risk=Text(
            en="it takes the place of the rules that are in that file (they are kept beside it)",
            zh="会替换该文件里原有的规则（原文件会保留一份）",
        )
        if replaced
        else None,
        commands=("gte-ops render logrotate --install",),
        diff=case.grounds.rotation_diff,
    )


def _create_backup(case: _Case) -> Iterator[Remedy]:
    yield case.remedy(
        "safe",
        CreateBackup(),
        Text(en="make a backup now", zh="立即做一份备份"),
        commands=("gte-ops backup create",),
    )


def _identity(process: Process) -> ProcessRef:
    return ProcessRef(process.pid, process.start_ticks)


def _below(directory: str | None, path: str) -> str:
    return posixpath.join(directory or "/", path)


PLANNERS: dict[str, Callable[[_Case], Iterator[Remedy]]] = {
    "TLS008": _reload_nginx,
    "TLS010": _close_key,
    "NGX002": _start_nginx,
    "NGX004": _reload_nginx,
    "NGX005": _proxy_to_the_service,
    "NGX006": _ask_the_service_for_health,
    "NGX018": _answer_429,
    "GUN001": _start_gunicorn,
    "GUN002": _mend_pidfile,
    "GUN007": _continue_or_restart,
    "GUN008": _rename_settings,
    "GUN011": _take_up_change,
    "GUN015": _end_worker,
    "GUN016": _continue_or_restart,
    "GUN017": _end_worker,
    "OPS001": _install_rotation,
    "OPS002": _reopen_logs,
    "OPS003": _create_backup,
    "OPS004": _create_backup,
    "OPS005": _create_backup,
}
