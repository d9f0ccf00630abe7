"""From a snapshot to a diagnosis: causes told from what only follows from them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ops.diagnosis.catalogue import catalogue
from ops.diagnosis.checks import CHECKS
from ops.diagnosis.engine import diagnose, find_causes, host_values, target_values, with_duration
from ops.diagnosis.finding import Check, Finding, Severity, check, quote
from ops.diagnosis.model import Cause, Diagnosis
from ops.diagnosis.symptoms import Observed
from ops.facts.base import NotSeen
from ops.facts.host import Host, Listener
from ops.facts.nginx import Pidfile
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Connection, Front, Upstreams
from ops.facts.snapshot import Snapshot, from_json, to_json
from ops.facts.target import Target
from ops.facts.units import Unit, UnitEnvironmentFile, Units
from ops.text.language import Text, verbatim
from ops.text.reasons import reason
from tests.unit.made_snapshot import (
    AT_BACKEND,
    BACKEND,
    DAY,
    GUNICORN_CONF,
    GUNICORN_MASTER,
    GUNICORN_PROCESSES,
    HEALTHY,
    INTERMEDIATE,
    MODEL_DIR,
    NGINX_ACCESS_LOG,
    NGINX_LISTENERS,
    NGINX_PROCESSES,
    NOW,
    PREDICT,
    SITE,
    URL,
    access_log,
    but,
    certificate,
    entry,
    exchange,
    gunicorn_config,
    gunicorn_log,
    nginx_config,
    nginx_logs,
    page,
    process,
    processes,
    timed_out,
    traffic,
    without_gunicorn,
    without_nginx,
)

BOOT = """Exception in worker process
Traceback (most recent call last):
  File "/root/build/app.py", line 3, in <module>
ModuleNotFoundError: No module named 'torch'"""
SQUATTER = process(4242, 1, "python3", "-m", "http.server", "8000")
HTML_404: dict[str, Any] = {"server": "SimpleHTTP/0.6"}


def codes(diagnosis: Diagnosis) -> list[str]:
    return [cause.code for cause in diagnosis.causes]


def cause(diagnosis: Diagnosis, code: str) -> Cause:
    return next(c for c in diagnosis.causes if c.code == code)


def made(code: str, severity: Severity | None = None) -> Finding:
    return Finding(code, (quote("made", code),), severity=severity)


def causes_of(*findings: Finding, observed: tuple[str, ...] = ()) -> tuple[Cause, ...]:
    return find_causes(findings, [Observed(name, {}) for name in observed], {}, catalogue())


def squatted() -> Snapshot:
    """Another program took gunicorn's port: gunicorn is gone, nginx proxies to a stranger."""
    return but(
        processes=processes(
            NGINX_PROCESSES,
            (SQUATTER,),
            listeners=(*NGINX_LISTENERS, Listener(address=BACKEND, pids=(4242,))),
        ),
        target__gunicorn_master=None,
        target__gunicorn_workers=(),
        backend__health=page(404, "Error response", **HTML_404),
        backend__ready=page(404, "Error response", **HTML_404),
        backend__predict=page(501, "Error response", **{**PREDICT, **HTML_404}),
        front__health=page(404, "Error response"),
        front__predict=page(501, "Error response", **PREDICT),
    )


def booting() -> Snapshot:
    """Workers fail to boot, so gunicorn gave up."""
    return but(
        without_gunicorn(),
        logs__gunicorn_error=gunicorn_log(entry(BOOT), entry("Reason: Worker failed to boot.", ago=0)),
    )


def renewed() -> Snapshot:
    """The certificate was renewed on disk; the served one has expired meanwhile."""
    return but(
        served__chain=(certificate(not_before=NOW - 90 * DAY, not_after=NOW - DAY), INTERMEDIATE),
        certificates__leaf__certificates=(certificate(fingerprint="ee" * 32), INTERMEDIATE),
    )


def misdirected() -> Snapshot:
    """proxy_pass leads to a port where nobody listens; gunicorn is healthy at its own."""
    return but(
        nginx_config=nginx_config(SITE.replace("server 127.0.0.1:8000;", "server 127.0.0.1:9000;")),
        upstreams=Upstreams(
            answers={"127.0.0.1:9000": exchange(failure=ProbeFailure.REFUSED, detail="Connection refused")}
        ),
        front__health=page(502, "502 Bad Gateway"),
        front__predict=page(502, "502 Bad Gateway", **PREDICT),
    )


def two_faults() -> Snapshot:
    """gunicorn is down, and its file holds a setting it does not know."""
    return but(without_gunicorn(), gunicorn__config=gunicorn_config(bind=BACKEND, preload=True))


def unexplained() -> Snapshot:
    """502 at the door, though nginx and gunicorn look well."""
    return but(front__predict=page(502, "502 Bad Gateway", **PREDICT))


# --- The five rows every on-call knows, and their like ---


def test_a_healthy_host_is_ok_and_exits_0() -> None:
    diagnosis = diagnose(HEALTHY, CHECKS)
    assert (diagnosis.status, diagnosis.exit_code, codes(diagnosis), diagnosis.symptoms) == ("ok", 0, [], ())
    # Nothing on the made host measures its clock.
    assert {result.id for result in diagnosis.checks if result.status != "pass"} == {"host.clock"}
    assert [result.id for result in diagnosis.checks] == [check.id for check in CHECKS]


def test_gunicorn_down_is_the_cause_and_the_502_its_symptom() -> None:
    diagnosis = diagnose(without_gunicorn(), CHECKS)
    assert codes(diagnosis) == ["GUN001"]
    assert cause(diagnosis, "GUN001").explains == ("http.502",)
    assert [(s.id, s.explained_by) for s in diagnosis.symptoms] == [("http.502", ("GUN001",))]
    assert cause(diagnosis, "GUN001").verify.en == f"curl -v http://{BACKEND}/health"
    assert cause(diagnosis, "GUN001").fix[0].en == "systemctl start gte-api.service"
    assert (diagnosis.status, diagnosis.exit_code) == ("fail", 2)


def test_nginx_down_is_connection_refused() -> None:
    diagnosis = diagnose(without_nginx(), CHECKS)
    assert codes(diagnosis) == ["NGX002"]
    assert [(s.id, s.explained_by) for s in diagnosis.symptoms] == [("connect.refused", ("NGX002",))]


def test_an_expired_certificate_is_what_the_browser_complains_of() -> None:
    old = certificate(not_before=NOW - 90 * DAY, not_after=NOW - DAY)
    diagnosis = diagnose(
        but(served__chain=(old, INTERMEDIATE), certificates__leaf__certificates=(old, INTERMEDIATE)), CHECKS
    )
    assert codes(diagnosis) == ["TLS001"]
    assert [(s.id, s.explained_by) for s in diagnosis.symptoms] == [("tls.untrusted", ("TLS001",))]


def test_a_503_of_the_rate_limit_is_told_from_one_of_the_service() -> None:
    busy = but(
        front__predict=exchange(503, '{"code": "overloaded"}', **PREDICT),
        backend__predict=exchange(503, '{"code": "overloaded"}', **{**PREDICT, **AT_BACKEND}),
        backend__ready=exchange(503, '{"status": "unavailable", "reason": "saturated"}', **AT_BACKEND),
    )
    assert codes(diagnose(busy, CHECKS)) == ["GUN006"]
    limiting = nginx_logs(*(entry("limiting requests, excess: 20.9", ago=n) for n in range(30)))
    limited = but(
        front__predict=page(503, "503 Service Temporarily Unavailable", **PREDICT),
        logs__nginx_errors=limiting,
        logs__nginx_access=access_log(NGINX_ACCESS_LOG, {"200": 70, "503": 30}),
    )
    assert codes(diagnose(limited, CHECKS)) == []  # this host's limit answers 429
    unwritten = nginx_config(SITE.replace("limit_req_status 429;", ""))
    assert codes(diagnose(but(limited, nginx_config=unwritten), CHECKS)) == ["NGX008", "NGX018"]


def test_html_from_the_wrong_program_is_one_cause_not_four() -> None:
    diagnosis = diagnose(squatted(), CHECKS)
    assert codes(diagnosis) == ["GUN012"]
    assert "NGX012" in cause(diagnosis, "GUN012").explains
    assert all(symptom.explained_by == ("GUN012",) for symptom in diagnosis.symptoms)


def test_proxy_pass_to_the_wrong_port() -> None:
    diagnosis = diagnose(misdirected(), CHECKS)
    assert codes(diagnosis) == ["NGX005"]
    assert [s.explained_by for s in diagnosis.symptoms] == [("NGX005",)]


# --- Precedence ---


def test_what_only_follows_stands_under_explains_with_its_own_symptoms() -> None:
    diagnosis = diagnose(booting(), CHECKS)
    assert codes(diagnosis) == ["GUN003"]
    assert set(cause(diagnosis, "GUN003").explains) == {"http.502", "GUN001"}


def test_a_stale_certificate_is_the_cause_of_the_expired_one() -> None:
    diagnosis = diagnose(renewed(), CHECKS)
    assert codes(diagnosis) == ["TLS008"]
    assert "TLS001" in cause(diagnosis, "TLS008").explains


def test_a_chain_of_three_ends_in_its_first_link() -> None:
    (only,) = causes_of(made("NGX014"), made("APP003"), made("NGX013"))
    assert only.code == "NGX013"
    assert set(only.explains) == {"NGX014", "APP003"}


def test_a_chain_holds_where_its_middle_is_not_proven() -> None:
    (only,) = causes_of(made("GUN001"), made("ENV001"))
    assert (only.code, only.explains) == ("ENV001", ("GUN001",))


@pytest.mark.parametrize("rule", catalogue().rules)
def test_every_rule_of_precedence_makes_one_cause(rule: str) -> None:
    first, *rest = [code.strip() for code in rule.split(">")]
    (only,) = causes_of(*(made(code) for code in reversed((first, *rest))))
    assert only.code == first
    assert set(rest) <= set(only.explains)


def test_a_cause_takes_over_the_symptoms_of_what_follows_from_it() -> None:
    (only,) = causes_of(made("GUN003"), made("GUN001"), observed=("http.502", "dns.unresolved"))
    assert only.explains == ("http.502", "GUN001")


def test_a_cause_has_the_worse_severity_of_the_two() -> None:
    (only,) = causes_of(made("TLS008", Severity.WARN), made("TLS001"))
    assert only.severity == "fail"
    (mild,) = causes_of(made("TLS012", Severity.WARN), made("NGX003", Severity.WARN))
    assert mild.severity == "warn"


def test_every_independent_cause_stands() -> None:
    diagnosis = diagnose(two_faults(), CHECKS)
    assert codes(diagnosis) == ["GUN001", "GUN008"]
    assert cause(diagnosis, "GUN008").severity == "warn"


# --- Order ---


def test_what_hurts_comes_first_then_what_explains_a_symptom_then_the_catalogue_s_order() -> None:
    ordered = causes_of(
        made("GUN013"), made("NET004"), made("MOD001"), made("GUN001"), made("DNS001"), observed=("http.502",)
    )
    # GUN001 explains what is met; DNS001 and MOD001 hurt, too; the rest are warnings.
    assert [c.code for c in ordered][:1] == ["GUN001"]
    assert [c.severity for c in ordered] == ["fail", "fail", "fail", "warn", "warn"]
    assert [c.code for c in ordered][-2:] == ["NET004", "GUN013"]


@given(st.randoms(use_true_random=False), st.sets(st.sampled_from(catalogue().codes), max_size=8))
def test_the_order_of_findings_changes_nothing(shuffler: random.Random, chosen: set[str]) -> None:
    findings = [made(code) for code in sorted(chosen)]
    straight = causes_of(*findings, observed=("http.502",))
    shuffler.shuffle(findings)
    shuffled = causes_of(*findings, observed=("http.502",))
    assert [c.code for c in shuffled] == [c.code for c in straight]
    assert [set(c.explains) for c in shuffled] == [set(c.explains) for c in straight]


@given(st.sets(st.sampled_from(catalogue().codes), min_size=1, max_size=8))
def test_every_finding_is_a_cause_or_explained_by_one(chosen: set[str]) -> None:
    causes = causes_of(*(made(code) for code in chosen))
    roots = {c.code for c in causes}
    assert roots | {name for c in causes for name in c.explains} == chosen
    assert not any(catalogue().outranks(a, b) for a in roots for b in roots)


SCENARIOS = {
    scenario.__name__: scenario()
    for scenario in (
        without_gunicorn,
        without_nginx,
        squatted,
        booting,
        renewed,
        misdirected,
        two_faults,
        unexplained,
    )
}


@pytest.mark.parametrize("snapshot", SCENARIOS.values(), ids=SCENARIOS)
def test_the_order_of_checks_changes_no_cause(snapshot: Snapshot) -> None:
    assert codes(diagnose(snapshot, CHECKS)) == codes(diagnose(snapshot, CHECKS[::-1]))


# --- Status ---


def test_a_symptom_that_nothing_explains_is_a_failure_and_stays() -> None:
    diagnosis = diagnose(unexplained(), CHECKS)
    assert codes(diagnosis) == []
    assert [(s.id, s.explained_by) for s in diagnosis.symptoms] == [("http.502", ())]
    assert (diagnosis.status, diagnosis.exit_code) == ("fail", 2)


def test_a_warning_alone_exits_1() -> None:
    diagnosis = diagnose(but(gunicorn__pidfile=Pidfile(path="/run/x.pid", pid=1)), CHECKS)
    assert codes(diagnosis) == ["GUN002"]
    assert (diagnosis.status, diagnosis.exit_code) == ("warn", 1)


@pytest.mark.parametrize("section", ["front", "target"])
def test_what_could_not_be_judged_is_unknown_not_ok(section: str) -> None:
    diagnosis = diagnose(but(HEALTHY, **{section: NotSeen(reason="did not finish in 9.6 s")}), CHECKS)
    assert (diagnosis.status, diagnosis.exit_code) == ("unknown", 3)


def test_a_proven_failure_counts_though_the_front_was_not_seen() -> None:
    diagnosis = diagnose(but(without_gunicorn(), front=NotSeen(reason="-")), CHECKS)
    assert (codes(diagnosis), diagnosis.status) == (["GUN001"], "fail")


def test_where_every_chosen_check_was_skipped_nothing_is_in_order() -> None:
    served = [c for c in CHECKS if c.id in ("tls.dates", "tls.name")]
    diagnosis = diagnose(but(served=NotSeen(reason="no answer in 4.0 s")), served)
    assert {result.status for result in diagnosis.checks} == {"skip"}
    assert diagnosis.status == "unknown"


def test_no_checks_at_all_judge_nothing() -> None:
    assert diagnose(HEALTHY, ()).status == "unknown"


# --- Checks ---


@check("made.crash", "GUN001", en="a judge with a defect", zh="有缺陷的检查")
def crash(host: Host) -> Iterator[Finding]:
    yield from ()
    raise ZeroDivisionError(f"on \x1b[31m{host.hostname}")


def test_a_judge_that_crashes_is_named_and_costs_no_other() -> None:
    diagnosis = diagnose(without_gunicorn(), (crash, *CHECKS))
    result = diagnosis.checks[0]
    assert (result.id, result.status) == ("made.crash", "error")
    assert result.skipped_because is not None
    assert result.skipped_because.en == "ZeroDivisionError: on gte-1"
    assert codes(diagnosis) == ["GUN001"]
    assert diagnosis.status == "fail"


@check("made.half", "GUN001", en="a judge that finds, then fails", zh="先有发现后出错的检查")
def half(host: Host) -> Iterator[Finding]:
    yield Finding("GUN001", (quote("ps", host.hostname),))
    raise ZeroDivisionError


def test_a_judge_that_crashes_after_a_finding_is_an_error_and_its_finding_counts() -> None:
    diagnosis = diagnose(HEALTHY, (half,))
    assert [result.status for result in diagnosis.checks] == ["error"]
    assert codes(diagnosis) == ["GUN001"]


@check("made.twice", "TLS012", en="two files", zh="两个文件")
def twice(host: Host) -> Iterator[Finding]:
    for file in ("fullchain.pem", "privkey.pem"):
        yield Finding(
            "TLS012", (quote(file, f"missing on {host.hostname}"),), {"path": file, "problem": "missing"}
        )


def test_two_findings_of_one_code_are_one_cause_with_both_proofs() -> None:
    (only,) = diagnose(HEALTHY, (twice,)).causes
    assert [item.source for item in only.evidence] == ["fullchain.pem", "privkey.pem"]


def test_a_judge_that_crashes_leaves_nothing_ok() -> None:
    diagnosis = diagnose(HEALTHY, (*CHECKS, crash))
    assert (diagnosis.status, diagnosis.exit_code) == ("unknown", 3)


def test_a_need_that_was_not_seen_skips_the_check_with_the_reason() -> None:
    diagnosis = diagnose(but(served=NotSeen(reason="no answer in 4.0 s")), CHECKS)
    result = next(r for r in diagnosis.checks if r.id == "tls.dates")
    assert (result.status, result.skipped_because) == (
        "skip",
        reason("no answer in 4.0 s"),
    )


def test_what_only_root_could_have_seen_is_said_per_check() -> None:
    diagnosis = diagnose(but(model=NotSeen(reason=f"{MODEL_DIR} may not be read", needs_root=True)), CHECKS)
    result = next(r for r in diagnosis.checks if r.id == "model.directory")
    assert result.status == "skip"
    assert result.skipped_because is not None
    assert "root" in result.skipped_because.en
    assert "root" in result.skipped_because.zh


def test_a_check_that_found_something_says_what_and_how_bad() -> None:
    results = {r.id: r for r in diagnose(two_faults(), CHECKS).checks}
    assert (results["gunicorn.process"].status, results["gunicorn.settings"].status) == ("fail", "warn")
    assert results["gunicorn.process"].summary == catalogue().entry("GUN001").title


def test_a_check_is_given_what_it_declares_and_no_more() -> None:
    given_to: dict[str, Any] = {}

    @check("made.greedy", "GUN001", en="looks at what it is given", zh="只看给它的")
    def greedy(host: Host, front: Front | NotSeen, taken_at: float) -> Iterator[Finding]:
        given_to.update(host=host, front=front, taken_at=taken_at)
        yield from ()

    assert isinstance(greedy, Check)
    assert (greedy.needs, greedy.optional_inputs) == (("host", "taken_at"), ("front",))
    unseen = NotSeen(reason="-")
    diagnose(but(front=unseen), (greedy,))
    assert given_to == {"host": HEALTHY.host, "front": unseen, "taken_at": NOW}


def test_everything_unseen_is_listed_with_its_place() -> None:
    snapshot = but(
        gunicorn__config=NotSeen(reason="may not be read", needs_root=True),
        front__predict=NotSeen(reason="did not finish"),
        logs__nginx_errors={"/var/log/nginx/error.log": NotSeen(reason="Permission denied")},
    )
    unseen = diagnose(snapshot, CHECKS).unseen
    assert {place: words if isinstance(words, str) else words.en for place, words in unseen} == {
        "gunicorn.config": "may not be read",
        "front.predict": "did not finish",
        "logs.nginx_errors./var/log/nginx/error.log": "Permission denied",
    }


def test_lines_that_may_be_another_site_s_are_said_not_to_be_judged() -> None:
    log = access_log(NGINX_ACCESS_LOG, {"200": 7})
    snapshot = but(
        logs__nginx_access=msgspec.structs.replace(log, traffic=traffic(unclear=7, is_conditional=True))
    )
    ((place, words),) = diagnose(snapshot, CHECKS).unseen
    assert place == "logs.nginx_access"
    assert words.en.startswith(f"7 lines of {NGINX_ACCESS_LOG} belong to several sites")
    assert "多个站点" in words.to("zh")


def test_a_unix_socket_is_asked_through_the_socket() -> None:
    assert isinstance(HEALTHY.target, Target)
    values = target_values(msgspec.structs.replace(HEALTHY.target, backend="unix:/run/gte api.sock"))
    assert values["backend_curl"] == "curl -v --unix-socket '/run/gte api.sock' http://localhost"
    assert values["backend"] == "unix:/run/gte api.sock"


def test_the_front_is_given_as_host_and_port() -> None:
    assert isinstance(HEALTHY.target, Target)
    values = target_values(HEALTHY.target)
    assert (values["front"], values["host"], values["port"]) == ("127.0.0.1:443", "127.0.0.1", "443")
    nowhere = target_values(msgspec.structs.replace(HEALTHY.target, connect_to=None))
    assert nowhere["host"] == "gte-api.example.com"
    assert "port" not in nowhere
    assert "front" not in nowhere


def test_a_judge_s_own_words_go_before_the_catalogue_s() -> None:
    words = Text(en="in its own words", zh="自己的话")
    own = replace(made("GUN001"), summary=words, verify="ps aux", fix=(verbatim("systemctl start x"),))
    (root,) = causes_of(own)
    assert (root.summary, root.verify.en, [step.zh for step in root.fix]) == (
        words,
        "ps aux",
        ["systemctl start x", "gte-ops doctor --wait-ok 2m"],
    )
    (plain,) = causes_of(made("GUN001"))
    assert "ps aux" not in plain.verify.en
    assert plain.summary.zh != words.zh


def test_the_target_is_described() -> None:
    target = diagnose(HEALTHY, CHECKS).target
    assert (target["url"], target["domain"], target["backend"]) == (URL, "gte-api.example.com", BACKEND)
    assert target["gunicorn_pid"] == "900"
    assert diagnose(but(target=NotSeen(reason="-")), CHECKS).target == {}


def test_the_run_s_length_is_added_last() -> None:
    diagnosis = with_duration(diagnose(HEALTHY, CHECKS), 0.25)
    assert (diagnosis.duration_ms, diagnosis.started_at) == (250.0, NOW)


# --- A snapshot judged elsewhere ---


def timeless(diagnosis: Diagnosis) -> Diagnosis:
    return replace(diagnosis, checks=tuple(replace(c, duration_ms=0.0) for c in diagnosis.checks))


@pytest.mark.parametrize("snapshot", [HEALTHY, *SCENARIOS.values()], ids=["healthy", *SCENARIOS])
def test_a_snapshot_that_travelled_is_diagnosed_the_same(snapshot: Snapshot) -> None:
    travelled = from_json(to_json(snapshot))
    assert travelled == snapshot
    assert to_json(travelled) == to_json(snapshot)
    assert timeless(diagnose(travelled, CHECKS)) == timeless(diagnose(snapshot, CHECKS))


SECTIONS = [name for name in Snapshot.__struct_fields__ if name not in ("taken_at", "utc_offset")]
ANSWERS = st.one_of(
    st.builds(
        exchange,
        st.integers(100, 599),
        st.text(max_size=40),
        kind=st.sampled_from(["application/json", "text/html", "text/plain", ""]),
        server=st.sampled_from(["nginx", "gunicorn", "Werkzeug/3.0", "", "Apache"]),
        location=st.one_of(st.none(), st.text(max_size=20)),
        elapsed=st.floats(0, 100),
    ),
    st.builds(timed_out),
    st.builds(NotSeen, reason=st.text(max_size=20), needs_root=st.booleans()),
)
CONNECTIONS = st.sampled_from(
    [
        None,
        ProbeFailure.REFUSED,
        ProbeFailure.TIMEOUT,
        ProbeFailure.MISSING,
        ProbeFailure.UNREACHABLE,
        ProbeFailure.PERMISSION,
        ProbeFailure.OTHER,
    ]
)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Hosts in any state, as far as answers and what was seen of them go."""
    changes: dict[str, Any] = {"taken_at": draw(st.floats(0, 4e9))}
    for name in ("front__plain", "front__health", "front__predict", "backend__health", "backend__predict"):
        changes[name] = draw(ANSWERS)
    for name in ("front__connection", "backend__connection"):
        changes[name] = Connection(
            address="127.0.0.1:1", failure=draw(CONNECTIONS), elapsed=draw(st.floats(0, 9))
        )
    changes["backend__ready"] = draw(ANSWERS)
    words = draw(
        st.lists(st.sampled_from([BOOT, "WORKER TIMEOUT", "Address already in use", "…"]), max_size=3)
    )
    changes["logs__gunicorn_error"] = gunicorn_log(*(entry(line) for line in words))
    if draw(st.booleans()):
        changes["target__gunicorn_master"] = None
    if draw(st.booleans()):
        changes["host__is_root"] = False
    for section in draw(st.sets(st.sampled_from(SECTIONS), max_size=3)):
        changes = {k: v for k, v in changes.items() if not k.startswith(f"{section}__")}
        changes[section] = NotSeen(reason=draw(st.text(max_size=10)), needs_root=draw(st.booleans()))
    return but(**changes)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(snapshots())
def test_whatever_the_host_no_judge_crashes_and_the_diagnosis_travels(snapshot: Snapshot) -> None:
    diagnosis = diagnose(snapshot, CHECKS)
    assert [r for r in diagnosis.checks if r.status == "error"] == []
    assert timeless(diagnose(from_json(to_json(snapshot)), CHECKS)) == timeless(diagnosis)
    assert (diagnosis.status == "fail") == (
        any(c.severity == "fail" for c in diagnosis.causes)
        or any(not s.explained_by for s in diagnosis.symptoms)
    )


def test_the_made_gunicorn_file_stands_where_the_target_says() -> None:
    assert isinstance(HEALTHY.target, Target)
    assert HEALTHY.target.gunicorn_config_file == GUNICORN_CONF


def test_settings_that_a_module_holds_are_made_in_the_unit_s_file_of_variables() -> None:
    command = ("/opt/venv/bin/gunicorn", "-c", "python:service.gunicorn_conf", "service.app:create_app()")
    by_module = processes(NGINX_PROCESSES, (process(GUNICORN_MASTER, 1, *command),), GUNICORN_PROCESSES[1:])
    file = UnitEnvironmentFile(path="/etc/gte-api/environment")
    unit = Unit(name="gte-api.service", load="loaded", active="active", environment_files=(file,))
    assert host_values(HEALTHY)["gunicorn_config"] == GUNICORN_CONF
    others = (
        UnitEnvironmentFile(path="/etc/default/locale", is_optional=True),
        UnitEnvironmentFile(path="/etc/default/gte-api", is_optional=True, error="No such file or directory"),
    )
    for files in ((file,), (*others, file), (file, *others)):
        units = Units(units=(replace(unit, environment_files=files),), service=unit.name)
        values = host_values(but(processes=by_module, units=units))
        assert values["gunicorn_config"] == file.path
        entry = catalogue().entry("GUN013")
        assert f"max_requests ({file.path}: GTE_MAX_REQUESTS=) to 1000" in entry.fix_with(values)[0].en
        # The module has no variable for this one: gunicorn reads its options from the environment too.
        assert values["preload_app_place"] == f"{file.path}: GUNICORN_CMD_ARGS=--preload"
        assert entry.verify_with(values).en == f"grep -ni max_requests {file.path}"
    for snapshot in (
        but(processes=by_module),
        but(
            processes=by_module,
            units=Units(units=(replace(unit, environment_files=others),), service=unit.name),
        ),
    ):
        values = host_values(snapshot)
        assert values["timeout_place"].endswith("GTE_TIMEOUT=")
        assert values.get("gunicorn_config") == host_values(HEALTHY).get("gunicorn_config")
