"""The command `gte-ops`: parse, call, render. A command is imported when it is called, and everything heavy by the
command that uses it."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from ops import __version__
from ops.cli.command_modules import CommandModules
from ops.cli.help import BilingualGroup, BilingualOption
from ops.cli.options import error_language, language_option, written_option
from ops.errors import ErrorKind, OpsError, UsageError
from ops.report import FORMATS

if TYPE_CHECKING:
    from ops.text.language import Language

# Usage errors end with 3, 'unknown', so that a monitoring system never reads a typing error as 'critical'.
MISUSED = 3
INTERRUPTED = 130
# Of write(2): the disk, the quota or the greatest size of a file is used up, or the medium fails.
_NOT_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
PIPE_CLOSED = 141  # 128 + SIGPIPE, as shells count a program that nobody reads any more

COMMANDS = (
    "adopt",
    "backup",
    "baseline",
    "causes",
    "cert",
    "config",
    "deploy",
    "doctor",
    "explain",
    "install",
    "mcp",
    "notify",
    "preflight",
    "render",
    "route",
    "service",
    "timeline",
    "uninstall",
    "upgrade",
    "version",
    "watchdog",
)


@click.group(
    cls=BilingualGroup,
    commands=CommandModules(COMMANDS),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    zh="诊断并守护 nginx 后面的 gunicorn 服务。",
)
@click.version_option(
    __version__,
    "-V",
    "--version",
    prog_name="gte-ops",
    message="%(prog)s %(version)s",
    cls=BilingualOption,
    zh="显示版本并退出。",
)
@language_option
def commands(language: Language) -> None:
    """Diagnose and keep up a gunicorn service behind nginx. 诊断并守护 nginx 后面的 gunicorn 服务。

    \b
    Example:
      gte-ops doctor            what is broken here, the proof, and the line that fixes it
      gte-ops explain GUN001    more about one cause
    """


def main() -> NoReturn:
    """Run the command line. The tool's own trouble is one line on standard error and exit code 3; with --format, a
    report on standard output as well, so that a program reads what it asked for. A report that standard output does not
    take (a full disk) is the tool's trouble too, whatever the verdict in it."""
    try:
        _run()
    finally:
        _end_if_output_failed()


def _run() -> NoReturn:
    if os.geteuid() != 0:
        from ops.files.unprivileged import keep_capabilities

        keep_capabilities()
    stdout = sys.stdout
    try:
        commands(prog_name="gte-ops", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        words = "已中断" if error_language() == "zh" else "interrupted"
        _report_error(words, ErrorKind.INTERRUPTED, INTERRUPTED)
        sys.exit(INTERRUPTED)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(MISUSED)
    except click.ClickException as error:
        _fail(_click_message(error), ErrorKind.USAGE, MISUSED)
    except UsageError as error:
        _fail(_see_help(error.words.to(error_language()), error.command), error.kind, error.exit_code)
    except OpsError as error:
        _fail(error.words.to(error_language()), error.kind, error.exit_code)
    except SystemExit:
        # click replaces the stream whose reader has gone away, and exits with 1, which would read as 'warning'.
        if sys.stdout is not stdout:
            sys.exit(PIPE_CLOSED)
        raise
    except Exception as error:  # noqa: BLE001  Python's own exit code 1 would read as 'warning'
        _end_if_output_failed(error)
        what = f"{_where(error)}: {type(error).__name__}: {error}"
        words = (
            f"{what}；未作任何判断，请反馈这一行"
            if error_language() == "zh"
            else f"{what}; nothing was judged, please report this line"
        )
        _fail(words, ErrorKind.DEFECT, MISUSED)
    sys.exit(0)


def _end_if_output_failed(error: Exception | None = None) -> None:
    """End with one line and exit code 3 if standard output takes no more: what was written into it is incomplete.
    ``error``: what ended the command; an unbuffered stream has failed already and does not fail again."""
    try:
        # An error of opening a file has its name; one of writing has none.
        if isinstance(error, OSError) and error.errno in _NOT_WRITTEN and error.filename is None:
            raise error
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        sys.exit(PIPE_CLOSED)
    except OSError as failure:
        from ops.text.language import Text
        from ops.text.reasons import chinese
        from ops.text.sanitize import safe_line

        _discard_output()
        why = failure.strerror or str(failure)
        words = Text(
            en=f"cannot write the output: {why}; it is incomplete",
            zh=f"无法写出输出：{chinese(why)}；输出不完整",
        )
        click.echo(f"gte-ops: {safe_line(words.to(error_language()), 600)}", err=True)
        sys.exit(MISUSED)


def _discard_output() -> None:
    """Send what is still buffered for standard output to /dev/null: the interpreter's last flush must not fail too."""
    with contextlib.suppress(io.UnsupportedOperation), open(os.devnull, "wb") as null:  # noqa: PTH123
        os.dup2(null.fileno(), sys.stdout.fileno())


def _click_message(error: click.ClickException) -> str:
    """click's own message, which is English, in the reader's language."""
    from ops.text.reasons import reason

    command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "gte-ops"
    return _see_help(reason(error.format_message()).to(error_language()), command)


def _see_help(message: str, command: str) -> str:
    if not command:
        return message
    return (
        f"{message}（见 {command} --help）"
        if error_language() == "zh"
        else f"{message} (see {command} --help)"
    )


def _fail(message: str, kind: ErrorKind, exit_code: int) -> NoReturn:
    from ops.text.sanitize import safe_line

    _report_error(message, kind, exit_code)
    click.echo(f"gte-ops: {safe_line(message, 600)}", err=True)
    sys.exit(exit_code)


def _report_error(message: str, kind: ErrorKind, exit_code: int) -> None:
    """The error in the format that was asked for; nothing for a person, who reads standard error."""
    form = written_option(sys.argv[1:], "--format")
    if form is None or form == "text" or form not in FORMATS:
        return
    from ops.cli.options import show
    from ops.report.error import ErrorReport

    with contextlib.suppress(OSError):
        show(form, ErrorReport(message, kind, exit_code), error_language())
        sys.stdout.flush()


def _where(error: Exception) -> str:
    """``file:line`` of where the tool failed."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else "gte-ops"


if __name__ == "__main__":
    main()
