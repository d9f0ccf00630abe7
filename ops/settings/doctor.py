"""How the doctor looks, which causes are accepted, and what an assistant is offered."""

from datetime import date
from typing import Annotated

from ops.settings.key import NONE, Section, key
from ops.text.duration import Seconds

# What doctor.budget and --budget may be, seconds.
MIN_BUDGET, MAX_BUDGET = 1.0, 300.0


class Ignore(Section, frozen=True):
    """A cause that is known and accepted: why, and through which day. From the day after it counts again."""

    code: Annotated[
        str, key("Code of the cause to ignore.", "要忽略的原因代码。", example="GUN013", since="0.1.0")
    ]
    reason: Annotated[
        str,
        key(
            "Why it is accepted; the report shows it.",
            "接受它的理由，会显示在报告中。",
            example="the workers do not grow; measured in October",
            since="0.1.0",
        ),
    ]
    until: Annotated[
        date,
        key(
            "Last day on which it is ignored.",
            "忽略到哪一天为止（含当天）。",
            example=date(2027, 1, 31),
            since="0.1.0",
        ),
    ]


class DoctorSettings(Section, frozen=True):
    """How far back the doctor reads, how long it may take, and which causes it ignores."""

    since: Annotated[
        Seconds, key("How far back logs are read.", "日志回溯的时长。", example="1h", since="0.1.0")
    ] = Seconds(900)
    budget: Annotated[
        Seconds,
        key(
            "How long one run may take, 1s to 5m.",
            "一次诊断最多用的时间，1s 至 5m。",
            example="20s",
            since="0.1.0",
        ),
    ] = Seconds(10)
    ignore: Annotated[
        tuple[Ignore, ...],
        key(
            "Causes that are known and accepted until a day. The report lists them with the reason; they do not count.",
            "已知并接受、到某日为止的原因。报告会列出它们及理由，但不计入结果。",
            example=[{"code": "GUN013", "reason": "measured in October", "until": date(2027, 1, 31)}],
            since="0.1.0",
            unset=NONE,
        ),
    ] = ()
    causes_dir: Annotated[
        str,
        key(
            "Directory of the site's own causes, *.toml: docs/site-causes.md. Only root may write it.",
            "存放站点自定义故障原因（*.toml）的目录，见 docs/site-causes.zh-CN.md。只有 root 可写。",
            example="/srv/runbook/causes.d",
            since="0.2.0",
        ),
    ] = "/etc/gte-ops/causes.d"
    plugins: Annotated[
        tuple[str, ...],
        key(
            "Installed packages whose judges run too: names of entry points of the group gte_ops.checks.",
            "一并运行其判断的已安装软件包：gte_ops.checks 组中的入口点名称。",
            example=["our_runbook"],
            since="0.2.0",
            unset=NONE,
        ),
    ] = ()


class McpSettings(Section, frozen=True):
    """What `gte-ops mcp` offers an assistant."""

    allow_repair: Annotated[
        bool,
        key(
            "Whether an assistant may apply the safe repairs of a plan that it was shown, by the plan's token."
            " Otherwise it only sees the plan.",
            "是否允许助手凭方案的令牌执行它看到的安全修复。否则只能查看方案。",
            example=True,
            since="0.3.0",
        ),
    ] = False
    token_file: Annotated[
        str,
        key(
            "File with the token that `gte-ops mcp --http` asks for. Only its owner may read it (mode 0600).",
            "存放 `gte-ops mcp --http` 所需令牌的文件。只能由属主读取（权限 0600）。",
            example="/etc/gte-ops/mcp.token",
            since="0.3.0",
            unset=NONE,
        ),
    ] = ""
