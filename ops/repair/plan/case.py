"""The input of every planner: one cause and the facts of this host."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ops.diagnosis.catalogue import is_command
from ops.diagnosis.model import Cause
from ops.facts.host import Process, Processes
from ops.facts.nginx import NginxConfig
from ops.facts.snapshot import Snapshot
from ops.facts.target import Target
from ops.files.ownership import ROOT
from ops.interpret import gunicorn as gunicorn_rules
from ops.interpret import nginx as nginx_rules
from ops.interpret.process_ref import ProcessRef
from ops.repair.model import Action, FileEdit, Remedy, RepairContext, Safety
from ops.text.language import Text
from ops.text.reasons import reason
from ops.text.sanitize import without_controls, without_secrets

NO_PLAN = Text(
    en="there is no automatic remedy: it takes a person's judgement",
    zh="没有自动修复，需要人来判断",
)
# For a fix that a person need not weigh: the commands are there, and gte-ops leaves running them to a person.
COMMANDS_BY_HAND = Text(
    en="gte-ops does not do this by itself: run the commands",
    zh="gte-ops 不会自动执行，请手动运行这些命令",
)
NO_NGINX = Text(
    en="no running nginx was found that serves this configuration", zh="没有找到使用此配置的 nginx 进程"
)
NO_MASTER = Text(en="gunicorn's master process was not seen", zh="没有看到 gunicorn 主进程")
NO_START = Text(
    en="nothing here says how the service is started: set gunicorn.start_command, or install its unit",
    zh="不知道服务怎么启动：请设置 gunicorn.start_command，或安装 systemd unit",
)


@dataclass(frozen=True)
class Case:
    """One cause to repair, with the snapshot, the target and the context."""

    cause: Cause
    snapshot: Snapshot
    target: Target
    context: RepairContext

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
        """A remedy that `ops/repair/apply/` can carry out."""
        return Remedy(self.cause, safety, what, action, risk, tuple(commands), tuple(diff))

    def by_hand(self, why: Text, diff: Sequence[str] = ()) -> Remedy:
        """A remedy without action: ``why`` nothing is done automatically."""
        if why is NO_PLAN and all(map(is_command, self.cause.fix)):
            why = COMMANDS_BY_HAND
        return Remedy(self.cause, None, why, None, diff=tuple(diff))

    @property
    def master(self) -> Process | None:
        """gunicorn's master; None if it was not seen."""
        processes = self.snapshot.processes
        if not isinstance(processes, Processes):
            return None
        return gunicorn_rules.process_of(processes, self.target.gunicorn_master)

    @property
    def caller(self) -> int:
        """The user id of the run that took the snapshot."""
        processes = self.snapshot.processes
        return processes.caller if isinstance(processes, Processes) else ROOT

    @property
    def untested(self) -> Text | None:
        """Why root neither runs nginx nor edits its files; None if it may."""
        config = self.snapshot.nginx_config
        if not isinstance(config, NginxConfig) or config.distrusted is None:
            return None
        return Text(
            en=f"nginx -t must not be run as root here, and nothing is done without it: {config.distrusted}",
            zh=f"这里不能以 root 运行 nginx -t，不检验就不执行：{reason(config.distrusted).to('zh')}",
        )

    @property
    def nginx(self) -> tuple[Process, ...]:
        """nginx's masters that serve this configuration."""
        processes = self.snapshot.processes
        if not isinstance(processes, Processes):
            return ()
        return tuple(nginx_rules.serving_masters(self.target, processes, self.snapshot.nginx_pidfile))


def not_edited(why: str) -> Text:
    """Why a file is shown with its change and left as it is."""
    return Text(
        en=f"root does not change what others have a say in ({why}); the change, for its owner to make:",
        zh=f"root 不修改他人可改动的文件（{reason(why).to('zh')}）；请由属主自行修改：",
    )


def difference(edit: FileEdit) -> Iterator[str]:
    """The edit as the lines of a unified diff, fit for a terminal and without secrets."""
    old, new = (content.decode("utf-8", "replace").splitlines() for content in (edit.before, edit.after))
    for line in difflib.unified_diff(old, new, edit.path, edit.path, lineterm="", n=2):
        yield without_secrets(without_controls(line))


def identity(process: Process) -> ProcessRef:
    """Pid and start time: exactly this process."""
    return ProcessRef(process.pid, process.start_ticks)
