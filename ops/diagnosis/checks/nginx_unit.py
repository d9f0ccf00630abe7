"""Judges of nginx's systemd unit, where nginx does not run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from ops.diagnosis.checks.gunicorn_unit import unit_evidence
from ops.diagnosis.finding import Finding, check
from ops.facts.host import Processes
from ops.facts.units import Unit, Units
from ops.interpret.nginx import nginx_masters
from ops.interpret.units import UnitFault, unit_fault
from ops.text.language import Text, verbatim

FAULT_WORDS = {
    UnitFault.MASKED: Text(en="it is masked", zh="它已被屏蔽（masked）"),
    UnitFault.MISSING: Text(en="its unit file is gone", zh="它的 unit 文件不见了"),
    UnitFault.UNREADABLE: Text(en="its unit file cannot be read", zh="无法读取它的 unit 文件"),
    UnitFault.START_LIMIT: Text(
        en="it failed too often in a short time, and systemd does not try again",
        zh="它在短时间内失败次数过多，systemd 不再尝试",
    ),
    UnitFault.PROGRAM: Text(en="its program cannot be run", zh="它的程序无法执行"),
    UnitFault.DIRECTORY: Text(en="its working directory cannot be entered", zh="无法进入它的工作目录"),
    UnitFault.ACCOUNT: Text(en="its user or group does not exist", zh="它的用户或组不存在"),
    UnitFault.ENVIRONMENT_FILE: Text(
        en="a file of variables that it needs cannot be read", zh="无法读取它需要的环境变量文件"
    ),
    UnitFault.CONDITION: Text(en="a condition of it is not met", zh="它的条件不成立"),
    UnitFault.DEPENDENCY: Text(en="a unit that it requires cannot be had", zh="它依赖的 unit 无法启动"),
    UnitFault.WAITING: Text(en="its start waits for another unit's", zh="它的启动在等待另一个 unit"),
    UnitFault.NAMESPACE: Text(
        en="its sandbox names a path that is not there", zh="它的沙箱设置引用了不存在的路径"
    ),
}


@check("nginx.unit", "NGX052", en="systemd can run nginx's unit", zh="systemd 能够运行 nginx 的 unit")
def unit(units: Units, processes: Processes) -> Iterator[Finding]:
    """NGX052: no nginx runs, and systemd says why it does not run its unit. A configuration that nginx refuses is not
    among these: nginx says more of it than systemd."""
    own = units.unit(units.nginx)
    if own is None or any(nginx_masters(processes)) or (fault := unit_fault(own)) not in FAULT_WORDS:
        return
    assert fault is not None  # noqa: S101  a member of FAULT_WORDS
    name = shlex.quote(own.name)
    first: tuple[str | Text, ...] = (verbatim(f"systemctl reset-failed {name}"),)
    if fault is UnitFault.MASKED:
        first = (verbatim(f"systemctl unmask {name}"),)
    elif fault is UnitFault.MISSING:
        first = (verbatim("apt-get install --reinstall nginx"), verbatim("systemctl daemon-reload"))
    elif fault is not UnitFault.START_LIMIT:
        first = (
            verbatim(f"systemctl cat {name}"),
            Text(en=f"Correct {own.file or name}", zh=f"改正 {own.file or name}"),
            verbatim("systemctl daemon-reload"),
            *first,
        )
    yield Finding(
        "NGX052",
        unit_evidence(own),
        {"unit": own.name, "reason": fault_words(own, fault)},
        fix=(*first, verbatim(f"systemctl enable --now {name}")),
        kind=fault,
    )


def fault_words(own: Unit, fault: UnitFault) -> Text:
    """Why systemd does not run a unit, with what is behind it."""
    obstacles = (f"{other.name} ({other.state})" for other in own.obstacles)
    named = ", ".join((*own.unmet, *obstacles, *own.sandbox.missing)[:3])
    words = FAULT_WORDS[fault]
    return Text(en=f"{words.en}: {named}", zh=f"{words.zh}：{named}") if named else words


CHECKS = (unit,)
