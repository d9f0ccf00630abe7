"""What a run of --fix reports: never fixed and failed of one cause, the service's real state, what --yes would do."""

from __future__ import annotations

import dataclasses
import io

import pytest
from msgspec.structs import replace

from ops.diagnosis.catalogue import GUIDE_VALUES, catalogue
from ops.diagnosis.model import Cause, CheckResult, CheckStatus, Diagnosis, Symptom
from ops.facts.base import UNFINISHED
from ops.facts.status import Status
from ops.interpret.process_ref import ProcessRef
from ops.repair.apply.gunicorn import STUCK_CONDITIONS
from ops.repair.model import (
    CreateBackup,
    ExchangeFiles,
    Outcome,
    Remedy,
    RemedyResult,
    Repair,
    RestartGunicorn,
    Safety,
    StartGunicorn,
)
from ops.repair.run import command_to_apply
from ops.report.formats.text import write
from ops.report.repair import RepairReport
from ops.supervision.health.assessment import STUCK
from ops.text.language import Language, Text, verbatim
from tests.unit.made_diagnosis import HEALTHY

CONFIG = "/etc/gte-ops.toml"
LOOK = f"gte-ops doctor --config {CONFIG}"
AGAIN = f"gte-ops doctor --config {CONFIG} --fix --yes"
RISKY = f"gte-ops doctor --config {CONFIG} --fix=risky --yes"


def cause(code: str) -> Cause:
    entry = catalogue().entry(code)
    fix = entry.fix_with(GUIDE_VALUES)
    return Cause(code, entry.severity, entry.title, entry.summary, (), (), verbatim("true"), fix)


def diagnosis(*codes: str) -> Diagnosis:
    causes = tuple(map(cause, codes))
    failing = any(item.severity == "fail" for item in causes)
    return replace(
        HEALTHY,
        causes=causes,
        status=Status.FAIL if failing else Status.WARN if causes else Status.OK,
        symptoms=(Symptom("http.502", verbatim("502"), codes),) if failing else (),
    )


def remedy(code: str, safety: Safety | None = Safety.SAFE) -> Remedy:
    action = {None: None, Safety.SAFE: StartGunicorn(), Safety.RISKY: RestartGunicorn(ProcessRef(7, 1))}[
        safety
    ]
    if code.startswith("OPS") and safety is not None:
        return Remedy(cause(code), safety, Text(en="do", zh="做"), CreateBackup())
    return Remedy(cause(code), safety, Text(en="do", zh="做"), action)


def ran(first: Diagnosis, last: Diagnosis, *results: RemedyResult) -> Repair:
    return Repair(Safety.RISKY, first, results, last, "/var/lib/gte-ops/fix.jsonl")


def shown(repair: Repair, language: Language) -> str:
    out = io.StringIO()
    write(RepairReport(repair, lambda level: command_to_apply(CONFIG, level)), language, out)
    return out.getvalue()


DETAIL = Text(en="it was started, and has ended again", zh="启动后又退出了")
WORSE = ran(
    diagnosis("GUN007"),
    diagnosis("GUN001"),
    RemedyResult(remedy("GUN007", Safety.RISKY), Outcome.FAILED, DETAIL),
)


def test_a_cause_whose_repair_failed_is_not_fixed_though_another_has_its_place() -> None:
    assert (WORSE.fixed, WORSE.not_fixed, WORSE.remaining, WORSE.new) == ((), ("GUN007",), (), ("GUN001",))


@pytest.mark.parametrize(
    ("language", "verdict", "fixed"),
    [
        ("en", "NOT fixed: GUN007. gunicorn is not running now (GUN001)", "fixed: GUN007"),
        ("zh", "没有修好：GUN007", "已修复"),
    ],
)
def test_an_outage_is_never_called_mended(language: Language, verdict: str, fixed: str) -> None:
    page = " ".join(shown(WORSE, language).split())
    assert verdict in page
    assert fixed not in page.replace(verdict, "")
    assert "GUN001" in page
    assert "1. systemctl start gte-api" in page, "what to do next"


def test_a_cause_that_gives_way_to_a_new_outage_is_not_fixed_even_if_its_remedy_was_applied() -> None:
    started = ran(diagnosis("GUN001"), diagnosis("GUN003"), RemedyResult(remedy("GUN001"), Outcome.APPLIED))
    assert (started.fixed, started.not_fixed) == ((), ("GUN001",))


def test_what_is_gone_is_fixed_beside_what_was_there_before() -> None:
    partly = ran(
        diagnosis("GUN001", "TLS001", "OPS003"),
        diagnosis("TLS001"),
        RemedyResult(remedy("GUN001"), Outcome.APPLIED),
        RemedyResult(remedy("TLS001", None), Outcome.SHOWN),
        RemedyResult(remedy("OPS003"), Outcome.APPLIED),
    )
    assert (partly.fixed, partly.not_fixed, partly.remaining) == (("GUN001", "OPS003"), (), ("TLS001",))
    assert "NOT fixed" not in shown(partly, "en")


def dry(level: Safety, *remedies: Remedy) -> Repair:
    first = diagnosis(*dict.fromkeys(item.cause.code for item in remedies))
    results = tuple(RemedyResult(item, Outcome.SHOWN) for item in remedies)
    return Repair(level, first, results, first, None)


def words_of(repair: Repair, language: Language) -> str:
    return " ".join(shown(repair, language).split())


def test_a_dry_run_says_what_yes_would_do_and_that_it_does_not_help() -> None:
    repair = dry(
        Safety.SAFE, remedy("NGX003", None), remedy("NGX018", None), remedy("OPS003"), remedy("OPS006", None)
    )
    assert words_of(repair, "en").startswith(
        "Nothing was changed. --fix --yes would do 1 of 4: OPS003. By hand: NGX003, NGX018, OPS006."
        " This will not bring the service back."
    )
    chinese = "".join(shown(repair, "zh").split())
    assert chinese.startswith(
        "未作任何改动。--fix--yes会执行4项中的1项：OPS003。需要手动处理：NGX003、NGX018、OPS006。服务不会因此恢复。"
    )
    last = cause("NGX003").fix[-1].en
    assert words_of(repair, "en").endswith(last), "NGX003 is what keeps users out: no backup helps them"
    assert AGAIN not in words_of(repair, "en")


@pytest.mark.parametrize(
    ("remedies", "level", "last"),
    [
        ([remedy("GUN001"), remedy("OPS003")], Safety.SAFE, AGAIN),
        ([remedy("GUN007", Safety.RISKY), remedy("OPS003")], Safety.SAFE, RISKY),
        ([remedy("GUN007", Safety.RISKY)], Safety.SAFE, RISKY),
        ([remedy("GUN001"), remedy("GUN007", Safety.RISKY)], Safety.SAFE, RISKY),
        ([remedy("GUN001"), remedy("NGX003", None)], Safety.SAFE, AGAIN),
        ([remedy("NGX018", Safety.RISKY), remedy("OPS003")], Safety.SAFE, AGAIN),
        ([remedy("NGX018", Safety.RISKY)], Safety.SAFE, RISKY),
        ([remedy("NGX018", Safety.RISKY)], Safety.RISKY, RISKY),
        ([remedy("OPS003"), remedy("MOD005", None)], Safety.SAFE, cause("MOD005").fix[-1].en),
        ([remedy("DNS001", None)], Safety.SAFE, cause("DNS001").fix[-1].en),
    ],
)
def test_a_dry_run_ends_with_the_command_that_helps_users(
    remedies: list[Remedy], level: Safety, last: str
) -> None:
    for language in ("en", "zh"):
        assert words_of(dry(level, *remedies), language).endswith(last)


def test_a_dry_run_says_when_it_brings_the_service_back() -> None:
    assert "should bring the service back" in words_of(dry(Safety.SAFE, remedy("GUN001")), "en")
    risky = dry(Safety.SAFE, remedy("GUN007", Safety.RISKY), remedy("OPS003"))
    assert (
        "Only with --fix=risky: GUN007. This will not bring the service back; --fix=risky should."
        in words_of(risky, "en")
    )
    warned = words_of(dry(Safety.SAFE, remedy("OPS003")), "en")
    assert "bring the service back" not in warned


def test_a_cause_with_two_remedies_counts_once() -> None:
    both = dry(Safety.RISKY, remedy("TLS010"), remedy("TLS010", Safety.RISKY))
    assert "--fix=risky --yes would do 1 of 1: TLS010." in words_of(both, "en")


def test_a_service_that_users_still_have_is_not_to_be_brought_back() -> None:
    met = dry(Safety.SAFE, remedy("GUN001", None))
    assert "bring the service back" in words_of(met, "en")
    to_come = dataclasses.replace(met, first=replace(met.first, symptoms=()))
    assert "bring the service back" not in words_of(to_come, "en")


PUT_BACK = dataclasses.replace(remedy("GUN001"), action=ExchangeFiles((), nginx=False, gunicorn=True))


@pytest.mark.parametrize(
    ("language", "failed", "fixed"), [("en", "failed", "fixed"), ("zh", "失败", "已修复")]
)
def test_what_another_remedy_fixed_is_not_called_failed(language: Language, failed: str, fixed: str) -> None:
    start = RemedyResult(remedy("GUN001"), Outcome.FAILED, Text(en="it ended", zh="又退出了"))
    mended = ran(diagnosis("GUN001"), diagnosis(), start, RemedyResult(PUT_BACK, Outcome.APPLIED))
    assert (mended.fixed, mended.not_fixed) == (("GUN001",), ())
    page = shown(mended, language)
    assert fixed in page
    assert failed not in page


def test_a_remedy_that_fails_last_fixed_nothing() -> None:
    worse = ran(
        diagnosis("GUN001"),
        diagnosis(),
        RemedyResult(remedy("GUN001"), Outcome.APPLIED),
        RemedyResult(PUT_BACK, Outcome.REFUSED),
    )
    assert (worse.fixed, worse.not_fixed) == ((), ("GUN001",))


def test_what_the_last_diagnosis_had_no_time_for_is_not_called_fixed() -> None:
    cut_short = CheckResult(
        "gunicorn.process", CheckStatus.SKIP, verbatim("-"), 0.0, verbatim(f"processes {UNFINISHED}")
    )
    last = replace(diagnosis(), checks=(cut_short,), status=Status.UNKNOWN)
    hasty = ran(diagnosis("GUN001"), last, RemedyResult(remedy("GUN001"), Outcome.APPLIED))
    assert (hasty.fixed, hasty.not_fixed, hasty.not_judged) == ((), ("GUN001",), ("GUN001",))
    page = words_of(hasty, "en")
    assert f"not judged again, for want of time: GUN001. Look again before you rely on it: {LOOK}" in page
    assert "NOT fixed" not in page


def test_what_only_followed_before_is_not_new() -> None:
    first = diagnosis("TLS024", "GUN007")
    hiding = replace(first.causes[0], explains=("TLS001",))
    first = replace(first, causes=(hiding, first.causes[1]))
    partly = ran(first, diagnosis("TLS001"), RemedyResult(remedy("GUN007"), Outcome.APPLIED))
    assert (partly.new, partly.remaining, partly.not_fixed) == ((), ("TLS001",), ())
    assert partly.fixed == ("TLS024", "GUN007")


@pytest.mark.parametrize("outcome", [Outcome.BLOCKED, Outcome.SHOWN])
def test_a_repair_that_leaves_a_cause_ends_with_what_helps_next(outcome: Outcome) -> None:
    left = remedy("TLS007", Safety.RISKY if outcome is Outcome.BLOCKED else None)
    repair = dataclasses.replace(
        ran(
            diagnosis("GUN001", "TLS007"),
            diagnosis("TLS007"),
            RemedyResult(remedy("GUN001"), Outcome.APPLIED),
            RemedyResult(left, outcome),
        ),
        level=Safety.SAFE,
    )
    page = words_of(repair, "en")
    if outcome is Outcome.BLOCKED:
        assert f"Next, for TLS007: {RISKY}" in page
    else:
        assert f"Next, by hand (TLS007): - {cause('TLS007').fix[0].en}" in page


def test_how_a_worker_was_stuck_is_said_in_both_languages() -> None:
    assert STUCK_CONDITIONS.keys() == STUCK.keys()
