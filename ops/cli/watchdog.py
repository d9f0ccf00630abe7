"""`gte-ops watchdog`: parse, call, render."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ops.cli.options import config_option, language_option, read_settings, report_format_option

if TYPE_CHECKING:
    from pathlib import Path

    from ops.settings import Settings
    from ops.text.language import Language

# Another instance holds the lock, or the watchdog itself failed: nothing was judged.
UNJUDGED = 3


@click.group(invoke_without_command=True)
@config_option
@click.option("--once", is_flag=True, help="One round, for cron, acting by the state kept between rounds.")
@report_format_option
@language_option
@click.pass_context
def watchdog(
    ctx: click.Context, config: str | None, once: bool, form: str, language: Language | None
) -> None:
    """Keep the service up: restart what is dead or stuck, and no more. 守护服务：只重启真正卡死的部分。

    Without --once it runs until it is stopped. Exit code of --once: 0 healthy, 1 acted and recovered, 2 failing,
    3 could not judge.

    \b
    Example:
      gte-ops watchdog --once
      gte-ops watchdog
      gte-ops watchdog pause 30m
      gte-ops watchdog status
      gte-ops watchdog forget
    """
    ctx.obj = {"config": config, "language": language}
    if ctx.invoked_subcommand is not None:
        return
    sys.exit(_once(config, form, language) if once else _serve(config, language))


def _once(config: str | None, form: str, language: Language | None) -> int:
    from ops.errors import OpsError
    from ops.supervision.alerts import WatchdogJournal
    from ops.supervision.cycle import Watchdog
    from ops.supervision.state_store import LockedError
    from ops.text.language import reader_language
    from ops.text.sanitize import safe_line
    from ops.watchdog import clean_up, locked, refuse_shared_places, run_once

    settings, path = _settings(config)
    chosen = language or reader_language()
    journal = WatchdogJournal(sys.stderr)
    try:
        refuse_shared_places(settings)
        with locked(settings):
            clean_up(settings)
            runner = Watchdog(settings, path, chosen, journal, resident=False)
            result = run_once(runner)
            _report(form, runner, result, chosen)
            return result.exit_code
    except LockedError as held:
        journal.note("locked", detail=str(held))
        return UNJUDGED
    except OpsError as error:
        journal.note("refused", detail=safe_line(str(error)))
        return UNJUDGED
    except Exception as error:  # noqa: BLE001  exit code 1 would say 'acted and recovered'
        journal.note("round_failed", detail=safe_line(f"{type(error).__name__}: {error}"))
        return UNJUDGED


def _serve(config: str | None, language: Language | None) -> int:
    from ops.supervision.alerts import WatchdogJournal
    from ops.supervision.cycle import Watchdog
    from ops.supervision.sd_notify import NotifySocket
    from ops.supervision.state_store import LockedError
    from ops.text.language import reader_language
    from ops.watchdog import clean_up, locked, refuse_shared_places, run_service

    settings, path = _settings(config)
    journal = WatchdogJournal(sys.stdout)
    try:
        refuse_shared_places(settings)
        with locked(settings):
            clean_up(settings)
            runner = Watchdog(settings, path, language or reader_language(), journal, resident=True)
            run_service(runner, NotifySocket())
    except LockedError as held:
        journal.note("locked", detail=str(held))
        return UNJUDGED
    return 0


def _report(form: str, runner: object, result: object, language: Language) -> None:
    """One line for a person, one document for a program; nothing for cron while all is well."""
    import json

    from ops.supervision.cycle import Watchdog
    from ops.watchdog import OnceResult, status_line

    assert isinstance(runner, Watchdog)  # noqa: S101  imported late, so typed late
    assert isinstance(result, OnceResult)  # noqa: S101
    line = status_line(runner, result.outcome)
    if form == "json":
        document = {
            "state": result.outcome.verdict.state,
            "fault": result.outcome.verdict.fault or None,
            "detail": result.outcome.verdict.detail.to(language),
            "acted": result.acted,
            "paused": result.outcome.paused,
            "holding": runner.memory.gave_up,
            "exit_code": result.exit_code,
        }
        click.echo(json.dumps(document, ensure_ascii=False))
    elif result.exit_code != 0 or sys.stdout.isatty():
        # Only here: a healthy round from cron says nothing, and is to be short.
        from ops.report.sentences import showable

        click.echo(showable(line, sys.stdout))


@watchdog.command()
@click.argument("duration")
@config_option
@click.pass_context
def pause(ctx: click.Context, duration: str, config: str | None) -> None:
    """Restart nothing for DURATION (30m, 2h), at most seven days. 维护期间暂停守护。

    The pause ends by itself.

    \b
    Example:
      gte-ops watchdog pause 30m
    """
    import getpass
    import time

    from ops.supervision.state_store import LONGEST_PAUSE, Pause
    from ops.text.duration import parse_duration

    try:
        seconds = float(parse_duration(duration))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="DURATION") from None
    if not 0 < seconds <= LONGEST_PAUSE:
        raise click.BadParameter("choose more than nothing and at most 7d", param_hint="DURATION")
    now = time.time()
    try:
        by = getpass.getuser()
    except (KeyError, OSError):
        by = ""
    ledger = _ledger(ctx, config)
    try:
        ledger.pause(Pause(until=now + seconds, since=now, by=by))
    except OSError as error:
        raise _unwritable(str(ledger.pause_path), error) from None
    click.echo(time.strftime("paused until %Y-%m-%d %H:%M:%S %z", time.localtime(now + seconds)))


@watchdog.command()
@config_option
@click.pass_context
def resume(ctx: click.Context, config: str | None) -> None:
    """End a pause. 结束暂停。

    \b
    Example:
      gte-ops watchdog resume
    """
    ledger = _ledger(ctx, config)
    try:
        was = ledger.resume()
    except OSError as error:
        raise _unwritable(str(ledger.pause_path), error) from None
    click.echo("resumed" if was else "there was no pause")


@watchdog.command()
@config_option
@click.pass_context
def forget(ctx: click.Context, config: str | None) -> None:
    """Forget how the service was started; what runs now is remembered instead. 忘记服务的启动环境。

    \b
    Example:
      gte-ops watchdog forget
    """
    from ops.control import launch
    from ops.supervision.state_store import refuse_shared_directory

    path = launch.launch_path(_settings(config or ctx.obj["config"])[0])
    refuse_shared_directory(path.parent)
    try:
        was = launch.forget(path)
    except OSError as error:
        raise _unwritable(str(path), error) from None
    click.echo("forgotten" if was else "nothing was remembered")


@watchdog.command()
@config_option
@report_format_option
@language_option
@click.pass_context
def status(ctx: click.Context, config: str | None, form: str, language: Language | None) -> None:
    """What the watchdog saw last, did last, and whether it holds. 守护状态。

    Exit code: 0 ok, 1 saturated, booting, paused or holding, 2 failing, 3 never looked or cannot tell.

    \b
    Example:
      gte-ops watchdog status
      gte-ops watchdog status --format json
    """
    from ops.report.watchdog import exit_code, read_status, render
    from ops.text.language import reader_language

    settings = _settings(config or ctx.obj["config"])[0]
    read = read_status(settings)
    render(form, read, language or ctx.obj["language"] or reader_language(), sys.stdout)
    sys.exit(exit_code(read))


def _ledger(ctx: click.Context, config: str | None):  # type: ignore[no-untyped-def]  # noqa: ANN202  imported late
    from pathlib import Path

    from ops.supervision.state_store import StateStore, refuse_shared_directory

    state_file = Path(_settings(config or ctx.obj["config"])[0].watchdog.state_file)
    refuse_shared_directory(state_file.parent)
    return StateStore(state_file)


def _unwritable(path: str, error: OSError) -> Exception:
    from ops.errors import OpsError

    return OpsError(f"{path}: {error.strerror or error}; run it as the watchdog's user")


def _settings(config: str | None) -> tuple[Settings, Path | None]:
    settings, file = read_settings(config)
    return settings, file.path
