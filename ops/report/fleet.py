"""The diagnoses of many bundles as a report: the groups with what their hosts share, the hosts, what was not read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ops.diagnosis.fleet import FleetDiagnosis, HostGroup, OlderBundle, SharedTrait
from ops.diagnosis.host_traits import CLOCK_SECONDS, HostDiagnosis, TraitKind
from ops.facts.status import EXIT_CODES, Severity, Status
from ops.report.doctor.json import cause_document
from ops.report.model import (
    BLANK,
    CASE_STATUSES,
    Alert,
    CaseStatus,
    CommandReport,
    PerformanceValue,
    ReportCase,
    ReportLine,
    Samples,
)
from ops.report.sentences import STATUS_NAMES, STATUS_STYLES, sentence
from ops.text.duration import age, age_zh
from ops.text.language import COLON, Language, Text
from ops.text.timestamps import local_time

# How many names of hosts a line lists, and how many causes of a host the text names.
MAX_NAMES = 20
MAX_CAUSES = 3

_COUNTS = Text(
    en="{hosts} hosts: {fail} with affected users, {warn} with warnings, {ok} in order, {unknown} not judged",
    zh="{hosts} 台主机：{fail} 台用户受影响，{warn} 台有警告，{ok} 台正常，{unknown} 台无法判断",
)
_REFUSED_COUNT = Text(en="; {} bundles not read", zh="；{} 个诊断包未读取")
_ON_HOSTS = Text(en="{count} of {total} hosts: {names}", zh="{total} 台中的 {count} 台：{names}")
_MORE = Text(en=" and {} more", zh=" 等，另有 {} 台")
_SHARED = Text(
    en="What they have in common, and how many of the {} hosts in order have it too",
    zh="它们的共同点，以及 {} 台正常主机中有多少台也是如此",
)
_SHARED_ALONE = Text(
    en="What they have in common (no host in order to compare with)", zh="它们的共同点（没有正常主机可比较）"
)
_NOTHING = Text(
    en="Nothing in the bundles sets them apart from the {} hosts in order",
    zh="诊断包中没有把它们与 {} 台正常主机区分开的内容",
)
_ONE = Text(
    en="{value}  [{holders} of {size}, {others} of {compared}]{usual}",
    zh="{value}  [{size} 台中 {holders} 台，正常的 {compared} 台中 {others} 台]{usual}",
)
_USUAL = Text(en="; the others: {}", zh="；其他主机：{}")
_FITS = Text(en="; can bring this cause about", zh="；可能导致此原因")
_OMITTED = Text(en="{} more", zh="另有 {} 项")
_HOSTS = Text(en="Hosts", zh="主机")
_REFUSED = Text(en="Not read, or not compared", zh="未读取或不参与比较")
_OLDER = Text(
    en="of {name}, {ago} older than {newer}: not compared",
    zh="属于 {name}，比 {newer} 早 {ago}：不参与比较",
)
_UNEXPLAINED = Text(en="unexplained: {}", zh="尚无解释：{}")
_NOT_JUDGED = Text(en="could not be judged", zh="无法判断")
_IN_ORDER = Text(en="In order: {}", zh="正常：{}")
_COMMANDS = Text(
    en="Commands and quotations are the bundles' own words in part: read a command before you run it on its host.",
    zh="命令与引文部分直接取自诊断包：在所属主机上运行命令之前请先看清楚。",
)
_AHEAD = Text(en="{name} {by} ahead", zh="{name} 快 {by}")
_BEHIND = Text(en="{name} {by} behind", zh="{name} 慢 {by}")
_CLOCKS = Text(
    en="Clocks: {shown}{apart}",
    zh="时钟：{shown}{apart}",
)
_APART = Text(
    en="; the {measured} that were measured are up to {apart} apart",
    zh="；测得的 {measured} 台之间最多相差 {apart}",
)
_FULL_REPORT = Text(
    en="One host's report: gte-ops doctor --from-bundle FILE",
    zh="单台主机的报告：gte-ops doctor --from-bundle FILE",
)
_SECONDS = Text(en="{:.1f} s; {} other files passed over", zh="用时 {:.1f} 秒；跳过其他文件 {} 个")
_KINDS: dict[TraitKind, Text] = {
    TraitKind.CHANGE: Text(en="changed since the baseline", zh="基线之后的变更"),
    TraitKind.NGINX: Text(en="nginx", zh="nginx"),
    TraitKind.GUNICORN: Text(en="gunicorn", zh="gunicorn"),
    TraitKind.COMMAND: Text(en="start command", zh="启动命令"),
    TraitKind.SERVICE: Text(en="service", zh="服务"),
    TraitKind.MODEL: Text(en="model file", zh="模型文件"),
    TraitKind.PACKAGE: Text(en="package", zh="软件包"),
    TraitKind.PROGRAM: Text(en="program", zh="程序"),
    TraitKind.SYSTEM: Text(en="system", zh="系统"),
    TraitKind.CERTIFICATE: Text(en="certificate", zh="证书"),
    TraitKind.RENEWAL: Text(en="renewal", zh="续期"),
    TraitKind.CLOCK: Text(en="clock", zh="时钟"),
    TraitKind.MACHINE: Text(en="machine", zh="机器"),
}


class FleetReport(CommandReport):
    """What `gte-ops doctor --from-bundle DIRECTORY` reports."""

    command = "doctor"

    def __init__(self, fleet: FleetDiagnosis) -> None:
        self.fleet = fleet

    @property
    def status(self) -> Status:
        """The worst of the hosts'."""
        return self.fleet.status

    def headline(self, language: Language) -> str:
        """The hosts, counted."""
        counts = self._counts()
        words = _COUNTS.to(language).format(
            hosts=len(self.fleet.hosts), **{status.value: counts[status] for status in Status}
        )
        refused = len(self.fleet.refused)
        return words + (_REFUSED_COUNT.to(language).format(refused) if refused else "")

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """The groups, the hosts that are not in order, what was not read."""
        yield ReportLine(
            self.headline(language),
            lead=STATUS_NAMES[self.status].to(language) + "  ",
            lead_style=STATUS_STYLES[self.status],
        )
        for group in self.fleet.groups:
            yield from self._group_lines(group, language)
        yield from self._host_lines(language)
        if clocks := _clock_words(self.fleet, language):
            yield ReportLine(clocks, indent=3)
        if self.fleet.refused or self.fleet.older:
            yield BLANK
            yield ReportLine(_REFUSED.to(language), style="bold")
        for item in self.fleet.refused:
            yield ReportLine(
                sentence(item.reason, language),
                indent=3,
                lead=sentence(item.file, language) + COLON.to(language),
            )
        for older in self.fleet.older:
            yield ReportLine(
                _older_words(older, language),
                indent=3,
                lead=sentence(older.file, language) + COLON.to(language),
            )
        yield BLANK
        if self.fleet.groups:
            yield ReportLine(_COMMANDS.to(language), style="dim")
            yield ReportLine(_FULL_REPORT.to(language), style="dim")
        yield ReportLine(
            _SECONDS.to(language).format(self.fleet.seconds, self.fleet.passed_over), style="dim"
        )

    def document(self, language: Language) -> dict[str, Any]:
        """Groups, hosts with their causes, refused bundles."""
        return {
            "status": self.status,
            "origin": "bundle",
            "notice": _COMMANDS.to(language),
            "duration_ms": round(self.fleet.seconds * 1000),
            "groups": [_group_document(group, language) for group in self.fleet.groups],
            "hosts": [_host_document(host, language) for host in self.fleet.hosts],
            "refused": [
                {"file": sentence(item.file, language), "reason": sentence(item.reason, language)}
                for item in self.fleet.refused
            ],
            "older": [
                {
                    "file": sentence(item.file, language),
                    "name": sentence(item.name, language),
                    "newer": sentence(item.newer, language),
                    "seconds": round(item.seconds),
                }
                for item in self.fleet.older
            ],
            "passed_over": self.fleet.passed_over,
        }

    def page(self, language: Language) -> dict[str, Any]:
        """The groups as articles, the hosts as a table."""
        return {
            "verdict": self.headline(language),
            "notice": _COMMANDS.to(language),
            "seconds": f"{self.fleet.seconds:.1f}",
            "clocks": _clock_words(self.fleet, language),
            "groups": [self._group_page(group, language) for group in self.fleet.groups],
            "hosts": [
                {
                    "status": host.status,
                    "status_word": STATUS_NAMES[host.status].to(language),
                    "name": sentence(host.name, language),
                    "file": sentence(host.file, language),
                    "causes": [f"{cause.code} {sentence(cause.summary, language)}" for cause in host.causes]
                    or _words_without_cause(host, language),
                }
                for host in self.fleet.hosts
            ],
            "unseen": [
                *(
                    (sentence(item.file, language), sentence(item.reason, language))
                    for item in self.fleet.refused
                ),
                *((sentence(item.file, language), _older_words(item, language)) for item in self.fleet.older),
            ],
        }

    def suite(self) -> tuple[str, float]:
        """The hosts, and the run's length."""
        return "hosts", self.fleet.seconds

    def cases(self, language: Language) -> Sequence[ReportCase]:
        """One case a host, and one a bundle that was not read."""
        return [
            *(
                ReportCase(
                    "gte-ops.host",
                    f"{sentence(host.name, 'en')} ({sentence(host.file, 'en')})",
                    CASE_STATUSES[host.status],
                    _host_words(host, language),
                    because=_host_words(host, language) if host.status is Status.UNKNOWN else "",
                )
                for host in self.fleet.hosts
            ),
            *(
                ReportCase(
                    "gte-ops.host",
                    sentence(item.file, "en"),
                    CaseStatus.ERROR,
                    because=sentence(item.reason, language),
                )
                for item in self.fleet.refused
            ),
        ]

    def alert(self, language: Language) -> Alert:
        """The counts, then a line for each host that is not in order."""
        details = (
            sentence(host.name, language) + COLON.to(language) + _host_words(host, language)
            for host in self.fleet.hosts
            if host.status is not Status.OK
        )
        counts = self._counts()
        values = (PerformanceValue(f"hosts_{status}", str(counts[status])) for status in Status)
        return Alert(self.headline(language), tuple(details), tuple(values))

    def samples(self) -> Iterator[Samples]:
        """The hosts, counted, and by cause."""
        yield from super().samples()
        counts = self._counts()
        yield Samples(
            "fleet_hosts",
            "Diagnosed hosts, by status.",
            tuple(({"status": str(status)}, float(counts[status])) for status in Status),
        )
        yield Samples(
            "fleet_host_status",
            "Status of a host: 0 ok, 1 warning, 2 critical, 3 unknown.",
            tuple(
                (
                    {"host": sentence(host.name, "en"), "file": sentence(host.file, "en")},
                    float(EXIT_CODES[host.status]),
                )
                for host in self.fleet.hosts
            ),
        )

    def _counts(self) -> Counter[Status]:
        return Counter(host.status for host in self.fleet.hosts)

    def _on_hosts(self, group: HostGroup, language: Language) -> str:
        names = [sentence(name, language) for name in group.hosts]
        comma = ", " if language == "en" else "、"
        shown = comma.join(names[:MAX_NAMES])
        if len(names) > MAX_NAMES:
            shown += _MORE.to(language).format(len(names) - MAX_NAMES)
        return _ON_HOSTS.to(language).format(count=len(names), total=len(self.fleet.hosts), names=shown)

    def _group_lines(self, group: HostGroup, language: Language) -> Iterator[ReportLine]:
        yield BLANK
        lead = f"{sentence(group.code, language)}  " if group.code else ""
        style = STATUS_STYLES[group.severity]
        yield ReportLine(sentence(group.title, language), style="bold", lead=lead, lead_style=style)
        yield ReportLine(self._on_hosts(group, language), indent=3)
        if group.shared:
            yield ReportLine(_heading(group, language), indent=3, style="bold")
        elif none := _nothing(group, language):
            yield ReportLine(none, indent=3, style="dim")
        for item in group.shared:
            yield ReportLine(
                _trait_words(item, group, language),
                indent=5,
                style="" if item.fits else "dim",
                lead=_trait_name(item, language) + ": ",
            )
        if group.omitted:
            yield ReportLine(_OMITTED.to(language).format(group.omitted), indent=5, style="dim")

    def _group_page(self, group: HostGroup, language: Language) -> dict[str, Any]:
        return {
            "code": sentence(group.code, language),
            "severity": group.severity,
            "title": sentence(group.title, language),
            "hosts": self._on_hosts(group, language),
            "heading": _heading(group, language),
            "none": "" if group.shared else _nothing(group, language),
            "shared": [
                {
                    "name": _trait_name(item, language),
                    "words": _trait_words(item, group, language),
                    "fits": item.fits,
                }
                for item in group.shared
            ],
        }

    def _host_lines(self, language: Language) -> Iterator[ReportLine]:
        in_order = [host for host in self.fleet.hosts if host.status is Status.OK]
        others = [host for host in self.fleet.hosts if host.status is not Status.OK]
        if not self.fleet.hosts:
            return
        yield BLANK
        yield ReportLine(_HOSTS.to(language), style="bold")
        for host in others:
            name = sentence(host.name, language)
            file = sentence(host.file, language)
            yield ReportLine(
                Text(en=f"{name} ({file}): ", zh=f"{name}（{file}）：").to(language)
                + _host_words(host, language),
                indent=3,
                lead=STATUS_NAMES[host.status].to(language) + "  ",
                lead_style=STATUS_STYLES[host.status],
            )
        if in_order:
            comma = ", " if language == "en" else "、"
            names = comma.join(sentence(host.name, language) for host in in_order[:MAX_NAMES])
            if len(in_order) > MAX_NAMES:
                names += _MORE.to(language).format(len(in_order) - MAX_NAMES)
            yield ReportLine(_IN_ORDER.to(language).format(names), indent=3, style="dim")


def _heading(group: HostGroup, language: Language) -> str:
    return (_SHARED if group.compared else _SHARED_ALONE).to(language).format(group.compared)


def _nothing(group: HostGroup, language: Language) -> str:
    """Only where there was something to compare, and users are affected."""
    if group.severity is not Severity.FAIL or not group.compared:
        return ""
    return _NOTHING.to(language).format(group.compared)


def _trait_name(item: SharedTrait, language: Language) -> str:
    return f"{_KINDS[item.trait.kind].to(language)} {sentence(item.trait.name, language)}"


def _trait_words(item: SharedTrait, group: HostGroup, language: Language) -> str:
    usual = _USUAL.to(language).format(sentence(item.usual, language)) if item.usual is not None else ""
    words = _ONE.to(language).format(
        value=sentence(item.trait.value, language),
        holders=item.holders,
        size=len(group.hosts),
        others=item.others,
        compared=group.compared,
        usual=usual,
    )
    return words + (_FITS.to(language) if item.fits else "")


def _host_words(host: HostDiagnosis, language: Language) -> str:
    """Its causes in one line, the first with its summary."""
    if not host.causes:
        return "; ".join(_words_without_cause(host, language))
    first = host.causes[0]
    codes = [cause.code for cause in host.causes[1 : 1 + MAX_CAUSES]]
    left = len(host.causes) + host.omitted_causes - 1 - len(codes)
    more = f" (+ {', '.join(codes)}{f', {left}' if left else ''})" if codes else ""
    return f"{first.code} {sentence(first.summary, language)}{more}"


def _clock_words(fleet: FleetDiagnosis, language: Language) -> str:
    """The clocks that are off, each by how much and in which direction, and how far the hosts are apart; empty if all
    that were measured are right."""
    measured = [(host.clock_ahead, host) for host in fleet.hosts if host.clock_ahead is not None]
    off = sorted((item for item in measured if abs(item[0]) > CLOCK_SECONDS), key=lambda item: -abs(item[0]))
    if not off:
        return ""
    comma = ", " if language == "en" else "、"
    shown = comma.join(
        (_AHEAD if ahead > 0 else _BEHIND)
        .to(language)
        .format(name=sentence(host.name, language), by=_duration(abs(ahead), language))
        for ahead, host in off[:MAX_NAMES]
    )
    if len(off) > MAX_NAMES:
        shown += _MORE.to(language).format(len(off) - MAX_NAMES)
    offsets = [ahead for ahead, _ in measured]
    apart = ""
    if len(offsets) > 1:
        span = _duration(max(offsets) - min(offsets), language)
        apart = _APART.to(language).format(measured=len(offsets), apart=span)
    return _CLOCKS.to(language).format(shown=shown, apart=apart)


def _duration(seconds: float, language: Language) -> str:
    return age(seconds) if language == "en" else age_zh(seconds)


def _older_words(item: OlderBundle, language: Language) -> str:
    return _OLDER.to(language).format(
        name=sentence(item.name, language),
        newer=sentence(item.newer, language),
        ago=age(item.seconds),
    )


def _words_without_cause(host: HostDiagnosis, language: Language) -> list[str]:
    if host.symptoms:
        return [
            _UNEXPLAINED.to(language).format(sentence(symptom.summary, language))
            for symptom in host.symptoms[:MAX_CAUSES]
        ]
    return [_NOT_JUDGED.to(language)] if host.status is Status.UNKNOWN else []


def _group_document(group: HostGroup, language: Language) -> dict[str, Any]:
    return {
        "code": sentence(group.code, language) or None,
        "severity": group.severity,
        "title": sentence(group.title, language),
        "hosts": [sentence(name, language) for name in group.hosts],
        "compared": group.compared,
        "shared": [
            {
                "kind": item.trait.kind,
                "name": sentence(item.trait.name, language),
                "value": sentence(item.trait.value, language),
                "usual": None if item.usual is None else sentence(item.usual, language),
                "holders": item.holders,
                "others": item.others,
                "fits": item.fits,
            }
            for item in group.shared
        ],
        "omitted": group.omitted,
    }


def _host_document(host: HostDiagnosis, language: Language) -> dict[str, Any]:
    return {
        "name": sentence(host.name, language),
        "file": sentence(host.file, language),
        "status": host.status,
        "url": sentence(host.url, language) or None,
        "taken_at": local_time(host.taken_at, host.utc_offset).isoformat(timespec="seconds"),
        "causes": [cause_document(cause, language) for cause in host.causes],
        "symptoms": [
            {
                "id": symptom.id,
                "summary": sentence(symptom.summary, language),
                "explained_by": list(symptom.explained_by),
            }
            for symptom in host.symptoms
        ],
        "omitted_causes": host.omitted_causes,
        "clock_ahead_seconds": None if host.clock_ahead is None else round(host.clock_ahead, 3),
    }
