"""A review of certificates for people, for programs, for Nagios and for Prometheus. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from ops.facts.certificate_inventory import CertificateSource, JudgedCertificate, Renewal, Review, Status
from ops.report.model import (
    BLANK,
    CASE_STATUSES,
    Alert,
    CommandReport,
    PerformanceValue,
    ReportCase,
    ReportLine,
    Samples,
)
from ops.report.sentences import STATUS_STYLES, STATUS_WORDS, sentence
from ops.text.duration import age, age_zh
from ops.text.language import COLON, COMMA, Language, Text
from ops.text.reasons import reason

DAY = 86400.0
# So many are shown whole; of more, the healthy ones get one line each.
SHOWN_WHOLE = 20

_WORDS: dict[Status, Text] = {
    Status.OK: Text(en="ok", zh="正常"),
    Status.WARN: Text(en="WARNING", zh="警告"),
    Status.FAIL: Text(en="CRITICAL", zh="故障"),
    Status.UNKNOWN: Text(en="UNKNOWN", zh="无法判断"),
}
_COUNT = Text(
    en="{total} looked at: {fail} critical, {warn} warnings, {unknown} unknown, {ok} ok",
    zh="共 {total} 张证书：{fail} 张故障，{warn} 张警告，{unknown} 张无法判断，{ok} 张正常",
)
_NOTHING = Text(en="no certificate was found", zh="没有找到任何证书")
_SOURCES = {
    CertificateSource.FILE: Text(en="file", zh="文件"),
    CertificateSource.SERVED: Text(en="served at", zh="在用"),
}
_UNSEEN = Text(en="Not seen: {}", zh="未能看到：{}")
_YES_NO = {True: Text(en="yes", zh="是"), False: Text(en="no", zh="否")}


class CertificateReport(CommandReport):
    """What `gte-ops cert check` reports."""

    command = "cert check"
    alert_lead = "CERTS {} - "

    def __init__(self, review: Review) -> None:
        self.review = review

    @property
    def status(self) -> Status:
        """The gravest certificate's."""
        return self.review.status

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """A block for each certificate, or a line for each healthy one of many."""
        review = self.review
        yield ReportLine(
            _summary(review, language),
            lead=f"{_WORDS[review.status].to(language)}  ",
            lead_style=STATUS_STYLES[review.status],
        )
        whole = len(review.certificates) <= SHOWN_WHOLE
        for one in review.certificates:
            if whole or one.status is not Status.OK:
                yield BLANK
                yield from _block(one, review.taken_at, language)
            else:
                yield _headline(one, language)
        if review.unseen:
            yield BLANK
        for place in review.unseen:
            yield ReportLine(_UNSEEN.to(language).format(sentence(reason(place.reason), language)))

    def document(self, language: Language) -> dict[str, Any]:
        """As the contract has it: names, times as ISO 8601 in UTC, days as numbers; and what goes beyond."""
        return {
            "taken_at": _iso(self.review.taken_at),
            "certificates": [_entry(one, language) for one in self.review.certificates],
            "unseen": [sentence(reason(place.reason), language) for place in self.review.unseen],
        }

    def alert(self, language: Language) -> Alert:
        """The gravest certificate and the counts; a line for each that is not in order."""
        review = self.review
        headline = _summary(review, language)
        troubled = [one for one in review.certificates if one.status is not Status.OK]
        if troubled:
            first = troubled[0]
            headline = f"{first.name} [{first.where}]: {_gravest(first, language)}; {headline}"
        details = (
            f"{STATUS_WORDS[one.status]}: {one.name} [{one.where}] {' '.join(one.reasons)} {_gravest(one, language)}"
            for one in troubled
        )
        return Alert(headline, tuple(details), tuple(_measures(review)))

    def cases(self, language: Language) -> Sequence[ReportCase]:
        """A case for each certificate."""
        return [
            ReportCase(
                f"gte-ops.cert.{one.source}",
                sentence(f"{one.name} {one.where}", "en"),
                CASE_STATUSES[one.status],
                sentence(_gravest(one, language), language),
                because=sentence(_gravest(one, language), language),
            )
            for one in self.review.certificates
        ]

    def samples(self) -> Iterable[Samples]:
        """Timestamps rather than days left, so that an alert is right however old the file is."""
        return _samples(self.review)


def _summary(review: Review, language: Language) -> str:
    if not review.certificates:
        return _NOTHING.to(language)
    counts = {status: sum(one.status == status for one in review.certificates) for status in _WORDS}
    return _COUNT.to(language).format(total=len(review.certificates), **counts)


def _headline(one: JudgedCertificate, language: Language) -> ReportLine:
    time_left = ""
    if one.left is not None and one.share is not None:
        share = f"{one.share:.0%}"
        time_left = f"  {age_zh(one.left)}（{share}）" if language == "zh" else f"  {age(one.left)} ({share})"
    codes = f"  {' '.join(one.reasons)}" if one.reasons else ""
    name, where = sentence(one.name, language), sentence(one.where, language)
    source = _SOURCES[one.source].to(language)
    return ReportLine(
        f"{name}  [{source} {where}]{time_left}{codes}",
        lead=f"{_WORDS[one.status].to(language)}  ",
        lead_style=STATUS_STYLES[one.status],
    )


def _block(one: JudgedCertificate, now: float, language: Language) -> Iterator[ReportLine]:
    yield _headline(one, language)
    for remark in one.remarks:
        yield ReportLine(sentence(remark.text, language), 4, lead="! " if remark.severity else "- ")
    for label, words in _facts(one, now, language):
        yield ReportLine(sentence(words, language), 4, lead=label + COLON.to(language))


def _gravest(one: JudgedCertificate, language: Language) -> str:
    """The remark that decides, or else the status."""
    grave = next((remark for remark in one.remarks if remark.severity), None)
    return sentence(grave.text, language) if grave else one.status


def _facts(one: JudgedCertificate, now: float, language: Language) -> Iterator[tuple[str, str]]:
    zh = language == "zh"
    leaf = one.certificate
    if leaf is not None:
        yield ("域名" if zh else "names"), COMMA.to(language).join(leaf.names) or "-"
        yield ("签发者" if zh else "issuer"), f"{leaf.issuer}; {leaf.key_type}"
        yield ("有效期" if zh else "valid"), f"{_minute(leaf.not_before)} .. {_minute(leaf.not_after)}"
    comparisons = (
        (one.matches_disk, "与磁盘文件一致" if zh else "as on disk"),
        (one.chain_complete, "证书链完整" if zh else "chain complete"),
        (one.key_matches, "与私钥匹配" if zh else "key matches"),
    )
    results = [f"{label} {_YES_NO[value].to(language)}" for value, label in comparisons if value is not None]
    if results:
        yield ("核对" if zh else "checked"), ("，" if zh else ", ").join(results)
    if one.renewal is not None:
        yield ("续期" if zh else "renewal"), ("；" if zh else "; ").join(_renewal_words(one.renewal, now, zh))
    if one.used_by:
        more = f" (+{len(one.used_by) - 3})" if len(one.used_by) > 3 else ""
        yield ("来源" if zh else "named by"), COMMA.to(language).join(one.used_by[:3]) + more


def _renewal_words(renewal: Renewal, now: float, zh: bool) -> Iterator[str]:
    if renewal.jobs:
        yield ("由 " if zh else "by ") + ("、" if zh else ", ").join(renewal.jobs)
    if renewal.certbot:
        yield f"certbot {renewal.certbot}"
    moments = (
        (renewal.due_at, "应续期" if zh else "due"),
        (renewal.last_renewed, "上次续期" if zh else "last renewed"),
        (renewal.last_run, "certbot 上次运行" if zh else "certbot last ran"),
    )
    for moment, label in moments:
        if moment is not None:
            apart = _apart(moment - now, zh)
            yield f"{label} {_minute(moment)}" + (f"（{apart}）" if zh else f" ({apart})")


def _apart(seconds: float, zh: bool) -> str:
    if seconds < 0:
        return f"{age_zh(-seconds)}前" if zh else f"{age(-seconds)} ago"
    return f"{age_zh(seconds)}后" if zh else f"in {age(seconds)}"


def _minute(moment: float) -> str:
    try:
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return "?"


# --- for programs ---


def _entry(one: JudgedCertificate, language: Language) -> dict[str, Any]:
    leaf, renewal = one.certificate, one.renewal
    return {
        "name": sentence(one.name, language),
        "source": one.source,
        "where": sentence(one.where, language),
        "names": [sentence(name, language) for name in leaf.names] if leaf else [],
        "issuer": sentence(leaf.issuer, language) if leaf else None,
        "not_before": _iso(leaf.not_before) if leaf else None,
        "not_after": _iso(leaf.not_after) if leaf else None,
        "days_left": round(one.left / DAY, 3) if one.left is not None else None,
        "lifetime_left": round(one.share, 4) if one.share is not None else None,
        "status": one.status,
        "reasons": list(one.reasons),
        "stage": one.stage,
        "key_type": leaf.key_type if leaf else None,
        "serial": leaf.serial if leaf else None,
        "fingerprint_sha256": leaf.fingerprint if leaf else None,
        "matches_disk": one.matches_disk,
        "chain_complete": one.chain_complete,
        "key_matches": one.key_matches,
        "renewal": None
        if renewal is None
        else {
            "by": [sentence(job, language) for job in renewal.jobs],
            "due_at": _iso(renewal.due_at),
            "last_renewed": _iso(renewal.last_renewed),
            "last_run": _iso(renewal.last_run),
            "failed_tries": renewal.failed_tries,
            "reason": sentence(renewal.reason, language),
            "certbot": renewal.certbot,
        },
        "remarks": [
            {"severity": remark.severity, "text": sentence(remark.text, language)} for remark in one.remarks
        ],
        "named_by": [sentence(who, language) for who in one.used_by],
    }


def _iso(moment: float | None) -> str | None:
    if moment is None:
        return None
    try:
        return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return None


# --- for monitoring systems ---


def _measures(review: Review) -> Iterator[PerformanceValue]:
    """Days left with the marks below which it warns and fails."""
    counts: dict[str, int] = {}
    for one in review.certificates:
        if one.left is None or one.warn_below is None or one.fail_below is None:
            continue
        label = sentence(f"{one.name} {one.where}", "en").replace("'", "").replace("=", "_").replace("|", "/")
        counts[label] = counts.get(label, 0) + 1
        label = label if counts[label] == 1 else f"{label} #{counts[label]}"
        limits = f";{one.warn_below / DAY:.2f}:;{one.fail_below / DAY:.2f}:;;"
        yield PerformanceValue(label, f"{one.left / DAY:.2f}", limits)
    yield PerformanceValue("certificates", str(len(review.certificates)))


_LEVELS: dict[Status, int] = {Status.OK: 0, Status.WARN: 1, Status.FAIL: 2, Status.UNKNOWN: 3}


def _samples(review: Review) -> Iterator[Samples]:
    def metric(name: str, text: str, values: Iterable[tuple[dict[str, str], float | None]]) -> Samples:
        present = tuple((labels, value) for labels, value in values if value is not None)
        return Samples(f"certificate_{name}", text, present)

    labelled = list(_labelled(review.certificates))
    leaves = [(labels, one.certificate) for labels, one in labelled if one.certificate]
    renewals = [(labels, one.renewal) for labels, one in labelled if one.renewal is not None]
    yield metric(
        "not_before_timestamp_seconds",
        "When the certificate begins to be valid, Unix seconds.",
        ((labels, leaf.not_before) for labels, leaf in leaves),
    )
    yield metric(
        "not_after_timestamp_seconds",
        "When the certificate ends, Unix seconds.",
        ((labels, leaf.not_after) for labels, leaf in leaves),
    )
    yield metric(
        "unreadable",
        "Whether the certificate could not be read from its file or endpoint.",
        ((labels, float(one.certificate is None)) for labels, one in labelled),
    )
    yield metric(
        "status",
        "What was judged: 0 ok, 1 warning, 2 critical, 3 unknown.",
        ((labels, float(_LEVELS[one.status])) for labels, one in labelled),
    )
    yield metric(
        "matches_disk",
        "Whether the certificate that is served is the one in the configured file.",
        ((labels, None if one.matches_disk is None else float(one.matches_disk)) for labels, one in labelled),
    )
    yield from _renewal_samples(renewals, metric)
    unread = sum(one.certificate is None for one in review.certificates) + len(review.unseen)
    yield metric(
        "read_failures",
        "Certificates and places that could not be read in this run.",
        [({}, float(unread))],
    )


def _renewal_samples(
    renewals: Sequence[tuple[dict[str, str], Renewal]], metric: Callable[..., Samples]
) -> Iterator[Samples]:
    yield metric(
        "renewal_due_timestamp_seconds",
        "When renewal was or will be due, Unix seconds.",
        ((labels, renewal.due_at) for labels, renewal in renewals),
    )
    yield metric(
        "renewal_failed_tries",
        "Attempts to renew that failed since the last success.",
        ((labels, float(renewal.failed_tries)) for labels, renewal in renewals),
    )
    yield metric(
        "renewal_last_run_timestamp_seconds",
        "When certbot last dealt with the lineage, Unix seconds.",
        ((labels, renewal.last_run) for labels, renewal in renewals),
    )


def _labelled(
    certificates: Iterable[JudgedCertificate],
) -> Iterator[tuple[dict[str, str], JudgedCertificate]]:
    """Labels for each; a series may stand once only."""
    earlier: set[tuple[str, ...]] = set()
    for one in certificates:
        labels = {"name": one.name, "source": one.source, "where": one.where}
        # As the writer will have them: two names may differ in what is not shown.
        series = tuple(sentence(value, "en") for value in labels.values())
        if series not in earlier:
            earlier.add(series)
            yield labels, one
