"""`gte-ops doctor`: parse, call, render."""

from __future__ import annotations

import contextlib
import gc
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import click

from ops.cli.help import BilingualCommand
from ops.cli.options import (
    Duration,
    config_option,
    language_option,
    option,
    output_option,
    pinged,
    read_settings,
    report_format_option,
    show,
)
from ops.errors import UsageError
from ops.text.language import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ops.diagnosis.model import Diagnosis
    from ops.doctor import Examination
    from ops.facts.timeline import Timeline
    from ops.repair.audit_log import UnfinishedRemedy
    from ops.repair.model import Remedy
    from ops.settings import Settings, SettingsFile
    from ops.text.language import Language

CLEAR = "\x1b[2J\x1b[H"
# The picture of the page shows at least so much of the past, seconds.
PAGE_SECONDS = 7200.0


def _names(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (value or "").split(",") if name.strip())


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Turn off cyclic GC for one run: it cost a seventh of the time, part of it at the interpreter's end."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


class DoctorOptions(NamedTuple):
    """What was asked for on the command line; durations in seconds. Each is an option of `doctor` below."""

    config: str | None
    form: str
    language: Language
    since: float | None
    budget: float | None
    only: tuple[str, ...]
    skip: tuple[str, ...]
    bundle: Path | None
    hide_clients: bool
    from_bundle: Path | None
    url: str | None
    fix: str | None
    yes: bool
    dry_run: bool
    watch: float | None
    wait_ok: float | None
    output: str | None
    unprivileged: bool

    def check(self) -> None:
        """Raises UsageError for options that make no sense together."""
        self._check_sources()
        self._check_fix()
        if self.output is not None and (self.fix or self.watch):
            raise UsageError(
                Text(
                    en="--output takes one report: leave out --fix and --watch",
                    zh="--output 只写入一份报告：请去掉 --fix 和 --watch",
                )
            )

    def _check_sources(self) -> None:
        host_options = {"--bundle": self.bundle, "--watch": self.watch, "--wait-ok": self.wait_ok}
        options = [name for name, value in host_options.items() if value is not None]
        if self.from_bundle is not None and options:
            raise UsageError(
                Text(
                    en=f"--from-bundle looks at no host: leave out {options[0]}",
                    zh=f"--from-bundle 不查看主机：请去掉 {options[0]}",
                )
            )
        self._check_url()
        if len(options) > 1:
            raise UsageError(
                Text(
                    en=f"{options[0]} and {options[1]} do not go together: choose one",
                    zh=f"{options[0]} 与 {options[1]} 不能同时使用：请选择一个",
                )
            )
        if self.hide_clients and self.bundle is None:
            raise UsageError(
                Text(
                    en="--hide-clients says what goes into a bundle: add --bundle FILE",
                    zh="--hide-clients 只影响诊断包：请加上 --bundle FILE",
                )
            )
        if self.watch is not None and (self.watch < 1 or self.form != "text"):
            raise UsageError(
                Text(en="--watch takes 1s or more, and shows text", zh="--watch 的间隔至少 1s，且只输出文本")
            )

    def _check_url(self) -> None:
        """--from looks at a front door: what reads or changes a host does not go with it."""
        host_options = {
            "--from-bundle": self.from_bundle,
            "--bundle": self.bundle,
            "--fix": self.fix,
            "--since": self.since,
        }
        options = [name for name, value in host_options.items() if value is not None]
        if self.url is not None and options:
            raise UsageError(
                Text(
                    en=f"--from looks at a front door from outside: leave out {options[0]}",
                    zh=f"--from 只从外部查看入口：请去掉 {options[0]}",
                )
            )

    def _check_fix(self) -> None:
        if self.fix is None and (self.yes or self.dry_run):
            raise UsageError(
                Text(
                    en=f"{'--yes' if self.yes else '--dry-run'} goes with --fix",
                    zh=f"{'--yes' if self.yes else '--dry-run'} 须与 --fix 合用",
                )
            )
        if self.fix is None:
            return
        if self.yes and self.dry_run:
            raise UsageError(
                Text(en="--yes and --dry-run contradict each other", zh="--yes 与 --dry-run 互相矛盾")
            )
        if self.bundle or self.from_bundle or self.watch or self.wait_ok:
            raise UsageError(
                Text(
                    en="--fix repairs this host, once: leave out --bundle, --from-bundle, --watch, --wait-ok",
                    zh="--fix 只修复本机一次：请去掉 --bundle、--from-bundle、--watch、--wait-ok",
                )
            )
        if self.form not in ("text", "json"):
            raise UsageError(Text(en="--fix reports as text or json", zh="--fix 只支持 text 和 json 格式"))

    def look(self, settings: Settings, file: SettingsFile, since: float | None = None) -> Examination:
        """Examine this host; ``since``: how far back logs count at most (seconds). Raises UsageError for a budget out
        of bounds."""
        from ops.doctor import examine

        asked = settings.doctor.since if self.since is None else self.since
        return examine(
            settings,
            since=asked if since is None else min(asked, since),
            budget=self.run_length(settings),
            only=self.only,
            skip=self.skip,
            bundle=self.bundle,
            hide_clients=self.hide_clients,
            passed_over=file.passed_over,
            settings_file=file.config_argument,
            settings_path=file.path,
            unprivileged=self.unprivileged,
        )

    def run_length(self, settings: Settings) -> float:
        """How long the run may take, seconds. Raises UsageError for a budget out of bounds."""
        from ops.settings import MAX_BUDGET, MIN_BUDGET

        budget = settings.doctor.budget if self.budget is None else self.budget
        if not MIN_BUDGET <= budget <= MAX_BUDGET:
            raise UsageError(
                Text(
                    en="--budget or doctor.budget: choose between 1s and 5m",
                    zh="--budget 或 doctor.budget：须在 1s 与 5m 之间",
                )
            )
        return budget


@click.command(
    cls=BilingualCommand,
    zh="""指出本机服务的故障原因，并给出证据、验证命令和修复办法。

    不带 --fix 时不作任何改动。退出码：0 正常，1 警告，2 用户已受影响，3 无法判断。""",
)
@config_option
@report_format_option
@language_option
@option(
    "--since",
    type=Duration(),
    en="How far back logs count, e.g. 15m.",
    zh="日志往前看多久，如 15m。",
)
@option(
    "--budget",
    type=Duration(),
    en="How long the whole run may take, e.g. 10s.",
    zh="整个运行的时限，如 10s。",
)
@option(
    "--only",
    callback=_names,
    metavar="ID,...",
    en="Only these checks, layers or causes.",
    zh="只检查这些检查项、层或故障代码。",
)
@option(
    "--skip",
    callback=_names,
    metavar="ID,...",
    en="All but these checks, layers or causes.",
    zh="跳过这些检查项、层或故障代码。",
)
@option(
    "--bundle",
    type=click.Path(path_type=Path),
    metavar="FILE",
    en="Write what was seen to FILE.",
    zh="把采集到的信息写入 FILE。",
)
@option(
    "--hide-clients",
    is_flag=True,
    en="With --bundle: clients' addresses become client-1, ...",
    zh="与 --bundle 合用：客户端地址替换为 client-1 等代号。",
)
@option(
    "--from-bundle",
    type=click.Path(path_type=Path),
    metavar="FILE|DIR",
    en="Diagnose FILE, not this host; a directory: all of its bundles, and what the broken hosts share.",
    zh="诊断 FILE 中的信息，而非本机；给出目录则诊断其中全部诊断包，并比较有故障的主机有何共同点。",
)
@option(
    "--from",
    "url",
    metavar="URL",
    en="Look at another host's front door from here, and at nothing of this machine.",
    zh="从本机查看另一台主机的入口，不查看本机的任何内容。",
)
@option(
    "--fix",
    is_flag=False,
    flag_value="safe",
    type=click.Choice(("safe", "risky")),
    en="Show what would fix it, and ask; --fix=risky: the risky repairs too.",
    zh="显示修复方案并逐项询问；--fix=risky 还包括有风险的方案。",
)
@option("--yes", is_flag=True, en="With --fix: do not ask.", zh="与 --fix 合用：不询问。")
@option("--dry-run", is_flag=True, en="With --fix: only show.", zh="与 --fix 合用：只显示。")
@option(
    "--watch",
    type=Duration(),
    metavar="INTERVAL",
    en="Look again and again, e.g. 5s.",
    zh="按此间隔反复诊断，如 5s。",
)
@option(
    "--wait-ok",
    type=Duration(),
    metavar="TIME",
    en="Return once nothing fails, at most after e.g. 2m.",
    zh="等到没有故障即返回，最多等待如 2m。",
)
@output_option
@click.option("--unprivileged-probes", "unprivileged", is_flag=True, hidden=True)  # the watchdog's
def doctor(**arguments: Any) -> None:
    """Name what is wrong with the service on this host. 指出本机服务的故障原因。

    Changes nothing without --fix. Exit code: 0 ok, 1 warning, 2 users are affected, 3 could not be judged.

    \b
    Example:
      gte-ops doctor
      gte-ops doctor --lang zh --since 1h
      gte-ops doctor --format json --only tls,GUN001
      gte-ops doctor --bundle host7.json.gz     and elsewhere: gte-ops doctor --from-bundle host7.json.gz
      gte-ops doctor --from-bundle bundles/     every host of a directory, and what the broken ones share
      gte-ops doctor --from https://gte-api.example.com     from the laptop at home
      gte-ops doctor --wait-ok 2m               after a deployment
      gte-ops doctor --format prometheus --output /var/lib/prometheus/node-exporter/gte_ops_doctor.prom
      gte-ops doctor --fix                      shows each repair and asks; --yes does not ask
    """
    options = DoctorOptions(**arguments)
    if options.watch is None and options.wait_ok is None:
        click.get_current_context().with_resource(_without_collector())
    options.check()
    if options.from_bundle is not None:
        if options.from_bundle.is_dir():
            _end_with_hosts(options.from_bundle, options)
        from ops.doctor import diagnose_bundle

        diagnosis = diagnose_bundle(options.from_bundle, only=options.only, skip=options.skip)
        if options.form == "text":
            from ops.report.doctor.text import bundle_notice

            if notice := bundle_notice(diagnosis, options.language):
                click.echo(notice, err=True)
        _end_with(diagnosis, options)
    settings, file = read_settings(options.config)

    def look() -> Diagnosis:
        if options.url is not None:
            from ops.doctor import examine_from_outside

            budget = options.run_length(settings)
            return examine_from_outside(
                settings, options.url, budget=budget, only=options.only, skip=options.skip
            )
        return options.look(settings, file).diagnosis

    if options.fix is not None:
        sys.exit(_fix(settings, file, options))
    if options.watch is not None:
        _watch(look, options.watch, options.language)
    if options.url is not None and options.wait_ok is None:
        _end_with(look(), options)
    # The watchdog's own runs, and those of a part of the checks, are not the run that the switch waits for.
    is_whole = not (options.only or options.skip or options.unprivileged or options.url)
    with pinged(settings, "doctor") if is_whole else contextlib.nullcontext():
        if options.wait_ok is None:
            examination = options.look(settings, file)
            _end_with(
                _with_repairs(examination, settings, file),
                options,
                _timeline(examination, settings) if options.form == "html" else None,
            )
        else:
            from ops.doctor import wait_until_ok

            _end_with(wait_until_ok(look, options.wait_ok), options)


def _end_with_hosts(directory: Path, options: DoctorOptions) -> NoReturn:
    """Diagnose every bundle of ``directory``, report, and end with the worst host's exit code."""
    from ops.facts.status import EXIT_CODES
    from ops.fleet import diagnose_bundles
    from ops.report.fleet import FleetReport

    fleet = diagnose_bundles(directory, only=options.only, skip=options.skip)
    show(options.form, FleetReport(fleet), options.language, options.output)
    sys.exit(EXIT_CODES[fleet.status])


def _with_repairs(examination: Examination, settings: Settings, file: SettingsFile) -> Diagnosis:
    """The diagnosis, which names the repair of each cause where one is planned."""
    if not examination.diagnosis.causes:
        return examination.diagnosis
    from ops.repair.offer import with_repairs

    return with_repairs(examination, settings, file.path)


def _timeline(examination: Examination, settings: Settings) -> Timeline:
    """What happened before, for the picture of the page."""
    import time

    from ops.timeline import timeline_of

    until = time.time()
    return timeline_of(examination, settings, until - max(PAGE_SECONDS, settings.doctor.since), until)


def _end_with(diagnosis: Diagnosis, options: DoctorOptions, timeline: Timeline | None = None) -> NoReturn:
    """Report, and end with the diagnosis's exit code. ``timeline``: for the page."""
    from ops.report.doctor.report import DoctorReport

    show(options.form, DoctorReport(diagnosis, timeline), options.language, options.output)
    sys.exit(diagnosis.exit_code)


def _fix(settings: Settings, file: SettingsFile, options: DoctorOptions) -> int:
    """Show the repairs, apply what may be applied, report; the exit code is the last diagnosis's."""
    from ops.repair.model import Safety
    from ops.repair.run import command_to_apply, repair
    from ops.report.doctor.report import DoctorReport
    from ops.report.formats.text import write_lines
    from ops.report.repair import QUESTION, RepairReport, plan_lines, question_lines
    from ops.report.sentences import readable_language

    form, level = options.form, Safety(options.fix or "safe")
    language = readable_language(options.language, sys.stdout) if form == "text" else options.language
    interactive = form == "text" and sys.stdin.isatty() and sys.stdout.isatty()
    ask: Callable[[Remedy], bool] | None = None
    if options.yes:
        ask = lambda _remedy: True  # noqa: E731
    elif interactive and not options.dry_run:

        def ask(remedy: Remedy) -> bool:
            write_lines(question_lines(remedy, language), sys.stdout)
            return click.confirm(QUESTION.to(language), default=False)

    def show_plan(
        diagnosis: Diagnosis, remedies: tuple[Remedy, ...], cut_off: UnfinishedRemedy | None
    ) -> None:
        if form == "text":
            show("text", DoctorReport(diagnosis), language)
            write_lines(plan_lines(remedies, cut_off, language), sys.stdout)
            sys.stdout.flush()

    def tell(words: Text) -> None:
        if sys.stderr.isatty():
            click.echo(f"{words.to(language)} ...", err=True)

    outcome = repair(
        settings,
        file.path,
        level,
        lambda since: options.look(*read_settings(options.config), since),
        lambda: read_settings(options.config)[0],
        show=show_plan,
        ask=ask,
        tell=tell,
    )
    config = str(file.path) if file.path else None
    show(form, RepairReport(outcome, lambda level: command_to_apply(config, level)), language)
    return outcome.last.exit_code


class _Screen(io.StringIO):
    """What is to be written to standard output, laid out for it."""

    encoding = "utf-8"

    def __init__(self) -> None:
        super().__init__()
        self.encoding = sys.stdout.encoding

    def isatty(self) -> bool:
        """Whether standard output is a terminal."""
        return sys.stdout.isatty()


def _watch(look: Callable[[], Diagnosis], interval: float, language: Language) -> NoReturn:
    """Report again and again until interrupted (exit code 130). On a terminal the page is drawn anew."""
    import time

    from ops.report.doctor.report import DoctorReport
    from ops.report.formats.text import write

    while True:
        began = time.monotonic()
        # Rendered aside and written at once: a page that is cleared first and filled later flickers.
        page = _Screen()
        write(DoctorReport(look()), language, page)
        sys.stdout.write((CLEAR if sys.stdout.isatty() else "") + page.getvalue() + "\n")
        sys.stdout.flush()
        time.sleep(max(0.0, began + interval - time.monotonic()))
