"""The report for a person at a terminal: what is broken, the proof, the command that fixes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ops.diagnosis.catalogue import catalogue, is_command
from ops.diagnosis.model import Cause, CheckResult, CheckStatus, Diagnosis, Status, Viewpoint
from ops.diagnosis.steps import step_marks
from ops.report.model import BLANK, ReportLine, command_line
from ops.report.sentences import (
    STATUS_NAMES,
    STATUS_STYLES,
    command,
    gap_words,
    is_cut_short,
    leading_cause,
    next_commands,
    sentence,
    unexplained,
)
from ops.text.language import Language, Text

_OUTSIDE = Text(
    en="A view from outside: only what the front door of {} shows. On its host run: gte-ops doctor",
    zh="外部视角：只包含 {} 的入口所显示的情况。请在其主机上运行：gte-ops doctor",
)
# How a service is started and loaded is in the bundle, so that the report is the same as on its host.
_OF_BUNDLE = Text(
    en="The commands are for the bundle's host, and in part the bundle's own words: read one before you run it.",
    zh="以下命令用于诊断包所属的主机，部分内容直接取自诊断包：运行前请先看清楚。",
)
_SERVICE = Text(en="the service", zh="服务")
_ALL_WELL = Text(en="answers as it should", zh="工作正常")
_NOT_JUDGED = Text(
    en="could not be judged; the missing facts are listed below", zh="无法判断，缺少的信息见下文"
)
_NOT_ALL_SEEN = Text(
    en="shows nothing wrong in what was seen, and not all was seen in time: repeat with a longer --budget",
    zh="在已看到的部分里没有问题，但时限内没有看完：请加大 --budget 再运行一次",
)
_MORE = Text(en=" (+{} more)", zh="（另有 {} 项）")
_UNEXPLAINED_VERDICT = Text(en="{} (the cause is not proven)", zh="{}（原因未能证实）")
_PROOF = Text(en="Proof", zh="证据")
_VERIFY = Text(en="Verify", zh="验证")
_FIX = Text(en="Fix", zh="修复")
_EXPLAINS = Text(en="Explains", zh="由此引起")
_LEARN = Text(en="More: ", zh="详情：")
_UNEXPLAINED = Text(en="Unexplained", zh="尚无解释")
_READ = Text(en="What was answered and logged", zh="响应和日志")
_ROUTE = Text(en="The request's way through nginx", zh="请求在 nginx 里的路径")
_TRY = Text(en="Try next", zh="下一步可执行")
_COUNTS = Text(
    en="{total} checks: {passed} passed, {found} found something, {skip} skipped, {error} crashed; {seconds:.1f} s",
    zh="共 {total} 项检查：{passed} 项正常，{found} 项发现问题，{skip} 项跳过，{error} 项出错；用时 {seconds:.1f} 秒",
)
_SKIPPED = Text(en="Skipped: ", zh="跳过：")
_CRASHED = Text(en="Crashed (a defect of gte-ops): ", zh="出错（gte-ops 自身缺陷）：")
_UNSEEN = Text(en="Not seen: ", zh="未能看到：")
_IGNORED = Text(en="Ignored until {until} ({reason}): ", zh="忽略至 {until}（{reason}）：")


def report_lines(diagnosis: Diagnosis, language: Language) -> Iterator[ReportLine]:
    """The report for a person."""
    if diagnosis.viewpoint is Viewpoint.OUTSIDE:
        yield ReportLine(outside_words(diagnosis, language), style="bold")
    yield ReportLine(
        verdict(diagnosis, language),
        lead=STATUS_NAMES[diagnosis.status].to(language) + "  ",
        lead_style=STATUS_STYLES[diagnosis.status],
    )
    # Unexplained symptoms come first if the first cause does not account for what users meet.
    cause_first = leading_cause(diagnosis) is not None
    if not cause_first:
        yield from _unexplained_lines(diagnosis, language)
    for number, cause in enumerate(diagnosis.causes, 1):
        yield from cause_lines(number, cause, diagnosis, language)
    if cause_first:
        yield from _unexplained_lines(diagnosis, language)
    if diagnosis.changes:
        from ops.report.changes import change_lines

        yield from change_lines(diagnosis, language)
    if diagnosis.causes or diagnosis.symptoms or diagnosis.ignored or diagnosis.changes:
        yield BLANK
    for item in diagnosis.ignored:
        lead = _IGNORED.to(language).format(until=item.until, reason=sentence(item.reason, language))
        yield ReportLine(f"{item.cause.code} {sentence(item.cause.title, language)}", style="dim", lead=lead)
    yield from _check_lines(diagnosis, language)


def outside_words(diagnosis: Diagnosis, language: Language) -> str:
    """What a view from outside is, and what to run on the host."""
    return sentence(_OUTSIDE.to(language).format(diagnosis.target.get("url", "?")), language)


def bundle_notice(diagnosis: Diagnosis, language: Language) -> str:
    """What to know of the commands of a diagnosis that is from a bundle; empty if it shows none, or is this host's."""
    has_commands = diagnosis.causes or diagnosis.symptoms
    return _OF_BUNDLE.to(language) if diagnosis.is_from_bundle and has_commands else ""


def verdict(diagnosis: Diagnosis, language: Language) -> str:
    """What is broken, in one line."""
    place = sentence(diagnosis.target.get("url") or _SERVICE.to(language), language)
    if leading := leading_cause(diagnosis):
        others = len(diagnosis.causes) - 1
        words = sentence(leading.title, language) + (_MORE.to(language).format(others) if others else "")
        return f"{place}{': ' if language == 'en' else '：'}{words}"
    if diagnosis.status is Status.UNKNOWN:
        why = _NOT_ALL_SEEN if is_cut_short(diagnosis) else _NOT_JUDGED
        return f"{place} {why.to(language)}"
    if open_symptoms := unexplained(diagnosis):
        return _UNEXPLAINED_VERDICT.to(language).format(sentence(open_symptoms[0].summary, language))
    return f"{place} {_ALL_WELL.to(language)}{gap_words(diagnosis, language)}"


def cause_lines(number: int, cause: Cause, diagnosis: Diagnosis, language: Language) -> Iterator[ReportLine]:
    """One cause: title, summary, proof, verify, fix, what follows from it."""
    yield BLANK
    yield ReportLine(
        sentence(cause.title, language),
        style="bold",
        lead=f"{number}. {sentence(cause.code, language)}  ",
        lead_style=STATUS_STYLES[cause.severity],
    )
    yield ReportLine(sentence(cause.summary, language), indent=3)
    if cause.evidence:
        yield _heading(_PROOF, language)
    for piece in cause.evidence:
        yield ReportLine(
            sentence(piece.detail, language), indent=5, lead=sentence(piece.source, language) + ": "
        )
    yield _heading(_VERIFY, language)
    yield command_line(command(cause.verify, language), indent=5)
    yield _heading(_FIX, language)
    for lead, step in step_marks(cause.fix):
        if is_command(step):
            yield command_line(command(step, language), indent=5, lead=lead)
        else:
            yield ReportLine(sentence(step, language), indent=5, lead=lead)
    followers = [name for name in cause.explains if has_sentence(name, diagnosis)]
    if followers:
        yield _heading(_EXPLAINS, language)
    for name in followers:
        yield ReportLine(follower(name, diagnosis, language), indent=5, lead="- ")
    yield command_line(command(cause.learn, language), indent=3, lead=_LEARN.to(language))


def _heading(words: Text, language: Language) -> ReportLine:
    return ReportLine(words.to(language), indent=3, style="bold")


def has_sentence(name: str, diagnosis: Diagnosis) -> bool:
    """Whether there is a sentence for what follows from a cause: a preflight observes no symptoms."""
    return name in catalogue().codes or any(symptom.id == name for symptom in diagnosis.symptoms)


def follower(name: str, diagnosis: Diagnosis, language: Language) -> str:
    """A symptom's sentence, or a code that only follows, with its title."""
    for symptom in diagnosis.symptoms:
        if symptom.id == name:
            return sentence(symptom.summary, language)
    all_causes = catalogue()
    title = " " + all_causes.entry(name).title.to(language) if name in all_causes.codes else ""
    return sentence(name + title, language)


def _unexplained_lines(diagnosis: Diagnosis, language: Language) -> Iterator[ReportLine]:
    for symptom in unexplained(diagnosis):
        yield BLANK
        yield ReportLine(
            sentence(symptom.summary, language),
            lead=_UNEXPLAINED.to(language) + "  ",
            lead_style=STATUS_STYLES[Status.UNKNOWN],
        )
        if symptom.evidence:
            yield _heading(_READ, language)
            for piece in symptom.evidence:
                lead = sentence(piece.source, language) + ": "
                yield ReportLine(sentence(piece.detail, language), indent=5, lead=lead)
        if symptom.route:
            yield _heading(_ROUTE, language)
            for number, step in enumerate(symptom.route, 1):
                place = f"  {sentence(step.source, language)}" if step.source else ""
                yield ReportLine(sentence(step.detail, language) + place, indent=5, lead=f"{number}. ")
        if following := next_commands(symptom, diagnosis):
            yield _heading(_TRY, language)
            for words in following:
                yield command_line(words, indent=5)


def _check_lines(diagnosis: Diagnosis, language: Language) -> Iterator[ReportLine]:
    checks = diagnosis.checks
    skipped = [check for check in checks if check.status is CheckStatus.SKIP]
    crashed = [check for check in checks if check.status is CheckStatus.ERROR]
    counts = _COUNTS.to(language).format(
        total=len(checks),
        passed=sum(check.status is CheckStatus.PASS for check in checks),
        found=sum(check.status in (CheckStatus.WARN, CheckStatus.FAIL) for check in checks),
        skip=len(skipped),
        error=len(crashed),
        seconds=diagnosis.duration_ms / 1000,
    )
    yield ReportLine(counts, style="dim")
    if crashed:
        reasons = _by_reason(_reasons(crashed, language), language)
        yield ReportLine(reasons, lead=_CRASHED.to(language), lead_style="bold magenta")
    skip_reasons = _by_reason(_reasons(skipped, language), language)
    if skipped:
        yield ReportLine(skip_reasons, style="dim", lead=_SKIPPED.to(language))
    # A reason that made a check skip is in the line above already.
    unseen = [
        (sentence(place, language), sentence(reason, language))
        for place, reason in diagnosis.unseen
        if sentence(reason, language) not in skip_reasons
    ]
    if unseen:
        yield ReportLine(_by_reason(unseen, language), style="dim", lead=_UNSEEN.to(language))


def _reasons(checks: Iterable[CheckResult], language: Language) -> list[tuple[str, str]]:
    return [
        (sentence(check.id, language), sentence(check.skipped_because or "?", language)) for check in checks
    ]


def _by_reason(items: Iterable[tuple[str, str]], language: Language) -> str:
    """``name, name: reason; name: reason``, each reason once."""
    names: dict[str, list[str]] = {}
    for name, reason in items:
        names.setdefault(reason, []).append(name)
    comma, colon, semicolon = (", ", ": ", "; ") if language == "en" else ("、", "：", "；")
    return semicolon.join(f"{comma.join(places)}{colon}{reason}" for reason, places in names.items())
