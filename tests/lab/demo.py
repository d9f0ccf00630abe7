"""scripts/demo: the real stack, a prediction, and the doctor on a healthy stack and on three faults.

Ends with 0 when the doctor was right each time, 1 when it was not, 130 after Ctrl-C. Nothing stays behind, however it
ends, unless --keep asked for it.
"""

# ruff: noqa: T201  # printing is what it is for

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import click

from tests.lab.client import Answer
from tests.lab.stack import PREDICTION, Stack

INTERRUPTED = 130
# curl and browsers take every name below localhost to this machine (RFC 6761, 6.3): --keep's URLs work as they stand.
DOMAIN = "gte.localhost"

TEXTS = {
    "starting": (
        "Starting nginx (HTTPS), gunicorn and the service, all on loopback ...",
        "正在启动 nginx（HTTPS）、gunicorn 和服务，全部只监听本机回环地址……",
    ),
    "started": ("Up after {seconds:.1f} s: {url}", "已就绪，用时 {seconds:.1f} 秒：{url}"),
    "predict": ("A prediction, through nginx", "经由 nginx 的一次真实预测"),
    "healthy": ("Healthy: what the doctor says", "健康状态下的诊断"),
    "GUN001": ("Fault 1 of 3: gunicorn is killed", "故障一：gunicorn 进程被杀死"),
    "TLS001": ("Fault 2 of 3: the certificate has expired", "故障二：证书已过期"),
    "NGX005": ("Fault 3 of 3: nginx proxies to a wrong port", "故障三：nginx 转发到错误的端口"),
    "client": ("A client sees: {seen}", "客户端看到：{seen}"),
    "repaired": ("Repaired: a client gets {seen} again.", "已修复：客户端重新得到 {seen}。"),
    "wrong": (
        "The doctor should have named {wanted} first, and named {named}.",
        "诊断应首先指出 {wanted}，实际为 {named}。",
    ),
    "kept": ("The stack stays up.", "环境保持运行。"),
    "reach": ("Send it a prediction:", "发送一次预测："),
    "browse": ("Its page in a browser (the root certificate is {ca}):", "浏览器页面（根证书为 {ca}）："),
    "diagnose": ("Diagnose it:", "运行诊断："),
    "stop": ("Stop it, and remove all of it:", "停止并删除全部内容："),
    "down": ("All stopped, nothing left behind.", "已全部停止，没有遗留任何进程或文件。"),
}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """One way to break the stack: the cause's code, what breaks it and what repairs it."""

    code: str
    injure: Callable[[Stack], object]
    repair: Callable[[Stack], object]


def _expire(stack: Stack) -> None:
    now = datetime.now(UTC)
    stack.replace_certificate(not_before=now - timedelta(days=91), not_after=now - timedelta(days=1))


def _misdirect(stack: Stack) -> None:
    # 1 is tcpmux, where nobody has listened for decades.
    stack.edit(stack.site_file, f"server {stack.bind};", f"server {stack.address}:1;")


def _redirect_back(stack: Stack) -> None:
    stack.edit(stack.site_file, f"server {stack.address}:1;", f"server {stack.bind};")


FAULTS = (
    Fault("GUN001", lambda stack: stack.kill_gunicorn(), lambda stack: stack.start_gunicorn()),
    Fault("TLS001", _expire, lambda stack: stack.replace_certificate()),
    Fault("NGX005", _misdirect, _redirect_back),
)


class Demo:
    """The flow, told in one language."""

    def __init__(self, language: str) -> None:
        """``language``: zh or en."""
        self.language = language
        self.right = True

    def say(self, name: str, **values: object) -> None:
        """One of TEXTS."""
        print(TEXTS[name][self.language == "zh"].format(**values), flush=True)

    def title(self, name: str) -> None:
        """One of TEXTS, set off from what precedes."""
        text = TEXTS[name][self.language == "zh"]
        print(f"\n=== {text} {'=' * max(3, 90 - len(text))}", flush=True)

    def run(self, stack: Stack) -> None:
        """Everything between start and end."""
        self.say("started", seconds=stack.seconds_to_start, url=stack.url)
        self.title("predict")
        print(json.dumps(PREDICTION, ensure_ascii=False))
        answer = stack.predict()
        print(answer.status, json.dumps(answer.json(), ensure_ascii=False, indent=2), flush=True)
        self.title("healthy")
        self.diagnose(stack, None)
        for fault in FAULTS:
            self.title(fault.code)
            fault.injure(stack)
            self.say("client", seen=_seen(stack.predict()))
            self.diagnose(stack, fault.code)
            fault.repair(stack)
            self.say("repaired", seen=_seen(stack.predict()))

    def diagnose(self, stack: Stack, wanted: str | None) -> None:
        """Shows the doctor's report, and notes whether it named ``wanted`` first (None: nothing at all)."""
        command = stack.gte_ops_command("doctor", "--config", str(stack.config_file), "--lang", self.language)
        terminal = {"TERM": os.environ.get("TERM", "dumb"), "COLUMNS": os.environ.get("COLUMNS", "")}
        environment = stack.environment() | {name: value for name, value in terminal.items() if value}
        ran = subprocess.run(command, env=environment, cwd=stack.directory, check=False)
        named = stack.doctor().first
        if named != wanted or (ran.returncode == 0) != (wanted is None):
            self.right = False
            self.say("wrong", wanted=wanted, named=named)

    def keep(self, stack: Stack) -> NoReturn:
        """Hands the stack over to a process of its own, with which it ends, and ends this one."""
        sent = json.dumps(PREDICTION, ensure_ascii=False)
        curl = [
            "curl",
            "--cacert",
            str(stack.ca_file),
            f"{stack.url}/predict",
            "--json",
            sent,
        ]
        gte_ops = str(Path(sys.executable).with_name("gte-ops"))
        holder = _hand_over()
        self.title("kept")
        self.say("reach")
        print("  " + shlex.join(curl))
        self.say("browse", ca=stack.ca_file)
        print(f"  {stack.url}/")
        self.say("diagnose")
        print("  " + shlex.join([gte_ops, "doctor", "--config", str(stack.config_file)]))
        self.say("stop")
        print(f"  kill {holder}", flush=True)
        os._exit(0 if self.right else 1)  # without the clean-up that now belongs to the other process


def _seen(answer: Answer) -> str:
    return answer.error or f"HTTP {answer.status}, {answer.content_type}"


def _hand_over() -> int:
    """Forks the process that holds the stack from now on, and returns its process id.

    Its end, by whatever signal, closes its pipe to the keeper, which then ends and removes everything.
    """
    holder = os.fork()
    if holder:
        return holder
    os.setsid()  # a closed terminal or Ctrl-C in it does not reach it
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    while True:
        signal.pause()


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--keep", is_flag=True, help="Leave the stack up, and say how to reach and how to stop it.")
@click.option("--lang", "language", type=click.Choice(["zh", "en"]), help="Default: the locale's.")
def main(keep: bool, language: str | None) -> None:
    """The command."""
    from ops.text.locale_language import reader_language

    demo = Demo(language or reader_language())
    demo.say("starting")
    try:
        with Stack(address="127.0.0.1", domain=DOMAIN) as stack:
            demo.run(stack)
            if keep:
                demo.keep(stack)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    demo.say("down")
    sys.exit(0 if demo.right else 1)


if __name__ == "__main__":
    main()
