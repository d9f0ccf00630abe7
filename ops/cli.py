"""The command `gte-ops`: parse, call, render. Everything heavy is imported by the command that uses it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

import click

from ops import __version__
from ops.errors import OpsError
from ops.notify_command import notify
from ops.watchdog_command import watchdog

if TYPE_CHECKING:
    from ops.language import Language
    from ops.settings import Settings

FORMATS = ("text", "json", "nagios")
# Usage errors end with 3, 'unknown', so that a monitoring system never reads a typing error as 'critical'.
MISUSED = 3
INTERRUPTED = 130


class _Duration(click.ParamType[float]):
    """A duration: 10s, 15m, 36h."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from ops.duration import parse_duration

        try:
            return float(parse_duration(str(value)))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _names(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (value or "").split(",") if name.strip())


config_option = click.option("--config", metavar="FILE", help="Read this gte-ops.toml.")
language_option = click.option(
    "--lang",
    "language",
    type=click.Choice(["zh", "en"]),
    help="Language of the report; default: the locale's.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="gte-ops", message="%(prog)s %(version)s")
def commands() -> None:
    """Diagnose and keep up a gunicorn service behind nginx. 诊断并守护 nginx 后面的 gunicorn 服务。

    \b
    Example:
      gte-ops doctor            what is broken here, the proof, and the line that mends it
      gte-ops explain GUN001    more about one cause
    """


@commands.command()
@config_option
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True)
@language_option
@click.option("--since", type=_Duration(), help="How far back logs count, e.g. 15m.")
@click.option("--budget", type=_Duration(), help="How long the whole run may take, e.g. 10s.")
@click.option("--only", callback=_names, metavar="ID,...", help="Only these checks, layers or causes.")
@click.option("--skip", callback=_names, metavar="ID,...", help="All but these checks, layers or causes.")
def doctor(
    config: str | None,
    form: str,
    language: Language | None,
    since: float | None,
    budget: float | None,
    only: tuple[str, ...],
    skip: tuple[str, ...],
) -> None:
    """Name what is wrong with the service on this host. 指出本机服务的故障原因。

    Changes nothing. Exit code: 0 ok, 1 warning, 2 users are hurt, 3 could not be judged.

    \b
    Example:
      gte-ops doctor
      gte-ops doctor --lang zh --since 1h
      gte-ops doctor --format json --only tls,GUN001
    """
    from ops.doctor import examine
    from ops.language import reader_language
    from ops.report import render

    settings = _settings(config)
    budget = settings.doctor.budget if budget is None else budget
    if not 1 <= budget <= 300:
        raise click.BadParameter("choose between 1s and 5m", param_hint="--budget or doctor.budget")
    diagnosis = examine(
        settings,
        since=since if since is not None else settings.doctor.since,
        budget=budget,
        only=only,
        skip=skip,
    )
    render(form, diagnosis, language or reader_language(), sys.stdout)
    sys.exit(diagnosis.exit_code)


@commands.command()
@click.argument("code")
@language_option
def explain(code: str, language: Language | None) -> None:
    """Tell what a cause means, how to prove, mend and prevent it. 解释一个故障代码。

    \b
    Example:
      gte-ops explain GUN001
    """
    from ops.language import reader_language
    from ops.report.explanation import render_explanation

    render_explanation(code, language or reader_language(), sys.stdout)


commands.add_command(notify)
commands.add_command(watchdog)


def _settings(config: str | None) -> Settings:
    from ops.settings import find_settings_file, load_settings

    return load_settings(find_settings_file(config))


def _complain(message: str) -> None:
    from ops.quoting import safe_line

    click.echo(f"gte-ops: {safe_line(message, 600)}", err=True)


def main() -> NoReturn:
    """Run the command line. The tool's own trouble is one line on standard error and exit code 3."""
    try:
        commands(standalone_mode=False)
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
