"""The model's route beside what the real nginx did: every difference in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from ops.collect.services.nginx import parse_config
from ops.collect.services.nginx_files import look_up
from ops.facts.nginx import NginxConfig
from ops.interpret.routing.model import (
    FileKind,
    OutcomeKind,
    Passed,
    RequestRoute,
    RoutedRequest,
    RouteSurroundings,
    as_bytes,
)
from ops.interpret.routing.route import route
from ops.interpret.routing.server import bare_host
from ops.interpret.routing.uri import BadUriError, normalize, split_target
from tests.differential.generator import Generator, Sent, Site
from tests.differential.real_nginx import RealNginx, Received


@dataclass
class Counts:
    """How many configurations and requests were compared, what ended how, and every difference."""

    configurations: int = 0
    refused: int = 0
    requests: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)


def compare(
    nginx: RealNginx, version: str, seed: int, sites: int, requests: int, first_port: int, counts: Counts
) -> None:
    """``sites`` configurations, ``requests`` requests to each."""
    generator = Generator(seed, nginx.backends, str(nginx.root))
    made = [generator.site(n, first_port + n, str(nginx.certificate)) for n in range(sites)]
    loaded = nginx.load(made)
    counts.configurations += len(loaded)
    counts.refused += len(made) - len(loaded)
    config = parse_config(str(nginx.config), str(nginx.directory), nginx.binary, version)
    assert isinstance(config, NginxConfig), config
    places = _places(nginx, loaded)
    for site in loaded:
        for _ in range(requests):
            sent = _answered(generator.request(site))
            counts.requests += 1
            received = nginx.ask(sent)
            computed = computed_route(config, sent, {nginx.backends[-1]: 0})
            kind = computed.outcome.kind
            counts.outcomes[kind] = counts.outcomes.get(kind, 0) + 1
            for words in differences(sent, received, computed, places):
                counts.differences.append(f"seed {seed}, site {site.number}: {words}")
                break


def computed_route(config: NginxConfig, sent: Sent, answers: dict[str, int]) -> RequestRoute:
    """The model's route, with what is on the disk. ``answers``: of services that answer otherwise than asked to."""
    request = RoutedRequest(
        method=sent.method,
        target=sent.target,
        host=sent.host,
        address="127.0.0.1",
        port=sent.port,
        scheme="https" if sent.tls else "http",
        headers=(*sent.headers, ("X-Answer", str(sent.answer))),
        sni=sent.sni,
        client="127.0.0.1",
        body_length=sent.body,
        protocol=sent.version,
    )
    files: dict[str, FileKind] = {}
    while True:
        around = RouteSurroundings(files=files, answers=answers, answer=sent.answer)
        computed = route(config, request, around)
        if not computed.asked:
            return computed
        files |= look_up(computed.asked)


def _answered(sent: Sent) -> Sent:
    """``sent``, with the answer of a service that is not told which: nginx reads no header behind a fault."""
    try:
        normalize(as_bytes(split_target(sent.target)[1]), merge_slashes=True)
    except BadUriError:
        return replace(sent, answer=200)
    return sent if sent.host is None or bare_host(sent.host)[1] else replace(sent, answer=200)


def _places(nginx: RealNginx, sites: list[Site]) -> dict[str, str]:
    """The place each location names in its add_header, by ``file:line``."""
    found = {}
    for site in sites:
        file = nginx.directory / f"site-{site.number}.conf"
        for number, line in enumerate(file.read_text().splitlines(), 1):
            if "add_header X-Place" in line:
                tag = line.partition("X-Place ")[2].split()[0]
                at = number if line.startswith("location @") else number - 1
                found[f"{file}:{at}"] = tag
    return found


def differences(
    sent: Sent, received: Received, computed: RequestRoute, places: dict[str, str]
) -> Iterator[str]:
    """Every way in which the route and what happened differ."""
    outcome = computed.outcome
    told = _told(sent, received, computed)
    if outcome.kind is OutcomeKind.UNKNOWN:
        return
    if outcome.kind in (OutcomeKind.CLOSED, OutcomeKind.NO_LISTENER, OutcomeKind.TLS_TO_PLAIN):
        if received.status is not None:
            yield f"not {outcome.kind}: {told}"
        return
    expected = outcome.status
    if received.status != expected:
        yield f"status {received.status}, not {expected}: {told}"
        return
    if places.get(computed.location_where) != received.headers.get("x-place") and expected != 400:
        yield f"place {received.headers.get('x-place')} not {places.get(computed.location_where)}: {told}"
    if (received.echo is not None) != (outcome.kind is OutcomeKind.PROXIED):
        yield f"proxied or not: {told}"
    elif received.echo is not None:
        yield from (f"{words}: {told}" for words in _sent_on(received, computed))
    elif received.headers.get("location") != (outcome.location and as_bytes(outcome.location)):
        yield f"location {received.headers.get('location')!r} not {outcome.location!r}: {told}"
    elif sent.method == "HEAD" or outcome.location:
        return
    elif outcome.body is not None and received.body != as_bytes(outcome.body):
        yield f"body {received.body!r} not {outcome.body!r}: {told}"
    elif outcome.path and received.body != Path(outcome.path).read_text():
        yield f"file {received.body!r}: {told}"


def _short(passed: Passed | None) -> str:
    return f"{passed.method} {passed.uri} {[s.address for s in passed.servers]}" if passed else ""


def _told(sent: Sent, received: Received, computed: RequestRoute) -> str:
    outcome = computed.outcome
    steps = "".join(f"\n    {s.where.rpartition('/')[2]} {s.words.en}" for s in computed.steps)
    return (
        f"\n  {sent}\n  nginx: {received.status} {received.headers.get('location')} {received.headers.get('x-place')}"
        f" {received.echo} {received.body[:200]!r} {received.error}\n  model: {outcome.kind} {outcome.status} "
        f"{outcome.location} {outcome.body!r} {outcome.path} {_short(outcome.passed)}{steps}"
    )


def _sent_on(received: Received, computed: RequestRoute) -> Iterator[str]:
    echo, passed = received.echo, computed.outcome.passed
    assert echo is not None
    assert passed is not None
    if echo.backend not in {server.address for server in passed.servers}:
        yield f"service {echo.backend} not {passed.servers}"
    if (echo.method, echo.uri) != (passed.method, as_bytes(passed.uri)):
        yield f"sent on as {echo.method} {echo.uri} not {passed.method} {passed.uri}"
    expected = [(h.name.lower(), as_bytes(h.value)) for h in passed.headers if h.value is not None]
    unknown = {"content-length", *(h.name.lower() for h in passed.headers if h.value is None)}
    got = [(name.lower(), value) for name, value in echo.headers if name.lower() not in unknown]
    if sorted(expected) != sorted(got):
        yield f"headers {sorted(got)} not {sorted(expected)}"
