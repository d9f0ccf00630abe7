"""`gte-ops watchdog`: parse, call, render."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ops.cli.help import BilingualGroup
from ops.cli.options import (
    config_option,
    language_option,
    option,
    report_format_option,
    settings_and_path,
    settings_from,
    show,
)
from ops.errors import UsageError
from ops.text.language import Text
from ops.text.reasons import chinese

if TYPE_CHECKING:
    from ops.settings import Settings
    from ops.supervision.alerts import WatchdogJournal
    from ops.supervision.state_store import StateStore
    from ops.text.language import Language

# Another instance holds the lock, or the watchdog itself failed: the service was not assessed.
UNDETERMINED = 3


@click.group(
    cls=BilingualGroup,
    invoke_without_command=True,
    zh="""守护服务：只重启失效或卡死的进程。

    不带 --once 时持续运行，直到被停止。--once 的退出码：0 健康，1 已处理并恢复，2 故障，3 无法判断。""",
)
@config_option
@option(
    "--once",
    is_flag=True,
    en="One cycle, for cron, acting by the state kept between cycles.",
    zh="只检查一次，供 cron 使用；依据各次之间保存的状态行动。",
)
@report_format_option
@language_option
@click.pass_context
def watchdog(ctx: click.Context, config: str | None, once: bool, form: str, language: Language) -> None:
    """Keep the service running: restart only dead or stuck processes. 守护服务：只重启失效或卡死的进程。

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
    if ctx.invoked_subcommand is None:
        sys.exit(_once(config, form, language) if once else _serve(config, language))


def _once(config: str | None, form: str, language: Language) -> int:
    from ops.errors import ErrorKind, OpsError
    from ops.report.watchdog import WatchdogOnceReport
    from ops.supervision.alerts import WatchdogJournal
    from ops.supervision.cycle import Watchdog
    from ops.text.sanitize import safe_line
    from ops.watchdog import clean_up, locked, refuse_shared_places, run_once

    settings, path = settings_and_path(config)
    journal = WatchdogJournal(sys.stderr)
    try:
        refuse_shared_places(settings)
        _note_unusable_headers(settings, journal)
        with locked(settings):
            clean_up(settings)
            runner = Watchdog(settings, path, language, journal, resident=False)
            result = run_once(runner)
            show(form, WatchdogOnceReport(runner, result), language)
            return result.exit_code
    except OpsError as error:
        event = "locked" if error.kind == ErrorKind.LOCKED else "refused"
        detail, words, kind = safe_line(str(error)), error.words.to(language), error.kind
    except Exception as error:  # noqa: BLE001  exit code 1 would say 'acted and recovered'
        event, detail = "round_failed", safe_line(f"{type(error).__name__}: {error}")
        words, kind = detail, ErrorKind.DEFECT
    journal.note(event, detail=detail)
    if form != "text":
        from ops.report.error import ErrorReport

        show(form, ErrorReport(words, kind, UNDETERMINED), language)
    return UNDETERMINED


def _note_unusable_headers(settings: Settings, journal: WatchdogJournal) -> None:
    """Say that the file of headers cannot be used. It is no reason not to watch: the cycles send none."""
    if not settings.target.headers_file:
        return
    from ops.collect.net.private_headers import read_private_headers
    from ops.errors import SettingsError
    from ops.text.sanitize import safe_line

    try:
        detail = read_private_headers(settings.target.headers_file).unread
    except SettingsError as error:
        detail = safe_line(str(error))
    if detail:
        journal.note("headers_unusable", detail=detail)


def _serve(config: str | None, language: Language) -> int:
    from ops.supervision.alerts import WatchdogJournal
    from ops.supervision.cycle import Watchdog
    from ops.supervision.sd_notify import NotifySocket
    from ops.supervision.state_store import LockedError
    from ops.watchdog import clean_up, locked, refuse_shared_places, run_service

    settings, path = settings_and_path(config)
    journal = WatchdogJournal(sys.stdout)
    try:
        refuse_shared_places(settings)
        _note_unusable_headers(settings, journal)
        with locked(settings):
            clean_up(settings)
            notify = NotifySocket()
            runner = Watchdog(settings, path, language, journal, resident=True)
            run_service(runner, notify)
    except LockedError as error:
        journal.note("locked", detail=str(error))
        return UNDETERMINED
    return 0


@watchdog.command(
    zh="""维护期间暂停守护：在 DURATION（30m、2h，最长七天）内不重启任何进程。

    到时自动恢复。"""
)
@click.argument("duration")
@config_option
@report_format_option
@language_option
def pause(duration: str, config: str | None, form: str, language: Language) -> None:
    """Restart nothing for DURATION (30m, 2h), at most seven days. 维护期间暂停守护。

    The pause ends by itself.

    \b
    Example:
      gte-ops watchdog pause 30m
    """
    import time

    from ops.files.own_user import own_user_name
    from ops.report.watchdog import WatchdogChangeReport
    from ops.supervision.state_store import LONGEST_PAUSE, Pause
    from ops.text.duration import parse_duration

    try:
        seconds = float(parse_duration(duration))
    except ValueError as error:
        raise UsageError(Text(en=f"DURATION: {error}", zh=f"DURATION：{chinese(error)}")) from None
    if not 0 < seconds <= LONGEST_PAUSE:
        raise UsageError(
            Text(en="DURATION: choose more than nothing and at most 7d", zh="DURATION：须大于 0，且不超过 7d")
        )
    now = time.time()
    store = _store(config)
    try:
        store.pause(Pause(until=now + seconds, since=now, by=own_user_name()))
    except OSError as error:
        raise _unwritable(str(store.pause_path), error) from None
    until = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(now + seconds))
    words = Text(en=f"paused until {until}", zh=f"已暂停，至 {until}")
    show(form, WatchdogChangeReport("pause", words, {"paused_until": now + seconds}), language)


@watchdog.command(zh="结束暂停，并让动作额度重新开始计算。")
@config_option
@report_format_option
@language_option
def resume(config: str | None, form: str, language: Language) -> None:
    """End a pause, and begin the budget of actions anew. 结束暂停。

    \b
    Example:
      gte-ops watchdog resume
    """
    from ops.report.watchdog import WatchdogChangeReport, read_status

    store = _store(config)
    was_suspended = read_status(settings_from(config)).state.suspended
    try:
        was_paused = store.resume()
        if was_suspended:
            store.ask_to_rearm()
    except OSError as error:
        raise _unwritable(str(store.pause_path), error) from None
    words = (
        Text(en="resumed", zh="已恢复守护")
        if was_paused
        else Text(en="there was no pause", zh="当前并未暂停")
    )
    if was_suspended:
        words = Text(
            en=f"{words.en}; the budget of actions starts again with the watchdog's next check",
            zh=f"{words.zh}；下次检查起动作额度重新计算",
        )
    document = {"was_paused": bool(was_paused), "was_suspended": was_suspended}
    show(form, WatchdogChangeReport("resume", words, document), language)


@watchdog.command(zh="忘记服务的启动环境；改为记住当前运行的实例。")
@config_option
@report_format_option
@language_option
def forget(config: str | None, form: str, language: Language) -> None:
    """Forget how the service was started; record the running one instead. 忘记服务的启动环境。

    \b
    Example:
      gte-ops watchdog forget
    """
    from ops.control import launch
    from ops.report.watchdog import WatchdogChangeReport
    from ops.supervision.state_store import refuse_shared_directory

    path = launch.launch_path(settings_from(config))
    refuse_shared_directory(path.parent)
    try:
        was_remembered = launch.forget(path)
    except OSError as error:
        raise _unwritable(str(path), error) from None
    words = (
        Text(en="forgotten", zh="已忘记")
        if was_remembered
        else Text(en="nothing was remembered", zh="没有记住任何启动环境")
    )
    show(form, WatchdogChangeReport("forget", words, {"was_remembered": bool(was_remembered)}), language)


@watchdog.command(
    zh="""守护状态：最近看到什么、做了什么、是否已停止动作。

    退出码：0 正常；1 饱和、启动中、已暂停或已停止动作；2 故障；3 从未检查过或无法判断。"""
)
@config_option
@report_format_option
@language_option
def status(config: str | None, form: str, language: Language) -> None:
    """Show what the watchdog observed and did last, and whether it is suspended. 守护状态。

    Exit code: 0 ok, 1 saturated, booting, paused or suspended, 2 failing, 3 not checked yet or cannot tell.

    \b
    Example:
      gte-ops watchdog status
      gte-ops watchdog status --format json
    """
    from ops.report.watchdog import WatchdogStatusReport, exit_code, read_status

    present = read_status(settings_from(config))
    show(form, WatchdogStatusReport(present), language)
    sys.exit(exit_code(present))


def _store(config: str | None) -> StateStore:
    from pathlib import Path

    from ops.supervision.state_store import StateStore, refuse_shared_directory

    state_file = Path(settings_from(config).watchdog.state_file)
    refuse_shared_directory(state_file.parent)
    return StateStore(state_file)


def _unwritable(path: str, error: OSError) -> Exception:
    from ops.errors import OpsError

    return OpsError(
        Text(
            en=f"{path}: {error.strerror or error}; run it as the watchdog's user",
            zh=f"{path}：{chinese(error.strerror or error)}；请以 watchdog 的用户运行",
        )
    )
