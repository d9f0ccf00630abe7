"""The program ``gte-api``."""

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from service.cli import flags
from service.language import Message
from service.settings import ServerSettings, Settings, SettingsError, read_server_settings, read_settings
from service.version import version

_MISUSED = 3
_INTERRUPTED = 130
_ALL = {**flags.PREDICTION_FLAGS, **flags.SERVER_FLAGS}
# What matters to a model alone.
_OF_MODELS = {
    field: flags.PREDICTION_FLAGS[field]
    for field in (
        "engine",
        "model_dir",
        "model_download",
        "uninlu_dir",
        "trust_remote_code",
        "extract_timeout",
        "model_threads",
        "precision",
        "max_tokens",
        "batch_tokens",
        "max_concurrent",
    )
}

_SERVE = Message(
    """Start the service: gunicorn with this service's configuration, in the foreground.

    A flag sets the variable in brackets; without it the environment's own value is used. Mistakes that would show only
    later (a missing package, a model one directory too deep, an address in use) end the command with exit code 3.

    \b
    gte-api serve
    gte-api serve --model-dir /srv/gte --precision bfloat16
    gte-api serve --bind unix:/run/gte-api/gunicorn.sock --workers 2 --api-keys /etc/gte-api/keys.json
    """,
    """启动服务：在前台运行 gunicorn，使用本服务的配置。

    每个选项设置方括号中的环境变量；不给出选项时使用环境中的值。缺少软件包、模型目录差一层、地址被占用等
    以后才会暴露的错误，命令立即报告并以退出码 3 结束。

    \b
    gte-api serve
    gte-api serve --model-dir /srv/gte --precision bfloat16
    gte-api serve --bind unix:/run/gte-api/gunicorn.sock --workers 2 --api-keys /etc/gte-api/keys.json
    """,
)
_CHECK = Message(
    """Load the models, answer each task's example, print the rates and end.

    Exit code 0: every task answered; 1: one did not; 3: nothing could be tried. It serves nobody, so it also runs
    beside a service; the rates are then those of a busy machine.

    \b
    gte-api check
    gte-api check --model-dir /srv/gte --precision int8
    """,
    """加载模型，对每个任务的示例做一次预测，打印速度，然后结束。

    退出码 0：所有任务都有回答；1：有任务没有；3：无法测试。它不对外服务，可以与正在运行的服务并存，
    但此时的速度是繁忙机器上的速度。

    \b
    gte-api check
    gte-api check --model-dir /srv/gte --precision int8
    """,
)


class _Refused(click.ClickException):
    """The command cannot go on; every reason is a line."""

    exit_code = _MISUSED

    def show(self, file: Any = None) -> None:
        for line in self.message.splitlines():
            click.echo(f"gte-api: {line}", err=True, file=file)


def _refuse_key(_context: click.Context, _option: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise _Refused(
            str(
                Message(
                    "--api-key: every user of this host could read the key in ps. Make a file of keys"
                    " (python -m service.keys --file FILE create NAME) and give --api-keys FILE",
                    "--api-key：本机所有用户都能在 ps 中看到密钥。请建立密钥文件"
                    "（python -m service.keys --file FILE create NAME），再使用 --api-keys FILE",
                )
            )
        )


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version(), prog_name="gte-api")
def main() -> None:
    """The inference service: serve starts it, check tries its models.

    推理服务：serve 启动服务，check 测试模型。
    """


@main.command(help=str(_SERVE))
@flags.options(_ALL)
@click.option("--host", "--hostname", "host", metavar="127.0.0.1", help="With --port, the same as --bind.")
@click.option("--port", metavar="8000", help="With --host, the same as --bind.")
@click.option("--api-key", hidden=True, expose_value=False, is_eager=True, callback=_refuse_key)
@click.option(
    "--dry-run",
    is_flag=True,
    help=str(
        Message(
            "Check everything, print the line for a shell and start nothing.",
            "检查一切并打印命令行，不启动。",
        )
    ),
)
def serve(host: str | None, port: str | None, dry_run: bool, **values: Any) -> None:
    """See ``_SERVE``."""
    from service.cli import serve as serving

    # What an engine would write to the log is said in the error itself.
    logging.getLogger("service").addHandler(logging.NullHandler())
    values["bind"] = flags.address(host, port, values["bind"])
    environ, settings, server = _settings(values, _ALL)
    obstacles = list(serving.obstacles(settings, server, Path.cwd()))
    if obstacles:
        raise _Refused("\n".join(map(str, obstacles)))
    for warning in serving.warnings(settings, server):
        click.echo(f"gte-api: {warning}", err=True)
    start = serving.start(environ)
    if dry_run:
        click.echo(start.shown())
        return
    start.become()


@main.command(help=str(_CHECK))
@flags.options(_OF_MODELS)
@click.option(
    "--seconds",
    type=click.FloatRange(0, 600),
    default=1.0,
    show_default=True,
    help=str(Message("How long each rate is measured.", "每项速度测量多久。")),
)
@click.option(
    "--wait",
    type=click.FloatRange(0, 86_400),
    default=300.0,
    show_default=True,
    help=str(Message("How long the models may take to load, in seconds.", "模型加载最多等待的秒数。")),
)
@click.option(
    "--json", "as_json", is_flag=True, help=str(Message("One JSON document.", "输出一个 JSON 文档。"))
)
def check(seconds: float, wait: float, as_json: bool, **values: Any) -> None:
    """See ``_CHECK``."""
    from service.cli.serve import missing_packages

    _, settings, _ = _settings(values, _OF_MODELS)
    missing = list(missing_packages(settings))
    if missing:
        raise _Refused("\n".join(map(str, missing)))
    from service.cli import check as checking

    report = checking.run(settings, seconds, wait)
    click.echo(report.json() if as_json else report.text())
    # The engines' processes end with this one; an interpreter's shutdown beside their threads has nothing to add.
    sys.stdout.flush()
    os._exit(0 if report.is_good else 1)


def _settings(
    values: Mapping[str, Any], known: Mapping[str, flags.Flag]
) -> tuple[dict[str, str], Settings, ServerSettings]:
    given = flags.environment(values, known)
    environ = {**os.environ, **given}
    try:
        return environ, read_settings(environ), read_server_settings(environ)
    except SettingsError as error:
        raise _Refused(flags.in_flags(str(error.message), given, known)) from None


def run() -> None:
    """The program. Errors of usage end it with status 3."""
    try:
        main.main(prog_name="gte-api", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        raise SystemExit(_MISUSED) from None
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    except (click.Abort, KeyboardInterrupt):
        raise SystemExit(_INTERRUPTED) from None


if __name__ == "__main__":
    run()
