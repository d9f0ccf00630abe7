"""Find in a snapshot the failures that users see at the front door. Symptoms are observations: none names a cause."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import urljoin

import msgspec

from ops.diagnosis.resolver_failure import resolver_failure
from ops.facts.base import NotSeen
from ops.facts.certificates import Served
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import REDIRECTS, Backend, Exchange, Front, Resolution
from ops.facts.snapshot import Snapshot
from ops.facts.target import Target
from ops.interpret.service_name import asks_for_key, is_prediction, refuses_guessed_prediction
from ops.interpret.trust import covers, signed_path
from ops.text.language import Text

_NAMED_STATUSES = {400, 403, 404, 405, 413, 429, 500, 502, 503, 504}


class Observed(msgspec.Struct, frozen=True):
    """One symptom: its id in the catalogue, the values for its sentence, and the request that showed it."""

    id: str
    values: Mapping[str, str | Text]
    exchange: Exchange | None = None


def observed_symptoms(snapshot: Snapshot) -> tuple[Observed, ...]:
    """Every symptom once, outermost first."""
    if isinstance(snapshot.target, NotSeen):
        return ()
    by_id: dict[str, Observed] = {}
    for symptom in _symptoms(snapshot, snapshot.target):
        by_id.setdefault(symptom.id, symptom)
    return tuple(by_id.values())


def _symptoms(snapshot: Snapshot, target: Target) -> Iterator[Observed]:
    url = target.url
    if isinstance(snapshot.resolution, Resolution) and snapshot.resolution.failure:
        yield Observed(
            "dns.unresolved", {"url": url, "detail": resolver_failure(snapshot.resolution.failure)}
        )
    if isinstance(snapshot.served, Served) and (
        detail := _distrust(snapshot.served, target, snapshot.taken_at)
    ):
        yield Observed("tls.untrusted", {"url": url, "detail": detail})
    if isinstance(snapshot.front, Front):
        yield from _at_the_door(snapshot.front, snapshot.backend, target)


def _distrust(served: Served, target: Target, now: float) -> str:
    """A browser's objections, in OpenSSL's words; empty if there are none."""
    leaf = served.chain[0]
    objections = []
    # Above the intermediate that signed the leaf, newer clients may know another path.
    if any(now > item.not_after for item in signed_path(served.chain)[:2] if not item.self_signed):
        objections.append("certificate has expired")
    if now < leaf.not_before:
        objections.append("certificate is not yet valid")
    if target.origin.get("domain") != "default" and not covers(leaf, target.domain):
        objections.append("hostname mismatch")
    if served.trust_code > 0:  # negative: this host has no roots to judge by
        objections.append(served.trust_error or f"verify code {served.trust_code}")
    return "; ".join(objections)


def _at_the_door(front: Front, backend: Backend | NotSeen, target: Target) -> Iterator[Observed]:
    connection = front.connection
    if connection.failure is ProbeFailure.TIMEOUT:
        yield Observed("connect.timeout", {"url": target.url, "waited": f"{connection.elapsed:.1f} s"})
        return
    if connection.failure is not None:
        yield Observed("connect.refused", {"url": target.url, "detail": connection.failure})
        return
    visited: list[str] = []
    for hop in front.hops:
        visited.append(hop.url)
        if hop.status in REDIRECTS and urljoin(hop.url, hop.header("location")) in visited:
            yield Observed("redirect.loop", {"url": hop.url, "detail": hop.header("location")}, hop)
            break
    predict, health = front.predict, front.health
    if isinstance(predict, Exchange) and not _is_no_prediction(predict, backend, target):
        yield from _of_prediction(predict, target, backend)
    # Users do not request /health, but monitoring does: only failures of the service count there.
    if isinstance(health, Exchange) and (health.failure or (health.status or 0) >= 500):
        yield from _of_answer(health)


def _is_no_prediction(answer: Exchange, backend: Backend | NotSeen, target: Target) -> bool:
    """Whether nginx passes on the application's own refusal of a prediction that nobody configured."""
    return (
        isinstance(backend, Backend)
        and refuses_guessed_prediction(backend, target)
        and isinstance(backend.predict, Exchange)
        and answer.status == backend.predict.status
    )


def _of_prediction(answer: Exchange, target: Target, backend: Backend | NotSeen) -> Iterator[Observed]:
    behind = None if isinstance(backend, NotSeen) else backend.predict
    says_so_itself = isinstance(behind, Exchange) and asks_for_key(behind)
    if asks_for_key(answer) and (answer.header("www-authenticate") or says_so_itself):
        return  # the doctor holds no key, and users have one
    values = {"url": answer.url, "status": str(answer.status), "detail": answer.body.partition("\n")[0][:120]}
    if answer.failure or (answer.status or 0) >= 400:
        yield from _of_answer(answer)
        if answer.is_html and answer.status not in (429, 502, 503, 504):
            yield Observed("predict.html", values, answer)
    elif answer.status in REDIRECTS:
        yield Observed(
            "predict.redirect", {**values, "detail": f"{answer.status} {answer.header('location')}"}, answer
        )
    elif answer.is_html:
        yield Observed("predict.html", values, answer)
    elif not is_prediction(answer, target):
        yield Observed("predict.not_json", values, answer)


def _of_answer(answer: Exchange) -> Iterator[Observed]:
    values = {
        "url": answer.url,
        "status": str(answer.status),
        "waited": f"{answer.elapsed:.1f} s",
        "detail": answer.detail,
    }
    if answer.failure is ProbeFailure.TIMEOUT:
        yield Observed("http.timeout", values, answer)
    elif answer.failure is ProbeFailure.TLS:
        yield Observed("tls.failed", values, answer)
    elif answer.failure:
        yield Observed("http.closed", values, answer)
    elif answer.status in _NAMED_STATUSES:
        yield Observed(f"http.{answer.status}", values, answer)
    else:
        yield Observed("http.other", values, answer)
