"""`gte-ops doctor`: parse, call, render."""

from __future__ import annotations

import contextlib
import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.cli.options import Duration, config_option, language_option, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ops.diagnosis.model import Diagnosis
    from ops.doctor import Examination
    from ops.repair.audit_log import UnfinishedRemedy
    from ops.repair.model import Remedy
    from ops.settings import Settings
    from ops.text.language import Language, Text

FORMATS = ("text", "json", "nagios", "html", "junit")
CLEAR = "\x1b[2J\x1b[H"


def _names(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (value or "").split(",") if name.strip())


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """One look ends before there is garbage worth looking for; to do so all the same, and once more at the
    interpreter's end, took a seventh of the run."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@click.command()
@config_option
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True)
@language_option
@click.option("--since", type=Duration(), help="How far back logs count, e.g. 15m.")
@click.option("--budget", type=Duration(), help="How long the whole run may take, e.g. 10s.")
@click.option("--only", callback=_names, metavar="ID,...", help="Only these checks, layers or causes.")
@click.option("--skip", callback=_names, metavar="ID,...", help="All but these checks, layers or causes.")
@click.option(
    "--bundle", type=click.Path(path_type=Path), metavar="FILE", help="Write what was seen to FILE."
)
@click.option("--hide-clients", is_flag=True, help="With --bundle: clients' addresses become client-1, ...")
@click.option(
    "--from-bundle", type=click.Path(path_type=Path), metavar="FILE", help="Diagnose FILE, not this host."
)
@click.option(
    "--fix",
    is_flag=False,
    flag_value="safe",
    type=click.Choice(("safe", "risky")),
    help="Show what would mend it, and ask; --fix=risky: the risky remedies too.",
)
@click.option("--yes", is_flag=True, help="With --fix: do not ask.")
@click.option("--dry-run", is_flag=True, help="With --fix: only show.")
@click.option("--watch", type=Duration(), metavar="INTERVAL", help="Look again and again, e.g. 5s.")
@click.option(
    "--wait-ok", type=Duration(), metavar="TIME", help="Return once nothing fails, at most after e.g. 2m."
)
@click.option("--unprivileged-probes", "unprivileged", is_flag=True, hidden=True)  # the watchdog's
def doctor(
    config: str | None,
    form: str,
    language: Language | None,
    since: float | None,
    budget: float | None,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    bundle: Path | None,
    hide_clients: bool,
    from_bundle: Path | None,
    fix: str | None,
    yes: bool,
    dry_run: bool,
    watch: float | None,
    wait_ok: float | None,
    unprivileged: bool,
) -> None:
    """Name what is wrong with the service on this host. 指出本机服务的故障原因。

    Changes nothing without --fix. Exit code: 0 ok, 1 warning, 2 users are hurt, 3 could not be judged.

    \b
    Example:
      gte-ops doctor
      gte-ops doctor --lang zh --since 1h
      gte-ops doctor --format json --only tls,GUN001
      gte-ops doctor --bundle host7.json.gz     and elsewhere: gte-ops doctor --from-bundle host7.json.gz
      gte-ops doctor --wait-ok 2m               after a deployment
      gte-ops doctor --fix                      shows each remedy and asks; --yes does not ask
    """
    if watch is None and wait_ok is None:
        click.get_current_context().with_resource(_without_collector())
    from ops.doctor import diagnose_bundle, examine, wait_until_ok
    from ops.report import render
    from ops.settings import MAX_BUDGET, MIN_BUDGET
    from ops.text.language import reader_language

    _refuse_contradictions(bundle, hide_clients, from_bundle, watch, wait_ok, form)
    _refuse_unfit_fix(fix, form, yes, dry_run, bundle or from_bundle or watch or wait_ok)
    chosen = language or reader_language()
    if from_bundle is not None:
        diagnosis = diagnose_bundle(from_bundle, only=only, skip=skip)
        render(form, diagnosis, chosen, sys.stdout)
        sys.exit(diagnosis.exit_code)
    settings, settings_file = read_settings(config)
    budget = settings.doctor.budget if budget is None else budget
    since = settings.doctor.since if since is None else since
    if not MIN_BUDGET <= budget <= MAX_BUDGET:
        raise click.BadParameter("choose between 1s and 5m", param_hint="--budget or doctor.budget")

    def closer_look() -> Examination:
        return examine(
            settings,
            since=since,
            budget=budget,
            only=only,
            skip=skip,
            bundle=bundle,
            hide_clients=hide_clients,
            passed_over=settings_file.passed_over,
            unprivileged=unprivileged,
        )

    def look() -> Diagnosis:
        return closer_look().diagnosis

    if fix is not None:
        sys.exit(_fix(settings, settings_file.path, fix, closer_look, form, chosen, yes=yes, dry_run=dry_run))
    if watch is not None:
        _watch(look, watch, form, chosen)
    diagnosis = look() if wait_ok is None else wait_until_ok(look, wait_ok)
    render(form, diagnosis, chosen, sys.stdout)
    sys.exit(diagnosis.exit_code)


def _refuse_contradictions(
    bundle: Path | None,
    hide_clients: bool,
    from_bundle: Path | None,
    watch: float | None,
    wait_ok: float | None,
    form: str,
) -> None:
    """Raises click.UsageError for options that make no sense together."""
    looking = {"--bundle": bundle, "--watch": watch, "--wait-ok": wait_ok}
    asked = [name for name, value in looking.items() if value is not None]
    if from_bundle is not None and asked:
        raise click.UsageError(f"--from-bundle looks at no host: leave out {asked[0]}")
    if len(asked) > 1:
        raise click.UsageError(f"{asked[0]} and {asked[1]} do not go together: choose one")
    if hide_clients and bundle is None:
        raise click.UsageError("--hide-clients says what goes into a bundle: add --bundle FILE")
    if watch is not None and (watch < 1 or form != "text"):
        raise click.UsageError("--watch takes 1s or more, and shows text")


def _refuse_unfit_fix(fix: str | None, form: str, yes: bool, dry_run: bool, other: object) -> None:
    """Raises click.UsageError for options that make no sense with --fix, or without it."""
    if fix is None and (yes or dry_run):
        raise click.UsageError(f"{'--yes' if yes else '--dry-run'} goes with --fix")
    if fix is None:
        return
    if yes and dry_run:
        raise click.UsageError("--yes and --dry-run contradict each other")
    if other is not None:
        raise click.UsageError(
            "--fix mends this host, once: leave out --bundle, --from-bundle, --watch, --wait-ok"
        )
    if form not in ("text", "json"):
        raise click.UsageError("--fix reports as text or json")


def _fix(
    settings: Settings,
    settings_path: Path | None,
    level: str,
    look: Callable[[], Examination],
    form: str,
    language: Language,
    *,
    yes: bool,
    dry_run: bool,
) -> int:
    """Show the remedies, apply what may be applied, report; the exit code is the last diagnosis's."""
    from ops.repair.model import Safety
    from ops.repair.run import command_to_apply, repair
    from ops.report import render
    from ops.report.repair import pose, show_outcome, show_remedies, write_repair

    interactive = form == "text" and sys.stdin.isatty() and sys.stdout.isatty()
    ask: Callable[[Remedy], bool] | None = None
    if yes:
        ask = lambda _remedy: True  # noqa: E731
    elif interactive and not dry_run:

        def ask(remedy: Remedy) -> bool:
            return click.confirm(pose(remedy, language, sys.stdout), default=False)

    def show(diagnosis: Diagnosis, remedies: tuple[Remedy, ...], cut_off: UnfinishedRemedy | None) -> None:
        if form == "text":
            render("text", diagnosis, language, sys.stdout)
            show_remedies(remedies, cut_off, language, sys.stdout)
            sys.stdout.flush()

    def tell(words: Text) -> None:
        if sys.stderr.isatty():
            click.echo(f"{words.to(language)} ...", err=True)

    done = repair(settings, settings_path, Safety(level), look, show=show, ask=ask, tell=tell)
    if form == "json":
        write_repair(done, language, sys.stdout)
    else:
        place = str(settings_path) if settings_path else None
        show_outcome(done, language, sys.stdout, command_to_apply(place, Safety(level)))
    return done.last.exit_code


def _watch(look: Callable[[], Diagnosis], interval: float, form: str, language: Language) -> None:
    """Report again and again until interrupted (exit code 130). On a terminal the page is drawn anew."""
    import io
    import time

    from ops.report import render
    from ops.report.terminal import wants_color

    while True:
        began = time.monotonic()
        # Rendered aside and written at once: a page that is cleared first and filled later flickers.
        page = io.StringIO()
        render(form, look(), language, page, wants_color(sys.stdout))
        sys.stdout.write((CLEAR if sys.stdout.isatty() else "") + page.getvalue() + "\n")
        sys.stdout.flush()
        time.sleep(max(0.0, began + interval - time.monotonic()))
