"""`gte-ops baseline`: parse, call, render."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ops.cli.help import BilingualGroup
from ops.cli.options import (
    config_option,
    group_language_option,
    language_option,
    option,
    read_settings,
    report_format_option,
    settings_from,
    show,
)
from ops.errors import UsageError
from ops.text.language import Text

if TYPE_CHECKING:
    from ops.baselines.store import BaselineStore, Stored
    from ops.settings import Settings
    from ops.text.language import Language

# The service is not healthy: nothing was recorded.
REFUSED = 2


@click.group(
    cls=BilingualGroup,
    zh="""记录服务健康时主机的状态，并显示此后的变更。

    服务持续健康时由 watchdog 记录；gte-ops doctor 在故障时与之比较。""",
)
@group_language_option
def baseline() -> None:
    """Record the host's healthy state, and show what has changed since. 健康时的基线与此后的变更。

    The watchdog records it while the service stays healthy; gte-ops doctor compares with it.

    \b
    Example:
      gte-ops baseline accept
      gte-ops baseline diff
    """


@baseline.command(
    zh="""把主机的现状记录为基线，前提是服务健康。

    已改动但 nginx 或 gunicorn 尚未加载的文件，基线中仍保留原来的内容。退出码：0 已记录，2 服务不健康，3 出错。"""
)
@config_option
@option("--force", is_flag=True, en="Record it as it is, healthy or not.", zh="无论是否健康，照现状记录。")
@click.option("--by", type=click.Choice(("accept", "watchdog", "restore")), default="accept", hidden=True)
@report_format_option
@language_option
def accept(config: str | None, force: bool, by: str, form: str, language: Language) -> None:
    """Record the host as it is now, if the service is healthy. 把现状记录为基线。

    For a changed file that neither nginx nor gunicorn has loaded yet, the baseline keeps the former content. Exit
    code: 0 recorded, 2 the service is not healthy, 3 it could not be done.

    \b
    Example:
      gte-ops baseline accept             after a deployment that works
      gte-ops baseline accept --force     as it is, whatever the doctor says
    """
    from ops.doctor import accept_baseline
    from ops.report.baseline import BaselineAcceptReport

    settings, file = read_settings(config)
    accepted = accept_baseline(settings, file, by, force=force, unprivileged=by == "watchdog")
    show(form, BaselineAcceptReport(accepted.stored, accepted.pending), language)
    if accepted.stored is None:
        sys.exit(REFUSED)


@baseline.command("list", zh="列出保存的基线，最新的在前，以及标记过的部署。")
@config_option
@report_format_option
@language_option
def list_command(config: str | None, form: str, language: Language) -> None:
    """List the baselines, the newest first, and the marked deployments. 列出基线。

    \b
    Example:
      gte-ops baseline list
    """
    from ops.report.baseline import BaselineListReport

    store = _store(settings_from(config))
    show(form, BaselineListReport(_readable(store), store.marks()), language)


@baseline.command("show", zh="显示一份基线：文件与各种值。不带 NUMBER 时为最新的一份。")
@click.argument("number", type=int, required=False)
@config_option
@report_format_option
@language_option
def show_command(number: int | None, config: str | None, form: str, language: Language) -> None:
    """Show a baseline: its files and values; the newest without NUMBER. 显示一份基线。

    \b
    Example:
      gte-ops baseline show
      gte-ops baseline show 3 --format json
    """
    from ops.report.baseline import BaselineReport

    show(form, BaselineReport(_chosen(_store(settings_from(config)), number)), language)


@baseline.command(
    zh="""逐行显示从一份基线到现在（或到另一份基线）的变更。

    不带 FROM 时从最新的基线算起。密钥不显示。"""
)
@click.argument("since", metavar="[FROM]", type=int, required=False)
@click.argument("until", metavar="[TO]", type=int, required=False)
@config_option
@report_format_option
@language_option
def diff(since: int | None, until: int | None, config: str | None, form: str, language: Language) -> None:
    """Show line by line what has changed since a baseline, or up to another one. 显示变更。

    Default: from the newest baseline to the present host. Secrets are masked.

    \b
    Example:
      gte-ops baseline diff
      gte-ops baseline diff 3 5
    """
    from ops.baselines.keep import changes_between, changes_since, look
    from ops.doctor import examine_for_baseline
    from ops.facts.changes import Changes
    from ops.report.baseline import BaselineDiffReport

    settings, file = read_settings(config)
    store = _store(settings)
    before = _chosen(store, since)
    if until is not None:
        changes = changes_between(before, _chosen(store, until), settings)
        show(form, BaselineDiffReport(before, changes), language)
        return
    snapshot = examine_for_baseline(settings, file).snapshot
    present = look(snapshot, settings, file.path, "accept", against=before)
    reading = changes_since(present, settings, snapshot.target)
    show(form, BaselineDiffReport(before, reading.changes if isinstance(reading, Changes) else ()), language)


def _store(settings: Settings) -> BaselineStore:
    from ops.baselines.directory import baseline_directory
    from ops.baselines.store import BaselineStore

    return BaselineStore(baseline_directory(settings))


def _readable(store: BaselineStore) -> list[Stored]:
    """Every state. Raises BaselineError, also where others could have written one."""
    from ops.baselines.store import unreadable

    store.refuse_shared()
    try:
        return store.all()
    except PermissionError:
        raise unreadable(store.directory) from None


def _chosen(store: BaselineStore, number: int | None) -> Stored:
    """The baseline of that number, or the newest. Raises UsageError, BaselineError."""
    from ops.baselines.store import BaselineError

    states = _readable(store)
    if not states:
        raise BaselineError(
            Text(
                en="no baseline is kept yet: run gte-ops baseline accept while the service is healthy",
                zh="还没有基线：服务健康时运行 gte-ops baseline accept 即可记录",
            )
        )
    entry = next((stored for stored in states if number in (None, stored.number)), None)
    if entry is None:
        there = ", ".join(str(stored.number) for stored in states)
        raise UsageError(
            Text(
                en=f"there is no baseline {number}; there are {there}",
                zh=f"没有编号为 {number} 的基线；现有 {there}",
            )
        )
    return entry
