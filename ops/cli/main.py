"""The command `gte-ops`: parse, call, render. Everything heavy is imported by the command that uses it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from ops import __version__
from ops.cli.backup import backup
from ops.cli.cert import cert
from ops.cli.config import config
from ops.cli.doctor import doctor
from ops.cli.notify import notify
from ops.cli.options import language_option
from ops.cli.preflight import preflight
from ops.cli.render import render
from ops.cli.version import version
from ops.cli.watchdog import watchdog
from ops.errors import OpsError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from ops.text.language import Language

# Usage errors end with 3, 'unknown', so that a monitoring system never reads a typing error as 'critical'.
MISUSED = 3
INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="gte-ops", message="%(prog)s %(version)s")
def commands() -> None:
    """Diagnose and keep up a gunicorn service behind nginx. 诊断并守护 nginx 后面的 gunicorn 服务。

    \b
    Example:
      gte-ops doctor            what is broken here, the proof, and the line that mends it
      gte-ops explain GUN001    more about one cause
    """


def _codes(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The codes that begin with what was typed, each with its title, for the shell's completion."""
    from click.shell_completion import CompletionItem

    from ops.diagnosis.catalogue import catalogue
    from ops.text.language import reader_language

    language, typed = reader_language(), incomplete.upper()
    return [
        CompletionItem(code, help=catalogue().entry(code).title.to(language))
        for code in catalogue().codes
        if code.startswith(typed)
    ]


@commands.command()
@click.argument("code", required=False, shell_complete=_codes)
@language_option
def explain(code: str | None, language: Language | None) -> None:
    """Explain a cause: what it means, how to prove, fix and prevent it. 解释一个故障代码。

    Without CODE: every code and its title.

    \b
    Example:
      gte-ops explain GUN001
    """
    from ops.report.explain import list_causes, render_explanation
    from ops.text.language import reader_language

    if code is None:
        list_causes(language or reader_language(), sys.stdout)
    else:
        render_explanation(code, language or reader_language(), sys.stdout)


commands.add_command(backup)
commands.add_command(cert)
commands.add_command(config)
commands.add_command(doctor)
commands.add_command(notify)
commands.add_command(render)
commands.add_command(preflight)
commands.add_command(version)
commands.add_command(watchdog)


def _complain(message: str) -> None:
    from ops.text.sanitize import safe_line

    click.echo(f"gte-ops: {safe_line(message, 600)}", err=True)


def main() -> NoReturn:
    """Run the command line. The tool's own trouble is one line on standard error and exit code 3."""
    if os.geteuid() != 0:
        from ops.files.unprivileged import keep_capabilities

        keep_capabilities()
    try:
        commands(prog_name="gte-ops", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(INTERRUPTED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(MISUSED)
    except click.ClickException as error:
        hint = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "gte-ops"
        _complain(f"{error.format_message()} (see {hint} --help)")
        sys.exit(MISUSED)
    except OpsError as error:
        _complain(str(error))
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of the report went away; nothing is left to say to anyone (Python docs: note on SIGPIPE).
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:  # noqa: BLE001  Python's own exit code 1 would read as 'warning'
        _complain(
            f"{_where(error)}: {type(error).__name__}: {error}; nothing was judged, please report this line"
        )
        sys.exit(MISUSED)
    sys.exit(0)


def _where(error: Exception) -> str:
    """``file:line`` of where the tool failed."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else "gte-ops"


if __name__ == "__main__":
    main()
