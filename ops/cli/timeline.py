"""`gte-ops timeline`: parse, call, render."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING

import click

from ops.cli.help import BilingualCommand
from ops.cli.options import config_option, language_option, option, read_settings, show
from ops.errors import UsageError
from ops.report import FORMATS
from ops.text.duration import parse_duration
from ops.text.language import Text

if TYPE_CHECKING:
    from ops.text.language import Language

DEFAULT_SINCE = 2 * 3600.0
AROUND = 1800.0
MARKDOWN = "markdown"
# Farther back nothing on the host tells enough.
LONGEST = 92 * 86400.0


@click.command(
    cls=BilingualCommand,
    zh="""按时间顺序显示这台主机上发生过什么。

    合并变更、部署、重启、错误、请求失败、watchdog 的动作、证书续期、软件包升级等记录。时间按主机时区显示；
    没有记录的部分会列出。不改动任何内容。""",
)
@config_option
@option(
    "--since",
    metavar="DURATION|TIME",
    en="Begin so long ago, or at this time. Default: 2h.",
    zh="从多久以前或哪个时刻开始，默认 2h。",
)
@option("--until", metavar="TIME", en="End at this time. Default: now.", zh="到哪个时刻为止，默认现在。")
@option(
    "--around",
    metavar="TIME",
    en="Half an hour before this time and half an hour after it.",
    zh="这个时刻的前后各半小时。",
)
@option(
    "--format",
    "form",
    type=click.Choice((*FORMATS, MARKDOWN)),
    default="text",
    show_default=True,
    en="Format; markdown is the skeleton of an incident review.",
    zh="格式；markdown 是故障复盘的骨架。",
)
@language_option
def timeline(
    config: str | None,
    since: str | None,
    until: str | None,
    around: str | None,
    form: str,
    language: Language,
) -> None:
    """Show what happened on this host, in order of time. 这台主机上发生过什么。

    Changes, deployments, reloads and restarts, errors, when requests failed, what the watchdog and --fix did, renewals,
    package upgrades, boots. Times are the host's; gaps are listed. Nothing is changed.

    \b
    Example:
      gte-ops timeline --since 2h
      gte-ops timeline --around '2026-11-30 02:54'
      gte-ops timeline --since 6h --format html > incident.html
      gte-ops timeline --since 6h --format markdown > review.md
    """
    from ops.report.timeline import TimelineReport
    from ops.timeline import host_timeline

    begin, end = window(since, until, around, time.time())
    settings, file = read_settings(config)
    report = TimelineReport(host_timeline(settings, file, begin, end))
    if form == MARKDOWN:
        click.echo(report.markdown(language), nl=False)
    else:
        show(form, report, language)


def window(
    since: str | None, until: str | None, around: str | None, now: float
) -> tuple[float, float | None]:
    """The span that the options name, Unix seconds; the end is None for now. Raises UsageError."""
    if around is not None:
        if since is not None or until is not None:
            raise UsageError(
                Text(
                    en="--around goes with neither --since nor --until",
                    zh="--around 不能与 --since 或 --until 一起使用",
                )
            )
        middle = _moment("--around", around, now)
        end = middle + AROUND if middle + AROUND < now else None
        return _checked(middle - AROUND, end, now)
    end = None if until is None else _moment("--until", until, now)
    begin = (end or now) - DEFAULT_SINCE if since is None else _since(since, end or now, now)
    return _checked(begin, end, now)


def _since(value: str, end: float, now: float) -> float:
    try:
        return end - float(parse_duration(value))
    except ValueError:
        return _moment("--since", value, now)


def _moment(option: str, value: str, now: float) -> float:
    """A time of day (today's, or yesterday's if that is still to come), or a date with a time."""
    for form in ("%H:%M", "%H:%M:%S"):
        try:
            clock = datetime.strptime(value, form).time()  # noqa: DTZ007  the host's own time
        except ValueError:
            continue
        at = datetime.combine(datetime.fromtimestamp(now).date(), clock).timestamp()  # noqa: DTZ006  the host's time
        return at if at <= now else at - 86400.0
    try:
        return datetime.fromisoformat(value).timestamp()
    except (ValueError, OverflowError, OSError):
        if option != "--since":
            words = Text(
                en=f"{option}: {value!r} is no time: 02:54, '2026-11-30 02:54'",
                zh=f"{option}：{value!r} 不是时刻：应如 02:54、'2026-11-30 02:54'",
            )
        else:
            words = Text(
                en=f"{option}: {value!r} is neither a duration nor a time: 2h, 02:54, '2026-11-30 02:54'",
                zh=f"{option}：{value!r} 既不是时长也不是时刻：应如 2h、02:54、'2026-11-30 02:54'",
            )
        raise UsageError(words) from None


def _checked(begin: float, end: float | None, now: float) -> tuple[float, float | None]:
    last = now if end is None else end
    if not begin < last or begin >= now:
        raise UsageError(
            Text(
                en="the time ends before it begins, or is in the future",
                zh="时间范围的结束早于开始，或在将来",
            )
        )
    if last - begin > LONGEST:
        raise UsageError(Text(en="the time is longer than 92 days", zh="时间范围超过 92 天"))
    return begin, end
