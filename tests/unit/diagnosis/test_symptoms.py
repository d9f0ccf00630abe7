"""What a user meets at the front door: observations that name no cause."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ops.diagnosis.catalogue import catalogue, fill_text
from ops.diagnosis.symptoms import Observed, observed_symptoms
from ops.facts.base import NotSeen
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Connection, Exchange, Resolution
from ops.facts.snapshot import Snapshot
from tests.unit.made_snapshot import (
    AT_BACKEND,
    DAY,
    DOMAIN,
    FRONT,
    HEALTHY,
    NOW,
    PREDICT,
    URL,
    but,
    certificate,
    exchange,
    page,
    refused,
    timed_out,
    without_nginx,
)


def met(snapshot: Snapshot) -> list[str]:
    return [symptom.id for symptom in observed_symptoms(snapshot)]


def told(snapshot: Snapshot) -> Observed:
    (symptom,) = observed_symptoms(snapshot)
    return symptom


def predicted(answer: Exchange) -> Snapshot:
    return but(front__predict=answer)


def test_a_healthy_host_shows_none() -> None:
    assert met(HEALTHY) == []


def wanting_a_key(answer: Exchange) -> Exchange:
    return msgspec.structs.replace(answer, headers=(*answer.headers, ("WWW-Authenticate", "hidden")))


def test_a_service_that_wants_a_key_is_no_symptom() -> None:
    refusal = exchange(401, '{"code": "unauthorized"}', **PREDICT)
    assert met(predicted(wanting_a_key(refusal))) == []


def test_nor_is_any_other_401_taken_for_that() -> None:
    assert met(predicted(wanting_a_key(page(401, "401 Authorization Required", **PREDICT)))) == [
        "http.other",
        "predict.html",
    ]
    assert met(predicted(exchange(401, '{"code": "unauthorized"}', **PREDICT))) == ["http.other"]


@pytest.mark.parametrize(
    ("answer", "symptoms"),
    [
        (page(502, "502 Bad Gateway", **PREDICT), ["http.502"]),
        (page(503, "503 Service Temporarily Unavailable", **PREDICT), ["http.503"]),
        (page(504, "504 Gateway Time-out", **PREDICT), ["http.504"]),
        (page(429, "429 Too Many Requests", **PREDICT), ["http.429"]),
        (page(500, "Internal Server Error", **PREDICT), ["http.500", "predict.html"]),
        (page(403, "403 Forbidden", **PREDICT), ["http.403", "predict.html"]),
        (page(404, "404 Not Found", **PREDICT), ["http.404", "predict.html"]),
        (page(413, "413 Request Entity Too Large", **PREDICT), ["http.413", "predict.html"]),
        (exchange(400, '{"code": "bad_request"}', **PREDICT), ["http.400"]),
        (exchange(405, '{"code": "method_not_allowed"}', **PREDICT), ["http.405"]),
        (exchange(500, '{"code": "internal"}', **PREDICT), ["http.500"]),
        (exchange(418, "{}", **PREDICT), ["http.other"]),
        (exchange(507, "{}", **PREDICT), ["http.other"]),
        (page(301, "Moved", **PREDICT, location="/predict/"), ["predict.redirect"]),
        (page(200, "你好", **PREDICT), ["predict.html"]),
        (exchange(200, '{"answer": 1}', **PREDICT), ["predict.not_json"]),
        (exchange(200, "[]", **PREDICT), ["predict.not_json"]),
        (exchange(200, "", **PREDICT), ["predict.not_json"]),
        (exchange(204, "", **PREDICT), ["predict.not_json"]),
        (timed_out(**PREDICT), ["http.timeout"]),
        (exchange(failure=ProbeFailure.CLOSED, **PREDICT), ["http.closed"]),
        (exchange(failure=ProbeFailure.RESET, **PREDICT), ["http.closed"]),
        (exchange(failure=ProbeFailure.MALFORMED, **PREDICT), ["http.closed"]),
        (exchange(failure=ProbeFailure.TLS, **PREDICT), ["tls.failed"]),
    ],
    ids=lambda value: None if isinstance(value, Exchange) else "+".join(value),
)
def test_what_a_prediction_request_meets(answer: Exchange, symptoms: list[str]) -> None:
    assert met(predicted(answer)) == symptoms


def test_a_prediction_longer_than_what_is_kept_is_one_all_the_same() -> None:
    assert met(predicted(exchange(200, '{"result": [{"span": "北', **PREDICT))) == []


def test_a_health_check_that_fails_counts_and_one_that_is_merely_absent_does_not() -> None:
    assert met(but(front__health=page(502, "502 Bad Gateway"))) == ["http.502"]
    assert met(but(front__health=timed_out())) == ["http.timeout"]
    assert met(but(front__health=page(404, "404 Not Found"))) == []
    assert met(but(front__health=NotSeen(reason="-"))) == []


def test_a_symptom_is_told_once_in_the_words_of_the_first() -> None:
    both = but(front__predict=page(502, "502", **PREDICT), front__health=page(502, "502"))
    assert told(both).values["url"] == f"{URL}/predict"


def test_without_a_connection_nothing_behind_the_door_is_told() -> None:
    assert met(without_nginx()) == ["connect.refused"]
    silent = Connection(address=FRONT, failure=ProbeFailure.TIMEOUT, elapsed=4.04)
    assert told(but(front__connection=silent, front__predict=timed_out())) == Observed(
        "connect.timeout", {"url": URL, "waited": "4.0 s"}
    )
    assert told(but(front__connection=refused(FRONT))).values["detail"] == "refused"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"not_after": NOW - DAY}, "certificate has expired"),
        ({"not_before": NOW + DAY}, "certificate is not yet valid"),
        ({"names": ("www.example.org",)}, "hostname mismatch"),
        ({"not_after": NOW - DAY, "names": ()}, "certificate has expired; hostname mismatch"),
    ],
)
def test_what_a_browser_objects_to(changes: dict[str, object], words: str) -> None:
    symptom = told(but(served__chain=(certificate(**changes),)))
    assert (symptom.id, symptom.values["detail"]) == ("tls.untrusted", words)


def test_an_untrusted_chain_is_told_in_openssl_s_words() -> None:
    snapshot = but(served__trust_code=20, served__trust_error="unable to get local issuer certificate")
    assert told(snapshot).values["detail"] == "unable to get local issuer certificate"
    assert told(but(served__trust_code=77)).values["detail"] == "verify code 77"


def test_a_name_nobody_gave_cannot_mismatch() -> None:
    snapshot = but(target__domain="localhost", target__origin={"domain": "default"})
    assert met(snapshot) == []


def test_a_name_that_does_not_resolve_comes_first() -> None:
    snapshot = but(
        resolution=Resolution(name=DOMAIN, resolver="127.0.0.53", failure=ProbeFailure.NXDOMAIN),
        front__predict=page(502, "502 Bad Gateway", **PREDICT),
    )
    assert met(snapshot) == ["dns.unresolved", "http.502"]


GUESSED = but(
    front__predict=page(404, "Not Found", **PREDICT),
    backend__predict=page(404, "Not Found", **PREDICT),
    backend__health=exchange(200, '{"status": "ok", "service": "shop"}', **AT_BACKEND),
)


def test_a_prediction_that_nobody_configured_may_be_no_path_of_the_application() -> None:
    assert met(GUESSED) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"target__origin": {"predict_path": "gte-ops.toml"}},
        {"backend__health": exchange(200, '{"status": "ok", "service": "gte"}', **AT_BACKEND)},
        {"backend__predict": exchange(200, '{"result": {}}', **PREDICT)},
    ],
    ids=["configured", "our own service", "nginx alone answers so"],
)
def test_else_it_is_what_users_meet(changes: dict[str, Any]) -> None:
    assert met(but(GUESSED, **changes)) == ["http.404", "predict.html"]


def hop(url: str, location: str) -> Exchange:
    return page(301, "Moved", url=url, location=location)


def test_a_circle_of_redirects() -> None:
    circle = (hop(f"{URL}/health", "/a"), hop(f"{URL}/a", "/health"))
    assert told(but(front__hops=circle)).id == "redirect.loop"
    assert met(but(front__hops=circle[:1])) == []


@pytest.mark.parametrize("section", ["resolution", "served", "front"])
def test_what_was_not_seen_is_no_symptom(section: str) -> None:
    assert met(but(HEALTHY, **{section: NotSeen(reason="-")})) == []


def test_without_a_target_there_is_nothing_to_observe() -> None:
    assert met(but(without_nginx(), target=NotSeen(reason="-"))) == []


def test_every_symptom_has_its_sentence() -> None:
    statuses = [page(status, "-", **PREDICT) for status in range(300, 600)]
    for symptom in (s for answer in statuses for s in observed_symptoms(predicted(answer))):
        assert catalogue().symptom(symptom.id)


def test_why_a_name_does_not_resolve_is_a_sentence_in_both_languages() -> None:
    unresolved = Resolution(name=DOMAIN, resolver="127.0.0.53", failure=ProbeFailure.NXDOMAIN)
    observed = told(but(HEALTHY, resolution=unresolved))
    summary = fill_text(catalogue().symptom(observed.id), observed.values)
    assert summary.en.endswith("the name does not exist (NXDOMAIN)")
    assert summary.zh.endswith("域名不存在（NXDOMAIN）")
