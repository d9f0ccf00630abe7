"""`gte-ops causes`: parse, call, render."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ops.cli.help import BilingualGroup
from ops.cli.options import (
    config_option,
    group_language_option,
    language_option,
    option,
    report_format_option,
    settings_from,
    show,
)
from ops.facts.status import EXIT_CODES
from ops.text.language import Text

if TYPE_CHECKING:
    from ops.diagnosis.site_causes import SiteCauseDefinition
    from ops.facts.site_causes import SiteCause
    from ops.settings import Settings
    from ops.text.language import Language


@click.group(
    cls=BilingualGroup,
    zh="""站点自定义的故障原因：不写 Python，把自己的排障手册交给 doctor。

    文件放在 /etc/gte-ops/causes.d/*.toml，格式见 docs/site-causes.zh-CN.md。gte-ops doctor 会判断它们，gte-ops
    explain 会解释它们。""",
)
@group_language_option
def causes() -> None:
    """Causes that the site defines itself, without Python. 站点自定义的故障原因。

    The files are /etc/gte-ops/causes.d/*.toml (docs/site-causes.md). gte-ops doctor judges them, gte-ops explain
    explains them.

    \b
    Example:
      gte-ops causes check
      gte-ops causes test licence.toml
      gte-ops causes test licence.toml --from-bundle host7.json.gz
    """


@causes.command(
    zh="""检查文件写得是否正确，并指出行号。

    不带 FILE 时检查配置的目录。退出码：0 全部可用，3 有文件不能用。"""
)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@config_option
@report_format_option
@language_option
def check(files: tuple[Path, ...], config: str | None, form: str, language: Language) -> None:
    """Check how the files are written; an error names its line.

    Without FILE: those of the configured directory. Exit code: 0 all can be used, 3 one cannot.

    \b
    Example:
      gte-ops causes check licence.toml
    """
    from ops.collect.site_causes import read_file_of_causes, read_site_causes
    from ops.diagnosis.site_causes import SiteCauseError
    from ops.report.causes import CausesCheckReport
    from ops.text.reasons import reason

    refused: list[Text] = []
    definitions: list[SiteCauseDefinition] = []
    if files:
        place = ", ".join(map(str, files))
        for path in files:
            try:
                definitions += read_file_of_causes(path)
            except SiteCauseError as error:
                refused.append(error.words)
    else:
        place = settings_from(config).doctor.causes_dir
        read = read_site_causes(place)
        definitions += read.definitions
        refused += map(reason, read.refused)
    report = CausesCheckReport(place, definitions, refused)
    show(form, report, language)
    sys.exit(EXIT_CODES[report.status])


@causes.command(
    zh="""在这台主机或一份诊断包上，逐条判断文件中的条件。

    退出码：0 没有原因成立，1 成立的只是警告，2 有原因成立，3 有条件看不到或文件不能用。"""
)
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@config_option
@option(
    "--from-bundle",
    type=click.Path(path_type=Path),
    metavar="FILE",
    en="Judge the host that this bundle was made on.",
    zh="判断生成这份诊断包的主机。",
)
@report_format_option
@language_option
def test(file: Path, config: str | None, from_bundle: Path | None, form: str, language: Language) -> None:
    """Judge each condition of a file on this host, or on a bundle's.

    Exit code: 0 no cause is proven, 1 a warning is, 2 a failure is, 3 a condition was not seen or the file cannot be
    used.

    \b
    Example:
      gte-ops causes test licence.toml --from-bundle host7.json.gz
    """
    from ops.collect.site_causes import read_file_of_causes
    from ops.report.causes import CausesTestReport

    if from_bundle is not None:
        from ops.diagnosis.site_causes_replay import replayed
        from ops.facts.bundle import read_bundle

        definitions = read_file_of_causes(file)
        snapshot = read_bundle(from_bundle).snapshot
        observed = [replayed(definition, snapshot) for definition in definitions]
    else:
        settings = settings_from(config)
        definitions = read_file_of_causes(file)
        observed = _observed(definitions, settings)
    report = CausesTestReport(list(zip(definitions, observed, strict=True)))
    show(form, report, language)
    sys.exit(EXIT_CODES[report.status])


def _observed(definitions: tuple[SiteCauseDefinition, ...], settings: Settings) -> list[SiteCause]:
    from ops.collect.site_causes import SiteCauseCollector
    from ops.collect.surroundings import look_around

    deadline = time.monotonic() + settings.doctor.budget
    target = look_around(settings, deadline).target
    return list(SiteCauseCollector(definitions, target, time.time(), deadline).wait().causes)
